//! `gateway_cost_usd_total` and `gateway_price_unknown_total`: what upstream work cost, by provider, upstream model and key.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::interned::Interned;

/// What was spent under one set of labels.
#[derive(Debug)]
pub(super) struct Spend {
    provider: Box<str>,
    model: Box<str>,
    key: Box<str>,
    /// Whole pico-dollars: up to 18 million dollars in the life of a process.
    pico: AtomicU64,
    unknown: AtomicU64,
}

impl Spend {
    pub(super) fn new((provider, model, key): (&str, &str, &str)) -> Self {
        let (pico, unknown) = Default::default();
        Self { provider: provider.into(), model: model.into(), key: key.into(), pico, unknown }
    }

    pub(super) fn is(&self, labels: (&str, &str, &str)) -> bool {
        labels == (&*self.provider, &*self.model, &*self.key)
    }

    /// `cost` in pico-dollars; `None`: something was used that has no price.
    pub(super) fn count(&self, cost: Option<u64>) {
        match cost {
            Some(pico) => self.pico.fetch_add(pico, Relaxed),
            None => self.unknown.fetch_add(1, Relaxed),
        };
    }

    fn labels(&self) -> [(&'static str, &str); 3] {
        [("provider", &*self.provider), ("model", &*self.model), ("key", &*self.key)]
    }
}

/// Writes the sums when Prometheus asks.
#[derive(Debug)]
pub(super) struct SpendCollector(pub(super) Arc<Interned<Spend>>);

impl Collector for SpendCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.0.all();
        let mut family = encoder.encode_descriptor(
            "gateway_cost_usd",
            "What upstream work with a known price cost, in US dollars",
            None,
            MetricType::Counter,
        )?;
        for spend in all.iter().filter(|spend| spend.pico.load(Relaxed) > 0) {
            #[expect(clippy::cast_precision_loss, reason = "a metric; the ledger is exact")]
            let dollars = spend.pico.load(Relaxed) as f64 / 1e12;
            ConstCounter::new(dollars).encode(family.encode_family(&spend.labels())?)?;
        }
        let mut family = encoder.encode_descriptor(
            "gateway_price_unknown",
            "Upstream work that used something which has no price",
            None,
            MetricType::Counter,
        )?;
        for spend in all.iter() {
            let unknown = spend.unknown.load(Relaxed);
            if unknown > 0 {
                ConstCounter::new(unknown).encode(family.encode_family(&spend.labels())?)?;
            }
        }
        Ok(())
    }
}
