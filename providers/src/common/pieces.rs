//! An answer that its client sends back as it was streamed: Google's SDKs keep each chunk as a message of its own.

use super::{Block, Content, Request, Role};
use crate::dialect::Dialect;

impl Request<'_> {
    /// Puts together what the model has said in pieces: its consecutive messages, and in them texts, and thoughts up to the one with a
    /// signature. That is how Gemini's streams are read; elsewhere every message and every block counts.
    pub fn join_pieces(&mut self) {
        if self.dialect != Dialect::Gemini {
            return;
        }
        self.messages.dedup_by(|next, last| {
            let is_piece = last.role == Role::Assistant && next.role == Role::Assistant && next.extras.is_empty();
            if is_piece {
                last.blocks.append(&mut next.blocks);
            }
            is_piece
        });
        for message in self.messages.iter_mut().filter(|message| message.role == Role::Assistant) {
            join(&mut message.blocks);
        }
    }
}

fn join(blocks: &mut Vec<Block<'_>>) {
    let says_nothing = |block: &Block<'_>| is_plain(block) && block.is_silent() && !block.is_signed_text();
    if !blocks.iter().all(says_nothing) {
        blocks.retain(|block| !says_nothing(block));
    }
    blocks.dedup_by(|next, last| is_plain(next) && is_plain(last) && goes_on(last, next));
}

/// Whether nothing stands beside what it says.
fn is_plain(block: &Block<'_>) -> bool {
    block.cache.is_none() && block.id.is_none() && block.extras.is_empty()
}

/// Takes `next` into `last` if both are pieces of one text or thought.
fn goes_on<'a>(last: &mut Block<'a>, next: &mut Block<'a>) -> bool {
    match (&mut last.content, &mut next.content) {
        (Content::Text(last), Content::Text(next)) if last.signature.is_none() => {
            last.text.push_str(&next.text);
            last.signature = next.signature.take();
            true
        }
        (Content::Reasoning(last), Content::Reasoning(next))
            if last.signature.is_none() && last.encrypted.is_none() =>
        {
            last.text.push_str(&next.text);
            (last.signature, last.encrypted) = (next.signature.take(), next.encrypted.take());
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::codec::testing::target;
    use crate::codec::{Call, codec};
    use crate::common::{Losses, Opaque};

    /// What a client of Gemini sends back, as a provider of `to` gets it.
    fn sent_back(to: Dialect, contents: &Value) -> (Value, Losses) {
        let body = json!({ "contents": contents }).to_string();
        let mut request = codec(Dialect::Gemini).decode_request(body.as_bytes(), &Call::default()).unwrap();
        request.join_pieces();
        let mut losses = Losses::default();
        let body = codec(to).encode_request(&request, &target(), &mut losses).unwrap();
        (serde_json::from_slice(&body).unwrap(), losses)
    }

    fn model(part: &Value) -> Value {
        json!({"role": "model", "parts": [part]})
    }

    fn user(text: &str) -> Value {
        json!({"role": "user", "parts": [{"text": text}]})
    }

    #[test]
    fn a_streamed_answer_comes_back_as_one_message() {
        let chunks = ["The ", "quick ", "fox", ""].map(|text| model(&json!({ "text": text })));
        let mut contents = vec![user("hi")];
        contents.extend(chunks);
        contents.push(user("more"));
        let (body, losses) = sent_back(Dialect::OpenAiResponses, &json!(contents));
        let said: Vec<_> = body["input"].as_array().unwrap().iter().map(|item| &item["role"]).collect();
        assert_eq!(said, ["user", "assistant", "user"], "{body}");
        assert!(body["input"][1].to_string().contains("The quick fox"), "{body}");
        let (body, _) = sent_back(Dialect::Anthropic, &json!(contents));
        assert_eq!(body["messages"][1]["content"].as_array().map_or(1, Vec::len), 1, "{body}");
        assert!(losses.is_empty(), "{losses:?}");
    }

    #[test]
    fn a_thought_comes_back_whole_with_its_signature() {
        let ticket =
            Opaque::made_by(Dialect::Anthropic, None, "SIGA==".into()).for_client(Dialect::Gemini).into_owned();
        let parts = [
            json!({"text": "T", "thought": true}),
            json!({"text": "1", "thought": true}),
            json!({"text": "", "thought": true, "thoughtSignature": &*ticket}),
            json!({"text": "T2", "thought": true}),
            json!({"text": "", "thought": true, "thoughtSignature": &*ticket}),
            json!({"functionCall": {"id": "c", "name": "f", "args": {}}}),
            json!({"text": ""}),
        ];
        let result = json!({"role": "user", "parts": [{"functionResponse": {"id": "c", "name": "f", "response": {}}}]});
        let in_one = json!([user("hi"), {"role": "model", "parts": parts}, result]);
        let mut in_several = vec![user("hi")];
        in_several.extend(parts.iter().map(model));
        in_several.push(result);
        for contents in [in_one, json!(in_several)] {
            let (body, losses) = sent_back(Dialect::Anthropic, &contents);
            let said = &body["messages"][1]["content"];
            assert_eq!(
                (&said[0], &said[1]),
                (
                    &json!({"type": "thinking", "thinking": "T1", "signature": "SIGA=="}),
                    &json!({"type": "thinking", "thinking": "T2", "signature": "SIGA=="})
                ),
                "{body}"
            );
            assert_eq!((said.as_array().unwrap().len(), &said[2]["type"]), (3, &json!("tool_use")), "{body}");
            assert!(losses.is_empty(), "{losses:?}");
        }
    }
}
