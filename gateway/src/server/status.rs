//! How the process is, on one page.

use std::time::SystemTime;

use serde::Serialize;

use super::{Control, Source};
use crate::admin::reasons;
use crate::health::{CredentialStatus, State, TargetStatus};

/// Limits and budgets of which so many percent are used are near.
const NEAR: u64 = 80;
/// Limits shown.
const MOST_LIMITS: usize = 100;
/// Targets shown: clients can make up the names of models.
const MOST_TARGETS: usize = 1_000;

/// A page of `GET /api/status`. Times are RFC 3339, lengths of time in seconds unless their name says `_ms`.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    version: &'static str,
    pid: u32,
    /// `starting`, `ready` or `draining`.
    state: &'static str,
    /// Why it is not ready, and what is not as it should be.
    reasons: Vec<&'static str>,
    started: String,
    uptime_seconds: u64,
    /// Requests that are being served.
    in_flight: i64,
    config: ConfigStatus,
    listen: Vec<String>,
    providers: Vec<ProviderStatus>,
    /// Targets that were asked at least once.
    targets: Vec<TargetStatus>,
    refused_credentials: Vec<CredentialStatus>,
    /// Limits and budgets that are nearly used up.
    limits_near: Vec<LimitStatus>,
    /// How it stands with the common store, if there is one.
    store: Option<StoreStatus>,
    ledger: Option<LedgerStatus>,
    /// Processes before this one that finish their streams.
    predecessors: Vec<PredecessorStatus>,
}

#[derive(Clone, Debug, Serialize)]
struct ConfigStatus {
    /// Null: the environment as it was.
    file: Option<String>,
    generation: u64,
    loaded: String,
    models: usize,
    keys: usize,
    last_reload: Option<ReloadStatus>,
}

#[derive(Clone, Debug, Serialize)]
struct ReloadStatus {
    at: String,
    taken: bool,
    error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct ProviderStatus {
    name: String,
    kind: &'static str,
    address: String,
    credentials: usize,
    /// `ready`; `degraded`: some of its targets take no requests; `down`: none does; `idle`: none was asked yet.
    state: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct LimitStatus {
    kind: &'static str,
    name: String,
    what: &'static str,
    per: Option<String>,
    used_percent: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct StoreStatus {
    up: bool,
    instances: u64,
}

#[derive(Clone, Debug, Serialize)]
struct LedgerStatus {
    path: String,
    /// Records that wait in memory.
    waiting: i64,
    lost: u64,
}

#[derive(Clone, Debug, Serialize)]
struct PredecessorStatus {
    pid: u32,
    version: String,
    in_flight: u64,
    seconds: u64,
}

impl Control {
    /// How the process is.
    pub fn status(&self) -> Status {
        let now = self.gateway.time.instant();
        let state = self.readiness.state();
        let (since, begin) = self.started;
        let in_force = self.reloader.in_force();
        let health = &self.gateway.health;
        let mut targets: Vec<TargetStatus> = health.targets().iter().map(|target| target.status(now)).collect();
        targets.retain(|target| {
            let counters = target.counters;
            counters.successes + counters.failures > 0 || target.in_flight > 0 || target.state != State::Ready
        });
        let snapshot = self.gateway.current.load();
        let providers = snapshot.providers().into_iter().map(|provider| ProviderStatus {
            name: provider.name.to_string(),
            kind: provider.preset.kind,
            address: format!("{}:{}", provider.host, provider.port),
            credentials: provider.credentials.len(),
            state: state_of(targets.iter().filter(|target| target.provider == *provider.name)),
        });
        let providers = providers.collect();
        targets.truncate(MOST_TARGETS);
        let file = match self.reloader.source() {
            Source::File(file, _) => Some(file.display().to_string()),
            Source::Fixed => None,
        };
        let ledger = self.gateway.ledger.as_ref().map(|ledger| {
            let metrics = &self.gateway.telemetry.metrics.ledger;
            let path = ledger.path().display().to_string();
            LedgerStatus { path, waiting: metrics.waiting.get(), lost: metrics.lost.get() }
        });
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            state: state.as_str(),
            reasons: reasons(state, &self.gateway.limits, &self.gateway.telemetry.metrics.ledger),
            started: shown(since),
            uptime_seconds: now.saturating_duration_since(begin).as_secs(),
            in_flight: self.in_flight(),
            config: ConfigStatus {
                file,
                generation: in_force.generation,
                loaded: shown(in_force.at),
                models: in_force.config.models.len(),
                keys: in_force.config.keys.len(),
                last_reload: in_force.last.map(|last| ReloadStatus {
                    at: shown(last.at),
                    taken: last.error.is_none(),
                    error: last.error,
                }),
            },
            listen: in_force.config.server.listen.iter().map(ToString::to_string).collect(),
            providers,
            targets,
            refused_credentials: health.benched(now),
            limits_near: self.limits_near(),
            store: self.gateway.limits.store().map(|store| StoreStatus { up: store.up, instances: store.instances }),
            ledger,
            predecessors: self
                .lineage
                .ancestors()
                .into_iter()
                .map(|ancestor| PredecessorStatus {
                    pid: ancestor.who.pid,
                    version: ancestor.who.version,
                    in_flight: ancestor.in_flight,
                    seconds: now.saturating_duration_since(ancestor.since).as_secs(),
                })
                .collect(),
        }
    }

    fn limits_near(&self) -> Vec<LimitStatus> {
        let mut near = Vec::new();
        for subject in self.gateway.limits.status() {
            for usage in subject.limits {
                let used = usage.booked.saturating_add(usage.reserved);
                let percent = u64::try_from(u128::from(used) * 100 / u128::from(usage.rule.limit.max(1)));
                let used_percent = percent.unwrap_or(u64::MAX);
                if used_percent < NEAR {
                    continue;
                }
                near.push(LimitStatus {
                    kind: subject.kind.as_str(),
                    name: subject.name.to_string(),
                    what: usage.rule.what.as_str(),
                    per: usage.rule.per(),
                    used_percent,
                });
            }
        }
        near.sort_by_key(|limit| std::cmp::Reverse(limit.used_percent));
        near.truncate(MOST_LIMITS);
        near
    }
}

fn state_of<'a>(targets: impl Iterator<Item = &'a TargetStatus>) -> &'static str {
    let (mut up, mut down) = (0, 0);
    for target in targets {
        match target.state {
            State::Ready | State::HalfOpen => up += 1,
            State::Waiting | State::Drained => down += 1,
        }
    }
    match (up, down) {
        (0, 0) => "idle",
        (_, 0) => "ready",
        (0, _) => "down",
        _ => "degraded",
    }
}

fn shown(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
