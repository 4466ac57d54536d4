//! What is asked and answered, in the words of no dialect.

use ai_gateway_providers::Dialect;
use ai_gateway_providers::Usage;
use ai_gateway_providers::common::{
    AudioConfig, Block, CacheConfig, CacheMark, Choice, Citation, Content, CustomTool, Effort, FunctionTool, Json,
    Media, MediaKind, MediaSource, Message, Opaque, ProviderTag, Reasoning, ReasoningConfig, ReasoningMode, Request,
    Response, ResponseFormat, Role, Stop, StopReason, Str, Text, TokenLogprob, Tool, ToolCall, ToolChoice, ToolResult,
};

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const PDF: &str = "JVBERi0xLjQKJcOkw7zDtsOfCg==";
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEA";
const SCHEMA: &str = r#"{"type":"object","properties":{"city":{"type":"string","description":"Where"}},"required":["city"],"additionalProperties":false}"#;

fn say(role: Role, blocks: Vec<Block<'static>>) -> Message<'static> {
    Message { role, blocks, ..Message::default() }
}

fn user(text: &'static str) -> Message<'static> {
    say(Role::User, vec![Block::text(text)])
}

fn ask(messages: Vec<Message<'static>>) -> Request<'static> {
    Request { messages, max_tokens: Some(500), ..Request::new(Dialect::OpenAiChat) }
}

fn media(kind: MediaKind, mime: &'static str, source: MediaSource<'static>) -> Block<'static> {
    let name = (kind == MediaKind::Document).then(|| "report".into());
    Block::new(Content::Media(Box::new(Media { kind, mime: Some(mime.into()), source, name, ..Media::default() })))
}

fn call(id: &'static str, name: &'static str, arguments: &'static str) -> Block<'static> {
    let call = ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), ..ToolCall::default() };
    Block::new(Content::ToolCall(Box::new(call)))
}

fn result(id: &'static str, content: Vec<Block<'static>>, is_error: Option<bool>) -> Block<'static> {
    let result = ToolResult { call_id: id.into(), content, is_error, ..ToolResult::default() };
    Block::new(Content::ToolResult(Box::new(result)))
}

fn tool(name: &'static str) -> Tool<'static> {
    Tool::Function(Box::new(FunctionTool {
        name: name.into(),
        description: Some("Tells the weather".into()),
        parameters: Json::parse(SCHEMA),
        ..FunctionTool::default()
    }))
}

/// A tool loop: question, calls, results.
fn tools(calls: Vec<Block<'static>>, results: Vec<Block<'static>>) -> Request<'static> {
    Request {
        tools: vec![tool("weather")],
        ..ask(vec![user("Weather?"), say(Role::Assistant, calls), say(Role::User, results)])
    }
}

fn cached(text: &'static str, ttl: Option<&'static str>) -> Block<'static> {
    Block { cache: Some(CacheMark { ttl: ttl.map(Into::into) }), ..Block::text(text) }
}

fn chosen(choice: ToolChoice<'static>) -> Request<'static> {
    Request { tools: vec![tool("weather"), tool("time")], tool_choice: Some(choice), ..ask(vec![user("Weather?")]) }
}

/// A conversation with a turn of the model that was thought about.
fn thought(reasoning: Reasoning<'static>) -> Request<'static> {
    let said = vec![Block::new(Content::Reasoning(Box::new(reasoning))), Block::text("Rain.")];
    ask(vec![user("Weather?"), say(Role::Assistant, said), user("And tomorrow?")])
}

/// The same with the state that a client of `from` sends back with it: its provider's own, or that of another one.
fn proved(from: Dialect, state: Str<'static>) -> Request<'static> {
    let state = Some(Opaque { dialect: from, provider: None, data: state });
    let text = "Clouds gather.";
    thought(match from {
        Dialect::OpenAiResponses => Reasoning { summary: vec![text.into()], encrypted: state, ..Reasoning::default() },
        _ => Reasoning { text: text.into(), signature: state, ..Reasoning::default() },
    })
}

/// The scenarios of requests of clients that speak `from`.
pub fn requests(from: Dialect) -> Vec<(&'static str, Request<'static>)> {
    let mut requests = in_any_dialect();
    let other = if from == Dialect::Gemini { Dialect::Anthropic } else { Dialect::Gemini };
    let ticket = Opaque::made_by(other, Some(ProviderTag::of("upstream")), "c3RhdGU=".into());
    requests.extend([
        ("reasoning and its maker's proof", proved(from, "c3RhdGU=".into())),
        ("reasoning and another maker's proof", proved(from, ticket.for_client(from).into_owned())),
    ]);
    for (_, request) in &mut requests {
        request.dialect = from;
    }
    requests
}

fn in_any_dialect() -> Vec<(&'static str, Request<'static>)> {
    let text = ask(vec![user("Hello, \"world\" \\ \u{1F389}\n")]);
    let turns = Request {
        system: vec![Block::text("Be brief.")],
        ..ask(vec![user("One"), say(Role::Assistant, vec![Block::text("1")]), user("Two")])
    };
    let image = |source| {
        ask(vec![say(Role::User, vec![Block::text("What is it?"), media(MediaKind::Image, "image/png", source)])])
    };
    let one = |kind, mime, data: &'static str| {
        ask(vec![say(Role::User, vec![Block::text("What is it?"), media(kind, mime, MediaSource::Data(data.into()))])])
    };
    let three = tools(
        vec![
            call("call_a", "weather", r#"{"city":"Bern"}"#),
            call("call_b", "weather", r#"{"city":"Köln","n":12345678901234567890}"#),
            call("call_c", "weather", "{}"),
        ],
        vec![
            result("call_a", vec![Block::text("rain")], None),
            result("call_b", vec![Block::text(r#"{"sky":"blue"}"#)], None),
            result("call_c", vec![Block::text("")], None),
        ],
    );
    let failed = tools(
        vec![call("call_a", "weather", r#"{"city":"Bern"}"#)],
        vec![result("call_a", vec![Block::text("no such city")], Some(true))],
    );
    let seen = tools(
        vec![call("call_a", "weather", "{}")],
        vec![result(
            "call_a",
            vec![Block::text("a map"), media(MediaKind::Image, "image/png", MediaSource::Data(PNG.into()))],
            None,
        )],
    );
    let schema = ResponseFormat::Schema {
        name: Some("city".into()),
        description: None,
        schema: Json::parse(SCHEMA).unwrap(),
        strict: Some(true),
    };
    let optional = ResponseFormat::Schema {
        name: Some("city".into()),
        description: None,
        schema: Json::parse(&SCHEMA.replace(r#""required":["city"]"#, r#""required":[]"#)).unwrap().into_owned(),
        strict: None,
    };
    let marks = Request {
        system: vec![cached("Long instructions.", Some("1h"))],
        ..ask(vec![say(Role::User, vec![cached("Long document.", None), Block::text("Question?")])])
    };
    let settings = Request {
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(40),
        seed: Some(7),
        presence_penalty: Some(0.25),
        frequency_penalty: Some(0.5),
        stop: vec!["END".into(), "STOP".into()],
        n: Some(2),
        logprobs: Some(true),
        top_logprobs: Some(3),
        verbosity: Some("low".into()),
        user: Some("user-1".into()),
        metadata: Json::parse(r#"{"team":"a"}"#),
        store: Some(true),
        service_tier: Some("flex".into()),
        ..ask(vec![user("Go")])
    };
    let effort = |effort| Request {
        reasoning: Some(ReasoningConfig { effort: Some(effort), ..ReasoningConfig::default() }),
        max_tokens: Some(40_000),
        ..ask(vec![user("Think")])
    };
    let budget = Request {
        reasoning: Some(ReasoningConfig {
            mode: Some(ReasoningMode::Enabled),
            budget: Some(2048),
            ..ReasoningConfig::default()
        }),
        max_tokens: Some(40_000),
        ..ask(vec![user("Think")])
    };
    let refused =
        ask(vec![user("Do"), say(Role::Assistant, vec![Block::new(Content::Refusal("No.".into()))]), user("Why?")]);
    let middle = ask(vec![user("One"), say(Role::Developer, vec![Block::text("Now rhyme.")]), user("Two")]);
    let single = Request { parallel_tool_calls: Some(false), ..chosen(ToolChoice::Auto) };
    let made_of = |change: fn(&mut FunctionTool<'static>)| {
        let mut weather = tool("weather");
        if let Tool::Function(tool) = &mut weather {
            change(tool);
        }
        Request { tools: vec![weather], ..ask(vec![user("Weather?")]) }
    };
    let spoken = Request {
        modalities: vec!["text".into(), "audio".into()],
        audio: Some(AudioConfig { voice: Some("alloy".into()), format: Some("wav".into()) }),
        ..ask(vec![user("Say it")])
    };
    let named = ask(vec![Message { name: Some("ada".into()), ..user("I am Ada.") }]);
    let cache = CacheConfig {
        automatic: Some(CacheMark::default()),
        key: Some("team-a".into()),
        retention: Some("24h".into()),
        content: None,
    };
    let caching = Request { cache, ..ask(vec![user("Go")]) };
    let allowed = ToolChoice::Allowed { names: vec!["weather".into()], required: true };
    vec![
        ("text", text),
        ("multi-turn", turns),
        ("instructions in the middle", middle),
        ("image data", image(MediaSource::Data(PNG.into()))),
        ("image url", image(MediaSource::Url("https://example.com/a.png".into()))),
        ("pdf", one(MediaKind::Document, "application/pdf", PDF)),
        ("audio", one(MediaKind::Audio, "audio/wav", WAV)),
        ("video", one(MediaKind::Video, "video/mp4", "AAAA")),
        (
            "one tool",
            tools(
                vec![call("call_a", "weather", r#"{"city":"Bern"}"#)],
                vec![result("call_a", vec![Block::text("rain")], None)],
            ),
        ),
        ("three parallel tools", three),
        ("tool error", failed),
        ("image in a tool result", seen),
        ("tool choice none", chosen(ToolChoice::None)),
        ("tool choice required", chosen(ToolChoice::Required)),
        ("tool choice named", chosen(ToolChoice::Named("weather".into()))),
        ("tool choice allowed", chosen(allowed)),
        ("one tool at a time", single),
        ("json", Request { response_format: Some(ResponseFormat::Json), ..ask(vec![user("JSON please")]) }),
        ("json schema", Request { response_format: Some(schema), ..ask(vec![user("JSON please")]) }),
        ("schema with options", Request { response_format: Some(optional), ..ask(vec![user("JSON please")]) }),
        ("effort low", effort(Effort::Low)),
        ("effort high", effort(Effort::High)),
        ("budget", budget),
        ("cache marks", marks),
        ("settings", settings),
        ("refusal in the history", refused),
        ("reasoning in the history", thought(Reasoning { text: "Clouds gather.".into(), ..Reasoning::default() })),
        ("strict tool", made_of(|tool| tool.strict = Some(true))),
        ("cached tool", made_of(|tool| tool.cache = Some(CacheMark::default()))),
        ("audio asked for", spoken),
        ("speaker's name", named),
        ("cache settings", caching),
    ]
}

fn answer(blocks: Vec<Block<'static>>, reason: StopReason) -> Response<'static> {
    let usage = Usage { input: Some(10), cache_read: Some(5), output: Some(7), ..Usage::default() };
    Response {
        id: Some("answer-1".into()),
        model: Some("upstream-model".into()),
        created: Some(1_700_000_000),
        choices: vec![Choice { blocks, stop: Stop::new(reason), ..Choice::default() }],
        usage: Some(usage),
        ..Response::new(Dialect::OpenAiChat)
    }
}

/// The scenarios of answers.
pub fn responses() -> Vec<(&'static str, Response<'static>)> {
    let text = || Block::text("Hello, \"world\" \\ \u{1F389}\n");
    let thought = Reasoning { text: "Because\nof that".into(), ..Reasoning::default() };
    let cited = Text {
        text: "Bern is the capital.".into(),
        citations: vec![Citation {
            url: Some("https://example.com/bern".into()),
            title: Some("Bern".into()),
            quote: Some("Bern".into()),
            span: Some((0, 4)),
            raw: None,
        }],
        signature: None,
    };
    let mut probable = answer(vec![Block::text("Hi")], StopReason::End);
    probable.choices[0].logprobs =
        vec![TokenLogprob { token: "Hi".into(), logprob: -0.5, bytes: Some(b"Hi".to_vec()), top: Vec::new() }];
    let spoken = Media {
        kind: MediaKind::Audio,
        mime: Some("audio/wav".into()),
        source: MediaSource::Data(WAV.into()),
        transcript: Some("Hello".into()),
        ..Media::default()
    };
    // Some dialects find it by its id in the next turn.
    let spoken = Block { id: Some("audio_1".into()), ..Block::new(Content::Media(Box::new(spoken))) };
    let mut stopped = answer(vec![text()], StopReason::StopSequence);
    stopped.choices[0].stop.sequence = Some("END".into());
    let mut counted = answer(vec![text()], StopReason::End);
    counted.service_tier = Some("flex".into());
    counted.usage = Some(Usage {
        input: Some(10),
        cache_read: Some(5),
        cache_write_5m: Some(3),
        cache_write_1h: Some(2),
        audio_input: Some(4),
        image_input: Some(6),
        output: Some(7),
        reasoning: Some(8),
        audio_output: Some(9),
        web_searches: Some(1),
        ..Usage::default()
    });
    let mut thinking = answer(vec![Block::new(Content::Reasoning(Box::new(thought))), text()], StopReason::End);
    thinking.usage = Some(Usage { reasoning: Some(3), ..thinking.usage.unwrap() });
    let mut two = answer(vec![Block::text("first")], StopReason::End);
    two.choices.push(Choice { blocks: vec![Block::text("second")], ..Choice::default() });
    let calls = vec![
        call("call_aaaa1", "weather", r#"{"city":"Bern","n":12345678901234567890}"#),
        call("call_bbbb2", "weather", "{}"),
        call("call_cccc3", "time", r#"{"zone":"CET"}"#),
    ];
    vec![
        ("text", answer(vec![text()], StopReason::End)),
        ("two texts", answer(vec![Block::text("one "), Block::text("two")], StopReason::End)),
        ("nothing", answer(Vec::new(), StopReason::End)),
        ("length", answer(vec![text()], StopReason::MaxTokens)),
        ("stop sequence", answer(vec![text()], StopReason::StopSequence)),
        ("content filter", answer(vec![text()], StopReason::ContentFilter)),
        ("refused", answer(vec![text()], StopReason::Refusal)),
        ("refusal", answer(vec![Block::new(Content::Refusal("No.".into()))], StopReason::End)),
        ("one call", answer(vec![call("call_aaaa1", "weather", r#"{"city":"Bern"}"#)], StopReason::ToolCalls)),
        ("three calls", answer(calls, StopReason::ToolCalls)),
        ("text and call", answer(vec![text(), call("call_aaaa1", "weather", "{}")], StopReason::ToolCalls)),
        ("reasoning", thinking),
        ("citations", answer(vec![Block::new(Content::Text(cited))], StopReason::End)),
        ("logprobs", probable),
        ("two choices", two),
        ("met stop sequence", stopped),
        ("usage of all sorts", counted),
        ("sound", answer(vec![spoken], StopReason::End)),
        ("image", answer(vec![media(MediaKind::Image, "image/png", MediaSource::Data(PNG.into()))], StopReason::End)),
    ]
}

/// Whether the answer ended because something declined it.
pub fn is_refused(response: &Response<'_>) -> bool {
    let refused = |choice: &Choice<'_>| matches!(choice.stop.reason, StopReason::ContentFilter | StopReason::Refusal);
    response.choices.iter().any(refused)
}

/// A request with a custom tool and one of a group.
pub fn custom_tools() -> Request<'static> {
    let patch = CustomTool { name: "apply_patch".into(), description: Some("Edits".into()), ..CustomTool::default() };
    let search = FunctionTool {
        name: "search".into(),
        namespace: Some("mcp__docs".into()),
        parameters: Json::parse(r#"{"type":"object","properties":{"q":{"type":"string"}}}"#),
        ..FunctionTool::default()
    };
    Request {
        tools: vec![Tool::Custom(Box::new(patch)), Tool::Function(Box::new(search))],
        ..Request { messages: vec![user("Patch")], ..Request::new(Dialect::OpenAiResponses) }
    }
}

/// Groups and names of tools, each of which some dialect does not take.
pub fn misnamed() -> [(Option<&'static str>, &'static str); 4] {
    [
        (None, "mcp__plugin_chrome-devtools-mcp_chrome-devtools__performance_analyze_in"),
        (None, "files.read:v1"),
        (None, "1abc"),
        (Some("mcp__some_server_with_a_long_name_of_its_own"), "search_through_everything_that_is_there"),
    ]
}

/// A request with [`misnamed`] tools: each is called, and the first must be.
pub fn misnamed_tools(dialect: Dialect) -> Request<'static> {
    let tools = misnamed().map(|(group, name)| {
        let namespace = group.map(Into::into);
        Tool::Function(Box::new(FunctionTool { name: name.into(), namespace, ..FunctionTool::default() }))
    });
    let ids = ["call_1", "call_2", "call_3", "call_4"];
    let calls = misnamed().into_iter().zip(ids).map(|((group, name), id)| {
        let namespace = group.map(Into::into);
        let call =
            ToolCall { id: id.into(), name: name.into(), arguments: "{}".into(), namespace, ..ToolCall::default() };
        Block::new(Content::ToolCall(Box::new(call)))
    });
    let results = ids.map(|id| {
        let result = ToolResult { call_id: id.into(), content: vec![Block::text("done")], ..ToolResult::default() };
        Block::new(Content::ToolResult(Box::new(result)))
    });
    let assistant = Message { role: Role::Assistant, blocks: calls.collect(), ..Message::default() };
    let results = Message { blocks: results.into(), ..Message::default() };
    Request {
        tools: tools.into(),
        tool_choice: Some(ToolChoice::Named(misnamed()[0].1.into())),
        messages: vec![user("Search"), assistant, results],
        ..Request::new(dialect)
    }
}

/// What a model of a provider that was asked `request` calls: each tool once, under the name it knows.
pub fn calls_of(dialect: Dialect, request: &Request<'_>) -> Response<'static> {
    let blocks = request.tools.iter().map(|tool| {
        let (name, namespace, custom) = match tool {
            Tool::Function(tool) => (tool.name.to_string(), tool.namespace.clone(), false),
            Tool::Custom(tool) => (tool.name.to_string(), tool.namespace.clone(), true),
            Tool::Foreign { kind, .. } => (kind.to_string(), None, false),
        };
        let arguments = match (custom, name.contains("apply_patch")) {
            (true, _) => "*** Begin",
            (false, true) => r#"{"input":"*** Begin"}"#,
            (false, false) => r#"{"q":"x"}"#,
        };
        let namespace = namespace.map(|namespace| namespace.to_string().into());
        Block::new(Content::ToolCall(Box::new(ToolCall {
            id: "c".into(),
            name: name.into(),
            arguments: arguments.into(),
            custom,
            namespace,
            ..ToolCall::default()
        })))
    });
    let mut response = answer(blocks.collect(), StopReason::ToolCalls);
    response.dialect = dialect;
    response
}
