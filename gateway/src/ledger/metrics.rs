//! What the ledger tells about itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// `gateway_ledger_*`. All at zero without a ledger.
#[derive(Clone, Debug, Default)]
pub struct LedgerMetrics {
    /// Records booked by requests.
    pub booked: Counter,
    /// Records that were given up because memory for them was full. Must be 0.
    pub lost: Counter,
    /// Records that wait in memory: the disk is slow or full. An alarm if it stays above 0.
    pub waiting: Gauge,
    /// Writes to the spool or the database that failed. An alarm if it grows.
    pub write_errors: Counter,
    /// Bytes of segments that are not in the database yet.
    pub spooled_bytes: Gauge,
    /// Records that went into the database, those of earlier processes included.
    pub stored: Counter,
    /// Damaged or unreadable pieces found in segments. An alarm.
    pub damaged: Counter,
    /// When the database last took everything in, in seconds since 1970.
    pub last_commit: Gauge,
}

impl LedgerMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("gateway_ledger_booked", "Records of usage that requests booked", self.booked.clone());
        registry.register("gateway_ledger_lost", "Records of usage that were lost; must be 0", self.lost.clone());
        registry.register(
            "gateway_ledger_waiting",
            "Records of usage that wait in memory because the disk is slow or full",
            self.waiting.clone(),
        );
        registry.register(
            "gateway_ledger_write_errors",
            "Writes to the ledger's spool or database that failed",
            self.write_errors.clone(),
        );
        registry.register_with_unit(
            "gateway_ledger_spooled",
            "Records of usage that are on disk and not in the database yet",
            Unit::Bytes,
            self.spooled_bytes.clone(),
        );
        registry.register("gateway_ledger_stored", "Records of usage that went into the database", self.stored.clone());
        registry.register(
            "gateway_ledger_damaged",
            "Damaged or unreadable pieces of the ledger's spool",
            self.damaged.clone(),
        );
        registry.register_with_unit(
            "gateway_ledger_last_commit",
            "When the ledger's database last had everything, since 1970",
            Unit::Seconds,
            self.last_commit.clone(),
        );
    }
}
