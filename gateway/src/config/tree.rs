//! From the text to typed pieces with positions.
//!
//! `toml` reads the text into a tree that knows where everything stood; each piece of the tree (a provider, a model, …) is
//! then given its type on its own, so that one bad piece does not hide what is wrong with the next.

use std::borrow::Cow;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Report;

/// A value and where it stood in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// The bytes of the file that it was read from.
    pub span: Range<usize>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { span: spanned.span(), value: spanned.into_inner() })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Gives `value` its type. Every unknown key below it is reported, and left out so that the next one is found too.
///
/// `what` names the piece in messages: ``[providers.openai]``.
pub(super) fn shape<T: DeserializeOwned>(
    mut value: Spanned<DeValue<'_>>,
    what: &str,
    report: &mut Report<'_>,
) -> Option<T> {
    let whole = value.span();
    let mut complete = true;
    loop {
        let error = match T::deserialize(value.clone().into_deserializer()) {
            Ok(typed) => return complete.then_some(typed),
            Err(error) => error,
        };
        let span = error.span().unwrap_or_else(|| whole.clone());
        let message = error.message();
        if message.starts_with("unknown field") {
            let mut quoted = message.split('`').skip(1).step_by(2);
            let key = quoted.next().unwrap_or_default();
            let known: Vec<&str> = quoted.collect();
            report.error(span.clone(), format!("unknown key `{key}` in {what}"), instead(key, &known));
        } else if !complete && message.starts_with("missing field") {
            // It may be what an unknown key was meant to be.
            return None;
        } else {
            report.error(span.clone(), in_words(message, what), None);
        }
        complete = false;
        if report.is_full() || !remove(value.get_mut(), &span) {
            return None;
        }
    }
}

/// A message of serde in the words of the file, without any value from it: it could be a secret.
fn in_words(message: &str, what: &str) -> String {
    if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return format!("{what} has no `{field}`");
    }
    if let Some(rest) = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))
        && let Some((found, expected)) = rest.rsplit_once(", expected ")
    {
        let found = found.split(['`', '"']).next().unwrap_or_default().trim();
        let found = match found {
            "map" => "a table",
            "sequence" => "an array",
            "string" => "a string",
            "integer" => "a whole number",
            "floating point" => "a number",
            "boolean" => "true or false",
            other => other,
        };
        let expected = match expected {
            "a sequence" => "an array",
            "a map" => "a table",
            "a boolean" => "`true` or `false`",
            "u32" | "u64" | "usize" => "a whole number, zero or more",
            expected if expected.starts_with("struct ") => "a table",
            expected => expected,
        };
        return format!("expected {expected}, found {found}");
    }
    message.to_owned()
}

/// Removes the entry whose key or value stands at `span`. `false` when there is none.
fn remove(value: &mut DeValue<'_>, span: &Range<usize>) -> bool {
    match value {
        DeValue::Table(table) => {
            let found = table.iter().find(|(key, value)| key.span() == *span || value.span() == *span);
            match found.map(|(key, _)| key.get_ref().to_string()) {
                Some(key) => table.remove(key.as_str()).is_some(),
                None => table.iter_mut().any(|(_, value)| remove(value.get_mut(), span)),
            }
        }
        DeValue::Array(array) => array.iter_mut().any(|value| remove(value.get_mut(), span)),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            false
        }
    }
}

/// What somebody who wrote `word` may have meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().min(word.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// ``did you mean `x`?``, or the list of what there is.
pub(super) fn instead(word: &str, known: &[&str]) -> Option<String> {
    if let Some(candidate) = nearest(word, known.iter().copied()) {
        return Some(format!("did you mean `{candidate}`?"));
    }
    if known.is_empty() {
        return None;
    }
    let mut sorted = known.to_vec();
    sorted.sort_unstable();
    Some(format!("there are: {}", sorted.join(", ")))
}

/// Keys below `[providers.*]` whose values are shown in excerpts. Everything else there may be a secret.
const SHOWN_OF_PROVIDERS: &[&str] =
    &["kind", "base_url", "api_version", "dialects", "auth", "ca", "http2", "quirks", "region", "project"];
/// The same for `[[plugins]]`.
const SHOWN_OF_PLUGINS: &[&str] = &["use", "action"];

/// Masks the values that may be secrets.
pub(super) fn mask_secrets(root: &DeTable<'_>, report: &mut Report<'_>) {
    for (section, value) in root {
        match section.get_ref().as_ref() {
            "providers" => mask_below(value.get_ref(), 1, SHOWN_OF_PROVIDERS, report),
            "plugins" => mask_below(value.get_ref(), 1, SHOWN_OF_PLUGINS, report),
            // An address of Redis carries its password.
            "store" => mask_below(value.get_ref(), 0, &[], report),
            "server" | "models" | "routes" | "keys" | "cache" | "ledger" => {}
            // A misspelt section may be any of them.
            _ => mask_below(value.get_ref(), 0, &[], report),
        }
    }
}

/// Masks every string below `value`, except under the keys `shown` of tables `depth` levels down.
fn mask_below(value: &DeValue<'_>, depth: usize, shown: &[&str], report: &mut Report<'_>) {
    match value {
        DeValue::Table(table) if depth > 0 => {
            for (_, value) in table {
                mask_value(value, depth - 1, shown, report);
            }
        }
        DeValue::Table(table) => {
            for (key, value) in table {
                let credentials_in_url = value.get_ref().as_str().is_some_and(|text| text.contains('@'));
                if !shown.contains(&key.get_ref().as_ref()) || credentials_in_url {
                    mask_value(value, 0, &[], report);
                }
            }
        }
        DeValue::Array(array) => {
            for value in array {
                mask_value(value, depth.saturating_sub(1), shown, report);
            }
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

fn mask_value(value: &Spanned<DeValue<'_>>, depth: usize, shown: &[&str], report: &mut Report<'_>) {
    match value.get_ref() {
        DeValue::String(text) => {
            if !matches!(super::secret::Source::of(text), super::secret::Source::Literal) {
                return;
            }
            report.mask(value.span());
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) => report.mask(value.span()),
        DeValue::Boolean(_) => {}
        DeValue::Array(_) | DeValue::Table(_) => mask_below(value.get_ref(), depth, shown, report),
    }
}

/// Keys whose values are shown in the excerpt of a line that is not even TOML.
const SHOWN_OF_BROKEN_LINES: &[&str] = &[
    "listen",
    "admin",
    "max_body",
    "max_buffered",
    "drain",
    "kind",
    "api_version",
    "dialects",
    "strategy",
    "timeouts",
    "retry",
    "lossy",
    "name",
    "hash",
    "models",
    "model",
    "provider",
    "weight",
    "priority",
    "when",
    "limits",
    "budget",
    "max_size",
    "path",
    "use",
    "action",
];

/// Masks what stands after the `=` of the broken line at `at`: a secret whose quote was forgotten is no value of any tree.
pub(super) fn mask_broken_line(text: &str, at: usize, report: &mut Report<'_>) {
    let at = text.floor_char_boundary(at);
    let (before, after) = text.split_at(at);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let end = at + after.find('\n').unwrap_or(after.len());
    let line = text.get(start..end).unwrap_or_default();
    let value = match line.split_once('=') {
        Some((key, rest)) if SHOWN_OF_BROKEN_LINES.contains(&key.trim()) && !rest.contains('=') => return,
        Some((key, _)) => start + key.len() + 1,
        None if line.trim_start().starts_with('[') => return,
        // A line of a multi-line string or array.
        None => start,
    };
    report.mask(value..end);
}
