//! The recordings, read and written again; and what they lack.

use serde_json::{Value, json};

use super::super::codec;
use super::super::testing::{
    check_cuts, check_no_false_end, check_own_answer, client, collected, differences, events, maker, own_request,
    recordings, target,
};
use super::super::{Call, Client, Target};
use super::OWN;
use crate::common::*;
use crate::dialect::Operation;
use crate::error::{ErrorKind, decode_error};
use crate::preset::{LimitSpelling, PrefillSpelling, Preset, Quirks, ReasoningSpelling};
use crate::usage::report::Report;
use crate::usage::tree::Tree;

mod answers;
mod full;
mod requests;

const OPENAI: Quirks = Quirks {
    no_stream_options: false,
    reasons_in_responses: false,
    azure_deployments: false,
    limit: LimitSpelling::MaxCompletionTokens,
    developer_role: true,
    cache_control: false,
    short_tool_ids: false,
    reasoning: ReasoningSpelling::Effort,
    prefill: PrefillSpelling::Unsaid,
};

fn read(body: &str) -> Request<'_> {
    codec(OWN).decode_request(body.as_bytes(), &Call::default()).unwrap()
}

fn write(request: &Request<'_>, quirks: Quirks) -> (Value, Vec<String>) {
    let mut losses = Losses::default();
    let target = Target { quirks, ..target() };
    let body = codec(OWN).encode_request(request, &target, &mut losses).unwrap();
    (serde_json::from_slice(&body).unwrap(), losses.iter().map(|loss| loss.field.clone()).collect())
}

fn answer(body: &str) -> Response<'_> {
    codec(OWN).decode_response(body.as_bytes(), &maker()).unwrap()
}

/// An answer whose functions without arguments have `{}`, as they are written for clients.
fn with_arguments<'a>(mut response: Response<'a>) -> Response<'a> {
    for block in response.choices.iter_mut().flat_map(|choice| &mut choice.blocks) {
        if let Content::ToolCall(call) = &mut block.content
            && call.arguments.is_empty()
        {
            call.arguments = "{}".into();
        }
    }
    response
}

/// Events of a stream of these chunks, each put after `data: `.
fn stream(chunks: &[&str]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect()
}

fn check_stream(body: &str) -> Response<'static> {
    check_cuts(|| codec(OWN).stream_decoder(&maker()), OWN, body.as_bytes());
    check_no_false_end(|| codec(OWN).stream_decoder(&maker()), OWN, body.as_bytes());
    collected(OWN, &events(&mut *codec(OWN).stream_decoder(&maker()), body.as_bytes())).unwrap()
}

fn encoded(events: Vec<Event<'_>>, client: &Client) -> (String, Losses) {
    let (mut encoder, mut out, mut losses) = (codec(OWN).stream_encoder(client), Vec::new(), Losses::default());
    for event in events {
        encoder.encode(event, &mut losses, &mut out);
    }
    (String::from_utf8(out).unwrap(), losses)
}

/// What two readers may differ in without one of them being wrong.
fn normalised(mut body: Value) -> Value {
    // `"stream": false` is what it is if absent.
    if body["stream"] == false {
        body.as_object_mut().unwrap().remove("stream");
    }
    for message in body["messages"].as_array_mut().into_iter().flatten() {
        // No content at all, in three spellings.
        if message["content"] == "" || message["content"].is_null() || message["content"] == json!([]) {
            message.as_object_mut().unwrap().remove("content");
        }
        for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
            // A call's place is its index.
            call.as_object_mut().unwrap().remove("index");
        }
    }
    if body["tools"] == json!([]) {
        body.as_object_mut().unwrap().remove("tools");
    }
    for tool in body["tools"].as_array_mut().into_iter().flatten() {
        if tool["type"].is_null() {
            tool["type"] = "function".into();
        }
    }
    // A streamed request always asks for its usage.
    if body["stream"] == true {
        body["stream_options"]["include_usage"] = true.into();
    }
    body
}

#[test]
fn recorded_requests_are_written_as_they_were_read() {
    let mut count = 0;
    for recording in recordings("openai-chat", "chat") {
        if recording.request.is_null() {
            continue;
        }
        let body = recording.request.to_string();
        let (wanted, found, losses) = own_request(OWN, &body, &Call::default());
        assert_eq!(differences(&normalised(wanted), &normalised(found)), Vec::<String>::new(), "{}", recording.name);
        assert!(losses.is_empty(), "{}: {losses:?}", recording.name);
        count += 1;
    }
    assert!(count == 0 || count > 100, "{count}");
}

#[test]
fn recorded_answers_say_what_they_said() {
    let mut count = 0;
    for recording in recordings("openai-chat", "chat") {
        let name = &recording.name;
        if recording.status >= 400 {
            let error = decode_error(OWN, recording.status, &recording.answer);
            assert!(!error.message.is_empty(), "{name}");
            continue;
        }
        count += 1;
        if recording.stream {
            check_cuts(|| codec(OWN).stream_decoder(&maker()), OWN, &recording.answer);
            let found = collected(OWN, &events(&mut *codec(OWN).stream_decoder(&maker()), &recording.answer));
            let whole = put_together(&recording.answer);
            if name.contains("error_streaming-0") || name.contains("with_text-0") || name.contains("stream_error") {
                assert!(found.is_err(), "{name}");
                continue;
            }
            check_no_false_end(|| codec(OWN).stream_decoder(&maker()), OWN, &recording.answer);
            let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
            check(&found, &whole, name);
            check_own_answer(OWN, &with_arguments(found), name);
        } else {
            let whole: Value = serde_json::from_slice(&recording.answer).unwrap();
            match codec(OWN).decode_response(&recording.answer, &maker()) {
                Ok(found) => {
                    check(&found, &whole, name);
                    check_own_answer(OWN, &with_arguments(found), name);
                }
                Err(error) => assert!(name.contains("test_invalid_response"), "{name}: {error}"),
            }
        }
    }
    assert!(count == 0 || count > 100, "{count}");
}

/// OpenAI's and Azure's own, as they came: audio, web search, streams, errors.
#[test]
fn recorded_cassettes_survive() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance/openai-recordings");
    let Ok(files) = std::fs::read_dir(folder) else {
        assert!(std::env::var_os("CI").is_none(), "no recordings at {folder}");
        return eprintln!("SKIPPED: no recordings at {folder}");
    };
    let mut seen = 0;
    for path in files.map(|entry| entry.unwrap().path()) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if !name.contains("chat") {
            continue;
        }
        let cassette: Value = serde_yaml_ng::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for interaction in cassette["interactions"].as_array().unwrap() {
            let (request, response) = (interaction["request"]["body"].as_str().unwrap(), &interaction["response"]);
            if name != "chat-bad-request" && name != "chat-no-messages" {
                let (wanted, found, losses) = own_request(OWN, request, &Call::default());
                assert_eq!(differences(&normalised(wanted), &normalised(found)), Vec::<String>::new(), "{name}");
                assert!(losses.is_empty(), "{name}: {losses:?}");
            }
            let body = response["body"].as_str().unwrap();
            let (found, wanted) = if response["code"] != 200 {
                continue;
            } else if body.trim_start().starts_with("data:") {
                (check_stream(body), put_together(body.as_bytes()))
            } else {
                (answer(body), serde_json::from_str(body).unwrap())
            };
            check(&found, &wanted, &name);
            check_own_answer(OWN, &with_arguments(found), &name);
            seen += 1;
        }
    }
    assert!(seen > 15, "only {seen} answers");
}

/// A whole answer made of a stream's chunks, without this crate's reader.
fn put_together(body: &[u8]) -> Value {
    let mut whole = json!({"choices": [{"message": {"content": "", "reasoning": ""}}]});
    for line in String::from_utf8_lossy(body).lines() {
        let Some(Ok(chunk)) = line.strip_prefix("data: ").map(serde_json::from_str::<Value>) else { continue };
        let add = |place: &mut Value, text: &Value| {
            if let Some(text) = text.as_str() {
                *place = format!("{}{text}", place.as_str().unwrap_or_default()).into();
            }
        };
        if whole["id"].is_null() {
            whole["id"] = chunk["id"].clone();
        }
        for usage in [&chunk["usage"], &chunk["x_groq"]["usage"]] {
            if usage.is_object() {
                whole["usage"] = usage.clone();
            }
        }
        let choice = &chunk["choices"][0];
        let (delta, message) = (&choice["delta"], &mut whole["choices"][0]["message"]);
        add(&mut message["content"], &delta["content"]);
        for part in delta["content"].as_array().into_iter().flatten() {
            add(&mut message["content"], &part["text"]);
            for part in part["thinking"].as_array().into_iter().flatten() {
                add(&mut message["reasoning"], &part["text"]);
            }
        }
        add(&mut message["reasoning"], &delta["reasoning"]);
        add(&mut message["reasoning"], &delta["reasoning_content"]);
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let at = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            if message["tool_calls"].is_null() {
                message["tool_calls"] = json!([]);
            }
            let calls = message["tool_calls"].as_array_mut().unwrap();
            if calls.len() <= at {
                calls.push(call.clone());
            } else {
                add(&mut calls[at]["function"]["arguments"], &call["function"]["arguments"]);
            }
        }
        if choice["finish_reason"].is_string() {
            whole["choices"][0]["finish_reason"] = choice["finish_reason"].clone();
        }
    }
    whole
}

fn check(found: &Response<'_>, wanted: &Value, name: &str) {
    assert_eq!(found.id.as_deref(), wanted["id"].as_str(), "{name}");
    let usage = Report::read(OWN, Operation::Chat, &Tree::from(&wanted["usage"])).usage();
    assert_eq!(found.usage, usage, "{name}");
    assert_eq!(found.choices.len(), wanted["choices"].as_array().unwrap().len(), "{name}");
    let (choice, wanted) = (&found.choices[0], &wanted["choices"][0]);
    let (mut text, mut reasoning, mut calls) = (String::new(), String::new(), Vec::new());
    for block in &choice.blocks {
        match &block.content {
            Content::Text(more) => text.push_str(&more.text),
            Content::Reasoning(more) if more.text.is_empty() => more.summary.iter().for_each(|s| reasoning.push_str(s)),
            Content::Reasoning(more) => reasoning.push_str(&more.text),
            Content::ToolCall(call) => calls.push(json!([call.name, call.arguments])),
            _ => {}
        }
    }
    let message = &wanted["message"];
    let thought = message["reasoning_content"].as_str().or(message["reasoning"].as_str()).unwrap_or_default();
    assert_eq!(text, message["content"].as_str().unwrap_or_default(), "{name}");
    assert_eq!(reasoning, thought, "{name}");
    let none = Vec::new();
    let wanted_calls: Vec<Value> = message["tool_calls"]
        .as_array()
        .unwrap_or(&none)
        .iter()
        .map(|call| json!([call["function"]["name"], call["function"]["arguments"].as_str().unwrap_or_default()]))
        .collect();
    assert_eq!(calls, wanted_calls, "{name}");
    let reason = match wanted["finish_reason"].as_str().unwrap() {
        "stop" if calls.is_empty() => StopReason::End,
        "stop" | "tool_calls" => StopReason::ToolCalls,
        "length" => StopReason::MaxTokens,
        "content_filter" => StopReason::ContentFilter,
        other => panic!("{name}: {other}"),
    };
    assert_eq!(choice.stop.reason, reason, "{name}");
}
