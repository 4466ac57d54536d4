//! A collector of OpenTelemetry: takes traces and metrics by OTLP, over HTTP and gRPC, with the official messages, and insists
//! on what the protocol demands. <https://opentelemetry.io/docs/specs/otlp/>

use crate::{Answer, Authority, Received, Step, Stub, StubFraming};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Map, Number, json};
use tokio::sync::Mutex;

/// How it is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Protobuf over HTTP/1.
    Http,
    /// gRPC.
    Grpc,
}

/// What was sent to it so far.
#[derive(Default)]
struct Got {
    spans: Vec<Span>,
    metrics: Vec<Metric>,
    resources: Vec<Resource>,
    /// Everything, as text.
    dump: String,
}

/// A running collector.
pub struct Collector {
    /// What listens.
    pub stub: Stub,
    got: Mutex<Got>,
}

impl Collector {
    /// Starts one that takes everything.
    pub async fn start() -> Self {
        Self::of(Stub::start(accept).await)
    }

    /// The same behind TLS, with this protocol of ALPN.
    pub async fn behind_tls(authority: &Authority, alpn: &str) -> Self {
        Self::of(Stub::tls(authority, &[alpn], accept).await)
    }

    /// One that listens at `stub`, which decides about the answers.
    pub fn of(stub: Stub) -> Self {
        Collector { stub, got: Mutex::default() }
    }

    /// The `otlp` line of `[telemetry]`.
    pub fn otlp(&self, protocol: Protocol) -> String {
        let word = if protocol == Protocol::Grpc { "grpc" } else { "http" };
        format!(
            "otlp = {{ endpoint = \"{}\", protocol = \"{word}\", headers = {{ x-tenant = \"t1\" }} }}\n",
            self.stub.origin()
        )
    }

    /// All spans, once `enough` says that they are all.
    pub async fn spans(&self, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let mut got = self.got.lock().await;
        while !enough(&got.spans) {
            got.take(&self.stub.next().await);
        }
        got.spans.clone()
    }

    /// The spans of the request with this `x-request-id`: its own first, then those of its attempts by number.
    pub async fn trace_of(&self, request_id: &str) -> Vec<Span> {
        let own = |span: &Span| text_of(span, "gateway.request_id") == request_id;
        let of = |spans: &[Span]| -> Option<Vec<Span>> {
            let root = spans.iter().find(|span| own(span))?.clone();
            let attempts = attributes(&root.attributes)["gateway.attempts"].as_u64()? as usize;
            let children = spans.iter().filter(|span| span.parent_span_id == root.span_id).cloned();
            let all: Vec<Span> = std::iter::once(root.clone()).chain(children).collect();
            (all.len() > attempts).then_some(all)
        };
        let spans = self.spans(|spans| of(spans).is_some()).await;
        of(&spans).expect("just seen")
    }

    /// The metrics of the first push that holds all of `names`.
    pub async fn metrics(&self, names: &[&str]) -> Vec<Metric> {
        let mut got = self.got.lock().await;
        loop {
            if names.iter().all(|name| got.metrics.iter().any(|metric| metric.name == *name)) {
                return got.metrics.clone();
            }
            got.metrics.clear();
            got.take(&self.stub.next().await);
        }
    }

    /// The resources that were named so far.
    pub async fn resources(&self) -> Vec<Map<String, serde_json::Value>> {
        self.got.lock().await.resources.iter().map(|resource| attributes(&resource.attributes)).collect()
    }

    /// Everything that came so far, as text to be searched.
    pub async fn dump(&self) -> String {
        let mut dump = String::new();
        for received in self.stub.received() {
            let mut all = Got::default();
            all.take(&received);
            dump.push_str(&all.dump);
        }
        dump
    }
}

impl Got {
    fn take(&mut self, received: &Received) {
        match message(received) {
            Signal::Traces(request) => {
                self.dump.push_str(&format!("{request:?}\n"));
                for of_resource in request.resource_spans {
                    self.resources.extend(of_resource.resource);
                    self.spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
                }
            }
            Signal::Metrics(request) => {
                self.dump.push_str(&format!("{request:?}\n"));
                for of_resource in request.resource_metrics {
                    self.resources.extend(of_resource.resource);
                    self.metrics.extend(of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics));
                }
            }
        }
    }
}

enum Signal {
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
}

/// Reads an export, strictly.
fn message(received: &Received) -> Signal {
    assert_eq!((received.method.as_str(), received.complete), ("POST", true), "{received:?}");
    assert_eq!(received.header("x-tenant"), "t1", "{received:?}");
    let grpc = received.header("content-type") == "application/grpc";
    let body = if grpc {
        assert!(received.http2 && received.header("te") == "trailers", "{received:?}");
        let (head, body) = received.body.split_at(5);
        assert_eq!((head[0], u32::from_be_bytes(head[1..].try_into().expect("four"))), (0, body.len() as u32));
        body
    } else {
        assert_eq!(received.header("content-type"), "application/x-protobuf");
        &received.body[..]
    };
    match (&*received.target, grpc) {
        ("/v1/traces", false) | ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", true) => {
            Signal::Traces(ExportTraceServiceRequest::decode(body).expect("traces"))
        }
        ("/v1/metrics", false) | ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", true) => {
            Signal::Metrics(ExportMetricsServiceRequest::decode(body).expect("metrics"))
        }
        other => panic!("no such path: {other:?}"),
    }
}

/// The answer of a collector that is content: an empty message.
fn accept(received: &Received) -> Answer {
    if received.http2 {
        let mut answer = Answer::status(200).header("content-type", "application/grpc");
        answer.framing = StubFraming::Chunked;
        return answer.step(Step::Send(Bytes::from_static(&[0; 5]))).step(Step::GrpcStatus(0));
    }
    Answer::status(200).header("content-type", "application/x-protobuf")
}

/// Attributes as JSON.
pub fn attributes(list: &[KeyValue]) -> Map<String, serde_json::Value> {
    let value = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => json!(text),
        Some(Value::BoolValue(value)) => json!(value),
        Some(Value::IntValue(number)) => json!(number),
        Some(Value::DoubleValue(number)) => Number::from_f64(*number).map_or(json!(null), Into::into),
        other => panic!("no attribute of ours: {other:?}"),
    };
    let mut all = Map::new();
    for pair in list {
        assert!(all.insert(pair.key.clone(), value(&pair.value)).is_none(), "{} twice", pair.key);
    }
    all
}

/// An attribute that is text; empty when absent.
pub fn text_of(span: &Span, name: &str) -> String {
    attributes(&span.attributes).get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}
