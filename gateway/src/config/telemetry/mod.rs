//! `[telemetry]`: traces and metrics that are sent to a collector by OTLP. What the file does not say, OpenTelemetry's usual
//! variables do (`telemetry/usual.rs`).

mod usual;

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::certificates::{CaConfig, authorities};
use super::providers::{self, ProviderConfig};
use super::tree::At;
use super::units::{self, DurationText, PercentText, SecretText, SizeText};
use super::{Context, Environment, base_url};
use usual::Usual;

/// Between two pushes of the metrics.
const EVERY: Duration = Duration::from_secs(60);
/// How long a collector may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are kept of a prompt, and as many of an answer.
const MAX_CONTENT: usize = 32 << 10;
/// Every trace, in ten thousand.
const ALL: u32 = 10_000;

/// `[telemetry]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// The collector. Default: what OTEL_EXPORTER_OTLP_ENDPOINT and its kin say, and port 4318 (gRPC: 4317) of this machine.
    pub otlp: Option<Otlp>,
    /// `service.name`. Default: OTEL_SERVICE_NAME, or `"ai-gateway"`.
    pub service: Option<String>,
    /// More attributes of the resource, beside those of OTEL_RESOURCE_ATTRIBUTES.
    #[serde(default)]
    pub resource: BTreeMap<String, String>,
    /// Traces: a span for each request and one for each attempt. Without it none are made, unless the environment names a
    /// collector.
    pub traces: Option<Traces>,
    /// Metrics, the same as on `/metrics`, pushed. Without it they are not, unless the environment names a collector.
    pub metrics: Option<Push>,
}

/// `[telemetry] otlp` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// URL of the collector; with HTTP the part before `/v1/traces`.
    pub endpoint: Option<At<String>>,
    /// How it is spoken to. Default: `"http"`.
    pub protocol: Option<Protocol>,
    /// Headers of every export; values may be references like `api_key`.
    pub headers: Option<BTreeMap<String, At<SecretText>>>,
    /// PEM file with certificates to trust for it instead of the system's.
    pub ca: Option<At<String>>,
    /// How long it may take to answer. Default: `"10s"`.
    pub timeout: Option<At<DurationText>>,
}

/// `[telemetry] traces` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// The share of traces that begin here and are sent; a client's `traceparent` decides for its own. Default: `"100%"`.
    pub sample: Option<At<PercentText>>,
    /// Whose names the attributes have. Default: `"gen_ai"`.
    pub attributes: Option<Convention>,
    /// Names of providers that learn of the trace (`traceparent`, `tracestate`), or `"*"`. The others get these headers as the
    /// client sent them. Default: none.
    #[serde(default)]
    pub propagate: Vec<At<String>>,
    /// Whether prompts and answers are sent, too, without what looks like a secret or an address. Default: `false`.
    #[serde(default)]
    pub content: bool,
    /// Bytes of a prompt that are sent at most, and as many of an answer. Default: `"32KiB"`.
    pub max_content: Option<At<SizeText>>,
    /// More regular expressions of what is left out of prompts and answers.
    #[serde(default)]
    pub redact: Vec<At<String>>,
}

/// `[telemetry] metrics` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// How often. Default: OTEL_METRIC_EXPORT_INTERVAL, or `"60s"`.
    pub every: Option<At<DurationText>>,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Protobuf over HTTP.
    #[default]
    Http,
    /// gRPC.
    Grpc,
}

/// Whose names the attributes of spans have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Convention {
    /// OpenTelemetry's semantic conventions for generative AI.
    #[default]
    #[serde(rename = "gen_ai")]
    GenAi,
    /// OpenInference's, of Phoenix and Arize.
    OpenInference,
}

/// The resolved `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TelemetryConfig {
    /// Attributes of the resource, `service.name` among them; empty when nothing is sent.
    pub resource: BTreeMap<String, String>,
    /// Traces, and where they go.
    pub traces: Option<TracesConfig>,
    /// Pushed metrics, and where they go.
    pub metrics: Option<MetricsConfig>,
}

/// Which traces are made, and what is in them.
#[derive(Debug, Clone, PartialEq)]
pub struct TracesConfig {
    /// Where they go.
    pub to: CollectorConfig,
    /// The share of those that begin here, in ten thousand.
    pub sample: u32,
    /// Whether a client's `traceparent` decides for its own.
    pub follow: bool,
    /// Whose names the attributes have.
    pub attributes: Convention,
    /// Providers that learn of it; `*` is all.
    pub propagate: Vec<String>,
    /// What is taken of prompts and answers; `None`: nothing.
    pub content: Option<ContentConfig>,
}

/// What is taken of prompts and answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentConfig {
    /// Bytes of each.
    pub max: usize,
    /// What is left out beside the built-in patterns; valid expressions.
    pub redact: Vec<String>,
}

/// Metrics that are pushed.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsConfig {
    /// Where they go.
    pub to: CollectorConfig,
    /// How often.
    pub every: Duration,
}

/// A collector's part for one signal.
#[derive(Clone, PartialEq)]
pub struct CollectorConfig {
    /// Whether by TLS.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path of the signal; with gRPC that of the method.
    pub path: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Headers of every export. Values may be secrets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What its certificate is checked against; `None`: the system's.
    pub ca: Option<CaConfig>,
    /// How long it may take to answer.
    pub timeout: Duration,
}

impl std::fmt::Debug for CollectorConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CollectorConfig").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl TracesConfig {
    /// All traces, to nowhere.
    pub(crate) fn for_tests() -> Self {
        let usual = Usual::of(&super::tests::Fake::new(), &mut Vec::new());
        Self::by_default(usual.collector(Signal::Traces, None, Protocol::Http), &usual)
    }
}

impl TracesConfig {
    /// Whether `provider` learns of the trace.
    pub fn reaches(&self, provider: &str) -> bool {
        self.propagate.iter().any(|name| name == "*" || name == provider)
    }
}

impl TelemetryConfig {
    /// What the usual variables say by themselves; variables that cannot be used are named in `skipped`.
    pub(super) fn from_environment(env: &dyn Environment, skipped: &mut Vec<String>) -> Self {
        let usual = Usual::of(env, skipped);
        let to = |signal| usual.collector(signal, None, usual.protocol.unwrap_or_default());
        Self {
            traces: usual.turns_on(Signal::Traces).then(|| TracesConfig::by_default(to(Signal::Traces), &usual)),
            metrics: usual
                .turns_on(Signal::Metrics)
                .then(|| MetricsConfig { to: to(Signal::Metrics), every: usual.every.unwrap_or(EVERY) }),
            resource: usual.resource,
        }
    }
}

impl TracesConfig {
    fn by_default(to: CollectorConfig, usual: &Usual) -> Self {
        Self {
            to,
            sample: usual.sample.unwrap_or(ALL),
            follow: usual.follow,
            attributes: Convention::default(),
            propagate: Vec::new(),
            content: None,
        }
    }
}

impl Telemetry {
    pub(super) fn resolve(
        self,
        providers: &BTreeMap<String, Option<ProviderConfig>>,
        cx: &mut Context<'_>,
    ) -> TelemetryConfig {
        let mut skipped = Vec::new();
        let mut usual = Usual::of(cx.env, &mut skipped);
        for message in skipped {
            cx.report.warn(0..0, message, None);
        }
        let otlp = self.otlp.unwrap_or_default();
        let protocol = otlp.protocol.or(usual.protocol).unwrap_or_default();
        let base = otlp.endpoint.as_ref().and_then(|text| cx.parse(text, |text| base_url::parse(text)));
        let headers = otlp.headers.map(|headers| providers::headers(headers, &[], cx));
        let ca = otlp.ca.as_ref().and_then(|path| authorities(path, cx));
        let timeout = cx.duration(otlp.timeout.as_ref());
        let to = |signal| {
            let usual = usual.collector(signal, base.as_ref(), protocol);
            CollectorConfig {
                headers: headers.clone().unwrap_or(usual.headers),
                ca: ca.clone().or(usual.ca),
                timeout: timeout.unwrap_or(usual.timeout),
                ..usual
            }
        };
        let traces = match self.traces {
            Some(traces) => Some(traces.resolve(TracesConfig::by_default(to(Signal::Traces), &usual), providers, cx)),
            None => usual.turns_on(Signal::Traces).then(|| TracesConfig::by_default(to(Signal::Traces), &usual)),
        };
        let every = self.metrics.as_ref().and_then(|push| cx.duration(push.every.as_ref()));
        let pushes = self.metrics.is_some() || usual.turns_on(Signal::Metrics);
        let metrics =
            pushes.then(|| MetricsConfig { to: to(Signal::Metrics), every: every.or(usual.every).unwrap_or(EVERY) });
        usual.resource.extend(self.resource);
        if let Some(service) = self.service {
            usual.resource.insert("service.name".to_owned(), service);
        }
        TelemetryConfig { resource: usual.resource, traces, metrics }
    }
}

impl Traces {
    fn resolve(
        self,
        default: TracesConfig,
        providers: &BTreeMap<String, Option<ProviderConfig>>,
        cx: &mut Context<'_>,
    ) -> TracesConfig {
        for name in self.propagate.iter().filter(|name| name.value != "*" && !providers.contains_key(&name.value)) {
            let help = super::tree::instead(&name.value, &providers.keys().map(String::as_str).collect::<Vec<_>>());
            cx.report.error(name.span.clone(), format!("there is no provider `{}`", name.value), help);
        }
        for pattern in &self.redact {
            if let Err(error) = regex::Regex::new(&pattern.value) {
                // Its message has several lines with the pattern; the last says why.
                let cause = error.to_string();
                let cause = cause.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                cx.report.error(pattern.span.clone(), format!("this is not a regular expression: {cause}"), None);
            }
        }
        let max = self.max_content.as_ref().and_then(|text| cx.parse(text, |text| units::size(&text.0)));
        let redact = self.redact.into_iter().map(|pattern| pattern.value).collect();
        TracesConfig {
            sample: self
                .sample
                .and_then(|text| cx.parse(&text, |text| units::percent(&text.0)))
                .unwrap_or(default.sample),
            attributes: self.attributes.unwrap_or_default(),
            propagate: self.propagate.into_iter().map(|name| name.value).collect(),
            content: self.content.then(|| ContentConfig { max: max.unwrap_or(MAX_CONTENT), redact }),
            ..default
        }
    }
}
