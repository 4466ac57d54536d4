//! What the tiers below memory tell about themselves.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type ByTier = Family<[(&'static str, &'static str); 1], Counter>;

/// `gateway_cache_tier_*`, by `tier`: `disk`, `redis`.
#[derive(Clone, Debug, Default)]
pub struct TierMetrics {
    hits: ByTier,
    misses: ByTier,
    failures: ByTier,
    dropped: ByTier,
    /// Bytes of files on disk.
    pub disk_bytes: Gauge,
    /// Answers on disk.
    pub disk_entries: Gauge,
}

impl TierMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        for (name, help, family) in [
            ("gateway_cache_tier_hits", "Answers that a tier below memory had", &self.hits),
            ("gateway_cache_tier_misses", "Answers that a tier below memory did not have", &self.misses),
            ("gateway_cache_tier_failures", "Reads and writes of a tier that failed or took too long", &self.failures),
            (
                "gateway_cache_tier_dropped",
                "Answers that a tier did not keep because it was busy, full or down",
                &self.dropped,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        registry.register("gateway_cache_disk_bytes", "Bytes of files of the cache on disk", self.disk_bytes.clone());
        registry.register("gateway_cache_disk_entries", "Answers in the cache on disk", self.disk_entries.clone());
    }

    /// Those of one tier.
    pub fn of(&self, tier: &'static str) -> Counters {
        let label = [("tier", tier)];
        Counters {
            hits: self.hits.get_or_create(&label).clone(),
            misses: self.misses.get_or_create(&label).clone(),
            failures: self.failures.get_or_create(&label).clone(),
            dropped: self.dropped.get_or_create(&label).clone(),
        }
    }
}

/// The counters of one tier.
#[derive(Clone, Debug)]
pub struct Counters {
    hits: Counter,
    misses: Counter,
    /// What failed or took too long.
    pub failures: Counter,
    /// What it did not keep.
    pub dropped: Counter,
}

impl Counters {
    /// Whether it had what was asked for.
    pub fn looked_up(&self, found: bool) {
        let counter = if found { &self.hits } else { &self.misses };
        counter.inc();
    }
}
