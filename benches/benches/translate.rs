//! Translating between dialects, for every pair of them: a long request, a short answer, and the events of a stream.
//!
//! What is measured is CPU time: it does not depend on what else the machine does.

use std::{hint::black_box, time::Duration};

use ai_gateway_providers::Dialect;
use ai_gateway_providers::codec::{Call, Client, Maker, Platform, Target, codec};
use ai_gateway_providers::common::{
    Block, Choice, Content, Delta, Event, FunctionTool, Json, Losses, Message, ProviderTag, Request, Response, Role,
    Stop, StopReason, Tool, ToolCall, ToolResult, take_apart,
};
use ai_gateway_providers::usage::Usage;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use rustix::time::{ClockId, clock_gettime};

/// The gateway's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Messages of the request.
const MESSAGES: usize = 100;
/// Bytes of the request, nearly.
const REQUEST: usize = 200_000;
/// Text deltas of a stream.
const DELTAS: usize = 200;

/// The CPU time of this thread.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
    }

    fn end(&self, start: Duration) -> Duration {
        self.start().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        WallTime.add(one, other)
    }

    fn zero(&self) -> Duration {
        WallTime.zero()
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

const TEXT: &str = "The build fails in `src/lib.rs`:\n```rust\nlet name = \"grüße\";\n```\nThe borrow of `name` must end before \
    the map is changed, because both of them point into the same table. Move the second line up and it compiles. ";

/// Text of `size` bytes, with the line breaks, quotes and accents of real text.
fn text(size: usize) -> String {
    let mut text = TEXT.repeat(size / TEXT.len() + 1);
    text.truncate((0..=size).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    text
}

fn message(role: Role, blocks: Vec<Block<'static>>) -> Message<'static> {
    Message { role, blocks, ..Message::default() }
}

fn call(number: usize) -> Block<'static> {
    let arguments =
        format!(r#"{{"path":"src/file_{number}.rs","from":{number},"lines":["{}"]}}"#, "x = y + 1; ".repeat(20));
    Block::new(Content::ToolCall(Box::new(ToolCall {
        id: format!("call_{number:08}").into(),
        name: "read_file".into(),
        arguments: arguments.into(),
        ..ToolCall::default()
    })))
}

fn result(number: usize, size: usize) -> Block<'static> {
    Block::new(Content::ToolResult(Box::new(ToolResult {
        call_id: format!("call_{number:08}").into(),
        content: vec![Block::text(text(size))],
        ..ToolResult::default()
    })))
}

/// An agent's history: every other message calls a tool, every other brings its result.
fn history() -> Request<'static> {
    let schema = r#"{"type":"object","properties":{"path":{"type":"string"},"from":{"type":"integer"},"lines":{"type":"array","items":{"type":"string"}}},"required":["path"]}"#;
    let tool = |number: usize| {
        Tool::Function(Box::new(FunctionTool {
            name: if number == 0 { "read_file".into() } else { format!("tool_{number}").into() },
            description: Some("Reads a file of the project, from a line on.".into()),
            parameters: Json::parse(schema),
            ..FunctionTool::default()
        }))
    };
    let mut messages = vec![message(Role::User, vec![Block::text(text(500))])];
    let each = REQUEST / (MESSAGES / 2) - 700;
    for number in 0..MESSAGES / 2 - 1 {
        messages.push(message(Role::Assistant, vec![Block::text(text(150)), call(number)]));
        messages.push(message(Role::User, vec![result(number, each)]));
    }
    messages.push(message(Role::User, vec![Block::text(text(200))]));
    Request {
        model: "model".into(),
        stream: true,
        system: vec![Block::text(text(1000))],
        messages,
        tools: (0..10).map(tool).collect(),
        max_tokens: Some(4096),
        temperature: Some(0.5),
        ..Request::new(Dialect::OpenAiChat)
    }
}

/// An answer of a kilobyte.
fn answer() -> Response<'static> {
    let blocks = vec![Block::text(text(600)), call(1)];
    Response {
        id: Some("answer_1".into()),
        model: Some("model".into()),
        created: Some(1_700_000_000),
        choices: vec![Choice { blocks, stop: Stop::new(StopReason::ToolCalls), ..Choice::default() }],
        usage: Some(Usage { input: Some(1200), output: Some(300), ..Usage::default() }),
        ..Response::new(Dialect::OpenAiChat)
    }
}

fn target() -> Target<'static> {
    Target::new("model", ProviderTag::of("p"))
}

fn maker() -> Maker<'static> {
    Maker { provider: ProviderTag::of("p"), platform: Platform::Native, model: "model", id_seed: "seed" }
}

/// What `dialect`'s provider streams: a text in small deltas, each in a chunk of its own.
fn stream(dialect: Dialect) -> Vec<Vec<u8>> {
    let (mut encoder, mut losses) = (codec(dialect).stream_encoder(&Client::default()), Losses::default());
    let mut chunks = Vec::new();
    let mut write = |event: Event<'_>| {
        let mut out = Vec::new();
        encoder.encode(event, &mut losses, &mut out);
        if !out.is_empty() {
            chunks.push(out);
        }
    };
    let mut whole = answer();
    whole.choices[0].blocks.truncate(1);
    take_apart(&whole, &mut |event| match event {
        Event::Delta { choice, index, .. } => (0..DELTAS).for_each(|_| {
            write(Event::Delta { choice, index, delta: Delta::Text(" a few words".into()) });
        }),
        event => write(event),
    });
    chunks
}

fn pairs() -> impl Iterator<Item = (Dialect, Dialect)> {
    Dialect::ALL.into_iter().flat_map(|from| Dialect::ALL.into_iter().map(move |to| (from, to)))
}

/// `body` in dialect `from`, written again in dialect `to`.
fn translate_request(from: Dialect, to: Dialect, body: &[u8]) -> Vec<u8> {
    let call = Call { model: Some("model"), stream: true };
    let mut losses = Losses::default();
    let written = codec(from)
        .decode_request(body, &call)
        .and_then(|request| codec(to).encode_request(&request, &target(), &mut losses));
    match written {
        Ok(written) => written,
        Err(error) => unreachable!("{from} to {to}: {error}"),
    }
}

fn requests(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("request");
    let history = history();
    for (from, to) in pairs() {
        let Ok(body) = codec(from).encode_request(&history, &target(), &mut Losses::default()) else {
            unreachable!("every dialect can say this")
        };
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{from}>{to}"), |bencher| {
            bencher.iter(|| translate_request(from, to, black_box(&body)));
        });
    }
    group.finish();
}

fn answers(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("answer");
    let (answer, client) = (answer(), Client::default());
    for (from, to) in pairs() {
        let body = codec(from).encode_response(&answer, &client, &mut Losses::default());
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{from}>{to}"), |bencher| {
            bencher.iter(|| match codec(from).decode_response(black_box(&body), &maker()) {
                Ok(response) => codec(to).encode_response(&response, &client, &mut Losses::default()),
                Err(error) => unreachable!("{from}: {error}"),
            });
        });
    }
    group.finish();
}

fn streams(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("stream");
    for (from, to) in pairs() {
        let chunks = stream(from);
        group.throughput(Throughput::Elements(chunks.len() as u64));
        group.bench_function(format!("{from}>{to}"), |bencher| {
            bencher.iter(|| {
                let mut decoder = codec(from).stream_decoder(&maker());
                let mut encoder = codec(to).stream_encoder(&Client::default());
                let (mut losses, mut sent) = (Losses::default(), 0);
                for (at, chunk) in chunks.iter().enumerate() {
                    let mut out = Vec::new();
                    decoder.feed(black_box(chunk), at + 1 == chunks.len(), &mut |event| {
                        encoder.encode(event, &mut losses, &mut out);
                    });
                    sent += black_box(out).len();
                }
                sent
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .with_measurement(CpuTime)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = requests, answers, streams
}
criterion_main!(benches);
