//! What leaves for a collector by OTLP (<https://opentelemetry.io/docs/specs/otlp/>): the spans of finished requests, and the
//! metrics of `/metrics`.
//!
//! Everything happens in the background ([`Exporter`]). It looks at the configuration in force each time, so that a
//! reload needs no word to it. A collector that is slow, gone or mad costs what waits for it, which is bounded and counted.

mod metrics;
mod send;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use prost::Message;

use super::Telemetry;
use super::trace::{Attributes, Record, Redactor, Waiting, spans};
use crate::config::{CollectorConfig, ContentConfig, TelemetryConfig, TracesConfig};
use crate::net::dns::Resolver;
use crate::snapshot::Snapshot;
use send::{Failed, Sender};

/// How long a trace waits for others to go with it.
const LINGER: Duration = Duration::from_millis(500);
/// Traces of one batch at most …
const MOST: usize = 512;
/// … and bytes of one message: gRPC servers take 4 MiB.
const MAX_MESSAGE: usize = 2 << 20;
/// Before another try; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Tries of one batch.
const TRIES: u32 = 4;
/// Longest wait that a collector may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often the configuration in force is looked at while no metrics are pushed.
const TICK: Duration = Duration::from_secs(1);
/// Tells the series of this process from those of others, also from those of the one that it takes over from.
/// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/service/#service-instance-id>
const INSTANCE: &str = "service.instance.id";
static INSTANCE_ID: LazyLock<String> = LazyLock::new(random_uuid);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSignal {
    signal: &'static str,
}

/// `gateway_otlp_*`: what became of what was to be sent.
#[derive(Clone, Debug, Default)]
pub(super) struct OtlpMetrics {
    sent: Counter,
    dropped: Family<Reason, Counter>,
    failed: Family<OfSignal, Counter>,
}

impl OtlpMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("gateway_otlp_traces_sent", "Traces that a collector has taken", self.sent.clone());
        registry.register("gateway_otlp_traces_dropped", "Traces that were lost, by reason", self.dropped.clone());
        registry.register("gateway_otlp_failures", "Exports that failed, by signal", self.failed.clone());
    }

    pub(super) fn dropped_traces(&self, reason: &'static str, count: usize) {
        self.dropped.get_or_create(&Reason { reason }).inc_by(count as u64);
    }
}

/// Sends traces and metrics, in the background.
pub(super) struct Exporter {
    telemetry: Arc<Telemetry>,
    current: Arc<ArcSwap<Snapshot>>,
    resolver: Arc<Resolver>,
    /// Since when the counters count.
    started: SystemTime,
}

impl Exporter {
    /// Sends what `telemetry` collects wherever `current` says.
    pub(super) fn new(telemetry: Arc<Telemetry>, current: Arc<ArcSwap<Snapshot>>, resolver: Arc<Resolver>) -> Self {
        Self { telemetry, current, resolver, started: SystemTime::now() }
    }

    /// Runs until its runtime ends.
    pub(super) async fn run(&self) {
        let Some(waiting) = self.telemetry.traces.take_waiting() else { return };
        tokio::join!(self.send_traces(waiting), self.push_metrics());
    }

    async fn send_traces(&self, mut waiting: Waiting) {
        let mut way = Way::new("traces");
        // What requests captured is told as the configuration in force says, which may be: not at all.
        let mut made_of: Option<ContentConfig> = None;
        let mut redactor: Option<Redactor> = None;
        loop {
            let batch = waiting.next(LINGER, MOST).await;
            if batch.is_empty() {
                return;
            }
            let snapshot = self.current.load_full();
            match &snapshot.telemetry.traces {
                None => self.telemetry.metrics.otlp.dropped_traces("off", batch.len()),
                Some(config) => {
                    if made_of != config.content {
                        made_of.clone_from(&config.content);
                        redactor = made_of.as_ref().and_then(|content| Redactor::new(&content.redact));
                    }
                    self.send_batch(&batch, config, &snapshot.telemetry, redactor.as_ref(), &mut way, &waiting).await;
                }
            }
            waiting.done(&batch);
        }
    }

    async fn send_batch(
        &self,
        batch: &[Record],
        config: &TracesConfig,
        telemetry: &TelemetryConfig,
        redactor: Option<&Redactor>,
        way: &mut Way,
        waiting: &Waiting,
    ) {
        let metrics = &self.telemetry.metrics.otlp;
        let mut rest = batch.iter().peekable();
        while rest.peek().is_some() {
            let (mut all, mut count, mut size) = (Vec::new(), 0, 0);
            for record in rest.by_ref() {
                let made = spans(record, config.attributes, redactor);
                size += made.iter().map(Message::encoded_len).sum::<usize>();
                count += 1;
                all.extend(made);
                if size > MAX_MESSAGE / 2 {
                    break;
                }
            }
            let total = all.len();
            let message = traces_message(all, telemetry);
            let mut wait = FIRST_WAIT;
            let mut tries = 1;
            let outcome = loop {
                match way.send(&config.to, message.clone(), &self.resolver).await {
                    Err(Failed::Later { after, cause }) if tries < TRIES && !waiting.is_hurried() => {
                        way.complain(&config.to, &cause);
                        metrics.failed.get_or_create(&OfSignal { signal: "traces" }).inc();
                        tokio::time::sleep(after.map_or(wait, |after| after.min(LONGEST_WAIT))).await;
                        wait *= 2;
                        tries += 1;
                    }
                    outcome => break outcome,
                }
            };
            match outcome {
                Ok(answer) => {
                    let rejected = rejected_spans(&answer).min(total);
                    if rejected > 0 {
                        way.complain(&config.to, "it rejects spans");
                        metrics.dropped_traces("rejected", rejected.min(count));
                    } else {
                        way.delivered(&config.to);
                    }
                    metrics.sent.inc_by((count - rejected.min(count)) as u64);
                }
                Err(failed) => {
                    let (cause, reason) = match failed {
                        Failed::Later { cause, .. } => (cause, "unreachable"),
                        Failed::Refused(cause) => (cause, "refused"),
                    };
                    way.complain(&config.to, &cause);
                    metrics.failed.get_or_create(&OfSignal { signal: "traces" }).inc();
                    metrics.dropped_traces(reason, count);
                }
            }
        }
    }

    async fn push_metrics(&self) {
        let mut way = Way::new("metrics");
        let mut hurry = self.telemetry.traces.hurry();
        loop {
            let every = self.current.load().telemetry.metrics.as_ref().map(|config| config.every);
            self.telemetry.traces.set_metrics_due(every.is_some());
            let hurried = tokio::select! {
                () = tokio::time::sleep(every.unwrap_or(TICK)) => false,
                changed = hurry.changed() => { if changed.is_err() { return } true }
            };
            let snapshot = self.current.load_full();
            if let (Some(_), Some(config)) = (every, &snapshot.telemetry.metrics)
                && let Ok(text) = self.telemetry.metrics.encode()
            {
                let all = metrics::from_text(&text, self.started, SystemTime::now());
                let request = ExportMetricsServiceRequest {
                    resource_metrics: vec![metrics::of(resource(&snapshot.telemetry), scope(), all)],
                };
                match way.send(&config.to, request.encode_to_vec().into(), &self.resolver).await {
                    Ok(answer) => {
                        if rejected_points(&answer) > 0 {
                            way.complain(&config.to, "it rejects data points");
                        } else {
                            way.delivered(&config.to);
                        }
                    }
                    Err(Failed::Later { cause, .. } | Failed::Refused(cause)) => {
                        way.complain(&config.to, &cause);
                        self.telemetry.metrics.otlp.failed.get_or_create(&OfSignal { signal: "metrics" }).inc();
                    }
                }
            }
            if hurried {
                return self.telemetry.traces.set_metrics_due(false);
            }
        }
    }
}

/// The way to one collector, and whether it was told that there is none.
struct Way {
    signal: &'static str,
    sender: Option<(CollectorConfig, Sender)>,
    failing: bool,
}

impl Way {
    fn new(signal: &'static str) -> Self {
        Self { signal, sender: None, failing: false }
    }

    async fn send(&mut self, to: &CollectorConfig, message: Bytes, resolver: &Resolver) -> Result<Bytes, Failed> {
        if self.sender.as_ref().is_none_or(|(made_for, _)| made_for != to) {
            self.sender = Some((to.clone(), Sender::new(to)));
        }
        match &self.sender {
            Some((to, sender)) => sender.send(to, message, resolver).await,
            None => Err(Failed::Refused("there is no sender".to_owned())),
        }
    }

    /// Tells the operator once, until it works again.
    fn complain(&mut self, to: &CollectorConfig, cause: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            log::warn!("{} do not reach the collector at {}:{}: {cause}", self.signal, to.host, to.port);
        }
    }

    fn delivered(&mut self, to: &CollectorConfig) {
        if std::mem::take(&mut self.failing) {
            log::warn!("{} reach the collector at {}:{} again", self.signal, to.host, to.port);
        }
    }
}

fn traces_message(spans: Vec<Span>, telemetry: &TelemetryConfig) -> Bytes {
    let spans = ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() };
    let spans =
        ResourceSpans { resource: Some(resource(telemetry)), scope_spans: vec![spans], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![spans] }.encode_to_vec().into()
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "ai-gateway".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

fn resource(telemetry: &TelemetryConfig) -> Resource {
    let mut attributes = Attributes::default();
    for (name, value) in &telemetry.resource {
        attributes.add(name, &**value);
    }
    if !telemetry.resource.contains_key(INSTANCE) {
        attributes.add(INSTANCE, INSTANCE_ID.as_str());
    }
    attributes
        .add("service.version", env!("CARGO_PKG_VERSION"))
        .add("process.pid", u64::from(std::process::id()))
        .add("telemetry.sdk.name", "ai-gateway")
        .add("telemetry.sdk.language", "rust");
    Resource { attributes: attributes.into_inner(), ..Resource::default() }
}

/// RFC 9562 §5.4.
fn random_uuid() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76 | 0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    let [second, third, fourth] = [80, 64, 48].map(|place| bits >> place & 0xffff);
    format!("{:08x}-{second:04x}-{third:04x}-{fourth:04x}-{:012x}", bits >> 96, bits & 0xffff_ffff_ffff)
}

/// Spans that the collector says it has not taken. What cannot be read says nothing.
fn rejected_spans(answer: &[u8]) -> usize {
    let answer = ExportTraceServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
    answer.and_then(|partial| usize::try_from(partial.rejected_spans).ok()).unwrap_or(0)
}

fn rejected_points(answer: &[u8]) -> i64 {
    let answer = ExportMetricsServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
    answer.map_or(0, |partial| partial.rejected_data_points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_an_id_of_its_own_unless_it_is_given_one() {
        let id = |config: &TelemetryConfig| {
            let values = resource(config).attributes.into_iter().filter(|attribute| attribute.key == INSTANCE);
            values.map(|attribute| format!("{:?}", attribute.value)).collect::<Vec<_>>()
        };
        let mut config = TelemetryConfig::default();
        let made = id(&config);
        assert_eq!((made.len(), &id(&config)), (1, &made), "one for the process");
        assert!(made[0].contains(INSTANCE_ID.as_str()));
        config.resource.insert(INSTANCE.to_owned(), "mine".to_owned());
        let given = id(&config);
        assert!(given.len() == 1 && given[0].contains("mine"), "{given:?}");
    }

    #[test]
    fn a_random_uuid_is_of_version_4() {
        let id = random_uuid();
        let parts: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        assert!(id.as_bytes()[14] == b'4' && b"89ab".contains(&id.as_bytes()[19]), "{id}");
    }
}
