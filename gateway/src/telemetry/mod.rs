//! What the gateway tells about itself: the Prometheus metrics ([`Metrics`]) and the access log ([`AccessLog`]).
//!
//! The proxy fills one [`Finished`] per request when it is over, whatever happened, and gives it to
//! [`Telemetry::record`]. Neither side ever sees a prompt, an answer or a secret: the input types have no field for one.

mod access_log;
mod attempts;
mod finished;
mod interned;
mod line;
mod metrics;
mod plugins;
mod process;
mod series;
mod spend;
mod targets;

pub use access_log::AccessLog;
pub use finished::{Attempt, AttemptOutcome, Finish, Finished, RequestModel, Tokens, Usage};
pub use line::Line;
pub use metrics::{CONTENT_TYPE, InFlight, Metrics};
pub use plugins::{Hook, PluginStats, Plugins, Said};
pub use process::ProcessMetrics;

use std::sync::Arc;

/// The two receivers of finished requests, to be shared by every exchange.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Counters, gauges and histograms, read by `/metrics`.
    pub metrics: Arc<Metrics>,
    /// One JSON line per request.
    pub access_log: Arc<AccessLog>,
}

impl Telemetry {
    /// Metrics of their own registry, and an access log on standard output. Starts no thread yet.
    pub fn new() -> Self {
        let metrics = Arc::new(Metrics::new());
        let access_log = Arc::new(AccessLog::stdout(metrics.log_dropped.clone()));
        Self { metrics, access_log }
    }

    /// Counts and logs a request that is over. Call it exactly once for each.
    pub fn record(&self, line: &Line<'_>) {
        self.metrics.finished(line.finished);
        self.access_log.write(line);
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}
