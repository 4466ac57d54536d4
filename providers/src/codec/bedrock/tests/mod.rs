//! Recordings, every kind of block by hand, and full foreign requests and answers.

mod foreign;
mod kinds;
mod recorded;
mod refused;
mod stream;

use super::*;
use crate::codec::{codec, testing};
use crate::common::Event;

fn call() -> Call<'static> {
    Call { model: Some("us.anthropic.claude-sonnet-4-5-20250929-v1:0"), stream: false }
}

/// Checks that a request comes back as it was.
fn same(body: &str) {
    let (before, after, losses) = testing::own_request(OWN, body, &call());
    assert_eq!(testing::differences(&before, &after), Vec::<String>::new(), "{body}");
    assert!(losses.is_empty(), "{losses:?}");
}

fn decoder() -> Box<dyn StreamDecoder> {
    codec(OWN).stream_decoder(&testing::maker())
}

/// A body of events.
fn frames(events: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, payload) in events {
        crate::event_stream::write_event(&mut body, name, |out| out.extend_from_slice(payload.as_bytes()));
    }
    body
}

/// The events of a body, name and payload.
fn parse(body: &[u8]) -> Vec<(String, serde_json::Value)> {
    let mut events = Vec::new();
    crate::event_stream::FrameSplitter::default().feed(body, |frame| match frame.unwrap() {
        crate::event_stream::Frame::Event { name, payload }
        | crate::event_stream::Frame::Exception { name, payload } => {
            events.push((name.to_owned(), serde_json::from_slice(payload).unwrap()));
        }
        crate::event_stream::Frame::Error { .. } => panic!(),
    });
    events
}

/// A stream as a client of this dialect gets it, read again.
fn streamed(events: Vec<Event<'_>>) -> (Vec<(String, serde_json::Value)>, Losses) {
    let (mut encoder, mut out, mut losses) =
        (codec(OWN).stream_encoder(&testing::client()), Vec::new(), Losses::default());
    for event in events {
        encoder.encode(event, &mut losses, &mut out);
    }
    (parse(&out), losses)
}
