//! What routing rules ask of a request body, found in one pass that decodes nothing but what it reports.

use std::borrow::Cow;

use super::cursor::Cursor;
use super::depth::MAX_DEPTH;
use super::media::Media;
use crate::common::MediaKind;
use crate::price::Terms;
use crate::{Dialect, own};

/// The most metadata that is read: pairs, and bytes of a name or a value. What is longer is passed over.
const MAX_PAIRS: usize = 64;
const MAX_TEXT: usize = 1024;
/// Bytes of prompt for which one token is counted.
const BYTES_PER_TOKEN: u64 = 4;

/// Facts of a JSON body, in whichever dialect it is. A form, and anything else that is no JSON object, has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyFacts {
    /// Whether an image is among the content: a block of type `image`, `image_url` or `input_image`, Bedrock's `image`,
    /// Gemini's `inlineData` or `fileData` of a type `image/…`, Cohere's `images`; also in the results of tools.
    pub images: bool,
    /// Whether tools are offered: `tools`, `functions` or Bedrock's `toolConfig.tools` that is not empty.
    pub tools: bool,
    /// Bytes of the prompt's texts: conversation, system prompt, documents, and declarations of tools. Images and other
    /// media are left out.
    pub prompt_bytes: u64,
    /// Those other media.
    pub media: Media,
    /// At which rates it may be billed.
    pub terms: Terms,
    /// Who the client says its user is: `user`, else `metadata.user_id`, else `safety_identifier`.
    pub user: Option<String>,
    /// The members of `metadata` (OpenAI, Anthropic), `labels` (Gemini) and `requestMetadata` (Bedrock) that are strings,
    /// numbers or booleans; an array of such gives several of one name.
    pub metadata: Vec<(String, String)>,
}

impl BodyFacts {
    /// Reads a body that [`scan_json`](super::scan_json) has accepted; of any other the facts are nonsense.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let mut facts = Self::default();
        let mut cursor = Cursor::new(body);
        if !cursor.enter(b'{') {
            return facts;
        }
        let mut identifier = None;
        while let Some(key) = cursor.next_key() {
            match &*key.name {
                b"messages" | b"input" | b"contents" | b"inputs" => facts.content(&mut cursor, true, 0),
                b"system"
                | b"instructions"
                | b"systemInstruction"
                | b"system_instruction"
                | b"prompt"
                | b"query"
                | b"documents"
                | b"texts" => facts.content(&mut cursor, true, 0),
                b"tools" | b"functions" => {
                    facts.tools |= cursor.has_elements();
                    facts.content(&mut cursor, false, 0);
                }
                b"toolConfig" => facts.tool_config(&mut cursor),
                b"images" => {
                    facts.images |= cursor.has_elements();
                    facts.pictures(&mut cursor);
                }
                b"metadata" | b"labels" | b"requestMetadata" => facts.metadata(&mut cursor),
                b"user" => facts.user = cursor.text().and_then(owned),
                b"safety_identifier" => identifier = cursor.text().and_then(owned),
                name => {
                    if !facts.terms.field(name, &mut cursor) {
                        cursor.value();
                    }
                }
            }
        }
        if facts.user.is_none() {
            facts.user =
                facts.metadata.iter().find(|(name, _)| name == "user_id").map(|(_, id)| id.clone()).or(identifier);
        }
        facts
    }

    /// The facts of a chat in `dialect`: of an own one its codec tells what it asks.
    #[must_use]
    pub fn in_dialect(body: &[u8], dialect: Dialect) -> Self {
        match dialect {
            Dialect::Own(own) => own::facts(own, body),
            _ => Self::of(body),
        }
    }

    /// About how many tokens the prompt takes: a quarter of its bytes, rounded up. A tokenizer would cost more than all the
    /// rest of routing; of English prose and code this is right within a third.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        self.prompt_bytes.div_ceil(BYTES_PER_TOKEN)
    }

    /// One value of the prompt. `blocks`: an object here is a message or a part of one, and not the data of a tool, in which
    /// `"type": "image"` means nothing.
    fn content(&mut self, cursor: &mut Cursor<'_>, blocks: bool, depth: usize) {
        match cursor.peek() {
            Some(b'"') => self.prompt_bytes += cursor.string().len() as u64,
            Some(b'[') if depth < MAX_DEPTH => {
                cursor.enter(b'[');
                while cursor.next_element() {
                    self.content(cursor, blocks, depth + 1);
                }
            }
            Some(b'{') if depth < MAX_DEPTH => {
                cursor.enter(b'{');
                while let Some(key) = cursor.next_key() {
                    if self.terms.cache(&key.name, cursor) {
                        continue;
                    }
                    if blocks {
                        self.block(&key.name, cursor, depth + 1);
                    } else {
                        self.content(cursor, false, depth + 1);
                    }
                }
            }
            _ => drop(cursor.value()),
        }
    }

    /// A member of a message or of a content block.
    fn block(&mut self, name: &[u8], cursor: &mut Cursor<'_>, depth: usize) {
        match name {
            b"type" => {
                let kind = cursor.text().unwrap_or_default();
                self.images |= matches!(&*kind, b"image" | b"image_url" | b"input_image");
            }
            b"content" | b"parts" | b"output" | b"toolResult" | b"functionResponse" => {
                self.content(cursor, true, depth)
            }
            b"inlineData" | b"inline_data" | b"fileData" | b"file_data" => {
                self.images |= self.media.take(MediaKind::Document, cursor) == Some(MediaKind::Image);
            }
            b"image" => {
                self.images |= cursor.peek() == Some(b'{');
                self.media.take(MediaKind::Image, cursor);
            }
            b"image_url" => drop(self.media.take(MediaKind::Image, cursor)),
            // Of a search result it is an address.
            b"source" if cursor.peek() == Some(b'{') => drop(self.media.take(MediaKind::Image, cursor)),
            b"input_audio" | b"audio" => drop(self.media.take(MediaKind::Audio, cursor)),
            b"video" => drop(self.media.take(MediaKind::Video, cursor)),
            b"file" => drop(self.media.take(MediaKind::Document, cursor)),
            b"document" => self.document(cursor),
            b"role" | b"id" | b"status" | b"source" | b"data" | b"encrypted_content" | b"signature"
            | b"thoughtSignature" => {
                cursor.value();
            }
            _ => self.content(cursor, false, depth),
        }
    }

    /// Bedrock's; Cohere's have no source, and are texts.
    fn document(&mut self, cursor: &mut Cursor<'_>) {
        let (at, mut has_source) = (cursor.at(), false);
        cursor.members(|name, cursor| {
            has_source |= name == b"source";
            cursor.value();
        });
        if has_source {
            cursor.go_back(at);
            self.media.take(MediaKind::Document, cursor);
        }
    }

    /// Cohere's, beside the texts.
    fn pictures(&mut self, cursor: &mut Cursor<'_>) {
        if !cursor.enter(b'[') {
            cursor.value();
            return;
        }
        while cursor.next_element() {
            self.media.take(MediaKind::Image, cursor);
        }
    }

    /// Bedrock's tools are one level deeper than those of the others.
    fn tool_config(&mut self, cursor: &mut Cursor<'_>) {
        cursor.members(|name, cursor| match name {
            b"tools" => {
                self.tools |= cursor.has_elements();
                self.content(cursor, false, 0);
            }
            _ => drop(cursor.value()),
        });
    }

    fn metadata(&mut self, cursor: &mut Cursor<'_>) {
        cursor.members(|name, cursor| {
            let name = owned(name.into());
            if cursor.peek() == Some(b'[') {
                cursor.enter(b'[');
                while cursor.next_element() {
                    self.pair(name.as_deref(), cursor);
                }
            } else {
                self.pair(name.as_deref(), cursor);
            }
        });
    }

    fn pair(&mut self, name: Option<&str>, cursor: &mut Cursor<'_>) {
        let value = match cursor.peek() {
            Some(b'"') => cursor.text(),
            Some(b'{' | b'[' | b'n') => {
                cursor.value();
                None
            }
            _ => {
                let span = cursor.value();
                Some(Cow::Borrowed(cursor.slice(span)))
            }
        };
        if let (Some(name), Some(value)) = (name, value.and_then(owned))
            && self.metadata.len() < MAX_PAIRS
        {
            self.metadata.push((name.to_owned(), value));
        }
    }
}

/// Top-level fields with what a client says of its request for its own accounts.
pub(super) const LABELS: [&str; 5] = ["user", "metadata", "labels", "requestMetadata", "safety_identifier"];

/// What a body says of itself for its client's own accounts: see [`BodyFacts::user`] and `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelFields {
    /// Who the client says its user is.
    pub user: Option<String>,
    /// Pairs of name and value.
    pub metadata: Vec<(String, String)>,
}

/// Reads only those fields of a body that [`scan_json`](super::scan_json) has accepted.
#[must_use]
pub fn label_fields(body: &[u8]) -> LabelFields {
    let mut facts = BodyFacts::default();
    let (mut cursor, mut identifier) = (Cursor::new(body), None);
    cursor.enter(b'{');
    while let Some(key) = cursor.next_key() {
        match &*key.name {
            b"metadata" | b"labels" | b"requestMetadata" => facts.metadata(&mut cursor),
            b"user" => facts.user = cursor.text().and_then(owned),
            b"safety_identifier" => identifier = cursor.text().and_then(owned),
            _ => drop(cursor.value()),
        }
    }
    LabelFields { user: facts.user.or(identifier), metadata: facts.metadata }
}

/// Members of a JSON object in a header, such as `x-portkey-metadata`, as of a body's `metadata`.
#[must_use]
pub fn metadata_of(object: &[u8]) -> Vec<(String, String)> {
    let mut facts = BodyFacts::default();
    facts.metadata(&mut Cursor::new(object));
    facts.metadata
}

/// The models that a body names in the field `name` as those to fall back on, in order, and no more than `most` of them; `None` if
/// it is something else than an array of strings.
#[must_use]
pub fn fallbacks_of(body: &[u8], name: &str, most: usize) -> Option<Vec<String>> {
    let mut models = Vec::new();
    let mut cursor = Cursor::new(body);
    cursor.enter(b'{');
    while let Some(key) = cursor.next_key() {
        let named = name.as_bytes() == &*key.name;
        if !named || cursor.peek() == Some(b'n') {
            cursor.value();
            continue;
        }
        if !cursor.enter(b'[') {
            return None;
        }
        while cursor.next_element() {
            if models.len() == most {
                return Some(models);
            }
            let text = cursor.text()?;
            models.push(String::from_utf8(text.into_owned()).ok()?);
        }
    }
    Some(models)
}

/// The models that Anthropic's own `fallbacks` names, an array of objects, or `default` for those that it chooses itself; `None` if it
/// is something else: <https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback>.
#[must_use]
pub fn anthropic_fallbacks_of(body: &[u8]) -> Option<Vec<String>> {
    let mut models = None;
    let mut cursor = Cursor::new(body);
    let text = |cursor: &mut Cursor<'_>| String::from_utf8(cursor.text()?.into_owned()).ok();
    cursor.enter(b'{');
    while let Some(key) = cursor.next_key() {
        if *key.name != *b"fallbacks" {
            cursor.value();
        } else if cursor.peek() == Some(b'"') {
            models = Some(vec![text(&mut cursor).filter(|word| word == "default")?]);
        } else if cursor.enter(b'[') {
            let named: &mut Vec<String> = models.get_or_insert_default();
            while cursor.next_element() {
                if !cursor.enter(b'{') {
                    return None;
                }
                while let Some(key) = cursor.next_key() {
                    match &*key.name {
                        b"model" => named.push(text(&mut cursor)?),
                        _ => drop(cursor.value()),
                    }
                }
            }
        } else {
            return None;
        }
    }
    models.filter(|models| !models.is_empty())
}

/// Whether a body has a field `name` that is not null.
#[must_use]
pub fn says(body: &[u8], name: &str) -> bool {
    says_any(body, |field| field == name.as_bytes())
}

/// Whether a body has a field that is `meant` and not null.
#[must_use]
pub fn says_any(body: &[u8], meant: impl Fn(&[u8]) -> bool) -> bool {
    let mut cursor = Cursor::new(body);
    cursor.enter(b'{');
    while let Some(key) = cursor.next_key() {
        if meant(&key.name) && cursor.peek() != Some(b'n') {
            return true;
        }
        cursor.value();
    }
    false
}

/// Whether one of a body's `tools` has itself a field `name` that is not null, such as the `model` of Anthropic's advisor.
#[must_use]
pub fn tools_say(body: &[u8], name: &str) -> bool {
    let mut cursor = Cursor::new(body);
    cursor.enter(b'{');
    while let Some(key) = cursor.next_key() {
        if &*key.name != b"tools" || cursor.peek() != Some(b'[') {
            cursor.value();
            continue;
        }
        cursor.enter(b'[');
        while cursor.next_element() {
            let mut found = false;
            cursor.members(|key, value| {
                found |= key == name.as_bytes() && value.peek() != Some(b'n');
                value.value();
            });
            if found {
                return true;
            }
        }
    }
    false
}

fn owned(text: Cow<'_, [u8]>) -> Option<String> {
    if text.is_empty() || text.len() > MAX_TEXT {
        return None;
    }
    String::from_utf8(text.into_owned()).ok()
}

#[cfg(test)]
mod tests;
