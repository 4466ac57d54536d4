//! Items and their parts read, of requests and answers alike.

use super::fields::{prefixed, remark};
use super::wire::{self, Item, Part};
use super::{OWN, Side, reasoning, sources};
use crate::codec::wire::TextOr;
use crate::common::{
    Block, Content, Extras, Foreign, Media, MediaKind, MediaSource, Role, Str, Text, TokenLogprob, ToolCall, ToolResult,
};
use crate::error::ApiError;

/// What an item is.
pub(super) enum Read<'a> {
    /// A message: its role, parts and own fields. The parts know nothing of it.
    Message {
        role: Role,
        id: Option<Str<'a>>,
        parts: Vec<Block<'a>>,
        logprobs: Vec<TokenLogprob<'a>>,
        extras: Extras<'a>,
    },
    /// Something that is one block.
    Block { role: Role, block: Block<'a> },
}

/// Reads an item. Types that only this dialect knows become foreign blocks.
pub(super) fn item<'a>(mut item: Item<'a>, side: Side) -> Result<Read<'a>, ApiError> {
    let message = match (&*item.kind, side) {
        ("message", Side::Maker(_)) => Some(Role::Assistant),
        ("message" | "", _) => role(&item.role),
        (_, _) => None,
    };
    if let Some(role) = message {
        let content = item.content.map_or(Ok(TextOr::default()), |raw| side.read(raw))?;
        let Item { id, mut rest, .. } = item;
        mark(&mut rest);
        let (parts, logprobs) = parts(content);
        return Ok(Read::Message { role, id, parts, logprobs, extras: rest });
    }
    let (role, content) = match &*item.kind {
        "function_call" | "custom_tool_call" => {
            let custom = item.kind == "custom_tool_call";
            let call = ToolCall {
                id: item.call_id.take().or_else(|| item.id.clone()).unwrap_or_default(),
                name: item.name.take().unwrap_or_default(),
                arguments: wire::text(if custom { item.input } else { item.arguments }),
                custom,
                namespace: item.namespace.take(),
                signature: None,
            };
            (Role::Assistant, Content::ToolCall(Box::new(call)))
        }
        "function_call_output" | "custom_tool_call_output" => {
            let content = match item.output {
                Some(raw) if raw.get().starts_with(['"', '[']) => parts(side.read(raw)?).0,
                other => vec![Block::text(wire::text(other))],
            };
            let result = ToolResult {
                call_id: item.call_id.take().unwrap_or_default(),
                name: item.name.take(),
                content,
                is_error: None,
                custom: item.kind == "custom_tool_call_output",
            };
            (Role::User, Content::ToolResult(Box::new(result)))
        }
        "reasoning" => {
            let (reasoning, foreign) = reasoning::read(item.summary, item.content, item.encrypted, side)?;
            item.rest.extend(foreign.then(|| remark("=foreign")));
            (Role::Assistant, Content::Reasoning(Box::new(reasoning)))
        }
        "image_generation_call" if item.result.is_some() => {
            let format = item.rest.iter().find(|(name, _)| *name == "output_format");
            let format = format.and_then(|(_, value)| value.read::<String>().ok());
            let media = Media {
                source: MediaSource::Data(wire::text(item.result)),
                mime: Some(format!("image/{}", format.as_deref().unwrap_or("png")).into()),
                ..Media::default()
            };
            (Role::Assistant, Content::Media(Box::new(media)))
        }
        kind => {
            let user = kind.ends_with("_output") || matches!(kind, "mcp_approval_response" | "item_reference");
            return Ok(Read::Block {
                role: if user { Role::User } else { Role::Assistant },
                block: foreign(item.kind.clone(), item.into_json(), Extras::new()),
            });
        }
    };
    let Item { id, mut rest, .. } = item;
    mark(&mut rest);
    Ok(Read::Block { role, block: Block { content, cache: None, id, extras: rest } })
}

fn foreign<'a>(kind: Str<'a>, raw: crate::common::Json<'a>, extras: Extras<'a>) -> Block<'a> {
    let content = Content::Foreign(Box::new(Foreign { dialect: OWN, kind, raw }));
    Block { content, cache: None, id: None, extras }
}

fn role(word: &str) -> Option<Role> {
    Some(match word {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        "developer" => Role::Developer,
        _ => return None,
    })
}

/// Makes remarks of what a client repeats and nobody else reads.
pub(super) fn mark(extras: &mut Extras<'_>) {
    for (name, _) in extras {
        match &**name {
            "status" => *name = "=status".into(),
            "phase" => *name = "=phase".into(),
            _ => {}
        }
    }
}

/// Reads content. Probabilities of tokens come beside it.
pub(super) fn parts<'a>(content: TextOr<'a, Part<'a>>) -> (Vec<Block<'a>>, Vec<TokenLogprob<'a>>) {
    match content {
        TextOr::Text(text) => (vec![Block::text(text)], Vec::new()),
        TextOr::List(list) => {
            let mut logprobs = Vec::new();
            let blocks = list.into_iter().map(|one| part(one, &mut logprobs)).collect();
            (blocks, logprobs)
        }
    }
}

pub(super) fn part<'a>(mut part: Part<'a>, logprobs: &mut Vec<TokenLogprob<'a>>) -> Block<'a> {
    let content = match &*part.kind {
        "input_text" | "output_text" | "text" | "summary_text" => {
            logprobs.extend(part.logprobs.into_iter().map(sources::logprob));
            let citations = part.annotations.into_iter().map(sources::citation).collect();
            Content::Text(Text { text: part.text.unwrap_or_default(), citations, signature: None })
        }
        "refusal" => Content::Refusal(part.refusal.or(part.text).unwrap_or_default()),
        "input_image" => {
            let (source, mime) = match (part.image_url, part.file_id) {
                (Some(url), _) => MediaSource::of_url(url),
                (None, id) => (MediaSource::File(id.unwrap_or_default()), None),
            };
            Content::Media(Box::new(Media { source, mime, detail: part.detail, ..Media::default() }))
        }
        "input_file" => {
            let (source, mime) = match (part.file_data, part.file_url, part.file_id) {
                (Some(data), _, _) => match MediaSource::of_url(data) {
                    // Some vendors take base64 without the `data:` before it.
                    (MediaSource::Url(data), _) => (MediaSource::Data(data), None),
                    read => read,
                },
                (None, Some(url), _) => (MediaSource::Url(url), None),
                (None, None, id) => (MediaSource::File(id.unwrap_or_default()), None),
            };
            let (kind, name, detail) = (MediaKind::Document, part.filename, part.detail);
            Content::Media(Box::new(Media { kind, source, mime, name, detail, ..Media::default() }))
        }
        "input_audio" if part.audio.is_some() => {
            let audio = part.audio.take().unwrap_or_default();
            let mime = audio.format.map(|format| format!("audio/{}", &*format).into());
            part.rest.extend(prefixed("input_audio.", audio.rest));
            let source = MediaSource::Data(audio.data);
            Content::Media(Box::new(Media { kind: MediaKind::Audio, source, mime, ..Media::default() }))
        }
        _ => return foreign(part.kind.clone(), part.into_json(), vec![remark("=part")]),
    };
    Block { content, cache: None, id: None, extras: part.rest }
}
