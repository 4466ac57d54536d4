//! Whether a request may be answered from the cache, and its answer kept: what its model, its key and it itself allow.
//!
//! The safe choice where nothing is said: nothing is kept for a model without `cache`, and what is kept is for the same key
//! alone. Answers that a replay would make wrong are never kept, whatever is said: those that refer to what a provider keeps
//! (`previous_response_id`, `store`, `background`, …) and those that a provider looks up in the world of that moment. Requests
//! that offer tools of the client, or ask for a temperature above zero, only where the model says so.

use std::fmt;
use std::time::Duration;

use ai_gateway_providers::Operation;
use ai_gateway_providers::endpoint::{BodyKind, Endpoint};
use ai_gateway_providers::scan::{CacheField, Repeatable, Tools};
use http::HeaderMap;
use http::header::CACHE_CONTROL;

use super::key::{self, CachedModel, Scope};
use super::{Fingerprint, Terms, Verdict};
use crate::config::HeaderEdits;
use crate::snapshot::{Key, Model};

/// A request whose model is known.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What is asked, in which dialect.
    pub endpoint: &'a Endpoint,
    /// The client's headers.
    pub headers: &'a HeaderMap,
    /// The client's query.
    pub query: Option<&'a str>,
    /// The JSON body, as the provider would get it.
    pub body: &'a [u8],
    /// What the client said in the body's field `cache`, which is taken out of it
    /// ([`cache_field`](ai_gateway_providers::scan::cache_field)).
    pub field: Option<&'a CacheField>,
    /// Whose request it is.
    pub key: Option<&'a Key>,
    /// The resolved model.
    pub model: &'a Model,
    /// What a rule changes in the headers for the provider.
    pub edits: Option<&'a HeaderEdits>,
    /// Digests of the plugins that change where it goes or with what headers.
    pub steering: &'a [[u8; 32]],
}

impl<'a> Asked<'a> {
    fn scope(&self) -> Option<Scope<'a>> {
        Scope::of(self.key, !self.steering.is_empty())
    }

    /// What its fingerprint is made of, with `body` for its own.
    fn parts(&self, scope: Scope<'a>, model: &'a CachedModel, body: &'a [u8]) -> key::Asked<'a> {
        let Self { endpoint, headers, query, field, edits, steering, .. } = *self;
        let namespace = field.and_then(|field| field.namespace.as_deref());
        key::Asked { scope, namespace, endpoint, model, headers, edits, steering, query, body }
    }
}

/// Why a request does not use the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// The model has no `cache`.
    Model,
    /// It is no operation whose answers are kept.
    Operation,
    /// The key has `cache = "off"`.
    Key,
    /// The client said so.
    Client,
    /// The answer depends on what a provider keeps, or on its moment: the field that says so.
    Once(&'static str),
    /// Tools that the provider runs are offered.
    HostedTools,
    /// Tools are offered, and the model has no `tool_calls = true`.
    Tools,
    /// The temperature is above zero, and the model has no `temperature = true`.
    Temperature,
    /// The body is too costly to compare.
    Body,
}

/// For people who ask why (`explain`).
impl fmt::Display for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "the model has no `cache`",
            Self::Operation => "answers of this operation are not kept",
            Self::Key => "the key has cache = \"off\"",
            Self::Client => "the request says so (`cache-control` or its field `cache`)",
            Self::Once(field) => {
                return write!(f, "the answer is of its moment, or the provider keeps something of it (`{field}`)");
            }
            Self::HostedTools => "the request offers tools that the provider runs",
            Self::Tools => "the request offers tools, and the model's `cache` has no tool_calls = true",
            Self::Temperature => "the temperature is above zero, and the model's `cache` has no temperature = true",
            Self::Body => "an object of the request has too many members",
        })
    }
}

/// What of this is told to the client.
impl From<Result<Terms, Bypass>> for Verdict {
    fn from(judged: Result<Terms, Bypass>) -> Self {
        match judged {
            Ok(terms) => Self::Use(terms),
            Err(Bypass::Model | Bypass::Operation) => Self::Off,
            Err(_) => Self::Bypass,
        }
    }
}

/// How a request uses the cache. Without a `cache` of its model nothing of it is looked at.
///
/// # Errors
/// It does not, and why.
pub fn judge(asked: &Asked<'_>) -> Result<Terms, Bypass> {
    let Asked { endpoint, headers, body, field, model, .. } = *asked;
    let model = model.cache.as_deref().ok_or(Bypass::Model)?;
    let settings = &model.settings;
    if !is_kept(endpoint) {
        return Err(Bypass::Operation);
    }
    let scope = asked.scope().ok_or(Bypass::Key)?;
    let wishes = Wishes::of(headers, field);
    let terms = |fingerprint| Terms {
        fingerprint,
        max_age: wishes.max_age,
        lasts: settings.ttl,
        ttl: if wishes.no_store { Duration::ZERO } else { settings.ttl.min(wishes.ttl) },
        // A client that wants a new answer, or its own for itself, is not given another's that is under way.
        share: settings.share && !wishes.no_store && !wishes.max_age.is_zero(),
        payer: settings.pays,
        pace: settings.pace.unwrap_or_default(),
    };
    if wishes.no_store && wishes.max_age.is_zero() {
        return Err(Bypass::Client);
    }
    let facts = Repeatable::of(body, endpoint.dialect);
    match facts {
        Repeatable { once: Some(field), .. } => return Err(Bypass::Once(field)),
        Repeatable { tools: Tools::Hosted, .. } => return Err(Bypass::HostedTools),
        Repeatable { tools: Tools::Declared, .. } if !settings.tool_calls => return Err(Bypass::Tools),
        Repeatable { temperature: true, .. } if !settings.temperature => return Err(Bypass::Temperature),
        Repeatable { .. } => {}
    }
    key::fingerprint(&asked.parts(scope, model, body)).map(terms).ok_or(Bypass::Body)
}

/// The bucket of a question that uses the cache: `rest` is its body without the question, `embedder` tells meanings.
pub fn bucket(asked: &Asked<'_>, rest: &[u8], embedder: &str) -> Option<Fingerprint> {
    let (model, scope) = (asked.model.cache.as_deref()?, asked.scope()?);
    key::bucket(&asked.parts(scope, model, rest), embedder)
}

/// Whether answers of that kind may be kept.
fn is_kept(endpoint: &Endpoint) -> bool {
    use Operation::{Chat, Completions, Embeddings, Moderation, Rerank};
    endpoint.body == BodyKind::Json
        && matches!(endpoint.operation, Chat | Completions | Embeddings | Moderation | Rerank)
}

/// What a client asks for itself. It may take less than its model and its key allow, never more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wishes {
    /// Zero: a new answer.
    max_age: Duration,
    ttl: Duration,
    no_store: bool,
}

impl Wishes {
    fn of(headers: &HeaderMap, field: Option<&CacheField>) -> Self {
        let mut wishes = Self { max_age: Duration::MAX, ttl: Duration::MAX, no_store: false };
        let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        for directive in directives.flat_map(|value| value.split(',')) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let name = name.trim();
            if name.eq_ignore_ascii_case("no-cache") {
                wishes.max_age = Duration::ZERO;
            } else if name.eq_ignore_ascii_case("no-store") {
                wishes.no_store = true;
            } else if name.eq_ignore_ascii_case("max-age") {
                // One that cannot be read is taken for the strictest (RFC 9111 §4.2.1).
                let seconds = value.trim().trim_matches('"').parse().unwrap_or(0);
                wishes.max_age = wishes.max_age.min(Duration::from_secs(seconds));
            }
        }
        if headers.get("x-portkey-cache-force-refresh").is_some_and(|value| value == "true") {
            wishes.max_age = Duration::ZERO;
        }
        if let Some(field) = field {
            wishes.no_store |= field.no_store;
            wishes.ttl = field.ttl.map_or(Duration::MAX, Duration::from_secs);
            let max_age = field.max_age.map_or(Duration::MAX, Duration::from_secs);
            wishes.max_age = if field.no_cache { Duration::ZERO } else { wishes.max_age.min(max_age) };
        }
        wishes
    }
}

#[cfg(test)]
mod tests;
