//! What the cache tells about itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::TierMetrics;

/// `gateway_cache_*`. All at zero without a cache.
#[derive(Clone, Debug, Default)]
pub struct CacheMetrics {
    /// Requests answered from what was kept.
    pub hits: Counter,
    /// Requests that followed the call of another.
    pub shares: Counter,
    /// Requests that made a call which others could follow, or whose answer could be kept.
    pub misses: Counter,
    /// Requests that did not use the cache that is set up for them.
    pub bypasses: Counter,
    /// Requests that follow the call of another at this moment.
    pub following: Gauge,
    /// Bytes held by entries and by what is under way.
    pub bytes: Gauge,
    /// Questions for which there was no vector in time.
    pub embedding_failures: Counter,
    /// Entries that made room for others.
    pub evictions: Counter,
    /// Tokens that were not asked for again.
    pub saved_tokens: Counter,
    /// What those would have cost, in pico-dollars.
    pub saved_cost: Counter,
    /// Of what is below memory.
    pub tiers: TierMetrics,
}

impl CacheMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let counters = [
            ("gateway_cache_hits", "Requests answered from the cache", &self.hits),
            ("gateway_cache_shares", "Requests that followed the upstream call of another request", &self.shares),
            ("gateway_cache_misses", "Requests that the cache could not answer", &self.misses),
            ("gateway_cache_bypasses", "Requests that did not use the cache of their model", &self.bypasses),
            (
                "gateway_cache_embedding_failures",
                "Requests whose meaning could not be compared, because the embedding model gave no vector in time",
                &self.embedding_failures,
            ),
            ("gateway_cache_evictions", "Answers that made room for others", &self.evictions),
            ("gateway_cache_saved_tokens", "Tokens that hits and shares did not ask for again", &self.saved_tokens),
            (
                "gateway_cache_saved_picodollars",
                "What hits and shares would have cost, as far as prices are known, in 1e-12 US dollars",
                &self.saved_cost,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "gateway_cache_following",
            "Requests that follow the upstream call of another request, or wait for it to begin",
            self.following.clone(),
        );
        self.tiers.register(registry);
        registry.register_with_unit(
            "gateway_cache_held",
            "Held by kept answers and by those under way",
            Unit::Bytes,
            self.bytes.clone(),
        );
    }
}
