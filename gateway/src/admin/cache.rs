//! `/api/cache`: the cache's figures, and removing answers from all of its tiers.

use http::{Method, Response, StatusCode};
use serde_json::json;

use super::{json as answer, not_allowed, problem};
use crate::cache::{Cache, Purge};

/// What is to be named in the query.
const NAME: &str = "name one of `?key=NAME`, `?model=NAME`, `?tag=NAME`, `?fingerprint=HEX` and `?all=true`";

/// The answer to a request for `/api/cache`; `None` if there is no such path.
pub(super) async fn respond(cache: &Cache, method: &Method, path: &str, query: &str) -> Option<Response<Vec<u8>>> {
    Some(match (path, method) {
        ("/api/cache", &Method::GET | &Method::HEAD) => answer(StatusCode::OK, &cache.status()),
        ("/api/cache", &Method::DELETE) | ("/api/cache/purge", &Method::POST) => purge(cache, query).await,
        ("/api/cache", _) => not_allowed("GET, HEAD, DELETE"),
        ("/api/cache/purge", _) => not_allowed("POST"),
        _ => return None,
    })
}

async fn purge(cache: &Cache, query: &str) -> Response<Vec<u8>> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    // Two of them could mean both or either.
    let (Some((kind, name)), None) = (pairs.next(), pairs.next()) else {
        return problem(StatusCode::BAD_REQUEST, NAME);
    };
    let what = match &*kind {
        _ if name.is_empty() => None,
        "key" => Some(Purge::Key(name.into_owned())),
        "model" => Some(Purge::Model(name.into_owned())),
        "tag" => Some(Purge::Tag(name.into_owned())),
        "fingerprint" => name.parse().ok().map(Purge::Fingerprint),
        "all" => (name == "true").then_some(Purge::All),
        _ => None,
    };
    let Some(what) = what else { return problem(StatusCode::BAD_REQUEST, NAME) };
    match cache.purge(&what).await {
        Ok(removed) => answer(StatusCode::OK, &json!({ "removed": removed })),
        Err(error) => {
            problem(StatusCode::SERVICE_UNAVAILABLE, &format!("{error}; what can be reached has been purged"))
        }
    }
}
