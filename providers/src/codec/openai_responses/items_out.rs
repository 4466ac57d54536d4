//! Items and their parts written, of requests and answers alike. What can be said is decided before; this is only how.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::fields::Writer;
use super::sources::{Annotation, Logprobs, can_say};
use crate::codec::data_url::DataUrl;
use crate::codec::openai::sound_format;
use crate::common::{Citation, Json, Media, MediaKind, MediaSource, Str, TokenLogprob, ToolCall, plain_mime};

/// Fields kept of the same dialect; empty for others.
pub(super) type Kept<'b> = &'b [(Str<'b>, Json<'b>)];

/// An item.
pub(super) struct Item<'b> {
    pub(super) id: Option<Cow<'b, str>>,
    pub(super) status: Option<&'b str>,
    pub(super) body: Body<'b>,
    pub(super) extras: Kept<'b>,
}

/// What an item says.
pub(super) enum Body<'b> {
    /// `beside`: extras of an answer's first part, among which those of the message begin with `item.`.
    Message {
        role: &'static str,
        content: Parts<'b>,
        beside: Kept<'b>,
    },
    Reasoning {
        summary: Vec<&'b str>,
        text: Option<&'b str>,
        encrypted: Option<Str<'b>>,
    },
    Call {
        call: &'b ToolCall<'b>,
        id: Cow<'b, str>,
        arguments: &'b str,
    },
    Result {
        call_id: Cow<'b, str>,
        custom: bool,
        content: Parts<'b>,
    },
    Image {
        data: &'b str,
    },
    Foreign(&'b Json<'b>),
}

/// Content: one plain text is a string, in requests.
pub(super) enum Parts<'b> {
    Text(Cow<'b, str>),
    List(Vec<Part<'b>>),
}

/// A part of content.
#[derive(Clone)]
pub(super) enum Part<'b> {
    InputText {
        text: &'b str,
        extras: Kept<'b>,
    },
    /// `logprobs` are written in answers only.
    OutputText {
        text: &'b str,
        citations: &'b [Citation<'b>],
        logprobs: Option<&'b [TokenLogprob<'b>]>,
        extras: Kept<'b>,
    },
    Refusal {
        text: &'b str,
        extras: Kept<'b>,
    },
    /// An image, sound or document that the dialect can take. What OpenAI demands is made up if it is not the dialect's own.
    Media {
        media: &'b Media<'b>,
        detail: Option<&'b str>,
        own: bool,
        extras: Kept<'b>,
    },
    ReasoningText(&'b str),
    SummaryText(&'b str),
    Foreign(&'b Json<'b>),
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { id, status, body, extras } = self;
        if let Body::Foreign(raw) = body {
            return raw.serialize(serializer);
        }
        let mut item = Writer(serializer.serialize_map(None)?);
        // A plain message has no type: the short form, which every vendor takes.
        if !matches!(body, Body::Message { content: Parts::Text(_), .. }) {
            item.put("type", body.kind())?;
        }
        item.opt("id", id.as_ref())?;
        item.opt("status", *status)?;
        match body {
            Body::Message { role, content, beside } => {
                item.put("role", role)?;
                item.put("content", content)?;
                item.nested("item.", beside)?;
            }
            Body::Reasoning { summary, text, encrypted } => {
                item.put("summary", &summary.iter().map(|text| Part::SummaryText(text)).collect::<Vec<_>>())?;
                item.opt("content", text.map(|text| [Part::ReasoningText(text)]))?;
                item.opt("encrypted_content", encrypted.as_ref())?;
            }
            Body::Call { call, id, arguments } => {
                item.put("call_id", id)?;
                item.put("name", &call.name)?;
                item.opt("namespace", call.namespace.as_ref())?;
                item.put(if call.custom { "input" } else { "arguments" }, arguments)?;
            }
            Body::Result { call_id, custom: _, content } => {
                item.put("call_id", call_id)?;
                item.put("output", content)?;
            }
            Body::Image { data } => item.put("result", data)?,
            Body::Foreign(_) => {}
        }
        item.extras(extras)?;
        item.0.end()
    }
}

impl Body<'_> {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Message { .. } => "message",
            Self::Reasoning { .. } => "reasoning",
            Self::Call { call, .. } if call.custom => "custom_tool_call",
            Self::Call { .. } => "function_call",
            Self::Result { custom: true, .. } => "custom_tool_call_output",
            Self::Result { .. } => "function_call_output",
            Self::Image { .. } => "image_generation_call",
            Self::Foreign(_) => "",
        }
    }
}

impl Serialize for Parts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::List(list) => list.serialize(serializer),
        }
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::Foreign(raw) = self {
            return raw.serialize(serializer);
        }
        let mut part = Writer(serializer.serialize_map(None)?);
        match self {
            Self::InputText { text, extras } => {
                part.put("type", "input_text")?;
                part.put("text", text)?;
                part.extras(extras)?;
            }
            Self::OutputText { text, citations, logprobs, extras } => {
                let length = if citations.is_empty() { 0 } else { text.chars().count() as u64 };
                let said = citations.iter().filter(|citation| can_say(citation));
                part.put("type", "output_text")?;
                part.put("text", text)?;
                part.put("annotations", &said.map(|citation| Annotation { citation, length }).collect::<Vec<_>>())?;
                part.opt("logprobs", logprobs.map(Logprobs))?;
                part.extras(extras)?;
            }
            Self::Refusal { text, extras } => {
                part.put("type", "refusal")?;
                part.put("refusal", text)?;
                part.extras(extras)?;
            }
            Self::Media { media, detail, own, extras } => {
                write_media(media, *own, extras, &mut part)?;
                part.opt("detail", detail.as_ref())?;
                part.extras(extras)?;
            }
            Self::ReasoningText(text) => {
                part.put("type", "reasoning_text")?;
                part.put("text", text)?;
            }
            Self::SummaryText(text) => {
                part.put("type", "summary_text")?;
                part.put("text", text)?;
            }
            Self::Foreign(_) => {}
        }
        part.0.end()
    }
}

fn write_media<M: serde::ser::SerializeMap>(
    media: &Media<'_>,
    own: bool,
    extras: Kept<'_>,
    part: &mut Writer<M>,
) -> Result<(), M::Error> {
    let mime = media.mime.as_deref();
    match media.kind {
        MediaKind::Image => {
            part.put("type", "input_image")?;
            match &media.source {
                MediaSource::Data(data) => {
                    part.put("image_url", &DataUrl { mime: mime.or(Some("image/png")), data })?;
                }
                MediaSource::Url(url) => part.put("image_url", url)?,
                MediaSource::File(id) => part.put("file_id", id)?,
                MediaSource::Text(_) | MediaSource::Blocks(_) => {}
            }
            Ok(())
        }
        MediaKind::Audio => {
            part.put("type", "input_audio")?;
            let MediaSource::Data(data) = &media.source else { return Ok(()) };
            part.put("input_audio", &Sound { data, format: mime.map(sound_format), extras })
        }
        MediaKind::Document | MediaKind::Video => {
            part.put("type", "input_file")?;
            let mime = mime.or((!own).then_some("application/pdf"));
            let nameless = !own && matches!(media.source, MediaSource::Data(_));
            part.opt("filename", media.name.as_deref().or(nameless.then(|| file_name(mime))))?;
            match &media.source {
                MediaSource::Data(data) => part.put("file_data", &DataUrl { mime, data })?,
                MediaSource::Url(url) => part.put("file_url", url)?,
                MediaSource::File(id) => part.put("file_id", id)?,
                MediaSource::Text(_) | MediaSource::Blocks(_) => {}
            }
            Ok(())
        }
    }
}

/// A name for a document that has none: OpenAI demands one and reads its ending.
fn file_name(mime: Option<&str>) -> &'static str {
    match mime.map(plain_mime).as_deref() {
        Some("text/plain") => "document.txt",
        Some("text/csv") => "document.csv",
        Some("text/html") => "document.html",
        Some("text/markdown") => "document.md",
        Some("application/json") => "document.json",
        Some("application/vnd.openxmlformats-officedocument.wordprocessingml.document") => "document.docx",
        Some("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet") => "document.xlsx",
        Some(_) | None => "document.pdf",
    }
}

struct Sound<'b> {
    data: &'b str,
    format: Option<&'b str>,
    extras: Kept<'b>,
}

impl Serialize for Sound<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sound = Writer(serializer.serialize_map(None)?);
        sound.put("data", self.data)?;
        sound.opt("format", self.format)?;
        sound.nested("input_audio.", self.extras)?;
        sound.0.end()
    }
}
