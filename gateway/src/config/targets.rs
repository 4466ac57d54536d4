//! `targets` of a model: providers' models, their shares, and what each accepts.

use std::collections::BTreeMap;
use std::sync::Arc;

use ai_gateway_providers::catalogue::{Prefill, Thinking, Traits};
use ai_gateway_providers::common::Effort;
use ai_gateway_providers::price::Model as Known;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::attempts::{Timeouts, TimeoutsConfig};
use super::limits::{self, Limits, OneOrMany};
use super::prices::{PriceText, PricesConfig};
use super::providers::ProviderConfig;
use super::tree::{At, instead};
use crate::limits::Rule;

/// One entry of `targets` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Name of a provider: of a `[providers.NAME]` table.
    pub provider: At<String>,
    /// The provider's own name of the model.
    pub model: At<String>,
    /// Share of the traffic among targets of the same priority; 0 takes none. Default: 1.
    pub weight: Option<u32>,
    /// 0 is tried first; others only when every target of a lower number failed. Default: 0.
    pub priority: Option<u32>,
    /// What the model accepts, where its name does not tell: for deployments and aliases.
    pub traits: Option<TraitsText>,
    /// The clocks of an attempt at this target, where they differ from the model's.
    pub timeouts: Option<Timeouts>,
    /// What it costs, where the price map does not know it or not right.
    pub price: Option<At<PriceText>>,
    /// Its context window in tokens: a prompt that is too long for one target goes on to one with a larger window.
    pub context: Option<u64>,
    /// Requests a minute that the provider allows: past it the target is passed over.
    pub rpm: Option<At<u64>>,
    /// Tokens a minute that the provider allows: past it the target is passed over.
    pub tpm: Option<At<u64>>,
    /// What else it allows, as requests a day or at the same time: past it the target is passed over, too.
    pub limits: Option<OneOrMany<Limits>>,
}

/// `traits` of a target as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraitsText {
    /// Its most output tokens, for APIs that demand a number.
    pub max_output: Option<u64>,
    /// How a Claude model takes reasoning.
    pub thinking: Option<ThinkingName>,
    /// Whether a Gemini model is of the third generation or later.
    pub gemini_3: Option<bool>,
    /// Whether it goes on with what a message of the assistant at the end has begun, for `on_cut = "continue"`.
    pub prefill: Option<bool>,
    /// The most reasoning effort that a model of OpenAI, or one that imitates its API, may be asked for.
    pub max_effort: Option<EffortName>,
    /// The least reasoning effort that a model of OpenAI, or one that imitates its API, may be asked for; of a Gemini of the second
    /// generation, whether it can be told not to think (`none`).
    pub min_effort: Option<EffortName>,
}

/// How hard a model may be asked to reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EffortName {
    /// Not at all.
    None,
    /// Hardly.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// A lot.
    High,
    /// More than a lot.
    XHigh,
    /// As much as it takes.
    Max,
}

impl From<EffortName> for Effort {
    fn from(name: EffortName) -> Self {
        match name {
            EffortName::None => Self::None,
            EffortName::Minimal => Self::Minimal,
            EffortName::Low => Self::Low,
            EffortName::Medium => Self::Medium,
            EffortName::High => Self::High,
            EffortName::XHigh => Self::XHigh,
            EffortName::Max => Self::Max,
        }
    }
}

/// How a Claude model takes reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingName {
    /// As a budget or adaptive, whichever is asked for.
    AsAsked,
    /// As a budget of tokens only.
    Budget,
    /// Adaptive only.
    Adaptive,
    /// Adaptive only, and always.
    Always,
    /// Not at all.
    Unsupported,
}

impl From<ThinkingName> for Thinking {
    fn from(name: ThinkingName) -> Self {
        match name {
            ThinkingName::AsAsked => Self::AsAsked,
            ThinkingName::Budget => Self::Budget,
            ThinkingName::Adaptive => Self::Adaptive,
            ThinkingName::Always => Self::Always,
            ThinkingName::Unsupported => Self::Unsupported,
        }
    }
}

impl TraitsText {
    fn resolve(self, model: &str) -> Traits {
        let known = Traits::of(model);
        Traits {
            max_output: self.max_output.or(known.max_output),
            thinking: self.thinking.map_or(known.thinking, Thinking::from),
            gemini_3: self.gemini_3.unwrap_or(known.gemini_3),
            prefill: match self.prefill {
                Some(true) => Prefill::Always,
                Some(false) => Prefill::Refused,
                None => known.prefill,
            },
            max_effort: self.max_effort.map_or(known.max_effort, Effort::from),
            min_effort: self.min_effort.map(Effort::from).or(known.min_effort),
            ..known
        }
    }
}

/// A resolved target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfig {
    /// Name of a provider of the same configuration.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// Share of the traffic inside its priority.
    pub weight: u32,
    /// 0 is tried first.
    pub priority: u32,
    /// What the model accepts.
    pub traits: Traits,
    /// The four clocks of an attempt.
    pub timeouts: TimeoutsConfig,
    /// What it costs and how large its context is, as far as that is known.
    pub known: Arc<Known>,
    /// What the provider allows of it.
    pub rules: Vec<Rule>,
}

impl TargetConfig {
    /// Whose limits `rules` are: several targets of one provider and model share them.
    pub fn id(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }

    /// A target with every setting at its default.
    pub fn plain(provider: &str, model: &str, known: Known) -> Self {
        Self {
            provider: provider.to_owned(),
            model: model.to_owned(),
            weight: 1,
            priority: 0,
            traits: Traits::of(model),
            timeouts: TimeoutsConfig::default(),
            known: Arc::new(known),
            rules: Vec::new(),
        }
    }
}

/// Resolves the targets of `model`, whose own clocks are `timeouts`.
pub(super) fn resolve(
    targets: At<Vec<At<Target>>>,
    model: &str,
    timeouts: TimeoutsConfig,
    providers: &BTreeMap<String, Option<ProviderConfig>>,
    prices: &PricesConfig,
    cx: &mut Context<'_>,
) -> Vec<TargetConfig> {
    if targets.value.is_empty() {
        cx.report.error(
            targets.span,
            format!("the model `{model}` has no target"),
            "write at least one, as in { provider = \"openai\", model = \"gpt-5\" }",
        );
        return Vec::new();
    }
    let mut resolved: Vec<TargetConfig> = Vec::with_capacity(targets.value.len());
    for At { value: target, span } in targets.value {
        if !providers.contains_key(&target.provider.value) {
            let known: Vec<&str> = providers.keys().map(String::as_str).collect();
            cx.report.error(
                target.provider.span.clone(),
                format!("there is no provider `{}`", target.provider.value),
                instead(&target.provider.value, &known)
                    .unwrap_or_else(|| format!("add a [providers.{}] table", target.provider.value)),
            );
        }
        if target.model.value.is_empty() {
            cx.report.error(target.model.span.clone(), "the upstream's name of the model is empty", None);
        }
        let provider = providers.get(&target.provider.value).and_then(Option::as_ref);
        let known = provider.map(|provider| prices.of_target(target.price, &target.model, provider, cx));
        let mut known = known.unwrap_or_default();
        known.context_window = target.context.or(known.context_window);
        let target = TargetConfig {
            known: Arc::new(known),
            traits: target.traits.unwrap_or_default().resolve(&target.model.value),
            provider: target.provider.value,
            model: target.model.value,
            weight: target.weight.unwrap_or(1),
            priority: target.priority.unwrap_or(0),
            timeouts: target.timeouts.unwrap_or_default().resolve(timeouts, cx),
            rules: limits::of_target(target.rpm, target.tpm, target.limits, cx),
        };
        let twice = |other: &TargetConfig| {
            (&other.provider, &other.model, other.priority) == (&target.provider, &target.model, target.priority)
        };
        if resolved.iter().any(twice) {
            cx.report.error(
                span,
                format!("`{}/{}` is a target of priority {} already", target.provider, target.model, target.priority),
                "write it once with the sum of the weights, or give it another priority",
            );
        }
        resolved.push(target);
    }
    let mut weights: BTreeMap<u32, u64> = BTreeMap::new();
    for target in &resolved {
        *weights.entry(target.priority).or_default() += u64::from(target.weight);
    }
    for (priority, _) in weights.into_iter().filter(|(_, sum)| *sum == 0) {
        cx.report.error(
            targets.span.clone(),
            format!("every target of priority {priority} of `{model}` has weight 0: none of them would ever be used"),
            "give at least one a weight above 0, or remove them",
        );
    }
    resolved
}
