//! `[models.NAME]`: public names, and the targets behind them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::attempts::{Retry, RetryConfig, Timeouts, TimeoutsConfig};
use super::providers::ProviderConfig;
use super::strategy::{self, Sticky, Strategy, StrategyConfig};
use super::targets::{self, Target, TargetConfig};
use super::tree::At;
use super::units::DurationText;

/// `[models.NAME]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// How one of several targets is chosen. Default: `"weighted"`.
    #[schemars(with = "Option<Strategy>")]
    pub strategy: Option<At<String>>,
    /// What `strategy = "sticky"` goes by.
    pub sticky: Option<At<Sticky>>,
    /// The upstream models behind this name; at least one.
    pub targets: At<Vec<At<Target>>>,
    /// How long each step may take.
    pub timeouts: Option<Timeouts>,
    /// When another attempt is made.
    pub retry: Option<Retry>,
    /// Keep and share answers of this model.
    pub cache: Option<ModelCache>,
    /// What happens to a field of the request that the target's API cannot say. Default: `"warn"`.
    pub lossy: Option<Lossy>,
}

/// `cache` of a model as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelCache {
    /// How long an answer may be used again.
    pub ttl: At<DurationText>,
}

/// What happens to a field that the target's API cannot say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lossy {
    /// It is left out, and the answer says so.
    #[default]
    Warn,
    /// The request is refused.
    Error,
    /// It is left out.
    Drop,
}

/// A resolved model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelConfig {
    /// The name that clients ask for.
    pub name: String,
    /// How one of several targets of a priority is chosen.
    pub strategy: StrategyConfig,
    /// At least one; every priority has one of weight above 0.
    pub targets: Vec<TargetConfig>,
    /// When another attempt is made.
    pub retry: RetryConfig,
    /// What happens to a field that the target's API cannot say.
    pub lossy: Lossy,
}

impl ModelConfig {
    /// What `provider/model` means without an entry of its own: one target, every setting at its default.
    pub fn direct(name: &str, provider: &str, model: &str) -> Self {
        Self {
            name: name.to_owned(),
            strategy: StrategyConfig::default(),
            targets: vec![TargetConfig::plain(provider, model)],
            retry: RetryConfig::default(),
            lossy: Lossy::default(),
        }
    }
}

impl Model {
    /// A provider without a value is itself in error, which is no error of what refers to it.
    pub(super) fn resolve(
        self,
        name: &At<String>,
        providers: &BTreeMap<String, Option<ProviderConfig>>,
        cx: &mut Context<'_>,
    ) -> ModelConfig {
        let timeouts = self.timeouts.unwrap_or_default().resolve(TimeoutsConfig::default(), cx);
        ModelConfig {
            strategy: strategy::resolve(self.strategy, self.sticky, cx),
            targets: targets::resolve(self.targets, &name.value, timeouts, providers, cx),
            retry: self.retry.unwrap_or_default().resolve(cx),
            lossy: self.lossy.unwrap_or_default(),
            name: name.value.clone(),
        }
    }
}
