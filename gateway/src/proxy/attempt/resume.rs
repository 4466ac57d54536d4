//! After-commit recovery, `on_cut = "continue"`: an answer that broke off when the client had its beginning is gone on with by
//! another target.
//!
//! What breaks off is seen in one place, [`goes_on`], which [`attempt_failed`](crate::proxy::failure::attempt_failed) asks first. Pingora
//! then comes back for the next attempt as it does before commit. Its request is the client's with the text so far as a
//! beginning of the answer; of what it answers, the replay session swallows the header and the observer joins the events to the
//! stream under way. Whatever goes wrong with it, the client is told only how the answer itself broke off.

use std::sync::Arc;

use ai_gateway_providers::answer::{AnswerForm, Observer};
use ai_gateway_providers::common::can_go_on;
use ai_gateway_providers::endpoint::Endpoint;
use ai_gateway_providers::error::ApiError;
use ai_gateway_providers::{Dialect, Operation};
use bytes::{Bytes, BytesMut};
use pingora_error::{Error, ErrorType, Result};

use super::Attempt;
use super::encode::{self, AnswerWay};
use super::outcome::Outcome;
use crate::config::OnCut;
use crate::continuity::Continuity;
use crate::proxy::Exchange;
use crate::proxy::account::admission;
use crate::proxy::failure::{attempt_failed, final_error};
use crate::proxy::replay::Clock;
use crate::routing::Taken;
use crate::snapshot::{Route, Target, Way};
use crate::telemetry::AttemptOutcome;

/// How an exchange goes on after its answer broke off.
pub struct Resume {
    /// How it broke off, which is what the client is told if nobody goes on.
    error: ApiError,
    /// The same of the attempt that spoke most lately.
    cause: Outcome,
    /// Who said what the client has, most lately; with which of its provider's credentials.
    speaker: (Arc<Target>, usize),
    /// Whether the speaker has been asked to go on with it: each is asked once only, however far it gets.
    asked_again: bool,
    /// Who is to be asked next, and how.
    next: Option<(Taken, Route)>,
    /// What is to be gone on with.
    said: String,
    /// The current attempt's answer is being joined. Before that, the observer is still that of the one before.
    joined: bool,
    /// Events with output before the current attempt's.
    outputs: u64,
    /// The comment that tells the client of the seam, until it has left.
    notice: Option<Bytes>,
    seams: u32,
}

impl Resume {
    /// Places at which one attempt's text went on with another's.
    pub fn seams(&self) -> u32 {
        self.seams
    }
}

/// Whether the model's answers are gone on with if they break off, and this request's may be: asked in `dialect`, it is one for a
/// stream, and some target could go on. What is asked in particular has still to be looked at
/// ([`may_be_gone_on_with`](ai_gateway_providers::common::Request::may_be_gone_on_with)).
pub fn may_go_on(exchange: &Exchange, dialect: Dialect) -> bool {
    let Some(request) = &exchange.request else { return false };
    // A stored answer has to be that which the client has.
    let may_be_stored = [dialect, request.endpoint.dialect] == [Dialect::OpenAiResponses; 2];
    request.model.on_cut == OnCut::Continue
        && request.endpoint.operation == Operation::Chat
        && !may_be_stored
        && request.wants_stream()
        && request.model.targets.iter().any(|target| route_to(target, &request.endpoint).is_some())
}

/// How `target` is asked to go on with an answer; `None` if it is not known to do that.
fn route_to(target: &Target, endpoint: &Endpoint) -> Option<Route> {
    let provider = &target.provider;
    let able = |dialect| can_go_on(dialect, provider.quirks, target.traits);
    if let Some(route) = provider.route(endpoint, &target.model).filter(|route| able(route.dialect)) {
        return Some(route);
    }
    let offers = |dialect: &Dialect| {
        able(*dialect) && provider.speaks(*dialect, &target.model) && provider.preset.offers(*dialect, Operation::Chat)
    };
    let dialect = provider.dialects.iter().copied().find(offers)?;
    Some(Route { dialect, platform: provider.platform(dialect), way: Way::Codecs })
}

/// Whether another attempt goes on with the answer of the current one, which ended with `outcome` after commit. Prepares it if so.
pub fn goes_on(exchange: &mut Exchange, outcome: Outcome) -> bool {
    if !exchange.committed || exchange.client_left || !continues(exchange, outcome) {
        return false;
    }
    let Some(said) = exchange.observer().and_then(Observer::said).map(str::to_owned) else {
        return false;
    };
    let Some(speaker) = exchange.attempt().map(|attempt| (attempt.target.clone(), attempt.credential)) else {
        return false;
    };
    let joined = exchange.resume.as_ref().is_none_or(|resume| resume.joined);
    if joined {
        exchange.keep_consumed();
    }
    let error = first_error(exchange).unwrap_or_else(|| final_error(exchange, outcome));
    let outputs = exchange.seen().map_or(0, |seen| seen.outputs);
    let resume = exchange.resume.get_or_insert_with(|| {
        Box::new(Resume {
            error,
            cause: outcome,
            speaker: speaker.clone(),
            asked_again: false,
            next: None,
            said: String::new(),
            joined: false,
            outputs: 0,
            notice: None,
            seams: 0,
        })
    });
    if joined && outputs > resume.outputs && !Arc::ptr_eq(&speaker.0, &resume.speaker.0) {
        (resume.speaker, resume.asked_again) = (speaker, false);
    }
    if joined {
        resume.cause = outcome;
    }
    (resume.said, resume.outputs, resume.joined) = (said, outputs, false);
    exchange.end_attempt(outcome);
    let found = find_next(exchange);
    let goes_on = found.is_some();
    if let Some(resume) = &mut exchange.resume {
        resume.next = found;
    }
    if goes_on {
        exchange.error = None;
        let notice = notice(exchange);
        if let Some(resume) = &mut exchange.resume {
            resume.notice = notice;
        }
        if let Some(replay) = &exchange.replay {
            replay.go_on();
        }
    }
    goes_on
}

/// Whether what ended so may be gone on with.
fn continues(exchange: &Exchange, outcome: Outcome) -> bool {
    let Some(request) = &exchange.request else { return false };
    match outcome {
        Outcome::Ok | Outcome::ClientLeft | Outcome::Shutdown | Outcome::Timeout(Clock::Total) => false,
        // Whatever is wrong with one that was to go on, another may.
        _ if is_asking(exchange) => true,
        _ => outcome.moves_on(&request.model.retry),
    }
}

/// The next target that can go on: of the plan, and at last the one that has spoken.
fn find_next(exchange: &mut Exchange) -> Option<(Taken, Route)> {
    if exchange.has_made_all() {
        return None;
    }
    let endpoint = &exchange.request.as_ref()?.endpoint;
    let now = exchange.snapshot.time.instant();
    exchange.plan.leave_target();
    while let Some(taken) = exchange.plan.take_next(now) {
        if let Some(route) = route_to(&taken.target, endpoint) {
            return Some((taken, route));
        }
        exchange.plan.leave_target();
    }
    let resume = exchange.resume.as_mut()?;
    if std::mem::replace(&mut resume.asked_again, true) {
        return None;
    }
    let (speaker, credential) = resume.speaker.clone();
    let route = route_to(&speaker, endpoint)?;
    Some((Taken::anyway(speaker, credential, now), route))
}

/// The attempt that goes on.
pub fn next_attempt(exchange: &mut Exchange, continuity: &Continuity) -> Result<Attempt> {
    let clocks = exchange.request.as_ref().map(|request| request.clocks).unwrap_or_default();
    while let Some((taken, route)) = exchange.resume.as_mut().and_then(|resume| resume.next.take()) {
        let Some(resume) = &exchange.resume else { break };
        if let Ok(encoded) = encode::encode_rest(&taken.target, route, &resume.said, exchange, continuity) {
            // One whose own limits are reached goes on all the same: half an answer is worth nothing.
            let held = admission::hold_anyway(exchange, &taken.target);
            return Ok(Attempt::new(taken, encoded, clocks).holding(held));
        }
        let found = find_next(exchange);
        if let Some(resume) = &mut exchange.resume {
            resume.next = found;
        }
    }
    exchange.error = first_error(exchange);
    Err(Error::explain(ErrorType::InternalError, "nobody goes on with the answer"))
}

/// The header of an answer that goes on: it is not the client's. `verdict`: what its status says.
pub fn on_header(exchange: &mut Exchange, verdict: Option<Outcome>, form: AnswerForm) -> Result<()> {
    let answer = exchange.attempt_mut().map(|attempt| attempt.encoded.answer.begin());
    let (outcome, kind) = match (verdict, form, answer) {
        (None, AnswerForm::Stream, Some(AnswerWay::Translated(translation))) => {
            if let Some(observer) = &mut exchange.upstream_answer.observer {
                observer.go_on(*translation);
            }
            if let Some(resume) = &mut exchange.resume {
                resume.joined = true;
            }
            if let Some(replay) = &exchange.replay {
                replay.set_unjudged(true);
            }
            return Ok(());
        }
        (Some(outcome), _, _) => (outcome, ErrorType::InternalError),
        (None, _, _) => (Outcome::Garbage, ErrorType::InvalidHTTPHeader),
    };
    Err(attempt_failed(exchange, outcome, Error::explain(kind, "it does not go on with the answer")))
}

/// A part of a committed answer has come. Says whether the answer breaks off with it; Pingora then gets an error as soon as it is
/// written, and [`goes_on`] is asked.
pub fn on_body(body: &mut Option<Bytes>, end: bool, exchange: &mut Exchange) -> bool {
    let Some(observer) = exchange.upstream_answer.observer.as_ref().filter(|observer| observer.withholds_errors())
    else {
        return false;
    };
    if !observer.may_go_on()
        && let Some(request) = &mut exchange.request
    {
        request.release_body(true);
    }
    if let Some(resume) = &mut exchange.resume
        && let Some(text) = body
    {
        if resume.notice.is_some() {
            resume.seams += 1;
        }
        if let Some(notice) = resume.notice.take().filter(|notice| !notice.is_empty()) {
            let mut both = BytesMut::from(notice);
            both.extend_from_slice(text);
            *text = both.freeze();
        }
    }
    let seen = observer.seen();
    let breaks_off = seen.error.is_some() || (end && seen.cut);
    if let Some(replay) = exchange.replay.as_ref().filter(|_| breaks_off) {
        replay.break_off();
    }
    breaks_off
}

/// What the client is told of the seam, where its stream has room for a comment; else empty.
fn notice(exchange: &Exchange) -> Option<Bytes> {
    let Resume { speaker, cause, next, .. } = &**exchange.resume.as_ref()?;
    let (Taken { target, .. }, _) = next.as_ref()?;
    if exchange.content_type() != "text/event-stream" {
        return Some(Bytes::new());
    }
    let name = |target: &Target| {
        let name = format!("{}/{}", target.provider.name, target.model);
        name.replace(|c: char| c.is_control() || c.is_whitespace(), "_")
    };
    let cause = AttemptOutcome::from(*cause).as_str();
    Some(format!(": x-gateway-seam from={} to={} cause={cause}\n\n", name(&speaker.0), name(target)).into())
}

/// How the answer broke off that was to be gone on with, or what the provider reported, if the client has not been told.
pub fn first_error(exchange: &Exchange) -> Option<ApiError> {
    if let Some(resume) = &exchange.resume {
        return Some(resume.error.clone());
    }
    let observer = exchange.observer().filter(|observer| exchange.committed && observer.withholds_errors())?;
    observer.seen().error.clone()
}

/// The outcome of an attempt whose provider reported an error that the client has not been told.
pub fn reported(exchange: &Exchange) -> Option<Outcome> {
    let observer = exchange.observer().filter(|observer| exchange.committed && observer.withholds_errors())?;
    if is_asking(exchange) {
        return None;
    }
    observer.seen().error.as_ref().map(|error| Outcome::StreamError(error.kind))
}

/// Whether an attempt is to go on with the answer and has not begun to.
pub fn is_asking(exchange: &Exchange) -> bool {
    exchange.resume.as_ref().is_some_and(|resume| !resume.joined)
}

/// Whether nothing has come yet from the attempt that is to go on.
pub fn awaits_output(exchange: &Exchange) -> bool {
    let outputs = exchange.seen().map_or(0, |seen| seen.outputs);
    exchange.resume.as_ref().is_some_and(|resume| !resume.joined || outputs == resume.outputs)
}
