//! Limits and budgets of a request: what it is expected to use is reserved before its first attempt, what it has used is booked
//! when it is over.

use std::time::{Duration, Instant};

use ai_gateway_providers::Operation;
use ai_gateway_providers::endpoint::Endpoint;
use ai_gateway_providers::error::{ApiError, ErrorKind};
use ai_gateway_providers::usage::Usage;
use http::HeaderValue;

use super::exchange::Request;
use super::reply::Refusal;
use super::{Exchange, Gateway, plan};
use crate::limits::{Amounts, Kind, NEVER, Refused, Reservation, What};
use crate::routing::{Taken, Why};
use crate::snapshot::Target;

/// Tokens reserved for an answer that the request does not bound.
const UNBOUNDED_OUTPUT: u64 = 1_000;
/// A wait that is longer than this is not worth a client's automatic retry.
const LONG_WAIT: u64 = 60_000;

/// Reserves what the request may use, whose plan is known.
pub async fn admit(gateway: &Gateway, exchange: &mut Exchange) -> Result<(), Refusal> {
    let amounts = expected(exchange);
    admit_for(gateway, exchange, amounts).await
}

/// Counts a request that needs no call of its own: it takes no tokens and no money.
pub async fn admit_free(gateway: &Gateway, exchange: &mut Exchange) -> Result<(), Refusal> {
    admit_for(gateway, exchange, Amounts::default()).await
}

async fn admit_for(gateway: &Gateway, exchange: &mut Exchange, amounts: Amounts) -> Result<(), Refusal> {
    let Some(request) = &exchange.request else { return Ok(()) };
    let key = exchange.key.as_deref();
    let tags = key.into_iter().flat_map(|key| key.tags()).map(String::as_str);
    let limits = &gateway.limits;
    let subjects = limits.subjects_of(
        key.map(|key| &*key.counted_as().name),
        key.and_then(|key| key.team()),
        tags,
        &request.model.name,
    );
    if subjects.is_empty() {
        return Ok(());
    }
    let priority = key.map_or(0, |key| key.priority());
    match limits.admit_in_turn(subjects, amounts, priority).await {
        Ok(reservation) => {
            exchange.standing = reservation.standing;
            exchange.reservation = Some(reservation);
            Ok(())
        }
        Err(refusal) => {
            exchange.standing = refusal.standing;
            limits.count_rejection(&refusal.refused);
            Err(tell(&refusal.refused, limits.now()))
        }
    }
}

/// What the request is expected to use at the dearest target of its plan.
fn expected(exchange: &Exchange) -> Amounts {
    let (prompt, output) = exchange.expected;
    let costs = exchange.plan.candidates().iter().map(|candidate| {
        candidate.target.known.price.as_ref().and_then(|price| price.expected(prompt, output)).unwrap_or(0)
    });
    Amounts { tokens: prompt.saturating_add(output), cost: costs.max().unwrap_or(0) }
}

/// Tokens of the prompt, and the most of the answer.
pub fn tokens(request: &Request, endpoint: &Endpoint) -> (u64, u64) {
    let prompt = (request.body.len() as u64).div_ceil(plan::BYTES_PER_TOKEN);
    let writes = matches!(endpoint.operation, Operation::Chat | Operation::Completions);
    let output = request.scan.max_tokens.unwrap_or(if writes { UNBOUNDED_OUTPUT } else { 0 });
    (prompt, output)
}

/// Why a target is not asked: its own limits are reached.
pub fn of_target(target: &Target, exchange: &Exchange, at: Instant) -> Option<Why> {
    let subject = target.limits.as_ref()?;
    let limits = &exchange.snapshot.bounds;
    let now = limits.now();
    let until = limits.full_until(subject, of_attempt(exchange), now)?;
    Some(Why::Limited(at + Duration::from_millis(until.saturating_sub(now))))
}

/// Counts an attempt at its target; an error if the target's own limits were reached since the plan was made.
pub fn begin(exchange: &mut Exchange, next: &Taken) -> Result<Option<Reservation>, ()> {
    if let Some(previous) = exchange.attempts.last_mut() {
        previous.held = None;
    }
    let Some(subject) = &next.target.limits else { return Ok(None) };
    exchange.snapshot.bounds.begin(subject, of_attempt(exchange)).map(Some).ok_or(())
}

/// A target's own limits are none of money.
fn of_attempt(exchange: &Exchange) -> Amounts {
    let (prompt, output) = exchange.expected;
    Amounts { tokens: prompt.saturating_add(output), cost: 0 }
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

/// Books what the exchange has used.
pub fn settle(exchange: &mut Exchange) {
    let (held, reservation) =
        (exchange.attempts.last_mut().and_then(|attempt| attempt.held.take()), exchange.reservation.take());
    if held.is_none() && reservation.is_none() {
        return;
    }
    let mut used = used(exchange);
    if let Some(share) = exchange.share_of_call() {
        used.cost = share;
    }
    if let Some(held) = held {
        held.settle(used);
    }
    if let Some(reservation) = reservation {
        reservation.settle(used);
    }
}

/// What the provider reported; for an answer that broke off before, the prompt and what came of the answer.
fn used(exchange: &Exchange) -> Amounts {
    let nothing = Amounts::default();
    let Some(attempt) = exchange.attempt() else { return nothing };
    let price = attempt.price();
    let amounts = |usage: &Usage, tier: Option<&str>| Amounts {
        tokens: usage.total().unwrap_or(0),
        cost: price.map_or(0, |price| price.cost(usage, tier).known()),
    };
    if let Some(consumed) = &attempt.consumed {
        return amounts(&consumed.usage.unwrap_or_default(), consumed.tier.as_deref());
    }
    let Some(observer) = &exchange.observer else { return nothing };
    let seen = observer.seen();
    if let Some(usage) = &seen.usage {
        return amounts(usage, seen.service_tier.as_deref());
    }
    if !seen.first_output || !attempt.status.is_some_and(|status| (200..300).contains(&status)) {
        return nothing;
    }
    let (prompt, most) = exchange.expected;
    let output = seen.outputs.min(most);
    Amounts {
        tokens: prompt.saturating_add(output),
        cost: price.and_then(|price| price.expected(prompt, output)).unwrap_or(0),
    }
}
