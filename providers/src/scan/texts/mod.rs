//! Where the texts are in a JSON body of any dialect, and replacing them without touching any other byte.
//!
//! Dialects call the same things by few names, and below the fields of a body (`fields.rs`) none uses one name for two things in
//! the places that are looked at: so one walk serves all of them. It goes only where texts can be (messages, instructions,
//! tools' arguments and results, inputs) and passes over the rest: media, tools' definitions, schemas, ids, encrypted state.
//! Who wrote a text is said where the dialect says it: by the role of a message, by the type of an item or a block.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::de::IgnoredAny;

use self::fields::{Within, has_items, is_spelt_otherwise, of_item, role_of, top_level, within};
use super::cursor::Cursor;
use super::splice;
use crate::codec::{whole_characters, without_signature};
use crate::dialect::{Dialect, Operation};
use crate::own;

mod fields;

/// No dialect nests texts so deeply.
const DEEPEST: usize = 48;

/// Whether a body asks or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A client's request.
    Request,
    /// An answer to it.
    Answer,
}

/// A text of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Text<'a> {
    /// Who wrote it, and what for.
    pub kind: TextKind,
    /// The text itself; of arguments and results that are JSON, their JSON text.
    pub text: Cow<'a, str>,
    /// Whether it is JSON text: what is put in its place must be, too.
    pub json: bool,
    /// Its place among the texts of the body, from 0.
    pub number: usize,
    /// Whether it goes on with the text before it: who reads the message takes the two for one.
    pub goes_on: bool,
}

/// Who wrote a text, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TextKind {
    /// Instructions: a system or developer message.
    System,
    /// A user.
    User,
    /// The model, now or in an earlier turn.
    Assistant,
    /// The model, about how it comes to its answer.
    Reasoning,
    /// The model declines.
    Refusal,
    /// What a tool is called with.
    Arguments,
    /// What a tool returned.
    ToolResult,
    /// What is to be embedded, ranked, moderated, drawn or spoken, or was written down of speech.
    Input,
    /// What goes along with a question and is none: documents, an answer that is foreseen, variables of a stored prompt, and
    /// texts in fields that the API does not have.
    Context,
}

/// The texts of `body`, in its order. Of a body that is no JSON some, or none. Of an own dialect its codec finds them.
#[must_use]
pub fn texts(body: &[u8], side: Side, dialect: Dialect, operation: Operation) -> Vec<Text<'_>> {
    if let Dialect::Own(own) = dialect
        && let Some(texts) = own::texts(own, body, side)
    {
        return texts;
    }
    find(body, side, dialect, operation).into_iter().map(|found| found.text).collect()
}

/// Whether `body` is one JSON object and nothing else: of anything else [`texts`] sees a part at most.
#[must_use]
pub fn is_one_object(body: &[u8]) -> bool {
    let mut cursor = Cursor::new(body);
    let is_object = cursor.peek() == Some(b'{');
    cursor.value();
    is_object && cursor.peek().is_none()
}

/// The texts of one block of an answer, as [`texts`] gives those of all.
#[must_use]
pub fn block_texts(block: &[u8], dialect: Dialect) -> Vec<Text<'_>> {
    block_walk(block, dialect).found.into_iter().map(|found| found.text).collect()
}

/// Puts another text in the place of each of a block's for which `edit` gives one. `restores`: they become again what the client said.
pub fn edit_block(
    block: &str,
    dialect: Dialect,
    restores: bool,
    edit: impl FnMut(&Text<'_>) -> Option<String>,
) -> Option<String> {
    let block = Bytes::copy_from_slice(block.as_bytes());
    let (edited, _) = put_found(&block, block_walk(&block, dialect).found, dialect, restores, edit);
    edited.and_then(|edited| String::from_utf8(edited.into()).ok())
}

fn block_walk(block: &[u8], dialect: Dialect) -> Walk<'_> {
    let mut walk = Walk::new(block, Side::Answer, dialect, Operation::Chat);
    walk.items = has_items(b"output", dialect);
    walk.any(TextKind::Assistant, 1);
    walk
}

/// Whether a request has tokens in the place of texts that are to be embedded or completed: numbers, which say as much to a
/// provider and nothing to who looks at [`texts`].
#[must_use]
pub fn has_tokens(body: &[u8], dialect: Dialect, operation: Operation) -> bool {
    matches!(operation, Operation::Embeddings | Operation::Completions)
        && walk(body, Side::Request, dialect, operation).has_tokens
}

/// Puts another text in the place of each for which `edit` gives one. Gives back the new body, unless nothing was changed, and
/// how many texts were.
///
/// A text that is an object on the wire must stay JSON: `{}` takes the place of what is not. Reasoning of an answer that was
/// changed loses its signature, which its maker would refuse. In an own dialect the body is written anew by its codec, if a
/// text was changed.
pub fn edit_texts(
    body: &Bytes,
    side: Side,
    dialect: Dialect,
    operation: Operation,
    edit: impl FnMut(&Text<'_>) -> Option<String>,
) -> (Option<Bytes>, usize) {
    put(body, side, dialect, operation, side == Side::Request, edit)
}

/// The same of an answer's texts that become again what the client said: the next request says what was signed, so signatures
/// stay.
pub fn restore_texts(
    body: &Bytes,
    dialect: Dialect,
    operation: Operation,
    edit: impl FnMut(&Text<'_>) -> Option<String>,
) -> (Option<Bytes>, usize) {
    put(body, Side::Answer, dialect, operation, true, edit)
}

fn put(
    body: &Bytes,
    side: Side,
    dialect: Dialect,
    operation: Operation,
    stays_signed: bool,
    mut edit: impl FnMut(&Text<'_>) -> Option<String>,
) -> (Option<Bytes>, usize) {
    if let Dialect::Own(own) = dialect
        && let Some(done) = own::edit_texts(own, body, side, &mut edit)
    {
        return done;
    }
    put_found(body, find(body, side, dialect, operation), dialect, stays_signed, edit)
}

fn put_found(
    body: &Bytes,
    found: Vec<Found<'_>>,
    dialect: Dialect,
    stays_signed: bool,
    mut edit: impl FnMut(&Text<'_>) -> Option<String>,
) -> (Option<Bytes>, usize) {
    let (mut edits, mut count) = (Vec::new(), 0);
    for Found { text, span, signature } in found {
        let Some(new) = edit(&text) else { continue };
        let new = if body.get(span.start) == Some(&b'"') {
            serde_json::Value::String(new).to_string()
        } else if serde_json::from_str::<IgnoredAny>(&new).is_ok() {
            new
        } else {
            "{}".to_owned()
        };
        edits.push((span, new));
        count += 1;
        if let Some(signature) = signature.filter(|_| !stays_signed)
            && let Some(none) = unsigned(dialect, body.get(signature.clone()).unwrap_or_default())
        {
            edits.push((signature, none));
        }
    }
    if count == 0 {
        return (None, 0);
    }
    edits.sort_by_key(|(span, _)| span.start);
    // Several texts may have one signature.
    edits.dedup_by(|one, other| one.0 == other.0);
    (Some(splice(body, &edits).into()), count)
}

/// What takes the place of a signature whose text was changed; `None`: it signs no text.
fn unsigned(dialect: Dialect, signature: &[u8]) -> Option<String> {
    if dialect != Dialect::OpenAiResponses {
        return Some("\"\"".to_owned());
    }
    let state: String = serde_json::from_slice(signature).ok()?;
    Some(serde_json::Value::String(without_signature(&state)?).to_string())
}

fn find(body: &[u8], side: Side, dialect: Dialect, operation: Operation) -> Vec<Found<'_>> {
    walk(body, side, dialect, operation).found
}

fn walk(body: &[u8], side: Side, dialect: Dialect, operation: Operation) -> Walk<'_> {
    let mut walk = Walk::new(body, side, dialect, operation);
    walk.body();
    walk
}

/// A text and where it stands.
struct Found<'a> {
    text: Text<'a>,
    span: Range<usize>,
    /// Where that stands which signs it, if it is reasoning.
    signature: Option<Range<usize>>,
}

struct Walk<'a> {
    cursor: Cursor<'a>,
    body: &'a [u8],
    side: Side,
    dialect: Dialect,
    operation: Operation,
    /// Whether the elements of the field are items of the Responses API.
    items: bool,
    /// Whether the body has `messages`, once somebody asked.
    messages: Option<bool>,
    /// Where that stands which signs the texts here.
    signature: Option<Range<usize>>,
    /// Whether a number stood where an input may.
    has_tokens: bool,
    found: Vec<Found<'a>>,
}

impl<'a> Walk<'a> {
    fn new(body: &'a [u8], side: Side, dialect: Dialect, operation: Operation) -> Self {
        Self {
            cursor: Cursor::new(body),
            body,
            side,
            dialect,
            operation,
            items: false,
            messages: None,
            signature: None,
            has_tokens: false,
            found: Vec::new(),
        }
    }

    fn body(&mut self) {
        if !self.cursor.enter(b'{') {
            self.cursor.value();
            return;
        }
        while let Some(key) = self.cursor.next_key() {
            if self.is_request_to_count(&key.name) {
                self.body();
                continue;
            }
            self.items = has_items(&key.name, self.dialect);
            match top_level(&key.name, self.side, self.dialect, self.operation) {
                Some(TextKind::User) if self.is_passed_over(&key.name) => self.any(TextKind::Context, 0),
                Some(kind) => self.any(kind, 0),
                None => self.other(&key.name),
            }
        }
    }

    /// Whether the field holds a whole body, whose tokens are to be counted.
    fn is_request_to_count(&mut self, name: &[u8]) -> bool {
        name == b"generateContentRequest"
            && (self.dialect, self.operation) == (Dialect::Gemini, Operation::CountTokens)
            && self.cursor.peek() == Some(b'{')
    }

    /// Whether the field is not what is asked, because another one is: beside `messages` Chat has no `input`.
    fn is_passed_over(&mut self, name: &[u8]) -> bool {
        let body = self.body;
        let has_messages = || {
            let mut there = false;
            Cursor::new(body).members(|name, cursor| {
                there |= name == b"messages";
                cursor.value();
            });
            there
        };
        name == b"input" && self.dialect == Dialect::OpenAiChat && *self.messages.get_or_insert_with(has_messages)
    }

    /// A value that is a text, or has some.
    fn any(&mut self, kind: TextKind, depth: usize) {
        match self.cursor.peek() {
            Some(b'"') => self.string(kind, false),
            Some(b'[') if depth < DEEPEST => {
                self.cursor.enter(b'[');
                while self.cursor.next_element() {
                    self.any(kind, depth + 1);
                }
            }
            Some(b'{') if depth < DEEPEST => self.object(kind, depth),
            first => {
                self.has_tokens |= kind == TextKind::Input && matches!(first, Some(b'0'..=b'9' | b'-'));
                self.cursor.value();
            }
        }
    }

    fn object(&mut self, kind: TextKind, depth: usize) {
        let said = self.said();
        let kind = self.kind(kind, &said, depth);
        let around = self.signature.clone();
        self.signature = said.signature.clone().or_else(|| around.clone());
        self.cursor.enter(b'{');
        while let Some(key) = self.cursor.next_key() {
            match &*key.name {
                b"data" if said.is("text") => self.any(kind, depth + 1),
                b"data" if self.dialect == Dialect::Cohere => self.json(kind, false),
                b"title" | b"context" if self.is_document(&said) => self.any(kind, depth + 1),
                b"variables" if kind == TextKind::Context => self.values(kind, depth + 1),
                b"prompt" | b"word" if kind == TextKind::Input => self.any(kind, depth + 1),
                b"parts" if self.dialect == Dialect::Gemini => self.parts(kind, depth + 1),
                name => match self.items.then(|| of_item(&said.type_, name)).flatten().or_else(|| within(name)) {
                    Some(Within::Same) => self.any(kind, depth + 1),
                    // Only a model reasons and declines: of others it is what they say.
                    Some(Within::OfModel(own)) if kind == TextKind::Assistant => self.any(own, depth + 1),
                    Some(Within::OfModel(_)) => self.any(kind, depth + 1),
                    Some(Within::ToolResult) => self.any(TextKind::ToolResult, depth + 1),
                    Some(Within::Json(own)) => self.json(own, false),
                    Some(Within::JsonText(own)) => self.json(own, true),
                    None => self.other(name),
                },
            }
        }
        self.signature = around;
    }

    /// The parts of a message: texts that follow each other are one to who reads it.
    fn parts(&mut self, kind: TextKind, depth: usize) {
        let first = self.found.len();
        self.any(kind, depth);
        let mut before = None;
        for Found { text, .. } in self.found.iter_mut().skip(first) {
            text.goes_on = before.replace(text.kind) == Some(text.kind) && !text.json;
        }
    }

    /// A field that holds no text, unless the provider reads it as one that does.
    fn other(&mut self, name: &[u8]) {
        if self.side == Side::Request && is_spelt_otherwise(name) {
            self.json(TextKind::Context, false);
        } else {
            self.cursor.value();
        }
    }

    /// The values of an object, whatever they are called.
    fn values(&mut self, kind: TextKind, depth: usize) {
        if !self.cursor.enter(b'{') {
            self.cursor.value();
            return;
        }
        while self.cursor.next_key().is_some() {
            self.any(kind, depth + 1);
        }
    }

    /// Who says what stands in an object, which says this of itself and stands in what `outer` says.
    fn kind(&self, outer: TextKind, said: &Said<'_>, depth: usize) -> TextKind {
        if outer == TextKind::Context {
            return outer;
        }
        let is_item = self.items && depth <= 1 && said.role.is_none();
        let has_blocks = matches!(self.dialect, Dialect::Anthropic | Dialect::Own(_)) && said.role.is_none();
        if (is_item && said.ends_with("_call_output")) || (has_blocks && said.ends_with("tool_result")) {
            return TextKind::ToolResult;
        }
        if is_item && said.is("reasoning") {
            return TextKind::Reasoning;
        }
        // Nothing but a message has a role.
        let kind = said.role.filter(|_| outer == TextKind::User && depth <= 1).unwrap_or(outer);
        let thinks = said.thought && matches!(self.dialect, Dialect::Gemini | Dialect::Own(_));
        if thinks && kind == TextKind::Assistant { TextKind::Reasoning } else { kind }
    }

    fn is_document(&self, said: &Said<'_>) -> bool {
        match self.dialect {
            Dialect::Anthropic => said.is("document") || said.is("search_result"),
            dialect => dialect == Dialect::Bedrock,
        }
    }

    /// What the object that comes next says of itself; the cursor stays.
    fn said(&mut self) -> Said<'a> {
        let start = self.cursor.at();
        let mut said = Said::default();
        self.cursor.enter(b'{');
        while let Some(key) = self.cursor.next_key() {
            match &*key.name {
                b"role" => said.role = self.cursor.text().and_then(|role| role_of(&role)).or(said.role),
                b"type" => said.type_ = self.cursor.text().unwrap_or_default(),
                b"thought" => {
                    let value = self.cursor.value();
                    said.thought = self.cursor.slice(value) == b"true";
                }
                b"signature" | b"thoughtSignature" | b"thought_signature" => said.signature = Some(self.cursor.value()),
                b"encrypted_content" if self.items => said.signature = Some(self.cursor.value()),
                _ => drop(self.cursor.value()),
            }
        }
        self.cursor.go_back(start);
        said
    }

    fn string(&mut self, kind: TextKind, json: bool) {
        let inner = self.cursor.string();
        let span = inner.start - 1..inner.end + 1;
        let raw = String::from_utf8_lossy(self.cursor.slice(inner));
        let text = if raw.contains('\\') { unescaped(&raw).into() } else { raw };
        self.push(kind, text, json, span);
    }

    fn push(&mut self, kind: TextKind, text: Cow<'a, str>, json: bool, span: Range<usize>) {
        let signature = self.signature.clone().filter(|_| kind == TextKind::Reasoning);
        self.found.push(Found {
            text: Text { kind, text, json, number: self.found.len(), goes_on: false },
            span,
            signature,
        });
    }

    /// Arguments or results: an object, or a string that may hold one.
    fn json(&mut self, kind: TextKind, string_is_json: bool) {
        match self.cursor.peek() {
            Some(b'"') => self.string(kind, string_is_json),
            Some(b'{' | b'[') => {
                let span = self.cursor.value();
                let text = String::from_utf8_lossy(self.cursor.slice(span.clone()));
                self.push(kind, text, true, span);
            }
            _ => drop(self.cursor.value()),
        }
    }
}

/// What stands between the quotes of a string. There is something to look at whatever it is: half of a surrogate pair becomes
/// the replacement character, and what is no string at all stays as it is.
fn unescaped(raw: &str) -> String {
    let quoted = format!("\"{raw}\"");
    let read = serde_json::from_str(&quoted).or_else(|_| serde_json::from_slice(&whole_characters(quoted.as_bytes())));
    read.unwrap_or_else(|_| raw.to_owned())
}

/// What an object says of itself.
#[derive(Default)]
struct Said<'a> {
    role: Option<TextKind>,
    type_: Cow<'a, [u8]>,
    thought: bool,
    signature: Option<Range<usize>>,
}

impl Said<'_> {
    fn is(&self, type_: &str) -> bool {
        *self.type_ == *type_.as_bytes()
    }

    fn ends_with(&self, type_: &str) -> bool {
        self.type_.ends_with(type_.as_bytes())
    }
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests;
