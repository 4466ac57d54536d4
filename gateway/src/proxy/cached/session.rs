//! The session of a call that several clients follow: what Pingora writes to it goes into the fill, from which each client is
//! served at its own pace, the one that made the call like the others.
//!
//! It stands between the replay session and the client's real one, which is served from here, in the same task, whenever Pingora
//! looks whether the client is still there. So a client that reads slowly does not hold the call up, one that leaves ends it
//! only if nobody else follows, and nothing is spawned. [`Lead::restore`] waits until the client has everything and puts its
//! real session back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use http::HeaderMap;
use parking_lot::Mutex;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::custom::server::Session as CustomSession;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::pour::{self, Outlet, Poured};
use crate::cache::Cache;
use crate::cache::fill::Fill;
use crate::cache::memory::Writer;
use crate::proxy::Gateway;
use crate::proxy::plugins::Screener;
use crate::proxy::replay::custom::{only_answers, vacant};
use crate::proxy::waiting::aside::aside;

/// Serving the client that made the call.
enum Pouring {
    Running(BoxFuture<'static, (Box<ServerSession>, Poured)>),
    Done(Box<ServerSession>, Poured),
}

/// The exchange's handle on the call that it makes for all.
pub struct Lead {
    /// What the clients follow.
    pub fill: Arc<Fill>,
    returned: Arc<Mutex<Option<Pouring>>>,
    left: Arc<OnceLock<Left>>,
    closes: Arc<AtomicBool>,
}

/// That the client has left whose exchange makes the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It had nothing of an answer.
    Before,
    /// It had the header at least.
    Within,
}

impl Lead {
    /// Whether its own client has left.
    pub fn left(&self) -> Option<Left> {
        self.left.get().copied()
    }

    /// Its own client's connection closes behind the answer, which is to say so if it has not begun.
    pub fn close(&self) {
        self.closes.store(true, Ordering::Relaxed);
    }

    /// Whether it does.
    pub fn closes(&self) -> bool {
        self.closes.load(Ordering::Relaxed)
    }

    /// Ends the fill, if it has not ended, waits until the client has what there is, and puts its session back.
    pub async fn restore(&self, session: &mut Session) -> Poured {
        drop(std::mem::replace(&mut *session.downstream_session, vacant()));
        let pouring = self.returned.lock().take();
        let (client, poured) = match pouring {
            Some(Pouring::Running(running)) => running.await,
            Some(Pouring::Done(client, poured)) => (client, poured),
            None => return Poured::Left,
        };
        session.downstream_session = client;
        poured
    }
}

/// Puts a session that writes to `writer` in the place of `session`'s real one. `screener`: the plugins of the client that makes
/// the call, which see what this client gets and not what the others do.
pub fn install(session: &mut Session, writer: Writer, gateway: &Gateway, screener: Option<Box<Screener>>) -> Lead {
    let fill = writer.fill().clone();
    let (returned, left) = (Arc::default(), Arc::<OnceLock<Left>>::default());
    let closes = Arc::<AtomicBool>::default();
    let header = session.req_header().clone();
    let (read, address) = (session.body_bytes_read(), session.client_addr().cloned());
    let mut client = std::mem::replace(&mut session.downstream_session, Box::new(vacant()));
    let mut reader = fill.join_first();
    let ending = gateway.ending.clone();
    let (leaves, closing) = (left.clone(), closes.clone());
    let running = async move {
        let outlet = Outlet { client: &mut client, screener, ending: &ending };
        let poured = pour::first(outlet, &mut reader, &closing).await;
        drop(reader);
        if poured == Poured::Left {
            // A `100 Continue` of ours counts as written, too.
            let has_nothing = client.response_written().is_none_or(|header| header.status.is_informational());
            let _ = leaves.set(if has_nothing { Left::Before } else { Left::Within });
        }
        (client, poured)
    };
    *session.downstream_session = ServerSession::new_custom(Box::new(SharedSession {
        header,
        read,
        address,
        fill: fill.clone(),
        writer: Some(writer),
        cache: gateway.cache.clone(),
        written: None,
        sent: 0,
        pouring: Mutex::new(Some(Pouring::Running(running.boxed()))),
        returned: Arc::clone(&returned),
    }));
    Lead { fill, returned, left, closes }
}

struct SharedSession {
    header: RequestHeader,
    read: usize,
    address: Option<SocketAddr>,
    fill: Arc<Fill>,
    /// `None` once the answer is over.
    writer: Option<Writer>,
    cache: Arc<Cache>,
    written: Option<ResponseHeader>,
    sent: usize,
    /// A mutex because sessions must be `Sync`; it is never contended.
    pouring: Mutex<Option<Pouring>>,
    returned: Arc<Mutex<Option<Pouring>>>,
}

impl SharedSession {
    fn begin(&mut self, header: ResponseHeader) {
        if header.status.is_informational() {
            return;
        }
        if let Some(writer) = &self.writer {
            writer.begin(header.clone());
        }
        self.written = Some(header);
    }

    fn push(&mut self, data: &Bytes) {
        self.sent += data.len();
        if let Some(writer) = &self.writer {
            writer.push(data);
        }
    }

    /// The answer is over.
    fn end(&mut self) {
        if let Some(writer) = self.writer.take() {
            aside(self.sent, || self.cache.finish(writer));
        }
    }

    /// Serves the client with what there is, and waits where an answer is too large to be remembered as a whole, for the fastest of
    /// its readers.
    async fn serve(&mut self) {
        let fill = self.fill.clone();
        let room = fill.has_room();
        tokio::pin!(room);
        loop {
            let pouring = self.pouring();
            let Some(Pouring::Running(running)) = pouring else { return room.await };
            tokio::select! {
                biased;
                (client, poured) = running => *pouring = Some(Pouring::Done(client, poured)),
                () = &mut room => return,
            }
        }
    }

    /// Whether nobody wants more of the answer, because the client's plugins have put an end to it: no client has left.
    fn is_over(&mut self) -> bool {
        self.writer.is_some()
            && matches!(self.pouring(), Some(Pouring::Done(_, Poured::Whole)))
            && self.fill.is_deserted()
    }

    fn pouring(&mut self) -> &mut Option<Pouring> {
        self.pouring.get_mut()
    }
}

impl Drop for SharedSession {
    fn drop(&mut self) {
        // What has not ended has broken off.
        self.writer = None;
        let pouring = self.pouring().take();
        *self.returned.lock() = pouring;
    }
}

#[async_trait]
impl CustomSession for SharedSession {
    only_answers!();

    fn req_header(&self) -> &RequestHeader {
        &self.header
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.header
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write_response_header(&mut self, resp: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.begin(*resp);
        if end {
            self.end();
        }
        Ok(())
    }

    async fn write_response_header_ref(&mut self, resp: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(resp.clone()), end).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.push(&data);
        if end {
            self.end();
        }
        Ok(())
    }

    async fn write_trailers(&mut self, _trailers: HeaderMap) -> Result<()> {
        Ok(())
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut over = false;
        for task in tasks {
            over |= task.is_end();
            match task {
                HttpTask::Header(header, _) => self.begin(*header),
                HttpTask::Body(Some(data), _) | HttpTask::UpgradedBody(Some(data), _) => self.push(&data),
                HttpTask::Body(None, _) | HttpTask::UpgradedBody(None, _) | HttpTask::Trailer(_) | HttpTask::Done => {}
                HttpTask::Failed(error) => return Err(error),
            }
        }
        if over {
            self.end();
            return Ok(true);
        }
        self.serve().await;
        let over = self.is_over();
        if over {
            self.writer = None;
        }
        Ok(over)
    }

    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn request_summary(&self) -> String {
        format!("{} {}", self.header.method, self.header.uri.path())
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_ref()
    }

    /// The answer broke off and is to look like that to everybody.
    async fn shutdown(&mut self, _code: u32, _ctx: &str) {
        self.writer = None;
    }

    async fn finish(&mut self) -> Result<()> {
        self.end();
        Ok(())
    }

    /// Serves the client, and returns when the last one who follows the call has left.
    async fn read_body_or_idle(&mut self, _no_body_expected: bool) -> Result<Option<Bytes>> {
        let fill = self.fill.clone();
        let pouring = self.pouring();
        loop {
            match pouring {
                Some(Pouring::Running(running)) => {
                    let (client, poured) = running.await;
                    *pouring = Some(Pouring::Done(client, poured));
                }
                // It has not left: what is written next is told that nobody wants more.
                Some(Pouring::Done(_, Poured::Whole)) => return std::future::pending().await,
                Some(Pouring::Done(..)) | None => {
                    fill.deserted().await;
                    return Err(Error::explain(ErrorType::ConnectionClosed, "nobody follows the answer").into_down());
                }
            }
        }
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    fn body_bytes_read(&self) -> usize {
        self.read
    }

    fn digest(&self) -> Option<&Digest> {
        None
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.address.as_ref()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        None
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }
}
