//! Recorded traffic.

use serde_json::Value;

use super::super::super::testing::{
    Recording, check_cuts, check_no_false_end, check_own_answer, differences, maker, own_request, recordings,
};
use super::*;
use crate::common::{Content, MediaSource, StopReason};

fn recorded() -> Vec<Recording> {
    recordings("gemini", "chat")
}

/// The spelling that we write: camel case wherever a key is a field and not the user's own, and one alphabet of base64.
fn spelt(value: &Value) -> Value {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| {
                let camel = super::super::part_in::camel(key);
                let own = ["args", "response", "parameters", "parametersJsonSchema", "responseJsonSchema", "labels"];
                let value = match camel.as_str() {
                    "data" | "thoughtSignature" => {
                        value.as_str().unwrap_or_default().replace('-', "+").replace('_', "/").into()
                    }
                    _ if own.contains(&camel.as_str()) => value.clone(),
                    _ => spelt(value),
                };
                (camel, value)
            })
            .collect(),
        Value::Array(list) => list.iter().map(spelt).collect(),
        _ => value.clone(),
    }
}

#[test]
fn requests_come_out_as_they_went_in() {
    for Recording { name, request, path, stream, .. } in recorded() {
        if request.is_null() {
            continue;
        }
        let model = path.rsplit('/').next().unwrap().split(':').next().unwrap();
        let body = request.to_string();
        let (mut given, written, losses) = own_request(OWN, &body, &Call { model: Some(model), stream });
        // An empty configuration says nothing.
        given
            .as_object_mut()
            .unwrap()
            .retain(|key, value| key != "generationConfig" || *value != serde_json::json!({}));
        assert_eq!(differences(&spelt(&given), &spelt(&written)), Vec::<String>::new(), "{name}");
        assert!(losses.is_empty(), "{name}: {losses:?}");
    }
}

/// What an answer says, read off the JSON: text, thoughts, calls, signatures.
#[derive(Debug, Default, PartialEq)]
struct Said {
    text: String,
    thoughts: String,
    calls: Vec<(String, Value)>,
    signatures: usize,
    foreign: Vec<String>,
    media: usize,
    finish: String,
}

fn chunks(recording: &Recording) -> Vec<Value> {
    if !recording.stream {
        return vec![serde_json::from_slice(&recording.answer).unwrap()];
    }
    let text = std::str::from_utf8(&recording.answer).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

fn read(chunks: &[Value]) -> Said {
    let mut said = Said::default();
    for candidate in chunks.iter().flat_map(|chunk| chunk["candidates"].as_array().cloned().unwrap_or_default()) {
        if let Some(word) = candidate["finishReason"].as_str() {
            said.finish = word.to_owned();
        }
        for part in candidate["content"]["parts"].as_array().cloned().unwrap_or_default() {
            let foreign = ["executableCode", "codeExecutionResult", "toolCall", "toolResponse"];
            if let Some(kind) = foreign.iter().find(|kind| part.get(**kind).is_some()) {
                said.foreign.push((*kind).to_owned());
                continue;
            }
            said.signatures += usize::from(part.get("thoughtSignature").is_some());
            let text = part["text"].as_str().unwrap_or_default();
            if part["thought"] == true {
                said.thoughts += text
            } else {
                said.text += text
            }
            if let Some(call) = part.get("functionCall") {
                said.calls.push((call["name"].as_str().unwrap().to_owned(), call["args"].clone()));
            }
            said.media += usize::from(part.get("inlineData").is_some());
        }
    }
    said
}

fn understood(response: &Response<'_>) -> Said {
    let mut said = Said::default();
    for block in response.choices.iter().flat_map(|choice| &choice.blocks) {
        match &block.content {
            Content::Text(text) => {
                said.text += &text.text;
                said.signatures += usize::from(text.signature.is_some());
            }
            Content::Reasoning(reasoning) => {
                said.thoughts += &reasoning.text;
                said.signatures += usize::from(reasoning.signature.is_some());
            }
            Content::ToolCall(call) => {
                assert!(!call.id.is_empty());
                said.calls.push((call.name.to_string(), serde_json::from_str(&call.arguments).unwrap()));
                said.signatures += usize::from(call.signature.is_some());
            }
            Content::Foreign(foreign) => said.foreign.push(foreign.kind.to_string()),
            Content::Media(media) => {
                assert!(matches!(media.source, MediaSource::Data(_)));
                said.media += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    said.finish = match response.choices.first().map(|choice| choice.stop.reason) {
        Some(StopReason::End | StopReason::ToolCalls) => "STOP".to_owned(),
        Some(StopReason::MaxTokens) => "MAX_TOKENS".to_owned(),
        _ => String::new(),
    };
    said
}

#[test]
fn answers_are_understood() {
    let mut seen = (0, 0);
    for recording in recorded() {
        let name = &recording.name;
        assert_eq!(recording.status, 200, "{name}");
        let mut response = if recording.stream {
            streamed(&recording.answer).unwrap_or_else(|error| panic!("{name}: {error}"))
        } else {
            answer(std::str::from_utf8(&recording.answer).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        let chunks = chunks(&recording);
        assert_eq!(understood(&response), read(&chunks), "{name}");
        let choice = &response.choices[0];
        let calls = choice.blocks.iter().any(|block| matches!(block.content, Content::ToolCall(_)));
        assert_eq!(choice.stop.reason == StopReason::ToolCalls, calls, "{name}");
        let counts = &chunks.last().unwrap()["usageMetadata"];
        let usage = response.usage.unwrap_or_default();
        assert_eq!(response.usage.is_some(), counts["promptTokenCount"].is_number(), "{name}");
        let count = |name: &str| counts[name].as_u64().unwrap_or(0);
        if !recording.stream {
            assert_eq!(usage.total(), counts["totalTokenCount"].as_u64(), "{name}");
        }
        assert!(
            usage.total_input().unwrap_or(0) >= count("promptTokenCount") + count("toolUsePromptTokenCount"),
            "{name}"
        );
        assert!(usage.reasoning.unwrap_or(0) >= count("thoughtsTokenCount"), "{name}");
        assert_eq!(usage.cache_read.unwrap_or(0), count("cachedContentTokenCount"), "{name}");
        // Older models give no id; a client gets the gateway's.
        response.id.get_or_insert("req1".into());
        check_own_answer(OWN, &response, name);
        if recording.stream {
            check_cuts(|| Gemini.stream_decoder(&maker()), OWN, &recording.answer);
            check_no_false_end(|| Gemini.stream_decoder(&maker()), OWN, &recording.answer);
            seen.1 += 1;
        }
        seen.0 += 1;
    }
    assert!(seen == (0, 0) || (seen.0 > 60 && seen.1 >= 4), "{seen:?}");
}

#[test]
fn errors_are_understood() {
    for operation in ["count_tokens", "embeddings"] {
        for Recording { name, status, answer, .. } in recordings("gemini", operation) {
            if status >= 400 {
                let error = crate::error::decode_error(OWN, status, &answer);
                assert_eq!(error.kind, crate::error::ErrorKind::NotFound, "{name}");
            }
        }
    }
}
