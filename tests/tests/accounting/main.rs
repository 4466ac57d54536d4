//! What the ledger says of answers that did not go straight, what clients are told of their cost, and what they may say for their own
//! accounts.

mod estimates;
mod kinds;
mod labels;
mod leaving;
mod prices;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ai_gateway_providers::answer::{AnswerForm, Observer};
use ai_gateway_providers::{Dialect, Operation, Usage};
use ai_gateway_tests::client::wire::Piece;
use ai_gateway_tests::client::{Body, Framing, H1, H2, Request, exchange};
use ai_gateway_tests::speak::ask;
use ai_gateway_tests::{
    Answer, Gate, Gateway, Mock, Step, Stub, StubFraming, bodies, mock_provider, run_to_end, usage,
};
use bytes::Bytes;
use serde_json::{Value, json};

const BY: &str = "upstream_model,kind,usage_source";

/// Lets the gateway end in peace, and reads its ledger.
async fn booked(mut gateway: Gateway, ledger: &Path, by: &str) -> Vec<Value> {
    gateway.terminate();
    assert_eq!(gateway.ended().await, Some(0));
    usage(ledger, &["--by", by])
}

fn ledger_at(path: &Path) -> String {
    format!("[ledger]\npath = \"{}\"\n", path.display())
}

fn key(name: &str, more: &str) -> String {
    format!("[[keys]]\nname = \"{name}\"\nhash = \"{}\"\n{more}\n", bodies::key_hash(&format!("sk-{name}")))
}

/// The events of a stream, one by one.
fn events(dialect: Dialect, stream: &[u8]) -> Vec<Bytes> {
    let mut events = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let length = match dialect {
            Dialect::Bedrock => u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize,
            _ => rest.windows(2).position(|end| end == b"\n\n").unwrap() + 2,
        };
        events.push(Bytes::copy_from_slice(&rest[..length]));
        rest = &rest[length..];
    }
    events
}

fn stream(dialect: Dialect, events: &[Bytes]) -> Answer {
    let kind = if dialect == Dialect::Bedrock { "application/vnd.amazon.eventstream" } else { "text/event-stream" };
    let mut answer = Answer::status(200).header("content-type", kind).framing(StubFraming::Chunked);
    answer.steps.extend(events.iter().cloned().map(Step::Send));
    answer
}

fn observe(dialect: Dialect, events: &[Bytes], end: bool) -> Observer {
    let mut observer = Observer::new(dialect, Operation::Chat, AnswerForm::Stream, false);
    events.iter().for_each(|event| drop(observer.feed(event.clone(), false)));
    if end {
        observer.feed(Bytes::new(), true);
    }
    observer
}

async fn read(body: &mut Body<'_>, bytes: usize) {
    let mut read = 0;
    while read < bytes {
        match body.piece().await {
            Piece::Data(data) => read += data.len(),
            end => panic!("{end:?} after {read} of {bytes} bytes"),
        }
    }
}

/// An upstream of OpenAI's chat that says "fine", whole and streamed, for seven tokens in and five out.
async fn fine() -> Stub {
    let events = bodies::chat_events("fine");
    Stub::start(move |request| match request.json()["stream"] == true {
        true => Answer::sse(events.clone()),
        false => Answer::json(200, bodies::chat_answer("fine")),
    })
    .await
}

/// What is counted of everything: tokens, and pico-dollars. Nothing is reserved any more.
async fn global(gateway: &Gateway) -> Vec<u64> {
    let limits = exchange(gateway.admin, &Request::get("/api/limits")).await.json();
    let limits = limits["subjects"][0]["limits"].as_array().unwrap();
    assert!(limits.iter().all(|limit| limit["reserved"] == 0), "{limits:?}");
    limits.iter().map(|limit| limit["used"].as_u64().unwrap()).collect()
}
