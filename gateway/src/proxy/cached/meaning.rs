//! Answers to questions that mean the same: a request that finds no answer of its own looks for that of its nearest question.

use std::sync::Arc;

use ai_gateway_providers::Operation;
use pingora_proxy::Session;
use serde::Deserialize;
use serde_json::json;

use crate::cache::memory::{Found, Kept};
use crate::cache::policy;
use crate::cache::semantic::{Place, Question, Semantic, Vector};
use crate::cache::{Fingerprint, Form, Terms};
use crate::config::SemanticConfig;
use crate::proxy::plugins::steering;
use crate::proxy::{Exchange, Gateway, calls};

use super::{convert, enter};

/// Switches it off for one request, as `"cache": {"semantic": false}` does.
const OFF: (&str, &str) = ("x-gateway-cache-semantic", "off");

/// What is to be remembered of a question when it has an answer.
pub struct Meaning {
    semantic: Arc<Semantic>,
    place: Place,
    vector: Arc<Vector>,
    most: usize,
}

impl Meaning {
    /// The question has an answer.
    pub fn learn(&self, answer: Fingerprint, terms: &Terms) {
        self.semantic.learn(&self.place, &self.vector, answer, terms.ttl, self.most);
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
pub async fn nearest(
    gateway: &Gateway,
    session: &Session,
    exchange: &mut Exchange,
    terms: &Terms,
    form: Form,
) -> Option<Nearest> {
    let model = exchange.request.as_ref()?.model.clone();
    let config = model.cache.as_ref()?.settings.semantic.as_ref()?;
    let (question, place) = question(session, exchange, terms, config)?;
    let semantic = &gateway.cache.semantic;
    let vector = match semantic.known_vector(&config.model, &question.text) {
        Some(vector) => vector,
        None => {
            let asked = embed(gateway, exchange, &config.model, &question.text);
            let Ok(Some(vector)) = tokio::time::timeout(config.timeout, Box::pin(asked)).await else {
                gateway.cache.metrics.embedding_failures.inc();
                return None;
            };
            let vector = Arc::new(vector);
            semantic.remember_vector(&config.model, &question.text, vector.clone());
            vector
        }
    };
    if let Some(near) = semantic.nearest(&place, &vector, config.distance()).await {
        if let Some(kept) = answer(gateway, exchange, &near.answer, terms, form).await {
            return Some(Nearest { kept, distance: near.distance });
        }
        semantic.forget(&place.model, &near.answer);
    }
    if let Some(cached) = &mut exchange.cached {
        cached.meaning = Some(Meaning { semantic: semantic.clone(), place, vector, most: config.max_entries });
    }
    None
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

/// A kept answer, wherever it is and in whatever form.
async fn answer(
    gateway: &Gateway,
    exchange: &Exchange,
    answer: &Fingerprint,
    terms: &Terms,
    form: Form,
) -> Option<Arc<Kept>> {
    let memory = &gateway.cache.memory;
    if let Found::Entry(kept) = memory.find(answer, form, terms.max_age, false) {
        return Some(kept);
    }
    if let Some(other) = memory.find_other(answer, form, terms.max_age) {
        return convert::convert(&other, form, exchange).map(|entry| memory.insert(Arc::new(entry)));
    }
    gateway.cache.fetch(&Terms { fingerprint: *answer, ..terms.clone() }, form).await
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
    let answer = calls::ask(gateway, Operation::Embeddings, model, body.into(), exchange.key.clone()).await;
    let answer =
        answer.inspect_err(|error| log::warn!("request {}: no vector from `{model}`: {error}", exchange.id)).ok()?;
    let answer: Answer = serde_json::from_slice(&answer).ok()?;
    Vector::new(answer.data.into_iter().next()?.embedding)
}
