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

use super::elsewhere;
pub(super) use super::elsewhere::instead;
use super::report::Report;
use super::schema::SHOWN;
use super::secret::{Source, is_open_url};

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

/// Gives `value` its type, which is that of a table. Every unknown key below it is reported, and left out so that the next one
/// is found too.
///
/// `what` names the piece in messages: ``[providers.openai]``.
pub(super) fn shape<T: DeserializeOwned>(
    mut value: Spanned<DeValue<'_>>,
    what: &str,
    report: &mut Report<'_>,
) -> Option<T> {
    let whole = value.span();
    if !matches!(value.get_ref(), DeValue::Table(_)) {
        // Serde would read an array as a table's values in turn.
        match what.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|name| !name.starts_with('[')) {
            Some(name) => report.error(whole, format!("`{name}` is one table"), format!("write {what}")),
            None => report.error(whole, format!("each of {what} is a table"), None),
        }
        return None;
    }
    let mut complete = true;
    let mut guessed: Vec<Range<usize>> = Vec::new();
    loop {
        let error = match T::deserialize(value.clone().into_deserializer()) {
            Ok(typed) => return complete.then_some(typed),
            Err(error) => error,
        };
        let span = error.span().unwrap_or_else(|| whole.clone());
        let message = error.message();
        let inner =
            table_of(value.get_ref(), &span).map_or_else(|| what.to_owned(), |key| format!("`{key}` of {what}"));
        let mut meant = None;
        if guessed.iter().any(|guessed| guessed.start <= span.start && span.end <= guessed.end) {
            // Only the key was wrong, as far as anybody knows.
        } else if let Some(("field", key, known)) = unknown(message) {
            report.error(span.clone(), format!("unknown key `{key}` in {inner}"), instead(key, &known));
            meant = elsewhere::meant(key, &known).first().map(|meant| (*meant).to_owned());
        } else if let Some(("variant", word, known)) = unknown(message) {
            unknown_value(span.clone(), word, &known, &inner, report);
        } else if message == NO_VARIANT
            && let Some(found) = at(value.get_mut(), &span)
        {
            // Serde tells which words there are when it is given one.
            *found = DeValue::String(Cow::Borrowed(""));
            continue;
        } else if !complete && message.starts_with("missing field") {
            // It may be what an unknown key was meant to be.
            return None;
        } else {
            let found = at(value.get_mut(), &span);
            let mut words = in_words(message, &inner);
            if matches!(found, Some(DeValue::Datetime(_))) {
                words = words.replace("found a table", "found a date");
            }
            report.error(span.clone(), words, found.and_then(|found| right_form(found, message)).map(str::to_owned));
        }
        complete = false;
        match replace(value.get_mut(), &span, meant.as_deref()) {
            Some(entry) if !report.is_full() => guessed.extend(meant.map(|_| entry)),
            _ => return None,
        }
    }
}

/// What serde says where one of some words should stand, and no text does.
const NO_VARIANT: &str = "wanted string or table";

/// How what stands in a wrong form is written.
fn right_form(found: &DeValue<'_>, message: &str) -> Option<&'static str> {
    match found {
        DeValue::String(_) if message.ends_with(", expected a sequence") => Some("write it in brackets: [\"…\"]"),
        DeValue::Datetime(_) => Some("write times in quotes: \"2027-01-01T00:00:00Z\""),
        _ => None,
    }
}

/// What stands at `span`.
fn at<'a, 'i>(value: &'a mut DeValue<'i>, span: &Range<usize>) -> Option<&'a mut DeValue<'i>> {
    let found = |value: &'a mut Spanned<DeValue<'i>>| {
        if value.span() == *span { Some(value.get_mut()) } else { at(value.get_mut(), span) }
    };
    match value {
        DeValue::Table(table) => table.iter_mut().map(|(_, value)| value).find_map(found),
        DeValue::Array(array) => array.iter_mut().find_map(found),
        _ => None,
    }
}

/// The keys that lead to the table which stands at `span`, or has an entry there: none for the whole.
fn table_of(value: &DeValue<'_>, span: &Range<usize>) -> Option<String> {
    fn path<'a>(value: &'a DeValue<'_>, span: &Range<usize>) -> Option<Vec<&'a str>> {
        let below = |value: &'a Spanned<DeValue<'_>>| match value.get_ref() {
            DeValue::Table(_) if value.span() == *span => Some(Vec::new()),
            inner => path(inner, span),
        };
        match value {
            DeValue::Table(table)
                if table.iter().any(|(key, value)| key.span() == *span || is_plain_at(value, span)) =>
            {
                Some(Vec::new())
            }
            DeValue::Table(table) => table.iter().find_map(|(key, value)| {
                let mut keys = below(value)?;
                keys.insert(0, key.get_ref());
                Some(keys)
            }),
            DeValue::Array(array) => array.iter().find_map(below),
            _ => None,
        }
    }
    path(value, span).filter(|keys| !keys.is_empty()).map(|keys| keys.join("."))
}

fn is_plain_at(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    !matches!(value.get_ref(), DeValue::Table(_)) && value.span() == *span
}

/// What serde does not know (`field`, `variant`), and what there is instead.
pub(super) fn unknown(message: &str) -> Option<(&str, &str, Vec<&str>)> {
    let (kind, _) = message.strip_prefix("unknown ")?.split_once(' ')?;
    let mut quoted = message.split('`').skip(1).step_by(2);
    Some((kind, quoted.next()?, quoted.collect()))
}

/// Reports a word that is none of those that may stand there. It is not quoted where it could be a secret.
pub(super) fn unknown_value(span: Range<usize>, word: &str, known: &[&str], what: &str, report: &mut Report<'_>) {
    let word_shown = if word.is_empty() || report.is_masked(&span) { String::new() } else { format!(" `{word}`") };
    report.error(span, format!("unknown value{word_shown} in {what}"), instead(word, known));
}

/// A message of serde in the words of the file, without any value from it: it could be a secret.
pub(super) fn in_words(message: &str, what: &str) -> String {
    if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return format!("{what} has no `{field}`");
    }
    if let Some((_, expected)) =
        message.strip_prefix("invalid value: ").and_then(|rest| rest.rsplit_once(", expected "))
    {
        return format!("expected {}", type_in_words(expected));
    }
    // Serde reads an array as a table's values in turn.
    if message.starts_with("invalid length ") && message.contains(", expected struct ") {
        return "expected a table, found an array".to_owned();
    }
    if let Some(rest) = message.strip_prefix("invalid type: ")
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
        let expected = type_in_words(expected);
        return format!("expected {expected}, found {found}");
    }
    message.to_owned()
}

fn type_in_words(expected: &str) -> &str {
    match expected {
        "a sequence" => "an array",
        "a map" => "a table",
        "a boolean" => "`true` or `false`",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, zero or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        expected if expected.starts_with("struct ") => "a table",
        expected => expected,
    }
}

/// Takes out the entry whose key or value stands at `span`, or gives it the key that was `meant` if there is none of that
/// name: what else is wrong is found then. Where its value stands; `None` when there is no such entry.
fn replace(value: &mut DeValue<'_>, span: &Range<usize>, meant: Option<&str>) -> Option<Range<usize>> {
    match value {
        DeValue::Table(table) => {
            let found = table.iter().find(|(key, value)| key.span() == *span || value.span() == *span);
            let Some(key) = found.map(|(key, _)| key.get_ref().to_string()) else {
                return table.iter_mut().find_map(|(_, value)| replace(value.get_mut(), span, meant));
            };
            let (key, value) = table.remove_entry(key.as_str())?;
            let at = value.span();
            if let Some(meant) = meant
                && !table.contains_key(meant)
            {
                table.insert(Spanned::new(key.span(), Cow::Owned(meant.to_owned())), value);
            }
            Some(at)
        }
        DeValue::Array(array) => array.iter_mut().find_map(|value| replace(value.get_mut(), span, meant)),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            None
        }
    }
}

/// What somebody who wrote `word` may have meant: one that it is nearly, or begins with.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            let begins = candidate.len() > 2 && word.starts_with(&candidate.to_lowercase());
            begins || *distance <= candidate.len().min(word.len()).div_ceil(3)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Masks the values that may be secrets: all but those of keys that nowhere hold one, also where they stand in the wrong place.
pub(super) fn mask_secrets(table: &DeTable<'_>, report: &mut Report<'_>) {
    for (key, value) in table {
        let key = key.get_ref().as_ref();
        // The names of headers are the user's, and any of their values may be a credential.
        mask(value, key != "headers" && SHOWN.contains(key), key, report);
    }
}

fn mask(value: &Spanned<DeValue<'_>>, shown: bool, key: &str, report: &mut Report<'_>) {
    match value.get_ref() {
        DeValue::String(text) => {
            let shown = match key {
                // What somebody who misunderstood wrote there is the key itself.
                "hash" => text.starts_with("sha256:"),
                "base_url" | "endpoint" | "jwks" => !text.contains(['@', '?']),
                "redis" => Source::of(text) != Source::Literal || is_open_url(text),
                _ => shown || Source::of(text) != Source::Literal,
            };
            if !shown {
                report.mask(value.span());
            }
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) if !shown => report.mask(value.span()),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Boolean(_) => {}
        DeValue::Array(array) => array.iter().for_each(|value| mask(value, shown, key, report)),
        DeValue::Table(table) if key == "headers" => {
            table.iter().for_each(|(_, value)| mask(value, false, key, report));
        }
        DeValue::Table(table) => {
            mask_secrets(table, report);
            // The same where `hash` or `api_key` is meant; elsewhere it is the name of a key.
            let own = Some(table).filter(|_| key == "keys");
            let providers = table.iter().filter(|_| key == "providers");
            let below = providers.filter_map(|(_, provider)| provider.get_ref().as_table());
            for value in own.into_iter().chain(below).filter_map(|table| table.get("key")) {
                report.mask(value.span());
            }
        }
    }
}

/// Masks what stands after the `=` of the broken line at `at`: a secret whose quote was forgotten is no value of any tree.
pub(super) fn mask_broken_line(text: &str, at: usize, report: &mut Report<'_>) {
    let at = text.floor_char_boundary(at);
    let (before, after) = text.split_at(at);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let end = at + after.find('\n').unwrap_or(after.len());
    let line = text.get(start..end).unwrap_or_default();
    let value = match line.split_once('=') {
        Some((key, rest)) if is_shown_when_broken(key.trim(), rest) => return,
        Some((key, _)) => start + key.len() + 1,
        None if line.trim_start().starts_with('[') => return,
        // A line of a multi-line string or array.
        None => start,
    };
    report.mask(value..end);
}

fn is_shown_when_broken(key: &str, rest: &str) -> bool {
    // A second `=` may belong to another key, and what follows is then anything.
    SHOWN.contains(key) && !matches!(key, "hash" | "key" | "base_url" | "endpoint" | "jwks") && !rest.contains('=')
}
