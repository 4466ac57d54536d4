//! Answers: what the recordings lack.

use serde_json::json;

use super::super::super::testing::{check_own_answer, client};
use super::*;
use crate::common::{Content, MediaSource, StopReason};
use crate::error::ErrorKind;

fn finished(word: &str, parts: &serde_json::Value) -> Response<'static> {
    let body = json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": word, "index": 0}],
        "responseId": "r", "modelVersion": "m", "createTime": "2026-02-15T07:50:37.854117Z"});
    let response = answer(&body.to_string()).unwrap();
    check_own_answer(OWN, &response, word);
    response
}

#[test]
fn every_finish_reason_means_something_and_comes_back() {
    let table = [
        ("STOP", StopReason::End),
        ("MAX_TOKENS", StopReason::MaxTokens),
        ("SAFETY", StopReason::ContentFilter),
        ("RECITATION", StopReason::ContentFilter),
        ("BLOCKLIST", StopReason::ContentFilter),
        ("PROHIBITED_CONTENT", StopReason::ContentFilter),
        ("SPII", StopReason::ContentFilter),
        ("MODEL_ARMOR", StopReason::ContentFilter),
        ("IMAGE_SAFETY", StopReason::ContentFilter),
        ("IMAGE_PROHIBITED_CONTENT", StopReason::ContentFilter),
        ("IMAGE_RECITATION", StopReason::ContentFilter),
        ("IMAGE_OTHER", StopReason::Other),
        ("NO_IMAGE", StopReason::Other),
        ("LANGUAGE", StopReason::Other),
        ("MALFORMED_FUNCTION_CALL", StopReason::MalformedCall),
        ("UNEXPECTED_TOOL_CALL", StopReason::MalformedCall),
        ("TOO_MANY_TOOL_CALLS", StopReason::Other),
        ("MISSING_THOUGHT_SIGNATURE", StopReason::Other),
        ("CONTINUATION", StopReason::Pause),
        ("OTHER", StopReason::Other),
        ("SOMETHING_NEW", StopReason::Other),
    ];
    for (word, reason) in table {
        let response = finished(word, &json!([{"text": "a"}]));
        assert_eq!(response.choices[0].stop.reason, reason, "{word}");
        assert_eq!(response.created, Some(1_771_141_837));
        let written = Gemini.encode_response(&response, &client(), &mut Losses::default());
        let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(written["candidates"][0]["finishReason"], word);
    }
    let calls = finished("STOP", &json!([{"functionCall": {"name": "f", "args": {"a": 1}}}]));
    assert_eq!(calls.choices[0].stop.reason, StopReason::ToolCalls);
}

#[test]
fn parts_become_blocks() {
    let response = finished(
        "STOP",
        &json!([
            {"text": "thin", "thought": true}, {"text": "king", "thought": true}, {"text": "", "thought": true},
            {"text": "Hel"}, {"text": "lo"}, {"text": "", "thoughtSignature": "c2ln"}, {"text": "again"},
            {"functionCall": {"name": "f"}, "thoughtSignature": "c2ln"},
            {"functionCall": {"id": "x", "name": "f", "args": {"a": 1}}},
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "c2ln"},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
            {"functionCall": {"name": "g", "partialArgs": [{"jsonPath": "$.a", "stringValue": "b"}], "willContinue": true}},
        ]),
    );
    let blocks = &response.choices[0].blocks;
    let kinds: Vec<String> = blocks
        .iter()
        .map(|block| match &block.content {
            Content::Text(text) => format!("text {} {}", text.text, text.signature.is_some()),
            Content::Reasoning(reasoning) => format!("thought {} {}", reasoning.text, reasoning.signature.is_some()),
            Content::ToolCall(call) => format!("call {} {} {}", call.id, call.arguments, call.signature.is_some()),
            Content::Media(media) => format!("media {:?} {}", media.source, media.signature.is_some()),
            Content::Foreign(foreign) => format!("foreign {}", foreign.kind),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "thought thinking false",
            "text Hello true",
            "text again false",
            "call call_seed_0 {} true",
            r#"call x {"a":1} false"#,
            &format!("media {:?} true", MediaSource::Data("AAAA".into())),
            "foreign codeExecutionResult",
            "foreign functionCall",
        ]
    );
}

#[test]
fn a_refused_prompt_is_no_empty_success() {
    let body = r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":4,"totalTokenCount":4},
        "modelVersion":"m","responseId":"r"}"#;
    let response = answer(body).unwrap();
    assert_eq!(response.choices[0].stop.reason, StopReason::ContentFilter);
    assert_eq!(response.choices[0].stop.detail.as_deref(), Some("PROHIBITED_CONTENT"));
    check_own_answer(OWN, &response, "refused");
    assert_eq!(streamed(&sse(&[&body.replace('\n', "")])).unwrap(), response);
    let written = Gemini.encode_response(&response, &client(), &mut Losses::default());
    let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(written, serde_json::from_str::<serde_json::Value>(body).unwrap());
}

#[test]
fn sources_are_cited_in_characters() {
    let response = finished("STOP", &json!([{"text": "58°F now. "}, {"text": "Rain later."}]));
    assert!(matches!(&response.choices[0].blocks[0].content, Content::Text(text) if text.citations.is_empty()));
    let body = json!({"candidates": [{"content": {"parts": [{"text": "58°F now. "}, {"text": "Rain later."}]},
        "finishReason": "STOP", "groundingMetadata": {
            "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"retrievedContext": {"text": "q", "title": "B"}},
                {"maps": {"uri": "https://c"}}],
            "groundingSupports": [{"segment": {"endIndex": 10}, "groundingChunkIndices": [0, 1, 9]},
                {"segment": {"startIndex": 11, "endIndex": 22}, "groundingChunkIndices": [0]}],
            "webSearchQueries": ["w"]},
        "citationMetadata": {"citationSources": [{"startIndex": 3, "endIndex": 5, "uri": "https://d", "license": "mit"}]}}],
        "responseId": "r"});
    let response = answer(&body.to_string()).unwrap();
    check_own_answer(OWN, &response, "grounded");
    let Content::Text(text) = &response.choices[0].blocks[0].content else { panic!() };
    let cited: Vec<_> = text
        .citations
        .iter()
        .map(|one| (one.url.as_deref(), one.title.as_deref(), one.quote.as_deref(), one.span))
        .collect();
    assert_eq!(
        cited,
        [
            (Some("https://a"), Some("A"), None, Some((0, 9))),
            (None, Some("B"), Some("q"), Some((0, 9))),
            (Some("https://a"), Some("A"), None, Some((10, 21))),
            (Some("https://c"), None, None, None),
            // A place in the middle of a character is that of the next one.
            (Some("https://d"), None, None, Some((3, 4))),
        ]
    );
    assert!(response.choices[0].extras.iter().any(|(name, _)| *name == "groundingMetadata"));
}

#[test]
fn errors_and_emptiness_inside_a_200_are_errors() {
    let body = r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#;
    assert_eq!(answer(body).unwrap_err().kind, ErrorKind::Overloaded);
    for body in ["{}", r#"{"candidates":[]}"#, r#"{"usageMetadata":{}}"#, "", "<html>", "[]"] {
        assert_eq!(answer(body).unwrap_err().kind, ErrorKind::UpstreamError, "{body}");
    }
}

#[test]
fn counts_come_back() {
    let body = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}],"responseId":"r","usageMetadata":{
        "promptTokenCount":100,"cachedContentTokenCount":40,"candidatesTokenCount":30,"thoughtsTokenCount":7,"toolUsePromptTokenCount":5,
        "totalTokenCount":142,"promptTokensDetails":[{"modality":"TEXT","tokenCount":50},{"modality":"AUDIO","tokenCount":20},
        {"modality":"IMAGE","tokenCount":30}],"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":25}],"serviceTier":"FLEX"}}"#;
    let response = answer(body).unwrap();
    check_own_answer(OWN, &response, "counts");
    let usage = response.usage.unwrap();
    assert_eq!((usage.total(), usage.cache_read, usage.image_output), (Some(142), Some(40), Some(25)));
    assert_eq!(response.service_tier.as_deref(), Some("flex"));
    let written = Gemini.encode_response(&response, &client(), &mut Losses::default());
    let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
    let counts = &written["usageMetadata"];
    assert_eq!(counts["totalTokenCount"], 142);
    assert_eq!((&counts["promptTokenCount"], &counts["serviceTier"]), (&json!(105), &json!("flex")));
    let modalities: u64 =
        counts["promptTokensDetails"].as_array().unwrap().iter().map(|one| one["tokenCount"].as_u64().unwrap()).sum();
    assert_eq!(modalities, 105);
}

#[test]
fn probabilities_may_be_impossible() {
    let body = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP","logprobsResult":{
        "chosenCandidates":[{"token":"a","tokenId":7,"logProbability":-0.5},{"token":"b","logProbability":"-Infinity"}],
        "topCandidates":[{"candidates":[{"token":"a","logProbability":-0.5},{"token":"c","logProbability":-1}]}]}}],"responseId":"r"}"#;
    let response = answer(body).unwrap();
    check_own_answer(OWN, &response, "logprobs");
    let [first, second] = &*response.choices[0].logprobs else { panic!() };
    assert_eq!((first.logprob, first.top.len(), second.top.len()), (-0.5, 2, 0));
    assert!(second.logprob < -1e300);
}
