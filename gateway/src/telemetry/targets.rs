//! `gateway_target_*` and `gateway_credential_refused`: how the targets are, read from their states when Prometheus asks.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::clock::Time;
use crate::health::{Health, State, TargetStatus};

/// Targets shown; clients can make up the names of models.
const MAX_TARGETS: usize = 1_000;

/// Writes the states when Prometheus asks, as they are by this time.
#[derive(Debug)]
pub(super) struct TargetsCollector(pub(super) Arc<Health>, pub(super) Time);

type Value = fn(&TargetStatus) -> Option<f64>;
type Count = fn(&TargetStatus) -> u64;

/// Times are in milliseconds there and in seconds here.
const GAUGES: [(&str, &str, Option<Unit>, Value); 4] = [
    ("gateway_target_up", "Whether the target takes requests; 0.5 while one may probe it", None, |target| {
        Some(match target.state {
            State::Ready => 1.0,
            State::HalfOpen => 0.5,
            State::Waiting | State::Drained => 0.0,
        })
    }),
    ("gateway_target_in_flight", "Attempts under way", None, |target| {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
        Some(target.in_flight as f64)
    }),
    ("gateway_target_first_output", "Time to the first output, lately", Some(Unit::Seconds), |target| {
        Some(target.latency_ms? / 1e3)
    }),
    ("gateway_target_first_output_p95", "95 % of first outputs came within", Some(Unit::Seconds), |target| {
        Some(target.p95_ms? / 1e3)
    }),
];
const COUNTERS: [(&str, &str, Count); 3] = [
    ("gateway_target_opened", "How often the breaker opened", |target| target.counters.opened),
    ("gateway_target_probes", "Requests that found out whether it is back", |target| target.counters.probes),
    ("gateway_target_rate_limited", "How often the provider limited the rate", |target| target.counters.rate_limited),
];

impl Collector for TargetsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = self.1.instant();
        let known = |target: &TargetStatus| target.counters.successes + target.counters.opened > 0;
        let targets: Vec<TargetStatus> =
            self.0.targets().iter().map(|target| target.status(now)).filter(known).take(MAX_TARGETS).collect();
        for (name, help, unit, value) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            for target in &targets {
                if let Some(value) = value(target) {
                    ConstGauge::new(value).encode(family.encode_family(&labels(target))?)?;
                }
            }
        }
        for (name, help, count) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for target in &targets {
                ConstCounter::new(count(target)).encode(family.encode_family(&labels(target))?)?;
            }
        }
        let help = "Credentials that their provider refuses: somebody must act";
        let mut family = encoder.encode_descriptor("gateway_credential_refused", help, None, MetricType::Gauge)?;
        for credential in self.0.benched(now) {
            let labels = [("provider", credential.provider), ("credential", credential.credential.to_string())];
            ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn labels(target: &TargetStatus) -> [(&'static str, String); 3] {
    [
        ("provider", target.provider.clone()),
        ("model", target.model.clone()),
        ("credential", target.credential.to_string()),
    ]
}
