//! Limits and budgets of a request: what it is expected to use is reserved before its first attempt, what it has used is booked
//! when it is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_gateway_providers::Operation;
use ai_gateway_providers::endpoint::Endpoint;
use ai_gateway_providers::error::{ApiError, ErrorKind};
use ai_gateway_providers::scan::RequestScan;
use ai_gateway_providers::usage::Usage;
use bytes::Bytes;
use http::HeaderValue;
use pingora_proxy::Session;

use crate::config::UNKNOWN_OUTPUT;
use crate::ledger::UsageSource;
use crate::limits::{self, Amounts, Claim, Kind, Limits, NEVER, Preview, Refused, Reservation, Subject, What};
use crate::proxy::account::consumed::Consumed;
use crate::proxy::attempt::Attempt;
use crate::proxy::reply::{Refusal, Stopped};
use crate::proxy::request::Request;
use crate::proxy::request::weight::{Weighed, Weights};
use crate::proxy::waiting::wait_for;
use crate::proxy::{Exchange, Gateway};
use crate::routing::Why;
use crate::snapshot::{Key, Model, Snapshot, Target};

/// Tokens reserved for an answer that the request does not bound, while nothing is known of the model's answers.
const UNBOUNDED_OUTPUT: u64 = 1_000;
/// A wait that is longer than this is not worth a client's automatic retry.
const LONG_WAIT: u64 = 60_000;

/// When a limit has room again that has none for as long as it is worth telling.
const NOT_SOON: Duration = Duration::from_secs(24 * 60 * 60);

/// What a request is expected to use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    /// Tokens of the prompt.
    pub prompt: u64,
    /// The most of an answer, as far as the request and what is known of its model's answers tell.
    output: u64,
    /// How many answers are asked for.
    choices: u64,
    /// The most that any of the model's targets can answer; `None`: of one it is not known.
    most_output: Option<u64>,
    /// Nothing but a guess: neither the request says how long its answer will be, nor what is known of its model's.
    output_is_guessed: bool,
    /// What the prompt's tokens and their price go by.
    weighed: Weighed,
}

impl Expected {
    /// What the prompt usually is, by kinds.
    pub fn asked(&self) -> Usage {
        self.weighed.usage(&Weights::USUAL)
    }

    fn tokens(&self) -> u64 {
        let longest = self.most_output.map_or(self.output, |most| most.min(self.output));
        self.prompt.saturating_add(longest.saturating_mul(self.choices))
    }
}

/// Reserves what the request may use, whose plan is known, and counts it, unless [`admit_free`] has. Where the configuration
/// lets requests wait for room, this waits.
///
/// # Errors
/// A limit is in its way, or the client left meanwhile.
pub async fn admit(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<(), Stopped> {
    admit_for(gateway, session, exchange, expected).await
}

/// Counts a request that needs no call, or of which that is not known yet, once: it takes no tokens and no money.
///
/// # Errors
/// As [`admit`].
pub async fn admit_free(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<(), Stopped> {
    if exchange.account.reservation.is_some() {
        return Ok(());
    }
    admit_for(gateway, session, exchange, |_| Amounts::default()).await
}

async fn admit_for(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
    amounts: impl Fn(&Exchange) -> Amounts,
) -> Result<(), Stopped> {
    let subjects = subjects(&gateway.limits, exchange);
    if subjects.is_empty() {
        return Ok(());
    }
    let amounts = amounts(exchange);
    let is_counted = exchange.account.reservation.is_some();
    let claim = if is_counted { Claim::more(amounts) } else { Claim::request(amounts) };
    let limits = &gateway.limits;
    let priority = exchange.key.as_ref().map_or(0, |key| key.priority());
    let waited = exchange.account.waited;
    let is_stored = exchange.operation() == Some(Operation::Stored);
    let admission = async {
        if is_stored && !is_counted {
            limits.admit(subjects, claim).await
        } else {
            limits.admit_in_turn(subjects, claim, priority, waited).await
        }
    };
    let admitted = if limits.lets_wait() {
        let begun = Instant::now();
        let admitted = wait_for(&mut session.downstream_session, &gateway.ending, admission).await;
        // What it asks for next is not waited for as long once more.
        exchange.account.waited += begun.elapsed();
        admitted.map_err(|given_up| given_up.told(exchange))?
    } else {
        admission.await
    };
    match admitted {
        Ok(reservation) => {
            exchange.account.standing = reservation.standing;
            exchange.account.reservation = Some(reservation.after(exchange.account.reservation.take()));
            Ok(())
        }
        // It uses neither, and may tell what an answer has used that holds what is left.
        Err(refusal) if is_stored && matches!(refusal.refused.rule.what, What::Tokens | What::Cost) => Ok(()),
        Err(refusal) => Err(refuse(limits, exchange, &refusal).into()),
    }
}

/// What the client is told of a limit that is in its way, which counts as one that was refused for it.
pub fn refuse(limits: &Limits, exchange: &mut Exchange, refusal: &limits::Refusal) -> Refusal {
    exchange.account.standing = refusal.standing;
    limits.count_rejection(&refusal.refused);
    tell(&refusal.refused, limits.now())
}

/// The limits that [`admit`] would check of the request, which counts nowhere for that.
pub fn preview(exchange: &Exchange) -> Vec<Preview> {
    let limits = &exchange.snapshot.limits;
    limits.preview(subjects(limits, exchange), Claim::request(expected(exchange)))
}

/// What [`admit`] would tell the client; `None`: it would let it in, if need be after a wait.
pub fn refusal(exchange: &Exchange) -> Option<Refusal> {
    refusal_for(exchange, expected(exchange))
}

/// What [`admit_free`] would tell the client.
pub fn refusal_free(exchange: &Exchange) -> Option<Refusal> {
    refusal_for(exchange, Amounts::default())
}

fn refusal_for(exchange: &Exchange, amounts: Amounts) -> Option<Refusal> {
    let limits = &exchange.snapshot.limits;
    let refusal = limits.refusal(&subjects(limits, exchange), Claim::request(amounts))?;
    Some(tell(&refusal.refused, limits.now()))
}

/// Whose limits the request must keep within.
fn subjects(limits: &Limits, exchange: &Exchange) -> Vec<Arc<Subject>> {
    let Some(request) = &exchange.request else { return Vec::new() };
    subjects_of(limits, exchange.key.as_deref(), &request.model.name)
}

/// Whose limits a request of `key` for `model` must keep within.
pub fn subjects_of(limits: &Limits, key: Option<&Key>, model: &str) -> Vec<Arc<Subject>> {
    let tags = key.into_iter().flat_map(|key| key.tags()).map(String::as_str);
    limits.subjects_of(key.into_iter().flat_map(|key| key.accounts()), key.and_then(|key| key.team()), tags, model)
}

/// A request on its way to its limits, as far as it is known.
pub struct Coming {
    snapshot: Arc<Snapshot>,
    key: Option<Arc<Key>>,
    /// The model that its client named.
    model: Option<Arc<str>>,
    endpoint: Endpoint,
    scan: RequestScan,
    body: Bytes,
}

impl Coming {
    /// The request of `exchange` with this body.
    pub fn new(
        exchange: &Exchange,
        endpoint: &Endpoint,
        model: Option<Arc<str>>,
        scan: RequestScan,
        body: Bytes,
    ) -> Self {
        let (snapshot, key) = (exchange.snapshot.clone(), exchange.key.clone());
        Self { snapshot, key, model, endpoint: endpoint.clone(), scan, body }
    }

    /// The limit that would refuse it, which is not counted for that; `None`: there is none, or it is not certain yet that it
    /// would.
    pub fn refusal(&self, limits: &Limits) -> Option<Box<limits::Refusal>> {
        let named = self.model.as_deref().and_then(|name| self.snapshot.model(name));
        let name = named.as_ref().map_or("", |model| &model.name);
        let rules = !self.snapshot.rules.is_empty();
        let tokens = match &named {
            // It takes none if the cache answers it.
            Some(model) if model.cache.is_some() => 0,
            // They may say how long its answer is.
            _ if rules => 1,
            _ => expect_tokens(limits, self.key.as_deref(), &self.endpoint, &self.scan, &self.body, named.as_deref())
                .tokens(),
        };
        // They may send it to another model.
        let name = if rules { "" } else { name };
        let claim = Claim::request(Amounts { tokens, cost: 0 });
        limits.refusal(&subjects_of(limits, self.key.as_deref(), name), claim)
    }
}

/// Whether a request that is let in has room for a call of the gateway's own that takes `text`.
pub fn has_room(limits: &Limits, exchange: &Exchange, text: &str) -> bool {
    let tokens = Weighed::text(text.len()).tokens();
    limits.has_room(&subjects(limits, exchange), Claim::more(Amounts { tokens, cost: 0 }))
}

/// What the request is expected to use at the dearest target of its plan.
fn expected(exchange: &Exchange) -> Amounts {
    let Expected { output, choices, output_is_guessed, weighed, .. } = &exchange.account.expected;
    let most = exchange.snapshot.limits.reserves_most();
    let unbounded = *output_is_guessed || (most && exchange.request.as_ref().is_some_and(is_unbounded));
    let weights = if most { Weights::MOST } else { Weights::USUAL };
    let (prompt, made) = (weighed.usage(&weights), weights.made(exchange.account.pieces));
    let costs = exchange.plan.candidates().iter().map(|candidate| {
        let known = &candidate.target.known;
        // A budget is for certain only if all that an answer may cost is put by; nobody is refused for it as long as money is left.
        // But no answer is longer than the model can say, whatever its request asks for.
        let longest = match candidate.target.most_output() {
            Some(most) if unbounded => most,
            Some(most) => most.min(*output),
            None if most && unbounded => UNKNOWN_OUTPUT,
            None => *output,
        };
        let tokens =
            Usage { output: Some(longest.saturating_mul(*choices)), ..prompt }.plus(&exchange.account.pieces.usage());
        let most = |tokens: Usage| known.price.as_ref().map_or(0, |price| price.most(&tokens, &weighed.terms));
        // What is made is billed by the piece or by tokens.
        most(tokens).max(made.map_or(0, |made| most(tokens.plus(&made))))
    });
    Amounts { tokens: exchange.account.expected.tokens(), cost: costs.max().unwrap_or(0) }
}

/// What the request usually costs at `target`, in pico-dollars.
pub fn usual_cost(exchange: &Exchange, target: &Target) -> u64 {
    let Expected { output, choices, weighed, .. } = &exchange.account.expected;
    let tokens = Usage { output: Some(output.saturating_mul(*choices)), ..exchange.account.expected.asked() };
    target.known.price.as_ref().map_or(0, |price| price.most(&tokens, &weighed.terms))
}

/// Whether the request does not say how long its answer may be.
pub fn is_unbounded(request: &Request) -> bool {
    let operation = request.endpoint.operation;
    (writes(operation) || operation == Operation::Transcription) && request.scan.max_tokens.is_none()
}

/// How many answers a request asks for.
pub fn choices(endpoint: &Endpoint, scan: &RequestScan) -> u64 {
    scan.choices.filter(|_| writes(endpoint.operation)).unwrap_or(1)
}

/// Whether what is asked for is a text that a model writes.
pub fn writes(operation: Operation) -> bool {
    matches!(operation, Operation::Chat | Operation::Completions)
}

/// Tokens of the prompt, and the most of the answer.
pub fn expected_tokens(exchange: &Exchange, request: &Request) -> Expected {
    let limits = &exchange.snapshot.limits;
    let key = exchange.key.as_deref();
    expect_tokens(limits, key, &request.endpoint, &request.scan, &request.body, Some(&request.model))
}

fn expect_tokens(
    limits: &Limits,
    key: Option<&Key>,
    endpoint: &Endpoint,
    scan: &RequestScan,
    body: &[u8],
    model: Option<&Model>,
) -> Expected {
    let name = model.map_or("", |model| &model.name);
    // Only where a budget puts it by.
    let most = || limits.reserves_most() && subjects_of(limits, key, name).iter().any(|subject| subject.has_budget());
    let weighed = Weighed::of(endpoint, scan, body, most);
    let known =
        scan.max_tokens.or_else(|| if writes(endpoint.operation) { limits.usual_output(name) } else { Some(0) });
    Expected {
        prompt: weighed.tokens(),
        output: known.unwrap_or(UNBOUNDED_OUTPUT),
        choices: choices(endpoint, scan),
        most_output: model.and_then(Model::most_output),
        output_is_guessed: known.is_none(),
        weighed,
    }
}

/// Why a target is not asked: its own limits are reached, or those of the model to fall back on that it answers for.
pub fn of_target(target: &Target, exchange: &Exchange, at: Instant) -> Option<Why> {
    let limits = &exchange.snapshot.limits;
    let now = limits.now();
    let claim = Claim::request(of_attempt(exchange));
    let full = subjects_of_attempt(target, exchange);
    let until = full.iter().filter_map(|subject| limits.full_until(subject, claim, now)).max()?;
    Some(Why::Limited(at + Duration::from_millis(until.saturating_sub(now)).min(NOT_SOON)))
}

/// Whose limits an attempt at `target` must keep within: the target, and a model to fall back on that it answers for. The model
/// that the request came in with counts it as a whole.
fn subjects_of_attempt(target: &Target, exchange: &Exchange) -> Vec<Arc<Subject>> {
    let fallback = exchange.fallback_at(target).and_then(|name| exchange.snapshot.limits.find(Kind::Model, name));
    target.limits.clone().into_iter().chain(fallback).collect()
}

/// Counts an attempt at `target`. What the attempts before it hold is given back.
///
/// # Errors
/// The target's own limits were reached since the plan was made.
pub fn begin(exchange: &mut Exchange, target: &Target, at: Instant) -> Result<Option<Reservation>, Why> {
    exchange.attempts.iter_mut().for_each(release);
    hold(exchange, target).map_err(|()| of_target(target, exchange, at).unwrap_or(Why::Limited(at)))
}

/// Counts a call at `target`, beside others of the exchange; an error if the target's own limits are reached.
pub fn hold(exchange: &Exchange, target: &Target) -> Result<Option<Reservation>, ()> {
    let subjects = subjects_of_attempt(target, exchange);
    if subjects.is_empty() {
        return Ok(None);
    }
    exchange.snapshot.limits.begin(subjects, Claim::request(of_attempt(exchange))).map(Some).ok_or(())
}

/// [`hold`] of a call that is made also if the target's own limits are reached.
pub fn hold_anyway(exchange: &Exchange, target: &Target) -> Option<Reservation> {
    let claim = Claim::request(of_attempt(exchange));
    exchange.snapshot.limits.begin_anyway(subjects_of_attempt(target, exchange), claim)
}

/// Gives back what an attempt that is over holds of its target's limits, less what it has used.
fn release(attempt: &mut Attempt) {
    if let Some(held) = attempt.held.take() {
        held.settle(of_consumed(attempt));
    }
}

/// A target's own limits are none of money, and a model to fall back on may answer as long as some is left.
fn of_attempt(exchange: &Exchange) -> Amounts {
    Amounts { tokens: exchange.account.expected.tokens(), cost: 0 }
}

fn tell(refused: &Refused, now: u64) -> Refusal {
    let whose = match refused.subject.kind {
        Kind::Global => "all requests together".to_owned(),
        Kind::Key => "this key".to_owned(),
        Kind::Team | Kind::Tag => format!("the keys of this {}", refused.subject.kind.as_str()),
        Kind::Model | Kind::Target => format!("the model `{}`", refused.subject.name),
    };
    let (rule, limit) = (&refused.rule, refused.rule.limit);
    let (kind, message) = match rule.what {
        What::Requests => (ErrorKind::KeyRateLimited, format!("{whose} may make {limit} requests per {}", rule.period)),
        What::Tokens => (ErrorKind::KeyRateLimited, format!("{whose} may use {limit} tokens per {}", rule.period)),
        What::Concurrent => (ErrorKind::KeyRateLimited, format!("{whose} may make {limit} requests at the same time")),
        What::Cost if refused.is_held => (
            ErrorKind::KeyRateLimited,
            format!(
                "requests under way may use up the budget of {whose} ({}): try again when they have ended; \
                 those that say `max_tokens` hold less of it",
                rule.period
            ),
        ),
        What::Cost => (ErrorKind::BudgetExceeded, format!("the budget of {whose} is used up ({})", rule.period)),
    };
    let mut headers = Vec::new();
    let wait = refused.until.saturating_sub(now);
    if refused.until < NEVER {
        headers.push(("retry-after", HeaderValue::from(wait.div_ceil(1000).max(1))));
        headers.push(("retry-after-ms", HeaderValue::from(wait)));
    }
    if wait > LONG_WAIT {
        headers.push(("x-should-retry", HeaderValue::from_static("false")));
    }
    Refusal::with_headers(ApiError::new(kind, message), headers)
}

/// Books what the exchange has used: its answer, and what other attempts have consumed. Of no effect the second time.
pub fn settle(exchange: &mut Exchange) {
    if !exchange.is_unfinished() {
        learn(exchange);
    }
    let reservation = exchange.account.reservation.take();
    if reservation.is_none() && exchange.attempts.iter().all(|attempt| attempt.held.is_none()) {
        return;
    }
    let (mut used, mut beside) = (used(exchange), Amounts::default());
    if let Some(share) = exchange.share_of_call() {
        used.cost = share;
    }
    if let Some((last, others)) = exchange.attempts.split_last_mut() {
        if let Some(held) = last.held.take() {
            held.settle(used);
        }
        for other in others {
            beside = beside.plus(of_consumed(other));
            release(other);
        }
    }
    let Some(mut reservation) = reservation else { return };
    if exchange.is_unfinished() {
        reservation.outlast(beside);
        exchange.account.unsettled = Some(reservation);
    } else {
        reservation.settle(used.plus(beside));
    }
}

/// What answers are like of a model whose requests do not bound them.
fn learn(exchange: &mut Exchange) {
    let Some(request) =
        exchange.request.as_ref().filter(|request| !exchange.account.has_taught && is_unbounded(request))
    else {
        return;
    };
    if let Consumed { usage: Some(usage), source: UsageSource::Provider | UsageSource::Drained, .. } =
        exchange.consumed()
        && let Some(tokens) = usage.total_output()
        && writes(request.endpoint.operation)
    {
        let each = tokens.div_ceil(choices(&request.endpoint, &request.scan));
        exchange.snapshot.limits.learn_output(&request.model.name, each);
        exchange.account.has_taught = true;
    }
}

/// Books what a call has used that no client waits for: a mirrored one, or one of the gateway's own.
pub fn charge_own(limits: &Arc<Limits>, own: &mut Exchange) {
    let used = used(own);
    if let Some(held) = own.attempt_mut().and_then(|attempt| attempt.held.take()) {
        held.settle(used);
    }
    if used != Amounts::default() {
        limits.charge(subjects(limits, own), used);
    }
}

/// What an attempt is known to have consumed.
fn of_consumed(attempt: &Attempt) -> Amounts {
    let Some(consumed) = &attempt.consumed else { return Amounts::default() };
    let tokens = consumed.usage.and_then(|usage| usage.total()).unwrap_or(0);
    Amounts { tokens, cost: consumed.cost(&attempt.target).map_or(0, |cost| cost.known()) }
}

/// What the current attempt has used: what its provider reported or was estimated; of an answer that tells no tokens and broke
/// off, the prompt and what came of the answer; of one that goes on being made, what was expected.
fn used(exchange: &Exchange) -> Amounts {
    let nothing = Amounts::default();
    let Some(attempt) = exchange.attempt() else { return nothing };
    if exchange.is_unfinished() {
        return of_attempt(exchange);
    }
    let consumed = exchange.consumed();
    if let Some(usage) = consumed.usage {
        // Where no tokens are told, the text to speak or draw counts for them.
        let asked = if consumed.source == UsageSource::Estimated { exchange.account.expected.prompt } else { 0 };
        let cost = exchange.cost_in_parts().map_or(0, |cost| cost.known());
        return Amounts { tokens: usage.total().unwrap_or(asked), cost };
    }
    let Some(observer) = &exchange.upstream_answer.observer else { return nothing };
    let seen = observer.seen();
    let answered = attempt.status.is_some_and(|status| (200..300).contains(&status));
    if !seen.first_output || !answered || exchange.resume.is_some() || exchange.says_only_an_error() {
        return nothing;
    }
    let Expected { prompt, output, choices, .. } = exchange.account.expected;
    let output = seen.outputs.min(output.saturating_mul(choices));
    let price = consumed.by(&attempt.target).known.price.as_ref();
    let cost = price.and_then(|price| price.expected(prompt, output)).unwrap_or(0);
    Amounts { tokens: prompt.saturating_add(output), cost }
}
