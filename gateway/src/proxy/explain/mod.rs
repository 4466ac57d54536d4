//! `explain`: where a request would go, and why, told by the code that a live request runs, without asking anybody.
//!
//! [`explain`] gives an exchange its plan as the live path does and reads the [`Explanation`] off it. The live path answers
//! with it where a client sends `x-gateway-explain: 1` ([`answer`]); the command line has [`Offline`]. Nothing moves by it: no
//! turn, no state of a target, no count of a limit. An explanation holds no secret and nothing of the prompt.

mod offline;
mod read;
mod said;

use std::time::Instant;

use ai_gateway_providers::error::{ApiError, ErrorKind};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

pub use offline::Offline;
pub use said::{AnsweredBy, Cache, Candidate, Explanation, Limit, RuleStep};

use crate::config::Right;
use crate::continuity::Continuity;
use crate::proxy::account::admission;
use crate::proxy::plan::{self, Planner};
use crate::proxy::{Exchange, Gateway, cached, reply};
use crate::routing::rules::{Rule, Verdict};

/// The header by which a client asks for it.
static HEADER: HeaderName = HeaderName::from_static("x-gateway-explain");

/// Whether the client wants to know where the request would go, and not have it sent.
pub fn is_asked(headers: &HeaderMap) -> bool {
    headers.get(&HEADER).is_some_and(|value| !matches!(value.as_bytes(), b"0" | b"false"))
}

/// Refuses those who want to know and may not.
///
/// # Errors
/// The key lacks the right.
pub fn allow(headers: &HeaderMap, exchange: &Exchange) -> Result<(), ApiError> {
    if is_asked(headers) && exchange.key.as_ref().is_some_and(|key| !key.may(Right::Explain)) {
        let message = format!("this key may not ask where its requests would go (`{}`)", HEADER.as_str());
        return Err(ApiError::new(ErrorKind::Forbidden, message));
    }
    Ok(())
}

/// Answers with the explanation of the request.
pub async fn answer(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange, body: Bytes) -> Result<()> {
    let random = &mut |bound| fastrand::u64(..bound);
    let explanation =
        explain(session.req_header(), body, exchange, &gateway.continuity, gateway.time.instant(), random);
    let body = serde_json::to_vec(&explanation).unwrap_or_default();
    exchange.status = 200;
    // It consumes nothing.
    exchange.account.bill = Some(Box::default());
    let header = ResponseHeader::build(StatusCode::OK, Some(6))?;
    reply::json(session, exchange, header, body.into()).await
}

/// Where the request would go if its exchange, whose endpoint and key are known, were a live one now, and drew so.
pub fn explain(
    header: &RequestHeader,
    body: Bytes,
    exchange: &mut Exchange,
    continuity: &Continuity,
    now: Instant,
    random: &mut dyn FnMut(u64) -> u64,
) -> Explanation {
    let mut rules = Vec::new();
    let mut told = |rule: &Rule, verdict: Verdict<'_>| rules.push(RuleStep::new(rule, verdict));
    let mut planner = Planner { continuity, now, random, told: &mut told, preview: true };
    let named = read::Named::of(header, &body, exchange);
    let planned = match read::is_ours(exchange) {
        true => Ok(plan::Next::Count),
        false => plan::plan(header, body, exchange, &mut planner),
    };
    let counts = matches!(planned, Ok(plan::Next::Count));
    let judged = (exchange.request.is_some() && !counts).then(|| cached::judge(header, exchange));
    let limits = judged.is_some().then(|| read::limits(exchange));
    // A live request is counted before the cache is asked, and targets are chosen behind that; so is one that the gateway answers.
    let counts_free = counts || judged.as_ref().is_some_and(Result::is_ok);
    let refused_free = counts_free.then(|| admission::refusal_free(exchange)).flatten();
    let planned = match refused_free {
        Some(refusal) => Err(refusal),
        None => planned.and_then(|next| match judged.as_ref().and_then(|_| admission::refusal(exchange)) {
            Some(refusal) => Err(refusal),
            None => Ok(next),
        }),
    };
    let cache = judged.map(|judged| Cache::new(judged, exchange));
    if let (true, Some(request)) = (counts, &exchange.request) {
        exchange.account.expected = admission::expected_tokens(exchange, request);
    }
    let asked = exchange.request.as_ref().map(|request| plan::asked(&header.headers, exchange, request, &planner));
    Explanation { cache, limits, ..read::explanation(exchange, continuity, asked.as_ref(), planned, named, rules) }
}

#[cfg(test)]
mod tests;
