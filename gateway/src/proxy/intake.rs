//! The request phase: the client's request is read and gets its plan, or is answered at once.

use std::time::Instant;

use ai_gateway_providers::Operation;
use ai_gateway_providers::error::{ApiError, ErrorKind};
use bytes::Bytes;
use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::cached::{self, Entered};
use super::plugins::{self, Decided, Screener};
use crate::config::OnAbort;
use crate::proxy::account::admission;
use crate::proxy::attempt::step;
use crate::proxy::plan::{self, Next, Planner};
use crate::proxy::reply::deliver::write_continue;
use crate::proxy::reply::{Refusal, Stopped};
use crate::proxy::reply::{count, models};
use crate::proxy::request::body::{self, BodyError, Received, Room, Sender};
use crate::proxy::request::labels::Labels;
use crate::proxy::waiting::aside::aside;
use crate::proxy::{Exchange, Gateway, calls, explain, replay, reply, stored, trace};
use crate::routing::rules::{Rule, Verdict};

/// Runs the request phase. `true`: the answer has been written.
pub async fn take_in(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
    match run(gateway, session, exchange).await {
        Ok(answered) => Ok(answered),
        Err(Stopped::Refused(refusal)) => reply::error(session, exchange, refusal).await.map(|()| true),
        Err(Stopped::Client(error)) => Err(error),
    }
}

async fn run(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<bool, Stopped> {
    let explains = explain::is_asked(&session.req_header().headers);
    understand(session, exchange).await?;
    if exchange.operation() == Some(Operation::Models) && !explains {
        models::answer(session, exchange).await?;
        return Ok(true);
    }
    let (body, room) = read_body(gateway, session, exchange).await?;
    if explains {
        explain::answer(gateway, session, exchange, body).await?;
        return Ok(true);
    }
    match plugins::on_request(gateway, session, exchange, body).await? {
        Decided::Go(body) => ask(gateway, session, exchange, body, room).await,
        Decided::Say(said, before) => {
            plugins::answer(gateway, session, exchange, *said, &before).await?;
            Ok(true)
        }
    }
}

/// Everything that the header alone decides: path, method, key, and whether it may have this explained.
async fn understand(session: &mut Session, exchange: &mut Exchange) -> Result<(), Refusal> {
    let header = session.req_header();
    plan::find_endpoint(header, exchange)?;
    let address = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
    plan::admit(header, address, exchange).await?;
    explain::allow(&header.headers, exchange)?;
    Ok(())
}

/// The body, and its share of what all exchanges may hold. What asks for a stored answer has none that anybody reads.
async fn read_body(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
) -> Result<(Bytes, Option<Room>), Stopped> {
    if matches!(exchange.operation(), Some(Operation::Stored | Operation::Models)) {
        return Ok((Bytes::new(), None));
    }
    let limits = exchange.snapshot.body_limits;
    if session.req_header().headers.get_all(http::header::TRANSFER_ENCODING).iter().nth(1).is_some() {
        // Two servers may see the end of such a body at different places (RFC 9112 §6.1).
        session.set_keepalive(None);
        let message = "the request has more than one `transfer-encoding`";
        return Err(ApiError::new(ErrorKind::InvalidRequest, message).into());
    }
    if body::announced_length(session).is_some_and(|length| length > limits.max_body) {
        return Err(body::too_large(limits).into());
    }
    if expects_continue(session) {
        // Pingora takes the interim answer for the final one, which would cost the connection.
        session.set_close_on_response_before_downstream_finish(false);
        if let Err(error) = write_continue(session).await {
            return Err(broken_body(session, exchange, error));
        }
        session.set_close_on_response_before_downstream_finish(true);
    }
    let sender = Sender { key: exchange.key.as_deref(), limits: &gateway.limits, ending: &gateway.ending };
    let Received { body, mut room, waited } = match body::read(session, limits, &gateway.buffered, sender).await {
        Ok(received) => received,
        Err(BodyError::Refused(refusal)) => return Err(refusal.into()),
        Err(BodyError::Limited(refusal)) => return Err(admission::refuse(&gateway.limits, exchange, &refusal).into()),
        Err(BodyError::Client(error)) => return Err(broken_body(session, exchange, error)),
    };
    exchange.account.waited = waited;
    let body = stored::with_items(&gateway.continuity, exchange, body, &mut room)?;
    Ok((body, Some(room)))
}

/// What becomes of a request whose body is here: it is answered from what there is (`true`), or gets its plan.
///
/// # Errors
/// It is refused, or the client left meanwhile.
async fn ask(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
    body: Bytes,
    room: Option<Room>,
) -> Result<bool, Stopped> {
    let read = aside(body.len(), || {
        plan(gateway, exchange, |exchange, planner| {
            let next = plan::read(session.req_header(), body, exchange, planner);
            if let Some(request) = &mut exchange.request {
                request.room = room;
            }
            next
        })
    });
    match read? {
        Next::Count => {
            admission::admit_free(gateway, session, exchange).await?;
            count::answer(session, exchange).await?;
            return Ok(true);
        }
        Next::Ask => {}
    }
    if let Some((in_body, body)) = exchange.request.as_ref().map(|request| (request.scan.labels, request.body.clone()))
    {
        read_labels(gateway, session, exchange, in_body, &body);
    }
    trace::see_request(exchange);
    let call = match cached::enter(gateway, session, exchange).await? {
        Entered::Answered => return Ok(true),
        Entered::Asks => None,
        Entered::Leads(call) => Some(call),
    };
    plan_patiently(gateway, session, exchange).await?;
    admission::admit(gateway, session, exchange).await?;
    calls::mirror(gateway, session.req_header(), exchange);
    let screener = match call {
        Some(call) => {
            cached::lead(gateway, session, exchange, *call);
            None
        }
        None => Screener::of(exchange, session.req_header()),
    };
    start_replay(gateway, session, exchange, screener);
    Ok(false)
}

/// Plans, and again while all targets rest only because their providers asked for it, and not for long.
///
/// # Errors
/// No target can be asked, or the client left meanwhile.
async fn plan_patiently(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<(), Stopped> {
    if exchange.operation() == Some(Operation::Stored) {
        return Ok(());
    }
    let choose = |session: &Session, exchange: &mut Exchange| {
        plan(gateway, exchange, |exchange, planner| {
            plan::choose_targets(&session.req_header().headers, exchange, planner)
        })
    };
    let mut planned = choose(session, exchange);
    let longest = exchange.request.as_ref().map(|request| request.model.retry.max_wait).unwrap_or_default();
    let until = Instant::now() + longest;
    while planned.is_err() {
        let left = until.saturating_duration_since(Instant::now());
        let Some(wait) = exchange.plan.worth_waiting(gateway.time.instant(), left) else { break };
        step::wait(session, exchange, step::spread(wait), &gateway.ending).await?;
        planned = choose(session, exchange);
    }
    Ok(planned?)
}

fn plan<T>(
    gateway: &Gateway,
    exchange: &mut Exchange,
    plan: impl FnOnce(&mut Exchange, &mut Planner<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let begun = Instant::now();
    let mut planner = Planner {
        continuity: &gateway.continuity,
        now: gateway.time.instant_or(begun),
        random: &mut |bound| fastrand::u64(..bound),
        told: &mut |rule: &Rule, verdict: Verdict<'_>| {
            if matches!(verdict, Verdict::Broke(_)) {
                gateway.telemetry.metrics.route_broke(&rule.name);
            }
        },
        preview: false,
    };
    let next = plan(exchange, &mut planner);
    exchange.overhead += begun.elapsed();
    next
}

/// What the client says for its own accounts, `in_body` and before it; of use only where there are any.
pub fn read_labels(gateway: &Gateway, session: &Session, exchange: &mut Exchange, in_body: bool, body: &[u8]) {
    if gateway.ledger.is_some() || exchange.trace.is_some() {
        exchange.account.labels = Labels::of(&session.req_header().headers, in_body, body);
        plugins::label(exchange);
    }
}

fn start_replay(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange, screener: Option<Box<Screener>>) {
    // Pingora judges it once more for the upstream, which never sees it, and would blame the client.
    session.req_header_mut().remove_header(&http::header::CONNECTION);
    let body = exchange.request.as_ref().map(|request| request.body.clone()).unwrap_or_default();
    let drains = exchange.key.as_ref().is_some_and(|key| key.on_abort() == OnAbort::Drain);
    let drains = drains.then(|| gateway.drains.clone());
    exchange.replay = Some(replay::install(session, body, drains, screener, &gateway.ending));
}

fn expects_continue(session: &Session) -> bool {
    let expect = session.req_header().headers.get(http::header::EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// A body whose framing broke: a client that is still there gets told, one that left cannot be.
fn broken_body(session: &mut Session, exchange: &mut Exchange, error: Box<Error>) -> Stopped {
    // Nobody knows where such a body ends and the next request begins (RFC 9112 §2.2).
    session.set_keepalive(None);
    match error.etype() {
        ErrorType::ConnectionClosed
        | ErrorType::ReadError
        | ErrorType::H2Error
        | ErrorType::WriteError
        | ErrorType::WriteTimedout => {
            exchange.client_left = true;
            error.into()
        }
        ErrorType::ReadTimedout => {
            ApiError::new(ErrorKind::RequestTimeout, "the request body arrived too slowly").into()
        }
        _ => ApiError::new(
            ErrorKind::InvalidRequest,
            "the request body is broken: its framing (content-length or chunks) does not hold",
        )
        .into(),
    }
}
