//! What the cache makes of a request: whether its answer may be given again, and the digest of what it says.

use std::hint::black_box;

use ai_gateway_providers::Dialect;
use ai_gateway_providers::scan::{Counts, Repeatable, canonical_digest};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// A chat of about `size` bytes.
fn conversation(size: usize) -> String {
    let mut body = String::from(r#"{"messages":[{"role":"system","content":"You are a careful assistant."}"#);
    let question = r#",{"role":"user","content":[{"type":"text","text":"Read this:\n```rust\nfn main() { println!(\"grüße\"); }\n```\nWhat does it print, and why is that so? Explain it step by step."}]}"#;
    while body.len() + question.len() + 60 < size {
        body.push_str(question);
    }
    body.push_str(r#"],"model":"assistant","stream":true,"temperature":0}"#);
    body
}

/// A chat with one inlined image.
fn image(size: usize) -> String {
    let data = "iVBORw0KGgoAAAANSUhEUgAA".repeat(size / 24);
    format!(
        r#"{{"messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}]}}],"model":"assistant"}}"#
    )
}

/// The worst there is: nothing but small objects.
fn objects(size: usize) -> String {
    format!("{{\"input\":[{}]}}", vec![r#"{"b":1,"a":2}"#; size / 14].join(","))
}

fn digest(criterion: &mut Criterion) {
    let bodies = [
        ("conversation/1KB", conversation(1 << 10)),
        ("conversation/200KB", conversation(200 << 10)),
        ("conversation/10MiB", conversation(10 << 20)),
        ("image/10MiB", image(10 << 20)),
        ("objects/10MiB", objects(10 << 20)),
    ];
    for (group, work) in [
        ("cache_key", (|body| _ = black_box(canonical_digest(body, |_| Counts::Whole))) as fn(&[u8])),
        ("cache_facts", |body| _ = black_box(Repeatable::of(body, Dialect::OpenAiChat))),
    ] {
        let mut group = criterion.benchmark_group(group);
        for (name, body) in &bodies {
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_with_input(BenchmarkId::from_parameter(name), body, |bencher, body| {
                bencher.iter(|| work(black_box(body.as_bytes())));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, digest);
criterion_main!(benches);
