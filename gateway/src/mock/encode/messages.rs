//! Messages: <https://docs.anthropic.com/en/api/messages> and <https://docs.anthropic.com/en/api/messages-streaming>.

use std::io::Write as _;

use ai_gateway_providers::Dialect;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Encode, Meta, push_event, push_json, set};
use crate::mock::failure::Failure;
use crate::mock::proof;
use crate::mock::script::{Finish, Piece, Script, Usage};

/// A stream of named events.
pub(in crate::mock) struct Messages {
    meta: Meta,
    /// The number of the open block, and what it holds.
    open: Option<Block>,
    blocks: usize,
    /// Of the reasoning.
    signature: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Thinking,
    Text,
    Tool(usize),
}

fn usage_json(usage: Usage, output: u64) -> Value {
    json!({
        "input_tokens": usage.input - usage.cache_read - usage.cache_write,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
    })
}

fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
        Finish::ContentFilter => "refusal",
    }
}

impl Messages {
    pub(in crate::mock) fn new(meta: Meta) -> Self {
        Messages { meta, open: None, blocks: 0, signature: String::new() }
    }

    /// The answer in one.
    pub(in crate::mock) fn whole(meta: &Meta, script: &Script) -> Vec<u8> {
        let mut content = Vec::new();
        let reasoning = script.reasoning();
        if !reasoning.is_empty() {
            let signature = proof::of_text(Dialect::Anthropic, &reasoning);
            content.push(json!({"type": "thinking", "thinking": reasoning, "signature": signature}));
        }
        if script.calls.is_empty() {
            content.push(json!({"type": "text", "text": script.text()}));
        }
        for (i, call) in script.calls.iter().enumerate() {
            let input: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
            content
                .push(json!({"type": "tool_use", "id": meta.call_id("toolu_", i), "name": call.name, "input": input}));
        }
        let mut answer = json!({
            "id": meta.id("msg_"), "type": "message", "role": "assistant", "model": meta.model, "content": content,
            "stop_reason": stop_reason(script.finish), "stop_sequence": null,
        });
        if let Some(usage) = script.usage {
            set(&mut answer, "usage", usage_json(usage, usage.output));
        }
        answer.to_string().into_bytes()
    }

    /// Closes the open block, if it is another one than `block`, and opens `block`.
    fn enter(&mut self, out: &mut Vec<u8>, block: Block, start: impl FnOnce(&Meta) -> Value) {
        if self.open == Some(block) {
            return;
        }
        self.leave(out);
        let event = json!({"type": "content_block_start", "index": self.blocks, "content_block": start(&self.meta)});
        push_event(out, "content_block_start", &event);
        if self.blocks == 0 {
            push_event(out, "ping", &"{\"type\": \"ping\"}");
        }
        self.open = Some(block);
    }

    fn leave(&mut self, out: &mut Vec<u8>) {
        let Some(block) = self.open.take() else { return };
        if block == Block::Thinking {
            self.delta(out, "signature_delta", "signature", &self.signature);
        }
        push_event(out, "content_block_stop", &json!({"type": "content_block_stop", "index": self.blocks}));
        self.blocks += 1;
    }

    fn delta(&self, out: &mut Vec<u8>, kind: &str, field: &str, text: &str) {
        out.reserve(128 + text.len());
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{},\"delta\":{{\"type\":\"{kind}\",\"{field}\":",
            self.blocks
        );
        push_json(out, text);
        out.extend_from_slice(b"}}\n\n");
    }
}

impl Encode for Messages {
    fn preamble(&mut self, script: &Script) -> Bytes {
        self.signature = proof::of_text(Dialect::Anthropic, &script.reasoning());
        let mut message = json!({
            "id": self.meta.id("msg_"), "type": "message", "role": "assistant", "model": self.meta.model, "content": [],
            "stop_reason": null, "stop_sequence": null,
        });
        if let Some(usage) = script.usage {
            set(&mut message, "usage", usage_json(usage, 1));
        }
        let mut out = Vec::with_capacity(512);
        push_event(&mut out, "message_start", &json!({"type": "message_start", "message": message}));
        out.into()
    }

    fn piece(&mut self, piece: Piece<'_>) -> Bytes {
        let mut out = Vec::new();
        match piece {
            Piece::Text(text) => {
                self.enter(&mut out, Block::Text, |_| json!({"type": "text", "text": ""}));
                self.delta(&mut out, "text_delta", "text", text);
            }
            Piece::Reasoning(text) => {
                let start = |_: &Meta| json!({"type": "thinking", "thinking": "", "signature": ""});
                self.enter(&mut out, Block::Thinking, start);
                self.delta(&mut out, "thinking_delta", "thinking", text);
            }
            Piece::Call(i, call) => self.enter(
                &mut out,
                Block::Tool(i),
                |meta| json!({"type": "tool_use", "id": meta.call_id("toolu_", i), "name": call.name, "input": {}}),
            ),
            Piece::Arguments(_, part) => self.delta(&mut out, "input_json_delta", "partial_json", part),
        }
        out.into()
    }

    fn closing(&mut self, finish: Finish, usage: Option<Usage>) -> Vec<Bytes> {
        let mut stop = Vec::new();
        self.leave(&mut stop);
        let mut delta = json!({
            "type": "message_delta", "delta": {"stop_reason": stop_reason(finish), "stop_sequence": null},
        });
        if let Some(usage) = usage {
            set(&mut delta, "usage", usage_json(usage, usage.output));
        }
        let mut last = Vec::new();
        push_event(&mut last, "message_delta", &delta);
        vec![
            stop.into(),
            last.into(),
            Bytes::from_static(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        ]
    }

    fn error(&mut self, failure: &Failure) -> Bytes {
        let mut out = Vec::new();
        push_event(&mut out, "error", &failure.body(Dialect::Anthropic));
        out.into()
    }

    fn has_end_marker(&self) -> bool {
        true
    }
}
