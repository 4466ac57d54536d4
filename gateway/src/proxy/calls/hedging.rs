//! Hedging: when the first target of a stream is slow to begin, the next one is asked too, and the first that produces
//! is kept.
//!
//! The race is run while Pingora waits for the peer of the attempt. Whoever is done first goes to Pingora as that peer;
//! the other is dropped, which ends its call at once. A call that *failed* is given to Pingora all the same, to be judged
//! like any attempt, and its rival becomes the next attempt.

use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::{BError, Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::allowance::Spent;
use super::leg::Leg;
use crate::config::{HedgeAfter, HedgeConfig};
use crate::net::call::Ask;
use crate::proxy::account::admission;
use crate::proxy::answer::type_of;
use crate::proxy::attempt::encode;
use crate::proxy::attempt::header::header_for;
use crate::proxy::attempt::{self, Attempt};
use crate::proxy::plugins::Run;
use crate::proxy::{Exchange, Gateway, Outcome, failure};

/// A second call under way.
pub struct Hedge {
    attempt: Attempt,
    leg: Leg,
}

/// Whether the current attempt may get a rival.
pub fn may_hedge(exchange: &Exchange) -> bool {
    settings(exchange).is_some()
        && exchange.wants_stream()
        && exchange.plan.has_other_target(exchange.snapshot.time.instant())
        && exchange.replay.is_some()
        && exchange.resume.is_none()
}

/// Makes a second call that is under way the current attempt, after the one before has failed. `false`: there is none, or
/// what failed has shown that it is of no use.
pub fn go_on_with_hedge(exchange: &mut Exchange) -> bool {
    let Some(hedge) = &exchange.hedge else { return false };
    let its_turn = exchange.plan.adopt_rival(&hedge.attempt.target, hedge.attempt.credential);
    if !its_turn {
        give_up(exchange);
    }
    its_turn
}

fn settings(exchange: &Exchange) -> Option<HedgeConfig> {
    exchange.request.as_ref()?.model.hedge
}

/// Runs the current attempt at `peer`, and after a while its rival, until one has produced or failed.
///
/// # Errors
/// The client left, or a clock ran out.
pub async fn race(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
    peer: HttpPeer,
) -> Result<Box<HttpPeer>> {
    let client = session.req_header().clone();
    let Some(current) = exchange.attempt() else { return Ok(Box::new(peer)) };
    let mut first = start(gateway, exchange, current, &client, peer, exchange.plugins.as_deref())?;
    exchange.expect_output();
    if let Some(current) = exchange.attempt_mut() {
        current.called = true;
    }
    let begun = tokio::select! {
        biased;
        _ = first.ripen() => Ok(None),
        error = watch(session) => Err(error),
        hedge = rival(gateway, exchange, &client) => Ok(Some(hedge)),
    };
    match begun {
        Ok(None) => handed(first),
        Ok(Some(hedge)) => decide(session, exchange, first, hedge).await,
        Err(error) => Err(failure::attempt_broke(exchange, error.into_down(), false)),
    }
}

/// The attempt before has failed: its rival is the attempt now.
///
/// # Errors
/// The client left, or a clock ran out.
pub async fn take_over(session: &mut Session, exchange: &mut Exchange) -> Result<Box<HttpPeer>> {
    let Some(Hedge { attempt, mut leg }) = exchange.hedge.take() else { return Err(unready()) };
    become_current(exchange, attempt);
    tokio::select! {
        biased;
        _ = leg.ripen() => {}
        error = watch(session) => return Err(failure::attempt_broke(exchange, error.into_down(), false)),
    }
    handed(leg)
}

/// Both run: the first that produces wins.
async fn decide(
    session: &mut Session,
    exchange: &mut Exchange,
    mut first: Leg,
    mut hedge: Hedge,
) -> Result<Box<HttpPeer>> {
    loop {
        tokio::select! {
            biased;
            judged = first.ripen() => {
                exchange.hedge = Some(hedge);
                if judged.is_ok() {
                    give_up(exchange);
                }
                return handed(first);
            }
            judged = hedge.leg.ripen(), if hedge.leg.failed().is_none() => {
                if judged.is_ok() {
                    let told = first.told();
                    drop(first);
                    let consumed = exchange.attempt().and_then(|loser| exchange.consumed_by_loser(loser, Outcome::Hedged, &told));
                    let Some(loser) = exchange.attempt_mut() else { return Err(unready()) };
                    loser.consumed = consumed;
                    loser.lose();
                    let lost = loser.credential;
                    exchange.plan.prefer_rival(hedge.attempt.credential, lost);
                    become_current(exchange, hedge.attempt);
                    return handed(hedge.leg);
                }
            }
            error = watch(session) => {
                exchange.hedge = Some(hedge);
                return Err(failure::attempt_broke(exchange, error.into_down(), false));
            }
        }
    }
}

/// Ends a second call that is still under way, and notes it before the attempt that made it needless.
pub fn give_up(exchange: &mut Exchange) {
    let Some(Hedge { mut attempt, leg }) = exchange.hedge.take() else { return };
    let outcome = if exchange.client_left { Outcome::ClientLeft } else { Outcome::Hedged };
    let outcome = leg.failed().unwrap_or(outcome);
    attempt.retry_after = leg.retry_after();
    attempt.end(outcome);
    attempt.rival = true;
    attempt.consumed = exchange.consumed_by_loser(&attempt, outcome, &leg.told());
    drop(leg);
    let last = exchange.attempts.len().saturating_sub(1);
    exchange.attempts.insert(last, attempt);
}

/// `attempt` is the current one, with what is left of its clocks.
fn become_current(exchange: &mut Exchange, attempt: Attempt) {
    exchange.forget_failure();
    exchange.repeat = None;
    if let Some(replay) = &exchange.replay {
        let (clocks, ran) = (attempt.clocks, attempt.started.elapsed());
        replay.begin_attempt(clocks.total.saturating_sub(ran));
        replay.expect_output(clocks.first_token.saturating_sub(ran));
    }
    exchange.attempts.push(attempt);
}

/// The second call, when it is time for it; pends for ever if there is to be none.
async fn rival(gateway: &Gateway, exchange: &Exchange, client: &RequestHeader) -> Hedge {
    if let Some(spent) = allowed(gateway, exchange).await
        && let Some(hedge) = second(gateway, exchange, client).await
    {
        spent.keep();
        return hedge;
    }
    std::future::pending().await
}

/// Waits until the first target has had its time, and takes a second call from the model's allowance.
async fn allowed(gateway: &Gateway, exchange: &Exchange) -> Option<Spent> {
    let (settings, request, current) = (settings(exchange)?, exchange.request.as_ref()?, exchange.attempt()?);
    let allowance = gateway.calls.allowance(&request.model.name);
    allowance.earn(settings.max_extra);
    let p95 = || current.state().quantile(gateway.time.instant(), 0.95);
    let patience = match settings.after {
        HedgeAfter::Fixed(after) => after,
        HedgeAfter::P95 => p95()?,
    };
    tokio::time::sleep(patience.saturating_sub(current.started.elapsed())).await;
    let in_flight = gateway.telemetry.metrics.in_flight_count();
    if in_flight <= i64::from(settings.max_in_flight) { allowance.spend() } else { None }
}

async fn second(gateway: &Gateway, exchange: &Exchange, client: &RequestHeader) -> Option<Hedge> {
    let now = gateway.time.instant();
    let encoded = encode::encode(exchange.plan.rival(now)?, exchange, &gateway.continuity).ok()?;
    let clocks = exchange.request.as_ref()?.clocks;
    let held = admission::hold(exchange, exchange.plan.rival(now)?).ok()?;
    let mut attempt = Attempt::new(exchange.plan.begin_rival(now)?, encoded, clocks).holding(held);
    let approached = attempt::approach(&mut attempt, &gateway.http, &gateway.resolver, &exchange.id).await;
    // If one of them fails, the first call goes on, and no client hears of it.
    let plugins = exchange.plugins.as_ref().map(|run| run.of_copy());
    let leg = start(gateway, exchange, &attempt, client, approached.ok()?, plugins.as_deref()).ok()?;
    attempt.called = true;
    Some(Hedge { attempt, leg })
}

fn start(
    gateway: &Gateway,
    exchange: &Exchange,
    attempt: &Attempt,
    client: &RequestHeader,
    peer: HttpPeer,
    plugins: Option<&Run>,
) -> Result<Leg> {
    let header = header_for(attempt, client, exchange, plugins)?;
    let address = peer.address().as_inet().copied().ok_or_else(unready)?;
    let request = exchange.request.as_ref().ok_or_else(unready)?;
    let operation = request.endpoint.operation;
    let content_type = type_of(attempt.encoded.route.dialect, operation, request.wants_stream());
    let ask = Ask { peer, header, body: attempt.encoded.body.clone(), content_type };
    let blocked_fails = Outcome::Blocked.moves_on(&request.model.retry);
    let connector = gateway.calls.connector.clone();
    Ok(Leg::new(connector, address, ask, attempt.encoded.route.dialect, operation, blocked_fails))
}

/// Resolves when the client leaves or a clock of the attempt runs out.
async fn watch(session: &mut Session) -> BError {
    loop {
        if let Err(error) = session.downstream_session.read_body_or_idle(true).await {
            return error;
        }
    }
}

fn handed(leg: Leg) -> Result<Box<HttpPeer>> {
    leg.hand_over().ok_or_else(unready)
}

fn unready() -> BError {
    Error::explain(ErrorType::InternalError, "nothing is known of the call")
}
