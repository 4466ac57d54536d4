//! How long the answers of each model have been lately: what is reserved for a request that does not bound its own.

use std::array;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;

/// Models that are remembered; clients may ask for as many as they make up.
const MODELS: usize = 1_000;
/// Lengths per doubling: what is reserved is at most a quarter too much.
const PARTS: usize = 4;
const BUCKETS: usize = 24 * PARTS;
/// Answers before anything is said of them.
const ENOUGH: u32 = 20;
/// Answers after which the older half of what is known counts half.
const MANY: u32 = 1_000;
/// From so many on, one more changes little: what is told is found anew only after each [`SOME`].
const PLENTY: u32 = 100;
const SOME: u32 = 16;

/// The lengths of answers, by model.
#[derive(Debug, Default)]
pub(super) struct Outputs(ArcSwap<HashMap<Box<str>, Arc<Lengths>>>);

/// How many answers were so long. Counted without a lock: a few lost counts change nothing.
#[derive(Debug)]
struct Lengths {
    counts: [AtomicU32; BUCKETS],
    total: AtomicU32,
    /// What is told of them; 0: too few are known.
    high: AtomicU64,
}

impl Outputs {
    /// An answer of `model` had so many tokens.
    pub(super) fn learn(&self, model: &str, tokens: u64) {
        let known = self.0.load();
        if let Some(lengths) = known.get(model) {
            return lengths.learn(tokens);
        }
        if known.len() >= MODELS {
            return;
        }
        self.0.rcu(|known| {
            let mut known = HashMap::clone(known);
            // Other threads may have been faster.
            if known.len() < MODELS {
                known.entry(model.into()).or_default();
            }
            known
        });
        if let Some(lengths) = self.0.load().get(model) {
            lengths.learn(tokens);
        }
    }

    /// The length that nineteen of twenty answers of `model` stay within; `None`: too few are known.
    pub(super) fn high(&self, model: &str) -> Option<u64> {
        Some(self.0.load().get(model)?.high.load(Relaxed)).filter(|high| *high > 0)
    }
}

impl Default for Lengths {
    fn default() -> Self {
        Self { counts: array::from_fn(|_| AtomicU32::new(0)), total: AtomicU32::new(0), high: AtomicU64::new(0) }
    }
}

impl Lengths {
    fn learn(&self, tokens: u64) {
        if let Some(count) = self.counts.get(bucket(tokens)) {
            count.fetch_add(1, Relaxed);
        }
        let total = self.total.fetch_add(1, Relaxed) + 1;
        if total == MANY {
            let mut rest = 0;
            for count in &self.counts {
                let half = count.load(Relaxed) / 2;
                count.store(half, Relaxed);
                rest += half;
            }
            self.total.store(rest, Relaxed);
        }
        if (ENOUGH..PLENTY).contains(&total) || total.is_multiple_of(SOME) {
            self.high.store(self.find_high().unwrap_or(0), Relaxed);
        }
    }

    fn find_high(&self) -> Option<u64> {
        let total: u32 = self.counts.iter().map(|count| count.load(Relaxed)).sum();
        if total < ENOUGH {
            return None;
        }
        let mut rest = total - total / 20;
        let found = self.counts.iter().position(|count| {
            rest = rest.saturating_sub(count.load(Relaxed));
            rest == 0
        });
        found.map(most_of)
    }
}

/// The number of the bucket of a length.
fn bucket(tokens: u64) -> usize {
    let tokens = tokens.max(1);
    let doublings = tokens.ilog2();
    // The two bits after the first.
    let part = if doublings >= 2 { (tokens >> (doublings - 2)) & 3 } else { (tokens << (2 - doublings)) & 3 };
    (doublings as usize * PARTS + usize::try_from(part).unwrap_or(0)).min(BUCKETS - 1)
}

/// The longest length in a bucket.
fn most_of(bucket: usize) -> u64 {
    let (doublings, part) = (bucket / PARTS, (bucket % PARTS) as u64);
    ((part + 5) << doublings).div_ceil(4) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_their_lengths() {
        for tokens in (1..5_000).chain([100_000, 1 << 20, (1 << 23) + 7]) {
            let most = most_of(bucket(tokens));
            assert!((tokens..=tokens + tokens / 4).contains(&most), "{tokens} {most}");
        }
        assert!(bucket(u64::MAX) < BUCKETS && bucket(0) == 0);
    }

    #[test]
    fn what_nearly_all_answers_stay_within() {
        let outputs = Outputs::default();
        for number in 0..19 {
            assert_eq!(outputs.high("m"), None, "{number}");
            outputs.learn("m", 100);
        }
        outputs.learn("m", 4_000);
        let high = outputs.high("m").unwrap();
        assert!((100..=125).contains(&high), "{high}");
        for _ in 0..5 {
            outputs.learn("m", 4_000);
        }
        assert!((4_000..=5_000).contains(&outputs.high("m").unwrap()));
        // It follows what answers are like now.
        for _ in 0..5_000 {
            outputs.learn("m", 10);
        }
        assert!(outputs.high("m").unwrap() <= 12);
        assert_eq!(outputs.high("other"), None);
    }

    #[test]
    fn models_are_bounded() {
        let outputs = Outputs::default();
        (0..MODELS + 10).for_each(|number| outputs.learn(&number.to_string(), 1));
        assert_eq!(outputs.0.load().len(), MODELS);
    }
}
