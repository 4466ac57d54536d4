//! What the gateway tells about itself: metrics ([`Metrics`], at `/metrics` and pushed by `otlp`), the access log
//! ([`AccessLog`]) and traces ([`trace`]).
//!
//! The proxy fills one [`Finished`] per request when it is over, whatever happened, and gives it to
//! [`Telemetry::record`]; of a sampled trace it makes a [`trace::Record`], too. Metrics and access log never see a prompt, an
//! answer or a secret: their types have no field for one.

mod access_log;
mod attempts;
mod connections;
mod exposition;
mod finished;
mod interned;
mod line;
mod metrics;
mod object;
mod otlp;
mod plugins;
mod process;
mod reloads;
mod retries;
mod series;
mod service;
mod spend;
mod targets;
pub mod trace;

pub use access_log::{AccessLog, Opened as OpenedLog};
pub use exposition::CLASSIC_CONTENT_TYPE;
pub use finished::{Attempt, AttemptOutcome, Finish, Finished, RequestModel, Tokens, Usage};
pub use line::{Line, short};
pub use metrics::{CONTENT_TYPE, InFlight, Metrics};
pub use plugins::{Hook, PluginStats, Plugins, Said};
pub use service::TelemetryService;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;
use trace::Traces;

/// The receivers of finished requests, to be shared by every exchange.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Counters, gauges and histograms, read by `/metrics`.
    pub metrics: Arc<Metrics>,
    /// One JSON line per request.
    pub access_log: Arc<AccessLog>,
    /// Traces on their way to a collector.
    pub traces: Arc<Traces>,
}

impl Telemetry {
    /// Metrics of their own registry, and an access log on standard output. Starts no thread yet.
    pub fn new() -> Self {
        Self::by(Time::default())
    }

    /// The same, with what is counted by this time.
    pub fn by(time: Time) -> Self {
        let metrics = Arc::new(Metrics::by(time));
        let access_log = Arc::new(AccessLog::stdout(metrics.log_dropped.clone()));
        let traces = Arc::new(Traces::new(metrics.otlp.clone()));
        Self { metrics, access_log, traces }
    }

    /// Writes what waits to its end, at most `limit` for each of log and collector. Blocks its thread: call it at shutdown.
    pub fn flush(&self, limit: Duration) {
        self.access_log.flush(limit);
        self.traces.flush(limit);
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
