//! The conversation written: items of messages.

use std::borrow::Cow;

use super::OWN;
use super::fields::{find, has};
use super::items_out::{Body, Item, Kept, Part, Parts};
use crate::codec::detail;
use crate::codec::ids::{BASIS, hash};
use crate::codec::openai::{reads, words_of_detail};
use crate::common::{
    Block, Content, Losses, Media, MediaKind, MediaSource, Message, ProviderTag, Reasoning, Role, Str, Text, ToolCall,
    ToolResult,
};

/// Makes items of messages.
pub(super) struct Items<'b, 'l> {
    pub(super) own: bool,
    /// Whether it is OpenAI itself, or Azure.
    pub(super) reference: bool,
    pub(super) provider: ProviderTag,
    pub(super) input: Vec<Item<'b>>,
    pub(super) losses: &'l mut Losses,
    /// Calls of custom tools: in most dialects their results do not say what they are.
    pub(super) custom: Vec<&'b str>,
}

impl<'b> Items<'b, '_> {
    pub(super) fn instructions(&mut self, system: &'b [Block<'b>]) -> Option<Cow<'b, str>> {
        let mut all: Option<Cow<'b, str>> = None;
        for block in system {
            self.beside(block);
            let text = match &block.content {
                Content::Text(text) => &*text.text,
                Content::Refusal(text) => text,
                Content::Media(media) => match &media.source {
                    MediaSource::Text(text) => text,
                    _ => {
                        self.losses.note(media.kind.lost_in_message());
                        continue;
                    }
                },
                Content::Foreign(foreign) => {
                    self.losses.note_foreign("messages.", &foreign.kind);
                    continue;
                }
                Content::Reasoning(_) | Content::ToolCall(_) | Content::ToolResult(_) => continue,
            };
            match &mut all {
                None => all = Some(text.into()),
                Some(all) => {
                    let all = all.to_mut();
                    all.push_str("\n\n");
                    all.push_str(text);
                }
            }
        }
        all
    }

    /// What stands beside a block's content.
    fn beside(&mut self, block: &'b Block<'b>) -> Kept<'b> {
        let Block { content: _, cache, id: _, extras } = block;
        self.losses.note_if(cache.is_some(), "messages.cache");
        if self.own {
            return extras;
        }
        self.losses.note_extras("messages.", extras);
        &[]
    }

    pub(super) fn message(&mut self, message: &'b Message<'b>) {
        let Message { role, blocks, name, id, extras } = message;
        self.losses.note_if(name.is_some(), "messages.name");
        if !self.own {
            self.losses.note_extras("messages.", extras);
        }
        let extras: Kept<'b> = if self.own { extras } else { &[] };
        let before = self.input.len();
        let is_result = |block: &&Block<'_>| matches!(block.content, Content::ToolResult(_));
        // Results come before what the user adds to them.
        for block in blocks.iter().filter(is_result) {
            if let Content::ToolResult(result) = &block.content {
                self.result(result, block);
            }
        }
        let mut parts = Vec::new();
        for block in blocks.iter().filter(|block| !is_result(block)) {
            let part = |content: &Content<'_>| match content {
                Content::Text(_) | Content::Refusal(_) => true,
                Content::Media(_) => *role != Role::Assistant,
                Content::Foreign(_) => has(&block.extras, "=part"),
                Content::Reasoning(_) | Content::ToolCall(_) | Content::ToolResult(_) => false,
            };
            if part(&block.content) {
                self.part(block, *role, &mut parts);
                continue;
            }
            self.end_message(*role, id.as_deref(), extras, &mut parts);
            let kept = self.beside(block);
            let body = match &block.content {
                Content::Reasoning(reasoning) => self.reasoning(reasoning, has(&block.extras, "=foreign")),
                Content::ToolCall(call) => Some(self.call(call)),
                Content::Media(media) => self.image(media, block),
                Content::Foreign(foreign) if foreign.dialect == OWN => Some(Body::Foreign(&foreign.raw)),
                Content::Foreign(foreign) => {
                    self.losses.note_foreign("messages.", &foreign.kind);
                    None
                }
                Content::Text(_) | Content::Refusal(_) | Content::ToolResult(_) => None,
            };
            if let Some(body) = body {
                self.push(body, block.id.as_deref(), kept);
            }
        }
        self.end_message(*role, id.as_deref(), extras, &mut parts);
        if *role == Role::User && !self.own && self.input.len() == before {
            self.losses.note_message(blocks);
        }
    }

    fn push(&mut self, body: Body<'b>, id: Option<&'b str>, extras: Kept<'b>) {
        let prefix = match &body {
            Body::Message { .. } => "msg_",
            Body::Reasoning { .. } => "rs_",
            Body::Call { call, .. } if call.custom => "ctc_",
            Body::Call { .. } => "fc_",
            Body::Image { .. } => "ig_",
            Body::Result { .. } | Body::Foreign(_) => "",
        };
        // OpenAI refuses ids that it did not give: those of other vendors, and those that this gateway made up.
        let known =
            |id: &&str| id.strip_prefix(prefix).is_some_and(|rest| !rest.starts_with(super::response_out::MADE));
        let id = id.filter(|id| self.own && known(id)).map(Cow::Borrowed);
        let status = find(extras, "=status").and_then(|status| status.read::<&str>().ok());
        self.input.push(Item { id, status, body, extras });
    }

    /// Ends the message whose parts have been collected.
    fn end_message(&mut self, role: Role, id: Option<&'b str>, extras: Kept<'b>, parts: &mut Vec<Part<'b>>) {
        if parts.is_empty() {
            return;
        }
        let role = match role {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let content = match &parts[..] {
            [Part::InputText { text, extras: [] }] => Parts::Text(Cow::Borrowed(*text)),
            [Part::OutputText { text, citations: [], logprobs: None, extras: [] }] if id.is_none() => {
                Parts::Text(Cow::Borrowed(*text))
            }
            _ => Parts::List(std::mem::take(parts)),
        };
        parts.clear();
        self.push(Body::Message { role, content, beside: &[] }, id, extras);
    }

    fn part(&mut self, block: &'b Block<'b>, role: Role, parts: &mut Vec<Part<'b>>) {
        let extras = self.beside(block);
        match &block.content {
            Content::Text(Text { text, citations, signature }) => {
                self.losses.note_if(signature.is_some(), "messages.signature");
                let can_say = role == Role::Assistant && citations.iter().all(super::sources::can_say);
                self.losses.note_if(!citations.is_empty() && !can_say, "messages.citations");
                parts.push(match role {
                    Role::Assistant => Part::OutputText { text, citations, logprobs: None, extras },
                    Role::System | Role::Developer | Role::User => Part::InputText { text, extras },
                });
            }
            Content::Refusal(text) if role == Role::Assistant => parts.push(Part::Refusal { text, extras }),
            Content::Refusal(text) => parts.push(Part::InputText { text, extras }),
            Content::Media(media) => self.media(media, extras, parts),
            Content::Foreign(foreign) if foreign.dialect == OWN => parts.push(Part::Foreign(&foreign.raw)),
            Content::Foreign(foreign) => self.losses.note_foreign("messages.", &foreign.kind),
            Content::Reasoning(_) | Content::ToolCall(_) | Content::ToolResult(_) => {}
        }
    }

    fn media(&mut self, media: &'b Media<'b>, extras: Kept<'b>, parts: &mut Vec<Part<'b>>) {
        let Media { kind, source, mime: _, name, detail, context, cite, transcript, signature } = media;
        self.losses.note_if(*cite == Some(true), "messages.citations");
        self.losses.note_if(signature.is_some(), "messages.signature");
        let say = |text: &'b Str<'b>| Part::InputText { text, extras: &[] };
        parts.extend(context.as_ref().map(say));
        match source {
            MediaSource::Text(text) => {
                parts.extend(name.as_ref().map(say));
                parts.push(Part::InputText { text, extras });
            }
            MediaSource::Blocks(blocks) => {
                parts.extend(name.as_ref().map(say));
                blocks.iter().for_each(|block| self.part(block, Role::User, parts));
            }
            MediaSource::Data(_) | MediaSource::Url(_) | MediaSource::File(_) if self.takes(media) => {
                let own = detail.as_deref().filter(|_| self.own);
                let words = words_of_detail(*kind, self.reference);
                let detail = own.or_else(|| detail::told(detail.as_deref(), words, self.losses));
                self.losses.note_if(name.is_some() && *kind != MediaKind::Document, "messages.name");
                // A sound has no such field.
                let detail = detail.filter(|_| *kind != MediaKind::Audio);
                parts.push(Part::Media { media, detail, own: self.own, extras });
            }
            MediaSource::Data(_) | MediaSource::Url(_) | MediaSource::File(_) => {
                self.losses.note(kind.lost_in_message());
                parts.extend(transcript.as_ref().map(say));
            }
        }
    }

    /// Whether a medium can be shown.
    fn takes(&self, media: &Media<'_>) -> bool {
        let seen = matches!(media.kind, MediaKind::Image | MediaKind::Document);
        match &media.source {
            MediaSource::Data(_) if self.reference && !self.own && !reads(media) => false,
            MediaSource::Data(_) => seen || media.kind == MediaKind::Audio,
            MediaSource::Url(url) => seen && (self.own || url.starts_with("https:") || url.starts_with("http:")),
            MediaSource::File(_) => seen && self.own,
            MediaSource::Text(_) | MediaSource::Blocks(_) => true,
        }
    }

    /// An image in the model's own turn: only one that it drew can be said.
    fn image(&mut self, media: &'b Media<'b>, block: &Block<'_>) -> Option<Body<'b>> {
        match &media.source {
            MediaSource::Data(data) if self.own && media.kind == MediaKind::Image && block.id.is_some() => {
                Some(Body::Image { data })
            }
            _ => {
                self.losses.note(media.kind.lost_in_message());
                let text = media.transcript.as_deref()?;
                Some(Body::Message { role: "assistant", content: Parts::Text(Cow::Borrowed(text)), beside: &[] })
            }
        }
    }

    fn reasoning(&mut self, reasoning: &'b Reasoning<'b>, foreign: bool) -> Option<Body<'b>> {
        let Reasoning { text, summary, signature, encrypted } = reasoning;
        let state = encrypted.as_ref().or(signature.as_ref());
        let readable = [encrypted, signature].into_iter().flatten().find_map(|it| it.for_provider(OWN, self.provider));
        // Reasoning that its maker keeps is named by its id alone; that of open models is plain text.
        if readable.is_none() && !(self.own && !foreign && state.is_none()) {
            self.losses.note_if(!reasoning.is_empty(), "messages.reasoning");
            return None;
        }
        let mut summary: Vec<&str> = summary.iter().map(Str::as_str).collect();
        let mut text = (!text.is_empty()).then_some(&**text);
        // A client of another dialect was shown the summary as the reasoning itself.
        if !self.own && summary.is_empty() {
            summary.extend(text.take());
        }
        Some(Body::Reasoning { summary, text: text.filter(|_| self.own), encrypted: readable.map(Str::from) })
    }

    fn call(&mut self, call: &'b ToolCall<'b>) -> Body<'b> {
        // The signature has its place with its maker only; the gateway keeps it by the call's id.
        if call.custom {
            self.custom.push(&call.id);
        }
        let arguments = if call.arguments.is_empty() && !call.custom { "{}" } else { &call.arguments };
        Body::Call { call, id: call_id(&call.id), arguments }
    }

    fn result(&mut self, result: &'b ToolResult<'b>, block: &'b Block<'b>) {
        let ToolResult { call_id, name: _, content, is_error, custom } = result;
        self.losses.note_if(*is_error == Some(true), "messages.tool_result.error");
        let extras = self.beside(block);
        let mut parts = Vec::new();
        content.iter().for_each(|block| self.part(block, Role::User, &mut parts));
        let content = match &parts[..] {
            [] => Parts::Text(Cow::Borrowed("")),
            [Part::InputText { text, extras: [] }] => Parts::Text(Cow::Borrowed(*text)),
            _ => Parts::List(parts),
        };
        let custom = *custom || self.custom.contains(&&**call_id);
        let body = Body::Result { call_id: self::call_id(call_id), custom, content };
        self.push(body, block.id.as_deref(), extras);
    }
}

/// OpenAI takes ids of at most 64 characters; a longer one is told by its FNV-1a hash, the same for call and result.
fn call_id(id: &str) -> Cow<'_, str> {
    if id.len() <= 64 {
        return Cow::Borrowed(id);
    }
    format!("call_{:016x}{:016x}", hash(id, BASIS), hash(id, BASIS.rotate_left(32))).into()
}
