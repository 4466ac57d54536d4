//! What an attempt consumed: as the provider reported it, or estimated where it could not or did not.
//!
//! An estimate takes the input from what the provider reported early (Anthropic does), else from the prompt's length, and
//! the output from the text that has passed, which is counted by a tokenizer: of a whole answer before its last byte leaves, else on
//! a thread of its own when the exchange is over. What is billed by the piece is taken to have been made as it was asked for.
//! An attempt that ended well and reported its usage never comes here.
//!
//! Here is also decided by which target's prices that is billed ([`Consumed::by`]).

use std::borrow::Cow;
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
use crate::proxy::request::weight::Weights;
use crate::proxy::waiting::aside::{in_place, later};
use crate::snapshot::Target;

/// What one attempt consumed, by whom and at which tier, as far as its answer tells.
#[derive(Debug, Default)]
pub struct Consumed<'a> {
    /// In disjoint buckets; `None`: nothing that is known of.
    pub usage: Option<Usage>,
    /// Where that comes from.
    pub source: UsageSource,
    /// The model that the answer named.
    pub model: Option<Cow<'a, str>>,
    /// The service tier that it named.
    pub tier: Option<Cow<'a, str>>,
    /// The target that gave it in place of the one that was asked.
    stand_in: Option<Arc<Target>>,
    /// What the output is still to be counted by.
    uncounted: Option<Heard>,
}

impl<'a> Consumed<'a> {
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

    /// The target whose answer it is, and whose prices it has: the one that was `asked`, or the model that its provider has asked in
    /// its place.
    pub fn by<'t>(&'t self, asked: &'t Target) -> &'t Target {
        self.stand_in.as_deref().unwrap_or(asked)
    }

    /// The provider's name of that target's model.
    pub fn upstream_model(&self, asked: &'a Target) -> Cow<'a, str> {
        match &self.stand_in {
            Some(target) => target.model.to_string().into(),
            None => (&*asked.model).into(),
        }
    }

    /// What it cost; `None`: nothing is known of that.
    pub fn cost(&self, asked: &Target) -> Option<Cost> {
        self.by(asked).cost(&self.usage?, self.tier.as_deref())
    }

    /// The same, to be told.
    pub fn as_told(&self) -> Consumed<'_> {
        Consumed {
            model: self.model.as_deref().map(Cow::Borrowed),
            tier: self.tier.as_deref().map(Cow::Borrowed),
            stand_in: self.stand_in.clone(),
            uncounted: None,
            ..*self
        }
    }

    /// The same, to be kept when its observer is no more.
    fn kept(self) -> Box<Consumed<'static>> {
        let owned = |name: Cow<'_, str>| Cow::Owned(name.into_owned());
        let Self { usage, source, model, tier, stand_in, uncounted } = self;
        Box::new(Consumed { usage, source, model: model.map(owned), tier: tier.map(owned), stand_in, uncounted })
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
    fn estimate(&self) -> Option<Consumed<'_>> {
        if self.is_unfinished() {
            return None;
        }
        let attempt = self.attempt()?;
        let operation = self.operation()?;
        if !operation.costs()
            || !attempt.was_sent()
            || attempt.status.is_some_and(|status| !(200..300).contains(&status))
        {
            return None;
        }
        let observer = self.own_observer();
        let seen = observer.map(Observer::seen);
        // Some providers fill in zeros where they do not count.
        let reported = observer.and_then(Observer::own_usage).filter(|usage| usage.total() != Some(0));
        let whole = seen.is_some_and(|seen| seen.complete || (seen.usage_is_final && reported.is_some()));
        if whole && (reported.is_some() || self.upstream_answer.form == AnswerForm::Opaque) {
            return None;
        }
        let left = self.client_left || self.drained();
        if !matches!(operation, Operation::Chat | Operation::Completions | Operation::Embeddings) {
            // Whether the client is there or not, its provider makes the whole of it.
            let told = reported.is_some_and(|usage| usage.told().is_some());
            let is_lost = left && !told && seen.is_none_or(|seen| !seen.complete);
            return is_lost.then(|| Consumed::estimated(Some(self.asked_for(&attempt.target)), None, None));
        }
        let began = seen.is_some_and(|seen| seen.first_output || seen.complete);
        if (!began && !left) || (reported.is_none() && self.says_only_an_error()) {
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
            Some(seen) => self.told_by(seen, Some(attempt), consumed),
            None => consumed,
        };
        consumed.usage.is_some().then_some(consumed)
    }

    /// What becomes of a request that is not billed by the tokens of a text, if it is answered: in pieces or in tokens, whichever of
    /// them `target` has a price for, or is dearer.
    fn asked_for(&self, target: &Target) -> Usage {
        let (asked, pieces) = (self.account.expected.asked(), self.account.pieces);
        let in_pieces = Usage { audio_input_ms: asked.audio_input_ms, ..pieces.usage() };
        let made = Weights::USUAL.made(pieces).unwrap_or_default();
        let in_tokens = Usage { search_units: None, ..asked.plus(&pieces.usage()).plus(&made) };
        let cost = |usage: &Usage| target.cost(usage, None).map_or(0, |cost| cost.known());
        if cost(&in_tokens) > cost(&in_pieces) { in_tokens } else { in_pieces }
    }

    /// Notes what the current attempt has consumed, before its observer is given up or goes on with another.
    pub fn keep_consumed(&mut self) {
        let Some(attempt) = self.attempt().filter(|attempt| attempt.consumed.is_none()) else { return };
        let reported = || {
            let observer = self.own_observer()?;
            Some(self.told_by(observer.seen(), Some(attempt), Consumed::reported(observer.own_usage()?)))
        };
        // Where nothing had been said counts only what the provider itself says it charges for.
        let blocked = self.seen().is_some_and(Seen::is_blocked);
        let estimated = self.estimate().filter(|consumed| consumed.uncounted.is_some() && !blocked);
        let consumed = estimated.or_else(reported).map(Consumed::kept);
        if let Some(attempt) = self.attempt_mut() {
            attempt.consumed = consumed;
        }
    }

    /// Whether there is nothing but an error in the answer, which has a beginning and an end, too.
    pub fn says_only_an_error(&self) -> bool {
        self.observer().is_some_and(|observer| {
            observer.seen().error.is_some()
                && (self.upstream_answer.form == AnswerForm::Json || observer.heard().bytes() == 0)
        })
    }

    /// Whether it is known what the request has consumed, as it is for nearly all. What a whole answer has said is counted, where its
    /// provider does not tell.
    pub fn knows_usage(&mut self) -> bool {
        if self.attempt().is_some_and(|attempt| attempt.consumed.is_some()) {
            return true;
        }
        let Some(mut consumed) = self.estimate() else { return true };
        if !self.own_observer().is_some_and(|observer| observer.seen().complete) {
            return false;
        }
        if let Some(heard) = consumed.uncounted.take() {
            consumed.count(in_place(|| heard.tokens()));
        }
        let consumed = consumed.kept();
        if let Some(attempt) = self.attempt_mut() {
            attempt.consumed = Some(consumed);
        }
        true
    }

    /// Whether what an attempt before the last one has said is still to be counted.
    pub fn has_uncounted(&self) -> bool {
        let mut consumed = self.attempts.iter().filter_map(|attempt| attempt.consumed.as_ref());
        consumed.any(|consumed| consumed.uncounted.is_some())
    }

    /// Estimates at the end of the exchange what no provider told: what has been said is still to be counted.
    pub fn keep_estimate(&mut self) {
        if self.attempt().is_some_and(|attempt| attempt.consumed.is_none())
            && let Some(consumed) = self.estimate().map(Consumed::kept)
            && let Some(attempt) = self.attempt_mut()
        {
            attempt.consumed = Some(consumed);
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
    pub fn consumed_by_loser(
        &self,
        attempt: &Attempt,
        outcome: Outcome,
        told: &Seen,
    ) -> Option<Box<Consumed<'static>>> {
        let given_up = matches!(outcome, Outcome::Hedged | Outcome::ClientLeft);
        let prompt = self.request.as_ref().and_then(|request| request.prompt_tokens()).filter(|_| given_up);
        let reported = if given_up { self.with_pieces(told.usage) } else { told.usage };
        let consumed = match reported {
            Some(usage) => Consumed::reported(usage),
            None => Consumed::estimated(None, prompt, None),
        };
        consumed.usage.is_some().then(|| self.told_by(told, Some(attempt), consumed).kept())
    }

    /// The same, by whom and at which tier the answer of `attempt` tells that it was given.
    fn told_by<'a>(&self, seen: &'a Seen, attempt: Option<&Attempt>, consumed: Consumed<'a>) -> Consumed<'a> {
        let stand_in = attempt.and_then(|attempt| self.stand_in(attempt, seen.model.as_deref()));
        let (model, tier) = (seen.model.as_deref(), seen.service_tier.as_deref());
        Consumed { model: model.map(Cow::Borrowed), tier: tier.map(Cow::Borrowed), stand_in, ..consumed }
    }

    /// What has seen the current attempt's answer.
    fn own_observer(&self) -> Option<&Observer> {
        self.observer().filter(|_| !resume::is_asking(self))
    }

    /// What the request's own record says it consumed: the current attempt's part.
    pub fn consumed(&self) -> Consumed<'_> {
        match &self.account.bill {
            Some(bill) => Consumed { usage: bill.usage, source: bill.source, ..self.consumed_by_now() },
            None => self.consumed_by_now(),
        }
    }

    fn consumed_by_now(&self) -> Consumed<'_> {
        let is_unfinished = self.is_unfinished();
        let kept = self.attempt().and_then(|attempt| attempt.consumed.as_deref());
        if let Some(kept) = kept.filter(|_| !is_unfinished) {
            return kept.as_told();
        }
        let told = self.own_observer().and_then(Observer::own_usage);
        let usage = if self.is_answered() { self.with_pieces(told) } else { told };
        let consumed = match usage {
            _ if is_unfinished => Consumed { source: UsageSource::Pending, ..Consumed::default() },
            None => Consumed::default(),
            Some(usage) => {
                let consumed = Consumed::reported(usage);
                let drained = consumed.source == UsageSource::Provider && self.drained();
                if drained { Consumed { source: UsageSource::Drained, ..consumed } } else { consumed }
            }
        };
        match self.own_observer() {
            Some(observer) => self.told_by(observer.seen(), self.attempt(), consumed),
            None => consumed,
        }
    }

    /// Whether what was asked for is being given, by an attempt and at a price.
    fn is_answered(&self) -> bool {
        let status = self.attempt().and_then(|attempt| attempt.status);
        let seen = self.seen();
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
        let consumed = self.consumed_by_now();
        Bill { usage: consumed.usage, source: consumed.source, cost: self.cost_of(consumed) }
    }

    /// What it cost, in pico-dollars; `None`: not known.
    pub fn cost(&self) -> Option<u64> {
        self.cost_in_parts()?.total()
    }

    /// What it cost; `None`: nothing is known of that.
    pub fn cost_in_parts(&self) -> Option<Cost> {
        if let Some(bill) = &self.account.bill {
            return bill.cost;
        }
        self.cost_of(self.consumed_by_now())
    }

    fn cost_of(&self, consumed: Consumed<'_>) -> Option<Cost> {
        // A request may have a price, whatever is told of its usage.
        let usage = consumed.usage.or_else(|| self.is_answered().then(Usage::default));
        Consumed { usage, ..consumed }.cost(&self.attempt()?.target)
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
