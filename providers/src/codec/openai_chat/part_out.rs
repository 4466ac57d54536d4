//! Content parts that are written.

use std::borrow::Cow;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::{OF_MESSAGE, SPELT, spelt};
use crate::codec::data_url::DataUrl;
use crate::codec::openai::sound_format;
use crate::common::{CacheMark, Json, Media, MediaKind, MediaSource, Str, plain_mime};

/// Extras among an object's fields; without the spellings that are only remembered.
#[derive(Clone, Copy, Default)]
pub(super) struct Fields<'r> {
    extras: &'r [(Str<'r>, Json<'r>)],
    prefix: &'static str,
    inner: bool,
}

impl<'r> Fields<'r> {
    /// Those whose name does not begin with `prefix`; all if it is empty.
    pub(super) fn outer(extras: &'r [(Str<'r>, Json<'r>)], prefix: &'static str) -> Self {
        Self { extras, prefix, inner: false }
    }

    /// Those whose name begins with `prefix`, without it.
    pub(super) fn inner(extras: &'r [(Str<'r>, Json<'r>)], prefix: &'static str) -> Self {
        Self { extras, prefix, inner: true }
    }

    /// Those of an answer's message among those of its choice, but for the annotations, which have a field.
    pub(super) fn message(extras: &'r [(Str<'r>, Json<'r>)]) -> Self {
        Self::inner(extras, OF_MESSAGE)
    }

    fn iter(self) -> impl Iterator<Item = (&'r str, &'r Json<'r>)> {
        self.extras.iter().filter_map(move |(name, value)| {
            let name = match name.strip_prefix(self.prefix).filter(|_| !self.prefix.is_empty()) {
                Some(short) => self.inner.then_some(short)?,
                None => (!self.inner && !name.starts_with(SPELT)).then_some(&**name)?,
            };
            let is_field = self.inner && self.prefix == OF_MESSAGE && name == "annotations";
            (!is_field).then_some((name, value))
        })
    }

    /// Whether nothing will be written.
    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// A content part.
pub(super) struct PartOut<'r> {
    pub(super) body: PartBody<'r>,
    pub(super) cache: Option<&'r CacheMark<'r>>,
    pub(super) extras: &'r [(Str<'r>, Json<'r>)],
}

/// What a part says.
pub(super) enum PartBody<'r> {
    /// Text.
    Text(Cow<'r, str>),
    /// The model declined.
    Refusal(&'r str),
    /// Reasoning as Mistral writes it.
    Thinking(Cow<'r, str>),
    /// A medium: the part's kind, which is also the name of the inner object, the medium, and how closely to look at it.
    Media(&'static str, &'r Media<'r>, Option<&'r str>),
    /// As it was read.
    Raw(&'r Json<'r>),
}

impl<'r> PartBody<'r> {
    /// A medium that the model showed: how closely to look at it is said only where it was in this dialect.
    pub(super) fn shown(media: &'r Media<'r>, extras: &[(Str<'_>, Json<'_>)], own: bool) -> Self {
        Self::Media(part_kind(media, extras), media, media.detail.as_deref().filter(|_| own))
    }
}

impl<'r> PartOut<'r> {
    pub(super) fn new(body: PartBody<'r>) -> Self {
        Self { body, cache: None, extras: &[] }
    }

    pub(super) fn text(text: impl Into<Cow<'r, str>>) -> Self {
        Self::new(PartBody::Text(text.into()))
    }

    /// The text, if nothing stands beside it.
    pub(super) fn bare_text(&self) -> Option<&Cow<'r, str>> {
        match &self.body {
            PartBody::Text(text) if self.cache.is_none() && Fields::outer(self.extras, "").is_empty() => Some(text),
            _ => None,
        }
    }
}

impl Serialize for PartOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let PartBody::Raw(raw) = &self.body {
            return raw.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        let mut prefix = "";
        match &self.body {
            PartBody::Text(text) => {
                map.serialize_entry("type", "text")?;
                map.serialize_entry("text", text)?;
            }
            PartBody::Refusal(text) => {
                map.serialize_entry("type", "refusal")?;
                map.serialize_entry("refusal", text)?;
            }
            PartBody::Thinking(text) => {
                map.serialize_entry("type", "thinking")?;
                map.serialize_entry("thinking", &[PartOut::text(&**text)])?;
            }
            PartBody::Media(kind, media, detail) => {
                prefix = prefix_of(kind);
                map.serialize_entry("type", kind)?;
                map.serialize_entry(kind, &Inner { kind, media, detail: *detail, extras: self.extras })?;
            }
            PartBody::Raw(_) => {}
        }
        if let Some(mark) = self.cache {
            map.serialize_entry("cache_control", &CacheOut::from(mark))?;
        }
        for (name, value) in Fields::outer(self.extras, prefix).iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The kind of part that carries a medium: the one that it came in, else the one that is made for it.
pub(super) fn part_kind(media: &Media<'_>, extras: &[(Str<'_>, Json<'_>)]) -> &'static str {
    const KINDS: [&str; 5] = ["image_url", "video_url", "audio_url", "input_audio", "file"];
    if let Some(kind) = KINDS.into_iter().find(|kind| spelt(extras, kind).is_some()) {
        return kind;
    }
    match (media.kind, &media.source) {
        (_, MediaSource::File(_)) | (MediaKind::Document, _) => "file",
        (MediaKind::Image, _) => "image_url",
        (MediaKind::Video, _) => "video_url",
        (MediaKind::Audio, MediaSource::Url(_)) => "audio_url",
        (MediaKind::Audio, _) => "input_audio",
    }
}

fn prefix_of(kind: &str) -> &'static str {
    match kind {
        "image_url" => "image_url.",
        "video_url" => "video_url.",
        "audio_url" => "audio_url.",
        "input_audio" => "input_audio.",
        _ => "file.",
    }
}

struct Inner<'r> {
    kind: &'static str,
    media: &'r Media<'r>,
    detail: Option<&'r str>,
    extras: &'r [(Str<'r>, Json<'r>)],
}

impl Serialize for Inner<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Media { kind: _, source, mime, name, detail: _, context: _, cite: _, transcript: _, signature: _ } =
            self.media;
        let mime = mime.as_deref();
        let mut map = serializer.serialize_map(None)?;
        match (self.kind, source) {
            ("file", MediaSource::File(id)) => map.serialize_entry("file_id", id)?,
            ("file", MediaSource::Data(data)) => map.serialize_entry("file_data", &DataUrl { mime, data })?,
            ("file", MediaSource::Url(url)) => map.serialize_entry("file_data", url)?,
            ("input_audio", MediaSource::Data(data)) => {
                map.serialize_entry("data", data)?;
                map.serialize_entry("format", mime.map_or("wav", sound_format))?;
            }
            (_, MediaSource::Data(data)) => map.serialize_entry("url", &DataUrl { mime, data })?,
            (_, MediaSource::Url(address) | MediaSource::File(address)) => map.serialize_entry("url", address)?,
            // Texts and blocks were written as text parts.
            (_, MediaSource::Text(_) | MediaSource::Blocks(_)) => {}
        }
        match (self.kind, name, mime) {
            ("file", Some(name), _) => map.serialize_entry("filename", name)?,
            // OpenAI demands a name with data.
            ("file", None, mime) if matches!(source, MediaSource::Data(_)) && mime.is_some() => {
                map.serialize_entry("filename", file_name(mime.unwrap_or_default()))?;
            }
            (_, _, _) => {}
        }
        if let Some(detail) = self.detail {
            map.serialize_entry("detail", detail)?;
        }
        for (name, value) in Fields::inner(self.extras, prefix_of(self.kind)).iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn file_name(mime: &str) -> &'static str {
    match &*plain_mime(mime) {
        "application/pdf" => "document.pdf",
        "text/plain" => "document.txt",
        "text/markdown" => "document.md",
        "text/html" => "document.html",
        "text/csv" => "document.csv",
        "application/json" => "document.json",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "document.docx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "document.xlsx",
        _ => "document",
    }
}

/// Anthropic's mark.
#[derive(Serialize)]
pub(super) struct CacheOut<'r> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'r str>,
}

impl<'r> From<&'r CacheMark<'r>> for CacheOut<'r> {
    fn from(mark: &'r CacheMark<'r>) -> Self {
        Self { kind: "ephemeral", ttl: mark.ttl.as_deref() }
    }
}
