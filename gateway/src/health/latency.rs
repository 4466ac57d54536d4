//! How long first output takes lately: a mean that forgets with time and follows a rise at once.

use std::time::{Duration, Instant};

/// After so long, an old measurement counts half.
const HALF_LIFE: Duration = Duration::from_secs(10);
/// The least that a failure counts as.
const LEAST_PENALTY: Duration = Duration::from_secs(1);
/// The most that a failure counts as.
const MOST_PENALTY: Duration = Duration::from_secs(60);

/// A peak-sensitive EWMA, as Finagle's and linkerd's: a slower answer is believed at once, a faster one by and by. Without
/// any answer it sinks, so that a target that was slow once is tried again.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// Seconds, and when that was.
    last: Option<(f64, Instant)>,
}

impl Latency {
    pub(super) fn get(&self, now: Instant) -> Option<Duration> {
        self.last.map(|(value, at)| Duration::from_secs_f64(value * remaining(at, now)))
    }

    pub(super) fn add(&mut self, now: Instant, sample: Duration) {
        let sample = sample.as_secs_f64();
        self.last = Some(match self.last {
            Some((value, at)) => {
                let weight = remaining(at, now);
                // Against the value as it was, not as it sank: a rise is a rise over what was measured.
                let value = if sample >= value { sample } else { value * weight + sample * (1.0 - weight) };
                (value, now.max(at))
            }
            None => (sample, now),
        });
    }

    /// A failure counts as slower than anything lately, however fast it came.
    pub(super) fn penalise(&mut self, now: Instant, took: Duration) {
        let twice = self.get(now).unwrap_or_default().saturating_mul(2);
        self.add(now, took.max(twice).clamp(LEAST_PENALTY, MOST_PENALTY));
    }
}

fn remaining(then: Instant, now: Instant) -> f64 {
    (-now.saturating_duration_since(then).as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
}
