//! The ledger's records of an exchange: one of the request, and one for each attempt beside its last that cost something.

use std::time::Duration;

use ai_gateway_providers::Operation;
use ai_gateway_providers::error::Fault;

use super::consumed::Consumed;
use crate::ledger::{Kind, Record, Tags, UsageSource, micros};
use crate::proxy::attempt::Attempt;
use crate::proxy::cached::Left;
use crate::proxy::failure::CLIENT_LEFT;
use crate::proxy::plugins::Run;
use crate::proxy::settle::fault;
use crate::proxy::{Exchange, Gateway, Outcome};

/// Books the request, once. This happens before the last byte of an answer goes to the client: a client that has a whole
/// answer can rely on its being in the ledger, whatever becomes of this process.
///
/// What ended before a model was found for it consumed nothing and is not booked, unless plugins had it: callers without a key fill
/// no disk.
pub fn book(gateway: &Gateway, exchange: &mut Exchange) {
    if (exchange.request.is_none() && !exchange.ended_by_plugins) || exchange.account.bill.is_some() {
        return;
    }
    exchange.account.bill = Some(Box::new(exchange.bill()));
    enter(gateway, exchange.is_direct(), &record(exchange));
}

/// Books what the attempts before the last one consumed, and the second call of a hedged request. Call it once, at the end.
pub fn book_others(gateway: &Gateway, exchange: &Exchange) {
    let others = exchange.attempts.len().saturating_sub(1);
    for (seq, attempt) in (1..).zip(exchange.attempts.iter().take(others)) {
        if let Some(consumed) = &attempt.consumed {
            enter(gateway, exchange.is_direct(), &other(exchange, attempt, consumed, seq));
        }
    }
}

/// Books a call of this `kind` that no client waits for, as `seq` of its request's records, if it consumed anything.
pub fn book_own(gateway: &Gateway, exchange: &Exchange, kind: Kind, seq: u32) {
    let record = Record { kind, seq, ..record(exchange) };
    if record.usage_source != UsageSource::None {
        enter(gateway, exchange.is_direct(), &record);
    }
}

/// Puts a record in the ledger and its cost in the metrics. `direct`: its request named `provider/model`.
pub fn enter(gateway: &Gateway, direct: bool, record: &Record<'_>) {
    if record.costs()
        && let (Some(provider), Some(model)) = (&record.provider, &record.upstream_model)
    {
        gateway.telemetry.metrics.spent(provider, model, direct, record.key.as_deref(), record.cost);
    }
    if let Some(ledger) = &gateway.ledger {
        ledger.book(record);
    }
}

/// What all records of an exchange have in common.
fn common(exchange: &Exchange) -> Record<'_> {
    let labels = exchange.account.labels.as_deref();
    let mut tags = Tags::of_key(exchange.key.iter().flat_map(|key| key.tags()).map(String::as_str));
    let key_tags = tags.len();
    // Without a request there is only what the client named.
    let about = exchange.plugins.as_deref().filter(|_| exchange.request.is_none()).map(Run::about);
    let named = || about?.model.as_deref();
    tags.extend(labels.into_iter().flat_map(|labels| labels.tags()));
    Record {
        id: (&*exchange.id).into(),
        at: micros(exchange.at),
        key: exchange.key.as_ref().map(|key| (&*key.name).into()),
        account: exchange
            .key
            .as_ref()
            .and_then(|key| key.accounts().last().filter(|root| **root != *key.name))
            .map(Into::into),
        team: exchange.key.as_ref().and_then(|key| key.team()).map(Into::into),
        owner: exchange.key.as_ref().and_then(|key| key.owner()).map(Into::into),
        tags,
        key_tags,
        customer: labels.and_then(|labels| labels.customer()).map(Into::into),
        metadata: labels.into_iter().flat_map(|labels| labels.metadata()).collect(),
        operation: exchange.operation().map_or("unknown", Operation::as_str).into(),
        dialect: exchange.endpoint().map(|endpoint| endpoint.dialect.as_str().into()),
        model: exchange.request.as_ref().map(|request| &*request.model.name).or_else(named).map(Into::into),
        stream: exchange.wants_stream() || about.is_some_and(|about| about.stream),
        ..Record::default()
    }
}

/// The same, with what an attempt consumed, and who was asked for that.
fn of_attempt<'a>(exchange: &'a Exchange, attempt: Option<&'a Attempt>, consumed: Consumed<'a>) -> Record<'a> {
    let target = attempt.map(|attempt| &*attempt.target);
    Record {
        provider: target.map(|target| (&*target.provider.name).into()),
        upstream_model: target.map(|target| consumed.upstream_model(target).into()),
        fallback: target.and_then(|target| exchange.fallback_at(target)).map(Into::into),
        answer_model: consumed.model.map(Into::into),
        usage: consumed.usage.unwrap_or_default(),
        usage_source: consumed.source,
        service_tier: consumed.tier.map(Into::into),
        ..common(exchange)
    }
}

/// The request's own record.
pub fn record(exchange: &Exchange) -> Record<'_> {
    let left = exchange.left_call();
    let told = of_attempt(exchange, exchange.attempt(), exchange.consumed());
    let kept = exchange.kept().map(|kept| &kept.meta);
    let (kind, cost) = exchange
        .cached_record()
        .unwrap_or_else(|| (Kind::Request, exchange.share_of_call().or_else(|| exchange.cost())));
    Record {
        seq: 0,
        kind,
        provider: told.provider.or_else(|| Some((&*kept?.provider).into())),
        upstream_model: told.upstream_model.or_else(|| Some((&*kept?.upstream_model).into())),
        status: if left == Some(Left::Before) { CLIENT_LEFT } else { exchange.status },
        fault: left.map(|_| Fault::Caller).or_else(|| fault(exchange)).map(Fault::as_str).map(Into::into),
        attempts: u32::try_from(exchange.attempts.len()).unwrap_or(u32::MAX),
        duration_us: whole_micros(exchange.started.elapsed()),
        first_token_us: exchange.first_token().map(whole_micros),
        cost,
        price_map: cost
            .filter(|cost| told.usage_source != UsageSource::None || *cost > 0)
            .map(|_| exchange.prices_of(exchange.cost_in_parts().or_else(|| exchange.charged_share())).into()),
        ..told
    }
}

/// The record of an attempt that is not the request's last.
fn other<'a>(exchange: &'a Exchange, attempt: &'a Attempt, consumed: &'a Consumed<'_>, seq: u32) -> Record<'a> {
    let lost = attempt.outcome == Some(Outcome::Hedged) || attempt.rival;
    let parts = consumed.cost(&attempt.target);
    let cost = parts.and_then(|parts| parts.total());
    Record {
        seq,
        kind: if lost { Kind::HedgeLoser } else { Kind::Attempt },
        attempts: 1,
        duration_us: whole_micros(attempt.took),
        first_token_us: attempt.first_output.filter(|_| exchange.wants_stream()).map(whole_micros),
        status: attempt.status.unwrap_or_default(),
        cost,
        price_map: cost.map(|_| exchange.prices_of(parts).into()),
        ..of_attempt(exchange, Some(attempt), consumed.as_told())
    }
}

/// In whole microseconds, saturating.
pub fn whole_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
