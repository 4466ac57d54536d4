//! The conversation as it is written.
//!
//! A client of this dialect gets its messages as they were, but for texts of no words, which Anthropic refuses. From other dialects come turns that alternate: results stand first in their turn,
//! texts without content are left out, and a turn of the assistant at the end is a beginning that the model goes on with (its trailing white space
//! is cut, Anthropic refuses it). Where a model does not go on with it, a user's `.` stands behind it (`messages.prefill` is lost); the same
//! stands where nothing but instructions is said. Anthropic takes conversations that begin with the assistant (recorded); Bedrock does not
//! (<https://github.com/anthropics/anthropic-sdk-typescript/issues/622>), there it stands in front of them.
//!
//! A mark beside the messages, for "cache whatever can be", is refused by clouds (<https://github.com/UKGovernmentBEIS/inspect_ai/pull/3851>):
//! it stands on the last block that takes one.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::OWN;
use super::block_out::{BlockOut, BodyOut, CiteOut, Known, SourceOut};
use super::marks::{Marks, mark_first, takes_mark};
use crate::codec::fields::Fields;
use crate::codec::ids::respelt;
use crate::codec::media::{guess, mime_of, says_nothing, usual_image};
use crate::codec::{Platform, detail};
use crate::common::{
    Block, Content, Json, Losses, Media, MediaKind, MediaSource, Message, ProviderTag, Reasoning, Request, Role, Text,
    ToolCall, ToolResult, flat_name, plain_mime,
};

#[derive(Serialize)]
pub(super) struct MessageOut<'x> {
    role: &'static str,
    content: Vec<BlockOut<'x>>,
    #[serde(flatten)]
    extras: Fields<'x, 'x>,
}

/// Instructions: a string where nothing but text is said.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum SystemOut<'x> {
    Text(&'x str),
    Blocks(Vec<BlockOut<'x>>),
}

/// What goes along while blocks are written.
pub(super) struct Writer<'w> {
    pub own: bool,
    pub provider: ProviderTag,
    pub platform: Platform,
    /// The model goes on with what the assistant has begun.
    pub prefill: bool,
    pub marks: Marks,
    pub losses: &'w mut Losses,
    /// Reasoning was left out that its provider could have read.
    pub dropped_reasoning: bool,
}

impl Writer<'_> {
    /// The instructions, wherever they stood. Those among the messages stay there if the client speaks this dialect.
    pub(super) fn system<'x>(&mut self, request: &'x Request<'_>) -> Option<SystemOut<'x>> {
        let blocks: Vec<&Block<'_>> =
            if self.own { request.system.iter().collect() } else { request.instructions().collect() };
        if let [Block { content: Content::Text(Text { text, citations, signature: None }), cache: None, id: _, extras }] =
            blocks[..]
            && citations.is_empty()
            && extras.is_empty()
        {
            return (self.own || !text.trim().is_empty()).then_some(SystemOut::Text(text));
        }
        let blocks: Vec<_> = blocks.into_iter().filter_map(|block| self.instruction(block)).collect();
        (!blocks.is_empty()).then_some(SystemOut::Blocks(blocks))
    }

    /// Instructions are texts.
    fn instruction<'x>(&mut self, block: &'x Block<'_>) -> Option<BlockOut<'x>> {
        match &block.content {
            Content::Media(media) if !self.own => {
                self.losses.note(media.kind.lost_in_message());
                None
            }
            _ => self.block(block),
        }
    }

    pub(super) fn messages<'x>(&mut self, request: &'x Request<'_>) -> Vec<MessageOut<'x>> {
        if self.own {
            return request.messages.iter().filter_map(|message| self.own_message(message)).collect();
        }
        let mut out: Vec<MessageOut<'x>> = Vec::with_capacity(request.messages.len());
        for message in &request.messages {
            self.note_message(message);
        }
        for turn in request.turns() {
            let is_result = |block: &&Block<'_>| matches!(block.content, Content::ToolResult(_));
            let results = turn.blocks().filter(is_result);
            let others = turn.blocks().filter(|block| !is_result(block));
            let content: Vec<_> = results.chain(others).filter_map(|block| self.block(block)).collect();
            let role = role_out(turn.role);
            match out.last_mut() {
                _ if content.is_empty() && turn.role == Role::User => self.losses.note_message(turn.blocks()),
                _ if content.is_empty() => {}
                Some(last) if last.role == role => last.content.extend(content),
                Some(_) | None => out.push(MessageOut { role, content, extras: Fields::default() }),
            }
        }
        let dot = || MessageOut { role: "user", content: vec![BlockOut::text(".")], extras: Fields::default() };
        let user_first = self.platform == Platform::BedrockInvoke;
        if out.first().is_none_or(|first| user_first && first.role != "user") {
            out.insert(0, dot());
        }
        if let Some(mark) = request.cache.automatic.as_ref().filter(|_| self.platform != Platform::Native) {
            mark_first(out.iter_mut().rev().flat_map(|message| message.content.iter_mut().rev()), mark);
        }
        if let Some(MessageOut { role: "assistant", content, .. }) = out.last_mut()
            && let Some(BlockOut::Known(Known { body: BodyOut::Text { text, .. }, .. })) = content.last_mut()
        {
            *text = text.trim_end();
        }
        if !self.prefill && out.last().is_some_and(|last| last.role == "assistant") {
            self.losses.note("messages.prefill");
            out.push(dot());
        }
        out
    }

    fn note_message(&mut self, message: &Message<'_>) {
        let Message { role: _, blocks: _, name, id: _, extras } = message;
        self.losses.note_if(name.is_some(), "messages.name");
        self.losses.note_extras("messages.", extras);
    }

    /// A message that has lost all it said is left out, and so is a text of no words.
    fn own_message<'x>(&mut self, message: &'x Message<'_>) -> Option<MessageOut<'x>> {
        let blocks = message.blocks.iter().filter(|block| !block.is_silent());
        let content: Vec<_> = blocks.filter_map(|block| self.block(block)).collect();
        (!content.is_empty() || message.blocks.is_empty()).then_some(MessageOut {
            role: role_out(message.role),
            content,
            extras: Fields(&message.extras),
        })
    }

    fn block<'x>(&mut self, block: &'x Block<'_>) -> Option<BlockOut<'x>> {
        let Block { content, cache, id: _, extras } = block;
        let body = match content {
            Content::Text(text) => self.text(text)?,
            Content::Refusal(text) => self.plain_text(text)?,
            Content::Media(media) => self.media(media, extras, false)?,
            Content::Reasoning(reasoning) => self.reasoning(reasoning)?,
            Content::ToolCall(call) => self.tool_call(call),
            Content::ToolResult(result) => self.tool_result(result),
            Content::Foreign(foreign) if foreign.dialect == OWN => return Some(BlockOut::Raw(&foreign.raw)),
            Content::Foreign(foreign) => {
                self.losses.note_foreign("messages.", &foreign.kind);
                return None;
            }
        };
        if !self.own {
            self.losses.note_extras("messages.", extras);
        }
        let markable = self.own || takes_mark(block);
        self.losses.note_if(cache.is_some() && !markable, "messages.cache");
        let cache_control = self.marks.take(cache.as_ref().filter(|_| markable), "messages.cache", self.losses);
        let extras = if self.own { Fields(extras) } else { Fields::default() };
        Some(BlockOut::Known(Known { body, cache_control, extras }))
    }

    fn plain_text<'x>(&mut self, text: &'x str) -> Option<BodyOut<'x>> {
        (self.own || !text.trim().is_empty()).then_some(BodyOut::Text { text, citations: Vec::new(), signature: None })
    }

    fn text<'x>(&mut self, text: &'x Text<'_>) -> Option<BodyOut<'x>> {
        let Text { text, citations, signature } = text;
        self.losses.note_if(signature.is_some(), "messages.signature");
        let mut body = self.plain_text(text)?;
        if let BodyOut::Text { citations: out, .. } = &mut body {
            out.extend(citations.iter().filter_map(|citation| match &citation.raw {
                Some((dialect, raw)) if *dialect == OWN => Some(raw),
                Some(_) | None => {
                    self.losses.note("messages.citations");
                    None
                }
            }));
        }
        Some(body)
    }

    fn media<'x>(
        &mut self,
        media: &'x Media<'_>,
        extras: &'x [(crate::common::Str<'_>, Json<'_>)],
        in_result: bool,
    ) -> Option<BodyOut<'x>> {
        let Media { kind, source, mime, name, detail, context, cite, transcript, signature } = media;
        self.losses.note_if(signature.is_some(), "messages.signature");
        self.losses.note_if(detail::asks(detail.as_deref()), "messages.detail");
        let body = match kind {
            MediaKind::Image => self.image(source, mime.as_deref()).map(|source| BodyOut::Image { source }),
            MediaKind::Document => self.document(source, mime.as_deref()).map(|source| match source {
                SourceOut::Content { content } if self.own && Fields(extras).get("source").is_some() => {
                    BodyOut::SearchResult {
                        title: name.as_deref().unwrap_or_default(),
                        content,
                        citations: cite_out(*cite),
                    }
                }
                source => BodyOut::Document {
                    source,
                    title: name.as_deref(),
                    context: context.as_deref(),
                    citations: cite_out(*cite),
                },
            }),
            MediaKind::Audio | MediaKind::Video => None,
        };
        if body.is_none() {
            self.losses.note(media_loss(*kind, in_result));
        }
        body.or_else(|| self.plain_text(transcript.as_deref().filter(|text| !text.is_empty())?))
    }

    fn image<'x>(&mut self, source: &'x MediaSource<'_>, mime: Option<&'x str>) -> Option<SourceOut<'x>> {
        match source {
            MediaSource::Data(data) => {
                let media_type = mime.filter(|_| self.own).or_else(|| image_type(mime, data))?;
                Some(SourceOut::Base64 { media_type, data })
            }
            MediaSource::Url(url) => self.url(url),
            MediaSource::File(file_id) if self.own => Some(SourceOut::File { file_id }),
            MediaSource::File(_) | MediaSource::Text(_) | MediaSource::Blocks(_) => None,
        }
    }

    fn document<'x>(&mut self, source: &'x MediaSource<'_>, mime: Option<&'x str>) -> Option<SourceOut<'x>> {
        match source {
            MediaSource::Data(data) if self.own => Some(SourceOut::Base64 { media_type: mime?, data }),
            MediaSource::Data(data) => match mime.map(plain_mime).as_deref() {
                Some("application/pdf") => Some(SourceOut::Base64 { media_type: "application/pdf", data }),
                None if data.starts_with("JVBERi") => Some(SourceOut::Base64 { media_type: "application/pdf", data }),
                Some(mime) if is_text(mime) => {
                    let text = String::from_utf8(STANDARD.decode(data.as_bytes()).ok()?).ok()?;
                    Some(SourceOut::Text { media_type: "text/plain", data: text.into() })
                }
                Some(_) | None => None,
            },
            MediaSource::Text(text) => {
                let media_type = mime.filter(|_| self.own).unwrap_or("text/plain");
                Some(SourceOut::Text { media_type, data: Cow::Borrowed(text) })
            }
            MediaSource::Url(url) => self.url(url),
            MediaSource::File(file_id) if self.own => Some(SourceOut::File { file_id }),
            MediaSource::File(_) => None,
            MediaSource::Blocks(blocks) => {
                let content: Vec<_> = blocks.iter().filter_map(|block| self.block(block)).collect();
                (self.own || !content.is_empty()).then_some(SourceOut::Content { content })
            }
        }
    }

    /// `gs:` and `s3:` are addresses within another provider. Clouds take bytes only:
    /// <https://platform.claude.com/docs/en/build-with-claude/vision>.
    fn url<'x>(&self, url: &'x str) -> Option<SourceOut<'x>> {
        let public = url.starts_with("https:") || url.starts_with("http:");
        (self.own || self.platform == Platform::Native && public).then_some(SourceOut::Url { url })
    }

    fn reasoning<'x>(&mut self, reasoning: &'x Reasoning<'_>) -> Option<BodyOut<'x>> {
        let Reasoning { text, summary: _, signature, encrypted } = reasoning;
        if let Some(data) = encrypted.as_ref().and_then(|state| state.for_provider(OWN, self.provider)) {
            return Some(BodyOut::RedactedThinking { data: data.into() });
        }
        let Some(signature) = signature.as_ref().and_then(|state| state.for_provider(OWN, self.provider)) else {
            self.losses.note("messages.reasoning");
            self.dropped_reasoning = true;
            return None;
        };
        Some(BodyOut::Thinking { thinking: (**text).into(), signature: signature.into() })
    }

    fn tool_call<'x>(&mut self, call: &'x ToolCall<'_>) -> BodyOut<'x> {
        let ToolCall { id, name, arguments: _, custom: _, namespace, signature } = call;
        self.losses.note_if(signature.is_some(), "messages.signature");
        BodyOut::ToolUse {
            id: self.call_id(id).into(),
            name: flat_name(namespace.as_deref(), name).into(),
            input: call.arguments_object(),
            signature: None,
        }
    }

    fn tool_result<'x>(&mut self, result: &'x ToolResult<'_>) -> BodyOut<'x> {
        let ToolResult { call_id, name: _, content, is_error, custom: _ } = result;
        let said = content.iter().filter(|block| !block.is_silent());
        let mut blocks: Vec<_> = said.filter_map(|block| self.result_block(block)).collect();
        // An error without words is refused.
        if blocks.is_empty() && *is_error == Some(true) && !self.own {
            blocks.push(BlockOut::text("error"));
        }
        BodyOut::ToolResult { tool_use_id: self.call_id(call_id).into(), content: blocks, is_error: *is_error }
    }

    fn result_block<'x>(&mut self, block: &'x Block<'_>) -> Option<BlockOut<'x>> {
        match &block.content {
            Content::Media(media) if !self.own => {
                self.losses.note_extras("messages.", &block.extras);
                let body = self.media(media, &block.extras, true)?;
                let cache_control = self.marks.take(block.cache.as_ref(), "messages.cache", self.losses);
                Some(BlockOut::Known(Known { body, cache_control, extras: Fields::default() }))
            }
            _ => self.block(block),
        }
    }

    /// Ids are letters, digits, `_` and `-`. Others are spelt with these, and a hash keeps them apart.
    fn call_id<'x>(&self, id: &'x str) -> Cow<'x, str> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.own {
            return Cow::Borrowed(id);
        }
        respelt(id, usize::MAX, 64, fits)
    }
}

fn cite_out(cite: Option<bool>) -> Option<CiteOut> {
    cite.map(|enabled| CiteOut { enabled })
}

const fn role_out(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::System | Role::Developer => "system",
    }
}

const fn media_loss(kind: MediaKind, in_result: bool) -> &'static str {
    match (kind, in_result) {
        (_, false) => kind.lost_in_message(),
        (MediaKind::Image, true) => "messages.tool_result.image",
        (MediaKind::Audio, true) => "messages.tool_result.audio",
        (MediaKind::Video, true) => "messages.tool_result.video",
        (MediaKind::Document, true) => "messages.tool_result.document",
    }
}

/// The media types that Anthropic reads; where none is told, the first bytes tell.
fn image_type(mime: Option<&str>, data: &str) -> Option<&'static str> {
    match mime {
        Some(mime) if !says_nothing(mime) => usual_image(mime),
        Some(_) | None => guess(MediaKind::Image, data, None).and_then(|word| mime_of(MediaKind::Image, word)),
    }
}

fn is_text(mime: &str) -> bool {
    mime.starts_with("text/") || matches!(mime, "application/json" | "application/xml" | "application/x-yaml")
}
