//! `[[keys]]`: the clients' credentials and what each may use.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wildmatch::WildMatchPattern;

use super::Context;
use super::jwt::Jwt;
use super::limits::{self, Budget, Limits, LimitsConfig, OneOrMany};
use super::models::ModelConfig;
use super::providers::ProviderConfig;
use super::routes::near_model;
use super::tree::{At, nearest};
use super::units::{self, HashText};
use crate::limits::Rule;

/// `[[keys]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// A name for metrics and logs; unique: 1 to 128 letters, digits, `-`, `_`, `.`, `:` and `@`.
    pub name: At<String>,
    /// `sha256:` and the hexadecimal SHA-256 of the whole key; unique. Only a template of `[jwt]` goes without.
    pub hash: Option<At<HashText>>,
    /// Models it may use: names of `[models]`, `provider/model`, and patterns with `*`. Default: all.
    pub models: Option<At<Vec<At<String>>>>,
    /// The most it may use at a time.
    pub limits: Option<OneOrMany<Limits>>,
    /// The most it may spend.
    pub budget: Option<OneOrMany<Budget>>,
    /// Whose requests go first where `limits.wait` lets them wait: the larger number. Default: 0.
    pub priority: Option<u32>,
    /// Who else may receive an answer kept for this key. Default: `"private"`.
    pub cache: Option<CacheScope>,
    /// Words that rules go by.
    pub tags: Option<Vec<At<String>>>,
    /// Whose it is, as rules go by it.
    pub team: Option<At<String>>,
    /// Who answers for it; nothing goes by it.
    pub owner: Option<At<String>>,
    /// What else it may ask for. Default: nothing.
    pub allow: Option<Vec<Right>>,
    /// When it ends, as in `"2027-01-01T00:00:00Z"`. Default: never.
    pub expires: Option<At<String>>,
    /// What becomes of an answer whose client leaves. Default: `"cancel"`.
    pub on_abort: Option<OnAbort>,
}

/// What becomes of an answer whose client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnAbort {
    /// The upstream is told to stop; what was consumed is estimated.
    #[default]
    Cancel,
    /// It is read to its end, so that its usage is what the provider says.
    Drain,
}

impl OnAbort {
    /// Whether it need not be said.
    pub(crate) fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Drain => "drain",
        }
    }
}

/// What a key may ask for beside answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// To name models to fall back on, in the body's `fallbacks` or `models`.
    Fallbacks,
    /// Why a request would go where it goes.
    Explain,
    /// To make keys on the admin listener that may no more than itself.
    Keys,
}

impl Right {
    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fallbacks => "fallbacks",
            Self::Explain => "explain",
            Self::Keys => "keys",
        }
    }
}

/// Who else may receive a kept answer; ordered by how many those are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheScope {
    /// Nothing is kept, and nothing kept is given.
    Off,
    /// Nobody.
    #[default]
    Private,
    /// Every key that says `shared`.
    Shared,
}

impl CacheScope {
    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Private => "private",
            Self::Shared => "shared",
        }
    }
}

/// A resolved key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeyConfig {
    /// Its name in metrics and logs.
    pub name: String,
    /// SHA-256 of the whole key; `None`: nobody can present it, as a template of tokens or a key made at run time, whose
    /// secrets change.
    pub hash: Option<[u8; 32]>,
    /// Models it may use; `None`: all.
    pub models: Option<Vec<ModelPattern>>,
    /// Words that rules go by.
    pub tags: Vec<String>,
    /// Its team.
    pub team: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// What else it may ask for.
    pub allow: Vec<Right>,
    /// When it ends; `None`: never.
    pub expires: Option<SystemTime>,
    /// Its limits and budgets.
    pub rules: Vec<Rule>,
    /// The larger number waits less.
    pub priority: Option<u32>,
    /// What becomes of its answers when the client leaves.
    pub on_abort: OnAbort,
    /// Who else may receive its kept answers.
    pub cache: CacheScope,
}

impl KeyConfig {
    /// Whether it may use the model that a client asked for by `name`.
    pub fn may_use(&self, name: &str) -> bool {
        self.models.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(name)))
    }
}

/// The name of a model, in which `*` stands for any characters.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelPattern {
    text: String,
    // `?` is a letter like others in names: no second wildcard.
    matcher: WildMatchPattern<'*', '\0'>,
}

impl ModelPattern {
    /// Reads a pattern; every text is one.
    pub fn new(text: &str) -> Self {
        Self { matcher: WildMatchPattern::new(text), text: text.to_owned() }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `name` is one of the names it stands for.
    pub fn matches(&self, name: &str) -> bool {
        self.matcher.matches(name)
    }
}

impl fmt::Display for ModelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the name of a key consists of, wherever it is made.
pub const KEY_NAME: &str = "1 to 128 letters, digits, `-`, `_`, `.`, `:` and `@`, and is not `.` or `..`";

/// Whether it is [`KEY_NAME`].
pub fn is_key_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'@');
    // A name is a segment of the admin API's paths, and clients resolve those two.
    (1..=128).contains(&name.len()) && name.bytes().all(plain) && !matches!(name, "." | "..")
}

/// Only templates of tokens do without a hash.
pub(super) fn check_hashes(keys: &[Key], jwt: Option<&Jwt>, cx: &mut Context<'_>) {
    let issuers = || jwt.iter().flat_map(|jwt| &jwt.issuers.value);
    let is_template = |name: &str| issuers().any(|issuer| issuer.value.templates().any(|key| key.value == name));
    for key in keys.iter().filter(|key| key.hash.is_none() && !is_template(&key.name.value)) {
        let message = format!("the key `{}` has no `hash`", key.name.value);
        cx.report.error(key.name.span.clone(), message, "`ai-gateway key new NAME` makes a key and prints it");
    }
}

/// Warns of teams that are almost those with limits.
pub(super) fn check_teams(of_keys: Vec<At<String>>, limits: &LimitsConfig, cx: &mut Context<'_>) {
    for At { value: team, span } in of_keys.into_iter().filter(|team| !limits.teams.contains_key(&team.value)) {
        if let Some(near) = limits.teams.keys().find(|known| is_slip(&team, known)) {
            let message = format!("there is no [teams.{team}], and the limits of [teams.{near}] are not for this key");
            cx.report.warn(span, message, format!("did you mean `{near}`?"));
        }
    }
}

/// Whether one is the other, written by mistake. Names of one pattern (`team-a` and `team-b`) differ in one place only.
fn is_slip(word: &str, other: &str) -> bool {
    let most = word.len().min(other.len()) / 3;
    strsim::damerau_levenshtein(word, other) <= most.min(2) && strsim::hamming(word, other) != Ok(1)
}

/// Warns of conditions that none of `keys`, which are all there are, fulfils.
pub(super) fn check_asked(keys: &[KeyConfig], cx: &mut Context<'_>) {
    for (word, At { value: pattern, span }) in std::mem::take(&mut cx.asked_of_keys) {
        let known: Vec<&str> = match word {
            "key" => keys.iter().map(|key| key.name.as_str()).collect(),
            "tag" => keys.iter().flat_map(|key| &key.tags).map(String::as_str).collect(),
            _ => keys.iter().filter_map(|key| key.team.as_deref()).collect(),
        };
        let asked = ModelPattern::new(&pattern);
        if !known.iter().any(|known| asked.matches(known)) {
            let message = match word {
                "key" => format!("there is no key `{pattern}`: this never matches"),
                word => format!("no key has the {word} `{pattern}`: this never matches"),
            };
            let near = nearest(&pattern, known);
            cx.report.warn(span, message, near.map(|near| format!("did you mean `{near}`?")));
        }
    }
}

/// The most tags of a key: each of its records has all of them.
const MOST_TAGS: usize = 256;

/// Resolves all keys; names and hashes are unique among them.
pub(super) fn resolve(
    keys: Vec<Key>,
    models: &BTreeMap<String, ModelConfig>,
    providers: &BTreeMap<String, Option<ProviderConfig>>,
    cx: &mut Context<'_>,
) -> Vec<KeyConfig> {
    let mut resolved: Vec<KeyConfig> = Vec::with_capacity(keys.len());
    let mut names = HashSet::new();
    let mut hashes: HashMap<[u8; 32], String> = HashMap::new();
    for key in keys {
        if !is_key_name(&key.name.value) {
            let message = format!("`{}` cannot be the name of a key", key.name.value.escape_debug());
            cx.report.error(key.name.span.clone(), message, format!("it stands in metrics and logs: {KEY_NAME}"));
        } else if !names.insert(key.name.value.clone()) {
            let message = format!("there is another key named `{}`", key.name.value);
            cx.report.error(key.name.span.clone(), message, "names are unique: metrics and limits go by them");
        }
        let hash = key.hash.as_ref().and_then(|hash| cx.parse(hash, |text| units::sha256(&text.0)));
        if let (Some(hash), Some(at)) = (hash, &key.hash)
            && let Some(other) = hashes.insert(hash, key.name.value.clone())
        {
            let message = format!("this is the hash of the key `{other}` already");
            cx.report.error(at.span.clone(), message, "every client has a key of its own");
        }
        let expires = key.expires.as_ref().and_then(|text| cx.parse(text, |text| units::instant(text)));
        if let (Some(end), Some(at)) = (expires, &key.expires)
            && end <= cx.time.now()
        {
            let message = format!("the key `{}` has expired: it is refused", key.name.value);
            cx.report.warn(at.span.clone(), message, "write a later time, or take the key out");
        }
        if let Some(tag) = key.tags.as_ref().and_then(|tags| tags.get(MOST_TAGS)) {
            let message = format!("the key `{}` has more than {MOST_TAGS} tags", key.name.value);
            cx.report.error(tag.span.clone(), message, "each of its requests is booked with all of them");
        }
        let models = key.models.map(|names| resolve_models(names, models, providers, cx));
        resolved.push(KeyConfig {
            name: key.name.value,
            hash,
            models,
            tags: key.tags.unwrap_or_default().into_iter().map(|tag| tag.value).collect(),
            team: key.team.map(|team| team.value),
            owner: key.owner.map(|owner| owner.value),
            allow: key.allow.unwrap_or_default(),
            expires,
            rules: limits::rules(key.limits, key.budget, cx),
            priority: key.priority,
            on_abort: key.on_abort.unwrap_or_default(),
            cache: key.cache.unwrap_or_default(),
        });
    }
    resolved
}

fn resolve_models(
    names: At<Vec<At<String>>>,
    models: &BTreeMap<String, ModelConfig>,
    providers: &BTreeMap<String, Option<ProviderConfig>>,
    cx: &mut Context<'_>,
) -> Vec<ModelPattern> {
    if names.value.is_empty() {
        cx.report.error(names.span, "this key may use no model", "name some, or leave `models` out to allow all");
    }
    names
        .value
        .into_iter()
        .map(|name| {
            let pattern = ModelPattern::new(&name.value);
            let text = name.value.as_str();
            let of_provider = text.split_once('/').map(|(provider, _)| ModelPattern::new(provider));
            // The long search last: thousands of keys may name thousands of models.
            let known = text == "*"
                || models.contains_key(text)
                || of_provider.is_some_and(|of| providers.keys().any(|provider| of.matches(provider)))
                || models.keys().any(|model| pattern.matches(model));
            if !known {
                dangling(&name, models, providers, cx);
            }
            pattern
        })
        .collect()
}

fn dangling(
    name: &At<String>,
    models: &BTreeMap<String, ModelConfig>,
    providers: &BTreeMap<String, Option<ProviderConfig>>,
    cx: &mut Context<'_>,
) {
    let text = name.value.as_str();
    let help = near_model(text, models, providers).unwrap_or_else(|| {
        "write the name of a [models] table, `provider/model`, or a pattern such as `openai/*`".to_owned()
    });
    if text.contains('*') && !text.contains('/') {
        cx.report.warn(name.span.clone(), format!("`{text}` matches no model"), help);
    } else {
        cx.report.error(name.span.clone(), format!("there is no model `{text}`"), help);
    }
}
