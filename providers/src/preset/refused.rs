//! What vendors of OpenAI's dialect refuse of it, looked for in bodies that nobody has read.

use memchr::memmem;

use super::{LimitSpelling, Quirks, ReasoningSpelling};

impl Quirks {
    /// Whether a request of OpenAI Chat may say something in words that this vendor refuses. Then it has to be written anew, though
    /// both sides speak one dialect. Only what the vendor is peculiar in is looked for.
    #[must_use]
    pub fn may_refuse(&self, body: &[u8]) -> bool {
        let has = |word: &str| memmem::find(body, word.as_bytes()).is_some();
        // Who knows only the older word for the limit knows only the older role. Of others it is not known.
        let older = self.limit == LimitSpelling::MaxTokens;
        older && (has(r#""developer""#) || has(r#""max_completion_tokens""#))
            || self.short_tool_ids && has_long_id(body)
            || self.refuses_reasoning(body)
    }

    fn refuses_reasoning(&self, body: &[u8]) -> bool {
        let refused: &[&[u8]] = match self.reasoning {
            ReasoningSpelling::Effort | ReasoningSpelling::Object => return false,
            ReasoningSpelling::Plain | ReasoningSpelling::Untold => &[br#"_content""#, br#"_details""#],
            ReasoningSpelling::Parts => &[br#"_content""#, br#"_details""#, br#"""#],
        };
        const BEGINNING: &[u8] = br#""reasoning"#;
        let mut rests = memmem::find_iter(body, BEGINNING).map(|at| &body[at + BEGINNING.len()..]);
        rests.any(|rest| refused.iter().any(|end| rest.starts_with(end)))
    }
}

/// Whether the id of a result is not one of nine letters or digits; calls have the ids of their results.
fn has_long_id(body: &[u8]) -> bool {
    const NAME: &[u8] = br#""tool_call_id""#;
    memmem::find_iter(body, NAME).any(|at| {
        let value = body[at + NAME.len()..].trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        let id = value.and_then(|value| value.strip_prefix(b"\""));
        !id.is_some_and(|id| id.len() > 9 && id[9] == b'"' && id[..9].iter().all(u8::is_ascii_alphanumeric))
    })
}

#[cfg(test)]
mod tests {
    use crate::preset::Preset;

    #[test]
    fn only_what_a_vendor_is_peculiar_in_is_refused() {
        let developer = r#"{"messages":[{"role": "developer","content":"x"}]}"#;
        let limit = r#"{"max_completion_tokens" :5}"#;
        let long = r#"{"messages":[{"role":"tool","tool_call_id" : "call_PTLP8xhu3"}]}"#;
        let short = r#"{"messages":[{"role":"tool","tool_call_id" : "Bd8DSP1EI"}]}"#;
        let content = r#"{"messages":[{"role":"assistant","reasoning_content":"x"}]}"#;
        let details = r#"{"messages":[{"role":"assistant","reasoning_details":[]}]}"#;
        let plain = r#"{"messages":[{"role":"assistant","reasoning":"x"}]}"#;
        let effort = r#"{"reasoning_effort":"low","messages":[{"content":"a \"developer\" \"reasoning\""}]}"#;
        for (kind, refused) in [
            ("openai", vec![]),
            ("azure", vec![]),
            ("mistral", vec![developer, limit, long, content, details, plain]),
            ("groq", vec![content, details]),
            ("cerebras", vec![content, details]),
            ("deepseek", vec![developer, limit]),
            ("openrouter", vec![]),
            ("openai-compatible", vec![]),
        ] {
            let quirks = Preset::find(kind).unwrap().quirks;
            for body in [developer, limit, long, short, content, details, plain, effort, "{}"] {
                assert_eq!(quirks.may_refuse(body.as_bytes()), refused.contains(&body), "{kind}: {body}");
            }
        }
    }
}
