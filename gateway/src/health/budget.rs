//! A budget of retries, so that a provider that fails is not asked twice as often as one that works.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lock;

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
        let mut inner = lock(&self.inner);
        let slot = inner.advance(self.slot(now));
        *slot = slot.saturating_add(self.deposit);
    }

    /// Whether there is a token for a retry.
    pub fn has(&self, now: Instant) -> bool {
        let mut inner = lock(&self.inner);
        inner.advance(self.slot(now));
        self.balance(&inner) >= TOKEN
    }

    /// Takes a token for a retry; `false`: there is none, and the retry must not be made.
    pub fn withdraw(&self, now: Instant) -> bool {
        let mut inner = lock(&self.inner);
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
