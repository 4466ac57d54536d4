//! What a guardrail costs for each chunk of a stream: `cargo bench -p ai-gateway-plugins`.
//!
//! `none` is a stream that is decoded and written again with nobody looking; the others have one plugin at work that finds nothing.

#![expect(clippy::unwrap_used, reason = "a broken bench shall stop")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use ai_gateway_plugins::providers::codec::{Client, codec};
use ai_gateway_plugins::providers::common::Losses;
use ai_gateway_plugins::providers::{Dialect, Operation};
use ai_gateway_plugins::{About, Context, Failure, Hooked, NoHost, Policy, Registry, Rejection, Screen, Settings};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Chunks of a stream.
const CHUNKS: u64 = 200;

struct Closed;

impl Policy for Closed {
    fn failed(&self, failure: &Failure) -> Option<Rejection> {
        Some(Rejection { status: 500, message: failure.0.clone() })
    }
}

/// A stream as providers send it, a few words in each chunk.
fn chunks() -> Vec<String> {
    let words = ["The quick", " brown fox", " jumps over", " 13 lazy", " dogs, and", " then rests", ".\n"];
    let chunk = |text: &str, finish: &str| {
        let delta = serde_json::json!({ "content": text });
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-5\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let mut chunks: Vec<String> =
        (0..CHUNKS as usize).map(|number| chunk(words[number % words.len()], "null")).collect();
    chunks.push(chunk("", "\"stop\""));
    chunks.push("data: [DONE]\n\n".to_owned());
    chunks
}

fn guard(criterion: &mut Criterion) {
    let chunks = chunks();
    let mut group = criterion.benchmark_group("guard");
    group
        .throughput(Throughput::Elements(CHUNKS))
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    let cx = Context::alone(About::new(Dialect::OpenAiChat, Operation::Chat, Arc::new(NoHost)));
    for (name, plugin) in [
        ("none", None),
        ("regex", Some(("deny", "patterns = ['(?i)\\bproject[- ]falcon\\b', '\\bACME-\\d{6}\\b']"))),
        ("words", Some(("deny", "words = ['project falcon', 'operation eagle', 'confidential', 'internal only']"))),
        ("secrets", Some(("secrets", ""))),
        ("pii", Some(("pii", "action = 'redact'\non = ['answer']"))),
    ] {
        let built =
            plugin.map(|(kind, settings)| Registry::default().build(kind, &Settings::of(settings)).unwrap().unwrap());
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || {
                    let hooks = built.iter().map(|plugin| {
                        Hooked::new(plugin.text_hook(&cx).unwrap(), plugin.needs().text.unwrap(), Arc::new(Closed))
                    });
                    let client = Client { model: "gpt-5".into(), request_id: "r".into(), ..Client::default() };
                    let encoder = codec(Dialect::OpenAiChat).stream_encoder(&client);
                    (Screen::new(Dialect::OpenAiChat, hooks.collect(), "r"), encoder)
                },
                |(mut screen, mut encoder)| {
                    let mut losses = Losses::default();
                    for chunk in &chunks {
                        let mut out = Vec::new();
                        screen.feed(chunk.as_bytes(), false, &mut |event| encoder.encode(event, &mut losses, &mut out));
                        black_box(&out);
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, guard);
criterion_main!(benches);
