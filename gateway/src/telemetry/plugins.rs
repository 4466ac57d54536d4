//! `gateway_plugin_*`: what plugins decided, and how long they took.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// Label sets of `gateway_plugin_tags_total`; what comes on top is not counted.
const MOST_TAGS: usize = 1000;

/// Where a plugin is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `on_request`.
    Request,
    /// `on_plan`.
    Plan,
    /// `on_upstream`.
    Upstream,
    /// `on_answer`.
    Answer,
    /// A text hook.
    Text,
    /// `on_window`.
    Window,
    /// `on_bytes`.
    Bytes,
    /// `on_end`.
    End,
    /// None yet: whether it is one of the request's plugins.
    When,
}

/// The words of [`Hook`], in its order.
const HOOKS: [&str; 9] = ["request", "plan", "upstream", "answer", "text", "window", "bytes", "end", "when"];

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It passed, changed or not.
    Pass,
    /// The plugin answered.
    Answer,
    /// The plugin rejected the request, or refused the answer.
    Reject,
    /// It failed, panicked or took too long.
    Error,
}

/// The words of [`Said`], in its order.
const SAID: [&str; 4] = ["pass", "answer", "reject", "error"];

/// The counts of one plugin, by the name of its entry.
#[derive(Debug, Default)]
pub struct PluginStats {
    calls: [[AtomicU64; SAID.len()]; HOOKS.len()],
    nanos: [AtomicU64; HOOKS.len()],
}

impl PluginStats {
    /// Counts a call.
    pub fn count(&self, hook: Hook, said: Said, took: Duration) {
        self.calls[hook as usize][said as usize].fetch_add(1, Relaxed);
        self.nanos[hook as usize].fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

/// The counts of all plugins. They survive a reload by name.
#[derive(Debug, Default)]
pub struct Plugins {
    stats: Mutex<BTreeMap<Arc<str>, Arc<PluginStats>>>,
    tags: Mutex<Noted>,
}

/// How often a plugin noted a tag of some name and value.
type Noted = BTreeMap<(Arc<str>, String, String), u64>;

impl Plugins {
    /// Those of the plugin called `name`.
    pub fn of(&self, name: &Arc<str>) -> Arc<PluginStats> {
        self.stats.lock().entry(name.clone()).or_default().clone()
    }

    /// Counts a tag that a plugin has set.
    pub fn tagged(&self, plugin: &Arc<str>, name: &str, value: &str) {
        let mut tags = self.tags.lock();
        let full = tags.len() >= MOST_TAGS;
        let key = (plugin.clone(), name.to_owned(), value.to_owned());
        match tags.get_mut(&key) {
            Some(count) => *count += 1,
            None if full => {}
            None => drop(tags.insert(key, 1)),
        }
    }
}

/// Writes the counts when Prometheus asks.
#[derive(Debug)]
pub(super) struct PluginsCollector(pub(super) Arc<Plugins>);

impl Collector for PluginsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.0.stats.lock().clone();
        if stats.is_empty() {
            return Ok(());
        }
        let what = "Calls of plugins, by hook and what came of them";
        let mut family = encoder.encode_descriptor("gateway_plugin_calls", what, None, MetricType::Counter)?;
        for (name, stats) in &stats {
            for (hook, calls) in HOOKS.iter().zip(&stats.calls) {
                for (verdict, count) in SAID.iter().zip(calls) {
                    let count = count.load(Relaxed);
                    if count > 0 {
                        let labels = [("plugin", &**name), ("hook", hook), ("verdict", verdict)];
                        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                    }
                }
            }
        }
        let what = "Time that plugins took, by hook";
        let mut family = encoder.encode_descriptor("gateway_plugin_seconds", what, None, MetricType::Counter)?;
        for (name, stats) in &stats {
            for (hook, nanos) in HOOKS.iter().zip(&stats.nanos) {
                let nanos = nanos.load(Relaxed);
                if nanos > 0 {
                    let seconds = Duration::from_nanos(nanos).as_secs_f64();
                    ConstCounter::new(seconds).encode(family.encode_family(&[("plugin", &**name), ("hook", hook)])?)?;
                }
            }
        }
        let tags = self.0.tags.lock().clone();
        let what = "Requests that plugins have tagged, by tag";
        let mut family = encoder.encode_descriptor("gateway_plugin_tags", what, None, MetricType::Counter)?;
        for ((plugin, name, value), count) in &tags {
            let labels = [("plugin", &**plugin), ("name", name), ("value", value)];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
