//! `gateway_retries_total`: attempts made because the one before had failed, by how that one had ended.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::finished::AttemptOutcome;

/// The counts, in the order of [`AttemptOutcome::ALL`].
#[derive(Debug, Default)]
pub(super) struct Retries([AtomicU64; AttemptOutcome::ALL.len()]);

impl Retries {
    pub(super) fn count(&self, reason: AttemptOutcome) {
        if let Some(count) = self.0.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }
}

/// Writes the counts when Prometheus asks.
#[derive(Debug)]
pub(super) struct RetriesCollector(pub(super) Arc<Retries>);

impl Collector for RetriesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "gateway_retries",
            "Attempts made because the one before had failed, by how it had ended",
            None,
            MetricType::Counter,
        )?;
        for (count, outcome) in self.0.0.iter().zip(AttemptOutcome::ALL) {
            let count = count.load(Relaxed);
            if count > 0 {
                ConstCounter::new(count).encode(family.encode_family(&[("reason", outcome.as_str())])?)?;
            }
        }
        Ok(())
    }
}
