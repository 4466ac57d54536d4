//! One of everything in requests and answers.

use serde_json::json;

use super::*;
use crate::common::{Content, Effort, MediaSource, ReasoningMode, ResponseFormat, Role, StopReason, Tool, ToolChoice};

#[test]
fn every_kind_of_content_comes_back() {
    same(&json!({"messages": [
        {"role": "user", "content": [
            {"text": "Look"},
            {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
            {"image": {"format": "tiff", "source": {"s3Location": {"uri": "s3://b/k.png", "bucketOwner": "123456789012"}}}},
            {"document": {"format": "pdf", "name": "a_b.c", "source": {"bytes": "AAAA"}, "context": "c", "citations": {"enabled": true}}},
            {"document": {"name": "D", "source": {"text": "words"}}},
            {"document": {"format": "txt", "name": "D", "source": {"content": [{"text": "1"}, {"text": "2"}]}}},
            {"document": {"name": "F", "source": {"content": [{"text": "1"}, {"newPart": {"a": 1}}]}}},
            {"document": {"format": "md", "name": "E", "source": {"s3Location": {"uri": "s3://b/k"}}}},
            {"video": {"format": "mpg", "source": {"s3Location": {"uri": "s3://b/v.mpg"}}}},
            {"video": {"format": "three_gp", "source": {"bytes": "AAAA"}}},
            {"audio": {"format": "mpga", "source": {"bytes": "AAAA"}}},
            {"audio": {"format": "wav", "source": {"newSource": 1}}},
            {"guardContent": {"text": {"text": "guarded", "qualifiers": ["query"]}}},
            {"guardContent": {"image": {"format": "png", "source": {"bytes": "AAAA"}}}},
            {"searchResult": {"source": "https://a/", "title": "T", "content": [{"text": "found"}], "citations": {"enabled": true}}},
            {"cachePoint": {"type": "default", "ttl": "1h"}},
            {"cachePoint": {"type": "new"}},
            {"newBlock": {"a": [1, 2.50]}},
        ]},
        {"role": "system", "content": [
            {"text": "From now on"},
            {"toolAddition": {"tool": {"type": "tool", "name": "f"}}},
        ]},
        {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
            {"reasoningContent": {"reasoningText": {"text": "unsigned"}}},
            {"reasoningContent": {"redactedContent": "cmVk"}},
            {"reasoningContent": {"newReasoning": 1}},
            {"citationsContent": {"content": [{"text": "So"}], "citations": [{"title": "T", "location": {"documentChar": {"documentIndex": 0, "start": 1, "end": 5}}}]}},
            {"toolUse": {"toolUseId": "functions.f:0", "name": "f", "input": {"b": 1, "a": 12345678901234567890u64}}},
            {"toolUse": {"toolUseId": "t", "name": "f", "input": [1]}},
            {"toolUse": {"toolUseId": "s", "name": "g", "input": {}, "type": "server_tool_use"}},
            {"toolResult": {"toolUseId": "s", "content": [{"json": {"z": 1}}], "status": "success", "type": "x"}},
            {"cachePoint": {"type": "default"}},
        ]},
        {"role": "user", "content": [
            {"toolResult": {"toolUseId": "functions.f:0", "status": "error", "type": "x", "content": [
                {"text": "bad"},
                {"json": {"z": 1, "a": 2}},
                {"image": {"format": "jpeg", "source": {"bytes": "AAAA"}}},
                {"document": {"format": "csv", "name": "D", "source": {"bytes": "AAAA"}}},
                {"video": {"format": "mp4", "source": {"bytes": "AAAA"}}},
                {"searchResult": {"source": "s", "title": "t", "content": []}},
            ]}},
            {"cachePoint": {"type": "default"}},
            {"toolResult": {"toolUseId": "x", "content": [], "status": "success"}},
        ]},
    ]}).to_string());
}

#[test]
fn every_field_comes_back() {
    same(&json!({
        "messages": [{"role": "user", "content": [{"text": "Hi"}], "new": 1}],
        "system": [
            {"text": "Be kind"},
            {"cachePoint": {"type": "default"}},
            {"guardContent": {"text": {"text": "guarded"}}},
        ],
        "inferenceConfig": {"maxTokens": 5, "temperature": 0.5, "topP": 0.9, "stopSequences": ["a", "b"], "new": 1},
        "toolConfig": {
            "tools": [
                {"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": {"type": "object"}}, "strict": false, "new": 1}},
                {"cachePoint": {"type": "default"}},
                {"systemTool": {"name": "nova_grounding"}},
                {"cachePoint": {"type": "default"}},
            ],
            "toolChoice": {"tool": {"name": "f"}},
            "new": 1,
        },
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1", "trace": "enabled", "streamProcessingMode": "sync"},
        "additionalModelRequestFields": {"top_k": 5, "thinking": {"type": "enabled", "budget_tokens": 1024}, "anthropic_beta": ["x"]},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
        "promptVariables": {"v": {"text": "t"}},
        "requestMetadata": {"k": "v"},
        "performanceConfig": {"latency": "optimized"},
        "serviceTier": {"type": "reserved"},
        "projectIdentifier": "p",
        "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema":
            {"schema": "{\"type\": \"object\"}", "name": "n", "description": "d"}}}, "new": 1},
    }).to_string());
    for choice in [json!({"auto": {}}), json!({"any": {}}), json!({"new": {"a": 1}})] {
        same(&json!({"messages": [], "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}], "toolChoice": choice}}).to_string());
    }
    same(&json!({"messages": [], "outputConfig": {"textFormat": {"type": "new", "structure": {}}}}).to_string());
    same(&json!({"messages": [], "outputConfig": {"effort": "later"}}).to_string());
    same(&json!({"messages": [], "additionalModelRequestFields": "test"}).to_string());
}

#[test]
fn what_is_asked_has_its_place_in_the_common_model() {
    let body = json!({
        "messages": [
            {"role": "user", "content": [{"text": "Hi"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]},
            {"role": "user", "content": [{"document": {"name": "D", "source": {"content": [{"text": "1"}]}}}]},
        ],
        "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}, {"cachePoint": {"type": "default"}}], "toolChoice": {"any": {}}},
        "additionalModelRequestFields": {"thinking": {"type": "adaptive"}},
        "requestMetadata": {"k": "v"},
        "serviceTier": {"type": "flex"},
        "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{\"b\":1,\"a\":2}"}}}, "effort": "high"},
    }).to_string();
    let request = codec(OWN).decode_request(body.as_bytes(), &call()).unwrap();
    assert_eq!(request.messages[0].blocks[0].cache.as_ref().unwrap().ttl.as_deref(), Some("1h"));
    assert_eq!(request.messages[0].role, Role::User);
    let Content::Media(media) = &request.messages[1].blocks[0].content else { panic!() };
    assert!(matches!(&media.source, MediaSource::Blocks(blocks) if blocks.len() == 1));
    assert!(matches!(&request.tools[0], Tool::Function(tool) if tool.cache.is_some()));
    assert_eq!(request.tool_choice, Some(ToolChoice::Required));
    let reasoning = request.reasoning.unwrap();
    assert_eq!((reasoning.mode, reasoning.effort), (Some(ReasoningMode::Adaptive), Some(Effort::High)));
    assert_eq!(request.service_tier.as_deref(), Some("flex"));
    assert_eq!(request.metadata.unwrap().get(), r#"{"k":"v"}"#);
    let Some(ResponseFormat::Schema { schema, .. }) = request.response_format else { panic!() };
    assert_eq!(schema.get(), r#"{"b":1,"a":2}"#);
    assert!(request.extras.is_empty(), "{:?}", request.extras);
}

#[test]
fn every_stop_reason_comes_back() {
    for (word, reason) in [
        ("end_turn", StopReason::End),
        ("tool_use", StopReason::ToolCalls),
        ("max_tokens", StopReason::MaxTokens),
        ("stop_sequence", StopReason::StopSequence),
        ("guardrail_intervened", StopReason::ContentFilter),
        ("content_filtered", StopReason::ContentFilter),
        ("malformed_model_output", StopReason::Other),
        ("malformed_tool_use", StopReason::MalformedCall),
        ("model_context_window_exceeded", StopReason::ContextWindow),
    ] {
        let body = json!({
            "output": {"message": {"role": "assistant", "content": [{"text": "x"}]}},
            "stopReason": word,
            "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 30,
                "cacheDetails": [{"ttl": "1h", "inputTokens": 10}, {"ttl": "5m", "inputTokens": 20}]},
            "additionalModelResponseFields": {"stop_sequence": "END"},
        }).to_string();
        let response = codec(OWN).decode_response(body.as_bytes(), &testing::maker()).unwrap();
        assert_eq!(response.choices[0].stop.reason, reason, "{word}");
        assert_eq!(response.choices[0].stop.sequence.as_deref(), Some("END"));
        let usage = response.usage.unwrap();
        assert_eq!((usage.cache_write_5m, usage.cache_write_1h, usage.total_input()), (Some(20), Some(10), Some(36)));
        testing::check_own_answer(OWN, &response, word);
        let written = codec(OWN).encode_response(&response, &testing::client(), &mut Losses::default());
        let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(written["stopReason"], word);
    }
}

#[test]
fn what_is_no_answer_is_an_error() {
    use crate::error::ErrorKind;
    let decode = |body: &str| codec(OWN).decode_response(body.as_bytes(), &testing::maker()).unwrap_err();
    assert_eq!(decode(r#"{"message":"no such thing"}"#).message, "no such thing");
    assert_eq!(decode(r#"{"__type":"ThrottlingException","message":"slow"}"#).kind, ErrorKind::RateLimited);
    assert_eq!(decode("<html>").kind, ErrorKind::UpstreamError);
    assert!(
        decode(r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#).status
            == 200
    );
}
