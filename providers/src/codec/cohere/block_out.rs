//! Blocks as messages and their parts: the same in requests and answers.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{DIALECT, citation};
use crate::codec::data_url::DataUrl;
use crate::codec::detail::{self, Words};
use crate::codec::media::is_usual_image;
use crate::common::{
    Block, Content, Extras, Foreign, Json, Losses, Media, MediaKind, MediaSource, Opaque, Str, Text, ToolCall,
    flat_name, plain_mime,
};
use crate::json::{self, List, Object};

/// How opaque state is written: as the text that a client keeps for its maker, or, to a provider, only if it is its own.
pub(super) type WriteOpaque<'w> = &'w dyn for<'o> Fn(&'o Opaque<'_>) -> Option<Str<'o>>;

/// Whom blocks are written for.
pub(super) struct Writer<'w> {
    /// Whether they came in this dialect: extras are Cohere's then.
    pub(super) own: bool,
    /// An answer's content is always a list.
    pub(super) is_answer: bool,
    pub(super) opaque: WriteOpaque<'w>,
    /// The names of what is lost.
    pub(super) names: &'static Names,
}

/// The names of losses, which differ between requests and answers.
pub(super) struct Names {
    pub(super) place: &'static str,
    pub(super) media: fn(MediaKind) -> &'static str,
    pub(super) reasoning: &'static str,
    pub(super) signature: &'static str,
    pub(super) cache: &'static str,
    pub(super) misplaced: &'static str,
}

/// Where the calls begin.
fn first_call(blocks: &[&Block<'_>]) -> Option<usize> {
    blocks.iter().position(|block| matches!(block.content, Content::ToolCall(_)))
}

impl Writer<'_> {
    /// Writes what the model said: `content`, `tool_plan`, `tool_calls` and `citations`, and the message's extras. The text
    /// right before the calls is the plan.
    pub(super) fn assistant(
        &self,
        blocks: &[&Block<'_>],
        extras: &Extras<'_>,
        message: &mut Object<'_>,
        losses: &mut Losses,
    ) {
        let calls = first_call(blocks);
        let plan = calls.and_then(|at| at.checked_sub(1)).filter(|at| self.can_be_plan(blocks[*at]));
        let content = || blocks.iter().enumerate().filter(|(at, _)| Some(*at) != plan).map(|(_, block)| *block);
        let said = content().filter(|block| match &block.content {
            Content::ToolCall(_) | Content::ToolResult(_) => false,
            // Beside calls many clients send a text that says nothing.
            Content::Text(text) => self.own || calls.is_none() || !text.text.is_empty(),
            _ => true,
        });
        let mut citations = Citations::default();
        if let Some(text) = self.lone_text(said.clone()).filter(|_| !self.is_answer) {
            citations.add(text, Some(0));
            message.field("content", &text.text);
        } else if said.clone().next().is_some() {
            message.list("content", |list| {
                let mut index = 0;
                for block in said {
                    let written = match &block.content {
                        // The model shows no pictures here, and what it speaks can be told.
                        Content::Media(media) => {
                            losses.note((self.names.media)(media.kind));
                            media
                                .transcript
                                .as_ref()
                                .is_some_and(|spoken| self.part(&Block::text(spoken.borrowed()), list, losses))
                        }
                        _ => self.part(block, list, losses),
                    };
                    if let Content::Text(text) = &block.content {
                        citations.add(text, Some(index));
                    }
                    index += usize::from(written);
                }
            });
        }
        if let Some(Block { content: Content::Text(text), cache, id: _, extras: _ }) = plan.map(|at| blocks[at]) {
            losses.note_if(cache.is_some(), self.names.cache);
            citations.add(text, None);
            message.field("tool_plan", &text.text);
        }
        if calls.is_some() {
            message.list("tool_calls", |list| {
                for block in blocks {
                    if let Content::ToolCall(call) = &block.content {
                        json::object(list.item(), |object| self.call(block, call, object, losses));
                    }
                }
            });
        }
        if !self.own {
            losses.note_extras(self.names.place, extras);
        } else {
            for (name, value) in extras {
                // Those that no text here could have.
                match value.read::<Vec<Json<'_>>>() {
                    Ok(left) if *name == "citations" => citations.0.extend(left),
                    _ => message.extra(name, value),
                }
            }
        }
        if !citations.0.is_empty() {
            message.field("citations", &citations.0);
        }
    }

    fn can_be_plan(&self, block: &Block<'_>) -> bool {
        let kept = self.own && !block.extras.is_empty();
        matches!(&block.content, Content::Text(text) if !text.text.is_empty() && text.signature.is_none()) && !kept
    }

    /// The text of blocks that are nothing but one text.
    fn lone_text<'b, 'a: 'b>(&self, blocks: impl Iterator<Item = &'b Block<'a>>) -> Option<&'b Text<'a>> {
        let mut blocks = blocks;
        match (blocks.next()?, blocks.next()) {
            (Block { content: Content::Text(text), cache: None, id: _, extras }, None)
                if extras.is_empty() && text.signature.is_none() =>
            {
                Some(text)
            }
            _ => None,
        }
    }

    /// Writes `content`: a string for one text, else a list.
    pub(super) fn content<'b, 'a: 'b>(
        &self,
        blocks: impl Iterator<Item = &'b Block<'a>> + Clone,
        message: &mut Object<'_>,
        losses: &mut Losses,
    ) {
        let is_cited = |block: &Block<'_>| matches!(&block.content, Content::Text(text) if !text.citations.is_empty());
        losses.note_if(blocks.clone().any(is_cited), "messages.citations");
        if let Some(text) = self.lone_text(blocks.clone()) {
            message.field("content", &text.text);
            return;
        }
        message.list("content", |list| {
            for block in blocks {
                self.part(block, list, losses);
            }
        });
    }

    /// Writes a part; false if there is nothing that it could say.
    pub(super) fn part(&self, block: &Block<'_>, list: &mut List<'_>, losses: &mut Losses) -> bool {
        let Block { content, cache, id: _, extras } = block;
        losses.note_if(cache.is_some(), self.names.cache);
        let extras_of = |part: &mut Object<'_>, losses: &mut Losses| match self.own {
            true => part.extras(extras),
            false => losses.note_extras(self.names.place, extras),
        };
        match content {
            Content::Text(Text { text, citations: _, signature }) => json::object(list.item(), |part| {
                part.field("type", "text");
                part.field("text", text);
                self.state(part, "signature", signature.as_ref(), losses);
                extras_of(part, losses);
            }),
            Content::Refusal(text) => json::object(list.item(), |part| {
                part.field("type", "text");
                part.field("text", text);
                extras_of(part, losses);
            }),
            Content::Reasoning(reasoning) => {
                let text = reasoning.shown().unwrap_or_default();
                let encrypted = reasoning.encrypted.as_ref().filter(|one| (self.opaque)(one).is_some());
                if text.is_empty() && encrypted.is_none() && !self.own {
                    losses.note_if(!reasoning.is_empty(), self.names.reasoning);
                    return false;
                }
                json::object(list.item(), |part| {
                    part.field("type", "thinking");
                    part.field("thinking", &*text);
                    self.state(part, "signature", reasoning.signature.as_ref(), losses);
                    self.state(part, "encrypted", reasoning.encrypted.as_ref(), losses);
                    extras_of(part, losses);
                });
            }
            Content::Media(media) => {
                let read = self.own || is_usual_image(media.mime.as_deref());
                let Some(url) = image_url(media).filter(|_| read) else {
                    losses.note((self.names.media)(media.kind));
                    return false;
                };
                losses.note_if(media.signature.is_some(), self.names.signature);
                let own = media.detail.as_deref().filter(|_| self.own);
                let detail = own.or_else(|| detail::told(media.detail.as_deref(), Words::Common, losses));
                json::object(list.item(), |part| {
                    part.field("type", "image_url");
                    part.object("image_url", |image| {
                        image.field("url", &*url);
                        image.optional("detail", detail.as_ref());
                    });
                    extras_of(part, losses);
                });
            }
            Content::Foreign(foreign) => {
                let Foreign { dialect, kind, raw } = &**foreign;
                if *dialect != DIALECT {
                    losses.note_foreign(self.names.place, kind);
                    return false;
                }
                list.item().extend_from_slice(raw.get().as_bytes());
            }
            Content::ToolCall(_) | Content::ToolResult(_) => {
                losses.note(self.names.misplaced);
                return false;
            }
        }
        true
    }

    /// Writes a call.
    pub(super) fn call(&self, block: &Block<'_>, call: &ToolCall<'_>, object: &mut Object<'_>, losses: &mut Losses) {
        let Block { content: _, cache, id: _, extras } = block;
        let ToolCall { id, name, arguments, custom, namespace, signature } = call;
        losses.note_if(cache.is_some(), self.names.cache);
        object.field("id", id);
        object.field("type", "function");
        object.object("function", |function| {
            function.field("name", &*flat_name(namespace.as_deref(), name));
            match (custom, arguments.trim()) {
                (true, _) => function.field("arguments", call.arguments_object().get()),
                (false, "") if !self.own => function.field("arguments", "{}"),
                (false, _) => function.field("arguments", arguments),
            }
        });
        self.state(object, "signature", signature.as_ref(), losses);
        match self.own {
            true => object.extras(extras),
            false => losses.note_extras(self.names.place, extras),
        }
    }

    fn state(&self, object: &mut Object<'_>, field: &'static str, opaque: Option<&Opaque<'_>>, losses: &mut Losses) {
        let Some(opaque) = opaque else { return };
        match (self.opaque)(opaque) {
            Some(text) => object.field(field, &text),
            None => losses.note(self.names.signature),
        }
    }
}

/// Whether a block of an assistant's leaves anything for Cohere.
pub(super) fn says_something(block: &Block<'_>) -> bool {
    match &block.content {
        Content::Text(text) => !text.text.is_empty(),
        Content::Refusal(text) => !text.is_empty(),
        Content::Reasoning(reasoning) => reasoning.shown().is_some(),
        Content::ToolCall(_) => true,
        Content::Media(media) => media.transcript.is_some(),
        Content::Foreign(foreign) => foreign.dialect == DIALECT,
        Content::ToolResult(_) => false,
    }
}

/// The citations of a message.
#[derive(Default)]
struct Citations<'c>(Vec<Json<'c>>);

impl<'c> Citations<'c> {
    fn add(&mut self, text: &'c Text<'_>, index: Option<usize>) {
        if text.citations.is_empty() {
            return;
        }
        let length = text.text.chars().count() as u64;
        let mut last = None;
        for one in &text.citations {
            if !citation::repeats(last, one) {
                self.0.push(citation::written(one, Some(&text.text), length, index));
            }
            last = Some(one);
        }
    }
}

/// The address of an image; none for what cannot be shown to the model.
fn image_url<'m>(media: &'m Media<'_>) -> Option<Cow<'m, str>> {
    match (media.kind, &media.source) {
        (MediaKind::Image, MediaSource::Url(url)) => Some((&**url).into()),
        (MediaKind::Image, MediaSource::Data(data)) => {
            let mime = media.mime.as_deref().or(Some("image/png"));
            Some(DataUrl { mime, data }.to_string().into())
        }
        _ => None,
    }
}

/// Whether a medium is a document that Cohere can read.
pub(super) fn is_document(media: &Media<'_>) -> bool {
    media.kind == MediaKind::Document
        && match &media.source {
            MediaSource::Text(_) => true,
            MediaSource::Blocks(blocks) => blocks.iter().all(|block| matches!(block.content, Content::Text(_))),
            MediaSource::Data(_) => media.mime.as_deref().is_some_and(|mime| plain_mime(mime).starts_with("text/")),
            MediaSource::Url(_) | MediaSource::File(_) => false,
        }
}

/// The text of such a document; none if it is no text after all.
pub(super) fn document_text<'m>(media: &'m Media<'_>) -> Option<Cow<'m, str>> {
    match &media.source {
        MediaSource::Text(text) => Some((&**text).into()),
        MediaSource::Blocks(blocks) => {
            let texts = blocks.iter().map(|block| match &block.content {
                Content::Text(text) => Some(&*text.text),
                _ => None,
            });
            texts.collect::<Option<Vec<_>>>().map(|texts| texts.join("\n").into())
        }
        MediaSource::Data(data) => String::from_utf8(STANDARD.decode(&**data).ok()?).ok().map(Into::into),
        MediaSource::Url(_) | MediaSource::File(_) => None,
    }
}

/// Writes the `data` of a document: what is an object already as it is, and what was a string.
pub(super) fn document_data(own: bool, text: &str, media: &Media<'_>, out: &mut Vec<u8>) {
    if is_object(text) && media.context.is_none() {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    if own {
        json::write(out, &text);
        return;
    }
    json::object(out, |data| {
        data.optional("title", media.name.as_ref());
        data.optional("context", media.context.as_ref());
        data.field("text", text);
    });
}

/// Whether a text is a JSON object.
pub(super) fn is_object(text: &str) -> bool {
    text.starts_with('{') && Json::parse(text).is_some()
}
