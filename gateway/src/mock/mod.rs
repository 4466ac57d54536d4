//! The mock provider: what demos, tests and benches talk to instead of a real one.
//!
//! [`Mock`] is a Pingora HTTP application that speaks all dialects, over HTTP/1 and HTTP/2: OpenAI's two with its other
//! operations and Anthropic's, written here so that they are independent of the gateway's codecs and cost little in
//! benches, and Gemini's, Bedrock's and Cohere's with those codecs. Only the end of a path counts, so it stands behind any
//! vendor's prefix, behind Azure's deployments and as Claude on Vertex AI and Bedrock. The **model name** says what it
//! does: [`BEHAVIOURS`] is the table. Answers depend on the request alone: ids count requests, tokens are words, times are
//! fixed. Credentials are not looked at.
//!
//! The mock remembers no conversation. It signs its reasoning (and Gemini's calls) where the dialect has a place for that, and
//! refuses a history with signatures that it cannot have made, or without those that the real provider demands.
//!
//! `GET /mock/stats` counts requests, those open and the clients that left (with the time in Unix milliseconds),
//! `GET /mock/last` shows the last request of each model, `POST /mock/reset` forgets both.
//!
//! [`serve`] runs it as a process, [`service`] as part of a server, `tests::Running` inside a test.
//!
//! | file | subject |
//! |---|---|
//! | `behaviour` | model name → what to do |
//! | `route`, `read` | path, body → what is asked |
//! | `ask`, `content`, `decoded`, `form` | conversations read here, those read with the codecs, forms |
//! | `history`, `proof`, `steps` | the turns before: rules and counts, signatures, the lines of `script` |
//! | `script`, `schema` | what is said, before it has a dialect |
//! | `encode` | one file per dialect: body and stream |
//! | `serve` | the mock as a service or a process |
//! | `wire`, `play` | frames, pauses and faults on the connection |
//! | `failure`, `vectors`, `other`, `stats` | errors, operations that are no conversation, counters |

mod ask;
mod behaviour;
mod content;
mod decoded;
mod encode;
mod failure;
mod form;
mod history;
mod other;
mod play;
mod proof;
mod read;
mod route;
mod schema;
mod script;
mod serve;
mod stats;
mod steps;
#[cfg(test)]
mod tests;
mod vectors;
mod wire;

use std::sync::Arc;

use ai_gateway_providers::{Dialect, event_stream};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

pub use behaviour::BEHAVIOURS;
use behaviour::{Behaviour, Content, Prefill};
use encode::{
    Audio, Chat, Completions, Encode, Framed, Messages, Meta, Responses, Transcript, Translated, transcript_usage,
};
use failure::Failure;
use form::Form;
use read::{Read, read};
use route::{Op, Refusal, Route, route};
use script::Script;
pub use serve::{Options, Tls, help, serve, service};
use stats::{Arrival, Stats};
use wire::{End, RawFault, Wire};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream; charset=utf-8";

/// The mock provider.
pub struct Mock {
    stats: Stats,
    options: HttpServerOptions,
}

impl Default for Mock {
    fn default() -> Self {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        Mock { stats: Stats::default(), options }
    }
}

/// A request, read and counted.
struct Exchange<'r> {
    route: Route<'r>,
    /// Whose errors are sent.
    shape: Dialect,
    /// Gemini's streams come as events.
    events: bool,
    read: Read,
    arrival: Arc<Arrival>,
}

impl Mock {
    /// Answers one request. The session is clean for the next one if this returns `Ok`.
    async fn exchange(&self, session: &mut ServerSession) -> Result<(), End> {
        let header = session.req_header();
        let path = header.uri.path().to_owned();
        let method = header.method.clone();
        let by_header = dialect_of(&header.headers);
        let query = header.uri.query().unwrap_or_default();
        let events = query.split('&').any(|pair| pair == "alt=sse");
        let waits = session.get_header_bytes("expect").eq_ignore_ascii_case(b"100-continue");
        if waits && session.write_continue_response().await.is_err() {
            return Err(End::Gone);
        }
        let found = route(&method, &path);
        let body = read_body(session).await?;
        let plain = Behaviour::default();
        let found = match found {
            Ok(found) => found,
            Err(refusal) => {
                let status = if refusal == Refusal::UnknownPath { 404 } else { 405 };
                let failure = Failure::of_status(status).saying(format!("{method} {path} is not served"));
                let by_path = if path.contains("/messages") { Dialect::Anthropic } else { Dialect::OpenAiChat };
                let shape = by_header.unwrap_or(by_path);
                return play::refuse(&mut Wire::new(session, &plain), &failure, shape, &[("content-type", JSON)]).await;
            }
        };
        let shape = match found.op {
            _ if found.on_bedrock => Dialect::Bedrock,
            Op::Models => by_header.unwrap_or(found.dialect),
            _ => found.dialect,
        };
        let own = match found.op {
            Op::Stats => Some(self.stats.show()),
            Op::Last => Some(self.stats.show_last()),
            Op::Reset => {
                self.stats.reset();
                Some(json!({}))
            }
            _ => None,
        };
        if let Some(own) = own {
            let headers = [("content-type", JSON)];
            return Wire::new(session, &plain).whole(200, &headers, own.to_string().into()).await;
        }
        let content_type = String::from_utf8_lossy(session.get_header_bytes("content-type")).into_owned();
        let read = read(&found, &content_type, &body);
        let peer = session.client_addr().map(ToString::to_string);
        let arrival = Arc::new(Arrival::new(session.req_header(), peer, &body));
        drop(body);
        let read = match read {
            Ok(read) => read,
            Err(failure) => {
                self.stats.arrived("(unreadable)", arrival);
                return play::refuse(&mut Wire::new(session, &plain), &failure, shape, &[("content-type", JSON)]).await;
            }
        };
        let exchange = Exchange { route: found, shape, events, read, arrival };
        let model = &exchange.read.ask.model;
        let _open = self.stats.open();
        let (number, before) = self.stats.arrived(model, Arc::clone(&exchange.arrival));
        let result = answer(session, &exchange, number, before).await;
        if result == Err(End::Gone) {
            self.stats.left(model, number);
        }
        result
    }
}

/// The dialect, where a path is that of several.
fn dialect_of(headers: &http::HeaderMap) -> Option<Dialect> {
    if headers.contains_key("anthropic-version") {
        Some(Dialect::Anthropic)
    } else {
        headers.contains_key("x-goog-api-key").then_some(Dialect::Gemini)
    }
}

async fn read_body(session: &mut ServerSession) -> Result<Bytes, End> {
    // Most bodies are one read, and then nothing is copied.
    let Some(first) = session.read_request_body().await.map_err(|_| End::Gone)? else {
        return Ok(Bytes::new());
    };
    let mut all: Option<BytesMut> = None;
    while let Some(more) = session.read_request_body().await.map_err(|_| End::Gone)? {
        all.get_or_insert_with(|| BytesMut::from(first.as_ref())).extend_from_slice(&more);
    }
    Ok(all.map_or(first, BytesMut::freeze))
}

/// `before`: how many requests of the same model came before this one.
async fn answer(session: &mut ServerSession, exchange: &Exchange<'_>, number: u64, before: u64) -> Result<(), End> {
    let Exchange { route, shape, events, read, arrival } = exchange;
    let (ask, form, dialect, shape) = (&read.ask, read.form.as_ref(), route.dialect, *shape);
    let mut behaviour = Behaviour::of(&ask.model, fastrand::u64(..), &ask.last);
    if behaviour.first.is_some_and(|first| before >= first) {
        behaviour.fault = None;
    }
    if behaviour.close {
        session.set_keepalive(None);
    }
    let framed = route.on_bedrock || dialect == Dialect::Bedrock;
    let array = dialect == Dialect::Gemini && !events;
    if framed || array {
        // These are ways to write server-sent events.
        (behaviour.crlf, behaviour.comments) = (false, false);
    }
    let wire = &mut Wire::new(session, &behaviour);
    let meta = Meta { number, model: ask.model.clone(), include_usage: ask.include_usage, encrypted: ask.encrypted };
    let request_id = format!("req_mock_{number:06}");
    let id_name = match shape {
        Dialect::Anthropic => "request-id",
        Dialect::Bedrock => "x-amzn-requestid",
        _ => "x-request-id",
    };
    let headers = |content_type: &'static str| [("content-type", content_type), (id_name, request_id.as_str())];
    let content_type = match (ask.stream, framed) {
        (false, _) => JSON,
        (true, true) => event_stream::CONTENT_TYPE,
        (true, false) if array => JSON,
        (true, false) => EVENTS,
    };
    if let Some(failure) = play::overture(wire, &behaviour, content_type).await? {
        return play::refuse(wire, &failure, shape, &headers(JSON)).await;
    }
    let strict = matches!(behaviour.content, Content::ReasoningToolCall | Content::ToolLoop(_));
    if let Some(why) = ask.history.refusal(dialect, ask.thinking, strict) {
        return play::refuse(wire, &Failure::bad_request(why), shape, &headers(JSON)).await;
    }
    if behaviour.prefill == Prefill::Refused && !ask.begun.is_empty() {
        let why =
            "This model does not support assistant message prefill. The conversation must end with a user message.";
        return play::refuse(wire, &Failure::bad_request(why), shape, &headers(JSON)).await;
    }
    let mut script = Script::new(&behaviour, ask, || arrival.describe().to_string());
    let mut encoder: Box<dyn Encode> = match route.op {
        Op::Chat => Box::new(Chat::new(meta.clone())),
        Op::Completions => Box::new(Completions::new(meta.clone())),
        Op::Responses => Box::new(Responses::new(meta.clone())),
        Op::Messages if route.on_bedrock => Box::new(Framed(Messages::new(meta.clone()))),
        Op::Messages => Box::new(Messages::new(meta.clone())),
        Op::Translated => Box::new(Translated::new(dialect, meta.clone(), array)),
        Op::Transcription => Box::<Transcript>::default(),
        Op::Speech => {
            return play::stream(wire, &behaviour, &script, &mut Audio, &headers("audio/mpeg")).await;
        }
        _ => {
            let answered = match route.op {
                Op::CountTokens => Ok(other::tokens(dialect, ask.words)),
                Op::Embeddings => vectors::embeddings(dialect, &meta, route.rest, &read.json),
                Op::Images => Ok(other::images(&read.json, form)),
                Op::Moderations => Ok(other::moderations(&meta, &read.json)),
                Op::Rerank => other::rerank(&meta, &read.json),
                Op::StoredResponse => Ok(other::stored_response(&meta, &arrival.method, route.rest)),
                _ => Ok(other::models(route.rest, shape)),
            };
            return match answered {
                Ok(body) => {
                    play::whole(wire, &behaviour, 0, false, body.to_string().into(), shape, &headers(JSON)).await
                }
                Err(failure) => play::refuse(wire, &failure, shape, &headers(JSON)).await,
            };
        }
    };
    if ask.stream {
        let [content_type, id] = headers(content_type);
        let headers = [content_type, id, ("cache-control", "no-cache")];
        return play::stream(wire, &behaviour, &script, encoder.as_mut(), &headers).await;
    }
    let whole = |script: &Script| match route.op {
        Op::Chat => Chat::whole(&meta, script),
        Op::Completions => Completions::whole(&meta, script),
        Op::Responses => Responses::whole(&meta, script),
        Op::Messages => Messages::whole(&meta, script),
        Op::Translated => Translated::whole(dialect, &meta, script),
        _ => transcript(form, script),
    };
    let mut body = whole(&script);
    if let Content::Sized(size) = behaviour.content
        && body.len() > size
    {
        script.trim(body.len() - size);
        body = whole(&script);
    }
    let content_type = match form.and_then(|form| form.get("response_format")) {
        Some("text" | "srt" | "vtt") => "text/plain; charset=utf-8",
        _ => JSON,
    };
    play::whole(wire, &behaviour, script.len(), script.endless(), body.into(), shape, &headers(content_type)).await
}

/// A transcript that is not streamed, in the format asked for.
fn transcript(form: Option<&Form>, script: &Script) -> Vec<u8> {
    let text = script.text();
    let usage = script.usage.map(transcript_usage);
    let body = match form.and_then(|form| form.get("response_format")) {
        Some("text") => format!("{text}\n"),
        Some("srt") => format!("1\n00:00:00,000 --> 00:00:01,000\n{text}\n"),
        Some("vtt") => format!("WEBVTT\n\n00:00.000 --> 00:01.000\n{text}\n"),
        Some("verbose_json") => json!({
            "task": "transcribe", "language": "english", "duration": 1.0, "text": text,
            "segments": [{"id": 0, "seek": 0, "start": 0.0, "end": 1.0, "text": text, "tokens": [1], "temperature": 0.0,
                "avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.0}],
            "usage": {"type": "duration", "seconds": 1},
        })
        .to_string(),
        Some(_) | None => json!({"text": text, "usage": usage}).to_string(),
    };
    body.into_bytes()
}

#[async_trait]
impl HttpServerApp for Mock {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        match session.read_request().await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(_) => {
                // The client is told if it is still there.
                let _ = session.respond_error(400).await;
                return None;
            }
        }
        if *shutdown.borrow() {
            session.set_keepalive(None);
        }
        match self.exchange(&mut session).await {
            Ok(()) => {
                let settings = HttpPersistentSettings::for_session(&session);
                let reusable = session.finish().await.ok()??;
                Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
            }
            Err(End::Gone) => None,
            Err(End::Cut) => {
                session.shutdown().await;
                None
            }
            Err(End::Raw(fault)) => {
                raw(session, fault).await;
                None
            }
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        // A thousand streams over one connection are a test of what stands in front, not of the mock.
        options.max_concurrent_streams(10_000).initial_window_size(1 << 20).initial_connection_window_size(1 << 24);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// Writes what no HTTP server would, and closes. A client that goes away meanwhile is no concern.
async fn raw(mut session: ServerSession, fault: RawFault) {
    let ServerSession::H1(h1) = session else {
        if let RawFault::HalfChunk(content_type) | RawFault::BadChunk(content_type) = fault {
            let mut wire = Wire::new(&mut session, &Behaviour::default());
            if wire.header(200, &[("content-type", content_type)], None).await.is_ok() {
                let _ = wire.frame(Bytes::from_static(b"data: {\"id\":")).await;
                let _ = wire.pause(std::time::Duration::from_millis(20)).await;
            }
        }
        session.shutdown().await;
        return;
    };
    let mut stream = h1.into_inner();
    let chunked = |content_type: &str, body: &str| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n{body}")
    };
    let written = match fault {
        RawFault::Garbage => stream.write_all(b"\x00\x01\x02 this is not HTTP \xff\xfe\r\n\r\n").await,
        RawFault::HalfChunk(kind) => stream.write_all(chunked(kind, "40\r\ndata: {\"id\":").as_bytes()).await,
        RawFault::BadChunk(kind) => stream.write_all(chunked(kind, "zz\r\ndata: {}\n\n\r\n0\r\n\r\n").as_bytes()).await,
        RawFault::HugeHeader(bytes) => huge_header(&mut stream, bytes).await,
    };
    if written.is_ok() && stream.flush().await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

async fn huge_header(stream: &mut pingora_core::protocols::Stream, bytes: usize) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-huge: ").await?;
    let block = [b'a'; 8192];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(block.len());
        stream.write_all(&block[..now]).await?;
        left -= now;
    }
    stream.write_all(b"\r\n\r\n{}").await
}
