//! Streams by hand.

use serde_json::{Value, json};

use super::super::OWN;
use super::{streamed, types};
use crate::codec::codec;
use crate::codec::testing::{check_cuts, check_no_false_end, collected, events, maker};
use crate::common::{
    Block, Citation, Content, Delta, Event, Opaque, ProviderTag, Reasoning, Stop, StopReason, Text, TokenLogprob,
    ToolCall,
};
use crate::dialect::Dialect;
use crate::error::{ApiError, ErrorKind};
use crate::usage::Usage;

fn stream(list: &[Value]) -> String {
    list.iter().map(|event| format!("data: {event}\n\n")).collect()
}

fn read(list: &[Value]) -> Result<crate::common::Response<'static>, ApiError> {
    let body = stream(list);
    let decoder = || codec(OWN).stream_decoder(&maker());
    check_cuts(decoder, OWN, body.as_bytes());
    collected(OWN, &events(&mut *decoder(), body.as_bytes()))
}

fn response(status: &str, output: Value) -> Value {
    json!({"id": "resp_1", "object": "response", "created_at": 5, "status": status, "model": "m", "output": output,
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}})
}

fn created() -> Value {
    json!({"type": "response.created", "response": response("in_progress", json!([]))})
}

fn completed(output: Value) -> Value {
    json!({"type": "response.completed", "response": response("completed", output)})
}

#[test]
fn vendors_may_leave_events_out() {
    let message = json!({"type": "message", "id": "msg_1", "role": "assistant", "content": [
        {"type": "output_text", "text": "hello", "annotations": [{"type": "url_citation", "url": "https://x", "title": "", "start_index": 0, "end_index": 1}]},
        {"type": "refusal", "refusal": "no"}]});
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "ab"}], "encrypted_content": "gAAA"});
    let call = json!({"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{\"a\":1}"});
    let custom = json!({"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "g", "input": "x"});
    let output = json!([reasoning, message, call, custom]);
    let whole = super::answer(&response("completed", output.clone()));
    let done =
        |index: usize| json!({"type": "response.output_item.done", "output_index": index, "item": output[index]});
    // Nothing at all; only the ends of items; deltas without the beginnings of items and parts, and the last one lost.
    let lists = [
        vec![completed(output.clone())],
        vec![created(), done(0), done(1), done(2), done(3), completed(json!([]))],
        vec![
            created(),
            json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "item_id": "rs_1", "summary_index": 0, "delta": "ab"}),
            json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "item_id": "msg_1", "delta": "hel"}),
            json!({"type": "response.refusal.delta", "output_index": 1, "content_index": 1, "item_id": "msg_1", "delta": "n"}),
            json!({"type": "response.function_call_arguments.delta", "output_index": 2, "item_id": "fc_1", "delta": "{}"}),
            json!("not an event"),
            json!({"type": "response.brand_new", "output_index": 1}),
            done(0),
            done(1),
            done(2),
            done(3),
            completed(output.clone()),
        ],
    ];
    for list in lists {
        assert_eq!(read(&list).unwrap(), whole);
        let body = stream(&list);
        check_no_false_end(|| codec(OWN).stream_decoder(&maker()), OWN, body.as_bytes());
    }
}

#[test]
fn every_error_is_an_error() {
    for (event, kind) in [
        (
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "m", "param": null}),
            ErrorKind::RateLimited,
        ),
        (
            json!({"type": "error", "error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "m"}}),
            ErrorKind::QuotaExceeded,
        ),
        (
            json!({"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error", "message": "m"}}}),
            ErrorKind::UpstreamError,
        ),
        (json!({"error": {"message": "m", "code": "context_length_exceeded"}}), ErrorKind::ContextLength),
    ] {
        let error = read(&[created(), event]).unwrap_err();
        assert_eq!((error.kind, &*error.message), (kind, "m"));
    }
    assert_eq!(read(&[created()]).unwrap_err().kind, ErrorKind::StreamCut);
    let nothing = events(&mut *codec(OWN).stream_decoder(&maker()), b"");
    assert_eq!(collected(OWN, &nothing).unwrap_err().kind, ErrorKind::StreamCut);
    let incomplete = json!({"type": "response.incomplete", "response": {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}});
    assert_eq!(read(&[incomplete]).unwrap().choices[0].stop.reason, StopReason::MaxTokens);
}

fn start(index: u32, content: Content<'static>) -> Event<'static> {
    Event::BlockStart { choice: 0, index, block: Block::new(content) }
}

fn delta(index: u32, delta: Delta<'static>) -> Event<'static> {
    Event::Delta { choice: 0, index, delta }
}

fn end(index: u32) -> Event<'static> {
    Event::BlockEnd { choice: 0, index }
}

fn call(id: &'static str, custom: bool) -> Content<'static> {
    Content::ToolCall(Box::new(ToolCall { id: id.into(), name: "f".into(), custom, ..ToolCall::default() }))
}

pub(super) fn claude() -> Vec<Event<'static>> {
    let signature = Opaque::made_by(Dialect::Anthropic, Some(ProviderTag::of("a")), "sig".into());
    let citation = Citation { url: Some("https://x".into()), ..Citation::default() };
    vec![
        Event::Start { id: Some("msg_01".into()), model: Some("claude".into()), created: None },
        start(0, Content::Reasoning(Box::<Reasoning<'_>>::default())),
        delta(0, Delta::Reasoning("be".into())),
        delta(0, Delta::Reasoning("cause".into())),
        delta(0, Delta::Signature(signature)),
        end(0),
        start(1, Content::Text(Text::default())),
        delta(1, Delta::Text("hi".into())),
        Event::Logprobs { choice: 0, logprobs: vec![TokenLogprob { token: "hi".into(), ..TokenLogprob::default() }] },
        delta(1, Delta::Citation(Box::new(citation))),
        end(1),
        start(2, Content::Text(Text::default())),
        delta(2, Delta::Text(" there".into())),
        Event::Ping,
        // Parallel calls overlap, and begin before the text has ended.
        start(3, call("c1", false)),
        end(2),
        start(4, call("c2", true)),
        delta(4, Delta::Arguments("x".into())),
        delta(3, Delta::Arguments("{\"a\":".into())),
        delta(3, Delta::Arguments("1}".into())),
        end(3),
        end(4),
        start(5, call("c3", false)),
        end(5),
        Event::Stop { choice: 0, stop: Stop::new(StopReason::ToolCalls), extras: Vec::new() },
        Event::Usage(Usage { input: Some(1), output: Some(2), ..Usage::default() }),
        Event::ServiceTier("default".into()),
        Event::End,
    ]
}

#[test]
fn the_whole_grammar_is_written() {
    let (events, losses) = streamed(claude());
    assert!(losses.is_empty(), "{losses:?}");
    let wanted = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.annotation.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_item.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.custom_tool_call_input.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.custom_tool_call_input.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ];
    let found = types(&events);
    for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert_eq!(*found, wanted, "event {at} of {found:?}");
    }
    assert_eq!(found.len(), wanted.len());
    // What each item's end tells is what the answer at the end repeats.
    let answer = &events.last().unwrap()["response"];
    let mut items: Vec<_> = events.iter().filter(|event| event["type"] == "response.output_item.done").collect();
    items.sort_by_key(|event| event["output_index"].as_u64());
    let items: Value = items.iter().map(|event| event["item"].clone()).collect();
    assert_eq!(answer["output"], items);
    let ticket = answer["output"][0]["encrypted_content"].clone();
    let text = |text: &str, annotations: Value, logprobs: Value| json!({"type": "output_text", "text": text, "annotations": annotations, "logprobs": logprobs});
    let citation = json!({"type": "url_citation", "url": "https://x", "title": "", "start_index": 0, "end_index": 2});
    let token = json!({"token": "hi", "logprob": 0.0, "bytes": [104, 105], "top_logprobs": []});
    let wanted = json!([
        {"type": "reasoning", "id": "rs_gw_req1_0", "summary": [{"type": "summary_text", "text": "because"}], "encrypted_content": ticket},
        {"type": "message", "id": "msg_gw_req1_1", "status": "completed", "role": "assistant",
            "content": [text("hi", json!([citation]), json!([token])), text(" there", json!([]), json!([]))]},
        {"type": "function_call", "id": "fc_gw_req1_2", "status": "completed", "call_id": "c1", "name": "f", "arguments": "{\"a\":1}"},
        {"type": "custom_tool_call", "id": "ctc_gw_req1_3", "status": "completed", "call_id": "c2", "name": "f", "input": "x"},
        {"type": "function_call", "id": "fc_gw_req1_4", "status": "completed", "call_id": "c3", "name": "f", "arguments": "{}"},
    ]);
    assert_eq!(answer["output"], wanted);
    assert_eq!(
        (&answer["id"], &answer["model"], &answer["service_tier"]),
        (&json!("resp_msg_01"), &json!("claude"), &json!("default"))
    );
    assert_eq!(answer["usage"]["total_tokens"], 3);
}

#[test]
fn nothing_but_an_end_is_an_answer_too() {
    let (events, _) = streamed(vec![Event::End]);
    assert_eq!(types(&events), ["response.created", "response.in_progress", "response.completed"]);
    let usage_first = vec![
        Event::Usage(Usage { input: Some(1), ..Usage::default() }),
        start(0, Content::Refusal("".into())),
        delta(0, Delta::Refusal("no".into())),
        Event::Stop { choice: 0, stop: Stop::new(StopReason::MaxTokens), extras: Vec::new() },
        Event::End,
    ];
    let (events, _) = streamed(usage_first);
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["response"]["usage"]["input_tokens"]), (&json!("response.incomplete"), &json!(1)));
    assert_eq!(last["response"]["output"][0]["status"], "incomplete");
    assert_eq!(last["response"]["output"][0]["content"][0], json!({"type": "refusal", "refusal": "no"}));
}

#[test]
fn an_error_ends_the_stream_for_every_client() {
    let error = ApiError::new(ErrorKind::UpstreamAuth, "sk-secret");
    let (events, _) = streamed(vec![claude().remove(0), Event::Error(error)]);
    let found = types(&events);
    assert_eq!(found, ["response.created", "response.in_progress", "error", "response.failed"]);
    assert!(!events[2].to_string().contains("secret"));
    assert_eq!(events[2]["message"], events[2]["error"]["message"]);
    assert_eq!(events[3]["response"]["status"], "failed");
    assert!(events[3]["response"]["error"]["code"].is_string());
    assert!(events[2]["code"].is_string());
}

/// Whatever order a broken vendor sends events in, nothing panics and there is one end.
#[test]
fn events_in_any_order_do_no_harm() {
    let (mut wire, _) = streamed(claude());
    wire.push(json!({"type": "response.output_item.added", "output_index": 1, "item": {"type": "reasoning"}}));
    wire.push(json!({"type": "response.output_item.done", "output_index": 9, "item": {"type": "image_generation_call", "result": "AAAA"}}));
    wire.push(json!({"type": "response.reasoning_text.delta", "delta": "x", "summary_index": 4_000_000_000u32}));
    wire.push(json!({"type": "response.output_text.delta", "delta": {"odd": 1}, "content_index": 7}));
    let mut state = 7u64;
    for _ in 0..300 {
        for at in (1..wire.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            wire.swap(at, usize::try_from(state >> 33).unwrap() % (at + 1));
        }
        let all = events(&mut *codec(OWN).stream_decoder(&maker()), stream(&wire).as_bytes());
        let ends = all.iter().filter(|event| matches!(event, Event::End | Event::Error(_))).count();
        assert_eq!(ends, 1);
        let starts = all.iter().filter(|event| matches!(event, Event::BlockStart { .. })).count();
        let block_ends = all.iter().filter(|event| matches!(event, Event::BlockEnd { .. })).count();
        assert!(starts == block_ends || !matches!(all.last(), Some(Event::End)), "{all:?}");
        let _ = streamed(all);
    }
}
