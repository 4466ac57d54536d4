use serde_json::{Value, json};

use super::{OWN, decode, encode, recordings};
use crate::codec::testing::{differences, own_request};
use crate::codec::{Call, codec};
use crate::common::{Content, MediaSource, Request, ResponseFormat, Role, Tool, ToolChoice};
use crate::dialect::Dialect;

#[test]
fn recorded_requests_come_back_as_they_were() {
    let recordings = recordings("cohere", "chat");
    for recording in &recordings {
        let mut body = recording.request.clone();
        // What is the default is not said again.
        assert_eq!(body.as_object_mut().unwrap().remove("stream"), Some(json!(false)));
        let (sent, written, losses) = own_request(OWN, &body.to_string(), &Call::default());
        assert_eq!(differences(&sent, &written), Vec::<String>::new(), "{}", recording.name);
        assert!(losses.is_empty(), "{}: {losses:?}", recording.name);
    }
}

pub(super) const FULL: &str = r#"{
    "model": "command-a-03-2025", "stream": true,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "new": 1}]},
        {"role": "user", "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "data:image/gif;base64,AAAA"}},
            {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}], "tool_plan": "I will look.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"b\":1, \"a\":12345678901234567890}"}},
                {"id": "c2", "type": "function", "function": {"name": "listen", "arguments": ""}}],
            "citations": [{"start": 0, "end": 2, "text": "I w", "type": "PLAN", "sources": [{"type": "tool", "id": "c0:0", "tool_output": {"a": 1}}]}]},
        {"role": "tool", "tool_call_id": "c1", "content": "{\"seen\":\"a cat\"}"},
        {"role": "tool", "tool_call_id": "c2", "content": [
            {"type": "text", "text": "miau"},
            {"type": "document", "document": {"id": "d9", "data": {"z": 1, "title": "T"}}},
            {"type": "document", "document": {"data": "just text"}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "a cat"}, {"type": "text", "text": "A cat."}],
            "citations": [
                {"start": 2, "end": 5, "text": "cat", "content_index": 1, "type": "TEXT_CONTENT", "sources": [
                    {"type": "tool", "id": "c1:0", "tool_output": {"url": "https://cats", "title": "Cats", "text": "miau"}},
                    {"type": "document", "id": "doc:0", "document": {"id": "doc:0"}}]},
                {"start": 0, "end": 1, "content_index": 0, "type": "THINKING_CONTENT", "sources": []}]},
        {"role": "user", "content": "And now?", "custom": true}
    ],
    "documents": ["plain", {"id": "d1", "data": {"title": "T", "snippet": "S"}}, {"data": {"text": "only"}, "new": 2}],
    "tools": [
        {"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}},
        {"type": "function", "function": {"name": "listen", "parameters": {"type": "object"}, "new": 1}},
        {"type": "web_search", "web_search": {"x": 1}}],
    "strict_tools": true, "tool_choice": "REQUIRED",
    "citation_options": {"mode": "ACCURATE"}, "safety_mode": "STRICT", "raw_prompting": false, "priority": 3,
    "response_format": {"type": "json_object", "json_schema": {"type": "object", "required": ["a"]}},
    "thinking": {"type": "enabled", "token_budget": 2000},
    "max_tokens": 100, "stop_sequences": ["END"], "temperature": 0.3, "seed": 7, "frequency_penalty": 0.1,
    "presence_penalty": 0.2, "k": 5, "p": 0.7, "logprobs": true
}"#;

#[test]
fn every_field_comes_back() {
    let (sent, written, losses) = own_request(OWN, FULL, &Call::default());
    assert_eq!(differences(&sent, &written), Vec::<String>::new());
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn what_the_model_knows_of_it() {
    let request = decode(FULL);
    assert!(request.stream && request.include_usage);
    let roles: Vec<_> = request.messages.iter().map(|message| message.role).collect();
    use Role::{Assistant, System, User};
    assert_eq!(roles, [System, System, User, Assistant, User, User, Assistant, User]);
    let extras: Vec<_> = request.extras.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(extras, ["citation_options", "safety_mode", "raw_prompting", "priority"]);
    assert!(matches!(&request.tools[2], Tool::Foreign { kind, .. } if *kind == "web_search"));
    assert!(matches!(&request.tools[0], Tool::Function(tool) if tool.strict == Some(true)));
    assert_eq!(request.tool_choice, Some(ToolChoice::Required));
    assert!(matches!(&request.response_format, Some(ResponseFormat::Schema { schema, .. }) if schema.is_object()));
    assert_eq!(request.reasoning.as_ref().unwrap().budget, Some(2000));

    let documents = request.messages[7].blocks[..3].iter().map(|block| match &block.content {
        Content::Media(media) => match &media.source {
            MediaSource::Text(text) => (text.as_str(), media.name.as_deref()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    });
    let wanted = [("plain", None), (r#"{"title": "T", "snippet": "S"}"#, Some("T")), (r#"{"text": "only"}"#, None)];
    assert_eq!(documents.collect::<Vec<_>>(), wanted);

    let calls = request.messages[3].blocks.iter().map(|block| match &block.content {
        Content::Reasoning(reasoning) => format!("thinks {}", reasoning.text),
        Content::Text(text) => format!("says {} {}", text.text, text.citations.len()),
        Content::ToolCall(call) => format!("calls {} {} {}", call.id, call.name, call.arguments),
        other => panic!("{other:?}"),
    });
    let wanted =
        ["thinks hm", "says I will look. 1", r#"calls c1 look {"b":1, "a":12345678901234567890}"#, "calls c2 listen "];
    assert_eq!(calls.collect::<Vec<_>>(), wanted);

    let Content::Text(cited) = &request.messages[6].blocks[1].content else { panic!() };
    let sources: Vec<_> =
        cited.citations.iter().map(|one| (one.url.as_deref(), one.title.as_deref(), one.span)).collect();
    assert_eq!(sources, [(Some("https://cats"), Some("Cats"), Some((2, 5))), (None, Some("doc:0"), Some((2, 5)))]);
    assert_eq!(request.messages[6].extras[0].0, "citations", "what cites the thinking has no place");
}

#[test]
fn small_fields_come_back_in_all_their_forms() {
    for fields in [
        json!({"tool_choice": "NONE", "strict_tools": false}),
        json!({"tool_choice": "SOMETHING_NEW"}),
        json!({"response_format": {"type": "text"}}),
        json!({"response_format": {"type": "json_object"}}),
        json!({"response_format": {"type": "regex", "pattern": "a"}}),
        json!({"response_format": {"type": "json_object", "schema": {}}}),
        json!({"thinking": {"type": "disabled"}}),
        json!({"thinking": {"type": "enabled"}}),
        json!({"thinking": {"type": "adaptive", "token_budget": 9}}),
        json!({"strict_tools": true}),
        json!({"seed": u64::MAX}),
        json!({"messages": [{"role": "user", "content": ""}]}),
        json!({"messages": [], "documents": ["a"]}),
        json!({"messages": [{"role": "tool", "tool_call_id": "c", "content": "r"}], "documents": ["a"]}),
        json!({"messages": [{"role": "assistant", "content": "text", "x": [1.5]}]}),
        json!({"messages": [{"role": "assistant", "content": "c", "tool_plan": "p",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}]}),
        json!({"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}]}]}),
    ] {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}]});
        let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
        if fields.get("tool_choice").is_some() {
            body["tools"] = tools;
        }
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let (sent, written, losses) = own_request(OWN, &body.to_string(), &Call::default());
        assert_eq!(differences(&sent, &written), Vec::<String>::new(), "{fields}");
        assert!(losses.is_empty(), "{fields}: {losses:?}");
    }
}

/// Text beside calls without a plan says what a plan says, and a list of one text what the text says.
#[test]
fn two_spellings_of_one_thing_become_one() {
    let call = json!([{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": [{"type": "text", "text": "q"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "I look"}], "tool_calls": call}]});
    let (_, written, _) = own_request(OWN, &body.to_string(), &Call::default());
    let wanted = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_plan": "I look", "tool_calls": call}]);
    assert_eq!(written["messages"], wanted);
}

#[test]
fn what_is_wrong_is_told_without_quoting_it() {
    for body in [
        r#"{"model":"m","messages":[{"role":"secret","content":"secret"}]}"#,
        r#"{"model":"m","messages":"secret"}"#,
        r#"{"model":"m","messages":[{"role":"user","content":{"secret":1}}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"secret"}"#,
        "",
    ] {
        let error = codec(OWN).decode_request(body.as_bytes(), &Call::default()).unwrap_err();
        assert!(!error.message.contains("secret"), "{}", error.message);
        assert_eq!(error.status, 400);
    }
}

#[test]
fn a_choice_of_some_tools_sends_only_these() {
    let body = r#"{"model":"m","messages":[],"tools":[
        {"type":"function","function":{"name":"a","parameters":{}}},{"type":"function","function":{"name":"b","parameters":{}}}]}"#;
    let sent = |choice: ToolChoice<'static>| -> (Value, Value, Vec<String>) {
        let request = Request { tool_choice: Some(choice), dialect: Dialect::OpenAiChat, ..decode(body) };
        let (written, losses) = encode(&request);
        let names = written["tools"].as_array().unwrap().iter().map(|tool| tool["function"]["name"].clone());
        (names.collect(), written["tool_choice"].clone(), losses)
    };
    let none = Vec::<String>::new();
    assert_eq!(sent(ToolChoice::Named("b".into())), (json!(["b"]), json!("REQUIRED"), none.clone()));
    let allowed = |required| ToolChoice::Allowed { names: vec!["a".into()], required };
    assert_eq!(sent(allowed(true)), (json!(["a"]), json!("REQUIRED"), none.clone()));
    assert_eq!(sent(allowed(false)), (json!(["a"]), json!(null), none));
    let lost = vec!["tool_choice".to_owned()];
    assert_eq!(sent(ToolChoice::Named("c".into())), (json!(["a", "b"]), json!(null), lost));
}
