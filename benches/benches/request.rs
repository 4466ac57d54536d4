//! Reading a request body and splicing the model name into it, per size and shape.

use std::{hint::black_box, time::Duration};

use ai_gateway_providers::scan::{Edits, scan_json};
use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// A chat of about `size` bytes in the key order of OpenAI's Python SDK: `messages` before `model`.
fn conversation(size: usize) -> Bytes {
    let mut body = String::from(r#"{"messages":[{"role":"system","content":"You are a careful assistant."}"#);
    let question = r#",{"role":"user","content":[{"type":"text","text":"Read this:\n```rust\nfn main() { println!(\"grüße\"); }\n```\nWhat does it print, and why is that so? Explain it step by step."}]}"#;
    let answer = r#",{"role":"assistant","content":null,"tool_calls":[{"id":"call_abc123","type":"function","function":{"name":"run_program","arguments":"{\"language\":\"rust\",\"timeout\":30}"}}]},{"role":"tool","tool_call_id":"call_abc123","content":"exit status 0"}"#;
    while body.len() + question.len() + answer.len() + 80 < size {
        body.push_str(question);
        body.push_str(answer);
    }
    let rest = size.saturating_sub(body.len() + 110);
    body.push_str(&format!(r#",{{"role":"user","content":"{}"}}"#, "word ".repeat(rest / 5)));
    body.push_str(r#"],"model":"assistant","stream":true,"temperature":0.7}"#);
    body.into()
}

/// A chat with one inlined image: nearly all of it is one long string.
fn image(size: usize) -> Bytes {
    let data = "iVBORw0KGgoAAAANSUhEUgAA".repeat(size / 24);
    format!(
        r#"{{"messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}]}}],"model":"assistant"}}"#
    )
    .into()
}

fn bodies() -> Vec<(&'static str, Bytes)> {
    vec![
        ("conversation/1KB", conversation(1 << 10)),
        ("conversation/20KB", conversation(20 << 10)),
        ("conversation/200KB", conversation(200 << 10)),
        ("conversation/10MiB", conversation(10 << 20)),
        ("image/10MiB", image(10 << 20)),
    ]
}

fn scan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scan");
    for (name, body) in bodies() {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &body, |bencher, body| {
            bencher.iter(|| scan_json(black_box(body)));
        });
    }
    group.finish();
}

fn splice(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("splice");
    for (name, body) in bodies() {
        let Ok(scan) = scan_json(&body) else { unreachable!("the bench writes valid JSON") };
        group.throughput(Throughput::Bytes(body.len() as u64));
        let edits = Edits { model: Some("gpt-5-mini-2025-08-07"), include_usage: scan.stream };
        group.bench_with_input(BenchmarkId::from_parameter(name), &body, |bencher, body| {
            bencher.iter_batched(|| body.clone(), |body| scan.rewrite(&body, &edits), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = scan, splice
}
criterion_main!(benches);
