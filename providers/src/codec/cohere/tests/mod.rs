//! Tests of the dialect: recordings, and hand-written cases after Cohere's reference and SDK types.

mod foreign;
mod properties;
mod requests;
mod responses;
mod streams;

use serde_json::Value;

use crate::codec::testing::{maker, recordings, target};
use crate::codec::{Call, Client, codec};
use crate::common::{Content, Losses, Request, Response};
use crate::dialect::Dialect;

const OWN: Dialect = Dialect::Cohere;

fn decode(body: &str) -> Request<'_> {
    codec(OWN).decode_request(body.as_bytes(), &Call::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn encode(request: &Request<'_>) -> (Value, Vec<String>) {
    let mut losses = Losses::default();
    let body = codec(OWN).encode_request(request, &target(), &mut losses).unwrap();
    (serde_json::from_slice(&body).unwrap(), names(&losses))
}

fn names(losses: &Losses) -> Vec<String> {
    losses.iter().map(|loss| loss.field.clone()).collect()
}

fn answer(body: &str) -> Response<'_> {
    codec(OWN).decode_response(body.as_bytes(), &maker()).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn write(response: &Response<'_>, client: &Client) -> (Value, Vec<String>) {
    let mut losses = Losses::default();
    let body = codec(OWN).encode_response(response, client, &mut losses);
    (serde_json::from_slice(&body).unwrap(), names(&losses))
}

/// The texts of an answer, by sort.
fn texts(response: &Response<'_>) -> (String, String, Vec<(String, String, String)>) {
    let (mut said, mut thought, mut calls) = (String::new(), String::new(), Vec::new());
    for block in &response.choices[0].blocks {
        match &block.content {
            Content::Text(text) => said.push_str(&text.text),
            Content::Reasoning(reasoning) => thought.push_str(&reasoning.text),
            Content::ToolCall(call) => {
                calls.push((call.id.to_string(), call.name.to_string(), call.arguments.to_string()));
            }
            other => panic!("{other:?}"),
        }
    }
    (said, thought, calls)
}
