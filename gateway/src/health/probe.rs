//! Probing a provider on purpose.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::settings::MAX_WAIT;
use super::target::{Pass, TargetState};
use super::verdict::{Changes, FailureKind, Verdict};

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
        let every = every.min(MAX_WAIT);
        Self { every, next: now + every.mul_f64(random.clamp(0.0, 1.0)) }
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

/// One probe under way, for all targets of a credential that may be tried. Dropped, it says nothing.
#[derive(Debug)]
#[must_use = "dropped, it counts as neutral"]
pub struct ActiveProbe {
    pub(super) passes: Vec<Pass>,
}

impl ActiveProbe {
    /// Whether there is any target to tell about.
    pub fn is_empty(&self) -> bool {
        self.passes.is_empty()
    }

    /// What came of it. A good answer brings back what was half open, and says nothing about the others: they may fail all
    /// the same where they are asked for more than this. A failure counts for all of them. Only targets at which something
    /// changed are returned.
    pub fn finish(self, now: Instant, result: Result<(), FailureKind>) -> Vec<(Arc<TargetState>, Changes)> {
        let ended = self.passes.into_iter().map(|pass| {
            let verdict = match result {
                Ok(()) if pass.is_probe() => Verdict::Success { first_output: None },
                Ok(()) => Verdict::Neutral,
                Err(kind) => Verdict::Failure { kind, retry_after: None },
            };
            (pass.target().clone(), pass.finish(now, verdict))
        });
        ended.filter(|(_, changes)| *changes != Changes::default()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_each_interval() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut schedule = ProbeSchedule::new(begin, Duration::from_secs(30), 0.5);
        assert_eq!(schedule.next, at(15));
        assert!(!schedule.due(at(14)) && schedule.due(at(16)) && !schedule.due(at(16)));
        assert!(!schedule.due(at(45)) && schedule.due(at(46)));
        assert!(schedule.due(at(1000)) && !schedule.due(at(1001)), "what was missed is not made up for");
    }
}
