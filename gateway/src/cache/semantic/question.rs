//! What of a chat request is compared by its meaning: the text of its last message, if a user wrote it and it is nothing but text.
//! All the rest has to be the same.

use std::collections::BTreeMap;

use ai_gateway_providers::Dialect;
use ai_gateway_providers::scan::splice;
use bytes::Bytes;
use serde_json::value::RawValue;

/// Bytes of the longest text that is compared. What is longer is a document, which few words can turn into another question.
const LONGEST: usize = 16 << 10;

/// A request in two parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What is compared by its meaning.
    pub text: String,
    /// The request without it, which is compared byte by byte (after it has been made canonical).
    pub rest: Bytes,
}

type Object<'a> = BTreeMap<String, &'a RawValue>;

impl Question {
    /// The question that `body` asks, a chat request in `dialect`. `None`: it ends with something else than a user's plain text
    /// (an image, a tool's result, a prefilled answer), or with too much of it.
    pub fn of(dialect: Dialect, body: &Bytes) -> Option<Self> {
        let whole = std::str::from_utf8(body).ok()?;
        let request: Object<'_> = serde_json::from_str(whole).ok()?;
        let (list, content, types) = places(dialect)?;
        let turns = request.get(list)?.get();
        if turns.starts_with('"') {
            // `input` of a Responses request.
            return (dialect == Dialect::OpenAiResponses).then(|| cut(whole, &[turns]))?;
        }
        let turns: Vec<&RawValue> = serde_json::from_str(turns).ok()?;
        let last: Object<'_> = serde_json::from_str(turns.last()?.get()).ok()?;
        if let Some(role) = last.get("role") {
            if role.get() != "\"user\"" {
                return None;
            }
        } else if dialect != Dialect::Gemini {
            return None;
        }
        let content = last.get(content)?.get();
        if content.starts_with('"') {
            return cut(whole, &[content]);
        }
        let parts: Vec<Object<'_>> = serde_json::from_str(content).ok()?;
        let texts = parts.iter().map(|part| only_text(part, types)).collect::<Option<Vec<&str>>>()?;
        cut(whole, &texts)
    }
}

/// Names of the list of turns and of a turn's content, and what a part of text may call itself.
fn places(dialect: Dialect) -> Option<(&'static str, &'static str, &'static [&'static str])> {
    Some(match dialect {
        Dialect::OpenAiChat | Dialect::Anthropic | Dialect::Cohere => ("messages", "content", &["\"text\""]),
        Dialect::OpenAiResponses => ("input", "content", &["\"input_text\"", "\"text\""]),
        Dialect::Bedrock => ("messages", "content", &[]),
        Dialect::Gemini => ("contents", "parts", &[]),
        // Its names are not known, nor is what else may stand there.
        Dialect::Own(_) => return None,
    })
}

/// The text of a part that has nothing else; as it is written, in quotation marks.
fn only_text<'a>(part: &Object<'a>, types: &[&str]) -> Option<&'a str> {
    let known = part.iter().all(|(name, value)| match name.as_str() {
        "text" => value.get().starts_with('"'),
        "type" => types.contains(&value.get()),
        // Says what the provider may keep, not what is asked.
        "cache_control" => true,
        _ => false,
    });
    known.then(|| part.get("text").map(|text| text.get()))?
}

/// Takes `texts`, which lie in `whole`, out of it.
fn cut(whole: &str, texts: &[&str]) -> Option<Question> {
    let (mut asked, mut blanks) = (String::new(), Vec::with_capacity(texts.len()));
    for text in texts {
        let start = text.as_ptr().addr() - whole.as_ptr().addr();
        blanks.push((start..start + text.len(), "\"\""));
        if !asked.is_empty() {
            asked.push('\n');
        }
        asked.push_str(&serde_json::from_str::<String>(text).ok()?);
    }
    let fits = !asked.trim().is_empty() && asked.len() <= LONGEST;
    fits.then(|| Question { text: asked, rest: splice(whole.as_bytes(), &blanks).into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(dialect: Dialect, body: &'static str) -> Option<(String, String)> {
        let question = Question::of(dialect, &Bytes::from_static(body.as_bytes()))?;
        Some((question.text, String::from_utf8(question.rest.to_vec()).unwrap()))
    }

    #[test]
    fn the_last_text_of_each_dialect() {
        for (dialect, body, text, rest) in [
            (
                Dialect::OpenAiChat,
                r#"{"model":"m","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"why \"so\"?"}]}"#,
                "why \"so\"?",
                r#"{"model":"m","messages":[{"role":"system","content":"be brief"},{"role":"user","content":""}]}"#,
            ),
            (
                Dialect::Anthropic,
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b","cache_control":{"type":"ephemeral"}}]}],"max_tokens":9}"#,
                "a\nb",
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":""},{"type":"text","text":"","cache_control":{"type":"ephemeral"}}]}],"max_tokens":9}"#,
            ),
            (
                Dialect::Gemini,
                r#"{"contents":[{"parts":[{"text":"hei \u00e5"}]}]}"#,
                "hei å",
                r#"{"contents":[{"parts":[{"text":""}]}]}"#,
            ),
            (
                Dialect::Bedrock,
                r#"{"messages":[{"role":"user","content":[{"text":"x"}]}]}"#,
                "x",
                r#"{"messages":[{"role":"user","content":[{"text":""}]}]}"#,
            ),
            (Dialect::OpenAiResponses, r#"{"input": "x", "model": "m"}"#, "x", r#"{"input": "", "model": "m"}"#),
            (
                Dialect::OpenAiResponses,
                r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"x"}]}]}"#,
                "x",
                r#"{"input":[{"role":"user","content":[{"type":"input_text","text":""}]}]}"#,
            ),
            (
                Dialect::Cohere,
                r#"{"messages":[{"role":"user","content":"x"}]}"#,
                "x",
                r#"{"messages":[{"role":"user","content":""}]}"#,
            ),
        ] {
            assert_eq!(question(dialect, body), Some((text.to_owned(), rest.to_owned())), "{dialect}");
        }
    }

    #[test]
    fn what_is_no_plain_question() {
        for (dialect, body) in [
            (Dialect::OpenAiChat, r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#),
            (Dialect::OpenAiChat, r#"{"messages":[{"role":"tool","content":"a","tool_call_id":"1"}]}"#),
            (
                Dialect::OpenAiChat,
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]}]}"#,
            ),
            (
                Dialect::Anthropic,
                r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"a"}]}]}"#,
            ),
            (Dialect::Gemini, r#"{"contents":[{"role":"user","parts":[{"text":"a"},{"inlineData":{}}]}]}"#),
            (Dialect::OpenAiChat, r#"{"messages":[{"content":"a"}]}"#),
            (Dialect::OpenAiChat, r#"{"messages":[{"role":"user","content":"  "}]}"#),
            (Dialect::OpenAiChat, r#"{"messages":"a"}"#),
            (Dialect::OpenAiChat, r#"{"messages":[]}"#),
            (Dialect::OpenAiChat, r#"{"messages":[{"role":"user","content":null}]}"#),
            (Dialect::OpenAiChat, "nonsense"),
        ] {
            assert_eq!(question(dialect, body), None, "{body}");
        }
        let long = format!(r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(LONGEST + 1));
        assert_eq!(Question::of(Dialect::OpenAiChat, &Bytes::from(long)), None);
    }
}
