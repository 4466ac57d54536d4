//! Whatever comes in: nothing panics, and a stream ends exactly once.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{OWN, requests, responses, streams};
use crate::codec::testing::{client, events, maker, target};
use crate::codec::{Call, codec};
use crate::common::{Event, Losses};

/// Replaces values at places that `edits` choose.
fn edited(mut value: Value, edits: &[(usize, usize)]) -> Value {
    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(list) => list.iter().map(count).sum(),
            Value::Object(object) => object.values().map(count).sum(),
            _ => 0,
        }
    }
    fn replace(value: &mut Value, at: &mut usize, new: &Value) {
        if *at == 0 {
            *value = new.clone();
        }
        *at = at.wrapping_sub(1);
        match value {
            Value::Array(list) => list.iter_mut().for_each(|one| replace(one, at, new)),
            Value::Object(object) => object.values_mut().for_each(|one| replace(one, at, new)),
            _ => {}
        }
    }
    let values = [
        json!(null),
        json!([]),
        json!({}),
        json!(""),
        json!("ü\u{0}\n"),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!([[]]),
        json!({"type": "text", "text": "x"}),
        json!({"type": "thinking"}),
        json!({"type": "document", "document": {"data": 1}}),
        json!({"type": "image_url", "image_url": {"url": "data:;base64,"}}),
        json!("assistant"),
        json!("tool"),
        json!({"start": 9, "end": 1, "type": "PLAN", "sources": [{}]}),
        json!({"start": 0, "end": u64::MAX, "content_index": u64::MAX}),
        json!([{"id": "", "function": {"arguments": "{"}}]),
        json!("content-end"),
        json!("tool-call-delta"),
        json!("message-end"),
    ];
    for (place, new) in edits {
        let mut at = place % count(&value);
        replace(&mut value, &mut at, &values[new % values.len()]);
    }
    value
}

fn edits() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((any::<usize>(), any::<usize>()), 0..6)
}

fn try_request(body: &[u8]) {
    let Ok(request) = codec(OWN).decode_request(body, &Call::default()) else { return };
    for dialect in [OWN, crate::Dialect::OpenAiChat] {
        let request = crate::common::Request { dialect, ..request.clone() };
        let written = codec(OWN).encode_request(&request, &target(), &mut Losses::default()).unwrap();
        assert!(serde_json::from_slice::<Value>(&written).is_ok());
    }
}

fn try_answer(body: &[u8]) {
    let Ok(response) = codec(OWN).decode_response(body, &maker()) else { return };
    let written = codec(OWN).encode_response(&response, &client(), &mut Losses::default());
    assert!(serde_json::from_slice::<Value>(&written).is_ok());
}

fn try_stream(body: &[u8]) {
    let all = events(&mut *codec(OWN).stream_decoder(&maker()), body);
    let last = |event: &Event<'_>| matches!(event, Event::End | Event::Error(_));
    assert_eq!(all.iter().filter(|event| last(event)).count(), 1);
    assert!(all.last().is_some_and(last));
    let (mut encoder, mut out) = (codec(OWN).stream_encoder(&client()), Vec::new());
    all.into_iter().for_each(|event| encoder.encode(event, &mut Losses::default(), &mut out));
    for event in String::from_utf8(out).unwrap().split_terminator("\n\n") {
        let Some((_, data)) = event.split_once("data: ") else {
            assert_eq!(event, ": ping");
            continue;
        };
        assert!(data == "[DONE]" || serde_json::from_str::<Value>(data).is_ok(), "{event}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        try_request(&body);
        try_answer(&body);
        try_stream(&body);
    }

    #[test]
    fn no_request_panics(edits in edits()) {
        try_request(edited(serde_json::from_str(requests::FULL).unwrap(), &edits).to_string().as_bytes());
    }

    #[test]
    fn no_answer_panics(edits in edits()) {
        try_answer(edited(serde_json::from_str(responses::FULL).unwrap(), &edits).to_string().as_bytes());
    }

    #[test]
    fn no_stream_panics(which in 0..4_usize, edits in edits()) {
        let (body, _) = streams::pairs().swap_remove(which);
        let events = body.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok());
        let edited = edited(Value::Array(events.collect()), &edits);
        let body: String = edited.as_array().into_iter().flatten().map(|event| format!("data: {event}\n\n")).collect();
        try_stream(body.as_bytes());
    }
}
