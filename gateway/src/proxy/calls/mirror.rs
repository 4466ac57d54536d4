//! Mirroring: the same request goes to one more target, to see how it does. The client's answer neither waits for it
//! nor shows anything of it; what comes back is read, counted and thrown away.

use std::sync::Arc;
use std::time::Instant;

use ai_gateway_providers::answer::Observer;
use ai_gateway_providers::usage::Usage;
use bytes::Bytes;
use pingora_http::RequestHeader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::leg::outcome_of;
use crate::ledger::Kind;
use crate::limits::Reservation;
use crate::net::call::{Ask, Call};
use crate::proxy::account::admission;
use crate::proxy::answer::{form_of, is_web_page, type_of, verdict};
use crate::proxy::attempt::encode;
use crate::proxy::attempt::header::header_for;
use crate::proxy::attempt::{self, Attempt};
use crate::proxy::replay::Clock;
use crate::proxy::request::Request;
use crate::proxy::{Exchange, Gateway, Outcome};
use crate::snapshot::Target;
use crate::telemetry::{AttemptOutcome, InFlight};

/// Mirrored requests under way at most; what comes on top is dropped.
const MOST: usize = 64;
/// Number of a mirror's record, above that of any attempt's.
const MIRROR: u32 = 1000;
/// Bytes of their bodies at most, in KiB.
const MOST_KIB: usize = 64 << 10;

/// Room for mirrored requests.
pub struct Mirrors {
    count: Arc<Semaphore>,
    kib: Arc<Semaphore>,
}

impl Default for Mirrors {
    fn default() -> Self {
        Self { count: Arc::new(Semaphore::new(MOST)), kib: Arc::new(Semaphore::new(MOST_KIB)) }
    }
}

impl Mirrors {
    /// Room for a request with a body of `bytes`, until it is dropped; `None` when all is taken.
    fn enter(&self, bytes: usize) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let kib = u32::try_from(bytes / 1024 + 1).ok()?;
        Some((self.count.clone().try_acquire_owned().ok()?, self.kib.clone().try_acquire_many_owned(kib).ok()?))
    }
}

/// Sends the exchange's request to its mirror too, if it has one. Does not wait for anything.
pub fn mirror(gateway: &Gateway, client: &RequestHeader, exchange: &Exchange) {
    let (Some(target), Some(request)) = (&exchange.mirror, &exchange.request) else { return };
    let metrics = &gateway.telemetry.metrics;
    let Some(room) = gateway.calls.mirrors.enter(request.body.len()) else {
        metrics.mirrored(&target.provider.name, "dropped");
        return;
    };
    let Some(credential) = target.any_credential() else {
        metrics.mirrored(&target.provider.name, "resting");
        return;
    };
    let Ok(held) = admission::hold(exchange, target) else {
        metrics.mirrored(&target.provider.name, "limited");
        return;
    };
    let (gateway, client, target) = (gateway.clone(), client.clone(), target.clone());
    let mut shadow = shadow(exchange, request);
    let total = request.clocks.over(target.timeouts).total;
    tokio::spawn(async move {
        let begun = Instant::now();
        let asking = Box::pin(ask(&gateway, &client, &mut shadow, &target, credential, held));
        let outcome = tokio::time::timeout(total, asking).await.unwrap_or(Outcome::Timeout(Clock::Total));
        shadow.end_attempt(outcome);
        super::settle(&gateway, &mut shadow, Kind::Mirror, MIRROR).await;
        let usage = shadow.consumed().usage;
        let outcome = AttemptOutcome::from(outcome);
        gateway.telemetry.metrics.mirrored(&target.provider.name, outcome.as_str());
        log::info!(
            "request {}: role=mirror provider={} model={} outcome={} ms={} input={:?} output={:?}",
            shadow.id,
            target.provider.name,
            target.model,
            outcome.as_str(),
            begun.elapsed().as_millis(),
            usage.as_ref().and_then(Usage::total_input),
            usage.as_ref().and_then(Usage::total_output),
        );
        drop(room);
    });
}

/// What of the exchange a request is written from. It is not counted as in flight: no shutdown waits for it.
fn shadow(exchange: &Exchange, request: &Request) -> Exchange {
    let mut shadow = Exchange::new(exchange.snapshot.clone(), InFlight::uncounted());
    shadow.at = exchange.at;
    shadow.account.expected = exchange.account.expected;
    shadow.account.pieces = exchange.account.pieces;
    shadow.id = exchange.id.clone();
    shadow.key = exchange.key.clone();
    shadow.route = exchange.route.clone();
    shadow.plugins = exchange.plugins.as_ref().map(|run| run.of_copy());
    shadow.request = Some(Request {
        json_array: request.json_array,
        clocks: request.clocks,
        betas: request.betas.clone(),
        ..Request::new(request.endpoint.clone(), request.body.clone(), request.scan.clone(), request.model.clone())
    });
    shadow
}

/// Leaves in the shadow what its usage is known by.
async fn ask(
    gateway: &Gateway,
    client: &RequestHeader,
    shadow: &mut Exchange,
    target: &Arc<Target>,
    credential: usize,
    held: Option<Reservation>,
) -> Outcome {
    let Some(request) = &shadow.request else { return Outcome::Withheld };
    let operation = request.endpoint.operation;
    // The target's API cannot say what is asked.
    let Ok(encoded) = encode::encode(target, shadow, &gateway.continuity) else { return Outcome::Withheld };
    let dialect = encoded.route.dialect;
    let mut attempt = Attempt::uncounted(target.clone(), credential, encoded, request.clocks).holding(held);
    let approached = attempt::approach(&mut attempt, &gateway.http, &gateway.resolver, &shadow.id).await;
    let peer = match approached {
        Ok(peer) => peer,
        Err((outcome, _)) => return outcome,
    };
    let Ok(header) = header_for(&attempt, client, shadow, shadow.plugins.as_deref()) else { return Outcome::Withheld };
    let content_type = type_of(dialect, operation, request.wants_stream());
    let ask = Ask { peer, header, body: std::mem::take(&mut attempt.encoded.body), content_type };
    attempt.called = true;
    shadow.attempts.push(attempt);
    let (header, mut call) = match Call::open(&gateway.calls.connector, ask).await {
        Ok(answered) => answered,
        Err(failed) => return outcome_of(&failed),
    };
    shadow.status = header.status.as_u16();
    if let Some(attempt) = shadow.attempts.last_mut() {
        attempt.status = Some(shadow.status);
    }
    if let Some(outcome) = verdict(shadow.status).or(is_web_page(&header).then_some(Outcome::Garbage)) {
        return outcome;
    }
    let form = form_of(&header, dialect);
    let observer = shadow.upstream_answer.watch(Observer::new(dialect, operation, form, false), form);
    let whole = loop {
        match call.next().await {
            Ok(Some(chunk)) => drop(observer.feed(chunk, false)),
            end => break end.is_ok(),
        }
    };
    observer.feed(Bytes::new(), true);
    let seen = observer.seen();
    match &seen.error {
        Some(error) => Outcome::StreamError(error.kind),
        None if !whole || seen.cut => Outcome::Cut,
        None => Outcome::Ok,
    }
}
