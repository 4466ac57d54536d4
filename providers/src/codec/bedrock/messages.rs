//! Messages written for a provider.

use super::{OWN, media, parts, write};
use crate::codec::detail;
use crate::common::{
    Block, CacheMark, Content, Extras, Foreign, Json, Losses, Media, MediaKind, Message, Opaque, ProviderTag,
    Reasoning, Role, ToolResult,
};

/// What writing messages needs to know, and what it finds out.
pub(super) struct Writer<'w> {
    /// The request came in this dialect: everything is written as it stood.
    pub(super) own: bool,
    pub(super) provider: ProviderTag,
    /// The model takes cache points.
    pub(super) caches: bool,
    /// The model goes on with what the assistant has begun.
    pub(super) prefill: bool,
    pub(super) names: media::Names,
    pub(super) losses: &'w mut Losses,
}

impl Writer<'_> {
    /// The conversation. Turns of a foreign one alternate, tool results stand first in theirs.
    pub(super) fn messages<'r>(&mut self, messages: &'r [Message<'r>]) -> Vec<write::Message<'r>> {
        let mut written: Vec<write::Message<'r>> = Vec::with_capacity(messages.len());
        for message in messages {
            let Message { role, blocks, name, id: _, extras } = message;
            self.losses.note_if(name.is_some(), "messages.name");
            let extras = self.extras("messages.", extras);
            let role = match role {
                Role::User => "user",
                Role::Assistant => "assistant",
                Role::System | Role::Developer if self.own => "system",
                // These are with the instructions.
                Role::System | Role::Developer => continue,
            };
            let mut content = Vec::with_capacity(blocks.len());
            for block in blocks {
                self.block(block, role, &mut content);
            }
            match written.last_mut() {
                Some(last) if !self.own && last.role == role => last.content.append(&mut content),
                Some(_) | None if self.own || !content.is_empty() => {
                    written.push(write::Message { role, content, extras });
                }
                Some(_) | None if role == "user" => self.losses.note_message(blocks),
                Some(_) | None => {}
            }
        }
        if !self.own {
            for message in &mut written {
                results_first(&mut message.content);
                document_needs_text(&mut message.content);
            }
            let dot = || write::Message {
                role: "user",
                content: vec![write::Part::Text(".".into())],
                extras: write::Fields(&[]),
            };
            // "A conversation must start with a user message."
            if written.first().is_none_or(|first| first.role != "user") {
                written.insert(0, dot());
            }
            if !self.prefill && written.last().is_some_and(|last| last.role == "assistant") {
                self.losses.note("messages.prefill");
                written.push(dot());
            }
        }
        written
    }

    /// The instructions.
    pub(super) fn system<'r>(&mut self, blocks: impl Iterator<Item = &'r Block<'r>>) -> Vec<write::Part<'r>> {
        let mut written = Vec::new();
        for block in blocks {
            match &block.content {
                Content::Text(_) | Content::Refusal(_) | Content::Foreign(_) => {
                    self.block(block, "system", &mut written)
                }
                Content::Media(media) => self.losses.note(media.kind.lost_in_message()),
                Content::Reasoning(_) => self.losses.note("messages.reasoning"),
                Content::ToolCall(_) | Content::ToolResult(_) => self.losses.note("messages.system"),
            }
        }
        written
    }

    fn block<'r>(&mut self, block: &'r Block<'r>, role: &str, out: &mut Vec<write::Part<'r>>) {
        let Block { content, cache, id: _, extras } = block;
        match content {
            Content::Text(text) => {
                self.losses.note_if(text.signature.is_some(), "messages.signature");
                let own = self.extras("messages.", extras);
                if let Some(part) = parts::shown(extras).filter(|_| self.own) {
                    out.push(part);
                } else if self.own || !parts::is_blank(&text.text) {
                    // Models take back what they cited themselves, if anything.
                    if self.own {
                        out.push(parts::text(text, own));
                    } else {
                        self.losses.note_if(!text.citations.is_empty(), "messages.citations");
                        out.push(write::Part::Text(text.text.borrowed()));
                    }
                }
            }
            Content::Refusal(text) => {
                self.extras("messages.", extras);
                if !parts::is_blank(text) {
                    out.push(write::Part::Text(text.borrowed()));
                }
            }
            Content::Media(media) => self.medium(media, extras, role, out),
            Content::Reasoning(reasoning) => self.reasoning(reasoning, extras, out),
            Content::ToolCall(call) => {
                self.losses.note_if(call.signature.is_some(), "messages.signature");
                let extras = self.extras("messages.", extras);
                out.push(parts::call(call, self.own, extras));
            }
            Content::ToolResult(result) => self.result(result, extras, out),
            Content::Foreign(foreign) => {
                self.extras("messages.", extras);
                let Foreign { dialect, kind, raw } = &**foreign;
                if *dialect == OWN {
                    out.push(write::Part::Raw(raw.borrowed()));
                } else {
                    self.losses.note_foreign("messages.", kind);
                }
            }
        }
        if let Some(mark) = cache {
            match out.last() {
                // The block was not written: what is before it is marked already, or there is nothing.
                Some(write::Part::CachePoint(_)) | None => {}
                Some(_) if self.caches => out.push(write::Part::CachePoint(cache_point(mark))),
                Some(_) => self.losses.note("messages.cache"),
            }
        }
    }

    fn medium<'r>(&mut self, media: &'r Media<'r>, extras: &'r Extras<'r>, role: &str, out: &mut Vec<write::Part<'r>>) {
        self.extras("messages.", extras);
        self.losses.note_if(!self.own && detail::asks(media.detail.as_deref()), "messages.detail");
        self.losses.note_if(media.signature.is_some(), "messages.signature");
        // The model itself may not send media back.
        let allowed = self.own || role != "assistant";
        match parts::medium(media, extras, self.own, &mut self.names) {
            Ok(part) if allowed => {
                self.losses.note_if(media.transcript.is_some(), "messages.transcript");
                out.push(part);
            }
            Ok(_) | Err(parts::Unsayable) => {
                self.losses.note(media.kind.lost_in_message());
                let transcript = media.transcript.as_ref().filter(|text| !parts::is_blank(text));
                out.extend(transcript.map(|text| write::Part::Text(text.borrowed())));
            }
        }
    }

    /// Foreign reasoning has nothing that proves it here, and models refuse it without.
    fn reasoning<'r>(&mut self, reasoning: &'r Reasoning<'r>, extras: &'r Extras<'r>, out: &mut Vec<write::Part<'r>>) {
        let Reasoning { text, summary, signature, encrypted } = reasoning;
        let extras = self.extras("messages.", extras);
        let provider = self.provider;
        let ours = |opaque: &'r Option<Opaque<'r>>| opaque.as_ref().map(|it| it.for_provider(OWN, provider));
        let (signature, encrypted) = (ours(signature), ours(encrypted));
        let shows = !text.is_empty() || !summary.is_empty();
        match signature {
            Some(Some(signature)) => {
                let text = write::ReasoningText { text: text.borrowed(), signature: Some(signature.into()), extras };
                out.push(write::Part::ReasoningContent(write::Reasoning::Text(text)));
            }
            Some(None) => {
                self.losses.note("messages.signature");
                self.losses.note_if(shows, "messages.reasoning");
            }
            None if self.own && (shows || encrypted.is_none()) => {
                let text = write::ReasoningText { text: text.borrowed(), signature: None, extras };
                out.push(write::Part::ReasoningContent(write::Reasoning::Text(text)));
            }
            None => self.losses.note_if(shows, "messages.reasoning"),
        }
        match encrypted {
            Some(Some(data)) => out.push(write::Part::ReasoningContent(write::Reasoning::Redacted(data.into()))),
            Some(None) => self.losses.note("messages.signature"),
            None => {}
        }
    }

    fn result<'r>(&mut self, result: &'r ToolResult<'r>, extras: &'r Extras<'r>, out: &mut Vec<write::Part<'r>>) {
        // The name is the call's, and what a custom tool returned is text all the same.
        let ToolResult { call_id, name: _, content, is_error, custom: _ } = result;
        let extras = self.extras("messages.", extras);
        let mut written = Vec::with_capacity(content.len());
        let mut marks = Vec::new();
        for block in content {
            match &block.content {
                // Only images, documents and videos.
                Content::Media(media) if !self.own && media.kind == MediaKind::Audio => {
                    self.losses.note("messages.tool_result.audio");
                }
                Content::Reasoning(_) => self.losses.note("messages.reasoning"),
                Content::ToolCall(_) | Content::ToolResult(_) => self.losses.note("messages.tool_result.content"),
                Content::Text(_) | Content::Refusal(_) | Content::Media(_) | Content::Foreign(_) => {
                    self.block(block, "user", &mut written);
                }
            }
            if let Some(write::Part::CachePoint(_)) = written.last() {
                marks.extend(written.pop());
            }
        }
        if written.is_empty() && !self.own {
            // Some models refuse a result without content, Claude one without words.
            written.push(write::Part::Text("(no output)".into()));
        }
        let status = is_error.map(|failed| if failed { "error" } else { "success" });
        let result = write::ToolResult { id: parts::call_id(call_id), content: written, status, extras };
        out.push(write::Part::ToolResult(result));
        // The innermost place for a mark is behind the result.
        out.extend(marks.pop());
    }

    /// Fields of a block or message that only its own dialect knows.
    fn extras<'r>(&mut self, place: &str, extras: &'r Extras<'r>) -> write::Fields<'r, 'r> {
        if self.own {
            return write::Fields(extras);
        }
        self.losses.note_extras(place, extras);
        write::Fields(&[])
    }
}

/// A block of this dialect as it stands on the wire, without its cache mark.
pub(super) fn raw_of(block: &Block<'_>) -> Json<'static> {
    let (mut losses, mut out) = (Losses::default(), Vec::with_capacity(2));
    let mut writer = Writer {
        own: true,
        provider: ProviderTag::of(""),
        caches: true,
        prefill: true,
        names: media::Names::default(),
        losses: &mut losses,
    };
    writer.block(block, "user", &mut out);
    out.first().map(Json::of).unwrap_or_default()
}

pub(super) fn cache_point<'r>(mark: &'r CacheMark<'_>) -> write::CachePoint<'r> {
    write::CachePoint { kind: "default", ttl: mark.ttl.as_deref(), extras: write::Fields(&[]) }
}

/// Moves tool results, and the cache points behind them, to the front.
fn results_first(content: &mut Vec<write::Part<'_>>) {
    let is_result = |part: &write::Part<'_>| matches!(part, write::Part::ToolResult(_));
    let after = content.iter().position(|part| !is_result(part)).unwrap_or(content.len());
    if !content[after..].iter().any(is_result) {
        return;
    }
    let (mut results, mut others, mut with_result) = (Vec::with_capacity(content.len()), Vec::new(), false);
    for part in content.drain(..) {
        with_result = is_result(&part) || with_result && matches!(part, write::Part::CachePoint(_));
        if with_result { results.push(part) } else { others.push(part) }
    }
    results.append(&mut others);
    *content = results;
}

/// "If you include a `ContentBlock` with a `document` field in the array, you must also include a `ContentBlock` with a
/// `text` field": the document's name says nothing that is not there already.
fn document_needs_text(content: &mut Vec<write::Part<'_>>) {
    if content.iter().any(|part| matches!(part, write::Part::Text(_))) {
        return;
    }
    let document = content.iter().enumerate().find_map(|(at, part)| match part {
        write::Part::Document(document) => Some((at, document.name.clone().unwrap_or_else(|| "Document".into()))),
        _ => None,
    });
    if let Some((at, name)) = document {
        content.insert(at, write::Part::Text(name));
    }
}
