//! A request of the gateway's own, such as a plugin makes: no client, no plugins, no cache. No limit of a client
//! refuses it, so who asks for it makes sure that the client's have room; what it has used is booked, and counts against those
//! of the key that it is made for. Targets are chosen, tried and left as for a client.

use std::sync::Arc;

use ai_gateway_plugins::{HostError, HostErrorKind};
use ai_gateway_providers::answer::Observer;
use ai_gateway_providers::endpoint::match_endpoint;
use ai_gateway_providers::error::{ApiError, ErrorKind, Fault};
use ai_gateway_providers::scan::scan_json;
use ai_gateway_providers::{AnswerForm, Operation};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, header};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::leg::outcome_of;
use crate::ledger::Kind;
use crate::net::call::{Ask, Call};
use crate::proxy::account::admission::Expected;
use crate::proxy::answer::retry_after::retry_after;
use crate::proxy::answer::{form_of, verdict};
use crate::proxy::attempt::encode::AnswerWay;
use crate::proxy::attempt::header::header_for;
use crate::proxy::attempt::step::Step;
use crate::proxy::failure::{CLIENT_LEFT, final_error};
use crate::proxy::plan::{Planner, choose_targets};
use crate::proxy::request::Request;
use crate::proxy::{Exchange, Gateway, Outcome, attempt};
use crate::snapshot::Key;
use crate::telemetry::InFlight;

/// The largest answer.
const MOST: usize = 1 << 20;

/// Asks the targets of `model` that can do it, one after the other as its strategy and `retry` say, until one begins to answer: in
/// OpenAI's dialect, and not for a stream. `key`: whose request it is made for.
///
/// # Errors
/// Why there is no answer, without anything of the request.
pub async fn ask(
    gateway: &Gateway,
    operation: Operation,
    model: &str,
    body: Bytes,
    key: Option<Arc<Key>>,
) -> Result<Bytes, HostError> {
    let path = match operation {
        Operation::Chat => "/v1/chat/completions",
        Operation::Moderation => "/v1/moderations",
        Operation::Embeddings => "/v1/embeddings",
        other => return Err(invalid(format!("plugins cannot ask for {other}"))),
    };
    let endpoint =
        match_endpoint(&Method::POST, path, &HeaderMap::new()).map_err(|error| invalid(error.to_string()))?;
    let mut client = RequestHeader::build(Method::POST, path.as_bytes(), Some(2)).map_err(|_| invalid("no header"))?;
    let json = HeaderValue::from_static("application/json");
    client.insert_header(header::CONTENT_TYPE, json).map_err(|_| invalid("no header"))?;
    let mut exchange = Exchange::new(gateway.current.load_full(), InFlight::uncounted());
    let missing = || HostError::new(HostErrorKind::Misconfigured, format!("there is no model `{model}`"));
    let model = exchange.snapshot.model(model).ok_or_else(missing)?;
    let scan = scan_json(&body).map_err(|error| invalid(error.to_string()))?;
    if scan.stream {
        return Err(invalid("plugins cannot ask for streams"));
    }
    exchange.key = key;
    exchange.request = Some(Request::new(endpoint, body, scan, model));
    plan(gateway, &client.headers, &mut exchange)?;
    let mut own = Own { gateway, exchange: Some(exchange) };
    let answer = send(gateway, &client, own.exchange.as_mut()).await;
    if let Some(booking) = own.book() {
        let _ = booking.await;
    }
    answer
}

fn plan(gateway: &Gateway, headers: &HeaderMap, exchange: &mut Exchange) -> Result<(), HostError> {
    let mut planner = Planner {
        continuity: &gateway.continuity,
        now: gateway.time.instant(),
        random: &mut |bound| fastrand::u64(..bound),
        told: &mut |_, _| (),
        preview: false,
    };
    choose_targets(headers, exchange, &mut planner).map_err(|refusal| told(refusal.error()))?;
    // Where no tokens are told, as in a judgement, none are counted.
    exchange.account.expected = Expected::default();
    Ok(())
}

/// Whatever becomes of the answer, and also if who asked does not wait for it: what was consumed is paid for.
struct Own<'g> {
    gateway: &'g Gateway,
    /// `None` once it is booked.
    exchange: Option<Exchange>,
}

impl Own<'_> {
    /// Books it, in a task that nobody can give up.
    fn book(&mut self) -> Option<JoinHandle<()>> {
        let (mut exchange, gateway) = (self.exchange.take()?, self.gateway.clone());
        let booking = async move {
            super::settle(&gateway, &mut exchange, Kind::Own, 0).await;
        };
        Some(Handle::try_current().ok()?.spawn(booking))
    }
}

impl Drop for Own<'_> {
    fn drop(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.client_left = true;
            if exchange.attempt().is_none_or(|attempt| attempt.status.is_none()) {
                exchange.status = CLIENT_LEFT;
            }
        }
        self.book();
    }
}

/// Leaves in the exchange what its usage is known by.
async fn send(gateway: &Gateway, client: &RequestHeader, exchange: Option<&mut Exchange>) -> Result<Bytes, HostError> {
    let exchange = exchange.ok_or_else(|| invalid("no request"))?;
    let (header, call) = loop {
        let failed = match begin(gateway, client, exchange).await? {
            Ok(begun) => break begun,
            Err(failed) => failed,
        };
        let step = exchange.step_after(failed.outcome);
        exchange.end_attempt(failed.outcome);
        if step == Step::Stop {
            return Err(failed.told(exchange));
        }
        exchange.prepare(step, failed.outcome);
    };
    let answer = read(exchange, &header, call).await;
    exchange.end_attempt(answer.as_ref().map_or_else(|failed| failed.outcome, |_| Outcome::Ok));
    answer.map_err(|failed| failed.told(exchange))
}

/// An attempt that has brought no answer.
struct Failed {
    outcome: Outcome,
    why: String,
}

impl Failed {
    fn told(self, exchange: &Exchange) -> HostError {
        HostError::new(kind_of(final_error(exchange, self.outcome).kind), self.why)
    }
}

fn told(error: &ApiError) -> HostError {
    HostError::new(kind_of(error.kind), &*error.message)
}

fn invalid(why: impl Into<String>) -> HostError {
    HostError::new(HostErrorKind::Invalid, why)
}

/// What an error that a client would be told is to a plugin.
fn kind_of(kind: ErrorKind) -> HostErrorKind {
    match kind {
        ErrorKind::ModelNotFound | ErrorKind::NotFound | ErrorKind::NotSupported | ErrorKind::UpstreamAuth => {
            HostErrorKind::Misconfigured
        }
        ErrorKind::KeyRateLimited | ErrorKind::BudgetExceeded => HostErrorKind::NoRoom,
        kind if kind.fault() == Fault::Caller => HostErrorKind::Invalid,
        _ => HostErrorKind::Unavailable,
    }
}

/// Makes the next attempt, up to the header of its answer.
///
/// # Errors
/// None is left.
async fn begin(
    gateway: &Gateway,
    client: &RequestHeader,
    exchange: &mut Exchange,
) -> Result<Result<(ResponseHeader, Call), Failed>, HostError> {
    let repeat = exchange.repeat.take();
    if let Some(repeat) = &repeat {
        tokio::time::sleep(repeat.pause()).await;
    }
    let next = attempt::next_attempt(&gateway.continuity, exchange, repeat, gateway.time.instant());
    let Ok(mut attempt) = next else {
        let unavailable = || HostError::new(HostErrorKind::Unavailable, "no target is left");
        return Err(exchange.error.take().map_or_else(unavailable, |error| told(&error)));
    };
    let name = attempt.target.provider.name.clone();
    let ready = match attempt::approach(&mut attempt, &gateway.http, &gateway.resolver, &exchange.id).await {
        Ok(peer) => match header_for(&attempt, client, exchange, exchange.plugins.as_deref()) {
            Ok(header) => Ok(Ask {
                peer,
                header,
                body: std::mem::take(&mut attempt.encoded.body),
                content_type: "application/json",
            }),
            Err(_) => Err(Failed { outcome: Outcome::Withheld, why: "the request has no header".to_owned() }),
        },
        Err((outcome, _)) => Err(Failed { outcome, why: format!("provider `{name}` cannot be reached") }),
    };
    attempt.called = ready.is_ok();
    exchange.attempts.push(attempt);
    let ask = match ready {
        Ok(ask) => ask,
        Err(failed) => return Ok(Err(failed)),
    };
    let (header, call) = match Call::open(&gateway.calls.connector, ask).await {
        Ok(opened) => opened,
        Err(failed) => {
            let why = format!("provider `{name}` did not answer");
            return Ok(Err(Failed { outcome: outcome_of(&failed), why }));
        }
    };
    let status = header.status.as_u16();
    if let Some(attempt) = exchange.attempt_mut() {
        attempt.status = Some(status);
        attempt.retry_after = retry_after(&header.headers);
    }
    Ok(match verdict(status) {
        Some(outcome) => Err(Failed { outcome, why: format!("provider `{name}` answered with status {status}") }),
        None => Ok((header, call)),
    })
}

/// Reads the answer of the current attempt.
async fn read(exchange: &mut Exchange, header: &ResponseHeader, mut call: Call) -> Result<Bytes, Failed> {
    let failed = |outcome, why: String| Failed { outcome, why };
    let (Some(attempt), Some(Request { endpoint, .. })) = (exchange.attempts.last_mut(), &exchange.request) else {
        return Err(failed(Outcome::Withheld, "no request".to_owned()));
    };
    let (name, operation) = (attempt.target.provider.name.clone(), endpoint.operation);
    let (dialect, way) = (attempt.encoded.route.dialect, attempt.encoded.answer.begin());
    let form = form_of(header, dialect);
    let observer = match way {
        AnswerWay::Straight | AnswerWay::Begun => Observer::new(endpoint.dialect, operation, form, false),
        AnswerWay::Translated(translation) => Observer::translating(*translation, operation, form),
        AnswerWay::Converted(conversion) => Observer::converting(*conversion),
    };
    exchange.status = header.status.as_u16();
    let observer = exchange.upstream_answer.watch(observer, form);
    let mut whole = BytesMut::new();
    loop {
        let next = call.next().await;
        let next = next.map_err(|_| failed(Outcome::Cut, format!("the answer of provider `{name}` broke off")))?;
        let end = next.is_none();
        whole.extend_from_slice(&observer.feed(next.unwrap_or_default(), end));
        if whole.len() > MOST {
            return Err(failed(Outcome::Garbage, format!("the answer of provider `{name}` is too large")));
        }
        if end {
            break;
        }
    }
    let seen = observer.seen();
    let outcome = match &seen.error {
        Some(error) => Outcome::StreamError(error.kind),
        None if seen.cut => Outcome::Cut,
        None if form == AnswerForm::Opaque => Outcome::Garbage,
        None => return Ok(whole.freeze()),
    };
    Err(failed(outcome, format!("provider `{name}` gave no answer")))
}
