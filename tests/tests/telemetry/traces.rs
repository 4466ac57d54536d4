//! Spans, field by field.

use super::{good_stream, two_targets};
use ai_gateway_tests::client::{Request, exchange};
use ai_gateway_tests::{
    Answer, Collector, Gate, Gateway, Protocol, Step, Stub, StubFraming, attributes, bodies, text_of,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::json;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn status_of(span: &Span) -> (i32, &str) {
    span.status.as_ref().map_or((0, ""), |status| (status.code, &*status.message))
}

fn first_of(span: &Span, event: &str) -> u64 {
    let found: Vec<_> = span.events.iter().filter(|found| found.name == event).collect();
    assert_eq!(found.len(), 1, "{event} in {span:?}");
    found[0].time_unix_nano
}

#[tokio::test]
async fn a_failover_is_a_tree_under_the_clients_span() {
    let collector = Collector::start().await;
    let overloaded = r#"{"error":{"message":"overloaded","type":"server_error"}}"#;
    let one = Stub::always(Answer::json(503, overloaded)).await;
    let two = Stub::always(good_stream()).await;
    let telemetry = "traces = { propagate = [\"two\"] }\nservice = \"shop-gateway\"\nresource = { team = \"shop\" }";
    let config = two_targets(&one.origin(), &two.origin(), "");
    let config = format!("{config}[telemetry]\n{}{telemetry}\n", collector.otlp(Protocol::Http));
    let gateway = Gateway::start(&config).await;
    let body = r#"{"model":"m","stream":true,"max_tokens":9,"temperature":0.5,"seed":7,"user":"u1","messages":[{"role":"user","content":"Hello"}]}"#;
    let request = Request::post("/v1/chat/completions?beta=1", body)
        .header("traceparent", PARENT)
        .header("tracestate", "vendor=x")
        .header("x-session-id", "s-1");
    let reply = exchange(gateway.addr, &request).await;
    assert_eq!(reply.status, 200);
    let id = reply.header("x-request-id").to_owned();

    let spans = collector.trace_of(&id).await;
    let [root, failed, good] = &spans[..] else { panic!("three spans, not {spans:#?}") };
    for span in &spans {
        assert_eq!(hex::encode(&span.trace_id), TRACE);
        assert_eq!(span.trace_state, "vendor=x");
        assert_eq!(span.span_id.len(), 8);
        assert!(
            span.start_time_unix_nano > 1_700_000_000_000_000_000
                && span.end_time_unix_nano >= span.start_time_unix_nano
        );
        assert_eq!(span.flags & 1, 1, "sampled");
    }
    assert_eq!(hex::encode(&root.parent_span_id), "b7ad6b7169203331");
    assert_eq!((root.kind, &*root.name, status_of(root)), (SpanKind::Server as i32, "chat m", (0, "")));
    assert_eq!(root.flags & 0x300, 0x300, "its parent is on another machine");
    let told = attributes(&root.attributes);
    for (name, value) in [
        ("gen_ai.operation.name", json!("chat")),
        ("gen_ai.provider.name", json!("openai-compatible")),
        ("gen_ai.original.model", json!("m")),
        ("gen_ai.request.model", json!("2")),
        ("gen_ai.request.stream", json!(true)),
        ("gen_ai.request.max_tokens", json!(9)),
        ("gen_ai.request.temperature", json!(0.5)),
        ("gen_ai.request.seed", json!(7)),
        ("gen_ai.response.model", json!("upstream-model")),
        ("gen_ai.usage.input_tokens", json!(7)),
        ("gen_ai.usage.output_tokens", json!(5)),
        ("gen_ai.conversation.id", json!("s-1")),
        ("user.id", json!("u1")),
        ("http.request.method", json!("POST")),
        ("http.response.status_code", json!(200)),
        ("url.path", json!("/v1/chat/completions")),
        ("gateway.request_id", json!(id)),
        ("gateway.attempts", json!(2)),
        ("gateway.finish", json!("complete")),
        ("gateway.dialect", json!("openai-chat")),
    ] {
        assert_eq!(told.get(name), Some(&value), "{name} in {told:#?}");
    }
    assert!(!told.contains_key("error.type") && !told.keys().any(|name| name.contains("messages")), "{told:#?}");
    let first = first_of(root, "gen_ai.first_token");
    assert!(root.start_time_unix_nano <= first && first <= root.end_time_unix_nano);

    for (attempt, number) in [(failed, 1), (good, 2)] {
        assert_eq!((attempt.kind, &attempt.parent_span_id), (SpanKind::Client as i32, &root.span_id));
        assert!(attempt.start_time_unix_nano >= root.start_time_unix_nano);
        let told = attributes(&attempt.attributes);
        assert_eq!((&told["gateway.attempt"], &told["server.address"]), (&json!(number), &json!("127.0.0.1")));
        assert!(!told.keys().any(|name| name.starts_with("gen_ai.usage")), "tokens are counted once");
    }
    let told = attributes(&failed.attributes);
    assert_eq!((&*failed.name, status_of(failed)), ("attempt one/1", (StatusCode::Error as i32, "status_5xx")));
    for (name, value) in [
        ("http.response.status_code", json!(503)),
        ("error.type", json!("status_5xx")),
        ("gateway.outcome", json!("status_5xx")),
        ("gateway.fault", json!("upstream")),
        ("gateway.provider", json!("one")),
        ("gateway.upstream_model", json!("1")),
        ("server.port", json!(one.addr.port())),
    ] {
        assert_eq!(told.get(name), Some(&value), "{name}");
    }
    assert!(good.start_time_unix_nano >= failed.end_time_unix_nano, "one after the other");
    let told = attributes(&good.attributes);
    assert_eq!((&*good.name, status_of(good)), ("attempt two/2", (0, "")));
    assert_eq!((&told["gateway.outcome"], told.get("error.type")), (&json!("ok"), None));
    assert!(first_of(good, "first_token").abs_diff(first) < 1_000_000);

    let resource = &collector.resources().await[0];
    assert_eq!((&resource["service.name"], &resource["team"]), (&json!("shop-gateway"), &json!("shop")));
    assert_eq!(resource["process.pid"], json!(gateway.pid()));

    // Who learns of it: only `two`, under its own attempt. The other gets what the client sent.
    let sent = two.received()[0].header("traceparent").to_owned();
    assert_eq!(sent, format!("00-{TRACE}-{}-01", hex::encode(&good.span_id)));
    assert_eq!(two.received()[0].header("tracestate"), "vendor=x");
    assert_eq!(one.received()[0].header("traceparent"), PARENT);
    let line = gateway.log_of(&id).await;
    assert_eq!(line["trace_id"], TRACE);
    assert!(line["attempts"][1]["first_ms"].as_f64() <= line["attempts"][1]["ms"].as_f64(), "{line}");
}

#[tokio::test]
async fn a_hedge_is_a_sibling_and_grpc_and_openinference_do_the_same() {
    let collector = Collector::start().await;
    let slow = Answer::sse([bodies::chat_role()]).step(Step::Stall);
    let one = Stub::always(slow).await;
    let gate = Gate::new();
    let two = Stub::always(good_stream().after(&gate)).await;
    let hedge = "hedge = { after = \"20ms\", max_extra = \"100%\" }";
    let config = two_targets(&one.origin(), &two.origin(), hedge);
    let telemetry = "traces = { attributes = \"openinference\", propagate = [\"*\"] }";
    let config = format!("{config}[telemetry]\n{}{telemetry}\n", collector.otlp(Protocol::Grpc));
    let gateway = Gateway::start(&config).await;
    let asked = Request::post("/v1/chat/completions", bodies::chat_stream("m"));
    let (reply, ()) = tokio::join!(exchange(gateway.addr, &asked), async {
        one.next().await;
        two.next().await;
        gate.open();
    });
    assert_eq!((reply.status, reply.header("x-gateway-provider")), (200, "two"));

    let spans = collector.trace_of(reply.header("x-request-id")).await;
    let [root, lost, won] = &spans[..] else { panic!("three spans, not {spans:#?}") };
    assert!(collector.stub.received().iter().all(|received| received.http2));
    assert!(root.parent_span_id.is_empty() && root.trace_state.is_empty());
    assert_eq!(&*root.name, "ChatCompletion");
    let told = attributes(&root.attributes);
    for (name, value) in [
        ("openinference.span.kind", json!("LLM")),
        ("llm.system", json!("openai")),
        ("llm.provider", json!("openai-compatible")),
        ("llm.model_name", json!("upstream-model")),
        ("llm.invocation_parameters", json!("{}")),
        ("llm.token_count.prompt", json!(7)),
        ("llm.token_count.completion", json!(5)),
        ("llm.token_count.total", json!(12)),
        ("gateway.attempts", json!(2)),
    ] {
        assert_eq!(told.get(name), Some(&value), "{name} in {told:#?}");
    }
    assert!(!told.keys().any(|name| name.starts_with("gen_ai.") || name.ends_with(".value")), "{told:#?}");
    first_of(root, "First Token Stream Event");
    let outcome = |span| text_of(span, "gateway.outcome");
    assert_eq!((outcome(lost), outcome(won)), ("hedged".into(), "ok".into()));
    assert_eq!((status_of(lost), attributes(&lost.attributes)["gateway.rival"].clone()), ((0, ""), json!(true)));
    assert_eq!((&lost.parent_span_id, &won.parent_span_id), (&root.span_id, &root.span_id));
    assert!(won.start_time_unix_nano < lost.end_time_unix_nano, "both at once");
    // Both providers were told, each under its own span.
    for (stub, span) in [(&one, lost), (&two, won)] {
        let parent = format!("00-{}-{}-01", hex::encode(&root.trace_id), hex::encode(&span.span_id));
        assert_eq!(stub.received()[0].header("traceparent"), parent);
    }
}

#[tokio::test]
async fn what_fails_has_an_exception_and_says_whose_fault_it_was() {
    let collector = Collector::start().await;
    let cut = Answer::sse([bodies::chat_role(), bodies::chat_delta("half")]).step(Step::Cut);
    let one = Stub::start(move |received| match received.json()["model"].as_str() {
        Some("cut") => cut.clone(),
        _ => Answer::json(400, r#"{"error":{"message":"too hot","type":"invalid_request_error"}}"#),
    })
    .await;
    let config = bodies::openai_provider("one", &one.origin());
    let config = format!("{config}[telemetry]\n{}traces = {{}}\n", collector.otlp(Protocol::Http));
    let gateway = Gateway::start(&config).await;
    let post = |body: bytes::Bytes| Request::post("/v1/chat/completions", body);

    let reply = exchange(gateway.addr, &post(bodies::chat_stream("one/cut"))).await;
    let spans = collector.trace_of(reply.header("x-request-id")).await;
    let told = attributes(&spans[0].attributes);
    assert_eq!(status_of(&spans[0]), (StatusCode::Error as i32, "stream_cut"));
    assert_eq!((&told["error.type"], &told["gateway.fault"]), (&json!("stream_cut"), &json!("upstream")));
    assert_eq!((&told["gateway.finish"], text_of(&spans[1], "gateway.outcome")), (&json!("cut"), "cut".to_owned()));
    first_of(&spans[0], "exception");

    // The client's own mistake is no error of this server.
    let reply = exchange(gateway.addr, &post(bodies::chat("one/x"))).await;
    let spans = collector.trace_of(reply.header("x-request-id")).await;
    let told = attributes(&spans[0].attributes);
    assert_eq!((status_of(&spans[0]), &told["gateway.fault"]), ((0, ""), &json!("caller")));
    assert_eq!((&told["error.type"], &told["http.response.status_code"]), (&json!("caller"), &json!(400)));
    assert_eq!(text_of(&spans[1], "gateway.fault"), "caller");

    // Without any attempt, too.
    let reply = exchange(gateway.addr, &post(bodies::chat("nobody"))).await;
    let spans = collector.trace_of(reply.header("x-request-id")).await;
    assert_eq!(spans.len(), 1);
    assert_eq!(attributes(&spans[0].attributes)["http.response.status_code"], json!(404));
}

#[tokio::test]
async fn a_client_that_decided_is_followed_and_shares_are_kept() {
    let collector = Collector::start().await;
    let one = Stub::always(Answer::json(200, bodies::chat_answer("hi"))).await;
    let config = bodies::openai_provider("one", &one.origin());
    let telemetry = "traces = { sample = \"0.01%\", propagate = [\"one\"] }";
    let config = format!("{config}[telemetry]\n{}{telemetry}\n", collector.otlp(Protocol::Http));
    let gateway = Gateway::start(&config).await;
    let ask = async |parent: &str| {
        let request = Request::post("/v1/chat/completions", bodies::chat("one/x")).header("traceparent", parent);
        exchange(gateway.addr, &request).await
    };
    let unsampled = ask(&PARENT.replace("-01", "-00")).await;
    // What is no parent is none: the trace begins here, and one in ten thousand is drawn.
    let broken = ask("00-broken").await;
    let sampled = ask(PARENT).await;
    collector.trace_of(sampled.header("x-request-id")).await;
    let dump = collector.dump().await;
    assert!(!dump.contains(unsampled.header("x-request-id")) && !dump.contains(broken.header("x-request-id")));
    // A provider learns also that nobody looks.
    let parents: Vec<String> =
        one.received().iter().map(|received| received.header("traceparent").to_owned()).collect();
    assert!(parents[0].starts_with(&PARENT[..35]) && parents[0].ends_with("-00"), "{parents:?}");
    assert!(parents[1].starts_with("00-") && parents[1].ends_with("-00") && parents[1].len() == 55, "{parents:?}");
    assert!(parents[2].ends_with("-01") && !parents[2].contains("b7ad6b7169203331"), "{parents:?}");
}

#[tokio::test]
async fn content_is_sent_only_when_asked_for_and_then_without_secrets() {
    let body = json!({
        "model": "m", "stream": true,
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "I am ann@mail.example, my key is sk-proj-abcdefghijklmnop123 and my badge B-1234"},
        ],
    });
    let answer = ["Hello ", "ann@mail.example", ", how are you?"];
    for (convention, protocol) in [("gen_ai", Protocol::Grpc), ("openinference", Protocol::Http)] {
        let collector = Collector::start().await;
        let events = std::iter::once(bodies::chat_role()).chain(answer.map(bodies::chat_delta));
        let rest = [bodies::chat_finish(), bodies::chat_usage(), bodies::DONE.into()];
        let good = Stub::always(Answer::sse(events.chain(rest))).await;
        // What the first attempt said was taken back, and is nobody's answer.
        let taken_back = Answer::sse([bodies::chat_role()]).step(Step::Cut).framing(StubFraming::Chunked);
        let bad = Stub::always(taken_back).await;
        let config = two_targets(&bad.origin(), &good.origin(), "");
        let traces = format!("traces = {{ attributes = \"{convention}\", content = true, redact = [\"B-[0-9]+\"] }}");
        let config = format!("{config}[telemetry]\n{}{traces}\n", collector.otlp(protocol));
        let gateway = Gateway::start(&config).await;
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", body.to_string())).await;
        assert_eq!(reply.status, 200);
        let spans = collector.trace_of(reply.header("x-request-id")).await;
        let told = attributes(&spans[0].attributes);
        let asked = "I am [redacted], my key is [redacted] and my badge [redacted]";
        let said = "Hello [redacted], how are you?";
        if convention == "gen_ai" {
            let of = |name: &str| serde_json::from_str(told[name].as_str().unwrap()).unwrap();
            let asked = json!([
                {"role": "system", "parts": [{"type": "text", "content": "be kind"}]},
                {"role": "user", "parts": [{"type": "text", "content": asked}]},
            ]);
            let said =
                json!([{"role": "assistant", "parts": [{"type": "text", "content": said}], "finish_reason": "stop"}]);
            let both: (serde_json::Value, serde_json::Value) =
                (of("gen_ai.input.messages"), of("gen_ai.output.messages"));
            assert_eq!(both, (asked, said));
        } else {
            for (name, value) in [
                ("llm.input_messages.0.message.role", "system"),
                ("llm.input_messages.0.message.content", "be kind"),
                ("llm.input_messages.1.message.content", asked),
                ("llm.output_messages.0.message.role", "assistant"),
                ("llm.output_messages.0.message.content", said),
                ("input.value", asked),
                ("output.value", said),
            ] {
                assert_eq!(told.get(name), Some(&json!(value)), "{name} in {told:#?}");
            }
        }
    }
}

#[tokio::test]
async fn content_that_a_reload_forbids_is_not_sent() {
    let collector = Collector::start().await;
    let gate = Gate::new();
    let events = [bodies::chat_role(), bodies::chat_delta("good"), bodies::chat_finish(), bodies::DONE.into()];
    let stub = Stub::always(Answer::sse(events).after(&gate)).await;
    let config = |traces: &str| {
        let provider = bodies::openai_provider("one", &stub.origin());
        format!("{provider}[telemetry]\n{}traces = {{ {traces} }}\n", collector.otlp(Protocol::Http))
    };
    let gateway = Gateway::start(&config("content = true")).await;
    let body =
        json!({ "model": "one/m", "stream": true, "messages": [{"role": "user", "content": "ann@mail.example"}] });
    let request = Request::post("/v1/chat/completions", body.to_string());
    let under_way = tokio::spawn(async move { exchange(gateway.addr, &request).await });
    stub.next().await;
    gateway.write("", &config("content = false"));
    assert_eq!(exchange(gateway.admin, &Request::post("/api/reload", "")).await.status, 200);
    gate.open();
    let reply = under_way.await.unwrap();
    assert_eq!(reply.status, 200);
    let spans = collector.trace_of(reply.header("x-request-id")).await;
    let told = format!("{spans:?}");
    assert!(!told.contains("mail.example") && !told.contains("messages"), "{told}");
}
