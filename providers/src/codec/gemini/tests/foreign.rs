//! Requests and answers of other dialects: every field is carried or noted.

use serde_json::{Value, json};

use super::super::super::testing::{client, target};
use super::super::super::{Platform, Target, codec};
use super::*;
use crate::catalogue::{Thinking, Traits};
use crate::common::{
    AudioConfig, Block, CacheConfig, CacheMark, Choice, Citation, Content, CustomTool, Effort, Foreign, FunctionTool,
    Json, Media, MediaKind, MediaSource, Message, Opaque, ProviderTag, Reasoning, ReasoningConfig, ReasoningMode,
    ResponseFormat, Role, Stop, StopReason, Text, TokenLogprob, Tool, ToolCall, ToolChoice, ToolResult, take_apart,
};
use crate::usage::Usage;

const THEIRS: Dialect = Dialect::OpenAiResponses;

fn said(content: Content<'static>) -> Block<'static> {
    Block::new(content)
}

fn media(kind: MediaKind, source: MediaSource<'static>) -> Block<'static> {
    said(Content::Media(Box::new(Media { kind, source, ..Media::default() })))
}

fn call(id: &'static str, name: &'static str, arguments: &'static str) -> ToolCall<'static> {
    ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), ..ToolCall::default() }
}

fn result(id: &'static str, content: Vec<Block<'static>>, is_error: Option<bool>) -> Block<'static> {
    said(Content::ToolResult(Box::new(ToolResult { call_id: id.into(), content, is_error, ..ToolResult::default() })))
}

fn message(role: Role, blocks: Vec<Block<'static>>) -> Message<'static> {
    Message { role, blocks, ..Message::default() }
}

fn foreign(kind: &'static str) -> Block<'static> {
    said(Content::Foreign(Box::new(Foreign { dialect: THEIRS, kind: kind.into(), raw: Json::of(&json!({})) })))
}

/// A request in which everything is said.
fn full() -> Request<'static> {
    let schema = || Json::parse(r#"{"type":"object"}"#);
    let theirs = |data: &'static str| Some(Opaque::made_by(THEIRS, None, data.into()));
    let mut request = Request::new(THEIRS);
    request.model = "public".into();
    request.system = vec![Block { cache: Some(CacheMark::default()), ..Block::text("be good") }];
    request.messages = vec![
        message(Role::Developer, vec![Block::text("be brief")]),
        Message {
            name: Some("ann".into()),
            extras: vec![("weight".into(), Json::of(&1))],
            ..message(
                Role::User,
                vec![
                    Block { extras: vec![("odd".into(), Json::of(&1))], ..Block::text("look") },
                    said(Content::Media(Box::new(Media {
                        source: MediaSource::Data("AAAA".into()),
                        mime: Some("image/png".into()),
                        name: Some("a.png".into()),
                        detail: Some("high".into()),
                        context: Some("a picture".into()),
                        cite: Some(true),
                        ..Media::default()
                    }))),
                    media(MediaKind::Document, MediaSource::Url("https://x.org/a.csv".into())),
                    media(MediaKind::Image, MediaSource::File("file-1".into())),
                    media(MediaKind::Audio, MediaSource::File("file-2".into())),
                    media(MediaKind::Document, MediaSource::Text("plain".into())),
                    media(MediaKind::Document, MediaSource::Blocks(vec![Block::text("inner")])),
                    foreign("mcp_approval_response"),
                ],
            )
        },
        message(
            Role::Assistant,
            vec![
                said(Content::Reasoning(Box::new(Reasoning {
                    summary: vec!["one".into(), "two".into()],
                    encrypted: theirs("e"),
                    ..Reasoning::default()
                }))),
                said(Content::Reasoning(Box::new(Reasoning { encrypted: theirs("e"), ..Reasoning::default() }))),
                said(Content::Reasoning(Box::new(Reasoning {
                    text: "thought".into(),
                    signature: theirs("s"),
                    ..Reasoning::default()
                }))),
                said(Content::Text(Text {
                    text: "calling".into(),
                    citations: vec![Citation::default()],
                    signature: None,
                })),
                said(Content::Refusal("no".into())),
                said(Content::ToolCall(Box::new(call("1", "f", r#"{"a": 1.0e2}"#)))),
                said(Content::ToolCall(Box::new(ToolCall {
                    namespace: Some("ns".into()),
                    ..call("2", "g", "not json")
                }))),
                said(Content::ToolCall(Box::new(ToolCall { custom: true, ..call("3", "patch", "text") }))),
            ],
        ),
        message(Role::User, vec![result("3", vec![], None)]),
        message(Role::User, vec![result("1", vec![Block::text(r#"{"ok":1}"#)], Some(false))]),
        message(
            Role::User,
            vec![result(
                "2",
                vec![Block::text("a"), Block::text("b"), media(MediaKind::Image, MediaSource::Data("BBBB".into()))],
                Some(true),
            )],
        ),
        message(Role::Assistant, vec![said(Content::ToolCall(Box::new(call("4", "f", ""))))]),
        message(Role::User, vec![result("4", vec![Block::text("done")], None)]),
    ];
    request.tools = vec![
        Tool::Function(Box::new(FunctionTool {
            name: "f".into(),
            description: Some("d".into()),
            parameters: schema(),
            strict: Some(true),
            cache: Some(CacheMark::default()),
            extras: vec![("rare".into(), Json::of(&1))],
            namespace: None,
        })),
        Tool::Foreign { dialect: THEIRS, kind: "web_search".into(), raw: Json::of(&json!({})) },
        Tool::Function(Box::new(FunctionTool {
            name: "g".into(),
            namespace: Some("ns".into()),
            ..FunctionTool::default()
        })),
        Tool::Custom(Box::new(CustomTool {
            name: "patch".into(),
            format: Some(Json::of(&json!({"type": "grammar"}))),
            ..CustomTool::default()
        })),
    ];
    request.tool_choice = Some(ToolChoice::Named("g".into()));
    request.parallel_tool_calls = Some(false);
    request.response_format = Some(ResponseFormat::Schema {
        name: Some("n".into()),
        description: Some("what for".into()),
        schema: schema().unwrap(),
        strict: Some(true),
    });
    request.reasoning = Some(ReasoningConfig {
        effort: Some(Effort::High),
        summary: Some("auto".into()),
        ..ReasoningConfig::default()
    });
    request.max_tokens = Some(100);
    request.temperature = Some(0.5);
    request.top_p = Some(0.9);
    request.top_k = Some(40);
    request.seed = Some(1 << 40 | 7);
    request.presence_penalty = Some(0.1);
    request.frequency_penalty = Some(0.2);
    request.stop = ["a", "b", "c", "d", "e", "f"].map(Into::into).to_vec();
    request.n = Some(2);
    request.logprobs = Some(true);
    request.top_logprobs = Some(3);
    request.modalities = vec!["text".into(), "image".into()];
    request.audio = Some(AudioConfig { voice: Some("alloy".into()), format: None });
    request.verbosity = Some("low".into());
    request.service_tier = Some("flex".into());
    request.user = Some("u".into());
    request.metadata = Some(Json::of(&json!({"team": "a"})));
    request.cache = CacheConfig {
        automatic: Some(CacheMark::default()),
        key: Some("k".into()),
        retention: Some("24h".into()),
        content: None,
    };
    request.store = Some(true);
    request.extras = vec![("truncation".into(), Json::of(&"auto"))];
    request
}

#[test]
fn every_field_is_carried_or_noted() {
    let (body, lost) = encoded(&full());
    let text = |text: &str| json!({"text": text});
    assert_eq!(body["systemInstruction"], json!({"parts": [text("be good"), text("be brief")]}));
    let no_signature = super::super::part_out::NO_SIGNATURE;
    assert_eq!(
        body["contents"],
        json!([
            {"role": "user", "parts": [
                text("look"), text("a picture"), {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                {"fileData": {"mimeType": "text/csv", "fileUri": "https://x.org/a.csv"}}, text("plain"), text("inner")]},
            {"role": "model", "parts": [
                {"text": "one\n\ntwo", "thought": true}, {"text": "thought", "thought": true}, text("calling"), text("no"),
                {"functionCall": {"id": "1", "name": "f", "args": {"a": 1.0e2}}, "thoughtSignature": no_signature},
                {"functionCall": {"id": "2", "name": "ns__g", "args": {"INVALID_JSON": "not json"}}},
                {"functionCall": {"id": "3", "name": "patch", "args": {"input": "text"}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "3", "name": "patch", "response": {"output": ""}}},
                {"functionResponse": {"id": "1", "name": "f", "response": {"ok": 1}}},
                {"functionResponse": {"id": "2", "name": "ns__g", "response": {"error": "a\nb"}}},
                {"inlineData": {"mimeType": "image/jpeg", "data": "BBBB"}}]},
            {"role": "model", "parts": [
                {"functionCall": {"id": "4", "name": "f", "args": {}}, "thoughtSignature": no_signature}]},
            {"role": "user", "parts": [{"functionResponse": {"id": "4", "name": "f", "response": {"output": "done"}}}]},
        ])
    );
    let tools = body["tools"][0]["functionDeclarations"].as_array().unwrap();
    assert_eq!(tools[0], json!({"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}}));
    assert_eq!((tools.len(), &tools[1]["name"], body["tools"].as_array().unwrap().len()), (3, &json!("ns__g"), 1));
    assert_eq!(tools[2]["parametersJsonSchema"]["required"], json!(["input"]));
    assert_eq!(
        body["toolConfig"],
        json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["ns__g"]}})
    );
    assert_eq!(
        body["generationConfig"],
        json!({
            "temperature": 0.5, "topP": 0.9, "topK": 40, "candidateCount": 2, "maxOutputTokens": 100,
            "stopSequences": ["a", "b", "c", "d", "e"], "seed": 7, "presencePenalty": 0.1, "frequencyPenalty": 0.2,
            "responseLogprobs": true, "logprobs": 3, "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"}, "responseModalities": ["TEXT", "IMAGE"],
            "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 24576},
        })
    );
    assert_eq!(body["serviceTier"], "flex");
    let fields: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["contents", "generationConfig", "serviceTier", "systemInstruction", "toolConfig", "tools"]);
    let mut lost = lost;
    lost.sort();
    assert_eq!(
        lost,
        [
            "audio",
            "cache",
            "messages.audio",
            "messages.cache",
            "messages.citations",
            "messages.detail",
            "messages.image",
            "messages.mcp_approval_response",
            "messages.name",
            "messages.odd",
            "messages.reasoning",
            "messages.signature",
            "messages.weight",
            "metadata",
            "parallel_tool_calls",
            "prompt_cache_key",
            "response_format.description",
            "stop",
            "store",
            "tools.cache",
            "tools.format",
            "tools.rare",
            "tools.strict",
            "tools.web_search",
            "truncation",
            "user",
            "verbosity",
        ]
    );
}

/// Google answers "Unsupported MIME type" to what it does not know by that name.
/// OpenAI's later name for it.
#[test]
fn fast_is_the_priority_tier() {
    let request = Request { service_tier: Some("fast".into()), ..full() };
    let (body, lost) = encoded(&request);
    assert_eq!(body["serviceTier"], "priority");
    assert!(!lost.contains(&"service_tier".to_owned()));
    let answer = Response { service_tier: Some("fast".into()), ..full_answer() };
    let body = codec(OWN).encode_response(&answer, &client(), &mut Losses::default());
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["usageMetadata"]["serviceTier"], "priority");
}

#[test]
fn media_types_are_googles() {
    let sent = |kind, mime: Option<&'static str>, source| {
        let mut request = Request::new(THEIRS);
        let media = Media { kind, source, mime: mime.map(Into::into), ..Media::default() };
        let blocks = vec![Block::text("look"), said(Content::Media(Box::new(media)))];
        request.messages.push(message(Role::User, blocks));
        let (body, lost) = encoded(&request);
        let part = &body["contents"][0]["parts"][1];
        let mime = ["inlineData", "fileData"].iter().find_map(|field| part[field]["mimeType"].as_str());
        mime.map_or(Err(lost.concat()), |mime| Ok(mime.to_owned()))
    };
    let data = |data: &'static str| MediaSource::Data(data.into());
    let (image, document) = (MediaKind::Image, MediaKind::Document);
    let docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    for (kind, mime, source, wanted) in [
        (image, Some("image/jpg"), data("AAAA"), Ok("image/jpeg")),
        (image, Some("image/PNG;charset=utf-8"), data("AAAA"), Ok("image/png")),
        (image, None, data("iVBORw0KGgoAAA"), Ok("image/png")),
        (image, Some("image/*"), data("AAAA"), Ok("image/jpeg")),
        (image, Some("image/heic"), data("AAAA"), Ok("image/heic")),
        (image, None, MediaSource::Url("https://x.org/a.webp".into()), Ok("image/webp")),
        (image, None, MediaSource::Url("data:text/plain,hello".into()), Err("messages.image")),
        (image, None, MediaSource::Url("file_123".into()), Err("messages.image")),
        (MediaKind::Audio, Some("audio/L16;rate=24000"), data("AAAA"), Ok("audio/L16;rate=24000")),
        (document, Some("application/json"), data("e30="), Ok("text/plain")),
        (document, Some("application/octet-stream"), data("JVBERi0="), Ok("application/pdf")),
        (document, Some("application/octet-stream"), data("AAAA"), Err("messages.document")),
        (document, Some("text/csv"), data("AAAA"), Ok("text/csv")),
        (document, Some(docx), data("UEsD"), Err("messages.document")),
        (document, Some("image/png"), data("AAAA"), Ok("image/png")),
        (document, None, data("AAAA"), Ok("application/pdf")),
    ] {
        let wanted = wanted.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(sent(kind, mime, source.clone()), wanted, "{mime:?} {source:?}");
    }
}

#[test]
fn gemini_3_takes_levels_and_media_in_results_and_vertex_takes_labels() {
    let traits = Traits { gemini_3: true, ..Traits::default() };
    let (body, lost) = encoded_for(&full(), &Target { traits, platform: Platform::Vertex, ..target() });
    assert_eq!(body["generationConfig"]["thinkingConfig"], json!({"includeThoughts": true, "thinkingLevel": "high"}));
    let results = body["contents"][2]["parts"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    assert_eq!(
        results[2]["functionResponse"]["parts"],
        json!([{"inlineData": {"mimeType": "image/jpeg", "data": "BBBB"}}])
    );
    assert_eq!(body["contents"][0]["parts"][2]["mediaResolution"], json!({"level": "MEDIA_RESOLUTION_HIGH"}));
    assert_eq!(body["contents"][0]["parts"][2]["inlineData"]["displayName"], "a.png");
    assert_eq!((&body["labels"], body.get("serviceTier")), (&json!({"team": "a"}), None));
    assert!(!lost.iter().any(|field| ["metadata", "messages.detail"].contains(&field.as_str())));
}

#[test]
fn a_signature_goes_back_to_its_maker_and_old_turns_need_none() {
    let mut request = Request::new(Dialect::OpenAiChat);
    let signed = |maker: &str| ToolCall {
        signature: Some(Opaque::made_by(OWN, Some(ProviderTag::of(maker)), "real".into())),
        ..call("1", "f", "{}")
    };
    let turn = |call: ToolCall<'static>| {
        [
            message(Role::User, vec![Block::text("go")]),
            message(Role::Assistant, vec![said(Content::ToolCall(Box::new(call)))]),
            message(Role::User, vec![result("1", vec![Block::text("x")], None)]),
        ]
    };
    request.messages.extend(turn(call("1", "f", "{}")));
    request.messages.extend(turn(signed("p")));
    let (body, lost) = encoded(&request);
    assert_eq!(body["contents"][1]["parts"][0].get("thoughtSignature"), None);
    assert_eq!(body["contents"][3]["parts"][0]["thoughtSignature"], "real");
    assert!(lost.is_empty(), "{lost:?}");
    request.messages.extend(turn(signed("another")));
    let (body, lost) = encoded(&request);
    assert_eq!(body["contents"][5]["parts"][0]["thoughtSignature"], super::super::part_out::NO_SIGNATURE);
    assert_eq!(lost, ["messages.signature"]);
}

#[test]
fn a_model_that_does_not_reason_is_not_asked_to() {
    let mut request = Request::new(Dialect::OpenAiChat);
    request.messages.push(message(Role::User, vec![Block::text("x")]));
    for (effort, wanted) in [(Effort::High, vec!["reasoning".to_owned()]), (Effort::None, Vec::new())] {
        request.reasoning = Some(ReasoningConfig { effort: Some(effort), ..ReasoningConfig::default() });
        let traits = Traits { thinking: Thinking::Unsupported, ..Traits::default() };
        let (body, lost) = encoded_for(&request, &Target { traits, ..target() });
        assert!(body["generationConfig"]["thinkingConfig"].is_null(), "{body}");
        assert_eq!(lost, wanted);
    }
}

#[test]
fn reasoning_is_asked_for_in_the_models_words() {
    let config = |mode, effort, budget, gemini_3| {
        let mut request = Request::new(Dialect::Anthropic);
        request.messages.push(message(Role::User, vec![Block::text("x")]));
        request.reasoning = Some(ReasoningConfig { mode, effort, budget, ..ReasoningConfig::default() });
        let target = Target { traits: Traits { gemini_3, ..Traits::default() }, ..target() };
        encoded_for(&request, &target).0["generationConfig"]["thinkingConfig"].clone()
    };
    use ReasoningMode::{Adaptive, Disabled, Enabled};
    assert_eq!(
        config(Some(Enabled), None, Some(60_000), false),
        json!({"includeThoughts": true, "thinkingBudget": 24576})
    );
    assert_eq!(
        config(Some(Enabled), None, Some(3000), true),
        json!({"includeThoughts": true, "thinkingLevel": "medium"})
    );
    assert_eq!(config(Some(Adaptive), None, None, false), json!({"includeThoughts": true, "thinkingBudget": -1}));
    assert_eq!(
        config(Some(Adaptive), Some(Effort::Max), None, true),
        json!({"includeThoughts": true, "thinkingLevel": "high"})
    );
    assert_eq!(config(Some(Disabled), None, None, false), json!({"thinkingBudget": 0}));
    assert_eq!(config(Some(Disabled), None, None, true), json!({"thinkingLevel": "low"}));
    assert_eq!(config(None, Some(Effort::Low), None, false), json!({"thinkingBudget": 1024}));
    assert_eq!(config(None, None, None, false), Value::Null);
}

#[test]
fn what_cannot_be_told_not_to_think_is_told_to_hardly_think() {
    let config = |mode, effort, budget| {
        let mut request = Request::new(Dialect::Anthropic);
        request.reasoning = Some(ReasoningConfig { mode, effort, budget, ..ReasoningConfig::default() });
        let target = Target { traits: Traits::of("gemini-2.5-pro"), ..target() };
        let (body, lost) = encoded_for(&request, &target);
        (body["generationConfig"]["thinkingConfig"]["thinkingBudget"].clone(), lost)
    };
    let lost = || vec!["reasoning".to_owned()];
    assert_eq!(config(Some(ReasoningMode::Disabled), None, None), (json!(128), lost()));
    assert_eq!(config(None, Some(Effort::None), None), (json!(128), lost()));
    assert_eq!(config(Some(ReasoningMode::Enabled), None, Some(100)), (json!(128), lost()));
    assert_eq!(config(Some(ReasoningMode::Enabled), None, Some(2000)), (json!(2000), Vec::new()));
    assert_eq!(config(Some(ReasoningMode::Adaptive), None, None), (json!(-1), Vec::new()));
}

#[test]
fn what_stands_beside_texts_is_noted() {
    let mut request = Request::new(THEIRS);
    let cached = Block { cache: Some(CacheMark::default()), ..Block::text("x") };
    let odd = Block { extras: vec![("odd".into(), Json::of(&1))], ..Block::text("y") };
    request.messages = vec![message(Role::User, vec![result("1", vec![cached, odd], None)])];
    assert_eq!(encoded(&request).1, ["messages.cache", "messages.odd"]);
    let cited = Text { text: "x".into(), citations: vec![Citation::default()], signature: None };
    request.messages = vec![message(Role::Assistant, vec![said(Content::Text(cited))])];
    assert_eq!(encoded(&request).1, ["messages.citations"]);
}

/// A plugin may add such messages to the request of a client of the same dialect, which has none.
#[test]
fn instructions_among_the_messages_are_said_once() {
    for dialect in [Dialect::OpenAiChat, Dialect::Gemini] {
        let mut request = Request::new(dialect);
        let said = |role, text| message(role, vec![Block::text(text)]);
        request.messages = vec![said(Role::Developer, "be brief"), said(Role::User, "hi")];
        let (body, _) = encoded(&request);
        assert_eq!(body["systemInstruction"]["parts"], json!([{"text": "be brief"}]), "{dialect}");
        assert_eq!(body["contents"], json!([{"role": "user", "parts": [{"text": "hi"}]}]), "{dialect}");
    }
}

#[test]
fn choices_and_lone_instructions() {
    let mut request = Request::new(Dialect::OpenAiChat);
    request.messages.push(message(Role::System, vec![Block::text("say hi")]));
    let tool = |name: &'static str| FunctionTool { name: name.into(), ..FunctionTool::default() };
    request.tools = ["a", "b"].map(|name| Tool::Function(Box::new(tool(name)))).into();
    for (choice, wanted) in [
        (ToolChoice::Auto, json!({"mode": "AUTO"})),
        (ToolChoice::None, json!({"mode": "NONE"})),
        (ToolChoice::Required, json!({"mode": "ANY"})),
        (
            ToolChoice::Allowed { names: vec!["a".into(), "b".into()], required: true },
            json!({"mode": "ANY", "allowedFunctionNames": ["a", "b"]}),
        ),
        (
            ToolChoice::Allowed { names: vec!["a".into()], required: false },
            json!({"mode": "VALIDATED", "allowedFunctionNames": ["a"]}),
        ),
    ] {
        request.tool_choice = Some(choice);
        assert_eq!(encoded(&request).0["toolConfig"]["functionCallingConfig"], wanted);
    }
    request.tools.clear();
    request.tool_choice = Some(ToolChoice::Foreign { dialect: THEIRS, raw: Json::default() });
    request.response_format = Some(ResponseFormat::Foreign { dialect: THEIRS, raw: Json::default() });
    let (body, lost) = encoded(&request);
    assert_eq!(body, json!({"contents": [{"role": "user", "parts": [{"text": "say hi"}]}]}));
    assert_eq!(lost, ["tool_choice", "response_format"]);
    request.previous = Some("resp_1".into());
    assert!(Gemini.encode_request(&request, &target(), &mut Losses::default()).is_err());
}

/// An answer in which everything is said.
fn full_answer() -> Response<'static> {
    let mut response = Response::new(THEIRS);
    response.id = Some("r".into());
    response.model = Some("m".into());
    response.created = Some(1);
    response.service_tier = Some("default".into());
    response.extras = vec![("background".into(), Json::of(&false))];
    response.usage = Some(Usage {
        input: Some(10),
        cache_read: Some(5),
        audio_input: Some(3),
        output: Some(7),
        reasoning: Some(4),
        image_output: Some(2),
        ..Usage::default()
    });
    let opaque = |data: &'static str| Some(Opaque::made_by(THEIRS, Some(ProviderTag::of("o")), data.into()));
    let token = |token: &'static str| TokenLogprob { token: token.into(), logprob: -0.5, ..TokenLogprob::default() };
    response.choices.push(Choice {
        blocks: vec![
            said(Content::Reasoning(Box::new(Reasoning {
                summary: vec!["one".into(), "two".into()],
                encrypted: opaque("enc"),
                ..Reasoning::default()
            }))),
            said(Content::Text(Text {
                text: "Grüße, ".into(),
                citations: vec![Citation {
                    url: Some("https://a".into()),
                    title: Some("A".into()),
                    ..Citation::default()
                }],
                signature: None,
            })),
            said(Content::Refusal("no".into())),
            said(Content::ToolCall(Box::new(ToolCall { signature: opaque("sig"), ..call("1", "f", r#"{"a":1}"#) }))),
            media(MediaKind::Image, MediaSource::Data("AAAA".into())),
            foreign("web_search_call"),
        ],
        stop: Stop {
            reason: StopReason::StopSequence,
            sequence: Some("x".into()),
            detail: Some("stop_sequence".into()),
        },
        logprobs: vec![TokenLogprob { top: vec![token("b")], ..token("a") }],
        extras: vec![("oddity".into(), Json::of(&1))],
    });
    response
}

fn check_answer(read: &Response<'_>) {
    let blocks = &read.choices[0].blocks;
    let Content::Reasoning(reasoning) = &blocks[0].content else { panic!() };
    assert_eq!(reasoning.text, "one\n\ntwo");
    let text: String = blocks
        .iter()
        .filter_map(|block| match &block.content {
            Content::Text(text) => Some(text.text.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(text, "Grüße, no");
    let call = blocks.iter().find_map(|block| match &block.content {
        Content::ToolCall(call) => Some(call),
        _ => None,
    });
    let call = call.unwrap();
    assert_eq!((&*call.id, &*call.name, &*call.arguments), ("1", "f", r#"{"a":1}"#));
    assert_eq!(read.usage, full_answer().usage);
    assert_eq!(read.service_tier.as_deref(), Some("default"));
    assert_eq!(read.choices[0].logprobs, full_answer().choices[0].logprobs);
    assert!(blocks.iter().any(|block| matches!(&block.content, Content::Media(_))));
    assert_eq!(read.choices[0].stop.reason, StopReason::ToolCalls);
}

const LOST: [&str; 4] = ["answer.background", "answer.oddity", "answer.stop_sequence", "answer.web_search_call"];

#[test]
fn an_answer_is_carried_or_noted() {
    let mut losses = Losses::default();
    let written = Gemini.encode_response(&full_answer(), &client(), &mut losses);
    let mut lost: Vec<_> = losses.iter().map(|loss| loss.field.as_str()).collect();
    lost.sort_unstable();
    assert_eq!(lost, LOST);
    let tree: Value = serde_json::from_slice(&written).unwrap();
    let grounding = &tree["candidates"][0]["groundingMetadata"];
    assert_eq!(grounding["groundingChunks"], json!([{"web": {"uri": "https://a", "title": "A"}}]));
    assert_eq!(
        grounding["groundingSupports"],
        json!([{"segment": {"startIndex": 0, "endIndex": 9}, "groundingChunkIndices": [0]}])
    );
    assert_eq!(tree["candidates"][0]["finishReason"], "STOP");
    check_answer(&answer(std::str::from_utf8(&written).unwrap()).unwrap());
    sealed_comes_back(&tree);
}

/// What another provider encrypted or signed comes back from the client as it was.
fn sealed_comes_back(tree: &Value) {
    let body = json!({"contents": [tree["candidates"][0]["content"]]}).to_string();
    let request = request(&body);
    let blocks = &request.messages[0].blocks;
    let Content::Reasoning(reasoning) = &blocks[0].content else { panic!() };
    let Content::Reasoning(given) = &full_answer().choices[0].blocks[0].content.clone() else { panic!() };
    assert_eq!((&reasoning.encrypted, &reasoning.signature), (&given.encrypted, &None));
    let signed = blocks.iter().find_map(|block| match &block.content {
        Content::ToolCall(call) => call.signature.as_ref(),
        _ => None,
    });
    assert_eq!(signed.map(|opaque| &*opaque.data), Some("sig"));
}

#[test]
fn a_stream_is_carried_or_noted() {
    let (mut encoder, mut stream, mut losses) = (Gemini.stream_encoder(&client()), Vec::new(), Losses::default());
    take_apart(&full_answer(), &mut |event| encoder.encode(event, &mut losses, &mut stream));
    let mut lost: Vec<_> = losses.iter().map(|loss| loss.field.as_str()).collect();
    lost.sort_unstable();
    assert_eq!(lost, LOST);
    let read = streamed(&stream).unwrap();
    check_answer(&read);
    let cited = read.choices[0].blocks.iter().any(|block| match &block.content {
        Content::Text(text) => text.citations.iter().any(|one| one.span == Some((0, 7))),
        _ => false,
    });
    // The sources come at the end, when the text is closed: they are in the metadata.
    assert!(!cited && String::from_utf8(stream).unwrap().contains("groundingSupports"));
}

/// Zero asks for nothing, and some models know no penalties.
#[test]
fn penalties_of_zero_are_left_out() {
    let mut request = Request::new(Dialect::OpenAiChat);
    request.messages.push(message(Role::User, vec![Block::text("hi")]));
    (request.presence_penalty, request.frequency_penalty) = (Some(0.0), Some(0.0));
    assert_eq!(encoded(&request), (json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}), vec![]));
    request.frequency_penalty = Some(0.5);
    assert_eq!(encoded(&request).0["generationConfig"], json!({"frequencyPenalty": 0.5}));
}
