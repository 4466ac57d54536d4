//! The GenAI metrics: names, units and buckets of the OpenTelemetry semantic conventions as Envoy AI Gateway exports
//! them to Prometheus, so that its dashboards work here. <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/>

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabel, EncodeLabelSet, EncodeMetric, LabelSetEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use ai_gateway_providers::Fault;

use super::finished::{Finished, Tokens, Usage};
use super::interned::Interned;

const TOKEN_BUCKETS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const DURATION_BUCKETS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_TOKEN_BUCKETS: [f64; 21] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0,
    60.0,
];
const PER_TOKEN_BUCKETS: [f64; 13] = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];

/// `gen_ai_token_type`, in the order of [`Series::tokens`].
const TOKEN_TYPES: [&str; 5] = ["input", "output", "cached_input", "cache_creation_input", "reasoning"];

/// The labels that all GenAI metrics share, borrowed from a finished request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Labels<'a> {
    pub(super) operation: &'static str,
    pub(super) provider: &'a str,
    /// As the client named it.
    pub(super) original_model: &'a str,
    /// As the provider was asked for it.
    pub(super) request_model: &'a str,
    pub(super) response_model: &'a str,
    pub(super) status: u16,
    pub(super) key: &'a str,
}

/// One label set and what was counted under it. Histograms appear with their first value.
#[derive(Debug)]
pub(super) struct Series {
    operation: &'static str,
    provider: Box<str>,
    original_model: Box<str>,
    request_model: Box<str>,
    response_model: Box<str>,
    status: u16,
    key: Box<str>,
    tokens: [OnceLock<Histogram>; TOKEN_TYPES.len()],
    succeeded: OnceLock<Histogram>,
    failed: OnceLock<Histogram>,
    first_token: OnceLock<Histogram>,
    per_token: OnceLock<Histogram>,
    requests: Arc<Requests>,
}

impl Series {
    pub(super) fn new(labels: Labels<'_>, requests: Arc<Requests>) -> Self {
        Self {
            operation: labels.operation,
            provider: labels.provider.into(),
            original_model: labels.original_model.into(),
            request_model: labels.request_model.into(),
            response_model: labels.response_model.into(),
            status: labels.status,
            key: labels.key.into(),
            tokens: Default::default(),
            succeeded: OnceLock::new(),
            failed: OnceLock::new(),
            first_token: OnceLock::new(),
            per_token: OnceLock::new(),
            requests,
        }
    }

    pub(super) fn labels(&self) -> Labels<'_> {
        Labels {
            operation: self.operation,
            provider: &self.provider,
            original_model: &self.original_model,
            request_model: &self.request_model,
            response_model: &self.response_model,
            status: self.status,
            key: &self.key,
        }
    }

    pub(super) fn record(&self, finished: &Finished<'_>) {
        self.requests.count(finished.fault);
        let duration = if finished.fault.is_some() { &self.failed } else { &self.succeeded };
        observe(duration, &DURATION_BUCKETS, finished.duration.as_secs_f64());

        let mut output = None;
        if let Usage::Reported(tokens) = finished.usage {
            let Tokens { input, cached_input, cache_creation_input, output: all_output, reasoning } = tokens;
            // In the order of TOKEN_TYPES.
            let counts = [input, all_output, cached_input, cache_creation_input, reasoning];
            for (histogram, count) in self.tokens.iter().zip(counts) {
                if let Some(count) = count {
                    observe(histogram, &TOKEN_BUCKETS, count as f64);
                }
            }
            output = all_output;
        }

        let Some(first_token) = finished.first_token.filter(|_| finished.stream) else { return };
        observe(&self.first_token, &FIRST_TOKEN_BUCKETS, first_token.as_secs_f64());
        if let Some(output) = output.filter(|&output| output > 1) {
            let rest = finished.duration.saturating_sub(first_token).as_secs_f64();
            observe(&self.per_token, &PER_TOKEN_BUCKETS, rest / (output - 1) as f64);
        }
    }
}

fn observe(histogram: &OnceLock<Histogram>, buckets: &'static [f64], value: f64) {
    histogram.get_or_init(|| Histogram::new(buckets.iter().copied())).observe(value);
}

/// `gateway_requests_total` of one operation and status, by fault.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) operation: &'static str,
    pub(super) status: u16,
    /// In the order of [`Requests::FAULTS`].
    counts: [AtomicU64; Self::FAULTS.len()],
}

impl Requests {
    const FAULTS: [&str; 5] =
        ["none", Fault::Caller.as_str(), Fault::Policy.as_str(), Fault::Upstream.as_str(), Fault::Gateway.as_str()];

    pub(super) fn new(operation: &'static str, status: u16) -> Self {
        Self { operation, status, counts: Default::default() }
    }

    fn count(&self, fault: Option<Fault>) {
        let [none, caller, policy, upstream, gateway] = &self.counts;
        let count = match fault {
            None => none,
            Some(Fault::Caller) => caller,
            Some(Fault::Policy) => policy,
            Some(Fault::Upstream) => upstream,
            Some(Fault::Gateway) => gateway,
        };
        count.fetch_add(1, Relaxed);
    }
}

/// Writes all GenAI series and the request counters when Prometheus asks.
#[derive(Debug)]
pub(super) struct SeriesCollector {
    pub(super) series: Arc<Interned<Series>>,
    pub(super) requests: Arc<Interned<Requests>>,
}

impl Collector for SeriesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.series.all();

        let token = Unit::Other("token".to_owned());
        encode_histograms(
            &mut encoder,
            ("gen_ai_client_token_usage", "Tokens of a request by type; input and output include the other types"),
            &token,
            all.iter().flat_map(|series| {
                let labels = series.labels();
                series.tokens.iter().zip(TOKEN_TYPES).map(move |(histogram, kind)| {
                    (SeriesLabels { labels, extra: Some(("gen_ai_token_type", kind)) }, histogram)
                })
            }),
        )?;
        encode_histograms(
            &mut encoder,
            ("gen_ai_server_request_duration", "From the request's first byte to the answer's end"),
            &Unit::Seconds,
            all.iter().flat_map(|series| {
                let labels = series.labels();
                let failed = SeriesLabels { labels, extra: Some(("error_type", "_OTHER")) };
                [(SeriesLabels { labels, extra: None }, &series.succeeded), (failed, &series.failed)]
            }),
        )?;
        encode_histograms(
            &mut encoder,
            ("gen_ai_server_time_to_first_token", "From the request's first byte to the first output of a stream"),
            &Unit::Seconds,
            all.iter().map(|series| (SeriesLabels { labels: series.labels(), extra: None }, &series.first_token)),
        )?;
        encode_histograms(
            &mut encoder,
            ("gen_ai_server_time_per_output_token", "Time per output token of a stream after its first"),
            &Unit::Seconds,
            all.iter().map(|series| (SeriesLabels { labels: series.labels(), extra: None }, &series.per_token)),
        )?;

        let mut family = encoder.encode_descriptor(
            "gateway_requests",
            "Requests that are over, by operation, HTTP status and who was to blame",
            None,
            MetricType::Counter,
        )?;
        for requests in self.requests.all() {
            for (count, fault) in requests.counts.iter().zip(Requests::FAULTS) {
                let count = count.load(Relaxed);
                if count > 0 {
                    let labels = ([("operation", requests.operation), ("fault", fault)], [("status", requests.status)]);
                    ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

fn encode_histograms<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&'static str, &'static str),
    unit: &Unit,
    series: impl Iterator<Item = (SeriesLabels<'a>, &'a OnceLock<Histogram>)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, Some(unit), MetricType::Histogram)?;
    for (labels, histogram) in series {
        if let Some(histogram) = histogram.get() {
            histogram.encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

struct SeriesLabels<'a> {
    labels: Labels<'a>,
    extra: Option<(&'static str, &'static str)>,
}

impl EncodeLabelSet for SeriesLabels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let Labels { operation, provider, original_model, request_model, response_model, status, key } = self.labels;
        ("gen_ai_operation_name", operation).encode(encoder.encode_label())?;
        ("gen_ai_provider_name", provider).encode(encoder.encode_label())?;
        ("gen_ai_original_model", original_model).encode(encoder.encode_label())?;
        ("gen_ai_request_model", request_model).encode(encoder.encode_label())?;
        ("gen_ai_response_model", response_model).encode(encoder.encode_label())?;
        ("status", status).encode(encoder.encode_label())?;
        ("key", key).encode(encoder.encode_label())?;
        if let Some(extra) = self.extra {
            extra.encode(encoder.encode_label())?;
        }
        Ok(())
    }
}
