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

    /// Whether nothing was ever measured.
    pub(super) fn is_empty(&self) -> bool {
        self.buckets.iter().all(|weight| *weight == 0.0)
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

    /// The buckets that hold anything, as they weigh now.
    pub(super) fn saved(&self, now: Instant) -> Vec<(usize, f32)> {
        let scale = (-self.doublings(now)).exp2() as f32;
        let weights = self.buckets.iter().map(|weight| weight * scale).enumerate();
        weights.filter(|(_, weight)| *weight > 1e-3).collect()
    }

    /// As another one was.
    pub(super) fn restore(&mut self, now: Instant, saved: &[(usize, f32)]) {
        *self = Self::new(now);
        for (index, weight) in saved {
            if let Some(bucket) = self.buckets.get_mut(*index).filter(|_| weight.is_finite() && *weight > 0.0) {
                *bucket = *weight;
            }
        }
    }

    fn doublings(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.unit).as_secs_f64() / HALF_LIFE.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: Duration, wanted: Duration) -> bool {
        (found.as_secs_f64() / wanted.as_secs_f64() - 1.0).abs() < 0.061
    }

    #[test]
    fn quantiles_are_within_six_percent() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let now = Instant::now();
            let mut histogram = Histogram::new(now);
            // From half a millisecond to 100 s, evenly by magnitude.
            let mut samples: Vec<Duration> =
                (0..2000).map(|_| Duration::from_secs_f64(10_f64.powf(random.f64() * 5.3 - 3.3))).collect();
            samples.iter().for_each(|sample| histogram.add(now, *sample));
            samples.sort();
            for quantile in [0.01, 0.1, 0.5, 0.9, 0.95, 0.99, 1.0] {
                let exact = samples[((quantile * 2000.0) as usize).max(1) - 1];
                let found = histogram.quantile(now, quantile).unwrap();
                assert!(close(found, exact), "{quantile}: {found:?} for {exact:?}");
            }
        }
    }

    #[test]
    fn few_samples_say_nothing_and_old_ones_little() {
        let mut now = Instant::now();
        let mut histogram = Histogram::new(now);
        for _ in 0..19 {
            histogram.add(now, Duration::from_millis(100));
        }
        assert_eq!(histogram.quantile(now, 0.95), None);
        histogram.add(now, Duration::from_millis(100));
        assert!(close(histogram.quantile(now, 0.95).unwrap(), Duration::from_millis(100)));
        assert_eq!(histogram.quantile(now + Duration::from_secs(60), 0.95), None);
        // A change is seen as soon as a twentieth of the weight is new.
        for second in 0..10_000 {
            now += Duration::from_secs(1);
            histogram.add(now, Duration::from_millis(if second < 9_985 { 100 } else { 900 }));
        }
        assert!(close(histogram.quantile(now, 0.95).unwrap(), Duration::from_millis(900)));
        assert!(close(histogram.quantile(now, 0.5).unwrap(), Duration::from_millis(100)));
    }

    #[test]
    fn extremes_stay_inside() {
        let now = Instant::now();
        let mut histogram = Histogram::new(now);
        let later = now + Duration::from_secs(1 << 40);
        for (at, sample) in [(now, Duration::ZERO), (later, Duration::MAX)] {
            for _ in 0..20 {
                histogram.add(at, sample);
            }
        }
        assert!(histogram.quantile(later, 0.0).unwrap() > Duration::from_secs(900));
        assert!(histogram.quantile(later, f64::NAN).is_some());
        assert_eq!(histogram.quantile(later + Duration::from_secs(1 << 40), 0.5), None);
        assert!(size_of::<Histogram>() <= 560);
    }
}
