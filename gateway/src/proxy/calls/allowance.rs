//! How many second calls a model may make: a bucket that each stream fills by a share of one call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// One call, in the unit of the bucket: `max_extra` is in parts of ten thousand.
const CALL: u32 = 10_000;
/// Calls saved up at most: a storm of slow answers after a quiet time gets no more than these at once.
const BURST: u32 = 10;

/// Starts empty, so that the share is never passed, not even at the beginning.
#[derive(Debug, Default)]
pub struct Allowance(AtomicU32);

impl Allowance {
    /// A stream begins, which allows `share` / 10000 of a second call.
    pub fn earn(&self, share: u32) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
            Some(saved.saturating_add(share).min(BURST * CALL))
        });
    }

    /// Takes one second call, if there is one.
    pub fn spend(self: &Arc<Self>) -> Option<Spent> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(CALL));
        taken.ok().map(|_| Spent(Some(self.clone())))
    }
}

/// One second call that was taken. Dropped before it is made, it goes back.
#[derive(Debug)]
#[must_use = "dropped, it goes back"]
pub struct Spent(Option<Arc<Allowance>>);

impl Spent {
    /// The call is made.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Spent {
    fn drop(&mut self) {
        if let Some(allowance) = self.0.take() {
            allowance.earn(CALL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_share_is_spent() {
        let allowance = Arc::new(Allowance::default());
        let spent = (0..10_000)
            .filter(|_| {
                allowance.earn(500);
                allowance.spend().map(Spent::keep).is_some()
            })
            .count();
        assert_eq!(spent, 500);
    }

    #[test]
    fn a_quiet_time_saves_only_a_few() {
        let allowance = Arc::new(Allowance::default());
        (0..10_000).for_each(|_| allowance.earn(500));
        assert_eq!(std::iter::from_fn(|| allowance.spend()).map(Spent::keep).count(), BURST as usize);
        allowance.earn(CALL);
        drop(allowance.spend());
        assert!(allowance.spend().is_some(), "a call that was not made goes back");
    }
}
