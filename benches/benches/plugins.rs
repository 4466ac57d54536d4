//! What a guardrail on a stream costs: a chunk that passes as it comes, one that is decoded and written anew, and the same with
//! a regular expression looking at its text. Divide by 100: each figure is for a stream of so many chunks.
//!
//! What that is of the whole way of a chunk through the gateway says `compare --guardrail`.

use std::{hint::black_box, sync::Arc, time::Duration};

use ai_gateway_plugins::internal::{Hooked, Policy, Screen};
use ai_gateway_plugins::providers::codec::{Client, codec};
use ai_gateway_plugins::providers::common::Losses;
use ai_gateway_plugins::providers::{AnswerForm, Dialect, Observer, Operation};
use ai_gateway_plugins::{About, Context, Failure, NoHost, Registry, Rejection, Settings};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const CHUNKS: usize = 100;
/// About what a token or two are.
const TEXT: &str = " lorem ipsum";

const GUARD: &str = r"
    patterns = ['\bACME-\d{6}\b', '(?i)\bproject\s+falcon\b']
    on = ['answer']
";

struct Open;

impl Policy for Open {
    fn failed(&self, _: &Failure) -> Option<Rejection> {
        None
    }
}

fn stream(dialect: Dialect) -> Vec<Bytes> {
    let (first, delta, last) = match dialect {
        Dialect::Anthropic => (
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude\",\"content\":[],\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"{}\"}}\n\n",
            "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":100}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ),
        _ => (
            "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-5\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
            "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-5\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"{}\"},\"finish_reason\":null}]}\n\n",
            "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-5\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        ),
    };
    let mut events = vec![Bytes::from_static(first.as_bytes())];
    events.resize(1 + CHUNKS, Bytes::from(delta.replacen("{}", TEXT, 1)));
    events.push(Bytes::from_static(last.as_bytes()));
    events
}

#[expect(clippy::expect_used, reason = "a bench that cannot begin says so")]
fn guard(dialect: Dialect) -> Vec<Hooked> {
    let plugin = Registry::default().build("deny", &Settings::of(GUARD)).expect("deny").expect("its settings");
    let cx = Context::alone(About::new(dialect, Operation::Chat, Arc::new(NoHost)));
    let hook = plugin.text_hook(&cx).expect("it looks at answers");
    vec![Hooked::new(hook, plugin.needs().text.expect("a hold"), Arc::new(Open))]
}

fn screened(dialect: Dialect, events: &[Bytes], hooks: Vec<Hooked>) -> usize {
    let mut screen = Screen::new(dialect, hooks, "seed");
    let mut encoder = codec(dialect).stream_encoder(&Client::default());
    let (mut losses, mut sent) = (Losses::default(), 0);
    for event in events {
        let mut out = Vec::with_capacity(event.len() + 256);
        screen.feed(black_box(event), false, &mut |event| encoder.encode(event, &mut losses, &mut out));
        sent += out.len();
    }
    sent
}

fn plugins(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("100 chunks");
    for dialect in [Dialect::OpenAiChat, Dialect::Anthropic] {
        let events = stream(dialect);
        group.bench_with_input(BenchmarkId::new("passing", dialect), &events, |bencher, events| {
            bencher.iter(|| {
                let mut observer = Observer::new(dialect, Operation::Chat, AnswerForm::Stream, false);
                events.iter().map(|event| observer.feed(black_box(event).clone(), false).len()).sum::<usize>()
            });
        });
        group.bench_with_input(BenchmarkId::new("written anew", dialect), &events, |bencher, events| {
            bencher.iter(|| screened(dialect, events, Vec::new()));
        });
        group.bench_with_input(BenchmarkId::new("with a regex", dialect), &events, |bencher, events| {
            bencher.iter_batched(
                || guard(dialect),
                |hooks| screened(dialect, events, hooks),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = plugins
}
criterion_main!(benches);
