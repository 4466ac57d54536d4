//! `[models.NAME]`: public names, and the targets behind them.

use std::collections::BTreeMap;
use std::time::Duration;

use ai_gateway_providers::catalogue::{Thinking, Traits};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::hedge::{Hedge, HedgeConfig};
use super::providers::ProviderConfig;
use super::support::{self, STRATEGIES_NOT_YET};
use super::tree::{At, instead};
use super::units::DurationText;

/// `[models.NAME]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// How one of several targets is chosen. Default: `"weighted"`.
    #[schemars(with = "Option<Strategy>")]
    pub strategy: Option<At<String>>,
    /// The upstream models behind this name; at least one.
    pub targets: At<Vec<At<Target>>>,
    /// How long each step may take.
    pub timeouts: Option<Timeouts>,
    /// When another attempt is made.
    pub retry: Option<Retry>,
    /// Ask the next target too when a stream is slow to begin, and keep the first that does. Default: never.
    pub hedge: Option<Hedge>,
    /// Keep and share answers of this model.
    pub cache: Option<ModelCache>,
    /// What happens to a field of the request that the target's API cannot say. Default: `"warn"`.
    pub lossy: Option<Lossy>,
}

/// How one of several targets is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// At random by weight, among the targets of the lowest priority that has not failed.
    Weighted,
    /// In turn.
    RoundRobin,
    /// The one that answered fastest lately.
    LeastLatency,
    /// The one with the fewest exchanges in flight.
    LeastBusy,
    /// The one whose tokens cost least.
    LowestCost,
    /// The same one for the same conversation.
    Sticky,
}

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
        }
    }
}

/// `timeouts` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// Until the connection stands, TLS included. Default: `"5s"`.
    pub connect: Option<At<DurationText>>,
    /// From the request's last byte until the first output. Default: `"2m"`.
    pub first_token: Option<At<DurationText>>,
    /// The longest gap between two chunks. Default: `"2m"`.
    pub idle: Option<At<DurationText>>,
    /// One attempt from its beginning to the end of its answer. Default: `"15m"`.
    pub total: Option<At<DurationText>>,
}

/// `retry` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// The most attempts of one exchange, the first included. Default: 3.
    #[schemars(range(min = 1))]
    pub attempts: Option<At<u32>>,
    /// Failures that lead to another attempt. Default: all of them.
    #[schemars(with = "Option<Vec<RetryOn>>")]
    pub on: Option<Vec<At<String>>>,
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

/// A failure that leads to another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
pub enum RetryOn {
    /// No connection.
    #[serde(rename = "connect")]
    Connect,
    /// One of the clocks ran out before the first output.
    #[serde(rename = "timeout")]
    Timeout,
    /// Status 429.
    #[serde(rename = "429")]
    TooManyRequests,
    /// Any status from 500 to 599.
    #[serde(rename = "5xx")]
    ServerError,
    /// The provider says that it is overloaded (Anthropic's 529, an error inside a 200).
    #[serde(rename = "overloaded")]
    Overloaded,
}

impl RetryOn {
    /// All of them: the default.
    pub const ALL: [Self; 5] =
        [Self::Connect, Self::Timeout, Self::TooManyRequests, Self::ServerError, Self::Overloaded];

    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::TooManyRequests => "429",
            Self::ServerError => "5xx",
            Self::Overloaded => "overloaded",
        }
    }
}

/// A resolved model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelConfig {
    /// The name that clients ask for.
    pub name: String,
    /// At least one; every priority has one of weight above 0.
    pub targets: Vec<TargetConfig>,
    /// The four clocks.
    pub timeouts: TimeoutsConfig,
    /// When another attempt is made.
    pub retry: RetryConfig,
    /// What happens to a field that the target's API cannot say.
    pub lossy: Lossy,
    /// When a second call is made.
    pub hedge: Option<HedgeConfig>,
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
}

/// The clocks of an exchange (design §12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeoutsConfig {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until the first output.
    pub first_token: Duration,
    /// Between two chunks.
    pub idle: Duration,
    /// One attempt from its beginning to its end.
    pub total: Duration,
}

impl Default for TimeoutsConfig {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(120),
            idle: Duration::from_secs(120),
            total: Duration::from_secs(900),
        }
    }
}

/// When another attempt is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryConfig {
    /// The most attempts of one exchange, at least 1.
    pub attempts: u32,
    /// Failures that lead to another attempt, sorted, none twice.
    pub on: Vec<RetryOn>,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { attempts: 3, on: RetryOn::ALL.to_vec() }
    }
}

impl ModelConfig {
    /// What `provider/model` means without an entry of its own: one target, every setting at its default.
    pub fn direct(name: &str, provider: &str, model: &str) -> Self {
        Self {
            name: name.to_owned(),
            targets: vec![TargetConfig {
                provider: provider.to_owned(),
                model: model.to_owned(),
                weight: 1,
                priority: 0,
                traits: Traits::of(model),
            }],
            timeouts: TimeoutsConfig::default(),
            retry: RetryConfig::default(),
            lossy: Lossy::default(),
            hedge: None,
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
        if let Some(strategy) = &self.strategy {
            check_strategy(strategy, cx);
        }
        ModelConfig {
            targets: resolve_targets(self.targets, &name.value, providers, cx),
            timeouts: self.timeouts.unwrap_or_default().resolve(cx),
            retry: self.retry.unwrap_or_default().resolve(cx),
            lossy: self.lossy.unwrap_or_default(),
            hedge: self.hedge.map(|hedge| hedge.resolve(cx)),
            name: name.value.clone(),
        }
    }
}

fn check_strategy(strategy: &At<String>, cx: &mut Context<'_>) {
    let word = strategy.value.as_str();
    if STRATEGIES_NOT_YET.contains(&word) {
        let help = "leave it out: targets are chosen by priority, and by weight inside one";
        support::refuse_value(strategy.span.clone(), "strategy", word, help, &mut cx.report);
    } else if word != "weighted" {
        let mut known = vec!["weighted"];
        known.extend(STRATEGIES_NOT_YET);
        cx.report.error(strategy.span.clone(), format!("`{word}` is no strategy"), instead(word, &known));
    }
}

fn resolve_targets(
    targets: At<Vec<At<Target>>>,
    model: &str,
    providers: &BTreeMap<String, Option<ProviderConfig>>,
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
        let target = TargetConfig {
            traits: target.traits.unwrap_or_default().resolve(&target.model.value),
            provider: target.provider.value,
            model: target.model.value,
            weight: target.weight.unwrap_or(1),
            priority: target.priority.unwrap_or(0),
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

impl Timeouts {
    fn resolve(self, cx: &mut Context<'_>) -> TimeoutsConfig {
        let default = TimeoutsConfig::default();
        let resolved = TimeoutsConfig {
            connect: cx.duration(self.connect.as_ref()).unwrap_or(default.connect),
            first_token: cx.duration(self.first_token.as_ref()).unwrap_or(default.first_token),
            idle: cx.duration(self.idle.as_ref()).unwrap_or(default.idle),
            total: cx.duration(self.total.as_ref()).unwrap_or(default.total),
        };
        for (name, written, value) in [
            ("connect", self.connect, resolved.connect),
            ("first_token", self.first_token, resolved.first_token),
            ("idle", self.idle, resolved.idle),
        ] {
            if let Some(written) = written
                && value > resolved.total
            {
                let total = humantime::format_duration(resolved.total);
                cx.report.warn(
                    written.span,
                    format!("`{name}` is longer than `total` ({total}), which ends the attempt first"),
                    "raise `total` too",
                );
            }
        }
        resolved
    }
}

impl Retry {
    fn resolve(self, cx: &mut Context<'_>) -> RetryConfig {
        let mut resolved = RetryConfig::default();
        if let Some(attempts) = self.attempts {
            if attempts.value == 0 {
                cx.report.error(attempts.span, "`attempts` counts the first one too: it is at least 1", None);
            } else {
                resolved.attempts = attempts.value;
            }
        }
        if let Some(on) = self.on {
            let known = RetryOn::ALL.map(RetryOn::as_str);
            resolved.on = on
                .into_iter()
                .filter_map(|word| {
                    let found = RetryOn::ALL.into_iter().find(|on| on.as_str() == word.value);
                    if found.is_none() {
                        let help = instead(&word.value, &known);
                        cx.report.error(word.span, format!("`{}` is nothing to retry on", word.value), help);
                    }
                    found
                })
                .collect();
            resolved.on.sort_unstable();
            resolved.on.dedup();
        }
        resolved
    }
}
