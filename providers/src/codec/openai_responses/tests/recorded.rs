//! Recorded traffic of OpenAI and DeepSeek.

use serde_json::{Map, Value, json};

use super::super::OWN;
use crate::codec::testing::{
    Recording, check_cuts, check_no_false_end, check_own_answer, collected, differences, events, maker, own_request,
    recordings,
};
use crate::codec::{Call, codec};
use crate::common::{Content, Event, Response, StopReason};
use crate::error::decode_error;

fn all() -> Vec<Recording> {
    recordings("openai-responses", "chat")
}

/// Removes what may be said in two ways: `stream: false` is the default, a text is a list of one part, `type` of a message
/// is optional, as are empty lists and ids that OpenAI did not give.
fn short(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(short),
        Value::Object(object) => {
            object.values_mut().for_each(short);
            shorten(object);
        }
        _ => {}
    }
}

fn shorten(object: &mut Map<String, Value>) {
    if object.get("stream") == Some(&json!(false)) {
        object.remove("stream");
    }
    if object.get("type") == Some(&json!("message")) {
        object.remove("type");
    }
    let ids = ["rs_", "msg_", "fc_", "cmp_", "ci_", "mcp", "resp_"];
    if object.get("id").and_then(Value::as_str).is_some_and(|id| !ids.iter().any(|prefix| id.starts_with(prefix))) {
        object.remove("id");
    }
    if object.get("annotations") == Some(&json!([])) {
        object.remove("annotations");
    }
    if let Some(text) = object.get("content").filter(|_| object.contains_key("role")).and_then(Value::as_str) {
        let kind = if object["role"] == "assistant" { "output_text" } else { "input_text" };
        let content = json!([{"type": kind, "text": text}]);
        object.insert("content".into(), content);
    }
}

#[test]
fn requests_come_back_as_they_were() {
    for Recording { name, request, .. } in all() {
        if request.is_null() {
            continue;
        }
        let (mut sent, mut written, losses) = own_request(OWN, &request.to_string(), &Call::default());
        short(&mut sent);
        short(&mut written);
        assert_eq!(differences(&sent, &written), Vec::<String>::new(), "{name}");
        assert!(losses.is_empty(), "{name}: {losses:?}");
    }
}

/// What an answer says, read from its JSON without the codec.
fn check_answer(name: &str, body: &Value, response: &Response<'_>) {
    let items = body["output"].as_array().unwrap();
    let of = |kind: &'static str| items.iter().filter(move |item| item["type"] == kind);
    let strings =
        |values: Vec<&Value>| values.into_iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let blocks = &response.choices[0].blocks;
    let (mut texts, mut calls, mut summaries, mut reasoned, mut encrypted) = (vec![], vec![], vec![], vec![], vec![]);
    for block in blocks {
        match &block.content {
            Content::Text(text) => texts.push(text.text.to_string()),
            Content::ToolCall(call) => {
                calls.extend([call.id.to_string(), call.name.to_string(), call.arguments.to_string()]);
            }
            Content::Reasoning(reasoning) => {
                summaries.extend(reasoning.summary.iter().map(ToString::to_string));
                reasoned.extend((!reasoning.text.is_empty()).then(|| reasoning.text.to_string()));
                encrypted.extend(reasoning.encrypted.iter().map(|state| state.data.to_string()));
            }
            _ => {}
        }
    }
    let parts =
        |item: &'static str, list: &'static str| of(item).filter_map(move |item| item[list].as_array()).flatten();
    assert_eq!(texts, strings(parts("message", "content").map(|part| &part["text"]).collect()), "{name}");
    assert_eq!(summaries, strings(parts("reasoning", "summary").map(|part| &part["text"]).collect()), "{name}");
    assert_eq!(reasoned, strings(parts("reasoning", "content").map(|part| &part["text"]).collect()), "{name}");
    assert_eq!(encrypted, strings(of("reasoning").map(|item| &item["encrypted_content"]).collect()), "{name}");
    let wanted = of("function_call").flat_map(|item| [&item["call_id"], &item["name"], &item["arguments"]]).collect();
    assert_eq!(calls, strings(wanted), "{name}");
    let known = ["message", "reasoning", "function_call"];
    let foreign = items.iter().filter(|item| !known.iter().any(|kind| item["type"] == *kind));
    let kept: Vec<Value> = blocks
        .iter()
        .filter_map(|block| match &block.content {
            Content::Foreign(foreign) => Some(foreign.raw.to_value()),
            _ => None,
        })
        .collect();
    for (kept, wanted) in kept.iter().zip(foreign.clone()) {
        assert_eq!(differences(kept, wanted), Vec::<String>::new(), "{name}");
    }
    assert_eq!(kept.len(), foreign.count(), "{name}");
    let stop = match body["status"].as_str() {
        Some("queued") => StopReason::Other,
        _ if !calls.is_empty() => StopReason::ToolCalls,
        _ => StopReason::End,
    };
    assert_eq!(response.choices[0].stop.reason, stop, "{name}");
    assert_eq!(response.id.as_deref(), body["id"].as_str(), "{name}");
    assert_eq!(response.model.as_deref(), body["model"].as_str(), "{name}");
    assert_eq!(response.created, body["created_at"].as_f64().map(|at| at as u64), "{name}");
    assert_eq!(response.service_tier.as_deref(), body["service_tier"].as_str(), "{name}");
    let Some(wanted) = body["usage"].as_object() else {
        assert_eq!(response.usage, None, "{name}");
        return;
    };
    let usage = response.usage.unwrap();
    assert_eq!(usage.total_input(), wanted["input_tokens"].as_u64(), "{name}");
    assert_eq!(usage.cache_read, wanted["input_tokens_details"]["cached_tokens"].as_u64(), "{name}");
    assert_eq!(usage.total_output(), wanted["output_tokens"].as_u64(), "{name}");
    assert_eq!(usage.reasoning, wanted["output_tokens_details"]["reasoning_tokens"].as_u64(), "{name}");
}

#[test]
fn answers_say_what_they_said() {
    for Recording { name, status, answer, .. } in all() {
        let Ok(body) = serde_json::from_slice::<Value>(&answer) else { continue };
        if status >= 400 {
            let error = decode_error(OWN, status, &answer);
            assert_eq!(error.message, body["error"]["message"].as_str().unwrap(), "{name}");
            assert!(codec(OWN).decode_response(&answer, &maker()).is_err(), "{name}");
            continue;
        }
        let response = codec(OWN).decode_response(&answer, &maker()).unwrap_or_else(|error| panic!("{name}: {error}"));
        check_answer(&name, &body, &response);
        check_own_answer(OWN, &response, &name);
    }
}

/// The answer that the last event of a stream repeats, with the items as each was told at its end: OpenAI encrypts reasoning
/// anew for every time it tells it.
fn repeated(stream: &[u8]) -> Value {
    let text = std::str::from_utf8(stream).unwrap();
    let events = || text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let mut answer = events().next_back().unwrap()["response"].take();
    let items =
        events().filter(|event| event["type"] == "response.output_item.done").map(|mut event| event["item"].take());
    answer["output"] = items.collect();
    answer
}

#[test]
fn streams_add_up_to_the_answer() {
    let mut count = 0;
    for Recording { name, answer, .. } in all().into_iter().filter(|one| one.stream && one.status < 400) {
        count += 1;
        let decoder = || codec(OWN).stream_decoder(&maker());
        let all = events(&mut *decoder(), &answer);
        assert!(matches!(all.last(), Some(Event::End)), "{name}: {:?}", all.last());
        let body = repeated(&answer);
        let mut streamed = collected(OWN, &all).unwrap();
        check_answer(&name, &body, &streamed);
        check_own_answer(OWN, &streamed, &name);
        check_cuts(decoder, OWN, &answer);
        check_no_false_end(decoder, OWN, &answer);
        let text = body.to_string();
        let whole = codec(OWN).decode_response(text.as_bytes(), &maker()).unwrap();
        // OpenAI rounds the probabilities that it repeats.
        assert_eq!(streamed.choices[0].logprobs.len(), whole.choices[0].logprobs.len(), "{name}");
        streamed.choices[0].logprobs.clone_from(&whole.choices[0].logprobs);
        assert_eq!(streamed, whole, "{name}");
    }
    assert!(count == 0 || count == 15, "{count}");
}
