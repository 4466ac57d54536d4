//! Client keys: every way to send one, what a wrong one gets, what a key may use, and that none travels upstream.

use ai_gateway_tests::client::{Connection, Framing, H1, Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Stub, bodies, run_to_end};
use serde_json::Value;

async fn bench() -> (Stub, Gateway) {
    let stub = Stub::always(Answer::json(200, bodies::chat_answer("fine"))).await;
    let origin = stub.origin();
    let config = format!(
        r#"
        {}
        {}
        [models.assistant]
        targets = [{{ provider = "stub", model = "m" }}]
        [models.other]
        targets = [{{ provider = "stub", model = "m" }}]
        [models.haiku]
        targets = [{{ provider = "claude", model = "m" }}]
        [[keys]]
        name = "all"
        hash = "{}"
        models = ["*"]
        [[keys]]
        name = "one"
        hash = "{}"
        models = ["assistant", "stub/gpt-*"]
        "#,
        bodies::openai_provider("stub", &origin),
        bodies::anthropic_provider("claude", &origin),
        bodies::key_hash("sk-all"),
        bodies::key_hash("sk-one"),
    );
    (stub, Gateway::start(&config).await)
}

/// The ways to send a key: a header, or the query.
const WAYS: [&str; 7] =
    ["authorization", "Authorization: bearer", "x-api-key", "api-key", "x-goog-api-key", "?key=", "?alt=sse&key="];

fn with_key(request: Request, way: &str, key: &str) -> Request {
    match way {
        "authorization" => request.header("authorization", &format!("Bearer {key}")),
        "Authorization: bearer" => request.header("Authorization", &format!("bearer {key}")),
        query if query.starts_with('?') => Request { target: format!("{}{query}{key}", request.target), ..request },
        header => request.header(header, key),
    }
}

#[tokio::test]
async fn every_way_is_accepted_and_stripped() {
    let (stub, gateway) = bench().await;
    for (target, model) in [("/v1/chat/completions", "assistant"), ("/v1/messages", "haiku")] {
        for way in WAYS {
            for framing in [Framing::Length, Framing::H2(100)] {
                let request = Request::post(target, bodies::message(model, false)).framing(framing);
                let request = if framing == Framing::Length || way != "Authorization: bearer" {
                    with_key(request, way, "sk-all")
                } else {
                    with_key(request, "authorization", "sk-all")
                };
                let reply = exchange(gateway.addr, &request).await;
                assert_eq!(reply.status, 200, "{target} {way}: {}", reply.text());
                let received = stub.next().await;
                let everything = format!("{} {:?}", received.target, received.headers);
                assert!(!everything.contains("sk-all"), "{way}: the client's key went upstream: {everything}");
                assert!(!received.target.contains("key="), "{way}: {}", received.target);
                let (own, others) = if target == "/v1/messages" {
                    assert_eq!(received.header("x-api-key"), "upstream-claude");
                    ("x-api-key", ["authorization", "api-key", "x-goog-api-key"])
                } else {
                    assert_eq!(received.header("authorization"), "Bearer upstream-stub");
                    ("authorization", ["x-api-key", "api-key", "x-goog-api-key"])
                };
                assert_eq!(received.headers.get_all(own).iter().count(), 1);
                for other in others {
                    assert!(!received.headers.contains_key(other), "{way}: {other} went upstream");
                }
            }
        }
    }
}

/// Only the key is taken out of the query; what is left travels on as it was spelled.
#[tokio::test]
async fn the_rest_of_the_query_stays() {
    let (stub, gateway) = bench().await;
    for (query, upstream) in [
        ("?key=sk-all", ""),
        ("?a=1&key=sk-all&b=%20x", "?a=1&b=%20x"),
        ("?key=sk%2Dall&a=1", "?a=1"),
        ("?a&b=&key=sk-all", "?a&b="),
        ("?monkey=1&key=sk-all&keys=2", "?monkey=1&keys=2"),
    ] {
        let target = format!("/v1/chat/completions{query}");
        let reply = exchange(gateway.addr, &Request::post(&target, bodies::chat("assistant"))).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        assert_eq!(stub.next().await.target, format!("/v1/chat/completions{upstream}"), "{query}");
    }
}

/// Also what else could carry a credential or mislead the upstream.
#[tokio::test]
async fn nothing_of_the_client_connection_goes_upstream() {
    let (stub, gateway) = bench().await;
    let request = with_key(Request::post("/v1/chat/completions", bodies::chat("assistant")), "authorization", "sk-all")
        .header("x-api-key", "sk-all")
        .header("cookie", "session=secret")
        .header("proxy-authorization", "Basic secret")
        .header("connection", "x-hop, keep-alive")
        .header("x-hop", "1")
        .header("keep-alive", "timeout=5")
        .header("te", "trailers")
        .header("upgrade", "h2c")
        .header("x-forwarded-for", "1.2.3.4");
    assert_eq!(exchange(gateway.addr, &request).await.status, 200);
    let received = stub.next().await;
    for name in ["x-api-key", "cookie", "proxy-authorization", "x-hop", "keep-alive", "te", "upgrade"] {
        assert!(!received.headers.contains_key(name), "{name} went upstream: {:?}", received.headers);
    }
    assert_eq!(received.header("host"), stub.addr.to_string());
}

#[tokio::test]
async fn no_key_or_a_wrong_one_is_401_in_the_dialect() {
    let (stub, gateway) = bench().await;
    for target in ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/messages", "/v1/models"] {
        let attempts =
            [None, Some("wrong"), Some(""), Some("sk-al"), Some("sk-alll"), Some("SK-ALL"), Some("sk-all,sk-one")];
        for key in attempts {
            for way in if key.is_some() { &WAYS[..] } else { &WAYS[..1] } {
                let request = match target {
                    "/v1/models" => Request::get(target),
                    _ => Request::post(target, bodies::chat("assistant")),
                };
                let request = if let Some(key) = key { with_key(request, way, key) } else { request };
                let reply = exchange(gateway.addr, &request).await;
                assert_eq!(reply.status, 401, "{target} {way} {key:?}: {}", reply.text());
                let body = reply.json();
                // `x-api-key` alone is how Anthropic's clients come, `x-goog-api-key` is how Google's do: it decides the shape where
                // vendors share a path.
                if target == "/v1/messages" || (target == "/v1/models" && *way == "x-api-key") {
                    assert_eq!(
                        (&body["type"], &body["error"]["type"]),
                        (&"error".into(), &"authentication_error".into())
                    );
                } else if target == "/v1/models" && *way == "x-goog-api-key" {
                    assert_eq!(
                        (&body["error"]["code"], &body["error"]["status"]),
                        (&401.into(), &"UNAUTHENTICATED".into())
                    );
                } else {
                    assert_eq!(body["error"]["code"], "invalid_api_key", "{body}");
                }
                assert!(!reply.text().contains("sk-a"), "the key came back: {}", reply.text());
            }
        }
    }
    assert_eq!(stub.count(), 0);
}

/// The 401 comes although the body never does, and a short body that does come leaves the connection usable.
#[tokio::test]
async fn the_key_is_checked_before_the_body_is_read() {
    let (_stub, gateway) = bench().await;
    for framing in ["content-length: 1000000", "transfer-encoding: chunked"] {
        let mut client = H1::connect(gateway.addr).await;
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: wrong\r\n{framing}\r\n\r\n");
        client.send_raw(head.as_bytes()).await;
        assert_eq!(client.reply().await.expect("an answer before the body").status, 401, "{framing}");
    }
    let mut client = H1::connect(gateway.addr).await;
    for key in ["wrong", "sk-all", "wrong", "sk-all"] {
        let request = Request::post("/v1/chat/completions", bodies::chat("assistant")).header("x-api-key", key);
        let reply = client.exchange(&request).await;
        assert_eq!(reply.status, if key == "wrong" { 401 } else { 200 });
    }
}

#[tokio::test]
async fn a_key_uses_only_its_models() {
    let (stub, gateway) = bench().await;
    let ask = async |model: &str, target: &str| {
        let request = Request::post(target, bodies::message(model, false)).header("x-api-key", "sk-one");
        exchange(gateway.addr, &request).await
    };
    for model in ["assistant", "stub/gpt-5", "stub/gpt-"] {
        let reply = ask(model, "/v1/chat/completions").await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
    }
    let allowed = stub.count();
    for model in ["other", "stub/other", "stub/xgpt-5", "assistant2", "Assistant", "haiku", "missing", "claude/gpt-5"] {
        for target in ["/v1/chat/completions", "/v1/messages"] {
            let reply = ask(model, target).await;
            assert!(matches!(reply.status, 403 | 404), "{model} {target}: {} {}", reply.status, reply.text());
            let kind = &reply.json()["error"]["type"];
            let expected: &[&str] = match target {
                "/v1/messages" => &["not_found_error", "permission_error"],
                _ => &["invalid_request_error", "permission_error"],
            };
            assert!(expected.contains(&kind.as_str().unwrap_or_default()), "{model}: {}", reply.text());
        }
    }
    // A key must not learn which names exist beyond its own.
    let forbidden = ask("other", "/v1/chat/completions").await;
    let missing = ask("missing", "/v1/chat/completions").await;
    assert_eq!(forbidden.status, missing.status);
    assert_eq!(forbidden.text().replace("other", "x"), missing.text().replace("missing", "x"));
    assert_eq!(stub.count(), allowed, "a forbidden model was asked for");
}

#[tokio::test]
async fn models_are_listed_per_key_in_the_clients_shape() {
    let (stub, gateway) = bench().await;
    let list = async |key: &str, anthropic: bool, target: &str| {
        let request = Request::get(target);
        let request = if anthropic {
            request.header("x-api-key", key).header("anthropic-version", "2023-06-01")
        } else {
            request.header("authorization", &format!("Bearer {key}"))
        };
        exchange(gateway.addr, &request).await
    };
    let ids = |list: &Value| -> Vec<String> {
        list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = list("sk-all", false, "/v1/models").await;
    assert_eq!(all.status, 200, "{}", all.text());
    let all = all.json();
    assert_eq!(all["object"], "list");
    for model in ["assistant", "other", "haiku"] {
        assert!(ids(&all).contains(&model.to_owned()), "{all}");
    }
    for model in all["data"].as_array().unwrap() {
        assert_eq!(model["object"], "model");
        assert!(model["created"].is_u64() && model["owned_by"].is_string(), "{model}");
    }
    let one = list("sk-one", false, "/v1/models").await.json();
    assert_eq!(ids(&one), ["assistant"]);

    let claude = list("sk-all", true, "/v1/models").await.json();
    assert_eq!(ids(&claude).len(), ids(&all).len());
    assert_eq!(claude["has_more"], false);
    assert!(claude["first_id"].is_string() && claude["last_id"].is_string(), "{claude}");
    for model in claude["data"].as_array().unwrap() {
        assert_eq!(model["type"], "model");
        assert!(model["display_name"].is_string() && model["created_at"].is_string(), "{model}");
    }

    let codex = Request::get("/v1/models?client_version=0.169.0").header("authorization", "Bearer sk-one");
    let codex = exchange(gateway.addr, &codex.header("originator", "codex_exec")).await.json();
    let slugs: Vec<_> = codex["models"].as_array().unwrap().iter().map(|model| &model["slug"]).collect();
    assert_eq!(slugs, ["assistant"], "{codex}");

    let one = list("sk-one", false, "/v1/models/assistant").await;
    assert_eq!((one.status, &one.json()["id"]), (200, &"assistant".into()), "{}", one.text());
    let one = list("sk-one", true, "/v1/models/assistant").await;
    assert_eq!((one.status, &one.json()["type"]), (200, &"model".into()), "{}", one.text());
    for missing in ["other", "missing"] {
        let reply = list("sk-one", false, &format!("/v1/models/{missing}")).await;
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (404, &"model_not_found".into()));
        let reply = list("sk-one", true, &format!("/v1/models/{missing}")).await;
        assert_eq!((reply.status, &reply.json()["error"]["type"]), (404, &"not_found_error".into()));
    }
    assert_eq!(stub.count(), 0, "/v1/models is answered locally");
}

/// A picker of a gateway that was only given providers is not empty.
#[tokio::test]
async fn what_the_price_map_knows_is_listed_where_no_models_are_named() {
    let list = async |more: &str, key: &str| {
        let providers = "[providers.ant]\nkind = \"anthropic\"\napi_key = \"k\"\n[providers.oai]\nkind = \"openai\"\napi_key = \"k\"\n";
        let gateway = Gateway::start(&format!("{providers}{more}")).await;
        let request = Request::get("/v1/models").header("authorization", &format!("Bearer {key}"));
        let list = exchange(gateway.addr, &request).await.json();
        let names = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let all = list("", "any").await;
    for name in ["ant/claude-sonnet-4-5", "oai/gpt-4o", "oai/text-embedding-3-small"] {
        assert!(all.iter().any(|listed| listed == name), "{name}: {all:?}");
    }
    let model = "[models.assistant]\ntargets = [{ provider = \"oai\", model = \"gpt-4o\" }]\n";
    assert_eq!(list(model, "any").await, ["assistant"]);
    let key = |models: &str| {
        format!("{model}[[keys]]\nname = \"k\"\nhash = \"{}\"\nmodels = {models}\n", bodies::key_hash("sk"))
    };
    assert_eq!(list(&key("[\"*\"]"), "sk").await, ["assistant"]);
    let claude = list(&key("[\"ant/claude-*\"]"), "sk").await;
    assert!(claude.len() > 5 && claude.iter().all(|name| name.starts_with("ant/claude-")), "{claude:?}");
}

/// Whoever opens a page on this machine lets it speak to the loopback address.
#[tokio::test]
async fn without_keys_pages_of_other_sites_are_refused() {
    let (stub, _) = bench().await;
    let open = Gateway::start(&bodies::openai_provider("stub", &stub.origin())).await;
    let ask = async |name: &str, value: &str| {
        let request = Request::post("/v1/chat/completions", bodies::chat("stub/m"));
        exchange(open.addr, &request.header(name, value)).await
    };
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        let reply = ask(name, value).await;
        assert_eq!(
            (reply.status, &reply.json()["error"]["code"]),
            (403, &"permission_denied".into()),
            "{}",
            reply.text()
        );
    }
    assert_eq!(stub.count(), 0);
    for (name, value) in [("sec-fetch-site", "same-origin"), ("origin", "http://localhost:3000"), ("x-a", "b")] {
        assert_eq!(ask(name, value).await.status, 200, "{name}");
    }
}

/// Keep-alive and HTTP/2 carry different keys on one connection without mixing them up.
#[tokio::test]
async fn each_request_has_its_own_key() {
    let (_stub, gateway) = bench().await;
    for framing in [Framing::Length, Framing::H2(100)] {
        let mut client = Connection::for_framing(gateway.addr, framing).await;
        for (key, model, status) in
            [("sk-all", "other", 200), ("sk-one", "other", 404), ("sk-one", "assistant", 200), ("", "assistant", 401)]
        {
            let mut request = Request::post("/v1/chat/completions", bodies::chat(model)).framing(framing);
            if !key.is_empty() {
                request = request.header("x-api-key", key);
            }
            assert_eq!(client.exchange(&request).await.status, status, "{key} {model}");
        }
    }
}

/// The log names the key and holds none.
#[tokio::test]
async fn the_log_names_the_key_only() {
    let (_stub, gateway) = bench().await;
    for way in WAYS {
        let request = with_key(Request::post("/v1/chat/completions", bodies::chat("assistant")), way, "sk-all");
        let reply = exchange(gateway.addr, &request).await;
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert_eq!((&log["key"], &log["provider"]), (&"all".into(), &"stub".into()), "{log}");
    }
    let metrics = exchange(gateway.admin, &Request::get("/metrics")).await.text();
    let (out, err) = gateway.output();
    for text in out.iter().chain(&err).chain([&metrics]) {
        for secret in ["sk-all", "sk-one", "upstream-stub", "upstream-claude"] {
            assert!(!text.contains(secret), "leaked {secret}: {text}");
        }
    }
}

#[test]
fn a_public_listener_without_keys_is_refused() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let config =
            format!("[server]\nlisten = [\"{listen}\"]\nadmin = \"127.0.0.1:0\"\n[providers.m]\nkind = \"mock\"");
        for command in [&["run", "--config", "{config}"][..], &["check", "{config}"]] {
            let outcome = run_to_end(command, &config, &[]);
            assert_eq!(outcome.code, Some(1), "{command:?}: {outcome:?}");
            assert!(outcome.stderr.contains("keys") || outcome.stdout.contains("keys"), "{outcome:?}");
        }
    }
}
