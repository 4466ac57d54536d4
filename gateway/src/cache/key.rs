//! The fingerprint of a request: what it asks, of whom, and who may see the answer.
//!
//! Every part is hashed behind its length, so that no two requests of different parts are the same text; the body goes in as
//! [`canonical_digest`], which does not mind how it is spelled. Left out is what changes no answer: whether a stream is asked
//! for and how it is framed (that is the [`Form`]), and what a client says for accounts (`left_out`).

use std::collections::BTreeSet;
use std::sync::Arc;

use ai_gateway_providers::endpoint::Endpoint;
use ai_gateway_providers::scan::{Counts, RequestScan, canonical_digest, says_any, without_attribution};
use ai_gateway_providers::{Dialect, Operation};
use http::HeaderMap;
use http::header::HeaderName;
use sha2::{Digest, Sha256};

use super::{Fingerprint, Form};
use crate::config::{CacheScope, HeaderEdits, ModelCacheConfig, ModelConfig};
use crate::snapshot::{Key, Target};

/// Answers of another version of the gateway may be written in another way.
const DOMAIN: &str = concat!("ai-gateway cache ", env!("CARGO_PKG_VERSION"));
/// Headers that a provider's answer may depend on, of those that pass to all.
const HEADERS: [&str; 3] = ["anthropic-version", "anthropic-beta", "openai-beta"];
/// Of those that pass to some, what only leads to the provider's prompt cache: it is in no answer.
const LEADS_TO_CACHE: [&str; 2] = ["x-grok-conv-id", "x-session-affinity"];

/// Hashes one part after the other, each behind its length.
struct Parts(Sha256);

impl Parts {
    fn new(of: &str) -> Self {
        let mut parts = Self(Sha256::new());
        parts.add(DOMAIN.as_bytes());
        parts.add(of.as_bytes());
        parts
    }

    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// How many parts of a list follow.
    fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_le_bytes());
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// A model whose answers are kept or shared.
#[derive(Clone, Debug)]
pub struct CachedModel {
    /// What the configuration says of that.
    pub settings: ModelCacheConfig,
    /// Everything of the model that an answer depends on. Another one after a reload that changed any of it.
    identity: [u8; 32],
    /// Names of the client's headers that its providers' answers may depend on, in order.
    headers: BTreeSet<Box<str>>,
}

impl CachedModel {
    /// That of `model`, if it says so. `targets` are its own as built.
    pub fn new(model: &ModelConfig, targets: &[Arc<Target>]) -> Option<Arc<Self>> {
        let settings = model.cache.clone()?;
        let mut parts = Parts::new("model");
        parts.add(model.name.as_bytes());
        parts.add(format!("{:?} {:?}", model.lossy, model.on_cut).as_bytes());
        parts.count(targets.len());
        for target in targets {
            let provider = &target.provider;
            parts.add(provider.name.as_bytes());
            parts.add(target.model.as_bytes());
            parts.add(provider.preset.kind.as_bytes());
            parts.add(provider.authority.as_bytes());
            parts.add(provider.base_path.as_bytes());
            // Not who pays, nor how long it may take: what is asked there, and how.
            let how = (&provider.dialects, &provider.quirks, &provider.betas, &target.traits);
            let place = (&provider.api_version, &provider.region, &provider.project);
            parts.add(format!("{how:?} {place:?}").as_bytes());
            parts.count(provider.headers.len());
            for (name, value) in &provider.headers {
                parts.add(name.as_str().as_bytes());
                parts.add(value.as_bytes());
            }
        }
        let forwarded = targets.iter().flat_map(|target| &target.provider.forward);
        let matters = forwarded.map(HeaderName::as_str).filter(|name| !LEADS_TO_CACHE.contains(name));
        let headers = matters.map(Box::from).collect();
        Some(Arc::new(Self { settings, identity: parts.finish(), headers }))
    }

    /// The same with models to fall back on; `None` if answers of one of those are not kept. The settings are the first one's.
    pub fn followed_by<'a>(&self, others: impl ExactSizeIterator<Item = Option<&'a Arc<Self>>>) -> Option<Arc<Self>> {
        let mut parts = Parts::new("models");
        parts.count(others.len() + 1);
        parts.add(&self.identity);
        let mut headers = self.headers.clone();
        for other in others {
            let other = other?;
            parts.add(&other.identity);
            headers.extend(other.headers.iter().cloned());
        }
        Some(Arc::new(Self { settings: self.settings.clone(), identity: parts.finish(), headers }))
    }
}

/// Whose answers a request may be given, and who may be given its own.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// There are no keys: everybody's.
    Open,
    /// This key's alone.
    Private(&'a Key),
    /// Those of all keys that share.
    Shared,
}

impl<'a> Scope<'a> {
    /// That of requests with this key; `None`: nothing is kept for it. `steered`: plugins decide where they go, for this key and for
    /// no other.
    pub fn of(key: Option<&'a Key>, steered: bool) -> Option<Self> {
        match key.map(|key| (key.cache(), key)) {
            None => Some(Self::Open),
            Some((CacheScope::Shared, _)) if !steered => Some(Self::Shared),
            Some((CacheScope::Private | CacheScope::Shared, key)) => Some(Self::Private(key)),
            Some((CacheScope::Off, _)) => None,
        }
    }

    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Private(_) => "private",
            Self::Shared => "shared",
        }
    }

    fn add_to(self, parts: &mut Parts) {
        match self {
            Self::Open => parts.add(b"open"),
            Self::Shared => parts.add(b"shared"),
            Self::Private(key) => {
                parts.add(b"private");
                parts.count(key.line().count());
                for key in key.line() {
                    parts.add(key.name.as_bytes());
                    parts.add(&key.made().to_le_bytes());
                }
            }
        }
    }
}

/// What a fingerprint is made of.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who may see the answer.
    pub scope: Scope<'a>,
    /// The name that the client divides its own answers by.
    pub namespace: Option<&'a str>,
    /// What is asked, in which dialect.
    pub endpoint: &'a Endpoint,
    /// The resolved model.
    pub model: &'a CachedModel,
    /// The client's headers.
    pub headers: &'a HeaderMap,
    /// What a rule changes in them.
    pub edits: Option<&'a HeaderEdits>,
    /// Digests of the plugins that change where it goes or with what headers.
    pub steering: &'a [[u8; 32]],
    /// The client's query.
    pub query: Option<&'a str>,
    /// The JSON body, as the provider would get it.
    pub body: &'a [u8],
}

/// The fingerprint of a request; `None` if its body is one that is too costly to compare.
pub fn fingerprint(asked: &Asked<'_>) -> Option<Fingerprint> {
    let Asked { scope, namespace, endpoint, model, headers, edits, steering, query, body } = *asked;
    let mut parts = Parts::new("request");
    scope.add_to(&mut parts);
    parts.count(usize::from(namespace.is_some()));
    parts.add(namespace.unwrap_or_default().as_bytes());
    parts.add(endpoint.dialect.as_str().as_bytes());
    parts.add(endpoint.operation.as_str().as_bytes());
    // Paths of chat differ in whether they stream; those of others in the shape of what they take and give.
    let path = if endpoint.operation == Operation::Chat { "" } else { &endpoint.suffix };
    parts.add(path.as_bytes());
    parts.add(&model.identity);
    parts.count(model.headers.len());
    for name in HEADERS.into_iter().chain(model.headers.iter().map(|name| &**name)) {
        let values = headers.get_all(name);
        parts.add(name.as_bytes());
        parts.count(values.iter().count());
        values.iter().for_each(|value| parts.add(value.as_bytes()));
    }
    if let Some(edits) = edits {
        parts.count(edits.set.len());
        for (name, value) in &edits.set {
            parts.add(name.as_str().as_bytes());
            parts.add(value.as_bytes());
        }
        parts.count(edits.remove.len());
        edits.remove.iter().for_each(|name| parts.add(name.as_str().as_bytes()));
    } else {
        parts.count(0);
        parts.count(0);
    }
    parts.count(steering.len());
    steering.iter().for_each(|digest| parts.add(digest));
    let passed = query.unwrap_or_default().split('&').filter(|pair| passes(pair));
    parts.count(passed.clone().count());
    passed.for_each(|pair| parts.add(pair.as_bytes()));
    parts.add(&canonical_digest(&without_attribution(body), |name| counts(name, endpoint))?);
    Some(Fingerprint(parts.finish()))
}

/// What two questions have in common that mean nearly the same: the fingerprint of their requests without them, and the embedding
/// model by which their meanings are told.
pub fn bucket(rest: &Asked<'_>, embedder: &str) -> Option<Fingerprint> {
    let mut parts = Parts::new("bucket");
    parts.add(&fingerprint(rest)?.0);
    parts.add(embedder.as_bytes());
    Some(Fingerprint(parts.finish()))
}

/// Whether a pair of the query is neither the client's key nor about framing.
fn passes(pair: &str) -> bool {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    !matches!(name, "" | "key" | "api-version" | "alt")
}

/// What of a top-level field matters.
fn counts(name: &[u8], endpoint: &Endpoint) -> Counts {
    match name {
        name if is_left_out(name, endpoint.dialect) => Counts::Not,
        _ if matches!(endpoint.dialect, Dialect::Own(_)) => Counts::Whole,
        // It has been resolved.
        b"model" => Counts::Not,
        b"stream" => Counts::Not,
        b"stream_options" => Counts::Without("include_usage"),
        _ => Counts::Whole,
    }
}

/// Fields that are for accounts, abuse reports or the provider's prompt cache, and in no answer. Responses repeat such fields
/// in their answer, which is therefore only for who said the same.
fn is_left_out(name: &[u8], dialect: Dialect) -> bool {
    let fields: &[&str] = match dialect {
        Dialect::OpenAiChat => {
            &["user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "store"]
        }
        Dialect::Anthropic => &["metadata"],
        Dialect::Gemini => &["labels"],
        Dialect::Bedrock => &["requestMetadata"],
        Dialect::Own(own) => own.dialect().cache_ignores(),
        Dialect::OpenAiResponses | Dialect::Cohere => &[],
    };
    fields.iter().any(|field| field.as_bytes() == name)
}

/// Whether a body has a field that changes no answer, and so is not in its fingerprint: a provider may refuse it all the same.
pub fn is_personal(body: &[u8], endpoint: &Endpoint) -> bool {
    // All say which model, and whether they want a stream.
    says_any(body, |name| !matches!(name, b"model" | b"stream") && is_left_out(name, endpoint.dialect))
}

/// The form in which a request wants its answer. `json_array`: its stream as one JSON array (Gemini). `wants_cost`: a stream's
/// usage is to tell the cost.
pub fn form(endpoint: &Endpoint, scan: &RequestScan, json_array: bool, wants_cost: bool) -> Form {
    if !(scan.stream || endpoint.stream) {
        return Form::Whole;
    }
    let shows_usage = scan.stream && !scan.hide_usage();
    Form::Stream(u32::from(json_array) | u32::from(shows_usage) << 1 | u32::from(wants_cost) << 2)
}
