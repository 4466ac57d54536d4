//! Answers that are good HTTP and none of the provider's API: of another server, or of a proxy in between.

use std::fmt;

use ai_gateway_providers::Operation;
use ai_gateway_providers::answer::AnswerForm;
use http::Uri;
use http::header::{CONTENT_TYPE, LOCATION};
use pingora_error::{Error, ErrorType};
use pingora_http::ResponseHeader;

use super::is_web_page;
use crate::net::unasked::is_packed;
use crate::proxy::Exchange;
use crate::proxy::attempt::outcome::Outcome;
use crate::proxy::failure::attempt_failed;

/// What came instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Another place, to which no request with a credential is sent.
    Redirect(u16),
    /// A page for people: of a captive portal, a login, a wrong base URL.
    Page,
    /// No body where one is due.
    Empty,
    /// A coding that was not asked for, and is not known.
    Coding,
    /// Something of which nothing can be translated.
    Type,
    /// A whole answer where a stream was asked for, which nothing makes one of.
    Whole,
    /// The reverse.
    Stream,
}

impl Unfit {
    /// What is wrong with an answer by its header; `None`: nothing so far. `form`: how it is framed.
    pub fn of(header: &ResponseHeader, form: AnswerForm, exchange: &Exchange) -> Option<Self> {
        let operation = exchange.operation();
        let is_of_any_bytes = matches!(operation, Some(Operation::Speech | Operation::Transcription));
        match header.status.as_u16() {
            status @ 300..400 => Some(Self::Redirect(status)),
            204 if operation != Some(Operation::Stored) => Some(Self::Empty),
            // Transcriptions come as any text.
            200..300 if is_web_page(header) && operation != Some(Operation::Transcription) => Some(Self::Page),
            // Passed on, it would be understood by nobody who counts or judges it, nor by every client.
            200..300 if is_packed(header) && (exchange.translates() || !is_of_any_bytes) => Some(Self::Coding),
            200..300 if exchange.translates() && form == AnswerForm::Opaque => Some(Self::Type),
            _ => None,
        }
    }

    /// Ends the attempt, and tells the operator what came.
    pub fn fail(self, header: &ResponseHeader, exchange: &mut Exchange) -> Box<Error> {
        let shown = |value: Option<&http::HeaderValue>| value.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let content_type = shown(header.headers.get(CONTENT_TYPE)).unwrap_or_else(|| "none".to_owned());
        // Its path and query may hold what is nobody's business.
        let location = shown(header.headers.get(LOCATION)).and_then(|place| place.parse::<Uri>().ok());
        let host = location.as_ref().and_then(Uri::host).map(|host| format!(", to {host}")).unwrap_or_default();
        if let Some(attempt) = exchange.attempts.last_mut() {
            attempt.unfit = Some(self);
            let (id, provider, status) = (&exchange.id, &attempt.target.provider.name, header.status.as_u16());
            log::warn!("request {id}: provider {provider}: {self}: status {status}, content-type {content_type}{host}");
        }
        attempt_failed(
            exchange,
            Outcome::Garbage,
            Error::explain(ErrorType::InvalidHTTPHeader, "no answer of this API"),
        )
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redirect(status) => write!(f, "a redirect ({status})"),
            Self::Page => f.write_str("a web page"),
            Self::Empty => f.write_str("no content (204)"),
            Self::Coding => f.write_str("a content-encoding that was not asked for"),
            Self::Whole => f.write_str("a whole answer where a stream was asked for"),
            Self::Stream => f.write_str("a stream where a whole answer was asked for"),
            Self::Type => f.write_str("an unexpected content type"),
        }
    }
}
