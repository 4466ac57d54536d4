//! From a request to its plan: what a live request and `explain` have in common. Nothing here reads, writes or waits.
//!
//! | file | subject |
//! |---|---|
//! | `route` | which model: rules, names, and what it may fall back on |

pub mod route;

use std::net::IpAddr;
use std::time::Instant;

use ai_gateway_providers::codec::Call;
use ai_gateway_providers::endpoint::{BodyKind, Endpoint, EndpointError, match_endpoint, match_own};
use ai_gateway_providers::error::{ApiError, ErrorKind};
use ai_gateway_providers::own::scan_request;
use ai_gateway_providers::scan::{BodyFacts, Pieces, RequestScan, opening, scan_multipart, without_attribution};
use ai_gateway_providers::{Dialect, Operation};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use pingora_http::RequestHeader;

use crate::config::{StickyBy, Strategy};
use crate::continuity::Continuity;
use crate::keys::{Admission, Refused};
use crate::net::media_type::essence;
use crate::proxy::account::admission;
use crate::proxy::reply::Refusal;
use crate::proxy::reply::count;
use crate::proxy::reply::header::COST;
use crate::proxy::request::Request;
use crate::proxy::request::clocks::{self, Clocks};
use crate::proxy::{Exchange, attempt, plugins, stored};
use crate::routing::rules::{Rule, Verdict};
use crate::routing::{Asked, Plan, Why, stable_hash};
use crate::snapshot::Target;
use route::Routed;

/// What a plan depends on beside the request and the configuration.
pub struct Planner<'a> {
    /// What earlier requests left.
    pub continuity: &'a Continuity,
    /// The time.
    pub now: Instant,
    /// Draws below its argument.
    pub random: &'a mut dyn FnMut(u64) -> u64,
    /// Hears how each rule took the request.
    pub told: &'a mut dyn FnMut(&Rule, Verdict<'_>),
    /// Whether nothing is to come of it: no turn is taken.
    pub preview: bool,
}

/// Who answers a request that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A target of the plan.
    Ask,
    /// The gateway itself, by counting tokens.
    Count,
}

/// Finds out what the path asks for.
///
/// # Errors
/// There is no such path, or not for this method.
pub fn find_endpoint(header: &RequestHeader, exchange: &mut Exchange) -> Result<(), Refusal> {
    let path = header.uri.path();
    let own = match_own(&exchange.snapshot.dialects, &header.method, path);
    match own.unwrap_or_else(|| match_endpoint(&header.method, path, &header.headers)) {
        Ok(endpoint) => {
            exchange.path = Some(endpoint);
            Ok(())
        }
        Err(error) => {
            exchange.guess_dialect(error.dialect());
            Err(endpoint_error(&error))
        }
    }
}

fn endpoint_error(error: &EndpointError) -> Refusal {
    let kind = match error {
        EndpointError::UnknownPath { .. } | EndpointError::SurplusVersion { .. } => ErrorKind::NotFound,
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

/// Finds out whose request it is, which comes from `address`.
///
/// # Errors
/// No key was sent, or none that may be used now.
pub async fn admit(header: &RequestHeader, address: Option<IpAddr>, exchange: &mut Exchange) -> Result<(), Refusal> {
    let strangers = exchange.snapshot.limits.strangers().zip(address);
    let many = || strangers.as_ref().is_some_and(|(strangers, address)| strangers.are_many(*address));
    let (why, key) = match exchange.snapshot.keys.admit(&header.headers, header.uri.query(), exchange.at, &many).await {
        Admission::Open => return Ok(()),
        Admission::Key(key) => {
            exchange.key = Some(key);
            return Ok(());
        }
        Admission::Unusable(key, why) => (why, Some(key)),
        Admission::Refused(why) => (why, None),
    };
    exchange.not_let_in = Some((why, key));
    match why {
        Refused::Unverifiable => Err(Refusal::busy(why.message())),
        Refused::Page => Err(ApiError::new(ErrorKind::Forbidden, why.message()).into()),
        _ => match strangers {
            Some((strangers, address)) if strangers.count(address) => {
                let error = ApiError::new(ErrorKind::KeyRateLimited, Refused::Many.message());
                let wait = ("retry-after", HeaderValue::from(strangers.rate().per.as_secs()));
                Err(Refusal::with_headers(error, vec![wait]))
            }
            _ => Err(ApiError::new(ErrorKind::Unauthenticated, why.message()).into()),
        },
    }
}

/// Gives the exchange, whose endpoint and key are known, its request and its plan.
///
/// # Errors
/// What is wrong with the request, or why nobody can be asked.
pub fn plan(
    header: &RequestHeader,
    body: Bytes,
    exchange: &mut Exchange,
    planner: &mut Planner<'_>,
) -> Result<Next, Refusal> {
    let next = read(header, body, exchange, planner)?;
    if next == Next::Ask && exchange.operation() != Some(Operation::Stored) {
        choose_targets(&header.headers, exchange, planner)?;
    }
    Ok(next)
}

/// Gives the exchange, whose endpoint and key are known, its request; where that is for a stored answer its plan, too.
///
/// # Errors
/// What is wrong with the request.
pub fn read(
    header: &RequestHeader,
    body: Bytes,
    exchange: &mut Exchange,
    planner: &mut Planner<'_>,
) -> Result<Next, Refusal> {
    let Some(endpoint) = &exchange.path else {
        return Err(ApiError::new(ErrorKind::Internal, "there is no endpoint").into());
    };
    if endpoint.operation == Operation::Stored {
        stored::plan(header, exchange, planner)?;
        return Ok(Next::Ask);
    }
    let (json_array, streams) = (wants_json_array(header, endpoint), endpoint.stream);
    let scan = scan(&header.headers, endpoint, &body)?;
    let Routed { model, body, scan, cache_field } = route::route(header, exchange, body, scan, planner)?;
    let clocks = Clocks::of(&header.headers)?;
    let betas = betas(&header.headers);
    let attempts = clocks::attempts(&header.headers)?;
    let asks_cost = header.headers.get(&COST).is_some_and(|value| value == "stream");
    let wants_cost = asks_cost && !json_array && (streams || scan.stream);
    let prompt = match exchange.dialect() {
        own @ Dialect::Own(_) => Some(BodyFacts::in_dialect(&body, own).prompt_tokens()),
        _ => None,
    };
    exchange.set_request(|endpoint| Request {
        json_array,
        wants_cost,
        cache_field,
        clocks,
        betas,
        attempts,
        prompt,
        ..Request::new(endpoint, body, scan, model)
    });
    Ok(if count::is_ours(exchange) { Next::Count } else { Next::Ask })
}

/// Finds the fields that the gateway reads.
///
/// # Errors
/// The body is no such thing.
pub fn scan(headers: &HeaderMap, endpoint: &Endpoint, body: &Bytes) -> Result<RequestScan, ApiError> {
    match endpoint.body {
        BodyKind::Multipart => {
            let mut types = headers.get_all(http::header::CONTENT_TYPE).iter();
            let content_type = types.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
            if types.next().is_some() {
                let message = "the request has more than one `content-type`";
                return Err(ApiError::new(ErrorKind::InvalidRequest, message));
            }
            let scan = scan_multipart(content_type, body);
            scan.map_err(|error| ApiError::new(ErrorKind::InvalidRequest, error.to_string()))
        }
        BodyKind::None => Ok(RequestScan::default()),
        BodyKind::Json if is_form(headers) && !body.trim_ascii_start().starts_with(b"{") => {
            let message =
                "this endpoint takes JSON, not a form: send a JSON object with `content-type: application/json`";
            Err(ApiError { status: 415, ..ApiError::new(ErrorKind::InvalidRequest, message) })
        }
        BodyKind::Json => {
            let call = Call { model: endpoint.path_model.as_deref(), stream: endpoint.stream };
            scan_request(body, endpoint.dialect, &call)
        }
    }
}

/// Whether the client says that it sends a form. curl says so of any body, if it is not told otherwise.
fn is_form(headers: &HeaderMap) -> bool {
    let essence = essence(headers);
    let is_multipart = essence.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"));
    is_multipart || essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

/// Gemini's streams are server-sent events only when the client asks so.
pub fn wants_json_array(header: &RequestHeader, endpoint: &Endpoint) -> bool {
    let query = header.uri.query().unwrap_or_default();
    endpoint.dialect == Dialect::Gemini && endpoint.stream && !query.split('&').any(|pair| pair == "alt=sse")
}

fn betas(headers: &HeaderMap) -> Option<Box<str>> {
    let values = headers.get_all("anthropic-beta").iter();
    let betas: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    (!betas.is_empty()).then(|| betas.join(",").into())
}

/// Gives the exchange, whose request is known, its plan.
///
/// # Errors
/// Why nobody can be asked.
pub fn choose_targets(headers: &HeaderMap, exchange: &mut Exchange, planner: &mut Planner<'_>) -> Result<(), Refusal> {
    let Some(request) = &exchange.request else { return Ok(()) };
    let endpoint = &request.endpoint;
    exchange.account.expected = admission::expected_tokens(exchange, request);
    exchange.account.pieces = Pieces::of(&request.body, &request.scan, endpoint.operation);
    let keeper = stored::keeper_of_previous(planner.continuity, exchange)?;
    let is_usable = |target: &Target| {
        let keeps = keeper.as_ref().is_none_or(|keeper| keeper.provider == target.provider.name);
        keeps && target.provider.route(endpoint, &target.model).is_some()
    };
    let against = |target: &Target| {
        if is_usable(target) { admission::of_target(target, exchange, planner.now) } else { Some(Why::Unusable) }
    };
    let is_kept_elsewhere = keeper.is_some() && !request.model.targets.iter().any(|target| is_usable(target));
    let asked = asked(headers, exchange, request, planner);
    exchange.plan = Plan::build(&request.model, &asked, against, &mut planner.random);
    if let Some(keeper) = &keeper {
        exchange.plan.keep_to(|target| keeper.credential_at(target));
    }
    if let Some(most) = request.attempts {
        exchange.plan.limit(most);
    }
    if exchange.plan.is_empty() {
        return Err(nobody(request, &exchange.plan, is_kept_elsewhere, asked.now));
    }
    if planner.preview { Ok(()) } else { plugins::on_plan(exchange) }
}

/// Why none of its targets can be asked.
fn nobody(request: &Request, plan: &Plan, is_kept_elsewhere: bool, now: Instant) -> Refusal {
    if plan.earliest(now).is_some() {
        let (error, headers) = attempt::all_rest(request, plan, now);
        return Refusal::with_headers(error, headers);
    }
    match is_kept_elsewhere {
        true => stored::kept_elsewhere(request).into(),
        false => attempt::no_usable_target(request).into(),
    }
}

/// Bytes of a prompt that are taken for a token.
pub const BYTES_PER_TOKEN: u64 = 4;
/// Tokens that an answer is expected to have when the request does not bound it.
const USUAL_OUTPUT: u64 = 500;

/// What the strategy wants to know of the request.
pub fn asked(headers: &HeaderMap, exchange: &Exchange, request: &Request, planner: &Planner<'_>) -> Asked {
    let output = request.scan.max_tokens.map_or(USUAL_OUTPUT, |most| most.min(4 * USUAL_OUTPUT));
    Asked {
        now: planner.now,
        sticky: sticky(headers, exchange, request),
        prompt_tokens: exchange.account.expected.prompt,
        output_tokens: output.saturating_mul(admission::choices(&request.endpoint, &request.scan)),
        stream: exchange.wants_stream(),
        preview: planner.preview,
    }
}

/// What requests have in common that must go to the same target, as the model's `sticky` says.
fn sticky(headers: &HeaderMap, exchange: &Exchange, request: &Request) -> Option<u64> {
    let strategy = &request.model.strategy;
    if strategy.strategy != Strategy::Sticky {
        return None;
    }
    let header = headers.get(&strategy.session_header);
    Some(match (strategy.sticky, header, &exchange.key) {
        (StickyBy::Session, Some(session), _) => stable_hash(&[b"session", session.as_bytes()]),
        (StickyBy::Key, _, Some(key)) => stable_hash(&[b"key", key.name.as_bytes()]),
        (StickyBy::Session | StickyBy::Prompt | StickyBy::Key, ..) => {
            let key = exchange.key.as_ref().map_or("", |key| &key.name);
            stable_hash(&[&[key.as_bytes()], &opening(&without_attribution(&request.body))[..]].concat())
        }
    })
}
