//! Requests of this dialect that the recordings lack.

use serde_json::{Value, json};

use super::super::super::testing::{differences, own_request, target};
use super::super::super::{Call, Platform, Target, codec};
use super::super::OWN;
use super::normal;
use crate::catalogue::{Prefill, Thinking, Traits};
use crate::common::{Content, Losses, MediaKind, MediaSource, Opaque, ProviderTag, Request, Role, Tool};
use crate::dialect::Dialect;
use crate::error::ErrorKind;

/// Everything that the API documents and the recordings do not hold.
const ALL: &str = r#"{
  "model": "claude-x", "max_tokens": 2048, "stream": true, "temperature": 0.3, "top_p": 0.9, "top_k": 7,
  "stop_sequences": ["\n\nHuman:", "END"], "metadata": {"user_id": "u-1"}, "service_tier": "standard_only",
  "cache_control": {"type": "ephemeral"}, "inference_geo": "us", "speed": "fast", "betas": ["a-1"],
  "container": {"id": "c", "skills": []}, "context_management": {"edits": []},
  "mcp_servers": [{"type": "url", "url": "https://mcp", "name": "m"}],
  "thinking": {"type": "enabled", "budget_tokens": 1500, "display": "omitted"},
  "output_config": {"effort": "max", "task_budget": {"type": "tokens", "total": 20000}, "format": {"type": "json_schema", "schema": {"type": "object", "z": 1, "a": 2}}},
  "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
  "system": [
    {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    {"type": "text", "text": ""}
  ],
  "tools": [
    {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {"b": {}, "a": {}}}, "strict": true,
     "cache_control": {"type": "ephemeral", "ttl": "5m"}, "defer_loading": true, "eager_input_streaming": true,
     "input_examples": [{"b": 1}], "allowed_callers": ["direct"]},
    {"type": "bash_20250124", "name": "bash", "cache_control": {"type": "ephemeral"}},
    {"type": "computer_20250124", "name": "computer", "display_width_px": 10, "display_height_px": 10}
  ],
  "messages": [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": [
      {"type": "thinking", "thinking": "hm", "signature": "EqQBsig=="},
      {"type": "redacted_thinking", "data": "EmwKAh=="},
      {"type": "text", "text": "cited", "citations": [
        {"type": "char_location", "cited_text": "c", "document_index": 0, "document_title": "T", "start_char_index": 0, "end_char_index": 1},
        {"type": "search_result_location", "cited_text": "s", "source": "https://s", "title": null, "search_result_index": 0, "start_block_index": 0, "end_block_index": 1}
      ]},
      {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
      {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}},
      {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"big": 123456789012345678901234567890, "z": 1.50, "a": {}}, "caller": {"type": "direct"}, "cache_control": {"type": "ephemeral"}},
      {"type": "tool_use", "id": "toolu_2", "name": "f", "input": {}}
    ]},
    {"role": "user", "content": [
      {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "cache_control": {"type": "ephemeral"}, "content": [
        {"type": "text", "text": "t"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
        {"type": "search_result", "source": "https://s", "title": "S", "content": [{"type": "text", "text": "found"}], "citations": {"enabled": true}},
        {"type": "tool_reference", "tool_name": "f"}
      ]},
      {"type": "tool_result", "tool_use_id": "toolu_2"},
      {"type": "image", "source": {"type": "url", "url": "https://i/1.png"}, "cache_control": {"type": "ephemeral"}},
      {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
      {"type": "image", "source": {"type": "hologram", "cube": 1}},
      {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}, "title": "T", "context": "C", "citations": {"enabled": true}},
      {"type": "document", "source": {"type": "url", "url": "https://d/1.pdf"}},
      {"type": "document", "source": {"type": "file", "file_id": "file_2"}, "citations": {"enabled": false, "new": 1}},
      {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "part"}, {"type": "image", "source": {"type": "url", "url": "https://i"}}]}},
      {"type": "search_result", "source": "https://r", "title": "R", "content": [{"type": "text", "text": "r"}], "cache_control": {"type": "ephemeral"}},
      {"type": "container_upload", "file_id": "file_3"},
      {"type": "text", "text": "odd", "cache_control": {"type": "permanent"}, "title": "left over", "new_field": [1]}
    ]},
    {"role": "system", "content": "from now on in French"},
    {"role": "assistant", "content": "prefill "}
  ]
}"#;

#[test]
fn everything_comes_out_as_it_went_in() {
    let (mut before, mut after, losses) = own_request(OWN, ALL, &Call::default());
    normal(&mut before);
    normal(&mut after);
    assert_eq!(differences(&before, &after), Vec::<String>::new());
    assert!(losses.is_empty(), "{losses:?}");
    let request = codec(OWN).decode_request(ALL.as_bytes(), &Call::default()).unwrap();
    let written = codec(OWN).encode_request(&request, &target(), &mut Losses::default()).unwrap();
    let written = String::from_utf8(written).unwrap();
    // Numbers and key order of what the model wrote, and of schemas.
    assert!(written.contains(r#"{"big": 123456789012345678901234567890, "z": 1.50, "a": {}}"#));
    assert!(written.contains(r#"{"type": "object", "z": 1, "a": 2}"#));
}

#[test]
fn kinds_have_their_places() {
    let request = codec(OWN).decode_request(ALL.as_bytes(), &Call::default()).unwrap();
    assert!(request.stream && request.parallel_tool_calls == Some(false));
    assert_eq!((request.user.as_deref(), request.service_tier.as_deref()), (Some("u-1"), Some("default")));
    assert!(request.cache.automatic.is_some());
    assert_eq!(request.messages[3].role, Role::System);
    let names: Vec<_> = request.extras.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = ["inference_geo", "speed", "betas", "container", "context_management", "mcp_servers", "output_config"];
    assert_eq!(names, wanted);
    assert!(matches!(&request.tools[..], [Tool::Function(_), Tool::Foreign { .. }, Tool::Foreign { .. }]));
    let blocks = &request.messages[2].blocks;
    let Content::ToolResult(result) = &blocks[0].content else { panic!() };
    assert_eq!((result.is_error, result.content.len()), (Some(true), 5));
    let found = &result.content[3];
    let Content::Media(media) = &found.content else { panic!("{found:?}") };
    assert_eq!((media.kind, media.name.as_deref(), media.cite), (MediaKind::Document, Some("S"), Some(true)));
    assert!(matches!(&media.source, MediaSource::Blocks(blocks) if blocks.len() == 1));
    assert!(matches!(&blocks[4].content, Content::Foreign(foreign) if foreign.kind == *"image"));
    assert!(matches!(&blocks[10].content, Content::Foreign(foreign) if foreign.kind == *"container_upload"));
}

#[test]
fn choices_formats_and_old_spellings() {
    for choice in [
        json!({"type": "auto"}),
        json!({"type": "auto", "disable_parallel_tool_use": false}),
        json!({"type": "none"}),
        json!({"type": "tool", "name": "f", "disable_parallel_tool_use": true}),
        json!({"type": "dice", "sides": 6}),
    ] {
        let body = json!({"model": "m", "max_tokens": 9, "messages": [], "tool_choice": choice});
        let (before, after, _) = own_request(OWN, &body.to_string(), &Call::default());
        assert_eq!(differences(&before, &after), Vec::<String>::new());
    }
    for thinking in [json!({"type": "adaptive", "display": "verbose"}), json!({"type": "quantum", "n": 1})] {
        let body = json!({"model": "m", "max_tokens": 9, "messages": [], "thinking": thinking});
        let (before, after, _) = own_request(OWN, &body.to_string(), &Call::default());
        assert_eq!(differences(&before, &after), Vec::<String>::new());
    }
    let format = json!({"type": "json_schema", "schema": {"type": "object"}});
    let body = json!({"model": "m", "max_tokens": 9, "messages": [], "output_format": format});
    let (_, after, _) = own_request(OWN, &body.to_string(), &Call::default());
    assert_eq!(after["output_config"]["format"], format);
    let body = json!({"model": "m", "max_tokens": 9, "messages": [], "output_config": {"effort": "heroic", "format": {"type": "grammar", "g": ""}}});
    let (before, after, _) = own_request(OWN, &body.to_string(), &Call::default());
    assert_eq!(differences(&before, &after), Vec::<String>::new());
}

#[test]
fn platforms_change_the_frame() {
    let body = r#"{"model":"m","max_tokens":9,"stream":true,"anthropic_version":"x","anthropic_beta":["b"],"messages":[{"role":"user","content":"hi"}]}"#;
    let request = codec(OWN).decode_request(body.as_bytes(), &Call::default()).unwrap();
    let write = |platform| -> Value {
        let target = Target { platform, ..target() };
        serde_json::from_slice(&codec(OWN).encode_request(&request, &target, &mut Losses::default()).unwrap()).unwrap()
    };
    let vertex = write(Platform::Vertex);
    assert_eq!(vertex["anthropic_version"], "vertex-2023-10-16");
    assert!(vertex["model"].is_null() && vertex["stream"] == true);
    let invoke = write(Platform::BedrockInvoke);
    assert_eq!(invoke["anthropic_version"], "bedrock-2023-05-31");
    assert!(invoke["model"].is_null() && invoke["stream"].is_null());
    assert_eq!(invoke["anthropic_beta"], json!(["b"]));
}

/// Anthropic wants no addresses and phone numbers of people; an application's own ids stay.
#[test]
fn an_end_user_is_not_told_by_mail_or_phone() {
    let told = |dialect: Dialect, user: &str| {
        let mut request = Request::new(dialect);
        request.user = Some(user.to_owned().into());
        let body = codec(OWN).encode_request(&request, &target(), &mut Losses::default()).unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()["metadata"]["user_id"].as_str().unwrap().to_owned()
    };
    let long = "x".repeat(257);
    for user in ["joe@example.com", "+49 (30) 123-4567", "0301/234567", "4930123456", &*long] {
        let hidden = told(Dialect::OpenAiChat, user);
        assert!(hidden.starts_with("user_") && hidden.len() == 37, "{user}: {hidden}");
        assert_eq!(hidden, told(Dialect::OpenAiResponses, user), "{user}");
        assert_eq!(told(OWN, user), user);
    }
    for user in ["joe", "123456789", "2024-1", "7b1c9a52-3f9d-4d0a-9b60-0242ac120002", &long[1..]] {
        assert_eq!(told(Dialect::OpenAiChat, user), user);
    }
}

/// What was bought of the faster tier, which OpenAI calls so later.
#[test]
fn fast_is_the_tier_that_was_bought() {
    let body =
        json!({"model": "m", "service_tier": "fast", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let request = codec(Dialect::OpenAiChat).decode_request(body.as_bytes(), &Call::default()).unwrap();
    let mut losses = Losses::default();
    let body = codec(OWN).encode_request(&request, &target(), &mut losses).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["service_tier"], "auto");
    assert!(losses.iter().next().is_none());
}

/// Clouds take no addresses of images and know no tiers.
#[test]
fn what_clouds_do_not_take_is_left_out_and_noted() {
    let body = json!({"model": "m", "service_tier": "priority", "messages": [{"role": "user", "content": [
        {"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "https://x/a.png"}}
    ]}]})
    .to_string();
    let request = codec(Dialect::OpenAiChat).decode_request(body.as_bytes(), &Call::default()).unwrap();
    for (platform, lost, blocks) in [
        (Platform::Native, vec![], 2),
        (Platform::Vertex, vec!["messages.image", "service_tier"], 1),
        (Platform::BedrockInvoke, vec!["messages.image", "service_tier"], 1),
    ] {
        let mut losses = Losses::default();
        let body = codec(OWN).encode_request(&request, &Target { platform, ..target() }, &mut losses).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(losses.iter().map(|loss| &*loss.field).collect::<Vec<_>>(), lost, "{platform:?}");
        assert_eq!(body["messages"][0]["content"].as_array().map(Vec::len), Some(blocks), "{platform:?}");
        assert_eq!(body["service_tier"].is_string(), platform == Platform::Native, "{platform:?}");
    }
}

/// Clouds refuse a mark beside the messages: an ordinary one says the same.
#[test]
fn clouds_get_a_mark_on_the_last_block_that_takes_one() {
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let body = |messages: Value| json!({"model": "m", "cache_control": mark, "messages": messages}).to_string();
    let write = |body: &str, platform| -> Value {
        let request = codec(Dialect::OpenAiChat).decode_request(body.as_bytes(), &Call::default()).unwrap();
        let mut losses = Losses::default();
        let traits = Traits { prefill: Prefill::Refused, ..Traits::default() };
        let target = Target { platform, traits, ..target() };
        let body = codec(OWN).encode_request(&request, &target, &mut losses).unwrap();
        assert!(!losses.iter().any(|loss| loss.field.contains("cache")));
        serde_json::from_slice(&body).unwrap()
    };
    let hi = body(json!([{"role": "user", "content": [
        {"type": "text", "text": "long"}, {"type": "text", "text": "hi"}, {"type": "text", "text": " "}
    ]}]));
    let native = write(&hi, Platform::Native);
    assert_eq!(
        (&native["cache_control"], &native["messages"][0]["content"][1]["cache_control"]),
        (&mark, &Value::Null)
    );
    let marked = body(json!([{"role": "user", "content": [
        {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    ]}]));
    let begun = body(json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "So"}]));
    for platform in [Platform::Vertex, Platform::BedrockInvoke] {
        let written = write(&hi, platform);
        assert!(written["cache_control"].is_null(), "{platform:?}");
        let blocks = &written["messages"][0]["content"];
        assert_eq!((&blocks[0]["cache_control"], &blocks[1]["cache_control"]), (&Value::Null, &mark), "{platform:?}");
        // One that is there stays.
        let written = write(&marked, platform);
        assert_eq!(written["messages"][0]["content"][0]["cache_control"], json!({"type": "ephemeral"}), "{platform:?}");
        // The next request will not have the `.` behind it.
        let written = write(&begun, platform);
        assert_eq!(written["messages"][1]["content"][0]["cache_control"], mark, "{platform:?}");
        assert_eq!(written["messages"][2]["content"], json!([{"type": "text", "text": "."}]), "{platform:?}");
        assert!(written["cache_control"].is_null(), "{platform:?}");
    }
}

/// Anthropic takes a conversation that the assistant begins, Bedrock does not.
#[test]
fn on_bedrock_a_user_speaks_first() {
    let body = json!({"model": "m", "messages": [
        {"role": "assistant", "content": "How can I help?"}, {"role": "user", "content": "hi"}
    ]})
    .to_string();
    let request = codec(Dialect::OpenAiChat).decode_request(body.as_bytes(), &Call::default()).unwrap();
    for (platform, count) in [(Platform::Native, 2), (Platform::BedrockInvoke, 3)] {
        let target = Target { platform, ..target() };
        let body = codec(OWN).encode_request(&request, &target, &mut Losses::default()).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["messages"].as_array().map(Vec::len), Some(count), "{platform:?}");
        let dot = json!({"role": "user", "content": [{"type": "text", "text": "."}]});
        assert_eq!(body["messages"][0] == dot, platform == Platform::BedrockInvoke, "{platform:?}");
    }
}

#[test]
fn tickets_go_to_their_maker_only() {
    let gemini = Opaque::made_by(Dialect::Gemini, Some(ProviderTag::of("g")), "sig".into());
    let responses = Opaque::made_by(Dialect::OpenAiResponses, Some(ProviderTag::of("o")), "enc".into());
    let unsigned = Opaque::made_by(Dialect::OpenAiChat, None, "".into());
    let body =
        json!({"model": "m", "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}, "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "a", "signature": &*gemini.for_client(OWN)},
                {"type": "thinking", "thinking": "b", "signature": &*responses.for_client(OWN)},
                {"type": "thinking", "thinking": "c", "signature": &*unsigned.for_client(OWN)},
                {"type": "redacted_thinking", "data": &*responses.for_client(OWN)},
                {"type": "tool_use", "id": "t", "name": "f", "input": {}, "signature": &*gemini.for_client(OWN)}
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]}
        ]})
        .to_string();
    let request = codec(OWN).decode_request(body.as_bytes(), &Call::default()).unwrap();
    let blocks = &request.messages[1].blocks;
    let reasoning = |at: usize| match &blocks[at].content {
        Content::Reasoning(reasoning) => reasoning,
        other => panic!("{other:?}"),
    };
    assert_eq!(reasoning(0).signature, Some(gemini.clone()));
    assert_eq!((&reasoning(1).encrypted, &*reasoning(1).summary[0]), (&Some(responses.clone()), "b"));
    assert_eq!((&reasoning(2).signature, &*reasoning(2).text), (&None, "c"));
    assert_eq!(reasoning(3).encrypted, Some(responses));
    let Content::ToolCall(call) = &blocks[4].content else { panic!() };
    assert_eq!(call.signature, Some(gemini));

    // Anthropic gets none of it, and no thinking that the turn before would have to begin with.
    let mut losses = Losses::default();
    let written = codec(OWN).encode_request(&request, &target(), &mut losses).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    assert!(written["thinking"].is_null());
    assert_eq!(written["messages"][1]["content"], json!([{"type": "tool_use", "id": "t", "name": "f", "input": {}}]));
    let lost: Vec<_> = losses.iter().map(|loss| loss.field.as_str()).collect();
    assert_eq!(lost, ["messages.reasoning", "messages.signature", "reasoning"]);
}

#[test]
fn data_of_the_catalogue_changes_thinking_of_own_requests() {
    let body = r#"{"model":"m","max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":4096},"messages":[{"role":"user","content":"hi"}]}"#;
    let request = codec(OWN).decode_request(body.as_bytes(), &Call::default()).unwrap();
    let target = Target { traits: Traits { thinking: Thinking::Adaptive, ..Traits::default() }, ..target() };
    let written = codec(OWN).encode_request(&request, &target, &mut Losses::default()).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(
        (&written["thinking"], &written["output_config"]),
        (&json!({"type": "adaptive"}), &json!({"effort": "medium"}))
    );
}

#[test]
fn mistakes_are_the_callers() {
    for body in [
        "",
        "[]",
        "{",
        r#"{"messages":[{"role":"wizard","content":""}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":1}]}]}"#,
        r#"{"messages":[{"role":"user","content":[{"text":"secret"}]}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"image"}]}]}"#,
        r#"{"messages":[{"role":"user","content":[null]}]}"#,
        r#"{"tools":[7]}"#,
        r#"{"tool_choice":"auto"}"#,
        r#"{"max_tokens":-1}"#,
    ] {
        let error = codec(OWN).decode_request(body.as_bytes(), &Call::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidRequest, "{body}");
        assert!(!error.message.contains("secret"), "{body}");
    }
    // Nested beyond all reason: kept as it is.
    let mut nested = r#"{"type":"text","text":"x"}"#.to_owned();
    for _ in 0..60 {
        nested = format!(r#"{{"type":"tool_result","tool_use_id":"t","content":[{nested}]}}"#);
    }
    let body = format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":[{nested}]}}]}}"#);
    let (before, after, _) = own_request(OWN, &body, &Call::default());
    assert_eq!(differences(&before, &after), Vec::<String>::new());
}

#[test]
fn noise_never_panics() {
    let mut random = 7_u32;
    for _ in 0..500 {
        let mut noisy = ALL.as_bytes().to_vec();
        for _ in 0..2 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = random as usize % noisy.len();
            noisy[at] = b"{}[]\",:\n0atx\\\xff"[(random >> 24) as usize % 14];
        }
        if let Ok(request) = codec(OWN).decode_request(&noisy, &Call::default()) {
            codec(OWN).encode_request(&request, &target(), &mut Losses::default()).unwrap();
        }
    }
}
