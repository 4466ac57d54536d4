//! Answers that a provider keeps (Responses, Anthropic's threads): the provider that made one is asked for it, with the credential
//! that it was made with and nobody else, and only by the key that it was made for. Of translated answers, which no provider keeps,
//! this process keeps the items: many clients refer to them by their ids.

use std::sync::Arc;

use ai_gateway_providers::error::{ApiError, ErrorKind};
use ai_gateway_providers::scan::{self, Field, RequestScan};
use ai_gateway_providers::{Dialect, Operation};
use bytes::Bytes;
use pingora_http::RequestHeader;

use crate::continuity::{Continuity, Keeper};
use crate::proxy::plan::Planner;
use crate::proxy::reply::Refusal;
use crate::proxy::request::Request;
use crate::proxy::request::body::{self, Room};
use crate::proxy::request::clocks::Clocks;
use crate::proxy::{Exchange, Gateway};
use crate::routing::{Asked, Plan};
use crate::snapshot::Provider;

/// Where requests name the answer that they go on from.
const PREVIOUS: &str = "previous_response_id";
const THREAD: &str = "thread";

/// Plans a request that names a stored answer in its path.
///
/// # Errors
/// There is no such answer for this key.
pub fn plan(header: &RequestHeader, exchange: &mut Exchange, planner: &Planner<'_>) -> Result<(), ApiError> {
    let id = exchange.endpoint().and_then(|endpoint| endpoint.stored.clone()).unwrap_or_default();
    let missing = || ApiError::new(ErrorKind::NotFound, format!("Response with id '{id}' not found.")).with_param("id");
    let keeper = keeper(planner.continuity, exchange, &id).ok_or_else(missing)?;
    let provider = exchange.snapshot.provider(&keeper.provider).ok_or_else(missing)?;
    let model = exchange.snapshot.any_model_of(provider).ok_or_else(missing)?;
    exchange.plan = Plan::build(&model, &Asked::anything(planner.now), |_| None, &mut |_| 0);
    exchange.plan.keep_to(|target| keeper.credential_at(target));
    let clocks = Clocks::of(&header.headers)?;
    exchange.set_request(|endpoint| Request {
        clocks,
        ..Request::new(endpoint, Bytes::new(), RequestScan::default(), model)
    });
    Ok(())
}

/// Who must answer because the request goes on from an answer that is kept there; `None`: anybody.
///
/// # Errors
/// The answer, or the conversation, is not known for this key.
pub fn keeper_of_previous(continuity: &Continuity, exchange: &Exchange) -> Result<Option<Keeper>, ApiError> {
    let Some(Request { scan, model, .. }) = &exchange.request else { return Ok(None) };
    let is_responses = exchange.dialect() == Dialect::OpenAiResponses;
    if is_responses && scan.conversation && exchange.key.is_some() {
        // It was made past the gateway: nobody knows whose it is.
        let message = "`conversation` is not known to be this key's: send what was said, or `previous_response_id`";
        return Err(ApiError::new(ErrorKind::InvalidRequest, message).with_param("conversation"));
    }
    let Some(id) = &scan.previous else { return Ok(None) };
    let (what, param, code) = match exchange.dialect() {
        Dialect::OpenAiResponses => ("Previous response", PREVIOUS, "previous_response_not_found"),
        // Anthropic's SDKs then send the whole conversation, as a new thread.
        Dialect::Anthropic if scan.thread => ("Previous message", THREAD, "thread_not_found"),
        _ => return Ok(None),
    };
    let is_target = |keeper: &Keeper| model.targets.iter().any(|target| target.provider.name == keeper.provider);
    let keeper = keeper(continuity, exchange, id).filter(|keeper| is_responses || is_target(keeper));
    keeper.map(Some).ok_or_else(|| {
        ApiError::new(ErrorKind::InvalidRequest, format!("{what} with id '{id}' not found."))
            .with_param(param)
            .with_code(code)
    })
}

/// What the client is told that goes on from an answer which is kept where its request cannot go.
pub fn kept_elsewhere(request: &Request) -> ApiError {
    let Request { model, endpoint, .. } = request;
    let param = if endpoint.dialect == Dialect::Anthropic { THREAD } else { PREVIOUS };
    let message = format!(
        "no provider of model `{}` that offers {} keeps the answer that `{param}` names",
        model.name, endpoint.operation
    );
    ApiError::new(ErrorKind::InvalidRequest, message).with_param(param)
}

/// Who keeps the answer `id`. What was made before this process began is not known; where no keys divide the
/// clients and only one provider can have made it, that one is asked.
fn keeper(continuity: &Continuity, exchange: &Exchange, id: &str) -> Option<Keeper> {
    let key = exchange.key.as_deref();
    if let Some(keeper) = continuity.recall_stored(key, id) {
        return Some(keeper);
    }
    let keeps = |provider: &&Arc<Provider>| match exchange.dialect() {
        Dialect::Anthropic => provider.is_anthropic(),
        _ => provider.dialects.contains(&Dialect::OpenAiResponses),
    };
    let providers = exchange.snapshot.providers();
    let mut candidates = providers.into_iter().filter(keeps);
    let only = candidates.next().filter(|_| key.is_none())?;
    candidates.next().is_none().then(|| Keeper { provider: only.name.clone(), credential: None })
}

/// The body with the items of translated answers in the place of its references to them.
///
/// # Errors
/// It becomes larger than a body may be.
pub fn with_items(
    continuity: &Continuity,
    exchange: &Exchange,
    body: Bytes,
    room: &mut Room,
) -> Result<Bytes, Refusal> {
    if exchange.dialect() != Dialect::OpenAiResponses {
        return Ok(body);
    }
    let key = exchange.key.as_deref();
    let recall = |reference: Field<String>| Some((reference.span, continuity.recall_item(key, &reference.value)?));
    let items: Vec<_> = scan::item_references(&body).into_iter().filter_map(recall).collect();
    if items.is_empty() {
        return Ok(body);
    }
    let limits = exchange.snapshot.body_limits;
    let added: usize = items.iter().map(|(_, item)| item.len()).sum();
    if body.len() + added > limits.max_body {
        return Err(body::too_large(limits).into());
    }
    room.grow(added, limits.max_buffered)?;
    let items: Vec<_> = items.iter().map(|(span, item)| (span.clone(), &**item)).collect();
    Ok(scan::splice(&body, &items).into())
}

/// Remembers the items of a complete translated answer, and what its client may lose of it, before the client has all of it and may
/// go on.
fn remember_turn(gateway: &Gateway, exchange: &mut Exchange) {
    let Some(observer) = exchange.upstream_answer.observer.as_mut().filter(|observer| observer.seen().complete) else {
        return;
    };
    let (items, memory) = (observer.take_items(), observer.take_memory());
    if !items.is_empty() {
        gateway.continuity.remember_items(exchange.key.as_deref(), items);
    }
    if let Some(memory) = memory {
        gateway.continuity.remember_turn(exchange.key.as_deref(), memory);
    }
}

/// Remembers who keeps the answer of which the client is about to learn the id: it may ask for it while it is still made.
pub fn remember(gateway: &Gateway, exchange: &mut Exchange) {
    if exchange.stored || !exchange.committed {
        return;
    }
    remember_turn(gateway, exchange);
    let asked = exchange.operation() == Some(Operation::Chat);
    let (Some(attempt), Some(observer)) = (exchange.attempt(), &exchange.upstream_answer.observer) else { return };
    let kept = match exchange.dialect() {
        Dialect::OpenAiResponses => attempt.encoded.route.dialect == Dialect::OpenAiResponses,
        Dialect::Anthropic => exchange.request.as_ref().is_some_and(|request| request.scan.thread),
        _ => false,
    };
    if asked
        && kept
        && let Some(id) = &observer.seen().id
    {
        let key = exchange.key.as_deref();
        gateway.continuity.remember_stored(key, id, Keeper::of(&attempt.target, attempt.credential));
        exchange.stored = true;
    }
}
