//! Messages for a provider: of all but the model.

use std::borrow::Cow;

use super::message_wire::{ContentOut, MessageOut};
use super::part_out::{Fields, PartBody, PartOut, part_kind};
use super::{OWN, spelt};
use crate::codec::ids::respelt;
use crate::codec::openai::{is_reference, reads, words_of_detail};
use crate::codec::{Target, detail};
use crate::common::{
    Block, CacheMark, Content, Json, Losses, Media, MediaKind, MediaSource, Message, Request, Role, Str, Text,
    ToolResult,
};
use crate::dialect::Dialect;

/// Writes the messages of a request.
pub(super) struct Messages<'r, 'w> {
    pub(super) own: bool,
    /// Whether it is OpenAI itself, or Azure.
    pub(super) reference: bool,
    /// What stands between two things that the model said or thought.
    pub(super) between: &'static str,
    pub(super) target: &'w Target<'w>,
    pub(super) losses: &'w mut Losses,
    out: Vec<MessageOut<'r>>,
    /// Media of tool results, to be shown in a user message behind them.
    attached: Vec<PartOut<'r>>,
}

/// The longest id of a call that OpenAI and Azure take, and how much of it is a hash where it is made of a longer one.
const LONGEST_ID: usize = 40;
const HASH: usize = 17;

/// What stands in a result that has nothing but media.
const ATTACHED: &str = "The result is attached to the next user message.";

impl<'r, 'w> Messages<'r, 'w> {
    pub(super) fn write(
        request: &'r Request<'r>,
        target: &'w Target<'w>,
        losses: &'w mut Losses,
    ) -> Vec<MessageOut<'r>> {
        let own = request.dialect == OWN;
        // Clients of this dialect may have cut one thought into pieces, and google-genai keeps each chunk of a stream as a message.
        let whole = !matches!(request.dialect, OWN | Dialect::Gemini);
        let mut writer = Self {
            own,
            reference: is_reference(target),
            between: if whole { "\n\n" } else { "" },
            target,
            losses,
            out: Vec::with_capacity(request.messages.len() + 1),
            attached: Vec::new(),
        };
        if !request.system.is_empty() {
            let content = writer.instructions(&request.system, false);
            writer.push(MessageOut { role: "system", content: Some(content), ..MessageOut::default() });
        }
        for run in request.runs(own) {
            writer.messages(run);
        }
        writer.flush();
        writer.out
    }

    pub(super) fn push(&mut self, message: MessageOut<'r>) {
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

    /// Writes the messages of a run: one, or several of the model in a row.
    fn messages(&mut self, run: &'r [Message<'r>]) {
        let Some(message) = run.first() else { return };
        let Message { role, blocks, name, id: _, extras } = message;
        let rest = if self.own {
            Fields::outer(extras, "")
        } else {
            run.iter().for_each(|message| self.losses.note_extras("messages.", &message.extras));
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
                let role = if self.target.quirks.developer_role { "developer" } else { "system" };
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
                    // Nothing is left, if there was something.
                    if parts.is_empty() && !blocks.is_empty() && !self.own {
                        return self.losses.note_message(blocks);
                    }
                    self.push(MessageOut { role: "user", content: Some(content(parts, listed)), ..base });
                }
            }
            Role::Assistant => self.assistant(run, listed, base),
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

    pub(super) fn call_id(&self, id: &'r str) -> Cow<'r, str> {
        if self.target.quirks.short_tool_ids {
            short_id(id)
        } else if self.reference && !self.own {
            respelt(id, LONGEST_ID, LONGEST_ID - HASH, |_| true)
        } else {
            id.into()
        }
    }

    pub(super) fn cache(&mut self, mark: Option<&'r CacheMark<'r>>) -> Option<&'r CacheMark<'r>> {
        let may = self.own || self.target.quirks.cache_control;
        self.losses.note_if(mark.is_some() && !may, "messages.cache");
        mark.filter(|_| may)
    }

    pub(super) fn block_extras(&mut self, block: &'r Block<'r>) -> &'r [(Str<'r>, Json<'r>)] {
        if self.own {
            return &block.extras;
        }
        self.losses.note_extras("messages.", &block.extras);
        &[]
    }

    /// Appends what a block says as content parts.
    pub(super) fn part(&mut self, block: &'r Block<'r>, parts: &mut Vec<PartOut<'r>>) {
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
        let Media { kind, source, mime: _, name, detail, context, cite, transcript, signature } = media;
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
            MediaSource::File(_) if !self.own => self.losses.note(kind.lost_in_message()),
            MediaSource::Data(_) | MediaSource::Url(_) | MediaSource::File(_) => {
                let part = part_kind(media, extras);
                // OpenAI itself takes no films, and sound and documents only as data.
                let by_url = matches!(source, MediaSource::Url(_)) && *kind != MediaKind::Image;
                let read = !by_url && *kind != MediaKind::Video && reads(media);
                if self.reference && !self.own && !read {
                    self.losses.note(kind.lost_in_message());
                    if let Some(transcript) = transcript {
                        parts.push(PartOut::text(&**transcript));
                    }
                    return;
                }
                self.losses.note_if(name.is_some() && part != "file" && !self.own, "messages.name");
                let detail = match detail.as_deref() {
                    detail if part == "image_url" && self.own => detail,
                    detail if part == "image_url" => {
                        detail::told(detail, words_of_detail(*kind, self.reference), self.losses)
                    }
                    detail => {
                        self.losses.note_if(detail::asks(detail), "messages.detail");
                        None
                    }
                };
                parts.push(PartOut { body: PartBody::Media(part, media, detail), cache, extras });
            }
        }
    }
}

/// A string where that says the same, unless the client wrote a list.
pub(super) fn content(mut parts: Vec<PartOut<'_>>, listed: bool) -> ContentOut<'_> {
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
pub(super) fn one_text<'r>(parts: Vec<PartOut<'r>>, between: &str) -> ContentOut<'r> {
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
