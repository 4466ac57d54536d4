//! Before a request is planned: whether there is an answer already, or a call to follow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_gateway_providers::error::{ApiError, ErrorKind, encode_error, encode_stream_error};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::pour::{self, Outlet, Poured};
use super::{Cached, Status, convert, left_behind, meaning, pace, session as shared};
use crate::cache::fill::{Bill, Reader, Spent};
use crate::cache::memory::{Kept, Writer};
use crate::cache::policy::{self, Asked, Bypass};
use crate::cache::{Form, Terms, Verdict, is_common, key};
use crate::proxy::account::{admission, book};
use crate::proxy::failure::{self, shutting_down};
use crate::proxy::plugins::{Screener, steering, wants_whole_answers};
use crate::proxy::reply::Stopped;
use crate::proxy::request::clocks::Clocks;
use crate::proxy::waiting::{GivenUp, leaves, wait_for};
use crate::proxy::{Exchange, Gateway};

/// What became of a request.
pub enum Entered {
    /// The client has its answer, or as much as there was.
    Answered,
    /// It makes a call, which nobody follows.
    Asks,
    /// It makes a call for all who ask the same ([`lead`]). Dropped, it leaves that to another.
    Leads(Box<Writer>),
}

/// What came of following a call.
enum Followed {
    /// The client has its answer, or as much as there was.
    Answered,
    /// The call was given up before anything could be seen, and somebody else has to make it.
    GivenUp,
    /// It was refused for what may be the words of its own client: this one asks for itself.
    NotMeant,
}

/// Answers the request, which is known, from the cache; else says how it is to be answered.
///
/// # Errors
/// A limit of the client's is in its way, or it left.
pub async fn enter(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<Entered, Stopped> {
    let mut terms = match verdict(session, exchange) {
        Verdict::Off => return Ok(Entered::Asks),
        Verdict::Bypass => {
            exchange.cached = Some(Cached::new(Status::Bypass, None, Form::Whole));
            return Ok(Entered::Asks);
        }
        Verdict::Use(terms) => terms,
    };
    let form = form(exchange);
    exchange.cached = Some(Cached::new(Status::Miss, Some(terms.clone()), form));
    // Before anything is asked that may cost, and before any wait for another's call: whoever makes the call in the end holds
    // its place already, and takes none from those who wait for it.
    admission::admit_free(gateway, session, exchange).await?;
    loop {
        if let Some(kept) = at_hand(gateway, exchange, &terms, form) {
            return Ok(hit(gateway, session, exchange, &terms, kept).await?);
        }
        match gateway.cache.memory.begin(terms.fingerprint, form, terms.share) {
            Ok(writer) => {
                // Those who ask the same meanwhile wait for what comes of it.
                return match fetch(gateway, session, exchange, &terms, form).await {
                    Ok(Some(kept)) => {
                        drop(writer);
                        Ok(hit(gateway, session, exchange, &terms, kept).await?)
                    }
                    Ok(None) => Ok(Entered::Leads(Box::new(writer))),
                    Err(given_up) => Err(given_up.told(exchange)),
                };
            }
            Err(reader) => match follow(gateway, session, exchange, reader).await? {
                Followed::Answered => return Ok(Entered::Answered),
                Followed::GivenUp => {}
                Followed::NotMeant => terms.share = false,
            },
        }
    }
}

/// The answer that another tier has, or that of the nearest question.
///
/// # Errors
/// The client, or the process, left meanwhile.
async fn fetch(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
    terms: &Terms,
    form: Form,
) -> Result<Option<Arc<Kept>>, GivenUp> {
    let fetched = gateway.cache.fetch(terms, form);
    if let Some(kept) = wait_for(&mut session.downstream_session, &gateway.ending, fetched).await? {
        return Ok(Some(kept));
    }
    let Some(near) = meaning::nearest(gateway, session, exchange, terms, form).await? else { return Ok(None) };
    if let Some(cached) = &mut exchange.cached {
        cached.distance = Some(near.distance);
    }
    Ok(Some(near.kept))
}

/// The answer that memory has: in the form that the client wants, or in one that can be written so.
pub(super) fn at_hand(gateway: &Gateway, exchange: &Exchange, terms: &Terms, form: Form) -> Option<Arc<Kept>> {
    let memory = &gateway.cache.memory;
    if let Some(kept) = memory.find(&terms.fingerprint, form, terms.oldest()) {
        return Some(kept);
    }
    let others = memory.find_others(&terms.fingerprint, form, terms.oldest());
    let entry = others.iter().find_map(|other| convert::convert(other, form, exchange))?;
    Some(memory.insert(Arc::new(entry)))
}

/// From here on what is written to the client is written for all.
pub fn lead(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange, writer: Writer) {
    if exchange.request.as_ref().is_some_and(|request| key::is_personal(&request.body, &request.endpoint)) {
        writer.fill().set_personal();
    }
    let screener = Screener::of(exchange, session.req_header());
    if let Some(cached) = &mut exchange.cached {
        cached.lead = Some(shared::install(session, writer, gateway, screener));
    }
}

/// What the request, its key and its model say of the cache.
fn verdict(session: &Session, exchange: &mut Exchange) -> Verdict {
    if exchange.request.as_ref().is_none_or(|request| request.model.cache.is_none()) {
        return Verdict::Off;
    }
    let begun = Instant::now();
    let verdict = judge(session.req_header(), exchange).into();
    exchange.overhead += begun.elapsed();
    verdict
}

/// How the request, which is known, uses the cache.
///
/// # Errors
/// It does not, and why.
pub fn judge(header: &RequestHeader, exchange: &Exchange) -> Result<Terms, Bypass> {
    let request = exchange.request.as_ref().ok_or(Bypass::Model)?;
    let steering = steering(exchange);
    let mut terms = policy::judge(&asked(header, exchange, &steering).ok_or(Bypass::Model)?)?;
    // A call that has clocks or a number of attempts of its own is not for others.
    terms.share &= request.attempts.is_none() && request.clocks == Clocks::default();
    // It takes nothing, gives nothing, and is not shared either: who takes no answer follows no call.
    if terms.ttl.is_zero() && terms.max_age.is_zero() {
        return Err(Bypass::Client);
    }
    Ok(terms)
}

/// The request as the cache sees it. `steering`: digests of the plugins that change where it goes or with what headers.
pub(super) fn asked<'a>(
    header: &'a RequestHeader,
    exchange: &'a Exchange,
    steering: &'a [[u8; 32]],
) -> Option<Asked<'a>> {
    let request = exchange.request.as_ref()?;
    Some(Asked {
        endpoint: &request.endpoint,
        headers: &header.headers,
        query: header.uri.query(),
        body: &request.body,
        field: request.cache_field.as_deref(),
        key: exchange.key.as_deref(),
        model: &request.model,
        edits: exchange.route.as_ref().map(|rule| &rule.headers),
        steering,
    })
}

/// How the client wants its answer written.
fn form(exchange: &Exchange) -> Form {
    let Some(request) = &exchange.request else { return Form::Whole };
    key::form(&request.endpoint, &request.scan, request.json_array, request.wants_cost)
}

/// Writes an answer that is kept, in the form that is asked for.
async fn hit(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
    terms: &Terms,
    kept: Arc<Kept>,
) -> Result<Entered> {
    let mut header = ResponseHeader::build(kept.meta.status, Some(kept.meta.headers.len() + 12))?;
    for (name, value) in &kept.meta.headers {
        header.append_header(name, value)?;
    }
    let Some(cached) = &mut exchange.cached else { return Ok(Entered::Asks) };
    cached.status = Status::Hit;
    let tokens = kept.meta.usage.and_then(|usage| usage.total()).unwrap_or(0);
    cached.saved = Spent { tokens, cost: kept.meta.cost, charged: false };
    let (body, pace) = (kept.body.clone(), pace(terms, kept.meta.form));
    cached.kept = Some(kept);
    exchange.status = header.status.as_u16();
    exchange.stamp(&mut header)?;
    settle(gateway, exchange);
    let screener = Screener::of(exchange, session.req_header());
    let mut outlet = Outlet { client: &mut session.downstream_session, screener, ending: &gateway.ending };
    match pour::write(&mut outlet, header, body, pace).await {
        Ok(()) => {}
        Err(GivenUp::ClientLeft(_)) => exchange.client_left = true,
        Err(GivenUp::Ending) => failure::tell(session, exchange, shutting_down()).await,
    }
    Ok(Entered::Answered)
}

/// Follows a call.
async fn follow(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
    mut reader: Reader,
) -> Result<Followed> {
    set_status(exchange, Status::Shared);
    let header = tokio::select! {
        biased;
        header = reader.header() => header,
        error = leaves(&mut session.downstream_session) => {
            exchange.client_left = true;
            return Err(error.into_down());
        }
    };
    let fill = reader.fill().clone();
    let told = match header {
        Some(told) if !(is_refusal(told.status) && fill.is_personal()) => told,
        other => {
            set_status(exchange, Status::Miss);
            return Ok(if other.is_some() { Followed::NotMeant } else { Followed::GivenUp });
        }
    };
    let mut header = ResponseHeader::build(told.status, Some(told.headers.len() + 12))?;
    for (name, value) in told.headers.iter().filter(|(name, _)| is_common(name)) {
        header.append_header(name, value)?;
    }
    if let Some(length) = told.headers.get(CONTENT_LENGTH) {
        header.insert_header(CONTENT_LENGTH, length)?;
    }
    exchange.status = told.status.as_u16();
    exchange.upstream_answer.first_output = Some(Instant::now());
    exchange.stamp(&mut header)?;
    let screener = Screener::of(exchange, session.req_header());
    // What a provider says of an error passes as it is; what the gateway says names the request.
    let own_words = fill.fault().filter(|_| !told.status.is_success());
    let own_words = own_words.map(|fault| encode_error(exchange.dialect(), &fault, &exchange.id));
    let mut at_end = |reader: &Reader| {
        exchange.error = fill.fault().map(|fault| ApiError::clone(&fault)).or_else(|| failed(exchange.status));
        exchange.bill_for_following(reader.bill());
        settle(gateway, exchange);
    };
    let mut outlet = Outlet { client: &mut session.downstream_session, screener, ending: &gateway.ending };
    let poured = match own_words {
        Some(error) => {
            at_end(&reader);
            let written = pour::write(&mut outlet, header, error.into(), Duration::ZERO).await;
            written.map_or_else(Poured::from, |()| Poured::Whole)
        }
        None => pour::pour(&mut outlet, header, &mut reader, at_end).await,
    };
    // Who has not come to the end pays no less.
    exchange.bill_for_following(reader.leave());
    match poured {
        Poured::Whole => {}
        Poured::Left => exchange.client_left = true,
        Poured::Ending => failure::tell(session, exchange, shutting_down()).await,
        Poured::Broken => {
            let error = fill.fault().map_or_else(ApiError::cut_short, |fault| ApiError::clone(&fault));
            break_off(session, exchange, error).await;
        }
        Poured::Behind => {
            exchange.client_left = true;
            break_off(session, exchange, left_behind()).await;
        }
    }
    Ok(Followed::Answered)
}

/// Tells the client why it gets no more of its answer, in a stream.
pub(super) async fn break_off(session: &mut Session, exchange: &mut Exchange, error: ApiError) {
    let event = exchange.wants_events().then(|| encode_stream_error(exchange.dialect(), &error, &exchange.id, 0));
    failure::end_with(session, exchange, event.map(Into::into), error).await;
}

fn set_status(exchange: &mut Exchange, status: Status) {
    if let Some(cached) = &mut exchange.cached {
        cached.status = status;
    }
}

impl Exchange {
    fn bill_for_following(&mut self, Bill { share, saved }: Bill) {
        if let Some(cached) = &mut self.cached {
            (cached.share, cached.saved) = (share, saved);
        }
    }
}

/// Accounts for an answer before its client has the last of it. Plugins that judge whole answers may yet refuse it.
fn settle(gateway: &Gateway, exchange: &mut Exchange) {
    if !wants_whole_answers(exchange) {
        book::book(gateway, exchange);
        admission::settle(exchange);
    }
}

/// Whether a provider says so to a request that it does not take as it is.
fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY)
}

/// What is noted of an answer with such a status about which nothing else is known.
fn failed(status: u16) -> Option<ApiError> {
    match status {
        ..400 => None,
        400..500 => Some(ApiError::new(ErrorKind::InvalidRequest, "the provider refused the request")),
        _ => Some(ApiError::new(ErrorKind::UpstreamError, "the provider failed")),
    }
}
