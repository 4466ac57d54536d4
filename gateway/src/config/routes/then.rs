//! What a route does with a request that matches.

use std::collections::BTreeMap;

use ai_gateway_providers::scan::FieldEdits;
use http::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::Context;
use super::super::attempts::TimeoutsConfig;
use super::super::models::ModelConfig;
use super::super::providers::harmless_header;
use super::super::targets::{self, Target};
use super::super::tree::At;
use super::Known;

/// Fields whose meaning the gateway has already acted upon.
const FIELDS_NOT_OURS: [&str; 5] = ["model", "stream", "stream_options", "fallbacks", "models"];
/// One percent, in the millionths that shares are counted in.
const PERCENT: f64 = 10_000.0;
/// All requests.
const WHOLE: u32 = 1_000_000;

/// One side of a split as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// A name of `[models]`, or `provider/model`.
    pub model: At<String>,
    /// How many of a hundred requests; all sides together make 100.
    pub percent: At<f64>,
}

/// What keeps to one side of a split. What is not there is drawn anew for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitBy {
    /// The user: the body's `user`, or `metadata.user_id`.
    User,
    /// The session: the header `x-session-id`, `session-id` or `session_id`.
    Session,
    /// The client's key.
    Key,
    /// Nothing: each request is drawn anew.
    Request,
}

impl SplitBy {
    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Session => "session",
            Self::Key => "key",
            Self::Request => "request",
        }
    }
}

/// `reject` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reject {
    /// What the client reads.
    pub message: At<String>,
    /// From 400 to 499, but not 401 or 407. Default: 403.
    #[schemars(range(min = 400, max = 499))]
    pub status: Option<At<u16>>,
}

/// `headers` of a route as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Headers {
    /// Headers to write, in place of any of that name.
    #[serde(default)]
    pub set: BTreeMap<String, At<String>>,
    /// Headers to leave out.
    #[serde(default)]
    pub remove: Vec<At<String>>,
}

/// `body` of a route as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// Fields to write, in place of any of that name.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub set: BTreeMap<String, toml::Value>,
    /// Fields to leave out.
    #[serde(default)]
    pub remove: Vec<At<String>>,
}

/// `mirror` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// Who gets the copies.
    pub target: At<Target>,
    /// Of how many of a hundred requests. Default: 100.
    pub percent: Option<At<f64>>,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTo {
    /// To the model that the client named.
    Asked,
    /// To this model: a name of `[models]`, or `provider/model`.
    Model(String),
    /// To a model of its own, named like the route.
    Targets(Box<ModelConfig>),
    /// To one of several models.
    Split {
        /// What keeps to one side.
        by: SplitBy,
        /// At least one; their shares make a whole.
        sides: Vec<SideConfig>,
    },
    /// Nowhere.
    Reject {
        /// From 400 to 499.
        status: u16,
        /// What the client reads.
        message: String,
    },
}

/// One side of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideConfig {
    /// A name of `[models]`, or `provider/model`.
    pub model: String,
    /// Its share in millionths.
    pub share: u32,
}

/// Changes to the headers of the upstream request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Written in place of any of that name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Left out.
    pub remove: Vec<HeaderName>,
}

/// Who gets copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorConfig {
    /// A model of one target, named like the route.
    pub model: ModelConfig,
    /// Of how many requests, in millionths.
    pub share: u32,
}

/// The name of a model that exists.
pub(super) fn known_model(name: At<String>, known: &Known<'_>, cx: &mut Context<'_>) -> String {
    super::known_model(name, known.models, known.providers, cx)
}

/// A model that only the route knows.
pub(super) fn model_of(
    route: &str,
    targets: At<Vec<At<Target>>>,
    known: &Known<'_>,
    cx: &mut Context<'_>,
) -> ModelConfig {
    let targets = targets::resolve(targets, route, TimeoutsConfig::default(), known.providers, known.prices, cx);
    ModelConfig::plain(route, targets)
}

pub(super) fn sides(split: At<Vec<At<Side>>>, known: &Known<'_>, cx: &mut Context<'_>) -> Vec<SideConfig> {
    let sides: Vec<SideConfig> = split
        .value
        .into_iter()
        .map(|At { value: side, .. }| SideConfig {
            share: share(&side.percent, cx),
            model: known_model(side.model, known, cx),
        })
        .collect();
    let sum: u64 = sides.iter().map(|side| u64::from(side.share)).sum();
    if sum != u64::from(WHOLE) {
        let percent = sum as f64 / PERCENT;
        cx.report.error(split.span, format!("the sides of the split make {percent} %"), "together they make 100");
    }
    sides
}

/// Percent in millionths.
fn share(percent: &At<f64>, cx: &mut Context<'_>) -> u32 {
    if !(0.0..=100.0).contains(&percent.value) {
        cx.report.error(percent.span.clone(), "a share is from 0 to 100 percent", None);
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a million")]
    let share = (percent.value * PERCENT).round() as u32;
    share
}

impl Reject {
    pub(super) fn resolve(self, cx: &mut Context<'_>) -> RouteTo {
        if self.message.value.trim().is_empty() {
            cx.report.error(self.message.span, "the message is empty", "tell the client what to do instead");
        }
        let status = self.status.map_or(403, |status| {
            if !(400..500).contains(&status.value) || matches!(status.value, 401 | 407) {
                let help = "use 403, or another one from 400 to 499; 401 and 407 would have clients ask for a key";
                cx.report.error(status.span, "a rejected request cannot have this status", help);
            }
            status.value
        });
        RouteTo::Reject { status, message: self.message.value }
    }
}

impl Headers {
    pub(super) fn resolve(self, cx: &mut Context<'_>) -> HeaderEdits {
        let mut edits = HeaderEdits::default();
        for (name, value) in self.set {
            let Some(name) = harmless_header(&name, &value, cx) else { continue };
            match HeaderValue::from_str(&value.value) {
                Ok(mut text) => {
                    text.set_sensitive(true);
                    edits.set.push((name, text));
                }
                Err(_) => cx.report.error(value.span, format!("the value of `{name}` holds a control character"), None),
            }
        }
        for name in self.remove {
            edits.remove.extend(harmless_header(&name.value, &name, cx));
        }
        edits
    }
}

pub(super) fn field_edits(body: At<Body>, cx: &mut Context<'_>) -> FieldEdits {
    let mut edits = FieldEdits::default();
    let refused = |name: &str| format!("the gateway decides `{name}` itself");
    let help = "remove it; where a request goes is said by `model`, `targets` or `split`";
    for (name, value) in body.value.set {
        if FIELDS_NOT_OURS.contains(&name.as_str()) {
            cx.report.error(body.span.clone(), refused(&name), help);
        }
        // TOML's infinities and dates are no JSON.
        match serde_json::to_string(&value) {
            Ok(text) if is_json(&value) => edits.set.push((name, text)),
            _ => cx.report.error(body.span.clone(), format!("JSON has no such value as that of `{name}`"), None),
        }
    }
    for name in body.value.remove {
        if FIELDS_NOT_OURS.contains(&name.value.as_str()) {
            cx.report.error(name.span, refused(&name.value), help);
        } else if edits.set.iter().any(|(set, _)| *set == name.value) {
            cx.report.error(name.span, format!("`{}` is both set and removed", name.value), None);
        } else {
            edits.remove.push(name.value);
        }
    }
    edits
}

fn is_json(value: &toml::Value) -> bool {
    match value {
        toml::Value::Float(number) => number.is_finite(),
        toml::Value::Datetime(_) => false,
        toml::Value::Array(values) => values.iter().all(is_json),
        toml::Value::Table(table) => table.values().all(is_json),
        toml::Value::String(_) | toml::Value::Integer(_) | toml::Value::Boolean(_) => true,
    }
}

impl Mirror {
    pub(super) fn resolve(self, route: &str, known: &Known<'_>, cx: &mut Context<'_>) -> Option<MirrorConfig> {
        let share = self.percent.map_or(WHOLE, |percent| share(&percent, cx));
        let span = self.target.span.clone();
        let model = model_of(route, At { value: vec![self.target], span }, known, cx);
        (!model.targets.is_empty()).then_some(MirrorConfig { model, share })
    }
}
