//! `gateway_attempts_total`: every try of a target, by provider, upstream model and outcome.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::finished::AttemptOutcome;
use super::interned::Interned;

/// The counts of one target.
#[derive(Debug)]
pub(super) struct Target {
    provider: Box<str>,
    model: Box<str>,
    /// By outcome, in the order of [`AttemptOutcome::ALL`].
    counts: [AtomicU64; AttemptOutcome::ALL.len()],
}

impl Target {
    pub(super) fn new(provider: &str, model: &str) -> Self {
        Self { provider: provider.into(), model: model.into(), counts: Default::default() }
    }

    pub(super) fn is(&self, provider: &str, model: &str) -> bool {
        *self.model == *model && *self.provider == *provider
    }

    pub(super) fn count(&self, outcome: AttemptOutcome) {
        if let Some(count) = self.counts.get(outcome as usize) {
            count.fetch_add(1, Relaxed);
        }
    }
}

/// Writes the counts when Prometheus asks.
#[derive(Debug)]
pub(super) struct AttemptsCollector(pub(super) Arc<Interned<Target>>);

impl Collector for AttemptsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "gateway_attempts",
            "Attempts that ended, by provider, upstream model and outcome",
            None,
            MetricType::Counter,
        )?;
        for target in self.0.all() {
            for (count, outcome) in target.counts.iter().zip(AttemptOutcome::ALL) {
                let count = count.load(Relaxed);
                if count > 0 {
                    let labels =
                        [("provider", &*target.provider), ("model", &*target.model), ("outcome", outcome.as_str())];
                    ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}
