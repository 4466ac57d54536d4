//! Answers that their providers go on making when the request for them is over (Responses: `background`). What they may cost
//! stays reserved; what they have used is booked, in a record of its own, when the provider first tells it: to whoever of the same
//! key asks for the answer, follows or cancels it.

use std::sync::Arc;

use ai_gateway_providers::Operation;
use ai_gateway_providers::answer::Seen;
use ai_gateway_providers::usage::Usage;
use bounded_static::IntoBoundedStatic;

use super::{admission, book};
use crate::continuity::{Held, Unfinished};
use crate::ledger::{BACKGROUND, Kind, Record, UsageSource, micros};
use crate::limits::Amounts;
use crate::proxy::{Exchange, Gateway};

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
    let usual = exchange.attempt().map_or(u64::MAX, |attempt| admission::usual_cost(exchange, &attempt.target));
    let held = Held::new(exchange.account.unsettled.take(), usual);
    let id = exchange.seen().and_then(|seen| seen.id.as_deref());
    let (Some(attempt), Some(id)) = (exchange.attempt(), id) else { return held.give_up() };
    let unfinished = Unfinished {
        record: book::record(exchange).into_static(),
        is_direct: exchange.is_direct(),
        is_unbounded: exchange.request.as_ref().is_some_and(admission::is_unbounded),
        target: attempt.target.clone(),
        held: held.clone(),
    };
    gateway.continuity.leave_unfinished(exchange.key.as_deref(), id, Arc::new(unfinished));
    tokio::spawn(held.wait());
}

fn finish(gateway: &Gateway, exchange: &Exchange) {
    let Some(id) = exchange.endpoint().and_then(|endpoint| endpoint.stored.as_deref()) else { return };
    let Some(seen) = exchange.seen() else { return };
    // Some fill in zeros where they do not count.
    let Some(usage) = seen.past_usage.filter(|usage| usage.total().is_some_and(|tokens| tokens > 0)) else { return };
    let Some(unfinished) = gateway.continuity.take_unfinished(exchange.key.as_deref(), id) else { return };
    enter(gateway, exchange, &unfinished, usage, seen);
}

fn enter(gateway: &Gateway, exchange: &Exchange, unfinished: &Unfinished, usage: Usage, seen: &Seen) {
    let Unfinished { record: asked, is_direct, is_unbounded, target, held } = unfinished;
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
    if let Some(output) = usage.total_output().filter(|_| *is_unbounded) {
        gateway.limits.learn_output(model, output);
    }
    let more = held.settle(Amounts { tokens: usage.total().unwrap_or(0), cost: cost.map_or(0, |cost| cost.known()) });
    if more != Amounts::default() {
        gateway.limits.charge(admission::subjects_of(&gateway.limits, exchange.key.as_deref(), model), more);
    }
}
