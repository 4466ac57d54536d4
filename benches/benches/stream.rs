//! Cutting a stream into events, and watching it, per dialect and per size of read.

use std::{hint::black_box, time::Duration};

use ai_gateway_providers::{
    AnswerForm, Dialect, Observer, Operation,
    sse::{Fields, Piece, Splitter},
};
use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Delta events in one stream.
const EVENTS: usize = 100;
/// Bytes of one delta event, filled up with text.
const EVENT_SIZE: usize = 250;

/// The text that brings `event` (with `{}` for the text) to [`EVENT_SIZE`].
fn filled(event: &str) -> Bytes {
    let text: String = "lorem ipsum ".chars().cycle().take(EVENT_SIZE - (event.len() - 2)).collect();
    event.replacen("{}", &text, 1).into()
}

/// A whole stream as its events.
fn stream(dialect: Dialect) -> Vec<Bytes> {
    let (first, delta, last) = match dialect {
        Dialect::Anthropic => (
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude\",\"content\":[],\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"{}\"}}\n\n",
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":100}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ),
        Dialect::OpenAiResponses => (
            "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"status\":\"in_progress\",\"model\":\"gpt-5\",\"output\":[]}}\n\n",
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":7,\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\"{}\"}\n\n",
            "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":101,\"response\":{\"id\":\"resp_1\",\"status\":\"completed\",\"model\":\"gpt-5\",\"output\":[],\"usage\":{\"input_tokens\":25,\"output_tokens\":100,\"total_tokens\":125}}}\n\n",
        ),
        Dialect::OpenAiChat | Dialect::Gemini | Dialect::Bedrock | Dialect::Cohere | Dialect::Own(_) => (
            "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-5\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
            "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-5\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"{}\"},\"finish_reason\":null}]}\n\n",
            "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-5\",\"choices\":[],\"usage\":{\"prompt_tokens\":25,\"completion_tokens\":100,\"total_tokens\":125}}\n\ndata: [DONE]\n\n",
        ),
    };
    let mut events = vec![Bytes::from_static(first.as_bytes())];
    events.resize(1 + EVENTS, filled(delta));
    events.push(Bytes::from_static(last.as_bytes()));
    events
}

/// The same stream as it would be read: an event per read, or in reads of a fixed size.
fn reads(events: &[Bytes]) -> [(&'static str, Vec<Bytes>); 3] {
    let whole = Bytes::from(events.concat());
    let cut =
        |size: usize| (0..whole.len()).step_by(size).map(|at| whole.slice(at..whole.len().min(at + size))).collect();
    [("event", events.to_vec()), ("1448B", cut(1448)), ("16KiB", cut(16 << 10))]
}

fn framing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sse");
    let events = stream(Dialect::OpenAiChat);
    group.throughput(Throughput::Bytes(events.iter().map(|event| event.len() as u64).sum()));
    for (name, reads) in reads(&events) {
        group.bench_with_input(BenchmarkId::new("split", name), &reads, |bencher, reads| {
            bencher.iter(|| {
                let mut splitter = Splitter::default();
                let mut seen = 0;
                for read in reads {
                    splitter.feed(black_box(read), |piece, _| seen += piece.bytes().len());
                }
                seen
            });
        });
        group.bench_with_input(BenchmarkId::new("split+fields", name), &reads, |bencher, reads| {
            bencher.iter(|| {
                let mut splitter = Splitter::default();
                let mut seen = 0;
                for read in reads {
                    splitter.feed(black_box(read), |piece, _| {
                        if let Piece::Event(event) = piece {
                            seen += Fields::parse(event).data.map_or(0, |data| data.len());
                        }
                    });
                }
                seen
            });
        });
    }
    group.finish();
}

fn observer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("observe");
    for dialect in [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Anthropic] {
        let events = stream(dialect);
        group.throughput(Throughput::Bytes(events.iter().map(|event| event.len() as u64).sum()));
        for hide_usage in [false, true] {
            if hide_usage && dialect != Dialect::OpenAiChat {
                continue;
            }
            for (name, reads) in reads(&events) {
                let hiding = if hide_usage { "+hide" } else { "" };
                let id = BenchmarkId::new(format!("{dialect}{hiding}"), name);
                group.bench_with_input(id, &reads, |bencher, reads| {
                    bencher.iter_batched(
                        || reads.clone(),
                        |reads| {
                            let mut observer = Observer::new(dialect, Operation::Chat, AnswerForm::Stream, hide_usage);
                            let sent: usize = reads.into_iter().map(|read| observer.feed(read, false).len()).sum();
                            observer.feed(Bytes::new(), true);
                            (sent, observer.into_seen().complete)
                        },
                        BatchSize::SmallInput,
                    );
                });
            }
        }
    }
    group.finish();
}

fn json(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("observe json");
    for (name, size) in [("1KB", 1 << 10), ("20KB", 20 << 10), ("200KB", 200 << 10), ("10MiB", 10 << 20)] {
        let text = "lorem ipsum dolor\\n".repeat(size / 19);
        let body = Bytes::from(format!(
            r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-5","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":25,"completion_tokens":100,"total_tokens":125}}}}"#
        ));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &body, |bencher, body| {
            bencher.iter(|| {
                let mut observer = Observer::new(Dialect::OpenAiChat, Operation::Chat, AnswerForm::Json, false);
                let sent = observer.feed(black_box(body).clone(), true).len();
                (sent, observer.into_seen().complete)
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = framing, observer, json
}
criterion_main!(benches);
