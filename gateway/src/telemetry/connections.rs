//! `gateway_upstream_connections_total`: how often an attempt found a connection in the pool, and how often it had to make one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::interned::Interned;

/// The counts of one provider.
#[derive(Debug)]
pub(super) struct Connections {
    provider: Box<str>,
    made: AtomicU64,
    reused: AtomicU64,
}

impl Connections {
    pub(super) fn new(provider: &str) -> Self {
        Self { provider: provider.into(), made: AtomicU64::new(0), reused: AtomicU64::new(0) }
    }

    pub(super) fn is(&self, provider: &str) -> bool {
        *self.provider == *provider
    }

    pub(super) fn count(&self, reused: bool) {
        let count = if reused { &self.reused } else { &self.made };
        count.fetch_add(1, Relaxed);
    }
}

/// Writes the counts when Prometheus asks.
#[derive(Debug)]
pub(super) struct ConnectionsCollector(pub(super) Arc<Interned<Connections>>);

impl Collector for ConnectionsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "gateway_upstream_connections",
            "Connections that attempts were made on, by provider and whether they came from the pool",
            None,
            MetricType::Counter,
        )?;
        for connections in self.0.all() {
            for (count, reused) in [(&connections.made, "false"), (&connections.reused, "true")] {
                let labels = [("provider", &*connections.provider), ("reused", reused)];
                ConstCounter::new(count.load(Relaxed)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
