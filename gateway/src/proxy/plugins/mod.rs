//! Plugins at work. [`Chain`] is what the configuration says, as built; [`Run`] is what of it one exchange goes through.
//!
//! | file | where plugins are called |
//! |---|---|
//! | `request` | in the request phase, before routing, limits and the cache: `on_request` |
//! | `steps` | on the plan, on the header of each attempt, and at the end |
//! | `screen` | on what leaves for the client, in the replay session or in what serves a client from the cache; hooks may wait |
//! | `call` | how a hook is called: its time, its panics, what its failure means |
//! | `host` | what plugins may ask of the gateway |

mod call;
mod host;
mod request;
mod screen;
mod steps;

use std::sync::{Arc, Mutex, PoisonError};

use ai_gateway_plugins::{About, Context, Key, Needs, Plugin, Tag};
use ai_gateway_providers::error::ApiError;
use http::{HeaderMap, HeaderName};
use tokio::sync::Semaphore;

use host::GatewayHost;
pub use request::{Decided, answer, on_request};
pub use screen::Screener;
pub use steps::{conclude, label, on_end, on_plan, on_upstream, refused_in_stream, steering, wants_whole_answers};

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
    config: PluginConfig,
    needs: Needs,
    stats: Arc<PluginStats>,
    blocked: Arc<Semaphore>,
}

impl Chain {
    /// Of `plugins`, counted in `stats`.
    pub fn new(plugins: &[PluginConfig], stats: &Plugins) -> Self {
        let entry = |config: &PluginConfig| {
            Arc::new(Entry {
                needs: config.plugin.needs(),
                stats: stats.of(&config.name),
                blocked: Arc::new(Semaphore::new(MOST_BLOCKED)),
                config: config.clone(),
            })
        };
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

    /// What a request goes through; `None`: nothing.
    fn begin(&self, facts: &Facts<'_>, about: impl FnOnce() -> (About, Arc<GatewayHost>)) -> Option<Arc<Run>> {
        let goes_through =
            |entry: &&Arc<Entry>| entry.config.when.iter().all(|condition| holds(condition, facts).unwrap_or(false));
        let entries: Vec<&Arc<Entry>> = self.entries.iter().filter(goes_through).collect();
        if entries.is_empty() {
            return None;
        }
        let (about, host) = about();
        let (about, tags) = (Arc::new(about), Arc::<Mutex<Vec<Tag>>>::default());
        let active = |entry: &Arc<Entry>| Active {
            entry: entry.clone(),
            cx: Arc::new(Context::new(about.clone(), entry.config.name.clone(), tags.clone())),
        };
        let active = entries.into_iter().map(active).collect();
        Some(Arc::new(Run { active, about, host, told: Mutex::default() }))
    }
}

/// The plugins that one exchange goes through.
pub struct Run {
    active: Vec<Active>,
    about: Arc<About>,
    host: Arc<GatewayHost>,
    /// What the client was told in the place of its answer, or at the end of it.
    told: Mutex<Option<Told>>,
}

/// One of them.
#[derive(Clone)]
struct Active {
    entry: Arc<Entry>,
    cx: Arc<Context>,
}

/// A refusal that the exchange has to hear of.
struct Told {
    error: ApiError,
    /// The status that it was told with; `None`: a stream was under way, and ended properly.
    status: Option<u16>,
}

impl Run {
    fn those(&self, need: impl Fn(&Needs) -> bool) -> impl Iterator<Item = &Active> {
        self.active.iter().filter(move |active| need(&active.entry.needs))
    }

    /// The same plugins on a copy of the request, of which no client hears anything.
    pub fn of_copy(&self) -> Arc<Self> {
        self.with(self.active.clone())
    }

    /// Those that stand before one of them.
    fn before(&self, one: &Active) -> Arc<Self> {
        self.with(self.active.iter().take_while(|other| !Arc::ptr_eq(&other.cx, &one.cx)).cloned().collect())
    }

    fn with(&self, active: Vec<Active>) -> Arc<Self> {
        Arc::new(Self { active, about: self.about.clone(), host: self.host.clone(), told: Mutex::default() })
    }

    fn tell(&self, error: ApiError, status: Option<u16>) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(Told { error, status });
    }

    /// What they know of the request.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// What the plugins noted.
    pub fn tags(&self) -> Vec<Tag> {
        self.active.first().map(|active| active.cx.tags()).unwrap_or_default()
    }
}

impl Active {
    fn plugin(&self) -> &Arc<dyn Plugin> {
        &self.entry.config.plugin
    }
}

/// The headers that a plugin has changed, added or taken away, but for `ours`, which are not its to change.
fn differing(before: &HeaderMap, after: &HeaderMap, ours: impl Fn(&HeaderName) -> bool) -> Vec<HeaderName> {
    let differs = |name: &&HeaderName| !before.get_all(*name).iter().eq(after.get_all(*name).iter());
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    gone.chain(after.keys()).filter(|name| !ours(name)).filter(differs).cloned().collect()
}

/// A key as plugins see it.
fn key(key: &crate::snapshot::Key) -> Key {
    let mut seen = Key::new(&*key.name);
    seen.team = key.team().map(Into::into);
    seen.tags = key.tags().iter().map(|tag| tag.as_str().into()).collect();
    seen
}
