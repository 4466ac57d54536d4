//! Requests that the cache answers, and calls that answer several requests.
//!
//! `enter` decides before a request is planned: an answer that is kept is written at once, a call that is under way is followed,
//! and only who finds neither makes a call, which the others can follow from then on. `session` is what Pingora's proxy path
//! writes such a call to, `pour` serves each client from there, `convert` writes a kept answer in another form.
//!
//! Pingora's own cache phases are not used. They admit an answer with its header, when the attempt may yet be taken back, and can
//! then not admit another one; they serve what is being filled without looking whether the client is still there; and they let
//! the slowest of those who write set the pace. What is kept in memory is in [`Memory`](crate::cache::Memory).

mod convert;
mod enter;
mod meaning;
mod pour;
mod session;

use std::sync::Arc;
use std::time::Duration;

use ai_gateway_providers::Operation;
use ai_gateway_providers::answer::AnswerForm;
use ai_gateway_providers::error::{ApiError, ErrorKind};
use ai_gateway_providers::price::{Cost, Dollars};
use http::header::{AGE, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora_error::Result;
use pingora_proxy::Session;

pub use enter::{Entered, enter, judge, lead};
use meaning::Meaning;
use pour::Poured;
use session::Lead;
pub use session::Left;

use super::failure::{self, shutting_down};
use crate::cache::fill::Spent;
use crate::cache::memory::Kept;
use crate::cache::{Form, Meta, Payer, Terms};
use crate::ledger::Kind;
use crate::proxy::attempt::outcome::Outcome;
use crate::proxy::reply::deliver::close;
use crate::proxy::reply::header::COST;
use crate::proxy::{Exchange, Gateway};

/// Tells where an answer came from.
static CACHE: HeaderName = HeaderName::from_static("x-gateway-cache");
/// Tells how far the question is whose answer was given: 1 less the cosine of the two.
static DISTANCE: HeaderName = HeaderName::from_static("x-gateway-cache-distance");

/// How a request that has a cache was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// From what was kept.
    Hit,
    /// By the call of another request.
    Shared,
    /// By a call of its own.
    Miss,
    /// The same, because it does not use the cache.
    Bypass,
}

impl Status {
    /// The word in headers and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Shared => "shared",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

/// What an exchange has to do with the cache.
pub struct Cached {
    /// How it is answered.
    pub status: Status,
    terms: Option<Terms>,
    form: Form,
    /// The call that it makes for all.
    lead: Option<Lead>,
    /// What it was answered with.
    kept: Option<Arc<Kept>>,
    /// What it pays of a call that several followed, in pico-dollars.
    share: Option<u64>,
    /// What was not spent because of the cache.
    saved: Spent,
    /// What its answer will be an answer to, by its meaning.
    meaning: Option<Meaning>,
    /// How far the question is whose answer it got.
    distance: Option<f32>,
}

impl Cached {
    fn new(status: Status, terms: Option<Terms>, form: Form) -> Box<Self> {
        Box::new(Self {
            status,
            terms,
            form,
            lead: None,
            kept: None,
            share: None,
            saved: Spent::default(),
            meaning: None,
            distance: None,
        })
    }
}

impl Exchange {
    /// How the cache answered it, if there is one for it.
    pub fn cache_status(&self) -> Option<Status> {
        self.cached.as_ref().map(|cached| cached.status)
    }

    /// What kind of record it makes, and what it costs beside a call of its own: `None` for those that made one.
    pub fn cached_record(&self) -> Option<(Kind, Option<u64>)> {
        let cached = self.cached.as_ref()?;
        match cached.status {
            Status::Hit => Some((Kind::CacheHit, Some(0))),
            Status::Shared => Some((Kind::Shared, Some(cached.share.unwrap_or(0)))),
            Status::Miss | Status::Bypass => None,
        }
    }

    /// Whether its client has left the call that others may follow, which goes on.
    pub fn left_call(&self) -> Option<Left> {
        self.cached.as_ref()?.lead.as_ref()?.left()
    }

    /// The kept answer that it got.
    pub fn kept(&self) -> Option<&Kept> {
        self.cached.as_ref()?.kept.as_deref()
    }

    /// What it pays of a call that several followed, if that was divided.
    pub fn share_of_call(&self) -> Option<u64> {
        self.cached.as_ref()?.share
    }

    /// The same of another's call whose provider has told what it cost.
    pub fn charged_share(&self) -> Option<Cost> {
        let Cached { status: Status::Shared, share, saved, .. } = self.cached.as_deref()? else { return None };
        share.filter(|_| saved.charged).map(Cost::charged)
    }

    /// Sets the headers that tell of the cache.
    ///
    /// # Errors
    /// Never in practice.
    pub fn stamp_cache(&self, headers: &mut HeaderMap) -> Result<(), InvalidHeaderValue> {
        let Some(cached) = &self.cached else { return Ok(()) };
        headers.insert(CACHE.clone(), HeaderValue::from_static(cached.status.as_str()));
        if let Some(kept) = &cached.kept {
            if let Some(distance) = cached.distance {
                headers.insert(DISTANCE.clone(), format!("{distance:.4}").try_into()?);
            }
            headers.insert(AGE, kept.age(self.snapshot.time.now()).as_secs().into());
        }
        if cached.status == Status::Hit || (cached.status == Status::Shared && !self.divides_cost()) {
            headers.insert(COST.clone(), Dollars(0).to_string().try_into()?);
        }
        Ok(())
    }

    fn divides_cost(&self) -> bool {
        let terms = self.cached.as_ref().and_then(|cached| cached.terms.as_ref());
        terms.is_some_and(|terms| terms.payer == Payer::Split)
    }

    /// The answer of its call is over: it is kept if it may be.
    pub fn keep_answer(&mut self) {
        let Some(cached) = &self.cached else { return };
        let (Some(lead), Some(terms)) = (&cached.lead, &cached.terms) else { return };
        let Some(seen) = self.seen() else { return };
        if let Some(error) = &seen.error {
            return lead.fill.spoil(error.clone());
        }
        let good = (200..300).contains(&self.status) && seen.complete && !seen.cut && seen.end.is_of_model();
        if !good || terms.ttl.is_zero() || self.upstream_answer.form == AnswerForm::Opaque || self.resume.is_some() {
            return;
        }
        let (Some(attempt), Some(request)) = (self.attempt(), &self.request) else { return };
        let labels = self.account.labels.as_deref().into_iter().flat_map(|labels| labels.tags());
        let own = self.key.iter().flat_map(|key| key.tags()).map(String::as_str);
        let meta = Meta {
            fingerprint: terms.fingerprint,
            form: cached.form,
            dialect: request.endpoint.dialect.as_str().into(),
            operation: request.endpoint.operation,
            status: StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK),
            headers: http::HeaderMap::new(),
            key: self.key.as_ref().map(|key| (&*key.name).into()),
            model: (&*request.model.name).into(),
            tags: own.chain(labels).map(Into::into).collect(),
            provider: (&*attempt.target.provider.name).into(),
            upstream_model: (&*attempt.target.model).into(),
            created: self.snapshot.time.now(),
            ttl: terms.ttl,
            usage: self.consumed().usage,
            cost: self.cost(),
        };
        if let Some(meaning) = &cached.meaning {
            meaning.learn(&meta);
        }
        let said_in = (request.endpoint.operation == Operation::Chat).then_some(request.endpoint.dialect);
        lead.fill.keep(meta, said_in);
    }

    /// Tells those who follow its call what it consumed, and divides the cost among all if that is to be. Before its last byte
    /// goes out.
    pub fn settle_call(&mut self) {
        let Some(Cached { lead: Some(lead), share: None, .. }) = self.cached.as_deref() else { return };
        let tokens = self.consumed().usage.and_then(|usage| usage.total()).unwrap_or(0);
        let charged = self.cost_in_parts().is_some_and(|cost| cost.charged);
        let share = lead.fill.settle(Spent { tokens, cost: self.cost(), charged }, self.divides_cost());
        if let Some(cached) = &mut self.cached {
            cached.share = share;
        }
    }

    /// Nothing follows on the connection of its client, if it makes a call for others, too.
    pub fn close_call(&self) {
        if let Some(lead) = self.cached.as_ref().and_then(|cached| cached.lead.as_ref()) {
            lead.close();
        }
    }

    /// Notes what went wrong with its call, for those who follow.
    pub fn spoil_call(&self, error: &ApiError) {
        if let Some(lead) = self.cached.as_ref().and_then(|cached| cached.lead.as_ref()) {
            lead.fill.spoil(error.clone());
        }
    }
}

/// The end of an exchange that made a call for others, too: its client gets what it has not had yet, and its session is put back.
pub async fn part(session: &mut Session, exchange: &mut Exchange) {
    let Some(lead) = exchange.cached.as_mut().and_then(|cached| cached.lead.take()) else { return };
    if let Some(replay) = &exchange.replay {
        replay.restore(session);
    }
    match lead.restore(session).await {
        Poured::Left if !exchange.client_left => {
            // Its call was no less good for that.
            if exchange.error.is_none() {
                exchange.end_attempt(Outcome::Ok);
            }
            exchange.client_left = true;
        }
        Poured::Broken => exchange.abandoned = true,
        Poured::Behind => {
            exchange.client_left = true;
            enter::break_off(session, exchange, left_behind()).await;
        }
        Poured::Ending => failure::tell(session, exchange, shutting_down()).await,
        Poured::Whole if lead.closes() => close(session).await,
        Poured::Whole | Poured::Left => {}
    }
}

/// What a client is told without which a large answer went on.
fn left_behind() -> ApiError {
    ApiError::new(ErrorKind::RequestTimeout, "the answer went on without this client, which took it too slowly")
}

/// Counts what the cache did for the exchange.
pub fn count(gateway: &Gateway, exchange: &Exchange) {
    let Some(cached) = &exchange.cached else { return };
    let metrics = &gateway.cache.metrics;
    match cached.status {
        Status::Hit => metrics.hits.inc(),
        Status::Shared => metrics.shares.inc(),
        // Refused before there was a call.
        Status::Miss if exchange.attempts.is_empty() => 0,
        Status::Miss => metrics.misses.inc(),
        Status::Bypass => metrics.bypasses.inc(),
    };
    metrics.saved_tokens.inc_by(cached.saved.tokens);
    metrics.saved_cost.inc_by(cached.saved.cost.unwrap_or(0));
}

/// Time between two events; zero unless the answer is a stream.
fn pace(terms: &Terms, form: Form) -> Duration {
    match form {
        Form::Whole => Duration::ZERO,
        Form::Stream(_) => terms.pace,
    }
}
