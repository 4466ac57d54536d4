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
