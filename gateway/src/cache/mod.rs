//! Answers that are kept, and calls that are shared by all who ask the same at the same time.
//!
//! A request that may use the cache comes with its `Terms`: the [`Fingerprint`] of what it asks, and what its model, its key
//! and it itself allow. A call under way is a fill, which any number of clients follow; a finished answer is an [`Entry`], which
//! memory keeps and the [`Tier`]s below it may keep for longer. Nothing here knows of sessions: who serves an answer to a
//! client is the proxy.

pub(crate) mod disk;
mod entry;
pub(crate) mod fill;
pub(crate) mod key;
pub(crate) mod memory;
mod metrics;
mod open;
pub(crate) mod policy;
mod record;
pub(crate) mod redis;
pub mod semantic;
mod terms;
mod tier;
mod tier_metrics;
mod weight;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parking_lot::RwLock;

use crate::clock::Time;
use memory::{Kept, Writer};

pub use entry::{Entry, Form, Meta};
pub(crate) use entry::{SKEW, is_common};
pub(crate) use memory::Memory;
pub(crate) use metrics::CacheMetrics;
pub(crate) use open::{OpenError, Opened, open};
use semantic::{Learnt, Semantic};
pub use terms::Fingerprint;
pub(crate) use terms::{Payer, Terms, Verdict};
pub use tier::{Purge, Tier, TierError};
pub(crate) use tier_metrics::TierMetrics;

/// The cache of the process: memory, and what is below it. Reloads change its settings only.
pub(crate) struct Cache {
    /// The first place to look.
    pub memory: Arc<Memory>,
    /// Its numbers.
    pub metrics: CacheMetrics,
    /// Questions that have answers, by their meaning.
    pub semantic: Arc<Semantic>,
    tiers: OnceLock<Vec<Arc<dyn Tier>>>,
    /// Those of them that have figures to show.
    below: OnceLock<open::Below>,
    /// Counts purges: what was looked up while one ran may be what it removes.
    purges: AtomicU64,
    /// How many run. An answer ends with all of them before it, or behind it.
    purging: RwLock<usize>,
}

impl Cache {
    /// A cache with room for `max_size` bytes in memory, whose entries age by `time`.
    pub fn new(max_size: usize, metrics: CacheMetrics, time: Time) -> Self {
        let memory = Arc::new(Memory::new(max_size, metrics.clone(), time));
        Self {
            memory,
            metrics,
            semantic: Arc::default(),
            tiers: OnceLock::new(),
            below: OnceLock::new(),
            purges: AtomicU64::new(0),
            purging: RwLock::default(),
        }
    }

    /// Adds what is below memory, once, the fastest first.
    pub fn stack(&self, tiers: Vec<Arc<dyn Tier>>) {
        let _ = self.tiers.set(tiers);
    }

    fn tiers(&self) -> &[Arc<dyn Tier>] {
        self.tiers.get().map_or(&[], Vec::as_slice)
    }

    /// Whether there is anything below memory.
    pub fn has_tiers(&self) -> bool {
        !self.tiers().is_empty()
    }

    /// Looks below memory for an answer that is not older than it may be, and takes it up.
    pub async fn fetch(&self, terms: &Terms, form: Form) -> Option<Arc<Kept>> {
        if terms.oldest().is_zero() {
            return None;
        }
        let purges = self.purges.load(SeqCst);
        for tier in self.tiers() {
            let entry = tier.get(&terms.fingerprint, form).await;
            let now = self.memory.time.now();
            if let Some(entry) = entry.filter(|entry| entry.is_fresh(now, terms.oldest())) {
                let kept = self.memory.insert(entry);
                if self.purges.load(SeqCst) != purges {
                    self.memory.purge(&Purge::Fingerprint(terms.fingerprint));
                    return None;
                }
                return Some(kept);
            }
        }
        None
    }

    /// The answer of a call is over, and whole: what it was to be kept as is to be found from now on, here and below. Not below
    /// while a purge runs, which may be through there.
    pub fn finish(&self, writer: Writer) {
        let purging = self.purging.read();
        if let Some(entry) = writer.finish()
            && *purging == 0
        {
            self.tiers().iter().for_each(|tier| tier.put(&entry));
        }
    }

    /// A question has an answer: it is remembered here, and those are told that have answers in common with this instance.
    pub fn learn(&self, learnt: Arc<Learnt>) {
        self.tiers().iter().for_each(|tier| tier.learn(&learnt));
        self.semantic.learn(vec![learnt]);
    }

    /// Removes entries everywhere. The number is that of the place that had most.
    ///
    /// # Errors
    /// Of the first tier that failed; the others have been purged.
    pub async fn purge(&self, what: &Purge) -> Result<u64, TierError> {
        self.purge_in(what, |_| true, None).await
    }

    /// Removes entries from what this instance has for itself: memory and disk. `then`: of those that have survived a restart
    /// only what was made before.
    ///
    /// # Errors
    /// As [`Cache::purge`].
    pub async fn purge_own(&self, what: &Purge, then: Option<SystemTime>) -> Result<u64, TierError> {
        self.purge_in(what, |tier| !tier.is_common(), then).await
    }

    /// Whether a purge runs, which keeps no answer of a call that is under way.
    fn is_purging(&self) -> bool {
        *self.purging.read() > 0
    }

    async fn purge_in(
        &self,
        what: &Purge,
        takes_part: impl Fn(&dyn Tier) -> bool + Send,
        then: Option<SystemTime>,
    ) -> Result<u64, TierError> {
        let mut most = 0;
        let mut failed = None;
        let _purging = Purging::begin(&self.purging);
        self.purges.fetch_add(1, SeqCst);
        // What is under way goes no further, and what is below then goes from there on up, so that nothing comes up again.
        let mut here = self.memory.purge(what);
        for tier in self.tiers().iter().rev().filter(|tier| takes_part(&***tier)) {
            let purged = match then {
                Some(then) => tier.purge_before(what, then).await,
                None => tier.purge(what).await,
            };
            match purged {
                Ok(removed) => most = most.max(removed),
                Err(error) => failed = Some(error),
            }
        }
        self.purges.fetch_add(1, SeqCst);
        here += self.memory.purge(what);
        self.semantic.purge(what).await;
        failed.map_or(Ok(most.max(here)), Err)
    }
}

/// A purge that runs, until it is dropped.
struct Purging<'a>(&'a RwLock<usize>);

impl<'a> Purging<'a> {
    fn begin(running: &'a RwLock<usize>) -> Self {
        *running.write() += 1;
        Self(running)
    }
}

impl Drop for Purging<'_> {
    fn drop(&mut self) {
        *self.0.write() -= 1;
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tiers: Vec<&str> = self.tiers().iter().map(|tier| tier.name()).collect();
        f.debug_struct("Cache").field("memory", &self.memory.size()).field("tiers", &tiers).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
