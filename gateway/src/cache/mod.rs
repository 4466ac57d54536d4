//! Answers that are kept, and calls that are shared by all who ask the same at the same time.
//!
//! A request that may use the cache comes with its [`Terms`]: the [`Fingerprint`] of what it asks, and what its model, its key
//! and it itself allow. A call under way is a fill, which any number of clients follow; a finished answer is an [`Entry`], which
//! memory keeps and the [`Tier`]s below it may keep for longer. Nothing here knows of sessions: who serves an answer to a
//! client is the proxy.

pub mod disk;
mod entry;
pub mod fill;
pub mod key;
pub mod memory;
mod metrics;
mod open;
pub mod policy;
mod record;
pub mod redis;
pub mod semantic;
pub mod storage;
mod terms;
mod tier;
mod tier_metrics;
mod weight;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use crate::clock::Time;
use memory::Kept;

pub use entry::{Entry, Form, Meta, common_headers};
pub use memory::Memory;
pub use metrics::CacheMetrics;
pub use open::{OpenError, Opened, open};
use semantic::{Learnt, Semantic};
pub use terms::{Fingerprint, Payer, Terms, Verdict};
pub use tier::{Purge, Tier, TierError};
pub use tier_metrics::TierMetrics;

/// The cache of the process: memory, and what is below it. Reloads change its settings only.
pub struct Cache {
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

    /// Looks below memory for an answer that is not older than `max_age`, and takes it up.
    pub async fn fetch(&self, terms: &Terms, form: Form) -> Option<Arc<Kept>> {
        let purges = self.purges.load(SeqCst);
        for tier in self.tiers() {
            let entry = tier.get(&terms.fingerprint, form).await;
            let now = self.memory.time.now();
            if let Some(entry) = entry.filter(|entry| entry.is_fresh(now, terms.max_age)) {
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

    /// Gives an entry that memory has got to what is below.
    pub fn spread(&self, entry: &Arc<Entry>) {
        self.tiers().iter().for_each(|tier| tier.put(entry));
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
        self.purge_in(what, |_| true).await
    }

    /// Removes entries from what this instance has for itself: memory and disk.
    ///
    /// # Errors
    /// As [`Cache::purge`].
    pub async fn purge_own(&self, what: &Purge) -> Result<u64, TierError> {
        self.purge_in(what, |tier| !tier.is_common()).await
    }

    async fn purge_in(&self, what: &Purge, takes_part: impl Fn(&dyn Tier) -> bool + Send) -> Result<u64, TierError> {
        let mut most = 0;
        let mut failed = None;
        self.purges.fetch_add(1, SeqCst);
        // From below, so that nothing comes up again.
        for tier in self.tiers().iter().rev().filter(|tier| takes_part(&***tier)) {
            match tier.purge(what).await {
                Ok(removed) => most = most.max(removed),
                Err(error) => failed = Some(error),
            }
        }
        self.purges.fetch_add(1, SeqCst);
        most = most.max(self.memory.purge(what));
        self.semantic.purge(what).await;
        failed.map_or(Ok(most), Err)
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
