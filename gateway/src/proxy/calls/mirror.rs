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
use crate::ledger::{Kind, Record};
use crate::limits::Reservation;
use crate::net::call::{Ask, Call};
use crate::proxy::answer::{form_of, is_web_page, type_of, verdict};
use crate::proxy::attempt::{self, Attempt};
use crate::proxy::consumed::Consumed;
use crate::proxy::replay::Clock;
use crate::proxy::request::Request;
use crate::proxy::upstream_header::header_for;
use crate::proxy::{Exchange, Gateway, Outcome, admission, book, encode};
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
    let shadow = shadow(exchange, request);
    let total = request.clocks.over(target.timeouts).total;
    tokio::spawn(async move {
        let begun = Instant::now();
        let asked =
            tokio::time::timeout(total, Box::pin(ask(&gateway, &client, &shadow, &target, credential, held))).await;
        let (outcome, mut attempt) = asked.unwrap_or((Outcome::Timeout(Clock::Total).into(), None));
        let consumed = attempt.as_ref().and_then(|attempt| Some((attempt, attempt.consumed.as_deref()?)));
        let usage = consumed.and_then(|(_, consumed)| consumed.usage);
        if let Some((attempt, consumed)) = consumed {
            let record = Record {
                seq: MIRROR,
                kind: Kind::Mirror,
                attempts: 1,
                duration_us: book::whole_micros(begun.elapsed()),
                ..book::beside(&shadow, attempt, consumed)
            };
            book::enter(&gateway, shadow.is_direct(), &record);
        }
        if let Some(attempt) = &mut attempt {
            admission::charge(&gateway.limits, &shadow, attempt);
        }
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

async fn ask(
    gateway: &Gateway,
    client: &RequestHeader,
    shadow: &Exchange,
    target: &Arc<Target>,
    credential: usize,
    held: Option<Reservation>,
) -> (AttemptOutcome, Option<Attempt>) {
    let Some(request) = &shadow.request else { return (AttemptOutcome::Gateway, None) };
    let operation = request.endpoint.operation;
    // The target's API cannot say what is asked.
    let Ok(encoded) = encode::encode(target, shadow, &gateway.continuity) else {
        return (AttemptOutcome::Gateway, None);
    };
    let mut attempt = Attempt::uncounted(target.clone(), credential, encoded, request.clocks).holding(held);
    let approached = attempt::approach(&mut attempt, &gateway.http, &gateway.resolver, &shadow.id).await;
    let peer = match approached {
        Ok(peer) => peer,
        Err((outcome, _)) => return (outcome.into(), None),
    };
    let Ok(header) = header_for(&attempt, client, shadow, shadow.plugins.as_deref()) else {
        return (AttemptOutcome::Gateway, None);
    };
    let content_type = type_of(attempt.encoded.route.dialect, operation, request.wants_stream());
    let ask = Ask { peer, header, body: std::mem::take(&mut attempt.encoded.body), content_type };
    let (header, mut call) = match Call::open(&gateway.calls.connector, ask).await {
        Ok(answered) => answered,
        Err(failed) => return (outcome_of(&failed).into(), None),
    };
    attempt.status = Some(header.status.as_u16());
    let refused = verdict(header.status.as_u16()).or(is_web_page(&header).then_some(Outcome::Garbage));
    if let Some(outcome) = refused {
        return (outcome.into(), None);
    }
    let mut observer =
        Observer::new(attempt.encoded.route.dialect, operation, form_of(&header, attempt.encoded.route.dialect), false);
    let whole = loop {
        match call.next().await {
            Ok(Some(chunk)) => drop(observer.feed(chunk, false)),
            end => break end.is_ok(),
        }
    };
    observer.feed(Bytes::new(), true);
    let seen = observer.into_seen();
    let outcome = match &seen.error {
        Some(error) => Outcome::StreamError(error.kind),
        None if !whole || seen.cut => Outcome::Cut,
        None => Outcome::Ok,
    };
    let usage = if seen.first_output { shadow.with_pieces(seen.usage) } else { seen.usage };
    let consumed = usage.map(|usage| Consumed::reported(usage).by(seen.model, seen.service_tier));
    attempt.consumed = consumed.map(Box::new);
    (outcome.into(), Some(attempt))
}
