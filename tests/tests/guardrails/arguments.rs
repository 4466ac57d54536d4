//! The arguments of tool calls: text like any other, in answers and in the history of a request.

use ai_gateway_providers::Dialect;
use ai_gateway_providers::codec::{Maker, Platform, Target, codec};
use ai_gateway_providers::common::{
    Block, Content, FunctionTool, Json, Losses, Message, ProviderTag, Request as Chat, Response, Role, Tool, ToolCall,
    ToolResult,
};
use ai_gateway_tests::client::{Reply, Request, exchange};
use ai_gateway_tests::speak::hear;
use ai_gateway_tests::talk::{read_stream, target_of};
use ai_gateway_tests::{Answer, Gateway, Stub, bodies};
use serde_json::{Value, json};

use super::{PLUGINS, ended, gateway, said};

/// What the first tool of an answer is called with.
fn arguments(dialect: Dialect, stream: bool, reply: &Reply) -> Value {
    let of = |response: &Response<'_>| {
        let mut blocks = response.choices.iter().flat_map(|choice| &choice.blocks);
        let found = blocks.find_map(|block| match &block.content {
            Content::ToolCall(call) => serde_json::from_str(&call.arguments).ok(),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("{dialect}, stream {stream}: no call in {}", reply.text()))
    };
    if stream {
        return of(&read_stream(dialect, &reply.body).unwrap_or_else(|error| panic!("{dialect}: {error:?}")));
    }
    let maker = Maker { provider: ProviderTag::of("c"), platform: Platform::Native, model: "m", id_seed: "c" };
    of(&codec(dialect).decode_response(&reply.body, &maker).unwrap_or_else(|error| panic!("{dialect}: {error:?}")))
}

/// Asks `model` of the provider that is called like the dialect, with a tool at hand and `guard` at work.
fn asks(dialect: Dialect, model: &str, stream: bool, guard: &str, messages: Vec<Message<'_>>) -> Request {
    let lookup = FunctionTool {
        name: "lookup".into(),
        parameters: Some(Json::of(&json!({ "type": "object" }))),
        ..FunctionTool::default()
    };
    let tools = vec![Tool::Function(Box::new(lookup))];
    let chat = Chat { stream, max_tokens: Some(1000), messages, tools, ..Chat::new(dialect) };
    let model = format!("{dialect}/{model}");
    let target = Target::new(&model, ProviderTag::of("client"));
    let body = codec(dialect).encode_request(&chat, &target, &mut Losses::default()).unwrap();
    Request::post(&target_of(dialect, &model, stream), body).header("x-guard", guard)
}

fn says(text: &str) -> Message<'_> {
    Message { blocks: vec![Block::text(text)], ..Message::default() }
}

#[tokio::test]
async fn of_answers_are_masked_redacted_and_refused() {
    let gateway = gateway(PLUGINS).await;
    let called = json!({ "to": "ann@example.com", "n": { "card": 4_111_111_111_111_111_u64 }, "say": "a \"b\"" });
    let key = json!({ "key": "AKIAQ3EGS5LMN7ZXTYUV", "n": 1 });
    for dialect in Dialect::ALL {
        for stream in [false, true] {
            let call = async |guard: &str, with: &Value| {
                let text = format!("please\nCALL lookup {with}");
                exchange(gateway.addr, &asks(dialect, "script", stream, guard, vec![says(&text)])).await
            };
            let what = format!("{dialect}, stream {stream}");
            let reply = call("none", &called).await;
            assert_eq!(arguments(dialect, stream, &reply), called, "{what}");
            // The provider called with placeholders, and the client's tool gets the values.
            let reply = call("pii-mask", &json!({ "to": "ann@example.com", "n": 1 })).await;
            assert_eq!(arguments(dialect, stream, &reply), json!({ "to": "ann@example.com", "n": 1 }), "{what}");
            let reply = call("pii-answer", &called).await;
            let redacted = json!({ "to": "[EMAIL]", "n": { "card": "[CARD]" }, "say": "a \"b\"" });
            assert_eq!(arguments(dialect, stream, &reply), redacted, "{what}");
            let reply = call("secrets-answer", &key).await;
            assert_eq!(arguments(dialect, stream, &reply), json!({ "key": "[AWS_KEY]", "n": 1 }), "{what}");
            let reply = call("deny-answer", &json!({ "about": "the Falcon, of all" })).await;
            assert!(ended(&hear(dialect, stream, &reply), &reply, "of all"), "{what}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn of_earlier_turns_are_what_providers_do_not_get() {
    let gateway = gateway(PLUGINS).await;
    let call = ToolCall {
        id: "call_1".into(),
        name: "lookup".into(),
        arguments: r#"{"to":"ann@example.com","deep":["DE89 3704 0044 0532 0130 00"]}"#.into(),
        ..ToolCall::default()
    };
    let result = ToolResult {
        call_id: "call_1".into(),
        name: Some("lookup".into()),
        content: vec![Block::text("bob@example.com answered")],
        ..ToolResult::default()
    };
    let turn =
        |role, content: Content<'static>| Message { role, blocks: vec![Block::new(content)], ..Message::default() };
    for dialect in Dialect::ALL {
        for stream in [false, true] {
            let messages = vec![
                says("look it up"),
                turn(Role::Assistant, Content::ToolCall(Box::new(call.clone()))),
                turn(Role::User, Content::ToolResult(Box::new(result.clone()))),
                says("and now?"),
            ];
            let reply = exchange(gateway.addr, &asks(dialect, "inspect", stream, "pii-redact", messages)).await;
            let heard = hear(dialect, stream, &reply);
            let seen = said(&heard);
            assert!(seen.contains("[EMAIL]") && seen.contains("[IBAN]"), "{dialect}: {heard:?}");
            assert!(!seen.contains("ann@") && !seen.contains("bob@") && !seen.contains("3704"), "{dialect}: {seen}");
        }
    }
}

/// What a provider writes that calls a custom tool with `input`, in this dialect.
fn custom_call(chat: bool, stream: bool, input: &str) -> Answer {
    let (first, rest) = input.split_at(14);
    let event = |data: Value| match data["type"].as_str() {
        Some(name) => format!("event: {name}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    };
    let chunk = |delta: Value, end: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": end});
        event(json!({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}))
    };
    let item = |input: &str| json!({"type": "custom_tool_call", "id": "ct", "call_id": "c", "name": "apply_patch", "input": input, "status": "completed"});
    let response = |status: &str, output: Value| json!({"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "m", "output": output});
    match (chat, stream) {
        (true, false) => {
            let call = json!({"id": "c", "type": "custom", "custom": {"name": "apply_patch", "input": input}});
            let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
            let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
            Answer::json(
                200,
                json!({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})
                    .to_string(),
            )
        }
        (true, true) => {
            let more =
                |input: &str| chunk(json!({"tool_calls": [{"index": 0, "custom": {"input": input}}]}), Value::Null);
            let begun =
                json!({"index": 0, "id": "c", "type": "custom", "custom": {"name": "apply_patch", "input": ""}});
            Answer::sse([
                chunk(json!({"role": "assistant", "content": null, "tool_calls": [begun]}), Value::Null),
                more(first),
                more(rest),
                chunk(json!({}), json!("tool_calls")),
                "data: [DONE]\n\n".to_owned(),
            ])
        }
        (false, false) => Answer::json(200, response("completed", json!([item(input)])).to_string()),
        (false, true) => {
            let delta = |part: &str| {
                event(
                    json!({"type": "response.custom_tool_call_input.delta", "item_id": "ct", "output_index": 0, "delta": part}),
                )
            };
            Answer::sse([
                event(json!({"type": "response.created", "response": response("in_progress", json!([]))})),
                event(json!({"type": "response.output_item.added", "output_index": 0, "item": item("")})),
                delta(first),
                delta(rest),
                event(
                    json!({"type": "response.custom_tool_call_input.done", "item_id": "ct", "output_index": 0, "input": input}),
                ),
                event(json!({"type": "response.output_item.done", "output_index": 0, "item": item(input)})),
                event(json!({"type": "response.completed", "response": response("completed", json!([item(input)]))})),
            ])
        }
    }
}

/// The input of a custom tool (Codex' `apply_patch`) is any text: what comes back stands in it as it is, not as in JSON.
#[tokio::test]
async fn of_custom_tools_are_plain_text() {
    const INPUT: &str = "+# mail [EMAIL_1] or \"[EMAIL_1]\" in C:\\new";
    let stub = Stub::start(|request| {
        let stream = request.json()["stream"] == true;
        custom_call(request.target.ends_with("/chat/completions"), stream, INPUT)
    })
    .await;
    let config = format!("{}[[plugins]]\nuse = \"pii\"\n", bodies::openai_provider("up", &stub.origin()));
    let gateway = Gateway::start(&config).await;
    let right = INPUT.replace("[EMAIL_1]", "ann@example.com");
    for dialect in [Dialect::OpenAiChat, Dialect::OpenAiResponses] {
        for stream in [false, true] {
            let (path, body) = if dialect == Dialect::OpenAiChat {
                let tool = json!({"type": "custom", "custom": {"name": "apply_patch"}});
                let turns = json!([{"role": "user", "content": "mail ann@example.com"}]);
                ("/v1/chat/completions", json!({"model": "up/m", "messages": turns, "tools": [tool], "stream": stream}))
            } else {
                let tool = json!({"type": "custom", "name": "apply_patch"});
                (
                    "/v1/responses",
                    json!({"model": "up/m", "input": "mail ann@example.com", "tools": [tool], "stream": stream}),
                )
            };
            let reply = exchange(gateway.addr, &Request::post(path, body.to_string())).await;
            let heard = if stream {
                read_stream(dialect, &reply.body).unwrap()
            } else {
                let maker =
                    Maker { provider: ProviderTag::of("c"), platform: Platform::Native, model: "m", id_seed: "c" };
                codec(dialect).decode_response(&reply.body, &maker).unwrap()
            };
            let called: Vec<_> = heard.choices[0]
                .blocks
                .iter()
                .filter_map(|block| match &block.content {
                    Content::ToolCall(call) => Some(&*call.arguments),
                    _ => None,
                })
                .collect();
            assert_eq!(called, [right.as_str()], "{dialect}, stream {stream}: {}", reply.text());
        }
    }
}
