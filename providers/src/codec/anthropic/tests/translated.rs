//! What other dialects ask and answer: each field is found in the output, or among the losses.

use serde_json::{Value, json};

use super::super::super::testing::{client, collected, events, maker, target};
use super::super::super::{Target, codec};
use super::super::OWN;
use crate::catalogue::{Thinking, Traits};
use crate::common::{
    AudioConfig, Block, CacheConfig, CacheMark, Choice, Citation, Content, CustomTool, Effort, Foreign, FunctionTool,
    Json, Losses, Media, MediaKind, MediaSource, Message, Opaque, ProviderTag, Reasoning, ReasoningConfig,
    ReasoningMode, Request, Response, ResponseFormat, Role, Stop, StopReason, Text, TokenLogprob, Tool, ToolCall,
    ToolChoice, ToolResult, take_apart,
};
use crate::dialect::Dialect;
use crate::usage::Usage;

const OTHER: Dialect = Dialect::OpenAiResponses;

fn json(text: &'static str) -> Json<'static> {
    Json::parse(text).unwrap()
}

fn media(kind: MediaKind, mime: &'static str, source: MediaSource<'static>) -> Block<'static> {
    Block::new(Content::Media(Box::new(Media { kind, mime: Some(mime.into()), source, ..Media::default() })))
}

fn data(text: &'static str) -> MediaSource<'static> {
    MediaSource::Data(text.into())
}

fn message(role: Role, blocks: Vec<Block<'static>>) -> Message<'static> {
    Message { role, blocks, ..Message::default() }
}

fn reasoning(reasoning: Reasoning<'static>) -> Block<'static> {
    Block::new(Content::Reasoning(Box::new(reasoning)))
}

fn call(id: &'static str, arguments: &'static str) -> Block<'static> {
    Block::new(Content::ToolCall(Box::new(ToolCall {
        id: id.into(),
        name: "f".into(),
        arguments: arguments.into(),
        ..ToolCall::default()
    })))
}

fn result(id: &'static str, content: Vec<Block<'static>>) -> Block<'static> {
    Block::new(Content::ToolResult(Box::new(ToolResult { call_id: id.into(), content, ..ToolResult::default() })))
}

fn marked(text: &'static str) -> Block<'static> {
    Block { cache: Some(CacheMark { ttl: Some("1h".into()) }), ..Block::text(text) }
}

fn foreign() -> Block<'static> {
    let raw = json(r#"{"type":"web_search_call"}"#);
    Block::new(Content::Foreign(Box::new(Foreign { dialect: OTHER, kind: "web_search_call".into(), raw })))
}

fn simple(messages: Vec<Message<'static>>) -> Request<'static> {
    Request { messages, ..Request::new(Dialect::OpenAiChat) }
}

fn encode(request: &Request<'_>, target: &Target<'_>) -> (Value, Vec<String>) {
    let mut losses = Losses::default();
    let body = codec(OWN).encode_request(request, target, &mut losses).unwrap();
    (serde_json::from_slice(&body).unwrap(), losses.iter().map(|loss| loss.field.clone()).collect())
}

#[expect(clippy::too_many_lines, reason = "one whole request")]
fn full() -> Request<'static> {
    let signed = |dialect| Opaque::made_by(dialect, None, "sig".into());
    Request {
        dialect: OTHER,
        model: "public".into(),
        stream: true,
        include_usage: true,
        system: vec![marked("Be brief."), Block::text(" ")],
        messages: vec![
            message(Role::Developer, vec![Block::text("dev")]),
            message(Role::Assistant, vec![Block::text("begun")]),
            Message {
                role: Role::User,
                blocks: vec![
                    marked("look"),
                    Block::text(""),
                    media(MediaKind::Image, "image/png", data("iVBORw0=")),
                    media(MediaKind::Image, "image/heic", data("AAAA")),
                    media(MediaKind::Image, "image/png", MediaSource::Url("https://i/1.png".into())),
                    Block::new(Content::Media(Box::new(Media {
                        kind: MediaKind::Document,
                        source: data("JVBERi0="),
                        mime: Some("application/pdf".into()),
                        name: Some("a.pdf".into()),
                        detail: Some("high".into()),
                        context: Some("ctx".into()),
                        cite: Some(true),
                        transcript: None,
                        signature: Some(signed(Dialect::Gemini)),
                    }))),
                    media(MediaKind::Document, "text/csv", data("YSxi")),
                    media(MediaKind::Document, "application/zip", data("AAAA")),
                    media(MediaKind::Document, "text/plain", MediaSource::Text("plain".into())),
                    media(MediaKind::Document, "", MediaSource::Blocks(vec![Block::text("part")])),
                    media(MediaKind::Document, "application/pdf", MediaSource::File("file-1".into())),
                    media(MediaKind::Audio, "audio/wav", data("AAAA")),
                    media(MediaKind::Video, "video/mp4", MediaSource::Url("gs://v".into())),
                    foreign(),
                ],
                name: Some("ann".into()),
                id: Some("msg_1".into()),
                extras: vec![("phase".into(), json("1"))],
            },
            message(
                Role::Assistant,
                vec![
                    reasoning(Reasoning {
                        summary: vec!["s".into()],
                        encrypted: Some(signed(OTHER)),
                        ..Reasoning::default()
                    }),
                    reasoning(Reasoning { text: "mine".into(), signature: Some(signed(OWN)), ..Reasoning::default() }),
                    Block::new(Content::Text(Text {
                        text: "said".into(),
                        citations: vec![Citation { url: Some("https://c".into()), ..Citation::default() }],
                        signature: Some(signed(Dialect::Gemini)),
                    })),
                    Block::new(Content::Refusal("no".into())),
                    call("call.1/x", r#"{"z":1.50,"a":1}"#),
                    Block {
                        extras: vec![("status".into(), json("1"))],
                        id: Some("fc_1".into()),
                        content: Content::ToolCall(Box::new(ToolCall {
                            id: "call_2".into(),
                            name: "patch".into(),
                            arguments: "*** text".into(),
                            custom: true,
                            namespace: Some("mcp__docs".into()),
                            signature: Some(signed(Dialect::Gemini)),
                        })),
                        cache: None,
                    },
                ],
            ),
            message(Role::User, vec![Block::text("and then")]),
            message(
                Role::User,
                vec![result(
                    "call.1/x",
                    vec![
                        marked("r"),
                        media(MediaKind::Image, "image/png", data("iVBORw0=")),
                        media(MediaKind::Audio, "audio/wav", data("AAAA")),
                    ],
                )],
            ),
            message(
                Role::User,
                vec![Block::new(Content::ToolResult(Box::new(ToolResult {
                    call_id: "call_2".into(),
                    name: Some("patch".into()),
                    content: Vec::new(),
                    is_error: Some(true),
                    custom: true,
                })))],
            ),
        ],
        tools: vec![
            Tool::Function(Box::new(FunctionTool {
                name: "f".into(),
                description: Some("d".into()),
                parameters: Some(json(r#"{"type":"object","properties":{"z":{"type":"number"},"a":{}}}"#)),
                strict: Some(true),
                cache: Some(CacheMark::default()),
                namespace: Some("ns".into()),
                extras: vec![("defer".into(), json("1"))],
            })),
            Tool::Function(Box::new(FunctionTool { name: "g".into(), ..FunctionTool::default() })),
            Tool::Custom(Box::new(CustomTool {
                name: "patch".into(),
                description: Some("p".into()),
                format: Some(json(r#"{"type":"grammar","syntax":"lark"}"#)),
                namespace: None,
                extras: vec![("odd".into(), json("1"))],
            })),
            Tool::Foreign { dialect: OTHER, kind: "file_search".into(), raw: json("{}") },
        ],
        tool_choice: Some(ToolChoice::Allowed { names: vec!["f".into(), "patch".into()], required: true }),
        parallel_tool_calls: Some(false),
        response_format: Some(ResponseFormat::Schema {
            name: Some("n".into()),
            description: Some("d".into()),
            schema: json(r#"{"type":"object","properties":{}}"#),
            strict: Some(true),
        }),
        reasoning: Some(ReasoningConfig {
            mode: None,
            effort: Some(Effort::High),
            budget: None,
            summary: Some("auto".into()),
            show: None,
        }),
        max_tokens: Some(9000),
        temperature: Some(1.7),
        top_p: Some(0.5),
        top_k: Some(3),
        seed: Some(1),
        presence_penalty: Some(0.5),
        frequency_penalty: Some(0.5),
        stop: vec!["END".into(), " ".into()],
        n: Some(2),
        logprobs: Some(true),
        top_logprobs: Some(2),
        modalities: vec!["text".into(), "audio".into()],
        audio: Some(AudioConfig::default()),
        verbosity: Some("low".into()),
        service_tier: Some("flex".into()),
        user: Some("u".into()),
        metadata: Some(json(r#"{"k":"v"}"#)),
        cache: CacheConfig {
            automatic: Some(CacheMark::default()),
            key: Some("k".into()),
            retention: Some("24h".into()),
            content: None,
        },
        store: Some(true),
        previous: None,
        goes_on: false,
        extras: vec![("truncation".into(), json("1"))],
    }
}

#[test]
fn the_newest_models_are_asked_for_nothing_that_they_refuse() {
    let request = Request {
        tools: vec![Tool::Function(Box::new(FunctionTool { name: "f".into(), ..FunctionTool::default() }))],
        tool_choice: Some(ToolChoice::Required),
        temperature: Some(0.7),
        max_tokens: Some(4000),
        reasoning: Some(ReasoningConfig { effort: Some(Effort::None), ..ReasoningConfig::default() }),
        ..simple(vec![Message { blocks: vec![Block::text("hi")], ..Message::default() }])
    };
    for (model, forced) in [("claude-opus-5-5", false), ("claude-fable-5-2", false), ("claude-fable-5", true)] {
        let (body, lost) = encode(&request, &Target { traits: Traits::of(model), ..target() });
        assert_eq!((&body["thinking"], &body["temperature"]), (&Value::Null, &Value::Null), "{model}");
        assert_eq!(body["tool_choice"]["type"], if forced { "any" } else { "auto" }, "{model}");
        let expected = ["reasoning", "temperature", "tool_choice"];
        assert_eq!(lost, expected[..if forced { 2 } else { 3 }], "{model}");
    }
}

#[test]
fn a_full_request_of_another_dialect() {
    let (body, lost) = encode(&full(), &target());
    insta::assert_snapshot!(serde_json::to_string_pretty(&body).unwrap());
    insta::assert_snapshot!(lost.join("\n"));
    let mut previous = simple(Vec::new());
    previous.previous = Some("resp_1".into());
    let error = codec(OWN).encode_request(&previous, &target(), &mut Losses::default()).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("previous_response_id"));
}

#[test]
fn media_types_are_known_however_they_are_spelt() {
    let blocks = vec![
        media(MediaKind::Image, "image/PNG;x=1", data("AAAA")),
        media(MediaKind::Document, "Application/PDF;name=a.pdf", data("JVBE")),
        media(MediaKind::Document, "text/plain; charset=UTF-8", data("YSxi")),
        media(MediaKind::Document, "Application/JSON", data("e30=")),
    ];
    let (body, lost) = encode(&simple(vec![message(Role::User, blocks)]), &target());
    let content = body["messages"][0]["content"].as_array().unwrap();
    let told: Vec<_> = content.iter().map(|block| block["source"]["media_type"].as_str().unwrap()).collect();
    assert_eq!(told, ["image/png", "application/pdf", "text/plain", "text/plain"]);
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn conversations_alternate_and_say_something() {
    let (body, lost) = encode(&simple(vec![message(Role::System, vec![Block::text("only")])]), &target());
    assert_eq!(
        (&body["system"], &body["messages"]),
        (&json!("only"), &json!([{"role": "user", "content": [{"type": "text", "text": "."}]}]))
    );
    assert!(lost.is_empty());
    assert_eq!(body["max_tokens"], 32_000);
    let talk = simple(vec![
        message(Role::User, vec![Block::text("a")]),
        message(Role::Assistant, vec![Block::text(" ")]),
        message(Role::User, vec![Block::text("b")]),
        message(Role::Assistant, vec![Block::text("so \n")]),
    ]);
    let (body, _) =
        encode(&talk, &Target { traits: Traits { max_output: Some(4096), ..Traits::default() }, ..target() });
    let text = |text: &str| json!({"type": "text", "text": text});
    let wanted = json!([
        {"role": "user", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": [text("so")]}
    ]);
    assert_eq!((&body["messages"], &body["max_tokens"]), (&wanted, &json!(4096)));
    let (body, lost) =
        encode(&talk, &Target { traits: Traits { thinking: Thinking::Adaptive, ..Traits::default() }, ..target() });
    assert_eq!(body["messages"][2], json!({"role": "user", "content": [text(".")]}));
    assert_eq!(lost, ["messages.prefill"]);
}

#[test]
fn thinking_and_what_it_excludes() {
    let asked = |budget| Some(ReasoningConfig { budget: Some(budget), ..ReasoningConfig::default() });
    let tool = || vec![Tool::Function(Box::new(FunctionTool { name: "f".into(), ..FunctionTool::default() }))];
    let user = || message(Role::User, vec![Block::text("hi")]);
    let plain = Request {
        reasoning: asked(2000),
        temperature: Some(0.2),
        top_p: Some(0.97),
        top_k: Some(4),
        ..simple(vec![user()])
    };
    let (body, lost) = encode(&plain, &target());
    assert_eq!(body["thinking"], json!({"type": "enabled", "budget_tokens": 2000}));
    assert_eq!(
        (body["temperature"].is_null(), &body["top_p"], lost),
        (true, &json!(0.97), vec!["temperature".into(), "top_k".into()])
    );

    // A tool that must be used, or a loop of calls whose thinking is gone: the answer without thinking is the better one.
    let forced = Request { tools: tool(), tool_choice: Some(ToolChoice::Required), ..plain.clone() };
    let (body, lost) = encode(&forced, &target());
    assert_eq!(
        (body["thinking"].is_null(), &body["tool_choice"], &lost[0][..]),
        (true, &json!({"type": "any"}), "reasoning")
    );
    let talk = |thought: Option<Block<'static>>| Request {
        tools: tool(),
        reasoning: asked(2000),
        ..simple(vec![
            user(),
            message(Role::Assistant, thought.into_iter().chain([call("c", "{}")]).collect()),
            message(Role::User, vec![result("c", vec![Block::text("r")])]),
        ])
    };
    let (body, lost) = encode(&talk(None), &target());
    assert_eq!((body["thinking"].is_null(), lost), (true, vec!["reasoning".to_owned()]));
    let state = |provider| Some(Opaque::made_by(OWN, Some(ProviderTag::of(provider)), "Eq==".into()));
    let thought =
        |provider| reasoning(Reasoning { text: "t".into(), signature: state(provider), ..Reasoning::default() });
    let (body, lost) = encode(&talk(Some(thought("p"))), &target());
    assert_eq!((&body["thinking"]["budget_tokens"], lost.len()), (&json!(2000), 0));
    assert_eq!(body["messages"][1]["content"][0], json!({"type": "thinking", "thinking": "t", "signature": "Eq=="}));
    let (body, lost) = encode(&talk(Some(thought("another"))), &target());
    assert_eq!(
        (body["thinking"].is_null(), lost),
        (true, vec!["messages.reasoning".to_owned(), "reasoning".to_owned()])
    );
    // Adaptive thinking asks for none of that.
    let (body, lost) = encode(
        &talk(None),
        &Target { traits: Traits { thinking: Thinking::Adaptive, ..Traits::default() }, ..target() },
    );
    assert_eq!((&body["thinking"], lost.len()), (&json!({"type": "adaptive"}), 0));

    let off = Request {
        reasoning: Some(ReasoningConfig { mode: Some(ReasoningMode::Disabled), ..ReasoningConfig::default() }),
        ..simple(vec![user()])
    };
    assert_eq!(encode(&off, &target()).0["thinking"], json!({"type": "disabled"}));
}

#[test]
fn no_more_marks_than_anthropic_takes() {
    let blocks = ["a", "b", "c", "d", "e", "f"].map(marked).to_vec();
    let (body, lost) = encode(&simple(vec![message(Role::User, blocks)]), &target());
    let marks: Vec<_> = body["messages"][0]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| !block["cache_control"].is_null())
        .collect();
    assert_eq!((marks, lost), (vec![false, false, true, true, true, true], vec!["messages.cache".to_owned()]));
}

#[test]
fn choices_need_tools() {
    let request = Request {
        tool_choice: Some(ToolChoice::Auto),
        parallel_tool_calls: Some(true),
        ..simple(vec![message(Role::User, vec![Block::text("hi")])])
    };
    let (body, lost) = encode(&request, &target());
    assert!(body["tool_choice"].is_null() && lost.is_empty());
    let named = Request { tool_choice: Some(ToolChoice::Named("f".into())), ..request };
    assert_eq!(encode(&named, &target()).1, ["tool_choice"]);
}

fn full_answer() -> Response<'static> {
    let text = Text {
        text: "said".into(),
        citations: vec![Citation { url: Some("https://c".into()), title: Some("C".into()), ..Citation::default() }],
        signature: Some(Opaque::made_by(Dialect::Gemini, None, "sig".into())),
    };
    let sound =
        Media { kind: MediaKind::Audio, source: data("AAAA"), transcript: Some("spoken".into()), ..Media::default() };
    let blocks = vec![
        reasoning(Reasoning { text: "because".into(), ..Reasoning::default() }),
        Block { extras: vec![("annotations".into(), json("[]"))], ..Block::new(Content::Text(text)) },
        Block::new(Content::Refusal("no".into())),
        call("c1", r#"{"a": 1}"#),
        call("c2", ""),
        media(MediaKind::Image, "image/png", data("iVBORw0=")),
        Block::new(Content::Media(Box::new(sound))),
        foreign(),
    ];
    let logprob = TokenLogprob { token: "a".into(), ..TokenLogprob::default() };
    Response {
        dialect: OTHER,
        id: Some("resp_1".into()),
        model: Some("gpt".into()),
        created: Some(1),
        choices: vec![
            Choice {
                blocks,
                stop: Stop::new(StopReason::ContentFilter),
                logprobs: vec![logprob],
                extras: vec![("odd".into(), json("1"))],
            },
            Choice { blocks: vec![Block::text("second")], ..Choice::default() },
        ],
        usage: Some(Usage {
            input: Some(1),
            cache_read: Some(2),
            cache_write_5m: Some(3),
            audio_input: Some(4),
            image_input: Some(5),
            output: Some(6),
            reasoning: Some(7),
            audio_output: Some(8),
            ..Usage::default()
        }),
        service_tier: Some("flex".into()),
        extras: vec![("fingerprint".into(), json("1"))],
    }
}

#[test]
fn a_full_answer_of_another_dialect() {
    let response = full_answer();
    let mut losses = Losses::default();
    let body = codec(OWN).encode_response(&response, &client(), &mut losses);
    let body: Value = serde_json::from_slice(&body).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&body).unwrap());
    let sorted = |losses: &Losses| {
        let mut lost: Vec<_> = losses.iter().map(|loss| loss.field.clone()).collect();
        lost.sort();
        lost
    };
    let lost = sorted(&losses);
    insta::assert_snapshot!(lost.join("\n"));
    let whole = codec(OWN)
        .decode_response(body.to_string().as_bytes(), &maker())
        .map(|whole| format!("{:?}", whole.choices[0].blocks))
        .unwrap();

    // As a stream it says and loses the same, except that the ticket of reasoning never signed names no dialect.
    let (mut encoder, mut out, mut losses) = (codec(OWN).stream_encoder(&client()), Vec::new(), Losses::default());
    take_apart(&response, &mut |event| encoder.encode(event, &mut losses, &mut out));
    assert_eq!(sorted(&losses), lost);
    let mut decoder = codec(OWN).stream_decoder(&maker());
    let streamed = collected(OWN, &events(&mut *decoder, &out)).unwrap();
    let signature =
        |text: &str| text.split("data: ").nth(1).map(|rest| rest[..rest.find('}').unwrap()].to_owned()).unwrap();
    let streamed_blocks = format!("{:?}", streamed.choices[0].blocks);
    let streamed_blocks = streamed_blocks
        .replace(&signature(&streamed_blocks), &signature(&whole))
        .replace(r#"{\"a\": 1}"#, r#"{\"a\":1}"#);
    assert_eq!(streamed_blocks, whole.replace(r#"{\"a\": 1}"#, r#"{\"a\":1}"#));
    let usage = streamed.usage.unwrap();
    assert_eq!((usage.total_input(), usage.total_output(), usage.reasoning), (Some(15), Some(21), Some(7)));
}
