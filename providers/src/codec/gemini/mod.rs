//! Gemini's `generateContent` and `streamGenerateContent`, as Google AI Studio (`v1beta`,
//! <https://ai.google.dev/api/generate-content>) and Vertex AI (`v1`,
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference>) speak them: the bodies are the same.
//!
//! What the model has no place for and other dialects have no use for is not kept of answers: `createTime` beyond the
//! second, ids of tokens, the modalities of usage that have no bucket, a `trafficType` that names no tier.
//!
//! Sources come at the end of an answer. They are cited on its text if that is the last block, and stay in
//! `groundingMetadata` in any case. Calls whose arguments Vertex streams in pieces, which a client must ask for, are passed
//! on as they come.
//!
//! | file | subject |
//! |---|---|
//! | `wire`, `write` | the formats, read and written |
//! | `extras` | fields that have no place in the common model |
//! | `part_in`, `part_out` | parts and blocks |
//! | `request_in`, `settings_in`, `request_out`, `settings_out` | requests |
//! | `schema` | OpenAPI schemas as JSON Schema |
//! | `answer_in`, `answer_out` | answers; both ways of reading go through one state machine |
//! | `stream_in`, `stream_out` | streams: server-sent events, or one JSON array |
//! | `grounding`, `stop`, `usage` | sources, finish reasons, counts |

mod answer_in;
mod answer_out;
mod extras;
mod grounding;
mod part_in;
mod part_out;
mod request_in;
mod request_out;
mod schema;
mod settings_in;
mod settings_out;
mod stop;
mod stream_in;
mod stream_out;
#[cfg(test)]
mod tests;
mod usage;
mod wire;
mod write;

use super::{Call, Client, Codec, Maker, StreamDecoder, StreamEncoder, Target};
use crate::common::{Losses, Request, Response};
use crate::dialect::Dialect;
use crate::error::ApiError;

/// The codec.
pub(super) struct Gemini;

impl Codec for Gemini {
    fn decode_request<'a>(&self, body: &'a [u8], call: &Call<'_>) -> Result<Request<'a>, ApiError> {
        request_in::decode(body, call)
    }

    fn encode_request(
        &self,
        request: &Request<'_>,
        target: &Target<'_>,
        losses: &mut Losses,
    ) -> Result<Vec<u8>, ApiError> {
        request_out::encode(&request.named_for(Dialect::Gemini), target, losses)
    }

    fn decode_response<'a>(&self, body: &'a [u8], maker: &Maker<'_>) -> Result<Response<'a>, ApiError> {
        answer_in::decode(body, maker)
    }

    fn encode_response(&self, response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8> {
        answer_out::encode(response, client, losses)
    }

    fn stream_decoder(&self, maker: &Maker<'_>) -> Box<dyn StreamDecoder> {
        Box::new(stream_in::Decoder::new(maker))
    }

    fn stream_encoder(&self, client: &Client) -> Box<dyn StreamEncoder> {
        Box::new(stream_out::Encoder::new(client))
    }
}
