//! Answers to questions that mean the same: a request that finds no answer of its own looks for that of its nearest question.

use std::sync::Arc;

use ai_gateway_providers::Operation;
use pingora_proxy::Session;
use serde::Deserialize;
use serde_json::json;

use crate::cache::memory::Kept;
use crate::cache::policy;
use crate::cache::semantic::{Learnt, Near, Place, Point, Question, Vector};
use crate::cache::{Cache, Form, Meta, Terms};
use crate::config::SemanticConfig;
use crate::proxy::account::admission;
use crate::proxy::plugins::steering;
use crate::proxy::waiting::{GivenUp, wait_for};
use crate::proxy::{Exchange, Gateway, calls};

use super::enter;

/// Switches it off for one request, as `"cache": {"semantic": false}` does.
const OFF: (&str, &str) = ("x-gateway-cache-semantic", "off");

/// What is to be remembered of a question when it has an answer.
pub struct Meaning {
    cache: Arc<Cache>,
    place: Place,
    vector: Arc<Vector>,
    most: usize,
}

impl Meaning {
    /// The question has the answer that is kept as `meta` says.
    pub fn learn(&self, meta: &Meta) {
        let Some(point) = Point::new(self.place.bucket, meta) else { return };
        let (model, vector) = (self.place.model.clone(), self.vector.clone());
        self.cache.learn(Arc::new(Learnt { model, point, vector, most: self.most }));
    }
}

/// What was found.
pub struct Nearest {
    /// The answer to the nearest question, in the form that is asked for.
    pub kept: Arc<Kept>,
    /// How far that question is: 1 less the cosine of the two.
    pub distance: f32,
}

/// Looks for the answer to the nearest question. Where there is none near enough, the exchange notes what its own answer will be
/// an answer to.
///
/// # Errors
/// The client, or the process, left meanwhile.
pub async fn nearest(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
    terms: &Terms,
    form: Form,
) -> Result<Option<Nearest>, GivenUp> {
    let Some(model) = exchange.request.as_ref().map(|request| request.model.clone()) else { return Ok(None) };
    let config = model.cache.as_ref().and_then(|cache| cache.settings.semantic.as_ref());
    let Some(config) = config else { return Ok(None) };
    let Some((question, place)) = question(session, exchange, terms, config) else { return Ok(None) };
    let semantic = &gateway.cache.semantic;
    // Who has none is told so when it comes for its own call.
    let has_room = || admission::has_room(&gateway.limits, exchange, &question.text);
    let asked = async {
        if !has_room() {
            return None;
        }
        Box::pin(embed(gateway, exchange, &config.model, &question.text)).await
    };
    let vector = semantic.vector(&config.model, &question.text, asked);
    let vector = tokio::time::timeout(config.timeout, vector);
    let Ok(Some(vector)) = wait_for(&mut session.downstream_session, &gateway.ending, vector).await? else {
        if has_room() {
            gateway.cache.metrics.embedding_failures.inc();
        }
        return Ok(None);
    };
    if let Some(near) = semantic.nearest(&place, &vector, config.distance(), exchange.snapshot.time.now()).await {
        if let Some(kept) = answer(gateway, exchange, &near, terms, form).await {
            return Ok(Some(Nearest { kept, distance: near.distance }));
        }
        // It may be there in a form that this client cannot be given, or in a tier that is busy or out of reach.
        if !gateway.cache.has_tiers() && !gateway.cache.memory.holds(&near.answer) {
            semantic.forget(&place.model, &near.answer);
        }
    }
    if let Some(cached) = &mut exchange.cached {
        cached.meaning = Some(Meaning { cache: gateway.cache.clone(), place, vector, most: config.max_entries });
    }
    Ok(None)
}

/// What is asked, and where its like are; `None` if its meaning is not to be looked at.
fn question(
    session: &Session,
    exchange: &Exchange,
    terms: &Terms,
    config: &SemanticConfig,
) -> Option<(Question, Place)> {
    let steering = steering(exchange);
    let asked = enter::asked(session.req_header(), exchange, &steering)?;
    let off = asked.field.is_some_and(|field| field.no_semantic)
        || asked.headers.get(OFF.0).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(OFF.1.as_bytes()));
    if off || asked.endpoint.operation != Operation::Chat || terms.ttl.is_zero() || terms.max_age.is_zero() {
        return None;
    }
    let question = Question::of(asked.endpoint.dialect, &exchange.request.as_ref()?.body)?;
    let bucket = policy::bucket(&asked, &question.rest, &config.model)?;
    Some((question, Place { model: asked.model.name.clone(), bucket }))
}

/// The answer to a question, wherever it is and in whatever form.
async fn answer(gateway: &Gateway, exchange: &Exchange, near: &Near, terms: &Terms, form: Form) -> Option<Arc<Kept>> {
    let terms = Terms { fingerprint: near.answer, ..terms.clone() };
    if let Some(kept) = enter::at_hand(gateway, exchange, &terms, form) {
        return Some(kept);
    }
    if let Some(kept) = gateway.cache.fetch(&terms, form).await {
        return Some(kept);
    }
    if near.form == form {
        return None;
    }
    gateway.cache.fetch(&terms, near.form).await?;
    enter::at_hand(gateway, exchange, &terms, form)
}

/// The vector of a text; `None`: the embedding model gave none. It is booked for the client's key.
async fn embed(gateway: &Gateway, exchange: &Exchange, model: &str, text: &str) -> Option<Vector> {
    #[derive(Deserialize)]
    struct Answer {
        data: Vec<Embedding>,
    }
    #[derive(Deserialize)]
    struct Embedding {
        embedding: Vec<f32>,
    }
    let body = json!({"model": model, "input": text, "encoding_format": "float"}).to_string();
    let asked = calls::ask(gateway, Operation::Embeddings, model, body.into(), exchange.key.clone());
    let answer = Box::pin(asked).await;
    let answer =
        answer.inspect_err(|error| log::warn!("request {}: no vector from `{model}`: {error}", exchange.id)).ok()?;
    let answer: Answer = serde_json::from_slice(&answer).ok()?;
    Vector::new(answer.data.into_iter().next()?.embedding)
}
