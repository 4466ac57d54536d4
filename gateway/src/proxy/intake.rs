//! From a request header to an exchange that is ready for its first attempt, or answered already.

use std::time::Instant;

use ai_gateway_providers::endpoint::{BodyKind, Endpoint, EndpointError, match_endpoint};
use ai_gateway_providers::error::{ApiError, ErrorKind};
use ai_gateway_providers::scan::{RequestScan, ScanError, opening, scan_json, scan_multipart};
use ai_gateway_providers::{Dialect, Operation};
use bytes::Bytes;
use http::HeaderValue;
use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::body::{self, BodyError};
use super::clocks::{self, Clocks};
use super::exchange::{COST, Request};
use super::labels::Labels;
use super::reply::Refusal;
use super::route::{self, Routed};
use super::{Exchange, Gateway, attempt, calls, count, models, replay, reply, stored};
use crate::config::{OnAbort, StickyBy, Strategy};
use crate::routing::{Asked, Plan, stable_hash};
use crate::snapshot::Admission;

/// Runs the request phase. `true`: the answer has been written.
pub async fn take_in(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
    let refusal = match understand(session, exchange) {
        Err(refusal) => refusal,
        Ok(()) if exchange.endpoint.as_ref().is_some_and(|e| e.operation == Operation::Models) => {
            return models::answer(session, exchange).await.map(|()| true);
        }
        Ok(()) if exchange.endpoint.as_ref().is_some_and(|e| e.operation == Operation::Stored) => {
            match stored::plan(gateway, session, exchange) {
                Ok(()) => return Ok(false),
                Err(error) => error.into(),
            }
        }
        Ok(()) => match read_request(gateway, session, exchange).await {
            Ok(()) if count::is_ours(exchange) => match count::answer(session, exchange).await? {
                Ok(()) => return Ok(true),
                Err(error) => error.into(),
            },
            Ok(()) => match plan(gateway, session, exchange) {
                Ok(()) => {
                    calls::mirror(gateway, session.req_header(), exchange);
                    start_replay(gateway, session, exchange);
                    return Ok(false);
                }
                Err(refusal) => refusal,
            },
            Err(BodyError::Refused(refusal)) => refusal,
            Err(BodyError::Client(error)) => broken_body(exchange, error)?.into(),
        },
    };
    reply::error(session, exchange, refusal).await.map(|()| true)
}

/// Everything that the header alone decides: path, method, key.
fn understand(session: &Session, exchange: &mut Exchange) -> Result<(), Refusal> {
    let header = session.req_header();
    match match_endpoint(&header.method, header.uri.path(), &header.headers) {
        Ok(endpoint) => exchange.endpoint = Some(endpoint),
        Err(error) => {
            exchange.guessed_dialect = error.dialect();
            return Err(endpoint_error(&error));
        }
    }
    match exchange.snapshot.keys.admit(&header.headers, header.uri.query()) {
        Admission::Open => Ok(()),
        Admission::Key(key) => {
            exchange.key = Some(key);
            Ok(())
        }
        Admission::Missing => Err(ApiError::new(
            ErrorKind::Unauthenticated,
            "no API key was sent; send it as `authorization: Bearer …`, `x-api-key` or `api-key`",
        )
        .into()),
        Admission::Wrong => Err(ApiError::new(ErrorKind::Unauthenticated, "the API key is not valid").into()),
    }
}

fn endpoint_error(error: &EndpointError) -> Refusal {
    let kind = match error {
        EndpointError::UnknownPath { .. } => ErrorKind::NotFound,
        EndpointError::WrongMethod { allow, .. } => return Refusal::method_not_allowed(allow),
        EndpointError::NoWebSocket { .. } => {
            let headers = vec![("upgrade", HeaderValue::from_static("HTTP/1.1"))];
            return Refusal::with_headers(ApiError::new(ErrorKind::NoWebSocket, error.to_string()), headers);
        }
        EndpointError::NotSupportedYet { .. } => ErrorKind::NotSupported,
        EndpointError::BadModel { .. } => ErrorKind::InvalidRequest,
    };
    ApiError::new(kind, error.to_string()).into()
}

async fn read_request(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<(), BodyError> {
    let limits = exchange.snapshot.limits;
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
        session.downstream_session.write_continue_response().await.map_err(BodyError::Client)?;
        session.set_close_on_response_before_downstream_finish(true);
    }
    let (body, reservation) = body::read(session, limits, &gateway.buffered).await?;
    let begun = Instant::now();
    let scan = scan(session, exchange.endpoint.as_ref(), &body)?;
    let Routed { model, body, scan } = route::route(gateway, session, exchange, body, scan)?;
    let clocks = Clocks::of(&session.req_header().headers)?;
    exchange.wants_cost = wants_stream_cost(session, exchange, scan.stream);
    if gateway.ledger.is_some() {
        exchange.labels = Labels::of(&session.req_header().headers, scan.labels, &body);
    }
    exchange.request = Some(Request {
        body,
        scan,
        model,
        reservation: Some(reservation),
        json_array: wants_json_array(session, exchange),
        clocks,
        betas: betas(session),
        prompt: None,
        attempts: clocks::attempts(&session.req_header().headers)?,
    });
    exchange.overhead += begun.elapsed();
    Ok(())
}

/// Whether the client wants to be told of the cost in the stream itself (`x-gateway-cost: stream`).
fn wants_stream_cost(session: &Session, exchange: &Exchange, stream: bool) -> bool {
    let asked = session.req_header().headers.get(COST).is_some_and(|value| value == "stream");
    asked
        && (stream || exchange.endpoint.as_ref().is_some_and(|endpoint| endpoint.stream))
        && !wants_json_array(session, exchange)
}

fn start_replay(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) {
    // Pingora judges it once more for the upstream, which never sees it, and would blame the client.
    session.req_header_mut().remove_header(&http::header::CONNECTION);
    let body = exchange.request.as_ref().map(|request| request.body.clone()).unwrap_or_default();
    let drains = exchange.key.as_ref().is_some_and(|key| key.on_abort() == OnAbort::Drain);
    exchange.replay = Some(replay::install(session, body, drains.then(|| gateway.drains.clone())));
}

fn expects_continue(session: &Session) -> bool {
    let expect = session.req_header().headers.get(http::header::EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn scan(session: &Session, endpoint: Option<&Endpoint>, body: &Bytes) -> Result<RequestScan, ApiError> {
    let scanned = match endpoint.map(|endpoint| endpoint.body) {
        Some(BodyKind::Multipart) => {
            let content_type = session.req_header().headers.get(http::header::CONTENT_TYPE);
            scan_multipart(content_type.and_then(|value| value.to_str().ok()).unwrap_or_default(), body)
        }
        Some(BodyKind::Json | BodyKind::None) | None => scan_json(body),
    };
    scanned.map_err(|error: ScanError| ApiError::new(ErrorKind::InvalidRequest, error.to_string()))
}

/// Gemini's streams are server-sent events only when the client asks so.
fn wants_json_array(session: &Session, exchange: &Exchange) -> bool {
    let streams =
        exchange.endpoint.as_ref().is_some_and(|endpoint| endpoint.dialect == Dialect::Gemini && endpoint.stream);
    let query = session.req_header().uri.query().unwrap_or_default();
    streams && !query.split('&').any(|pair| pair == "alt=sse")
}

fn betas(session: &Session) -> Option<Box<str>> {
    let values = session.req_header().headers.get_all("anthropic-beta").iter();
    let betas: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    (!betas.is_empty()).then(|| betas.join(",").into())
}

fn plan(gateway: &Gateway, session: &Session, exchange: &mut Exchange) -> Result<(), Refusal> {
    let (Some(request), Some(endpoint)) = (&exchange.request, &exchange.endpoint) else { return Ok(()) };
    let keeper = stored::keeper_of_previous(gateway, exchange)?;
    let usable = |target: &crate::snapshot::Target| {
        let keeps = keeper.as_ref().is_none_or(|keeper| *keeper == target.provider.name);
        keeps && target.provider.route(endpoint, &target.model).is_some()
    };
    let asked = asked(session, exchange, request);
    exchange.plan = Plan::build(&request.model, &asked, usable, &mut |bound| fastrand::u64(..bound));
    if let Some(most) = request.attempts {
        exchange.plan.limit(most);
    }
    if !exchange.plan.is_empty() {
        return Ok(());
    }
    if exchange.plan.earliest(asked.now).is_some() {
        let (error, headers) = attempt::all_rest(exchange);
        return Err(Refusal::with_headers(error, headers));
    }
    Err(attempt::no_usable_target(exchange).into())
}

/// Bytes of a prompt that are taken for a token.
const BYTES_PER_TOKEN: u64 = 4;
/// Tokens that an answer is expected to have when the request does not bound it.
const USUAL_OUTPUT: u64 = 500;

/// What the strategy wants to know of the request.
fn asked(session: &Session, exchange: &Exchange, request: &Request) -> Asked {
    let output = request.scan.max_tokens.map_or(USUAL_OUTPUT, |most| most.min(4 * USUAL_OUTPUT));
    Asked {
        now: Instant::now(),
        sticky: sticky(session, exchange, request),
        prompt_tokens: request.body.len() as u64 / BYTES_PER_TOKEN,
        output_tokens: output,
    }
}

/// What requests have in common that must go to the same target, as the model's `sticky` says.
fn sticky(session: &Session, exchange: &Exchange, request: &Request) -> Option<u64> {
    let strategy = &request.model.strategy;
    if strategy.strategy != Strategy::Sticky {
        return None;
    }
    let header = session.req_header().headers.get(&strategy.session_header);
    Some(match (strategy.sticky, header, &exchange.key) {
        (StickyBy::Session, Some(session), _) => stable_hash(&[b"session", session.as_bytes()]),
        (StickyBy::Key, _, Some(key)) => stable_hash(&[b"key", key.name.as_bytes()]),
        (StickyBy::Session | StickyBy::Prompt | StickyBy::Key, ..) => {
            let key = exchange.key.as_ref().map_or("", |key| &key.name);
            stable_hash(&[&[key.as_bytes()], &opening(&request.body)[..]].concat())
        }
    })
}

/// A body whose framing broke: a client that is still there gets told, one that left cannot be.
fn broken_body(exchange: &mut Exchange, error: Box<Error>) -> Result<ApiError> {
    match error.etype() {
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::H2Error | ErrorType::WriteError => {
            exchange.client_left = true;
            Err(error)
        }
        ErrorType::ReadTimedout => Ok(ApiError::new(ErrorKind::RequestTimeout, "the request body arrived too slowly")),
        _ => Ok(ApiError::new(
            ErrorKind::InvalidRequest,
            "the request body is broken: its framing (content-length or chunks) does not hold",
        )),
    }
}
