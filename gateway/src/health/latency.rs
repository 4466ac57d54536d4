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

    /// The last value, and how long ago it was.
    pub(super) fn saved(&self, now: Instant) -> Option<(f64, Duration)> {
        self.last.map(|(value, at)| (value, now.saturating_duration_since(at)))
    }

    /// As another one was.
    pub(super) fn restore(&mut self, value: f64, at: Instant) {
        self.last = (value.is_finite() && value >= 0.0).then_some((value, at));
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn rises_are_followed_at_once_and_falls_within_seconds() {
        let begin = Instant::now();
        let mut latency = Latency::default();
        assert_eq!(latency.get(begin), None);
        let mut now = begin;
        let mut run = |latency: &mut Latency, seconds: u32, sample: Duration| {
            for _ in 0..seconds * 10 {
                now += 100 * MS;
                latency.add(now, sample);
            }
            latency.get(now).unwrap()
        };
        let near = |value: Duration, wanted: Duration| value.abs_diff(wanted) < wanted / 10;
        assert!(near(run(&mut latency, 5, 200 * MS), 200 * MS));
        assert!(near(run(&mut latency, 1, 1000 * MS), 1000 * MS));
        assert!(near(run(&mut latency, 10, 200 * MS), 600 * MS), "half of the difference after the half-life");
        assert!(near(run(&mut latency, 30, 200 * MS), 250 * MS));
    }

    #[test]
    fn without_answers_it_sinks() {
        let begin = Instant::now();
        let mut latency = Latency::default();
        latency.add(begin, 800 * MS);
        assert_eq!(latency.get(begin + HALF_LIFE), Some(400 * MS));
        assert_eq!(latency.get(begin + 3 * HALF_LIFE), Some(100 * MS));
        assert_eq!(latency.get(begin + Duration::from_secs(1 << 40)), Some(Duration::ZERO));
    }

    #[test]
    fn failures_are_slow_however_fast_they_come() {
        let now = Instant::now();
        let mut latency = Latency::default();
        latency.penalise(now, MS);
        assert_eq!(latency.get(now), Some(LEAST_PENALTY));
        latency.penalise(now, MS);
        assert_eq!(latency.get(now), Some(2 * LEAST_PENALTY));
        for _ in 0..20 {
            latency.penalise(now, MS);
        }
        assert_eq!(latency.get(now), Some(MOST_PENALTY));
    }
}
