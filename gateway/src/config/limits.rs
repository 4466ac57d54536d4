//! `limits` and `budget`, wherever they stand, and the sections `[limits]`, `[teams.NAME]` and `[tags.NAME]`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::time::Duration;

use ai_gateway_providers::price::Price;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::tree::At;
use super::units::{self, DurationText, Rate, RateText};
use super::{Config, Context, TargetConfig};
use crate::limits::{Period, Rule, What};

/// Pico-dollars in a US dollar.
const PICO: f64 = 1e12;
/// More than this does not fit.
const MAX_USD: f64 = 9_000_000.0;

/// The part of a budget from which on a warning is given.
const SOFT: f64 = 0.8;
/// The least such part, and how exactly [`dollars_and_soft`] gives it back.
const LEAST_SOFT: f64 = 1e-6;

/// `limits` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests per time.
    pub requests: Option<At<RateText>>,
    /// Tokens per time, input and output together.
    pub tokens: Option<At<RateText>>,
    /// Requests at the same time.
    pub concurrent: Option<At<u32>>,
}

/// `budget` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// US dollars.
    pub usd: At<f64>,
    /// In which time: `"hour"`, `"day"` (from midnight UTC), `"week"` (from Monday), `"month"` (from the first), `"total"`, or
    /// the last so much time, as in `"30d"`.
    pub per: At<String>,
    /// From which part of it on a warning is given; 1: never. Default: 0.8.
    pub soft: Option<At<f64>>,
}

/// `[limits]` as written: of everything together.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Global {
    /// Requests per time.
    pub requests: Option<At<RateText>>,
    /// Tokens per time, input and output together.
    pub tokens: Option<At<RateText>>,
    /// Requests at the same time.
    pub concurrent: Option<At<u32>>,
    /// The same in further times: `[{ requests = "600/min" }, { requests = "100000/day" }]`.
    pub limits: Option<OneOrMany<Limits>>,
    /// The most that all together may spend.
    pub budget: Option<OneOrMany<Budget>>,
    /// What budgets put by for a request that does not say how long its answer may be. Default: `most`.
    pub reserve: Option<At<Reserve>>,
    /// How long a request may wait for room instead of being refused. Default: not at all.
    pub wait: Option<At<DurationText>>,
    /// How many requests without a right key may come from one address (of IPv6: one /64) before their answer is 429 instead of
    /// 401 and tokens that were not seen before are not looked at. Who has a right key is let in all the same. Default: as
    /// many as like.
    pub wrong_keys: Option<At<RateText>>,
}

/// What budgets put by for a request that does not say how long its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reserve {
    /// The most that its model can say (128,000 tokens, if that is not known), and a token for each byte of text that is sent: no
    /// answers together pass a budget by more than one of them.
    #[default]
    Most,
    /// What nearly all answers of its model have cost lately: lets in more at the same time near the end of a budget, which
    /// answers that are longer pass together.
    Usual,
}

/// Tokens that [`Reserve::Most`] puts by for an answer of a model whose longest is not known: as many as the largest models say.
pub const UNKNOWN_OUTPUT: u64 = 128_000;

/// `[teams.NAME]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Team {
    /// The most that its keys together may use at a time.
    pub limits: Option<OneOrMany<Limits>>,
    /// The most that they may spend.
    pub budget: Option<OneOrMany<Budget>>,
}

/// `[tags.NAME]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    /// The most that the keys with this tag together may spend.
    pub budget: Option<OneOrMany<Budget>>,
}

/// Limits that no single key, model or target has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitsConfig {
    /// Of everything together.
    pub rules: Vec<Rule>,
    /// What budgets put by.
    pub reserve: Reserve,
    /// How long a request may wait for room; zero: not at all.
    pub wait: Duration,
    /// How many requests without a right key one address may send; `None`: as many as it likes.
    pub wrong_keys: Option<Rate>,
    /// Of each team.
    pub teams: BTreeMap<String, Vec<Rule>>,
    /// Of each tag.
    pub tags: BTreeMap<String, Vec<Rule>>,
}

/// One table, or an array of them.
#[derive(Debug)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table, or an array of tables")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq))
            }
        }

        deserializer.deserialize_any(Either(PhantomData)).map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// The rules of `limits` and `budget` of one subject.
pub(super) fn rules(
    limits: Option<OneOrMany<Limits>>,
    budgets: Option<OneOrMany<Budget>>,
    cx: &mut Context<'_>,
) -> Vec<Rule> {
    let mut rules = Vec::new();
    for limits in limits.unwrap_or_default().0 {
        for (what, text) in [(What::Requests, limits.requests), (What::Tokens, limits.tokens)] {
            rules.extend(text.and_then(|text| rate(what, &text, cx)));
        }
        rules.extend(limits.concurrent.and_then(|most| concurrent(&most, cx)));
    }
    rules.extend(budgets.unwrap_or_default().0.into_iter().filter_map(|written| budget(&written, cx)));
    rules
}

fn plain(what: What, period: Period, limit: u64) -> Rule {
    Rule { what, period, limit, soft: limit }
}

/// The limit that `text`, such as `"600/min"`, is.
///
/// # Errors
/// It is no rate.
pub fn rate_rule(what: What, text: &str) -> Result<Rule, String> {
    let rate: Rate = text.parse()?;
    Ok(plain(what, Period::sliding(rate.per), rate.count))
}

/// The limit of so many requests at the same time; `None`: that would be none at all.
pub fn concurrent_rule(most: u32) -> Option<Rule> {
    (most > 0).then(|| plain(What::Concurrent, Period::Total, most.into()))
}

/// What is wrong with a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadBudget {
    /// Which part of it.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
    /// What would be right.
    pub help: Option<&'static str>,
}

/// The limit that a budget is: US dollars, in which time, and from which part on a warning is given (`None`: the usual one).
///
/// # Errors
/// A part of it is wrong.
pub fn budget_rule(usd: f64, per: &str, soft: Option<f64>) -> Result<Rule, BadBudget> {
    let bad = |field, message: String, help| Err(BadBudget { field, message, help });
    if !(usd > 0.0 && usd <= MAX_USD) {
        return bad("usd", "a budget is more than zero and at most nine million US dollars".to_owned(), None);
    }
    let soft = soft.unwrap_or(SOFT);
    if !(LEAST_SOFT..=1.0).contains(&soft) {
        return bad("soft", "a part is at least 0.000001 and at most 1".to_owned(), Some("0.8 warns at 80 %"));
    }
    let period = match per {
        "hour" => Period::Hour,
        "day" => Period::Day,
        "week" => Period::Week,
        "month" => Period::Month,
        "total" => Period::Total,
        text => match units::duration(text) {
            Ok(window) => Period::sliding(window),
            Err(_) => {
                let help = "\"hour\", \"day\", \"week\", \"month\", \"total\", or a length of time such as \"30d\"";
                return bad("per", format!("`{}` is no time of a budget", text.escape_debug()), Some(help));
            }
        },
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above")]
    let pico = |usd: f64| (usd * PICO).round() as u64;
    Ok(Rule { what: What::Cost, period, limit: pico(usd).max(1), soft: pico(usd * soft).max(1) })
}

/// The same backwards: US dollars, and the part from which on a warning is given.
#[expect(clippy::cast_precision_loss, reason = "written as a decimal number of dollars")]
pub fn dollars_and_soft(rule: &Rule) -> (f64, f64) {
    let part = rule.soft as f64 / rule.limit as f64;
    (rule.limit as f64 / PICO, (part * 1e6).round() / 1e6)
}

fn rate(what: What, text: &At<RateText>, cx: &mut Context<'_>) -> Option<Rule> {
    cx.parse(text, |text| rate_rule(what, &text.0))
}

fn concurrent(most: &At<u32>, cx: &mut Context<'_>) -> Option<Rule> {
    let rule = concurrent_rule(most.value);
    if rule.is_none() {
        cx.report.error(most.span.clone(), "no request could ever be made", "write 1 or more");
    }
    rule
}

fn budget(written: &Budget, cx: &mut Context<'_>) -> Option<Rule> {
    match budget_rule(written.usd.value, &written.per.value, written.soft.as_ref().map(|soft| soft.value)) {
        Ok(rule) => {
            cx.budget.get_or_insert(written.usd.span.clone());
            if cx.spending_known.is_some_and(|known| known < rule.period.longest()) {
                cx.report.warn(
                    written.per.span.clone(),
                    "the ledger forgets sooner what was spent: after a restart the budget has more left than it should",
                    "write a longer `retention` in [ledger], or \"off\"",
                );
            }
            Some(rule)
        }
        Err(BadBudget { field, message, help }) => {
            let span = match (field, &written.soft) {
                ("usd", _) => &written.usd.span,
                ("soft", Some(soft)) => &soft.span,
                _ => &written.per.span,
            };
            cx.report.error(span.clone(), message, help.map(str::to_owned));
            None
        }
    }
}

/// `rpm`, `tpm` and `limits` of a target.
pub(super) fn of_target(
    rpm: Option<At<u64>>,
    tpm: Option<At<u64>>,
    limits: Option<OneOrMany<Limits>>,
    cx: &mut Context<'_>,
) -> Vec<Rule> {
    let mut rules = rules(limits, None, cx);
    for (what, most) in [(What::Requests, rpm), (What::Tokens, tpm)] {
        match most {
            Some(At { value: 0, span }) => {
                cx.report.error(span, "the target would never be used", "write 1 or more, or leave it out");
            }
            Some(At { value, .. }) => rules.push(plain(what, Period::Sliding(60_000), value)),
            None => {}
        }
    }
    rules
}

/// Warns of the targets of `config` for which budgets put by more than may be needed, at the place that makes them do so.
pub(super) fn check_most(span: Range<usize>, config: &Config, cx: &mut Context<'_>) {
    let writes = |price: &Price| price.expected(0, 1_000_000).is_some_and(|cost| cost > 0);
    let is_unknown = |target: &&TargetConfig| {
        target.known.price.as_ref().is_some_and(writes)
            && target.traits.max_output.or(target.known.max_output).is_none()
    };
    let targets = config.described_models().flat_map(|model| &model.targets);
    let names: BTreeSet<String> = targets.filter(is_unknown).map(|target| format!("`{}`", target.id())).collect();
    if !names.is_empty() {
        let names: Vec<String> = names.into_iter().collect();
        let message = format!(
            "budgets put by {UNKNOWN_OUTPUT} tokens for an answer where the longest is not known: {}",
            names.join(", ")
        );
        cx.report.warn(span, message, "say it in their targets: `traits = { max_output = 8192 }`");
    }
}

impl Global {
    pub(super) fn resolve(self, cx: &mut Context<'_>) -> LimitsConfig {
        let mut limits = self.limits.unwrap_or_default();
        limits.0.push(Limits { requests: self.requests, tokens: self.tokens, concurrent: self.concurrent });
        LimitsConfig {
            reserve: self.reserve.map(|reserve| reserve.value).unwrap_or_default(),
            wait: cx.duration(self.wait.as_ref()).unwrap_or_default(),
            wrong_keys: self.wrong_keys.as_ref().and_then(|text| cx.parse(text, |text| text.0.parse())),
            rules: rules(Some(limits), self.budget, cx),
            ..LimitsConfig::default()
        }
    }
}
