//! From a verified token's claims to a key within its template.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::config::{ClaimNames, KeyConfig, ModelPattern, OnAbort};
use crate::keys::Key;

/// Bytes of the longest text that is taken from a claim.
const LONGEST: usize = 128;
/// Most entries of a list.
const MOST: usize = 256;

/// The key that a token stands for; `None` if a claim that must be there is not, or is not what it must be.
///
/// It is called as the template, a slash, and the token's name: no other key is, and no other issuer has the template.
pub(super) fn key(claims: &Map<String, Value>, names: &ClaimNames, template: &Arc<Key>) -> Option<Arc<Key>> {
    let name = text(find(claims, names.name.as_deref().unwrap_or("sub"))?)?;
    let team = match names.team.as_deref().and_then(|claim| find(claims, claim)) {
        Some(team) => Some(text(team)?.to_owned()),
        None => template.team().map(str::to_owned),
    };
    let mut tags = template.tags().to_vec();
    if let Some(more) = names.tags.as_deref().and_then(|claim| find(claims, claim)) {
        tags.extend(texts(more)?.into_iter().map(str::to_owned));
    }
    let models = match &names.models {
        // A claim that narrows must be there.
        Some(claim) => Some(texts(find(claims, claim)?)?.into_iter().map(ModelPattern::new).collect()),
        None => None,
    };
    let config = KeyConfig {
        name: format!("{}/{name}", template.name),
        hash: None,
        models,
        tags,
        team,
        owner: template.owner().map(str::to_owned),
        allow: template.config().allow.clone(),
        expires: None,
        rules: Vec::new(),
        priority: None,
        on_abort: OnAbort::default(),
        cache: template.config().cache,
    };
    Some(Arc::new(Key::within(config, Some(template.clone()), true)))
}

/// Whether the claim `name` is `value`, or has it among others. Numbers, `true` and `false` are it as they are written.
pub(super) fn has(claims: &Map<String, Value>, name: &str, value: &str) -> bool {
    let is_it = |claim: &Value| match claim {
        Value::String(text) => text == value,
        Value::Number(number) => number.to_string() == value,
        Value::Bool(flag) => flag.to_string() == value,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    };
    match find(claims, name) {
        Some(Value::Array(values)) => values.iter().any(is_it),
        Some(claim) => is_it(claim) || claim.as_str().is_some_and(|text| text.split(' ').any(|word| word == value)),
        None => false,
    }
}

/// The claim of that name, or at that JSON pointer; `null` is none.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = match claims.get(name) {
        Some(value) => Some(value),
        None => {
            let (first, rest) = name.strip_prefix('/')?.split_once('/')?;
            claims.get(first)?.pointer(&format!("/{rest}"))
        }
    };
    found.filter(|value| !value.is_null())
}

fn is_plain(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| is_plain(text))
}

/// A list of texts, or words with spaces between.
fn texts(value: &Value) -> Option<Vec<&str>> {
    let texts: Vec<&str> = match value {
        Value::String(words) => words.split(' ').filter(|word| !word.is_empty()).collect(),
        Value::Array(values) => values.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    (texts.len() <= MOST && texts.iter().all(|text| is_plain(text))).then_some(texts)
}
