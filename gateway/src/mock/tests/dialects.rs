//! Gemini, Bedrock and Cohere over real sockets: the wire by hand, and streams as the codecs read them.

use ai_gateway_providers::Dialect;
use ai_gateway_providers::codec::{Maker, Platform, codec};
use ai_gateway_providers::common::{Collector, Content, ProviderTag, Response, StopReason};
use ai_gateway_providers::event_stream::{Frame, FrameSplitter};
use ai_gateway_providers::{ApiError, ErrorKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Running;
use super::{Answer, follow_messages, get, mock, post, send};

pub(super) fn maker(platform: Platform) -> Maker<'static> {
    Maker { provider: ProviderTag::of("mock"), platform, model: "asked", id_seed: "seed" }
}

/// An answer as the codec of `dialect` reads it.
pub(super) fn understood(
    dialect: Dialect,
    platform: Platform,
    stream: bool,
    body: &[u8],
) -> Result<Response<'static>, ApiError> {
    let maker = maker(platform);
    if !stream {
        return codec(dialect).decode_response(body, &maker).map(bounded);
    }
    let (mut decoder, mut collector) = (codec(dialect).stream_decoder(&maker), Collector::new(dialect));
    decoder.feed(body, true, &mut |event| collector.feed(&event));
    collector.finish()
}

/// The same answer, independent of its bytes: through a stream of its own.
fn bounded(response: Response<'_>) -> Response<'static> {
    let mut collector = Collector::new(response.dialect);
    ai_gateway_providers::common::take_apart(&response, &mut |event| collector.feed(&event));
    collector.finish().unwrap()
}

/// Where `model` is asked in `dialect`, a stream or not.
pub(super) fn path(dialect: Dialect, model: &str, stream: bool) -> String {
    match dialect {
        Dialect::OpenAiChat => "/v1/chat/completions".into(),
        Dialect::OpenAiResponses => "/v1/responses".into(),
        Dialect::Anthropic => "/v1/messages".into(),
        Dialect::Gemini if stream => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
        Dialect::Gemini => format!("/v1beta/models/{model}:generateContent"),
        Dialect::Bedrock if stream => format!("/model/{model}/converse-stream"),
        Dialect::Bedrock => format!("/model/{model}/converse"),
        Dialect::Cohere | Dialect::Own(_) => "/v2/chat".into(),
    }
}

const NEW: [Dialect; 3] = [Dialect::Gemini, Dialect::Bedrock, Dialect::Cohere];

/// "one two three", and a tool.
fn ask(dialect: Dialect, model: &str, stream: bool) -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    match dialect {
        Dialect::Gemini => json!({
            "contents": [{"role": "user", "parts": [{"text": "one two three"}]}],
            "tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": schema}]}],
        }),
        Dialect::Bedrock => json!({
            "messages": [{"role": "user", "content": [{"text": "one two three"}]}],
            "toolConfig": {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": schema}}}]},
        }),
        _ => json!({
            "model": model, "stream": stream, "messages": [{"role": "user", "content": "one two three"}],
            "tools": [{"type": "function", "function": {"name": "weather", "parameters": schema}}],
        }),
    }
}

fn asked(mock: &Running, dialect: Dialect, model: &str, stream: bool) -> Answer {
    post(mock, &path(dialect, model, stream), &ask(dialect, model, stream))
}

/// Text, reasoning and arguments, in order.
pub(super) fn said(response: &Response<'_>) -> String {
    let blocks = response.choices.iter().flat_map(|choice| &choice.blocks);
    blocks
        .map(|block| match &block.content {
            Content::Text(text) => text.text.to_string(),
            Content::Reasoning(reasoning) => {
                let summary = reasoning.summary.iter().map(|text| text.as_str());
                std::iter::once(reasoning.text.as_str()).chain(summary).collect()
            }
            Content::ToolCall(call) => call.arguments.to_string(),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// The events' names and payloads of a stream in frames.
fn frames(body: &[u8]) -> Vec<(String, Value)> {
    let (mut splitter, mut frames) = (FrameSplitter::default(), Vec::new());
    splitter.feed(body, |frame| {
        let (name, payload) = match frame.unwrap() {
            Frame::Event { name, payload } | Frame::Exception { name, payload } => (name, payload),
            Frame::Error { .. } => panic!(),
        };
        frames.push((name.to_owned(), serde_json::from_slice(payload).unwrap()));
    });
    frames
}

#[test]
fn answers_say_what_the_model_name_asks_for() {
    let mock = mock();
    for dialect in NEW {
        for (model, wanted, stop) in [
            ("gpt-4o", "one two three", StopReason::End),
            ("lorem-3", "lorem ipsum dolor", StopReason::End),
            ("reasoning", "Let me think first.one two three", StopReason::End),
            ("tool-call", r#"{"city":"Paris"}"#, StopReason::ToolCalls),
            ("tool-calls-2", r#"{"city":"Paris"}{"city":"Paris"}"#, StopReason::ToolCalls),
            ("reasoning-tool-call", r#"Let me think first.{"city":"Paris"}"#, StopReason::ToolCalls),
            ("split-utf8", "Grüße aus 東京 — naïve 🎉🎊 fin.", StopReason::End),
            ("lorem-2+one-chunk", "lorem ipsum", StopReason::End),
            ("lorem-2+comments+crlf", "lorem ipsum", StopReason::End),
            ("lorem-1+drip-0ms", "lorem", StopReason::End),
            ("usage-missing", "one two three", StopReason::End),
            ("length-after-2", "lorem ipsum", StopReason::MaxTokens),
            ("content-filter-after-2", "lorem ipsum", StopReason::ContentFilter),
        ] {
            for stream in [false, true] {
                let answer = asked(&mock, dialect, model, stream);
                assert_eq!((answer.status(), answer.clean), (200, true), "{dialect} {model} {stream}");
                let read = understood(dialect, Platform::Native, stream, &answer.body);
                if (dialect, stop) == (Dialect::Cohere, StopReason::ContentFilter) {
                    // Cohere has no word for it but `ERROR`.
                    assert!(read.is_err(), "{stream}");
                    continue;
                }
                let read = read.unwrap_or_else(|error| panic!("{dialect} {model} {stream}: {error}"));
                assert_eq!(said(&read), wanted, "{dialect} {model} {stream}");
                assert_eq!(read.choices[0].stop.reason, stop, "{dialect} {model} {stream}");
                if model == "lorem-3" {
                    let usage = read.usage.unwrap();
                    assert_eq!((usage.total_input(), usage.total_output()), (Some(3), Some(3)), "{dialect} {stream}");
                }
            }
        }
        assert_eq!(asked(&mock, dialect, "json-4KiB", false).body.len(), 4096, "{dialect}");
    }
}

#[test]
fn gemini_on_the_wire() {
    let mock = mock();
    let whole = asked(&mock, Dialect::Gemini, "reasoning-tool-call", false).json();
    let parts = whole["candidates"][0]["content"]["parts"].as_array().unwrap();
    assert_eq!((&parts[0]["text"], &parts[0]["thought"]), (&json!("Let me think first."), &json!(true)));
    assert!(parts[0]["thoughtSignature"].is_string() && parts[1]["thoughtSignature"].is_string());
    assert_eq!(parts[1]["functionCall"], json!({"id": "mock_000001_0", "name": "weather", "args": {"city": "Paris"}}));
    assert_eq!(
        (&whole["candidates"][0]["finishReason"], &whole["modelVersion"]),
        (&json!("STOP"), &json!("reasoning-tool-call"))
    );
    assert_eq!(whole["usageMetadata"]["thoughtsTokenCount"], 4);
    let cached = asked(&mock, Dialect::Gemini, "usage-cached", false).json();
    let usage = &cached["usageMetadata"];
    let counts = ["promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount", "thoughtsTokenCount"];
    assert_eq!(counts.map(|count| usage[count].as_u64().unwrap()), [100, 60, 12, 8]);

    let events = asked(&mock, Dialect::Gemini, "lorem-2", true).events();
    let texts: Vec<_> =
        events.iter().map(|(_, e)| e["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["lorem", " ipsum", ""]);
    assert_eq!(events[2].1["candidates"][0]["finishReason"], "STOP");
    let array =
        post(&mock, "/v1/publishers/google/models/lorem-2:streamGenerateContent", &ask(Dialect::Gemini, "", true));
    assert!(array.head.contains("content-type: application/json"), "{}", array.head);
    let chunks = array.json();
    assert_eq!(chunks.as_array().unwrap().len(), 3);
    assert_eq!(chunks[0]["candidates"][0]["content"]["parts"][0]["text"], "lorem");

    let body = ask(Dialect::Gemini, "", false);
    for body in [body.clone(), json!({"generateContentRequest": body})] {
        assert_eq!(post(&mock, "/v1beta/models/m:countTokens", &body).json()["totalTokens"], 3);
    }
    let content = json!({"content": {"parts": [{"text": "a"}]}});
    assert!(post(&mock, "/v1beta/models/m:embedContent", &content).json()["embedding"]["values"][7].is_number());
    let batch = post(&mock, "/v1beta/models/m:batchEmbedContents", &json!({"requests": [content]})).json();
    assert_eq!(batch["embeddings"].as_array().unwrap().len(), 1);
    assert_eq!(get(&mock, "/v1beta/models")["models"][0]["name"], "models/echo");
    let by_header = send(&mock, "GET", "/v1/models/m", "x-goog-api-key: k\r\n", b"").json();
    assert_eq!(by_header["name"], "models/m");
}

#[test]
fn bedrock_on_the_wire() {
    let mock = mock();
    let whole = asked(&mock, Dialect::Bedrock, "tool-call", false).json();
    let call =
        json!({"toolUse": {"toolUseId": "tooluse_mock_000001_0", "name": "weather", "input": {"city": "Paris"}}});
    assert_eq!(whole["output"]["message"], json!({"role": "assistant", "content": [call]}));
    assert_eq!(whole["stopReason"], "tool_use");
    assert_eq!((&whole["usage"]["inputTokens"], &whole["usage"]["totalTokens"]), (&json!(3), &json!(4)));
    let cached = asked(&mock, Dialect::Bedrock, "usage-cached", false).json();
    let counts = ["inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens", "outputTokens"];
    assert_eq!(counts.map(|count| cached["usage"][count].as_u64().unwrap()), [30, 60, 10, 20]);

    let streamed = asked(&mock, Dialect::Bedrock, "reasoning-tool-call", true);
    assert!(streamed.head.contains("content-type: application/vnd.amazon.eventstream"), "{}", streamed.head);
    let events = frames(&streamed.body);
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    let delta = "contentBlockDelta";
    assert_eq!(
        names[..8],
        ["messageStart", delta, delta, delta, delta, delta, "contentBlockStop", "contentBlockStart"]
    );
    assert_eq!(names[8..], [delta, delta, delta, "contentBlockStop", "messageStop", "metadata"]);
    assert!(events[5].1["delta"]["reasoningContent"]["signature"].is_string());
    assert_eq!(events[7].1["start"]["toolUse"]["name"], "weather");

    let body = ask(Dialect::Bedrock, "", false);
    assert_eq!(
        post(&mock, "/model/m/count-tokens", &json!({"input": {"converse": body}})).json(),
        json!({"inputTokens": 3})
    );
    let claude = json!({"anthropic_version": "bedrock-2023-05-31", "messages": [{"role": "user", "content": "a b"}]});
    let invoked = json!({"input": {"invokeModel": {"body": STANDARD.encode(claude.to_string())}}});
    assert_eq!(post(&mock, "/model/m/count-tokens", &invoked).json(), json!({"inputTokens": 2}));
}

#[test]
fn claude_on_the_clouds() {
    let mock = mock();
    let body = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": [{"role": "user", "content": "a b"}]});
    let whole = post(&mock, "/model/anthropic.claude-lorem-2/invoke", &body).json();
    assert_eq!(whole["content"], json!([{"type": "text", "text": "lorem ipsum"}]));
    let streamed = post(&mock, "/model/us.anthropic.claude-lorem-2/invoke-with-response-stream", &body);
    let events = frames(&streamed.body);
    assert!(events.iter().all(|(name, _)| name == "chunk"));
    let first = STANDARD.decode(events[0].1["bytes"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&first).unwrap()["type"], "message_start");
    let read = understood(Dialect::Anthropic, Platform::BedrockInvoke, true, &streamed.body).unwrap();
    assert_eq!(said(&read), "lorem ipsum");
    let refused = post(&mock, "/model/anthropic.status-429/invoke", &body);
    assert!(refused.head.contains("x-amzn-errortype: throttlingexception"), "{}", refused.head);
    let broken = post(&mock, "/model/anthropic.error-after-1/invoke-with-response-stream", &body);
    assert_eq!(frames(&broken.body).pop().unwrap().0, "serviceUnavailableException");

    let vertex = "/v1/projects/p/locations/l/publishers/anthropic/models";
    let whole = post(&mock, &format!("{vertex}/claude-lorem-2:rawPredict"), &body).json();
    assert_eq!((&whole["model"], &whole["content"][0]["text"]), (&json!("claude-lorem-2"), &json!("lorem ipsum")));
    let streamed = post(&mock, &format!("{vertex}/claude-lorem-2:streamRawPredict"), &body);
    assert_eq!(follow_messages(&streamed), ("lorem ipsum".to_owned(), true));
    let counted = post(&mock, &format!("{vertex}/count-tokens:rawPredict"), &body).json();
    assert_eq!(counted, json!({"input_tokens": 2}));
    assert_eq!(get(&mock, "/mock/stats")["by_model"]["claude-lorem-2"]["requests"], 2);
    let last = get(&mock, "/mock/last");
    assert_eq!(last["claude-lorem-2"]["path"], format!("{vertex}/claude-lorem-2:streamRawPredict"));
}

#[test]
fn cohere_on_the_wire() {
    let mock = mock();
    let whole = asked(&mock, Dialect::Cohere, "tool-call", false).json();
    let call = json!({
        "id": "weather_mock_000001_0", "type": "function",
        "function": {"name": "weather", "arguments": "{\"city\":\"Paris\"}"},
    });
    assert_eq!((&whole["message"]["tool_calls"], &whole["finish_reason"]), (&json!([call]), &json!("TOOL_CALL")));
    assert_eq!(whole["usage"]["tokens"], json!({"input_tokens": 3, "output_tokens": 1}));
    let events = asked(&mock, Dialect::Cohere, "lorem-1", true).events();
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_deref().unwrap_or_default()).collect();
    assert_eq!(names, ["message-start", "content-start", "content-delta", "content-end", "message-end", ""]);
    assert_eq!(events[2].1["delta"]["message"]["content"]["text"], "lorem");
    let vectors = post(&mock, "/v2/embed", &json!({"model": "m", "texts": ["a"], "input_type": "search_query"})).json();
    assert!(vectors["embeddings"]["float"][0][7].is_number());
    let ranked = post(&mock, "/v2/rerank", &json!({"model": "m", "query": "a", "documents": ["b", "a"]})).json();
    assert_eq!(ranked["results"][0]["index"], 1);
}

#[test]
fn faults_strike_in_every_dialect() {
    let mock = mock();
    for dialect in NEW {
        let of = |model: &str| asked(&mock, dialect, model, true);
        assert_eq!(of("cut-header").status(), 0, "{dialect}");
        let cut = of("cut-after-2");
        assert!(!cut.clean, "{dialect}");
        for answer in [cut, of("cut-before-output"), of("end-early-after-2"), of("garbage-body")] {
            assert!(understood(dialect, Platform::Native, true, &answer.body).is_err(), "{dialect}");
        }
        for model in ["error-event-first", "error-after-preamble", "error-after-1"] {
            let answer = of(model);
            assert!(answer.clean, "{dialect} {model}");
            let error = understood(dialect, Platform::Native, true, &answer.body).unwrap_err();
            assert_eq!(error.message, "The server is overloaded, please try again later", "{dialect} {model}");
        }
        for (model, status, kind) in [
            ("status-429-retry-2s", 429, ErrorKind::RateLimited),
            ("status-400", 400, ErrorKind::InvalidRequest),
            ("context-length", 400, ErrorKind::ContextLength),
            ("status-503", 503, ErrorKind::Overloaded),
        ] {
            let refused = asked(&mock, dialect, model, false);
            assert_eq!(refused.status(), status, "{dialect} {model}");
            assert_eq!(refused.head.contains("retry-after: 2\r\n"), status == 429, "{}", refused.head);
            let error = ai_gateway_providers::error::decode_error(dialect, status, &refused.body);
            assert_eq!(error.kind, kind, "{dialect} {model} {}", refused.text());
        }
        let unreadable = send(&mock, "POST", &path(dialect, "echo", false), "", b"{");
        assert_eq!(unreadable.status(), 400, "{dialect}");
    }
    let gemini = asked(&mock, Dialect::Gemini, "status-404", false).json();
    assert_eq!((&gemini["error"]["code"], &gemini["error"]["status"]), (&json!(404), &json!("NOT_FOUND")));
    let bedrock = asked(&mock, Dialect::Bedrock, "status-429", false);
    assert!(bedrock.head.contains("x-amzn-errortype: throttlingexception"), "{}", bedrock.head);
}
