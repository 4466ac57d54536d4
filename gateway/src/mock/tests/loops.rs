//! Tool loops in every dialect: an agent that speaks through the codecs, and one that does not keep its state.

use ai_gateway_providers::Dialect;
use ai_gateway_providers::codec::{Platform, Target, codec};
use ai_gateway_providers::common::{
    Block, Content, CustomTool, FunctionTool, Json, Losses, Message, Opaque, ProviderTag, ReasoningConfig,
    ReasoningMode, Request, Response, Role, Tool, ToolCall, ToolResult,
};
use ai_gateway_providers::error::decode_error;
use serde_json::{Value, json};

use super::Running;
use super::dialects::{path, said, understood};
use super::{mock, post, send};

/// An agent that answers calls with `sunny`.
struct Agent {
    dialect: Dialect,
    stream: bool,
    request: Request<'static>,
}

impl Agent {
    fn new(dialect: Dialect, stream: bool, model: &str, text: &str) -> Self {
        let mut request = Request::new(Dialect::OpenAiChat);
        request.model = model.to_owned().into();
        request.stream = stream;
        request.max_tokens = Some(4096);
        request.reasoning = Some(ReasoningConfig {
            mode: Some(ReasoningMode::Enabled),
            budget: Some(1024),
            show: Some(true),
            ..ReasoningConfig::default()
        });
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        request.tools.push(Tool::Function(Box::new(FunctionTool {
            name: "weather".into(),
            parameters: Some(Json::of(&schema)),
            ..FunctionTool::default()
        })));
        request.tools.push(Tool::Custom(Box::new(CustomTool { name: "patch".into(), ..CustomTool::default() })));
        let mut agent = Agent { dialect, stream, request };
        agent.push(Role::User, vec![Block::text(text.to_owned())]);
        agent
    }

    fn push(&mut self, role: Role, blocks: Vec<Block<'static>>) {
        self.request.messages.push(Message { role, blocks, ..Message::default() });
    }

    /// Asks, and answers the calls.
    fn step(&mut self, mock: &Running) -> Result<Response<'static>, String> {
        let model = self.request.model.to_string();
        let target = Target::new(&model, ProviderTag::of("mock"));
        let body = codec(self.dialect).encode_request(&self.request, &target, &mut Losses::default()).unwrap();
        let path = path(self.dialect, &model, self.stream);
        let answer = send(mock, "POST", &path, "content-type: application/json\r\n", &body);
        if answer.status() != 200 {
            assert_eq!(answer.status(), 400, "{}", answer.text());
            return Err(decode_error(self.dialect, 400, &answer.body).message);
        }
        let response = understood(self.dialect, Platform::Native, self.stream, &answer.body).unwrap();
        let blocks = response.choices[0].blocks.clone();
        let results: Vec<_> = calls(&blocks)
            .map(|call| {
                let content = vec![Block::text("sunny")];
                let result =
                    ToolResult { call_id: call.id.clone(), content, custom: call.custom, ..ToolResult::default() };
                Block::new(Content::ToolResult(Box::new(result)))
            })
            .collect();
        self.push(Role::Assistant, blocks);
        if !results.is_empty() {
            self.push(Role::User, results);
        }
        Ok(response)
    }

    /// Changes what the model said last.
    fn alter(&mut self, change: impl Fn(&mut Content<'static>)) {
        let last = self.request.messages.iter_mut().rfind(|message| message.role == Role::Assistant).unwrap();
        last.blocks.iter_mut().for_each(|block| change(&mut block.content));
    }
}

fn calls<'r>(blocks: &'r [Block<'static>]) -> impl Iterator<Item = &'r ToolCall<'static>> {
    blocks.iter().filter_map(|block| match &block.content {
        Content::ToolCall(call) => Some(&**call),
        _ => None,
    })
}

fn everywhere(check: impl Fn(Dialect, bool, &Running)) {
    let mock = mock();
    for dialect in Dialect::ALL {
        for stream in [false, true] {
            check(dialect, stream, &mock);
        }
    }
}

#[test]
fn reasoning_comes_back_and_is_taken() {
    everywhere(|dialect, stream, mock| {
        let mut agent = Agent::new(dialect, stream, "reasoning-tool-call", "weather?");
        let first = agent.step(mock).unwrap();
        assert_eq!(said(&first), r#"Let me think first.{"city":"Paris"}"#, "{dialect} {stream}");
        let second = agent.step(mock).unwrap_or_else(|why| panic!("{dialect} {stream}: {why}"));
        assert_eq!(said(&second), "The tool answered: sunny", "{dialect} {stream}");
    });
}

#[test]
fn loops_end_after_n_turns() {
    everywhere(|dialect, stream, mock| {
        let mut agent = Agent::new(dialect, stream, "tool-loop-3", "weather?");
        for turn in 0..4 {
            let response = agent.step(mock).unwrap_or_else(|why| panic!("{dialect} {stream} {turn}: {why}"));
            let count = calls(&response.choices[0].blocks).count();
            assert_eq!(count, usize::from(turn < 3), "{dialect} {stream} {turn}");
        }
        agent.push(Role::User, vec![Block::text("again")]);
        assert_eq!(calls(&agent.step(mock).unwrap().choices[0].blocks).count(), 1, "{dialect} {stream}");
    });
}

#[test]
fn scripts_are_performed_step_by_step() {
    let text = "Do this:\nCALL weather {\"city\": \"Rome\"}\nCALL patch *** Begin\\n+\"x\"\nSAY almost\nthank you";
    everywhere(|dialect, stream, mock| {
        let mut agent = Agent::new(dialect, stream, "script", text);
        let response = agent.step(mock).unwrap();
        let call = calls(&response.choices[0].blocks).next().unwrap().clone();
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        assert_eq!((&*call.name, arguments), ("weather", json!({"city": "Rome"})), "{dialect} {stream}");
        let response = agent.step(mock).unwrap_or_else(|why| panic!("{dialect} {stream}: {why}"));
        let call = calls(&response.choices[0].blocks).next().unwrap().clone();
        let knows_custom = matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses);
        assert_eq!((&*call.name, call.custom), ("patch", knows_custom), "{dialect} {stream}");
        if knows_custom {
            assert_eq!(call.arguments, "*** Begin\n+\"x\"", "{dialect} {stream}");
        } else {
            let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
            assert_eq!(arguments, json!({"input": "*** Begin\n+\"x\""}), "{dialect} {stream}");
        }
        for wanted in ["almost", "done"] {
            let response = agent.step(mock).unwrap_or_else(|why| panic!("{dialect} {stream}: {why}"));
            assert_eq!(said(&response), wanted, "{dialect} {stream}");
            agent.push(Role::User, vec![Block::text("go on")]);
        }
        agent.push(Role::User, vec![Block::text("SAY it anew")]);
        assert_eq!(said(&agent.step(mock).unwrap()), "it anew", "{dialect} {stream}");
    });
}

#[test]
fn state_that_the_mock_did_not_make_is_refused() {
    let forged = |opaque: &mut Option<Opaque<'static>>| {
        if let Some(opaque) = opaque {
            opaque.data = format!("{}AA", &opaque.data[2..]).into();
        }
    };
    everywhere(|dialect, stream, mock| {
        if matches!(dialect, Dialect::OpenAiChat | Dialect::Cohere) {
            return;
        }
        let of_reasoning = |content: &mut Content<'static>| {
            if let Content::Reasoning(reasoning) = content {
                forged(&mut reasoning.signature);
                forged(&mut reasoning.encrypted);
            }
        };
        let of_text = |content: &mut Content<'static>| {
            if let Content::Reasoning(reasoning) = content
                && !reasoning.text.is_empty()
            {
                reasoning.text = "Something else.".into();
            }
        };
        let of_call = |content: &mut Content<'static>| {
            if let Content::ToolCall(call) = content {
                call.arguments = r#"{"city":"Rome"}"#.into();
            }
        };
        let refused = |change: &dyn Fn(&mut Content<'static>)| {
            let mut agent = Agent::new(dialect, stream, "reasoning-tool-call", "weather?");
            agent.step(mock).unwrap();
            agent.alter(change);
            agent.step(mock).is_err()
        };
        assert!(refused(&of_reasoning), "{dialect} {stream}");
        // The summary of Responses is not `text`.
        assert_eq!(refused(&of_text), dialect != Dialect::OpenAiResponses, "{dialect} {stream}");
        assert_eq!(refused(&of_call), dialect == Dialect::Gemini, "{dialect} {stream}");
        assert!(!refused(&|_| {}), "{dialect} {stream}");
    });
}

/// A Gemini client that sends the history by hand.
#[test]
fn gemini_demands_signatures_of_the_current_turn() {
    let mock = mock();
    let history = |part: Value, after: Value| {
        json!({"contents": [
            {"role": "user", "parts": [{"text": "weather?"}]},
            {"role": "model", "parts": [part]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "sunny"}}}]},
            {"role": "model", "parts": [{"text": "It is sunny."}]},
            after,
        ]})
    };
    let later = json!({"role": "user", "parts": [{"text": "and now?"}]});
    let result =
        json!({"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "rain"}}}]});
    let bare = json!({"functionCall": {"name": "f", "args": {}}});
    let skip =
        json!({"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "skip_thought_signature_validator"});
    let forged = json!({"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "bW9jazpnZW1pbmk6MDA="});
    let status = |model: &str, body: &Value| post(&mock, &path(Dialect::Gemini, model, false), body).status();
    assert_eq!(status("reasoning-tool-call", &history(bare.clone(), later.clone())), 200);
    assert_eq!(status("reasoning-tool-call", &history(bare.clone(), result.clone())), 400);
    assert_eq!(status("echo", &history(bare, result.clone())), 200);
    assert_eq!(status("reasoning-tool-call", &history(skip, result)), 200);
    assert_eq!(status("echo", &history(forged, later)), 400);
}

/// Claude's clients must begin a turn with calls with its reasoning, when reasoning has a budget.
#[test]
fn claude_demands_reasoning_before_calls() {
    let mock = mock();
    let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
    let body = |thinking: Value, content: Value| {
        json!({"model": "echo", "max_tokens": 9, "thinking": thinking, "messages": [
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "sunny"}]},
        ]})
    };
    let enabled = json!({"type": "enabled", "budget_tokens": 1024});
    let signature = crate::mock::proof::of_text(Dialect::Anthropic, "Hm.");
    let thought = json!({"type": "thinking", "thinking": "Hm.", "signature": signature});
    let status = |body: &Value| post(&mock, "/v1/messages", body).status();
    assert_eq!(status(&body(enabled.clone(), json!([call]))), 400);
    assert_eq!(status(&body(json!({"type": "adaptive"}), json!([call]))), 200);
    assert_eq!(status(&body(enabled.clone(), json!([thought, call]))), 200);
    let mute = json!({"type": "thinking", "thinking": "Hm.", "signature": ""});
    assert_eq!(status(&body(enabled, json!([mute, call]))), 400);
}

/// Requests without tools, as agents send them for titles, are never answered with a call.
#[test]
fn nobody_calls_without_tools() {
    let mock = mock();
    let body = json!({"model": "script", "messages": [{"role": "user", "content": "Title of:\nCALL shell {}"}]});
    let answer = post(&mock, "/v1/chat/completions", &body).json();
    assert_eq!(answer["choices"][0]["message"]["content"], "CALL shell {}");
}

#[test]
fn tools_in_groups_are_called_with_their_group() {
    let mock = mock();
    let inner = json!([{"type": "function", "name": "search", "parameters": {"type": "object"}}]);
    let tools = json!([{"type": "namespace", "name": "mcp__docs", "tools": inner}]);
    for name in ["mcp__docs__search", "search"] {
        let body = json!({"model": "script", "tools": tools, "input": format!("CALL {name} {{\"q\":1}}")});
        let answer = post(&mock, "/v1/responses", &body).json();
        let item = &answer["output"][0];
        assert_eq!(
            (&item["type"], &item["name"], &item["namespace"], &item["arguments"]),
            (&json!("function_call"), &json!("search"), &json!("mcp__docs"), &json!("{\"q\":1}"))
        );
    }
}
