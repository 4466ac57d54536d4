//! Models and their targets, as routing sees them.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use ai_gateway_providers::catalogue::Traits;

use super::Provider;
use crate::config::{Lossy, RetryConfig, StrategyConfig, TargetConfig, TimeoutsConfig};
use crate::health::{Health, TargetState};
use crate::routing::Asked;

/// A public name and where it may be answered.
#[derive(Debug)]
pub struct Model {
    /// What clients ask for.
    pub name: Arc<str>,
    /// Whether it is `provider/model` and has no `[models]` entry.
    pub direct: bool,
    /// How one of several targets of a priority is chosen.
    pub strategy: StrategyConfig,
    /// Whose turn it is, of the targets that take turns.
    pub turn: AtomicUsize,
    /// In the order of the file.
    pub targets: Vec<Arc<Target>>,
    /// Which outcomes move on to the next target.
    pub retry: RetryConfig,
    /// What happens to a field that a target's API cannot say.
    pub lossy: Lossy,
}

/// One place where a model can be answered.
#[derive(Debug)]
pub struct Target {
    /// The account.
    pub provider: Arc<Provider>,
    /// The provider's own name of the model.
    pub model: Arc<str>,
    /// What the model accepts.
    pub traits: Traits,
    /// Share inside its priority.
    pub weight: u32,
    /// Smaller first.
    pub priority: u32,
    /// The clocks of an attempt.
    pub timeouts: TimeoutsConfig,
    /// Its context window in tokens, if it is known.
    pub context: Option<u64>,
    /// How it is, for each of the provider's credentials; at least one.
    pub states: Vec<Arc<TargetState>>,
    /// Whose turn it is, of equally busy credentials.
    pub turn: AtomicUsize,
}

impl Target {
    /// The target that `config` describes, with the state that it has had so far.
    pub fn new(config: &TargetConfig, provider: &Arc<Provider>, health: &Health) -> Self {
        let states = (0..provider.credentials.len())
            .map(|credential| health.target(&provider.name, &config.model, credential, Instant::now()))
            .collect();
        Self {
            provider: provider.clone(),
            model: config.model.as_str().into(),
            traits: config.traits,
            weight: config.weight,
            priority: config.priority,
            timeouts: config.timeouts,
            context: config.context,
            states,
            turn: AtomicUsize::new(0),
        }
    }

    /// What a request is expected to cost here, in pico-dollars; `None` if the price is not known.
    pub fn expected_cost(&self, _asked: &Asked) -> Option<u64> {
        None
    }
}
