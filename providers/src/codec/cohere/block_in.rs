//! Messages and their parts as blocks: the same in requests and answers.

use super::wire::{Document, ImageUrl, Message, OneOrMany, Part, ToolCall};
use super::{DIALECT, citation};
use crate::codec::TextOr;
use crate::common::{
    self, Block, Content, Extras, Foreign, Json, Media, MediaKind, MediaSource, Opaque, Reasoning, Str, Text,
};
use crate::json::{self, Object};

/// Reads opaque state that stands in a field.
pub(super) type ReadOpaque<'o> = &'o dyn Fn(Str<'_>) -> Opaque<'static>;

/// The blocks of a message: its content, then the plan, then the calls. What has no place among them is added to `extras`.
pub(super) fn assistant<'a>(
    message: Message<'a>,
    opaque: ReadOpaque<'_>,
    missing_id: &dyn Fn(usize) -> String,
) -> (Vec<Block<'a>>, Extras<'a>) {
    let Message { role: _, content, tool_plan, tool_calls, tool_call_id: _, citations, rest: mut extras } = message;
    let mut blocks = parts(content, opaque);
    let contents = blocks.len();
    let plan = tool_plan.filter(|plan| !plan.is_empty()).map(|plan| {
        blocks.push(Block::text(plan));
        contents
    });
    let calls = tool_calls.into_iter().enumerate().map(|(number, one)| {
        let mut block = call(one, opaque);
        if let Content::ToolCall(call) = &mut block.content
            && call.id.is_empty()
        {
            call.id = missing_id(number).into();
        }
        block
    });
    blocks.extend(calls);
    citation::attach(&mut blocks, contents, plan, citations, &mut extras);
    (blocks, extras)
}

/// The blocks of a message's content.
pub(super) fn parts<'a>(content: TextOr<'a, Part<'a>>, opaque: ReadOpaque<'_>) -> Vec<Block<'a>> {
    match content {
        TextOr::Text(text) => vec![Block::text(text)],
        TextOr::List(parts) => parts.into_iter().map(|one| part(one, opaque)).collect(),
    }
}

/// The block of a part.
pub(super) fn part<'a>(part: Part<'a>, opaque: ReadOpaque<'_>) -> Block<'a> {
    match &*part.kind {
        "text" | "" if part.text.is_some() => {
            let signature = part.signature.map(opaque);
            let text = Text { text: part.text.unwrap_or_default(), signature, ..Text::default() };
            Block { extras: part.rest, ..Block::new(Content::Text(text)) }
        }
        "thinking" => {
            let reasoning = Reasoning {
                text: part.thinking.unwrap_or_default(),
                signature: part.signature.map(opaque),
                encrypted: part.encrypted.map(opaque),
                ..Reasoning::default()
            };
            Block { extras: part.rest, ..Block::new(Content::Reasoning(Box::new(reasoning))) }
        }
        "image_url" if part.image.is_some() => {
            let ImageUrl { url, detail, rest } = part.image.unwrap_or_default();
            let (source, mime) = MediaSource::of_url(url);
            let media = Media { kind: MediaKind::Image, source, mime, detail, ..Media::default() };
            let extras = part.rest.into_iter().chain(rest).collect();
            Block { extras, ..Block::new(Content::Media(Box::new(media))) }
        }
        "document" if part.document.is_some() => {
            let mut block = document(part.document.unwrap_or_default());
            block.extras.extend(part.rest);
            block
        }
        _ => Block::new(Content::Foreign(Box::new(Foreign {
            dialect: DIALECT,
            kind: part.kind.clone(),
            raw: json::raw(|object| whole(&part, object)),
        }))),
    }
}

/// A document as a text: an object of data as JSON, since the model reads keys and values alike.
pub(super) fn document<'a>(document: Document<'a>) -> Block<'a> {
    let Document { id, data, rest: extras } = document;
    let title = data.read::<std::collections::BTreeMap<String, Json<'_>>>().ok();
    let title = title.and_then(|fields| fields.get("title")?.read::<String>().ok()).map(Str::from);
    let text = match data.read::<String>() {
        Ok(text) => text,
        Err(_) => data.get().to_owned(),
    };
    let source = MediaSource::Text(text.into());
    let media = Media { kind: MediaKind::Document, source, name: title, ..Media::default() };
    Block { id, extras, ..Block::new(Content::Media(Box::new(media))) }
}

/// A call. Its id may be missing.
pub(super) fn call<'a>(call: ToolCall<'a>, opaque: ReadOpaque<'_>) -> Block<'a> {
    let ToolCall { id, kind: _, function, signature, rest: mut extras } = call;
    extras.extend(function.rest);
    let call = common::ToolCall {
        id,
        name: function.name,
        arguments: function.arguments,
        signature: signature.map(opaque),
        ..common::ToolCall::default()
    };
    Block { extras, ..Block::new(Content::ToolCall(Box::new(call))) }
}

/// A part of a kind that is not known, as it came.
fn whole(part: &Part<'_>, object: &mut Object<'_>) {
    let Part { kind, text, thinking, image, document, signature, encrypted, rest } = part;
    if !kind.is_empty() {
        object.field("type", kind);
    }
    object.optional("text", text.as_ref());
    object.optional("thinking", thinking.as_ref());
    if let Some(ImageUrl { url, detail, rest }) = image {
        object.object("image_url", |image| {
            image.field("url", url);
            image.optional("detail", detail.as_ref());
            image.extras(rest);
        });
    }
    if let Some(Document { id, data, rest }) = document {
        object.object("document", |document| {
            document.optional("id", id.as_ref());
            document.field("data", data);
            document.extras(rest);
        });
    }
    object.optional("signature", signature.as_ref());
    object.optional("encrypted", encrypted.as_ref());
    object.extras(rest);
}

impl<T> OneOrMany<T> {
    /// The one, or the first of the list.
    pub(super) fn first(self) -> Option<T> {
        self.0.into_iter().next()
    }
}
