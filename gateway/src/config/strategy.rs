//! `strategy` and `sticky` of a model: how one of several targets is chosen.

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::tree::{At, instead};

/// How one of several targets is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// At random by weight.
    #[default]
    Weighted,
    /// In turn, whatever the weights; 0 takes no turn.
    RoundRobin,
    /// Of two drawn by weight the one that gave its first output sooner lately; failures count as slow.
    LeastLatency,
    /// The one with the fewest exchanges in flight for its weight.
    LeastBusy,
    /// The one that is expected to cost least; targets without a price come last.
    LowestCost,
    /// The same one for the same key, session or prompt; see `sticky`.
    Sticky,
}

impl Strategy {
    const ALL: [Self; 6] =
        [Self::Weighted, Self::RoundRobin, Self::LeastLatency, Self::LeastBusy, Self::LowestCost, Self::Sticky];

    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weighted => "weighted",
            Self::RoundRobin => "round_robin",
            Self::LeastLatency => "least_latency",
            Self::LeastBusy => "least_busy",
            Self::LowestCost => "lowest_cost",
            Self::Sticky => "sticky",
        }
    }
}

/// `sticky` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    /// What requests must have in common to go to the same target. Default: `"session"`.
    pub by: Option<StickyBy>,
    /// The header that names a session. Default: `"x-session-id"`.
    pub header: Option<At<String>>,
}

/// What requests have in common that go to the same target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StickyBy {
    /// The session that a header names; requests without it go by the beginning of their prompt.
    #[default]
    Session,
    /// The client's key.
    Key,
    /// The beginning of the prompt (tools, system prompt, first message), so that the provider's prompt cache hits.
    Prompt,
}

/// A resolved strategy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrategyConfig {
    /// How a target is chosen.
    pub strategy: Strategy,
    /// What `sticky` goes by.
    pub sticky: StickyBy,
    /// The header that names a session.
    pub session_header: HeaderName,
}

impl Default for StrategyConfig {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            sticky: StickyBy::default(),
            session_header: HeaderName::from_static("x-session-id"),
        }
    }
}

pub(super) fn resolve(
    strategy: Option<At<String>>,
    sticky: Option<At<Sticky>>,
    cx: &mut Context<'_>,
) -> StrategyConfig {
    let mut resolved = StrategyConfig::default();
    if let Some(word) = strategy {
        let known = Strategy::ALL.map(Strategy::as_str);
        match Strategy::ALL.into_iter().find(|known| known.as_str() == word.value) {
            Some(strategy) => resolved.strategy = strategy,
            None => {
                let message = format!("`{}` is no strategy", word.value);
                cx.report.error(word.span, message, instead(&word.value, &known));
            }
        }
    }
    let Some(At { value: sticky, span }) = sticky else { return resolved };
    if resolved.strategy != Strategy::Sticky {
        cx.report.error(span, "`sticky` belongs to `strategy = \"sticky\"`", "set that strategy, or remove this");
    }
    resolved.sticky = sticky.by.unwrap_or_default();
    if let Some(header) = sticky.header
        && let Some(name) = cx.parse(&header, |text| text.parse().map_err(|_| format!("`{text}` is no header name")))
    {
        resolved.session_header = name;
    }
    resolved
}
