//! Answers that a provider keeps (Responses): only the provider that made one is asked for it, and only by the key that it
//! was made for.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ai_gateway_tests::bodies::{anthropic_event, anthropic_provider, responses_provider};
use ai_gateway_tests::client::{H1, Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gate, Gateway, Step, Stub, usage};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
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
    // Nobody knows whose a conversation is that was made past the gateway.
    for conversation in [r#""conv_1""#, r#"{"id":"conv_1"}"#] {
        let body = format!(r#"{{"model":"both","input":"more","conversation":{conversation}}}"#);
        let reply = exchange(gateway.addr, &by("b", "POST", "/v1/responses", &body)).await;
        let error = &reply.json()["error"];
        assert_eq!((reply.status, error["param"].as_str()), (400, Some("conversation")), "{}", reply.text());
    }
    let none = r#"{"model":"second/m","input":"more","conversation":null}"#;
    assert_eq!(exchange(gateway.addr, &by("b", "POST", "/v1/responses", none)).await.status, 200);
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

/// The answer `resp_1`, as far as its provider has it.
fn in_background(status: &str, usage: &Value) -> Value {
    json!({ "id": "resp_1", "object": "response", "model": "m", "background": true, "status": status, "output": [], "usage": usage })
}

/// A gateway whose key `a` may spend a dollar a day and 100,000 tokens, before a model that costs 1,000 dollars for a million tokens
/// of input, and 2,000 of output.
async fn under_a_budget(stub: &Stub, ledger: &Path) -> Gateway {
    let model = "[models.m]\ntargets = [{ provider = \"stub\", model = \"m\", price = { input = \"1000\", output = \"2000\" } }]\n";
    let limits = "budget = { usd = 1, per = \"day\" }\nlimits = { tokens = \"100000/day\", concurrent = 1 }\n";
    let kept = format!("[ledger]\npath = {ledger:?}\n");
    Gateway::start(&[responses_provider("stub", &stub.origin()), model.into(), key("a"), limits.into(), kept].concat())
        .await
}

/// What is used of the key's budget in micro-dollars, what is reserved of it, and the tokens.
async fn standing(gateway: &Gateway) -> (u64, u64, u64) {
    gateway.at_rest().await;
    let limits = exchange(gateway.admin, &Request::get("/api/limits")).await.json();
    let all = limits["subjects"][0]["limits"].as_array().unwrap();
    let of = |what: &str, field: &str| all.iter().find(|limit| limit["what"] == what).unwrap()[field].as_u64().unwrap();
    assert_eq!((of("concurrent", "used"), of("concurrent", "reserved"), of("tokens", "reserved")), (0, 0, 0));
    (of("budget", "used") / 1_000_000, of("budget", "reserved") / 1_000_000, of("tokens", "used"))
}

/// Lets the gateway end in peace, and reads its ledger.
async fn booked(mut gateway: Gateway, ledger: &Path) -> Vec<Value> {
    gateway.terminate();
    assert_eq!(gateway.ended().await, Some(0));
    let rows = usage(ledger, &["--by", "kind,model,usage_source"]);
    let wanted = |row: &Value| {
        ["kind", "usage_source", "records", "output", "cost_usd", "unpriced"].map(|name| row[name].clone())
    };
    rows.iter().filter(|row| row["model"] == "m").map(|row| json!(wanted(row))).collect()
}

/// It is asked for often, packed or not, and once more after a restart.
#[tokio::test]
async fn what_an_answer_in_the_background_costs_is_reserved_until_it_is_known_and_booked_once() {
    let told = Arc::new(Mutex::new(in_background("queued", &Value::Null)));
    let tells = told.clone();
    let stub = Stub::start(move |_| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(tells.lock().unwrap().to_string().as_bytes()).unwrap();
        Answer::json(200, packed.finish().unwrap()).header("content-encoding", "gzip")
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let gateway = under_a_budget(&stub, &ledger).await;
    let ask = async |method: &str, path: &str, body: &str| {
        exchange(gateway.addr, &by("a", method, &format!("/v1/responses{path}"), body)).await
    };
    let asked = r#"{"model":"m","input":"hi","background":true,"max_output_tokens":600}"#;
    let made = ask("POST", "", asked).await;
    assert_eq!((made.status, made.json()["status"].as_str()), (200, Some("queued")), "{}", made.text());
    assert!(made.headers.get("x-gateway-cost").is_none());
    let (used, reserved, tokens) = standing(&gateway).await;
    assert_eq!((used, reserved), (0, 1_200_000 + 1_000 * asked.len() as u64));
    assert_eq!(
        ask("POST", "", asked).await.json()["error"]["code"],
        "rate_limit_exceeded",
        "all that is left is reserved"
    );

    for (status, path) in [("in_progress", "/resp_1"), ("completed", "/resp_1/input_items"), ("cancelled", "/resp_1")] {
        *told.lock().unwrap() = in_background(status, &Value::Null);
        assert_eq!(ask("GET", path, "").await.status, 200);
        assert_eq!(standing(&gateway).await, (0, reserved, tokens), "nothing is known yet");
    }
    let usage = json!({ "input_tokens": 100, "output_tokens": 50, "total_tokens": 150 });
    *told.lock().unwrap() = in_background("completed", &usage);
    for (method, path) in [("GET", "/resp_1"), ("GET", "/resp_1"), ("POST", "/resp_1/cancel"), ("GET", "/resp_1")] {
        assert_eq!(ask(method, path, "").await.status, 200);
        assert_eq!(standing(&gateway).await, (200_000, 0, tokens), "tokens count as expected, if they are not more");
    }
    drop(gateway);

    let gateway = under_a_budget(&stub, &ledger).await;
    assert_eq!(standing(&gateway).await, (200_000, 0, 150));
    let lost = exchange(gateway.addr, &by("a", "GET", "/v1/responses/resp_1", "")).await;
    assert_eq!(lost.status, 404, "{}", lost.text());
    let told = json!(["background", "provider", 1, 50, "0.2", 0]);
    let refused = json!(["request", "none", 1, null, "0", 0]);
    let asked = json!(["request", "pending", 1, null, "0", 0]);
    assert_eq!(booked(gateway, &ledger).await, [told, refused, asked]);
}

/// Its client leaves the stream, which goes on at the provider, and comes back to it.
#[tokio::test]
async fn a_stream_that_is_left_in_the_background_is_booked_when_it_is_followed_to_its_end() {
    let event = |name: &str, status: &str, usage: Value| {
        let event = json!({ "type": format!("response.{name}"), "response": in_background(status, &usage) });
        format!("event: response.{name}\ndata: {event}\n\n")
    };
    let begin = event("created", "queued", Value::Null);
    let delta =
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n";
    let end = event("completed", "completed", json!({ "input_tokens": 1, "output_tokens": 7, "total_tokens": 8 }));
    let (gate, whole) = (Gate::new(), [begin.clone(), delta.into(), end].concat());
    let held = gate.clone();
    let stub = Stub::start(move |request| match request.method.as_str() {
        "POST" => Answer::sse([begin.clone(), delta.into()]).step(Step::Wait(held.clone())),
        _ => Answer::sse([whole.clone()]),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let gateway = under_a_budget(&stub, &ledger).await;
    let mut client = H1::connect(gateway.addr).await;
    let asked = r#"{"model":"m","input":"hi","background":true,"stream":true,"max_output_tokens":100}"#;
    client.send(&by("a", "POST", "/v1/responses", asked)).await;
    client.respond().await.until("output_text.delta").await;
    drop(client);
    let (used, reserved, tokens) = standing(&gateway).await;
    assert_eq!((used, reserved), (0, 200_000 + 1_000 * asked.len() as u64));
    for _ in 0..2 {
        let followed = by("a", "GET", "/v1/responses/resp_1?stream=true&starting_after=1", "");
        assert!(exchange(gateway.addr, &followed).await.text().contains("response.completed"));
        assert_eq!(standing(&gateway).await, (15_000, 0, tokens));
    }
    gate.open();
    let told = json!(["background", "provider", 1, 7, "0.015", 0]);
    assert_eq!(booked(gateway, &ledger).await, [told, json!(["request", "pending", 1, null, "0", 0])]);
}

/// A Claude that thinks and calls a tool until it has the tool's result. All its answers have one id, as those of some servers do.
async fn claude() -> Stub {
    Stub::start(|request| {
        let asked = request.json();
        if request.target.contains("count_tokens") {
            return Answer::json(200, r#"{"input_tokens":1}"#);
        }
        let calls = !String::from_utf8_lossy(&request.body).contains("tool_result");
        let (kind, reason) = if calls { ("tool_use", "tool_use") } else { ("text", "end_turn") };
        let said = match calls {
            true => json!({"type": kind, "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}),
            false => json!({"type": kind, "text": "It is sunny."}),
        };
        let thought = json!({"type": "thinking", "thinking": "Where is Rome?", "signature": "c2ln"});
        let head = json!({"id": "msg_same", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}});
        if asked["stream"] != json!(true) {
            let mut whole = head;
            (whole["content"], whole["stop_reason"]) = (json!([thought, said]), json!(reason));
            return Answer::json(200, whole.to_string());
        }
        let mut events = vec![anthropic_event("message_start", &json!({"type": "message_start", "message": head}))];
        for (index, block) in [thought, said].into_iter().enumerate() {
            let mut event = |name: &str, mut fields: serde_json::Value| {
                (fields["type"], fields["index"]) = (json!(name), json!(index));
                events.push(anthropic_event(name, &fields));
            };
            let (start, deltas) = match &block["type"] {
                kind if kind == "thinking" => (
                    json!({"type": "thinking", "thinking": "", "signature": ""}),
                    vec![
                        json!({"type": "thinking_delta", "thinking": block["thinking"]}),
                        json!({"type": "signature_delta", "signature": block["signature"]}),
                    ],
                ),
                kind if kind == "text" => {
                    (json!({"type": "text", "text": ""}), vec![json!({"type": "text_delta", "text": block["text"]})])
                }
                _ => (
                    json!({"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}}),
                    vec![json!({"type": "input_json_delta", "partial_json": block["input"].to_string()})],
                ),
            };
            event("content_block_start", json!({"content_block": start}));
            deltas.into_iter().for_each(|delta| event("content_block_delta", json!({"delta": delta})));
            event("content_block_stop", json!({}));
        }
        let delta = json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 3}});
        events.push(anthropic_event("message_delta", &delta));
        events.push(anthropic_event("message_stop", &json!({"type": "message_stop"})));
        Answer::sse(events)
    })
    .await
}

/// The answer's object, whole or at the end of its stream.
fn answered(reply: &Reply, stream: bool) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    if !stream {
        return reply.json();
    }
    let text = reply.text();
    let (_, last) = text.rsplit_once("event: response.completed\ndata: ").expect("the end of the stream");
    serde_json::from_str::<Value>(last.lines().next().unwrap()).unwrap()["response"].take()
}

/// Vercel's `ai` sends no item again that it may refer to, and `store` is true unless one says otherwise.
#[tokio::test]
async fn items_of_translated_answers_can_be_referred_to() {
    let stub = claude().await;
    let config = [anthropic_provider("claude", &stub.origin()), key("a"), key("b")].concat();
    let gateway = Gateway::start(&config).await;
    let tools = json!([{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}]);
    let request = |input: &Value, stream: bool, more: Value| {
        let mut body = json!({"model": "claude/claude-sonnet-4-5", "input": input, "tools": tools, "stream": stream,
            "reasoning": {"effort": "low"}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    for stream in [false, true] {
        let ask = async |who: &str, input: &Value, more: Value| {
            exchange(gateway.addr, &by(who, "POST", "/v1/responses", &request(input, stream, more))).await
        };
        let mut input = json!([{"role": "user", "content": "What is the weather in Rome?"}]);
        let refer = |input: &mut Value, answer: &Value| {
            let items = answer["output"].as_array().unwrap();
            let list = input.as_array_mut().unwrap();
            list.extend(items.iter().map(|item| json!({"type": "item_reference", "id": item["id"]})));
        };
        let first = answered(&ask("a", &input, json!({"background": true})).await, stream);
        assert_eq!((&first["store"], &first["background"]), (&json!(false), &json!(false)), "it cannot be asked for");
        let kinds: Vec<_> = first["output"].as_array().unwrap().iter().map(|item| item["type"].as_str()).collect();
        assert_eq!(kinds, [Some("reasoning"), Some("function_call")]);
        refer(&mut input, &first);
        let result = json!({"type": "function_call_output", "call_id": "toolu_1", "output": "sunny"});
        input.as_array_mut().unwrap().push(result);
        stub.next().await;

        let second = answered(&ask("a", &input, json!({})).await, stream);
        let turns = stub.next().await.json()["messages"].take();
        assert_eq!(turns.as_array().map(Vec::len), Some(3), "{turns}");
        assert_eq!(turns[1]["role"], "assistant");
        let [thought, call] = &turns[1]["content"].as_array().unwrap()[..] else { panic!("{turns}") };
        assert_eq!((&thought["thinking"], &thought["signature"]), (&json!("Where is Rome?"), &json!("c2ln")));
        assert_eq!((&call["name"], &call["input"]), (&json!("weather"), &json!({"city": "Rome"})));
        assert_eq!(turns[2]["content"][0]["tool_use_id"], "toolu_1");

        refer(&mut input, &second);
        input.as_array_mut().unwrap().push(json!({"role": "user", "content": "Thank you."}));
        let third = ask("a", &input, json!({"store": false})).await;
        let turns = stub.next().await.json()["messages"].take();
        assert_eq!(turns[3]["content"][1]["text"], "It is sunny.", "{turns}");
        let counted = by("a", "POST", "/v1/responses/input_tokens", &request(&input, false, json!({})));
        assert_eq!(exchange(gateway.addr, &counted).await.status, 200);
        stub.next().await;

        // Of what was not to be kept nothing is, and nobody else may refer to anything.
        refer(&mut input, &answered(&third, stream));
        for (who, input) in [("a", &input), ("b", &json!([{"type": "item_reference", "id": first["output"][0]["id"]}]))]
        {
            let refused = ask(who, input, json!({})).await;
            assert_eq!(refused.status, 400, "{who}: {}", refused.text());
            assert!(refused.text().contains("send the whole conversation"), "{}", refused.text());
        }
    }
}

/// A name alone tells no key from one of that name that is gone: neither here nor in a process that takes over.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_under_the_name_of_one_that_is_gone_has_nothing_of_what_that_one_stored() {
    let (stub, claude, dir) = (Stub::start(|_| answer("resp_old")).await, claude().await, tempfile::tempdir().unwrap());
    let config = [
        responses_provider("openai", &stub.origin()),
        anthropic_provider("claude", &claude.origin()),
        key("lead") + "allow = [\"keys\"]\n",
        format!("[store]\npath = {:?}\n", dir.path().join("keys.db")),
    ]
    .concat();
    let gateway = Gateway::start(&config).await;
    let admin = async |method: &str, path: &str, body: &str| {
        let reply = exchange(gateway.admin, &by("lead", method, path, body)).await;
        assert!(reply.status < 300, "{method} {path}: {}", reply.text());
        reply
    };
    let make =
        async || admin("POST", "/api/keys", r#"{"name":"bob"}"#).await.json()["key"].as_str().unwrap().to_owned();
    let ask = async |key: &str, method: &str, path: &str, body: &Value| {
        let mut request = by("bob", method, path, &body.to_string());
        request.headers = vec![("authorization".into(), format!("Bearer {key}"))];
        exchange(gateway.addr, &request).await
    };

    let first = make().await;
    let stored = ask(&first, "POST", "/v1/responses", &json!({"model": "openai/m", "input": "hi"})).await;
    assert_eq!(stored.json()["id"], "resp_old", "{}", stored.text());
    let translated = json!({"model": "claude/claude-sonnet-4-5", "input": "What is the weather in Rome?"});
    let output = ask(&first, "POST", "/v1/responses", &translated).await.json()["output"].take();
    let items = output.as_array().unwrap().iter().map(|item| json!({"type": "item_reference", "id": item["id"]}));
    let result = json!({"type": "function_call_output", "call_id": "toolu_1", "output": "sunny"});
    let refer = json!({"model": "claude/claude-sonnet-4-5", "input": items.chain([result]).collect::<Vec<_>>()});
    let follow = json!({"model": "openai/m", "input": "more", "previous_response_id": "resp_old"});
    let asks = async |key: &str| {
        [
            ask(key, "GET", "/v1/responses/resp_old", &Value::Null).await.status,
            ask(key, "POST", "/v1/responses", &follow).await.status,
            ask(key, "POST", "/v1/responses", &refer).await.status,
        ]
    };
    assert_eq!(asks(&first).await, [200, 200, 200]);

    admin("DELETE", "/api/keys/bob", "").await;
    let second = make().await;
    assert_eq!(asks(&second).await, [404, 400, 400]);
    let made = ask(&second, "POST", "/v1/responses", &json!({"model": "openai/m", "input": "hi"})).await;
    assert_eq!(made.status, 200, "{}", made.text());
    gateway.upgrade().await;
    assert_eq!(asks(&second).await, [200, 200, 400], "its own it has");
    admin("DELETE", "/api/keys/bob", "").await;
    assert_eq!(asks(&make().await).await, [404, 400, 400]);
}
