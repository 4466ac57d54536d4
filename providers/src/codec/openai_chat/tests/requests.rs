//! Requests that were not recorded.

use super::*;

/// Everything that OpenAI documents, and what vendors add.
const EVERYTHING: &str = r#"{
  "model": "gpt-5", "stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false},
  "messages": [
    {"role": "system", "content": "be brief", "name": "op"},
    {"role": "developer", "content": [{"type": "text", "text": "in French", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
    {"role": "user", "name": "ann", "content": [
      {"type": "text", "text": "look"}, {"type": "text", "text": "here", "vendor": 1},
      {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low", "uuid": "u"}},
      {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
      {"type": "image_url", "image_url": {"url": "data:application/pdf;base64,JVBE"}},
      {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
      {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"}},
      {"type": "file", "file": {"file_id": "file-1"}},
      {"type": "file", "file": {"file_data": "data:image/png;base64,AAAA", "filename": "a.png"}},
      {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}},
      {"type": "audio_url", "audio_url": {"url": "https://x/y.mp3"}},
      {"type": "document_url", "document_url": "https://x/y.pdf"}]},
    {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "ok"}]},
    {"role": "assistant", "content": null, "refusal": "no"},
    {"role": "assistant", "audio": {"id": "audio_1"}},
    {"role": "assistant", "content": "x", "reasoning_content": "why"},
    {"role": "assistant", "content": "x", "reasoning": "sum", "reasoning_details": [
      {"type": "reasoning.summary", "summary": "sum", "format": "openai-responses-v1", "index": 0},
      {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "format": "openai-responses-v1", "index": 0}]},
    {"role": "assistant", "content": "x", "reasoning": "ab", "reasoning_details": [
      {"type": "reasoning.text", "text": "a", "signature": "s1", "format": "anthropic-claude-v1", "index": 0},
      {"type": "reasoning.text", "text": "b", "signature": "s2", "format": "anthropic-claude-v1", "index": 1}]},
    {"role": "assistant", "content": "cited", "annotations": [{"type": "url_citation", "url_citation": {"url": "https://a", "title": "A", "start_index": 0, "end_index": 5}}]},
    {"role": "assistant", "tool_calls": [
      {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"z\": 1, \"a\": 2}"}, "extra_content": {"google": {"thought_signature": "sig"}}},
      {"id": "c2", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}},
      {"id": "c3", "type": "mcp_thing", "mcp_thing": {"x": 1}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "done"},
    {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "ok"}], "cache": 1},
    {"role": "user", "content": ""}
  ],
  "tools": [
    {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "b": 1, "a": 1.50}, "strict": true, "x": 1}, "y": 2, "cache_control": {"type": "ephemeral"}},
    {"type": "custom", "custom": {"name": "patch", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}}},
    {"type": "openrouter:web_search", "parameters": {"max": 3}}],
  "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "patch"}}]}},
  "parallel_tool_calls": false,
  "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true, "description": "d"}},
  "reasoning_effort": "high", "reasoning": {"effort": "high", "exclude": true}, "thinking": {"type": "enabled", "clear_thinking": false},
  "max_tokens": 5, "max_completion_tokens": 6, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7, "presence_penalty": 1,
  "frequency_penalty": -1, "stop": "END", "n": 2, "logprobs": true, "top_logprobs": 3, "modalities": ["text", "audio"],
  "audio": {"voice": "alloy", "format": "wav"}, "verbosity": "low", "service_tier": "flex", "user": "u", "safety_identifier": "s",
  "metadata": {"k": "v"}, "store": true, "prompt_cache_key": "key", "prompt_cache_retention": "24h", "logit_bias": {"50256": -100},
  "prediction": {"type": "content", "content": "x"}, "web_search_options": {}, "cache_control": {"type": "ephemeral"}
}"#;

#[test]
fn everything_is_written_as_it_was_read() {
    let (wanted, found, losses) = own_request(OWN, EVERYTHING, &Call::default());
    assert_eq!(differences(&normalised(wanted), &normalised(found)), Vec::<String>::new());
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn everything_has_its_place() {
    let request = read(EVERYTHING);
    assert_eq!((request.max_tokens, request.n, request.seed), (Some(6), Some(2), Some(7)));
    assert_eq!((request.user.as_deref(), request.stop.len()), (Some("s"), 1));
    assert!(request.include_usage);
    let reasoning = request.reasoning.unwrap();
    assert_eq!((reasoning.effort, reasoning.mode), (Some(Effort::High), Some(ReasoningMode::Enabled)));
    assert_eq!(reasoning.show, Some(false));
    let left: Vec<_> = request.extras.iter().map(|(name, _)| &**name).filter(|name| !name.starts_with('=')).collect();
    assert_eq!(left, ["thinking", "logit_bias", "prediction", "web_search_options"]);
    let kinds: Vec<_> = request.messages[2]
        .blocks
        .iter()
        .filter_map(|block| match &block.content {
            Content::Media(media) => Some(media.kind.as_str()),
            _ => None,
        })
        .collect();
    let wanted = ["image", "image", "document", "audio", "document", "document", "image", "video", "audio"];
    assert_eq!(kinds, wanted);
    let Content::Reasoning(summed) = &request.messages[7].blocks[0].content else { panic!() };
    assert_eq!((&*summed.text, &*summed.summary[0]), ("", "sum"));
    assert_eq!(&*summed.encrypted.as_ref().unwrap().data, "gAAA");
    assert_eq!(request.messages[8].blocks.len(), 3);
}

#[test]
fn bodies_of_responses_are_read_on_this_path() {
    let body = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"input":[{"role":"user","content":"Hi"}],
        "tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]}"#;
    let asked = read(body);
    assert!(asked.stream && asked.include_usage);
    let (written, _) = write(&asked, OPENAI);
    assert_eq!(written["messages"], json!([{"role": "user", "content": "Hi"}]));
    assert_eq!(written["tools"][0]["function"]["name"], "f");
}

#[test]
fn old_and_odd_spellings_are_understood() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"},
        {"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},
        {"role":"function","name":"f","content":"1"}],
        "functions":[{"name":"f","parameters":{}}],"function_call":{"name":"f"}}"#;
    let request = read(body);
    assert_eq!(request.tool_choice, Some(ToolChoice::Named("f".into())));
    let (Content::ToolCall(call), Content::ToolResult(result)) =
        (&request.messages[1].blocks[0].content, &request.messages[2].blocks[0].content)
    else {
        panic!()
    };
    assert_eq!(call.id, result.call_id);
    let flat = r#"{"model":"m","messages":[],"tools":[{"type":"function","name":"f","parameters":{"type":"object"}},
        {"type":"custom","name":"p"}],"tool_choice":{"type":"function","name":"f"}}"#;
    let (written, _) = write(&read(flat), OPENAI);
    assert_eq!(written["tools"][0]["function"]["name"], "f");
    assert_eq!(written["tools"][1]["custom"]["name"], "p");
    assert_eq!(written["tool_choice"]["function"]["name"], "f");
    let vendor = read(r#"{"messages":[],"top_k":-1,"logprobs":5,"reasoning_effort":"ultra","tool_choice":"any"}"#);
    assert_eq!(vendor.tool_choice, Some(ToolChoice::Required));
    assert_eq!(vendor.extras.len(), 4);
}

#[test]
fn what_is_wrong_is_the_callers_fault() {
    for body in [
        "",
        "[]",
        r#"{"model":"m"}"#,
        r#"{"messages":[{"role":"wizard","content":"secret"}]}"#,
        r#"{"messages":"secret"}"#,
    ] {
        let error = codec(OWN).decode_request(body.as_bytes(), &Call::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidRequest, "{body}");
        assert!(!error.message.contains("secret"), "{}", error.message);
    }
}

#[test]
fn media_of_tool_results_stand_behind_all_results() {
    let mut request = Request::new(crate::Dialect::Anthropic);
    let image = || Block::new(Content::Media(Box::new(Media { mime: Some("image/png".into()), ..Media::default() })));
    let result = |id: &'static str, content| {
        let result = ToolResult { call_id: id.into(), content, is_error: Some(true), ..ToolResult::default() };
        Block::new(Content::ToolResult(Box::new(result)))
    };
    request.messages.push(Message {
        blocks: vec![
            Block::text("and now?"),
            result("a", vec![image()]),
            result("b", vec![Block::text("an error"), image()]),
        ],
        ..Message::default()
    });
    let (body, losses) = write(&request, Quirks::default());
    let roles: Vec<_> =
        body["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["tool", "tool", "user", "user"]);
    assert_eq!(body["messages"][2]["content"][2]["text"], "Attached to the result of the tool call b:");
    assert_eq!(body["messages"][2]["content"][3]["image_url"]["url"], "data:image/png;base64,");
    assert_eq!(body["messages"][3]["content"], "and now?");
    assert_eq!(losses, ["messages.tool_result.error"]);
}

#[test]
fn quirks_are_obeyed() {
    let mut request = Request::new(crate::Dialect::Anthropic);
    request.stream = true;
    request.max_tokens = Some(9);
    request.reasoning = Some(ReasoningConfig { budget: Some(5000), ..ReasoningConfig::default() });
    let reasoning = Reasoning { text: "why".into(), ..Reasoning::default() };
    let call = ToolCall { id: "toolu_1".into(), name: "f".into(), ..ToolCall::default() };
    let cached = Block { cache: Some(CacheMark { ttl: Some("1h".into()) }), ..Block::text("hi") };
    request.messages = vec![
        Message { role: Role::Developer, blocks: vec![Block::text("d")], ..Message::default() },
        Message { blocks: vec![cached], ..Message::default() },
        Message {
            role: Role::Assistant,
            blocks: vec![
                Block::new(Content::Reasoning(Box::new(reasoning))),
                Block::text("so"),
                Block::new(Content::ToolCall(Box::new(call))),
            ],
            ..Message::default()
        },
    ];
    let (body, losses) = write(&request, OPENAI);
    assert_eq!((&body["max_completion_tokens"], &body["max_tokens"]), (&json!(9), &Value::Null));
    assert_eq!(body["messages"][0]["role"], "developer");
    assert_eq!((&body["reasoning_effort"], &body["stream_options"]["include_usage"]), (&json!("medium"), &json!(true)));
    assert_eq!(body["messages"][2]["tool_calls"][0]["function"]["arguments"], "{}");
    assert_eq!(losses, ["messages.cache", "messages.reasoning"]);

    let (body, losses) = write(&request, Quirks::default());
    assert_eq!((&body["max_tokens"], &body["messages"][0]["role"]), (&json!(9), &json!("system")));
    assert_eq!(body["messages"][2]["reasoning_content"], "why");
    assert_eq!(losses, ["messages.cache"]);

    let router = Quirks { cache_control: true, reasoning: ReasoningSpelling::Object, ..Quirks::default() };
    let (body, losses) = write(&request, router);
    assert_eq!(body["messages"][1]["content"][0]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
    assert_eq!((&body["reasoning"], &body["messages"][2]["reasoning"]), (&json!({"max_tokens": 5000}), &json!("why")));
    assert!(losses.is_empty(), "{losses:?}");

    let mistral = Quirks {
        no_stream_options: true,
        short_tool_ids: true,
        reasoning: ReasoningSpelling::Parts,
        ..Quirks::default()
    };
    let (body, _) = write(&request, mistral);
    assert_eq!((&body["stream_options"], &body["reasoning_effort"]), (&Value::Null, &json!("high")));
    let content =
        json!([{"type": "thinking", "thinking": [{"type": "text", "text": "why"}]}, {"type": "text", "text": "so"}]);
    assert_eq!(body["messages"][2]["content"], content);
    assert_eq!(body["messages"][2]["tool_calls"][0]["id"].as_str().unwrap().len(), 9);
}

/// What a client of this dialect sends after another vendor's turn: <https://github.com/charmbracelet/crush/issues/1590>.
const ELSEWHERE: &str = r#"{"model":"m","max_completion_tokens":500,"x_own":{"a":1.50},"messages":[
    {"role":"developer","content":"be brief"},
    {"role":"user","content":"go","x_mine":1},
    {"role":"assistant","content":"so","reasoning_content":"why",
        "reasoning_details":[{"type":"reasoning.text","text":"why","index":0},{"type":"reasoning.odd"}],
        "tool_calls":[{"id":"call_PTLP8xhu3uwZk4l3nlnrrJha","type":"function","function":{"name":"f","arguments":"{}"}}]},
    {"role":"tool","tool_call_id":"call_PTLP8xhu3uwZk4l3nlnrrJha","content":"1"},
    {"role":"assistant","reasoning":"again","content":"done"}]}"#;

#[test]
fn own_requests_are_put_in_words_that_the_vendor_takes() {
    let sent = |kind: &str| write(&read(ELSEWHERE), Preset::find(kind).unwrap().quirks);
    let unchanged =
        |body: &Value| assert_eq!((&body["x_own"]["a"], &body["messages"][1]["x_mine"]), (&json!(1.5), &json!(1)));

    let (body, losses) = sent("mistral");
    unchanged(&body);
    assert_eq!((&body["max_tokens"], &body["max_completion_tokens"]), (&json!(500), &Value::Null));
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages[0], json!({"role": "system", "content": "be brief"}));
    let id = messages[3]["tool_call_id"].as_str().unwrap();
    assert_eq!((id.len(), &messages[2]["tool_calls"][0]["id"]), (9, &json!(id)));
    let thinking = |text: &str| json!({"type": "thinking", "thinking": [{"type": "text", "text": text}]});
    assert_eq!(messages[2]["content"], json!([thinking("why"), {"type": "text", "text": "so"}]));
    assert_eq!(messages[4]["content"], json!([thinking("again"), {"type": "text", "text": "done"}]));
    for field in ["reasoning_content", "reasoning", "reasoning_details"] {
        assert!(messages.iter().all(|message| message.get(field).is_none()), "{field}: {body}");
    }
    assert_eq!(losses, ["messages.reasoning"], "an entry that nobody knows");

    let (body, losses) = sent("groq");
    unchanged(&body);
    let messages = body["messages"].as_array().unwrap();
    let mut keys = messages[2].as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>();
    keys.sort_unstable();
    assert_eq!(keys, ["content", "role", "tool_calls"]);
    assert_eq!((&messages[0]["role"], &messages[4]["reasoning"]), (&json!("system"), &json!("again")));
    assert_eq!((&body["max_completion_tokens"], losses), (&json!(500), vec!["messages.reasoning".to_owned()]));

    let (body, losses) = sent("cerebras");
    assert_eq!(
        (&body["messages"][2]["reasoning"], &body["messages"][4]["reasoning"]),
        (&json!("why"), &json!("again"))
    );
    assert!(body["messages"][2]["reasoning_content"].is_null() && body["messages"][2]["reasoning_details"].is_null());
    assert_eq!(losses, ["messages.reasoning"]);

    let (body, losses) = sent("openai");
    let wanted = normalised(serde_json::from_str(ELSEWHERE).unwrap());
    assert_eq!(differences(&wanted["messages"], &normalised(body)["messages"]), Vec::<String>::new());
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn signatures_go_to_their_maker_only() {
    let sign = |provider: &str| Opaque::made_by(OWN, Some(ProviderTag::of(provider)), "sig".into());
    let mut request = Request::new(crate::Dialect::Anthropic);
    for provider in ["p", "other"] {
        let reasoning = Reasoning { text: "t".into(), signature: Some(sign(provider)), ..Reasoning::default() };
        let call =
            ToolCall { id: "c".into(), name: "f".into(), signature: Some(sign(provider)), ..ToolCall::default() };
        let blocks =
            vec![Block::new(Content::Reasoning(Box::new(reasoning))), Block::new(Content::ToolCall(Box::new(call)))];
        request.messages.push(Message { role: Role::Assistant, blocks, ..Message::default() });
        request.messages.push(Message { blocks: vec![Block::text("u")], ..Message::default() });
    }
    let router = Quirks { reasoning: ReasoningSpelling::Object, ..Quirks::default() };
    let (body, losses) = write(&request, router);
    let messages = &body["messages"];
    assert_eq!(messages[0]["reasoning_details"][0]["signature"], "sig");
    assert_eq!(messages[0]["tool_calls"][0]["extra_content"]["google"]["thought_signature"], "sig");
    assert!(messages[2]["reasoning_details"].is_null() && messages[2]["tool_calls"][0]["extra_content"].is_null());
    assert_eq!(messages[2]["reasoning"], "t");
    assert_eq!(losses, ["messages.signature"]);
}

/// A turn of the model as Responses tells it: an item for everything.
const ITEMS: &str = r#"{"model":"m","input":[{"role":"user","content":"go"},
    {"type":"reasoning","id":"rs","summary":[{"type":"summary_text","text":"think"}]},
    {"type":"message","role":"assistant","content":[{"type":"output_text","text":"let me"}]},
    {"type":"message","role":"assistant","content":[{"type":"output_text","text":"look"}]},
    {"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},
    {"type":"function_call","call_id":"c2","name":"f","arguments":"{}"},
    {"type":"function_call_output","call_id":"c1","output":"1"},
    {"type":"function_call_output","call_id":"c2","output":"2"},
    {"type":"reasoning","id":"rs2","summary":[{"type":"summary_text","text":"again"}]}]}"#;

#[test]
fn items_of_one_turn_are_one_message() {
    let request = codec(crate::Dialect::OpenAiResponses).decode_request(ITEMS.as_bytes(), &Call::default()).unwrap();
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let (body, _) = write(&request, Quirks::default());
    let turn = json!({"role": "assistant", "content": "let me\n\nlook", "reasoning_content": "think",
        "tool_calls": [call("c1"), call("c2")]});
    let results = [
        json!({"role": "tool", "tool_call_id": "c1", "content": "1"}),
        json!({"role": "tool", "tool_call_id": "c2", "content": "2"}),
    ];
    let last = json!({"role": "assistant", "content": "", "reasoning_content": "again"});
    let user = json!({"role": "user", "content": "go"});
    assert_eq!(body["messages"], json!([user, turn, results[0], results[1], last]));

    // OpenAI is told no reasoning, and of a message that has nothing else nothing.
    let (body, losses) = write(&request, OPENAI);
    let turn = json!({"role": "assistant", "content": "let me\n\nlook", "tool_calls": [call("c1"), call("c2")]});
    assert_eq!(body["messages"], json!([user, turn, results[0], results[1]]));
    assert_eq!(losses, ["messages.reasoning"]);

    let mistral = Quirks { reasoning: ReasoningSpelling::Parts, ..Quirks::default() };
    let (body, _) = write(&request, mistral);
    let parts = body["messages"][1]["content"].as_array().unwrap();
    assert_eq!(parts.iter().map(|part| &part["type"]).collect::<Vec<_>>(), ["thinking", "text", "text"]);
    assert_eq!(body["messages"][1]["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(body["messages"].as_array().unwrap().len(), 5);
}

#[test]
fn pieces_of_one_text_are_put_together_as_they_are() {
    // google-genai keeps each chunk of an answer as a content of its own, the empty last one, too.
    let contents = json!({"contents": [
        {"role": "user", "parts": [{"text": "go"}]},
        {"role": "model", "parts": [{"text": "I th", "thought": true}]},
        {"role": "model", "parts": [{"text": "ink", "thought": true}, {"text": "The sk"}]},
        {"role": "model", "parts": [{"text": "y is bl"}]},
        {"role": "model", "parts": [{"text": "ue."}]},
        {"role": "model", "parts": [{"text": ""}]},
        {"role": "user", "parts": [{"text": "on"}]}]})
    .to_string();
    let request = codec(crate::Dialect::Gemini).decode_request(contents.as_bytes(), &Call::default()).unwrap();
    let turn = &write(&request, Quirks::default()).0["messages"][1];
    assert_eq!((&turn["content"], &turn["reasoning_content"]), (&json!("The sky is blue."), &json!("I think")));
}

#[test]
fn messages_without_text_set_nothing_apart() {
    let said = |text: &'static str| Message {
        role: Role::Assistant,
        blocks: vec![
            Block::new(Content::Reasoning(Box::new(Reasoning { text: text.into(), ..Reasoning::default() }))),
            Block::text(text),
        ],
        ..Message::default()
    };
    for (texts, wanted) in [(["a", "", "b"], "a\n\nb"), (["", "a", ""], "a"), (["a", "b", ""], "a\n\nb")] {
        let request = Request { messages: texts.map(said).into(), ..Request::new(crate::Dialect::OpenAiResponses) };
        let turn = &write(&request, Quirks::default()).0["messages"][0];
        assert_eq!((&turn["content"], &turn["reasoning_content"]), (&json!(wanted), &json!(wanted)), "{texts:?}");
    }
}

#[test]
fn media_types_stay_as_they_are_spelt() {
    let file = |data: &str| json!({"type": "file", "file": {"file_data": data, "filename": "a"}});
    let parts =
        json!([file("data:text/plain;charset=iso-8859-1;base64,QQ=="), file("data:Application/PDF;base64,QQ==")]);
    let body = json!({"model": "m", "messages": [{"role": "user", "content": parts}]}).to_string();
    assert_eq!(write(&read(&body), OPENAI).0["messages"][0]["content"], parts);
    let shouted =
        json!({"model": "m", "messages": [{"role": "user", "content": [file("DATA:text/plain;base64,QQ==")]}]});
    let shouted = shouted.to_string();
    let Content::Media(media) = &read(&shouted).messages[0].blocks[0].content else { panic!() };
    assert_eq!((&media.source, media.mime.as_deref()), (&MediaSource::Data("QQ==".into()), Some("text/plain")));
}

#[test]
fn messages_of_ones_own_dialect_stay_apart() {
    let request = read(
        r#"{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","content":"a"},{"role":"assistant","content":""}]}"#,
    );
    assert_eq!(write(&request, OPENAI).0["messages"].as_array().unwrap().len(), 3);
}

#[test]
fn an_end_users_id_fits() {
    let id = format!("user_{}_account__session_{}", "0".repeat(64), "1".repeat(36));
    let body = json!({"model": "m", "max_tokens": 9, "messages": [], "metadata": {"user_id": id}}).to_string();
    let request = codec(crate::Dialect::Anthropic).decode_request(body.as_bytes(), &Call::default()).unwrap();
    let (openai, other) = (write(&request, OPENAI).0, write(&request, Quirks::default()).0);
    let told = openai["safety_identifier"].as_str().unwrap();
    assert!(told.len() <= 64 && told.starts_with("user_"), "{told}");
    assert_eq!(other["user"], told);
    let own = json!({"model": "m", "messages": [], "user": id}).to_string();
    assert_eq!(write(&read(&own), OPENAI).0["user"], id);
}

#[test]
fn a_budget_is_no_more_than_a_high_effort() {
    let effort = |effort, budget| {
        let reasoning = Some(ReasoningConfig { effort, budget, ..ReasoningConfig::default() });
        write(&Request { reasoning, ..Request::new(crate::Dialect::Gemini) }, OPENAI).0["reasoning_effort"].clone()
    };
    assert_eq!((effort(None, Some(50_000)), effort(None, Some(1024))), (json!("high"), json!("low")));
}

#[test]
fn vendors_are_told_reasoning_where_they_take_it() {
    let request = codec(crate::Dialect::OpenAiResponses).decode_request(ITEMS.as_bytes(), &Call::default()).unwrap();
    let of = |kind: &str| crate::preset::Preset::find(kind).unwrap().quirks;
    let (body, losses) = write(&request, of("cerebras"));
    assert_eq!(
        (&body["messages"][1]["reasoning"], &body["messages"][1]["reasoning_content"]),
        (&json!("think"), &Value::Null)
    );
    assert!(losses.is_empty(), "{losses:?}");
    let (body, losses) = write(&request, of("groq"));
    assert!(body["messages"][1]["reasoning"].is_null() && body["messages"][1]["reasoning_content"].is_null(), "{body}");
    assert_eq!((body["messages"].as_array().unwrap().len(), losses), (4, vec!["messages.reasoning".to_owned()]));
    let reasoning = Some(ReasoningConfig { effort: Some(Effort::Low), ..ReasoningConfig::default() });
    for kind in ["cerebras", "groq"] {
        let asked = Request { reasoning: reasoning.clone(), ..Request::new(crate::Dialect::Gemini) };
        assert_eq!(write(&asked, of(kind)).0["reasoning_effort"], "low");
    }
}
