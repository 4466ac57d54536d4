//! Amazon Bedrock's Converse and ConverseStream
//! (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>).
//!
//! The model and whether to stream stand in the path. Parameters that belong to one family of models (thinking, `top_k`) go
//! into `additionalModelRequestFields` in that family's words, which is told by the vendor part of the model's id
//! ([`family`]). Streams are event-stream frames ([`crate::event_stream`]).
//!
//! Bookkeeping of answers that is read and not kept: `metrics`, the stream's padding `p`, `type: tool_use` of calls.
//!
//! | file | subject |
//! |---|---|
//! | `wire`, `write` | the wire format as it is read, as it is written |
//! | `read`, `parts` | content blocks in, and out as far as requests and answers agree |
//! | `request_in`, `request_out`, `messages`, `tools`, `family`, `media`, `nova` | requests |
//! | `answer`, `stream_in`, `stream_out`, `events` | answers, whole and streamed |

mod answer;
mod events;
mod family;
mod media;
mod messages;
mod nova;
mod parts;
mod read;
mod request_in;
mod request_out;
mod stream_in;
mod stream_out;
#[cfg(test)]
mod tests;
mod tools;
mod wire;
mod write;

use super::{Call, Client, Codec, Maker, StreamDecoder, StreamEncoder, Target};
use crate::common::{Losses, Request, Response};
use crate::dialect::Dialect;
use crate::error::ApiError;

const OWN: Dialect = Dialect::Bedrock;

pub(super) struct Bedrock;

impl Codec for Bedrock {
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
        answer::decode(body, maker)
    }

    fn encode_response(&self, response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8> {
        answer::encode(response, client, losses)
    }

    fn stream_decoder(&self, maker: &Maker<'_>) -> Box<dyn StreamDecoder> {
        Box::new(stream_in::Decoder::new(maker))
    }

    fn stream_encoder(&self, _: &Client) -> Box<dyn StreamEncoder> {
        Box::<stream_out::Encoder>::default()
    }
}
