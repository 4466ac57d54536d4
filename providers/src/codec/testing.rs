//! What the tests of all codecs share: the recordings, and checks that hold for every dialect.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bounded_static::IntoBoundedStatic as _;
use serde_json::Value;

use super::{Call, Client, Maker, Platform, StreamDecoder, Target, codec};
use crate::common::{Collector, Event, Losses, ProviderTag, Response, take_apart};
use crate::dialect::Dialect;
use crate::error::ApiError;
use crate::preset::Quirks;
use crate::usage::Usage;

/// A recorded chat exchange.
pub(super) struct Recording {
    pub name: String,
    pub path: String,
    /// `Null` where it was not recorded.
    pub request: Value,
    pub stream: bool,
    pub status: u16,
    /// The answer's bytes.
    pub answer: Vec<u8>,
}

/// The recordings in `folder` of `../shared/conformance/recordings`; none where they are not at hand, except in CI.
pub(super) fn recordings(folder: &str, operation: &str) -> Vec<Recording> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance/recordings"));
    if !root.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "no recordings at {}", root.display());
        eprintln!("SKIPPED: no recordings at {}", root.display());
        return Vec::new();
    }
    let mut paths: Vec<_> = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &Path| {
        let mut file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        if file["operation"] != operation {
            return None;
        }
        let response = &file["response"];
        let answer = match (&response["body"], response["body_base64"].as_str()) {
            (_, Some(base64)) => STANDARD.decode(base64).unwrap(),
            (Value::String(text), None) => text.clone().into_bytes(),
            (body, None) => serde_json::to_vec(body).unwrap(),
        };
        Some(Recording {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            path: file["request"]["path"].as_str().unwrap_or_default().to_owned(),
            stream: file["stream"].as_bool().unwrap_or(false),
            status: u16::try_from(file["response"]["status"].as_u64().unwrap()).unwrap(),
            request: file["request"]["body"].take(),
            answer,
        })
    };
    paths.iter().filter_map(|path| read(path)).collect()
}

pub(crate) fn maker() -> Maker<'static> {
    Maker { provider: ProviderTag::of("p"), platform: Platform::Native, model: "asked-model", id_seed: "seed" }
}

pub(crate) fn target() -> Target<'static> {
    Target::new("upstream-model", ProviderTag::of("p"))
}

pub(crate) fn client() -> Client {
    Client {
        model: "public".into(),
        include_usage: true,
        request_id: "req1".into(),
        now: 1_700_000_000,
        ..Client::default()
    }
}

/// All events of a stream that comes in one piece.
pub(crate) fn events(decoder: &mut dyn StreamDecoder, body: &[u8]) -> Vec<Event<'static>> {
    let mut events = Vec::new();
    decoder.feed(body, true, &mut |event| events.push(event.into_static()));
    events
}

/// What a list of events adds up to.
pub(crate) fn collected(dialect: Dialect, events: &[Event<'_>]) -> Result<Response<'static>, ApiError> {
    let mut collector = Collector::new(dialect);
    events.iter().for_each(|event| collector.feed(event));
    collector.finish()
}

/// Checks that a stream means the same however it is cut: at every byte, and byte by byte.
pub(crate) fn check_cuts(decoder: impl Fn() -> Box<dyn StreamDecoder>, dialect: Dialect, body: &[u8]) {
    let whole = collected(dialect, &events(&mut *decoder(), body));
    let cut = |pieces: &[&[u8]]| {
        let (mut decoder, mut all) = (decoder(), Vec::new());
        for (at, piece) in pieces.iter().enumerate() {
            decoder.feed(piece, at + 1 == pieces.len(), &mut |event| all.push(event.into_static()));
        }
        collected(dialect, &all)
    };
    // Every byte of a short stream, and a spread over a long one.
    for at in (0..=body.len()).step_by(body.len() / 2000 + 1) {
        assert_eq!(cut(&[&body[..at], &body[at..]]), whole, "cut at {at}");
    }
    assert_eq!(cut(&body.chunks(1).collect::<Vec<_>>()), whole);
}

/// Checks that no prefix of a stream looks like a complete answer, unless all of it had been said.
pub(super) fn check_no_false_end(decoder: impl Fn() -> Box<dyn StreamDecoder>, dialect: Dialect, body: &[u8]) {
    let whole = collected(dialect, &events(&mut *decoder(), body)).expect("the whole stream is an answer");
    let content = |response: &Response<'_>| format!("{:?}", response.choices);
    for at in (0..body.len()).step_by(body.len() / 500 + 1) {
        let all = events(&mut *decoder(), &body[..at]);
        let last = all.last().expect("an end or an error");
        assert!(matches!(last, Event::End | Event::Error(_)), "prefix {at} ends with {last:?}");
        if let Ok(early) = collected(dialect, &all) {
            assert_eq!(content(&early), content(&whole), "the first {at} bytes look complete");
        }
    }
}

/// Checks that an answer read from the wire and written again in its own dialect means the same, whole and as a stream.
pub(super) fn check_own_answer(dialect: Dialect, response: &Response<'_>, name: &str) {
    let codec = codec(dialect);
    let (client, maker) = (client(), maker());
    let written = codec.encode_response(response, &client, &mut Losses::default());
    let again = codec.decode_response(&written, &maker).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_same(&again, response, name);
    let (mut encoder, mut stream, mut losses) = (codec.stream_encoder(&client), Vec::new(), Losses::default());
    take_apart(response, &mut |event| encoder.encode(event, &mut losses, &mut stream));
    let mut decoder = codec.stream_decoder(&maker);
    let again = collected(dialect, &events(&mut *decoder, &stream)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_same(&again, response, &format!("{name} as a stream"));
}

fn assert_same(found: &Response<'_>, wanted: &Response<'_>, name: &str) {
    assert_eq!(found.choices, wanted.choices, "{name}");
    // No dialect says of which models those would be. Who counts what was written to a cache counts nothing as 0.
    let nothing = found.usage.and_then(|usage| usage.cache_write_5m).filter(|count| *count == 0);
    let written = |usage: Usage| {
        let cache_write_5m = usage.cache_write_5m.or(nothing);
        Usage { other_models: None, charged: None, cache_write_5m, ..usage }
    };
    assert_eq!(found.usage, wanted.usage.map(written), "{name}");
    assert_eq!((&found.id, &found.model), (&wanted.id, &wanted.model), "{name}");
}

/// Reads a request and writes it again in its own dialect, for a vendor that refuses nothing of it; gives the two as trees, and what was lost.
pub(super) fn own_request(dialect: Dialect, body: &str, call: &Call<'_>) -> (Value, Value, Losses) {
    let mut losses = Losses::default();
    let codec = codec(dialect);
    let request = codec.decode_request(body.as_bytes(), call).unwrap_or_else(|error| panic!("{error}: {body}"));
    let quirks = Quirks { developer_role: true, ..Quirks::default() };
    let target = Target { model: &request.model.clone().into_owned(), quirks, ..target() };
    let written =
        codec.encode_request(&request, &target, &mut losses).unwrap_or_else(|error| panic!("{error}: {body}"));
    (serde_json::from_str(body).unwrap(), serde_json::from_slice(&written).unwrap(), losses)
}

/// Where two trees differ: one line per place, numbers compared by value.
pub(crate) fn differences(left: &Value, right: &Value) -> Vec<String> {
    fn walk(path: &str, left: &Value, right: &Value, out: &mut Vec<String>) {
        match (left, right) {
            (Value::Object(a), Value::Object(b)) => {
                for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                    walk(&format!("{path}.{key}"), &left[key], &right[key], out);
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (at, (a, b)) in a.iter().zip(b).enumerate() {
                    walk(&format!("{path}[{at}]"), a, b, out);
                }
            }
            (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
            _ if left == right => {}
            _ => out.push(format!("{path}: {left} / {right}")),
        }
    }
    let mut out = Vec::new();
    walk("", left, right, &mut out);
    out
}
