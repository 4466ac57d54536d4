//! A request to go on with an answer that another attempt has begun: the same conversation, and at its end the assistant's message
//! with what has been said.

use super::{Block, Content, Message, Request, ResponseFormat, Role};
use crate::catalogue::{Prefill, Traits};
use crate::dialect::Dialect;
use crate::preset::{PrefillSpelling, Quirks};

/// What a token is taken to be: providers count them at the end only, which has not come.
const BYTES_PER_TOKEN: usize = 4;

/// Settings that stand among the extras as their dialect spelt them (`=`), and are not what they were when an answer is gone on
/// with.
const RESET: [&str; 5] = ["max_tokens", "max_completion_tokens", "reasoning", "reasoning_effort", "thinking"];

impl<'a> Request<'a> {
    /// Whether an answer to it may be made of two: it is one text without a form that holds for the whole, and nothing of it is
    /// told token by token.
    #[must_use]
    pub fn may_be_gone_on_with(&self) -> bool {
        self.n.is_none_or(|n| n == 1)
            && matches!(self.response_format, None | Some(ResponseFormat::Text))
            && self.logprobs != Some(true)
            && self.top_logprobs.is_none_or(|count| count == 0)
            && self.modalities.iter().all(|modality| *modality == "text")
            && self.audio.is_none()
            // That goes on at its provider by itself.
            && !self.extras.iter().any(|(name, _)| name == "background")
    }

    /// Asks for what follows on `said`. Models that go on with a message do not reason before.
    pub fn go_on_with(&mut self, said: &'a str) {
        let begun = self.messages.last_mut().filter(|last| last.role == Role::Assistant);
        match begun.and_then(|last| last.blocks.last_mut()) {
            // The client had begun the answer itself.
            Some(Block { content: Content::Text(text), .. }) => text.text = [&*text.text, said].concat().into(),
            Some(_) | None => self.messages.push(Message {
                role: Role::Assistant,
                blocks: vec![Block::text(said)],
                ..Message::default()
            }),
        }
        self.goes_on = true;
        self.reasoning = None;
        self.extras.retain(|(name, _)| !RESET.contains(&name.trim_start_matches('=')));
        let spent = (said.len() / BYTES_PER_TOKEN) as u64;
        self.max_tokens = self.max_tokens.map(|most| most.saturating_sub(spent).max(1));
    }
}

/// Whether a model goes on with a message that has begun, where it is asked in `dialect`. One that would begin anew is worse than
/// one that refuses: what is not known does not count.
#[must_use]
pub fn can_go_on(dialect: Dialect, quirks: Quirks, traits: Traits) -> bool {
    match traits.prefill {
        Prefill::Always => true,
        Prefill::Refused => false,
        Prefill::OwnApi => matches!(dialect, Dialect::Anthropic | Dialect::Bedrock),
        Prefill::Unknown => dialect == Dialect::OpenAiChat && quirks.prefill != PrefillSpelling::Unsaid,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::codec::testing::target;
    use crate::codec::{Call, Target, codec};
    use crate::common::Losses;

    const CHAT: &str = r#"{"model":"m","stream":true,"max_tokens":10,"reasoning_effort":"high",
        "messages":[{"role":"user","content":"tell me"}]}"#;

    /// What is sent to go on with "once upon".
    fn sent(from: Dialect, body: &str, to: Dialect, quirks: Quirks, traits: Traits) -> Value {
        let mut request = codec(from).decode_request(body.as_bytes(), &Call::default()).unwrap();
        assert!(request.may_be_gone_on_with());
        request.go_on_with("once upon");
        let target = Target { quirks, traits, ..target() };
        let body = codec(to).encode_request(&request, &target, &mut Losses::default()).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn each_vendor_has_its_words_for_it() {
        let chat = Dialect::OpenAiChat;
        let spelt = |prefill| Quirks { prefill, ..Quirks::default() };
        let last = |body: &Value| body["messages"].as_array().unwrap().last().unwrap().clone();
        let plain = json!({"role": "assistant", "content": "once upon"});
        let prefixed = json!({"role": "assistant", "content": "once upon", "prefix": true});
        for (prefill, wanted) in [
            (PrefillSpelling::Unsaid, &plain),
            (PrefillSpelling::ContinueFinalMessage, &plain),
            (PrefillSpelling::Prefix, &prefixed),
            (PrefillSpelling::PrefixInBeta, &prefixed),
        ] {
            let body = sent(chat, CHAT, chat, spelt(prefill), Traits::default());
            assert_eq!(&last(&body), wanted, "{prefill:?}");
            let finishes = prefill == PrefillSpelling::ContinueFinalMessage;
            let flags = [&body["continue_final_message"], &body["add_generation_prompt"]];
            assert_eq!(flags, if finishes { [&json!(true), &json!(false)] } else { [&Value::Null, &Value::Null] });
            assert_eq!(body["max_tokens"], 8);
        }
        for dialect in [Dialect::Anthropic, Dialect::Bedrock] {
            let traits = Traits::of("claude-sonnet-4-5");
            let body = sent(chat, CHAT, dialect, Quirks::default(), traits);
            assert_eq!(last(&body)["role"], "assistant", "{dialect}");
            assert_eq!(last(&body)["content"][0]["text"], "once upon", "{dialect}");
            assert_eq!((&body["thinking"], &body["additionalModelRequestFields"]), (&Value::Null, &Value::Null));
        }
    }

    #[test]
    fn an_answer_that_the_client_began_is_gone_on_with_as_a_whole() {
        let body = r#"{"model":"m","stream":true,"max_tokens":1,"messages":[{"role":"user","content":"tell me"},
            {"role":"assistant","content":"Well: "}]}"#;
        let own = sent(Dialect::Anthropic, body, Dialect::Anthropic, Quirks::default(), Traits::default());
        assert_eq!(own["messages"][1]["content"][0]["text"], "Well: once upon");
        assert_eq!((own["messages"].as_array().unwrap().len(), &own["max_tokens"]), (2, &json!(1)));
    }

    #[test]
    fn forms_that_hold_for_the_whole_are_not_taken_apart() {
        let chat = |more: &str| CHAT.replace("\"max_tokens\":10", more);
        for more in [
            r#""n":2"#,
            r#""logprobs":true"#,
            r#""response_format":{"type":"json_object"}"#,
            r#""modalities":["text","audio"],"audio":{"voice":"v","format":"wav"}"#,
        ] {
            let body = chat(more);
            let request = codec(Dialect::OpenAiChat).decode_request(body.as_bytes(), &Call::default()).unwrap();
            assert!(!request.may_be_gone_on_with(), "{more}");
        }
    }

    #[test]
    fn only_what_is_known_to_go_on_is_asked_to() {
        let (plain, vllm) =
            (Quirks::default(), Quirks { prefill: PrefillSpelling::ContinueFinalMessage, ..Quirks::default() });
        let known = Traits::of;
        let said = Traits { prefill: Prefill::Always, ..Traits::default() };
        for (dialect, quirks, traits, wanted) in [
            (Dialect::Anthropic, plain, known("claude-sonnet-4-5"), true),
            (Dialect::Bedrock, plain, known("us.anthropic.claude-sonnet-4-5-v1:0"), true),
            (Dialect::OpenAiChat, plain, known("anthropic/claude-sonnet-4.5"), false),
            (Dialect::Anthropic, plain, known("claude-opus-4-6"), false),
            (Dialect::Anthropic, plain, known("some-alias"), false),
            (Dialect::OpenAiChat, plain, known("gpt-5"), false),
            (Dialect::OpenAiChat, vllm, known("qwen3"), true),
            (Dialect::Anthropic, vllm, known("qwen3"), false),
            (Dialect::Gemini, plain, known("gemini-2.5-pro"), false),
            (Dialect::Gemini, plain, said, true),
        ] {
            assert_eq!(can_go_on(dialect, quirks, traits), wanted, "{dialect} {traits:?}");
        }
    }

    #[test]
    fn deepseek_is_asked_elsewhere() {
        let path = |path: &str| PrefillSpelling::PrefixInBeta.path(path.to_owned());
        assert_eq!(path("/chat/completions"), "/beta/chat/completions");
        assert_eq!(path("/v1/chat/completions"), "/beta/chat/completions");
        assert_eq!(path("/beta/chat/completions"), "/beta/chat/completions");
        assert_eq!(PrefillSpelling::Prefix.path("/v1/chat/completions".to_owned()), "/v1/chat/completions");
    }
}
