//! What holds for requests to all dialects.

use serde_json::{Value, json};

use super::testing::target;
use super::{Call, Platform, Target, codec};
use crate::common::Losses;
use crate::dialect::Dialect;
use crate::error::ErrorKind;

/// What a request becomes for each other dialect: an error's parameter, or the fields that were lost.
fn asked(from: Dialect, body: &Value) -> Vec<Result<Vec<String>, Option<String>>> {
    let body = body.to_string();
    let request = codec(from).decode_request(body.as_bytes(), &Call::default()).unwrap();
    let mut all = Vec::new();
    for to in Dialect::ALL {
        let mut losses = Losses::default();
        let written = codec(to).encode_request(&request, &target(), &mut losses);
        if to == from {
            assert!(written.is_ok() && losses.is_empty(), "{to} {losses:?}");
            continue;
        }
        all.push(match written {
            Ok(_) => Ok(losses.iter().map(|loss| loss.field.clone()).collect()),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::InvalidRequest);
                Err(error.param)
            }
        });
    }
    all
}

/// Without it the request would ask for something else: money for an answer to nothing.
#[test]
fn what_only_the_provider_keeps_is_not_left_out() {
    for (field, value) in [
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!("conv_1")),
        ("conversation", json!({"id": "conv_1"})),
        ("prompt", json!({"id": "pmpt_1"})),
        ("input", json!([{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "go on"}])),
        ("input", json!([{"type": "compaction", "encrypted_content": "e"}, {"role": "user", "content": "go on"}])),
        ("input", json!([{"role": "user", "content": "go on"}, {"type": "compaction_trigger"}])),
    ] {
        let mut body = json!({"model": "m", "input": "and what did I say before?"});
        body[field] = value;
        for told in asked(Dialect::OpenAiResponses, &body) {
            assert_eq!(told, Err(Some(field.to_owned())));
        }
    }
    for thread in [json!({"type": "create"}), json!({"type": "continue", "previous_message_id": "msg_1"})] {
        let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "go on"}], "thread": thread});
        assert!(asked(Dialect::Anthropic, &body).iter().all(|told| *told == Err(Some("thread".to_owned()))));
    }
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "What does it say?"}]}], "cachedContent": "cachedContents/1"});
    assert!(asked(Dialect::Gemini, &body).iter().all(|told| *told == Err(Some("cachedContent".to_owned()))));
}

/// Bedrock's and Vertex's Claude keep none; Anthropic's SDK sends the whole conversation when it is told so.
#[test]
fn clouds_keep_no_threads() {
    let body =
        br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"thread":{"type":"create"}}"#;
    let request = codec(Dialect::Anthropic).decode_request(body, &Call::default()).unwrap();
    for platform in [Platform::Native, Platform::Vertex, Platform::BedrockInvoke] {
        let target = Target { platform, ..target() };
        let written = codec(Dialect::Anthropic).encode_request(&request, &target, &mut Losses::default());
        let code = written.err().and_then(|error| error.code);
        assert_eq!(code.as_deref(), (platform != Platform::Native).then_some("thread_unsupported_request"));
    }
}

/// Typed clients write what is not set as `null`.
#[test]
fn what_asks_for_nothing_is_no_loss() {
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 99, "logit_bias": null,
        "prediction": null, "web_search_options": null, "unheard_of": null, "metadata": {}, "verbosity": "medium"});
    let mut biased = chat.clone();
    biased["logit_bias"] = json!({});
    let responses = json!({"model": "m", "input": "hi", "max_output_tokens": 99, "background": null, "conversation": null,
        "max_tool_calls": null, "prompt": null, "truncation": null, "metadata": {}, "text": {"verbosity": "medium", "new": null},
        "reasoning": {"context": null}, "include": []});
    for (from, body) in
        [(Dialect::OpenAiChat, chat), (Dialect::OpenAiChat, biased), (Dialect::OpenAiResponses, responses)]
    {
        for told in asked(from, &body) {
            assert_eq!(told, Ok(Vec::new()), "{from} {body}");
        }
    }
    let searches = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "web_search_options": {}, "verbosity": "low"});
    for told in asked(Dialect::OpenAiChat, &searches) {
        let lost = told.unwrap();
        assert!(lost.contains(&"web_search_options".to_owned()), "{lost:?}");
    }
}
