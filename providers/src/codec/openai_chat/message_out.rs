//! Messages for a provider.

use std::borrow::Cow;

use serde::Serialize;

use super::part_out::{Fields, PartBody, PartOut, part_kind};
use super::reasoning::{AnyDetail, joined, write_details};
use super::{OWN, spelt};
use crate::codec::Target;
use crate::common::{
    Block, CacheMark, Content, Json, Losses, Media, MediaKind, MediaSource, Message, Opaque, Reasoning, Request, Role,
    Str, Text, ToolCall, ToolResult, flat_name,
};
use crate::preset::ReasoningSpelling;

/// One message.
#[derive(Serialize, Default)]
pub(super) struct MessageOut<'r> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<ContentOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Cow<'r, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Cow<'r, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasoning_details: Vec<AnyDetail<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<PartOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<AudioOut<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<Cow<'r, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<&'r Json<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<ExtraOut<'r>>,
    #[serde(flatten)]
    rest: Fields<'r>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ContentOut<'r> {
    Null,
    Text(Cow<'r, str>),
    Parts(Vec<PartOut<'r>>),
}

#[derive(Serialize)]
struct AudioOut<'r> {
    id: &'r str,
}

/// A call.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum CallOut<'r> {
    /// Of a function or custom tool.
    Known(KnownCall<'r>),
    /// A piece of one in a stream.
    Piece(super::stream_out::CallPiece<'r>),
    /// As it was read.
    Raw(&'r Json<'r>),
}

#[derive(Serialize, Default)]
pub(super) struct KnownCall<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<u32>,
    pub(super) id: Cow<'r, str>,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function: Option<FunctionOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom: Option<CustomOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extra_content: Option<ExtraOut<'r>>,
    #[serde(flatten)]
    pub(super) rest: Fields<'r>,
}

#[derive(Serialize)]
pub(super) struct FunctionOut<'r> {
    pub(super) name: Cow<'r, str>,
    pub(super) arguments: Cow<'r, str>,
}

#[derive(Serialize)]
pub(super) struct CustomOut<'r> {
    pub(super) name: Cow<'r, str>,
    pub(super) input: &'r str,
}

/// A thought signature where Gemini's endpoint has it.
#[derive(Serialize)]
pub(super) struct ExtraOut<'r> {
    google: GoogleOut<'r>,
}

#[derive(Serialize)]
struct GoogleOut<'r> {
    thought_signature: Cow<'r, str>,
}

impl<'r> ExtraOut<'r> {
    pub(super) fn new(signature: impl Into<Cow<'r, str>>) -> Self {
        Self { google: GoogleOut { thought_signature: signature.into() } }
    }
}

/// Writes the messages of a request.
pub(super) struct Messages<'r, 'w> {
    own: bool,
    /// Whether it is OpenAI itself, or Azure.
    reference: bool,
    target: &'w Target<'w>,
    losses: &'w mut Losses,
    out: Vec<MessageOut<'r>>,
    /// Media of tool results, to be shown in a user message behind them.
    attached: Vec<PartOut<'r>>,
}

/// What stands in a result that has nothing but media.
const ATTACHED: &str = "The result is attached to the next user message.";

impl<'r, 'w> Messages<'r, 'w> {
    pub(super) fn write(
        request: &'r Request<'r>,
        target: &'w Target<'w>,
        losses: &'w mut Losses,
    ) -> Vec<MessageOut<'r>> {
        let own = request.dialect == OWN;
        let mut writer = Self {
            own,
            reference: super::request_out::is_reference(target),
            target,
            losses,
            out: Vec::with_capacity(request.messages.len() + 1),
            attached: Vec::new(),
        };
        if !request.system.is_empty() {
            let content = writer.instructions(&request.system, false);
            writer.push(MessageOut { role: "system", content: Some(content), ..MessageOut::default() });
        }
        for message in &request.messages {
            writer.message(message);
        }
        writer.flush();
        writer.out
    }

    fn push(&mut self, message: MessageOut<'r>) {
        if message.role != "tool" {
            self.flush();
        }
        self.out.push(message);
    }

    fn flush(&mut self) {
        if !self.attached.is_empty() {
            let content = Some(ContentOut::Parts(std::mem::take(&mut self.attached)));
            self.out.push(MessageOut { role: "user", content, ..MessageOut::default() });
        }
    }

    fn message(&mut self, message: &'r Message<'r>) {
        let Message { role, blocks, name, id: _, extras } = message;
        let rest = if self.own {
            Fields::outer(extras, "")
        } else {
            self.losses.note_extras("messages.", extras);
            Fields::default()
        };
        let listed = self.own && spelt(extras, "content").is_some();
        let base = MessageOut { name: name.as_deref(), rest, ..MessageOut::default() };
        match role {
            Role::System => {
                let content = Some(self.instructions(blocks, listed));
                self.push(MessageOut { role: "system", content, ..base });
            }
            Role::Developer => {
                let role = if self.own || self.target.quirks.developer_role { "developer" } else { "system" };
                let content = Some(self.instructions(blocks, listed));
                self.push(MessageOut { role, content, ..base });
            }
            Role::User => {
                let mut results = 0;
                for block in blocks {
                    if let Content::ToolResult(result) = &block.content {
                        results += 1;
                        self.tool_result(block, result, message, listed, rest);
                    }
                }
                if results == 0 || results < blocks.len() {
                    let mut parts = Vec::with_capacity(blocks.len());
                    for block in blocks {
                        if !matches!(block.content, Content::ToolResult(_)) {
                            self.part(block, &mut parts);
                        }
                    }
                    self.push(MessageOut { role: "user", content: Some(content(parts, listed)), ..base });
                }
            }
            Role::Assistant => self.assistant(blocks, message, listed, base),
        }
    }

    /// System and developer messages of other dialects are one text, as long as no mark wants parts: some vendors take no lists here.
    fn instructions(&mut self, blocks: &'r [Block<'r>], listed: bool) -> ContentOut<'r> {
        let mut parts = Vec::with_capacity(blocks.len());
        for block in blocks {
            self.part(block, &mut parts);
        }
        if self.own { content(parts, listed) } else { one_text(parts, "\n\n") }
    }

    fn tool_result(
        &mut self,
        block: &'r Block<'r>,
        result: &'r ToolResult<'r>,
        message: &'r Message<'r>,
        listed: bool,
        rest: Fields<'r>,
    ) {
        let ToolResult { call_id, name, content: blocks, is_error, custom: _ } = result;
        self.block_extras(block);
        let (mut parts, mut media) = (Vec::new(), Vec::new());
        for inner in blocks {
            match &inner.content {
                Content::Media(medium) if !self.own && !is_text(medium) => self.part(inner, &mut media),
                _ => self.part(inner, &mut parts),
            }
        }
        if let Some(mark) = self.cache(block.cache.as_ref())
            && let Some(last) = parts.last_mut()
        {
            last.cache = Some(mark);
        }
        if *is_error == Some(true) {
            let told = parts.iter().any(|part| matches!(&part.body, PartBody::Text(text) if tells_failure(text)));
            self.losses.note_if(!told, "messages.tool_result.error");
        }
        if !media.is_empty() {
            if parts.is_empty() {
                parts.push(PartOut::text(ATTACHED));
            }
            self.attached.push(PartOut::text(format!("Attached to the result of the tool call {call_id}:")));
            self.attached.append(&mut media);
        }
        let legacy = self.own && spelt(&message.extras, "function").is_some();
        let content = if self.own { content(parts, listed) } else { one_text(parts, "\n") };
        self.push(MessageOut {
            role: if legacy { "function" } else { "tool" },
            content: Some(content),
            name: name.as_deref().filter(|_| self.own),
            tool_call_id: (!legacy).then(|| self.call_id(call_id)),
            rest,
            ..MessageOut::default()
        });
    }

    fn call_id(&self, id: &'r str) -> Cow<'r, str> {
        if self.target.quirks.short_tool_ids { short_id(id) } else { id.into() }
    }

    fn cache(&mut self, mark: Option<&'r CacheMark<'r>>) -> Option<&'r CacheMark<'r>> {
        let may = self.own || self.target.quirks.cache_control;
        self.losses.note_if(mark.is_some() && !may, "messages.cache");
        mark.filter(|_| may)
    }

    fn block_extras(&mut self, block: &'r Block<'r>) -> &'r [(Str<'r>, Json<'r>)] {
        if self.own {
            return &block.extras;
        }
        self.losses.note_extras("messages.", &block.extras);
        &[]
    }

    /// Appends what a block says as content parts.
    fn part(&mut self, block: &'r Block<'r>, parts: &mut Vec<PartOut<'r>>) {
        let cache = self.cache(block.cache.as_ref());
        let extras = self.block_extras(block);
        let body = match &block.content {
            Content::Text(Text { text, citations, signature }) => {
                self.losses.note_if(!citations.is_empty(), "messages.citations");
                self.losses.note_if(signature.is_some(), "messages.signature");
                PartBody::Text((&**text).into())
            }
            Content::Refusal(text) if self.own => PartBody::Refusal(text),
            Content::Refusal(text) => PartBody::Text((&**text).into()),
            Content::Media(media) => return self.media(media, cache, extras, parts),
            Content::Foreign(foreign) if foreign.dialect == OWN => PartBody::Raw(&foreign.raw),
            Content::Foreign(foreign) => return self.losses.note_foreign("messages.", &foreign.kind),
            Content::Reasoning(_) => return self.losses.note("messages.reasoning"),
            Content::ToolCall(_) => return self.losses.note("messages.tool_call"),
            Content::ToolResult(_) => return self.losses.note("messages.tool_result"),
        };
        parts.push(PartOut { body, cache, extras });
    }

    fn media(
        &mut self,
        media: &'r Media<'r>,
        cache: Option<&'r CacheMark<'r>>,
        extras: &'r [(Str<'r>, Json<'r>)],
        parts: &mut Vec<PartOut<'r>>,
    ) {
        let Media { kind, source, mime: _, name, detail: _, context, cite, transcript, signature } = media;
        self.losses.note_if(signature.is_some(), "messages.signature");
        self.losses.note_if(*cite == Some(true), "messages.citations");
        if let Some(context) = context {
            parts.push(PartOut::text(&**context));
        }
        match source {
            MediaSource::Text(text) => {
                let text = match name {
                    Some(name) => Cow::Owned(format!("{name}\n\n{text}")),
                    None => (&**text).into(),
                };
                parts.push(PartOut { body: PartBody::Text(text), cache, extras });
            }
            MediaSource::Blocks(blocks) => {
                if let Some(name) = name {
                    parts.push(PartOut::text(&**name));
                }
                blocks.iter().for_each(|block| self.part(block, parts));
                if let (Some(last), Some(mark)) = (parts.last_mut(), cache) {
                    last.cache = Some(mark);
                }
            }
            // What was uploaded to one provider is unknown to another.
            MediaSource::File(_) if !self.own => self.note_media(*kind),
            MediaSource::Data(_) | MediaSource::Url(_) | MediaSource::File(_) => {
                let part = part_kind(media, extras);
                // OpenAI itself takes no films, and sound and documents only as data.
                let by_url = matches!(source, MediaSource::Url(_)) && *kind != MediaKind::Image;
                if self.reference && !self.own && (by_url || *kind == MediaKind::Video) {
                    self.note_media(*kind);
                    if let Some(transcript) = transcript {
                        parts.push(PartOut::text(&**transcript));
                    }
                    return;
                }
                parts.push(PartOut { body: PartBody::Media(part, media), cache, extras });
            }
        }
    }

    fn note_media(&mut self, kind: MediaKind) {
        self.losses.note(match kind {
            MediaKind::Image => "messages.image",
            MediaKind::Audio => "messages.audio",
            MediaKind::Video => "messages.video",
            MediaKind::Document => "messages.document",
        });
    }

    fn assistant(&mut self, blocks: &'r [Block<'r>], message: &'r Message<'r>, listed: bool, base: MessageOut<'r>) {
        let mut out = MessageOut { role: "assistant", ..base };
        let mut parts = Vec::new();
        let mut reasoned = 0;
        for block in blocks {
            match &block.content {
                Content::Text(text) => {
                    let Text { text, citations, signature } = text;
                    let own = citations.iter().filter_map(|citation| citation.raw.as_ref());
                    out.annotations.extend(own.filter(|(dialect, _)| *dialect == OWN && self.own).map(|(_, raw)| raw));
                    self.losses.note_if(!self.own && !citations.is_empty(), "messages.citations");
                    if let Some(signature) = self.signature(signature.as_ref()) {
                        out.extra_content = Some(ExtraOut::new(signature));
                    }
                    let (cache, extras) = (self.cache(block.cache.as_ref()), self.block_extras(block));
                    parts.push(PartOut { body: PartBody::Text((&**text).into()), cache, extras });
                }
                Content::Refusal(text) if (self.own || self.reference) && out.refusal.is_none() => {
                    self.cache(block.cache.as_ref());
                    self.block_extras(block);
                    out.refusal = Some(text);
                }
                Content::Media(media) => self.assistant_media(block, media, &mut out, &mut parts),
                Content::Reasoning(reasoning) => {
                    self.reasoning(block, reasoning, message, reasoned, &mut out, &mut parts);
                    reasoned += 1;
                }
                Content::ToolCall(call) => self.call(block, call, message, &mut out),
                Content::Foreign(foreign) if self.own && foreign.kind.starts_with("reasoning.") => {
                    out.reasoning_details.push(AnyDetail::Raw(&foreign.raw));
                }
                Content::Foreign(foreign) if self.own && block.id.is_some() => {
                    out.tool_calls.push(CallOut::Raw(&foreign.raw));
                }
                Content::Refusal(_) | Content::ToolResult(_) | Content::Foreign(_) => self.part(block, &mut parts),
            }
        }
        let says_otherwise = out.refusal.is_some()
            || out.audio.is_some()
            || out.function_call.is_some()
            || !out.tool_calls.is_empty()
            || !out.images.is_empty();
        out.content = Some(match parts.is_empty() {
            true if says_otherwise => ContentOut::Null,
            // Thinking stands in parts; the text behind it is a part, too.
            _ if self.own || parts.iter().any(|part| matches!(part.body, PartBody::Thinking(_))) => {
                content(parts, listed)
            }
            _ => one_text(parts, ""),
        });
        self.push(out);
    }

    fn assistant_media(
        &mut self,
        block: &'r Block<'r>,
        media: &'r Media<'r>,
        out: &mut MessageOut<'r>,
        parts: &mut Vec<PartOut<'r>>,
    ) {
        let extras = self.block_extras(block);
        self.cache(block.cache.as_ref());
        let images = self.own || self.target.quirks.reasoning == ReasoningSpelling::Object;
        match (media.kind, &block.id) {
            (MediaKind::Audio, Some(id)) if self.own => out.audio = Some(AudioOut { id }),
            (MediaKind::Image, _) if images => {
                self.losses.note_if(media.signature.is_some(), "messages.signature");
                let body = PartBody::Media(part_kind(media, extras), media);
                out.images.push(PartOut { body, cache: None, extras });
            }
            (kind, _) => {
                self.note_media(kind);
                if let Some(transcript) = &media.transcript {
                    parts.push(PartOut::text(&**transcript));
                }
            }
        }
    }

    /// What the provider may see of opaque state.
    fn signature(&mut self, signature: Option<&'r Opaque<'r>>) -> Option<&'r str> {
        let seen = signature.and_then(|signature| signature.for_provider(OWN, self.target.provider));
        self.losses.note_if(signature.is_some() && seen.is_none(), "messages.signature");
        seen
    }

    fn reasoning(
        &mut self,
        block: &'r Block<'r>,
        reasoning: &'r Reasoning<'r>,
        message: &'r Message<'r>,
        index: usize,
        out: &mut MessageOut<'r>,
        parts: &mut Vec<PartOut<'r>>,
    ) {
        self.cache(block.cache.as_ref());
        let extras = self.block_extras(block);
        if let Some(raw) = spelt(extras, "part") {
            return parts.push(PartOut::new(PartBody::Raw(raw)));
        }
        let Reasoning { text, summary, signature, encrypted } = reasoning;
        let shown = if text.is_empty() { joined(summary) } else { Some(text.borrowed()) };
        let shown = shown.map(|text| Cow::<str>::Owned(text.into_string()));
        let told = |name: &str| spelt(&message.extras, name).is_some();
        let spelling = self.target.quirks.reasoning;
        let (content, plain, detailed) = match self.own {
            true => (told("reasoning_content"), told("reasoning"), told("reasoning_details")),
            false => {
                let object = spelling == ReasoningSpelling::Object;
                (spelling == ReasoningSpelling::Effort && !self.reference, object, object)
            }
        };
        let add = |field: &mut Option<Cow<'r, str>>, text: &Option<Cow<'r, str>>| {
            if let Some(text) = text {
                field.get_or_insert_default().to_mut().push_str(text);
            }
        };
        let in_parts = !self.own && spelling == ReasoningSpelling::Parts;
        let visible = shown.is_some() && (content || plain || in_parts);
        if content {
            add(&mut out.reasoning_content, &shown);
        }
        if plain {
            add(&mut out.reasoning, &shown);
        }
        let before = out.reasoning_details.len();
        if detailed {
            let signature = self.signature(signature.as_ref()).map(Str::from);
            let encrypted = self.signature(encrypted.as_ref()).map(Str::from);
            // Without a signature the details say nothing that the plain text does not.
            if self.own || signature.is_some() || encrypted.is_some() {
                let id = block.id.as_deref();
                write_details(reasoning, signature, encrypted, id, index, extras, &mut out.reasoning_details);
            }
        } else {
            self.losses.note_if((signature.is_some() || encrypted.is_some()) && visible, "messages.signature");
        }
        let detailed = out.reasoning_details.len() > before;
        if let Some(shown) = shown.filter(|_| in_parts) {
            parts.push(PartOut::new(PartBody::Thinking(shown)));
        }
        self.losses.note_if(!visible && !detailed, "messages.reasoning");
    }

    fn call(
        &mut self,
        block: &'r Block<'r>,
        call: &'r ToolCall<'r>,
        message: &'r Message<'r>,
        out: &mut MessageOut<'r>,
    ) {
        self.cache(block.cache.as_ref());
        let extras = self.block_extras(block);
        let ToolCall { id, name, arguments, custom, namespace, signature } = call;
        let name = flat_name(namespace.as_deref(), name);
        if self.own && spelt(&message.extras, "function_call").is_some() {
            out.function_call = Some(FunctionOut { name, arguments: (&**arguments).into() });
            return;
        }
        let native = *custom && (self.own || self.reference);
        let mut known = KnownCall { id: self.call_id(id), rest: Fields::outer(extras, ""), ..KnownCall::default() };
        known.extra_content = self.signature(signature.as_ref()).map(ExtraOut::new);
        if native {
            known.kind = "custom";
            known.custom = Some(CustomOut { name, input: arguments });
        } else {
            known.kind = "function";
            let arguments = match (*custom, &**arguments) {
                (true, _) => call.arguments_object().get().to_owned().into(),
                (false, "") if !self.own => "{}".into(),
                (false, arguments) => arguments.into(),
            };
            known.function = Some(FunctionOut { name, arguments });
        }
        out.tool_calls.push(CallOut::Known(known));
    }
}

/// A string where that says the same, unless the client wrote a list.
fn content(mut parts: Vec<PartOut<'_>>, listed: bool) -> ContentOut<'_> {
    match parts.as_mut_slice() {
        [] => ContentOut::Text("".into()),
        [only] if !listed => match only.bare_text() {
            Some(text) => ContentOut::Text(text.clone()),
            None => ContentOut::Parts(parts),
        },
        _ => ContentOut::Parts(parts),
    }
}

/// Texts joined to one string; parts only if something else is among them.
fn one_text<'r>(parts: Vec<PartOut<'r>>, between: &str) -> ContentOut<'r> {
    let texts: Option<Vec<&Cow<'r, str>>> = parts.iter().map(PartOut::bare_text).collect();
    match texts.as_deref() {
        Some([]) => ContentOut::Text("".into()),
        Some([only]) => ContentOut::Text((*only).clone()),
        Some(several) => ContentOut::Text(several.iter().map(|text| &***text).collect::<Vec<_>>().join(between).into()),
        None => ContentOut::Parts(parts),
    }
}

/// Whether a medium is written as text.
fn is_text(media: &Media<'_>) -> bool {
    matches!(media.source, MediaSource::Text(_) | MediaSource::Blocks(_))
}

/// Whether a text says by itself that something went wrong.
fn tells_failure(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["error", "fail", "exception", "denied", "not found", "invalid"].iter().any(|word| lower.contains(word))
}

/// Nine letters and digits that stand for `id` (Mistral takes nothing else): itself if it is of that form, else a hash.
fn short_id(id: &str) -> Cow<'_, str> {
    if id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return id.into();
    }
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    // FNV-1a, 64 bits; nine digits of base 62 hold 53 of them.
    let mut hash = id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mut short = String::with_capacity(9);
    for _ in 0..9 {
        short.push(char::from(DIGITS[(hash % 62) as usize]));
        hash /= 62;
    }
    short.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_are_nine_letters_or_digits_and_always_the_same() {
        assert_eq!(short_id("a1B2c3D4e"), "a1B2c3D4e");
        let (one, other) = (short_id("toolu_01A"), short_id("toolu_01B"));
        assert_ne!(one, other);
        assert_eq!(one, short_id("toolu_01A"));
        assert!(one.len() == 9 && one.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{one}");
    }
}
