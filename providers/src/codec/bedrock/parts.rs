//! Content blocks written: what requests and answers have in common.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{OWN, media, write};
use crate::codec::base64url::to_standard;
use crate::codec::ids::respelt;
use crate::common::{
    Block, Citation, Content, Extras, Json, Media, MediaKind, MediaSource, Str, Text, ToolCall, flat_name,
};

/// What stands in a block's extras for its own dialect only, instead of the text that others see.
pub(super) fn shown<'r>(extras: &'r Extras<'r>) -> Option<write::Part<'r>> {
    extras.iter().find_map(|(kind, raw)| match kind.strip_prefix('=').unwrap_or(kind) {
        "guardContent" => Some(write::Part::GuardContent(raw.borrowed())),
        "searchResult" => Some(write::Part::SearchResult(raw.borrowed())),
        "json" => Some(write::Part::Json(raw.borrowed())),
        _ => None,
    })
}

/// Text, with its sources if it has any.
pub(super) fn text<'r>(text: &'r Text<'r>, extras: write::Fields<'r, 'r>) -> write::Part<'r> {
    if text.citations.is_empty() {
        return write::Part::Text(text.text.borrowed());
    }
    let citations = text.citations.iter().map(citation).collect();
    write::Part::CitationsContent(write::Cited { content: [write::Words { text: &text.text }], citations, extras })
}

pub(super) fn citation<'r>(citation: &'r Citation<'_>) -> write::Citation<'r> {
    // Where in the answer the cited text stands is told by the block.
    let Citation { url, title, quote, span: _, raw } = citation;
    match raw {
        Some((dialect, raw)) if *dialect == OWN => write::Citation::Raw(raw.borrowed()),
        Some(_) | None => write::Citation::New(write::NewCitation {
            title: title.as_deref(),
            source: url.as_deref(),
            source_content: quote.iter().map(|text| write::Words { text }).collect(),
            location: url.as_deref().map(|url| write::Location::Web { url }),
        }),
    }
}

/// A call; in its own dialect its input may be any JSON.
pub(super) fn call<'r>(call: &'r ToolCall<'r>, own: bool, extras: write::Fields<'r, 'r>) -> write::Part<'r> {
    let name = flat_name(call.namespace.as_deref(), &call.name).into();
    let as_it_is = if own { Json::parse(&call.arguments) } else { None };
    let input = as_it_is.unwrap_or_else(|| call.arguments_object());
    write::Part::ToolUse(write::ToolUse { id: call_id(&call.id), name, input, kind: None, extras })
}

/// Ids are `[a-zA-Z0-9_.:-]{1,64}`. Another one keeps what it can and gets a hash of the whole.
pub(super) fn call_id(id: &str) -> Str<'_> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    respelt(id, 64, 40, fits).into()
}

/// Why a medium cannot be said.
pub(super) struct Unsayable;

/// A medium of another dialect, or of one's own: whose document names are `verbatim`.
pub(super) fn medium<'r>(
    medium: &'r Media<'r>,
    extras: &'r Extras<'r>,
    verbatim: bool,
    names: &mut media::Names,
) -> Result<write::Part<'r>, Unsayable> {
    let Media { kind, source, mime, name, context, cite, detail: _, transcript: _, signature: _ } = medium;
    let has = |key: &str| verbatim && extras.iter().any(|(name, _)| name == key);
    let is_document = *kind == MediaKind::Document;
    let source = match source {
        MediaSource::Data(_) if has("source") => None,
        MediaSource::Url(_) if has("source") => None,
        MediaSource::Data(data) => Some(write::MediumSource::Bytes(to_standard(data.borrowed()))),
        MediaSource::Url(url) if verbatim || url.starts_with("s3://") => {
            Some(write::MediumSource::S3(write::S3Location { uri: url, extras: write::Fields(&[]) }))
        }
        MediaSource::Text(text) if is_document && verbatim => Some(write::MediumSource::Text(text)),
        // Not every model knows `text`; all that read documents know files.
        MediaSource::Text(text) if is_document => {
            Some(write::MediumSource::Bytes(STANDARD.encode(text.as_bytes()).into()))
        }
        MediaSource::Blocks(blocks) if is_document => {
            let part = |block: &'r Block<'_>| match &block.content {
                Content::Text(text) => Ok(write::Part::Text(text.text.borrowed())),
                Content::Foreign(foreign) if foreign.dialect == OWN => Ok(write::Part::Raw(foreign.raw.borrowed())),
                _ => Err(Unsayable),
            };
            Some(write::MediumSource::Content(blocks.iter().map(part).collect::<Result<_, _>>()?))
        }
        MediaSource::Url(_) | MediaSource::File(_) | MediaSource::Text(_) | MediaSource::Blocks(_) => {
            return Err(Unsayable);
        }
    };
    let format = match &source {
        _ if has("format") => None,
        Some(write::MediumSource::Content(_) | write::MediumSource::Text(_)) => {
            mime.as_deref().and_then(|mime| media::word_of(*kind, mime))
        }
        source => {
            let data = if let Some(write::MediumSource::Bytes(data)) = source { &**data } else { "" };
            let told = mime.as_deref().and_then(|mime| media::word_of(*kind, mime));
            let is_text = matches!(medium.source, MediaSource::Text(_)).then_some("txt");
            let path = if let MediaSource::Url(url) = &medium.source { Some(&**url) } else { name.as_deref() };
            let format = told.or(is_text).or_else(|| media::guess(*kind, data, path));
            // A document may leave it out, and its own client may know better.
            if format.is_none() && !verbatim {
                return Err(Unsayable);
            }
            format
        }
    };
    let name = match name {
        _ if !is_document => None,
        Some(name) if verbatim => Some(name.borrowed()),
        None if verbatim => None,
        name => Some(names.name(name.as_deref()).into()),
    };
    let written = write::Medium {
        format,
        name,
        source,
        context: context.as_deref(),
        citations: cite.map(|enabled| write::Enabled { enabled }),
        extras: write::Fields(if verbatim { extras } else { &[] }),
    };
    Ok(match kind {
        MediaKind::Image => write::Part::Image(written),
        MediaKind::Document => write::Part::Document(written),
        MediaKind::Video => write::Part::Video(written),
        MediaKind::Audio => write::Part::Audio(written),
    })
}

/// The instructions and messages of a foreign request may hold text that says nothing; the service refuses it.
pub(super) fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}
