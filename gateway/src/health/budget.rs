//! A budget of retries, so that a provider that fails is not asked twice as often as one that works.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Tokens are counted in thousandths.
const TOKEN: i64 = 1000;
const SLOTS: usize = 10;
/// A deposit, and a withdrawal, are forgotten after so long.
const SLOT: Duration = Duration::from_secs(1);

/// How many retries are allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetSettings {
    /// Retries per request.
    pub ratio: f64,
    /// Retries in ten seconds that need no request, for a gateway with little to do.
    pub reserve: u32,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self { ratio: 0.2, reserve: 10 }
    }
}

/// A token bucket as Finagle's `RetryBudget`: each request deposits a share of a token, each retry takes one, and both are
/// forgotten after ten seconds. One lock, held for nanoseconds.
#[derive(Debug)]
pub struct Budget {
    begin: Instant,
    deposit: i64,
    reserve: i64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    newest: u64,
    slots: [i64; SLOTS],
}

impl Budget {
    /// A full reserve, and nothing deposited.
    pub fn new(now: Instant, settings: BudgetSettings) -> Self {
        Self {
            begin: now,
            deposit: (settings.ratio.clamp(0.0, 1000.0) * TOKEN as f64).round() as i64,
            reserve: i64::from(settings.reserve) * TOKEN,
            inner: Mutex::new(Inner::default()),
        }
    }

    /// A request came.
    pub fn deposit(&self, now: Instant) {
        let mut inner = self.inner.lock();
        let slot = inner.advance(self.slot(now));
        *slot = slot.saturating_add(self.deposit);
    }

    /// Whether there is a token for a retry.
    pub fn has(&self, now: Instant) -> bool {
        let mut inner = self.inner.lock();
        inner.advance(self.slot(now));
        self.balance(&inner) >= TOKEN
    }

    /// Takes a token for a retry; `false`: there is none, and the retry must not be made.
    pub fn withdraw(&self, now: Instant) -> bool {
        let mut inner = self.inner.lock();
        let slot = self.slot(now);
        inner.advance(slot);
        if self.balance(&inner) < TOKEN {
            return false;
        }
        *inner.advance(slot) -= TOKEN;
        true
    }

    fn balance(&self, inner: &Inner) -> i64 {
        inner.slots.iter().fold(self.reserve, |sum, slot| sum.saturating_add(*slot))
    }

    fn slot(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.begin).as_nanos() / SLOT.as_nanos()) as u64
    }
}

impl Inner {
    /// Empties the slots that became old. A time before the newest counts as the newest.
    fn advance(&mut self, number: u64) -> &mut i64 {
        let passed = number.saturating_sub(self.newest);
        for step in 1..=passed.min(SLOTS as u64) {
            self.slots[((self.newest + step) % SLOTS as u64) as usize] = 0;
        }
        self.newest = self.newest.max(number);
        &mut self.slots[(self.newest % SLOTS as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(budget: &Budget, now: Instant) -> u32 {
        (0..1000).take_while(|_| budget.withdraw(now)).count() as u32
    }

    #[test]
    fn a_fifth_of_the_requests_beyond_the_reserve() {
        let begin = Instant::now();
        let budget = Budget::new(begin, BudgetSettings::default());
        assert_eq!(drain(&budget, begin), 10);
        for _ in 0..100 {
            budget.deposit(begin);
        }
        assert_eq!(drain(&budget, begin), 20);
        assert_eq!(drain(&budget, begin + Duration::from_secs(9)), 0);
        assert_eq!(drain(&budget, begin + Duration::from_secs(10)), 10, "the reserve is for each ten seconds");
    }

    #[test]
    fn deposits_are_forgotten() {
        let begin = Instant::now();
        let budget = Budget::new(begin, BudgetSettings { ratio: 0.5, reserve: 0 });
        for second in 0..30 {
            budget.deposit(begin + Duration::from_secs(second));
        }
        assert_eq!(drain(&budget, begin + Duration::from_secs(29)), 5);
        budget.deposit(begin);
        assert_eq!(drain(&budget, begin + Duration::from_secs(60)), 0);
    }

    /// In any ten seconds: no more retries than the reserve and a fifth of what came in these and the ten before.
    #[test]
    fn storms_are_stopped() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let begin = Instant::now();
            let budget = Budget::new(begin, BudgetSettings::default());
            let (mut now, mut requests, mut retries) = (begin, Vec::new(), Vec::new());
            for _ in 0..5000 {
                now += Duration::from_millis(random.u64(0..40));
                budget.deposit(now);
                requests.push(now);
                if budget.withdraw(now) {
                    retries.push(now);
                }
            }
            let of = |times: &[Instant], from: Instant, to: Instant| {
                times.partition_point(|time| *time < to) - times.partition_point(|time| *time < from)
            };
            for start in 0..80 {
                let from = begin + Duration::from_secs(10 + start);
                let to = from + Duration::from_secs(10);
                let allowed = 10.0 + 0.2 * of(&requests, from - Duration::from_secs(10), to) as f64;
                assert!(of(&retries, from, to) as f64 <= allowed + 1.0);
            }
            assert!(retries.len() >= requests.len() / 6, "and those that are affordable are made");
        }
    }
}
