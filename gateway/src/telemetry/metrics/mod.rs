//! The registry of all metrics, and what requests call to be counted.

use std::fmt;
use std::sync::Arc;

use ai_gateway_providers::Dialect;
use ai_gateway_providers::common::Losses;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::attempts::{AttemptsCollector, Target};
use super::connections::{Connections, ConnectionsCollector};
use super::finished::{Attempt, AttemptOutcome, Finished, RequestModel, Usage};
use super::interned::Interned;
use super::otlp::OtlpMetrics;
use super::plugins::{Plugins, PluginsCollector};
use super::process::ProcessCollector;
use super::reloads::ReloadMetrics;
use super::retries::{Retries, RetriesCollector};
use super::series::{Labels, Requests, Series, SeriesCollector};
use super::spend::{Spend, SpendCollector};
use super::targets::TargetsCollector;
use crate::cache::CacheMetrics;
use crate::clock::Time;
use crate::health::Health;
use crate::ledger::LedgerMetrics;
use crate::limits::{Limits, LimitsCollector};
use crate::net::dns::DnsMetrics;

/// The content type of [`Metrics::encode`]:
/// <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds. The gateway's own time is microseconds; what takes longer is a fault to see.
const OVERHEAD_BUCKETS: [f64; 13] =
    [10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3];

/// Label sets of the GenAI metrics. Past it the response model becomes `_other` …
const MAX_SERIES: usize = 1_000;
/// … and past this the models and the key do; what is left is bounded by the configuration.
const MAX_SERIES_COARSE: usize = 2_000;
/// `provider/model` names made up by clients that may become labels.
const MAX_DIRECT_MODELS: usize = 256;
/// Label sets of `gateway_attempts_total`; past it the model becomes `_other`.
const MAX_TARGETS: usize = 1_000;
/// A longer model name does not become a label.
const MAX_MODEL_LEN: usize = 128;

const UNKNOWN: &str = "_unknown";
const OTHER: &str = "_other";
const NONE: &str = "_none";

/// The labels of `gateway_mirrored_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Mirrored {
    provider: String,
    outcome: &'static str,
}

/// The labels of `gateway_dropped_fields_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DroppedField {
    field: String,
    from: &'static str,
    to: &'static str,
}

/// The label of `gateway_route_errors_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

/// The label of `gateway_auth_refused_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// All metrics of one gateway process. Recording neither locks for long nor allocates once a label set is known.
pub struct Metrics {
    registry: Registry,
    series: Arc<Interned<Series>>,
    requests: Arc<Interned<Requests>>,
    targets: Arc<Interned<Target>>,
    spends: Arc<Interned<Spend>>,
    connections: Arc<Interned<Connections>>,
    retries: Arc<Retries>,
    direct_models: Interned<String>,
    overhead: Histogram,
    usage_missing: Counter,
    in_flight: Gauge,
    /// `gateway_bytes_buffered`: request bytes held by all exchanges together.
    pub bytes_buffered: Gauge,
    /// `gateway_draining`: answers that are read after their clients have left.
    pub draining: Gauge,
    dropped_fields: Family<DroppedField, Counter>,
    mirrored: Family<Mirrored, Counter>,
    route_errors: Family<Route, Counter>,
    auth_refused: Family<Reason, Counter>,
    /// `gateway_log_dropped_total`: access log lines that were not written.
    pub log_dropped: Counter,
    /// `gateway_otlp_*`.
    pub(super) otlp: OtlpMetrics,
    /// `gateway_dns_*`, for the resolver.
    pub dns: DnsMetrics,
    /// `gateway_cache_*`, for the cache.
    pub cache: CacheMetrics,
    /// `gateway_ledger_*`, for the ledger.
    pub ledger: LedgerMetrics,
    /// `gateway_config_*` and what upgrades tell.
    pub process: ReloadMetrics,
    /// How the targets are.
    pub health: Arc<Health>,
    /// What clients may use, and have used.
    pub limits: Arc<Limits>,
    /// What plugins did.
    pub plugins: Arc<Plugins>,
}

impl Metrics {
    /// All metrics at zero, in a registry of their own.
    pub fn new() -> Self {
        Self::by(Time::default())
    }

    /// The same, of targets and limits that go by this time.
    pub fn by(time: Time) -> Self {
        let metrics = Self {
            registry: Registry::default(),
            series: Arc::new(Interned::new()),
            requests: Arc::new(Interned::new()),
            targets: Arc::new(Interned::new()),
            spends: Arc::new(Interned::new()),
            connections: Arc::new(Interned::new()),
            retries: Arc::default(),
            direct_models: Interned::new(),
            overhead: Histogram::new(OVERHEAD_BUCKETS),
            usage_missing: Counter::default(),
            in_flight: Gauge::default(),
            bytes_buffered: Gauge::default(),
            draining: Gauge::default(),
            dropped_fields: Family::default(),
            mirrored: Family::default(),
            route_errors: Family::default(),
            auth_refused: Family::default(),
            log_dropped: Counter::default(),
            otlp: OtlpMetrics::default(),
            dns: DnsMetrics::default(),
            cache: CacheMetrics::default(),
            ledger: LedgerMetrics::default(),
            process: ReloadMetrics::default(),
            health: Arc::new(Health::new(time.instant(), fastrand::u64(..))),
            limits: Arc::new(Limits::by(time)),
            plugins: Arc::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register_collector(Box::new(SeriesCollector {
            series: self.series.clone(),
            requests: self.requests.clone(),
        }));
        registry.register_collector(Box::new(AttemptsCollector(self.targets.clone())));
        registry.register_collector(Box::new(SpendCollector(self.spends.clone())));
        registry.register_collector(Box::new(ConnectionsCollector(self.connections.clone())));
        registry.register_collector(Box::new(RetriesCollector(self.retries.clone())));
        registry.register_collector(Box::new(ProcessCollector));
        registry.register_collector(Box::new(TargetsCollector(self.health.clone(), self.limits.time().clone())));
        registry.register_collector(Box::new(LimitsCollector(self.limits.clone())));
        registry.register_collector(Box::new(PluginsCollector(self.plugins.clone())));
        registry.register("gateway_in_flight", "Requests that are being served", self.in_flight.clone());
        registry.register_with_unit(
            "gateway_overhead",
            "Time of a request spent in the gateway itself",
            Unit::Seconds,
            self.overhead.clone(),
        );
        registry.register(
            "gateway_usage_missing",
            "Successful answers that reported no token usage though they should",
            self.usage_missing.clone(),
        );
        registry.register(
            "gateway_bytes_buffered",
            "Request bytes held by all requests together",
            self.bytes_buffered.clone(),
        );
        registry.register(
            "gateway_draining",
            "Answers that are read to their end after their clients have left",
            self.draining.clone(),
        );
        registry.register(
            "gateway_dropped_fields",
            "Fields that the API of the other side could not say, by name and dialects",
            self.dropped_fields.clone(),
        );
        registry.register(
            "gateway_mirrored",
            "Requests mirrored to another target, by outcome; `dropped`: too many at once, `limited`: its target's own limits",
            self.mirrored.clone(),
        );
        registry.register(
            "gateway_route_errors",
            "Requests on which the expression of a route failed, which therefore did not match",
            self.route_errors.clone(),
        );
        registry.register(
            "gateway_auth_refused",
            "Requests whose key or token was not taken, by why",
            self.auth_refused.clone(),
        );
        registry.register("gateway_log_dropped", "Access log lines that were not written", self.log_dropped.clone());
        registry.register("gateway_dns_lookups", "Name lookups made", self.dns.lookups.clone());
        registry.register("gateway_dns_failures", "Name lookups that failed", self.dns.failures.clone());
        registry.register(
            "gateway_dns_stale_served",
            "Expired addresses used because their refresh had failed",
            self.dns.stale_served.clone(),
        );
        self.cache.register(registry);
        self.ledger.register(registry);
        self.process.register(registry);
        self.otlp.register(registry);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("gateway_build", "The running version", version);
        self
    }

    /// Counts in `gateway_auth_refused_total` a request whose key or token was not taken.
    pub fn not_let_in(&self, reason: &'static str) {
        self.auth_refused.get_or_create(&Reason { reason }).inc();
    }

    /// Counts a request in `gateway_in_flight` until the guard is dropped.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// The number of [`InFlight`] guards now held.
    pub fn in_flight_count(&self) -> i64 {
        self.in_flight.get()
    }

    /// Counts an attempt that has ended. Call it once for each, when it ends.
    pub fn attempt(&self, attempt: &Attempt) {
        let Attempt { provider, outcome, .. } = attempt;
        let mut model: &str = &attempt.model;
        if attempt.direct && !self.direct_model_is_known(model, *outcome == AttemptOutcome::Ok) {
            model = OTHER;
        }
        self.targets.record(
            [(model, MAX_TARGETS), (OTHER, usize::MAX)].map(|(model, limit)| ((&**provider, model), limit)),
            |target, (provider, model)| target.is(provider, model),
            |(provider, model)| Target::new(provider, model),
            |target| target.count(*outcome),
        );
    }

    /// Counts an attempt that was made because the one before had ended with `reason`.
    pub fn retried(&self, reason: AttemptOutcome) {
        self.retries.count(reason);
    }

    /// Counts a connection for an attempt. `reused`: it was in the pool.
    pub fn connected(&self, provider: &str, reused: bool) {
        let ladder = [(provider, usize::MAX)];
        self.connections.record(ladder, Connections::is, Connections::new, |connections| connections.count(reused));
    }

    /// Counts upstream work that consumed something. `direct`: the client made the model's name up (`provider/model`). `cost` in
    /// pico-dollars; `None`: it has no price.
    pub fn spent(&self, provider: &str, model: &str, direct: bool, key: Option<&str>, cost: Option<u64>) {
        let model = if direct && !self.direct_model_is_known(model, true) { OTHER } else { model };
        let key = key.unwrap_or(NONE);
        let ladder = [
            ((provider, model, key), MAX_SERIES),
            ((provider, OTHER, key), MAX_SERIES_COARSE),
            ((provider, OTHER, OTHER), usize::MAX),
        ];
        self.spends.record(ladder, Spend::is, Spend::new, |spend| spend.count(cost));
    }

    /// Counts a request that is over. Call it exactly once for each.
    pub fn finished(&self, finished: &Finished<'_>) {
        self.overhead.observe(finished.overhead.as_secs_f64());
        if finished.usage == Usage::Missing {
            self.usage_missing.inc();
        }

        let labels = self.labels(finished);
        let coarse = Labels { response_model: OTHER, ..labels };
        let coarsest = Labels { original_model: OTHER, request_model: OTHER, key: OTHER, ..coarse };
        self.series.record(
            [(labels, MAX_SERIES), (coarse, MAX_SERIES_COARSE), (coarsest, usize::MAX)],
            |series, labels| series.labels() == labels,
            |labels| Series::new(labels, self.requests_of(labels.operation, labels.status)),
            |series| series.record(finished),
        );
    }

    /// The labels of a request, before any limit on their number.
    fn labels<'a>(&self, finished: &Finished<'a>) -> Labels<'a> {
        let upstream = finished.upstream_model.filter(|name| !name.is_empty()).unwrap_or(UNKNOWN);
        let (original_model, request_model) = match finished.request_model {
            RequestModel::Configured(name) => (name, upstream),
            RequestModel::Direct(name) if self.direct_model_is_known(name, finished.fault.is_none()) => {
                (name, upstream)
            }
            RequestModel::Direct(_) => (OTHER, OTHER),
            RequestModel::Unknown => (UNKNOWN, UNKNOWN),
        };
        let response_model = match finished.response_model {
            Some(name) if name.len() <= MAX_MODEL_LEN => name,
            Some(_) => OTHER,
            None => UNKNOWN,
        };
        Labels {
            operation: finished.operation,
            provider: finished.provider.unwrap_or(NONE),
            original_model,
            request_model,
            response_model,
            status: finished.status,
            key: finished.key.unwrap_or(NONE),
        }
    }

    /// Has this name been answered before; if it was answered now, it is known from now on, if there is room.
    fn direct_model_is_known(&self, name: &str, answered: bool) -> bool {
        let hash = self.direct_models.hash(name);
        let is_it = |known: &String| known == name;
        if self.direct_models.with(hash, is_it, |_| ()).is_some() {
            return true;
        }
        answered
            && name.len() <= MAX_MODEL_LEN
            && self.direct_models.get_or_make(hash, MAX_DIRECT_MODELS, is_it, || name.to_owned()).is_some()
    }

    fn requests_of(&self, operation: &'static str, status: u16) -> Arc<Requests> {
        let hash = self.requests.hash((operation, status));
        let is_it = |requests: &Requests| requests.operation == operation && requests.status == status;
        let make = || Requests::new(operation, status);
        self.requests.get_or_make(hash, usize::MAX, is_it, make).unwrap_or_else(|| Arc::new(make()))
    }

    /// Counts what a translation from one dialect to another could not carry. Names that clients chose are counted together.
    pub fn dropped(&self, losses: &Losses, from: Dialect, to: Dialect) {
        for loss in losses.iter() {
            let field = if loss.known { loss.field.clone() } else { OTHER.to_owned() };
            self.dropped_fields.get_or_create(&DroppedField { field, from: from.as_str(), to: to.as_str() }).inc();
        }
    }

    /// Counts a mirrored request. `outcome`: a word of [`AttemptOutcome`], `dropped`, `limited` or `resting`.
    pub fn mirrored(&self, provider: &str, outcome: &'static str) {
        self.mirrored.get_or_create(&Mirrored { provider: provider.to_owned(), outcome }).inc();
    }

    /// The expression of a route failed on a request. Names of routes come from the configuration only.
    pub fn route_broke(&self, route: &str) {
        self.route_errors.get_or_create(&Route { route: route.to_owned() }).inc();
    }

    /// The answer of `/metrics` for those who know OpenMetrics, of type [`CONTENT_TYPE`].
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// The same for everybody else, of type [`CLASSIC_CONTENT_TYPE`](super::CLASSIC_CONTENT_TYPE).
    pub fn encode_classic(&self) -> Result<String, fmt::Error> {
        self.encode().map(|text| super::exposition::classic(&text))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("in_flight", &self.in_flight.get()).finish_non_exhaustive()
    }
}

/// One request in `gateway_in_flight`; dropping it takes the request out again.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl InFlight {
    /// A guard that counts nowhere: for requests of the gateway's own.
    pub fn uncounted() -> Self {
        let gauge = Gauge::default();
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
