//! Content blocks read, of requests and answers alike.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::wire::{TextOr, read_answer_piece, read_request_piece};
use super::OWN;
use super::wire::{BlockIn, CacheIn, CitationIn, CiteIn, SourceIn};
use crate::common::{
    Block, CacheMark, Citation, Content, Extras, Foreign, Json, Media, MediaKind, MediaSource, Opaque, ProviderTag,
    Reasoning, Str, Text, ToolCall, ToolResult,
};
use crate::dialect::Dialect;
use crate::error::{ApiError, ErrorKind};

/// Results and documents hold blocks; deeper than this nobody nests them, and they are kept as they are.
const DEEPEST: u8 = 4;

/// Who wrote what is read.
#[derive(Clone, Copy)]
pub(super) enum Side {
    /// A client: state may be a ticket, and mistakes are its own.
    Client,
    /// A provider: state is bound to it.
    Provider(ProviderTag),
}

impl Side {
    pub(super) fn read<'a, T: Deserialize<'a>>(self, raw: &'a RawValue) -> Result<T, ApiError> {
        match self {
            Self::Client => read_request_piece(raw),
            Self::Provider(_) => read_answer_piece(raw),
        }
    }

    /// A signature or encrypted reasoning. A ticket without data says only that another dialect's reasoning was never signed.
    pub(super) fn opaque<'a>(self, text: Str<'a>) -> Option<Opaque<'a>> {
        match self {
            Self::Client => {
                Some(Opaque::from_client(OWN, text)).filter(|state| state.dialect == OWN || !state.data.is_empty())
            }
            Self::Provider(tag) => (!text.is_empty()).then(|| Opaque::made_by(OWN, Some(tag), text)),
        }
    }

    fn wrong(self, what: &str) -> ApiError {
        match self {
            Self::Client => ApiError::new(ErrorKind::InvalidRequest, what),
            Self::Provider(_) => ApiError::new(ErrorKind::UpstreamError, what),
        }
    }
}

/// Reads a block.
pub(super) fn read_block<'a>(raw: &'a RawValue, side: Side) -> Result<Block<'a>, ApiError> {
    block(raw, side, 0)
}

/// Reads what is a string or a list of blocks.
pub(super) fn read_blocks<'a>(content: TextOr<'a, &'a RawValue>, side: Side) -> Result<Vec<Block<'a>>, ApiError> {
    blocks(content, side, 0)
}

fn blocks<'a>(content: TextOr<'a, &'a RawValue>, side: Side, depth: u8) -> Result<Vec<Block<'a>>, ApiError> {
    match content {
        TextOr::Text(text) => Ok(vec![Block::text(text)]),
        TextOr::List(list) => list.into_iter().map(|raw| block(raw, side, depth)).collect(),
    }
}

fn block<'a>(raw: &'a RawValue, side: Side, depth: u8) -> Result<Block<'a>, ApiError> {
    let mut wire = match side.read::<BlockIn<'a>>(raw) {
        Ok(wire) => wire,
        Err(error) => return unknown_shape(raw).ok_or(error),
    };
    let content = match &*wire.kind {
        "text" => Some(Content::Text(Text {
            text: wire.text.take().unwrap_or_default(),
            citations: citations(&mut wire.citations, side)?,
            signature: wire.signature.take().and_then(|text| side.opaque(text)),
        })),
        "image" | "document" => media(&mut wire, side, depth)?,
        "search_result" if depth < DEEPEST => search_result(&mut wire, side, depth)?,
        "thinking" => Some(thinking(&mut wire, side)),
        "redacted_thinking" => {
            let encrypted = wire.data.take().and_then(|data| side.opaque(data));
            Some(Content::Reasoning(Box::new(Reasoning { encrypted, ..Reasoning::default() })))
        }
        "tool_use" => Some(Content::ToolCall(Box::new(ToolCall {
            id: wire.id.take().unwrap_or_default(),
            name: wire.name.take().unwrap_or_default(),
            arguments: wire.input.take().map_or_else(Str::default, |input| input.get().into()),
            signature: wire.signature.take().and_then(|text| side.opaque(text)),
            ..ToolCall::default()
        }))),
        "tool_result" if depth < DEEPEST => Some(tool_result(&mut wire, side, depth)?),
        "" => return Err(side.wrong("a content block has no type")),
        _ => None,
    };
    let Some(content) = content else { return Ok(foreign(&wire.kind, raw)) };
    let cache = take_cache(&mut wire.cache_control);
    Ok(Block { content, cache, id: None, extras: leftovers(wire) })
}

fn foreign<'a>(kind: &str, raw: &'a RawValue) -> Block<'a> {
    let raw = Json::parse(raw.get()).unwrap_or_default();
    Block::new(Content::Foreign(Box::new(Foreign { dialect: OWN, kind: kind.to_owned().into(), raw })))
}

/// A block whose fields have other types than those of the known kinds: not a mistake, if it is of another kind.
fn unknown_shape(raw: &RawValue) -> Option<Block<'_>> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow)]
        r#type: Str<'a>,
    }
    const KNOWN: [&str; 8] =
        ["text", "image", "document", "search_result", "thinking", "redacted_thinking", "tool_use", "tool_result"];
    let kind = serde_json::from_str::<Kind<'_>>(raw.get()).ok()?.r#type;
    (!KNOWN.contains(&&*kind)).then(|| foreign(&kind, raw))
}

/// Reads a cache mark; what is more than a plain mark stays where it is.
pub(super) fn take_cache<'a>(raw: &mut Option<&'a RawValue>) -> Option<CacheMark<'a>> {
    let wire = serde_json::from_str::<CacheIn<'a>>((*raw)?.get()).ok()?;
    (wire.kind == *"ephemeral" && wire.rest.is_empty()).then(|| {
        *raw = None;
        CacheMark { ttl: wire.ttl }
    })
}

/// Fields that the block's kind does not have.
fn leftovers(wire: BlockIn<'_>) -> Extras<'_> {
    let BlockIn {
        kind: _,
        text,
        citations,
        cache_control,
        source,
        title,
        context,
        thinking,
        signature,
        data,
        id,
        name,
        input,
        tool_use_id,
        content,
        is_error,
        rest,
    } = wire;
    let mut extras = rest;
    let texts = [
        ("text", text),
        ("title", title),
        ("context", context),
        ("thinking", thinking),
        ("signature", signature),
        ("data", data),
        ("id", id),
        ("name", name),
        ("tool_use_id", tool_use_id),
    ];
    extras.extend(texts.into_iter().filter_map(|(name, value)| Some((name.into(), Json::of(&value?)))));
    let raws = [
        ("citations", citations),
        ("cache_control", cache_control),
        ("source", source),
        ("input", input),
        ("content", content),
    ];
    extras.extend(raws.into_iter().filter_map(|(name, value)| Some((name.into(), Json::parse(value?.get())?))));
    extras.extend(is_error.map(|is_error| ("is_error".into(), Json::of(&is_error))));
    extras
}

fn citations<'a>(raw: &mut Option<&'a RawValue>, side: Side) -> Result<Vec<Citation<'a>>, ApiError> {
    match raw.take_if(|raw| raw.get().starts_with('[')) {
        Some(list) => side.read::<Vec<&RawValue>>(list)?.into_iter().map(|raw| read_citation(raw, side)).collect(),
        None => Ok(Vec::new()),
    }
}

/// Reads a citation.
pub(super) fn read_citation<'a>(raw: &'a RawValue, side: Side) -> Result<Citation<'a>, ApiError> {
    let CitationIn { cited_text, url, source, title, document_title, rest: _ } = side.read(raw)?;
    Ok(Citation {
        url: url.or(source),
        title: title.or(document_title),
        quote: cited_text,
        span: None,
        raw: Json::parse(raw.get()).map(|raw| (OWN, raw)),
    })
}

/// `citations` of a document.
fn take_cite(raw: &mut Option<&RawValue>) -> Option<bool> {
    let wire = serde_json::from_str::<CiteIn<'_>>((*raw)?.get()).ok().filter(|wire| wire.rest.is_empty())?;
    *raw = None;
    wire.enabled
}

fn media<'a>(wire: &mut BlockIn<'a>, side: Side, depth: u8) -> Result<Option<Content<'a>>, ApiError> {
    let Some(raw) = wire.source else { return Err(side.wrong("an image or a document has no source")) };
    let SourceIn { kind, media_type, data, url, file_id, content, rest } = side.read(raw)?;
    let source = match (&*kind, data, url, file_id, content) {
        _ if !rest.is_empty() => None,
        ("base64", Some(data), None, None, None) => Some(MediaSource::Data(data)),
        ("text", Some(text), None, None, None) => Some(MediaSource::Text(text)),
        ("url", None, Some(url), None, None) => Some(MediaSource::Url(url)),
        ("file", None, None, Some(id), None) => Some(MediaSource::File(id)),
        ("content", None, None, None, Some(content)) if depth < DEEPEST => {
            Some(MediaSource::Blocks(blocks(content, side, depth + 1)?))
        }
        _ => None,
    };
    let Some(source) = source else { return Ok(None) };
    wire.source = None;
    let document = wire.kind == *"document";
    Ok(Some(Content::Media(Box::new(Media {
        kind: if document { MediaKind::Document } else { MediaKind::Image },
        source,
        mime: media_type,
        name: if document { wire.title.take() } else { None },
        context: if document { wire.context.take() } else { None },
        cite: if document { take_cite(&mut wire.citations) } else { None },
        ..Media::default()
    }))))
}

/// A document of blocks; where it was found stays in the block's extras, and tells it from a document.
fn search_result<'a>(wire: &mut BlockIn<'a>, side: Side, depth: u8) -> Result<Option<Content<'a>>, ApiError> {
    if !wire.source.is_some_and(|source| source.get().starts_with('"')) {
        return Ok(None);
    }
    let Some(content) = wire.content.take() else { return Ok(None) };
    Ok(Some(Content::Media(Box::new(Media {
        kind: MediaKind::Document,
        source: MediaSource::Blocks(blocks(side.read(content)?, side, depth + 1)?),
        name: wire.title.take(),
        cite: take_cite(&mut wire.citations),
        ..Media::default()
    }))))
}

fn thinking<'a>(wire: &mut BlockIn<'a>, side: Side) -> Content<'a> {
    let text = wire.thinking.take().unwrap_or_default();
    let state = wire.signature.take().and_then(|text| side.opaque(text));
    let reasoning = match state {
        // Responses knows no signed text, only summaries beside what it encrypts.
        Some(state) if state.dialect == Dialect::OpenAiResponses => {
            let summary = if text.is_empty() { Vec::new() } else { vec![text] };
            Reasoning { summary, encrypted: Some(state), ..Reasoning::default() }
        }
        signature => Reasoning { text, signature, ..Reasoning::default() },
    };
    Content::Reasoning(Box::new(reasoning))
}

fn tool_result<'a>(wire: &mut BlockIn<'a>, side: Side, depth: u8) -> Result<Content<'a>, ApiError> {
    let content = match wire.content.take() {
        Some(content) => match side.read(content)? {
            TextOr::Text(text) if text.is_empty() => Vec::new(),
            content => blocks(content, side, depth + 1)?,
        },
        None => Vec::new(),
    };
    Ok(Content::ToolResult(Box::new(ToolResult {
        call_id: wire.tool_use_id.take().unwrap_or_default(),
        content,
        is_error: wire.is_error.take(),
        ..ToolResult::default()
    })))
}
