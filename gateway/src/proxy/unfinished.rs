//! Answers that their providers go on making when the request for them is over (Responses: `background`). What they may cost
//! stays reserved; what they have used is booked, in a record of its own, when the provider first tells it: to whoever of the same
//! key asks for the answer, follows or cancels it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ai_gateway_providers::Operation;
use ai_gateway_providers::answer::{Observer, Seen};
use ai_gateway_providers::usage::Usage;
use bounded_static::IntoBoundedStatic;

use super::{Exchange, Gateway, admission, book};
use crate::ledger::{BACKGROUND, Kind, Record, UsageSource, micros};
use crate::limits::{Amounts, Reservation};
use crate::snapshot::Target;

/// How long what an answer may cost stays reserved: from then on that counts as used.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// An answer of which it is not known yet what it has used.
#[derive(Debug)]
pub struct Unfinished {
    /// Its request, as it was booked.
    record: Record<'static>,
    /// Whether that named `provider/model`.
    is_direct: bool,
    /// Who makes it.
    target: Arc<Target>,
    held: Arc<Held>,
}

/// What it holds of its request's limits.
#[derive(Debug)]
struct Held {
    /// `None`: nothing, or nothing any more.
    reservation: Mutex<Option<Reservation>>,
    /// What was to be used.
    expected: Amounts,
}

impl Held {
    fn new(reservation: Option<Reservation>) -> Arc<Self> {
        let expected = reservation.as_ref().map_or(Amounts::default(), Reservation::amounts);
        Arc::new(Self { reservation: Mutex::new(reservation), expected })
    }

    /// Gives up in [`LONGEST`].
    async fn wait(self: Arc<Self>) {
        tokio::time::sleep(LONGEST).await;
        self.give_up();
    }

    /// What was expected counts as used.
    fn give_up(&self) {
        if let Some(reservation) = self.take() {
            reservation.settle(self.expected);
        }
    }

    /// It is known what was used. Gives back how much of that is still to be counted: all that is more than what was given up for.
    fn settle(&self, used: Amounts) -> Amounts {
        match self.take() {
            Some(reservation) => {
                reservation.settle(used);
                Amounts::default()
            }
            None => used.minus(self.expected),
        }
    }

    fn take(&self) -> Option<Reservation> {
        self.reservation.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Notes that the answer of `exchange` is unfinished, which is booked and settled with its limits, or books what an earlier one
/// has used, if its provider has told that now. Of no effect the second time.
pub fn account(gateway: &Gateway, exchange: &mut Exchange) {
    if exchange.is_unfinished() {
        leave(gateway, exchange);
    } else if exchange.operation() == Some(Operation::Stored) {
        finish(gateway, exchange);
    }
}

fn leave(gateway: &Gateway, exchange: &mut Exchange) {
    if std::mem::replace(&mut exchange.account.is_left, true) {
        return;
    }
    let held = Held::new(exchange.account.unsettled.take());
    let id = exchange.incoming.observer.as_ref().and_then(|observer| observer.seen().id.as_deref());
    let (Some(attempt), Some(id)) = (exchange.attempt(), id) else { return held.give_up() };
    let unfinished = Unfinished {
        record: book::record(exchange).into_static(),
        is_direct: exchange.is_direct(),
        target: attempt.target.clone(),
        held: held.clone(),
    };
    gateway.continuity.leave_unfinished(exchange.key.as_deref(), id, Arc::new(unfinished));
    tokio::spawn(held.wait());
}

fn finish(gateway: &Gateway, exchange: &Exchange) {
    let Some(id) = exchange.endpoint().and_then(|endpoint| endpoint.stored.as_deref()) else { return };
    let Some(seen) = exchange.incoming.observer.as_ref().map(Observer::seen) else { return };
    // Some fill in zeros where they do not count.
    let Some(usage) = seen.past_usage.filter(|usage| usage.total().is_some_and(|tokens| tokens > 0)) else { return };
    let Some(unfinished) = gateway.continuity.take_unfinished(exchange.key.as_deref(), id) else { return };
    enter(gateway, exchange, &unfinished, usage, seen);
}

fn enter(gateway: &Gateway, exchange: &Exchange, unfinished: &Unfinished, usage: Usage, seen: &Seen) {
    let Unfinished { record: asked, is_direct, target, held } = unfinished;
    let tier = seen.service_tier.as_deref();
    let cost = target.cost(&usage, tier);
    let total = cost.and_then(|cost| cost.total());
    let record = Record {
        seq: BACKGROUND,
        kind: Kind::Background,
        answer_model: seen.model.as_deref().map(Into::into),
        status: exchange.status,
        fault: None,
        attempts: 1,
        duration_us: u64::try_from(micros(gateway.time.now()) - asked.at).unwrap_or(0),
        first_token_us: None,
        usage,
        usage_source: UsageSource::Provider,
        service_tier: tier.map(Into::into),
        cost: total,
        price_map: total.map(|_| exchange.prices_of(cost).into()),
        ..asked.clone()
    };
    book::enter(gateway, *is_direct, &record);
    let model = asked.model.as_deref().unwrap_or_default();
    if let Some(output) = usage.total_output() {
        gateway.limits.learn_output(model, output);
    }
    let more = held.settle(Amounts { tokens: usage.total().unwrap_or(0), cost: cost.map_or(0, |cost| cost.known()) });
    if more != Amounts::default() {
        gateway.limits.charge(admission::subjects_of(&gateway.limits, exchange.key.as_deref(), model), more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Kind, Limits, Period, Rule, What};

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
        let mut reservation = limits.admit(vec![bot], Amounts { tokens: 30, cost: 70 }).await.unwrap();
        reservation.outlast(beside);
        Held::new(Some(reservation))
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
    async fn what_nobody_asks_for_counts_as_expected() {
        let limits = limits();
        let held = outlasted(&limits, Amounts::default()).await;
        tokio::time::timeout(LONGEST, held.clone().wait()).await.unwrap();
        assert_eq!(standing(&limits), [(1, 0), (0, 0), (30, 0), (70, 0)]);
        // Whoever asks later pays the rest.
        assert_eq!(held.settle(Amounts { tokens: 20, cost: 90 }), Amounts { tokens: 0, cost: 20 });
        assert_eq!(standing(&limits), [(1, 0), (0, 0), (30, 0), (70, 0)]);
    }

    #[tokio::test]
    async fn what_is_lost_gives_back_what_it_holds() {
        let limits = limits();
        drop(outlasted(&limits, Amounts::default()).await);
        assert_eq!(standing(&limits), [(1, 0), (0, 0), (30, 0), (0, 0)]);
    }
}
