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

use std::sync::Arc;

use ai_gateway_plugins::{About, Context, Key, Needs, Plugin, Tag};
use ai_gateway_providers::error::ApiError;
use http::{HeaderMap, HeaderName};
use parking_lot::Mutex;

use host::GatewayHost;
pub use request::{Decided, answer, on_request};
pub use screen::Screener;
pub use steps::{conclude, label, on_end, on_plan, on_upstream, refused_in_stream, steering, wants_whole_answers};

use crate::routing::rules::Facts;
use crate::snapshot::{Chain, Entry};

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
    /// What a request goes through; `None`: nothing.
    fn begin(chain: &Chain, facts: &Facts<'_>, about: impl FnOnce() -> (About, Arc<GatewayHost>)) -> Option<Arc<Self>> {
        let entries: Vec<&Arc<Entry>> = chain.those_for(facts).collect();
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
        Some(Arc::new(Self { active, about, host, told: Mutex::default() }))
    }

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
        *self.told.lock() = Some(Told { error, status });
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
