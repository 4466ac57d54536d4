//! `[models.NAME] hedge`: a second call when the first one is slow to begin.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::tree::At;
use super::units::{self, HedgeAfterText, PercentText};

/// `hedge` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hedge {
    /// When the next target is asked too: after the time in which 95 of 100 answers of the first target begin
    /// (`"p95"`), or after a fixed one. Default: `"p95"`.
    pub after: Option<At<HedgeAfterText>>,
    /// The most second calls, as a share of the model's streams. Default: `"5%"`.
    pub max_extra: Option<At<PercentText>>,
    /// With more requests than this in flight in the whole gateway, no second call is made. Default: 1000.
    #[schemars(range(min = 1))]
    pub max_in_flight: Option<At<u32>>,
}

/// When and how often a second call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HedgeConfig {
    /// How long the first target has.
    pub after: HedgeAfter,
    /// The most second calls in ten thousand streams.
    pub max_extra: u32,
    /// Requests in flight past which none is made.
    pub max_in_flight: u32,
}

/// How long the first target has until the next one is asked too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HedgeAfter {
    /// As long as 95 of 100 of its own answers take to begin; no second call until that is known.
    P95,
    /// This long.
    Fixed(Duration),
}

impl Hedge {
    pub(super) fn resolve(self, cx: &mut Context<'_>) -> HedgeConfig {
        let after = self.after.and_then(|text| cx.parse(&text, |text| after(&text.0)));
        let max_extra = self.max_extra.and_then(|text| cx.parse(&text, |text| units::percent(&text.0)));
        if let Some(most) = &self.max_in_flight
            && most.value == 0
        {
            cx.report.error(most.span.clone(), "with 0 no second call would ever be made", "leave `hedge` out instead");
        }
        HedgeConfig {
            after: after.unwrap_or(HedgeAfter::P95),
            max_extra: max_extra.unwrap_or(500),
            max_in_flight: self.max_in_flight.map_or(1000, |most| most.value),
        }
    }
}

fn after(text: &str) -> Result<HedgeAfter, String> {
    match text.trim() {
        "p95" => Ok(HedgeAfter::P95),
        fixed => units::duration(fixed).map(HedgeAfter::Fixed),
    }
}
