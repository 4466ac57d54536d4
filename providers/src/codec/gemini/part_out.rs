//! A block as parts of the wire: of requests and of answers.
//!
//! Media in a tool's result go into `functionResponse.parts` where the model takes them there (Gemini 3, which knows no other
//! parts there); for older models they follow the results in the same turn of the user, as Google's own command-line client sends
//! them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::extras::{Beside, find};
use super::part_in::{ENCRYPTED, MADE_ELSEWHERE, mime_of_url};
use super::write::{Blob, FileData, FunctionCall, FunctionResponse, Part, Piece, Resolution, Returned};
use crate::codec::detail::{self, Words};
use crate::codec::media::{guess, mime_of, says_nothing};
use crate::common::{
    Block, Content, Json, Losses, Media, MediaKind, MediaSource, Opaque, ProviderTag, Reasoning, Str, Text, ToolCall,
    ToolResult, flat_name, plain_mime,
};
use crate::dialect::Dialect;

const OWN: Dialect = Dialect::Gemini;

/// What Gemini 3 accepts in place of the thought signature of a call that it did not make itself; without any, it refuses
/// the turn: <https://ai.google.dev/gemini-api/docs/thought-signatures#faqs>.
pub(super) const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The media that stand in results of tools, with nothing beside them:
/// <https://ai.google.dev/gemini-api/docs/function-calling#multimodal>.
const IN_RESULTS: [&str; 5] = ["image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"];

/// Who reads what is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reader {
    /// A provider.
    Provider {
        /// The account.
        tag: ProviderTag,
        /// [`Traits::gemini_3`](crate::catalogue::Traits::gemini_3).
        gemini_3: bool,
        /// Whether Vertex AI carries it.
        vertex: bool,
    },
    /// A client.
    Client,
}

/// Writes blocks as parts.
pub(super) struct Writer<'o, 'l> {
    pub(super) reader: Reader,
    /// Whether the blocks came in this dialect.
    pub(super) own: bool,
    pub(super) losses: &'l mut Losses,
    /// Whether the next call is the first of a step of the current turn, which must be signed.
    pub(super) must_sign: bool,
    names: BTreeMap<&'o str, Cow<'o, str>>,
}

impl<'o, 'l> Writer<'o, 'l> {
    pub(super) fn new(reader: Reader, own: bool, losses: &'l mut Losses) -> Self {
        Self { reader, own, losses, must_sign: false, names: BTreeMap::new() }
    }

    fn place(&self) -> &'static str {
        match self.reader {
            Reader::Provider { .. } => "messages.",
            Reader::Client => "answer.",
        }
    }

    fn note(&mut self, in_request: &'static str, in_answer: &'static str) {
        self.losses.note(match self.reader {
            Reader::Provider { .. } => in_request,
            Reader::Client => in_answer,
        });
    }

    fn lose(&mut self, extras: &[(Str<'_>, Json<'_>)]) {
        if !self.own {
            self.losses.note_extras(self.place(), extras);
        }
    }

    fn lose_media(&mut self, kind: MediaKind) {
        self.note(kind.lost_in_message(), kind.lost_in_answer());
    }

    /// Appends the parts of a block. The citations of an answer are the caller's.
    pub(super) fn block(&mut self, block: &'o Block<'_>, parts: &mut Vec<Piece<'o>>) {
        let from = parts.len();
        let Block { content, cache, id: _, extras } = block;
        self.losses.note_if(cache.is_some(), "messages.cache");
        self.lose(extras);
        match content {
            Content::Text(text) => self.text(text, parts),
            Content::Refusal(text) => parts.extend((!text.is_empty()).then(|| Piece::text(&**text))),
            Content::Media(media) => self.media(media, extras, parts),
            Content::Reasoning(reasoning) => self.reasoning(reasoning, parts),
            Content::ToolCall(call) => {
                let call = self.call(call, extras);
                parts.push(call);
            }
            Content::ToolResult(result) => {
                let mut after = Vec::new();
                let response = self.result(result, extras, &mut after);
                parts.push(response);
                parts.append(&mut after);
            }
            Content::Foreign(foreign) if foreign.dialect == OWN => parts.push(Piece::Raw(foreign.raw.borrowed())),
            Content::Foreign(foreign) => self.losses.note_foreign(self.place(), &foreign.kind),
        }
        if self.own
            && !extras.is_empty()
            && let Some(Piece::Part(part)) = parts.get_mut(from)
        {
            part.beside = Beside::of(extras, "");
        }
    }

    fn text(&mut self, text: &'o Text<'_>, parts: &mut Vec<Piece<'o>>) {
        let Text { text, citations, signature } = text;
        if matches!(self.reader, Reader::Provider { .. }) {
            self.losses.note_if(!citations.is_empty(), "messages.citations");
        }
        let thought_signature = signature.as_ref().and_then(|opaque| self.signature(opaque));
        // Vertex refuses empty texts; a client's own empty text is its own affair.
        if self.own || !text.is_empty() || thought_signature.is_some() {
            parts.push(Part { text: Some(text.as_str().into()), thought_signature, ..Part::default() }.into());
        }
    }

    fn signature(&mut self, opaque: &'o Opaque<'_>) -> Option<Str<'o>> {
        match self.reader {
            Reader::Client => Some(opaque.for_client(OWN)),
            Reader::Provider { tag, .. } => {
                let usable = opaque.for_provider(OWN, tag);
                // What Gemini takes in place of a signature says nothing that could be lost.
                self.losses.note_if(usable.is_none() && opaque.data != NO_SIGNATURE, "messages.signature");
                usable.map(Str::from)
            }
        }
    }

    fn reasoning(&mut self, reasoning: &'o Reasoning<'_>, parts: &mut Vec<Piece<'o>>) {
        let Reasoning { text: _, summary: _, signature, encrypted } = reasoning;
        let text = reasoning.shown().unwrap_or_default();
        let mut thought_signature = signature.as_ref().and_then(|opaque| self.signature(opaque));
        if let Some(opaque) = encrypted {
            match self.reader {
                Reader::Client if thought_signature.is_none() => thought_signature = Some(sealed(opaque)),
                Reader::Provider { .. } if text.is_empty() => self.losses.note("messages.reasoning"),
                Reader::Provider { .. } | Reader::Client => self.note("messages.signature", "answer.reasoning"),
            }
        }
        if self.own || !text.is_empty() || thought_signature.is_some() {
            parts.push(Part { text: Some(text), thought: Some(true), thought_signature, ..Part::default() }.into());
        }
    }

    fn call(&mut self, call: &'o ToolCall<'_>, extras: &'o [(Str<'_>, Json<'_>)]) -> Piece<'o> {
        let ToolCall { id, name, arguments: _, custom: _, namespace, signature } = call;
        let mut thought_signature = signature.as_ref().and_then(|opaque| self.signature(opaque));
        let foreign = signature.is_some() || !self.own || find(extras, MADE_ELSEWHERE).is_some();
        if std::mem::take(&mut self.must_sign) && thought_signature.is_none() && foreign {
            thought_signature = Some(NO_SIGNATURE.into());
        }
        let name = flat_name(namespace.as_deref(), name);
        self.names.insert(id, name.clone());
        let unless = |mark: &str| !(self.own && find(extras, mark).is_some());
        let function_call = FunctionCall {
            id: (unless("=functionCall.id") || matches!(self.reader, Reader::Client)).then_some(&**id),
            name,
            args: unless("=functionCall.args").then(|| call.arguments_object()),
            beside: self.beside(extras, "functionCall."),
        };
        Part { function_call: Some(function_call), thought_signature, ..Part::default() }.into()
    }

    fn beside(&self, extras: &'o [(Str<'_>, Json<'_>)], prefix: &'static str) -> Beside<'o> {
        if self.own { Beside::of(extras, prefix) } else { Beside::default() }
    }

    /// Whether a result of another dialect holds a part beside its text.
    fn holds(&self, part: &Part<'_>) -> bool {
        let Reader::Provider { gemini_3: true, vertex, .. } = self.reader else { return false };
        let mime = match (&part.inline_data, &part.file_data) {
            (Some(blob), _) => blob.mime_type.as_deref(),
            // AI Studio knows no addresses there.
            (None, Some(file)) if vertex => file.mime_type.as_deref(),
            (None, _) => None,
        };
        !self.own && mime.is_some_and(|mime| IN_RESULTS.contains(&mime))
    }

    /// A result; what it cannot hold is put into `after`.
    pub(super) fn result(
        &mut self,
        result: &'o ToolResult<'_>,
        extras: &'o [(Str<'_>, Json<'_>)],
        after: &mut Vec<Piece<'o>>,
    ) -> Piece<'o> {
        let ToolResult { call_id, name, content, is_error, custom: _ } = result;
        let (mut text, mut held, mut pieces) = (None::<Cow<'o, str>>, Vec::new(), Vec::new());
        content.iter().for_each(|block| self.block(block, &mut pieces));
        for piece in pieces {
            match piece {
                Piece::Part(part) if part.is_text() => {
                    let more = part.text.unwrap_or_default();
                    text = Some(match text {
                        Some(text) => format!("{text}\n{more}").into(),
                        None => more,
                    });
                }
                Piece::Part(mut part) if self.holds(&part) => {
                    self.losses.note_if(part.media_resolution.take().is_some(), "messages.detail");
                    held.push(Piece::Part(part));
                }
                piece if self.own || matches!(self.reader, Reader::Client) => held.push(piece),
                piece => after.push(piece),
            }
        }
        let named = name.as_ref().map(|name| Cow::Borrowed(&**name)).or_else(|| self.names.get(&**call_id).cloned());
        let unless = |mark: &str| !(self.own && find(extras, mark).is_some());
        let key = find(extras, "=functionResponse.key").filter(|_| self.own).and_then(|key| key.read::<Str<'_>>().ok());
        let response = match (&key, text) {
            (None, None) if !unless("=functionResponse.response") => None,
            (Some(key), text) => Some(Returned::Text(key.clone().into_owned(), text.unwrap_or_default())),
            (None, text) => Some(returned(text.unwrap_or_default(), *is_error)),
        };
        let function_response = FunctionResponse {
            id: unless("=functionResponse.id").then_some(&**call_id),
            // The field is required; a result without its call has no other name.
            name: named.unwrap_or("unknown".into()),
            response,
            parts: held,
            beside: self.beside(extras, "functionResponse."),
        };
        Part { function_response: Some(function_response), ..Part::default() }.into()
    }

    fn media(&mut self, media: &'o Media<'_>, extras: &'o [(Str<'_>, Json<'_>)], parts: &mut Vec<Piece<'o>>) {
        let Media { kind, source, mime, name, detail, context, cite, transcript, signature } = media;
        if let Some(context) = context {
            parts.push(Piece::text(&**context));
        }
        if *cite == Some(true) {
            self.note("messages.citations", "answer.citations");
        }
        let told = mime.as_deref();
        let mime_type = match (self.reader, source) {
            _ if self.own => told.map(Cow::Borrowed),
            (Reader::Client, _) => Some(told.unwrap_or(default_mime(*kind)).into()),
            (Reader::Provider { .. }, MediaSource::Data(data)) => {
                let guess = guess(*kind, data, name.as_deref()).and_then(|word| mime_of(*kind, word));
                google_mime(told, guess, *kind)
            }
            (Reader::Provider { .. }, MediaSource::Url(url)) if is_address(url) => {
                google_mime(told, mime_of_url(url), *kind)
            }
            (Reader::Provider { .. }, _) => None,
        };
        if mime_type.is_none() && !self.own && matches!(source, MediaSource::Data(_) | MediaSource::Url(_)) {
            return self.lose_media(*kind);
        }
        // Only Vertex documents names of media.
        let named = self.own || !matches!(self.reader, Reader::Provider { vertex: false, .. });
        let display_name = name.as_deref().filter(|_| named);
        let part = match source {
            MediaSource::Data(data) => {
                let beside = self.beside(extras, "inlineData.");
                let blob = Blob { mime_type, data: data.as_str().into(), display_name, beside };
                Part { inline_data: Some(blob), ..Part::default() }
            }
            MediaSource::Url(url) => {
                let beside = self.beside(extras, "fileData.");
                let file = FileData { mime_type, file_uri: url, display_name, beside };
                Part { file_data: Some(file), ..Part::default() }
            }
            MediaSource::Text(text) => {
                parts.extend(name.as_deref().map(Piece::text));
                return parts.push(Piece::text(&**text));
            }
            MediaSource::Blocks(blocks) => {
                parts.extend(name.as_deref().map(Piece::text));
                return blocks.iter().for_each(|block| self.block(block, parts));
            }
            MediaSource::File(_) => {
                match transcript {
                    Some(transcript) => parts.push(Piece::text(&**transcript)),
                    None => self.lose_media(*kind),
                }
                return;
            }
        };
        if name.is_some() && !named {
            self.losses.note("messages.name");
        }
        let thought_signature = signature.as_ref().and_then(|opaque| self.signature(opaque));
        let media_resolution = self.resolution(detail.as_deref());
        parts.push(Part { thought_signature, media_resolution, ..part }.into());
        if let (Some(transcript), Reader::Client) = (transcript, self.reader) {
            parts.push(Piece::text(&**transcript));
        }
    }

    fn resolution(&mut self, detail: Option<&str>) -> Option<Resolution> {
        let level = match self.reader {
            _ if self.own => detail?.to_ascii_uppercase(),
            Reader::Client => return None,
            _ if !detail::asks(detail) => return None,
            Reader::Provider { gemini_3: false, .. } => {
                self.losses.note("messages.detail");
                return None;
            }
            Reader::Provider { .. } => detail::told(detail, Words::Gemini, self.losses)?.to_owned(),
        };
        Some(Resolution { level: format!("MEDIA_RESOLUTION_{level}") })
    }
}

/// A ticket for encrypted reasoning.
pub(super) fn sealed<'o>(opaque: &Opaque<'_>) -> Str<'o> {
    let data = format!("{ENCRYPTED}{}", opaque.data).into();
    Opaque { dialect: opaque.dialect, provider: opaque.provider, data }.for_client(OWN).into_owned()
}

/// The object that stands for a result's text.
fn returned(text: Cow<'_, str>, is_error: Option<bool>) -> Returned<'_> {
    let failed = is_error == Some(true);
    let object = match &text {
        _ if !text.trim_start().starts_with('{') => None,
        Cow::Borrowed(text) => Json::parse(text),
        Cow::Owned(text) => Json::parse(text).map(Json::into_owned),
    };
    match object {
        Some(object) if !failed || object.to_value().get("error").is_some() => Returned::Object(object),
        Some(_) | None => Returned::Text(if failed { "error" } else { "output" }.into(), text),
    }
}

/// Whether Google may be able to fetch from there.
fn is_address(url: &str) -> bool {
    ["https:", "http:", "gs:"].iter().any(|scheme| url.starts_with(scheme))
}

/// The media type by which Google takes what is called `told`, or `guess` if that says nothing; `None`: it does not take
/// it. Of documents it reads PDF and text: <https://ai.google.dev/gemini-api/docs/document-processing>.
fn google_mime<'m>(told: Option<&'m str>, guess: Option<&'static str>, kind: MediaKind) -> Option<Cow<'m, str>> {
    let said = told.filter(|told| !says_nothing(told));
    let sort = told.is_none_or(|told| told.ends_with("/*"));
    let mime = match said {
        Some(said) => plain_mime(said),
        None => guess.or_else(|| sort.then(|| default_mime(kind)))?.to_owned(),
    };
    Some(match &*mime {
        "image/jpg" => "image/jpeg".into(),
        "application/pdf" => mime.into(),
        image if image.starts_with("image/") => mime.into(),
        // Parameters tell the rate of samples.
        sound if sound.starts_with("audio/") || sound.starts_with("video/") => {
            said.map_or_else(|| mime.clone().into(), Into::into)
        }
        text if text.starts_with("text/") => mime.into(),
        text if is_text(text) => "text/plain".into(),
        _ => return None,
    })
}

/// Whether it is text that does not say so.
fn is_text(mime: &str) -> bool {
    let within = mime.strip_prefix("application/").map(|kind| kind.rsplit('+').next().unwrap_or(kind));
    matches!(within, Some("json" | "xml" | "yaml" | "x-yaml" | "javascript"))
}

/// What a medium is most often, where nobody says: the field is required.
fn default_mime(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "image/jpeg",
        MediaKind::Audio => "audio/wav",
        MediaKind::Video => "video/mp4",
        MediaKind::Document => "application/pdf",
    }
}
