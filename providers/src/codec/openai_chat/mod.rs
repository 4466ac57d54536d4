//! OpenAI Chat Completions, as OpenAI documents it and as vendors speak it:
//! <https://platform.openai.com/docs/api-reference/chat>.
//!
//! | file | subject |
//! |---|---|
//! | `wire` | what is read: messages, calls, choices, chunks |
//! | `parts` | content parts |
//! | `reasoning` | the four places where vendors put reasoning |
//! | `request_in`, `settings_in`, `tools_in` | a client's request |
//! | `request_out`, `message_out`, `assistant_out`, `message_wire`, `part_out`, `tools_out` | a request for a provider |
//! | `answer_in`, `stream_in`, `delta_in`, `call_deltas`, `calls` | a provider's answer, whole and streamed |
//! | `answer_out`, `stream_out`, `usage` | an answer for a client, whole and streamed |
//!
//! # Spellings
//! OpenAI and its imitators have several words for one thing (`max_tokens` and `max_completion_tokens`). A request is read into
//! one field, and an extra whose name begins with [`SPELT`] remembers the client's word and value: when the request goes to a
//! provider of this dialect, that is what is written. [`Losses::note_extras`] knows that such extras are no fields.
//!
//! # What is not kept of an answer
//! `object`, `system_fingerprint`, indexes, `obfuscation`, `x_groq`, `time_info`, `usage_breakdown`, `request_id`, a delta's
//! `channel`, an annotation's or call's index, and what usage tells beyond [`Usage`](crate::Usage): bookkeeping.
//! Fields of a *message* that have no place stand in [`Choice::extras`](crate::common::Choice::extras) with `message.` before
//! their name.
//!
//! # Decisions
//! - An empty content is no block.
//! - Tool results hold text; media in them go into a user message behind the results, which names the call.
//! - A failed result has no field here. Its text is sent as it is; `messages.tool_result.error` is noted if it does not speak of
//!   an error or failure itself.
//! - An answer that ends with `stop` and has tool calls (Gemini's endpoint, forced functions) ended for the calls.
//! - Citations without an address cannot be said: `url_citation` demands one.

mod answer_in;
mod answer_out;
mod assistant_out;
mod call_deltas;
mod calls;
mod delta_in;
mod message_out;
mod message_wire;
mod part_out;
mod parts;
mod reasoning;
mod request_in;
mod request_out;
mod settings_in;
mod stream_in;
mod stream_out;
#[cfg(test)]
mod tests;
mod tools_in;
mod tools_out;
mod usage;
mod wire;

use bounded_static::ToBoundedStatic as _;

pub(crate) use self::answer_in::stop_of;
use super::sse::SseDecoder;
use super::{Call, Client, Codec, Maker, StreamDecoder, StreamEncoder, Target};
use crate::common::{Extras, Json, Losses, Request, Response, Stop, Str};
use crate::dialect::Dialect;
use crate::error::ApiError;

/// This dialect.
const OWN: Dialect = Dialect::OpenAiChat;

/// What the names of extras begin with that remember a spelling.
const SPELT: char = '=';

/// What the names of extras begin with that belong to an answer's message and not to its choice.
const OF_MESSAGE: &str = "message.";

pub(super) struct OpenAiChat;

impl Codec for OpenAiChat {
    fn decode_request<'a>(&self, body: &'a [u8], call: &Call<'_>) -> Result<Request<'a>, ApiError> {
        request_in::decode(body, call)
    }

    fn encode_request(
        &self,
        request: &Request<'_>,
        target: &Target<'_>,
        losses: &mut Losses,
    ) -> Result<Vec<u8>, ApiError> {
        request_out::encode(&request.named_for(OWN), target, losses)
    }

    fn decode_response<'a>(&self, body: &'a [u8], maker: &Maker<'_>) -> Result<Response<'a>, ApiError> {
        answer_in::decode(body, maker)
    }

    fn encode_response(&self, response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8> {
        answer_out::encode(response, client, losses)
    }

    fn stream_decoder(&self, maker: &Maker<'_>) -> Box<dyn StreamDecoder> {
        Box::new(SseDecoder::new(stream_in::Chunks::new(maker)))
    }

    fn stream_encoder(&self, client: &Client) -> Box<dyn StreamEncoder> {
        Box::new(stream_out::ChunkWriter::new(client))
    }

    /// Of a client that says `functions` and not `tools`, which reads calls as `function_call` only.
    fn echo(&self, request: &Request<'_>) -> Option<Json<'static>> {
        let only = spelt(&request.extras, "functions")?;
        (only.get() == "true").then(|| only.to_static())
    }
}

/// Remembers how a client spelt something.
fn remember<'a>(extras: &mut Extras<'a>, name: &str, value: Json<'a>) {
    extras.push((format!("{SPELT}{name}").into(), value));
}

/// Marks the extras of an answer as fields of this dialect: events of a stream do not tell theirs.
fn mark(extras: &mut Extras<'_>) {
    if !extras.is_empty() {
        extras.push(("=openai-chat".into(), Json::default()));
    }
}

/// The same for a choice: its stop may hold a word of this dialect, too.
fn mark_choice(extras: &mut Extras<'_>, stop: &Stop<'_>) {
    if !extras.is_empty() || stop.detail.is_some() {
        extras.push(("=openai-chat".into(), Json::default()));
    }
}

/// Whether extras are fields of this dialect.
fn is_marked(extras: &[(Str<'_>, Json<'_>)]) -> bool {
    spelt(extras, "openai-chat").is_some()
}

/// What was remembered under `name`.
fn spelt<'r, 'a>(extras: &'r [(Str<'a>, Json<'a>)], name: &str) -> Option<&'r Json<'a>> {
    extras.iter().find(|(key, _)| key.strip_prefix(SPELT) == Some(name)).map(|(_, value)| value)
}
