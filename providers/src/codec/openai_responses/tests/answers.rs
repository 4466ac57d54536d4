//! Answers by hand.

use serde_json::{Value, json};

use super::super::OWN;
use super::{OpenAiResponses, answer, decoded, names, written};
use crate::codec::testing::{check_own_answer, client, differences, maker};
use crate::codec::{Client, Codec as _};
use crate::common::{
    Block, Choice, Content, Losses, MediaSource, Opaque, ProviderTag, Reasoning, Response, Stop, StopReason,
};
use crate::dialect::Dialect;
use crate::error::ErrorKind;
use crate::usage::Usage;

fn whole(output: Value) -> Value {
    json!({"id": "resp_1", "object": "response", "created_at": 5, "status": "completed", "model": "m", "output": output})
}

#[test]
fn every_kind_of_output_is_read_and_written() {
    let body = whole(json!([
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}], "encrypted_content": "gAAA"},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": "commentary", "content": [
            {"type": "output_text", "text": "t", "logprobs": [{"token": "t", "logprob": -0.5, "bytes": [116], "top_logprobs": [{"token": "u", "bytes": [117], "logprob": -1.5}]}], "annotations": [
                {"type": "url_citation", "url": "https://x", "title": "X", "start_index": 0, "end_index": 1},
                {"type": "file_citation", "file_id": "f", "filename": "n", "index": 0},
                {"type": "container_file_citation", "container_id": "c", "file_id": "f", "filename": "n", "start_index": 0, "end_index": 1},
                {"type": "file_path", "file_id": "f", "index": 0},
            ]},
            {"type": "refusal", "refusal": "no"},
            {"type": "hologram", "text": "h"},
        ]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "namespace": "n", "arguments": "{}", "status": "completed", "caller": {"type": "direct"}},
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "g", "input": "x", "status": "completed"},
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBO", "revised_prompt": "p", "output_format": "jpeg"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
    ]));
    let response = answer(&body);
    check_own_answer(OWN, &response, "all kinds");
    let (again, losses) = written(&response);
    assert!(losses.is_empty(), "{losses:?}");
    assert_eq!(differences(&body["output"], &again["output"]), Vec::<String>::new());
    let [Choice { blocks, stop, logprobs, .. }] = &response.choices[..] else { panic!() };
    assert_eq!((blocks.len(), stop.reason, logprobs.len()), (8, StopReason::ToolCalls, 1));
    let Content::Text(text) = &blocks[1].content else { panic!() };
    assert_eq!((text.citations.len(), text.citations[0].span), (4, Some((0, 1))));
    let Content::Media(image) = &blocks[6].content else { panic!() };
    assert_eq!((&image.source, image.mime.as_deref()), (&MediaSource::Data("iVBO".into()), Some("image/jpeg")));
}

#[test]
fn every_end_is_understood_and_told_again() {
    let refusal = json!([{"type": "message", "role": "assistant", "id": "msg_1", "content": [{"type": "refusal", "refusal": "no"}]}]);
    for (status, reason, output, wanted) in [
        ("completed", Value::Null, json!([]), StopReason::End),
        ("completed", Value::Null, refusal, StopReason::Refusal),
        ("incomplete", json!("max_output_tokens"), json!([]), StopReason::MaxTokens),
        ("incomplete", json!("content_filter"), json!([]), StopReason::ContentFilter),
        ("incomplete", json!("brand_new"), json!([]), StopReason::Other),
        ("cancelled", Value::Null, json!([]), StopReason::Other),
        ("queued", Value::Null, json!([]), StopReason::Other),
    ] {
        let mut body = whole(output);
        body["status"] = json!(status);
        body["incomplete_details"] = if reason.is_null() { Value::Null } else { json!({"reason": reason}) };
        let response = answer(&body);
        assert_eq!(response.choices[0].stop.reason, wanted, "{status} {reason}");
        let (again, _) = written(&response);
        assert_eq!((&again["status"], &again["incomplete_details"]), (&body["status"], &body["incomplete_details"]));
        check_own_answer(OWN, &response, status);
    }
}

#[test]
fn errors_in_spite_of_the_status() {
    for (body, kind, message) in [
        (
            r#"{"id":"resp_1","status":"failed","error":{"code":"rate_limit_exceeded","message":"slow"},"output":[]}"#,
            ErrorKind::RateLimited,
            "slow",
        ),
        (r#"{"error":{"message":"m","type":"server_error"}}"#, ErrorKind::UpstreamError, "m"),
        ("{}", ErrorKind::UpstreamError, "the provider's answer is no response of this API"),
    ] {
        let error = OpenAiResponses.decode_response(body.as_bytes(), &maker()).unwrap_err();
        assert_eq!((error.kind, &*error.message), (kind, message));
    }
    for body in ["", "[]", "{\"output\":7}", "{\"id\":\"r\",\"output\":[{\"type\":\"message\",\"content\":5}]}"] {
        assert!(OpenAiResponses.decode_response(body.as_bytes(), &maker()).is_err(), "{body}");
    }
}

#[test]
fn an_answer_repeats_its_request() {
    let request = decoded(&json!({"model": "m", "input": "hi", "instructions": "be brief", "temperature": 0.5,
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": true}], "metadata": {"a": "b"},
        "text": {"verbosity": "low"}, "reasoning": {"effort": "low"}, "max_output_tokens": 7, "user": "u", "max_tool_calls": 3}));
    let client = Client { echo: OpenAiResponses.echo(&request), ..client() };
    let body = OpenAiResponses.encode_response(&Response::new(Dialect::Anthropic), &client, &mut Losses::default());
    let body: Value = serde_json::from_slice(&body).unwrap();
    let wanted = json!({
        "id": "resp_req1", "object": "response", "created_at": 1_700_000_000, "status": "completed", "error": null,
        "incomplete_details": null, "model": "public", "output": [], "usage": null, "instructions": "be brief",
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": true}], "tool_choice": "auto",
        "parallel_tool_calls": true, "temperature": 0.5, "top_p": null, "metadata": {"a": "b"}, "max_output_tokens": 7,
        "text": {"format": {"type": "text"}, "verbosity": "low"}, "reasoning": {"effort": "low", "summary": null},
        "previous_response_id": null, "truncation": "disabled", "user": "u", "max_tool_calls": 3,
    });
    assert_eq!(body, wanted);
}

#[test]
fn usage_adds_up_and_comes_back() {
    let usage = Usage {
        input: Some(10),
        cache_read: Some(5),
        cache_write_5m: Some(3),
        output: Some(7),
        reasoning: Some(2),
        ..Usage::default()
    };
    let mut response = Response::new(OWN);
    response.usage = Some(usage);
    let (body, _) = written(&response);
    assert_eq!(
        body["usage"],
        json!({"input_tokens": 18, "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
            "output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 27})
    );
    assert_eq!(answer(&body).usage, Some(usage));
}

/// The exact text comes back with its signature, whatever of the item the client keeps besides summary and encrypted content.
#[test]
fn state_of_other_makers_survives_a_turn() {
    let state = |data: &'static str| Some(Opaque::made_by(Dialect::Anthropic, Some(ProviderTag::of("a")), data.into()));
    for reasoning in [
        Reasoning { text: "be\n cause ".into(), signature: state("EqQB:+/="), ..Reasoning::default() },
        Reasoning { signature: state("EqQB"), ..Reasoning::default() },
        Reasoning { encrypted: state("redacted"), ..Reasoning::default() },
        Reasoning { text: "unsigned".into(), ..Reasoning::default() },
        Reasoning { text: "x".into(), encrypted: state("redacted"), ..Reasoning::default() },
        Reasoning { text: "x".into(), signature: state("s"), encrypted: state("e"), ..Reasoning::default() },
    ] {
        let mut response = Response::new(Dialect::Anthropic);
        response.choices.push(Choice {
            blocks: vec![Block::new(Content::Reasoning(Box::new(reasoning.clone())))],
            stop: Stop::new(StopReason::End),
            ..Choice::default()
        });
        let (body, losses) = written(&response);
        assert!(losses.is_empty());
        let item = &body["output"][0];
        // As Codex sends it: without id and content.
        let sent = json!({"type": "reasoning", "summary": item["summary"], "content": null, "encrypted_content": item["encrypted_content"]});
        let request = decoded(&json!({"model": "m", "input": [sent]}));
        let Content::Reasoning(back) = &request.messages[0].blocks[0].content else { panic!() };
        assert_eq!(**back, reasoning);
        // An item that OpenAI could not read does not go there, and what can hold one is not sent on unread.
        assert!(crate::common::may_hold_ticket(body.to_string().as_bytes()));
        assert_eq!(super::encoded(&request).0["input"], json!([]));
    }
}

#[test]
fn what_cannot_be_shown_is_told() {
    let mut response = Response::new(Dialect::Gemini);
    response.id = Some("abc".into());
    let foreign = crate::common::Foreign {
        dialect: Dialect::Gemini,
        kind: "executableCode".into(),
        raw: crate::common::Json::of(&1),
    };
    response.choices = vec![Choice::default(), Choice::default()];
    response.choices[0].blocks.push(Block::new(Content::Foreign(Box::new(foreign))));
    let (body, losses) = written(&response);
    assert_eq!((&body["id"], &body["output"]), (&json!("resp_abc"), &json!([])));
    assert_eq!(names(&losses), ["answer.choices", "answer.executableCode"]);
}
