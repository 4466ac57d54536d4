//! OpenAI's Responses API (<https://platform.openai.com/docs/api-reference/responses>), as OpenAI, Azure, OpenRouter, Groq,
//! DeepSeek, xAI and Hugging Face speak it; its clients are the OpenAI SDKs, Codex and Vercel's `ai`.
//!
//! Conversations and answers are lists of *items*. Each item of a request is a message of the common model; of an answer, each
//! part of a message item and each other item is a block. Items that only this dialect knows are foreign blocks, but for
//! generated images, which are media, and `additional_tools`, whose tools join the others.
//!
//! | file | subject |
//! |---|---|
//! | `wire`, `fields` | objects as they are read and written, and how unknown fields are kept |
//! | `items_in`, `items_out` | items and their parts |
//! | `reasoning` | reasoning items and the state of other makers in them |
//! | `sources` | annotations and token probabilities |
//! | `tools_in`, `tools_out` | tools, their choice, the answer's form |
//! | `request_in`, `request_out`, `input_out`, `echo` | requests, and what an answer repeats of them |
//! | `response_in`, `response_out` | whole answers |
//! | `stream_in`, `stream_out`, `stream_wire` | streams |
//!
//! Not kept of an answer, because it says nothing new: what it repeats of its request, `object`, `completed_at`, the `status` of
//! items, `billing`, probabilities of tokens in a conversation's history.

mod echo;
mod fields;
mod input_out;
mod items_in;
mod items_out;
mod reasoning;
mod request_in;
mod request_out;
mod response_in;
mod response_out;
mod sources;
mod stream_in;
mod stream_out;
mod stream_wire;
#[cfg(test)]
mod tests;
mod tools_in;
mod tools_out;
mod wire;

pub(crate) use self::reasoning::without_signature;
pub(crate) use self::response_in::stop_of;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::sse::SseDecoder;
use super::wire::{read_answer_piece, read_request_piece};
use super::{Call, Client, Codec, Maker, OutputItem, StreamDecoder, StreamEncoder, Target, refers_to_nothing};
use crate::common::{Json, Losses, Opaque, ProviderTag, Request, Response, Str};
use crate::dialect::Dialect;
use crate::error::ApiError;

const OWN: Dialect = Dialect::OpenAiResponses;

/// The codec.
pub(super) struct OpenAiResponses;

impl Codec for OpenAiResponses {
    fn decode_request<'a>(&self, body: &'a [u8], _: &Call<'_>) -> Result<Request<'a>, ApiError> {
        request_in::decode(body)
    }

    fn encode_request(
        &self,
        request: &Request<'_>,
        target: &Target<'_>,
        losses: &mut Losses,
    ) -> Result<Vec<u8>, ApiError> {
        refers_to_nothing(request, OWN)?;
        let body = request_out::encode(&request.named_for(OWN), target, losses);
        losses.leave_every_message().map(|()| body)
    }

    fn decode_response<'a>(&self, body: &'a [u8], maker: &Maker<'_>) -> Result<Response<'a>, ApiError> {
        response_in::decode(body, maker)
    }

    fn encode_response(&self, response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8> {
        response_out::encode(response, client, losses)
    }

    fn items_of(&self, answer: &[u8]) -> Vec<OutputItem> {
        response_out::items_of(answer)
    }

    fn stream_decoder(&self, maker: &Maker<'_>) -> Box<dyn StreamDecoder> {
        Box::new(SseDecoder::new(stream_in::Rules::new(maker)))
    }

    fn stream_encoder(&self, client: &Client) -> Box<dyn StreamEncoder> {
        Box::new(stream_out::Encoder::new(client))
    }

    fn echo(&self, request: &Request<'_>) -> Option<Json<'static>> {
        Some(echo::of(request))
    }
}

/// Who wrote what is read.
#[derive(Debug, Clone, Copy)]
enum Side {
    /// A client, in a request.
    Client,
    /// A provider, in an answer.
    Maker(ProviderTag),
}

impl Side {
    /// Reads a value; an error says whose fault it is.
    fn read<'a, T: Deserialize<'a>>(self, raw: &'a RawValue) -> Result<T, ApiError> {
        match self {
            Self::Client => read_request_piece(raw),
            Self::Maker(_) => read_answer_piece(raw),
        }
    }

    /// Opaque state of this dialect.
    fn opaque(self, data: Str<'_>) -> Opaque<'_> {
        match self {
            Self::Client => Opaque::from_client(OWN, data),
            Self::Maker(provider) => Opaque::made_by(OWN, Some(provider), data),
        }
    }
}
