//! Requests and answers of other dialects in which everything is set: each thing is said, or noted.

use serde_json::{Value, json};

use super::*;
use crate::common::{
    AudioConfig, Block, CacheConfig, CacheMark, Choice, Citation, Content, CustomTool, Effort, Foreign, FunctionTool,
    Json, Media, MediaKind, MediaSource, Message, Opaque, ProviderTag, Reasoning, ReasoningConfig, ResponseFormat,
    Role, Stop, StopReason, Text, TokenLogprob, Tool, ToolCall, ToolChoice, ToolResult, take_apart,
};
use crate::usage::Usage;

fn written(request: &Request<'_>, model: &str) -> (Value, Vec<String>) {
    let mut losses = Losses::default();
    let target = Target { model, ..testing::target() };
    let body = codec(OWN).encode_request(request, &target, &mut losses).unwrap();
    (serde_json::from_slice(&body).unwrap(), losses.iter().map(|loss| loss.field.clone()).collect())
}

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

fn media(kind: MediaKind, source: MediaSource<'static>, mime: &'static str) -> Block<'static> {
    let mime = (!mime.is_empty()).then(|| mime.into());
    Block::new(Content::Media(Box::new(Media { kind, source, mime, ..Media::default() })))
}

fn message(role: Role, blocks: Vec<Block<'static>>) -> Message<'static> {
    Message { role, blocks, ..Message::default() }
}

fn result(id: &'static str, text: &'static str) -> Block<'static> {
    let result = ToolResult { call_id: id.into(), content: vec![Block::text(text)], ..ToolResult::default() };
    Block::new(Content::ToolResult(Box::new(result)))
}

fn tool_call(id: &'static str, name: &'static str, arguments: &'static str) -> ToolCall<'static> {
    ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), ..ToolCall::default() }
}

fn opaque(dialect: Dialect) -> Option<Opaque<'static>> {
    Some(Opaque::made_by(dialect, Some(ProviderTag::of("p")), "b3BhcXVl".into()))
}

fn foreign(kind: &'static str) -> Foreign<'static> {
    Foreign { dialect: Dialect::OpenAiResponses, kind: kind.into(), raw: Json::of(&json!({"type": kind})) }
}

/// A plugin may add such a message to the request of a client of the same dialect, which has none.
#[test]
fn a_developers_message_is_said_between_two_sides_of_this_dialect_too() {
    for dialect in [Dialect::OpenAiChat, OWN] {
        let mut request = Request::new(dialect);
        let said = |role, text| message(role, vec![Block::text(text)]);
        request.messages = vec![said(Role::Developer, "be brief"), said(Role::User, "hi")];
        let body = written(&request, CLAUDE).0.to_string();
        assert_eq!(body.matches("be brief").count(), 1, "{dialect}: {body}");
    }
}

fn full() -> Request<'static> {
    let mut request = Request::new(Dialect::OpenAiResponses);
    request.system = vec![Block::text("Instructions"), Block::text("  ")];
    let mut cached = Block::text("Look at these");
    cached.cache = Some(CacheMark { ttl: Some("1h".into()) });
    cached.extras = vec![("part_extra".into(), Json::of(&1))];
    let mut document = media(MediaKind::Document, MediaSource::Data("JVBERi0x".into()), "application/pdf");
    if let Content::Media(media) = &mut document.content {
        (media.name, media.context, media.cite) = (Some("my_file.pdf".into()), Some("context".into()), Some(true));
        media.detail = Some("high".into());
    }
    let audio = Media {
        kind: MediaKind::Audio,
        source: MediaSource::File("file_1".into()),
        transcript: Some("spoken words".into()),
        ..Media::default()
    };
    let user = vec![
        cached,
        media(MediaKind::Image, MediaSource::Data("_-8=".into()), "image/png"),
        media(MediaKind::Image, MediaSource::Url("https://a/b.png".into()), ""),
        media(MediaKind::Image, MediaSource::Url("s3://bucket/k.webp".into()), ""),
        document,
        media(MediaKind::Document, MediaSource::Text("plain words".into()), ""),
        media(MediaKind::Document, MediaSource::Blocks(vec![Block::text("block words")]), ""),
        media(MediaKind::Video, MediaSource::Data("AAAA".into()), "video/mp4"),
        Block::new(Content::Media(Box::new(audio))),
        Block::new(Content::Foreign(Box::new(foreign("mcp_approval_response")))),
        Block::text(""),
    ];
    let reasoning = Reasoning {
        text: "not shown".into(),
        summary: vec!["s".into()],
        signature: opaque(Dialect::Gemini),
        encrypted: opaque(Dialect::OpenAiResponses),
    };
    let ours = Reasoning { text: "ours".into(), signature: opaque(OWN), ..Reasoning::default() };
    let hidden = Reasoning { encrypted: opaque(OWN), ..Reasoning::default() };
    let cited = Text {
        text: "cited words".into(),
        citations: vec![Citation {
            url: Some("https://src/".into()),
            title: Some("Source title".into()),
            quote: Some("quoted".into()),
            span: Some((0, 5)),
            raw: Some((Dialect::OpenAiResponses, Json::of(&1))),
        }],
        signature: opaque(Dialect::Gemini),
    };
    let mut call = tool_call("call 1", "search", r#"{"q": 1.50}"#);
    (call.namespace, call.signature) = (Some("mcp__docs".into()), opaque(Dialect::Gemini));
    let custom = ToolCall { custom: true, ..tool_call("call_2", "patch", "*** Begin") };
    let assistant = vec![
        Block::new(Content::Reasoning(Box::new(reasoning))),
        Block::new(Content::Reasoning(Box::new(ours))),
        Block::new(Content::Reasoning(Box::new(hidden))),
        Block::new(Content::Text(cited)),
        Block::new(Content::Refusal("refused words".into())),
        Block::new(Content::ToolCall(Box::new(call))),
        Block::new(Content::ToolCall(Box::new(custom))),
        Block::new(Content::ToolCall(Box::new(tool_call("call_3", "broken", "{\"a\":")))),
    ];
    let failed = ToolResult {
        call_id: "call_2".into(),
        name: Some("patch".into()),
        content: vec![
            Block::text("failed words"),
            media(MediaKind::Image, MediaSource::Data("/9j/AA".into()), ""),
            media(MediaKind::Audio, MediaSource::Data("AAAA".into()), "audio/wav"),
        ],
        is_error: Some(true),
        custom: true,
    };
    request.messages = vec![
        message(Role::User, user),
        message(Role::Developer, vec![Block::text("developer words")]),
        message(Role::Assistant, assistant),
        message(Role::User, vec![result("call 1", "first result")]),
        message(Role::User, vec![Block::text("and now?")]),
        message(Role::User, vec![Block::new(Content::ToolResult(Box::new(failed))), result("call_3", "third result")]),
    ];
    request.messages[0].name = Some("ann".into());
    request.messages[0].extras = vec![("message_extra".into(), Json::of(&1))];
    request.tools = vec![
        Tool::Function(Box::new(FunctionTool {
            name: "search".into(),
            description: Some("search words".into()),
            parameters: Json::parse(r#"{"type":"object","x":1}"#),
            strict: Some(true),
            cache: Some(CacheMark::default()),
            namespace: Some("mcp__docs".into()),
            extras: vec![("tool_extra".into(), Json::of(&1))],
        })),
        Tool::Custom(Box::new(CustomTool {
            name: "patch".into(),
            description: Some("patch words".into()),
            format: Json::parse(r#"{"type":"grammar","syntax":"lark"}"#),
            namespace: None,
            extras: vec![("custom_extra".into(), Json::of(&1))],
        })),
        Tool::Foreign { dialect: Dialect::OpenAiResponses, kind: "web_search".into(), raw: Json::of(&1) },
    ];
    request.tool_choice = Some(ToolChoice::None);
    request.parallel_tool_calls = Some(false);
    request.response_format = Some(ResponseFormat::Schema {
        name: Some("format name".into()),
        description: Some("format words".into()),
        schema: Json::parse(r#"{"type": "object"}"#).unwrap(),
        strict: Some(true),
    });
    request.reasoning = Some(ReasoningConfig { effort: Some(Effort::Low), ..ReasoningConfig::default() });
    request.max_tokens = Some(4000);
    (request.temperature, request.top_p, request.top_k) = (Some(1.5), Some(0.25), Some(7));
    (request.seed, request.presence_penalty, request.frequency_penalty) = (Some(1), Some(0.5), Some(0.5));
    request.stop = vec!["END".into(), " ".into()];
    (request.n, request.logprobs, request.top_logprobs) = (Some(2), Some(true), Some(3));
    request.modalities = vec!["text".into(), "audio".into()];
    request.audio = Some(AudioConfig::default());
    (request.verbosity, request.service_tier) = (Some("low".into()), Some("scale".into()));
    (request.user, request.store) = (Some("u".into()), Some(true));
    request.metadata = Json::parse(r#"{"good": "value", "bad": "häßlich", "number": 1}"#);
    request.cache = CacheConfig {
        automatic: Some(CacheMark::default()),
        key: Some("k".into()),
        retention: Some("24h".into()),
        content: None,
    };
    request.extras = vec![("truncation".into(), Json::of(&"auto"))];
    request
}

#[test]
fn a_full_request_is_said_or_noted() {
    let (body, mut lost) = written(&full(), CLAUDE);
    lost.sort_unstable();
    assert_eq!(
        lost,
        [
            "audio",
            "cache",
            "frequency_penalty",
            "logprobs",
            "messages.audio",
            "messages.citations",
            "messages.detail",
            "messages.image",
            "messages.mcp_approval_response",
            "messages.message_extra",
            "messages.name",
            "messages.part_extra",
            "messages.reasoning",
            "messages.signature",
            "messages.tool_result.audio",
            "metadata",
            "modalities",
            "n",
            "parallel_tool_calls",
            "presence_penalty",
            "prompt_cache_key",
            "seed",
            "service_tier",
            "stop",
            "store",
            "temperature",
            "tool_choice",
            "tools.custom_extra",
            "tools.format",
            "tools.tool_extra",
            "tools.web_search",
            "top_k",
            "top_logprobs",
            "top_p",
            "truncation",
            "user",
            "verbosity",
        ]
    );
    insta::assert_json_snapshot!(body);
}

/// OpenAI's later name for it.
#[test]
fn fast_is_the_priority_tier() {
    let request = Request { service_tier: Some("fast".into()), ..full() };
    let (body, lost) = written(&request, CLAUDE);
    assert_eq!(body["serviceTier"], json!({"type": "priority"}));
    assert!(!lost.contains(&"service_tier".to_owned()));
    let answer = Response { service_tier: Some("fast".into()), ..Response::new(Dialect::OpenAiResponses) };
    let body = codec(OWN).encode_response(&answer, &testing::client(), &mut Losses::default());
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["serviceTier"], json!({"type": "priority"}));
}

#[test]
fn a_named_tool_is_worth_more_than_reasoning() {
    let mut request = full();
    request.tool_choice = Some(ToolChoice::Named("search".into()));
    let (body, lost) = written(&request, CLAUDE);
    assert_eq!(body["toolConfig"]["toolChoice"], json!({"tool": {"name": "mcp__docs__search"}}));
    assert_eq!(body["additionalModelRequestFields"], json!({"top_k": 7}));
    assert!(lost.contains(&"reasoning".to_owned()));
}

/// Claude refuses to think on from calls that it cannot see itself have thought about.
#[test]
fn a_turn_whose_reasoning_was_lost_is_finished_without() {
    let mut request = Request::new(Dialect::OpenAiChat);
    request.reasoning = Some(ReasoningConfig { effort: Some(Effort::High), ..ReasoningConfig::default() });
    request.messages = vec![message(Role::User, vec![Block::text("Hi")])];
    assert!(written(&request, CLAUDE).0["additionalModelRequestFields"]["thinking"].is_object());
    let call = || Block::new(Content::ToolCall(Box::new(tool_call("c", "f", "{}"))));
    request.messages.push(message(Role::Assistant, vec![call()]));
    request.messages.push(message(Role::User, vec![result("c", "r")]));
    let (body, lost) = written(&request, CLAUDE);
    assert_eq!((&body["additionalModelRequestFields"], lost), (&Value::Null, vec!["reasoning".to_owned()]));
    let ours = Reasoning { text: "ours".into(), signature: opaque(OWN), ..Reasoning::default() };
    request.messages[1].blocks.insert(0, Block::new(Content::Reasoning(Box::new(ours))));
    assert!(written(&request, CLAUDE).0["additionalModelRequestFields"]["thinking"].is_object());
}

#[test]
fn tools_are_left_out_or_declared_as_the_conversation_demands() {
    let mut request = Request::new(Dialect::OpenAiChat);
    request.messages = vec![message(Role::User, vec![Block::text("Hi")])];
    request.tools = full().tools;
    request.tool_choice = Some(ToolChoice::None);
    let (body, lost) = written(&request, CLAUDE);
    assert_eq!(body, json!({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}));
    assert_eq!(lost, Vec::<String>::new());
    request.tool_choice = Some(ToolChoice::Allowed { names: vec!["patch".into()], required: true });
    let (body, _) = written(&request, CLAUDE);
    assert_eq!(body["toolConfig"]["tools"].as_array().unwrap().len(), 1);
    assert_eq!(body["toolConfig"]["toolChoice"], json!({"any": {}}));
    (request.tools, request.tool_choice) = (Vec::new(), None);
    request
        .messages
        .push(message(Role::Assistant, vec![Block::new(Content::ToolCall(Box::new(tool_call("c", "f", ""))))]));
    let (body, _) = written(&request, CLAUDE);
    assert_eq!(
        body["toolConfig"],
        json!({"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}}}]})
    );
}

#[test]
fn a_document_alone_gets_a_text_beside_it() {
    let mut request = Request::new(Dialect::Anthropic);
    let document = || media(MediaKind::Document, MediaSource::Data("JVBERi0x".into()), "application/pdf");
    request.messages = vec![message(Role::User, vec![document(), document()])];
    let (body, _) = written(&request, CLAUDE);
    let content = &body["messages"][0]["content"];
    assert_eq!(content[0], json!({"text": "Document"}));
    assert_eq!(
        (&content[1]["document"]["name"], &content[2]["document"]["name"]),
        (&json!("Document"), &json!("Document 2"))
    );
}

#[test]
fn cache_marks_are_not_sent_to_models_that_refuse_them() {
    let (body, lost) = written(&full(), "us.meta.llama4-maverick-17b-instruct-v1:0");
    assert!(!body.to_string().contains("cachePoint"));
    for name in ["messages.cache", "tools.cache", "cache", "reasoning", "top_k"] {
        assert!(lost.contains(&name.to_owned()), "{name}: {lost:?}");
    }
}

#[test]
fn a_turn_that_follows_a_kept_answer_is_refused() {
    let mut request = full();
    request.previous = Some("resp_1".into());
    let error = codec(OWN).encode_request(&request, &testing::target(), &mut Losses::default()).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("previous_response_id"));
}

fn full_answer() -> Response<'static> {
    let mut response = Response::new(Dialect::OpenAiResponses);
    (response.id, response.model, response.created) = (Some("id".into()), Some("m".into()), Some(1));
    let reasoning = Reasoning {
        summary: vec!["first".into(), "second".into()],
        signature: opaque(Dialect::Gemini),
        encrypted: opaque(Dialect::OpenAiResponses),
        ..Reasoning::default()
    };
    let audio = Media {
        kind: MediaKind::Audio,
        mime: Some("audio/wav".into()),
        source: MediaSource::File("f".into()),
        transcript: Some("spoken".into()),
        ..Media::default()
    };
    let cited = Text {
        text: "cited".into(),
        citations: vec![Citation { url: Some("https://src/".into()), title: Some("T".into()), ..Citation::default() }],
        signature: opaque(Dialect::Gemini),
    };
    let mut text = Block::text("words");
    text.extras = vec![("text_extra".into(), Json::of(&1))];
    let call = ToolCall { namespace: Some("ns".into()), ..tool_call("call_1", "f", r#"{"b": 1, "a": 2}"#) };
    response.choices = vec![
        Choice {
            blocks: vec![
                Block::new(Content::Reasoning(Box::new(reasoning))),
                text,
                Block::new(Content::Text(cited)),
                Block::new(Content::Refusal("refused".into())),
                media(MediaKind::Image, MediaSource::Data("iVBORw0KGgo=".into()), "image/png"),
                Block::new(Content::Media(Box::new(audio))),
                Block::new(Content::ToolCall(Box::new(call))),
                Block::new(Content::Foreign(Box::new(foreign("web_search_call")))),
            ],
            stop: Stop::new(StopReason::ToolCalls),
            logprobs: vec![TokenLogprob::default()],
            extras: vec![("choice_extra".into(), Json::of(&1))],
        },
        Choice::default(),
    ];
    response.usage = Some(Usage {
        input: Some(10),
        cache_read: Some(20),
        cache_write_5m: Some(30),
        audio_input: Some(5),
        output: Some(40),
        reasoning: Some(50),
        ..Usage::default()
    });
    response.service_tier = Some("flex".into());
    response.extras = vec![("answer_extra".into(), Json::of(&1))];
    response
}

#[test]
fn a_full_answer_is_said_or_noted_whole_and_streamed() {
    let wanted = [
        "answer.answer_extra",
        "answer.audio",
        "answer.choice_extra",
        "answer.choices",
        "answer.logprobs",
        "answer.signature",
        "answer.text_extra",
        "answer.web_search_call",
    ];
    let response = full_answer();
    let mut losses = Losses::default();
    let body = codec(OWN).encode_response(&response, &testing::client(), &mut losses);
    let mut lost: Vec<&str> = losses.iter().map(|loss| &*loss.field).collect();
    lost.sort_unstable();
    assert_eq!(lost, wanted);
    let whole: Value = serde_json::from_slice(&body).unwrap();
    insta::assert_json_snapshot!("full_answer", whole);
    // No key of it is out of order for reading it again.
    let again = codec(OWN).decode_response(&body, &testing::maker()).unwrap();
    let usage = again.usage.unwrap();
    assert_eq!((usage.total_input(), usage.total_output(), usage.total()), (Some(65), Some(90), Some(155)));

    let mut events = Vec::new();
    take_apart(&response, &mut |event| events.push(bounded_static::IntoBoundedStatic::into_static(event)));
    let (mut encoder, mut out, mut losses) =
        (codec(OWN).stream_encoder(&testing::client()), Vec::new(), Losses::default());
    events.into_iter().for_each(|event| encoder.encode(event, &mut losses, &mut out));
    let mut lost: Vec<&str> = losses.iter().map(|loss| &*loss.field).collect();
    lost.sort_unstable();
    assert_eq!(lost, wanted);
    let streamed = testing::collected(OWN, &testing::events(&mut *decoder(), &out)).unwrap();
    assert_eq!(streamed, again);
}
