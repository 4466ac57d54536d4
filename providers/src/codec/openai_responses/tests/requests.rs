//! Requests by hand.

use serde_json::{Value, json};

use super::super::OWN;
use super::{decoded, encoded, names};
use crate::codec::testing::{differences, own_request, target};
use crate::codec::{Call, Codec as _};
use crate::common::{
    Content, Effort, Message, Opaque, ProviderTag, Reasoning, Request, ResponseFormat, Role, Tool, ToolChoice,
};
use crate::dialect::Dialect;

fn same(body: &Value) {
    let (sent, written, losses) = own_request(OWN, &body.to_string(), &Call::default());
    assert_eq!(differences(&sent, &written), Vec::<String>::new());
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn every_kind_of_item_comes_back() {
    same(&json!({
        "model": "m",
        "input": [
            {"role": "user", "content": "hi"},
            {"type": "message", "role": "developer", "status": "completed", "content": [
                {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "high"},
                {"type": "input_image", "image_url": "https://x/y.png"},
                {"type": "input_image", "file_id": "file-1", "detail": "auto"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"},
                {"type": "input_file", "file_data": "JVBE", "filename": "b.pdf"},
                {"type": "input_file", "file_url": "https://x/y.pdf"},
                {"type": "input_file", "file_id": "file-2"},
                {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav", "x": 1}},
                {"type": "computer_screenshot", "image_url": "https://x/z.png", "file_id": "f"},
            ]},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": "commentary", "content": [
                {"type": "output_text", "text": "t", "annotations": [
                    {"type": "url_citation", "url": "https://x", "title": "X", "start_index": 0, "end_index": 1},
                    {"type": "file_path", "file_id": "f", "index": 0},
                ]},
                {"type": "refusal", "refusal": "no"},
            ]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "gAAA"},
            {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "plain"}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "namespace": "mcp__x", "arguments": "{\"a\":1e400}", "status": "completed"},
            {"type": "function_call_output", "call_id": "c1", "output": "done", "status": "completed"},
            {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "apply_patch", "input": "*** Begin"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": [
                {"type": "input_text", "text": "ok"},
                {"type": "input_image", "image_url": "https://x/y.png"},
                {"type": "input_file", "file_id": "file-2"},
            ]},
            {"type": "item_reference", "id": "msg_0"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
            {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBO", "output_format": "webp"},
            {"type": "local_shell_call", "call_id": "c3", "status": "completed", "action": {"type": "exec", "command": ["ls"]}},
            {"type": "local_shell_call_output", "call_id": "c3", "output": "x"},
            {"type": "shell_call_output", "call_id": "c4", "output": [{"stdout": "x", "outcome": {"type": "exit", "exit_code": 0}}]},
            {"type": "compaction", "encrypted_content": "gBBB"},
            {"type": "mcp_approval_response", "approval_request_id": "a", "approve": true},
            {"type": "message", "role": "critic", "content": "?"},
        ],
    }));
}

#[test]
fn every_field_comes_back() {
    same(&json!({
        "model": "m",
        "input": [{"role": "user", "content": "hi"}],
        "instructions": "be brief",
        "tools": [
            {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true, "defer_loading": true},
            {"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "lark", "definition": "start: A"}},
            {"type": "namespace", "name": "mcp__x", "description": "tools of x", "tools": [
                {"type": "function", "name": "g", "parameters": {"type": "object"}, "strict": false},
                {"type": "custom", "name": "h"},
            ]},
            {"type": "namespace", "name": "mcp__y", "tools": [{"type": "function", "name": "g"}]},
            {"type": "namespace", "name": "odd", "tools": [{"type": "function", "name": "g"}, {"type": "web_search"}]},
            {"type": "web_search", "filters": {"allowed_domains": ["x"]}},
            {"type": "mcp", "server_label": "s"},
        ],
        "tool_choice": {"type": "custom", "name": "c"},
        "parallel_tool_calls": false,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"z": 1, "a": 2}, "strict": true}, "verbosity": "low", "x": 1},
        "reasoning": {"effort": "high", "summary": "detailed", "context": "all_turns"},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs", "file_search_call.results"],
        "max_output_tokens": 9, "temperature": 0.1, "top_p": 0.9, "top_logprobs": 3, "stream": true, "store": false,
        "previous_response_id": "resp_1", "metadata": {"a": "b"}, "user": "u2", "safety_identifier": "u",
        "prompt_cache_key": "k", "prompt_cache_retention": "24h", "service_tier": "flex",
        "stream_options": {"include_obfuscation": false}, "truncation": "auto", "background": false,
        "conversation": {"id": "conv_1"}, "max_tool_calls": 2, "prompt": {"id": "pmpt_1"}, "brand_new": [1],
    }));
}

#[test]
fn every_choice_and_format_comes_back() {
    let base = json!({"model": "m", "input": [], "tools": [{"type": "function", "name": "f"}]});
    for choice in [
        json!("auto"),
        json!("none"),
        json!("required"),
        json!({"type": "function", "name": "f"}),
        json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}),
        json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "s"}]}),
        json!({"type": "file_search"}),
        json!({"type": "mcp", "server_label": "s", "name": "t"}),
    ] {
        let mut body = base.clone();
        body["tool_choice"] = choice;
        same(&body);
    }
    for format in [json!({"type": "text"}), json!({"type": "json_object"}), json!({"type": "grammar", "grammar": "x"})]
    {
        let mut body = base.clone();
        body["text"] = json!({"format": format});
        same(&body);
    }
    for effort in ["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"] {
        let mut body = base.clone();
        body["reasoning"] = json!({"effort": effort});
        same(&body);
    }
}

#[test]
fn fields_mean_what_they_say() {
    let request = decoded(&json!({
        "model": "m", "input": "hi", "safety_identifier": "u", "include": ["message.output_text.logprobs"],
        "reasoning": {"effort": "low", "generate_summary": "auto"},
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        "text": {"format": {"type": "json_object"}},
        "tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]}],
    }));
    assert_eq!(request.messages.len(), 1);
    assert_eq!((request.user.as_deref(), request.logprobs), (Some("u"), Some(true)));
    let reasoning = request.reasoning.unwrap();
    assert_eq!((reasoning.effort, reasoning.summary.as_deref()), (Some(Effort::Low), Some("auto")));
    assert_eq!(request.tool_choice, Some(ToolChoice::Allowed { names: vec!["f".into()], required: true }));
    assert_eq!(request.response_format, Some(ResponseFormat::Json));
    let Tool::Function(tool) = &request.tools[0] else { panic!() };
    assert_eq!((&*tool.name, tool.namespace.as_deref()), ("f", Some("n")));
}

#[test]
fn additional_tools_join_the_others() {
    let request = decoded(&json!({"model": "m", "input": [
        {"type": "additional_tools", "role": "developer", "tools": [
            {"type": "function", "name": "f"}, {"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "g"}]},
        ]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
    ]}));
    assert_eq!((request.tools.len(), request.messages.len()), (2, 1));
    let (written, _) = encoded(&request);
    assert_eq!(written["tools"][1]["tools"][0]["name"], "g");
}

#[test]
fn what_codex_says_on_every_turn_is_no_loss_elsewhere() {
    let mut request = decoded(&json!({"model": "m", "input": [
            {"type": "message", "role": "user", "status": "completed", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "message", "role": "assistant", "phase": "commentary", "content": [{"type": "output_text", "text": "t"}]}],
        "include": ["reasoning.encrypted_content"], "store": false, "stream": true, "parallel_tool_calls": true,
        "tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]}],
        "stream_options": {"include_obfuscation": false}, "prompt_cache_key": "k"}));
    // As an encoder of another dialect would note them.
    let mut losses = crate::common::Losses::default();
    losses.note_extras("", &request.extras);
    for message in &mut request.messages {
        losses.note_extras("messages.", &message.extras);
    }
    let Tool::Function(tool) = &request.tools[0] else { panic!() };
    losses.note_extras("tools.", &tool.extras);
    assert_eq!(names(&losses), Vec::<&str>::new());
}

#[test]
fn made_up_ids_and_those_of_other_vendors_stay_here() {
    let (written, _) = encoded(&decoded(&json!({"model": "m", "input": [
        {"type": "message", "id": "msg_gw_x_0", "role": "assistant", "content": [{"type": "output_text", "text": "t"}]},
        {"type": "function_call", "id": "f9be6778-cb0b", "call_id": "x".repeat(65), "name": "f", "arguments": ""},
        {"type": "function_call_output", "id": "call_1", "call_id": "x".repeat(65), "output": ""},
    ]})));
    assert_eq!((&written["input"][0]["id"], &written["input"][1]["id"]), (&Value::Null, &Value::Null));
    let id = written["input"][1]["call_id"].as_str().unwrap();
    assert!(id.len() <= 64 && written["input"][2]["call_id"] == id, "{id}");
    assert_eq!(written["input"][1]["arguments"], "{}");
}

#[test]
fn reasoning_goes_to_its_maker_only() {
    let state = |dialect, name| Opaque::made_by(dialect, Some(ProviderTag::of(name)), "gAAA".into());
    let message = |reasoning: Reasoning<'static>| {
        let blocks = vec![crate::common::Block::new(Content::Reasoning(Box::new(reasoning)))];
        Message { role: Role::Assistant, blocks, ..Message::default() }
    };
    let mut request = Request::new(Dialect::Anthropic);
    let text = || "because".into();
    // A client of Anthropic was shown the summary as thinking, and carries the encrypted form as its signature.
    let signature = Some(state(OWN, "p"));
    request.messages.push(message(Reasoning { text: text(), signature, ..Reasoning::default() }));
    let (written, losses) = encoded(&request);
    let wanted = json!([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "because"}], "encrypted_content": "gAAA"}]);
    assert_eq!((&written["input"], losses.is_empty()), (&wanted, true));
    for foreign in [
        Reasoning { text: text(), ..Reasoning::default() },
        Reasoning { text: text(), signature: Some(state(Dialect::Anthropic, "p")), ..Reasoning::default() },
        Reasoning { encrypted: Some(state(OWN, "another account")), ..Reasoning::default() },
    ] {
        request.messages = vec![message(foreign)];
        let (written, losses) = encoded(&request);
        assert_eq!((&written["input"], names(&losses)), (&json!([]), vec!["messages.reasoning"]));
    }
}

#[test]
fn nothing_panics_and_errors_do_not_quote() {
    for body in [
        "",
        "[]",
        "{\"input\":7}",
        "{\"input\":[[]]}",
        "{\"tools\":[{\"type\":\"function\",\"name\":{\"secret\":1}}]}",
        "{\"input\":[{\"type\":\"reasoning\",\"summary\":\"secret\"}]}",
        "{\"input\":[{\"role\":\"user\",\"content\":{\"secret\":1}}]}",
    ] {
        let error = super::OpenAiResponses.decode_request(body.as_bytes(), &Call::default()).unwrap_err();
        assert!(!error.message.contains("secret"), "{}", error.message);
    }
    let empty = decoded(&json!({}));
    assert_eq!(encoded(&empty).0, json!({"model": target().model, "input": []}));
}
