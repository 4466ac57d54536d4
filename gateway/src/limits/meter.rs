//! One limit of one subject, and what was counted against it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::period::{NEVER, Period};
use super::subject::MeterUsage;

/// How long to stay away when room depends on requests that are under way: milliseconds.
pub(super) const WHILE_OTHERS_RUN: u64 = 1_000;

/// By how much a moment may be before one that was seen already: threads read the clock before they wait for a lock.
const OUT_OF_ORDER: u64 = 1_000;

/// The most that one request counts: four thousand dollars, or as many million million tokens.
const MOST: u64 = 1 << 52;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Requests, when they come.
    Requests,
    /// Tokens, input and output together.
    Tokens,
    /// Requests at the same time.
    Concurrent,
    /// Pico-dollars.
    Cost,
}

impl What {
    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Concurrent => "concurrent",
            Self::Cost => "budget",
        }
    }
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What it counts.
    pub what: What,
    /// In which time; of no meaning for [`What::Concurrent`].
    pub period: Period,
    /// The most.
    pub limit: u64,
    /// From where on a warning is due; equal to the limit: never before it.
    pub soft: u64,
}

impl Rule {
    /// In which time it counts, as it is told; `None` for [`What::Concurrent`].
    pub fn per(&self) -> Option<String> {
        (self.what != What::Concurrent).then(|| self.period.to_string())
    }

    /// Whether both count the same in the same time: a subject has one meter for them.
    pub(super) fn counts_as(&self, other: &Self) -> bool {
        self.what == other.what && self.period == other.period
    }
}

/// What a request is expected to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// Tokens, input and output together.
    pub tokens: u64,
    /// Pico-dollars; 0 where there is no price.
    pub cost: u64,
}

impl Amounts {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { tokens: self.tokens.saturating_add(other.tokens), cost: self.cost.saturating_add(other.cost) }
    }

    /// What is more of it than of the other.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self { tokens: self.tokens.saturating_sub(other.tokens), cost: self.cost.saturating_sub(other.cost) }
    }

    /// Clients name `max_tokens` and providers usage: no number of theirs is too large for the store's sums.
    pub(super) fn of(self, what: What) -> u64 {
        match what {
            What::Requests | What::Concurrent => 0,
            What::Tokens => self.tokens.min(MOST),
            What::Cost => self.cost.min(MOST),
        }
    }
}

/// What is asked of limits: to count a request, and room for what it is expected to use.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// What it is expected to use.
    pub(super) amounts: Amounts,
    /// As how many requests it counts: as none where it is let in already, or has made room.
    pub(super) requests: u64,
}

impl Claim {
    /// For a request that comes, or an attempt.
    pub const fn request(amounts: Amounts) -> Self {
        Self { amounts, requests: 1 }
    }

    /// For so much more of a request that holds a reservation: it is not counted again, and waits before all who are not let in
    /// yet, some of them perhaps for its own end. The caller joins the two ([`Reservation::after`](super::Reservation::after)).
    pub const fn more(amounts: Amounts) -> Self {
        Self { amounts, requests: 0 }
    }

    pub(super) fn of(self, what: What) -> u64 {
        match what {
            What::Requests | What::Concurrent => self.requests,
            what => self.amounts.of(what),
        }
    }

    /// Whether it is more than the whole of a limit: it passes where nothing else counts, and whoever waited for that would hold up
    /// others that have room.
    pub(super) fn exceeds(self, rule: &Rule) -> bool {
        rule.what != What::Cost && self.of(rule.what) > rule.limit
    }
}

/// A [`Rule`] with what was counted.
///
/// `booked` is what was used, `reserved` what requests under way are expected to use. Requests, tokens and concurrency are let
/// in if the sum stays within the limit. A budget lets in while anything is left of it, so that its sum passes the limit by
/// less than one request.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) rule: Rule,
    /// Whether the configuration still has it. One that it has no more goes on counting and never refuses.
    pub(super) in_force: bool,
    /// What was used up to this moment is not counted.
    pub(super) since: u64,
    /// Until when, and how much; sorted, at most 61.
    pub(super) booked: VecDeque<(u64, u64)>,
    sum: u64,
    /// The latest moment that it knows.
    seen: u64,
    pub(super) reserved: u64,
    /// Requests whose bodies are on their way; only of [`What::Concurrent`].
    pub(super) uploads: u64,
    /// How much of `reserved` is held by another process: of requests that one before this finishes, or this one after it.
    pub(super) foreign: u64,
    /// All that this process ever booked, to tell the next one.
    pub(super) ever: u64,
    /// What the store has not been told: booked …
    pub(super) unsent: u64,
    /// … and by how much the reserved sum has changed.
    pub(super) unsent_reserved: i64,
    /// Until when nobody is warned again.
    pub(super) warned: u64,
}

impl Meter {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            rule,
            in_force: true,
            since: 0,
            booked: VecDeque::new(),
            sum: 0,
            seen: 0,
            reserved: 0,
            uploads: 0,
            foreign: 0,
            ever: 0,
            unsent: 0,
            unsent_reserved: 0,
            warned: 0,
        }
    }

    /// Forgets what no longer counts.
    pub(super) fn advance(&mut self, now: u64) {
        if now.saturating_add(OUT_OF_ORDER) < self.seen {
            self.set_back(now);
        }
        self.seen = self.seen.max(now);
        while let Some(&(ends, amount)) = self.booked.front()
            && ends <= now
        {
            self.sum = self.sum.saturating_sub(amount);
            self.booked.pop_front();
        }
    }

    /// The clock was set back: what was counted by the one before counts no longer than if it had happened now.
    fn set_back(&mut self, now: u64) {
        let latest = self.rule.period.ends(now);
        let mut later = 0_u64;
        while let Some((_, amount)) = self.booked.pop_back_if(|(ends, _)| *ends > latest) {
            later = later.saturating_add(amount);
        }
        self.sum = self.sum.saturating_sub(later);
        if later > 0 {
            self.count(latest, later);
        }
        self.seen = now;
        self.warned = self.warned.min(latest);
    }

    pub(super) fn used(&self) -> u64 {
        self.sum.saturating_add(self.reserved)
    }

    pub(super) fn booked(&self) -> u64 {
        self.sum
    }

    pub(super) fn usage(&self) -> MeterUsage {
        MeterUsage { rule: self.rule, booked: self.sum, reserved: self.reserved.saturating_add(self.uploads) }
    }

    /// Whether what is left of the limit is only held by requests under way.
    pub(super) fn is_held(&self, share: u64) -> bool {
        self.sum < self.limit(share)
    }

    /// The limit as this instance sees it when it has to make do with a share of 1 in `share`.
    pub(super) fn limit(&self, share: u64) -> u64 {
        (self.rule.limit / share).max(1)
    }

    /// Whether `amount` more is within the limit; else when it will be, as far as time alone makes room. A request larger
    /// than the whole limit passes when nothing else is counted.
    pub(super) fn check(&self, amount: u64, now: u64, share: u64) -> Result<(), u64> {
        let comes = !matches!(self.rule.what, What::Requests | What::Concurrent) || amount > 0;
        if !self.in_force || !comes {
            return Ok(());
        }
        let limit = self.limit(share);
        let wanted = if self.rule.what == What::Cost { 1 } else { amount.min(limit) };
        let over = self.used().saturating_add(wanted).saturating_sub(limit);
        if over == 0 { Ok(()) } else { Err(self.room_for(over, now)) }
    }

    /// When `over` less will be counted: when it has ended, or soon, if requests under way may give back as much; where both are
    /// needed, not before so much has ended as they cannot give.
    fn room_for(&self, over: u64, now: u64) -> u64 {
        let soon = now.saturating_add(WHILE_OTHERS_RUN);
        if self.reserved >= over {
            return self.ended(over).map_or(soon, |ends| ends.min(soon));
        }
        self.ended(over).or_else(|| self.ended(over - self.reserved)).unwrap_or(NEVER)
    }

    /// When `amount` of what is booked will have ended.
    fn ended(&self, amount: u64) -> Option<u64> {
        let mut freed = 0_u64;
        self.booked.iter().find_map(|(ends, part)| {
            freed = freed.saturating_add(*part);
            (freed >= amount).then_some(*ends)
        })
    }

    /// Counts a request that is let in.
    pub(super) fn enter(&mut self, amount: u64, now: u64, tell: bool) {
        if self.rule.what == What::Requests {
            self.book(amount, now);
            self.unsent = self.unsent.saturating_add(if tell { amount } else { 0 });
        } else {
            self.reserved = self.reserved.saturating_add(amount);
            self.unsent_reserved = self.unsent_reserved.saturating_add(if tell { signed(amount) } else { 0 });
        }
    }

    /// A request has ended, or was not made after all: gives back what [`Self::enter`] reserved.
    pub(super) fn leave(&mut self, amount: u64) {
        if self.rule.what != What::Requests {
            self.reserved = self.reserved.saturating_sub(amount);
            self.unsent_reserved = self.unsent_reserved.saturating_sub(signed(amount));
        }
    }

    /// Counts what a request has used.
    pub(super) fn spend(&mut self, amount: u64, now: u64) {
        if matches!(self.rule.what, What::Tokens | What::Cost) {
            self.book(amount, now);
            self.unsent = self.unsent.saturating_add(amount);
        }
    }

    pub(super) fn book(&mut self, amount: u64, now: u64) {
        self.advance(now);
        if amount == 0 {
            return;
        }
        self.ever = self.ever.saturating_add(amount);
        self.count(self.rule.period.ends(now), amount);
    }

    /// Takes what the store has to be told: how much, by the moment until which it counts; it is the newest of what is booked.
    /// What has ended meanwhile counts nowhere any more.
    pub(super) fn take_unsent(&mut self, now: u64) -> Vec<(u64, u64)> {
        let mut left = std::mem::take(&mut self.unsent);
        self.advance(now);
        let newest_first = self.booked.iter().rev().map_while(|(ends, amount)| {
            let part = left.min(*amount);
            left -= part;
            (part > 0).then_some((*ends, part))
        });
        newest_first.collect()
    }

    /// Forgets what was counted, in favour of what another process knows.
    pub(super) fn clear(&mut self) {
        self.booked.clear();
        self.sum = 0;
    }

    /// Counts what was booked until `ends`, here or in another process.
    pub(super) fn count(&mut self, ends: u64, amount: u64) {
        self.sum = self.sum.saturating_add(amount);
        match self.booked.back_mut() {
            // Also if the clock was set back.
            Some((last, sum)) if *last >= ends => *sum = sum.saturating_add(amount),
            _ => self.booked.push_back((ends, amount)),
        }
    }

    /// Counts what was used at a time that may be over.
    pub(super) fn book_past(&mut self, amount: u64, at: u64, now: u64) {
        let ends = self.rule.period.ends(at.min(now));
        if amount == 0 || ends <= now || at <= self.since {
            return;
        }
        self.sum = self.sum.saturating_add(amount);
        let place = self.booked.partition_point(|(end, _)| *end < ends);
        match self.booked.get_mut(place) {
            Some((end, sum)) if *end == ends => *sum = sum.saturating_add(amount),
            _ => self.booked.insert(place, (ends, amount)),
        }
    }

    /// How long until nothing that counts now counts any more.
    pub(super) fn last_end(&self) -> Option<u64> {
        self.booked.back().map(|(ends, _)| *ends)
    }

    /// Whether it is time to warn of so much that was used: at most once in a window.
    pub(super) fn warns(&mut self, booked: u64, now: u64) -> bool {
        let due = self.in_force && self.rule.soft < self.rule.limit && booked >= self.rule.soft;
        if !due || now < self.warned {
            return false;
        }
        self.warned = match self.rule.period {
            Period::Sliding(window) => now.saturating_add(window),
            period => period.ends(now),
        };
        true
    }
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}
