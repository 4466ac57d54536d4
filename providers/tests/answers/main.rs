//! What the observer makes of answers that no recording has: each provider's peculiarities, broken streams, and arbitrary bytes.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod ends;
mod output;
mod passing;
mod secrets;
mod usage;

use ai_gateway_providers::answer::{End, end_of};
use ai_gateway_providers::event_stream::{write_event, write_exception};
use ai_gateway_providers::{AnswerForm, Dialect, ErrorKind, Observer, Operation, Seen, Usage};
use bytes::Bytes;
use proptest::prelude::*;

const CHAT: (Dialect, Operation) = (Dialect::OpenAiChat, Operation::Chat);
const RESPONSES: (Dialect, Operation) = (Dialect::OpenAiResponses, Operation::Chat);
const ANTHROPIC: (Dialect, Operation) = (Dialect::Anthropic, Operation::Chat);

fn feed(what: (Dialect, Operation), form: AnswerForm, hide_usage: bool, chunks: &[&[u8]]) -> (Vec<u8>, Seen) {
    let mut observer = Observer::new(what.0, what.1, form, hide_usage);
    let mut out = Vec::new();
    let (last, first) = chunks.split_last().map_or((&b""[..], &[][..]), |(last, first)| (*last, first));
    for chunk in first {
        out.extend_from_slice(&observer.feed(Bytes::copy_from_slice(chunk), false));
    }
    out.extend_from_slice(&observer.feed(Bytes::copy_from_slice(last), true));
    (out, observer.into_seen())
}

/// Whole, byte by byte, and in two pieces cut at every byte: the same is seen, and the same bytes come out; of an answer
/// that broke off its whole events.
fn stream(what: (Dialect, Operation), text: &str) -> Seen {
    let body = text.as_bytes();
    let (out, seen) = feed(what, AnswerForm::Stream, false, &[body]);
    let body_out = if seen.cut { &body[..whole_events(text)] } else { body };
    assert_eq!(out, body_out);
    let mut cuts: Vec<Vec<&[u8]>> = vec![body.chunks(1).collect()];
    cuts.extend((0..body.len()).map(|at| vec![&body[..at], &body[at..]]));
    for chunks in cuts {
        assert_eq!(feed(what, AnswerForm::Stream, false, &chunks), (body_out.to_vec(), seen.clone()));
    }
    seen
}

fn whole_events(text: &str) -> usize {
    ["\n\n", "\r\n\r\n", "\r\r"].iter().filter_map(|end| Some(text.rfind(end)? + end.len())).max().unwrap_or(0)
}

fn json(what: (Dialect, Operation), text: &str) -> Seen {
    let body = text.as_bytes();
    let (out, seen) = feed(what, AnswerForm::Json, false, &[body]);
    assert_eq!(out, body);
    for at in 0..body.len() {
        assert_eq!(feed(what, AnswerForm::Json, true, &[&body[..at], &body[at..]]), (body.to_vec(), seen.clone()));
    }
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(feed(what, AnswerForm::Json, false, &bytes), (body.to_vec(), seen.clone()));
    seen
}

fn chunk(delta: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]}}\n\n")
}
