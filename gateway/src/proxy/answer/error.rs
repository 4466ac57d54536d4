//! An upstream's error answer, read to its end: what it says, and what its client is told.

use ai_gateway_providers::Dialect;
use ai_gateway_providers::answer::AnswerForm;
use ai_gateway_providers::error::{ApiError, ErrorKind, decode_error, mask, mask_secret, retry_delay};
use bytes::Bytes;
use http::HeaderName;
use pingora_error::{Error, ErrorType, Result};

use super::retry_after;
use crate::proxy::Exchange;
use crate::proxy::attempt::outcome::Outcome;
use crate::proxy::attempt::secrets;
use crate::proxy::attempt::step::Step;
use crate::proxy::failure::attempt_failed;
use crate::proxy::reply::count;

/// The most that is read of an error's body.
const MAX_ERROR_BODY: usize = 256 << 10;

/// A part of an error's body has come, which is withheld to its end: it may be a reason to ask another target, and a client
/// of another dialect gets it in its own.
pub(super) fn on_error_body(body: &mut Option<Bytes>, end: bool, exchange: &mut Exchange) -> Result<()> {
    let chunk = body.take().unwrap_or_default();
    let translates = exchange.translates();
    exchange.saw_progress();
    let Some(read) = &mut exchange.upstream_answer.error_body else { return Ok(()) };
    let room = MAX_ERROR_BODY.saturating_sub(read.len());
    let too_long = chunk.len() > room;
    read.extend_from_slice(if translates { &chunk[..chunk.len().min(room)] } else { &chunk });
    if !end && (translates || !too_long) {
        return Ok(());
    }
    for secret in secrets(&exchange.attempts) {
        mask_secret(read, secret);
    }
    exchange.note_retry_delay();
    if translates {
        return Err(told_by_upstream(exchange));
    }
    let (error, outcome) = what_upstream_says(exchange);
    let is_ours = matches!(outcome, Outcome::Credentials(_)) || count::is_refused(exchange, Some(&error));
    let says_nothing = exchange.upstream_answer.error_body.as_ref().is_none_or(Vec::is_empty);
    if exchange.step_after(outcome) != Step::Stop || is_ours || says_nothing {
        return Err(told(exchange, error, outcome));
    }
    let mut said = exchange.upstream_answer.error_body.take().unwrap_or_default();
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
    let dialect = exchange.attempt().map_or(exchange.dialect(), |attempt| attempt.encoded.route.dialect);
    let error = match exchange.upstream_answer.error_body.as_deref() {
        None | Some([]) => said_by_status(exchange, status),
        Some(body) => decode_error(dialect, status, body),
    };
    let outcome = match error.kind {
        // What the client refers to is not its own, or has expired.
        ErrorKind::NotFound | ErrorKind::InvalidRequest if status == 403 => Outcome::Refused(ErrorKind::InvalidRequest),
        kind @ (ErrorKind::ContextLength | ErrorKind::ContentFilter) => Outcome::Refused(kind),
        // Gemini says so of its key, Anthropic of an account without credit.
        ErrorKind::UpstreamAuth if status == 400 => Outcome::Credentials(401),
        ErrorKind::QuotaExceeded if status == 400 => Outcome::Credentials(402),
        _ if status == 403 => Outcome::Credentials(403),
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
    ApiError { message, ..decode_error(attempt.encoded.route.dialect, status, b"") }
}

fn error_status(exchange: &Exchange) -> u16 {
    exchange.attempt().and_then(|attempt| attempt.status).unwrap_or(502)
}

impl Exchange {
    /// Whether the body of the current attempt's error may say when to come back: Google's do, and their headers never.
    pub(in crate::proxy) fn may_ask_to_wait(&self) -> bool {
        self.attempt().is_some_and(|attempt| {
            matches!(attempt.status, Some(429 | 503))
                && attempt.retry_after.is_none()
                && attempt.target.provider.dialects.contains(&Dialect::Gemini)
        })
    }

    /// Whether the body of the current attempt's error has to be read before anything follows on it.
    pub(super) fn status_leaves_open(&self) -> bool {
        self.may_ask_to_wait() || self.attempt().is_some_and(|attempt| attempt.status == Some(403))
    }

    fn note_retry_delay(&mut self) {
        if !self.may_ask_to_wait() {
            return;
        }
        let Some(wait) = self.upstream_answer.error_body.as_deref().and_then(retry_delay) else { return };
        if let Some(attempt) = self.attempt_mut() {
            attempt.retry_after = Some(retry_after::believed(wait));
        }
        self.retry_after = retry_after::written(wait);
        if let Some(replay) = &self.replay {
            let headers = self.retry_after.iter().map(|(name, value)| (HeaderName::from_static(name), value.clone()));
            replay.amend(headers.collect());
        }
    }
}
