//! Answers that the recordings lack.

use serde_json::{Value, json};

use super::super::super::codec;
use super::super::super::testing::{self, check_own_answer, client, differences, maker};
use super::super::OWN;
use super::normal;
use crate::common::{Content, Losses, StopReason};
use crate::dialect::Dialect;
use crate::error::ErrorKind;

fn answer(content: &Value, stop: &str) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": content,
        "stop_reason": stop, "stop_sequence": null,
        "usage": {"input_tokens": 3, "output_tokens": 4}
    })
}

#[test]
fn every_stop_reason_and_back() {
    for (word, reason) in [
        ("end_turn", StopReason::End),
        ("max_tokens", StopReason::MaxTokens),
        ("stop_sequence", StopReason::StopSequence),
        ("tool_use", StopReason::ToolCalls),
        ("pause_turn", StopReason::Pause),
        ("refusal", StopReason::Refusal),
        ("model_context_window_exceeded", StopReason::ContextWindow),
        ("novelty", StopReason::Other),
    ] {
        let mut body = answer(&json!([{"type": "text", "text": "a"}]), word);
        if word == "stop_sequence" {
            body["stop_sequence"] = "END".into();
        }
        if word == "refusal" {
            body["stop_details"] = json!({"type": "refusal", "category": "cyber"});
        }
        let bytes = body.to_string();
        let response = codec(OWN).decode_response(bytes.as_bytes(), &maker()).unwrap();
        assert_eq!(response.choices[0].stop.reason, reason);
        check_own_answer(OWN, &response, word);
        let mut losses = Losses::default();
        let written = codec(OWN).encode_response(&response, &client(), &mut losses);
        let mut written: Value = serde_json::from_slice(&written).unwrap();
        normal(&mut body);
        normal(&mut written);
        assert_eq!(differences(&body, &written), Vec::<String>::new());
        assert!(losses.is_empty());
    }
}

/// Anthropic says it beside an answer of no words.
#[test]
fn why_the_model_declined_is_told_to_who_has_no_field_for_it() {
    let details = json!({"type": "refusal", "category": "cyber", "explanation": "This could do harm."});
    let whole = |content: &Value| {
        let mut body = answer(content, "refusal");
        body["stop_details"] = details.clone();
        body
    };
    let streamed = |content: &[Value]| {
        let mut events = vec![json!({"type": "message_start", "message": answer(&json!([]), "")})];
        for (index, block) in content.iter().enumerate() {
            events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
            events.push(json!({"type": "content_block_stop", "index": index}));
        }
        events.push(json!({"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": details},
            "usage": {"output_tokens": 4}}));
        events.push(json!({"type": "message_stop"}));
        let text = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
        let body: String = events.iter().map(text).collect();
        let all = testing::events(&mut *codec(OWN).stream_decoder(&maker()), body.as_bytes());
        (testing::collected(OWN, &all).unwrap(), all)
    };
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": "S=="});
    for (content, explained) in [
        (json!([]), true),
        (json!([{"type": "text", "text": ""}]), true),
        (json!([thought]), true),
        (json!([{"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}]), true),
        (json!([{"type": "text", "text": "No."}]), false),
    ] {
        let body = whole(&content).to_string();
        let response = codec(OWN).decode_response(body.as_bytes(), &maker()).unwrap();
        let (collected, events) = streamed(content.as_array().unwrap());
        assert_eq!(collected.choices, response.choices, "{content}");
        for dialect in
            [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Gemini, Dialect::Bedrock, Dialect::Cohere]
        {
            let mut losses = Losses::default();
            let written = codec(dialect).encode_response(&response, &client(), &mut losses);
            let told = String::from_utf8(written).unwrap().contains("This could do harm.");
            assert_eq!(told, explained, "{dialect} {content}");
            let (mut encoder, mut out) = (codec(dialect).stream_encoder(&client()), Vec::new());
            events.iter().for_each(|event| encoder.encode(event.clone(), &mut losses, &mut out));
            let told = out.windows(19).any(|text| text == b"This could do harm.");
            assert_eq!(told, explained, "{dialect} {content} as a stream");
        }
        // Its own clients have the field.
        let (mut encoder, mut out, mut losses) = (codec(OWN).stream_encoder(&client()), Vec::new(), Losses::default());
        events.iter().for_each(|event| encoder.encode(event.clone(), &mut losses, &mut out));
        let again = codec(OWN).encode_response(&response, &client(), &mut losses);
        let again: Value = serde_json::from_slice(&again).unwrap();
        assert_eq!((&again["content"], &again["stop_details"]), (&content, &details));
        assert_eq!(String::from_utf8(out).unwrap().matches("This could do harm.").count(), 1);
        assert!(losses.is_empty(), "{losses:?}");
    }
}

#[test]
fn every_block_and_citation() {
    let citations = json!([
        {"type": "char_location", "cited_text": "c", "document_index": 0, "document_title": "T", "file_id": null, "start_char_index": 0, "end_char_index": 1},
        {"type": "page_location", "cited_text": "p", "document_index": 0, "document_title": null, "start_page_number": 1, "end_page_number": 2},
        {"type": "content_block_location", "cited_text": "b", "document_index": 0, "document_title": "T", "start_block_index": 0, "end_block_index": 1},
        {"type": "web_search_result_location", "cited_text": "w", "url": "https://w", "title": "W", "encrypted_index": "x"},
        {"type": "search_result_location", "cited_text": "s", "source": "https://s", "title": "S", "search_result_index": 0, "start_block_index": 0, "end_block_index": 1}
    ]);
    let body = answer(
        &json!([
            {"type": "thinking", "thinking": "", "signature": "omitted=="},
            {"type": "redacted_thinking", "data": "Em=="},
            {"type": "text", "text": "a", "citations": citations},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"n": 12345678901234567890123u128 as f64}, "caller": {"type": "code_execution_20260120", "tool_id": "s"}},
            {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
            {"type": "server_tool_use", "id": "s1", "name": "tool_search_tool_bm25", "input": {"q": 1}},
            {"type": "tool_search_tool_result", "tool_use_id": "s1", "content": {"type": "x"}},
            {"type": "mcp_tool_use", "id": "m", "name": "n", "server_name": "s", "input": {}},
            {"type": "compaction", "content": "so far"},
            {"type": "container_upload", "file_id": "f"}
        ]),
        "tool_use",
    );
    let bytes = body.to_string();
    let response = codec(OWN).decode_response(bytes.as_bytes(), &maker()).unwrap();
    let blocks = &response.choices[0].blocks;
    let Content::Text(text) = &blocks[2].content else { panic!() };
    let found: Vec<_> =
        text.citations.iter().map(|c| (c.url.as_deref(), c.title.as_deref(), c.quote.as_deref())).collect();
    assert_eq!(found[0], (None, Some("T"), Some("c")));
    assert_eq!(found[3], (Some("https://w"), Some("W"), Some("w")));
    assert_eq!(found[4], (Some("https://s"), Some("S"), Some("s")));
    assert!(blocks[5..].iter().all(|block| matches!(block.content, Content::Foreign(_))));
    check_own_answer(OWN, &response, "every block");
    let written = codec(OWN).encode_response(&response, &client(), &mut Losses::default());
    let (mut body, mut written) = (body, serde_json::from_slice::<Value>(&written).unwrap());
    normal(&mut body);
    normal(&mut written);
    assert_eq!(differences(&body, &written), Vec::<String>::new());
}

#[test]
fn cache_writes_keep_their_times() {
    let mut body = answer(&json!([]), "end_turn");
    body["usage"] = json!({
        "input_tokens": 5, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}, "service_tier": "priority"
    });
    let bytes = body.to_string();
    let response = codec(OWN).decode_response(bytes.as_bytes(), &maker()).unwrap();
    let usage = response.usage.unwrap();
    assert_eq!(
        (usage.cache_write_5m, usage.cache_write_1h, usage.output, usage.reasoning),
        (Some(10), Some(20), Some(5), Some(4))
    );
    assert_eq!(response.service_tier.as_deref(), Some("priority"));
    check_own_answer(OWN, &response, "cache writes");
    let written = codec(OWN).encode_response(&response, &client(), &mut Losses::default());
    assert_eq!(differences(&body, &serde_json::from_slice(&written).unwrap()), Vec::<String>::new());
}

#[test]
fn errors_in_spite_of_their_status() {
    for (body, kind) in [
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, ErrorKind::Overloaded),
        (r#"{"error":{"message":"no"}}"#, ErrorKind::UpstreamError),
        (r#"{}"#, ErrorKind::UpstreamError),
        (r#"[1]"#, ErrorKind::UpstreamError),
        (r#"{"content":[{"type":"text","text":7}]}"#, ErrorKind::UpstreamError),
        ("<html>", ErrorKind::UpstreamError),
    ] {
        let error = codec(OWN).decode_response(body.as_bytes(), &maker()).unwrap_err();
        assert_eq!(error.kind, kind, "{body}");
    }
}
