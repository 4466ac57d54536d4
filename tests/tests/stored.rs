//! Answers that a provider keeps (Responses): only the provider that made one is asked for it, and only by the key that it
//! was made for.

use ai_gateway_tests::bodies::responses_provider;
use ai_gateway_tests::client::{H1, Request, exchange};
use ai_gateway_tests::{Answer, Gate, Gateway, Step, Stub};
use serde_json::json;
use sha2::{Digest, Sha256};

fn answer(id: &str) -> Answer {
    Answer::json(
        200,
        json!({
            "id": id, "object": "response", "status": "completed", "model": "m", "error": null,
            "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "hi", "annotations": []}]}],
            "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
        })
        .to_string(),
    )
}

fn key(name: &str) -> String {
    format!("[[keys]]\nname = \"{name}\"\nhash = \"sha256:{}\"\n", hex::encode(Sha256::digest(format!("key-{name}"))))
}

fn by(key: &str, method: &str, target: &str, body: &str) -> Request {
    let mut request = Request::post(target, body.to_owned()).header("authorization", &format!("Bearer key-{key}"));
    if method != "POST" {
        request = Request::get(target).header("authorization", &format!("Bearer key-{key}"));
        request.method = method.into();
    }
    request
}

#[tokio::test]
async fn a_stored_answer_goes_back_to_its_maker_for_its_key_only() {
    let (first, second) = (Stub::start(|_| answer("resp_first")).await, Stub::start(|_| answer("resp_second")).await);
    let both = "[models.both]\ntargets = [{ provider = \"first\", model = \"m\" }, { provider = \"second\", model = \"m\" }]\n";
    let config = [
        responses_provider("first", &first.origin()),
        responses_provider("second", &second.origin()),
        both.into(),
        key("a"),
        key("b"),
    ]
    .concat();
    let gateway = Gateway::start(&config).await;

    let made = exchange(gateway.addr, &by("a", "POST", "/v1/responses", r#"{"model":"second/m","input":"hi"}"#)).await;
    assert_eq!((made.status, made.json()["id"].as_str()), (200, Some("resp_second")), "{}", made.text());
    second.next().await;

    for (method, target, upstream) in [
        ("GET", "/v1/responses/resp_second", "/v1/responses/resp_second"),
        ("GET", "/v1/responses/resp_second/input_items?limit=2", "/v1/responses/resp_second/input_items?limit=2"),
        ("POST", "/v1/responses/resp_second/cancel", "/v1/responses/resp_second/cancel"),
        ("DELETE", "/openai/v1/responses/resp_second", "/v1/responses/resp_second"),
    ] {
        let reply = exchange(gateway.addr, &by("a", method, target, "")).await;
        assert_eq!(reply.status, 200, "{method} {target}: {}", reply.text());
        let received = second.next().await;
        assert_eq!((received.method.as_str(), received.target.as_str()), (method, upstream));
        assert_eq!(received.header("authorization"), "Bearer upstream-second");
        let log = gateway.log_of(reply.header("x-request-id")).await;
        assert!(log["tokens"].is_null(), "nothing was consumed: {log}");
        // Somebody else's answer is no answer.
        let reply = exchange(gateway.addr, &by("b", method, target, "")).await;
        assert_eq!(reply.status, 404, "{method} {target}: {}", reply.text());
    }

    let follow = r#"{"model":"both","input":"more","previous_response_id":"resp_second"}"#;
    for _ in 0..5 {
        let reply = exchange(gateway.addr, &by("a", "POST", "/v1/responses", follow)).await;
        assert_eq!((reply.status, reply.header("x-gateway-provider")), (200, "second"), "{}", reply.text());
        second.next().await;
    }
    let reply = exchange(gateway.addr, &by("b", "POST", "/v1/responses", follow)).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(reply.json()["error"]["code"], "previous_response_not_found");
    assert_eq!(first.count(), 0);
}

/// Several keys of a provider may be of different accounts, and what one of them made no other one finds.
#[tokio::test]
async fn a_stored_answer_is_asked_for_with_the_credential_that_made_it() {
    let stub = Stub::start(|request| {
        let id = format!("resp_{}", request.header("authorization").trim_start_matches("Bearer "));
        let named = match request.method.as_str() {
            "POST" if !request.body.is_empty() => request.json()["previous_response_id"].as_str().map(str::to_owned),
            _ => request.target.split('/').nth(3).map(str::to_owned),
        };
        if named.is_none_or(|named| named == id) {
            answer(&id)
        } else {
            Answer::json(404, r#"{"error":{"message":"no"}}"#)
        }
    })
    .await;
    let keys = responses_provider("openai", &stub.origin())
        .replace("api_key = \"upstream-openai\"", "api_keys = [\"ka\", \"kb\", \"kc\"]");
    let gateway = Gateway::start(&[keys, key("a")].concat()).await;
    let ask = async |method: &str, target: &str, body: &str| {
        let reply = exchange(gateway.addr, &by("a", method, target, body)).await;
        assert_eq!(reply.status, 200, "{method} {target} {body}: {}", reply.text());
        reply.json()["id"].as_str().unwrap().to_owned()
    };
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(ask("POST", "/v1/responses", r#"{"model":"openai/m","input":"hi"}"#).await);
    }
    made.sort();
    assert_eq!(made, ["resp_ka", "resp_kb", "resp_kc"], "they take turns");
    for id in made {
        let at = format!("/v1/responses/{id}");
        let follow = json!({"model": "openai/m", "input": "more", "previous_response_id": id}).to_string();
        for (method, target, body) in [
            ("GET", &*at, ""),
            ("POST", &format!("{at}/cancel"), ""),
            ("POST", "/v1/responses", &follow),
            ("DELETE", &at, ""),
        ] {
            assert_eq!(ask(method, target, body).await, id, "{method} {target}");
        }
    }
}

/// While it is still made: `cancel` is of use only then.
#[tokio::test]
async fn an_answer_is_found_while_it_streams() {
    let gate = Gate::new();
    let held = gate.clone();
    let stub = Stub::start(move |request| {
        if request.target != "/v1/responses" {
            return answer("resp_now");
        }
        let created = json!({"type": "response.created", "sequence_number": 0,
            "response": {"id": "resp_now", "object": "response", "status": "in_progress", "output": []}});
        let delta = json!({"type": "response.output_text.delta", "sequence_number": 1, "item_id": "msg_1",
            "output_index": 0, "content_index": 0, "delta": "hi"});
        let done = json!({"type": "response.completed", "sequence_number": 2,
            "response": {"id": "resp_now", "object": "response", "status": "completed", "output": []}});
        let event =
            |event: &serde_json::Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
        Answer::sse([event(&created), event(&delta)])
            .step(Step::Wait(held.clone()))
            .step(Step::Send(event(&done).into()))
    })
    .await;
    let other = Stub::start(|_| answer("resp_other")).await;
    let config = responses_provider("stub", &stub.origin()) + &responses_provider("other", &other.origin());
    let gateway = Gateway::start(&config).await;
    let mut client = H1::connect(gateway.addr).await;
    let asked = r#"{"model":"stub/m","input":"hi","stream":true,"background":true}"#;
    client.send(&Request::post("/v1/responses", asked)).await;
    let mut stream = client.respond().await;
    stream.until("output_text.delta").await;
    let found = exchange(gateway.addr, &Request::get("/v1/responses/resp_now")).await;
    assert_eq!(found.status, 200, "{}", found.text());
    let cancelled = exchange(gateway.addr, &Request::post("/v1/responses/resp_now/cancel", "")).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text());
    gate.open();
    stream.until("response.completed").await;
    assert_eq!(other.count(), 0);
}

/// Without keys and with one provider that can have made it, an answer from before a restart is still found.
#[tokio::test]
async fn without_keys_the_only_provider_is_asked() {
    let stub = Stub::start(|_| answer("resp_old")).await;
    let gateway = Gateway::start(&responses_provider("only", &stub.origin())).await;
    let mut request = Request::get("/v1/responses/resp_old");
    request.method = "GET".into();
    let reply = exchange(gateway.addr, &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(stub.next().await.target, "/v1/responses/resp_old");
}

/// Anthropic's SDK begins a thread unasked and then sends only what is new.
#[tokio::test]
async fn a_thread_goes_on_where_it_began_or_is_refused_so_that_the_sdk_sends_it_whole() {
    let of = |name: &'static str| {
        Stub::start(move |request| {
            let body = json!({"id": format!("msg_{name}"), "type": "message", "role": "assistant", "model": "m",
                "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn", "stop_sequence": null,
                "usage": {"input_tokens": 1, "output_tokens": 1}});
            assert!(request.json()["thread"].is_object());
            Answer::json(200, body.to_string())
        })
    };
    let (first, second) = (of("first").await, of("second").await);
    let anthropic = |name: &str, origin: &str| {
        format!("[providers.{name}]\nkind = \"anthropic\"\nbase_url = \"{origin}\"\napi_key = \"k\"\n")
    };
    let config = [
        anthropic("first", &first.origin()),
        anthropic("second", &second.origin()),
        responses_provider("other", &first.origin()),
        "[models.both]\nstrategy = \"round_robin\"\n\
         targets = [{ provider = \"first\", model = \"m\" }, { provider = \"second\", model = \"m\" }]\n"
            .into(),
        key("a"),
        key("b"),
    ]
    .concat();
    let gateway = Gateway::start(&config).await;
    let ask = async |key: &str, model: &str, thread: serde_json::Value| {
        let body =
            json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "thread": thread});
        exchange(gateway.addr, &by(key, "POST", "/v1/messages", &body.to_string())).await
    };
    let begun = ask("a", "both", json!({"type": "create"})).await;
    assert_eq!(begun.status, 200, "{}", begun.text());
    let follow = json!({"type": "continue", "previous_message_id": begun.json()["id"]});
    for _ in 0..3 {
        let reply = ask("a", "both", follow.clone()).await;
        assert_eq!((reply.status, &reply.json()["id"]), (200, &begun.json()["id"]), "{}", reply.text());
    }
    for (key, model) in [("b", "both"), ("a", "other/m")] {
        let reply = ask(key, model, follow.clone()).await;
        assert_eq!((reply.status, &reply.json()["error"]["details"]["error_code"]), (400, &json!("thread_not_found")));
    }
    let reply = ask("a", "other/m", json!({"type": "create"})).await;
    let details = json!({"error_code": "thread_unsupported_request", "unsupported": ["thread"]});
    assert_eq!((reply.status, &reply.json()["error"]["details"]), (400, &details), "{}", reply.text());
}
