//! The codecs: one folder per dialect, bytes in, [common model](crate::common) out, and back.
//!
//! [`codec`] gives the codec of a dialect. Two of them make a translation: what the client sent is decoded by the codec of
//! its dialect and encoded by that of the provider's; the answer goes the other way. Codecs are pure and know nothing of each other.
//!
//! # A new dialect
//! A program that embeds the gateway brings a dialect of its own along without touching this crate: [`OwnDialect`](crate::OwnDialect).
//! What follows is about one that is built in.
//!
//! A dialect touches one folder and one registration line here:
//! 1. a folder with a type that implements [`Codec`];
//! 2. its `mod` and its line in [`codec`].
//!
//! What a dialect is besides a body stands in tables outside of this module, and but for the first two the compiler asks for
//! each: its variant in [`Dialect`], [`Dialect::ALL`] and its name; the paths that its clients ask
//! (`endpoint/routes.rs`); the paths of its providers ([`upstream_path`](crate::preset::upstream_path)); the shape of its errors
//! ([`error`](crate::error)); what its usage is called (`usage/report.rs`); and where its untranslated streams are
//! watched ([`Observer`](crate::Observer)). A vendor that speaks it is a row of [`PRESETS`](crate::preset::PRESETS).
//!
//! An OpenAI-compatible vendor needs none of this: it is one row of [`PRESETS`](crate::preset::PRESETS) in `preset/table.rs`.

mod anthropic;
mod base64url;
mod bedrock;
mod choice;
mod cohere;
mod data_url;
mod detail;
pub(crate) mod fields;
mod gemini;
pub(crate) mod ids;
mod media;
mod openai;
mod openai_chat;
mod openai_responses;
mod schema;
mod sse;
mod strict;
mod surrogates;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use crate::catalogue::{Thinking, Traits};
use crate::common::{Event, Json, Losses, ProviderTag, ReasoningConfig, Request, Response, THREAD};
use crate::dialect::Dialect;
use crate::error::{ApiError, ErrorKind, THREAD_UNSUPPORTED};
use crate::preset::Quirks;

pub(crate) use anthropic::{is_explanation, stop as anthropic_stop};
pub(crate) use openai_chat::stop_of as chat_stop;
pub(crate) use openai_responses::{stop_of as responses_stop, without_signature};
pub(crate) use sse::write_event;
pub(crate) use surrogates::whole_characters;
pub(crate) use wire::{TextOr, read_request, wire};

/// The codec of a dialect. That of an [own](Dialect::Own) one sees to what holds for all of them.
#[must_use]
pub fn codec(dialect: Dialect) -> &'static dyn Codec {
    match dialect {
        Dialect::OpenAiChat => &openai_chat::OpenAiChat,
        Dialect::OpenAiResponses => &openai_responses::OpenAiResponses,
        Dialect::Anthropic => &anthropic::Anthropic,
        Dialect::Gemini => &gemini::Gemini,
        Dialect::Bedrock => &bedrock::Bedrock,
        Dialect::Cohere => &cohere::Cohere,
        Dialect::Own(own) => own.codec(),
    }
}

/// Where decoded events go.
pub type Sink<'s> = &'s mut dyn FnMut(Event<'_>);

/// Reads and writes the chat operation of one dialect.
pub trait Codec: Sync {
    /// Reads a client's request.
    ///
    /// Decoding loses nothing: what the model has no place for goes into `extras` and `Foreign`.
    ///
    /// # Errors
    /// What is wrong with it: the caller's fault.
    fn decode_request<'a>(&self, body: &'a [u8], call: &Call<'_>) -> Result<Request<'a>, ApiError>;

    /// Writes a request for a provider. What the dialect or the target cannot say is left out and noted in `losses`.
    ///
    /// # Errors
    /// When leaving it out would change what is asked beyond recognition (a turn that follows a stored answer).
    fn encode_request(
        &self,
        request: &Request<'_>,
        target: &Target<'_>,
        losses: &mut Losses,
    ) -> Result<Vec<u8>, ApiError>;

    /// Reads a provider's answer that came whole (status 2xx).
    ///
    /// # Errors
    /// The error that it reports in spite of its status, or that it cannot be read.
    fn decode_response<'a>(&self, body: &'a [u8], maker: &Maker<'_>) -> Result<Response<'a>, ApiError>;

    /// Writes an answer for a client.
    fn encode_response(&self, response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8>;

    /// The items of a whole answer in the dialect, if a later request may refer to them: see [`StreamEncoder::items`].
    fn items_of(&self, _answer: &[u8]) -> Vec<OutputItem> {
        Vec::new()
    }

    /// Reads a provider's stream.
    fn stream_decoder(&self, maker: &Maker<'_>) -> Box<dyn StreamDecoder>;

    /// Writes a stream for a client.
    fn stream_encoder(&self, client: &Client) -> Box<dyn StreamEncoder>;

    /// What an answer repeats of its request (Responses), or how its words follow from it (Chat): goes to [`Client::echo`].
    fn echo(&self, _request: &Request<'_>) -> Option<Json<'static>> {
        None
    }
}

/// Refuses for a provider of the dialect `to` a request that refers to something which providers of its own dialect keep: a stored
/// answer, conversation, template, item or cache. Without it the request would ask for something else.
pub(crate) fn refers_to_nothing(request: &Request<'_>, to: Dialect) -> Result<(), ApiError> {
    if request.dialect == Dialect::Anthropic && to != Dialect::Anthropic && request.max_tokens == Some(0) {
        // Anthropic then fills its cache and answers nothing.
        let message = "this model's provider cannot be asked for no tokens";
        return Err(ApiError::new(ErrorKind::InvalidRequest, message).with_param("max_tokens"));
    }
    match request.refers_to() {
        Some(field) if request.dialect != to => Err(not_kept(field)),
        Some(_) | None => Ok(()),
    }
}

/// Refuses a thread for a provider that keeps none, in words that Anthropic's SDKs understand; also one that only begins, because what
/// follows it would come without the conversation.
pub(crate) fn keeps_no_thread(request: &Request<'_>) -> Result<(), ApiError> {
    if request.has_thread() { Err(no_thread()) } else { Ok(()) }
}

/// The refusal of a thread.
#[must_use]
pub fn no_thread() -> ApiError {
    not_kept(THREAD)
}

fn not_kept(field: &'static str) -> ApiError {
    let message = "this model's provider does not keep what the request refers to: send the whole conversation";
    let error = ApiError::new(ErrorKind::InvalidRequest, message).with_param(field);
    if field == THREAD { error.with_code(THREAD_UNSUPPORTED) } else { error }
}

/// Reads a stream in any cut.
pub trait StreamDecoder: Send + Sync {
    /// Takes the next chunk of the body. `end`: nothing follows; `chunk` may be empty then. Over the whole body exactly one
    /// `End` or `Error` is given out, as the last event. Never panics and keeps no more than one event's bytes.
    fn feed(&mut self, chunk: &[u8], end: bool, sink: Sink<'_>);

    /// Whether every answer in it has told why it is over, and only its end has yet to come: counts at most, and the end marker.
    fn has_stopped(&self) -> bool {
        false
    }
}

/// Writes a stream.
pub trait StreamEncoder: Send + Sync {
    /// Appends what `event` adds to the stream. Whole wire events only, so that the bytes can go out at any time.
    ///
    /// `Event::Error` becomes the dialect's own error event and no end marker; `Event::Ping` its keep-alive, or a comment.
    fn encode(&mut self, event: Event<'_>, losses: &mut Losses, out: &mut Vec<u8>);

    /// The items that were written, once all were, if a later request may refer to them (Responses).
    fn items(&self) -> Vec<OutputItem> {
        Vec::new()
    }
}

/// An item of an answer (Responses), to be kept for when a later request refers to it (`item_reference`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputItem {
    /// Its id.
    pub id: String,
    /// The rest of it, as JSON: OpenAI refuses ids that it did not give.
    pub json: String,
}

/// What the path of a request says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Call<'a> {
    /// The model, where the path names it (Gemini, Bedrock, Azure).
    pub model: Option<&'a str>,
    /// Whether the path asks for a stream (Gemini, Bedrock).
    pub stream: bool,
}

/// Whom a request is written for. What a model can do is data here; codecs do not guess from names.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The provider's name of the model.
    pub model: &'a str,
    /// The account: opaque state of others is left out.
    pub provider: ProviderTag,
    /// Where the vendor differs from the dialect's reference.
    pub quirks: Quirks,
    /// Whose API carries the dialect.
    pub platform: Platform,
    /// What the model accepts.
    pub traits: Traits,
}

impl<'a> Target<'a> {
    /// A model of which nothing peculiar is known.
    #[must_use]
    pub fn new(model: &'a str, provider: ProviderTag) -> Self {
        Self { model, provider, quirks: Quirks::default(), platform: Platform::Native, traits: Traits::default() }
    }

    /// What it can be asked about reasoning: nothing if the model does not reason, unless the client speaks the provider's own
    /// dialect (`own`) and means it.
    fn asks<'r>(&self, request: &'r Request<'_>, own: bool, losses: &mut Losses) -> Option<&'r ReasoningConfig<'r>> {
        let asked = request.reasoning.as_ref()?;
        let reasons = own || self.traits.thinking != Thinking::Unsupported;
        losses.note_if(!reasons && asked.asks(), "reasoning");
        reasons.then_some(asked)
    }
}

/// Whose API carries a dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Platform {
    /// The dialect's own, or one that imitates it.
    #[default]
    Native,
    /// Vertex AI: Gemini's API under another path; Anthropic's with `anthropic_version` in the body and the model in the path.
    Vertex,
    /// Bedrock's InvokeModel: Anthropic's with `anthropic_version` in the body, the model in the path, and streams in event-stream frames.
    BedrockInvoke,
}

/// Who made an answer.
#[derive(Debug, Clone, Copy)]
pub struct Maker<'a> {
    /// The account, which its opaque state is bound to.
    pub provider: ProviderTag,
    /// Whose API carries the dialect.
    pub platform: Platform,
    /// The model that was asked, for dialects whose answers do not name it.
    pub model: &'a str,
    /// Unique in the life of the conversation: ids that the dialect lacks are made of it (`call_{seed}_0`).
    pub id_seed: &'a str,
}

impl<'a> Maker<'a> {
    /// Nobody in particular: for who reads what an answer says, and does not pass its state on.
    #[must_use]
    pub fn nobody(id_seed: &'a str) -> Self {
        Self { provider: ProviderTag::of(""), platform: Platform::Native, model: "", id_seed }
    }
}

/// For whom an answer is written.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// The model as the client named it, for answers that name none.
    pub model: String,
    /// Whether a stream's usage is wanted in a chunk of its own (OpenAI Chat).
    pub include_usage: bool,
    /// The request's id, for answers that have none.
    pub request_id: String,
    /// Unix seconds, for answers that do not say when they were made.
    pub now: u64,
    /// What the answer repeats of the request ([`Codec::echo`]).
    pub echo: Option<Json<'static>>,
    /// A stream as one JSON array in place of server-sent events (Gemini without `alt=sse`).
    pub json_array: bool,
}
