//! Health as `/api/targets` shows it.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::target::{Counters, TargetState};
use super::verdict::{Availability, Reason};

/// What a target is doing, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It takes requests.
    Ready,
    /// It takes one request at a time, to find out whether it is back.
    HalfOpen,
    /// It takes none for a while.
    Waiting,
    /// An operator took it out.
    Drained,
}

/// A target's health at one moment. Times are in milliseconds; what is not known is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetStatus {
    /// The provider's name.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// The number of the credential, from 0.
    pub credential: usize,
    /// What it is doing.
    pub state: State,
    /// Why it takes no request: a fixed word.
    pub reason: Option<&'static str>,
    /// The same for people.
    pub detail: Option<String>,
    /// When it may be tried again.
    pub retry_in_ms: Option<u64>,
    /// Attempts under way.
    pub in_flight: usize,
    /// First output, lately.
    pub latency_ms: Option<f64>,
    /// Half of the first outputs came within this time.
    pub p50_ms: Option<f64>,
    /// 95 % did.
    pub p95_ms: Option<f64>,
    /// 99 % did.
    pub p99_ms: Option<f64>,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Failed attempts in the breaker's window.
    pub recent_failures: u32,
    /// Attempts in the breaker's window.
    pub recent_attempts: u32,
    /// What happened since the process began.
    pub counters: Counters,
}

/// A credential that is benched, for `/api/targets`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CredentialStatus {
    /// The provider's name.
    pub provider: String,
    /// Its number, from 0.
    pub credential: usize,
    /// Why: a fixed word.
    pub reason: &'static str,
    /// The same for people.
    pub detail: String,
    /// When it is tried again; 0: with the next request.
    pub retry_in_ms: u64,
}

impl TargetState {
    /// Its health, for people and programs.
    pub fn status(&self, now: Instant) -> TargetStatus {
        let seen = self.see(now);
        let reason: Option<Reason> = seen.availability.reason();
        let [p50_ms, p95_ms, p99_ms] = seen.quantiles.map(|time| time.map(millis));
        TargetStatus {
            provider: self.provider().to_string(),
            model: self.model().to_string(),
            credential: self.credential().index(),
            state: match seen.availability {
                Availability::Ready => State::Ready,
                Availability::HalfOpen => State::HalfOpen,
                Availability::Until { .. } => State::Waiting,
                Availability::Drained => State::Drained,
            },
            reason: reason.as_ref().map(Reason::as_str),
            detail: reason.map(|reason| reason.to_string()),
            retry_in_ms: seen.availability.retry_at().map(|at| whole_millis(at, now)),
            in_flight: self.in_flight(),
            latency_ms: seen.latency.map(millis),
            p50_ms,
            p95_ms,
            p99_ms,
            consecutive_failures: seen.consecutive,
            recent_failures: seen.recent.0,
            recent_attempts: seen.recent.1,
            counters: seen.counters,
        }
    }
}

pub(super) fn whole_millis(at: Instant, now: Instant) -> u64 {
    at.saturating_duration_since(now).as_millis().try_into().unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
