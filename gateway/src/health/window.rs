//! Counts of a sliding window, in slots of a tenth of it.

use std::time::{Duration, Instant};

const SLOTS: usize = 10;

/// How many attempts ended lately, and how many of them failed. It covers between nine and ten tenths of its length.
#[derive(Debug)]
pub(super) struct Window {
    begin: Instant,
    length: Duration,
    /// The number of the newest slot, since `begin`.
    newest: u64,
    slots: [Count; SLOTS],
}

/// Attempts of a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) all: u32,
    pub(super) failed: u32,
}

impl Window {
    pub(super) fn new(begin: Instant, length: Duration) -> Self {
        Self { begin, length, newest: 0, slots: [Count::default(); SLOTS] }
    }

    /// Empties it, and gives it another length.
    pub(super) fn reset(&mut self, length: Duration) {
        self.length = length;
        self.slots = [Count::default(); SLOTS];
    }

    pub(super) fn length(&self) -> Duration {
        self.length
    }

    pub(super) fn add(&mut self, now: Instant, failed: bool) {
        let slot = self.advance(now);
        slot.all = slot.all.saturating_add(1);
        slot.failed = slot.failed.saturating_add(u32::from(failed));
    }

    pub(super) fn count(&mut self, now: Instant) -> Count {
        self.advance(now);
        self.slots.iter().fold(Count::default(), |sum, slot| Count {
            all: sum.all.saturating_add(slot.all),
            failed: sum.failed.saturating_add(slot.failed),
        })
    }

    /// Empties the slots that became old and gives the one of `now`. A time before the newest counts as the newest.
    fn advance(&mut self, now: Instant) -> &mut Count {
        let slot = (self.length / SLOTS as u32).as_nanos().max(1);
        let number = (now.saturating_duration_since(self.begin).as_nanos() / slot) as u64;
        let passed = number.saturating_sub(self.newest);
        for step in 1..=passed.min(SLOTS as u64) {
            self.slots[index(self.newest + step)] = Count::default();
        }
        self.newest = self.newest.max(number);
        &mut self.slots[index(self.newest)]
    }
}

fn index(number: u64) -> usize {
    (number % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_slots_are_forgotten() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut window = Window::new(begin, Duration::from_secs(30));
        window.add(at(0), true);
        window.add(at(15), false);
        assert_eq!(window.count(at(29)), Count { all: 2, failed: 1 });
        assert_eq!(window.count(at(30)), Count { all: 1, failed: 0 });
        window.add(at(20), true);
        assert_eq!(window.count(at(30)), Count { all: 2, failed: 1 }, "a late clock counts as the newest");
        assert_eq!(window.count(at(1_000_000)), Count::default());
        window.add(at(1_000_000), true);
        window.reset(Duration::from_secs(10));
        assert_eq!(window.count(at(1_000_000)), Count::default());
        window.add(at(1_000_001), true);
        assert_eq!(window.count(at(1_000_009)), Count { all: 1, failed: 1 });
        assert_eq!(window.count(at(1_000_011)), Count::default());
    }
}
