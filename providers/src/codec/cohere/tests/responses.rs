use serde_json::{Value, json};

use super::{OWN, answer, recordings, texts, write};
use crate::codec::codec;
use crate::codec::testing::{check_own_answer, client, differences, maker};
use crate::common::{Content, Response, StopReason};
use crate::error::ErrorKind;

#[test]
fn recorded_answers_are_read_whole() {
    let recordings = recordings("cohere", "chat");
    assert!(recordings.is_empty() || recordings.len() == 8, "{}", recordings.len());
    for recording in &recordings {
        let body: Value = serde_json::from_slice(&recording.answer).unwrap();
        let response = answer(std::str::from_utf8(&recording.answer).unwrap());
        check(&response, &body, &recording.name);
        check_own_answer(OWN, &response, &recording.name);
        let (mut written, losses) = write(&response, &client());
        assert!(losses.is_empty(), "{losses:?}");
        // The two measures of usage are one in the common model.
        let mut body = body;
        (written["usage"], body["usage"]) = (json!(null), json!(null));
        assert_eq!(differences(&body, &written), Vec::<String>::new(), "{}", recording.name);
    }
}

fn check(response: &Response<'_>, body: &Value, name: &str) {
    let message = &body["message"];
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let list = |key: &str| message[key].as_array().cloned().unwrap_or_default();
    let said = list("content").iter().map(|part| text(part, "text")).collect::<String>() + &text(message, "tool_plan");
    let thought: String = list("content").iter().map(|part| text(part, "thinking")).collect();
    let calls = list("tool_calls")
        .iter()
        .map(|call| (text(call, "id"), text(&call["function"], "name"), text(&call["function"], "arguments")))
        .collect();
    assert_eq!(texts(response), (said, thought, calls), "{name}");
    let stop = match body["finish_reason"].as_str().unwrap() {
        "COMPLETE" => StopReason::End,
        "TOOL_CALL" => StopReason::ToolCalls,
        other => panic!("{other}"),
    };
    assert_eq!(response.choices[0].stop.reason, stop);
    let usage = response.usage.unwrap();
    let billed = &body["usage"]["billed_units"];
    assert_eq!(
        (usage.total_input(), usage.total_output()),
        (billed["input_tokens"].as_u64(), billed["output_tokens"].as_u64())
    );
    assert_eq!(response.id.as_deref(), body["id"].as_str());
    assert_eq!(response.model.as_deref(), Some("asked-model"));
}

pub(super) const FULL: &str = r#"{"id": "r1", "finish_reason": "COMPLETE", "new": {"a": 1},
    "message": {"role": "assistant", "other": 2, "content": [
            {"type": "thinking", "thinking": "hm"},
            {"type": "text", "text": "Grüße an Ω."},
            {"type": "picture", "url": "https://x"}],
        "citations": [
            {"start": 9, "end": 10, "text": "Ω", "content_index": 1, "type": "TEXT_CONTENT", "sources": [
                {"type": "document", "id": "d1", "document": {"id": "d1", "title": "T", "url": "https://u", "snippet": "S"}},
                {"type": "tool", "id": "t1:0", "tool_output": {"v": "1"}}]}]},
    "usage": {"billed_units": {"input_tokens": 3, "output_tokens": 4}, "tokens": {"input_tokens": 3, "output_tokens": 4}, "cached_tokens": 1},
    "logprobs": [{"text": "Gr", "token_ids": [], "logprobs": [-0.25]}, {"text": "üße", "token_ids": [], "logprobs": [-0.5]}]}"#;

#[test]
fn everything_that_an_answer_can_hold_comes_back() {
    let response = answer(FULL);
    let (written, losses) = write(&response, &client());
    assert_eq!(differences(&serde_json::from_str(FULL).unwrap(), &written), Vec::<String>::new());
    assert!(losses.is_empty(), "{losses:?}");
    let Content::Text(text) = &response.choices[0].blocks[1].content else { panic!() };
    let said: Vec<_> =
        text.citations.iter().map(|one| (one.url.as_deref(), one.title.as_deref(), one.quote.as_deref())).collect();
    assert_eq!(said, [(Some("https://u"), Some("T"), Some("S")), (None, Some("t1:0"), None)]);
    let logprobs: Vec<_> = response.choices[0].logprobs.iter().map(|one| (one.token.as_str(), one.logprob)).collect();
    assert_eq!(logprobs, [("Gr", -0.25), ("üße", -0.5)]);
}

#[test]
fn every_stop_and_every_failure() {
    let with = |reason: &str| {
        let body =
            json!({"id": "r", "finish_reason": reason, "message": {"role": "assistant", "content": []}}).to_string();
        codec(OWN).decode_response(body.as_bytes(), &maker()).map(|response| response.into_stop_reason())
    };
    for (word, reason) in [
        ("COMPLETE", StopReason::End),
        ("STOP_SEQUENCE", StopReason::StopSequence),
        ("MAX_TOKENS", StopReason::MaxTokens),
        ("TOOL_CALL", StopReason::ToolCalls),
        ("ERROR_LIMIT", StopReason::ContextWindow),
        ("ERROR_TOXIC", StopReason::ContentFilter),
        ("SOMETHING_NEW", StopReason::Other),
    ] {
        assert_eq!(with(word).unwrap(), reason, "{word}");
    }
    assert_eq!(with("ERROR").unwrap_err().kind, ErrorKind::UpstreamError);
    assert_eq!(with("TIMEOUT").unwrap_err().kind, ErrorKind::UpstreamTimeout);
    for (body, message) in [
        (r#"{"message": "too many tokens"}"#, "too many tokens"),
        (r#"{"id": "x", "error": {"message": "broken"}}"#, "broken"),
        (r#"{"finish_reason": "ERROR", "message": {"role": "assistant"}, "error": "why"}"#, "why"),
    ] {
        assert_eq!(codec(OWN).decode_response(body.as_bytes(), &maker()).unwrap_err().message, message);
    }
    for body in ["", "[]", "{}", "null", r#"{"message":[]}"#] {
        assert!(codec(OWN).decode_response(body.as_bytes(), &maker()).is_err(), "{body}");
    }
}

trait StopOf {
    fn into_stop_reason(self) -> StopReason;
}

impl StopOf for Response<'_> {
    fn into_stop_reason(self) -> StopReason {
        self.choices[0].stop.reason
    }
}

#[test]
fn a_call_without_an_id_gets_one() {
    let body =
        r#"{"finish_reason":"TOOL_CALL","message":{"tool_calls":[{"type":"function","function":{"name":"f"}}]}}"#;
    assert_eq!(texts(&answer(body)).2, [("call_seed_0".to_owned(), "f".to_owned(), String::new())]);
}
