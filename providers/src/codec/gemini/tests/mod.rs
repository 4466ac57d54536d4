//! The codec against recorded traffic, and against what the recordings lack.

mod answers;
mod foreign;
mod recorded;
mod requests;
mod results;
mod streams;

use serde_json::Value;

use super::super::testing;
use super::super::{Call, Codec as _};
use super::Gemini;
use crate::common::{Event, Losses, Request, Response};
use crate::dialect::Dialect;
use crate::error::ApiError;

const OWN: Dialect = Dialect::Gemini;

fn request(body: &str) -> Request<'_> {
    Gemini.decode_request(body.as_bytes(), &Call { model: Some("m"), stream: false }).unwrap()
}

fn answer(body: &str) -> Result<Response<'static>, ApiError> {
    use bounded_static::IntoBoundedStatic as _;
    Gemini.decode_response(body.as_bytes(), &testing::maker()).map(|response| response.into_static())
}

/// Chunks as server-sent events.
fn sse(chunks: &[&str]) -> Vec<u8> {
    chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect::<String>().into_bytes()
}

/// The events of a stream.
fn events(body: &[u8]) -> Vec<Event<'static>> {
    testing::events(&mut *Gemini.stream_decoder(&testing::maker()), body)
}

/// What a stream adds up to.
fn streamed(body: &[u8]) -> Result<Response<'static>, ApiError> {
    testing::collected(OWN, &events(body))
}

/// A request for this dialect's provider, as a tree, and what was lost.
fn encoded(request: &Request<'_>) -> (Value, Vec<String>) {
    encoded_for(request, &testing::target())
}

fn encoded_for(request: &Request<'_>, target: &super::super::Target<'_>) -> (Value, Vec<String>) {
    let mut losses = Losses::default();
    let body = Gemini.encode_request(request, target, &mut losses).unwrap();
    (serde_json::from_slice(&body).unwrap(), losses.iter().map(|loss| loss.field.clone()).collect())
}
