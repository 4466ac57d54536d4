//! The scan of a JSON object.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use serde_json::value::RawValue;

use super::cursor::Cursor;
use super::{Field, Place, RequestScan, Root, ScanError, UsageOption, choices, depth};
use crate::model_name;

/// Validates a whole JSON body in one pass and finds the fields that the gateway reads. Fields it does not read may
/// hold what JSON's grammar allows, also numbers that fit no machine type and lone surrogates.
///
/// # Errors
/// The body is not UTF-8, not JSON, not an object, nested too deep, or a field that the gateway reads is of the wrong
/// type or there twice.
pub fn scan_json(body: &[u8]) -> Result<RequestScan, ScanError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let offset = error.valid_up_to();
        ScanError::NotUtf8 { offset, place: Place::of(body, offset) }
    })?;
    let start = text.len() - text.trim_start_matches([' ', '\t', '\n', '\r']).len();
    if start == text.len() {
        return Err(ScanError::Empty);
    }
    if let Some(offset) = depth::too_deep(body) {
        return Err(ScanError::TooDeep { place: Place::of(body, offset) });
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    if body.get(start) != Some(&b'{') {
        parser.deserialize_ignored_any(IgnoredAny).and_then(|_| parser.end()).map_err(not_json)?;
        return Err(ScanError::NotAnObject);
    }
    let members =
        parser.deserialize_map(Pick(NAMES)).and_then(|found| parser.end().map(|()| found)).map_err(not_json)?;
    Source(text).request(&members, start + 1)
}

/// The fields that are read, in the order of [`Source::request`].
pub(super) const NAMES: [&str; 8] = [
    "model",
    "stream",
    "stream_options",
    "previous_response_id",
    "thread",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
];

fn not_json(error: serde_json::Error) -> ScanError {
    let place = Place { line: error.line(), column: error.column() };
    let text = error.to_string();
    // What the parser says of syntax errors has nothing of the body in it.
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned();
    ScanError::NotJson { message, place }
}

/// Takes the raw values of some keys out of an object and skips the rest.
struct Pick<const N: usize>([&'static str; N]);

/// What [`Pick`] found.
struct Members<'a, const N: usize> {
    values: [Option<&'a RawValue>; N],
    /// The first of the keys that came a second time, as written.
    duplicate: Option<(&'static str, &'a RawValue)>,
    /// A key that is the first of the keys but for the case of its letters.
    miscased: Option<&'a RawValue>,
    /// Whether there is a key `messages`.
    messages: bool,
    /// Whether there is a key `input`.
    input: bool,
    /// Whether there is a key `conversation` with a value.
    conversation: bool,
    /// Whether there is a key `fallbacks`, `models` or `preset`.
    fallbacks: bool,
    /// Whether there is a key `tools`.
    tools: bool,
    /// Whether there is a key `cache`.
    cache: bool,
    /// The most tokens of the answer, where a dialect says that inside of an object.
    nested_limit: Option<u64>,
    /// How many answers are asked for to each prompt.
    choices: Option<u64>,
    /// How many prompts there are in a `prompt` that is an array of them.
    prompts: Option<u64>,
    /// Whether there is a key of [`LABELS`](super::facts::LABELS).
    labels: bool,
    /// Whether there is a key that [is of the terms](super::terms::is_terms).
    terms: bool,
    empty: bool,
}

impl<'a, const N: usize> Visitor<'a> for Pick<N> {
    type Value = Members<'a, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members {
            values: [None; N],
            duplicate: None,
            miscased: None,
            messages: false,
            input: false,
            conversation: false,
            fallbacks: false,
            tools: false,
            cache: false,
            nested_limit: None,
            choices: None,
            prompts: None,
            labels: false,
            terms: false,
            empty: true,
        };
        // Keys are taken raw, because decoding would refuse a lone surrogate in a key that nobody reads.
        while let Some(key) = map.next_key::<&RawValue>()? {
            members.empty = false;
            let decoded = decode_key(key);
            let found = self.0.iter().zip(&mut members.values).find(|(name, _)| **name == decoded);
            match found {
                Some((_, slot @ None)) => *slot = Some(map.next_value()?),
                Some((name, Some(_))) => {
                    members.duplicate.get_or_insert((name, key));
                    map.next_value::<IgnoredAny>()?;
                }
                None => {
                    if self.0.first().is_some_and(|first| first.eq_ignore_ascii_case(&decoded)) {
                        members.miscased.get_or_insert(key);
                    }
                    members.messages |= decoded == "messages";
                    members.input |= decoded == "input";
                    members.fallbacks |= matches!(&*decoded, "fallbacks" | "models" | "preset");
                    members.tools |= decoded == "tools";
                    members.cache |= decoded == "cache";
                    members.labels |= super::facts::LABELS.contains(&&*decoded);
                    members.terms |= super::terms::is_terms(&decoded);
                    match &*decoded {
                        "conversation" => members.conversation |= !is_null(map.next_value()?),
                        // Gemini's, and Bedrock Converse's.
                        "generationConfig" | "generation_config" | "inferenceConfig" => {
                            let settings = map.next_value()?;
                            members.nested_limit = members.nested_limit.max(nested_limit(settings));
                            members.choices = members.choices.max(nested_choices(settings));
                        }
                        // `best_of` are made, whatever is given of them.
                        "n" | "best_of" => members.choices = members.choices.max(integer(map.next_value()?)),
                        "prompt" => members.prompts = prompts(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
            }
        }
        Ok(members)
    }
}

/// The key without its quotes and escapes; empty if it cannot be decoded, which no key that is read is.
fn decode_key(key: &RawValue) -> Cow<'_, str> {
    let raw = key.get();
    if raw.contains('\\') {
        Cow::Owned(serde_json::from_str(raw).unwrap_or_default())
    } else {
        Cow::Borrowed(raw.get(1..raw.len() - 1).unwrap_or_default())
    }
}

/// The text that all raw values are slices of.
struct Source<'a>(&'a str);

impl<'a> Source<'a> {
    fn span(&self, raw: &RawValue) -> Range<usize> {
        let start = raw.get().as_ptr().addr() - self.0.as_ptr().addr();
        start..start + raw.get().len()
    }

    fn place(&self, raw: &RawValue) -> Place {
        Place::of(self.0.as_bytes(), self.span(raw).start)
    }

    /// Refuses keys whose meaning depends on who reads them.
    fn check_keys<const N: usize>(&self, members: &Members<'a, N>) -> Result<(), ScanError> {
        if let Some((key, at)) = members.duplicate {
            return Err(ScanError::Duplicate { key, place: self.place(at) });
        }
        Ok(())
    }

    fn request(&self, members: &Members<'a, 8>, open: usize) -> Result<RequestScan, ScanError> {
        self.check_keys(members)?;
        if let Some(at) = members.miscased {
            return Err(ScanError::ModelCase { place: self.place(at) });
        }
        let [model, stream, stream_options, previous, thread, limits @ ..] =
            members.values.map(|value| value.filter(|v| !is_null(v)));
        Ok(RequestScan {
            model: model.filter(|raw| raw.get() != r#""""#).map(|raw| self.model(raw)).transpose()?,
            stream: stream.map(|raw| self.boolean(raw)).transpose()?.unwrap_or(false),
            max_tokens: limits.into_iter().flatten().filter_map(integer).max().max(members.nested_limit),
            choices: match (members.choices.map(choices), members.prompts) {
                (Some(each), Some(prompts)) => Some(each.saturating_mul(prompts)),
                (each, prompts) => each.or(prompts),
            },
            previous: previous.and_then(|raw| serde_json::from_str(raw.get()).ok()).or_else(|| continued(thread?)),
            thread: thread.is_some(),
            conversation: members.conversation,
            response_format: None,
            prompts: Vec::new(),
            only_input: members.input && !members.messages,
            fallbacks: members.fallbacks,
            tools: members.tools,
            cache: members.cache,
            labels: members.labels,
            terms: members.terms,
            files: 0,
            file_bytes: 0,
            null_model: members.values[0].filter(|raw| is_null(raw) || raw.get() == r#""""#).map(|raw| self.span(raw)),
            usage: match (stream_options, members.values[2]) {
                (Some(raw), _) => self.usage(raw)?,
                (None, Some(null)) => UsageOption::NoObject(self.span(null)),
                (None, None) => UsageOption::Absent,
            },
            root: Root::Json { open, empty: members.empty },
        })
    }

    fn model(&self, raw: &RawValue) -> Result<Field<String>, ScanError> {
        let place = || self.place(raw);
        if !raw.get().starts_with('"') {
            return Err(ScanError::ModelNotAString { place: place() });
        }
        let value: String = serde_json::from_str(raw.get())
            .map_err(|_| ScanError::BadModel { reason: "not valid Unicode", place: place() })?;
        model_name::check(&value).map_err(|reason| ScanError::BadModel { reason, place: place() })?;
        Ok(Field { value, span: self.span(raw) })
    }

    fn boolean(&self, raw: &RawValue) -> Result<bool, ScanError> {
        raw.get().parse().map_err(|_| ScanError::StreamNotABoolean { place: self.place(raw) })
    }

    fn usage(&self, raw: &'a RawValue) -> Result<UsageOption, ScanError> {
        if !raw.get().starts_with('{') {
            return Ok(UsageOption::Unreadable);
        }
        // A raw value is valid JSON, so this cannot fail.
        let Ok(members) = serde_json::Deserializer::from_str(raw.get()).deserialize_map(Pick(["include_usage"])) else {
            return Ok(UsageOption::Unreadable);
        };
        self.check_keys(&members)?;
        Ok(match members.values {
            [None] => UsageOption::NoKey { open: self.span(raw).start + 1, empty: members.empty },
            [Some(value)] => match value.get() {
                "true" => UsageOption::Asked,
                "false" | "null" => UsageOption::Declined(self.span(value)),
                _ => UsageOption::Unreadable,
            },
        })
    }
}

/// The answer that a turn of a `thread` goes on from.
fn continued(thread: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Thread {
        previous_message_id: Option<String>,
    }
    serde_json::from_str::<Thread>(thread.get()).ok()?.previous_message_id
}

fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

/// The most tokens of the answer in an object of settings.
fn nested_limit(settings: &RawValue) -> Option<u64> {
    largest(settings, ["maxOutputTokens", "max_output_tokens", "maxTokens"])
}

/// How many answers are asked for in an object of settings.
fn nested_choices(settings: &RawValue) -> Option<u64> {
    largest(settings, ["candidateCount", "candidate_count"])
}

/// The largest of some numbers in an object.
fn largest<const N: usize>(object: &RawValue, names: [&'static str; N]) -> Option<u64> {
    let members = serde_json::Deserializer::from_str(object.get()).deserialize_map(Pick(names)).ok()?;
    members.values.into_iter().flatten().filter_map(integer).max()
}

/// How many prompts stand in an array of texts or of arrays of tokens; `None`: it is one, or none.
fn prompts(prompt: &RawValue) -> Option<u64> {
    let mut cursor = Cursor::new(prompt.get().as_bytes());
    if !cursor.enter(b'[') || !matches!(cursor.peek(), Some(b'"' | b'[')) {
        return None;
    }
    let mut count = 0;
    while cursor.next_element() {
        cursor.value();
        count += 1;
    }
    Some(count)
}

/// A non-negative number, also one written `1e3` or, as Gemini and others take it, in a string; rounded and saturating.
fn integer(raw: &RawValue) -> Option<u64> {
    let text = raw.get().trim_matches('"');
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, and `as` saturates")]
        (number >= 0.0).then_some(number as u64)
    })
}

#[cfg(test)]
mod tests;
