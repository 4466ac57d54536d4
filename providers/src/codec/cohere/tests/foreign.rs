//! What other dialects say, in Cohere's words: everything is found in the output or noted.

use serde_json::{Value, json};

use super::{OWN, encode, names, write};
use crate::catalogue::{Thinking, Traits};
use crate::codec::testing::{client, collected, events, maker};
use crate::codec::{Target, codec};
use crate::common::{
    AudioConfig, Block, CacheConfig, CacheMark, Choice, Citation, Content, CustomTool, Effort, Foreign, FunctionTool,
    Json, Losses, Media, MediaKind, MediaSource, Message, Opaque, ProviderTag, Reasoning, ReasoningConfig,
    ReasoningMode, Request, Response, ResponseFormat, Role, Stop, StopReason, Text, TokenLogprob, Tool, ToolCall,
    ToolChoice, ToolResult, take_apart,
};
use crate::dialect::Dialect;
use crate::usage::Usage;

const OTHER: Dialect = Dialect::Anthropic;

fn json_of(text: &str) -> Json<'_> {
    Json::parse(text).unwrap()
}

fn opaque(text: &'static str) -> Option<Opaque<'static>> {
    Some(Opaque::made_by(OTHER, Some(ProviderTag::of("p")), text.into()))
}

fn media(kind: MediaKind, source: MediaSource<'static>) -> Media<'static> {
    Media { kind, source, ..Media::default() }
}

fn block(media: Media<'static>) -> Block<'static> {
    Block::new(Content::Media(Box::new(media)))
}

fn foreign(kind: &'static str) -> Content<'static> {
    Content::Foreign(Box::new(Foreign { dialect: OTHER, kind: kind.into(), raw: json_of("{}") }))
}

fn call(id: &'static str, name: &'static str) -> ToolCall<'static> {
    ToolCall { id: id.into(), name: name.into(), arguments: r#"{"a":1}"#.into(), ..ToolCall::default() }
}

fn message(role: Role, blocks: Vec<Block<'static>>) -> Message<'static> {
    Message { role, blocks, ..Message::default() }
}

fn user_blocks() -> Vec<Block<'static>> {
    let named = Media {
        name: Some("N".into()),
        context: Some("C".into()),
        cite: Some(true),
        ..media(MediaKind::Document, MediaSource::Text("doc text".into()))
    };
    let encoded =
        Media { mime: Some("text/plain".into()), ..media(MediaKind::Document, MediaSource::Data("aGk=".into())) };
    let nested = media(MediaKind::Document, MediaSource::Blocks(vec![Block::text("x"), Block::text("y")]));
    let image = Media {
        mime: Some("image/png".into()),
        detail: Some("high".into()),
        ..media(MediaKind::Image, MediaSource::Data("AAAA".into()))
    };
    vec![
        Block { cache: Some(CacheMark::default()), ..Block::text("question") },
        block(image),
        block(media(MediaKind::Image, MediaSource::Url("https://i".into()))),
        block(media(MediaKind::Image, MediaSource::File("f1".into()))),
        block(media(MediaKind::Audio, MediaSource::Data("BB".into()))),
        block(media(MediaKind::Video, MediaSource::Url("https://v".into()))),
        block(media(MediaKind::Document, MediaSource::Url("https://pdf".into()))),
        block(named),
        block(encoded),
        block(nested),
        Block::new(foreign("container_upload")),
        Block { extras: vec![("text_extra".into(), json_of("1"))], ..Block::text("more") },
        Block::new(Content::ToolResult(Box::new(ToolResult {
            call_id: "c1".into(),
            content: vec![Block::text("result"), block(media(MediaKind::Image, MediaSource::Url("https://r".into())))],
            is_error: Some(true),
            ..ToolResult::default()
        }))),
    ]
}

fn said() -> Vec<Block<'static>> {
    let cited = Text {
        text: "Zitat aß".into(),
        citations: vec![Citation {
            url: Some("https://q".into()),
            title: Some("Q".into()),
            quote: Some("q".into()),
            span: Some((6, 8)),
            raw: None,
        }],
        signature: opaque("text-sig"),
    };
    let reasoning = Reasoning {
        text: "thought".into(),
        summary: vec!["sum1".into(), "sum2".into()],
        signature: opaque("think-sig"),
        encrypted: opaque("secret"),
    };
    vec![
        Block::new(Content::Reasoning(Box::new(reasoning))),
        Block::new(Content::Reasoning(Box::new(Reasoning { encrypted: opaque("only"), ..Reasoning::default() }))),
        Block::new(Content::Text(cited)),
        Block::new(Content::Refusal("I refuse".into())),
        Block::new(foreign("server_tool_use")),
        Block::text("plan"),
        Block::new(Content::ToolCall(Box::new(ToolCall {
            namespace: Some("ns".into()),
            signature: opaque("call-sig"),
            ..call("c1", "f")
        }))),
        Block::new(Content::ToolCall(Box::new(ToolCall {
            custom: true,
            arguments: "a \"b\"\n".into(),
            ..call("c2", "patch")
        }))),
    ]
}

fn request() -> Request<'static> {
    let function = FunctionTool {
        name: "f".into(),
        description: Some("df".into()),
        parameters: Some(json_of(r#"{"type":"object","b":1,"a":2}"#)),
        strict: Some(true),
        cache: Some(CacheMark::default()),
        namespace: Some("ns".into()),
        extras: vec![("tool_extra".into(), json_of("1"))],
    };
    let custom = CustomTool {
        name: "patch".into(),
        format: Some(json_of(r#"{"type":"grammar"}"#)),
        extras: vec![("custom_extra".into(), json_of("1"))],
        ..CustomTool::default()
    };
    Request {
        model: "m".into(),
        stream: true,
        include_usage: true,
        system: vec![Block::text("sys")],
        messages: vec![
            Message {
                name: Some("ann".into()),
                extras: vec![("message_extra".into(), json_of("1"))],
                ..message(Role::User, user_blocks())
            },
            message(Role::Assistant, said()),
            message(Role::Developer, vec![Block::text("dev")]),
        ],
        tools: vec![
            Tool::Function(Box::new(function)),
            Tool::Function(Box::new(FunctionTool { name: "bare".into(), ..FunctionTool::default() })),
            Tool::Custom(Box::new(custom)),
            Tool::Foreign { dialect: OTHER, kind: "web_search_1".into(), raw: json_of("{}") },
        ],
        tool_choice: Some(ToolChoice::Required),
        parallel_tool_calls: Some(false),
        response_format: Some(ResponseFormat::Schema {
            name: Some("n".into()),
            description: Some("d".into()),
            schema: json_of(r#"{"type":"object"}"#),
            strict: Some(true),
        }),
        reasoning: Some(ReasoningConfig {
            mode: Some(ReasoningMode::Adaptive),
            effort: Some(Effort::Medium),
            budget: None,
            summary: Some("auto".into()),
            show: Some(true),
        }),
        max_tokens: Some(11),
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(3),
        seed: Some(4),
        presence_penalty: Some(0.1),
        frequency_penalty: Some(0.2),
        stop: vec!["x".into()],
        n: Some(2),
        logprobs: Some(true),
        top_logprobs: Some(5),
        modalities: vec!["text".into(), "audio".into()],
        audio: Some(AudioConfig::default()),
        verbosity: Some("low".into()),
        service_tier: Some("flex".into()),
        user: Some("u".into()),
        metadata: Some(json_of(r#"{"k":"v"}"#)),
        cache: CacheConfig { automatic: Some(CacheMark::default()), key: Some("k".into()), ..CacheConfig::default() },
        store: Some(true),
        previous: None,
        extras: vec![("request_extra".into(), json_of("1"))],
        ..Request::new(OTHER)
    }
}

#[test]
fn all_of_a_foreign_request_is_said_or_noted() {
    let (written, mut losses) = encode(&request());
    insta::assert_json_snapshot!(written);
    losses.sort();
    let mut wanted = [
        "audio",
        "cache",
        "messages.audio",
        "messages.cache",
        "messages.container_upload",
        "messages.document",
        "messages.image",
        "messages.message_extra",
        "messages.name",
        "messages.reasoning",
        "messages.server_tool_use",
        "messages.signature",
        "messages.text_extra",
        "messages.tool_result.error",
        "messages.tool_result.image",
        "messages.video",
        "metadata",
        "modalities",
        "n",
        "parallel_tool_calls",
        "prompt_cache_key",
        "reasoning.summary",
        "request_extra",
        "response_format.description",
        "service_tier",
        "store",
        "tools.cache",
        "tools.custom_extra",
        "tools.format",
        "tools.strict",
        "tools.tool_extra",
        "tools.web_search_1",
        "top_logprobs",
        "user",
        "verbosity",
    ];
    wanted.sort_unstable();
    assert_eq!(losses, wanted);
}

#[test]
fn a_turn_after_a_stored_answer_is_refused() {
    let request = Request { previous: Some("resp_1".into()), ..Request::new(Dialect::OpenAiResponses) };
    let target = crate::codec::testing::target();
    let error = codec(OWN).encode_request(&request, &target, &mut Losses::default()).unwrap_err();
    assert_eq!((error.status, error.param.as_deref()), (400, Some("previous_response_id")));
}

#[test]
fn a_model_that_does_not_reason_is_not_asked_to() {
    let reasoning = Some(ReasoningConfig { effort: Some(Effort::High), ..ReasoningConfig::default() });
    let request = Request { reasoning, ..Request::new(OTHER) };
    let traits = Traits { thinking: Thinking::Unsupported, ..Traits::default() };
    let (target, mut losses) = (Target { traits, ..crate::codec::testing::target() }, Losses::default());
    let body = codec(OWN).encode_request(&request, &target, &mut losses).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["thinking"], names(&losses)), (&Value::Null, vec!["reasoning".to_owned()]));
}

#[test]
fn reasoning_is_asked_for_in_tokens() {
    let thinking = |config: ReasoningConfig<'static>| {
        encode(&Request { reasoning: Some(config), ..Request::new(OTHER) }).0["thinking"].clone()
    };
    let of = |mode, effort, budget| thinking(ReasoningConfig { mode, effort, budget, ..ReasoningConfig::default() });
    assert_eq!(of(None, Some(Effort::Low), None), json!({"type": "enabled", "token_budget": 1024}));
    assert_eq!(of(None, Some(Effort::None), None), json!({"type": "disabled"}));
    assert_eq!(of(Some(ReasoningMode::Disabled), None, None), json!({"type": "disabled"}));
    assert_eq!(of(Some(ReasoningMode::Enabled), None, Some(9)), json!({"type": "enabled", "token_budget": 9}));
    assert_eq!(of(Some(ReasoningMode::Adaptive), None, None), Value::Null);
}

fn response() -> Response<'static> {
    let sound = Media { transcript: Some("spoken".into()), ..media(MediaKind::Audio, MediaSource::Data("AA".into())) };
    let mut blocks = said();
    blocks.insert(5, block(sound));
    blocks.insert(6, block(media(MediaKind::Image, MediaSource::Data("AA".into()))));
    let top = vec![TokenLogprob { token: "b".into(), logprob: -2.0, ..TokenLogprob::default() }];
    Response {
        id: Some("msg_1".into()),
        model: Some("claude".into()),
        created: Some(1),
        choices: vec![
            Choice {
                blocks,
                stop: Stop { reason: StopReason::StopSequence, sequence: Some("END".into()), detail: None },
                logprobs: vec![TokenLogprob { token: "a".into(), logprob: -0.5, bytes: Some(vec![97]), top }],
                extras: vec![("choice_extra".into(), json_of("1"))],
            },
            Choice { blocks: vec![Block::text("second")], ..Choice::default() },
        ],
        usage: Some(Usage { input: Some(1), cache_read: Some(2), output: Some(3), ..Usage::default() }),
        service_tier: Some("flex".into()),
        extras: vec![("answer_extra".into(), json_of("1"))],
        ..Response::new(OTHER)
    }
}

const LOST: [&str; 9] = [
    "answer.answer_extra",
    "answer.audio",
    "answer.choice_extra",
    "answer.choices",
    "answer.image",
    "answer.logprobs",
    "answer.server_tool_use",
    "answer.service_tier",
    "answer.stop_sequence",
];

#[test]
fn all_of_a_foreign_answer_is_said_or_noted() {
    let (written, mut losses) = write(&response(), &client());
    insta::assert_json_snapshot!(written);
    losses.sort();
    assert_eq!(losses, LOST);
}

#[test]
fn all_of_a_foreign_stream_is_said_or_noted() {
    let (mut encoder, mut out, mut losses) = (codec(OWN).stream_encoder(&client()), Vec::new(), Losses::default());
    take_apart(&response(), &mut |event| encoder.encode(event, &mut losses, &mut out));
    insta::assert_snapshot!(String::from_utf8(out.clone()).unwrap());
    let mut lost = names(&losses);
    lost.sort();
    assert_eq!(lost, LOST);
    // And it says what the whole answer says.
    let streamed = collected(OWN, &events(&mut *codec(OWN).stream_decoder(&maker()), &out)).unwrap();
    let mut losses = Losses::default();
    let whole = codec(OWN).encode_response(&response(), &client(), &mut losses);
    let whole = codec(OWN).decode_response(&whole, &maker()).unwrap();
    assert_eq!(super::texts(&streamed), super::texts(&whole));
    assert_eq!((streamed.usage, &streamed.choices[0].stop), (whole.usage, &whole.choices[0].stop));
}

/// A client that sends back what it got gives the state back to its maker.
#[test]
fn opaque_state_comes_back_through_a_client() {
    let (written, _) = write(&response(), &client());
    let body = json!({"model": "m", "messages": [written["message"]]}).to_string();
    let request = super::decode(&body);
    let blocks = &request.messages[0].blocks;
    let Content::Reasoning(reasoning) = &blocks[0].content else { panic!() };
    assert_eq!((&reasoning.signature, &reasoning.encrypted), (&opaque("think-sig"), &opaque("secret")));
    let call = blocks.iter().find_map(|block| match &block.content {
        Content::ToolCall(call) => Some(call),
        _ => None,
    });
    assert_eq!(call.unwrap().signature, opaque("call-sig"));
}

/// What has nothing to say is left out: Cohere refuses empty turns.
#[test]
fn empty_texts_and_turns_are_not_sent() {
    let encrypted = Reasoning { encrypted: opaque("e"), ..Reasoning::default() };
    let request = Request {
        messages: vec![
            message(Role::Assistant, vec![Block::new(Content::Reasoning(Box::new(encrypted)))]),
            message(Role::Assistant, vec![Block::text(""), Block::new(Content::ToolCall(Box::new(call("c", "f"))))]),
        ],
        ..Request::new(OTHER)
    };
    let (written, losses) = encode(&request);
    let calls = json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]);
    assert_eq!(written["messages"], json!([{"role": "assistant", "tool_calls": calls}]));
    assert_eq!(losses, ["messages.reasoning"]);
}

#[test]
fn items_of_one_turn_are_one_message() {
    let body = r#"{"model":"m","input":[{"role":"user","content":"go"},
        {"type":"reasoning","id":"rs","summary":[{"type":"summary_text","text":"think"}]},
        {"type":"message","role":"assistant","content":[{"type":"output_text","text":"let me"}]},
        {"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},
        {"type":"function_call","call_id":"c2","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"c1","output":"1"},
        {"type":"function_call_output","call_id":"c2","output":"2"}]}"#;
    let items = codec(Dialect::OpenAiResponses);
    let request = items.decode_request(body.as_bytes(), &crate::codec::Call::default()).unwrap();
    let (body, _) = encode(&request);
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let turn = json!({"role": "assistant", "content": [{"type": "thinking", "thinking": "think"}],
        "tool_plan": "let me", "tool_calls": [call("c1"), call("c2")]});
    assert_eq!(body["messages"][1], turn);
    let roles: Vec<_> = body["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool"]);
}
