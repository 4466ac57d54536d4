//! How many second calls a model may make: a bucket that each stream fills by a share of one call.

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
    pub fn spend(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(CALL)).is_ok()
    }

    /// Gives back what was taken for a call that was not made.
    pub fn refund(&self) {
        self.earn(CALL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_share_is_spent() {
        let allowance = Allowance::default();
        let spent = (0..10_000)
            .filter(|_| {
                allowance.earn(500);
                allowance.spend()
            })
            .count();
        assert_eq!(spent, 500);
    }

    #[test]
    fn a_quiet_time_saves_only_a_few() {
        let allowance = Allowance::default();
        (0..10_000).for_each(|_| allowance.earn(500));
        assert_eq!((0..100).filter(|_| allowance.spend()).count(), BURST as usize);
    }
}
