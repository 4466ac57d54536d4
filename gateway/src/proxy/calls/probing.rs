//! The service that probes: every provider whose `health.probe` says so, each of its credentials, again and again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;

use crate::config::ProbeConfig;
use crate::health::{ProbeSchedule, Verdict};
use crate::proxy::{Gateway, attempt};
use crate::snapshot::Provider;

/// How often the configuration in force is looked at, which may have changed.
const TICK: Duration = Duration::from_millis(500);
/// Longest wait for the answer of a probe.
const PATIENCE: Duration = Duration::from_secs(10);

/// Probes on behalf of the gateway.
pub struct Probing(pub Gateway);

/// When a credential of a provider is to be probed.
struct Schedule {
    config: ProbeConfig,
    due: ProbeSchedule,
}

#[async_trait]
impl BackgroundService for Probing {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut schedules = HashMap::new();
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                _ = tick.tick() => self.probe_due(&mut schedules, Instant::now()),
                _ = shutdown.changed() => return,
            }
        }
    }
}

impl Probing {
    /// Starts the probes that are due.
    fn probe_due(&self, schedules: &mut HashMap<(Arc<str>, usize), Schedule>, now: Instant) {
        let snapshot = self.0.current.load_full();
        let mut known = std::mem::take(schedules);
        for provider in snapshot.providers() {
            let Some(config) = &provider.probe else { continue };
            for credential in 0..provider.credentials.len() {
                let place = (provider.name.clone(), credential);
                let kept = known.remove(&place).filter(|schedule| schedule.config == *config);
                let mut schedule = kept.unwrap_or_else(|| Schedule {
                    config: config.clone(),
                    due: ProbeSchedule::new(now, config.every, fastrand::f64()),
                });
                if schedule.due.due(now) {
                    tokio::spawn(probe(self.0.clone(), provider.clone(), credential, config.path.clone()));
                }
                schedules.insert(place, schedule);
            }
        }
    }
}

async fn probe(gateway: Gateway, provider: Arc<Provider>, credential: usize, path: String) {
    let probe = gateway.health.begin_probe(&provider.name, credential, gateway.time.instant());
    if probe.is_empty() {
        return;
    }
    let credentials = &provider.credentials[credential];
    let asked = gateway.calls.probe(&provider, credentials, &path, PATIENCE, &gateway.http, &gateway.resolver).await;
    let result = match asked.map_err(|outcome| outcome.verdict(None)) {
        Err(Verdict::Failure { kind, .. }) => Err(kind),
        Ok(()) | Err(Verdict::Neutral | Verdict::Success { .. }) => Ok(()),
    };
    for (target, changes) in probe.finish(gateway.time.instant(), result) {
        attempt::report(target.provider(), target.model(), credential, &changes);
    }
}
