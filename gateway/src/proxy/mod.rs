//! The proxy: Pingora's phases, each a few lines that call into the room that does the work.
//!
//! Read [`Gateway`]'s implementation of `ProxyHttp` from top to bottom: it is the life of a request. What is known of
//! a request on its way is its [`Exchange`]. What decides where it goes is in `plan`, which `explain` runs too.
//!
//! | file or room | subject |
//! |---|---|
//! | `exchange` | one client request and its answer: what all hooks share |
//! | `intake`, `request` | the request phase; the request as it was read |
//! | `plan`, `attempt` | where it goes; one try of one target |
//! | `answer`, `replay` | the provider's answer on its way; the session that withholds it, and takes an attempt back |
//! | `failure`, `reply`, `waiting` | what failed, and what follows; what the gateway answers itself; how long anything is waited for |
//! | `account`, `settle`, `trace` | limits, budgets and ledger; the end of every exchange; its place in a trace |
//! | `cached`, `stored` | answers that are kept here; those that a provider keeps |
//! | `calls` | requests beside the one that Pingora sends: hedges, mirrors, probes |
//! | `plugins`, `explain` | the plugins' hooks; what would become of a request |

mod account;
mod answer;
mod attempt;
mod cached;
mod calls;
mod exchange;
pub(crate) mod explain;
mod failure;
mod intake;
mod plan;
mod plugins;
mod replay;
mod reply;
mod request;
mod settle;
mod stored;
mod trace;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

pub(crate) use attempt::outcome::Outcome;
pub(crate) use calls::{Calls, Probing};
pub use exchange::Exchange;
pub(crate) use replay::drain::Drains;
pub(crate) use request::body::BufferBudget;
pub(crate) use waiting::ending::Ending;

use account::{admission, book, unfinished};
use reply::deliver;

use crate::cache::Cache;
use crate::clock::Time;
use crate::continuity::Continuity;
use crate::credentials::Client;
use crate::health::Health;
use crate::ledger::Ledger;
use crate::limits::Limits;
use crate::net::dns::Resolver;
use crate::net::patience::{CLIENT_PATIENCE, header_came};
use crate::snapshot::Snapshot;
use crate::telemetry::Telemetry;

/// What all exchanges share.
#[derive(Clone)]
pub struct Gateway {
    /// What time it is.
    pub(crate) time: Time,
    /// The configuration in force; exchanges pin the one they began with.
    pub(crate) current: Arc<ArcSwap<Snapshot>>,
    /// Addresses of the upstreams.
    pub(crate) resolver: Arc<Resolver>,
    /// Requests beside the one that Pingora sends.
    pub(crate) calls: Arc<Calls>,
    /// Asks for the gateway's own tokens.
    pub(crate) http: Arc<Client>,
    /// Room for answers whose clients have left.
    pub(crate) drains: Drains,
    /// Request bytes held at this moment.
    pub(crate) buffered: BufferBudget,
    /// Metrics and the access log.
    pub(crate) telemetry: Arc<Telemetry>,
    /// Where usage is booked; `None`: nowhere.
    pub(crate) ledger: Option<Arc<Ledger>>,
    /// How the targets are.
    pub(crate) health: Arc<Health>,
    /// What clients may use, and have used.
    pub(crate) limits: Arc<Limits>,
    /// Answers that are kept.
    pub(crate) cache: Arc<Cache>,
    /// What one request of a client leaves for its next.
    pub(crate) continuity: Arc<Continuity>,
    /// Ends what is in flight, when the process must leave.
    pub(crate) ending: Ending,
    /// Longest wait for a client to take a part of its answer.
    pub(crate) patience: Duration,
}

#[async_trait]
impl ProxyHttp for Gateway {
    /// Boxed: Pingora moves it several times a request, in a future that holds room for it three times.
    type CTX = Box<Exchange>;

    fn new_ctx(&self) -> Self::CTX {
        Box::new(Exchange::new(self.current.load_full(), self.telemetry.metrics.in_flight()))
    }

    /// None: answers are passed on as they come.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, _exchange: &mut Self::CTX) -> Result<()> {
        header_came();
        session.set_read_timeout(Some(CLIENT_PATIENCE));
        session.set_write_timeout(Some(self.patience));
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(CLIENT_PATIENCE.as_secs()));
        }
        // Otherwise a request sent ahead looks like a client that breaks its framing, and ends the one under way.
        // The price: a client that sent ahead and leaves is noticed only when it is written to.
        session.set_pipelining_enabled(true);
        // Interim answers of an attempt that may yet be taken back are not for the client.
        session.set_ignore_info_resp(true);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Self::CTX) -> Result<bool> {
        trace::begin(session, exchange);
        intake::take_in(self, session, exchange).await
    }

    async fn upstream_peer(&self, session: &mut Session, exchange: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        attempt::choose_peer(self, session, exchange).await
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        peer: &HttpPeer,
        exchange: &mut Self::CTX,
        error: Box<Error>,
    ) -> Box<Error> {
        failure::connect_failed(self, peer, exchange, error)
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        _digest: Option<&Digest>,
        exchange: &mut Self::CTX,
    ) -> Result<()> {
        if let Some(attempt) = exchange.attempt_mut() {
            attempt.connection.stands();
            if let Some(address) = peer.address().as_inet().filter(|_| !reused) {
                self.resolver.reached(&attempt.target.provider.host, address.ip());
            }
            self.telemetry.metrics.connected(&attempt.target.provider.name, reused);
        }
        // What took its time may have taken too much of its client's: a call that may be billed is not made for nobody.
        if reused { Ok(()) } else { waiting::still_there(session) }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        exchange: &mut Self::CTX,
    ) -> Result<()> {
        attempt::header::write_header(session, upstream, exchange)
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Self::CTX,
    ) -> Result<()> {
        attempt::write_body(body, end, exchange);
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        upstream: &mut ResponseHeader,
        exchange: &mut Self::CTX,
    ) -> Result<()> {
        answer::on_header(upstream, exchange)
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        answer::on_body(body, end, exchange)?;
        stored::remember(self, exchange);
        Ok(None)
    }

    /// Trailers (HTTP/2 upstreams only) end the body; they tell about the provider's side and stay behind.
    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        _trailers: &mut http::HeaderMap,
        exchange: &mut Self::CTX,
    ) -> Result<Option<Bytes>> {
        // An error from here would lose its mark to be retried; the replay session refuses the end instead.
        if !exchange.committed && !exchange.translates() && !exchange.seen().is_some_and(|seen| seen.complete) {
            return Ok(None);
        }
        let mut rest = None;
        answer::on_body(&mut rest, true, exchange)?;
        stored::remember(self, exchange);
        Ok(Some(rest.unwrap_or_default()))
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        header: &mut ResponseHeader,
        exchange: &mut Self::CTX,
    ) -> Result<()> {
        exchange.stamp(header)
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        // A client that has its whole answer finds room for its next request. Before commit the attempt may be taken back.
        if end && exchange.committed && !exchange.drained() && exchange.knows_usage() {
            // What a second call has consumed that still runs is settled with the rest.
            calls::give_up(exchange);
            // What plugins make of the answer is this client's business, not that of those who follow its call.
            exchange.settle_call();
            if !plugins::wants_whole_answers(exchange) {
                book::book(self, exchange);
                if !exchange.has_uncounted() {
                    admission::settle(exchange);
                    unfinished::account(self, exchange);
                }
            }
        }
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        _session: &mut Session,
        error: Box<Error>,
        exchange: &mut Self::CTX,
        reused: bool,
    ) -> Box<Error> {
        failure::attempt_broke(exchange, error, reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, exchange: &mut Self::CTX) -> FailToProxy {
        failure::tell_client(session, error, exchange).await
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, exchange: &mut Self::CTX) {
        exchange.keep_estimate();
        cached::part(session, exchange).await;
        exchange.count_tokens().await;
        settle::settle(self, session, exchange);
        if exchange.lingers {
            reply::linger(session, &self.ending).await;
        }
        if exchange.abandoned || (exchange.client_left && !exchange.told_end) {
            deliver::abandon(session).await;
        }
    }

    // Pingora's own lines would show the query, which may hold a key; the access log and our warnings say what failed.

    fn suppress_error_log(&self, _session: &Session, _exchange: &Self::CTX, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Self::CTX, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }

    fn request_summary(&self, _session: &Session, exchange: &Self::CTX) -> String {
        format!("request {}", exchange.id)
    }
}
