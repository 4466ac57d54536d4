//! `GET /api/limits`: every limit and budget in force, what is used of it, and how it stands with the store.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::json as answer;
use crate::limits::{Limits, MeterUsage, SubjectStatus};

/// What `/health/ready` says while the store is out of reach.
pub const ALONE: &str = "the store is out of reach: limits are counted by each instance, with its share of them, and keys changed elsewhere are not known";
/// What it says while budgets do not know yet what was spent before.
pub const RESTORING: &str = "what was used before is still being read from the ledger";
/// What it says if they never will.
pub const BEGAN_ANEW: &str = "what was used before could not be read from the ledger: limits and budgets began anew";

pub fn show(limits: &Limits) -> Response<Vec<u8>> {
    let store = limits.store().map(|store| json!({ "up": store.up, "instances": store.instances }));
    let subjects: Vec<Value> = limits.status().iter().map(subject).collect();
    answer(StatusCode::OK, &json!({ "store": store, "subjects": subjects }))
}

fn subject(status: &SubjectStatus) -> Value {
    let limits: Vec<Value> = status.limits.iter().map(limit).collect();
    json!({ "kind": status.kind.as_str(), "name": status.name, "limits": limits })
}

/// Money is in whole pico-dollars.
fn limit(usage: &MeterUsage) -> Value {
    let MeterUsage { rule, booked, reserved } = usage;
    json!({ "what": rule.what.as_str(), "per": rule.per(), "limit": rule.limit, "used": booked, "reserved": reserved })
}
