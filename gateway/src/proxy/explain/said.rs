//! An explanation as it is told: times in milliseconds, money in US dollars as exact decimals, null for what is not known.

use std::fmt;
use std::time::Duration;

use ai_gateway_providers::price::Dollars;
use serde::Serialize;

use crate::cache::Terms;
use crate::cache::key::Scope;
use crate::cache::policy::Bypass;
use crate::config::TimeoutsConfig;
use crate::health::State;
use crate::limits::{Kind, NEVER, Preview, What};
use crate::proxy::Exchange;
use crate::proxy::plugins::steering;
use crate::routing::Behind;
use crate::routing::rules::{Rule, Verdict};

/// Where a request would go, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// Whose request it is; null where no keys are configured.
    pub key: Option<String>,
    /// The client's dialect.
    pub dialect: &'static str,
    /// What is asked.
    pub operation: &'static str,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// The model that the client named.
    pub asked_model: Option<String>,
    /// Who would answer.
    pub answered_by: AnsweredBy,
    /// The first target that would be asked, as `provider/model`.
    pub target: Option<String>,
    /// Why nobody would be asked.
    pub refused: Option<Refused>,
    /// The plugins, in order, and whether the request goes through them.
    pub plugins: Vec<PluginStep>,
    /// How each rule took the request, up to the one that matched.
    pub rules: Vec<RuleStep>,
    /// The rule that matched.
    pub rule: Option<String>,
    /// Who would get a copy, as `provider/model`.
    pub mirror: Option<String>,
    /// The model that the request goes to.
    pub model: Option<Model>,
    /// The targets in the order in which they would be asked.
    pub candidates: Vec<Candidate>,
    /// The targets that would not be asked.
    pub left_out: Vec<LeftOut>,
    /// What the request is expected to use.
    pub expected: Option<Tokens>,
    /// Whether the request would use the cache. Null: there is no model for it.
    pub cache: Option<Cache>,
    /// The limits and budgets that it is checked against, by kind and name. Null: there is no model for it, or the gateway
    /// answers by itself.
    pub limits: Option<Vec<Limit>>,
}

/// Who would answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AnsweredBy {
    /// A provider.
    Target,
    /// The gateway itself.
    Gateway,
    /// It would be refused.
    Nobody,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The status that the client would get.
    pub status: u16,
    /// The kind of error, as in logs.
    pub error: &'static str,
    /// What the client would be told.
    pub message: String,
}

/// How a rule took the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleStep {
    /// The rule's name.
    pub rule: String,
    /// Whether it matched.
    pub matched: bool,
    /// The first condition that did not hold.
    pub failed: Option<String>,
    /// Whether that is an expression which cannot be evaluated on this request.
    pub broke: bool,
}

/// Whether a request goes through a plugin. What the plugin would do is not asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginStep {
    /// The plugin's name.
    pub plugin: String,
    /// Whether all its conditions hold.
    pub runs: bool,
    /// The first condition that does not hold.
    pub failed: Option<String>,
}

impl RuleStep {
    pub(super) fn new(rule: &Rule, verdict: Verdict<'_>) -> Self {
        let (matched, failed, broke) = match verdict {
            Verdict::Matched => (true, None, false),
            Verdict::Failed(condition) => (false, Some(condition.to_string()), false),
            Verdict::Broke(condition) => (false, Some(condition.to_string()), true),
        };
        Self { rule: rule.name.to_string(), matched, failed, broke }
    }
}

/// A model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    /// Its public name.
    pub name: String,
    /// How one of its targets is chosen.
    pub strategy: &'static str,
    /// When another attempt is made.
    pub retry: Retry,
}

/// When another attempt is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// The most targets that are tried.
    pub attempts: u32,
    /// Failures that lead to another one.
    pub on: Vec<&'static str>,
    /// Whether a target may be asked once more.
    pub same_target: bool,
    /// The longest wait for a provider that says when to come back.
    pub max_wait_ms: u64,
}

/// A target that would be asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// The provider's name.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// Smaller first.
    pub priority: u32,
    /// Share inside its priority.
    pub weight: u32,
    /// How many credentials its provider has.
    pub credentials: usize,
    /// Ready, or half open: then it is the probe.
    pub state: State,
    /// First output, lately, with the fastest credential.
    pub latency_ms: Option<f64>,
    /// Attempts under way, with all credentials.
    pub in_flight: usize,
    /// What the request is expected to cost there.
    pub expected_usd: Option<String>,
    /// In tokens.
    pub context_window: Option<u64>,
    /// The dialect that it would be spoken to in.
    pub dialect: Option<&'static str>,
    /// Whether request and answer would be translated.
    pub translated: bool,
    /// Fields of the request that its API cannot say.
    pub dropped: Vec<String>,
    /// Why it would be passed over when its turn comes: the request cannot be said in its API.
    pub cannot: Option<String>,
    /// Whether it would be asked only if one before it cannot: `retry.attempts` are used up before.
    pub spare: bool,
    /// The clocks of an attempt.
    pub clocks: Clocks,
    /// Why it stands behind the one before it.
    pub behind: Option<Behind>,
}

/// The clocks of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Clocks {
    /// Until the connection stands.
    pub connect_ms: u64,
    /// Until the first output.
    pub first_token_ms: u64,
    /// Between two chunks.
    pub idle_ms: u64,
    /// All of it.
    pub total_ms: u64,
}

impl From<TimeoutsConfig> for Clocks {
    fn from(TimeoutsConfig { connect, first_token, idle, total }: TimeoutsConfig) -> Self {
        let [connect_ms, first_token_ms, idle_ms, total_ms] = [connect, first_token, idle, total].map(millis);
        Self { connect_ms, first_token_ms, idle_ms, total_ms }
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A target that would not be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The provider's name.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// A fixed word: `unusable`, `resting`, `drained`, `probed`, `limited` or `enough`.
    pub by: &'static str,
    /// The same for people.
    pub detail: String,
    /// When it may be asked again.
    pub retry_in_ms: Option<u64>,
}

/// What a request is expected to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// A quarter of the body's bytes.
    pub prompt_tokens: u64,
    /// What the request allows, within reason.
    pub output_tokens: u64,
}

/// How a request would use the cache. Whether there is an answer for it is not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// Whether it would.
    pub used: bool,
    /// Why not.
    pub why_not: Option<String>,
    /// Whose answers it may be given: `private`, `shared`, or `open` where there are no keys.
    pub scope: Option<&'static str>,
    /// How long its answer would be kept; zero: not at all.
    pub ttl_ms: Option<u64>,
    /// Oldest answer that it takes; null: as old as it was to be kept.
    pub max_age_ms: Option<u64>,
    /// Whether it would follow a call that is under way, and be followed.
    pub shared_live: bool,
}

impl Cache {
    pub(super) fn new(judged: Result<Terms, Bypass>, exchange: &Exchange) -> Self {
        match judged {
            Ok(terms) => Self {
                used: true,
                why_not: None,
                scope: Scope::of(exchange.key.as_deref(), !steering(exchange).is_empty()).map(Scope::as_str),
                ttl_ms: Some(millis(terms.ttl)),
                max_age_ms: (terms.max_age < Duration::MAX).then(|| millis(terms.max_age)),
                shared_live: terms.share,
            },
            Err(why) => Self {
                used: false,
                why_not: Some(why.to_string()),
                scope: None,
                ttl_ms: None,
                max_age_ms: None,
                shared_live: false,
            },
        }
    }
}

/// A limit or a budget as the request meets it, which counts nowhere for that. With a store that several instances share: by
/// what this one has counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// Whose it is: `global`, `key`, `team`, `tag` or `model`.
    pub kind: Kind,
    /// The name of that key, team, tag or model; empty for `global`.
    pub name: String,
    /// What is counted: `requests`, `tokens`, `concurrent` or `budget`.
    pub what: &'static str,
    /// In which time: `hour`, `day`, `week` or `month` of the calendar, `total`, or a length such as `1m`. Null for `concurrent`.
    pub per: Option<String>,
    /// The most.
    pub limit: Amount,
    /// What was used, and what requests under way are expected to use.
    pub used: Amount,
    /// What the request would reserve of it, if it gets no answer of the cache.
    pub takes: Amount,
    /// Whether it has no room for the request, which is refused, or waits where `[limits] wait` lets it.
    pub refuses: bool,
    /// When there will be room for it. Null: there is, or no time helps.
    pub room_in_ms: Option<u64>,
}

/// So much of what a limit counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Amount {
    /// Requests or tokens: a number.
    Count(u64),
    /// Of a budget: US dollars, as an exact decimal.
    Usd(String),
}

impl Limit {
    pub(super) fn new(met: &Preview, now: u64) -> Self {
        let what = met.rule.what;
        let amount = |amount| match what {
            What::Cost => Amount::Usd(Dollars(amount).to_string()),
            What::Requests | What::Tokens | What::Concurrent => Amount::Count(amount),
        };
        Self {
            kind: met.subject.kind,
            name: met.subject.name.to_string(),
            what: what.as_str(),
            per: met.rule.per(),
            limit: amount(met.rule.limit),
            used: amount(met.used),
            takes: amount(met.takes),
            refuses: met.until.is_some(),
            room_in_ms: met.until.filter(|until| *until < NEVER).map(|until| until.saturating_sub(now)),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Usd(dollars) => dollars.fmt(f),
        }
    }
}
