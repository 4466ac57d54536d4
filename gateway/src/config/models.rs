//! `[models.NAME]`: public names, and the targets behind them.

use std::collections::BTreeMap;

use ai_gateway_providers::common::can_go_on;
use ai_gateway_providers::price::Model as Known;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::attempts::{Retry, RetryConfig, Timeouts, TimeoutsConfig};
use super::cache::{ModelCache, ModelCacheConfig};
use super::hedge::{Hedge, HedgeConfig};
use super::limits::{self, Limits, OneOrMany};
use super::prices::PricesConfig;
use super::providers::ProviderConfig;
use super::strategy::{self, Sticky, Strategy, StrategyConfig};
use super::targets::{self, Target, TargetConfig};
use super::tree::At;
use crate::limits::Rule;

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
    /// The most that may be asked of it at a time.
    pub limits: Option<OneOrMany<Limits>>,
    /// Ask the next target too when a stream is slow to begin, and keep the first that does. Default: never.
    pub hedge: Option<Hedge>,
    /// Keep answers of this model, and share one that is under way with all who ask the same. Default: neither.
    pub cache: Option<ModelCache>,
    /// What happens to a field of the request that the target's API cannot say. Default: `"warn"`.
    pub lossy: Option<Lossy>,
    /// What happens when an answer breaks off after the client got its beginning. Default: `"error"`.
    pub on_cut: Option<OnCut>,
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

/// What happens when an answer breaks off, falls silent or reports an error after the client got its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnCut {
    /// The client is told, in its dialect.
    #[default]
    Error,
    /// Another target goes on with the text. Only streams of plain text, and only targets that go on with a message of the
    /// assistant; else as `error`. Streams of such a model are translated even where both sides speak one dialect.
    Continue,
    /// The client gets nothing before the answer is whole, so that any failure goes on to the next target. Past 16 MiB
    /// the answer leaves all the same, and one that breaks off after that ends as with `error`.
    Buffer,
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
    /// When a second call is made.
    pub hedge: Option<HedgeConfig>,
    /// What happens when an answer breaks off.
    pub on_cut: OnCut,
    /// Its limits.
    pub rules: Vec<Rule>,
    /// How its answers are kept and shared; `None`: they are not.
    pub cache: Option<ModelCacheConfig>,
}

impl ModelConfig {
    /// What `provider/model` means without an entry of its own: one target, every setting at its default.
    pub fn direct(name: &str, provider: &str, model: &str, known: Known) -> Self {
        Self::plain(name, vec![TargetConfig::plain(provider, model, known)])
    }

    /// A model with every setting at its default.
    pub fn plain(name: &str, targets: Vec<TargetConfig>) -> Self {
        Self {
            name: name.to_owned(),
            strategy: StrategyConfig::default(),
            retry: RetryConfig::of(targets.len()),
            targets,
            lossy: Lossy::default(),
            hedge: None,
            on_cut: OnCut::default(),
            rules: Vec::new(),
            cache: None,
        }
    }
}

impl Model {
    /// A provider without a value is itself in error, which is no error of what refers to it.
    pub(super) fn resolve(
        self,
        name: &At<String>,
        providers: &BTreeMap<String, Option<ProviderConfig>>,
        prices: &PricesConfig,
        cx: &mut Context<'_>,
    ) -> ModelConfig {
        let timeouts = self.timeouts.unwrap_or_default().resolve(TimeoutsConfig::default(), cx);
        let span = self.targets.span.clone();
        let targets = targets::resolve(self.targets, &name.value, timeouts, providers, prices, cx);
        if self.on_cut == Some(OnCut::Continue) && !targets.iter().any(|target| may_go_on(target, providers)) {
            cx.report.warn(
                span.clone(),
                "no target is known to go on with an answer that has begun: `on_cut = \"continue\"` does nothing",
                "Claude up to 4.5, Mistral, DeepSeek and vLLM do; of others say so with traits = { prefill = true }",
            );
        }
        let strategy = strategy::resolve(self.strategy, self.sticky, cx);
        let differ = |a: &TargetConfig, b: &TargetConfig| {
            a.priority == b.priority && a.weight > 0 && b.weight > 0 && a.weight != b.weight
        };
        let some_differ = || targets.iter().any(|target| targets.iter().any(|other| differ(target, other)));
        if strategy.strategy == Strategy::RoundRobin && some_differ() {
            cx.report.warn(
                span,
                "targets take turns under `strategy = \"round_robin\"`, whatever their weights",
                "`strategy = \"weighted\"` gives each its share",
            );
        }
        ModelConfig {
            strategy,
            retry: self.retry.unwrap_or_default().resolve(targets.len(), cx),
            targets,
            lossy: self.lossy.unwrap_or_default(),
            hedge: self.hedge.map(|hedge| hedge.resolve(cx)),
            on_cut: self.on_cut.unwrap_or_default(),
            rules: limits::rules(self.limits, None, cx),
            cache: self.cache.map(|cache| cache.resolve(cx)),
            name: name.value.clone(),
        }
    }
}

/// A provider that is in error itself is taken to do so.
fn may_go_on(target: &TargetConfig, providers: &BTreeMap<String, Option<ProviderConfig>>) -> bool {
    let Some(Some(provider)) = providers.get(&target.provider) else { return true };
    provider.dialects.iter().any(|dialect| can_go_on(*dialect, provider.quirks, target.traits))
}
