//! The scripts, and how they are called.

use std::sync::{Arc, LazyLock};

use redis::{Script, ScriptInvocation};

use super::super::meter::{Claim, Rule, What};
use super::super::period::NEVER;
use super::super::subject::Subject;
use super::{Instance, PREFIX, keys};

/// How long an instance counts that says nothing, in milliseconds by the store's clock.
pub(super) const LEASE: u64 = 5_000;

static ADMIT: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("book.lua"), include_str!("admit.lua"))));
static TELL: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("book.lua"), include_str!("tell.lua"))));
static COMPARE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("compare.lua")));

/// What is told of a meter.
pub(super) struct Told {
    pub(super) keys: [String; 2],
    /// Of what is reserved.
    pub(super) change: i64,
    /// What is booked, and until when it counts.
    pub(super) booked: u64,
    pub(super) ends: u64,
    /// Until when anything may count that is told now.
    pub(super) keep: u64,
}

pub(super) fn admit(
    lease: &str,
    instance: &Instance,
    asked: &[(Arc<Subject>, Rule)],
    claim: Claim,
    now: u64,
) -> ScriptInvocation<'static> {
    let mut call = begin(&ADMIT, lease);
    for (subject, rule) in asked {
        let [meter, own] = keys(subject, rule, instance);
        let amount = claim.of(rule.what);
        call.key(meter).key(own).arg(rule.what.as_str()).arg(rule.limit).arg(amount).arg(ends(rule, now));
    }
    call
}

pub(super) fn tell(lease: &str, told: &[Told]) -> ScriptInvocation<'static> {
    let mut call = begin(&TELL, lease);
    for told in told {
        call.key(&told.keys).arg(told.change).arg(told.booked).arg(told.ends).arg(told.keep);
    }
    call
}

/// Of each meter the key of the instance's part, and from which end on it counts.
pub(super) fn compare<'a>(lease: &str, parts: impl Iterator<Item = (&'a str, u64)>) -> ScriptInvocation<'static> {
    let mut call = begin(&COMPARE, lease);
    for (own, first) in parts {
        call.key(own).arg(first);
    }
    call
}

fn begin(script: &'static Script, lease: &str) -> ScriptInvocation<'static> {
    let mut call = script.prepare_invoke();
    call.key(leases()).arg(lease).arg(LEASE);
    call
}

/// The key of the instances' leases.
pub(super) fn leases() -> String {
    format!("{PREFIX}:leases")
}

pub(super) fn ends(rule: &Rule, now: u64) -> u64 {
    // The longest that a request may last is far less than a year.
    let a_year = || now.saturating_add(365 * 86_400_000).min(NEVER);
    if rule.what == What::Concurrent { a_year() } else { rule.period.ends(now) }
}
