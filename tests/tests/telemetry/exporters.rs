//! Metrics that are pushed, and collectors that are not what they should be.

use super::{good_stream, two_targets};
use ai_gateway_tests::client::{Request, exchange};
use ai_gateway_tests::unreachable::{Hanging, Refusing};
use ai_gateway_tests::{Answer, Authority, Collector, Gateway, Protocol, Step, Stub, StubFraming, attributes, bodies};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn metrics_are_pushed_with_the_numbers_of_the_page() {
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let collector = Collector::start().await;
        let one = Stub::always(Answer::json(500, "{}")).await;
        let two = Stub::always(good_stream()).await;
        let config = two_targets(&one.origin(), &two.origin(), "");
        // Longer than the test: what is seen is the push at the end.
        let config = format!("{config}[telemetry]\n{}metrics = {{ every = \"10m\" }}\n", collector.otlp(protocol));
        let mut gateway = Gateway::start(&config).await;
        for _ in 0..3 {
            let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat_stream("m"))).await;
            assert_eq!(reply.status, 200);
        }
        gateway.terminate();
        let names =
            ["gen_ai.client.token.usage", "gen_ai.server.request.duration", "gateway_requests", "process_open_fds"];
        let (metrics, ended) = tokio::join!(collector.metrics(&names), gateway.ended());
        assert_eq!(ended, Some(0));
        let find =
            |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}"));

        let usage = find("gen_ai.client.token.usage");
        assert_eq!((&*usage.unit, usage.description.is_empty()), ("token", false));
        let Some(Data::Histogram(histogram)) = &usage.data else { panic!("{usage:?}") };
        assert_eq!(histogram.aggregation_temporality, 2, "cumulative");
        let output: Vec<_> = histogram
            .data_points
            .iter()
            .filter(|point| attributes(&point.attributes)["gen_ai.token.type"] == "output")
            .collect();
        let [point] = &output[..] else { panic!("one series: {output:?}") };
        assert_eq!((point.count, point.sum), (3, Some(15.0)));
        assert_eq!(point.explicit_bounds[..4], [1.0, 4.0, 16.0, 64.0]);
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!((point.bucket_counts[2], point.bucket_counts.iter().sum::<u64>()), (3, 3));
        assert!(0 < point.start_time_unix_nano && point.start_time_unix_nano < point.time_unix_nano);
        let labels = attributes(&point.attributes);
        for (name, value) in [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "two"),
            ("gen_ai.original.model", "m"),
            ("gen_ai.request.model", "2"),
            ("gen_ai.response.model", "upstream-model"),
        ] {
            assert_eq!(labels[name], json!(value), "{labels:?}");
        }

        let requests = find("gateway_requests");
        let Some(Data::Sum(sum)) = &requests.data else { panic!("{requests:?}") };
        assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
        assert_eq!(sum.data_points.iter().map(|point| point.value).collect::<Vec<_>>(), [Some(Value::AsDouble(3.0))]);
        let Some(Data::Gauge(_)) = &find("process_open_fds").data else { panic!("a gauge") };
        assert_eq!(find("gen_ai.server.request.duration").unit, "s");
        assert_eq!(collector.resources().await[0]["service.name"], json!("ai-gateway"));
    }
}

#[tokio::test]
async fn a_collector_behind_tls_is_verified() {
    let authority = Authority::new();
    let other = Authority::new();
    for (protocol, alpn) in [(Protocol::Http, "http/1.1"), (Protocol::Grpc, "h2")] {
        let collector = Collector::behind_tls(&authority, alpn).await;
        let one = Stub::always(Answer::json(200, bodies::chat_answer("hi"))).await;
        let config = |ca: &str| {
            let otlp = collector.otlp(protocol).replace("headers", &format!("ca = \"{ca}\", headers"));
            format!("{}[telemetry]\n{otlp}traces = {{}}\n", bodies::openai_provider("one", &one.origin()))
        };
        let request = Request::post("/v1/chat/completions", bodies::chat("one/x"));
        let gateway = Gateway::start(&config(&authority.file())).await;
        let reply = exchange(gateway.addr, &request).await;
        assert_eq!(collector.trace_of(reply.header("x-request-id")).await.len(), 2);

        let mut stranger = Gateway::start(&config(&other.file())).await;
        assert_eq!(exchange(stranger.addr, &request).await.status, 200);
        stranger.terminate();
        stranger.ended().await;
        assert_eq!(collector.stub.count(), 1);
        let said = stranger.output().1.join("\n");
        assert!(said.contains("traces do not reach the collector at 127.0.0.1"), "{said}");
    }
}

/// Collectors that refuse, hang, are slow, lie, or are something else.
async fn bad_collectors() -> Vec<(&'static str, Protocol, Stub)> {
    let html = || Answer::status(200).header("content-type", "text/html").step(Step::Send("<html>".into()));
    let endless = Answer::sse([vec![b'x'; 300_000]]).step(Step::Stall);
    let mut rejecting = Answer::status(200).header("content-type", "application/x-protobuf");
    // partial_success { rejected_spans: 2^40, error_message: "no" }
    rejecting = rejecting.step(Step::Send(b"\x0a\x0b\x08\x80\x80\x80\x80\x80\x20\x12\x02no".to_vec().into()));
    let mut grpc_error = Answer::status(200).header("content-type", "application/grpc").step(Step::GrpcStatus(14));
    grpc_error.framing = StubFraming::Chunked;
    let retry = Answer::json(429, "{}").header("retry-after", "86400");
    vec![
        ("not HTTP", Protocol::Http, Stub::always(Answer::raw("\0\x01nonsense\r\n\r\n")).await),
        ("404", Protocol::Http, Stub::always(Answer::json(404, "{}")).await),
        ("429 for a day", Protocol::Http, Stub::always(retry).await),
        ("a web page", Protocol::Http, Stub::always(html()).await),
        ("never ends", Protocol::Http, Stub::always(Answer::status(200).step(Step::Stall)).await),
        ("never begins", Protocol::Http, Stub::always(Answer::json(200, "").after(&Default::default())).await),
        ("an endless answer", Protocol::Http, Stub::always(endless).await),
        ("rejects more than there is", Protocol::Http, Stub::always(rejecting).await),
        ("gRPC of HTTP/1", Protocol::Grpc, Stub::always(Answer::raw("HTTP/1.1 400 Bad Request\r\n\r\n")).await),
        ("gRPC without status", Protocol::Grpc, Stub::always(html()).await),
        ("gRPC unavailable", Protocol::Grpc, Stub::always(grpc_error).await),
    ]
}

#[tokio::test]
async fn requests_know_nothing_of_a_bad_collector() {
    let provider = Stub::always(Answer::json(200, bodies::chat_answer("hi"))).await;
    let (refusing, hanging) = (Refusing::new(), Hanging::new().await);
    let bad = bad_collectors().await;
    let mut places: Vec<(&str, Protocol, String)> =
        bad.iter().map(|(what, protocol, stub)| (*what, *protocol, stub.origin())).collect();
    places.push(("refuses connections", Protocol::Http, format!("http://{}", refusing.addr)));
    places.push(("hangs", Protocol::Grpc, format!("http://{}", hanging.addr)));
    places.push(("has no name", Protocol::Http, "http://collector.invalid:4318".to_owned()));
    let one_by_one = places.into_iter().map(|(what, protocol, place)| {
        let config = bodies::openai_provider("one", &provider.origin());
        async move {
            let word = if protocol == Protocol::Grpc { "grpc" } else { "http" };
            let otlp = format!("otlp = {{ endpoint = \"{place}\", protocol = \"{word}\", timeout = \"300ms\" }}");
            let config = format!("{config}[telemetry]\n{otlp}\ntraces = {{}}\nmetrics = {{ every = \"100ms\" }}\n");
            let begun = Instant::now();
            let mut gateway = Gateway::start(&config).await;
            assert!(begun.elapsed() < Duration::from_secs(10), "{what}: starts late");
            for _ in 0..20 {
                let request = Request::post("/v1/chat/completions", bodies::chat("one/x"));
                assert_eq!(exchange(gateway.addr, &request).await.status, 200, "{what}");
            }
            gateway.assert_healthy().await;
            gateway.at_rest().await;
            assert_eq!(gateway.counted("gateway_requests_total", "").await, 20, "{what}");
            // Leaving waits neither.
            let begun = Instant::now();
            gateway.terminate();
            assert_eq!(gateway.ended().await, Some(0), "{what}");
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(8), "{what}: it takes {took:?} to leave");
            let said = gateway.output().1;
            let complaints = said.iter().filter(|line| line.contains("collector at")).count();
            let about_traces = said.iter().any(|line| line.contains("traces do not reach the collector"));
            // The header is an answer.
            let content = ["never ends", "an endless answer"].contains(&what);
            assert!(content || about_traces, "{what}: {said:#?}");
            assert!(complaints <= 6, "{what}: {said:#?}");
        }
    });
    // A few at a time: there are many.
    use futures::StreamExt;
    futures::stream::iter(one_by_one).buffer_unordered(4).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_and_counted() {
    let gate = ai_gateway_tests::Gate::new();
    let waits = Answer::status(200).header("content-type", "application/x-protobuf").after(&gate);
    let collector = Stub::always(waits).await;
    // Refused without any attempt: quick to make.
    let otlp = format!("otlp = {{ endpoint = \"{}\", timeout = \"1m\" }}", collector.origin());
    let config = format!(
        "{}[telemetry]\n{otlp}\ntraces = {{}}\n[access_log]\nto = \"off\"\n",
        bodies::openai_provider("one", "http://127.0.0.1:9")
    );
    let gateway = Gateway::start(&config).await;
    let request = Request::post("/v1/chat/completions", bodies::chat("nobody"));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (addr, request) = (gateway.addr, request.clone());
        clients.push(tokio::spawn(async move {
            let mut client = ai_gateway_tests::client::H1::connect(addr).await;
            for _ in 0..1_500 {
                assert_eq!(client.exchange(&request).await.status, 404);
            }
        }));
    }
    for client in clients {
        client.await.expect("all are answered");
    }
    gateway.at_rest().await;
    // 4096 wait, and a batch of 512 is on its way.
    let dropped = gateway.counted("gateway_otlp_traces_dropped_total", "reason=\"queue_full\"").await;
    assert!((6_000 - 4_096 - 512..=6_000 - 4_096).contains(&(dropped as usize)), "{dropped}");
    gate.open();
    gateway.counted_when("gateway_otlp_traces_sent_total", "", |sent| sent >= 6_000 - dropped).await;
}
