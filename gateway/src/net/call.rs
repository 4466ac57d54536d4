//! One request to an upstream through Pingora's client connector. Dropping it, at any moment, ends it at once: the
//! connection is closed (HTTP/1) or the stream is reset (HTTP/2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use http::StatusCode;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{BError, Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::unasked::{self, Gunzip};

/// Stale pooled connections tried before a failure counts.
pub const STALE_RETRIES: usize = 3;
/// A connection that was closed while it lay in the pool fails at once; one that fails later may have done the work.
pub const STALE_WITHIN: Duration = Duration::from_millis(500);

/// What is asked of whom.
pub struct Ask {
    /// Where, with its limits of time.
    pub peer: HttpPeer,
    /// The complete header, credentials included.
    pub header: RequestHeader,
    /// The body that the header announces.
    pub body: Bytes,
    /// What an answer is taken for that does not say what it is.
    pub content_type: &'static str,
}

/// Why an answer did not begin.
#[derive(Debug)]
pub struct NoAnswer {
    /// Whether a connection stood.
    pub connected: bool,
    /// What happened.
    pub error: BError,
    /// A pooled connection was going away; nothing says that the provider is unwell.
    stale: bool,
}

/// An answer that is being read.
pub struct Call {
    connector: Arc<Connector>,
    peer: HttpPeer,
    /// `None` once the answer is over.
    session: Option<HttpSession>,
    /// Whether the whole request was taken, without which an HTTP/1 connection cannot serve another.
    sent: bool,
    /// The answer is packed.
    gunzip: Option<Box<Gunzip>>,
}

impl Call {
    /// Sends the request and reads the answer's header, of which is undone what nobody asked for ([`unasked`]). Stale connections of the pool are tried anew, a few times.
    ///
    /// # Errors
    /// [`NoAnswer`]; nothing of an answer has come.
    pub async fn open(connector: &Arc<Connector>, mut ask: Ask) -> Result<(ResponseHeader, Self), NoAnswer> {
        let mut stale = 0;
        loop {
            match Self::try_once(connector, &ask).await {
                Err(failed) if failed.stale && stale < STALE_RETRIES => {
                    stale += 1;
                    if stale == STALE_RETRIES {
                        // All connections of the pool may be dead.
                        ask.peer.group_key = !ask.peer.group_key;
                    }
                }
                done => return done,
            }
        }
    }

    async fn try_once(connector: &Arc<Connector>, ask: &Ask) -> Result<(ResponseHeader, Self), NoAnswer> {
        let (mut session, reused) = connector.get_http_session(&ask.peer).await.map_err(|error| {
            let stale = error.etype() == &ErrorType::H2Error;
            NoAnswer { connected: false, error: error.into_up(), stale }
        })?;
        session.set_read_timeout(ask.peer.options.read_timeout);
        session.set_write_timeout(ask.peer.options.write_timeout);
        let begun = Instant::now();
        let mut call = Self {
            connector: connector.clone(),
            peer: ask.peer.clone(),
            session: Some(session),
            sent: false,
            gunzip: None,
        };
        let answered = match call.exchange_headers(ask).await {
            Ok(mut header) => {
                call.gunzip = unasked::unpack(&mut header);
                unasked::label(&mut header, ask.content_type).map(|()| header)
            }
            Err(error) => Err(error),
        };
        answered.map(|header| (header, call)).map_err(|error| {
            let downgrade = error.etype() == &ErrorType::H2Downgrade;
            if downgrade {
                connector.prefer_h1(&ask.peer);
            }
            let stale = downgrade || (reused && begun.elapsed() < STALE_WITHIN && !was_taken(&error));
            NoAnswer { connected: true, error: error.into_up(), stale }
        })
    }

    async fn exchange_headers(&mut self, ask: &Ask) -> Result<ResponseHeader> {
        let session = self.session.as_mut().ok_or_else(over)?;
        session.write_request_header(Box::new(ask.header.clone())).await?;
        let written = match session.write_request_body(ask.body.clone(), true).await {
            Ok(()) => session.finish_request_body().await,
            Err(error) => Err(error),
        };
        self.sent = written.is_ok();
        loop {
            // A server that refuses a request early may still tell why.
            if let Err(error) = session.read_response_header().await {
                return Err(written.err().unwrap_or(error));
            }
            let header = session.response_header().ok_or_else(over)?;
            if !header.status.is_informational() || header.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(header.clone());
            }
        }
    }

    /// The next part of the body; `None` at its end, when the connection has gone back to the pool.
    ///
    /// # Errors
    /// The answer broke off.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let received = self.receive().await?;
            let Some(gunzip) = &mut self.gunzip else { return Ok(received) };
            let end = received.is_none();
            let (plain, torn) = gunzip.feed(received.as_deref().unwrap_or_default(), end);
            if torn {
                return Err(Error::explain(ErrorType::ConnectionClosed, "the answer is no whole gzip"));
            }
            if end {
                self.gunzip = None;
            }
            if !plain.is_empty() {
                return Ok(Some(plain));
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>> {
        let Some(session) = &mut self.session else { return Ok(None) };
        while !session.response_done() {
            match session.read_response_body().await? {
                Some(chunk) if chunk.is_empty() => {}
                Some(chunk) => return Ok(Some(chunk)),
                None => break,
            }
        }
        if let HttpSession::H2(stream) = session {
            // A stream that was reset looks like one that ended until it is asked.
            stream.check_response_end_or_error()?;
            stream.read_trailers().await?;
        }
        if let Some(session) = self.session.take()
            && self.sent
        {
            self.connector.release_http_session(session, &self.peer, self.peer.options.idle_timeout).await;
        }
        Ok(None)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Without this the pool of HTTP/2 connections would think that the stream is still there. It does not wait.
        if let Some(session @ HttpSession::H2(_)) = self.session.take() {
            let idle = self.peer.options.idle_timeout;
            let _ = self.connector.release_http_session(session, &self.peer, idle).now_or_never();
        }
    }
}

/// Whether the provider has taken the request and given up on it, so that it may have done a part of the work: its HTTP/2 stream was
/// reset, and not because it was refused (RFC 9113, section 8.7).
pub fn was_taken(error: &Error) -> bool {
    let reset = error.root_cause().downcast_ref::<h2::Error>().filter(|error| error.is_reset() && error.is_remote());
    reset.is_some_and(|error| error.reason() != Some(h2::Reason::REFUSED_STREAM))
}

fn over() -> BError {
    Error::explain(ErrorType::InternalError, "the call is over")
}
