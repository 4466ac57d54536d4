//! An answer that its provider goes on making, as it is remembered.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::ledger::Record;
use crate::limits::{Amounts, Reservation};
use crate::snapshot::Target;

/// How long what an answer may cost stays reserved: from then on that counts as used.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// An answer of which it is not known yet what it has used.
#[derive(Debug)]
pub struct Unfinished {
    /// Its request, as it was booked.
    pub record: Record<'static>,
    /// Whether that named `provider/model`.
    pub is_direct: bool,
    /// Whether it did not say how long its answer may be.
    pub is_unbounded: bool,
    /// Who makes it.
    pub target: Arc<Target>,
    /// What it may cost.
    pub held: Arc<Held>,
}

/// What it holds of its request's limits.
#[derive(Debug)]
pub struct Held {
    /// `None`: nothing, or nothing any more.
    reservation: Mutex<Option<Reservation>>,
    /// What counts as used if nobody learns what was.
    expected: Amounts,
}

impl Held {
    /// Of the reservation for its request, if there is one. `usual`: what such an answer usually costs, in pico-dollars, where the most
    /// that it may cost is reserved.
    pub fn new(reservation: Option<Reservation>, usual: u64) -> Arc<Self> {
        let reserved = reservation.as_ref().map_or(Amounts::default(), Reservation::amounts);
        let expected = Amounts { cost: reserved.cost.min(usual), ..reserved };
        Arc::new(Self { reservation: Mutex::new(reservation), expected })
    }

    /// Gives up in [`LONGEST`].
    pub async fn wait(self: Arc<Self>) {
        tokio::time::sleep(LONGEST).await;
        self.give_up();
    }

    /// What is usual counts as used.
    pub fn give_up(&self) {
        if let Some(reservation) = self.take() {
            reservation.settle(self.expected);
        }
    }

    /// It is known what was used. Gives back how much of that is still to be counted: all that is more than what was given up for.
    pub fn settle(&self, used: Amounts) -> Amounts {
        match self.take() {
            Some(reservation) => {
                reservation.settle(used);
                Amounts::default()
            }
            None => used.minus(self.expected),
        }
    }

    fn take(&self) -> Option<Reservation> {
        self.reservation.lock().take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Claim, Kind, Limits, Period, Rule, What};

    fn limits() -> Arc<Limits> {
        let limits = Arc::new(Limits::new());
        let rule = |what| Rule { what, period: Period::Month, limit: 1_000, soft: 1_000 };
        limits.set(Kind::Key, "bot", &[What::Requests, What::Concurrent, What::Tokens, What::Cost].map(rule));
        limits
    }

    /// Of requests, requests at the same time, tokens and money: what is booked, and what is reserved.
    fn standing(limits: &Limits) -> [(u64, u64); 4] {
        let usage = limits.find(Kind::Key, "bot").unwrap().usage(limits.now());
        let usage: Vec<_> = usage.iter().map(|usage| (usage.booked, usage.reserved)).collect();
        usage.try_into().unwrap()
    }

    async fn outlasted(limits: &Arc<Limits>, beside: Amounts) -> Arc<Held> {
        let bot = limits.find(Kind::Key, "bot").unwrap();
        let mut reservation = limits.admit(vec![bot], Claim::request(Amounts { tokens: 30, cost: 70 })).await.unwrap();
        reservation.outlast(beside);
        Held::new(Some(reservation), 60)
    }

    #[tokio::test]
    async fn what_it_may_cost_stays_reserved_until_it_is_known() {
        let limits = limits();
        let held = outlasted(&limits, Amounts { tokens: 1, cost: 2 }).await;
        assert_eq!(standing(&limits), [(1, 0), (0, 0), (31, 0), (2, 70)]);
        assert_eq!(held.settle(Amounts { tokens: 50, cost: 5 }), Amounts::default());
        assert_eq!(standing(&limits), [(1, 0), (0, 0), (51, 0), (7, 0)]);
        let shorter = outlasted(&limits, Amounts::default()).await;
        shorter.settle(Amounts { tokens: 10, cost: 10 });
        assert_eq!(standing(&limits), [(2, 0), (0, 0), (81, 0), (17, 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_counts_as_is_usual() {
        let limits = limits();
        let held = outlasted(&limits, Amounts::default()).await;
        tokio::time::timeout(LONGEST, held.clone().wait()).await.unwrap();
        assert_eq!(standing(&limits), [(1, 0), (0, 0), (30, 0), (60, 0)]);
        // Whoever asks later pays the rest.
        assert_eq!(held.settle(Amounts { tokens: 20, cost: 90 }), Amounts { tokens: 0, cost: 30 });
        assert_eq!(standing(&limits), [(1, 0), (0, 0), (30, 0), (60, 0)]);
    }

    #[tokio::test]
    async fn what_is_lost_gives_back_what_it_holds() {
        let limits = limits();
        drop(outlasted(&limits, Amounts::default()).await);
        assert_eq!(standing(&limits), [(1, 0), (0, 0), (30, 0), (0, 0)]);
    }
}
