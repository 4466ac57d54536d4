//! What an attempt consumed: as the provider reported it, or estimated where it could not or did not.
//!
//! An estimate takes the input from what the provider reported early (Anthropic does), else from the prompt's length, and
//! the output from the text that has passed, which is counted by a tokenizer on a thread of its own when the exchange is over.
//! An attempt that ended well and reported its usage never comes here.
//!
//! Here is also decided by which target's prices that is billed ([`Exchange::answering`], [`Attempt::answering`]).

use std::sync::Arc;

use ai_gateway_providers::answer::{AnswerForm, Heard, Observer, Seen};
use ai_gateway_providers::price::Cost;
use ai_gateway_providers::usage::Usage;
use ai_gateway_providers::{Dialect, Operation};

use crate::ledger::{CHARGED, UsageSource};
use crate::proxy::Exchange;
use crate::proxy::attempt::outcome::Outcome;
use crate::proxy::attempt::{Attempt, resume};
use crate::proxy::replay::Replay;
use crate::proxy::waiting::aside::later;
use crate::snapshot::Target;

/// What one attempt consumed.
#[derive(Debug, Default)]
pub struct Consumed {
    /// In disjoint buckets; `None`: nothing that is known of.
    pub usage: Option<Usage>,
    /// Where that comes from.
    pub source: UsageSource,
    /// The model that the answer named.
    pub model: Option<String>,
    /// The service tier that it named.
    pub tier: Option<String>,
    /// The target that gave it in place of the one that was asked.
    stand_in: Option<Arc<Target>>,
    /// What the output is still to be counted by.
    uncounted: Option<Heard>,
}

impl Consumed {
    /// Of an answer that never ended or ended without a word about its usage: `prompt` tokens went in, if nothing else is known.
    fn estimated(reported: Option<Usage>, prompt: Option<u64>, heard: Option<Heard>) -> Self {
        let mut usage = reported.unwrap_or_default();
        if usage.total_input().is_none() {
            usage.input = prompt;
        }
        let usage = (usage != Usage::default() || heard.is_some()).then_some(usage);
        let source = if usage.is_some() { UsageSource::Estimated } else { UsageSource::None };
        Self { usage, source, uncounted: heard, ..Self::default() }
    }

    fn reported(usage: Usage) -> Self {
        Self { usage: Some(usage), source: told_by_provider(&usage), ..Self::default() }
    }

    fn count(&mut self, tokens: u64) {
        let usage = self.usage.get_or_insert_default();
        let known = usage.total_output().unwrap_or(0);
        usage.output = Some(usage.output.unwrap_or(0).saturating_add(tokens.max(1).saturating_sub(known)));
    }
}

/// Where usage comes from that an observer has: it counts pictures itself, and the gateway characters.
fn told_by_provider(usage: &Usage) -> UsageSource {
    if usage.told().is_some() { UsageSource::Provider } else { UsageSource::Estimated }
}

/// What a request's own record says it consumed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bill {
    usage: Option<Usage>,
    source: UsageSource,
    /// `None`: not known.
    cost: Option<Cost>,
}

impl Exchange {
    /// What the current attempt has consumed, if that has to be estimated.
    fn estimate(&self) -> Option<Consumed> {
        if self.is_unfinished() {
            return None;
        }
        let attempt = self.attempt()?;
        let operation = self.operation()?;
        let has_tokens = matches!(operation, Operation::Chat | Operation::Completions | Operation::Embeddings);
        if !has_tokens || !attempt.was_sent() || attempt.status.is_some_and(|status| !(200..300).contains(&status)) {
            return None;
        }
        let observer = self.upstream_answer.observer.as_ref().filter(|_| !resume::is_asking(self));
        let seen = observer.map(Observer::seen);
        // Some providers fill in zeros where they do not count.
        let reported = observer.and_then(Observer::own_usage).filter(|usage| usage.total() != Some(0));
        let whole = seen.is_some_and(|seen| seen.complete || (seen.usage_is_final && reported.is_some()));
        if whole && (reported.is_some() || self.upstream_answer.form == AnswerForm::Opaque) {
            return None;
        }
        let began = seen.is_some_and(|seen| seen.first_output || seen.complete);
        if (!began && !self.client_left) || (reported.is_none() && self.says_only_an_error()) {
            // What fails before it has said anything is not charged for, unless the provider says so.
            return None;
        }
        let heard = observer.filter(|observer| {
            let said = observer.heard().bytes() > 0 || (observer.seen().first_output && self.resume.is_none());
            said && operation != Operation::Embeddings
        });
        let prompt = self.request.as_ref().and_then(|request| request.prompt_tokens());
        let consumed = Consumed::estimated(reported, prompt, heard.map(|observer| observer.heard().clone()));
        let consumed = match seen {
            Some(seen) => self.as_told(consumed, attempt, seen),
            None => consumed,
        };
        consumed.usage.is_some().then_some(consumed)
    }

    /// Notes what the current attempt has consumed, before its observer is given up or goes on with another.
    pub fn keep_consumed(&mut self) {
        let Some(attempt) = self.attempt().filter(|attempt| attempt.consumed.is_none()) else { return };
        let reported = || {
            let observer = self.upstream_answer.observer.as_ref().filter(|_| !resume::is_asking(self))?;
            Some(self.as_told(Consumed::reported(observer.own_usage()?), attempt, observer.seen()))
        };
        // Where nothing had been said counts only what the provider itself says it charges for.
        let blocked = self.upstream_answer.observer.as_ref().is_some_and(|observer| observer.seen().is_blocked());
        let estimated = self.estimate().filter(|consumed| consumed.uncounted.is_some() && !blocked);
        let consumed = estimated.or_else(reported);
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.consumed = consumed.map(Box::new);
        }
    }

    /// Whether there is nothing but an error in the answer, which has a beginning and an end, too.
    pub fn says_only_an_error(&self) -> bool {
        self.upstream_answer.observer.as_ref().is_some_and(|observer| {
            observer.seen().error.is_some()
                && (self.upstream_answer.form == AnswerForm::Json || observer.heard().bytes() == 0)
        })
    }

    /// Whether the request's usage has to be estimated. `false` for nearly all.
    pub fn lacks_usage(&self) -> bool {
        self.estimate().is_some()
    }

    /// Whether what an attempt before the last one has said is still to be counted.
    pub fn has_uncounted(&self) -> bool {
        let mut consumed = self.attempts.iter().filter_map(|attempt| attempt.consumed.as_ref());
        consumed.any(|consumed| consumed.uncounted.is_some())
    }

    /// Estimates at the end of the exchange what no provider told: what has been said is still to be counted.
    pub fn keep_estimate(&mut self) {
        if self.attempt().is_some_and(|attempt| attempt.consumed.is_none())
            && let Some(consumed) = self.estimate()
            && let Some(attempt) = self.attempts.last_mut()
        {
            attempt.consumed = Some(Box::new(consumed));
        }
    }

    /// Counts what has been said.
    pub async fn count_tokens(&mut self) {
        let uncounted = |attempt: &mut Attempt| attempt.consumed.as_mut()?.uncounted.take();
        let texts: Vec<(usize, Heard)> = (0..)
            .zip(&mut self.attempts)
            .filter_map(|(index, attempt)| uncounted(attempt).map(|heard| (index, heard)))
            .collect();
        if texts.is_empty() {
            return;
        }
        let rough: Vec<(usize, u64)> = texts.iter().map(|(index, heard)| (*index, heard.bytes().div_ceil(4))).collect();
        let counting = move || texts.iter().map(|(index, heard)| (*index, heard.tokens())).collect();
        let counts: Vec<(usize, u64)> = later(counting).await.unwrap_or(rough);
        for (index, tokens) in counts {
            if let Some(consumed) = self.attempts.get_mut(index).and_then(|attempt| attempt.consumed.as_mut()) {
                consumed.count(tokens);
            }
        }
    }

    /// What `attempt`, one of two that ran at the same time, consumed when it was given up: what its provider had told by then, else the
    /// prompt.
    pub fn consumed_by_loser(&self, attempt: &Attempt, outcome: Outcome, told: &Seen) -> Option<Box<Consumed>> {
        let given_up = matches!(outcome, Outcome::Hedged | Outcome::ClientLeft);
        let prompt = self.request.as_ref().and_then(|request| request.prompt_tokens()).filter(|_| given_up);
        let reported = if given_up { self.with_pieces(told.usage) } else { told.usage };
        let consumed = match reported {
            Some(usage) => Consumed::reported(usage),
            None => Consumed::estimated(None, prompt, None),
        };
        consumed.usage.is_some().then(|| Box::new(self.as_told(consumed, attempt, told)))
    }

    /// The same, by whom and at which tier the answer of `attempt` tells that it was given.
    fn as_told(&self, consumed: Consumed, attempt: &Attempt, seen: &Seen) -> Consumed {
        let stand_in = self.stand_in(attempt, seen.model.as_deref());
        Consumed { model: seen.model.clone(), tier: seen.service_tier.clone(), stand_in, ..consumed }
    }

    /// What the request's own record says it consumed: the current attempt's part.
    pub fn consumed(&self) -> (Option<Usage>, UsageSource) {
        if let Some(booked) = &self.account.bill {
            return (booked.usage, booked.source);
        }
        if self.is_unfinished() {
            return (None, UsageSource::Pending);
        }
        if let Some(consumed) = self.attempt().and_then(|attempt| attempt.consumed.as_deref()) {
            return (consumed.usage, consumed.source);
        }
        let observer = self.upstream_answer.observer.as_ref().filter(|_| !resume::is_asking(self));
        let told = observer.and_then(Observer::own_usage);
        let usage = if self.is_answered() { self.with_pieces(told) } else { told };
        let source = match usage.as_ref().map_or(UsageSource::None, told_by_provider) {
            UsageSource::Provider if self.drained() => UsageSource::Drained,
            source => source,
        };
        (usage, source)
    }

    /// Whether what was asked for is being given, by an attempt and at a price.
    fn is_answered(&self) -> bool {
        let status = self.attempt().and_then(|attempt| attempt.status);
        let seen = self.upstream_answer.observer.as_ref().map(Observer::seen);
        status.is_some_and(|status| (200..300).contains(&status))
            && seen.is_some_and(|seen| (seen.first_output || seen.complete) && seen.error.is_none())
            && self.operation().is_some_and(Operation::costs)
            && !self.is_unfinished()
    }

    /// What an answer consumed of which `told` is told in it: of speech the text is billed.
    pub fn with_pieces(&self, told: Option<Usage>) -> Option<Usage> {
        let characters = self.account.pieces.characters;
        if characters.is_none() { told } else { Some(Usage { characters, ..told.unwrap_or_default() }) }
    }

    /// What it consumed and what that cost.
    pub fn bill(&self) -> Bill {
        let (usage, source) = self.consumed();
        Bill { usage, source, cost: self.price_of(usage) }
    }

    /// What it cost, in pico-dollars; `None`: not known.
    pub fn cost(&self) -> Option<u64> {
        self.cost_in_parts()?.total()
    }

    /// What it cost; `None`: nothing is known of that.
    pub fn cost_in_parts(&self) -> Option<Cost> {
        match &self.account.bill {
            Some(booked) => booked.cost,
            None => self.price_of(self.consumed().0),
        }
    }

    fn price_of(&self, usage: Option<Usage>) -> Option<Cost> {
        // A request may have a price, whatever is told of its usage.
        let usage = usage.or_else(|| self.is_answered().then(Usage::default))?;
        let tier = self.upstream_answer.observer.as_ref().and_then(|observer| observer.seen().service_tier.as_deref());
        self.answering()?.cost(&usage, tier)
    }

    /// The target whose answer the current attempt's is, and whose prices it has: see `Attempt::answering`.
    pub fn answering(&self) -> Option<Arc<Target>> {
        let attempt = self.attempt()?;
        let observer = self.upstream_answer.observer.as_ref();
        let observer = observer.filter(|_| attempt.consumed.is_none() && !resume::is_asking(self));
        let stand_in = observer.and_then(|observer| self.stand_in(attempt, observer.seen().model.as_deref()));
        Some(stand_in.unwrap_or_else(|| attempt.answering().clone()))
    }

    /// The model that Anthropic has asked in place of the one of `attempt` (`fallbacks`), if it is this one that the answer has `named`.
    fn stand_in(&self, attempt: &Attempt, named: Option<&str>) -> Option<Arc<Target>> {
        let request = self.request.as_ref().filter(|request| request.scan.fallbacks)?;
        let both = [self.dialect(), attempt.encoded.route.dialect] == [Dialect::Anthropic; 2];
        let (asked, named) = (&attempt.target, named.filter(|_| both)?);
        // With a date it is the same.
        let is_asked = named.strip_prefix(&*asked.model).is_some_and(|rest| rest.is_empty() || rest.starts_with("-20"));
        if is_asked { None } else { self.snapshot.target_of(&request.model, &asked.provider.name, named) }
    }

    /// Names the prices by which something cost that, for records.
    pub fn prices_of(&self, cost: Option<Cost>) -> &str {
        if cost.is_some_and(|cost| cost.charged) { CHARGED } else { self.snapshot.price_map() }
    }

    /// Whether the client left and the answer was read all the same.
    pub fn drained(&self) -> bool {
        self.replay.as_ref().is_some_and(Replay::drains)
    }
}

impl Attempt {
    /// The target whose answer this is, as far as what it [consumed](Self::consumed) tells, and whose prices it has: the one that was asked, or
    /// the model that its provider has asked in its place.
    pub fn answering(&self) -> &Arc<Target> {
        let stand_in = self.consumed.as_ref().and_then(|consumed| consumed.stand_in.as_ref());
        stand_in.unwrap_or(&self.target)
    }

    /// What it consumed cost; `None`: nothing is known of that.
    pub fn cost(&self) -> Option<Cost> {
        let consumed = self.consumed.as_deref()?;
        self.answering().cost(&consumed.usage?, consumed.tier.as_deref())
    }
}
