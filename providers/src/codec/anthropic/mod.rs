//! Anthropic's Messages: <https://docs.anthropic.com/en/api/messages>, also as Vertex and Bedrock's InvokeModel carry it.
//!
//! | file | subject |
//! |---|---|
//! | `wire` | objects as they are read |
//! | `block_in`, `block_out` | content blocks |
//! | `request_in`, `request_out`, `messages_out`, `marks`, `tools_out`, `thinking_out` | requests |
//! | `response_in`, `response_out`, `usage` | whole answers |
//! | `stream_in`, `stream_out`, `event_out`, `invoke` | streams, also in Bedrock's frames |
//!
//! Of answers the following is not kept, as bookkeeping: `type`, `role`, fields that are `null`, and in `usage` what has no bucket
//! (`inference_geo`, `speed`, `web_fetch_requests`); `iterations` are counted and not kept. Of requests `"type": "custom"` of a tool,
//! and that a text was a string or a list of one block; the old `output_format` is written as `output_config.format`.

mod block_in;
mod block_out;
mod event_out;
mod invoke;
mod marks;
mod messages_out;
mod request_in;
mod request_out;
mod response_in;
mod response_out;
mod stream_in;
mod stream_out;
#[cfg(test)]
mod tests;
mod thinking_out;
mod tools_out;
mod usage;
mod wire;

pub(crate) use self::response_in::{is_explanation, stop};
use super::sse::SseDecoder;
use super::{Call, Client, Codec, Maker, Platform, StreamDecoder, StreamEncoder, Target};
use crate::common::{Losses, Request, Response};
use crate::dialect::Dialect;
use crate::error::ApiError;

const OWN: Dialect = Dialect::Anthropic;

/// The codec.
pub(super) struct Anthropic;

impl Codec for Anthropic {
    fn decode_request<'a>(&self, body: &'a [u8], _: &Call<'_>) -> Result<Request<'a>, ApiError> {
        request_in::decode(body)
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
        response_in::decode(body, maker)
    }

    fn encode_response(&self, response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8> {
        response_out::encode(response, client, losses)
    }

    fn stream_decoder(&self, maker: &Maker<'_>) -> Box<dyn StreamDecoder> {
        let rules = stream_in::Rules::new(maker.provider);
        match maker.platform {
            Platform::Native | Platform::Vertex => Box::new(SseDecoder::new(rules)),
            Platform::BedrockInvoke => Box::new(invoke::Decoder::new(rules)),
        }
    }

    fn stream_encoder(&self, client: &Client) -> Box<dyn StreamEncoder> {
        Box::new(stream_out::Encoder::new(client))
    }
}
