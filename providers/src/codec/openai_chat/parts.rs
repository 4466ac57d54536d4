//! Content parts that are read: OpenAI's own
//! (<https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages>) and those that vendors added.

use super::wire::{CacheControl, Raw, keep, read, text_of};
use super::{OWN, SPELT};
use crate::codec::wire::{TextOr, wire};
use crate::common::{
    Block, CacheMark, Content, Extras, Foreign, Json, Media, MediaKind, MediaSource, Opaque, ProviderTag, Reasoning,
    Str,
};

/// Whom opaque state comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// A client that sends it back.
    Client,
    /// The provider that made it.
    Provider(ProviderTag),
}

impl Origin {
    pub(super) fn opaque(self, text: Str<'_>) -> Opaque<'_> {
        match self {
            Self::Client => Opaque::from_client(OWN, text),
            Self::Provider(provider) => Opaque::made_by(OWN, Some(provider), text),
        }
    }
}

wire! {
    struct Part<'a> {
        "type" => kind: Str<'a>,
        "text" => text: Option<Str<'a>>,
        "refusal" => refusal: Option<Str<'a>>,
        "image_url" => image_url: Option<Raw<'a>>,
        "video_url" => video_url: Option<Raw<'a>>,
        "audio_url" => audio_url: Option<Raw<'a>>,
        "input_audio" => input_audio: Option<Raw<'a>>,
        "file" => file: Option<Raw<'a>>,
        "thinking" => thinking: Option<Raw<'a>>,
        "signature" => signature: Option<Str<'a>>,
        "data" => data: Option<Str<'a>>,
        "cache_control" => cache_control: Option<CacheControl<'a>>,
    }

    struct Inner<'a> {
        "url" => url: Option<Str<'a>>,
        "detail" => detail: Option<Str<'a>>,
        "data" => data: Option<Str<'a>>,
        "format" => format: Option<Str<'a>>,
        "file_id" => file_id: Option<Str<'a>>,
        "file_data" => file_data: Option<Str<'a>>,
        "filename" => filename: Option<Str<'a>>,
    }
}

/// Appends what a `content` says. An empty string says nothing.
pub(super) fn read_content<'a>(content: TextOr<'a, Raw<'a>>, origin: Origin, blocks: &mut Vec<Block<'a>>) {
    match content {
        TextOr::Text(text) if text.is_empty() => {}
        TextOr::Text(text) => {
            // Most messages are one text.
            blocks.reserve_exact(1);
            blocks.push(Block::text(text));
        }
        TextOr::List(parts) => blocks.extend(parts.into_iter().map(|raw| read_part(raw, origin))),
    }
}

/// Reads one part; what is not understood is kept whole.
pub(super) fn read_part(raw: Raw<'_>, origin: Origin) -> Block<'_> {
    if raw.get().starts_with('"')
        && let Some(text) = read::<Str<'_>>(raw)
    {
        return Block::text(text);
    }
    let mut part = read::<Part<'_>>(raw).unwrap_or_default();
    let cache = part.cache_control.take().map(CacheMark::from);
    let mut extras = std::mem::take(&mut part.rest);
    let content = known(&mut part, raw, origin, &mut extras);
    let Some(content) = content else {
        let foreign = Foreign { dialect: OWN, kind: part.kind, raw: keep(raw) };
        return Block::new(Content::Foreign(Box::new(foreign)));
    };
    Block { content, cache, id: None, extras }
}

fn known<'a>(part: &mut Part<'a>, raw: Raw<'a>, origin: Origin, extras: &mut Extras<'a>) -> Option<Content<'a>> {
    Some(match &*part.kind {
        // The words of Responses, which Cursor sends on this path, too.
        "text" | "input_text" | "output_text" => Content::Text(crate::common::Text::new(part.text.take()?)),
        "refusal" => Content::Refusal(part.refusal.take()?),
        "image_url" => address(part.image_url?, MediaKind::Image, "image_url", extras)?,
        "video_url" => address(part.video_url?, MediaKind::Video, "video_url", extras)?,
        "audio_url" => address(part.audio_url?, MediaKind::Audio, "audio_url", extras)?,
        "input_audio" => sound(part.input_audio?, extras)?,
        "file" => file(part.file?, extras)?,
        "thinking" | "redacted_thinking" => {
            let opaque = |text: Option<Str<'a>>| text.filter(|text| !text.is_empty()).map(|text| origin.opaque(text));
            let reasoning = Reasoning {
                text: part.thinking.map(thinking_text).unwrap_or_default(),
                summary: Vec::new(),
                signature: opaque(part.signature.take()),
                encrypted: opaque(part.data.take()),
            };
            if let Origin::Client = origin {
                extras.clear();
                extras.push(("=part".into(), keep(raw)));
            }
            Content::Reasoning(Box::new(reasoning))
        }
        _ => return None,
    })
}

/// The text of a `thinking`: Mistral's list of text parts, or Anthropic's string.
fn thinking_text(raw: Raw<'_>) -> Str<'_> {
    if raw.get().starts_with('"') {
        return text_of(Some(raw)).unwrap_or_default();
    }
    let parts = read::<Vec<Part<'_>>>(raw).unwrap_or_default();
    let mut texts = parts.into_iter().filter_map(|part| part.text);
    let mut all = texts.next().unwrap_or_default();
    texts.for_each(|text| all.push_str(&text));
    all
}

/// `{"url": …, "detail": …}`, or the bare address as Mistral takes it.
fn address<'a>(raw: Raw<'a>, natural: MediaKind, part: &'static str, extras: &mut Extras<'a>) -> Option<Content<'a>> {
    let mut inner = match raw.get().starts_with('"') {
        true => Inner { url: Some(read(raw)?), ..Inner::default() },
        false => read::<Inner<'_>>(raw)?,
    };
    let (source, mime) = MediaSource::of_url(inner.url.take()?);
    let detail = if part == "image_url" { inner.detail.take() } else { None };
    let media = Media { kind: natural, source, mime, detail, ..Media::default() };
    Some(finish(media, natural, part, inner, extras))
}

/// `{"data": …, "format": …}`, or the bare data as Mistral takes it.
fn sound<'a>(raw: Raw<'a>, extras: &mut Extras<'a>) -> Option<Content<'a>> {
    let mut inner = match raw.get().starts_with('"') {
        true => Inner { data: Some(read(raw)?), ..Inner::default() },
        false => read::<Inner<'_>>(raw)?,
    };
    let (source, mime) = data_or_url(inner.data.take()?);
    let mime = inner.format.take().map(|format| mime_of_format(&format)).or(mime);
    let media = Media { kind: MediaKind::Audio, source, mime, ..Media::default() };
    Some(finish(media, MediaKind::Audio, "input_audio", inner, extras))
}

fn file<'a>(raw: Raw<'a>, extras: &mut Extras<'a>) -> Option<Content<'a>> {
    let mut inner = read::<Inner<'_>>(raw)?;
    let id = inner.file_id.take_if(|_| inner.file_data.is_none());
    let (source, mime) = match (inner.file_data.take(), id) {
        (Some(data), _) => data_or_url(data),
        (None, Some(id)) => (MediaSource::File(id), None),
        (None, None) => return None,
    };
    let media = Media { kind: MediaKind::Document, source, mime, name: inner.filename.take(), ..Media::default() };
    Some(finish(media, MediaKind::Document, "file", inner, extras))
}

/// Sets the kind after the media type. The part's own word is remembered where the kind alone would suggest another.
fn finish<'a>(
    mut media: Media<'a>,
    natural: MediaKind,
    part: &'static str,
    left: Inner<'a>,
    extras: &mut Extras<'a>,
) -> Content<'a> {
    if let Some(mime) = media.mime.as_deref() {
        media.kind = MediaKind::of_mime(mime);
    }
    if media.kind != natural || (part == "audio_url" && matches!(media.source, MediaSource::Data(_))) {
        extras.push((format!("{SPELT}{part}").into(), Json::default()));
    }
    // What was not taken of the fields that another part has.
    let Inner { url, detail, data, format, file_id, file_data, filename, mut rest } = left;
    for (name, text) in [
        ("url", url),
        ("detail", detail),
        ("data", data),
        ("format", format),
        ("file_id", file_id),
        ("file_data", file_data),
        ("filename", filename),
    ] {
        rest.extend(text.map(|text| (name.into(), Json::of(&text))));
    }
    extras.extend(rest.into_iter().map(|(name, value)| (format!("{part}.{name}").into(), value)));
    Content::Media(Box::new(media))
}

/// OpenAI wants a `data:` URL here; base64 alone and addresses are seen, too.
fn data_or_url(text: Str<'_>) -> (MediaSource<'_>, Option<Str<'_>>) {
    let is_data = text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    if is_data || text.get(..16).unwrap_or(&text).contains("://") {
        MediaSource::of_url(text)
    } else {
        (MediaSource::Data(text), None)
    }
}

/// The media type of a sound's format.
pub(super) fn mime_of_format(format: &str) -> Str<'static> {
    match format {
        "mp3" => "audio/mpeg".into(),
        other => format!("audio/{other}").into(),
    }
}
