//! Usage as providers reported it (`../shared/conformance`), at LiteLLM's prices, to the pico-dollar. Each row has the sum
//! written out, in tokens times dollars per million; rows and sums were made without the code under test.

use serde_json::Value;

use super::super::decimal::scaled;
use super::*;
use crate::dialect::{Dialect, Operation};
use crate::usage::report::Report;
use crate::usage::tree::Tree;

const GOLDEN: &str = include_str!("golden.jsonl");

/// `3 x 1.25 + 20 x 10` in pico-dollars.
fn sum(text: &str) -> u64 {
    let term = |term: &str| {
        let (count, dollars) = term.split_once(" x ").unwrap();
        count.parse::<u64>().unwrap() * scaled(dollars, 6).unwrap().value
    };
    text.split(" + ").map(term).sum()
}

fn check(row: &Value) -> Usage {
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    let dialect: Dialect = text("dialect").parse().unwrap();
    let named = |operation: &Operation| operation.as_str() == text("operation");
    let operations = [Operation::Chat, Operation::Completions, Operation::Embeddings, Operation::Images];
    let operation = operations.into_iter().find(named).unwrap_or(Operation::Transcription);
    let mut report = Report::default();
    for usage in row["usage"].as_array().unwrap() {
        report.merge(&Report::read(dialect, operation, &Tree::from(usage)));
    }
    let usage = report.usage().unwrap();
    let want = scaled(text("usd"), 12).unwrap().value;
    assert_eq!(sum(text("sum")), want, "the table itself is wrong: {row:#}");
    let cost = price(text("price")).cost(&usage, row["service_tier"].as_str());
    assert_eq!(cost.known(), want, "{cost:?} of {usage:?}, in {row:#}");
    // Of an advisor the sum has nothing: its price is another one.
    let advised = row["other_models"].as_u64();
    assert_eq!(usage.other_models, advised, "{row:#}");
    assert_eq!(cost.total(), advised.is_none().then_some(want), "{cost:?} of {usage:?}, in {row:#}");
    usage
}

#[test]
fn real_usage_costs_what_a_person_computes() {
    let rows: Vec<Value> = GOLDEN.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.len() >= 60);
    let usages: Vec<Usage> = rows.iter().map(check).collect();
    for dialect in Dialect::ALL {
        assert!(rows.iter().any(|row| row["dialect"] == dialect.as_str()), "{dialect}");
    }
    // Each in a row that bills it.
    for (bucket, count) in BUCKETS {
        let counted = |(row, usage): (&Value, &Usage)| {
            let price =
                row["price"].as_str().unwrap().split(' ').find_map(|rate| rate.strip_prefix(bucket)?.strip_prefix('='));
            let at = |price: &str| {
                row["sum"].as_str().unwrap().split(" + ").any(|term| term.ends_with(&format!(" x {price}")))
            };
            count(usage) > Some(0) && price.is_some_and(at)
        };
        assert!(rows.iter().zip(&usages).any(counted), "{bucket}");
    }
    for word in ["input>200000=", "reasoning=", "@flex", "@batch", "@fast_mode", "us_only="] {
        assert!(GOLDEN.contains(word), "{word}");
    }
}

/// What is counted, by the name of its rate.
type Bucket = (&'static str, fn(&Usage) -> Option<u64>);

const BUCKETS: [Bucket; 10] = [
    ("input", |usage| usage.input),
    ("cache_read", |usage| usage.cache_read),
    ("cache_write", |usage| usage.cache_write_5m),
    ("cache_write_1h", |usage| usage.cache_write_1h),
    ("audio_input", |usage| usage.audio_input),
    ("image_input", |usage| usage.image_input),
    ("output", |usage| usage.output),
    ("audio_output", |usage| usage.audio_output),
    ("image_output", |usage| usage.image_output),
    ("audio_second", |usage| usage.audio_input_ms),
];

#[test]
fn the_golden_check_can_fail() {
    let row = GOLDEN.lines().next().unwrap();
    let mut row: Value = serde_json::from_str(row).unwrap();
    check(&row);
    row["usage"][0]["output_tokens"] = Value::from(9_999_999);
    assert!(std::panic::catch_unwind(|| check(&row)).is_err());
}
