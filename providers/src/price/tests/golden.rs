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

fn check(row: &Value) {
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
}

#[test]
fn real_usage_costs_what_a_person_computes() {
    let rows: Vec<Value> = GOLDEN.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.len() >= 60);
    rows.iter().for_each(check);
    for dialect in Dialect::ALL {
        assert!(rows.iter().any(|row| row["dialect"] == dialect.as_str()), "{dialect}");
    }
    for bucket in [
        "cache_read=",
        "cache_write=",
        "cache_write_1h=",
        "audio_",
        "image_",
        "reasoning=",
        "@flex",
        "@batch",
        "@fast_mode",
        "us_only=",
    ] {
        assert!(GOLDEN.contains(bucket), "{bucket}");
    }
}

#[test]
fn the_golden_check_can_fail() {
    let row = GOLDEN.lines().next().unwrap();
    let mut row: Value = serde_json::from_str(row).unwrap();
    check(&row);
    row["usage"][0]["output_tokens"] = Value::from(9_999_999);
    assert!(std::panic::catch_unwind(|| check(&row)).is_err());
}
