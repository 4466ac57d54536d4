//! When to probe a provider on purpose.

use std::time::{Duration, Instant};

/// A probe every so often, the first one after a part of the interval that depends on chance: instances that start together
/// do not probe together.
#[derive(Clone, Debug)]
pub struct ProbeSchedule {
    every: Duration,
    next: Instant,
}

impl ProbeSchedule {
    /// `random` (0 to 1) decides when the first one is.
    pub fn new(now: Instant, every: Duration, random: f64) -> Self {
        Self { every, next: now + every.mul_f64(random.clamp(0.0, 1.0)) }
    }

    /// When the next one is due.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Whether one is due; if so, the next one is due an interval later. What was missed is not made up for.
    pub fn due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now + self.every;
        true
    }
}
