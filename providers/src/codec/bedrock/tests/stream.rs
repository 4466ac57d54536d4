//! Streams that nobody recorded.

use serde_json::json;

use super::*;
use crate::common::{Block, Content, Delta, Json, Opaque, Reasoning, Response, Stop, StopReason, ToolCall};
use crate::error::ErrorKind;
use crate::event_stream::write_exception;

const START: (&str, &str) = ("messageStart", r#"{"role":"assistant","p":"abc"}"#);
const STOP: (&str, &str) = ("messageStop", r#"{"stopReason":"end_turn","p":"a"}"#);
const METADATA: (&str, &str) = (
    "metadata",
    r#"{"usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3},"metrics":{"latencyMs":5},
        "serviceTier":{"type":"flex"},"trace":{"promptRouter":{"invokedModelId":"x"}},"p":"a"}"#,
);

fn read(body: &[u8]) -> Result<Response<'static>, ApiError> {
    testing::collected(OWN, &testing::events(&mut *decoder(), body))
}

#[test]
fn a_stream_adds_up_to_the_answer_that_comes_whole() {
    // Numbers with gaps, a call without input, citations, tools that the provider runs, an image.
    let stream = frames(&[
        START,
        ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"text":"See"}}"#),
        (
            "contentBlockDelta",
            r#"{"contentBlockIndex":3,"delta":{"citation":{"title":"T","sourceContent":[{"text":"q"}],"location":{"web":{"url":"https://a/","domain":"a"}}}}}"#,
        ),
        ("contentBlockStop", r#"{"contentBlockIndex":3}"#),
        ("contentBlockStart", r#"{"contentBlockIndex":5,"start":{"toolUse":{"toolUseId":"t1","name":"now"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":5}"#),
        (
            "contentBlockStart",
            r#"{"contentBlockIndex":6,"start":{"toolUse":{"toolUseId":"s1","name":"nova_grounding","type":"server_tool_use"}}}"#,
        ),
        ("contentBlockDelta", r#"{"contentBlockIndex":6,"delta":{"toolUse":{"input":"{\"q\":"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":6,"delta":{"toolUse":{"input":"1}"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":6}"#),
        (
            "contentBlockStart",
            r#"{"contentBlockIndex":7,"start":{"toolResult":{"toolUseId":"s1","type":"x","status":"success"}}}"#,
        ),
        ("contentBlockDelta", r#"{"contentBlockIndex":7,"delta":{"toolResult":[{"json":{"a":1}}]}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":7}"#),
        ("contentBlockStart", r#"{"contentBlockIndex":8,"start":{"image":{"format":"png"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":8,"delta":{"image":{"source":{"bytes":"AAAA"}}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":8}"#),
        ("newEvent", "not even JSON"),
        STOP,
        METADATA,
    ]);
    let whole = json!({
        "output": {"message": {"role": "assistant", "content": [
            {"citationsContent": {"content": [{"text": "See"}], "citations": [
                {"title": "T", "sourceContent": [{"text": "q"}], "location": {"web": {"url": "https://a/", "domain": "a"}}},
            ]}},
            {"toolUse": {"toolUseId": "t1", "name": "now", "input": {}}},
            {"toolUse": {"toolUseId": "s1", "name": "nova_grounding", "type": "server_tool_use", "input": {"q": 1}}},
            {"toolResult": {"toolUseId": "s1", "type": "x", "status": "success", "content": [{"json": {"a": 1}}]}},
            {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
        ]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
        "metrics": {"latencyMs": 5},
        "serviceTier": {"type": "flex"},
        "trace": {"promptRouter": {"invokedModelId": "x"}},
    });
    let whole = whole.to_string();
    let whole = codec(OWN).decode_response(whole.as_bytes(), &testing::maker()).unwrap();
    assert_eq!(read(&stream).unwrap(), whole);
    testing::check_cuts(decoder, OWN, &stream);
    testing::check_no_false_end(decoder, OWN, &stream);
    testing::check_own_answer(OWN, &whole, "whole");
}

#[test]
fn the_end_is_the_stop_and_the_metadata_or_the_bodys_end() {
    let text = ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Hi"}}"#);
    let events = testing::events(&mut *decoder(), &frames(&[START, text, STOP]));
    assert_eq!(events.last(), Some(&Event::End));
    assert_eq!(read(&frames(&[START, text])).unwrap_err().kind, ErrorKind::StreamCut);
    assert_eq!(read(&frames(&[START, text, METADATA])).unwrap_err().kind, ErrorKind::StreamCut);
    assert_eq!(read(b"").unwrap_err().kind, ErrorKind::StreamCut);
    assert!(read(&frames(&[START, text, METADATA, STOP])).is_ok());
    // Text and citations at one number, reasoning that gives way to text under the same number.
    let reasoning = ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}"#);
    let response = read(&frames(&[reasoning, text, STOP, METADATA])).unwrap();
    assert_eq!(response.choices[0].blocks.len(), 2);
}

/// Found by the fuzzer: an answer written from it had two `usage`.
#[test]
fn what_an_answer_says_itself_is_no_extra_in_another_event() {
    let stop =
        ("messageStop", r#"{"stopReason":"end_turn","usage":{"inputTokens":9},"serviceTier":{"type":"flex"},"new":1}"#);
    for events in [[START, stop, METADATA], [START, METADATA, stop]] {
        let response = read(&frames(&events)).unwrap();
        let names: Vec<&str> =
            response.extras.iter().map(|(name, _)| &**name).filter(|name| *name != "trace").collect();
        assert_eq!(names, ["new"]);
        let body = codec(OWN).encode_response(&response, &testing::client(), &mut Losses::default());
        assert_eq!(String::from_utf8_lossy(&body).matches("\"usage\"").count(), 1);
    }
}

#[test]
fn what_is_damaged_or_unreadable_is_an_error() {
    let mut body = frames(&[START, ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Hi"}}"#), STOP]);
    let at = body.len() - 20;
    body[at] ^= 1;
    assert_eq!(read(&body).unwrap_err().kind, ErrorKind::UpstreamError);
    for broken in ["{", "[]", r#"{"contentBlockIndex":"x"}"#] {
        let body = frames(&[START, ("contentBlockDelta", broken), STOP, METADATA]);
        assert_eq!(read(&body).unwrap_err().kind, ErrorKind::UpstreamError, "{broken}");
    }
    let orphan = ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{}"}}}"#);
    assert_eq!(read(&frames(&[START, orphan, STOP, METADATA])).unwrap_err().kind, ErrorKind::UpstreamError);
    assert!(read(b"<html>503</html>xxxxxxxxx").is_err());
}

#[test]
fn exceptions_are_errors_of_their_kind() {
    for (name, message, kind) in [
        ("throttlingException", "slow down", ErrorKind::RateLimited),
        ("serviceUnavailableException", "busy", ErrorKind::Overloaded),
        ("internalServerException", "oops", ErrorKind::UpstreamError),
        ("modelStreamErrorException", "model", ErrorKind::UpstreamError),
        ("modelTimeoutException", "late", ErrorKind::UpstreamTimeout),
        ("validationException", "no", ErrorKind::InvalidRequest),
        ("validationException", "Input is too long for requested model.", ErrorKind::ContextLength),
    ] {
        let mut body = frames(&[START]);
        write_exception(&mut body, name, |out| {
            out.extend_from_slice(json!({"message": message}).to_string().as_bytes())
        });
        let error = read(&body).unwrap_err();
        assert_eq!((error.kind, &*error.message, error.status), (kind, message, 200), "{name}");
        assert_eq!(error.provider_type.as_deref(), Some(name));
        testing::check_cuts(decoder, OWN, &body);
    }
}

#[test]
fn every_error_is_an_exception_that_the_sdks_know() {
    let known = [
        "internalServerException",
        "modelStreamErrorException",
        "validationException",
        "throttlingException",
        "serviceUnavailableException",
    ];
    for &kind in ErrorKind::ALL {
        let (events, _) = streamed(vec![
            Event::Start { id: None, model: None, created: None },
            Event::Error(ApiError::new(kind, "why")),
        ]);
        assert_eq!(events.len(), 2);
        assert!(known.contains(&&*events[1].0), "{}", events[1].0);
    }
}

#[test]
fn an_empty_stream_has_its_whole_grammar() {
    let (events, _) = streamed(vec![Event::End]);
    let names: Vec<&str> = events.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["messageStart", "messageStop", "metadata"]);
    assert_eq!(events[1].1["stopReason"], "end_turn");
    assert_eq!(events[2].1["usage"], json!({"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}));
    assert_eq!(events[2].1["metrics"], json!({"latencyMs": 0}));
}

#[test]
fn overlapping_and_mixed_blocks_come_one_behind_the_other() {
    let encrypted = Opaque::made_by(Dialect::OpenAiResponses, None, "enc".into());
    let call = |index| Event::BlockStart {
        choice: 0,
        index,
        block: Block::new(Content::ToolCall(Box::new(crate::common::ToolCall {
            id: format!("bad id {index}").into(),
            name: "f".into(),
            ..Default::default()
        }))),
    };
    let delta = |index, delta| Event::Delta { choice: 0, index, delta };
    let (events, losses) = streamed(vec![
        Event::Ping,
        Event::BlockStart {
            choice: 0,
            index: 0,
            block: Block::new(Content::Reasoning(Box::<Reasoning<'_>>::default())),
        },
        delta(0, Delta::Summary { part: 0, text: "a".into() }),
        delta(0, Delta::Summary { part: 1, text: "b".into() }),
        delta(0, Delta::Encrypted(encrypted.clone())),
        Event::BlockEnd { choice: 0, index: 0 },
        call(1),
        call(2),
        delta(2, Delta::Arguments("{}".into())),
        delta(1, Delta::Arguments("{\"a\"".into())),
        Event::Usage(crate::usage::Usage { input: Some(1), output: Some(1), ..Default::default() }),
        delta(1, Delta::Arguments(":1}".into())),
        Event::Stop { choice: 0, stop: Stop::new(StopReason::ToolCalls), extras: Vec::new() },
        Event::End,
    ]);
    assert!(losses.is_empty(), "{losses:?}");
    let short: Vec<String> = events
        .iter()
        .map(|(name, payload)| {
            let number = payload.get("contentBlockIndex").map(ToString::to_string).unwrap_or_default();
            format!("{name}{number}")
        })
        .collect();
    assert_eq!(
        short.join(" ").replace("contentBlock", ""),
        "messageStart Delta0 Delta0 Stop0 Delta1 Stop1 Start2 Delta2 Delta2 Stop2 Start3 Delta3 Stop3 messageStop metadata"
    );
    let id = events[6].1["start"]["toolUse"]["toolUseId"].as_str().unwrap();
    assert!(id.starts_with("bad_id_1_") && id.len() < 64, "{id}");
    // What goes out as a ticket comes back to its maker.
    let ticket = events[4].1["delta"]["reasoningContent"]["redactedContent"].as_str().unwrap();
    assert_eq!(Opaque::from_client(OWN, ticket.into()), encrypted);
}

#[test]
fn what_a_stream_cannot_say_is_noted() {
    let (events, losses) = streamed(vec![
        Event::Logprobs { choice: 0, logprobs: Vec::new() },
        Event::Extras(vec![("system_fingerprint".into(), Json::of(&1))]),
        Event::Stop { choice: 1, stop: Stop::default(), extras: Vec::new() },
        Event::End,
    ]);
    assert_eq!(events.len(), 3);
    assert_eq!(losses.header_value(), "answer.logprobs,answer.choices,answer.system_fingerprint");
}

mod arbitrary {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn payloads_do_no_harm(events in prop::collection::vec((0usize..6, ".{0,60}"), 0..6), cut in 0usize..200) {
            let names = ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"];
            let events: Vec<(&str, &str)> = events.iter().map(|(at, payload)| (names[*at], &**payload)).collect();
            let body = frames(&events);
            let body = &body[..body.len().saturating_sub(cut)];
            let events = testing::events(&mut *decoder(), body);
            prop_assert!(matches!(events.last(), Some(Event::End | Event::Error(_))));
        }

        #[test]
        fn bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let events = testing::events(&mut *decoder(), &bytes);
            prop_assert!(matches!(events.last(), Some(Event::Error(_))));
            let _ = codec(OWN).decode_request(&bytes, &call());
            let _ = codec(OWN).decode_response(&bytes, &testing::maker());
        }
    }
}

#[test]
fn a_custom_tools_text_is_an_object_in_a_stream_as_in_a_whole_answer() {
    let call = ToolCall { id: "c".into(), name: "g".into(), custom: true, ..ToolCall::default() };
    let (events, _) = streamed(vec![
        Event::BlockStart { choice: 0, index: 0, block: Block::new(Content::ToolCall(Box::new(call))) },
        Event::Delta { choice: 0, index: 0, delta: Delta::Arguments("a\"".into()) },
        Event::Delta { choice: 0, index: 0, delta: Delta::Arguments("b\n".into()) },
        Event::BlockEnd { choice: 0, index: 0 },
        Event::End,
    ]);
    let input: String = events.iter().filter_map(|(_, event)| event["delta"]["toolUse"]["input"].as_str()).collect();
    assert_eq!(input, r#"{"input":"a\"b\n"}"#);
}
