//! What keeps entries beside memory: a disk, a server.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use super::semantic::Learnt;
use super::{Entry, Fingerprint, Form};

/// A slower place for finished entries. Memory is asked first; what a tier has goes to memory when it is asked for.
///
/// A tier that does not work is one that has nothing: a request never fails because of it.
#[async_trait]
pub trait Tier: Send + Sync {
    /// The name in metrics and logs: `disk`, `redis`.
    fn name(&self) -> &'static str;

    /// Whether other instances have it in common with this one.
    fn is_common(&self) -> bool {
        false
    }

    /// The entry of that fingerprint and form, if there is one that is not past its time. A client waits for it: a tier bounds
    /// the time that this takes.
    async fn get(&self, fingerprint: &Fingerprint, form: Form) -> Option<Arc<Entry>>;

    /// Keeps an entry, in place of the one before. Returns at once and does not block: the work is done elsewhere, and given up
    /// where there is too much of it.
    fn put(&self, entry: &Arc<Entry>);

    /// Tells other instances, if it reaches any, that a question has an answer. Returns at once, as [`Tier::put`].
    fn learn(&self, _learnt: &Arc<Learnt>) {}

    /// Removes entries and says how many.
    ///
    /// # Errors
    /// Some may still be there.
    async fn purge(&self, what: &Purge) -> Result<u64, TierError>;

    /// Removes of these entries those that were made before then, and says how many. A tier that cannot tell removes them all.
    ///
    /// # Errors
    /// As [`Tier::purge`].
    async fn purge_before(&self, what: &Purge, _then: SystemTime) -> Result<u64, TierError> {
        self.purge(what).await
    }
}

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Everything.
    All,
    /// What the client's key of this name had answered.
    Key(String),
    /// The answers of this model, as clients name it.
    Model(String),
    /// What has this tag.
    Tag(String),
    /// One request's answers, in all their forms.
    Fingerprint(Fingerprint),
}

impl Purge {
    /// Whether `entry` is to be removed.
    pub fn takes(&self, entry: &Entry) -> bool {
        let meta = &entry.meta;
        self.takes_named(&meta.fingerprint, meta.key.as_deref(), &meta.model, &meta.tags)
    }

    /// Whether an entry of which this is known is to be removed.
    pub fn takes_named(&self, of: &Fingerprint, key: Option<&str>, model: &str, tags: &[Box<str>]) -> bool {
        match self {
            Self::All => true,
            Self::Key(name) => key == Some(name),
            Self::Model(name) => model == name,
            Self::Tag(name) => tags.iter().any(|tag| **tag == **name),
            Self::Fingerprint(fingerprint) => of == fingerprint,
        }
    }
}

/// A tier could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("the cache's {tier}: {message}")]
pub struct TierError {
    /// Its name.
    pub tier: &'static str,
    /// What happened; without anything of an entry.
    pub message: String,
}
