//! What every hook knows of the exchange.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;

use crate::Host;
use crate::providers::{Dialect, Operation};

/// Tags of one exchange, and bytes of a tag's name and value, at most; what is more is left out or cut.
const MOST_TAGS: usize = 32;
const MOST_TAG_BYTES: usize = 256;

/// What is known of a request from its beginning.
#[derive(Clone)]
#[non_exhaustive]
pub struct About {
    /// The request's id, as the client gets it in `x-request-id`.
    pub id: Arc<str>,
    /// Whose request it is; `None` also when no keys are configured.
    pub key: Option<Key>,
    /// What is asked.
    pub operation: Operation,
    /// The client's dialect.
    pub dialect: Dialect,
    /// The model that the client named.
    pub model: Option<Arc<str>>,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// The path of the request, without its query.
    pub path: Arc<str>,
    /// When the request came.
    pub started: Instant,
    /// The same, by the calendar of the gateway's clock.
    pub at: SystemTime,
    /// The gateway.
    pub host: Arc<dyn Host>,
}

impl About {
    /// A request in `dialect` for `operation`, of which nothing else is known yet.
    #[must_use]
    pub fn new(dialect: Dialect, operation: Operation, host: Arc<dyn Host>) -> Self {
        Self {
            id: "".into(),
            key: None,
            operation,
            dialect,
            model: None,
            stream: false,
            path: "".into(),
            started: Instant::now(),
            at: SystemTime::now(),
            host,
        }
    }

    /// What time it is: when the request came, and what has passed since.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.at.checked_add(self.started.elapsed()).unwrap_or(self.at)
    }
}

/// A client's key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Key {
    /// Its name.
    pub name: Arc<str>,
    /// Its team.
    pub team: Option<Arc<str>>,
    /// Its tags.
    pub tags: Vec<Arc<str>>,
}

impl Key {
    /// A key called `name`.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), team: None, tags: Vec::new() }
    }
}

/// What a plugin notes about an exchange: for the ledger, metrics and the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Which plugin, by the name of its entry.
    pub plugin: Arc<str>,
    /// What about.
    pub name: String,
    /// What.
    pub value: String,
}

/// One exchange as one plugin sees it. All hooks that are called for a request get the same.
pub struct Context {
    about: Arc<About>,
    plugin: Arc<str>,
    tags: Arc<Mutex<Vec<Tag>>>,
    state: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Context {
    /// Of the plugin named `plugin`. `tags` are those of the exchange.
    #[must_use]
    pub fn new(about: Arc<About>, plugin: Arc<str>, tags: Arc<Mutex<Vec<Tag>>>) -> Self {
        Self { about, plugin, tags, state: Mutex::new(None) }
    }

    /// For a plugin's own tests: an exchange about `about`, with nobody else in it.
    #[must_use]
    pub fn alone(about: About) -> Self {
        Self::new(Arc::new(about), "test".into(), Arc::default())
    }

    /// The same exchange for something that outlives a call; with a state of its own.
    #[cfg(feature = "wasm")]
    pub(crate) fn beside(&self) -> Self {
        Self::new(self.about.clone(), self.plugin.clone(), self.tags.clone())
    }

    /// What is known of the request.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The name of this plugin's entry in the configuration.
    #[must_use]
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// What the gateway does for plugins.
    #[must_use]
    pub fn host(&self) -> &dyn Host {
        &*self.about.host
    }

    /// Notes something about the exchange. Use few names and few values: they become labels. Nothing of a prompt or an answer.
    pub fn tag(&self, name: impl Into<String>, value: impl Into<String>) {
        let mut tags = self.tags.lock();
        if tags.len() < MOST_TAGS {
            let (name, value) = (cut(name.into()), cut(value.into()));
            tags.push(Tag { plugin: self.plugin.clone(), name, value });
        }
    }

    /// What all plugins noted so far.
    #[must_use]
    pub fn tags(&self) -> Vec<Tag> {
        self.tags.lock().clone()
    }

    /// Works on what this plugin keeps of this exchange, which is `T::default()` until then. Do not wait inside.
    pub fn with<T: Default + Send + 'static, R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.state.lock();
        let kept = state.get_or_insert_with(|| Box::<T>::default());
        if !kept.is::<T>() {
            *kept = Box::<T>::default();
        }
        match kept.downcast_mut::<T>() {
            Some(kept) => work(kept),
            // It was just put there.
            None => work(&mut T::default()),
        }
    }

    /// Keeps `state` for the hooks that come.
    pub fn set<T: Send + 'static>(&self, state: T) {
        *self.state.lock() = Some(Box::new(state));
    }

    /// Takes out what [`set`](Self::set) or [`with`](Self::with) kept.
    pub fn take<T: 'static>(&self) -> Option<T> {
        let mut state = self.state.lock();
        state.as_ref()?.is::<T>().then(|| state.take())??.downcast().ok().map(|kept| *kept)
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MOST_TAG_BYTES));
    text.shrink_to_fit();
    text
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("plugin", &self.plugin).field("about", &self.about).finish_non_exhaustive()
    }
}

impl fmt::Debug for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, key, operation, dialect, model, stream, path, started: _, at, host: _ } = self;
        f.debug_struct("About")
            .field("id", id)
            .field("key", key)
            .field("operation", operation)
            .field("dialect", dialect)
            .field("model", model)
            .field("stream", stream)
            .field("path", path)
            .field("at", at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoHost;

    fn context() -> Context {
        Context::alone(About::new(Dialect::OpenAiChat, Operation::Chat, Arc::new(NoHost)))
    }

    #[test]
    fn state_is_of_one_type_at_a_time() {
        let cx = context();
        assert_eq!(cx.take::<u8>(), None);
        cx.with(|seen: &mut Vec<u8>| seen.push(1));
        cx.with(|seen: &mut Vec<u8>| seen.push(2));
        assert_eq!(cx.take::<u8>(), None);
        assert_eq!(cx.take::<Vec<u8>>(), Some(vec![1, 2]));
        assert_eq!(cx.take::<Vec<u8>>(), None);
        cx.set("a");
        assert_eq!(cx.with(|number: &mut u8| *number), 0);
    }

    #[test]
    fn tags_are_bounded() {
        let cx = context();
        for number in 0..1000 {
            cx.tag(format!("n{number}"), "é".repeat(1000));
        }
        let tags = cx.tags();
        assert_eq!(tags.len(), MOST_TAGS);
        assert!(tags.iter().all(|tag| tag.value.len() <= MOST_TAG_BYTES));
    }
}
