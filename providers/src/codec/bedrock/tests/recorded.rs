//! What Bedrock really said.

use serde_json::{Map, Value};

use super::*;
use crate::common::{Content, Response, StopReason};
use crate::error::{ErrorKind, decode_error};
use crate::usage::Usage;

/// `system: []` and `inferenceConfig: {}` say nothing, and are not written.
fn without_empty(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        let empty =
            |value: &Value| value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
        object.retain(|key, value| !(matches!(key.as_str(), "system" | "inferenceConfig") && empty(value)));
    }
    value
}

#[test]
fn requests_come_back_as_they_were() {
    let mut seen = 0;
    for recording in testing::recordings("bedrock", "chat") {
        let body = match &recording.request {
            // Cut off by its recorder, at one brace.
            Value::String(text) => text.clone(),
            request => request.to_string(),
        };
        let (id, stream) = recording.path.strip_prefix("/model/").unwrap().rsplit_once('/').unwrap();
        let model = id.replace("%3A", ":").replace("%2F", "/");
        let call = Call { model: Some(&model), stream: stream == "converse-stream" };
        if serde_json::from_str::<Value>(&body).is_err() {
            assert!(codec(OWN).decode_request(body.as_bytes(), &call).is_err());
            continue;
        }
        let request = codec(OWN).decode_request(body.as_bytes(), &call).unwrap();
        assert_eq!((&*request.model, request.stream), (&*model, recording.stream), "{}", recording.name);
        let (before, after, losses) = testing::own_request(OWN, &body, &call);
        let differences = testing::differences(&without_empty(before), &without_empty(after));
        assert_eq!(differences, Vec::<String>::new(), "{}", recording.name);
        assert!(losses.is_empty(), "{}: {losses:?}", recording.name);
        seen += 1;
    }
    eprintln!("{seen} requests");
}

/// The answer as a plain reading of its JSON tells it: texts, reasoning, calls.
#[derive(Debug, PartialEq, Default)]
struct Plain {
    text: Vec<String>,
    reasoning: Vec<(String, Option<String>)>,
    redacted: Vec<String>,
    calls: Vec<(String, String, Value)>,
}

fn plain(response: &Response<'_>) -> Plain {
    let mut plain = Plain::default();
    for block in &response.choices[0].blocks {
        match &block.content {
            Content::Text(text) => plain.text.push(text.text.to_string()),
            Content::Reasoning(reasoning) => match &reasoning.encrypted {
                Some(data) => plain.redacted.push(data.data.to_string()),
                None => plain
                    .reasoning
                    .push((reasoning.text.to_string(), reasoning.signature.as_ref().map(|it| it.data.to_string()))),
            },
            Content::ToolCall(call) => {
                let arguments = serde_json::from_str(&call.arguments).unwrap();
                plain.calls.push((call.id.to_string(), call.name.to_string(), arguments));
            }
            other => panic!("{other:?}"),
        }
    }
    plain
}

fn wanted_stop(word: &str) -> StopReason {
    match word {
        "end_turn" => StopReason::End,
        "tool_use" => StopReason::ToolCalls,
        "max_tokens" => StopReason::MaxTokens,
        "guardrail_intervened" => StopReason::ContentFilter,
        other => panic!("{other}"),
    }
}

fn wanted_usage(usage: &Value) -> Usage {
    let hour: u64 = usage["cacheDetails"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|detail| detail["ttl"] == "1h")
        .filter_map(|detail| detail["inputTokens"].as_u64())
        .sum();
    Usage {
        input: usage["inputTokens"].as_u64(),
        output: usage["outputTokens"].as_u64(),
        cache_read: usage["cacheReadInputTokens"].as_u64(),
        cache_write_5m: usage["cacheWriteInputTokens"].as_u64().map(|written| written - hour),
        cache_write_1h: (hour > 0).then_some(hour),
        ..Usage::default()
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn whole_answers_are_understood() {
    let (mut answers, mut errors) = (0, 0);
    for recording in testing::recordings("bedrock", "chat").into_iter().filter(|it| !it.stream || it.status >= 400) {
        let name = &recording.name;
        let json: Value = serde_json::from_slice(&recording.answer).unwrap();
        if recording.status >= 400 {
            let error = decode_error(OWN, recording.status, &recording.answer);
            assert_eq!((error.kind, Some(&*error.message)), (ErrorKind::InvalidRequest, json["message"].as_str()));
            errors += 1;
            continue;
        }
        let response = codec(OWN).decode_response(&recording.answer, &testing::maker()).unwrap();
        let mut wanted = Plain::default();
        for block in json["output"]["message"]["content"].as_array().unwrap() {
            if let Some(text) = block["text"].as_str() {
                wanted.text.push(text.to_owned());
            } else if let Some(text) = block["reasoningContent"].get("reasoningText") {
                wanted.reasoning.push((string(&text["text"]), text["signature"].as_str().map(str::to_owned)));
            } else {
                let call = &block["toolUse"];
                wanted.calls.push((string(&call["toolUseId"]), string(&call["name"]), call["input"].clone()));
            }
        }
        assert_eq!(plain(&response), wanted, "{name}");
        let stop = &response.choices[0].stop;
        assert_eq!(stop.reason, wanted_stop(json["stopReason"].as_str().unwrap()), "{name}");
        assert_eq!(response.usage, Some(wanted_usage(&json["usage"])), "{name}");
        let mut extras: Vec<&str> = response.extras.iter().map(|(key, _)| &**key).collect();
        extras.sort_unstable();
        let known = ["metrics", "output", "stopReason", "usage"];
        let others: Vec<&str> =
            json.as_object().unwrap().keys().map(String::as_str).filter(|key| !known.contains(key)).collect();
        assert_eq!(extras, others, "{name}");
        testing::check_own_answer(OWN, &response, name);
        answers += 1;
    }
    eprintln!("{answers} answers, {errors} errors");
}

#[test]
fn streams_are_understood_however_they_are_cut() {
    let mut seen = 0;
    for recording in testing::recordings("bedrock", "chat").into_iter().filter(|it| it.stream && it.status < 400) {
        let name = &recording.name;
        let response = testing::collected(OWN, &testing::events(&mut *decoder(), &recording.answer)).unwrap();
        let (mut blocks, mut stop, mut usage) =
            (std::collections::BTreeMap::<u64, Map<String, Value>>::new(), None, None);
        for (event, payload) in parse(&recording.answer) {
            let block = blocks.entry(payload["contentBlockIndex"].as_u64().unwrap_or(u64::MAX)).or_default();
            let mut add = |key: &str, text: &Value| {
                let so_far = block.get(key).map(string).unwrap_or_default();
                block.insert(key.to_owned(), format!("{so_far}{}", text.as_str().unwrap()).into());
            };
            match event.as_str() {
                "contentBlockStart" => {
                    add("id", &payload["start"]["toolUse"]["toolUseId"]);
                    add("name", &payload["start"]["toolUse"]["name"]);
                }
                "contentBlockDelta" => {
                    for (kind, value) in payload["delta"].as_object().unwrap() {
                        match kind.as_str() {
                            "text" => add("text", value),
                            "toolUse" => add("input", &value["input"]),
                            _ => value.as_object().unwrap().iter().for_each(|(key, text)| {
                                add(&format!("reasoning {key}"), text);
                            }),
                        }
                    }
                }
                "messageStop" => stop = Some(string(&payload["stopReason"])),
                "metadata" => usage = Some(wanted_usage(&payload["usage"])),
                _ => {}
            }
        }
        let mut wanted = Plain::default();
        for block in blocks.values() {
            let text = |key: &str| block.get(key).map(string);
            wanted.text.extend(text("text"));
            wanted.redacted.extend(text("reasoning redactedContent"));
            wanted.reasoning.extend(text("reasoning text").map(|it| (it, text("reasoning signature"))));
            if let Some(id) = text("id") {
                wanted.calls.push((id, text("name").unwrap(), serde_json::from_str(&text("input").unwrap()).unwrap()));
            }
        }
        assert_eq!(plain(&response), wanted, "{name}");
        assert_eq!(response.choices[0].stop.reason, wanted_stop(&stop.unwrap()), "{name}");
        assert_eq!(response.usage, usage, "{name}");
        testing::check_cuts(decoder, OWN, &recording.answer);
        testing::check_no_false_end(decoder, OWN, &recording.answer);
        testing::check_own_answer(OWN, &response, name);
        seen += 1;
    }
    eprintln!("{seen} streams");
}
