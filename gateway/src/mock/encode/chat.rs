//! Chat Completions: <https://platform.openai.com/docs/api-reference/chat>.

use ai_gateway_providers::Dialect;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{CREATED, Encode, Meta, push_json, quoted, set};
use crate::mock::failure::Failure;
use crate::mock::script::{Call, Finish, Piece, Script, Usage};

/// A stream of `chat.completion.chunk`.
pub(in crate::mock) struct Chat {
    meta: Meta,
    /// A chunk up to the fields of its delta, and from their end.
    head: String,
    tail: &'static str,
    /// The call that was begun last is one of a custom tool.
    custom: bool,
}

pub(super) fn usage_json(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

pub(super) fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter => "content_filter",
    }
}

fn call_json(meta: &Meta, i: usize, call: &Call, arguments: &str) -> Value {
    let id = meta.call_id("call_", i);
    if call.custom {
        json!({"id": id, "type": "custom", "custom": {"name": call.name, "input": arguments}})
    } else {
        json!({"id": id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
    }
}

impl Chat {
    pub(in crate::mock) fn new(meta: Meta) -> Self {
        let head = format!("{}[{{\"index\":0,\"delta\":{{", opening(&meta));
        let tail = if meta.include_usage {
            "},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n"
        } else {
            "},\"logprobs\":null,\"finish_reason\":null}]}\n\n"
        };
        Chat { meta, head, tail, custom: false }
    }

    /// The answer in one.
    pub(in crate::mock) fn whole(meta: &Meta, script: &Script) -> Vec<u8> {
        let text = script.text();
        let mut out = Vec::with_capacity(text.len() + 768);
        out.extend_from_slice(
            format!(
                "{{\"id\":\"{}\",\"object\":\"chat.completion\",\"created\":{CREATED},\"model\":{},\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":",
                meta.id("chatcmpl-"),
                quoted(&meta.model),
            )
            .as_bytes(),
        );
        if script.calls.is_empty() {
            push_json(&mut out, &text);
        } else {
            out.extend_from_slice(b"null,\"tool_calls\":");
            let calls: Value =
                script.calls.iter().enumerate().map(|(i, call)| call_json(meta, i, call, &call.arguments)).collect();
            out.extend_from_slice(calls.to_string().as_bytes());
        }
        let reasoning = script.reasoning();
        if !reasoning.is_empty() {
            out.extend_from_slice(b",\"reasoning_content\":");
            push_json(&mut out, &reasoning);
        }
        out.extend_from_slice(
            format!(
                ",\"refusal\":null,\"annotations\":[]}},\"logprobs\":null,\"finish_reason\":\"{}\"}}]",
                finish_reason(script.finish)
            )
            .as_bytes(),
        );
        if let Some(usage) = script.usage {
            out.extend_from_slice(format!(",\"usage\":{}", usage_json(usage)).as_bytes());
        }
        out.extend_from_slice(b",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\"}");
        out
    }

    fn delta(&self, field: &str, text: &str) -> Bytes {
        let mut out = Vec::with_capacity(self.head.len() + self.tail.len() + field.len() + text.len() + 16);
        out.extend_from_slice(self.head.as_bytes());
        out.extend_from_slice(field.as_bytes());
        push_json(&mut out, text);
        out.extend_from_slice(self.tail.as_bytes());
        out.into()
    }

    fn calls(&self, mut call: Value, i: usize) -> Bytes {
        set(&mut call, "index", json!(i));
        format!("{}\"tool_calls\":[{call}]{}", self.head, self.tail).into()
    }
}

/// A chunk up to its choices.
fn opening(meta: &Meta) -> String {
    format!(
        "data: {{\"id\":\"{}\",\"object\":\"chat.completion.chunk\",\"created\":{CREATED},\"model\":{},\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\",\"choices\":",
        meta.id("chatcmpl-"),
        quoted(&meta.model),
    )
}

impl Encode for Chat {
    fn preamble(&mut self, script: &Script) -> Bytes {
        let content = if script.calls.is_empty() { "\"\"" } else { "null" };
        format!("{}\"role\":\"assistant\",\"content\":{content},\"refusal\":null{}", self.head, self.tail).into()
    }

    fn piece(&mut self, piece: Piece<'_>) -> Bytes {
        match piece {
            Piece::Text(text) => self.delta("\"content\":", text),
            // The field that DeepSeek introduced and most OpenAI-compatible vendors took over.
            Piece::Reasoning(text) => self.delta("\"reasoning_content\":", text),
            Piece::Call(i, call) => {
                self.custom = call.custom;
                self.calls(call_json(&self.meta, i, call, ""), i)
            }
            Piece::Arguments(i, part) if self.custom => self.calls(json!({"custom": {"input": part}}), i),
            Piece::Arguments(i, part) => self.calls(json!({"function": {"arguments": part}}), i),
        }
    }

    fn closing(&mut self, finish: Finish, usage: Option<Usage>) -> Vec<Bytes> {
        let last = self.tail.replacen(
            "\"finish_reason\":null",
            &format!("\"finish_reason\":\"{}\"", finish_reason(finish)),
            1,
        );
        let mut frames: Vec<Bytes> = vec![format!("{}{last}", self.head).into()];
        if let Some(usage) = usage.filter(|_| self.meta.include_usage) {
            frames.push(format!("{}[],\"usage\":{}}}\n\n", opening(&self.meta), usage_json(usage)).into());
        }
        frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
        frames
    }

    fn error(&mut self, failure: &Failure) -> Bytes {
        format!("data: {}\n\n", failure.body(Dialect::OpenAiChat)).into()
    }

    fn has_end_marker(&self) -> bool {
        true
    }
}
