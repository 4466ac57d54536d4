//! What the observer makes of answers that no recording has: each provider's peculiarities, broken streams, and arbitrary bytes.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use ai_gateway_providers::answer::{End, end_of};
use ai_gateway_providers::event_stream::{write_event, write_exception};
use ai_gateway_providers::{AnswerForm, Dialect, ErrorKind, Observer, Operation, Seen, Usage};
use bytes::Bytes;
use proptest::prelude::*;

const CHAT: (Dialect, Operation) = (Dialect::OpenAiChat, Operation::Chat);
const RESPONSES: (Dialect, Operation) = (Dialect::OpenAiResponses, Operation::Chat);
const ANTHROPIC: (Dialect, Operation) = (Dialect::Anthropic, Operation::Chat);

fn feed(what: (Dialect, Operation), form: AnswerForm, hide_usage: bool, chunks: &[&[u8]]) -> (Vec<u8>, Seen) {
    let mut observer = Observer::new(what.0, what.1, form, hide_usage);
    let mut out = Vec::new();
    let (last, first) = chunks.split_last().map_or((&b""[..], &[][..]), |(last, first)| (*last, first));
    for chunk in first {
        out.extend_from_slice(&observer.feed(Bytes::copy_from_slice(chunk), false));
    }
    out.extend_from_slice(&observer.feed(Bytes::copy_from_slice(last), true));
    (out, observer.into_seen())
}

/// Whole, byte by byte, and in two pieces cut at every byte: the same is seen, and the same bytes come out; of an answer
/// that broke off its whole events.
fn stream(what: (Dialect, Operation), text: &str) -> Seen {
    let body = text.as_bytes();
    let (out, seen) = feed(what, AnswerForm::Stream, false, &[body]);
    let body_out = if seen.cut { &body[..whole_events(text)] } else { body };
    assert_eq!(out, body_out);
    let mut cuts: Vec<Vec<&[u8]>> = vec![body.chunks(1).collect()];
    cuts.extend((0..body.len()).map(|at| vec![&body[..at], &body[at..]]));
    for chunks in cuts {
        assert_eq!(feed(what, AnswerForm::Stream, false, &chunks), (body_out.to_vec(), seen.clone()));
    }
    seen
}

fn whole_events(text: &str) -> usize {
    ["\n\n", "\r\n\r\n", "\r\r"].iter().filter_map(|end| Some(text.rfind(end)? + end.len())).max().unwrap_or(0)
}

fn json(what: (Dialect, Operation), text: &str) -> Seen {
    let body = text.as_bytes();
    let (out, seen) = feed(what, AnswerForm::Json, false, &[body]);
    assert_eq!(out, body);
    for at in 0..body.len() {
        assert_eq!(feed(what, AnswerForm::Json, true, &[&body[..at], &body[at..]]), (body.to_vec(), seen.clone()));
    }
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(feed(what, AnswerForm::Json, false, &bytes), (body.to_vec(), seen.clone()));
    seen
}

fn chunk(delta: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]}}\n\n")
}

#[test]
fn only_output_is_first_output_in_chat() {
    for preamble in [
        r#"{"role":"assistant"}"#,
        r#"{"role":"assistant","content":"","refusal":null,"reasoning":null,"reasoning_details":[],"tool_calls":[ ]}"#,
        r#"{"content":""}"#,
        r#"{"channel":"analysis"}"#,
        "{}",
        "null",
        "7",
    ] {
        assert!(!stream(CHAT, &chunk(preamble)).first_output, "{preamble}");
    }
    for output in [
        r#"{"content":" "}"#,
        r#"{"role":"assistant","content":"\u0000"}"#,
        r#"{"reasoning_content":"a"}"#,
        r#"{"reasoning":"a"}"#,
        r#"{"refusal":"no"}"#,
        r#"{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]}"#,
        r#"{"function_call":{"name":"f"}}"#,
        r#"{"audio":{"id":"a"}}"#,
        r#"{"content":[{"type":"thinking"}]}"#,
        r#"{"something_new":{"x":1}}"#,
    ] {
        let seen = stream(CHAT, &chunk(output));
        assert!(seen.first_output && seen.outputs == 1, "{output}");
    }
    let azure = "data: {\"choices\":[],\"prompt_filter_results\":[{}],\"usage\":null}\n\n";
    let seen = stream(CHAT, &format!(": OPENROUTER PROCESSING\n\n{azure}"));
    assert!(!seen.first_output && seen.unreadable == 0 && seen.events == 1);
}

#[test]
fn only_output_is_first_output_in_anthropic() {
    let start = |block: &str| {
        format!("event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"content_block\":{block}}}\n\n")
    };
    let delta = |delta: &str| format!("data: {{\"type\":\"content_block_delta\",\"delta\":{delta}}}\n\n");
    let preamble = [
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[],\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n".to_owned(),
        start(r#"{"type":"text","text":""}"#),
        start(r#"{"type":"thinking","thinking":"","signature":""}"#),
        "event: ping\ndata: {\"type\":\"ping\"}\n\n".to_owned(),
        delta(r#"{"type":"text_delta","text":""}"#),
    ]
    .concat();
    let seen = stream(ANTHROPIC, &preamble);
    assert!(!seen.first_output && seen.cut, "{seen:?}");
    for output in [
        start(r#"{"type":"tool_use","id":"t","name":"f","input":{}}"#),
        start(r#"{"type":"redacted_thinking","data":"x"}"#),
        delta(r#"{"type":"text_delta","text":"a"}"#),
        delta(r#"{"type":"thinking_delta","thinking":"a"}"#),
    ] {
        let seen = stream(ANTHROPIC, &format!("{preamble}{output}"));
        assert!(seen.first_output && seen.outputs == 1, "{output}");
    }
}

#[test]
fn only_output_is_first_output_in_responses() {
    let preamble = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"model\":\"m\",\"usage\":null}}\n\n\
        event: response.in_progress\ndata: {\"type\":\"response.in_progress\",\"response\":{\"model\":\"m\"}}\n\n\
        event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"item\":{\"type\":\"message\",\"content\":[]}}\n\n\
        event: response.content_part.added\ndata: {\"type\":\"response.content_part.added\",\"part\":{\"type\":\"output_text\",\"text\":\"\"}}\n\n\
        event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"\"}\n\n";
    let seen = stream(RESPONSES, preamble);
    assert!(!seen.first_output && seen.cut);
    assert_eq!((seen.model.as_deref(), seen.events), (Some("m"), 5));
    for kind in ["output_text", "reasoning_summary_text", "function_call_arguments", "refusal"] {
        let text = format!("{preamble}data: {{\"delta\":\"a\",\"type\":\"response.{kind}.delta\"}}\n\n");
        let seen = stream(RESPONSES, &text);
        assert!(seen.first_output && seen.outputs == 1, "{kind}");
    }
}

/// Whether a whole answer, or a stream, is known to be blocked.
fn blocked(dialect: Dialect, form: AnswerForm, body: &[u8]) -> bool {
    let of = |chunks: &[&[u8]]| {
        let mut observer = Observer::new(dialect, Operation::Chat, form, false).judging_whole();
        chunks.iter().for_each(|chunk| drop(observer.feed(Bytes::copy_from_slice(chunk), false)));
        let _ = observer.feed(Bytes::new(), true);
        assert!(!observer.seen().cut && observer.seen().error.is_none(), "{dialect} {:?}", observer.seen());
        observer.seen().is_blocked()
    };
    let whole = of(&[body]);
    assert_eq!(of(&body.chunks(7).collect::<Vec<_>>()), whole, "{dialect}");
    whole
}

#[test]
fn what_a_filter_keeps_back_in_a_whole_answer_is_known() {
    use Dialect::{Anthropic, Bedrock, Gemini, OpenAiChat, OpenAiResponses};
    let chat = |message: &str, reason: &str| {
        format!(
            r#"{{"choices":[{{"index":0,"message":{message},"finish_reason":"{reason}"}}],"usage":{{"prompt_tokens":3}}}}"#
        )
    };
    let claude = |content: &str, more: &str| {
        format!(r#"{{"type":"message","role":"assistant","content":{content},"stop_reason":"refusal"{more}}}"#)
    };
    let gemini =
        |parts: &str| format!(r#"{{"candidates":[{{"content":{{"parts":{parts}}},"finishReason":"SAFETY"}}]}}"#);
    let converse = |content: &str, reason: &str| {
        format!(r#"{{"output":{{"message":{{"role":"assistant","content":{content}}}}},"stopReason":"{reason}"}}"#)
    };
    let response = |output: &str| {
        format!(
            r#"{{"id":"r","status":"incomplete","incomplete_details":{{"reason":"content_filter"}},"output":{output}}}"#
        )
    };
    let explained = r#","stop_details":{"type":"refusal","explanation":"This is about weapons."}"#;
    let sorry = r#"[{"text":"Sorry."}]"#;
    for (dialect, body) in [
        (OpenAiChat, chat(r#"{"role":"assistant","content":null}"#, "content_filter")),
        (OpenAiChat, chat(r#"{"role":"assistant","content":"","refusal":null}"#, "sensitive")),
        (OpenAiChat, chat(r#"{"role":"assistant","reasoning_content":"Hm."}"#, "content_filter")),
        (OpenAiResponses, response("[]")),
        (Anthropic, claude("[]", "")),
        (Anthropic, claude("[]", explained)),
        (
            Gemini,
            r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":3}}"#.into(),
        ),
        (Gemini, r#"{"candidates":[{"finishReason":"SAFETY","index":0}]}"#.into()),
        (Gemini, gemini(r#"[{"text":"Hm.","thought":true}]"#)),
        (Bedrock, converse("[]", "content_filtered")),
        (Bedrock, converse(sorry, "guardrail_intervened")),
    ] {
        assert!(blocked(dialect, AnswerForm::Json, body.as_bytes()), "{body}");
        let (_, seen) = feed((dialect, Operation::Chat), AnswerForm::Json, false, &[body.as_bytes()]);
        assert!(!seen.is_blocked(), "it was not asked for: {body}");
    }
    let two = r#"{"choices":[{"index":0,"message":{"content":null},"finish_reason":"content_filter"},{"index":1,"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    for (dialect, body) in [
        (OpenAiChat, chat(r#"{"role":"assistant","content":"Half a"}"#, "content_filter")),
        (OpenAiChat, chat(r#"{"role":"assistant","content":""}"#, "stop")),
        (OpenAiChat, chat(r#"{"role":"assistant","content":null,"refusal":"No."}"#, "stop")),
        (OpenAiChat, two.into()),
        (OpenAiResponses, response(r#"[{"type":"message","content":[{"type":"output_text","text":"Half a"}]}]"#)),
        (Anthropic, claude(r#"[{"type":"text","text":"Half a"}]"#, explained)),
        (Gemini, gemini(r#"[{"text":"Half a"}]"#)),
        (Bedrock, converse(sorry, "content_filtered")),
        (Bedrock, converse(sorry, "end_turn")),
    ] {
        assert!(!blocked(dialect, AnswerForm::Json, body.as_bytes()), "{body}");
    }
    // What is so long says something, and is not kept.
    let long = chat(&format!(r#"{{"x":"{}"}}"#, "x".repeat(300 << 10)), "content_filter");
    assert!(!blocked(OpenAiChat, AnswerForm::Json, long.as_bytes()));
}

/// As its codec tells of all of it.
#[test]
fn how_a_stream_that_passes_ended_is_known() {
    use Dialect::{Anthropic, OpenAiChat, OpenAiResponses};
    let chat = |reason: &str| {
        let end = format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#);
        format!("{}data: {end}\n\ndata: [DONE]\n\n", chunk(r#"{"content":"a"}"#))
    };
    let claude = |reason: &str| {
        let events = [
            r#"{"type":"message_start","message":{"id":"m","content":[],"usage":{"input_tokens":1}}}"#.to_owned(),
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"a"}}"#.to_owned(),
            r#"{"type":"content_block_stop","index":0}"#.to_owned(),
            format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}"}},"usage":{{"output_tokens":1}}}}"#),
            r#"{"type":"message_stop"}"#.to_owned(),
        ];
        events.map(|event| format!("data: {event}\n\n")).concat()
    };
    let response = |kind: &str, more: &str| {
        let part = r#"{"type":"output_text","text":"a","annotations":[]}"#;
        let item = format!(r#"{{"type":"message","id":"i","role":"assistant","content":[{part}]}}"#);
        let said = r#"{"type":"response.output_text.delta","item_id":"i","output_index":0,"delta":"a"}"#;
        let response = format!(r#"{{"id":"r","status":"{kind}","output":[{item}]{more}}}"#);
        format!("data: {said}\n\ndata: {{\"type\":\"response.{kind}\",\"response\":{response}}}\n\n")
    };
    let incomplete =
        |reason: &str| response("incomplete", &format!(r#","incomplete_details":{{"reason":"{reason}"}}"#));
    for (dialect, body, end) in [
        (OpenAiChat, chat("stop"), End::Model),
        (OpenAiChat, chat("length"), End::Model),
        (OpenAiChat, chat("unheard_of"), End::Otherwise),
        (OpenAiChat, chat("sensitive"), End::Filtered),
        (Anthropic, claude("end_turn"), End::Model),
        (Anthropic, claude("pause_turn"), End::Otherwise),
        (Anthropic, claude("refusal"), End::Filtered),
        (OpenAiResponses, response("completed", ""), End::Model),
        (OpenAiResponses, response("cancelled", ""), End::Otherwise),
        (OpenAiResponses, incomplete("max_output_tokens"), End::Model),
        (OpenAiResponses, incomplete("content_filter"), End::Filtered),
    ] {
        let (_, seen) = feed((dialect, Operation::Chat), AnswerForm::Stream, false, &[body.as_bytes()]);
        assert!(seen.complete && seen.first_output && !seen.is_blocked(), "{body}");
        assert_eq!(seen.end, end, "{body}");
        assert_eq!(end_of(body.as_bytes(), dialect, AnswerForm::Stream), Some(end), "{body}");
    }
}

#[test]
fn what_a_filter_keeps_back_of_a_stream_is_known() {
    use Dialect::{Anthropic, Bedrock, Gemini, OpenAiChat, OpenAiResponses};
    let chat = |delta: &str, reason: &str| {
        let end = format!(r#"data: {{"choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#);
        format!("{}{end}\n\ndata: [DONE]\n\n", chunk(delta))
    };
    let claude = |text: &str| {
        let delta = r#"{"type":"message_delta","delta":{"stop_reason":"refusal","stop_sequence":null},"usage":{"output_tokens":1}}"#;
        let text =
            format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#);
        format!("data: {text}\n\ndata: {delta}\n\ndata: {{\"type\":\"message_stop\"}}\n\n")
    };
    let response = |before: &str| {
        let response =
            r#"{"id":"r","status":"incomplete","incomplete_details":{"reason":"content_filter"},"output":[]}"#;
        format!("{before}data: {{\"type\":\"response.incomplete\",\"response\":{response}}}\n\n")
    };
    let gemini = |event: &str| format!("data: {event}\n\n");
    let converse = |text: &str, reason: &str| {
        let mut frames = Vec::new();
        for (name, payload) in [
            ("messageStart", r#"{"role":"assistant"}"#.to_owned()),
            ("contentBlockDelta", format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{text}"}}}}"#)),
            ("contentBlockStop", r#"{"contentBlockIndex":0}"#.to_owned()),
            ("messageStop", format!(r#"{{"stopReason":"{reason}"}}"#)),
            ("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":0,"totalTokens":3}}"#.to_owned()),
        ] {
            write_event(&mut frames, name, |out| out.extend_from_slice(payload.as_bytes()));
        }
        frames
    };
    for (dialect, body) in [
        (OpenAiChat, chat(r#"{"role":"assistant","content":""}"#, "content_filter").into_bytes()),
        (OpenAiResponses, response("").into_bytes()),
        (Anthropic, claude("").into_bytes()),
        (Gemini, gemini(r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#).into_bytes()),
        (Gemini, gemini(r#"{"candidates":[{"finishReason":"PROHIBITED_CONTENT"}]}"#).into_bytes()),
        (Bedrock, converse("", "content_filtered")),
        (Bedrock, converse("Sorry.", "guardrail_intervened")),
    ] {
        assert!(blocked(dialect, AnswerForm::Stream, &body), "{dialect} {}", String::from_utf8_lossy(&body));
    }
    let said = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"Half a\"}\n\n";
    for (dialect, body) in [
        (OpenAiChat, chat(r#"{"content":"Half a"}"#, "content_filter").into_bytes()),
        (OpenAiChat, chat(r#"{"content":""}"#, "stop").into_bytes()),
        (OpenAiResponses, response(said).into_bytes()),
        (Anthropic, claude("Half a").into_bytes()),
        (
            Gemini,
            gemini(r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"SAFETY"}]}"#).into_bytes(),
        ),
        (Bedrock, converse("Half a", "content_filtered")),
    ] {
        assert!(!blocked(dialect, AnswerForm::Stream, &body), "{dialect} {}", String::from_utf8_lossy(&body));
    }
}

#[test]
fn every_way_to_end_is_known() {
    for (what, text) in [
        (CHAT, "data: [DONE]\n\n".to_owned()),
        (CHAT, "data:[DONE]".to_owned()),
        (CHAT, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\r\n\r\n".to_owned()),
        (
            (Dialect::OpenAiChat, Operation::Completions),
            "data: {\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\n".to_owned(),
        ),
        (ANTHROPIC, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_owned()),
        (ANTHROPIC, "data: {\"type\":\"message_stop\" }".to_owned()),
        (RESPONSES, "event: response.completed\ndata: {\"response\":{}}\n\n".to_owned()),
        (RESPONSES, "data: {\"type\":\"response.incomplete\",\"response\":{}}\n\n".to_owned()),
        (RESPONSES, "data: {\"type\":\"response.cancelled\",\"response\":{}}\n\n".to_owned()),
    ] {
        let seen = stream(what, &text);
        assert!(seen.complete && !seen.cut && seen.error.is_none(), "{text}");
    }
    for (what, text) in [
        (CHAT, ""),
        (CHAT, "data: [DON"),
        (CHAT, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"\"}]}\n\n"),
        (ANTHROPIC, "event: message_stop\n"),
        (ANTHROPIC, "event: message_stop\ndata: {\"type\":\"mess"),
        (ANTHROPIC, "event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n"),
        (RESPONSES, "data: [DONE]\n\n"),
    ] {
        let seen = stream(what, text);
        assert!(!seen.complete && seen.cut, "{text}");
    }
}

#[test]
fn all_choices_must_finish() {
    let choice = |index: u32, text: &str, finish: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let both = [choice(0, "a", "null"), choice(1, "b", "null"), choice(0, "", "\"stop\"")].concat();
    assert!(!stream(CHAT, &both).complete);
    let late = [choice(0, "a", "null"), choice(0, "", "\"stop\""), choice(1, "b", "null")].concat();
    assert!(!stream(CHAT, &late).complete);
    assert!(stream(CHAT, &(both + &choice(1, "", "\"stop\""))).complete);
    assert!(!stream(CHAT, &choice(200, "", "\"stop\"")).complete, "an index out of range needs [DONE]");
}

#[test]
fn errors_inside_a_200_are_found() {
    for (what, text, kind) in [
        (CHAT, "data: {\"error\":{\"message\":\"m\",\"code\":502}}\n\n", ErrorKind::UpstreamError),
        (CHAT, "data: {\"error\":{\"message\":\"m\",\"type\":\"insufficient_quota\"}}", ErrorKind::QuotaExceeded),
        (
            CHAT,
            "event: error\ndata: {\"error\":{\"message\":\"m\",\"status_code\":400}}\n\n",
            ErrorKind::InvalidRequest,
        ),
        (CHAT, "event: error\ndata: {\"message\":\"m\"}\n\n", ErrorKind::UpstreamError),
        (CHAT, "data: {\"error\":\"m\"}\n\n", ErrorKind::UpstreamError),
        (CHAT, "data: {\"choices\":[{\"index\":0,\"error\":{\"message\":\"m\"}}]}\n\n", ErrorKind::UpstreamError),
        (
            ANTHROPIC,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n",
            ErrorKind::Overloaded,
        ),
        (
            ANTHROPIC,
            "data: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}\n\n",
            ErrorKind::UpstreamError,
        ),
        (
            RESPONSES,
            "event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"m\",\"param\":null,\"sequence_number\":3}\n\n",
            ErrorKind::RateLimited,
        ),
        (RESPONSES, "data: {\"error\":{\"message\":\"m\"}}\n\n", ErrorKind::UpstreamError),
    ] {
        // Also when a lot has passed before.
        for before in [String::new(), chunk("{\"content\":\"a\"}")] {
            let seen = stream(what, &(before + text));
            let error = seen.error.unwrap();
            assert_eq!((error.kind, error.message.as_str()), (kind, "m"), "{text}");
            assert!(!seen.complete && !seen.cut);
        }
    }
    let failed = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_error\",\"message\":\"m\"},\"usage\":{\"input_tokens\":4,\"output_tokens\":1,\"total_tokens\":5}}}\n\n";
    let seen = stream(RESPONSES, failed);
    assert!(seen.complete && seen.error.is_some_and(|error| error.message == "m"));
    assert_eq!(seen.usage.unwrap().total(), Some(5));
    for fine in [
        "{\"error\":null,\"choices\":[]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\\"error\\\": {}\"}}]}",
    ] {
        assert_eq!(stream(CHAT, &format!("data: {fine}\n\n")).error, None);
    }
}

#[test]
fn a_malformed_event_is_counted_and_left_out() {
    let good = format!("{}data: [DONE]\n\n", chunk("{\"content\":\"a\"}"));
    let text = format!("data: {{\"choices\":[\n\ndata: oops\n\n{good}");
    for at in 0..text.len() {
        let (out, seen) = feed(CHAT, AnswerForm::Stream, false, &[&text.as_bytes()[..at], &text.as_bytes()[at..]]);
        assert_eq!(out, good.as_bytes());
        assert_eq!((seen.unreadable, seen.first_output, seen.complete), (2, true, true));
    }
    let (out, seen) =
        feed(RESPONSES, AnswerForm::Stream, false, &[b"event: response.completed\ndata: {\"response\":\n\n"]);
    assert!(out.is_empty() && !seen.complete && seen.cut);
}

fn usage_of(what: (Dialect, Operation), usage: &str) -> Usage {
    json(what, &format!("{{\"usage\":{usage}}}")).usage.unwrap()
}

#[test]
fn usage_of_every_provider_becomes_disjoint() {
    let empty = Usage::default();
    let chat = |usage| usage_of(CHAT, usage);
    assert_eq!(
        chat(
            r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":60,"audio_tokens":10},"completion_tokens_details":{"reasoning_tokens":20,"audio_tokens":5}}"#
        ),
        Usage {
            input: Some(30),
            cache_read: Some(60),
            audio_input: Some(10),
            output: Some(25),
            reasoning: Some(20),
            audio_output: Some(5),
            ..empty
        }
    );
    // OpenRouter tells what it charges; where another provider's account is used, that one charges besides.
    for (said, charged) in [
        (r#""cost":0.00014,"is_byok":false,"cost_details":{"upstream_inference_cost":0.00014}"#, Some(140_000_000)),
        (r#""cost":1e-7,"is_byok":true,"cost_details":{"upstream_inference_cost":0.002}"#, Some(2_000_100_000)),
        (r#""cost":0.1,"is_byok":true,"cost_details":{"upstream_inference_cost":null}"#, None),
        (r#""cost":0"#, Some(0)),
        (r#""cost":-0.1"#, None),
        (r#""cost":-0.0"#, None),
        (r#""cost":10001"#, None),
        (r#""cost":1e300"#, None),
        (r#""cost":"0.1""#, None),
        (r#""cost":{"total_cost":0.1}"#, None),
    ] {
        let wanted = Usage { input: Some(7), output: Some(5), charged, ..empty };
        let said = format!(r#"{{"prompt_tokens":7,"completion_tokens":5,{said}}}"#);
        assert_eq!(usage_of(CHAT, &said), wanted, "{said}");
    }
    // xAI leaves reasoning out of completion_tokens.
    assert_eq!(
        chat(
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":115,"completion_tokens_details":{"reasoning_tokens":100}}"#
        ),
        Usage { input: Some(10), output: Some(5), reasoning: Some(100), ..empty }
    );
    // Gemini's endpoint says it only by the total.
    assert_eq!(
        chat(r#"{"prompt_tokens":35,"completion_tokens":12,"total_tokens":109}"#),
        Usage { input: Some(35), output: Some(12), reasoning: Some(62), ..empty }
    );
    // DeepSeek.
    assert_eq!(
        chat(
            r#"{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":2}"#
        ),
        Usage { input: Some(2), cache_read: Some(8), output: Some(1), ..empty }
    );
    // Details that do not add up never make a total wrong or a bucket negative.
    assert_eq!(
        chat(
            r#"{"prompt_tokens":10,"completion_tokens":10,"total_tokens":20,"prompt_tokens_details":{"cached_tokens":99,"audio_tokens":3},"completion_tokens_details":{"reasoning_tokens":11}}"#
        ),
        Usage {
            input: Some(0),
            cache_read: Some(10),
            audio_input: Some(0),
            output: Some(0),
            reasoning: Some(10),
            ..empty
        }
    );
    // Cache writes are part of the prompt.
    assert_eq!(
        chat(
            r#"{"prompt_tokens":10,"completion_tokens":1,"prompt_tokens_details":{"cache_write_tokens":4,"cached_tokens":1}}"#
        ),
        Usage { input: Some(5), cache_read: Some(1), cache_write_5m: Some(4), output: Some(1), ..empty }
    );
    // Voyage, and a rerank.
    assert_eq!(
        usage_of((Dialect::OpenAiChat, Operation::Embeddings), r#"{"total_tokens":3}"#),
        Usage { input: Some(3), ..empty }
    );
    let rerank = json((Dialect::OpenAiChat, Operation::Rerank), r#"{"meta":{"billed_units":{"search_units":2}}}"#);
    assert_eq!(rerank.usage, Some(Usage { search_units: Some(2), ..empty }));
    assert_eq!(
        usage_of(
            ANTHROPIC,
            r#"{"input_tokens":5,"cache_read_input_tokens":7,"cache_creation_input_tokens":11,"cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":10},"output_tokens":9,"output_tokens_details":{"thinking_tokens":4},"server_tool_use":{"web_search_requests":2}}"#
        ),
        Usage {
            input: Some(5),
            cache_read: Some(7),
            cache_write_5m: Some(1),
            cache_write_1h: Some(10),
            output: Some(5),
            reasoning: Some(4),
            web_searches: Some(2),
            ..empty
        }
    );
    assert_eq!(
        usage_of(
            (Dialect::OpenAiChat, Operation::Images),
            r#"{"input_tokens":50,"output_tokens":400,"total_tokens":450,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}"#
        ),
        Usage { input: Some(10), image_input: Some(40), output: Some(0), image_output: Some(400), ..empty }
    );
    let transcription = (Dialect::OpenAiChat, Operation::Transcription);
    assert_eq!(
        usage_of(
            transcription,
            r#"{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":45,"total_tokens":59}"#
        ),
        Usage { input: Some(0), audio_input: Some(14), output: Some(45), ..empty }
    );
    assert_eq!(
        usage_of(transcription, r#"{"type":"duration","seconds":7}"#),
        Usage { audio_input_ms: Some(7000), ..empty }
    );
    assert_eq!(
        json(transcription, r#"{"duration":8.47,"text":"a"}"#).usage,
        Some(Usage { audio_input_ms: Some(8470), ..empty })
    );
    for none in
        ["null", "{}", "[]", "7", r#"{"prompt_tokens":null}"#, r#"{"prompt_tokens":-3,"completion_tokens":"x"}"#]
    {
        assert_eq!(json(CHAT, &format!("{{\"usage\":{none}}}")).usage, None, "{none}");
    }
    assert_eq!(json((Dialect::Anthropic, Operation::CountTokens), r#"{"input_tokens":9}"#).usage, None);
}

#[test]
fn late_reasoning_moves_out_of_output() {
    let text = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":3,\"output_tokens\":2}}}\n\n\
        event: message_delta\ndata: {\"usage\":{\"output_tokens\":40,\"output_tokens_details\":{\"thinking_tokens\":40}}}\n\n\
        event: message_delta\ndata: {\"usage\":{\"input_tokens\":0,\"output_tokens\":1}}\n\n";
    let usage = stream(ANTHROPIC, text).usage.unwrap();
    assert_eq!((usage.input, usage.cache_read, usage.output, usage.reasoning), (Some(10), Some(3), Some(0), Some(40)));
}

#[test]
fn groq_reports_usage_in_a_place_of_its_own() {
    let text = chunk("{\"content\":\"a\"}")
        + "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"x_groq\":{\"id\":\"r\",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}}\n\n";
    let seen = stream(CHAT, &text);
    assert_eq!(seen.usage.unwrap().total(), Some(7));
    assert_eq!(json(CHAT, "{\"x_groq\":{\"usage\":{\"prompt_tokens\":3}}}").usage.unwrap().input, Some(3));
}

#[test]
fn other_streams_of_openai_are_read() {
    let transcription = (Dialect::OpenAiChat, Operation::Transcription);
    let seen = stream(
        transcription,
        "data: {\"type\":\"transcript.text.delta\",\"delta\":\"a\"}\n\ndata: {\"type\":\"transcript.text.done\",\"text\":\"a\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":3,\"output_tokens\":1,\"total_tokens\":4}}\n\n",
    );
    assert_eq!((seen.outputs, seen.complete, seen.usage.unwrap().total()), (1, true, Some(4)));
    // vLLM
    let seen = stream(transcription, &(chunk("{\"content\":\"a\"}") + "data: [DONE]\n\n"));
    assert_eq!((seen.outputs, seen.complete), (1, true));
    let seen = stream(
        (Dialect::OpenAiChat, Operation::Images),
        "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"AA==\"}\n\nevent: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"AA==\",\"usage\":{\"input_tokens\":3,\"output_tokens\":9,\"total_tokens\":12}}\n\n",
    );
    assert_eq!((seen.outputs, seen.complete), (1, true));
    let usage = seen.usage.unwrap();
    assert_eq!((usage.image_output, usage.images), (Some(9), Some(1)));
    let seen = stream(
        (Dialect::OpenAiChat, Operation::Speech),
        "data: {\"type\":\"speech.audio.delta\",\"audio\":\"AA==\"}\n\ndata: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":3,\"output_tokens\":9,\"total_tokens\":12}}\n\n",
    );
    assert_eq!((seen.outputs, seen.complete, seen.usage.unwrap().total()), (1, true, Some(12)));
}

#[test]
fn a_json_document_is_read_without_being_kept() {
    let seen = json(
        CHAT,
        "\n \n{\"a\":{\"usage\":{\"prompt_tokens\":1},\"model\":\"no\"},\"model\":\"m\\u0031\",\"b\":[{\"model\":\"no\"},\"}\\\"]\"],\"usage\" : {\"prompt_tokens\":2} , \"service_tier\":\"flex\",\"error\":null}\n",
    );
    assert_eq!((seen.model.as_deref(), seen.service_tier.as_deref()), (Some("m1"), Some("flex")));
    assert_eq!(seen.usage.unwrap().input, Some(2));
    assert!(seen.complete && seen.first_output && seen.outputs == 1 && seen.error.is_none());
    for open in ["", " ", "{", "{\"a\":1", "[1,2", "{\"a\":\"}", "\"ab"] {
        assert!(json(CHAT, open).cut, "{open}");
    }
    for closed in ["{}", "[]", "[{\"usage\":{\"prompt_tokens\":1}}]", "null", "7", "\"a\"", "\u{feff}{}"] {
        let seen = json(CHAT, closed);
        assert!(seen.complete && seen.usage.is_none(), "{closed}");
    }
    let error = json(CHAT, "{\"error\":{\"message\":\"m\",\"code\":429}}").error.unwrap();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::RateLimited, "m"));
    let failed = json(
        RESPONSES,
        "{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"m\"},\"model\":\"x\"}",
    );
    assert_eq!(failed.error.unwrap().kind, ErrorKind::UpstreamError);
    let mut long = String::from("{\"usage\":[");
    long.push_str(&"1,".repeat(50_000));
    let (_, seen) = feed(CHAT, AnswerForm::Json, false, &[(long + "1],\"model\":\"m\"}").as_bytes()]);
    assert_eq!((seen.unreadable, seen.usage, seen.model.as_deref(), seen.complete), (1, None, Some("m"), true));
}

#[test]
fn pictures_are_counted() {
    let images = |text| json((Dialect::OpenAiChat, Operation::Images), text).usage;
    let two = r#"{"created":1,"data":[{"b64_json":"[{\"","x":[{}]}, {"url":"{"}],"b":[{},{}],"c":{"data":[{}]}}"#;
    assert_eq!(images(two), Some(Usage { images: Some(2), ..Usage::default() }));
    for none in [r#"{"data":[]}"#, r#"{"data":null}"#, r#"{"data":{"a":1}}"#, r#"[{"data":[{}]}]"#] {
        assert_eq!(images(none), None, "{none}");
    }
    let told = images(r#"{"data":[{"url":"a"}],"usage":{"input_tokens":3,"output_tokens":9}}"#).unwrap();
    assert_eq!((told.images, told.image_output, told.told().unwrap().images), (Some(1), Some(9), None));
    assert_eq!(json((Dialect::OpenAiChat, Operation::Embeddings), two).usage, None);
}

/// Where Google and Bedrock say at which tier they answered: whole answers and streams, read by the same dialect.
/// What is made in the background has not consumed anything yet, and tells it when it is asked for.
#[test]
fn an_answer_that_goes_on_being_made_is_known() {
    let usage = r#""usage":{"input_tokens":10,"output_tokens":9,"output_tokens_details":{"reasoning_tokens":4}}"#;
    let spent = Usage { input: Some(10), output: Some(5), reasoning: Some(4), ..Usage::default() };
    let stored = (Dialect::OpenAiResponses, Operation::Stored);
    for (status, unfinished) in [("queued", true), ("in_progress", true), ("completed", false), ("cancelled", false)] {
        let text = format!(r#"{{"id":"resp_1","status": "{status}" ,"output":[{{"status":"x"}}],{usage}}}"#);
        for (what, now, then) in [(RESPONSES, Some(spent), None), (stored, None, Some(spent))] {
            let seen = json(what, &text);
            assert_eq!((seen.unfinished, seen.usage, seen.past_usage), (unfinished, now, then), "{status} {what:?}");
        }
    }
    assert!(!json(CHAT, r#"{"status":"queued"}"#).unfinished, "means nothing there");

    let event = |name: &str, rest: &str| {
        format!("event: response.{name}\ndata: {{\"type\":\"response.{name}\",\"response\":{{{rest}}}}}\n\n")
    };
    for background in ["true", "false"] {
        let begun = event("created", &format!(r#""id":"resp_1","model":"m","background":{background}"#));
        assert_eq!(stream(RESPONSES, &begun).unfinished, background == "true");
        let whole = begun + &event("completed", &format!(r#""background":{background},{usage}"#));
        let seen = stream(RESPONSES, &whole);
        assert_eq!((seen.unfinished, seen.usage, seen.past_usage), (false, Some(spent), None));
        let seen = stream(stored, &whole);
        assert_eq!((seen.unfinished, seen.usage, seen.past_usage), (false, None, Some(spent)));
    }
}

/// <https://platform.claude.com/docs/en/build-with-claude/fast-mode> and `…/data-residency`: what costs more is told in the usage.
#[test]
fn anthropics_speed_and_region_stand_beside_its_tier() {
    for (usage, tier) in [
        (r#"{"input_tokens":1,"speed":"standard","inference_geo":"global"}"#, None),
        (r#"{"input_tokens":1,"service_tier":"standard","inference_geo":"not_available"}"#, Some("standard")),
        (r#"{"input_tokens":1,"service_tier":"standard","speed":"fast"}"#, Some("standard+fast_mode")),
        (
            r#"{"input_tokens":1,"service_tier":"standard","speed":"fast","inference_geo":"us"}"#,
            Some("standard+fast_mode+us"),
        ),
    ] {
        let answer = format!(r#"{{"type":"message","usage":{usage}}}"#);
        assert_eq!(json(ANTHROPIC, &answer).service_tier.as_deref(), tier, "{answer}");
        // The end of a stream may say nothing of it.
        let start = format!("event: message_start\ndata: {{\"message\":{{\"usage\":{usage}}}}}\n\n");
        let end = "event: message_delta\ndata: {\"usage\":{\"output_tokens\":9}}\n\nevent: message_stop\ndata: {}\n\n";
        assert_eq!(stream(ANTHROPIC, &(start + end)).service_tier.as_deref(), tier, "{usage}");
    }
}

/// A stream begins with the name of the model that was asked for: a block says that another one goes on, and the usage at its end that
/// another one answered, for which there may be no block.
#[test]
fn anthropics_streams_tell_which_model_has_answered_after_all() {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\
        \"role\":\"assistant\",\"model\":\"fable\",\"content\":[],\"usage\":{\"input_tokens\":5}}}\n\n";
    let block = |index: u64, block: &str| {
        format!(
            "event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":{index},\"content_block\":{block}}}\n\n\
             event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":{index}}}\n\n"
        )
    };
    let said = block(0, r#"{"type":"text","text":"the \"fallback\" of"}"#);
    let hop = |index, to: &str| {
        let hop = format!(r#"{{"type":"fallback","from":{{"model":"fable"}},"to":{{"model":"{to}"}}}}"#);
        block(index, &hop)
    };
    let end = |kind: &str| {
        format!(
            "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},\"usage\":{{\
             \"output_tokens\":9,\"iterations\":[{{\"type\":\"{kind}\",\"model\":\"haiku\",\"input_tokens\":5,\"output_tokens\":9}}]}}}}\n\n\
             event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
        )
    };
    let model = |parts: &[&str]| stream(ANTHROPIC, &parts.concat()).model;
    assert_eq!(model(&[start, &said]).as_deref(), Some("fable"));
    assert_eq!(model(&[start, &said, &hop(1, "opus"), &said]).as_deref(), Some("opus"));
    assert_eq!(model(&[start, &hop(0, "opus"), &hop(1, "haiku")]).as_deref(), Some("haiku"));
    for (kind, wanted) in [("fallback_message", "haiku"), ("message", "fable")] {
        assert_eq!(model(&[start, &said, &end(kind)]).as_deref(), Some(wanted));
    }
}

/// What its usage does not tell: <https://developers.openai.com/api/docs/pricing#built-in-tools>.
#[test]
fn what_openai_runs_as_tools_counts() {
    let counts = |usage: Usage| (usage.web_searches, usage.other_models);
    let used = r#""usage":{"input_tokens":5,"output_tokens":2}"#;
    let tools = |searches: u64, pictures: u64| {
        format!(
            r#""tool_usage":{{"image_gen":{{"input_tokens":{pictures},"output_tokens":{pictures}}},"web_search":{{"num_requests":{searches}}}}}"#
        )
    };
    let search = |action: &str| format!(r#"{{"id":"ws","type":"web_search_call","status":"completed"{action}}}"#);
    let items = [
        search(r#","action":{"type":"search","query":"find","queries":["find"]}"#),
        search(r#","action":{"type":"open_page","url":"web_search_call"}"#),
        search(r#","action":{"pattern":"search","type":"find_in_page"}"#),
        search(""),
        r#"{"type":"message","role":"assistant","content":[{"type":"output_text","text":"web_search_call"}]}"#
            .to_owned(),
    ];
    let output = format!(r#""output":[{}]"#, items.join(","));
    for (rest, right) in [
        (format!(r#""output":[],{}"#, tools(0, 0)), (None, None)),
        (format!("{output},{}", tools(7, 0)), (Some(7), None)),
        (format!(r#""output":[],{}"#, tools(0, 3120)), (None, Some(6240))),
        (output.clone(), (Some(2), None)),
    ] {
        let response = format!(r#"{{"id":"r","status":"completed",{used},{rest}}}"#);
        assert_eq!(counts(json(RESPONSES, &response).usage.unwrap()), right, "{response}");
        let done = items
            .iter()
            .filter(|_| rest.contains("web_search_call"))
            .map(|item| format!("data: {{\"type\":\"response.output_item.done\",\"item\":{item}}}\n\n"));
        let completed = format!("data: {{\"type\":\"response.completed\",\"response\":{response}}}\n\n");
        let text = done.chain([completed]).collect::<String>();
        assert_eq!(
            counts(feed(RESPONSES, AnswerForm::Stream, false, &[text.as_bytes()]).1.usage.unwrap()),
            right,
            "{text}"
        );
    }
}

/// <https://ai.google.dev/gemini-api/docs/google-search#pricing>
#[test]
fn what_google_searched_for_counts() {
    let gemini = (Dialect::Gemini, Operation::Chat);
    let grounded = r#""groundingMetadata":{"searchEntryPoint":{"renderedContent":"a"},"retrievalQueries":["b"],"webSearchQueries":["one","","two, longer than sixteen"]},"safetyRatings":[{"category":"c"}]"#;
    for (model, searches) in [("gemini-3-flash-preview", 2), ("gemini-2.5-pro", 1)] {
        let answer = format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"webSearchQueries"}}],"role":"model"}},"finishReason":"STOP",{grounded}}}],"usageMetadata":{{"promptTokenCount":5}},"modelVersion":"{model}"}}"#
        );
        let right = Some(Usage { input: Some(5), web_searches: Some(searches), ..Usage::default() });
        assert_eq!(json(gemini, &answer).usage, right, "{answer}");
        assert_eq!(stream(gemini, &format!("data: {answer}\n\n")).usage, right, "{answer}");
    }
}

#[test]
fn the_service_tier_is_read_where_it_stands() {
    let gemini = (Dialect::Gemini, Operation::Chat);
    for (said, tier) in [
        (r#""serviceTier":"standard""#, Some("default")),
        (r#""serviceTier":"FLEX""#, Some("flex")),
        (r#""trafficType":"ON_DEMAND_PRIORITY""#, Some("priority")),
        (r#""trafficType":"ON_DEMAND_FLEX""#, Some("flex")),
        (r#""trafficType":"ON_DEMAND""#, None),
        (r#""trafficType":"PROVISIONED_THROUGHPUT""#, None),
    ] {
        let parts = r#""candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]"#;
        let answer = format!(r#"{{{parts},"usageMetadata":{{"promptTokenCount":1,{said}}}}}"#);
        assert_eq!(json(gemini, &answer).service_tier.as_deref(), tier, "{answer}");
        assert_eq!(stream(gemini, &format!("data: {answer}\n\n")).service_tier.as_deref(), tier, "{answer}");
    }
    let bedrock = |tier: &str| {
        let answer = format!(r#"{{"output":{{"message":{{}}}},"usage":{{"inputTokens":1}},"serviceTier":{tier}}}"#);
        json((Dialect::Bedrock, Operation::Chat), &answer).service_tier
    };
    assert_eq!(bedrock(r#"{"type":"priority"}"#).as_deref(), Some("priority"));
    assert_eq!((bedrock("null"), bedrock("7")), (None, None));
}

#[test]
fn opaque_answers_are_counted() {
    let (out, seen) = feed((Dialect::OpenAiChat, Operation::Speech), AnswerForm::Opaque, true, &[b"\0\xff", b"", b"x"]);
    assert_eq!((out.as_slice(), seen.outputs, seen.complete, seen.cut), (&b"\0\xffx"[..], 2, true, false));
}

#[test]
fn hidden_usage_is_gone_and_nothing_else() {
    let text = chunk("{\"content\":\"a\"}");
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\n";
    let azure = "data: {\"choices\":[],\"prompt_filter_results\":[],\"usage\":null}\r\n\r\n";
    let finish = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1}}\n\n";
    for end in ["data: [DONE]\n\n", "data: [DONE]", ""] {
        let whole = format!("{azure}: hi\n\n{text}{finish}{usage}{end}");
        let expected = whole.replace(usage, "");
        for at in 0..=whole.len() {
            let (out, seen) = feed(CHAT, AnswerForm::Stream, true, &[&whole.as_bytes()[..at], &whole.as_bytes()[at..]]);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "cut at {at}");
            assert_eq!(seen.usage.unwrap().total(), Some(3));
        }
    }
    // An error that comes with usage is not hidden, nor is the last event of a stream without its line ends lost.
    let error = "data: {\"choices\":[],\"usage\":{},\"error\":{\"message\":\"m\"}}";
    assert_eq!(feed(CHAT, AnswerForm::Stream, true, &[error.as_bytes()]).0, error.as_bytes());
    let bare = usage.trim_end();
    assert_eq!(feed(CHAT, AnswerForm::Stream, true, &[bare.as_bytes()]).0, b"");
}

#[test]
fn an_ordinary_chunk_is_not_copied() {
    for hide_usage in [false, true] {
        let mut observer = Observer::new(CHAT.0, CHAT.1, AnswerForm::Stream, hide_usage);
        for _ in 0..3 {
            let input = Bytes::from(chunk("{\"content\":\"a\"}").repeat(2));
            let output = observer.feed(input.clone(), false);
            assert_eq!((output.as_ptr(), output.len()), (input.as_ptr(), input.len()));
        }
    }
}

#[test]
fn an_event_over_the_limit_is_passed_on_and_not_kept() {
    for hide_usage in [false, true] {
        let mut observer = Observer::new(CHAT.0, CHAT.1, AnswerForm::Stream, hide_usage);
        let part = Bytes::from(vec![b'a'; 1 << 20]);
        let mut passed = observer.feed(Bytes::from_static(b"data: {\"x\":\""), false).len();
        for _ in 0..40 {
            passed += observer.feed(part.clone(), false).len();
        }
        assert_eq!((passed, observer.mid_event()), (12 + (40 << 20), true));
        assert_eq!(observer.feed(Bytes::from_static(b"\"}\n\n"), false), "\"}\n\n");
        assert_eq!(observer.feed(Bytes::from_static(b"data: [DONE]\n\n"), true), "data: [DONE]\n\n");
        let seen = observer.seen();
        assert_eq!((seen.unreadable, seen.complete, observer.mid_event()), (1, true, false));
    }
}

#[test]
fn the_rest_of_a_broken_event_stays_behind() {
    for hide_usage in [false, true] {
        let mut observer = Observer::new(CHAT.0, CHAT.1, AnswerForm::Stream, hide_usage);
        assert_eq!(observer.feed(Bytes::from_static(b": hi\n\ndata: {"), false), ": hi\n\n");
        assert_eq!(observer.feed(Bytes::new(), true), "");
        assert!(!observer.mid_event() && observer.seen().cut);
    }
}

/// Text that looks enough like the real thing to reach the code behind it.
fn fragments() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let known = prop::sample::select(vec![
        "data: ",
        "event: error\n",
        "event: response.completed\n",
        "event: message_delta\n",
        "event: content_block_delta\n",
        "\n\n",
        "\r\n\r\n",
        "\r",
        "{\"choices\":[",
        "{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}",
        "{\"index\":1,\"finish_reason\":\"stop\"}",
        "]",
        ",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":18446744073709551615}",
        "}",
        "\"error\":",
        "[DONE]",
        "{\"type\":\"message_stop\"}",
        "{\"delta\":{\"text\":\"\u{fc}\"}}",
        "{\"response\":{\"usage\":{\"input_tokens\":1e300}}}",
        "\"",
        "\\",
        "{",
        "[",
        ":",
        ",",
        "\u{feff}",
        "null",
    ]);
    let piece = prop_oneof![
        6 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(piece, 0..40)
}

fn dialect_and_operation() -> impl Strategy<Value = (Dialect, Operation)> {
    (prop::sample::select(Dialect::ALL.to_vec()), prop::sample::select(Operation::ALL.to_vec()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_comes_goes(chunks in fragments(), what in dialect_and_operation(), form in prop::sample::select(vec![AnswerForm::Json, AnswerForm::Stream, AnswerForm::Opaque])) {
        let input = chunks.concat();
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let (out, seen) = feed(what, form, false, &chunks);
        if seen.unreadable > 0 && form == AnswerForm::Stream {
            let mut rest = input.iter();
            prop_assert!(out.iter().all(|byte| rest.any(|other| other == byte)), "malformed events are left out, no more");
        } else if seen.cut && form == AnswerForm::Stream {
            prop_assert!(input.starts_with(&out));
        } else {
            prop_assert_eq!(&out, &input);
        }
        prop_assert!(seen.complete || seen.cut || seen.error.is_some());
        if form != AnswerForm::Opaque {
            // The cut does not matter.
            prop_assert_eq!(feed(what, form, false, &[&input]).1.usage, seen.usage);
            prop_assert_eq!(feed(what, form, false, &[&input]).1.complete, seen.complete);
        }
    }

    #[test]
    fn hiding_only_ever_takes_whole_events_out(chunks in fragments()) {
        let input = chunks.concat();
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let (out, seen) = feed(CHAT, AnswerForm::Stream, true, &chunks);
        prop_assert!(out.len() <= input.len());
        prop_assert_eq!(feed(CHAT, AnswerForm::Stream, false, &chunks).1, seen.clone());
        if seen.usage.is_none() && !String::from_utf8_lossy(&input).contains("usage") {
            prop_assert_eq!(out, feed(CHAT, AnswerForm::Stream, false, &chunks).0);
        }
    }
}

/// What comes out of a stream whose key is `t0ken-1`, whole and in two pieces cut at every byte.
fn masked(dialect: Dialect, stream: &[u8]) -> Vec<u8> {
    let masked = |chunks: &[&[u8]]| -> Vec<u8> {
        let mut observer = Observer::new(dialect, Operation::Chat, AnswerForm::Stream, false);
        let feed = |(at, chunk): (usize, &&[u8])| {
            let out = observer.feed(Bytes::copy_from_slice(chunk), at + 1 == chunks.len());
            observer.masked(out, [&b"t0ken-1"[..]].into_iter())
        };
        chunks.iter().enumerate().flat_map(feed).collect()
    };
    let whole = masked(&[stream]);
    for at in 0..stream.len() {
        assert!(masked(&[&stream[..at], &stream[at..]]) == whole, "{dialect} cut at {at}");
    }
    whole
}

#[test]
fn errors_in_streams_do_not_tell_the_gateways_secrets_and_nothing_else_changes() {
    use Dialect::{Anthropic, Cohere, Gemini, OpenAiChat, OpenAiResponses};
    const SAID: &str = "t0ken-1 and sk-abcdefgh12 of org-AbC123xyz";
    const TOLD: &str = "******* and sk-********** of org-*********";
    let text = |before: &str, after: &str| (format!("{before}{SAID}{after}"), format!("{before}{SAID}{after}"));
    let error = |before: &str, after: &str| (format!("{before}{SAID}{after}"), format!("{before}{TOLD}{after}"));
    let twice = |before: &str, between: &str, after: &str| {
        let of = |word: &str| format!("{before}{word}{between}{word}{after}");
        (of(SAID), of(TOLD))
    };
    for (dialect, events) in [
        (
            OpenAiChat,
            vec![
                text("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"", "\"},\"finish_reason\":null}]}\n\n"),
                error(
                    "data: {\"error\":{\"message\":\"",
                    "\"},\"choices\":[{\"index\":0,\"delta\":{\"content\":\"org-AbC123xyz\"}}]}\r\n\r\n",
                ),
                twice(
                    "data: {\"error\":{\"message\":\"",
                    "\"},\"choices\":[{\"index\":0,\"error\":{\"message\":\"",
                    "\"}}]}\n\n",
                ),
                error(
                    "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"error\",\"error\":{\"message\":\"",
                    "\"},\"delta\":{\"content\":\"org-AbC123xyz\"}}]}\n\n",
                ),
                text("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"", "\"},\"finish_reason\":null}]}\n\n"),
                error(
                    "event: error\ndata: {\"message\":\n\ndata: {\"x\":1}\n\nevent: error\ndata: {\"message\":\ndata: \"",
                    "\"}\n\n",
                ),
                error("event: error\ndata: {\"message\":\"", "\"}"),
            ],
        ),
        (
            OpenAiResponses,
            vec![
                text("data: {\"type\":\"response.output_text.delta\",\"delta\":\"", "\"}\n\n"),
                error("event: error\ndata: {\"type\":\"error\",\"message\":\"", "\"}\n\n"),
                error(
                    "data: {\"type\":\"response.failed\",\"response\":{\"instructions\":\"org-AbC123xyz\",\"error\":{\"message\":\"",
                    "\"}}}\n\n",
                ),
            ],
        ),
        (
            Anthropic,
            vec![
                text(
                    "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"",
                    "\"}}\n\n",
                ),
                error("event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"", "\"}}\n\n"),
            ],
        ),
        (
            Gemini,
            vec![
                text("data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"", "\"}]}}]}\n\n"),
                error("data: {\"error\":{\"code\":503,\"message\":\"", "\"}}\n\n"),
            ],
        ),
        (
            Cohere,
            vec![
                text(
                    "data: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"",
                    "\"}}}}\n\n",
                ),
                error(
                    "data: {\"type\":\"message-end\",\"delta\":{\"error\":\"",
                    "\",\"finish_reason\":\"ERROR\"}}\n\n",
                ),
            ],
        ),
    ] {
        let sent: String = events.iter().map(|(sent, _)| &**sent).collect();
        let wanted: String = events.iter().map(|(_, wanted)| &**wanted).collect();
        // An event that is no JSON stays behind.
        let wanted = wanted.replace("event: error\ndata: {\"message\":\n\n", "");
        assert_eq!(String::from_utf8(masked(dialect, sent.as_bytes())).unwrap(), wanted, "{dialect}");
    }
    let frames = |told: &str| {
        let mut frames = Vec::new();
        let delta = format!("{{\"contentBlockIndex\":0,\"delta\":{{\"text\":\"{SAID}\"}}}}");
        write_event(&mut frames, "contentBlockDelta", |out| out.extend_from_slice(delta.as_bytes()));
        let error = format!("{{\"message\":\"{told}\"}}");
        write_exception(&mut frames, "modelStreamErrorException", |out| out.extend_from_slice(error.as_bytes()));
        frames
    };
    assert!(masked(Dialect::Bedrock, &frames(SAID)) == frames(TOLD));
}
