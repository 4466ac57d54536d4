//! Tests of the codec: against recorded traffic, and by hand for what the recordings lack.

mod answers;
mod foreign;
mod recorded;
mod requests;
mod streams;

use bounded_static::IntoBoundedStatic as _;
use serde_json::Value;

use crate::codec::testing::{client, maker, target};
use crate::codec::{Call, Codec as _, StreamEncoder as _};
use crate::common::{Event, Losses, Request, Response};

use super::{OpenAiResponses, stream_out::Encoder};

/// The names of what was lost.
fn names(losses: &Losses) -> Vec<&str> {
    losses.iter().map(|loss| &*loss.field).collect()
}

fn decoded(body: &Value) -> Request<'static> {
    let body = body.to_string();
    OpenAiResponses.decode_request(body.as_bytes(), &Call::default()).unwrap().into_static()
}

fn encoded(request: &Request<'_>) -> (Value, Losses) {
    let mut losses = Losses::default();
    let body = OpenAiResponses.encode_request(request, &target(), &mut losses).unwrap();
    (serde_json::from_slice(&body).unwrap(), losses)
}

fn answer(body: &Value) -> Response<'static> {
    OpenAiResponses.decode_response(body.to_string().as_bytes(), &maker()).unwrap().into_static()
}

fn written(response: &Response<'_>) -> (Value, Losses) {
    let mut losses = Losses::default();
    let body = OpenAiResponses.encode_response(response, &client(), &mut losses);
    (serde_json::from_slice(&body).unwrap(), losses)
}

/// The stream of some events: its wire events, and what was lost.
fn streamed(events: Vec<Event<'_>>) -> (Vec<Value>, Losses) {
    let (mut encoder, mut out, mut losses) = (Encoder::new(&client()), Vec::new(), Losses::default());
    events.into_iter().for_each(|event| encoder.encode(event, &mut losses, &mut out));
    (wire_events(&out), losses)
}

/// The events of a stream, each checked to be named like its type and numbered.
fn wire_events(stream: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stream).unwrap();
    let events = text.split_terminator("\n\n").filter(|event| !event.starts_with(':')).enumerate();
    let read = |(number, event): (usize, &str)| {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!((value["type"].as_str(), value["sequence_number"].as_u64()), (Some(name), Some(number as u64)));
        value
    };
    events.map(read).collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}
