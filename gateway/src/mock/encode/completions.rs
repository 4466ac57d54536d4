//! The old completions: <https://platform.openai.com/docs/api-reference/completions>.

use ai_gateway_providers::Dialect;
use bytes::Bytes;
use serde_json::json;

use super::chat::{finish_reason, usage_json};
use super::{CREATED, Encode, Meta, push_json, quoted, set};
use crate::mock::failure::Failure;
use crate::mock::script::{Finish, Piece, Script, Usage};

/// A stream of `text_completion`.
pub(in crate::mock) struct Completions {
    meta: Meta,
}

impl Completions {
    pub(in crate::mock) fn new(meta: Meta) -> Self {
        Completions { meta }
    }

    /// The answer in one.
    pub(in crate::mock) fn whole(meta: &Meta, script: &Script) -> Vec<u8> {
        let mut answer = json!({
            "id": meta.id("cmpl-"), "object": "text_completion", "created": CREATED, "model": meta.model,
            "choices": [{"text": script.text(), "index": 0, "logprobs": null, "finish_reason": finish_reason(script.finish)}],
        });
        if let Some(usage) = script.usage {
            set(&mut answer, "usage", usage_json(usage));
        }
        answer.to_string().into_bytes()
    }

    fn frame(&self, choices: &[u8], usage: Option<Usage>) -> Bytes {
        let head = format!(
            "data: {{\"id\":\"{}\",\"object\":\"text_completion\",\"created\":{CREATED},\"model\":{},\"choices\":",
            self.meta.id("cmpl-"),
            quoted(&self.meta.model),
        );
        let mut out = head.into_bytes();
        out.extend_from_slice(choices);
        if let Some(usage) = usage {
            out.extend_from_slice(format!(",\"usage\":{}", usage_json(usage)).as_bytes());
        } else if self.meta.include_usage {
            out.extend_from_slice(b",\"usage\":null");
        }
        out.extend_from_slice(b"}\n\n");
        out.into()
    }
}

impl Encode for Completions {
    fn preamble(&mut self, _script: &Script) -> Bytes {
        Bytes::new()
    }

    fn piece(&mut self, piece: Piece<'_>) -> Bytes {
        let Piece::Text(text) = piece else {
            return Bytes::new();
        };
        let mut choices = b"[{\"text\":".to_vec();
        push_json(&mut choices, text);
        choices.extend_from_slice(b",\"index\":0,\"logprobs\":null,\"finish_reason\":null}]");
        self.frame(&choices, None)
    }

    fn closing(&mut self, finish: Finish, usage: Option<Usage>) -> Vec<Bytes> {
        let reason = finish_reason(finish);
        let last = format!("[{{\"text\":\"\",\"index\":0,\"logprobs\":null,\"finish_reason\":\"{reason}\"}}]");
        let mut frames = vec![self.frame(last.as_bytes(), None)];
        if let Some(usage) = usage.filter(|_| self.meta.include_usage) {
            frames.push(self.frame(b"[]", Some(usage)));
        }
        frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
        frames
    }

    fn error(&mut self, failure: &Failure) -> Bytes {
        format!("data: {}\n\n", failure.body(Dialect::OpenAiChat)).into()
    }
}
