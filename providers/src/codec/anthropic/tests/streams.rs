//! Streams that the recordings lack, and the exact events that are written.

use bounded_static::IntoBoundedStatic as _;
use serde_json::{Value, json};

use super::super::super::testing::{check_cuts, check_no_false_end, client, collected, events, maker};
use super::super::super::{StreamDecoder, codec};
use super::super::OWN;
use crate::common::{Block, Content, Delta, Event, Losses, Opaque, ProviderTag, Reasoning, Stop, StopReason, ToolCall};
use crate::dialect::Dialect;
use crate::error::{ApiError, ErrorKind};
use crate::usage::Usage;

fn sse(events: &[Value]) -> Vec<u8> {
    events
        .iter()
        .flat_map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()).into_bytes())
        .collect()
}

fn decoder() -> Box<dyn StreamDecoder> {
    codec(OWN).stream_decoder(&maker())
}

fn start() -> Value {
    json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 5, "output_tokens": 3}}})
}

fn block(index: u32, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u32, delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn stop(index: u32) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn end(reason: &str) -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null, "container": {"id": "c"}},
            "usage": {"output_tokens": 9}, "context_management": {"applied_edits": []}}),
        json!({"type": "message_stop"}),
    ]
}

#[test]
fn all_deltas_add_up() {
    let mut all = vec![
        start(),
        json!({"type": "ping"}),
        block(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, &json!({"type": "thinking_delta", "thinking": "be"})),
        delta(0, &json!({"type": "thinking_delta", "thinking": "cause"})),
        delta(0, &json!({"type": "signature_delta", "signature": "Eq=="})),
        stop(0),
        block(1, &json!({"type": "redacted_thinking", "data": "Em=="})),
        stop(1),
        block(2, &json!({"type": "text", "text": ""})),
        delta(2, &json!({"type": "text_delta", "text": "hi"})),
        delta(2, &json!({"type": "citations_delta", "citation": {"type": "page_location", "cited_text": "x"}})),
        stop(2),
        block(3, &json!({"type": "tool_use", "id": "t1", "name": "f", "input": {}})),
        delta(3, &json!({"type": "input_json_delta", "partial_json": "{\"a\":"})),
        delta(3, &json!({"type": "input_json_delta", "partial_json": "1}"})),
        stop(3),
        block(4, &json!({"type": "tool_use", "id": "t2", "name": "g", "input": {}})),
        delta(4, &json!({"type": "input_json_delta", "partial_json": ""})),
        stop(4),
        block(5, &json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
        delta(5, &json!({"type": "input_json_delta", "partial_json": "{\"query\":\"q\"}"})),
        stop(5),
        block(6, &json!({"type": "compaction", "content": null})),
        delta(6, &json!({"type": "compaction_delta", "content": "so far"})),
        stop(6),
        json!({"type": "novelty", "x": 1}),
    ];
    all.extend(end("tool_use"));
    let body = sse(&all);
    let response = collected(OWN, &events(&mut *decoder(), &body)).unwrap();
    let whole = json!({
        "id": "m", "type": "message", "role": "assistant", "model": "c", "stop_reason": "tool_use", "stop_sequence": null,
        "content": [
            {"type": "thinking", "thinking": "because", "signature": "Eq=="},
            {"type": "redacted_thinking", "data": "Em=="},
            {"type": "text", "text": "hi", "citations": [{"type": "page_location", "cited_text": "x"}]},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a":1}},
            {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
            {"type": "compaction", "content": "so far"}
        ],
        "usage": {"input_tokens": 5, "output_tokens": 9}, "container": {"id": "c"}, "context_management": {"applied_edits": []}
    })
    .to_string();
    assert_eq!(response, codec(OWN).decode_response(whole.as_bytes(), &maker()).unwrap().into_static());
    check_cuts(decoder, OWN, &body);
    check_no_false_end(decoder, OWN, &body);
    // The placeholder of `message_start` is no output.
    let first = events(&mut *decoder(), &body).into_iter().find_map(|event| match event {
        Event::Usage(usage) => Some(usage),
        _ => None,
    });
    assert_eq!(first, Some(Usage { input: Some(5), ..Usage::default() }));

    // Written again it is the same stream to a client.
    let (mut encoder, mut out, mut losses) = (codec(OWN).stream_encoder(&client()), Vec::new(), Losses::default());
    for event in events(&mut *decoder(), &body) {
        encoder.encode(event, &mut losses, &mut out);
    }
    assert!(losses.is_empty(), "{losses:?}");
    assert_eq!(collected(OWN, &events(&mut *decoder(), &out)).unwrap(), response);
}

/// Bedrock's streams are read and written for Anthropic's own clients too; the next turn is refused without all of it.
#[test]
fn a_compaction_comes_as_it_was_made() {
    let summary = json!({"type": "compaction_delta", "content": "summary", "encrypted_content": "ENC==", "new": [1]});
    for (reason, summary) in [
        ("compaction", summary),
        ("novelty", json!({"type": "compaction_delta", "content": null, "encrypted_content": null})),
    ] {
        let mut all = vec![
            start(),
            block(0, &json!({"type": "compaction", "content": null, "signature": "S=="})),
            delta(0, &summary),
            stop(0),
        ];
        all.extend(end(reason));
        let (mut encoder, mut out, mut losses) = (codec(OWN).stream_encoder(&client()), Vec::new(), Losses::default());
        for event in events(&mut *decoder(), &sse(&all)) {
            encoder.encode(event, &mut losses, &mut out);
        }
        let text = String::from_utf8(out).unwrap();
        let written: Vec<Value> =
            text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
        let of_sort = |kind: &str| written.iter().find(|event| event["type"] == kind).unwrap();
        assert_eq!(of_sort("content_block_delta")["delta"], summary);
        assert_eq!(of_sort("message_delta")["delta"]["stop_reason"], reason);
        assert!(losses.is_empty(), "{losses:?}");
    }
}

#[test]
fn what_is_broken_never_looks_whole() {
    let text = block(0, &json!({"type": "text", "text": ""}));
    let said = delta(0, &json!({"type": "text_delta", "text": "hi"}));
    let failure = |events: &[Value]| {
        collected(OWN, &super::super::super::testing::events(&mut *decoder(), &sse(events))).unwrap_err().kind
    };
    let [ending, marker] = end("end_turn");
    assert_eq!(failure(&[start(), text.clone(), said.clone()]), ErrorKind::StreamCut);
    assert_eq!(failure(&[start(), text.clone(), said.clone(), stop(0), ending.clone()]), ErrorKind::StreamCut);
    assert_eq!(failure(&[start(), text.clone(), said.clone(), stop(0), marker.clone()]), ErrorKind::StreamCut);
    assert_eq!(failure(&[]), ErrorKind::StreamCut);
    let odd = delta(0, &json!({"type": "text_delta", "text": 7}));
    assert_eq!(failure(&[start(), text.clone(), odd, ending.clone(), marker.clone()]), ErrorKind::UpstreamError);
    let lost = delta(4, &json!({"type": "input_json_delta", "partial_json": "{"}));
    assert_eq!(failure(&[start(), text.clone(), lost, ending.clone(), marker.clone()]), ErrorKind::UpstreamError);
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    assert_eq!(failure(&[start(), text, said, error]), ErrorKind::Overloaded);
}

#[test]
fn odd_vendors_are_understood() {
    // No event names, no start of the text, a call whose input comes at once, no end of blocks, usage only at the end.
    let all = [
        json!({"type": "message_start", "message": {"id": "m", "model": "c"}}),
        delta(0, &json!({"type": "text_delta", "text": "hi"})),
        block(1, &json!({"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}})),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"input_tokens": 2, "output_tokens": 3}}),
        json!({"type": "message_stop"}),
    ];
    let body: String = all.iter().map(|event| format!("data: {event}\n\n")).collect();
    let response = collected(OWN, &events(&mut *decoder(), body.as_bytes())).unwrap();
    let Content::ToolCall(call) = &response.choices[0].blocks[1].content else { panic!() };
    assert_eq!(&*call.arguments, r#"{"a":1}"#);
    assert_eq!(response.choices[0].blocks[0], Block::text("hi"));
    assert_eq!(response.usage.unwrap().total(), Some(5));
    check_cuts(decoder, OWN, body.as_bytes());
}

fn written(events: Vec<Event<'static>>) -> (String, Vec<String>) {
    let (mut encoder, mut out, mut losses) = (codec(OWN).stream_encoder(&client()), Vec::new(), Losses::default());
    for event in events {
        encoder.encode(event, &mut losses, &mut out);
    }
    (String::from_utf8(out).unwrap(), losses.iter().map(|loss| loss.field.clone()).collect())
}

fn call(id: &'static str) -> Block<'static> {
    Block::new(Content::ToolCall(Box::new(ToolCall { id: id.into(), name: "f".into(), ..ToolCall::default() })))
}

/// Clients show how full the window is from the stream's beginning.
#[test]
fn a_stream_begins_with_the_prompts_tokens_if_they_are_known() {
    let began = |given: Vec<Event<'static>>| {
        let (mut encoder, mut out) = (codec(OWN).stream_encoder(&client()), Vec::new());
        for event in given {
            encoder.encode(event, &mut Losses::default(), &mut out);
        }
        let text = String::from_utf8(out).unwrap();
        let start: Value = serde_json::from_str(text.split("data: ").nth(1).unwrap().trim_end()).unwrap();
        start["message"]["usage"]["input_tokens"].clone()
    };
    assert_eq!(began(vec![Event::Start { id: None, model: None, created: None }]), 0);
    let mut own = Vec::new();
    decoder().feed(&sse(&[start()]), false, &mut |event| own.push(event.into_static()));
    assert_eq!(began(own), 5);
}

#[test]
fn another_dialects_stream_becomes_the_exact_grammar() {
    let at = |index, delta| Event::Delta { choice: 0, index, delta };
    let thought = Block::new(Content::Reasoning(Box::default()));
    let (out, lost) = written(vec![
        Event::Start { id: Some("chatcmpl-1".into()), model: Some("gpt".into()), created: Some(1) },
        Event::BlockStart { choice: 0, index: 0, block: thought },
        at(0, Delta::Reasoning("hm".into())),
        Event::BlockStart { choice: 0, index: 1, block: call("a") },
        Event::BlockStart { choice: 0, index: 2, block: call("b") },
        at(2, Delta::Arguments("{}".into())),
        at(1, Delta::Arguments("{\"x\":".into())),
        Event::Ping,
        at(1, Delta::Arguments("1}".into())),
        Event::Stop { choice: 0, stop: Stop::new(StopReason::ToolCalls), extras: Vec::new() },
        Event::Usage(Usage {
            input: Some(10),
            cache_read: Some(4),
            output: Some(6),
            reasoning: Some(2),
            ..Usage::default()
        }),
        Event::End,
    ]);
    assert!(lost.is_empty());
    insta::assert_snapshot!(out);
    let again = collected(OWN, &events(&mut *decoder(), out.as_bytes())).unwrap();
    assert_eq!(again.choices[0].blocks.len(), 3);
}

#[test]
fn bare_and_empty_streams_have_a_frame() {
    let (out, _) = written(vec![Event::End]);
    let names: Vec<_> = out.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(names, ["message_start", "message_delta", "message_stop"]);
    assert!(out.contains(r#""id":"msg_req1""#) && out.contains(r#""model":"public""#));
    collected(OWN, &events(&mut *decoder(), out.as_bytes())).unwrap();

    let (out, _) = written(vec![
        Event::BlockStart { choice: 0, index: 0, block: Block::text("hi") },
        Event::Error(ApiError::new(ErrorKind::StreamCut, "cut")),
        Event::End,
    ]);
    let names: Vec<_> = out.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(names, ["message_start", "content_block_start", "content_block_delta", "error"]);
}

#[test]
fn reasoning_of_others_comes_with_its_ticket() {
    let state = |dialect| Opaque::made_by(dialect, Some(ProviderTag::of("o")), "enc".into());
    let reasoning = |reasoning| Block::new(Content::Reasoning(Box::new(reasoning)));
    let at = |index, delta| Event::Delta { choice: 0, index, delta };
    let (out, _) = written(vec![
        Event::BlockStart { choice: 0, index: 0, block: reasoning(Reasoning::default()) },
        at(0, Delta::Summary { part: 0, text: "one".into() }),
        at(0, Delta::Summary { part: 1, text: "two".into() }),
        at(0, Delta::Encrypted(state(Dialect::OpenAiResponses))),
        Event::BlockEnd { choice: 0, index: 0 },
        Event::BlockStart { choice: 0, index: 1, block: reasoning(Reasoning::default()) },
        at(1, Delta::Encrypted(state(Dialect::OpenAiResponses))),
        Event::BlockEnd { choice: 0, index: 1 },
        Event::BlockStart { choice: 0, index: 2, block: reasoning(Reasoning::default()) },
        Event::BlockEnd { choice: 0, index: 2 },
        Event::End,
    ]);
    let response = collected(OWN, &events(&mut *decoder(), out.as_bytes())).unwrap();
    let blocks = &response.choices[0].blocks;
    assert_eq!(blocks.len(), 2);
    let Content::Reasoning(first) = &blocks[0].content else { panic!() };
    assert_eq!(&*first.text, "one\n\ntwo");
    // What the client sends back is opened again.
    let ticket = first.signature.as_ref().unwrap().data.clone();
    assert_eq!(Opaque::from_client(OWN, ticket), state(Dialect::OpenAiResponses));
    let Content::Reasoning(second) = &blocks[1].content else { panic!() };
    let ticket = second.encrypted.as_ref().unwrap().data.clone();
    assert_eq!(Opaque::from_client(OWN, ticket), state(Dialect::OpenAiResponses));
}

#[test]
fn custom_calls_are_wrapped() {
    let custom = Block::new(Content::ToolCall(Box::new(ToolCall {
        id: "c".into(),
        name: "p".into(),
        custom: true,
        ..ToolCall::default()
    })));
    let (out, _) = written(vec![
        Event::BlockStart { choice: 0, index: 0, block: custom },
        Event::Delta { choice: 0, index: 0, delta: Delta::Arguments("a\"b".into()) },
        Event::Delta { choice: 0, index: 0, delta: Delta::Arguments("\n".into()) },
        Event::End,
    ]);
    let response = collected(OWN, &events(&mut *decoder(), out.as_bytes())).unwrap();
    let Content::ToolCall(call) = &response.choices[0].blocks[0].content else { panic!() };
    assert_eq!(serde_json::from_str::<Value>(&call.arguments).unwrap(), json!({"input": "a\"b\n"}));
}

#[test]
fn noise_never_panics_and_always_ends() {
    let mut all = vec![
        start(),
        block(0, &json!({"type": "server_tool_use", "id": "s", "name": "n", "input": {}})),
        delta(0, &json!({"type": "input_json_delta", "partial_json": "{\"q\":1}"})),
        stop(0),
        block(1, &json!({"type": "text", "text": "a"})),
        delta(1, &json!({"type": "text_delta", "text": "hi"})),
    ];
    all.extend(end("end_turn"));
    let body = sse(&all);
    let mut random = 7_u32;
    for _ in 0..2000 {
        let mut noisy = body.clone();
        for _ in 0..3 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = random as usize % noisy.len();
            noisy[at] = b"{}[]\",:\n0atx\\\xff"[(random >> 24) as usize % 14];
        }
        let events = events(&mut *decoder(), &noisy);
        let ends = events.iter().filter(|event| matches!(event, Event::End | Event::Error(_))).count();
        assert_eq!(ends, 1);
        let (mut encoder, mut out) = (codec(OWN).stream_encoder(&client()), Vec::new());
        for event in events {
            encoder.encode(event, &mut Losses::default(), &mut out);
        }
    }
}
