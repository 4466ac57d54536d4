//! What the gateway refuses by itself, each in the dialect of the path, without an attempt, and with the connection good
//! for the next request.

use ai_gateway_tests::client::{Connection, Framing, Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Stub, bodies};
use serde_json::Value;

async fn bench() -> (Stub, Gateway) {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let origin = stub.origin();
    let config = format!(
        "[providers.stub]\nkind = \"openai\"\nbase_url = \"{origin}/v1\"\napi_key = \"k\"\n{}",
        bodies::anthropic_provider("claude", &origin)
    );
    (stub, Gateway::start(&config).await)
}

/// Panics unless the reply is an error in the shape of the dialect of `target`; returns its type and message.
fn error_of(target: &str, reply: &Reply) -> (String, String) {
    assert!(reply.complete, "{target}: cut");
    assert_eq!(reply.header("content-type"), "application/json", "{target}: {}", reply.text());
    assert!(!reply.header("x-request-id").is_empty(), "{target}: no x-request-id");
    let body = reply.json();
    let error = &body["error"];
    let message = error["message"].as_str().unwrap_or_else(|| panic!("{target}: {body}"));
    assert!(!message.is_empty(), "{target}: {body}");
    let kind = error["type"].as_str().unwrap_or_else(|| panic!("{target}: {body}"));
    if target.contains("/messages") {
        assert_eq!(body["type"], "error", "{target}: {body}");
        assert_eq!(body["request_id"], reply.header("x-request-id"), "{target}: {body}");
        assert_eq!(body["request_id"], reply.header("request-id"), "{target}: {body}");
    } else {
        let error = error.as_object().unwrap();
        assert!(error.contains_key("code") && error.contains_key("param"), "{target}: {body}");
        assert!(!body.as_object().unwrap().contains_key("type"), "{target}: {body}");
    }
    (kind.to_owned(), message.to_owned())
}

fn nested(depth: usize) -> String {
    let (open, close) = ("[".repeat(depth), "]".repeat(depth));
    format!(r#"{{"model":"stub/m","x":{open}{close},"messages":[]}}"#)
}

#[tokio::test]
async fn bad_bodies() {
    let (stub, mut gateway) = bench().await;
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("nothing", b"".to_vec(), 400),
        ("blanks", b" \r\n\t ".to_vec(), 400),
        ("one byte", b"{".to_vec(), 400),
        ("no JSON", b"model=stub/m".to_vec(), 400),
        ("an array", br#"[{"model":"stub/m"}]"#.to_vec(), 400),
        ("a string", br#""stub/m""#.to_vec(), 400),
        ("cut in a string", br#"{"model":"stub/m","messages":[{"role":"us"#.to_vec(), 400),
        ("cut at the end", br#"{"model":"stub/m","messages":[]"#.to_vec(), 400),
        ("two documents", br#"{"model":"stub/m"}{"model":"stub/m"}"#.to_vec(), 400),
        ("trailing text", br#"{"model":"stub/m"} x"#.to_vec(), 400),
        ("trailing comma", br#"{"model":"stub/m",}"#.to_vec(), 400),
        ("single quotes", b"{'model':'stub/m'}".to_vec(), 400),
        ("NaN", br#"{"model":"stub/m","temperature":NaN}"#.to_vec(), 400),
        ("leading zero", br#"{"model":"stub/m","seed":012}"#.to_vec(), 400),
        ("raw control character", b"{\"model\":\"stub/m\",\"x\":\"a\nb\"}".to_vec(), 400),
        ("invalid UTF-8", b"{\"model\":\"stub/m\",\"x\":\"\xff\xfe\"}".to_vec(), 400),
        ("cut UTF-8", b"{\"model\":\"stub/m\",\"x\":\"\xe2\x82\"}".to_vec(), 400),
        ("overlong UTF-8", b"{\"model\":\"stub/m\",\"x\":\"\xc0\xaf\"}".to_vec(), 400),
        ("UTF-16", "{\"model\":\"stub/m\"}".encode_utf16().flat_map(u16::to_le_bytes).collect(), 400),
        ("NUL bytes", vec![0; 100], 400),
        ("bad escape", br#"{"model":"stub/m","x":"\q"}"#.to_vec(), 400),
        ("no model", br#"{"messages":[]}"#.to_vec(), 400),
        ("null model", br#"{"model":null,"messages":[]}"#.to_vec(), 400),
        ("number as model", br#"{"model":5,"messages":[]}"#.to_vec(), 400),
        ("object as model", br#"{"model":{"model":"stub/m"}}"#.to_vec(), 400),
        ("empty model", br#"{"model":"","messages":[]}"#.to_vec(), 400),
        ("two models", br#"{"model":"stub/m","messages":[],"model":"stub/n"}"#.to_vec(), 400),
        ("two models, one escaped", br#"{"model":"stub/m","m\u006fdel":"stub/n"}"#.to_vec(), 400),
        ("model only inside", br#"{"metadata":{"model":"stub/m"}}"#.to_vec(), 400),
        ("stream is no boolean", br#"{"model":"stub/m","stream":"yes"}"#.to_vec(), 400),
        ("endless nesting", nested(200_000).into_bytes(), 400),
        ("unclosed nesting", "[".repeat(1_000_000).into_bytes(), 400),
        ("unclosed objects", r#"{"a":"#.repeat(300_000).into_bytes(), 400),
    ];
    for target in ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"] {
        for framing in [Framing::Length, Framing::Chunked(60_000), Framing::H2(16_384)] {
            let mut client = Connection::for_framing(gateway.addr, framing).await;
            for (what, body, status) in &cases {
                let reply = client.exchange(&Request::post(target, body.clone()).framing(framing)).await;
                assert_eq!(reply.status, *status, "{what} at {target} ({framing:?}): {}", reply.text());
                let (kind, message) = error_of(target, &reply);
                assert_eq!(kind, "invalid_request_error", "{what} at {target}: {message}");
            }
        }
    }
    assert_eq!(stub.count(), 0, "a refused request reached the upstream");
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", bodies::chat("stub/m"))).await;
    assert_eq!(reply.status, 200);
    gateway.assert_healthy().await;
}

/// Large but well-formed: passed on.
#[tokio::test]
async fn odd_but_good_bodies() {
    let (stub, mut gateway) = bench().await;
    let keys: Vec<String> = (0..100_000).map(|i| format!(r#""k{i}":{i}"#)).collect();
    let many_keys = format!(r#"{{{},"model":"stub/m"}}"#, keys.join(","));
    let long_name = format!(r#"{{"{}":1,"model":"stub/m"}}"#, "k".repeat(1_000_000));
    let bodies = [many_keys, nested(50), long_name, format!("{}{}", " ".repeat(100_000), r#"{"model":"stub/m"}"#)];
    for body in bodies {
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", body.clone())).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(stub.next().await.body == body.replace("stub/m", "m"));
    }
    gateway.assert_healthy().await;
}

#[tokio::test]
async fn unknown_models() {
    let (stub, gateway) = bench().await;
    for model in ["nothing", "nobody/m", "stub", "stub/", "/m", "a\\u0000b", "\\ud800", "x\\r\\ny: z"] {
        for target in ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens"] {
            let body = format!(r#"{{"model":"{model}","max_tokens":1,"messages":[]}}"#);
            let reply = exchange(gateway.addr, &Request::post(target, body)).await;
            assert!(matches!(reply.status, 400 | 404), "{model} at {target}: {} {}", reply.status, reply.text());
            let (kind, _) = error_of(target, &reply);
            if matches!(model, "nothing" | "nobody/m" | "stub") {
                assert_eq!(reply.status, 404, "{model} at {target}: {}", reply.text());
                let expected = if target.contains("messages") { "not_found_error" } else { "invalid_request_error" };
                assert_eq!(kind, expected);
                if expected == "invalid_request_error" {
                    assert_eq!(reply.json()["error"]["code"], "model_not_found");
                }
            }
        }
    }
    assert_eq!(stub.count(), 0);
}

#[tokio::test]
async fn wrong_paths_and_methods() {
    let (stub, gateway) = bench().await;
    for framing in [Framing::Length, Framing::H2(100)] {
        let mut client = Connection::for_framing(gateway.addr, framing).await;
        for (method, target, status) in [
            ("GET", "/", 404),
            ("POST", "/", 404),
            ("GET", "/v1", 404),
            ("POST", "/v1/nothing", 404),
            ("POST", "/v1/chat/completions/more", 404),
            ("POST", "/v1/messages/nothing", 404),
            ("POST", "/anthropic/v1/messages/nothing", 404),
            ("POST", "/v1/../v1/chat/completions", 404),
            ("POST", "/v1/v1/chat/completions", 404),
            ("GET", "/v1/chat/completions", 405),
            ("DELETE", "/v1/chat/completions", 405),
            ("PUT", "/v1/responses", 405),
            ("GET", "/v1/messages", 405),
            ("POST", "/v1/models", 405),
            ("POST", "/v1/responses/compact", 501),
        ] {
            let mut request = Request::post(target, bodies::chat("stub/m")).framing(framing);
            request.method = method.into();
            let reply = client.exchange(&request).await;
            assert_eq!(reply.status, status, "{method} {target}: {}", reply.text());
            error_of(if target.starts_with("/v1/messages") { "/messages" } else { target }, &reply);
            if status == 405 {
                let allow = reply.header("allow");
                assert!(allow == "POST" || allow.contains("GET"), "{method} {target}: allow: {allow:?}");
            }
        }
    }
    assert_eq!(stub.count(), 0);
}

/// Codex tries a WebSocket first. Told with 426 that there is none, it asks over HTTP at once; with any other status it tries
/// five times more.
#[tokio::test]
async fn there_is_no_web_socket() {
    let (stub, gateway) = bench().await;
    let upgrade = Request::get("/v1/responses").header("connection", "Upgrade").header("upgrade", "websocket");
    let reply = exchange(gateway.addr, &upgrade.header("sec-websocket-version", "13")).await;
    assert_eq!((reply.status, reply.header("upgrade")), (426, "HTTP/1.1"), "{}", reply.text());
    assert_eq!(reply.json()["error"]["code"], "no_web_socket");
    assert_eq!(stub.count(), 0);
}

/// The official SDKs try a 5xx again unless they are told not to, and Claude Code does so for minutes.
#[tokio::test]
async fn what_is_never_supported_is_not_to_be_tried_again() {
    let (_stub, gateway) = bench().await;
    let reply = exchange(gateway.addr, &Request::post("/v1/responses/compact", bodies::chat("stub/m"))).await;
    assert_eq!((reply.status, reply.header("x-should-retry")), (501, "false"), "{}", reply.text());
}

/// Health and metrics are never on the public listener.
#[tokio::test]
async fn admin_paths_are_not_public() {
    let (_stub, gateway) = bench().await;
    for target in ["/metrics", "/health/live", "/health/ready", "/api/config", "/api/"] {
        let reply = exchange(gateway.addr, &Request::get(target)).await;
        assert_eq!(reply.status, 404, "{target}: {}", reply.text());
    }
    for target in ["/health/live", "/health/ready", "/metrics"] {
        let reply = exchange(gateway.admin, &Request::get(target)).await;
        assert_eq!(reply.status, 200, "{target}: {}", reply.text());
    }
    let reply = exchange(gateway.admin, &Request::post("/v1/chat/completions", bodies::chat("stub/m"))).await;
    assert!(matches!(reply.status, 404 | 405), "{}", reply.status);
}

#[tokio::test]
async fn a_multipart_form_without_model_is_refused() {
    let (stub, gateway) = bench().await;
    let part =
        |name: &str, value: &str| format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let cases = [
        ("multipart/form-data; boundary=b", format!("{}--b--\r\n", part("file", "x"))),
        ("multipart/form-data; boundary=b", part("model", "stub/m")),
        ("multipart/form-data; boundary=other", format!("{}--b--\r\n", part("model", "stub/m"))),
        ("multipart/form-data", format!("{}--b--\r\n", part("model", "stub/m"))),
        ("multipart/form-data; boundary=b", format!("{}{}--b--\r\n", part("model", "stub/m"), part("model", "stub/n"))),
        ("multipart/form-data; boundary=b", String::new()),
    ];
    for (content_type, body) in cases {
        let mut request = Request::post("/v1/audio/transcriptions", body.clone());
        request.headers = vec![("content-type".into(), content_type.into())];
        let reply = exchange(gateway.addr, &request).await;
        assert_eq!(reply.status, 400, "{content_type} {body:?}: {}", reply.text());
        error_of("/v1/audio/transcriptions", &reply);
    }
    assert_eq!(stub.count(), 0);
}

/// The access log names the fault and never the content.
#[tokio::test]
async fn refusals_are_logged_without_content() {
    let (_stub, gateway) = bench().await;
    let body = r#"{"model":"nobody/m","messages":[{"role":"user","content":"a-secret-prompt"}]}"#;
    let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions?key=a-secret-key", body)).await;
    let log = gateway.log_of(reply.header("x-request-id")).await;
    assert_eq!((&log["status"], &log["path"]), (&Value::from(404), &Value::from("/v1/chat/completions")), "{log}");
    assert_eq!(log["fault"], "caller", "{log}");
    let (out, err) = gateway.output();
    for line in out.iter().chain(&err) {
        assert!(!line.contains("a-secret"), "leaked: {line}");
    }
}

/// It would be paid for all the same.
#[tokio::test]
async fn without_messages_no_provider_of_another_dialect_is_asked() {
    let (stub, gateway) = bench().await;
    for (target, body) in [
        ("/v1/chat/completions", r#"{"model":"claude/m","messages":[]}"#),
        ("/v1/messages", r#"{"model":"stub/m","max_tokens":9,"system":"Be brief.","messages":[]}"#),
        ("/v2/chat", r#"{"model":"stub/m","messages":[]}"#),
        ("/v1beta/models/stub/m:generateContent", "{}"),
        ("/model/stub%2Fm/converse", "{}"),
    ] {
        let reply = exchange(gateway.addr, &Request::post(target, body)).await;
        assert_eq!(reply.status, 400, "{target}: {}", reply.text());
        assert!(reply.text().contains("there are no messages"), "{target}: {}", reply.text());
    }
    assert_eq!(stub.count(), 0);
}
