//! The admin listener: health, metrics and the admin API. Its paths are `/health/live` (also `/healthz`), `/health/ready`
//! (also `/readyz`), `/metrics` and those below `/api/`; everything else is a JSON 404. Serve [`Admin`] on a Pingora service of
//! its own.
//!
//! Below `/api/` the admin key is asked for, if one is configured; `/api/keys` also takes a key with `allow = ["keys"]`.

mod access;
mod body;
mod cache;
mod keys;
mod limits;
mod readiness;
mod reload;
mod status;
mod targets;
mod upgrade;
mod usage;

pub use readiness::{Readiness, State, reasons};

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::{HeaderMap, Method, Response, StatusCode, header};
use log::error;
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;

use crate::cache::Cache;
use crate::clock::Time;
use crate::keys::{Maker, RuntimeKeys};
use crate::net::patience::header_came;
use crate::server::Control;
use crate::snapshot::Snapshot;
use crate::telemetry::{CLASSIC_CONTENT_TYPE, CONTENT_TYPE, Metrics};

const JSON: &str = "application/json";

/// The HTTP application of the admin listener.
#[derive(Clone)]
pub struct Admin {
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    ledger: Option<Arc<Path>>,
    access: access::Access,
    keys: keys::Keys,
    control: Option<Arc<Control>>,
    cache: Option<Arc<Cache>>,
}

impl Admin {
    /// An application that shows these.
    pub fn new(metrics: Arc<Metrics>, readiness: Arc<Readiness>) -> Self {
        let (access, keys) = Default::default();
        Self { metrics, readiness, ledger: None, access, keys, control: None, cache: None }
    }

    /// The same, with reports from the ledger's database at `path`.
    #[must_use]
    pub fn with_ledger(mut self, path: Option<&Path>) -> Self {
        self.ledger = path.map(Arc::from);
        self
    }

    /// The same, with the figures of `cache` and the right to purge it.
    #[must_use]
    pub fn with_cache(mut self, cache: Arc<Cache>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Asks for the admin key of `current` or, for what concerns keys, one of its keys that has the right; and manages the keys
    /// made at run time.
    #[must_use]
    pub fn with_keys(mut self, current: Arc<ArcSwap<Snapshot>>, runtime: Option<Arc<RuntimeKeys>>) -> Self {
        self.access = access::Access::new(current.clone());
        self.keys = keys::Keys::new(current, runtime);
        self
    }

    /// The same, commanding the process.
    #[must_use]
    pub fn with_control(mut self, control: Arc<Control>) -> Self {
        self.control = Some(control);
        self
    }

    fn time(&self) -> &Time {
        self.metrics.limits.time()
    }

    async fn answer(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        let (method, uri) = (head.method.clone(), head.uri.clone());
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        if !path.starts_with("/api/") {
            return self.show(&method, path, &head.headers);
        }
        let reads = matches!(method, Method::GET | Method::HEAD);
        if let Some(path) = keys::Path::of(path) {
            if let Err(refusal) = self.admit_to_keys(&head.headers, reads) {
                return refusal;
            }
            let body = match body::read(session).await {
                Ok(body) => body,
                Err(refusal) => return refusal,
            };
            // A body takes its time: who may change what can be another by now.
            return match self.admit_to_keys(&session.req_header().headers, reads) {
                Ok(maker) => self.keys.answer(&method, path, query, body, maker).await,
                Err(refusal) => refusal,
            };
        }
        let maker = match self.access.of(&head.headers) {
            Ok(maker) => maker,
            Err(refusal) => return refusal,
        };
        if let Maker::Key(_) = maker {
            return problem(StatusCode::FORBIDDEN, "this key may use /api/keys only");
        }
        match (&self.control, path) {
            (_, "/api/usage") if reads => return usage::answer(self.ledger.as_deref(), query, self.time().now()).await,
            (_, "/api/usage") => return not_allowed("GET, HEAD"),
            (Some(_), "/api/reload" | "/api/upgrade") if method != Method::POST => return not_allowed("POST"),
            (Some(control), "/api/reload") => return reload::answer(control.clone()).await,
            (Some(control), "/api/upgrade") => return upgrade::answer(control.clone(), query).await,
            (Some(control), "/api/status") if reads => return status::answer(control),
            (Some(_), "/api/status") => return not_allowed("GET, HEAD"),
            _ => {}
        }
        if let Some(cache) = &self.cache
            && let Some(answer) = cache::respond(cache, &method, path, query).await
        {
            return answer;
        }
        let answer = targets::answer(&self.metrics.health, &method, path, query, self.time().instant());
        answer.unwrap_or_else(|| self.show(&method, path, &HeaderMap::new()))
    }

    /// Who may use `/api/keys` just now.
    fn admit_to_keys(&self, headers: &HeaderMap, reads: bool) -> Result<Maker, Response<Vec<u8>>> {
        let maker = self.access.of(headers)?;
        if !reads && self.control.as_ref().is_some_and(|control| control.is_changing()) {
            // Another process reads the store just now, and would not hear of it.
            return Err(problem(StatusCode::CONFLICT, "an upgrade or a reload is under way: ask again in a moment"));
        }
        Ok(maker)
    }

    fn show(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Vec<u8>> {
        let show: fn(&Self) -> Response<Vec<u8>> = match path {
            "/health/live" | "/healthz" => |_| json(StatusCode::OK, &serde_json::json!({ "status": "live" })),
            "/health/ready" | "/readyz" => Self::ready,
            "/metrics" if knows_open_metrics(headers) => |admin| metrics(CONTENT_TYPE, admin.metrics.encode()),
            "/metrics" => |admin| metrics(CLASSIC_CONTENT_TYPE, admin.metrics.encode_classic()),
            "/api/limits" => |admin| limits::show(&admin.metrics.limits),
            _ => |_| {
                let paths = "/health/live, /health/ready, /metrics, /api/cache, /api/keys, /api/limits, /api/reload, /api/status, /api/targets, /api/upgrade and /api/usage";
                problem(StatusCode::NOT_FOUND, &format!("no such path; there are {paths}"))
            },
        };
        match *method {
            Method::GET | Method::HEAD => show(self),
            _ => match show(self) {
                unknown if unknown.status() == StatusCode::NOT_FOUND => unknown,
                _ => not_allowed("GET, HEAD"),
            },
        }
    }

    fn ready(&self) -> Response<Vec<u8>> {
        let state = self.readiness.state();
        let status = if state == State::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let reasons = reasons(state, &self.metrics.limits, &self.metrics.ledger);
        json(status, &serde_json::json!({ "status": state.as_str(), "reasons": reasons }))
    }
}

/// Prometheus says so; people and older scrapers get the older format.
fn knows_open_metrics(headers: &HeaderMap) -> bool {
    let accept =
        |value: &header::HeaderValue| value.to_str().is_ok_and(|value| value.contains("application/openmetrics-text"));
    headers.get_all(header::ACCEPT).iter().any(accept)
}

fn metrics(content_type: &'static str, text: Result<String, std::fmt::Error>) -> Response<Vec<u8>> {
    match text {
        Ok(text) => response(StatusCode::OK, content_type, text.into_bytes()),
        Err(error) => {
            error!("the metrics cannot be written: {error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written")
        }
    }
}

fn not_allowed(allow: &'static str) -> Response<Vec<u8>> {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, &format!("this path takes {allow}"));
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allow));
    response
}

fn problem(status: StatusCode, message: &str) -> Response<Vec<u8>> {
    json(status, &serde_json::json!({ "error": { "status": status.as_u16(), "message": message } }))
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response<Vec<u8>> {
    let mut body = body.to_string().into_bytes();
    body.push(b'\n');
    response(status, JSON, body)
}

fn response(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let length = body.len();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, length.into());
    response
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        header_came();
        let mut response = self.answer(session).await;
        response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        if session.req_header().method == Method::HEAD {
            response.body_mut().clear();
        }
        response
    }
}

#[cfg(test)]
mod tests;
