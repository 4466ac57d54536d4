//! How answers end: as a model ends them, by a filter, by an error, or not yet.

use super::*;

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
