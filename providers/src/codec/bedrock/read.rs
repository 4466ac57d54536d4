//! Content blocks read: the same in requests and answers.

use serde::Serialize;

use super::wire::{CachePoint, Citation, Cited, Guard, Medium, Part, Reasoning, SearchResult, ToolResult, ToolUse};
use super::{OWN, media, messages, write};
use crate::common::{
    self, Block, CacheMark, Content, Extras, Foreign, Json, MediaKind, MediaSource, Opaque, Str, Text,
};

/// How opaque state is taken: from a client, or from its maker.
pub(super) type TakeOpaque<'f, 'a> = &'f dyn Fn(Str<'a>) -> Opaque<'a>;

/// Reads what the model said: results in it are those of tools that the provider ran, and no client's.
pub(super) fn models_blocks<'a>(parts: Vec<Part<'a>>, opaque: TakeOpaque<'_, 'a>) -> Vec<Block<'a>> {
    let mut blocks = blocks(parts, opaque);
    for block in &mut blocks {
        if matches!(block.content, Content::ToolResult(_)) {
            let raw = messages::raw_of(block);
            let foreign = Foreign { dialect: OWN, kind: "toolResult".into(), raw };
            (block.content, block.extras) = (Content::Foreign(Box::new(foreign)), Extras::new());
        }
    }
    blocks
}

/// Reads a list of content blocks. A cache point becomes a mark on the block before it.
pub(super) fn blocks<'a>(parts: Vec<Part<'a>>, opaque: TakeOpaque<'_, 'a>) -> Vec<Block<'a>> {
    let mut blocks = Vec::with_capacity(parts.len());
    for part in parts {
        read(part, opaque, &mut blocks);
    }
    blocks
}

/// A union has one member; should there be several, none is dropped.
fn read<'a>(part: Part<'a>, opaque: TakeOpaque<'_, 'a>, blocks: &mut Vec<Block<'a>>) {
    let Part {
        text,
        image,
        document,
        video,
        audio,
        tool_use,
        tool_result,
        reasoning,
        cited,
        guard,
        search,
        json,
        cache_point,
        rest,
    } = part;
    blocks.extend(text.map(Block::text));
    let media = [
        (MediaKind::Image, image),
        (MediaKind::Document, document),
        (MediaKind::Video, video),
        (MediaKind::Audio, audio),
    ];
    for (kind, medium) in media {
        blocks.extend(medium.map(|medium| read_medium(kind, *medium)));
    }
    blocks.extend(tool_use.map(|call| read_call(*call)));
    blocks.extend(tool_result.map(|result| read_result(*result, opaque)));
    if let Some(reasoning) = reasoning {
        read_reasoning(*reasoning, opaque, blocks);
    }
    blocks.extend(cited.map(|cited| read_cited(*cited)));
    blocks.extend(guard.map(|raw| match raw.read::<Guard<'_>>() {
        Ok(Guard { text: Some(guarded), .. }) => shown("guardContent", guarded.text.into_string(), *raw.clone()),
        Ok(_) | Err(_) => foreign("guardContent", &raw),
    }));
    blocks.extend(search.map(|raw| match raw.read::<SearchResult<'_>>() {
        Ok(found) => {
            let mut text = format!("{}\n{}", found.title, found.source);
            for part in &found.content {
                text.push('\n');
                text.push_str(&part.text);
            }
            // What else it says, such as that it is to be cited, is not in the text.
            let name = if found.rest.is_empty() { "=searchResult" } else { "searchResult" };
            shown(name, text, *raw.clone())
        }
        Err(_) => foreign("searchResult", &raw),
    }));
    blocks.extend(json.map(|raw| shown("=json", raw.get().to_owned(), *raw)));
    if let Some(point) = cache_point {
        match blocks.last_mut() {
            Some(block) if block.cache.is_none() && is_plain(&point) => block.cache = Some(mark(*point)),
            Some(_) | None => blocks.push(foreign("cachePoint", &raw_cache_point(&point))),
        }
    }
    blocks.extend(rest.iter().map(|(kind, raw)| foreign(kind, raw)));
}

/// A block of this dialect alone.
pub(super) fn foreign(kind: &str, raw: &Json<'_>) -> Block<'static> {
    let raw = wrapped(kind, raw);
    Block::new(Content::Foreign(Box::new(Foreign { dialect: OWN, kind: kind.to_owned().into(), raw })))
}

/// `{kind: value}`.
pub(super) fn wrapped(kind: &str, value: &impl Serialize) -> Json<'static> {
    Json::of(&std::collections::BTreeMap::from([(kind, value)]))
}

/// A block that other dialects see as text. Its own form stands in the extras under `kind`, behind a `=` if the text says all of it.
fn shown<'a>(kind: &'static str, text: String, raw: Json<'a>) -> Block<'a> {
    Block { extras: vec![(kind.into(), raw)], ..Block::text(text) }
}

pub(super) fn is_plain(point: &CachePoint<'_>) -> bool {
    point.rest.is_empty() && matches!(&*point.kind, "default" | "")
}

pub(super) fn mark<'a>(point: CachePoint<'a>) -> CacheMark<'a> {
    CacheMark { ttl: point.ttl }
}

pub(super) fn raw_cache_point(point: &CachePoint<'_>) -> Json<'static> {
    Json::of(&write::CachePoint { kind: &point.kind, ttl: point.ttl.as_deref(), extras: write::Fields(&point.rest) })
}

fn read_medium<'a>(kind: MediaKind, medium: Medium<'a>) -> Block<'a> {
    let Medium { format, source, name, context, citations, rest: mut extras } = medium;
    let mime = format.as_deref().and_then(|word| media::mime_of(kind, word));
    // Second spellings, and words that are not known.
    if let Some(word) = &format
        && mime.and_then(|mime| media::word_of(kind, mime)) != Some(&**word)
    {
        extras.push(("format".into(), Json::of(word)));
    }
    let source = match (source.bytes, source.s3, source.text, source.content) {
        (Some(bytes), ..) => MediaSource::Data(bytes),
        (None, Some(s3), ..) => {
            if !s3.rest.is_empty() {
                let location = write::S3Location { uri: &s3.uri, extras: write::Fields(&s3.rest) };
                extras.push(("source".into(), wrapped("s3Location", &location)));
            }
            MediaSource::Url(s3.uri)
        }
        (None, None, Some(text), _) => MediaSource::Text(text),
        (None, None, None, Some(content)) => {
            MediaSource::Blocks(blocks(content, &|text| Opaque::from_client(OWN, text)))
        }
        (None, None, None, None) => {
            extras.push(("source".into(), Json::of(&write::Fields(&source.rest))));
            MediaSource::default()
        }
    };
    let media = common::Media {
        kind,
        source,
        mime: mime.map(Str::from),
        name,
        context,
        cite: citations.map(|citations| citations.enabled),
        ..common::Media::default()
    };
    Block { extras, ..Block::new(Content::Media(Box::new(media))) }
}

/// A tool that the provider runs is none of the client's calls.
fn read_call<'a>(call: ToolUse<'a>) -> Block<'a> {
    let ToolUse { id, name, input, kind, rest } = call;
    match kind.as_deref() {
        // Some models say so, and it is the default.
        None | Some("tool_use") => {
            let arguments = input.map_or("{}", |input| input.get()).into();
            let call = common::ToolCall { id, name, arguments, ..common::ToolCall::default() };
            Block { extras: rest, ..Block::new(Content::ToolCall(Box::new(call))) }
        }
        Some(kind) => {
            let input =
                input.and_then(|input| Json::parse(input.get())).unwrap_or_else(|| Json::of(&write::Fields(&[])));
            let whole = write::ToolUse {
                id: id.borrowed(),
                name: name.borrowed(),
                input,
                kind: Some(kind),
                extras: write::Fields(&rest),
            };
            let raw = wrapped("toolUse", &whole);
            Block::new(Content::Foreign(Box::new(Foreign { dialect: OWN, kind: kind.to_owned().into(), raw })))
        }
    }
}

fn read_result<'a>(result: ToolResult<'a>, opaque: TakeOpaque<'_, 'a>) -> Block<'a> {
    let ToolResult { id, content, status, rest: mut extras } = result;
    let is_error = match status.as_deref() {
        None => None,
        Some("success") => Some(false),
        Some("error") => Some(true),
        Some(other) => {
            extras.push(("status".into(), Json::of(&other)));
            None
        }
    };
    let content = blocks(content, opaque);
    let result = common::ToolResult { call_id: id, content, is_error, ..common::ToolResult::default() };
    Block { extras, ..Block::new(Content::ToolResult(Box::new(result))) }
}

fn read_reasoning<'a>(reasoning: Reasoning<'a>, opaque: TakeOpaque<'_, 'a>, blocks: &mut Vec<Block<'a>>) {
    let Reasoning { text, redacted, rest } = reasoning;
    let block = |reasoning, extras| Block { extras, ..Block::new(Content::Reasoning(Box::new(reasoning))) };
    if let Some(text) = text {
        let signature = text.signature.map(opaque);
        let reasoning = common::Reasoning { text: text.text, signature, ..common::Reasoning::default() };
        blocks.push(block(reasoning, text.rest));
    }
    if let Some(data) = redacted {
        let reasoning = common::Reasoning { encrypted: Some(opaque(data)), ..common::Reasoning::default() };
        blocks.push(block(reasoning, Extras::new()));
    }
    if !rest.is_empty() {
        blocks.push(foreign("reasoningContent", &Json::of(&write::Fields(&rest))));
    }
}

fn read_cited<'a>(cited: Cited<'a>) -> Block<'a> {
    let Cited { content, citations, rest: extras } = cited;
    let mut text = Str::default();
    for part in content {
        text = if text.is_empty() { part.text } else { [&*text, &*part.text].concat().into() };
    }
    let citations = citations.into_iter().map(citation).collect();
    Block { extras, ..Block::new(Content::Text(Text { text, citations, signature: None })) }
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Citation.html>
pub(super) fn citation(raw: Json<'_>) -> common::Citation<'_> {
    let Citation { title, source, content, location, rest: _ } = raw.read::<Citation<'_>>().unwrap_or_default();
    let address = |text: &Str<'_>| text.contains("://");
    let url = location.web.and_then(|web| web.url).or_else(|| source.filter(address));
    let quote: String = content.iter().map(|part| &*part.text).collect();
    common::Citation {
        url: url.map(Str::into_owned),
        title: title.map(Str::into_owned),
        quote: (!quote.is_empty()).then(|| quote.into()),
        span: None,
        raw: Some((OWN, raw)),
    }
}
