//! Percentiles and medians of small sample sets.

use std::time::Duration;

/// Durations in nanoseconds, in the order they were observed.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<u64>);

impl Samples {
    /// Adds one duration.
    pub fn push(&mut self, value: Duration) {
        self.0.push(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Takes all samples of `other`.
    pub fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was observed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The `quantile` (0 to 1, nearest rank) in microseconds; NaN when nothing was observed.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        if self.0.is_empty() {
            return f64::NAN;
        }
        let mut sorted = self.0.clone();
        let rank = ((sorted.len() - 1) as f64 * quantile).round() as usize;
        let (_, value, _) = sorted.select_nth_unstable(rank);
        *value as f64 / 1e3
    }
}

/// The median of `values` (mean of the middle two for an even count); NaN for none. NaN values are left out.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().filter(|v| !v.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_take_the_nearest_rank() {
        let mut samples = Samples::default();
        assert!(samples.quantile_us(0.5).is_nan());
        for ms in (1..=100).rev() {
            samples.push(Duration::from_millis(ms));
        }
        assert_eq!(samples.quantile_us(0.0), 1e3);
        assert_eq!(samples.quantile_us(0.99), 99e3);
        assert_eq!(samples.quantile_us(1.0), 100e3);
    }

    #[test]
    fn median_of_odd_even_and_none() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([f64::NAN, 7.0]), 7.0);
        assert!(median([]).is_nan());
    }
}
