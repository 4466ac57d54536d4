//! In which of its two APIs OpenAI is asked by clients of other dialects.

use ai_gateway_tests::client::{Reply, Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Received, Stub, bodies};
use serde_json::{Value, json};

/// Answers in either API, in Responses after reasoning that can be sent back.
async fn openai() -> Stub {
    Stub::start(|request| {
        if request.target.contains("chat/completions") {
            return Answer::json(200, bodies::chat_answer("in chat"));
        }
        let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"});
        let part = json!({"type": "output_text", "text": "in responses", "annotations": []});
        let message = json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
            "content": [part]});
        let response = json!({"id": "resp_1", "object": "response", "created_at": 1, "status": "completed",
            "model": "upstream-model", "output": [reasoning, message],
            "usage": {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12,
                "input_tokens_details": {"cached_tokens": 4}, "output_tokens_details": {"reasoning_tokens": 2}}});
        if request.json()["stream"] != json!(true) {
            return Answer::json(200, response.to_string());
        }
        let mut begun = response.clone();
        (begun["status"], begun["output"], begun["usage"]) = (json!("in_progress"), json!([]), Value::Null);
        let event = |name: &str, mut data: Value| {
            data["type"] = json!(name);
            bodies::anthropic_event(name, &data)
        };
        let (empty, done) =
            (json!({"type": "output_text", "text": "", "annotations": []}), "response.output_item.done");
        Answer::sse([
            event("response.created", json!({"response": begun})),
            event("response.output_item.added", json!({"output_index": 0, "item": reasoning})),
            event(done, json!({"output_index": 0, "item": reasoning})),
            event(
                "response.output_item.added",
                json!({"output_index": 1, "item": {"type": "message", "id": "msg_1",
                "status": "in_progress", "role": "assistant", "content": []}}),
            ),
            event("response.content_part.added", json!({"output_index": 1, "content_index": 0, "part": empty})),
            event(
                "response.output_text.delta",
                json!({"output_index": 1, "content_index": 0, "delta": "in responses"}),
            ),
            event("response.content_part.done", json!({"output_index": 1, "content_index": 0, "part": part})),
            event(done, json!({"output_index": 1, "item": message})),
            event("response.completed", json!({"response": response})),
        ])
    })
    .await
}

async fn gateway(stub: &Stub) -> Gateway {
    let provider = |name: &str, kind: &str, more: &str| {
        let base = if kind == "azure" { "" } else { "/v1" };
        format!(
            "[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"{}{base}\"\napi_key = \"k\"\n{more}\n",
            stub.origin()
        )
    };
    let config = [
        provider("openai", "openai", ""),
        provider("said", "openai", "dialects = [\"openai-chat\", \"openai-responses\"]"),
        provider("other", "openai-compatible", ""),
        provider("azure", "azure", ""),
        provider("dated", "azure", "api_version = \"2024-10-21\""),
        provider("later", "azure", "api_version = \"2025-04-01-preview\""),
    ];
    let prices = "[prices.models]\n\"openai/gpt-5.6-terra\" = { input = \"2\", cache_read = \"1\", output = \"10\" }\n";
    Gateway::start(&[config.concat(), prices.to_owned()].concat()).await
}

async fn ask(gateway: &Gateway, stub: &Stub, request: &Request) -> (Reply, Received) {
    let reply = exchange(gateway.addr, request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    (reply, stub.next().await)
}

fn messages(model: &str, more: Value) -> Request {
    let mut body = json!({"model": model, "max_tokens": 999, "messages": [{"role": "user", "content": "Hello"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Request::post("/v1/messages", body.to_string())
}

fn tools() -> Value {
    json!([{"name": "f", "input_schema": {"type": "object", "properties": {}}}])
}

#[tokio::test]
async fn models_that_reason_are_asked_in_responses() {
    let stub = openai().await;
    let gateway = gateway(&stub).await;
    for (model, responses) in [
        ("openai/gpt-5.6-terra", true),
        ("openai/gpt-5.1-codex-max", true),
        ("openai/o3", true),
        ("azure/gpt-5.4", true),
        ("later/gpt-5.4", true),
        ("dated/gpt-5.4", false),
        ("openai/gpt-4o", false),
        ("openai/of-ones-own", false),
        ("said/gpt-5.6-terra", false),
        ("other/gpt-5.6-terra", false),
    ] {
        let (reply, asked) = ask(&gateway, &stub, &messages(model, json!({"tools": tools()}))).await;
        assert_eq!(asked.target.contains("/responses"), responses, "{model}: {}", asked.target);
        let content = reply.json()["content"].take();
        assert_eq!(
            content.as_array().unwrap().last().unwrap()["text"],
            if responses { "in responses" } else { "in chat" },
            "{model}"
        );
        if responses {
            let asked = asked.json();
            assert_eq!(asked["store"], false, "{model}: {asked}");
            // GPT-5.4 reasons if it is asked to.
            let reasons = !model.ends_with("gpt-5.4");
            let include = if reasons { json!(["reasoning.encrypted_content"]) } else { Value::Null };
            assert_eq!(asked["include"], include, "{model}: {asked}");
        }
        // A client that speaks Chat is not translated.
        let (_, asked) = ask(&gateway, &stub, &Request::post("/v1/chat/completions", bodies::chat(model))).await;
        assert!(asked.target.contains("chat/completions"), "{model}: {}", asked.target);
    }
}

#[tokio::test]
async fn what_it_used_and_thought_is_told_as_before() {
    let stub = openai().await;
    let gateway = gateway(&stub).await;
    for stream in [false, true] {
        let thinks = json!({"tools": tools(), "stream": stream, "thinking": {"type": "adaptive"},
            "output_config": {"effort": "high"}});
        let (reply, asked) = ask(&gateway, &stub, &messages("openai/gpt-5.6-terra", thinks)).await;
        let asked = asked.json();
        assert_eq!(
            (&asked["reasoning"]["effort"], &asked["tools"][0]["name"]),
            (&json!("high"), &json!("f")),
            "{asked}"
        );
        let text = reply.text();
        let usage = r#""cache_read_input_tokens":4"#;
        assert!(text.contains("in responses") && text.contains(usage) && text.contains("YWktZ2F0ZXdh"), "{text}");
        if !stream {
            assert_eq!(reply.json()["usage"]["output_tokens"], 5, "{text}");
            // 3 tokens at 2 dollars for a million, 4 at 1, 5 at 10.
            assert_eq!(reply.header("x-gateway-cost"), "0.00006", "{text}");
        }
    }
}

/// Two answers, or the same once more, are asked for in Chat, of models that are there.
#[tokio::test]
async fn what_only_chat_can_say_is_said_there() {
    let stub = openai().await;
    let gateway = gateway(&stub).await;
    let declared = json!([{"functionDeclarations": [{"name": "f"}]}]);
    for (model, tools, responses) in [
        ("gpt-5.2", Some(&declared), false),
        ("gpt-5.6-terra", None, false),
        ("gpt-5.6-terra", Some(&declared), true),
        ("gpt-5.1-codex-max", None, true),
    ] {
        let mut body = json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
            "generationConfig": {"seed": 7}});
        if let Some(tools) = tools {
            body["tools"] = tools.clone();
        }
        let path = format!("/v1beta/models/openai/{model}:generateContent");
        let (reply, asked) = ask(&gateway, &stub, &Request::post(&path, body.to_string())).await;
        assert_eq!(asked.target.contains("/responses"), responses, "{model}: {}", asked.target);
        assert_eq!(reply.header("x-gateway-dropped"), if responses { "seed" } else { "" }, "{model}");
        assert_eq!(asked.json()["seed"], if responses { Value::Null } else { json!(7) }, "{model}");
    }
}
