//! Cohere's v2 chat: <https://docs.cohere.com/v2/reference/chat>.
//!
//! What differs from the common model, and how it is said:
//! - `tool_plan` is the text right before an answer's calls, and the other way round. Text, not reasoning, because clients of
//!   every dialect send text back, and a model that does not see its plan again does worse.
//! - `documents` stand beside the messages; in the common model they are the first blocks of the last user message, as text (of
//!   an object of data its JSON, since the model reads its keys, too).
//! - Citations stand beside the text that they support; one with several sources becomes as many citations.
//! - Of named tools only those are sent that may be called, with `tool_choice: REQUIRED`.
//! - `signature` and `encrypted` on parts and calls are not Cohere's: they give the state of other providers' models to clients
//!   that send back what they got.
//!
//! Answers do not name their model: it is the one that was asked ([`Maker::model`]). Not kept of answers: the role, and token
//! numbers of `logprobs`, which mean nothing elsewhere.
//!
//! | file | subject |
//! |---|---|
//! | `wire` | the wire's types |
//! | `request_in`, `request_out`, `tools_out` | requests |
//! | `response_in`, `response_out` | whole answers |
//! | `stream_in`, `stream_out` | streams |
//! | `block_in`, `block_out`, `citation` | what requests and answers share |

mod block_in;
mod block_out;
mod citation;
mod request_in;
mod request_out;
mod response_in;
mod response_out;
mod stream_in;
mod stream_out;
#[cfg(test)]
mod tests;
mod tools_out;
mod wire;

use super::sse::SseDecoder;
use super::{Call, Client, Codec, Maker, StreamDecoder, StreamEncoder, Target};
use crate::common::{Losses, Request, Response};
use crate::dialect::Dialect;
use crate::error::ApiError;

const DIALECT: Dialect = Dialect::Cohere;

pub(super) struct Cohere;

impl Codec for Cohere {
    fn decode_request<'a>(&self, body: &'a [u8], _: &Call<'_>) -> Result<Request<'a>, ApiError> {
        request_in::decode(body)
    }

    fn encode_request(
        &self,
        request: &Request<'_>,
        target: &Target<'_>,
        losses: &mut Losses,
    ) -> Result<Vec<u8>, ApiError> {
        request_out::encode(&request.named_for(DIALECT), target, losses)
    }

    fn decode_response<'a>(&self, body: &'a [u8], maker: &Maker<'_>) -> Result<Response<'a>, ApiError> {
        response_in::decode(body, maker)
    }

    fn encode_response(&self, response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8> {
        response_out::encode(response, client, losses)
    }

    fn stream_decoder(&self, maker: &Maker<'_>) -> Box<dyn StreamDecoder> {
        Box::new(SseDecoder::new(stream_in::Rules::new(maker)))
    }

    fn stream_encoder(&self, client: &Client) -> Box<dyn StreamEncoder> {
        Box::new(stream_out::Encoder::new(client))
    }
}
