//! `limits` and `budget`, wherever they stand, and the sections `[limits]`, `[teams.NAME]` and `[tags.NAME]`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Context;
use super::tree::At;
use super::units::{self, DurationText, Rate, RateText};
use crate::limits::{Period, Rule, What};

/// Pico-dollars in a US dollar.
const PICO: f64 = 1e12;
/// More than this does not fit.
const MAX_USD: f64 = 9_000_000.0;

/// The part of a budget from which on a warning is given.
const SOFT: f64 = 0.8;

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
    /// The most that all together may spend.
    pub budget: Option<OneOrMany<Budget>>,
    /// How long a request may wait for room instead of being refused. Default: not at all.
    pub wait: Option<At<DurationText>>,
}

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
    /// How long a request may wait for room; zero: not at all.
    pub wait: Duration,
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

fn rate(what: What, text: &At<RateText>, cx: &mut Context<'_>) -> Option<Rule> {
    let rate: Rate = cx.parse(text, |text| text.0.parse())?;
    Some(plain(what, Period::sliding(rate.per), rate.count))
}

fn concurrent(most: &At<u32>, cx: &mut Context<'_>) -> Option<Rule> {
    if most.value == 0 {
        cx.report.error(most.span.clone(), "no request could ever be made", "write 1 or more");
        return None;
    }
    Some(plain(What::Concurrent, Period::Total, most.value.into()))
}

fn budget(written: &Budget, cx: &mut Context<'_>) -> Option<Rule> {
    let usd = written.usd.value;
    if !(usd > 0.0 && usd <= MAX_USD) {
        let message = "a budget is more than zero and at most nine million US dollars";
        cx.report.error(written.usd.span.clone(), message, None);
        return None;
    }
    let soft = written.soft.as_ref().map_or(SOFT, |soft| soft.value);
    if !(soft > 0.0 && soft <= 1.0) {
        let span = written.soft.as_ref().map_or(0..0, |soft| soft.span.clone());
        cx.report.error(span, "a part is more than zero and at most 1", "0.8 warns at 80 %");
        return None;
    }
    let period = match &*written.per.value {
        "hour" => Period::Hour,
        "day" => Period::Day,
        "week" => Period::Week,
        "month" => Period::Month,
        "total" => Period::Total,
        text => match units::duration(text) {
            Ok(window) => Period::sliding(window),
            Err(_) => {
                let help = "\"hour\", \"day\", \"week\", \"month\", \"total\", or a length of time such as \"30d\"";
                cx.report.error(written.per.span.clone(), format!("`{text}` is no time of a budget"), help);
                return None;
            }
        },
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above")]
    let pico = |usd: f64| (usd * PICO).round() as u64;
    Some(Rule { what: What::Cost, period, limit: pico(usd).max(1), soft: pico(usd * soft).max(1) })
}

/// `rpm` and `tpm` of a target.
pub(super) fn of_target(rpm: Option<At<u64>>, tpm: Option<At<u64>>, cx: &mut Context<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
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

impl Global {
    pub(super) fn resolve(self, cx: &mut Context<'_>) -> LimitsConfig {
        let limits = Limits { requests: self.requests, tokens: self.tokens, concurrent: self.concurrent };
        LimitsConfig {
            wait: cx.duration(self.wait.as_ref()).unwrap_or_default(),
            rules: rules(Some(OneOrMany(vec![limits])), self.budget, cx),
            ..LimitsConfig::default()
        }
    }
}
