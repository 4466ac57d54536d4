//! The targets of a request, as plugins see them.

use std::sync::Arc;

/// The targets that will be tried, best first. Put them in another order, or take some out: what is left is what is tried. None
/// left is an error to the client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Plan {
    /// The model that the request goes to, by its public name.
    pub model: Arc<str>,
    /// The targets, best first.
    pub candidates: Vec<Candidate>,
}

impl Plan {
    /// Of a request to `model`.
    #[must_use]
    pub fn new(model: impl Into<Arc<str>>, candidates: Vec<Candidate>) -> Self {
        Self { model: model.into(), candidates }
    }
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The provider's name.
    pub provider: Arc<str>,
    /// The provider's own name of the model.
    pub model: Arc<str>,
    /// Smaller first, as configured.
    pub priority: u32,
    /// Share inside its priority, as configured.
    pub weight: u32,
    number: usize,
}

impl Candidate {
    /// The target that stands at `number` (from 0) in the gateway's plan.
    #[must_use]
    pub fn new(number: usize, provider: Arc<str>, model: Arc<str>, priority: u32, weight: u32) -> Self {
        Self { provider, model, priority, weight, number }
    }

    /// Where it stands in the gateway's plan, from 0.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }
}
