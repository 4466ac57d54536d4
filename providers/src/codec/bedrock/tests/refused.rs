//! What models behind Converse refuse is not sent to them for clients of other dialects.

use serde_json::{Value, json};

use super::*;
use crate::catalogue::{Prefill, Thinking, Traits};
use crate::codec::{Call, testing};
use crate::common::Effort;

const NOVA: &str = "us.amazon.nova-pro-v1:0";
const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const IMPORTED: &str = "arn:aws:bedrock:us-east-1:1:imported-model/q5nk93fkzl6o";
const PROFILE: &str = "arn:aws:bedrock:us-east-1:1:application-inference-profile/mi1dadi0g15f";

/// What a chat client's request becomes.
fn chat(body: &Value, model: &str, traits: Traits) -> (Value, Vec<String>) {
    written(crate::Dialect::OpenAiChat, body, model, traits)
}

fn written(from: crate::Dialect, body: &Value, model: &str, traits: Traits) -> (Value, Vec<String>) {
    let body = body.to_string();
    let request = codec(from).decode_request(body.as_bytes(), &Call::default()).unwrap();
    let mut losses = Losses::default();
    let target = Target { model, traits, ..testing::target() };
    let out = codec(OWN).encode_request(&request, &target, &mut losses).unwrap();
    (serde_json::from_slice(&out).unwrap(), losses.iter().map(|loss| loss.field.clone()).collect())
}

/// "A conversation must start with a user message."
#[test]
fn a_conversation_starts_with_the_user() {
    let said = |messages: Value| chat(&json!({"model": "m", "messages": messages}), NOVA, Traits::default()).0;
    let dot = json!({"role": "user", "content": [{"text": "."}]});
    let body = said(json!([
        {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "hi"}
    ]));
    assert_eq!(
        body["messages"],
        json!([dot, {"role": "assistant", "content": [{"text": "Hello!"}]}, {"role": "user", "content": [{"text": "hi"}]}])
    );
    let body = said(json!([{"role": "system", "content": "only"}]));
    assert_eq!((&body["messages"], &body["system"]), (&json!([dot]), &json!([{"text": "only"}])));
}

#[test]
fn schemas_are_of_objects_and_results_are_not_empty() {
    let asked = json!({"model": "m", "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": ""}
    ], "tools": [
        {"type": "function", "function": {"name": "f", "parameters": {}}},
        {"type": "function", "function": {"name": "g", "parameters": {"properties": {"a": {"type": "string"}}}}},
        {"type": "function", "function": {"name": "h"}},
        {"type": "function", "function": {"name": "s", "strict": true,
            "parameters": {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}}}
    ]});
    let (body, _) = chat(&asked, NOVA, Traits::default());
    assert_eq!(body["messages"][2]["content"][0]["toolResult"]["content"], json!([{"text": ""}]));
    let schema = |at: usize| &body["toolConfig"]["tools"][at]["toolSpec"]["inputSchema"]["json"];
    assert_eq!(*schema(0), json!({"type": "object", "properties": {}}));
    assert_eq!(*schema(1), json!({"type": "object", "properties": {"a": {"type": "string"}}}));
    assert_eq!(*schema(2), json!({"type": "object", "properties": {}}));
    // Nova knows no more fields than these.
    assert_eq!(*schema(3), json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}));
    let (body, _) = chat(&asked, CLAUDE, Traits::default());
    assert_eq!(
        body["toolConfig"]["tools"][3]["toolSpec"]["inputSchema"]["json"],
        json!({"type": "object", "properties": {"a": {"type": "integer", "description": "{minimum: 1}"}},
            "additionalProperties": false})
    );
}

#[test]
fn nova_takes_tools_of_coding_agents() {
    let schema = json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "title": "T",
        "properties": {"at": {"$ref": "#/$defs/At"}}, "required": ["at"], "additionalProperties": false,
        "$defs": {"At": {"type": "integer"}}});
    let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "f", "input_schema": schema}]});
    let of = |from, body: &Value, model| {
        let (body, lost) = written(from, body, model, Traits::default());
        (body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"].clone(), lost)
    };
    let plain = json!({"type": "object", "properties": {"at": {"type": "integer"}}, "required": ["at"]});
    assert_eq!(of(crate::Dialect::Anthropic, &body, NOVA), (plain, Vec::new()));
    assert_eq!(of(crate::Dialect::Anthropic, &body, "us.meta.llama4-maverick-17b-instruct-v1:0").0, schema);
    let own = json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": schema}}}]}});
    assert_eq!(of(OWN, &own, NOVA).0, schema);
}

#[test]
fn only_the_second_generation_of_nova_is_asked_to_reason() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "reasoning_effort": "high"});
    let fields = |model| {
        let (body, lost) = chat(&body, model, Traits::of(model));
        (body["additionalModelRequestFields"].clone(), lost)
    };
    assert_eq!(fields(NOVA), (Value::Null, vec!["reasoning".to_owned()]));
    let config = json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}});
    assert_eq!(fields("us.amazon.nova-2-lite-v1:0"), (config, Vec::new()));
}

/// <https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html>
#[test]
fn nova_that_reasons_as_hard_as_it_can_takes_no_bound_and_no_sampling() {
    const NOVA_2: &str = "us.amazon.nova-2-lite-v1:0";
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "reasoning_effort": "high",
        "temperature": 0.3, "top_p": 0.9});
    let effort = |body: &Value| body["additionalModelRequestFields"]["reasoningConfig"]["maxReasoningEffort"].clone();
    let (asked, lost) = chat(&body, NOVA_2, Traits::of(NOVA_2));
    assert_eq!((effort(&asked), &asked["inferenceConfig"]), (json!("high"), &Value::Null));
    assert_eq!(lost, ["temperature", "top_p"]);
    body["max_tokens"] = json!(500);
    let (asked, lost) = chat(&body, NOVA_2, Traits::of(NOVA_2));
    assert_eq!(effort(&asked), "medium");
    assert_eq!(asked["inferenceConfig"], json!({"maxTokens": 500, "temperature": 0.3, "topP": 0.9}));
    assert_eq!(lost, ["reasoning"]);
}

#[test]
fn answers_schemas_are_in_the_subset_that_bedrock_takes() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "response_format": format});
    let (body, lost) = chat(&body, NOVA, Traits::default());
    let schema = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(schema).unwrap(),
        json!({"type": "object", "properties": {"a": {"type": "string", "description": "{maxLength: 3}"}},
            "additionalProperties": false})
    );
    assert_eq!(lost, Vec::<String>::new());
}

/// Claude takes a temperature or a `top_p`, and a profile does not say whose model it is.
#[test]
fn one_kind_of_sampling_for_what_may_be_claude() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5, "top_p": 0.9});
    for (model, top_p, lost) in [
        (PROFILE, Value::Null, vec!["top_p".to_owned()]),
        (NOVA, json!(0.9), Vec::new()),
        (IMPORTED, json!(0.9), Vec::new()),
    ] {
        let (body, noted) = chat(&body, model, Traits::default());
        assert_eq!(body["inferenceConfig"]["temperature"], 0.5, "{model}");
        assert_eq!((&body["inferenceConfig"]["topP"], noted), (&top_p, lost), "{model}");
    }
}

/// Behind a profile is what the operator says.
#[test]
fn the_operators_traits_hold_for_a_profile() {
    let body = json!({"model": "m", "max_tokens": 9000, "temperature": 0.5, "top_p": 0.9, "reasoning_effort": "high",
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well"}]});
    let of = |thinking| chat(&body, PROFILE, Traits { thinking, ..Traits::default() });
    let (adaptive, lost) = of(Thinking::Adaptive);
    assert_eq!(
        adaptive["additionalModelRequestFields"],
        json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}})
    );
    assert_eq!(adaptive["inferenceConfig"], json!({"maxTokens": 9000}));
    assert_eq!(adaptive["messages"][2], json!({"role": "user", "content": [{"text": "."}]}));
    assert_eq!(lost, ["messages.prefill", "temperature", "top_p"]);
    let (budget, _) = of(Thinking::Budget);
    assert_eq!(
        budget["additionalModelRequestFields"]["thinking"],
        json!({"type": "enabled", "budget_tokens": Effort::High.budget().min(8999)})
    );
    let (none, lost) = of(Thinking::Unsupported);
    assert!(none["additionalModelRequestFields"].is_null());
    assert_eq!(lost, ["reasoning", "top_p"]);
    let traits = Traits { prefill: Prefill::Refused, ..Traits::default() };
    assert_eq!(chat(&body, PROFILE, traits).0["messages"].as_array().map(Vec::len), Some(3));
}

/// It does not say whose model it is, either.
#[test]
fn a_model_that_does_not_reason_is_not_asked_to() {
    let body =
        json!({"model": "m", "reasoning_effort": "high", "top_k": 5, "messages": [{"role": "user", "content": "hi"}]});
    let traits = Traits { thinking: Thinking::Unsupported, ..Traits::default() };
    for model in [PROFILE, IMPORTED, "qwen.qwen3-32b-v1:0", "openai.gpt-oss-120b-1:0"] {
        let (body, lost) = chat(&body, model, traits);
        assert!(body["additionalModelRequestFields"].is_null(), "{model}: {body}");
        assert_eq!(lost, ["reasoning", "top_k"], "{model}");
    }
    let (body, lost) = chat(&body, NOVA, traits);
    assert_eq!(body["additionalModelRequestFields"], json!({"inferenceConfig": {"topK": 5}}));
    assert_eq!(lost, ["reasoning"]);
}

/// A client of this dialect knows what it asks an imported model.
#[test]
fn an_imported_model_is_told_its_own_clients_top_k() {
    let fields = json!({"top_k": 5, "min_p": 0.1});
    let body =
        json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}], "additionalModelRequestFields": fields});
    let (body, lost) = written(OWN, &body, IMPORTED, Traits::default());
    assert_eq!((&body["additionalModelRequestFields"], lost), (&fields, Vec::new()));
}

#[test]
fn a_model_that_always_thinks_is_not_told_not_to() {
    let of = |body: Value, thinking| {
        let mut whole = json!({"model": "m", "max_tokens": 9000, "messages": [{"role": "user", "content": "hi"}]});
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let (body, lost) =
            written(crate::Dialect::Anthropic, &whole, PROFILE, Traits { thinking, ..Traits::default() });
        (body["additionalModelRequestFields"].clone(), lost)
    };
    let off = || json!({"thinking": {"type": "disabled"}});
    assert_eq!(of(off(), Thinking::Always), (Value::Null, vec!["reasoning".to_owned()]));
    assert_eq!(of(off(), Thinking::Adaptive), (json!({"thinking": {"type": "disabled"}}), Vec::new()));
    assert_eq!(of(off(), Thinking::Unsupported), (Value::Null, Vec::new()));
    let budget = json!({"thinking": {"type": "enabled", "budget_tokens": 3000}, "top_k": 5});
    assert_eq!(
        of(budget, Thinking::Adaptive),
        (json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}), vec!["top_k".to_owned()])
    );
}

#[test]
fn a_model_that_refuses_to_be_forced_is_left_the_choice() {
    let body = json!({"model": "m", "max_tokens": 9000, "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "any"}});
    for (model, choice, losses) in [
        ("claude-opus-5", json!({"any": {}}), vec![]),
        ("claude-opus-5-5", Value::Null, vec!["tool_choice".to_owned()]),
    ] {
        let (body, lost) = written(crate::Dialect::Anthropic, &body, PROFILE, Traits::of(model));
        assert_eq!((&body["toolConfig"]["toolChoice"], lost), (&choice, losses), "{model}");
    }
}
