//! Request and answer bodies that many suites send.

use bytes::Bytes;
use serde_json::json;

/// A chat request for `model` that is exactly `size` bytes long (at least about 80).
pub fn chat_of_size(model: &str, size: usize) -> Bytes {
    let head = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":""#);
    let tail = r#""}]}"#;
    let padding = size.checked_sub(head.len() + tail.len()).expect("a size that holds the request");
    // Not one repeated byte: a shifted or doubled piece must show.
    let text: String = (0..padding).map(|i| char::from(b'a' + (i / 7 + i * i / 65_536) as u8 % 26)).collect();
    Bytes::from([head.as_bytes(), text.as_bytes(), tail.as_bytes()].concat())
}

/// A small chat request.
pub fn chat(model: &str) -> Bytes {
    Bytes::from(format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"Hello"}}]}}"#))
}

/// A small streamed chat request.
pub fn chat_stream(model: &str) -> Bytes {
    Bytes::from(format!(r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}"#))
}

/// A small Anthropic request.
pub fn message(model: &str, stream: bool) -> Bytes {
    let text = r#"[{"role":"user","content":"Hello"}]"#;
    Bytes::from(format!(r#"{{"model":"{model}","max_tokens":64,"stream":{stream},"messages":{text}}}"#))
}

/// A small Responses request.
pub fn response(model: &str, stream: bool) -> Bytes {
    Bytes::from(format!(r#"{{"model":"{model}","stream":{stream},"input":"Hello"}}"#))
}

/// A whole chat answer.
pub fn chat_answer(text: &str) -> String {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "upstream-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    })
    .to_string()
}

/// The role chunk that opens a chat stream; not output yet.
pub fn chat_role() -> String {
    chat_event(r#"{"role":"assistant","content":""}"#, "null")
}

/// A content chunk of a chat stream.
pub fn chat_delta(text: &str) -> String {
    chat_event(&json!({"content": text}).to_string(), "null")
}

/// The chunk with the finish reason.
pub fn chat_finish() -> String {
    chat_event("{}", "\"stop\"")
}

/// The chunk with the usage only, sent when `stream_options.include_usage` asks for it.
pub fn chat_usage() -> String {
    concat!(
        r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"upstream-model","choices":[],"#,
        r#""usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}"#,
        "\n\n"
    )
    .to_owned()
}

/// The end of a chat stream.
pub const DONE: &str = "data: [DONE]\n\n";

/// All events of a chat stream that says `text`, and for how many tokens.
pub fn chat_events(text: &str) -> [String; 5] {
    [chat_role(), chat_delta(text), chat_finish(), chat_usage(), DONE.to_owned()]
}

fn chat_event(delta: &str, finish: &str) -> String {
    let head = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"upstream-model","choices":"#;
    format!("data: {head}[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n")
}

/// An Anthropic stream's events: name and data.
pub fn anthropic_event(name: &str, data: &serde_json::Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// A TOML provider table `[providers.<name>]` of kind `openai-compatible` at this origin.
pub fn openai_provider(name: &str, origin: &str) -> String {
    format!(
        "[providers.{name}]\nkind = \"openai-compatible\"\nbase_url = \"{origin}/v1\"\napi_key = \"upstream-{name}\"\n"
    )
}

/// A TOML provider table of kind `openai` at this origin: it has the Responses API.
pub fn responses_provider(name: &str, origin: &str) -> String {
    format!("[providers.{name}]\nkind = \"openai\"\nbase_url = \"{origin}/v1\"\napi_key = \"upstream-{name}\"\n")
}

/// A TOML provider table of kind `anthropic` at this origin.
pub fn anthropic_provider(name: &str, origin: &str) -> String {
    format!("[providers.{name}]\nkind = \"anthropic\"\nbase_url = \"{origin}\"\napi_key = \"upstream-{name}\"\n")
}

/// The `hash` line's value for a client key.
pub fn key_hash(key: &str) -> String {
    use sha2::Digest;
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(key.as_bytes())))
}
