//! The upstream's answer on its way to the client: commit or take back, watch, and never let a broken answer look whole.
//!
//! | file | subject |
//! |---|---|
//! | `header` | what its header says, and what of it its client is to see |
//! | `error`, `retry_after` | an error's body; what the provider says about coming back |
//! | `unfit` | good HTTP that is no answer of the provider's API |
//! | `under_way` | what is known of it so far |

pub mod retry_after;
pub mod under_way;
pub mod unfit;

mod error;
mod header;

use std::time::{Duration, Instant};

use ai_gateway_providers::Operation;
use ai_gateway_providers::answer::{AnswerForm, Conversion, Observer, with_cost};
use ai_gateway_providers::error::{ApiError, encode_stream_error};
use ai_gateway_providers::price::Dollars;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, StatusCode};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

use super::failure::attempt_failed;
use super::replay::Replay;
use crate::config::OnCut;
use crate::net::unasked::{self, is_packed};
use crate::proxy::Exchange;
use crate::proxy::attempt::encode;
use crate::proxy::attempt::encode::AnswerWay;
use crate::proxy::attempt::outcome::Outcome;
use crate::proxy::attempt::resume;
use crate::proxy::attempt::secrets;
use crate::proxy::attempt::step::Step;
use crate::proxy::reply::count;
use crate::proxy::reply::header::{COST, DROPPED};
use crate::proxy::request::Request;
use error::on_error_body;
pub use error::{said_by_status, told_by_upstream};
use header::{clean, is_of_json};
pub use header::{form_of, is_web_page, stream_type, type_of, verdict};
use retry_after::retry_after;
use unfit::Unfit;

/// How long the connection may take to end after the stream's own end marker.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// Most that is withheld of an answer while another target could still be asked.
pub const MOST_HELD: usize = 1 << 20;
/// The same where `on_cut = "buffer"` asks for the whole.
const MOST_BUFFERED: usize = 16 << 20;

/// The answer's header has come: go on to the next attempt, or let it through.
pub fn on_header(upstream: &mut ResponseHeader, exchange: &mut Exchange) -> Result<()> {
    if upstream.status.is_informational() && upstream.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    let begun = Instant::now();
    let status = upstream.status.as_u16();
    if let Some(attempt) = exchange.attempt_mut() {
        attempt.status = Some(status);
        attempt.retry_after = if status >= 400 { retry_after(&upstream.headers) } else { None };
    }
    undo_unasked(upstream, exchange)?;
    let form =
        form_of(upstream, exchange.attempt().map_or(exchange.dialect(), |attempt| attempt.encoded.route.dialect));
    if exchange.resume.is_some() {
        return resume::on_header(exchange, verdict(status), form);
    }
    if let Some(unfit) = Unfit::of(upstream, form, exchange) {
        return Err(unfit.fail(upstream, exchange));
    }
    if verdict(status).is_none() && !exchange.translates() {
        let unfit = match (form, exchange.wants_stream()) {
            (AnswerForm::Json, true) => Some(Unfit::Whole),
            (AnswerForm::Stream, false) => Some(Unfit::Stream),
            _ => None,
        };
        match (unfit, exchange.operation()) {
            (Some(_), Some(Operation::Chat)) => exchange.take_the_other_form(),
            (Some(unfit), Some(Operation::Completions)) => return Err(unfit.fail(upstream, exchange)),
            _ => {}
        }
    }
    match verdict(status) {
        None if exchange.translates() => {
            let input_tokens = upstream.headers.get("x-amzn-bedrock-input-token-count");
            let input_tokens = input_tokens.and_then(|count| count.to_str().ok()?.parse().ok());
            if !exchange.translate(form, input_tokens) {
                return Err(Unfit::Type.fail(upstream, exchange));
            }
        }
        None => {
            exchange.observe(form);
            if let Some(replay) = &exchange.replay {
                replay.set_unjudged(form != AnswerForm::Opaque);
            }
            // A document is of no use before its end, and may turn out to be an error.
            let can_wait = match form {
                AnswerForm::Json => true,
                AnswerForm::Stream => exchange.may_go_elsewhere() || exchange.buffers(),
                AnswerForm::Opaque => false,
            };
            match &exchange.replay {
                Some(replay) if can_wait => replay.hold(),
                Some(_) | None => exchange.commit(),
            }
        }
        Some(outcome) => {
            // A count that is not made says nothing of the credential.
            let is_count = count::is_refused(exchange, None);
            let outcome = if is_count { Outcome::Status(status) } else { outcome };
            let passes = !is_count && matches!(outcome, Outcome::Status(_) | Outcome::Credentials(403));
            if passes {
                exchange.retry_after = retry_after::told(&upstream.headers);
            }
            // A page is of no use to a client, what it says neither; and nobody knows what is said in an unknown coding.
            let says_nothing = is_web_page(upstream) || is_packed(upstream);
            let reads = exchange.status_leaves_open() || exchange.step_after(outcome) == Step::Stop;
            if !passes || says_nothing || !reads {
                return Err(attempt_failed(
                    exchange,
                    outcome,
                    Error::explain(ErrorType::HTTPStatus(status), "upstream status"),
                ));
            }
            exchange.upstream_answer.error_body = Some(Vec::new());
            if let Some(replay) = &exchange.replay {
                replay.set_unjudged(true);
                replay.hold();
            }
        }
    }
    exchange.status = status;
    exchange.saw_progress();
    clean(upstream, exchange);
    exchange.overhead += begun.elapsed();
    Ok(())
}

/// Takes an answer that is packed for one that is not, and one without a type for what was asked for. What is then packed is its
/// body.
fn undo_unasked(header: &mut ResponseHeader, exchange: &mut Exchange) -> Result<()> {
    exchange.upstream_answer.gunzip = unasked::unpack(header);
    let Some(operation) = exchange.operation().filter(|operation| is_of_json(*operation)) else { return Ok(()) };
    let asked = match exchange.attempt() {
        Some(attempt) if attempt.encoded.answer.translates() => {
            type_of(attempt.encoded.route.dialect, operation, exchange.wants_stream())
        }
        _ => exchange.content_type(),
    };
    unasked::label(header, asked)
}

/// A part of the answer's body has come.
pub fn on_body(body: &mut Option<Bytes>, end: bool, exchange: &mut Exchange) -> Result<()> {
    let mut torn = false;
    if let Some(gunzip) = &mut exchange.upstream_answer.gunzip {
        let unpacked;
        (unpacked, torn) = gunzip.feed(body.as_deref().unwrap_or_default(), end);
        *body = (!unpacked.is_empty()).then_some(unpacked);
    }
    if exchange.upstream_answer.error_body.is_some() {
        return on_error_body(body, end, exchange);
    }
    let Some(observer) = &mut exchange.upstream_answer.observer else { return Ok(()) };
    let out = observer.feed(body.take().unwrap_or_default(), end);
    let out = observer.masked(out, secrets(&exchange.attempts));
    // Behind the end of what it packs nobody minds.
    if torn && (exchange.upstream_answer.form == AnswerForm::Opaque || !observer.seen().complete) {
        let error = Error::explain(ErrorType::ConnectionClosed, "the answer is no whole gzip");
        return Err(attempt_failed(exchange, Outcome::Cut, error));
    }
    if observer.seen().first_output && exchange.upstream_answer.first_output.is_none() {
        exchange.upstream_answer.first_output = Some(Instant::now());
        let stream = exchange.upstream_answer.form == AnswerForm::Stream;
        if let Some(attempt) = exchange.attempt_mut() {
            attempt.saw_first_output(stream);
        }
    }
    exchange.saw_progress();
    exchange.upstream_answer.bytes += out.len();
    *body = (!out.is_empty()).then_some(out);
    // What other attempts have cost that it goes on from is not known yet.
    if exchange.wants_cost()
        && exchange.resume.is_none()
        && !exchange.has_told_cost()
        && let (Some(events), Some(cost)) = (&body, exchange.cost())
    {
        *body = Some(with_cost(exchange.dialect(), events.clone(), &Dollars(cost).to_string()));
    }
    if let Some(trace) = &mut exchange.trace {
        trace.see_answer(body);
    }
    if !exchange.committed {
        let buffers = exchange.buffers();
        let shows = exchange.upstream_answer.form == AnswerForm::Stream
            && !buffers
            && (exchange.upstream_answer.first_output.is_some() || exchange.held_long());
        let most = if buffers { MOST_BUFFERED } else { MOST_HELD };
        let leaves = end || shows || exchange.upstream_answer.bytes > most;
        if let Some(outcome) = failed_before_output(exchange, leaves) {
            let error = exchange.seen().and_then(|seen| seen.error.clone());
            exchange.error = error.map(|error| error.without(secrets(&exchange.attempts)));
            let error = Error::explain(ErrorType::ConnectionClosed, "the answer failed before its output");
            return Err(attempt_failed(exchange, outcome, error));
        }
        if leaves {
            if end {
                exchange.amend(body.as_ref().map_or(0, Bytes::len));
            }
            exchange.commit();
        }
    }
    if (exchange.committed && resume::on_body(body, end, exchange)) || !end {
        return Ok(());
    }
    if let Some(replay) = &exchange.replay {
        replay.set_unjudged(false);
    }
    on_end(body, exchange)
}

/// What of an answer that is still withheld makes it worth asking another target. A JSON document is withheld to its
/// end, so an error in it is found whatever stands before it. `leaves`: it is withheld no longer.
fn failed_before_output(exchange: &Exchange, leaves: bool) -> Option<Outcome> {
    let seen = exchange.seen()?;
    match &seen.error {
        Some(error)
            if exchange.upstream_answer.form == AnswerForm::Json || exchange.buffers() || !seen.first_output =>
        {
            Some(Outcome::StreamError(error.kind))
        }
        // Not before: what it has cost is told behind its end.
        None if leaves && seen.is_blocked() && exchange.moves_on_when_blocked() => Some(Outcome::Blocked),
        Some(_) | None => seen.cut.then_some(Outcome::Cut),
    }
}

/// The body has ended: cleanly in HTTP, but is the answer whole?
fn on_end(body: &mut Option<Bytes>, exchange: &mut Exchange) -> Result<()> {
    let Some(seen) = exchange.seen() else { return Ok(()) };
    if let Some(error) = &seen.error {
        let outcome = Outcome::StreamError(error.kind);
        exchange.end_attempt(outcome);
    } else if seen.cut {
        exchange.end_attempt(Outcome::Cut);
        let error = ApiError::cut_short();
        if exchange.upstream_answer.form == AnswerForm::Stream {
            *body = Some(append(body.take(), &exchange.error_event(&error)));
        }
        exchange.spoil_call(&error);
        exchange.error = Some(error);
        if exchange.upstream_answer.form != AnswerForm::Stream {
            // Withholding the last part and breaking the connection is the only way left to say so.
            return Err(Error::explain(ErrorType::ConnectionClosed, "the provider's answer is not complete"));
        }
    }
    exchange.keep_answer();
    Ok(())
}

fn append(head: Option<Bytes>, tail: &[u8]) -> Bytes {
    let head = head.unwrap_or_default();
    let mut whole = BytesMut::with_capacity(head.len() + tail.len());
    whole.extend_from_slice(&head);
    whole.extend_from_slice(tail);
    whole.freeze()
}

impl Exchange {
    /// Whether the current attempt's answer has to be translated.
    pub fn translates(&self) -> bool {
        self.attempt().is_some_and(|attempt| attempt.encoded.answer.translates())
    }

    /// A chat's answer comes whole where a stream was asked for, or streams where it was not, and an SDK finds nothing in it: it becomes
    /// the other.
    fn take_the_other_form(&mut self) {
        let Some(target) = self.attempt().map(|attempt| attempt.target.clone()) else { return };
        let translation = encode::within(self, target.provider.tag, &target.model, self.snapshot.time.now());
        if let (Some(translation), Some(attempt)) = (translation, self.attempt_mut()) {
            attempt.encoded.answer = AnswerWay::Translated(Box::new(translation));
        }
    }

    /// Whether the provider's own figure, which passes as it comes, is what the answer cost.
    fn has_told_cost(&self) -> bool {
        !self.translates() && self.cost_in_parts().is_some_and(|cost| cost.charged)
    }

    /// Begins to translate an answer that is framed as `form`. One that comes whole, or that the client wants whole, is withheld to
    /// its end: until then it may turn out to be an error.
    fn translate(&mut self, form: AnswerForm, input_tokens: Option<u64>) -> bool {
        let (Some(request), Some(attempt)) = (&self.request, self.attempts.last_mut()) else { return false };
        let operation = request.endpoint.operation;
        let (observer, stream) = match attempt.encoded.answer.begin() {
            AnswerWay::Straight | AnswerWay::Begun => return false,
            AnswerWay::Translated(translation) => {
                let stream = translation.stream;
                (Observer::translating(*translation, operation, form), stream)
            }
            AnswerWay::Converted(conversion) => {
                (Observer::converting(Conversion { input_tokens, ..*conversion }), false)
            }
        };
        self.upstream_answer.watch(observer, if stream { AnswerForm::Stream } else { AnswerForm::Json });
        self.begin_traced_answer();
        let waits = !stream || form == AnswerForm::Json || self.may_go_elsewhere() || self.buffers();
        if let Some(replay) = &self.replay {
            replay.set_unjudged(true);
            if waits {
                replay.hold();
            }
        }
        if !waits {
            self.commit();
        }
        true
    }

    /// The content type of a translated answer.
    pub(super) fn content_type(&self) -> &'static str {
        let json_array = self.request.as_ref().is_some_and(|request| request.json_array);
        if !self.wants_stream() || json_array { "application/json" } else { stream_type(self.dialect()) }
    }

    /// Completes the header of an answer that was withheld to its end.
    fn amend(&self, length: usize) {
        let (Some(replay), Some(attempt)) = (&self.replay, self.attempt()) else { return };
        let mut amendments = Vec::new();
        if let Some(cost) = self.cost()
            && let Ok(value) = HeaderValue::from_str(&Dollars(cost).to_string())
        {
            amendments.push((COST.clone(), value));
        }
        if !attempt.encoded.answer.translates() || self.upstream_answer.form != AnswerForm::Json {
            return replay.amend(amendments);
        }
        amendments.push((CONTENT_LENGTH, HeaderValue::from(length)));
        let mut losses = attempt.encoded.losses.clone();
        if let Some(lost) = self.observer().and_then(Observer::losses) {
            losses.extend(lost);
        }
        if !losses.is_empty()
            && self.reports_losses()
            && let Ok(value) = HeaderValue::from_str(&losses.header_value())
        {
            amendments.push((DROPPED.clone(), value));
        }
        replay.amend(amendments);
    }

    fn observe(&mut self, form: AnswerForm) {
        let hide_usage = self.attempt().is_some_and(|attempt| attempt.encoded.hide_usage);
        let Some(Request { endpoint, .. }) = &self.request else { return };
        let mut observer = Observer::new(endpoint.dialect, endpoint.operation, form, hide_usage);
        if endpoint.operation == Operation::Chat && self.moves_on_when_blocked() {
            observer = observer.judging_whole();
        }
        self.upstream_answer.watch(observer, form);
        self.begin_traced_answer();
    }

    /// Whether another target is asked if a filter keeps the current answer back.
    fn moves_on_when_blocked(&self) -> bool {
        self.step_after(Outcome::Blocked) != Step::Stop
    }

    fn begin_traced_answer(&mut self) {
        if let Some(trace) = &mut self.trace {
            trace.begin_answer(self.upstream_answer.form);
        }
    }

    /// From here on the client gets this attempt's answer, and nothing of the request needs to be kept.
    fn commit(&mut self) {
        self.committed = true;
        if let Some(replay) = &self.replay {
            replay.commit();
        }
        if let Some(attempt) = self.attempt_mut() {
            attempt.encoded.body = Bytes::new();
        }
        if let Some(request) = &mut self.request
            && !self.upstream_answer.observer.as_ref().is_some_and(Observer::may_go_on)
        {
            request.release_body(self.upstream_answer.form == AnswerForm::Stream);
        }
    }

    /// Whether the client gets nothing of an answer before it is whole.
    fn buffers(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.model.on_cut == OnCut::Buffer)
    }

    /// Whether a stream has been withheld for so long that the client needs to hear of it more than it needs another target.
    fn held_long(&self) -> bool {
        self.request.as_ref().is_some_and(|request| self.upstream_answer.since.elapsed() >= request.model.retry.hold)
    }

    /// Whether the client has got a stream to its proper end.
    pub fn is_complete_stream(&self) -> bool {
        let seen = self.seen();
        let whole = seen.is_some_and(|seen| seen.complete && seen.error.is_none());
        let kept_back = self.replay.as_ref().is_some_and(Replay::keeps_back);
        self.committed && self.upstream_answer.form == AnswerForm::Stream && whole && !self.client_left && !kept_back
    }

    fn saw_progress(&self) {
        let (Some(replay), Some(attempt)) = (&self.replay, self.attempt()) else { return };
        let idle = attempt.clocks.idle;
        // An error is not waited for as long as an answer, as its status says enough; nor is what follows on the end of one.
        if self.is_complete_stream() || self.upstream_answer.error_body.is_some() {
            replay.saw_progress(idle.min(END_PATIENCE));
        } else if (self.upstream_answer.first_output.is_some() && !resume::awaits_output(self)) || !self.wants_stream()
        {
            replay.saw_progress(idle);
        }
    }

    /// The event that tells of `error` inside the stream that is under way.
    pub fn error_event(&mut self, error: &ApiError) -> Bytes {
        if let Some(event) =
            self.upstream_answer.observer.as_mut().and_then(|observer| observer.translated_error(error))
        {
            return event.into();
        }
        let sequence_number = self.seen().map_or(0, |seen| seen.events);
        let event = encode_stream_error(self.dialect(), error, &self.id, sequence_number);
        if self.observer().is_some_and(Observer::mid_event) {
            return append(Some(Bytes::from_static(b"\n\n")), &event);
        }
        event.into()
    }

    /// Notes how the current attempt ended.
    pub fn end_attempt(&mut self, outcome: Outcome) {
        if let Some(attempt) = self.attempt_mut() {
            attempt.end(outcome);
        }
    }
}
