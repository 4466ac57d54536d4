//! Answers that the gateway writes itself: errors in the client's dialect, and what needs no upstream.
//!
//! | file | subject |
//! |---|---|
//! | `header` | the gateway's own headers |
//! | `deliver` | writing to a client that is slow or gone |
//! | `count` | token counts of its own |
//! | `models`, `codex_models` | `GET /v1/models`; the same for Codex |

pub mod codex_models;
pub mod count;
pub mod deliver;
pub mod header;
pub mod models;

use std::future::pending;
use std::time::Duration;

use ai_gateway_providers::Dialect;
use ai_gateway_providers::error::{ApiError, ErrorKind, bedrock_exception, encode_error};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use pingora_core::protocols::http::HttpTask;
use pingora_error::{Error, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use crate::proxy::Exchange;
use crate::proxy::request::body;
use crate::proxy::waiting::ending::Ending;
use deliver::deliver;

/// Longest time and most bytes spent on throwing away a body that nobody will read.
const LINGER: Duration = Duration::from_secs(15);
const LINGER_BYTES: usize = 256 << 20;
/// An unread body up to this size that comes in this time is read before the answer, which keeps the connection.
const DRAIN_FIRST: usize = 64 * 1024;
const DRAIN_FIRST_TIME: Duration = Duration::from_millis(500);

/// An error that the client gets, with a header that tells what to do about it.
#[derive(Debug)]
pub struct Refusal {
    error: ApiError,
    headers: Vec<(&'static str, HeaderValue)>,
}

impl Refusal {
    /// The gateway is full: come back in a second, as every error of this kind says.
    pub fn busy(message: &str) -> Self {
        ApiError::new(ErrorKind::Busy, message).into()
    }

    /// The path exists, for the methods `allow`.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let error = ApiError::new(ErrorKind::MethodNotAllowed, format!("this path takes {allow}"));
        Self { error, headers: vec![("allow", HeaderValue::from_static(allow))] }
    }

    /// What is wrong.
    pub fn error(&self) -> &ApiError {
        &self.error
    }

    /// What is wrong, without what to do about it.
    pub fn into_error(self) -> ApiError {
        self.error
    }

    /// `error`, with what the upstream said about coming back.
    pub fn with_headers(error: ApiError, headers: Vec<(&'static str, HeaderValue)>) -> Self {
        Self { error, headers }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { error, headers: Vec::new() }
    }
}

/// Why a request goes no further before it has an attempt.
#[derive(Debug)]
pub enum Stopped {
    /// Its client is told this.
    Refused(Refusal),
    /// Nobody is told: its client is gone.
    Client(Box<Error>),
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ApiError> for Stopped {
    fn from(error: ApiError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Box<Error>> for Stopped {
    fn from(error: Box<Error>) -> Self {
        Self::Client(error)
    }
}

/// Answers with an error in the dialect of the request's path, and notes it for the log.
pub async fn error(session: &mut Session, exchange: &mut Exchange, refusal: impl Into<Refusal>) -> Result<()> {
    let Refusal { error, headers } = refusal.into();
    let status = error.client_status(exchange.dialect());
    let body = encode_error(exchange.dialect(), &error, &exchange.id);
    let status_code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut header = ResponseHeader::build(status_code, Some(8))?;
    if error.kind == ErrorKind::Busy {
        header.insert_header("retry-after", "1")?;
    }
    for (name, value) in headers {
        header.insert_header(name, value)?;
    }
    if error.kind == ErrorKind::NotSupported {
        // The official SDKs, and the agents built on them, try every 5xx again, up to ten times, unless this tells them not to.
        header.insert_header("x-should-retry", "false")?;
    }
    if exchange.dialect() == Dialect::Bedrock {
        header.insert_header("x-amzn-errortype", bedrock_exception(error.kind))?;
    }
    exchange.status = status;
    exchange.error = Some(error);
    json(session, exchange, header, body.into()).await
}

/// Writes `body` as JSON under `header`.
///
/// A client that is still sending gets its answer all the same: a short body is read first, so that the connection
/// lives on; after a long one's [`linger`] is called for.
pub async fn json(
    session: &mut Session,
    exchange: &mut Exchange,
    mut header: ResponseHeader,
    body: Bytes,
) -> Result<()> {
    header.insert_header("content-type", "application/json")?;
    whole(session, exchange, header, body).await
}

/// The same, of the content type that `header` says.
pub async fn whole(
    session: &mut Session,
    exchange: &mut Exchange,
    mut header: ResponseHeader,
    body: Bytes,
) -> Result<()> {
    header.insert_header("content-length", body.len())?;
    exchange.stamp(&mut header)?;
    if may_be_short(session) {
        throw_away(session, DRAIN_FIRST, DRAIN_FIRST_TIME).await;
    }
    if !session.is_body_done() {
        exchange.lingers = true;
        session.set_keepalive(None);
    }
    let head = session.req_header().method == http::Method::HEAD;
    let mut tasks = vec![HttpTask::Header(Box::new(header), head)];
    if !head {
        tasks.push(HttpTask::Body(Some(body), true));
    }
    // Nothing ends the wait but the client's own time: this is short.
    deliver(&mut session.downstream_session, tasks, pending()).await.map(drop)
}

/// Throws a bounded part away of a body that is still being sent, so that its client reads the answer and not a reset.
pub async fn linger(session: &mut Session, ending: &Ending) {
    tokio::select! {
        () = throw_away(session, LINGER_BYTES, LINGER) => {}
        () = ending.reached() => {}
    }
}

/// Whether the rest of the body may be worth waiting for. A client that expects a `100 Continue` sends none.
fn may_be_short(session: &mut Session) -> bool {
    !session.is_body_done()
        && !session.req_header().headers.contains_key(http::header::EXPECT)
        && body::announced_length(session).is_none_or(|length| length <= DRAIN_FIRST)
}

/// Reads and forgets the rest of the body, up to a number of bytes and a time.
async fn throw_away(session: &mut Session, most: usize, limit: Duration) {
    let mut thrown_away = 0;
    let read = async {
        while let Some(chunk) = session.downstream_session.read_request_body().await? {
            thrown_away += chunk.len();
            if thrown_away > most {
                break;
            }
        }
        Ok::<_, Box<Error>>(())
    };
    match tokio::time::timeout(limit, read).await {
        Ok(Ok(())) => {}
        // Pingora takes a body for done whose framing broke: what follows it must not be read as a request (RFC 9112 §2.2).
        Ok(Err(_)) => session.set_keepalive(None),
        Err(_) => log::debug!("the client is still sending a body that nobody reads"),
    }
}
