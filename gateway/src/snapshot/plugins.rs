//! The plugins of a configuration as built. What one exchange goes through of them is `proxy::plugins`.

use std::sync::Arc;
use std::time::Duration;

use ai_gateway_plugins::Needs;
use tokio::sync::Semaphore;

use crate::config::{Condition, OnError, PluginConfig};
use crate::routing::rules::{Facts, Failed, holds};
use crate::telemetry::{Hook, PluginStats, Plugins, Said};

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

    fn judge(&self, facts: &Facts<'_>) -> Applies<'_> {
        let mut applies = Applies::Yes;
        for condition in &self.config.when {
            match holds(condition, facts) {
                Ok(true) => {}
                Ok(false) => return Applies::No(condition),
                Err(Failed) => applies = Applies::Untold(condition),
            }
        }
        applies
    }

    fn is_open(&self) -> bool {
        self.config.on_error == OnError::Open
    }
}

/// Whether a request goes through a plugin.
enum Applies<'a> {
    Yes,
    /// This condition does not hold.
    No(&'a Condition),
    /// Whether this condition holds cannot be told, and the others do.
    Untold(&'a Condition),
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

    /// Which plugins a request goes through, and why not the others: their names, and the condition that is in the way.
    pub fn told(&self, facts: &Facts<'_>) -> Vec<(Arc<str>, Option<String>)> {
        let told = |entry: &Arc<Entry>| {
            let in_the_way = match entry.judge(facts) {
                Applies::Yes => None,
                Applies::No(condition) => Some(condition),
                Applies::Untold(condition) => entry.is_open().then_some(condition),
            };
            (entry.config.name.clone(), in_the_way.map(ToString::to_string))
        };
        self.entries.iter().map(told).collect()
    }

    /// Those that a request goes through. Where that cannot be told of one, it has failed: `on_error` decides.
    pub fn those_for(&self, facts: &Facts<'_>) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.iter().filter(move |entry| match entry.judge(facts) {
            Applies::Yes => true,
            Applies::No(_) => false,
            Applies::Untold(_) => {
                entry.stats.count(Hook::When, Said::Error, Duration::ZERO);
                !entry.is_open()
            }
        })
    }
}
