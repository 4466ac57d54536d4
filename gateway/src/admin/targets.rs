//! `/api/targets`: how every target is, and taking one out or bringing it back.

use std::time::Instant;

use http::{Method, Response, StatusCode};

use super::{json, problem};
use crate::health::{Health, TargetStatus};

/// The answer to a request below `/api/targets`; `None` if there is no such path.
pub(super) fn answer(
    health: &Health,
    method: &Method,
    path: &str,
    query: &str,
    now: Instant,
) -> Option<Response<Vec<u8>>> {
    let drains = match path {
        "/api/targets" if matches!(*method, Method::GET | Method::HEAD) => return Some(list(health, now)),
        "/api/targets" => return Some(super::not_allowed("GET, HEAD")),
        "/api/targets/drain" => true,
        "/api/targets/undrain" => false,
        _ => return None,
    };
    if *method != Method::POST {
        return Some(super::not_allowed("POST"));
    }
    let named = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "target");
    let Some((provider, model)) = named.as_ref().and_then(|(_, target)| target.split_once('/')) else {
        return Some(problem(StatusCode::BAD_REQUEST, "name the target, as in `?target=openai/gpt-5`"));
    };
    let targets = health.targets();
    let chosen: Vec<_> =
        targets.iter().filter(|target| &**target.provider() == provider && &**target.model() == model).collect();
    if chosen.is_empty() {
        return Some(problem(StatusCode::NOT_FOUND, "there is no such target; GET /api/targets lists them"));
    }
    for target in &chosen {
        if drains {
            target.drain();
        } else {
            target.undrain();
        }
    }
    let targets: Vec<TargetStatus> = chosen.iter().map(|target| target.status(now)).collect();
    Some(json(StatusCode::OK, &serde_json::json!({ "targets": targets })))
}

fn list(health: &Health, now: Instant) -> Response<Vec<u8>> {
    let targets: Vec<TargetStatus> = health.targets().iter().map(|target| target.status(now)).collect();
    json(StatusCode::OK, &serde_json::json!({ "targets": targets, "refused_credentials": health.benched(now) }))
}
