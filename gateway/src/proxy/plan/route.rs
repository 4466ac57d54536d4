//! Where a request goes: what the rules say, else the model that the client named; and the models that it may fall back on.
//!
//! A key must be allowed to use the model that its client named, or the one that a rule says in its place: a rule may open a
//! model to those who may use another, and need not be repeated in their lists. Models to fall back on, which a client names
//! itself (`fallbacks`, OpenRouter's `models`), must each be allowed, and naming them at all is a right of its own. The rules decide
//! of each of them, too: one that they reject rejects the request.

use std::fmt::Write;
use std::sync::Arc;

use ai_gateway_providers::Dialect;
use ai_gateway_providers::endpoint::{BodyKind, Endpoint};
use ai_gateway_providers::error::{ApiError, ErrorKind};
use ai_gateway_providers::price::Price;
use ai_gateway_providers::scan::{
    CacheField, FieldEdits, RequestScan, anthropic_fallbacks_of, cache_field, fallbacks_of, says, tools_say,
};
use bytes::Bytes;
use pingora_http::RequestHeader;

use super::Planner;
use crate::config::Right;
use crate::proxy::Exchange;
use crate::proxy::account::admission::writes;
use crate::routing::rules::{Asked, Decision, Destination, Facts, Rule, Verdict};
use crate::snapshot::{Model, ModelName, Target};

/// The most models that a client may name to fall back on.
const MAX_FALLBACKS: usize = 8;

/// A request whose way is decided.
pub struct Routed {
    /// The model that answers it.
    pub model: Arc<Model>,
    /// The body as the provider is to get it, but for the model's name.
    pub body: Bytes,
    /// Of that body.
    pub scan: RequestScan,
    /// What its client said of the cache in it.
    pub cache_field: Option<Box<CacheField>>,
}

/// Decides the model of a request, and notes in the exchange what else the rule says.
///
/// # Errors
/// There is no such model, the key may not use it, or a rule rejects the request.
pub fn route(
    header: &RequestHeader,
    exchange: &mut Exchange,
    body: Bytes,
    scan: RequestScan,
    planner: &mut Planner<'_>,
) -> Result<Routed, ApiError> {
    let Some(endpoint) = &exchange.path else {
        return Err(ApiError::new(ErrorKind::Internal, "there is no endpoint"));
    };
    let json = endpoint.body == BodyKind::Json;
    let mut edits = FieldEdits::default();
    let (mut fallbacks, mut anthropics) = (Vec::new(), None);
    if json && scan.fallbacks {
        anthropics = (endpoint.dialect == Dialect::Anthropic).then(|| anthropic_fallbacks_of(&body)).flatten();
        fallbacks = read_fallbacks(&body, endpoint, exchange, anthropics.is_some(), &mut edits)?;
    }
    if json && scan.tools {
        // Anthropic's advisor, and OpenAI's tool that makes images.
        may_be_named_elsewhere("tools", exchange, || tools_say(&body, "model"))?;
    }
    let named = named(endpoint, &scan);
    // OpenRouter's clients may name all models in `models`.
    let first = (named.is_none() && !fallbacks.is_empty()).then(|| fallbacks.remove(0));
    let asked = named.or(first.as_deref()).map(|name| exchange.snapshot.name(name));
    let asked = asked.as_ref();
    let document = if json { &body[..] } else { b"" };
    let (rules, Planner { random, told, .. }) = (&exchange.snapshot.rules, planner);
    // Without any, nothing is looked at.
    let mut decide = |model: Option<&ModelName<'_>>, told: &mut dyn FnMut(&Rule, Verdict<'_>)| {
        let facts = (!rules.is_empty()).then(|| facts(header, exchange, endpoint, model, &scan, document))?;
        rules.decide(&facts, random, told)
    };
    let decision = decide(asked, &mut **told);
    // What the rules say of one model to fall back on goes for that model alone; the rest of them goes for the request.
    let fallbacks = fallbacks.iter().map(|name| {
        let name = exchange.snapshot.name(name);
        let decided = decide(Some(&name), &mut |_, _| {}).map(|decision| decision.to);
        (name, decided)
    });
    let chosen = choose(exchange, asked, decision.as_ref().map(|decision| &decision.to), fallbacks);
    if let Some(Decision { rule, mirror, .. }) = decision {
        edits.set.extend(rule.body.set.iter().cloned());
        edits.remove.extend(rule.body.remove.iter().cloned());
        exchange.mirror = mirror;
        exchange.route = Some(rule);
    }
    let model = chosen?;
    if let Some(names) = anthropics {
        may_fall_back(exchange, &model, &names).map_err(|error| error.with_param("fallbacks"))?;
    }
    if !json {
        return Ok(Routed { model, body, scan, cache_field: None });
    }
    let mut edited = edits.apply(&body);
    // Behind the rule, which may speak in the client's place.
    let is_said = scan.cache || edits.set.iter().any(|(name, _)| name == "cache");
    let cache_field = if is_said { cache_field(&edited).map_err(unreadable)? } else { None };
    if cache_field.is_some() {
        edited = FieldEdits { set: Vec::new(), remove: vec!["cache".to_owned()] }.apply(&edited);
    }
    let cache_field = cache_field.map(Box::new);
    let unchanged = edited.as_ptr() == body.as_ptr();
    let scan = if unchanged { scan } else { super::scan(&header.headers, endpoint, &edited).map_err(edited_badly)? };
    Ok(Routed { model, body: edited, scan, cache_field })
}

/// The model that a request goes to, followed by those that it may fall back on.
fn choose<'a>(
    exchange: &Exchange,
    asked: Option<&ModelName<'_>>,
    to: Option<&Destination>,
    fallbacks: impl Iterator<Item = (ModelName<'a>, Option<Destination>)>,
) -> Result<Arc<Model>, ApiError> {
    let model = go_to(exchange, asked, to)?;
    let others =
        fallbacks.map(|(name, to)| go_to(exchange, Some(&name), to.as_ref())).collect::<Result<Vec<_>, _>>()?;
    if others.is_empty() {
        return Ok(model);
    }
    Ok(Arc::new(model.followed_by(&others)))
}

/// Where a request goes that asks for a model, by what the rules say of it.
fn go_to(exchange: &Exchange, asked: Option<&ModelName<'_>>, to: Option<&Destination>) -> Result<Arc<Model>, ApiError> {
    let decided = match to {
        Some(Destination::Rejected { status, message }) => return Err(ApiError::rejected(*status, message.as_str())),
        Some(Destination::Model(model)) => Some(model.clone()),
        Some(Destination::Asked) | None => None,
    };
    resolve(exchange, asked, decided)
}

/// The model called `asked`, or the one `decided` in its place, if the key may use either name.
fn resolve(
    exchange: &Exchange,
    asked: Option<&ModelName<'_>>,
    decided: Option<Arc<Model>>,
) -> Result<Arc<Model>, ApiError> {
    let decided_name = decided.as_ref().map(|model| exchange.snapshot.name(&model.name));
    let Some(name) = asked.or(decided_name.as_ref()) else {
        return Err(ApiError::new(ErrorKind::InvalidRequest, "the request names no `model`").with_param("model"));
    };
    let allowed = exchange
        .key
        .as_ref()
        .is_none_or(|key| key.may_use(name) || decided_name.as_ref().is_some_and(|name| key.may_use(name)));
    // A key that may not use a model learns no more than one that asks for a model that is not there.
    let found = || decided.clone().or_else(|| exchange.snapshot.model(name.as_str()));
    let model = allowed.then(found).flatten().ok_or_else(|| unknown(exchange, name.as_str()).with_param("model"))?;
    let serves = |price: &Price| exchange.operation().is_none_or(|operation| price.serves(operation));
    let has_price = |target: &Arc<Target>| target.known.price.as_ref().is_some_and(serves);
    if exchange.snapshot.prices.require && !model.targets.iter().all(has_price) {
        let message = format!("the price of the model `{}` is not known, and this gateway requires one", model.name);
        return Err(ApiError::new(ErrorKind::Forbidden, message).with_param("model"));
    }
    Ok(model)
}

/// There is no model called `name`, or none for this key.
pub fn unknown(exchange: &Exchange, name: &str) -> ApiError {
    let mut message = format!("the model `{name}` does not exist");
    if exchange.key.is_some() {
        message.push_str(" or this key may not use it");
    } else if let Some(provider) = exchange.snapshot.providers().first() {
        // Whoever has just begun does not know how models are named, and there is nobody to be kept from a provider's name.
        let provider = &provider.name;
        _ = write!(message, "; a provider's models are named with it, as in `{provider}/{name}`");
    }
    ApiError::new(ErrorKind::ModelNotFound, message)
}

/// The model that the client names, as it spells it.
pub fn named<'a>(endpoint: &'a Endpoint, scan: &'a RequestScan) -> Option<&'a str> {
    endpoint.path_model.as_deref().or(scan.model.as_ref().map(|model| model.value.as_str()))
}

/// What the conditions of rules and plugins see. `json`: the body, if it is JSON.
pub fn facts<'a>(
    header: &'a RequestHeader,
    exchange: &'a Exchange,
    endpoint: &Endpoint,
    model: Option<&'a ModelName<'a>>,
    scan: &RequestScan,
    json: &'a [u8],
) -> Facts<'a> {
    Facts::new(Asked {
        path: header.uri.path(),
        operation: endpoint.operation,
        dialect: endpoint.dialect,
        headers: &header.headers,
        key: exchange.key.as_deref(),
        model,
        stream: scan.stream || endpoint.stream,
        json,
    })
}

/// Anthropic asks the models `names` itself where the one that it was asked for declines: a key must be allowed to use each of them at
/// every provider that may be told of it.
fn may_fall_back(exchange: &Exchange, model: &Model, names: &[String]) -> Result<(), ApiError> {
    let told = model.targets.iter().filter(|target| target.provider.speaks(Dialect::Anthropic, &target.model));
    for target in told {
        for name in names {
            let name = format!("{}/{name}", target.provider.name);
            resolve(exchange, Some(&exchange.snapshot.name(&name)), None)?;
        }
    }
    Ok(())
}

/// The models that the client names to fall back on, in our own field, and in that of OpenRouter's API if they are models of
/// ours. Names of others are the provider's business, for keys that may use any model. `anthropics`: our field is Anthropic's own here.
fn read_fallbacks(
    body: &[u8],
    endpoint: &Endpoint,
    exchange: &Exchange,
    anthropics: bool,
    edits: &mut FieldEdits,
) -> Result<Vec<String>, ApiError> {
    let mut all = Vec::new();
    let fields: &[&str] = if anthropics { &["models"] } else { &["fallbacks", "models"] };
    for &field in fields {
        let names = fallbacks_of(body, field, MAX_FALLBACKS + 1);
        let ours = || names.as_ref().is_some_and(|names| names.iter().all(|name| exchange.snapshot.has_model(name)));
        if field == "models" && (endpoint.dialect != Dialect::OpenAiChat || !ours()) {
            may_be_named_elsewhere(field, exchange, || says(body, field))?;
            continue;
        }
        let wrong = |kind, message: &str| Err(ApiError::new(kind, message).with_param(field));
        let Some(names) = names else {
            return wrong(ErrorKind::InvalidRequest, "it is an array of names of models");
        };
        if names.len() > MAX_FALLBACKS {
            let most = format!("a request names at most {MAX_FALLBACKS} models to fall back on");
            return wrong(ErrorKind::InvalidRequest, &most);
        }
        if !names.is_empty() && exchange.key.as_ref().is_some_and(|key| !key.may(Right::Fallbacks)) {
            return wrong(ErrorKind::Forbidden, "this key may not name models to fall back on (`fallbacks`, `models`)");
        }
        if field == "fallbacks" || !names.is_empty() {
            edits.remove.push(field.to_owned());
        }
        all.extend(names);
    }
    // OpenRouter keeps a model, among other things, under that name.
    may_be_named_elsewhere("preset", exchange, || says(body, "preset"))?;
    Ok(all)
}

/// What models a provider is told of that are not ours cannot be compared with what the key may use.
fn may_be_named_elsewhere(field: &str, exchange: &Exchange, names: impl FnOnce() -> bool) -> Result<(), ApiError> {
    if exchange.operation().is_some_and(writes)
        && exchange.key.as_ref().is_some_and(|key| !key.may_use_any())
        && names()
    {
        let message = format!("this key may use certain models only, and `{field}` tells the provider of others");
        return Err(ApiError::new(ErrorKind::Forbidden, message).with_param(field));
    }
    Ok(())
}

fn unreadable(member: &str) -> ApiError {
    ApiError::new(ErrorKind::InvalidRequest, format!("`cache.{member}` cannot have this value"))
}

fn edited_badly(error: ApiError) -> ApiError {
    ApiError::new(ErrorKind::Internal, format!("the body is broken after a rule has changed it: {}", error.message))
}
