//! Leaving a target alone because its provider said so.

use std::time::{Duration, Instant};

use super::settings::{MAX_RETRY_AFTER, backoff};
use super::verdict::Reason;

/// Until when, and why.
#[derive(Debug, Default)]
pub(super) struct Hold {
    held: Option<(Instant, Reason)>,
    /// Waits in a row that the provider gave no length for.
    streak: u32,
    /// Counts them all. What was under way when the last one began meets the same limit, which makes it no worse.
    generation: u32,
}

impl Hold {
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// The deadline, if it is still to come.
    pub(super) fn until(&self, now: Instant) -> Option<(Instant, Reason)> {
        self.held.filter(|(until, _)| now < *until)
    }

    /// The provider asks to stay away for `wait`.
    pub(super) fn for_a(&mut self, now: Instant, wait: Duration, reason: Reason) -> Duration {
        let wait = wait.min(MAX_RETRY_AFTER);
        let until = now + wait;
        if self.held.is_none_or(|(old, _)| old < until) {
            self.held = Some((until, reason));
        }
        wait
    }

    /// It is to be left alone for a while that grows from `first` to `longest`. `None`: the attempt with `generation` was under way
    /// when that became known.
    pub(super) fn growing(
        &mut self,
        now: Instant,
        generation: u32,
        (first, longest): (Duration, Duration),
        reason: Reason,
        random: f64,
    ) -> Option<Duration> {
        if generation != self.generation {
            return None;
        }
        self.streak = self.streak.saturating_add(1);
        self.generation = self.generation.wrapping_add(1);
        Some(self.for_a(now, backoff(first, longest, self.streak, random), reason))
    }

    /// How many waits without a length came in a row.
    pub(super) fn streak(&self) -> u32 {
        self.streak
    }

    /// As another one was.
    pub(super) fn restore(&mut self, until: Option<(Instant, Reason)>, streak: u32) {
        (self.held, self.streak) = (until, streak);
    }

    /// The target answers: the next wait is a first one again. A wait that was asked for still counts.
    pub(super) fn forget(&mut self) {
        self.streak = 0;
    }
}
