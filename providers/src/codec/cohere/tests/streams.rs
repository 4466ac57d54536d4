use serde_json::{Value, json};

use super::{OWN, answer, texts};
use crate::codec::codec;
use crate::codec::testing::{check_cuts, check_no_false_end, check_own_answer, client, collected, events, maker};
use crate::common::{Delta, Event, Losses, Response, StopReason, take_apart};
use crate::dialect::Dialect;
use crate::error::{ApiError, ErrorKind};

fn stream(events: &[Value]) -> String {
    events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("x"))).collect()
}

fn read(body: &str) -> Vec<Event<'static>> {
    events(&mut *codec(OWN).stream_decoder(&maker()), body.as_bytes())
}

fn whole(body: &str) -> Response<'static> {
    collected(OWN, &read(body)).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn message(message: Value) -> Value {
    json!({"message": message})
}

fn start() -> Value {
    let empty = json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
    json!({"type": "message-start", "id": "r1", "delta": {"message": empty}})
}

fn content(kind: &str, index: u64, pieces: &[&str]) -> Vec<Value> {
    let mut all = vec![
        json!({"type": "content-start", "index": index, "delta": message(json!({"content": {"type": kind, kind: ""}}))}),
    ];
    all.extend(pieces.iter().map(
        |piece| json!({"type": "content-delta", "index": index, "delta": message(json!({"content": {kind: piece}}))}),
    ));
    all.push(json!({"type": "content-end", "index": index}));
    all
}

fn call(index: u64, id: &str, pieces: &[&str]) -> Vec<Value> {
    let function = json!({"id": id, "type": "function", "function": {"name": "f", "arguments": ""}});
    let mut all =
        vec![json!({"type": "tool-call-start", "index": index, "delta": message(json!({"tool_calls": function}))})];
    all.extend(pieces.iter().map(|piece| {
        json!({"type": "tool-call-delta", "index": index, "delta": message(json!({"tool_calls": {"function": {"arguments": piece}}}))})
    }));
    all.push(json!({"type": "tool-call-end", "index": index}));
    all
}

fn plan(pieces: &[&str]) -> Vec<Value> {
    let event = |piece: &&str| json!({"type": "tool-plan-delta", "delta": message(json!({"tool_plan": piece}))});
    pieces.iter().map(event).collect()
}

fn cited(citation: &Value) -> Vec<Value> {
    vec![
        json!({"type": "citation-start", "index": 0, "delta": message(json!({"citations": citation}))}),
        json!({"type": "citation-end", "index": 0}),
    ]
}

fn end(reason: &str) -> Value {
    let usage = json!({"billed_units": {"input_tokens": 7, "output_tokens": 5}, "tokens": {"input_tokens": 9, "output_tokens": 6}, "cached_tokens": 3});
    json!({"type": "message-end", "delta": {"finish_reason": reason, "usage": usage}})
}

fn citation() -> Value {
    json!({"start": 0, "end": 2, "text": "Hi", "content_index": 1, "type": "TEXT_CONTENT",
        "sources": [{"type": "document", "id": "d", "document": {"title": "T"}}, {"type": "tool", "id": "t", "tool_output": {}}]})
}

/// Streams of each sort, and the answers that they are.
pub(super) fn pairs() -> Vec<(String, Value)> {
    let usage = &end("")["delta"]["usage"];
    let answer =
        |reason: &str, message: Value| json!({"id": "r1", "finish_reason": reason, "message": message, "usage": usage});
    let made = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let thinking = content("thinking", 0, &["Let me", " see."]);
    vec![
        (
            stream(
                &[
                    vec![start()],
                    thinking.clone(),
                    content("text", 1, &["Hi", "!\n"]),
                    cited(&citation()),
                    vec![end("COMPLETE")],
                ]
                .concat(),
            ),
            answer(
                "COMPLETE",
                json!({"content": [{"type": "thinking", "thinking": "Let me see."}, {"type": "text", "text": "Hi!\n"}], "citations": [citation()]}),
            ),
        ),
        (
            stream(
                &[
                    vec![start()],
                    plan(&["I will ", "look."]),
                    call(0, "a", &["{\"q\"", ":1}"]),
                    call(1, "b", &[]),
                    vec![end("TOOL_CALL")],
                ]
                .concat(),
            ),
            answer(
                "TOOL_CALL",
                json!({"tool_plan": "I will look.", "tool_calls": [made("a", "{\"q\":1}"), made("b", "")]}),
            ),
        ),
        (
            stream(&[vec![start()], thinking, call(0, "a", &["{}"]), vec![end("TOOL_CALL")]].concat()),
            answer(
                "TOOL_CALL",
                json!({"content": [{"type": "thinking", "thinking": "Let me see."}], "tool_calls": [made("a", "{}")]}),
            ),
        ),
        (stream(&[start(), end("MAX_TOKENS")]), answer("MAX_TOKENS", json!({}))),
    ]
}

#[test]
fn a_stream_is_what_the_answer_would_have_been() {
    for (stream, body) in pairs() {
        let body = body.to_string();
        let wanted = answer(&body);
        for stream in [stream.clone(), format!("{stream}data: [DONE]\n\n"), stream.replace('\n', "\r\n")] {
            assert_eq!(whole(&stream), wanted, "{stream}");
        }
        check_cuts(|| codec(OWN).stream_decoder(&maker()), OWN, stream.as_bytes());
        check_no_false_end(|| codec(OWN).stream_decoder(&maker()), OWN, stream.as_bytes());
        check_own_answer(OWN, &wanted, &body);
    }
}

#[test]
fn odd_servers_are_understood() {
    // No starts and no ends, one index for both sorts of content, calls in lists, calls side by side, logprobs.
    let body = stream(&[
        json!({"type": "content-delta", "index": 0, "delta": message(json!({"content": {"thinking": "hm"}}))}),
        json!({"type": "content-delta", "index": 0, "delta": message(json!({"content": {"text": "Hi"}})), "logprobs": {"text": "Hi", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}}),
        json!({"type": "debug", "prompt": "p"}),
        json!({"type": "tool-call-start", "index": 1, "delta": message(json!({"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}))}),
        json!({"type": "tool-call-start", "index": 2, "delta": message(json!({"tool_calls": [{"id": "b", "function": {"name": "g"}}]}))}),
        json!({"type": "tool-call-delta", "index": 1, "delta": message(json!({"tool_calls": [{"function": {"arguments": "}"}}]}))}),
        json!({"type": "tool-call-delta", "index": 2, "delta": message(json!({"tool_calls": [{"function": {"arguments": "[]"}}]}))}),
        json!({"type": "message-end", "delta": {}}),
    ]) .replace("event: debug\n", "event: debug\ndata: {broken\n\n");
    let response = whole(&body);
    let calls = vec![
        ("call_seed_0".to_owned(), "f".to_owned(), "{}".to_owned()),
        ("b".to_owned(), "g".to_owned(), "[]".to_owned()),
    ];
    assert_eq!(texts(&response), ("Hi".to_owned(), "hm".to_owned(), calls));
    assert_eq!(response.choices[0].logprobs[0].logprob, -0.75);
    assert_eq!(response.choices[0].stop.reason, StopReason::End);
}

#[test]
fn failures_are_no_answers() {
    let begun = [vec![start()], content("text", 0, &["Hal"])].concat();
    let with = |last: Value| collected(OWN, &read(&stream(&[begun.clone(), vec![last]].concat()))).unwrap_err();
    let error = with(json!({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "it broke"}}));
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::UpstreamError, "it broke"));
    assert_eq!(
        with(json!({"type": "message-end", "delta": {"finish_reason": "TIMEOUT"}})).kind,
        ErrorKind::UpstreamTimeout
    );
    assert_eq!(with(json!({"type": "error", "message": "no"})).message, "no");
    assert_eq!(with(json!({"message": "no", "code": "x"})).message, "no");
    assert_eq!(with(json!({"type": "message-end", "delta": 7})).kind, ErrorKind::StreamCut);
    assert_eq!(with(json!({"type": "content-end", "index": 0})).kind, ErrorKind::StreamCut);
}

#[test]
fn a_late_citation_of_an_ended_text_is_kept() {
    let cites = json!({"start": 0, "end": 1, "content_index": 0, "sources": []});
    let body = stream(
        &[vec![start()], content("text", 0, &["A"]), content("text", 1, &["B"]), cited(&cites), vec![end("COMPLETE")]]
            .concat(),
    );
    let response = whole(&body);
    assert_eq!(response.choices[0].extras[0].0, "citations");
    let early = stream(&[vec![start()], content("text", 0, &["A"]), cited(&cites), vec![end("COMPLETE")]].concat());
    let events = read(&early);
    let at = |wanted: fn(&Event<'_>) -> bool| events.iter().position(wanted).unwrap();
    let citation = at(|event| matches!(event, Event::Delta { delta: Delta::Citation(_), .. }));
    assert!(citation < at(|event| matches!(event, Event::BlockEnd { .. })));
}

/// The whole of what is written, as a client of the SDK sees it.
#[test]
fn what_is_written() {
    let (_, body) = pairs().swap_remove(1);
    let body = body.to_string();
    let response = answer(&body);
    let (mut encoder, mut out, mut losses) = (codec(OWN).stream_encoder(&client()), Vec::new(), Losses::default());
    encoder.encode(Event::Ping, &mut losses, &mut out);
    take_apart(&response, &mut |event| encoder.encode(event, &mut losses, &mut out));
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn an_error_ends_a_written_stream_without_its_marker() {
    let (mut encoder, mut out, mut losses) = (codec(OWN).stream_encoder(&client()), Vec::new(), Losses::default());
    encoder.encode(Event::Error(ApiError::cut_short()), &mut losses, &mut out);
    encoder.encode(Event::End, &mut losses, &mut out);
    let body = String::from_utf8(out).unwrap();
    assert!(body.contains("\"finish_reason\":\"ERROR\"") && !body.contains("[DONE]"), "{body}");
    assert_eq!(collected(Dialect::Cohere, &read(&body)).unwrap_err().kind, ErrorKind::UpstreamError);
}
