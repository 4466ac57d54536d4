//! `cache.semantic` of a model: answers of questions that mean nearly the same.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::tree::At;
use super::units::DurationText;

/// Parts of a distance of 1.
const PARTS: f64 = 10_000.0;

/// `semantic` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Semantic {
    /// The embedding model that turns questions into vectors: a name of [models], or `provider/model`.
    pub model: At<String>,
    /// How alike two questions are at least, as the cosine of their vectors. Default: 0.95.
    #[schemars(range(min = 0.5, max = 1.0))]
    pub threshold: Option<At<f64>>,
    /// The most questions that are remembered; the oldest give way. Default: 10000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_entries: Option<At<u32>>,
    /// How long the embedding model may take; past it the request goes on without. Default: `"1s"`.
    pub timeout: Option<At<DurationText>>,
}

/// A resolved `cache.semantic`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SemanticConfig {
    /// The embedding model.
    pub model: String,
    /// The most cosine distance between two questions, in ten-thousandths.
    pub within: u32,
    /// The most questions that are remembered.
    pub max_entries: usize,
    /// How long the embedding model may take.
    pub timeout: Duration,
}

impl SemanticConfig {
    /// The most cosine distance between two questions.
    pub fn distance(&self) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "from 0 to 0.5")]
        let distance = (f64::from(self.within) / PARTS) as f32;
        distance
    }
}

impl Semantic {
    pub(super) fn resolve(self, cx: &mut Context<'_>) -> SemanticConfig {
        if let Some(threshold) = &self.threshold
            && !(0.5..=1.0).contains(&threshold.value)
        {
            cx.report.error(threshold.span.clone(), "a threshold is between 0.5 and 1.0", "0.95 is a careful one");
        }
        if let Some(most) = &self.max_entries
            && !(1..=1_000_000).contains(&most.value)
        {
            cx.report.error(most.span.clone(), "this is between 1 and 1000000", None);
        }
        let threshold = self.threshold.map_or(0.95, |threshold| threshold.value);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
        let within = ((1.0 - threshold) * PARTS).round() as u32;
        let timeout = cx.duration(self.timeout.as_ref()).unwrap_or(Duration::from_secs(1));
        let max_entries = self.max_entries.map_or(10_000, |most| most.value as usize);
        let model = self.model.value.clone();
        cx.models_named.push(self.model);
        SemanticConfig { model, within, max_entries, timeout }
    }
}
