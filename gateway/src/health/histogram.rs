//! Quantiles of first-output times: a histogram of logarithmic buckets that forgets with time.

use std::time::{Duration, Instant};

/// Buckets per doubling: each is 12.2 % wide, so that its middle is within 6 % of everything in it.
const PER_DOUBLING: f64 = 6.0;
/// Where the first bucket begins.
const LEAST: Duration = Duration::from_micros(250);
/// 22 doublings, up to 17 minutes.
const BUCKETS: usize = 132;
/// After so long, an old measurement counts half.
const HALF_LIFE: Duration = Duration::from_secs(120);
/// New weights grow instead of old ones shrinking; past so many doublings all are brought down.
const MOST_DOUBLINGS: f64 = 16.0;
/// Fewer measurements (old ones count less) say nothing of a quantile.
const LEAST_SAMPLES: f64 = 20.0;

/// 560 bytes. Adding is O(1) but for a rescaling every half hour; asking is O(buckets).
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: [f32; BUCKETS],
    /// When a measurement weighed 1.
    unit: Instant,
}

impl Histogram {
    pub(super) fn new(now: Instant) -> Self {
        Self { buckets: [0.0; BUCKETS], unit: now }
    }

    pub(super) fn add(&mut self, now: Instant, sample: Duration) {
        let mut doublings = self.doublings(now);
        if doublings > MOST_DOUBLINGS {
            let scale = (-doublings).exp2() as f32;
            self.buckets.iter_mut().for_each(|bucket| *bucket *= scale);
            self.unit = now;
            doublings = 0.0;
        }
        let ratio = sample.as_secs_f64() / LEAST.as_secs_f64();
        let index = (ratio.max(1.0).log2() * PER_DOUBLING) as usize;
        self.buckets[index.min(BUCKETS - 1)] += doublings.exp2() as f32;
    }

    /// The time within which a share of `quantile` (0 to 1) of the answers began.
    pub(super) fn quantile(&self, now: Instant, quantile: f64) -> Option<Duration> {
        let total: f64 = self.buckets.iter().map(|weight| f64::from(*weight)).sum();
        if total < LEAST_SAMPLES * self.doublings(now).exp2() {
            return None;
        }
        let wanted = total * quantile.clamp(0.0, 1.0);
        let mut passed = 0.0;
        let last = self.buckets.iter().rposition(|weight| *weight > 0.0)?;
        let index = self.buckets.iter().position(|weight| {
            passed += f64::from(*weight);
            *weight > 0.0 && passed >= wanted
        });
        let middle = (index.unwrap_or(last) as f64 + 0.5) / PER_DOUBLING;
        Some(LEAST.mul_f64(middle.exp2()))
    }

    fn doublings(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.unit).as_secs_f64() / HALF_LIFE.as_secs_f64()
    }
}
