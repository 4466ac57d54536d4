//! What stands in the result of a tool, for models that take media there.

use serde_json::{Value, json};

use super::super::super::testing::target;
use super::super::super::{Platform, Target, codec};
use super::encoded_for;
use crate::catalogue::Traits;
use crate::codec::Call;
use crate::common::Request;
use crate::dialect::Dialect;

/// The parts of the user's turn that holds the result, and what was lost.
fn told(request: &Request<'_>, platform: Platform) -> (Value, Vec<String>) {
    let traits = Traits { gemini_3: true, ..Traits::default() };
    let (mut body, lost) = encoded_for(request, &Target { traits, platform, ..target() });
    (body["contents"][1]["parts"].take(), lost)
}

fn claude(content: &Value, platform: Platform) -> (Value, Vec<String>) {
    let body = json!({"model": "m", "max_tokens": 9, "messages": [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": content}]}]});
    let body = body.to_string();
    told(&codec(Dialect::Anthropic).decode_request(body.as_bytes(), &Call::default()).unwrap(), platform)
}

fn responds(output: &str) -> Value {
    json!({"functionResponse": {"id": "c", "name": "f", "response": {"output": output}}})
}

/// `functionResponse.parts` knows neither texts nor, on AI Studio, addresses; Google refuses what it does not know.
#[test]
fn a_result_holds_what_has_a_place_in_it() {
    let png = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
    let gif = json!({"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "AAAA"}});
    let url = json!({"type": "image", "source": {"type": "url", "url": "https://x.org/a.png"}});
    let pdf = json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"},
        "context": "CTX"});
    let found = json!({"type": "search_result", "source": "https://x.org/", "title": "The Title",
        "content": [{"type": "text", "text": "body text"}]});
    let blob = |mime: &str| json!({"inlineData": {"mimeType": mime, "data": "AAAA"}});
    let file = json!({"fileData": {"mimeType": "image/png", "fileUri": "https://x.org/a.png"}});
    let holding = |output: &str, part: Value| {
        let mut result = responds(output);
        result["functionResponse"]["parts"] = json!([part]);
        result
    };
    for (content, platform, parts, lost) in [
        (&found, Platform::Native, json!([responds("The Title\nbody text")]), &["messages.source"][..]),
        (&pdf, Platform::Native, json!([holding("CTX", blob("application/pdf"))]), &[]),
        (&png, Platform::Native, json!([holding("", blob("image/png"))]), &[]),
        (&gif, Platform::Native, json!([responds(""), blob("image/gif")]), &[]),
        (&url, Platform::Native, json!([responds(""), file]), &[]),
        (&url, Platform::Vertex, json!([holding("", file.clone())]), &[]),
    ] {
        let lost: Vec<_> = lost.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(claude(&json!([content]), platform), (parts, lost), "{content} {platform:?}");
    }
}

#[test]
fn how_closely_to_look_has_no_place_in_a_result() {
    let body = json!({"model": "m", "input": [
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [
            {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "high"},
            {"type": "input_image", "image_url": "data:image/gif;base64,AAAA", "detail": "high"}]}]});
    let body = body.to_string();
    let request = codec(Dialect::OpenAiResponses).decode_request(body.as_bytes(), &Call::default()).unwrap();
    let (parts, lost) = told(&request, Platform::Native);
    let held = json!([{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]);
    assert_eq!(parts[0]["functionResponse"]["parts"], held);
    assert_eq!(parts[1]["mediaResolution"], json!({"level": "MEDIA_RESOLUTION_HIGH"}), "it stands in the turn");
    assert_eq!(lost, ["messages.detail"]);
}
