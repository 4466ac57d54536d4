//! The chunks of OpenAI chat and completions: <https://platform.openai.com/docs/api-reference/chat-streaming>.
//!
//! After the first output nearly every chunk is a piece of text, and all that is asked of it is that it is nothing
//! else. A search for the few keys that matter tells; it cannot be fooled by the text, because a quote inside a JSON
//! string is escaped.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

use super::Notes;
use super::raw::{self, Raw};
use super::stream::Verdict;
use crate::codec::chat_stop;

/// Which choices have appeared, and which have finished.
#[derive(Debug, Default)]
pub(super) struct Chat {
    /// A bit per `index` of a choice.
    begun: u128,
    finished: u128,
    /// An index that has no bit: then only `[DONE]` ends the answer.
    beyond: bool,
    done: bool,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    usage: Raw<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
    #[serde(borrow)]
    model: Raw<'a>,
    #[serde(borrow)]
    service_tier: Raw<'a>,
    #[serde(borrow)]
    x_groq: Raw<'a>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Option<u32>,
    #[serde(borrow)]
    delta: Raw<'a>,
    /// Legacy completions.
    #[serde(borrow)]
    text: Raw<'a>,
    /// Perplexity and others repeat the whole message, or have it in place of the delta.
    #[serde(borrow)]
    message: Raw<'a>,
    #[serde(borrow)]
    finish_reason: Raw<'a>,
    /// OpenRouter's.
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Deserialize)]
struct Groq<'a> {
    #[serde(borrow)]
    usage: Raw<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
}

/// Keys of a delta that are not output by themselves. Every other key is, so that a new kind of output commits the
/// answer.
const PREAMBLE: &[&str] = &["role", "channel", "name", "id", "index", "recipient"];

struct Finders {
    usage: Finder<'static>,
    error: Finder<'static>,
    finish_reason: Finder<'static>,
    index: Finder<'static>,
    delta: Finder<'static>,
    text: Finder<'static>,
}

static FINDERS: LazyLock<Finders> = LazyLock::new(|| Finders {
    usage: Finder::new("\"usage\""),
    error: Finder::new("\"error\""),
    finish_reason: Finder::new("\"finish_reason\""),
    index: Finder::new("\"index\""),
    delta: Finder::new("\"delta\""),
    text: Finder::new("\"text\""),
});

impl Chat {
    pub(super) fn on_event(&mut self, name: &[u8], data: &[u8], notes: &mut Notes) -> Verdict {
        if data.trim_ascii() == b"[DONE]" {
            self.done = true;
            notes.seen.complete = true;
            return Verdict::Pass;
        }
        // Once every choice is finished, a further delta is a choice that was not known of.
        if notes.seen.first_output && !self.all_finished() && name != b"error" && is_plain_delta(data) {
            notes.output();
            if !notes.hear(&FINDERS.delta, data) {
                notes.hear(&FINDERS.text, data);
            }
            return Verdict::Pass;
        }
        let Some(chunk) = raw::parse::<Chunk<'_>>(data) else {
            notes.unreadable();
            return Verdict::Pass;
        };
        let verdict = self.on_chunk(&chunk, notes);
        if name == b"error" {
            notes.error(data);
        }
        verdict
    }

    fn on_chunk(&mut self, chunk: &Chunk<'_>, notes: &mut Notes) -> Verdict {
        notes.model(chunk.model.map(raw::bytes));
        if let Some(tier) = chunk.service_tier.and_then(|tier| raw::parse(raw::bytes(tier))) {
            notes.tier(&tier);
        }
        notes.usage(chunk.usage.map(raw::bytes));
        if let Some(groq) = chunk.x_groq.and_then(|groq| raw::parse::<Groq<'_>>(raw::bytes(groq))) {
            notes.usage(groq.usage.map(raw::bytes));
            notes.error(groq.error.map(raw::bytes));
        }
        notes.error(chunk.error.filter(|error| raw::has_content(error)).map(raw::bytes));
        let choices = chunk.choices.as_deref();
        let mut output = false;
        for choice in choices.unwrap_or_default() {
            output |= choice.text.is_some_and(raw::has_content)
                || choice.delta.or(choice.message).is_some_and(|delta| raw::has_field(delta, PREAMBLE));
            if let Some(said) = choice.text.or(choice.delta).or(choice.message) {
                notes.heard.json(raw::bytes(said));
            }
            notes.error(choice.error.filter(|error| raw::has_content(error)).map(raw::bytes));
            self.on_choice(choice, notes);
        }
        if output {
            notes.output();
        }
        notes.seen.complete = self.done || self.all_finished();
        if choices.is_some_and(<[_]>::is_empty) && chunk.usage.is_some() && chunk.error.is_none() {
            Verdict::UsageOnly
        } else {
            Verdict::Pass
        }
    }

    fn on_choice(&mut self, choice: &Choice<'_>, notes: &mut Notes) {
        let Some(bit) = 1_u128.checked_shl(choice.index.unwrap_or(0)) else {
            self.beyond = true;
            return;
        };
        self.begun |= bit;
        if let Some(reason) = choice.finish_reason.filter(|reason| raw::has_content(reason)) {
            self.finished |= bit;
            notes.stop(&chat_stop(raw::parse(raw::bytes(reason)), None, false));
        }
    }

    /// Some providers never send `[DONE]`.
    fn all_finished(&self) -> bool {
        self.begun != 0 && self.begun == self.finished && !self.beyond
    }
}

/// Whether a chunk is a delta of the first choice and nothing more.
fn is_plain_delta(data: &[u8]) -> bool {
    let finders = &*FINDERS;
    data.starts_with(b"{\"")
        && data.ends_with(b"}")
        && values(&finders.usage, data).all(is_null)
        && values(&finders.finish_reason, data).all(is_null)
        && values(&finders.error, data).all(is_null)
        && values(&finders.index, data)
            .all(|value| value.starts_with(b"0") && !value.get(1).is_some_and(u8::is_ascii_digit))
}

fn is_null(value: &[u8]) -> bool {
    value.starts_with(b"null")
}

/// What follows each occurrence of a key, from its value on.
fn values<'a>(key: &'a Finder<'static>, data: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    key.find_iter(data).map(|at| {
        let rest = data[at + key.needle().len()..].trim_ascii_start();
        rest.strip_prefix(b":").unwrap_or(rest).trim_ascii_start()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_delta_has_no_other_news() {
        for plain in [
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"index": 0 ,"delta":{"content":"say \"usage\": \"error\": {}"},"finish_reason" : null}]}"#,
        ] {
            assert!(is_plain_delta(plain.as_bytes()), "{plain}");
        }
        for other in [
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"index":0,"finish_reason":null},{"index":1,"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"a"}}]}"#,
            r#"{"choices":[],"usage": {"prompt_tokens":1}}"#,
            r#"{"error" :{"message":"x"}}"#,
            r#"{"x_groq":{"usage":{}},"choices":[]}"#,
            "[DONE]",
            "",
        ] {
            assert!(!is_plain_delta(other.as_bytes()), "{other}");
        }
    }
}
