//! Requests and answers of other dialects that say all there is: each thing is found in what is written, or among the losses.

use serde_json::{Value, json};

use super::super::{OWN, OpenAiResponses};
use super::{encoded, names, streamed, written};
use crate::catalogue::Traits;
use crate::codec::testing::{differences, target};
use crate::codec::{Codec as _, Target};
use crate::common::{
    AudioConfig, Block, CacheConfig, CacheMark, Choice, Citation, Content, CustomTool, Foreign, FunctionTool, Json,
    Losses, Media, MediaKind, MediaSource, Message, Opaque, Reasoning, ReasoningConfig, ReasoningMode, Request,
    Response, ResponseFormat, Role, Stop, StopReason, Text, TokenLogprob, Tool, ToolCall, ToolChoice, ToolResult,
    take_apart,
};
use crate::dialect::Dialect;
use crate::usage::Usage;

const OTHER: Dialect = Dialect::Anthropic;

fn media(kind: MediaKind, source: MediaSource<'static>, mime: &'static str) -> Block<'static> {
    Block::new(Content::Media(Box::new(Media { kind, source, mime: Some(mime.into()), ..Media::default() })))
}

fn foreign(kind: &'static str) -> Content<'static> {
    Content::Foreign(Box::new(Foreign { dialect: OTHER, kind: kind.into(), raw: Json::of(&json!({"type": kind})) }))
}

fn message(role: Role, blocks: Vec<Block<'static>>) -> Message<'static> {
    Message { role, blocks, ..Message::default() }
}

fn state() -> Option<Opaque<'static>> {
    Some(Opaque::made_by(OTHER, None, "sig".into()))
}

fn full_messages() -> Vec<Message<'static>> {
    let data = || MediaSource::Data("AAAA".into());
    let url = |url: &'static str| MediaSource::Url(url.into());
    let mut marked = Block::text("marked");
    marked.cache = Some(CacheMark::default());
    marked.id = Some("msg_of_nobody".into());
    marked.extras = vec![("block_extra".into(), Json::of(&1))];
    let mut rich = media(MediaKind::Document, data(), "application/pdf");
    if let Content::Media(media) = &mut rich.content {
        media.name = Some("a.pdf".into());
        media.context = Some("why".into());
        media.cite = Some(true);
        media.signature = state();
    }
    let mut spoken = media(MediaKind::Audio, MediaSource::File("audio_1".into()), "audio/wav");
    if let Content::Media(media) = &mut spoken.content {
        media.transcript = Some("spoken".into());
    }
    let citation = Citation { quote: Some("q".into()), ..Citation::default() };
    let link = Citation { url: Some("https://x".into()), span: Some((0, 1)), ..Citation::default() };
    let cited = Text { text: "cited".into(), citations: vec![citation, link], signature: state() };
    let call = |id: &'static str, custom| {
        let (name, arguments) = ("f".into(), if custom { "x" } else { "{\"a\": 1}" }.into());
        Block::new(Content::ToolCall(Box::new(ToolCall {
            id: id.into(),
            name,
            arguments,
            custom,
            namespace: None,
            signature: state(),
        })))
    };
    let result = |id: &'static str, content, is_error| {
        Block::new(Content::ToolResult(Box::new(ToolResult {
            call_id: id.into(),
            content,
            is_error,
            ..ToolResult::default()
        })))
    };
    let thought = Reasoning { text: "thought".into(), signature: state(), ..Reasoning::default() };
    let mut all = vec![
        message(Role::System, vec![Block::text("in the middle")]),
        message(
            Role::User,
            vec![
                marked,
                media(MediaKind::Image, data(), "image/jpeg"),
                media(MediaKind::Image, url("https://x/y.png"), "image/png"),
                media(MediaKind::Image, url("gs://bucket/y.png"), "image/png"),
                media(MediaKind::Audio, data(), "audio/mpeg"),
                media(MediaKind::Video, data(), "video/mp4"),
                media(MediaKind::Document, url("https://x/y.pdf"), "application/pdf"),
                media(MediaKind::Document, MediaSource::Text("plain".into()), "text/plain"),
                media(MediaKind::Document, MediaSource::Blocks(vec![Block::text("inner")]), "text/plain"),
                media(MediaKind::Document, MediaSource::File("file_of_anthropic".into()), "application/pdf"),
                rich,
                spoken,
                Block::new(foreign("search_result")),
            ],
        ),
        message(
            Role::Assistant,
            vec![
                Block::new(Content::Reasoning(Box::new(thought))),
                Block::new(Content::Text(cited)),
                Block::new(Content::Refusal("never".into())),
                call("c1", false),
                call("c2", true),
                Block::new(foreign("server_tool_use")),
            ],
        ),
        message(
            Role::User,
            vec![
                Block::text("and besides"),
                result("c1", vec![Block::text("r"), media(MediaKind::Image, data(), "image/png")], Some(true)),
                result("c2", vec![Block::text("fine")], None),
            ],
        ),
    ];
    all[1].name = Some("bob".into());
    all[1].id = Some("msg_of_nobody".into());
    all[1].extras = vec![("message_extra".into(), Json::of(&1))];
    all
}

#[test]
fn a_full_request_is_said_or_noted() {
    let parameters = Some(Json::of(&json!({"type": "object"})));
    let function = FunctionTool {
        name: "f".into(),
        description: Some("d".into()),
        parameters,
        cache: Some(CacheMark::default()),
        extras: vec![("tool_extra".into(), Json::of(&1))],
        ..FunctionTool::default()
    };
    let nested = json!({"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}});
    let custom = CustomTool { name: "g".into(), format: Some(Json::of(&nested)), ..CustomTool::default() };
    let raw = Json::of(&json!({}));
    let schema = Json::of(&json!({"b": 1}));
    let request = Request {
        dialect: OTHER,
        model: "asked".into(),
        stream: true,
        include_usage: true,
        system: vec![
            Block::text("one"),
            Block::text("two"),
            media(MediaKind::Image, MediaSource::default(), "image/png"),
        ],
        messages: full_messages(),
        tools: vec![
            Tool::Function(Box::new(function)),
            Tool::Custom(Box::new(custom)),
            Tool::Foreign { dialect: OTHER, kind: "web_search_20250305".into(), raw },
        ],
        tool_choice: Some(ToolChoice::Named("g".into())),
        parallel_tool_calls: Some(true),
        response_format: Some(ResponseFormat::Schema {
            name: None,
            description: Some("d".into()),
            schema,
            strict: None,
        }),
        reasoning: Some(ReasoningConfig {
            mode: Some(ReasoningMode::Enabled),
            budget: Some(5000),
            ..ReasoningConfig::default()
        }),
        max_tokens: Some(9),
        temperature: Some(0.5),
        top_p: Some(0.25),
        top_k: Some(4),
        seed: Some(5),
        presence_penalty: Some(0.1),
        frequency_penalty: Some(0.2),
        stop: vec!["END".into()],
        n: Some(2),
        logprobs: Some(true),
        top_logprobs: Some(3),
        modalities: vec!["text".into(), "audio".into()],
        audio: Some(AudioConfig { voice: Some("v".into()), format: None }),
        verbosity: Some("low".into()),
        service_tier: Some("flex".into()),
        user: Some("u".into()),
        metadata: Some(Json::of(&json!({"k": "v"}))),
        cache: CacheConfig {
            automatic: Some(CacheMark::default()),
            key: Some("key".into()),
            retention: Some("24h".into()),
            content: None,
        },
        store: None,
        previous: None,
        goes_on: false,
        extras: vec![("container".into(), Json::of(&1))],
    };
    let (body, losses) = encoded(&request);
    let wanted = json!({
        "model": "upstream-model", "instructions": "one\n\ntwo", "stream": true, "store": false,
        "input": [
            {"role": "system", "content": "in the middle"},
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "marked"},
                {"type": "input_image", "image_url": "data:image/jpeg;base64,AAAA"},
                {"type": "input_image", "image_url": "https://x/y.png"},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
                {"type": "input_file", "file_url": "https://x/y.pdf"},
                {"type": "input_text", "text": "plain"},
                {"type": "input_text", "text": "inner"},
                {"type": "input_text", "text": "why"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
                {"type": "input_text", "text": "spoken"},
            ]},
            {"type": "message", "role": "assistant", "content": [
                {"type": "output_text", "text": "cited", "annotations": [
                    {"type": "url_citation", "url": "https://x", "title": "", "start_index": 0, "end_index": 1}]},
                {"type": "refusal", "refusal": "never"},
            ]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "f", "input": "x"},
            {"type": "function_call_output", "call_id": "c1", "output": [
                {"type": "input_text", "text": "r"}, {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "fine"},
            {"role": "user", "content": "and besides"},
        ],
        "tools": [
            {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": false},
            {"type": "custom", "name": "g", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        ],
        "tool_choice": {"type": "custom", "name": "g"}, "parallel_tool_calls": true,
        "text": {"format": {"type": "json_schema", "name": "answer", "description": "d", "schema": {"b": 1}}, "verbosity": "low"},
        "reasoning": {"effort": "medium", "summary": "auto"},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "max_output_tokens": 16, "temperature": 0.5, "top_p": 0.25, "top_logprobs": 3,
        "metadata": {"k": "v"}, "user": "u", "prompt_cache_key": "key", "prompt_cache_retention": "24h", "service_tier": "flex",
    });
    assert_eq!(differences(&body, &wanted), Vec::<String>::new());
    let mut lost = names(&losses);
    lost.sort_unstable();
    assert_eq!(
        lost,
        [
            "audio",
            "cache",
            "container",
            "frequency_penalty",
            "max_tokens",
            "messages.audio",
            "messages.block_extra",
            "messages.cache",
            "messages.citations",
            "messages.document",
            "messages.image",
            "messages.message_extra",
            "messages.name",
            "messages.reasoning",
            "messages.search_result",
            "messages.server_tool_use",
            "messages.signature",
            "messages.tool_result.error",
            "messages.video",
            "modalities",
            "n",
            "presence_penalty",
            "seed",
            "stop",
            "tools.cache",
            "tools.tool_extra",
            "tools.web_search_20250305",
            "top_k",
        ]
    );
}

pub(super) fn full_answer() -> Response<'static> {
    let mut sound = media(MediaKind::Audio, MediaSource::Data("UklG".into()), "audio/wav");
    if let Content::Media(media) = &mut sound.content {
        media.transcript = Some("spoken".into());
    }
    let quoted = Citation { quote: Some("q".into()), ..Citation::default() };
    let link = Citation { url: Some("https://x".into()), title: Some("X".into()), ..Citation::default() };
    let text = Text { text: "cited".into(), citations: vec![link, quoted], signature: state() };
    let thought =
        Reasoning { text: "thought".into(), summary: vec!["short".into()], signature: state(), encrypted: state() };
    let mut extra = Block::new(Content::Refusal("never".into()));
    extra.extras = vec![("block_extra".into(), Json::of(&1))];
    let call = ToolCall {
        id: "c1".into(),
        name: "f".into(),
        arguments: "{}".into(),
        signature: state(),
        ..ToolCall::default()
    };
    let choice = Choice {
        blocks: vec![
            Block::new(Content::Reasoning(Box::new(thought))),
            Block::new(Content::Text(text)),
            extra,
            media(MediaKind::Image, MediaSource::Data("iVBO".into()), "image/png"),
            media(MediaKind::Image, MediaSource::Url("https://x".into()), "image/png"),
            media(MediaKind::Video, MediaSource::Data("AAAA".into()), "video/mp4"),
            sound,
            Block::new(Content::ToolCall(Box::new(call))),
            Block::new(foreign("server_tool_use")),
        ],
        stop: Stop { reason: StopReason::StopSequence, sequence: Some("END".into()), detail: None },
        logprobs: vec![TokenLogprob { token: "cited".into(), logprob: -0.5, ..TokenLogprob::default() }],
        extras: vec![("choice_extra".into(), Json::of(&1))],
    };
    let mut response = Response::new(OTHER);
    response.id = Some("msg_01".into());
    response.model = Some("claude".into());
    response.created = Some(5);
    response.choices = vec![choice, Choice { blocks: vec![Block::text("other")], ..Choice::default() }];
    response.usage = Some(Usage { input: Some(1), cache_read: Some(2), output: Some(3), ..Usage::default() });
    response.service_tier = Some("priority".into());
    response.extras = vec![("container".into(), Json::of(&1))];
    response
}

#[test]
fn a_full_answer_is_said_or_noted_whole_and_streamed() {
    let response = full_answer();
    let (whole, losses) = written(&response);
    let ticket = whole["output"][0]["encrypted_content"].clone();
    let texts = |text: &str| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
    let mut cited = texts("cited");
    cited["annotations"] =
        json!([{"type": "url_citation", "url": "https://x", "title": "X", "start_index": 0, "end_index": 5}]);
    cited["logprobs"] =
        json!([{"token": "cited", "logprob": -0.5, "bytes": [99, 105, 116, 101, 100], "top_logprobs": []}]);
    let wanted = json!([
        {"type": "reasoning", "id": "rs_gw_req1_0", "encrypted_content": ticket,
            "summary": [{"type": "summary_text", "text": "short"}, {"type": "summary_text", "text": "thought"}]},
        {"type": "message", "id": "msg_gw_req1_1", "status": "completed", "role": "assistant",
            "content": [cited, {"type": "refusal", "refusal": "never"}]},
        {"type": "image_generation_call", "id": "ig_gw_req1_2", "status": "completed", "result": "iVBO"},
        {"type": "message", "id": "msg_gw_req1_3", "status": "completed", "role": "assistant", "content": [texts("spoken")]},
        {"type": "function_call", "id": "fc_gw_req1_4", "status": "completed", "call_id": "c1", "name": "f", "arguments": "{}"},
    ]);
    assert_eq!(differences(&whole["output"], &wanted), Vec::<String>::new());
    let lost = [
        "answer.audio",
        "answer.block_extra",
        "answer.choice_extra",
        "answer.choices",
        "answer.citations",
        "answer.container",
        "answer.image",
        "answer.server_tool_use",
        "answer.signature",
        "answer.stop_sequence",
        "answer.video",
    ];
    let sorted = |losses: &crate::common::Losses| {
        let mut names: Vec<String> = names(losses).into_iter().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(sorted(&losses), lost);
    let mut all = Vec::new();
    take_apart(&response, &mut |event| all.push(bounded_static::IntoBoundedStatic::into_static(event)));
    let (events, losses) = streamed(all);
    assert_eq!(sorted(&losses), lost);
    let mut answer: Value = events.last().unwrap()["response"].clone();
    // The probabilities came behind all texts, and went to the last.
    answer["output"][1]["content"][0]["logprobs"] = answer["output"][3]["content"][0]["logprobs"].take();
    answer["output"][3]["content"][0]["logprobs"] = json!([]);
    assert_eq!(differences(&answer, &whole), Vec::<String>::new());
    assert_eq!(whole["usage"]["total_tokens"], 6);
    assert_eq!(whole["service_tier"], "priority");
    assert_eq!(OWN.as_str(), "openai-responses");
}

#[test]
fn an_end_users_id_fits() {
    let id = "u".repeat(65);
    let (body, _) = encoded(&Request { user: Some(id.as_str().into()), ..Request::new(OTHER) });
    assert!(body["user"].as_str().is_some_and(|told| told.starts_with("user_") && told.len() <= 64), "{body}");
    let (body, _) = encoded(&Request { user: Some(id.as_str().into()), ..Request::new(OWN) });
    assert_eq!(body["user"], id);
}

#[test]
fn a_budget_is_no_more_than_a_high_effort() {
    let effort = |effort, budget| {
        let reasoning = Some(ReasoningConfig { effort, budget, ..ReasoningConfig::default() });
        encoded(&Request { reasoning, ..Request::new(OTHER) }).0["reasoning"]["effort"].clone()
    };
    assert_eq!((effort(None, Some(50_000)), effort(None, Some(1024))), (json!("high"), json!("low")));
}

#[test]
fn what_a_model_thinks_unasked_is_to_come_back() {
    let include = |model: &str, reasoning: Option<ReasoningConfig<'static>>| {
        let request = Request { reasoning, ..Request::new(OTHER) };
        let target = Target { traits: Traits::of(model), ..target() };
        let body = OpenAiResponses.encode_request(&request, &target, &mut Losses::default()).unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()["include"].take()
    };
    let encrypted = json!(["reasoning.encrypted_content"]);
    let off = ReasoningConfig { mode: Some(ReasoningMode::Disabled), ..ReasoningConfig::default() };
    let on = ReasoningConfig { mode: Some(ReasoningMode::Enabled), ..ReasoningConfig::default() };
    for (model, unasked) in
        [("gpt-5", &encrypted), ("o3", &encrypted), ("gpt-5.2", &Value::Null), ("gpt-4o", &Value::Null)]
    {
        assert_eq!(include(model, None), *unasked, "{model}");
        assert_eq!(include(model, Some(off.clone())), Value::Null, "{model}");
    }
    assert_eq!((include("gpt-5.2", Some(on.clone())), include("gpt-4o", Some(on))), (encrypted, Value::Null));
}
