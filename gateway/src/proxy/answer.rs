//! The upstream's answer on its way to the client: commit or take back, watch, and never let a broken answer look whole.

use std::time::{Duration, Instant};

use ai_gateway_providers::answer::{AnswerForm, Conversion, Observer, with_cost};
use ai_gateway_providers::error::{ApiError, ErrorKind, decode_error, encode_stream_error, mask, mask_secret};
use ai_gateway_providers::price::Dollars;
use ai_gateway_providers::{Dialect, Operation};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

use super::attempt::secrets;
use super::encode::AnswerWay;
use super::exchange::{COST, DROPPED};
use super::failure::attempt_failed;
use super::outcome::Outcome;
use super::replay::Replay;
use super::resume;
use super::retry_after::{self, retry_after};
use super::step::Step;
use super::unfit::Unfit;
use super::{Exchange, count, encode, header};
use crate::config::OnCut;
use crate::net::unasked::{self, coding_of};

/// Upstream headers that reach the client. The others tell about the operator's account (organisation, rate limits,
/// cookies) or about a connection that is not the client's.
const RETURNED: [&str; 16] = [
    "content-type",
    "content-length",
    "transfer-encoding",
    "content-encoding",
    "content-disposition",
    "cache-control",
    "date",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "request-id",
    "x-amzn-requestid",
    "openai-model",
    "openai-version",
    "openai-processing-ms",
    // What boto3 raises.
    "x-amzn-errortype",
];
/// Those of them that the gateway writes itself when it translates.
const FRAMING: [&str; 3] = ["content-type", "content-length", "transfer-encoding"];
/// Room for those and for the gateway's own.
const MOST_HEADERS: usize = 24;
/// Where providers tell their own id of a request.
static IDS: [HeaderName; 4] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-amzn-requestid"),
    HeaderName::from_static("apim-request-id"),
];
static UPSTREAM_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");
static BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// <https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream>
pub const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";
/// The most that is read of an error's body.
const MAX_ERROR_BODY: usize = 256 << 10;
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
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.status = Some(status);
        attempt.retry_after = if status >= 400 { retry_after(&upstream.headers) } else { None };
    }
    undo_unasked(upstream, exchange)?;
    let form = form_of(upstream, exchange.attempt().map_or(exchange.dialect(), |attempt| attempt.route.dialect));
    if exchange.resume.is_some() {
        return resume::on_header(exchange, verdict(status), form);
    }
    if let Some(unfit) = Unfit::of(upstream, form, exchange) {
        return Err(unfit.fail(upstream, exchange));
    }
    if verdict(status).is_none() && form == AnswerForm::Json && exchange.wants_stream() && !exchange.translates() {
        match exchange.operation() {
            Some(Operation::Chat) => exchange.make_a_stream(),
            Some(Operation::Completions) => return Err(Unfit::Whole.fail(upstream, exchange)),
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
            let passes = matches!(outcome, Outcome::Status(_)) && !is_count;
            if passes {
                exchange.retry_after = retry_after::told(&upstream.headers);
            }
            // A page is of no use to a client, what it says neither.
            if !passes || is_web_page(upstream) || exchange.step_after(outcome) != Step::Stop {
                return Err(attempt_failed(
                    exchange,
                    outcome,
                    Error::explain(ErrorType::HTTPStatus(status), "upstream status"),
                ));
            }
            exchange.incoming.error_body = Some(Vec::new());
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
    let Some(operation) = exchange.operation().filter(|operation| is_of_json(*operation)) else { return Ok(()) };
    exchange.incoming.gunzip = unasked::unpack(header);
    let asked = match exchange.attempt() {
        Some(attempt) if attempt.translates => type_of(attempt.route.dialect, operation, exchange.wants_stream()),
        _ => exchange.content_type(),
    };
    unasked::label(header, asked)
}

/// What a status alone says; `None` when the body decides.
pub fn verdict(status: u16) -> Option<Outcome> {
    match status {
        200..300 => None,
        // 402 and 403 speak of the gateway's account, not of the caller.
        401..=403 => Some(Outcome::Credentials(status)),
        400..600 => Some(Outcome::Status(status)),
        _ => Some(Outcome::Garbage),
    }
}

/// A page for people (of a captive portal, a login, a wrong base URL) is never an answer of an API.
pub fn is_web_page(header: &ResponseHeader) -> bool {
    let content_type = header.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    content_type.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"text/html"))
}

/// How an answer in `dialect` is framed.
pub fn form_of(header: &ResponseHeader, dialect: Dialect) -> AnswerForm {
    let content_type = header.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if coding_of(header).is_some() {
        AnswerForm::Opaque
    } else if essence.eq_ignore_ascii_case(b"text/event-stream")
        || essence.eq_ignore_ascii_case(EVENT_STREAM.as_bytes())
        || matches!(dialect, Dialect::Own(_) if essence.eq_ignore_ascii_case(stream_type(dialect).as_bytes()))
    {
        AnswerForm::Stream
    } else if essence.eq_ignore_ascii_case(b"application/json") {
        AnswerForm::Json
    } else {
        AnswerForm::Opaque
    }
}

/// The content type of streams in `dialect`.
pub fn stream_type(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Bedrock => EVENT_STREAM,
        Dialect::Own(own) => own.dialect().stream_type(),
        _ => "text/event-stream",
    }
}

/// The content type of an answer in `dialect` that does not say its own; of what is no JSON nothing is known.
pub fn type_of(dialect: Dialect, operation: Operation, stream: bool) -> &'static str {
    match (is_of_json(operation), stream) {
        (false, _) => "application/octet-stream",
        (true, true) => stream_type(dialect),
        (true, false) => "application/json",
    }
}

/// Whether its answers are JSON, or streams of it, as far as is known before they come.
fn is_of_json(operation: Operation) -> bool {
    !matches!(operation, Operation::Speech | Operation::Transcription | Operation::Stored)
}

/// Leaves only what its client is to see.
fn clean(upstream: &mut ResponseHeader, exchange: &Exchange) {
    let mut clean = header::empty();
    (clean.status, clean.version) = (upstream.status, upstream.version);
    clean.headers = HeaderMap::with_capacity(MOST_HEADERS);
    let translates = exchange.translates();
    if translates {
        clean.headers.insert(CONTENT_TYPE, HeaderValue::from_static(exchange.content_type()));
    }
    for (name, value) in &upstream.headers {
        let word = name.as_str();
        if RETURNED.contains(&word) && !(translates && FRAMING.contains(&word)) {
            clean.headers.append(name.clone(), value.clone());
        }
    }
    if upstream.status.as_u16() >= 400 {
        for (name, value) in retry_after::told(&upstream.headers) {
            clean.headers.insert(name, value);
        }
    }
    if let Some(id) = IDS.iter().find_map(|name| upstream.headers.get(name)) {
        clean.headers.insert(&UPSTREAM_ID, id.clone());
    }
    if exchange.incoming.form == AnswerForm::Stream {
        // The gateway may add an error event or keep a usage chunk back, and no proxy in front may collect the stream.
        clean.headers.remove(CONTENT_LENGTH);
        clean.headers.insert(BUFFERING.clone(), HeaderValue::from_static("no"));
    }
    *upstream = clean.into();
}

/// A part of the answer's body has come.
pub fn on_body(body: &mut Option<Bytes>, end: bool, exchange: &mut Exchange) -> Result<()> {
    let mut torn = false;
    if let Some(gunzip) = &mut exchange.incoming.gunzip {
        let unpacked;
        (unpacked, torn) = gunzip.feed(body.as_deref().unwrap_or_default(), end);
        *body = (!unpacked.is_empty()).then_some(unpacked);
    }
    if exchange.incoming.error_body.is_some() {
        return on_error_body(body, end, exchange);
    }
    let Some(observer) = &mut exchange.incoming.observer else { return Ok(()) };
    let out = observer.feed(body.take().unwrap_or_default(), end);
    let out = observer.masked(out, secrets(&exchange.attempts));
    // Behind the end of what it packs nobody minds.
    if torn && (exchange.incoming.form == AnswerForm::Opaque || !observer.seen().complete) {
        let error = Error::explain(ErrorType::ConnectionClosed, "the answer is no whole gzip");
        return Err(attempt_failed(exchange, Outcome::Cut, error));
    }
    if observer.seen().first_output && exchange.incoming.first_output.is_none() {
        exchange.incoming.first_output = Some(Instant::now());
        let stream = exchange.incoming.form == AnswerForm::Stream;
        if let Some(attempt) = exchange.attempts.last_mut() {
            attempt.saw_first_output(stream);
        }
    }
    exchange.saw_progress();
    exchange.incoming.bytes += out.len();
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
        if let Some(outcome) = failed_before_output(exchange) {
            let error = exchange.incoming.observer.as_ref().and_then(|observer| observer.seen().error.clone());
            exchange.error = error.map(|error| error.without(secrets(&exchange.attempts)));
            let error = Error::explain(ErrorType::ConnectionClosed, "the answer failed before its output");
            return Err(attempt_failed(exchange, outcome, error));
        }
        let buffers = exchange.buffers();
        let shows = exchange.incoming.form == AnswerForm::Stream
            && !buffers
            && (exchange.incoming.first_output.is_some() || exchange.held_long());
        if end || shows || exchange.incoming.bytes > if buffers { MOST_BUFFERED } else { MOST_HELD } {
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

/// A part of an error's body has come, which is withheld to its end: it may be a reason to ask another target, and a client
/// of another dialect gets it in its own.
fn on_error_body(body: &mut Option<Bytes>, end: bool, exchange: &mut Exchange) -> Result<()> {
    let chunk = body.take().unwrap_or_default();
    let translates = exchange.translates();
    exchange.saw_progress();
    let Some(read) = &mut exchange.incoming.error_body else { return Ok(()) };
    let room = MAX_ERROR_BODY.saturating_sub(read.len());
    let too_long = chunk.len() > room;
    read.extend_from_slice(if translates { &chunk[..chunk.len().min(room)] } else { &chunk });
    if !end && (translates || !too_long) {
        return Ok(());
    }
    for secret in secrets(&exchange.attempts) {
        mask_secret(read, secret);
    }
    if translates {
        return Err(told_by_upstream(exchange));
    }
    let (error, outcome) = what_upstream_says(exchange);
    let is_ours = matches!(outcome, Outcome::Credentials(_)) || count::is_refused(exchange, Some(&error));
    let says_nothing = exchange.incoming.error_body.as_ref().is_none_or(Vec::is_empty);
    if !too_long && (is_ours || says_nothing || exchange.step_after(outcome) != Step::Stop) {
        return Err(told(exchange, error, outcome));
    }
    let mut said = exchange.incoming.error_body.take().unwrap_or_default();
    // What the provider says of the operator's account is not for the client.
    mask(&mut said);
    *body = Some(said.into());
    exchange.end_attempt(outcome);
    exchange.observe(AnswerForm::Opaque);
    if let Some(replay) = &exchange.replay {
        replay.set_unjudged(false);
    }
    exchange.commit();
    Ok(())
}

/// The upstream's error answer is complete: what the client is told.
pub fn told_by_upstream(exchange: &mut Exchange) -> Box<Error> {
    let (error, outcome) = what_upstream_says(exchange);
    told(exchange, error, outcome)
}

/// The attempt has ended with `error`. What a provider says of the gateway's own account is not for the client.
fn told(exchange: &mut Exchange, error: ApiError, outcome: Outcome) -> Box<Error> {
    if !matches!(outcome, Outcome::Credentials(_)) {
        exchange.error = Some(error);
    }
    let error = Error::explain(ErrorType::HTTPStatus(error_status(exchange)), "upstream status");
    attempt_failed(exchange, outcome, error)
}

/// The error answer that was read.
fn what_upstream_says(exchange: &Exchange) -> (ApiError, Outcome) {
    let status = error_status(exchange);
    let dialect = exchange.attempt().map_or(exchange.dialect(), |attempt| attempt.route.dialect);
    let error = match exchange.incoming.error_body.as_deref() {
        None | Some([]) => said_by_status(exchange, status),
        Some(body) => decode_error(dialect, status, body),
    };
    let outcome = match error.kind {
        kind @ (ErrorKind::ContextLength | ErrorKind::ContentFilter) => Outcome::Refused(kind),
        // Gemini says so of its key, Anthropic of an account without credit.
        ErrorKind::UpstreamAuth if status == 400 => Outcome::Credentials(401),
        ErrorKind::QuotaExceeded if status == 400 => Outcome::Credentials(402),
        kind if is_of_target(&error) && exchange.step_after(Outcome::Refused(kind)) != Step::Stop => {
            Outcome::Refused(kind)
        }
        _ => Outcome::Status(status),
    };
    (error, outcome)
}

/// Whether the target may be all that is missing: its model, or its API. What the client itself refers to has a name.
fn is_of_target(error: &ApiError) -> bool {
    matches!(error.kind, ErrorKind::ModelNotFound | ErrorKind::NotFound)
        && error.param.as_deref().is_none_or(|param| param == "model")
}

/// What an error answer's status says, of whose body nothing was read.
pub fn said_by_status(exchange: &Exchange, status: u16) -> ApiError {
    let Some(attempt) = exchange.attempt() else {
        return ApiError::new(ErrorKind::UpstreamError, "no attempt was made");
    };
    let message = format!("provider `{}` answered with status {status}", attempt.target.provider.name);
    ApiError { message, ..decode_error(attempt.route.dialect, status, b"") }
}

fn error_status(exchange: &Exchange) -> u16 {
    exchange.attempt().and_then(|attempt| attempt.status).unwrap_or(502)
}

/// What of an answer that is still withheld makes it worth asking another target. A JSON document is withheld to its
/// end, so an error in it is found whatever stands before it.
fn failed_before_output(exchange: &Exchange) -> Option<Outcome> {
    let seen = exchange.incoming.observer.as_ref()?.seen();
    match &seen.error {
        Some(error) if exchange.incoming.form == AnswerForm::Json || exchange.buffers() || !seen.first_output => {
            Some(Outcome::StreamError(error.kind))
        }
        Some(_) | None => seen.cut.then_some(Outcome::Cut),
    }
}

/// The body has ended: cleanly in HTTP, but is the answer whole?
fn on_end(body: &mut Option<Bytes>, exchange: &mut Exchange) -> Result<()> {
    let Some(seen) = exchange.incoming.observer.as_ref().map(Observer::seen) else { return Ok(()) };
    if let Some(error) = &seen.error {
        let outcome = Outcome::StreamError(error.kind);
        exchange.end_attempt(outcome);
    } else if seen.cut {
        exchange.end_attempt(Outcome::Cut);
        let error = cut_short();
        if exchange.incoming.form == AnswerForm::Stream {
            *body = Some(append(body.take(), &exchange.error_event(&error)));
        }
        exchange.spoil_call(&error);
        exchange.error = Some(error);
        if exchange.incoming.form != AnswerForm::Stream {
            // Withholding the last part and breaking the connection is the only way left to say so.
            return Err(Error::explain(ErrorType::ConnectionClosed, "the provider's answer is not complete"));
        }
    }
    exchange.keep_answer();
    Ok(())
}

/// The error for an answer that stopped before its end.
pub fn cut_short() -> ApiError {
    ApiError::new(ErrorKind::StreamCut, "the provider's answer broke off before it was complete")
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
        self.attempt().is_some_and(|attempt| attempt.translates)
    }

    /// A chat's answer comes whole where a stream was asked for, and an SDK finds nothing in it: it becomes one.
    fn make_a_stream(&mut self) {
        let Some(target) = self.attempt().map(|attempt| attempt.target.clone()) else { return };
        let translation = encode::within(self, target.provider.tag, &target.model, self.snapshot.time.now());
        if let (Some(translation), Some(attempt)) = (translation, self.attempts.last_mut()) {
            attempt.answer = AnswerWay::Translated(Box::new(translation));
            attempt.translates = true;
        }
    }

    /// Whether the provider's own figure, which passes as it comes, is what the answer cost.
    fn has_told_cost(&self) -> bool {
        !self.translates() && self.cost_in_parts().is_some_and(|cost| cost.charged)
    }

    /// Begins to translate an answer that is framed as `form`. One that comes whole, or that the client wants whole, is withheld to
    /// its end: until then it may turn out to be an error.
    fn translate(&mut self, form: AnswerForm, input_tokens: Option<u64>) -> bool {
        let operation = self.endpoint.as_ref().map_or(Operation::Chat, |endpoint| endpoint.operation);
        let Some(attempt) = self.attempts.last_mut() else { return false };
        let (observer, stream) = match std::mem::replace(&mut attempt.answer, AnswerWay::Straight) {
            AnswerWay::Straight => return false,
            AnswerWay::Translated(translation) => {
                let stream = translation.stream;
                (Observer::translating(*translation, operation, form), stream)
            }
            AnswerWay::Converted(conversion) => {
                (Observer::converting(Conversion { input_tokens, ..*conversion }), false)
            }
        };
        self.incoming.watch(observer, if stream { AnswerForm::Stream } else { AnswerForm::Json });
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
        if !attempt.translates || self.incoming.form != AnswerForm::Json {
            return replay.amend(amendments);
        }
        amendments.push((CONTENT_LENGTH, HeaderValue::from(length)));
        let mut losses = attempt.losses.clone();
        if let Some(lost) = self.incoming.observer.as_ref().and_then(Observer::losses) {
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
        let hide_usage = self.attempt().is_some_and(|attempt| attempt.hide_usage);
        let operation = self.endpoint.as_ref().map_or(Operation::Chat, |endpoint| endpoint.operation);
        self.incoming.watch(Observer::new(self.dialect(), operation, form, hide_usage), form);
        self.begin_traced_answer();
    }

    fn begin_traced_answer(&mut self) {
        if let Some(trace) = &mut self.trace {
            trace.begin_answer(self.incoming.form);
        }
    }

    /// From here on the client gets this attempt's answer, and nothing of the request needs to be kept.
    fn commit(&mut self) {
        self.committed = true;
        if let Some(replay) = &self.replay {
            replay.commit();
        }
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.body = Bytes::new();
        }
        if let Some(request) = &mut self.request
            && !self.incoming.observer.as_ref().is_some_and(Observer::may_go_on)
        {
            request.release_body(self.incoming.form == AnswerForm::Stream);
        }
    }

    /// Whether the client gets nothing of an answer before it is whole.
    fn buffers(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.model.on_cut == OnCut::Buffer)
    }

    /// Whether a stream has been withheld for so long that the client needs to hear of it more than it needs another target.
    fn held_long(&self) -> bool {
        self.request.as_ref().is_some_and(|request| self.incoming.since.elapsed() >= request.model.retry.hold)
    }

    /// Whether the client has got a stream to its proper end.
    pub fn is_complete_stream(&self) -> bool {
        let seen = self.incoming.observer.as_ref().map(Observer::seen);
        let whole = seen.is_some_and(|seen| seen.complete && seen.error.is_none());
        let kept_back = self.replay.as_ref().is_some_and(Replay::keeps_back);
        self.committed && self.incoming.form == AnswerForm::Stream && whole && !self.client_left && !kept_back
    }

    fn saw_progress(&self) {
        let (Some(replay), Some(attempt)) = (&self.replay, self.attempt()) else { return };
        let idle = attempt.clocks.idle;
        if self.is_complete_stream() {
            replay.saw_progress(idle.min(END_PATIENCE));
        } else if (self.incoming.first_output.is_some() && !resume::awaits_output(self)) || !self.wants_stream() {
            replay.saw_progress(idle);
        }
    }

    /// The event that tells of `error` inside the stream that is under way.
    pub fn error_event(&mut self, error: &ApiError) -> Bytes {
        if let Some(event) = self.incoming.observer.as_mut().and_then(|observer| observer.translated_error(error)) {
            return event.into();
        }
        let sequence_number = self.incoming.observer.as_ref().map_or(0, |observer| observer.seen().events);
        let event = encode_stream_error(self.dialect(), error, &self.id, sequence_number);
        if self.incoming.observer.as_ref().is_some_and(Observer::mid_event) {
            return append(Some(Bytes::from_static(b"\n\n")), &event);
        }
        event.into()
    }

    /// Notes how the current attempt ended.
    pub fn end_attempt(&mut self, outcome: Outcome) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.end(outcome);
        }
    }
}
