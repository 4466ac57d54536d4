//! Real traffic.

use serde_json::Value;

use super::super::super::testing::{
    check_cuts, check_no_false_end, check_own_answer, client, collected, differences, events, maker, own_request,
    recordings,
};
use super::super::super::{Call, codec};
use super::super::OWN;
use super::normal;
use crate::common::{Content, Response, StopReason};
use crate::error::decode_error;

#[test]
fn requests_come_out_as_they_went_in() {
    let mut count = 0;
    for operation in ["chat", "count_tokens"] {
        for recording in recordings("anthropic", operation) {
            let (mut before, mut after, losses) = own_request(OWN, &recording.request.to_string(), &Call::default());
            if operation == "count_tokens" || before["stream"] == false {
                for field in ["max_tokens", "stream"] {
                    let own = &before[field];
                    assert!(own.is_null() || *own == false || own == &after[field], "{}", recording.name);
                }
                before.as_object_mut().unwrap().remove("stream");
                if operation == "count_tokens" {
                    after.as_object_mut().unwrap().remove("max_tokens");
                }
            }
            normal(&mut before);
            normal(&mut after);
            let found = differences(&before, &after);
            assert!(found.is_empty(), "{}: {found:#?}", recording.name);
            assert!(losses.is_empty(), "{}: {losses:?}", recording.name);
            count += 1;
        }
    }
    eprintln!("{count} requests");
}

/// The independent reading of an answer: of its JSON, without the codec.
fn check_against(response: &Response<'_>, answer: &Value, name: &str) {
    assert_eq!(response.id.as_deref(), answer["id"].as_str(), "{name}");
    assert_eq!(response.model.as_deref(), answer["model"].as_str(), "{name}");
    let choice = &response.choices[0];
    let wire = answer["content"].as_array().unwrap();
    assert_eq!(choice.blocks.len(), wire.len(), "{name}");
    for (block, wire) in choice.blocks.iter().zip(wire) {
        match (&block.content, wire["type"].as_str().unwrap()) {
            (Content::Text(text), "text") => {
                assert_eq!(text.text.as_str(), wire["text"], "{name}");
                let citations = wire["citations"].as_array().map_or(0, Vec::len);
                assert_eq!(text.citations.len(), citations, "{name}");
                for (citation, wire) in text.citations.iter().zip(wire["citations"].as_array().into_iter().flatten()) {
                    assert_eq!(citation.url.as_deref(), wire["url"].as_str(), "{name}");
                    assert_eq!(citation.title.as_deref(), wire["title"].as_str(), "{name}");
                    assert_eq!(citation.quote.as_deref(), wire["cited_text"].as_str(), "{name}");
                }
            }
            (Content::Reasoning(reasoning), "thinking") => {
                assert_eq!(reasoning.text.as_str(), wire["thinking"], "{name}");
                assert_eq!(reasoning.signature.as_ref().unwrap().data.as_str(), wire["signature"], "{name}");
            }
            (Content::Reasoning(reasoning), "redacted_thinking") => {
                assert_eq!(reasoning.encrypted.as_ref().unwrap().data.as_str(), wire["data"], "{name}");
            }
            (Content::ToolCall(call), "tool_use") => {
                assert_eq!(
                    (call.id.as_str(), call.name.as_str()),
                    (wire["id"].as_str().unwrap(), wire["name"].as_str().unwrap())
                );
                assert_eq!(serde_json::from_str::<Value>(&call.arguments).unwrap(), wire["input"], "{name}");
            }
            (Content::Foreign(foreign), kind) => {
                assert_eq!(foreign.kind.as_str(), kind, "{name}");
                assert_eq!(foreign.raw.to_value(), *wire, "{name}");
            }
            (content, kind) => panic!("{name}: {kind} was read as {content:?}"),
        }
    }
    let stop = match answer["stop_reason"].as_str().unwrap() {
        "end_turn" => StopReason::End,
        "tool_use" => StopReason::ToolCalls,
        other => panic!("{name}: {other}"),
    };
    assert_eq!(choice.stop.reason, stop, "{name}");
    let usage = response.usage.unwrap();
    let wire = &answer["usage"];
    assert_eq!(usage.input, wire["input_tokens"].as_u64(), "{name}");
    assert_eq!(usage.cache_read, wire["cache_read_input_tokens"].as_u64(), "{name}");
    assert_eq!(usage.total_cache_write(), wire["cache_creation_input_tokens"].as_u64(), "{name}");
    assert_eq!(usage.total_output(), wire["output_tokens"].as_u64(), "{name}");
    assert_eq!(usage.reasoning, wire["output_tokens_details"]["thinking_tokens"].as_u64(), "{name}");
    assert_eq!(usage.web_searches, wire["server_tool_use"]["web_search_requests"].as_u64(), "{name}");
}

#[test]
fn answers_say_what_their_json_says() {
    let mut count = 0;
    for recording in recordings("anthropic", "chat").into_iter().filter(|recording| !recording.stream) {
        if recording.status != 200 {
            let error = decode_error(OWN, recording.status, &recording.answer);
            assert_eq!(error.provider_type.as_deref(), Some("invalid_request_error"), "{}", recording.name);
            continue;
        }
        let response = codec(OWN).decode_response(&recording.answer, &maker()).unwrap();
        let answer: Value = serde_json::from_slice(&recording.answer).unwrap();
        check_against(&response, &answer, &recording.name);
        check_own_answer(OWN, &response, &recording.name);
        // And what is written is the answer, but for the bookkeeping in `usage`.
        let written = codec(OWN).encode_response(&response, &client(), &mut crate::common::Losses::default());
        let (mut before, mut after) = (answer, serde_json::from_slice::<Value>(&written).unwrap());
        for value in [&mut before, &mut after] {
            let usage = value["usage"].as_object_mut().unwrap();
            usage.retain(|name, _| !matches!(name.as_str(), "inference_geo" | "iterations" | "cache_creation"));
            if let Some(tools) = usage.get_mut("server_tool_use") {
                tools["web_fetch_requests"] = 0.into();
            }
            normal(value);
        }
        let found = differences(&before, &after);
        assert!(found.is_empty(), "{}: {found:#?}", recording.name);
        count += 1;
    }
    eprintln!("{count} answers");
}

/// The independent reading of a stream: what Anthropic's SDKs do.
fn accumulate(body: &str) -> Value {
    let mut message = Value::Null;
    let mut inputs: Vec<String> = Vec::new();
    for line in body.lines().filter_map(|line| line.strip_prefix("data:")) {
        let event: Value = serde_json::from_str(line).unwrap();
        let index = usize::try_from(event["index"].as_u64().unwrap_or(0)).unwrap();
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                let (block, delta) = (&mut message["content"][index], &event["delta"]);
                let mut append = |field: &str| {
                    let text = format!("{}{}", block[field].as_str().unwrap_or(""), delta[field].as_str().unwrap());
                    block[field] = text.into();
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => append("text"),
                    "thinking_delta" => append("thinking"),
                    "signature_delta" => append("signature"),
                    "input_json_delta" => inputs[index].push_str(delta["partial_json"].as_str().unwrap()),
                    "citations_delta" => {
                        if !block["citations"].is_array() {
                            block["citations"] = serde_json::json!([]);
                        }
                        block["citations"].as_array_mut().unwrap().push(delta["citation"].clone());
                    }
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" if !inputs[index].is_empty() => {
                message["content"][index]["input"] = serde_json::from_str(&inputs[index]).unwrap();
            }
            "message_delta" => {
                for (name, value) in event["delta"].as_object().unwrap() {
                    message[name] = value.clone();
                }
                for (name, value) in event["usage"].as_object().unwrap() {
                    message["usage"][name] = value.clone();
                }
                if !event["context_management"].is_null() {
                    message["context_management"] = event["context_management"].clone();
                }
            }
            _ => {}
        }
    }
    message
}

#[test]
fn streams_say_what_the_sdks_make_of_them() {
    let mut count = 0;
    for recording in recordings("anthropic", "chat").into_iter().filter(|recording| recording.stream) {
        let decoder = || codec(OWN).stream_decoder(&maker());
        let response = collected(OWN, &events(&mut *decoder(), &recording.answer)).unwrap();
        let answer = accumulate(std::str::from_utf8(&recording.answer).unwrap());
        check_against(&response, &answer, &recording.name);
        check_cuts(decoder, OWN, &recording.answer);
        check_no_false_end(decoder, OWN, &recording.answer);
        check_own_answer(OWN, &response, &recording.name);
        let bytes = serde_json::to_vec(&answer).unwrap();
        let whole = codec(OWN).decode_response(&bytes, &maker()).unwrap();
        assert_eq!(response.usage, whole.usage, "{}", recording.name);
        assert_eq!(response.service_tier, whole.service_tier, "{}", recording.name);
        assert_eq!(response.extras.len(), whole.extras.len(), "{}", recording.name);
        count += 1;
    }
    eprintln!("{count} streams");
}
