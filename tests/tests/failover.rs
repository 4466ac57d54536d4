//! A model with several targets: whatever goes wrong with one before its first output, the client sees only the next, and
//! nothing after it is ever tried twice.

use ai_gateway_tests::client::{Connection, Framing, Request, exchange};
use ai_gateway_tests::unreachable::Refusing;
use ai_gateway_tests::{Answer, Gateway, Step, Stub, StubFraming, bodies};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// `model = "m"`: `bad` first, then `good`.
fn two_targets(bad: &str, good: &str, settings: &str, provider: fn(&str, &str) -> String) -> String {
    format!(
        "{}\n{}\n[models.m]\ntargets = [{{ provider = \"bad\", model = \"b\" }}, \
         {{ provider = \"good\", model = \"g\", priority = 1 }}]\n{settings}",
        provider("bad", bad),
        provider("good", good),
    )
}

fn good_stream() -> Answer {
    Answer::sse([
        bodies::chat_role(),
        bodies::chat_delta("good"),
        bodies::chat_finish(),
        bodies::chat_usage(),
        bodies::DONE.into(),
    ])
}

/// What the client of [`good_stream`] sees: all but the usage that it did not ask for.
fn good_text() -> String {
    [bodies::chat_role(), bodies::chat_delta("good"), bodies::chat_finish(), bodies::DONE.into()].concat()
}

/// Where a failure consists in silence, `bad` has this time, and nobody else.
fn impatient(config: &str) -> String {
    config.replace("model = \"b\"", "model = \"b\", timeouts = { first_token = \"400ms\" }")
}

fn error_event() -> String {
    "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n".into()
}

/// Answers of a target that fails; whether it does so by silence.
fn bad_answers() -> Vec<(&'static str, Answer, bool)> {
    let overloaded = r#"{"error":{"message":"overloaded","type":"server_error"}}"#;
    let fails = [
        ("429", Answer::json(429, overloaded).header("retry-after", "7")),
        ("500", Answer::json(500, overloaded)),
        ("502 with HTML", Answer::status(502).header("content-type", "text/html").step(Step::Send("<html>".into()))),
        ("503 chunked", Answer::json(503, overloaded).framing(StubFraming::Chunked)),
        ("503 without end", Answer::json(503, overloaded).framing(StubFraming::Chunked).step(Step::Stall)),
        ("529", Answer::json(529, overloaded)),
        ("error event first", Answer::sse([error_event()])),
        ("error event first, then nothing", Answer::sse([error_event()]).step(Step::Stall)),
        ("error after the preamble", Answer::sse([bodies::chat_role(), error_event()])),
        ("error cut in two", Answer::sse([error_event()[..20].to_owned(), error_event()[20..].to_owned()])),
        ("comments, preamble, error", Answer::sse([": ping\n\n".to_owned(), bodies::chat_role(), error_event()])),
        ("cut before the header", Answer::raw("")),
        ("cut in the header", Answer::raw("HTTP/1.1 200 OK\r\ncontent-ty")),
        ("not HTTP", Answer::raw("\0\x01\x02 what is this\r\n\r\n")),
        ("cut after the header", Answer::sse(Vec::<String>::new()).step(Step::Cut)),
        ("cut after the preamble", Answer::sse([bodies::chat_role()]).step(Step::Cut)),
        ("clean end after the preamble", Answer::sse([bodies::chat_role()])),
        ("empty stream", Answer::sse(Vec::<String>::new())),
    ];
    let is_silent = [
        ("no header in time", Answer::status(200).after(&ai_gateway_tests::Gate::new())),
        ("no output in time", Answer::sse([bodies::chat_role()]).step(Step::Stall)),
        ("header only", Answer::sse(Vec::<String>::new()).step(Step::Stall)),
    ];
    let fails = fails.into_iter().map(|(what, answer)| (what, answer, false));
    fails.chain(is_silent.into_iter().map(|(what, answer)| (what, answer, true))).collect()
}

#[tokio::test]
async fn the_client_sees_only_the_next_attempt() {
    // With hedging the calls take another way.
    let ways = ["", "hedge = { after = \"1m\" }"];
    let bad = bad_answers().into_iter();
    for ((what, answer, silent), settings) in bad.flat_map(|bad| ways.map(|way| (bad.clone(), way))) {
        let bad = Stub::always(answer).await;
        let good = Stub::always(good_stream()).await;
        let mut config = two_targets(&bad.origin(), &good.origin(), settings, bodies::openai_provider);
        if silent {
            config = impatient(&config);
        }
        // A plain 500 is asked once more.
        let at_bad = if what == "500" { 2 } else { 1 };
        for framing in [Framing::Length, Framing::H2(100)] {
            let mut gateway = Gateway::start(&config).await;
            let mut client = Connection::for_framing(gateway.addr, framing).await;
            let request = Request::post("/v1/chat/completions", bodies::chat_stream("m")).framing(framing);
            let reply = client.exchange(&request).await;
            assert_eq!(reply.status, 200, "{what}: {}", reply.text());
            assert!(reply.complete, "{what}: cut");
            assert_eq!(reply.text(), good_text(), "{what}");
            assert_eq!(reply.header("x-gateway-attempts"), (at_bad + 1).to_string(), "{what}");
            assert_eq!(reply.header("x-gateway-provider"), "good", "{what}");
            assert!(!reply.headers.contains_key("retry-after"), "{what}");
            for _ in 0..at_bad {
                assert_eq!(bad.next().await.json()["model"], "b", "{what}");
            }
            assert_eq!(good.next().await.json()["model"], "g", "{what}");
            let log = gateway.log_of(reply.header("x-request-id")).await;
            assert_eq!((&log["status"], &log["finish"]), (&200.into(), &"complete".into()), "{what}: {log}");
            assert_eq!(log["attempts"].as_array().map(Vec::len), Some(at_bad + 1), "{what}: {log}");
            gateway.assert_healthy().await;
        }
    }
}

/// The second vendor speaks the client's dialect too, but takes fewer words of it: it gets those that it takes, and the answer comes
/// as it is. The first, that takes all of them, got the client's bytes.
#[tokio::test]
async fn the_next_vendor_is_asked_in_words_that_it_takes() {
    let bad = Stub::always(Answer::json(503, r#"{"error":{"message":"down","type":"server_error"}}"#)).await;
    let good = Stub::always(good_stream()).await;
    let provider = |name: &str, kind: &str, stub: &Stub| {
        format!("[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"{}/v1\"\napi_key = \"k\"\n", stub.origin())
    };
    let id = "call_PTLP8xhu3uwZk4l3nlnrrJha";
    let call = json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let turn = json!({"role": "assistant", "content": null, "reasoning_content": "why", "tool_calls": [call]});
    let body = json!({"model": "m", "stream": true, "max_completion_tokens": 500, "x_own": 1, "messages": [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": "go"},
        turn,
        {"role": "tool", "tool_call_id": id, "content": "1"},
    ]});
    // Mistral tells usage unasked, and so it is no secret.
    let with_usage = [
        bodies::chat_role(),
        bodies::chat_delta("good"),
        bodies::chat_finish(),
        bodies::chat_usage(),
        bodies::DONE.into(),
    ];
    for (kind, refused, dropped, answer) in [
        ("mistral", vec!["developer", "max_completion_tokens", id, "reasoning_content"], "", with_usage.concat()),
        ("groq", vec!["developer", "reasoning_content"], "messages.reasoning", good_text()),
    ] {
        let config = format!(
            "{}{}[models.m]\ntargets = [{{ provider = \"bad\", model = \"b\" }}, \
             {{ provider = \"good\", model = \"g\", priority = 1 }}]\n",
            provider("bad", "openai", &bad),
            provider("good", kind, &good),
        );
        let gateway = Gateway::start(&config).await;
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", body.to_string())).await;
        assert_eq!((reply.status, reply.text()), (200, answer), "{kind}");
        let noted = reply.headers.get("x-gateway-dropped").map(|value| value.to_str().unwrap()).unwrap_or_default();
        assert_eq!(noted, dropped, "{kind}");
        let mut asked = bad.next().await.json();
        assert_eq!(asked["stream_options"].take(), json!({"include_usage": true}));
        asked.as_object_mut().unwrap().remove("stream_options");
        asked["model"] = "m".into();
        assert_eq!(asked, body, "{kind}");
        let asked = good.next().await.json();
        let text = asked.to_string();
        for word in refused {
            assert!(!text.contains(word), "{kind}: {word} in {text}");
        }
        assert_eq!(
            (&asked["model"], &asked["x_own"], &asked["messages"][1]),
            (&json!("g"), &json!(1), &body["messages"][1])
        );
    }
}

#[tokio::test]
async fn nobody_listening_is_the_next_attempt() {
    let nobody = Refusing::new();
    let origin = format!("http://{}", nobody.addr);
    let good = Stub::always(good_stream()).await;
    let gateway = Gateway::start(&two_targets(&origin, &good.origin(), "", bodies::openai_provider)).await;
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat_stream("m"))).await;
    assert_eq!((reply.status, reply.text()), (200, good_text()));
    assert_eq!(reply.header("x-gateway-attempts"), "2");
}

/// Answers that are not streamed, of each dialect.
#[tokio::test]
async fn whole_answers_fail_over_too() {
    let error_in_200 = r#"{"error":{"message":"overloaded","type":"server_error"}}"#;
    let bad = [
        Answer::json(500, error_in_200),
        Answer::json(503, "not JSON"),
        Answer::json(200, r#"{"id":"x","choices":[{"#).header("content-length", "1000").step(Step::Cut),
        Answer::raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}"),
    ];
    for (target, provider) in [
        ("/v1/chat/completions", bodies::openai_provider as fn(&str, &str) -> String),
        ("/v1/embeddings", bodies::openai_provider),
        ("/v1/messages", bodies::anthropic_provider),
    ] {
        for (index, answer) in bad.iter().enumerate() {
            let bad = Stub::always(answer.clone()).await;
            let good = Stub::always(Answer::json(200, r#"{"fine":true}"#)).await;
            let config = two_targets(&bad.origin(), &good.origin(), "", provider);
            let gateway = Gateway::start(&config).await;
            let reply = exchange(gateway.addr, &Request::post(target, bodies::message("m", false))).await;
            assert_eq!((reply.status, reply.text()), (200, r#"{"fine":true}"#.into()), "{target} {index}");
            // A plain 500 is asked once more.
            assert_eq!(reply.header("x-gateway-attempts"), if index == 0 { "3" } else { "2" }, "{target} {index}");
        }
    }
}

#[tokio::test]
async fn anthropic_and_responses_streams_fail_over() {
    let anthropic = |name: &str, data: Value| bodies::anthropic_event(name, &data);
    let start = json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
        "model": "x", "content": [], "stop_reason": null, "usage": {"input_tokens": 1, "output_tokens": 1}}});
    let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "good"}});
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let bad_anthropic = Answer::sse([
        anthropic("message_start", start.clone()),
        anthropic("ping", json!({"type": "ping"})),
        anthropic("error", overloaded),
    ]);
    let good_anthropic = [
        anthropic("message_start", start),
        anthropic(
            "content_block_start",
            json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": ""}}),
        ),
        anthropic("content_block_delta", delta),
        anthropic("content_block_stop", json!({"type": "content_block_stop", "index": 0})),
        anthropic(
            "message_delta",
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 5}}),
        ),
        anthropic("message_stop", json!({"type": "message_stop"})),
    ];
    let created = json!({"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1", "object": "response",
        "status": "in_progress", "output": []}});
    let failed = json!({"type": "response.failed", "sequence_number": 1, "response": {"id": "resp_1", "status": "failed",
        "error": {"code": "server_error", "message": "broken"}}});
    let text = json!({"type": "response.output_text.delta", "sequence_number": 1, "delta": "good"});
    let completed = json!({"type": "response.completed", "sequence_number": 2, "response": {"id": "resp_1", "object": "response",
        "status": "completed", "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}}});
    let bad_responses =
        Answer::sse([anthropic("response.created", created.clone()), anthropic("response.failed", failed)]);
    let good_responses = [
        anthropic("response.created", created),
        anthropic("response.output_text.delta", text),
        anthropic("response.completed", completed),
    ];
    let openai = |name: &str, origin: &str| {
        format!("[providers.{name}]\nkind = \"openai\"\nbase_url = \"{origin}/v1\"\napi_key = \"k\"\n")
    };
    type Case<'a> = (&'a str, Answer, Vec<String>, fn(&str, &str) -> String);
    let cases: [Case<'_>; 2] = [
        ("/v1/messages", bad_anthropic, good_anthropic.into(), bodies::anthropic_provider),
        ("/v1/responses", bad_responses, good_responses.into(), openai),
    ];
    for (target, bad, good, provider) in cases {
        let expected = good.concat();
        let (bad, good) = (Stub::always(bad).await, Stub::always(Answer::sse(good)).await);
        let gateway = Gateway::start(&two_targets(&bad.origin(), &good.origin(), "", provider)).await;
        let reply = exchange(gateway.addr, &Request::post(target, bodies::message("m", true))).await;
        assert_eq!((reply.status, reply.text()), (200, expected), "{target}");
        assert_eq!(reply.header("x-gateway-attempts"), "2", "{target}");
    }
}

/// Errors that another provider would not cure go to the client at once: the caller's own.
#[tokio::test]
async fn the_callers_own_errors_are_not_retried() {
    let body = r#"{"error":{"message":"bad","type":"invalid_request_error","param":"x","code":null}}"#;
    for status in [400, 404, 413, 422] {
        let bad = Stub::always(Answer::json(status, body)).await;
        let good = Stub::always(good_stream()).await;
        let gateway = Gateway::start(&two_targets(&bad.origin(), &good.origin(), "", bodies::openai_provider)).await;
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("m"))).await;
        assert_eq!((reply.status, reply.text().as_str()), (status, body));
        assert_eq!((bad.count(), good.count()), (1, 0), "{status}");
    }
}

#[tokio::test]
async fn retry_on_lists_what_is_retried() {
    for (on, status, retried) in [
        ("\"429\"", 429, true),
        ("\"429\"", 500, false),
        ("\"5xx\"", 500, true),
        ("\"5xx\"", 429, false),
        ("", 500, false),
    ] {
        let bad = Stub::always(Answer::json(status, r#"{"error":{"message":"no"}}"#)).await;
        let good = Stub::always(Answer::json(200, bodies::chat_answer("good"))).await;
        let settings = format!("retry = {{ on = [{on}] }}");
        let gateway =
            Gateway::start(&two_targets(&bad.origin(), &good.origin(), &settings, bodies::openai_provider)).await;
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("m"))).await;
        assert_eq!(reply.status, if retried { 200 } else { status }, "{on} {status}: {}", reply.text());
        assert_eq!(good.count(), usize::from(retried), "{on} {status}");
    }
}

#[tokio::test]
async fn attempts_are_counted() {
    let bad = Stub::always(Answer::json(503, r#"{"error":{"message":"no","type":"server_error"}}"#)).await;
    let providers: String = (0..5).map(|i| bodies::openai_provider(&format!("p{i}"), &bad.origin())).collect();
    let targets: Vec<_> =
        (0..5).map(|i| format!("{{ provider = \"p{i}\", model = \"m{i}\", priority = {i} }}")).collect();
    for (attempts, expected, again) in [
        // As many as there are.
        ("", 5, true),
        ("retry = { attempts = 3 }", 3, true),
        // One call, unless the file says otherwise.
        ("retry = { attempts = 1 }", 1, false),
        ("retry = { attempts = 1, same_target = true }", 1, true),
    ] {
        let before = bad.count();
        let config = format!("{providers}\n[models.m]\ntargets = [{}]\n{attempts}", targets.join(","));
        let gateway = Gateway::start(&config).await;
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("m"))).await;
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert!(reply.json()["error"]["message"].is_string());
        // Where no other target is left, the last one is asked once more.
        let order: Vec<_> = (0..expected).chain(again.then_some(expected - 1)).collect();
        assert_eq!(reply.header("x-gateway-attempts"), order.len().to_string(), "{attempts}");
        let models: Vec<_> = bad.received()[before..].iter().map(|r| r.json()["model"].clone()).collect();
        let order: Vec<_> = order.iter().map(|i| Value::from(format!("m{i}"))).collect();
        assert_eq!(models, order, "in order of priority: {attempts}");
    }
}

/// By default no healthy target is left unasked, wherever in the plan it stands.
#[tokio::test]
async fn the_last_of_four_targets_is_asked() {
    let bad = Stub::always(Answer::json(503, r#"{"error":{"message":"no","type":"server_error"}}"#)).await;
    let good = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let mut config = bodies::openai_provider("bad", &bad.origin()) + &bodies::openai_provider("good", &good.origin());
    config.push_str(
        "[models.m]\ntargets = [{ provider = \"bad\", model = \"a\" }, { provider = \"bad\", model = \"b\", priority = 1 }, \
         { provider = \"bad\", model = \"c\", priority = 2 }, { provider = \"good\", model = \"d\", priority = 3 }]",
    );
    let gateway = Gateway::start(&config).await;
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("m"))).await;
    assert_eq!((reply.status, reply.header("x-gateway-attempts")), (200, "4"), "{}", reply.text());
}

/// Weights share the traffic inside one priority; one that fails again and again rests, and the others stand in.
#[tokio::test]
async fn weights_share_and_the_others_stand_in() {
    let stubs = [
        Stub::always(Answer::json(200, bodies::chat_answer("a"))).await,
        Stub::always(Answer::json(200, bodies::chat_answer("b"))).await,
        Stub::always(Answer::json(500, "{}")).await,
    ];
    let providers: String =
        stubs.iter().zip(["a", "b", "c"]).map(|(stub, name)| bodies::openai_provider(name, &stub.origin())).collect();
    let gateway = Gateway::start(&format!(
        "{providers}\n[models.m]\ntargets = [{{ provider = \"a\", model = \"m\", weight = 3 }}, \
         {{ provider = \"b\", model = \"m\" }}, {{ provider = \"c\", model = \"m\" }}]"
    ))
    .await;
    let mut client = Connection::for_framing(gateway.addr, Framing::Length).await;
    for _ in 0..200 {
        let reply = client.exchange(&Request::post("/v1/chat/completions", bodies::chat("m"))).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let counts = stubs.iter().map(Stub::count).collect::<Vec<_>>();
    assert_eq!(counts[0] + counts[1], 200, "{counts:?}");
    // 3 : 1, far from these bounds by chance less than once in 10⁶ runs; the third rests after five failures.
    assert!(counts[0] > 110 && counts[1] > 15 && (5..=8).contains(&counts[2]), "{counts:?}");
}

/// The last failure is told in the client's dialect; the provider's own credentials are not the client's problem.
#[tokio::test]
async fn a_refused_provider_key_is_a_502() {
    let body = r#"{"error":{"message":"Incorrect API key provided: upstream-bad","type":"invalid_request_error","code":"invalid_api_key"}}"#;
    for status in [401, 403] {
        for (target, provider) in [
            ("/v1/chat/completions", bodies::openai_provider as fn(&str, &str) -> String),
            ("/v1/messages", bodies::anthropic_provider),
        ] {
            let bad = Stub::always(Answer::json(status, body).header("www-authenticate", "Bearer")).await;
            let gateway = Gateway::start(&provider("bad", &bad.origin())).await;
            let reply = exchange(gateway.addr, &Request::post(target, bodies::message("bad/m", false))).await;
            assert_eq!(reply.status, 502, "{}", reply.text());
            assert!(!reply.text().contains("upstream-bad"), "the provider's key came through: {}", reply.text());
            assert!(!reply.headers.contains_key("www-authenticate"));
            let log = gateway.log_of(reply.header("x-request-id")).await;
            assert_eq!(log["fault"], "upstream", "{log}");
        }
    }
    // Some say so with a 400.
    for body in [
        r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#,
    ] {
        for provider in [bodies::openai_provider as fn(&str, &str) -> String, bodies::anthropic_provider] {
            let bad = Stub::always(Answer::json(400, body)).await;
            let good = Stub::always(Answer::json(200, bodies::chat_answer("good"))).await;
            let config = two_targets(&bad.origin(), &good.origin(), "", bodies::openai_provider)
                .replace(&bodies::openai_provider("bad", &bad.origin()), &provider("bad", &bad.origin()));
            let gateway = Gateway::start(&config).await;
            let lone = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("bad/m"))).await;
            assert_eq!(lone.status, 502, "{}", lone.text());
            let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("m"))).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
    }
    // Another provider's key may well be good.
    let bad = Stub::always(Answer::json(401, body)).await;
    let good = Stub::always(Answer::json(200, bodies::chat_answer("good"))).await;
    let gateway = Gateway::start(&two_targets(&bad.origin(), &good.origin(), "", bodies::openai_provider)).await;
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("m"))).await;
    assert!(matches!(reply.status, 200 | 502), "{}", reply.text());
}

/// With nothing left to try, a 429 keeps its status and the time that the provider named.
#[tokio::test]
async fn the_last_429_keeps_its_retry_after() {
    let body = r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#;
    let answer = Answer::json(429, body).header("retry-after", "17").header("x-ratelimit-remaining-requests", "0");
    let stub = Stub::always(answer).await;
    let gateway = Gateway::start(&bodies::openai_provider("stub", &stub.origin())).await;
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("stub/m"))).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "17"), "{}", reply.text());
    assert_eq!(reply.json()["error"]["message"], "slow down");
}

/// Providers have three words for when to come back, clients read one or the other: they get both, in their own API as in another.
#[tokio::test]
async fn every_client_is_told_when_to_come_back() {
    for (sent, seconds, milliseconds) in [
        (&[("x-ms-retry-after-ms", "16500")][..], "17", "16500"),
        (&[("retry-after-ms", "16500")], "17", "16500"),
        (&[("retry-after", "17")], "17", "17000"),
        (&[("retry-after", "86400")], "86400", "86400000"),
        (&[("retry-after", "18"), ("retry-after-ms", "17100")], "18", "17100"),
        (&[("retry-after", "soon")], "", ""),
        (&[], "", ""),
    ] {
        let answer = Answer::json(429, r#"{"error":{"message":"slow down","type":"requests"}}"#);
        let answer = sent.iter().fold(answer, |answer, (name, value)| answer.header(name, value));
        let stub = Stub::always(answer).await;
        for (target, body) in
            [("/v1/chat/completions", bodies::chat("stub/m")), ("/v1/messages", bodies::message("stub/m", false))]
        {
            let gateway = Gateway::start(&bodies::openai_provider("stub", &stub.origin())).await;
            let reply = exchange(gateway.addr, &Request::post(target, body)).await;
            let told = (reply.header("retry-after"), reply.header("retry-after-ms"));
            assert_eq!((reply.status, told), (429, (seconds, milliseconds)), "{target} {sent:?}: {}", reply.text());
            assert!(!reply.headers.contains_key("x-ms-retry-after-ms"));
        }
    }
}

#[tokio::test]
async fn silence_ends_at_the_first_token_timeout() {
    for (what, answer) in [
        ("no header", Answer::status(200).after(&ai_gateway_tests::Gate::new())),
        ("header only", Answer::sse(Vec::<String>::new()).step(Step::Stall)),
    ] {
        let stub = Stub::always(answer).await;
        let config = format!(
            "{}\n[models.m]\ntargets = [{{ provider = \"s\", model = \"x\" }}]\ntimeouts = {{ first_token = \"500ms\" }}",
            bodies::openai_provider("s", &stub.origin())
        );
        let gateway = Gateway::start(&config).await;
        let begun = Instant::now();
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat_stream("m"))).await;
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(480) && took < Duration::from_secs(10), "{what}: {took:?}");
        if reply.status == 200 {
            // The header was passed on: the error is in the stream, in place of an end.
            assert!(reply.text().contains("\"error\"") && !reply.text().contains("[DONE]"), "{what}: {}", reply.text());
        } else {
            assert_eq!(reply.status, 504, "{what}: {}", reply.text());
            assert!(reply.json()["error"]["message"].is_string());
        }
        stub.departed().await;
    }
}

/// Answers of a provider with two keys, the first of which is refused.
async fn two_keys(second: Vec<Answer>) -> (Stub, String) {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let stub = Stub::start(move |request| match request.header("authorization") {
        "Bearer k1" => Answer::json(401, "{}"),
        _ => {
            let number = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            second[number.min(second.len() - 1)].clone()
        }
    })
    .await;
    let provider = format!(
        "[providers.two]\nkind = \"openai-compatible\"\nbase_url = \"{}/v1\"\napi_keys = [\"k1\", \"k2\"]\n",
        stub.origin()
    );
    (stub, provider)
}

/// A key that rests is none to go on with: the failure of the other one is what the client is told, or is asked once more.
#[tokio::test]
async fn a_key_that_rests_hides_no_error_of_another() {
    let good = Answer::json(200, bodies::chat_answer("good"));
    let limited = |wait| Answer::json(429, r#"{"error":{"message":"slow down"}}"#).header("retry-after", wait);
    let ask = Request::post("/v1/chat/completions", bodies::chat("two/m"));
    for (last, status, wait) in [
        (vec![limited("77")], 429, Some("77")),
        (vec![limited("1"), good.clone()], 200, None),
        (vec![Answer::json(401, "{}")], 502, None),
    ] {
        let (_stub, config) = two_keys([vec![good.clone(), good.clone()], last].concat()).await;
        let gateway = Gateway::start(&config).await;
        // The turn is the other key's then: the one that rests has not been tried.
        for _ in 0..2 {
            assert_eq!(exchange(gateway.addr, &ask).await.status, 200);
        }
        let reply = exchange(gateway.addr, &ask).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        assert_eq!(reply.headers.get("retry-after").map(|wait| wait.to_str().unwrap()), wait, "{}", reply.text());
    }
}

/// What a later target cannot be asked for is no fault of the caller once another one was asked.
#[tokio::test]
async fn an_outage_is_not_told_as_what_the_next_target_cannot_say() {
    let bad = Stub::always(Answer::json(503, r#"{"error":{"message":"away"}}"#)).await;
    let config = format!(
        "{}{}[models.m]\nlossy = \"error\"\ntargets = [{{ provider = \"bad\", model = \"b\" }}, \
         {{ provider = \"an\", model = \"a\", priority = 1 }}]",
        bodies::openai_provider("bad", &bad.origin()),
        bodies::anthropic_provider("an", &bad.origin()),
    );
    let gateway = Gateway::start(&config).await;
    let body = json!({"model": "m", "logprobs": true, "messages": [{"role": "user", "content": "Hello"}]});
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", body.to_string())).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
}

/// A wait that the provider asks for is for those only who have nobody else to ask.
#[tokio::test]
async fn nobody_waits_for_a_500_while_another_target_is_well() {
    let bad = Stub::always(Answer::json(500, "{}").header("retry-after", "6")).await;
    let good = Stub::always(Answer::json(200, bodies::chat_answer("good"))).await;
    let gateway = Gateway::start(&two_targets(&bad.origin(), &good.origin(), "", bodies::openai_provider)).await;
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("m"))).await;
    assert_eq!((reply.status, bad.count()), (200, 1));
}

/// The operator named the target's model: that it is not there is the target's fault, and not the caller's.
#[tokio::test]
async fn a_model_that_its_provider_does_not_know_is_asked_of_the_next() {
    let gone = r#"{"error":{"message":"The model `b` does not exist","type":"invalid_request_error","code":"model_not_found"}}"#;
    let bad = Stub::always(Answer::json(404, gone)).await;
    let good = Stub::always(Answer::json(200, bodies::chat_answer("good"))).await;
    let gateway = Gateway::start(&two_targets(&bad.origin(), &good.origin(), "", bodies::openai_provider)).await;
    for _ in 0..3 {
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("m"))).await;
        assert_eq!((reply.status, reply.header("x-gateway-provider")), (200, "good"), "{}", reply.text());
    }
    assert_eq!(bad.count(), 1, "it rests");
    // Whoever names the provider's model gets its answer.
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("bad/x"))).await;
    assert_eq!((reply.status, reply.text().as_str()), (404, gone));
}

/// Google says when to come back in the body of its error, and in no header.
#[tokio::test]
async fn googles_time_to_come_back_is_heeded() {
    let info = r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.5s"}"#;
    let body = format!(r#"{{"error":{{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{info}]}}}}"#);
    let google = Stub::always(Answer::json(429, body)).await;
    let spare = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let config = format!(
        "[providers.google]\nkind = \"gemini\"\nbase_url = \"{}\"\napi_key = \"k\"\n{}[models.pair]\ntargets = \
         [{{ provider = \"google\", model = \"gemini-d\" }}, {{ provider = \"spare\", model = \"m\", priority = 1 }}]\n",
        google.origin(),
        bodies::openai_provider("spare", &spare.origin())
    );
    let gateway = Gateway::start(&config).await;
    let turn = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#;
    for (path, body) in [
        ("/v1/chat/completions", bodies::chat("google/gemini-a")),
        ("/v1/messages", bodies::message("google/gemini-b", true)),
        ("/v1beta/models/google/gemini-c:generateContent", turn.into()),
    ] {
        let reply = exchange(gateway.addr, &Request::post(path, body)).await;
        let told = (reply.status, reply.header("retry-after"), reply.header("retry-after-ms"));
        assert_eq!(told, (429, "35", "34500"), "{path}: {}", reply.text());
    }
    for (asked, body) in [(4, bodies::chat_stream("pair")), (4, bodies::chat("pair"))] {
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", body)).await;
        assert_eq!((reply.status, google.count()), (200, asked), "it rests: {}", reply.text());
        assert!(!reply.headers.contains_key("retry-after"), "that was another one's: {:?}", reply.headers);
    }
}
