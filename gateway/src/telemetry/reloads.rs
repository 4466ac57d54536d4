//! What reloads and upgrades of this process came to.

use std::time::SystemTime;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// `gateway_config_*`, `gateway_upgrade_failures_total` and `gateway_predecessors`.
#[derive(Clone, Debug, Default)]
pub struct ReloadMetrics {
    /// Configurations this process has had in force, the first one included.
    pub generation: Gauge,
    /// When the one in force was read, in seconds since 1970.
    pub loaded: Gauge,
    /// Whether the last reload was taken; 1 before the first.
    pub last_reload_ok: Gauge,
    reloads: Family<Outcome, Counter>,
    /// Upgrades after which this process served on.
    pub upgrade_failures: Counter,
    /// Processes before this one that finish their streams.
    pub predecessors: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

impl ReloadMetrics {
    /// Notes a configuration that is in force from now on.
    pub fn took(&self, generation: u64) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.loaded.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        self.last_reload_ok.set(1);
    }

    /// Counts a reload.
    pub fn reloaded(&self, taken: bool) {
        self.reloads.get_or_create(&Outcome { result: if taken { "taken" } else { "refused" } }).inc();
        self.last_reload_ok.set(i64::from(taken));
    }

    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("gateway_config_generation", "Configurations so far", self.generation.clone());
        registry.register_with_unit(
            "gateway_config_loaded_timestamp",
            "When the configuration in force was read, since 1970",
            Unit::Seconds,
            self.loaded.clone(),
        );
        registry.register(
            "gateway_config_last_reload_successful",
            "Whether the last reload was taken",
            self.last_reload_ok.clone(),
        );
        registry.register("gateway_config_reloads", "Reloads, by whether they were taken", self.reloads.clone());
        registry.register(
            "gateway_upgrade_failures",
            "Upgrades after which this process served on",
            self.upgrade_failures.clone(),
        );
        registry.register(
            "gateway_predecessors",
            "Processes before this one that finish their streams",
            self.predecessors.clone(),
        );
    }
}
