//! What a key is asked to be, as the admin API gets it.

use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{KeyError, bounds};
use crate::config::{CacheScope, KEY_NAME, OnAbort, Right, is_key_name};
use crate::limits::{Rule, What};

/// Characters of the longest tag, team and owner.
const LONGEST: usize = 128;
/// Entries of the longest list.
const MOST: usize = 256;

/// A key to be made.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct NewKey {
    /// Unique among all keys: [`KEY_NAME`].
    pub name: String,
    /// Names and patterns of models; `None`: all that the maker may use.
    pub models: Option<Vec<String>>,
    /// `None`: the maker's.
    pub tags: Option<Vec<String>>,
    /// `None`: the maker's.
    pub team: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// `None`: nothing.
    pub allow: Option<Vec<Right>>,
    /// `None`: when the maker's own time is over.
    pub expires: Option<SystemTime>,
    /// Who else may receive its kept answers; `None`: as with the maker.
    pub cache: Option<CacheScope>,
    /// Its place among those that wait; `None`: the maker's.
    pub priority: Option<u32>,
    /// What becomes of answers whose clients leave; `None`: as with the maker.
    pub on_abort: Option<OnAbort>,
    /// Its own limits and budgets; those of its maker count besides.
    pub rules: Vec<Rule>,
}

impl NewKey {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// Which field is wrong, and how.
    pub fn parse(body: &[u8], now: SystemTime) -> Result<Self, KeyError> {
        let mut fields = object(body)?;
        let name: String = take(&mut fields, "name")?.ok_or_else(|| KeyError::field("name", "is missing"))?;
        if !is_key_name(&name) {
            return Err(KeyError::field("name", format!("has {KEY_NAME}")));
        }
        let new = Self {
            name,
            models: texts(&mut fields, "models")?,
            tags: texts(&mut fields, "tags")?,
            team: text(&mut fields, "team")?,
            owner: text(&mut fields, "owner")?,
            allow: take(&mut fields, "allow")?,
            expires: expires(&mut fields, now)?,
            cache: take(&mut fields, "cache")?,
            priority: take(&mut fields, "priority")?,
            on_abort: take(&mut fields, "on_abort")?,
            rules: Bounds::take(&mut fields)?.over(&[]),
        };
        if new.models.as_ref().is_some_and(Vec::is_empty) {
            return Err(KeyError::field("models", "is empty: name some, or leave it out"));
        }
        let known = "is not known; there are name, models, tags, team, owner, allow, expires, cache, priority, on_abort, limits and \
                     budget";
        nothing_left(&fields, known)?;
        Ok(new)
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, KeyError> {
    serde_json::from_slice(body).map_err(|error| KeyError::field("body", format!("is no JSON object: {error}")))
}

/// All fields were taken; `message` says what is wrong with another one.
fn nothing_left(fields: &Map<String, Value>, message: &str) -> Result<(), KeyError> {
    match fields.keys().next() {
        Some(unknown) => Err(KeyError::field(&unknown.escape_default().to_string(), message)),
        None => Ok(()),
    }
}

/// The field's value; `null` is none.
fn take<T: DeserializeOwned>(fields: &mut Map<String, Value>, field: &str) -> Result<Option<T>, KeyError> {
    match fields.remove(field) {
        None => Ok(None),
        Some(value) => serde_json::from_value(value).map_err(|error| KeyError::field(field, error.to_string())),
    }
}

fn check_text(field: &str, text: &str) -> Result<(), KeyError> {
    if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
        let message = format!("has 1 to {LONGEST} bytes, and no control characters");
        return Err(KeyError::field(field, message));
    }
    Ok(())
}

fn text(fields: &mut Map<String, Value>, field: &str) -> Result<Option<String>, KeyError> {
    let text: Option<String> = take(fields, field)?;
    text.iter().try_for_each(|text| check_text(field, text))?;
    Ok(text)
}

fn texts(fields: &mut Map<String, Value>, field: &str) -> Result<Option<Vec<String>>, KeyError> {
    let texts: Option<Vec<String>> = take(fields, field)?;
    if texts.as_ref().is_some_and(|texts| texts.len() > MOST) {
        return Err(KeyError::field(field, format!("has more than {MOST} entries")));
    }
    texts.iter().flatten().try_for_each(|text| check_text(field, text))?;
    Ok(texts)
}

/// A time (`"2027-01-01T00:00:00Z"`) or a time from now (`"30d"`).
fn expires(fields: &mut Map<String, Value>, now: SystemTime) -> Result<Option<SystemTime>, KeyError> {
    let Some(text) = take::<String>(fields, "expires")? else { return Ok(None) };
    let wrong =
        || KeyError::field("expires", "is a time, as in \"2027-01-01T00:00:00Z\", or a time from now, as in \"30d\"");
    let time = match humantime::parse_rfc3339_weak(&text) {
        Ok(time) => time,
        Err(_) => now.checked_add(duration(&text).ok_or_else(wrong)?).ok_or_else(wrong)?,
    };
    if time <= now {
        return Err(KeyError::field("expires", "is over already"));
    }
    Ok(Some(time))
}

/// Longest time that a key or a secret can be given.
const FAR: Duration = Duration::from_secs(100 * 366 * 86_400);

/// A length of time such as `"24h"`, at most a century; `"0s"` is one.
fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|length| *length <= FAR)
}

/// The object of a request that has one field; an empty body is an empty object.
fn only<T: DeserializeOwned>(body: &[u8], field: &str) -> Result<Option<T>, KeyError> {
    if body.is_empty() {
        return Ok(None);
    }
    let mut fields = object(body)?;
    let value = take(&mut fields, field)?;
    nothing_left(&fields, &format!("is not known; there is `{field}`"))?;
    Ok(value)
}

/// The only field of a body, a length of time such as `"24h"`.
///
/// # Errors
/// It is none.
pub fn duration_field(body: &[u8], field: &str) -> Result<Option<Duration>, KeyError> {
    let Some(text) = only::<String>(body, field)? else { return Ok(None) };
    let length =
        duration(&text).ok_or_else(|| KeyError::field(field, "is a length of time, as in \"24h\" or \"0s\""))?;
    Ok(Some(length))
}

/// Limits and budgets of a request's body; `None`: it does not speak of them.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Bounds {
    /// Those of requests, tokens and concurrency.
    pub limits: Option<Vec<Rule>>,
    /// Those of money.
    pub budgets: Option<Vec<Rule>>,
}

impl Bounds {
    fn take(fields: &mut Map<String, Value>) -> Result<Self, KeyError> {
        Ok(Self {
            limits: fields.remove("limits").map(bounds::limits).transpose()?,
            budgets: fields.remove("budget").map(bounds::budgets).transpose()?,
        })
    }

    /// What becomes of `rules`: what is not spoken of stays.
    pub(super) fn over(self, rules: &[Rule]) -> Vec<Rule> {
        let kept = |of_money: bool| rules.iter().filter(move |rule| (rule.what == What::Cost) == of_money).copied();
        let mut all = self.limits.unwrap_or_else(|| kept(false).collect());
        all.extend(self.budgets.unwrap_or_else(|| kept(true).collect()));
        all
    }
}

/// What is to be changed of a key.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Change {
    /// Whether it is in use.
    pub enabled: Option<bool>,
    /// Its limits and budgets.
    pub bounds: Bounds,
}

impl Change {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// Which field is wrong, and how; nothing is to be changed.
    pub fn parse(body: &[u8]) -> Result<Self, KeyError> {
        let mut fields = object(body)?;
        let change = Self { enabled: take(&mut fields, "enabled")?, bounds: Bounds::take(&mut fields)? };
        nothing_left(&fields, "cannot be changed; `enabled`, `limits` and `budget` can")?;
        if change == Self::default() {
            return Err(KeyError::field("body", "changes nothing: give `enabled`, `limits` or `budget`"));
        }
        Ok(change)
    }
}
