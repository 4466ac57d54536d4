//! Metrics as OTLP has them, made of the text of `/metrics`.
//!
//! Names are such that a collector which writes them for Prometheus gives back those of `/metrics`: without unit and `_total`,
//! which it adds. The GenAI metrics have the names that OpenTelemetry gave them.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::telemetry::exposition::{Family, Sample, families};
use crate::telemetry::trace::{Attributes, nanos};

/// What OpenTelemetry writes with dots, as `/metrics` has it and as it is.
const DOTTED: [(&str, &str); 11] = [
    ("gen_ai_client_token_usage", "gen_ai.client.token.usage"),
    ("gen_ai_server_request_duration", "gen_ai.server.request.duration"),
    ("gen_ai_server_time_to_first_token", "gen_ai.server.time_to_first_token"),
    ("gen_ai_server_time_per_output_token", "gen_ai.server.time_per_output_token"),
    ("gen_ai_operation_name", "gen_ai.operation.name"),
    ("gen_ai_provider_name", "gen_ai.provider.name"),
    ("gen_ai_original_model", "gen_ai.original.model"),
    ("gen_ai_request_model", "gen_ai.request.model"),
    ("gen_ai_response_model", "gen_ai.response.model"),
    ("gen_ai_token_type", "gen_ai.token.type"),
    ("error_type", "error.type"),
];

pub(super) fn of(resource: Resource, scope: InstrumentationScope, metrics: Vec<Metric>) -> ResourceMetrics {
    let metrics = ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() };
    ResourceMetrics { resource: Some(resource), scope_metrics: vec![metrics], ..ResourceMetrics::default() }
}

/// All metrics of `text` that have a value at `now`; counters count since `started`.
pub(super) fn from_text(text: &str, started: SystemTime, now: SystemTime) -> Vec<Metric> {
    let span = (nanos(started), nanos(now));
    families(text).iter().filter(|family| !family.samples.is_empty()).map(|family| metric(family, span)).collect()
}

fn metric(family: &Family<'_>, span: (u64, u64)) -> Metric {
    let temporality = AggregationTemporality::Cumulative as i32;
    let numbers = || family.samples.iter().map(|sample| number(sample, span)).collect();
    let data = match family.kind {
        "counter" => {
            Data::Sum(Sum { data_points: numbers(), aggregation_temporality: temporality, is_monotonic: true })
        }
        "histogram" => {
            Data::Histogram(Histogram { data_points: histograms(family, span), aggregation_temporality: temporality })
        }
        _ => Data::Gauge(Gauge { data_points: numbers() }),
    };
    let name = if family.unit.is_empty() {
        family.name
    } else {
        family.name.strip_suffix(family.unit).and_then(|name| name.strip_suffix('_')).unwrap_or(family.name)
    };
    let name = if family.kind == "info" { Cow::Owned(format!("{name}_info")) } else { dotted(name).into() };
    let unit = match family.unit {
        "seconds" => "s",
        "bytes" => "By",
        other => other,
    };
    Metric {
        name: name.into_owned(),
        description: family.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn number(sample: &Sample<'_>, (start, now): (u64, u64)) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(&sample.labels),
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(Value::AsDouble(sample.value)),
        ..NumberDataPoint::default()
    }
}

/// The samples of one label set follow each other.
fn histograms(family: &Family<'_>, (start, now): (u64, u64)) -> Vec<HistogramDataPoint> {
    let mut points: Vec<HistogramDataPoint> = Vec::new();
    let mut labels_of_last = Vec::new();
    let mut below = 0;
    for sample in &family.samples {
        let labels: Vec<_> = sample.labels.iter().filter(|(name, _)| *name != "le").collect();
        if points.is_empty() || labels != labels_of_last {
            points.push(HistogramDataPoint {
                attributes: attributes(labels.iter().copied()),
                start_time_unix_nano: start,
                time_unix_nano: now,
                ..HistogramDataPoint::default()
            });
            labels_of_last = labels;
            below = 0;
        }
        let Some(point) = points.last_mut() else { continue };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let count = sample.value as u64;
        match sample.ending {
            "_sum" => point.sum = Some(sample.value),
            "_count" => point.count = count,
            "_bucket" => {
                let bound = sample.labels.iter().find(|(name, _)| *name == "le").map(|(_, bound)| &**bound);
                if let Some(bound) = bound.filter(|bound| *bound != "+Inf").and_then(|bound| bound.parse().ok()) {
                    point.explicit_bounds.push(bound);
                }
                // Those of the text count everything below, too.
                point.bucket_counts.push(count.saturating_sub(below));
                below = count;
            }
            _ => {}
        }
    }
    points
}

fn attributes<'a, 't: 'a>(labels: impl IntoIterator<Item = &'a (&'t str, Cow<'t, str>)>) -> Vec<KeyValue> {
    let mut attributes = Attributes::default();
    for (name, value) in labels {
        attributes.add(dotted(name), &**value);
    }
    attributes.into_inner()
}

fn dotted(name: &str) -> &str {
    DOTTED.iter().find(|(plain, _)| *plain == name).map_or(name, |(_, dotted)| dotted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn the_text_becomes_metrics() {
        let text = concat!(
            "# HELP gateway_requests Requests.\n# TYPE gateway_requests counter\n",
            "gateway_requests_total{status=\"200\"} 3\n",
            "# HELP gen_ai_server_request_duration_seconds D\n# TYPE gen_ai_server_request_duration_seconds histogram\n",
            "# UNIT gen_ai_server_request_duration_seconds seconds\n",
            "gen_ai_server_request_duration_seconds_sum{gen_ai_operation_name=\"chat\"} 1.5\n",
            "gen_ai_server_request_duration_seconds_count{gen_ai_operation_name=\"chat\"} 4\n",
            "gen_ai_server_request_duration_seconds_bucket{le=\"0.5\",gen_ai_operation_name=\"chat\"} 1\n",
            "gen_ai_server_request_duration_seconds_bucket{le=\"1.0\",gen_ai_operation_name=\"chat\"} 3\n",
            "gen_ai_server_request_duration_seconds_bucket{le=\"+Inf\",gen_ai_operation_name=\"chat\"} 4\n",
            "# HELP empty E\n# TYPE empty gauge\n# EOF\n",
        );
        let metrics = from_text(text, UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(1));
        let names: Vec<_> = metrics.iter().map(|metric| (&*metric.name, &*metric.unit)).collect();
        assert_eq!(names, [("gateway_requests", ""), ("gen_ai.server.request.duration", "s")]);
        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{metrics:?}") };
        assert!(sum.is_monotonic && sum.data_points[0].value == Some(Value::AsDouble(3.0)));
        let Some(Data::Histogram(histogram)) = &metrics[1].data else { panic!("{metrics:?}") };
        let [point] = &histogram.data_points[..] else { panic!("{histogram:?}") };
        assert_eq!((&point.explicit_bounds[..], &point.bucket_counts[..]), (&[0.5, 1.0][..], &[1, 2, 1][..]));
        assert_eq!((point.count, point.sum, point.time_unix_nano), (4, Some(1.5), 1_000_000_000));
        assert_eq!(point.attributes[0].key, "gen_ai.operation.name");
    }
}
