//! Nothing of a full request or answer of another dialect is dropped in silence.

use super::*;
use crate::Dialect;

fn opaque(data: &'static str) -> Opaque<'static> {
    Opaque::made_by(Dialect::Gemini, Some(ProviderTag::of("g")), data.into())
}

fn extras(name: &'static str) -> Extras<'static> {
    vec![(name.into(), Json::of(&1))]
}

fn media(kind: MediaKind, mime: &'static str, source: MediaSource<'static>) -> Block<'static> {
    let media = Media {
        kind,
        source,
        mime: Some(mime.into()),
        name: Some("NAME".into()),
        detail: Some("low".into()),
        context: Some("CONTEXT".into()),
        cite: Some(true),
        transcript: Some("TRANSCRIPT".into()),
        signature: Some(opaque("m")),
    };
    Block { extras: extras("media_extra"), ..Block::new(Content::Media(Box::new(media))) }
}

fn blocks() -> Vec<Block<'static>> {
    let citation = Citation { title: Some("T".into()), quote: Some("Q".into()), ..Citation::default() };
    let foreign = Foreign { dialect: Dialect::Gemini, kind: "executableCode".into(), raw: Json::of(&1) };
    let reasoning = Reasoning {
        text: "THOUGHT".into(),
        summary: vec!["SUMMARY".into()],
        signature: Some(opaque("r")),
        encrypted: Some(opaque("e")),
    };
    let call = ToolCall {
        id: "CALL".into(),
        name: "NAME".into(),
        arguments: r#"{"ARG":1}"#.into(),
        custom: false,
        namespace: Some("SPACE".into()),
        signature: Some(opaque("c")),
    };
    let text = Text { text: "TEXT".into(), citations: vec![citation], signature: Some(opaque("t")) };
    vec![
        Block::new(Content::Reasoning(Box::new(reasoning))),
        Block { cache: Some(CacheMark::default()), ..Block::new(Content::Text(text)) },
        Block::new(Content::Refusal("REFUSED".into())),
        Block::new(Content::ToolCall(Box::new(call))),
        Block::new(Content::Foreign(Box::new(foreign))),
        media(MediaKind::Image, "image/png", MediaSource::Data("IMAGE".into())),
        media(MediaKind::Audio, "audio/wav", MediaSource::Data("AUDIO".into())),
        media(MediaKind::Video, "video/mp4", MediaSource::Url("https://VIDEO".into())),
    ]
}

fn full() -> Request<'static> {
    let result = ToolResult {
        call_id: "CALL".into(),
        name: Some("NAME".into()),
        content: vec![Block::text("RESULT"), media(MediaKind::Image, "image/png", MediaSource::Data("SHOT".into()))],
        is_error: Some(true),
        custom: false,
    };
    let mut user = vec![
        Block::new(Content::ToolResult(Box::new(result))),
        media(MediaKind::Document, "application/pdf", MediaSource::Data("PDF".into())),
        media(MediaKind::Document, "text/plain", MediaSource::Text("PLAIN".into())),
        media(MediaKind::Document, "text/plain", MediaSource::Blocks(vec![Block::text("INNER")])),
        media(MediaKind::Document, "application/pdf", MediaSource::File("FILE".into())),
    ];
    user.extend(blocks().into_iter().filter(|block| matches!(block.content, Content::Text(_) | Content::Media(_))));
    let message = |role, blocks| Message {
        role,
        blocks,
        name: Some("SPEAKER".into()),
        id: Some("i".into()),
        extras: extras("message_extra"),
    };
    let tool = FunctionTool {
        name: "FUNCTION".into(),
        description: Some("DESCRIPTION".into()),
        parameters: Some(Json::of(&json!({"type": "object", "P": 1}))),
        strict: Some(true),
        cache: Some(CacheMark::default()),
        namespace: Some("SPACE".into()),
        extras: extras("tool_extra"),
    };
    let custom = CustomTool {
        name: "CUSTOM".into(),
        description: Some("FREE".into()),
        format: Some(Json::of(&json!({"type": "grammar", "G": 1}))),
        namespace: None,
        extras: extras("custom_extra"),
    };
    Request {
        dialect: Dialect::Gemini,
        model: "x".into(),
        stream: true,
        include_usage: false,
        system: vec![Block::text("SYSTEM")],
        messages: vec![
            message(Role::Developer, vec![Block::text("DEVELOPER")]),
            message(Role::Assistant, blocks()),
            message(Role::User, user),
        ],
        tools: vec![
            Tool::Function(Box::new(tool)),
            Tool::Custom(Box::new(custom)),
            Tool::Foreign { dialect: Dialect::Gemini, kind: "googleSearch".into(), raw: Json::of(&1) },
        ],
        tool_choice: Some(ToolChoice::Allowed { names: vec!["FUNCTION".into(), "CUSTOM".into()], required: true }),
        parallel_tool_calls: Some(false),
        response_format: Some(ResponseFormat::Schema {
            name: None,
            description: Some("FORMED".into()),
            schema: Json::of(&json!({"S": 1})),
            strict: Some(true),
        }),
        reasoning: Some(ReasoningConfig {
            mode: Some(ReasoningMode::Enabled),
            effort: Some(Effort::Max),
            budget: Some(9),
            summary: Some("auto".into()),
            show: Some(false),
        }),
        max_tokens: Some(11),
        temperature: Some(0.25),
        top_p: Some(0.125),
        top_k: Some(13),
        seed: Some(17),
        presence_penalty: Some(0.5),
        frequency_penalty: Some(0.75),
        stop: vec!["STOP".into()],
        n: Some(2),
        logprobs: Some(true),
        top_logprobs: Some(3),
        modalities: vec!["audio".into()],
        audio: Some(AudioConfig { voice: Some("VOICE".into()), format: Some("mp3".into()) }),
        verbosity: Some("low".into()),
        service_tier: Some("flex".into()),
        user: Some("USER".into()),
        metadata: Some(Json::of(&json!({"META": 1}))),
        cache: CacheConfig {
            automatic: Some(CacheMark::default()),
            key: Some("KEY".into()),
            retention: Some("24h".into()),
            content: None,
        },
        store: Some(true),
        previous: None,
        goes_on: false,
        extras: extras("safetySettings"),
    }
}

#[test]
fn a_full_request_is_said_or_noted() {
    let request = full();
    let always = [
        "SYSTEM",
        "DEVELOPER",
        "SPEAKER",
        "TEXT",
        "REFUSED",
        "CALL",
        "SPACE__NAME",
        "ARG",
        "RESULT",
        "SHOT",
        "IMAGE",
        "AUDIO",
        "TRANSCRIPT",
        "PDF",
        "PLAIN",
        "INNER",
        "CONTEXT",
        "SPACE__FUNCTION",
        "DESCRIPTION",
        "\"P\"",
        "CUSTOM",
        "FREE",
        "\"S\"",
        "FORMED",
        "STOP",
        "USER",
        "required",
        "0.25",
        "0.125",
        "0.5",
        "0.75",
        "17",
        "\"n\":2",
        "\"logprobs\":true",
        "\"top_logprobs\":3",
        "flex",
        "\"parallel_tool_calls\":false",
        "\"detail\":\"low\"",
        "grammar",
    ];
    let noted = [
        "safetySettings",
        "messages.message_extra",
        "messages.media_extra",
        "messages.citations",
        "messages.signature",
        "messages.executableCode",
        "messages.tool_result.error",
        "messages.document",
        "tools.tool_extra",
        "tools.custom_extra",
        "tools.googleSearch",
        "cache",
        "reasoning.summary",
        "messages.audio",
    ];
    let only_openai =
        ["VOICE", "\"verbosity\":\"low\"", "META", "KEY", "24h", "\"store\":true", "\"reasoning_effort\":\"high\""];
    for (quirks, said, lost) in [
        (
            OPENAI,
            &only_openai[..],
            &[
                "top_k",
                "messages.video",
                "messages.reasoning",
                "messages.cache",
                "tools.cache",
                "reasoning.show",
                "reasoning",
                "messages.image",
                "messages.name",
                "response_format.strict",
            ][..],
        ),
        (
            Quirks::default(),
            &["THOUGHT", "https://VIDEO", "\"top_k\":13", "\"reasoning_effort\":\"high\"", "\"strict\":true"],
            &[
                "audio",
                "verbosity",
                "metadata",
                "prompt_cache_key",
                "store",
                "modalities",
                "reasoning",
                "messages.cache",
                "tools.format",
            ],
        ),
        (
            Quirks { cache_control: true, reasoning: ReasoningSpelling::Object, ..Quirks::default() },
            &["THOUGHT", "cache_control", "\"max_tokens\":9", "\"exclude\":true", "\"enabled\":true"],
            &["tools.format"],
        ),
    ] {
        let (body, losses) = write(&request, quirks);
        let body = body.to_string();
        for word in always.iter().chain(said) {
            assert!(body.contains(word), "{word} is not in {body}");
        }
        for name in noted.iter().chain(lost).filter(|name| **name != "messages.audio" || quirks.developer_role) {
            assert!(losses.iter().any(|loss| loss == name), "{name} is not noted: {losses:?}");
        }
    }
    let previous = Request { previous: Some("resp_1".into()), ..request };
    let error = codec(OWN).encode_request(&previous, &target(), &mut Losses::default()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidRequest);
}

#[test]
fn a_full_answer_is_said_or_noted() {
    let mut response = Response::new(Dialect::Gemini);
    response.id = Some("ID".into());
    response.model = Some("MODEL".into());
    response.service_tier = Some("TIER".into());
    response.extras = extras("promptFeedback");
    let logprob = TokenLogprob { token: "TOKEN".into(), logprob: -0.5, ..TokenLogprob::default() };
    let stop = Stop { reason: StopReason::StopSequence, sequence: Some("SEQUENCE".into()), detail: None };
    response.choices.push(Choice { blocks: blocks(), stop, logprobs: vec![logprob], extras: extras("safetyRatings") });
    let mut losses = Losses::default();
    let whole = String::from_utf8(codec(OWN).encode_response(&response, &client(), &mut losses)).unwrap();
    let mut all = Vec::new();
    take_apart(&response, &mut |event| all.push(bounded_static::IntoBoundedStatic::into_static(event)));
    let (streamed, stream_losses) = encoded(all, &client());
    for (out, losses) in [(&whole, losses), (&streamed, stream_losses)] {
        for word in [
            "ID",
            "MODEL",
            "TIER",
            "TOKEN",
            "SEQUENCE",
            "TEXT",
            "THOUGHT",
            "SUMMARY",
            "REFUSED",
            "CALL",
            "SPACE__NAME",
            "ARG",
            "IMAGE",
            "AUDIO",
            "TRANSCRIPT",
            "thought_signature",
            "reasoning.encrypted",
        ] {
            assert!(out.contains(word), "{word} is not in {out}");
        }
        let losses: Vec<_> = losses.iter().map(|loss| &*loss.field).collect();
        for name in [
            "answer.promptFeedback",
            "answer.safetyRatings",
            "answer.media_extra",
            "answer.citations",
            "answer.executableCode",
            "answer.video",
            "answer.signature",
        ] {
            assert!(losses.contains(&name), "{name} is not noted: {losses:?}");
        }
    }
    // For a check with the SDK's own types.
    if let Some(folder) = std::env::var_os("CHAT_OUT") {
        std::fs::write(std::path::Path::new(&folder).join("whole.json"), &whole).unwrap();
        std::fs::write(std::path::Path::new(&folder).join("stream.txt"), &streamed).unwrap();
    }
    // What a client sends back is what was given to it, with the signatures of their maker.
    let answer: Value = serde_json::from_str(&whole).unwrap();
    let body = json!({"model": "m", "messages": [answer["choices"][0]["message"]]}).to_string();
    let request = read(&body);
    let signatures: Vec<_> = request.messages[0]
        .blocks
        .iter()
        .filter_map(|block| match &block.content {
            Content::Reasoning(reasoning) => reasoning.signature.clone(),
            Content::Text(text) => text.signature.clone(),
            Content::ToolCall(call) => call.signature.clone(),
            _ => None,
        })
        .collect();
    assert_eq!(signatures, [opaque("r"), opaque("t"), opaque("c")]);
}
