//! What belongs to the tool calls of a conversation comes back in this one and in no other.

use ai_gateway_tests::client::{Request, exchange};
use ai_gateway_tests::{Answer, Gateway, Stub};
use serde_json::{Value, json};

/// Kimi counts its calls in each conversation, and wants its reasoning back.
async fn kimi() -> Stub {
    Stub::start(|request| {
        let asked = request.json();
        let said = asked["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
        let call = json!({"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let message = json!({"role": "assistant", "content": null, "reasoning_content": format!("thoughts on {said}"),
            "tool_calls": [call]});
        let answer = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "kimi-k2-thinking",
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}});
        Answer::json(200, answer.to_string())
    })
    .await
}

async fn ask(gateway: &Gateway, messages: &Value) -> Value {
    let body = json!({"model": "kimi/kimi-k2-thinking", "max_tokens": 99, "messages": messages,
        "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]});
    let reply = exchange(gateway.addr, &Request::post("/v1/messages", body.to_string())).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["content"].take()
}

#[tokio::test]
async fn thoughts_of_one_conversation_never_come_into_another() {
    let stub = kimi().await;
    let provider = format!("[providers.kimi]\nkind = \"openai-compatible\"\nbase_url = \"{}/v1\"\n", stub.origin());
    let gateway = Gateway::start(&provider).await;
    let begin = |who: &str| json!([{"role": "user", "content": format!("I am {who}")}]);
    let mut answers = Vec::new();
    for who in ["Ann", "Bob"] {
        answers.push((who, ask(&gateway, &begin(who)).await));
        stub.next().await;
    }
    // This one began elsewhere.
    answers.push(("Cid", json!([{"type": "tool_use", "id": "functions.f:0", "name": "f", "input": {}}])));
    for (who, answer) in &answers {
        for strips in [false, true] {
            let mut answer = answer.clone();
            answer.as_array_mut().unwrap().retain(|block| !strips || block["type"] == "tool_use");
            let mut messages = begin(who);
            messages.as_array_mut().unwrap().extend([
                json!({"role": "assistant", "content": answer}),
                json!({"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "functions.f:0", "content": "r"}]}),
            ]);
            ask(&gateway, &messages).await;
            let asked = stub.next().await.json();
            let thought = asked["messages"][1]["reasoning_content"].as_str().map(str::to_owned);
            let own = (*who != "Cid").then(|| format!("thoughts on I am {who}"));
            assert_eq!(thought, own, "{who}, strips {strips}: {asked}");
        }
    }
}
