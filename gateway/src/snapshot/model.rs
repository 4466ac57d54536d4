//! Models and their targets, as routing sees them.

use std::sync::Arc;

use ai_gateway_providers::catalogue::Traits;

use super::Provider;
use crate::config::{HedgeConfig, Lossy, RetryConfig, TimeoutsConfig};

/// A public name and where it may be answered.
#[derive(Clone, Debug)]
pub struct Model {
    /// What clients ask for.
    pub name: Arc<str>,
    /// Whether it is `provider/model` and has no `[models]` entry.
    pub direct: bool,
    /// In the order of the file.
    pub targets: Vec<Arc<Target>>,
    /// The clocks of each attempt.
    pub timeouts: TimeoutsConfig,
    /// Which outcomes move on to the next target.
    pub retry: RetryConfig,
    /// What happens to a field that a target's API cannot say.
    pub lossy: Lossy,
    /// When a second call is made.
    pub hedge: Option<HedgeConfig>,
}

impl Model {
    /// The same settings, with `upstream` at `provider` as the only target.
    pub fn pointed_at(&self, name: &str, provider: &Arc<Provider>, upstream: &str) -> Self {
        let target = Target {
            provider: provider.clone(),
            model: upstream.into(),
            traits: Traits::of(upstream),
            weight: 1,
            priority: 0,
        };
        Self {
            name: name.into(),
            direct: true,
            targets: vec![Arc::new(target)],
            timeouts: self.timeouts,
            retry: self.retry.clone(),
            lossy: self.lossy,
            hedge: self.hedge,
        }
    }
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
}
