//! A request of the gateway's own, such as a plugin makes: no client, no plugins, no cache. No limit
//! refuses it, so who asks for it makes sure that the client's have room; what it has used is booked, and counts against those
//! of the key that it is made for.

use std::sync::Arc;

use ai_gateway_providers::answer::Observer;
use ai_gateway_providers::endpoint::match_endpoint;
use ai_gateway_providers::scan::scan_json;
use ai_gateway_providers::{AnswerForm, Operation};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, header};
use pingora_http::RequestHeader;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::call::{Ask, Call};
use crate::proxy::answer::{form_of, verdict};
use crate::proxy::attempt::{self, Attempt};
use crate::proxy::encode::AnswerWay;
use crate::proxy::exchange::Request;
use crate::proxy::failure::CLIENT_LEFT;
use crate::proxy::{Exchange, Gateway, book, encode, limit};
use crate::snapshot::{Key, Target};
use crate::telemetry::InFlight;

/// The largest answer.
const MOST: usize = 1 << 20;

/// Asks the first target of `model` that can do it, in OpenAI's dialect, and not for a stream. `key`: whose request it is made for.
///
/// # Errors
/// Why there is no answer, without anything of the request.
pub async fn ask(
    gateway: &Gateway,
    operation: Operation,
    model: &str,
    body: Bytes,
    key: Option<Arc<Key>>,
) -> Result<Bytes, String> {
    let path = match operation {
        Operation::Chat => "/v1/chat/completions",
        Operation::Moderation => "/v1/moderations",
        Operation::Embeddings => "/v1/embeddings",
        other => return Err(format!("plugins cannot ask for {other}")),
    };
    let endpoint = match_endpoint(&Method::POST, path, &HeaderMap::new()).map_err(|error| error.to_string())?;
    let mut client = RequestHeader::build(Method::POST, path.as_bytes(), Some(2)).map_err(|_| "no header")?;
    let json = HeaderValue::from_static("application/json");
    client.insert_header(header::CONTENT_TYPE, json).map_err(|_| "no header")?;
    let mut exchange = Exchange::new(gateway.current.load_full(), InFlight::uncounted());
    let model = exchange.snapshot.model(model).ok_or_else(|| format!("there is no model `{model}`"))?;
    let scan = scan_json(&body).map_err(|error| error.to_string())?;
    if scan.stream {
        return Err("plugins cannot ask for streams".to_owned());
    }
    let usable = |target: &&Arc<Target>| target.provider.route(&endpoint, &target.model).is_some();
    let target = model.targets.iter().find(usable).cloned();
    let target = target.ok_or_else(|| format!("no target of `{}` offers {operation}", model.name))?;
    exchange.key = key;
    exchange.endpoint = Some(endpoint);
    exchange.request = Some(Request::new(body, scan, model));
    let mut own = Own { gateway, exchange: Some(exchange) };
    let answer = send(gateway, &client, own.exchange.as_mut(), &target).await;
    if let Some(booking) = own.book() {
        let _ = booking.await;
    }
    answer
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
            exchange.count_tokens().await;
            limit::charge_own(&gateway.limits, &exchange);
            book::book_own(&gateway, &exchange);
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
async fn send(
    gateway: &Gateway,
    client: &RequestHeader,
    exchange: Option<&mut Exchange>,
    target: &Arc<Target>,
) -> Result<Bytes, String> {
    let name = &target.provider.name;
    let exchange = exchange.ok_or("no request")?;
    let (Some(request), Some(operation)) = (&exchange.request, exchange.operation()) else {
        return Err("no request".into());
    };
    let encoded = encode::encode(target, exchange, &gateway.continuity).map_err(|error| error.message)?;
    let credential = target.any_credential().unwrap_or_else(|| fastrand::usize(..target.states.len()));
    let mut attempt = Attempt::uncounted(target.clone(), credential, encoded, request.clocks);
    let approached = attempt::approach(&mut attempt, &gateway.http, &gateway.resolver, &exchange.id).await;
    let peer = approached.map_err(|_| format!("provider `{name}` cannot be reached"))?;
    let header = attempt::header_for(&attempt, client, exchange).map_err(|_| "the request has no header")?;
    let ask = Ask { peer, header, body: std::mem::take(&mut attempt.body) };
    attempt.called = true;
    let (dialect, way) = (attempt.route.dialect, std::mem::replace(&mut attempt.answer, AnswerWay::Straight));
    exchange.attempts.push(attempt);
    let opened = Call::open(&gateway.calls.connector, ask).await;
    let (header, mut call) = opened.map_err(|_| format!("provider `{name}` did not answer"))?;
    let status = header.status.as_u16();
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.status = Some(status);
    }
    if let Some(_refused) = verdict(status) {
        return Err(format!("provider `{name}` answered with status {status}"));
    }
    let form = form_of(&header, dialect);
    let observer = match way {
        AnswerWay::Straight => Observer::new(exchange.dialect(), operation, form, false),
        AnswerWay::Translated(translation) => Observer::translating(*translation, operation, form),
        AnswerWay::Converted(conversion) => Observer::converting(*conversion),
    };
    (exchange.status, exchange.form) = (status, form);
    let observer = exchange.observer.insert(observer);
    let mut whole = BytesMut::new();
    loop {
        let next = call.next().await.map_err(|_| format!("the answer of provider `{name}` broke off"))?;
        let end = next.is_none();
        whole.extend_from_slice(&observer.feed(next.unwrap_or_default(), end));
        if whole.len() > MOST {
            return Err(format!("the answer of provider `{name}` is too large"));
        }
        if end {
            break;
        }
    }
    let seen = observer.seen();
    if seen.error.is_some() || seen.cut || form == AnswerForm::Opaque {
        return Err(format!("provider `{name}` gave no answer"));
    }
    Ok(whole.freeze())
}
