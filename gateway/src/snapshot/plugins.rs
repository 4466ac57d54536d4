//! The plugins of a configuration as built. What one exchange goes through of them is `proxy::plugins`.

use std::sync::Arc;

use ai_gateway_plugins::Needs;
use tokio::sync::Semaphore;

use crate::config::PluginConfig;
use crate::routing::rules::{Facts, holds};
use crate::telemetry::{PluginStats, Plugins};

/// Calls of one plugin that may block a thread of their own at a time.
const MOST_BLOCKED: usize = 32;

/// The plugins of a configuration, in order. Without any, nothing is looked at.
#[derive(Debug, Default)]
pub struct Chain {
    entries: Vec<Arc<Entry>>,
}

/// A plugin and what the configuration says of it.
#[derive(Debug)]
pub struct Entry {
    /// Its section.
    pub config: PluginConfig,
    /// What it looks at.
    pub needs: Needs,
    /// Where its calls are counted.
    pub stats: Arc<PluginStats>,
    /// Room for calls that block a thread.
    pub blocked: Arc<Semaphore>,
}

impl Entry {
    /// Counted in `stats`.
    pub fn new(config: PluginConfig, stats: &Plugins) -> Self {
        Self {
            needs: config.plugin.needs(),
            stats: stats.of(&config.name),
            blocked: Arc::new(Semaphore::new(MOST_BLOCKED)),
            config,
        }
    }
}

impl Chain {
    /// Of `plugins`, counted in `stats`.
    pub fn new(plugins: &[PluginConfig], stats: &Plugins) -> Self {
        let entry = |config: &PluginConfig| Arc::new(Entry::new(config.clone(), stats));
        Self { entries: plugins.iter().map(entry).collect() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Which plugins a request goes through, and why not the others: their names, and the first condition that does not hold.
    pub fn told(&self, facts: &Facts<'_>) -> Vec<(Arc<str>, Option<String>)> {
        let told = |entry: &Arc<Entry>| {
            let failed = entry.config.when.iter().find(|condition| !holds(condition, facts).unwrap_or(false));
            (entry.config.name.clone(), failed.map(ToString::to_string))
        };
        self.entries.iter().map(told).collect()
    }

    /// Those that a request goes through.
    pub fn those_for(&self, facts: &Facts<'_>) -> impl Iterator<Item = &Arc<Entry>> {
        let holds = move |condition| holds(condition, facts).unwrap_or(false);
        self.entries.iter().filter(move |entry| entry.config.when.iter().all(holds))
    }
}
