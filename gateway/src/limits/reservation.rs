//! What a request under way is expected to use.

use std::sync::Arc;

use super::elsewhere::{Change, HeldElsewhere};
use super::meter::{Amounts, Claim, Meter, What};
use super::subject::Place;
use super::{Limits, Standing};

/// A request that was let in. Dropped without [`Self::settle`], it gives back what it reserved; that it came stays counted.
#[derive(Debug)]
pub struct Reservation {
    limits: Arc<Limits>,
    pub(super) places: Vec<Place>,
    pub(super) claim: Claim,
    /// Nothing is counted here: another process holds it all.
    elsewhere: Option<HeldElsewhere>,
    /// What the request was let in with, if this is of its amounts alone.
    first: Option<Box<Self>>,
    /// The request has ended, and what it has used is not known yet.
    pub(super) is_over: bool,
    /// How the client stands with its limits, this request included.
    pub standing: Standing,
}

impl Reservation {
    pub(super) fn new(limits: Arc<Limits>, places: Vec<Place>, claim: Claim, standing: Standing) -> Self {
        Self { limits, places, claim, elsewhere: None, first: None, is_over: false, standing }
    }

    /// What another process holds.
    pub(super) fn elsewhere(limits: Arc<Limits>, there: HeldElsewhere, claim: Claim, standing: Standing) -> Self {
        let mut reservation = Self::new(limits, Vec::new(), claim, standing);
        reservation.elsewhere = Some(there);
        reservation
    }

    /// What is counted at `places` already.
    pub(super) fn held(limits: Arc<Limits>, places: Vec<Place>, claim: Claim, is_over: bool) -> Self {
        let mut reservation = Self::new(limits, places, claim, Standing::default());
        reservation.is_over = is_over;
        reservation
    }

    /// Holds from now on also what the request was let in with.
    #[must_use]
    pub fn after(mut self, first: Option<Self>) -> Self {
        self.first = first.map(Box::new);
        self
    }

    /// What it reserves.
    pub fn amounts(&self) -> Amounts {
        self.claim.amounts
    }

    /// It is none of those at the same time any more; what it has used is settled later.
    pub fn make_room(&mut self) {
        self.tell(Change::MakeRoom);
        self.change(|meter, knows_it, _| {
            if knows_it && meter.rule.what == What::Concurrent {
                meter.leave(self.claim.of(What::Concurrent));
            }
        });
        self.claim.requests = 0;
    }

    /// The request has ended, and nobody knows yet what it has used, which [`Self::settle`] tells later; `beside` was used in any
    /// case. Its tokens count as expected, and leave with their windows; what it may cost stays reserved; and it is none of those
    /// at the same time any more.
    pub fn outlast(&mut self, beside: Amounts) {
        self.tell(Change::Outlast(beside));
        self.change(|meter, knows_it, now| {
            let what = meter.rule.what;
            if knows_it && what != What::Cost {
                meter.leave(self.claim.of(what));
            }
            let tokens = self.claim.amounts.tokens;
            meter.spend(beside.plus(Amounts { tokens, cost: 0 }).of(what), now);
        });
        self.is_over = true;
        self.first = None;
    }

    /// The request has ended and has used so much.
    pub fn settle(mut self, used: Amounts) {
        self.leave(used);
        self.places.clear();
        self.elsewhere = None;
    }

    fn tell(&self, change: Change) {
        if let Some(there) = &self.elsewhere {
            there.change(change);
        }
    }

    fn leave(&self, used: Amounts) {
        self.tell(Change::Settle(used));
        let counted = if self.is_over { Amounts { cost: 0, ..self.claim.amounts } } else { Amounts::default() };
        let used = used.minus(counted);
        self.change(|meter, knows_it, now| {
            let what = meter.rule.what;
            if knows_it && (what == What::Cost || !self.is_over) {
                meter.leave(self.claim.of(what));
            }
            meter.spend(used.of(what), now);
        });
    }

    /// Changes all meters, each of which knows the request or was there too late for that.
    fn change(&self, change: impl Fn(&mut Meter, bool, u64)) {
        let now = if self.places.is_empty() { 0 } else { self.limits.now() };
        // What several instances have used together is known when the store is asked.
        let warns = self.limits.store_in_reach().is_none();
        for Place { subject, meters: count } in &self.places {
            let mut passed = Vec::new();
            for (place, meter) in subject.meters().iter_mut().enumerate() {
                change(meter, place < *count, now);
                if warns && meter.warns(meter.booked(), now) {
                    passed.push(meter.rule);
                }
            }
            passed.iter().for_each(|rule| super::warn(subject, rule));
            if let Some(shared) = self.limits.shared.get() {
                shared.queue(subject);
            }
            subject.freed.notify_waiters();
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.leave(Amounts::default());
    }
}
