//! The ledger's record of an exchange.

use std::time::{Duration, SystemTime};

use ai_gateway_providers::answer::Observer;
use ai_gateway_providers::error::Fault;

use super::settle::fault;
use super::{Exchange, Gateway};
use crate::ledger::{Kind, Record, UsageSource, micros};

/// Books the exchange, once. This happens before the last byte of an answer goes to the client: a client that has a whole
/// answer can rely on its being in the ledger, whatever becomes of this process.
///
/// What ended before a model was found for it consumed nothing and is not booked: callers without a key fill no disk.
pub fn book(gateway: &Gateway, exchange: &mut Exchange) {
    let Some(ledger) = &gateway.ledger else { return };
    if exchange.request.is_none() || std::mem::replace(&mut exchange.booked, true) {
        return;
    }
    ledger.book(&record(exchange));
}

fn record(exchange: &Exchange) -> Record<'_> {
    let seen = exchange.observer.as_ref().map(Observer::seen);
    let usage = seen.and_then(|seen| seen.usage);
    let target = exchange.attempt().map(|attempt| &attempt.target);
    let tier = seen.and_then(|seen| seen.service_tier.as_deref());
    let price = target.and_then(|target| target.known.price.as_ref());
    let cost = usage.and_then(|usage| price?.cost(&usage, tier).total());
    let duration = exchange.started.elapsed();
    Record {
        id: (&*exchange.id).into(),
        seq: 0,
        kind: Kind::Request,
        at: micros(SystemTime::now() - duration),
        key: exchange.key.as_ref().map(|key| (&*key.name).into()),
        team: exchange.key.as_ref().and_then(|key| key.team()).map(Into::into),
        owner: exchange.key.as_ref().and_then(|key| key.owner()).map(Into::into),
        tags: exchange.key.iter().flat_map(|key| key.tags()).map(String::as_str).collect(),
        customer: None,
        operation: exchange.endpoint.as_ref().map_or("unknown", |endpoint| endpoint.operation.as_str()).into(),
        dialect: exchange.endpoint.as_ref().map(|endpoint| endpoint.dialect.as_str().into()),
        model: exchange.request.as_ref().map(|request| (&*request.model.name).into()),
        provider: target.map(|target| (&*target.provider.name).into()),
        upstream_model: target.map(|target| (&*target.model).into()),
        answer_model: seen.and_then(|seen| seen.model.as_deref()).map(Into::into),
        status: exchange.status,
        fault: fault(exchange).map(Fault::as_str).map(Into::into),
        stream: exchange.wants_stream(),
        attempts: u32::try_from(exchange.attempts.len()).unwrap_or(u32::MAX),
        duration_us: whole_micros(duration),
        first_token_us: exchange
            .first_output
            .filter(|_| exchange.wants_stream())
            .map(|at| whole_micros(at.saturating_duration_since(exchange.started))),
        usage: usage.unwrap_or_default(),
        usage_source: if usage.is_some() { UsageSource::Provider } else { UsageSource::None },
        service_tier: tier.map(Into::into),
        cost,
        price_map: cost.map(|_| exchange.snapshot.price_map().into()),
    }
}

fn whole_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
