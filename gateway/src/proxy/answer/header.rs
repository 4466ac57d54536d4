//! What the header of an upstream's answer says, and what of it its client is to see.

use ai_gateway_providers::answer::AnswerForm;
use ai_gateway_providers::{Dialect, Operation};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_http::ResponseHeader;

use super::retry_after;
use crate::net::media_type::essence;
use crate::net::unasked::is_packed;
use crate::proxy::Exchange;
use crate::proxy::attempt::outcome::Outcome;
use crate::proxy::reply::header;

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

/// What a status alone says; `None` when the body decides.
pub fn verdict(status: u16) -> Option<Outcome> {
    match status {
        200..300 => None,
        // 402 and 403 speak of the gateway's account, not of the caller, unless a 403's body says otherwise.
        401..=403 => Some(Outcome::Credentials(status)),
        400..600 => Some(Outcome::Status(status)),
        _ => Some(Outcome::Garbage),
    }
}

/// A page for people (of a captive portal, a login, a wrong base URL) is never an answer of an API.
pub fn is_web_page(header: &ResponseHeader) -> bool {
    essence(&header.headers).eq_ignore_ascii_case(b"text/html")
}

/// How an answer in `dialect` is framed.
pub fn form_of(header: &ResponseHeader, dialect: Dialect) -> AnswerForm {
    let essence = essence(&header.headers);
    if is_packed(header) {
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
pub fn is_of_json(operation: Operation) -> bool {
    !matches!(operation, Operation::Speech | Operation::Transcription | Operation::Stored)
}

/// Leaves only what its client is to see.
pub(super) fn clean(upstream: &mut ResponseHeader, exchange: &Exchange) {
    let mut clean = header::empty();
    (clean.status, clean.version) = (upstream.status, upstream.version);
    clean.headers = HeaderMap::with_capacity(MOST_HEADERS);
    let translates = exchange.translates();
    if translates {
        clean.headers.insert(CONTENT_TYPE, HeaderValue::from_static(exchange.content_type()));
    }
    for (name, value) in &upstream.headers {
        let word = name.as_str();
        // Each is to be there once, and some clients refuse a second one.
        if RETURNED.contains(&word) && !(translates && FRAMING.contains(&word)) && !clean.headers.contains_key(name) {
            clean.headers.insert(name.clone(), value.clone());
        }
    }
    if upstream.status.as_u16() >= 400 {
        // What makes no sense is not passed on.
        clean.headers.remove("retry-after");
        clean.headers.remove("retry-after-ms");
        for (name, value) in retry_after::told(&upstream.headers) {
            clean.headers.insert(name, value);
        }
    }
    if let Some(id) = IDS.iter().find_map(|name| upstream.headers.get(name)) {
        clean.headers.insert(&UPSTREAM_ID, id.clone());
    }
    if exchange.upstream_answer.form == AnswerForm::Stream {
        // The gateway may add an error event or keep a usage chunk back, and no proxy in front may collect the stream.
        clean.headers.remove(CONTENT_LENGTH);
        clean.headers.insert(BUFFERING.clone(), HeaderValue::from_static("no"));
    }
    *upstream = clean.into();
}
