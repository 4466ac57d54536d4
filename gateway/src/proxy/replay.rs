//! The replay session: reading the body first, choosing the upstream later, and taking an attempt back.
//!
//! Stock Pingora 0.9.1 chooses the upstream before it reads the body, forwards a body read earlier only from a 64 KiB
//! buffer, and has no way to withhold an answer. [`install`] puts a session of ours around the real one, in the public
//! field `Session::downstream_session`. It claims the whole body as its retry buffer, withholds what Pingora writes
//! until the answer is committed, lets another attempt go on with the body of an answer that broke off, and runs the clocks
//! of the attempt. A client that leaves can be kept from Pingora, so that the answer is read to its end all the same.
//! [`Replay::restore`] puts the real session back, so that keep-alive survives.
//!
//! One file on purpose: a later Pingora that sends a body read earlier (its pull request 816) replaces it here.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session as CustomSession;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use tokio::time::Sleep;

use super::drain::{self, Draining, Drains};
use super::ending::{End, Ending};
use super::plugins::Screener;

type CustomMessageReader = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// Which clock of an attempt ran out. Each is an error of its own to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Clock {
    /// No first output within `timeouts.first_token`.
    FirstToken = 1,
    /// Nothing for `timeouts.idle` after output began.
    Idle = 2,
    /// The attempt as a whole took longer than `timeouts.total`.
    Total = 3,
    /// The process leaves, and does not wait any longer.
    Shutdown = 4,
}

impl Clock {
    fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::FirstToken),
            2 => Some(Self::Idle),
            3 => Some(Self::Total),
            4 => Some(Self::Shutdown),
            _ => None,
        }
    }
}

/// What the exchange and the installed session share: the body, whether the answer is withheld, and the clocks.
///
/// Only one task touches it at a time; the atomics are there because the session must be `Sync`, not for ordering.
#[derive(Default)]
struct Shared {
    /// The session it stands before, handed back when the wrapper is dropped.
    returned: Mutex<Option<Box<ServerSession>>>,
    /// Whether that has been put back.
    restored: AtomicBool,
    body: Mutex<Option<Bytes>>,
    /// Headers to be set on an answer that was withheld, when it leaves.
    amendments: Mutex<Vec<(HeaderName, HeaderValue)>>,
    holding: AtomicBool,
    /// The answer's end has still to be judged by the filters: an end that comes without a body never reaches them.
    unjudged: AtomicBool,
    /// What is written next is the last of the attempt, and not the end of the answer.
    breaks_off: AtomicBool,
    /// What the client gets is the body of an answer whose header it has.
    goes_on: AtomicBool,
    /// Number of the current attempt: what an earlier one left withheld is thrown away.
    attempt: AtomicU32,
    /// When the next clock runs out, in nanoseconds after `Clocks::origin`; 0 = never.
    deadline: AtomicU64,
    deadline_clock: AtomicU8,
    /// Length of the idle clock while it is the one that runs, in nanoseconds; else 0.
    idle: AtomicU64,
    fired: AtomicU8,
    /// When the total clock of the current attempt runs out, in nanoseconds after `Clocks::origin`.
    total_at: AtomicU64,
    /// Where there may be room to read the answer without its client; `None`: it is cancelled.
    drains: Option<Drains>,
    /// Held while the answer is read without its client.
    draining: Mutex<Option<Draining>>,
    /// The client has left, and the answer is read without it.
    gone: AtomicBool,
    /// Bytes swallowed since.
    swallowed: AtomicU64,
}

impl Shared {
    /// The client has left. Whether the answer is to be read to its end all the same, for a limited time.
    fn goes_on_without_client(&self, origin: Instant) -> bool {
        let Some(room) = self.drains.as_ref().and_then(Drains::enter) else { return false };
        *lock(&self.draining) = Some(room);
        self.gone.store(true, Ordering::Relaxed);
        let end = nanos(origin.elapsed()).saturating_add(nanos(drain::LONGEST));
        self.total_at.fetch_min(end, Ordering::Relaxed);
        if self.deadline.load(Ordering::Relaxed) > end {
            self.deadline_clock.store(Clock::Total as u8, Ordering::Relaxed);
            self.deadline.store(end, Ordering::Relaxed);
        }
        true
    }

    /// The process leaves.
    fn ends(&self) -> Clock {
        self.fired.store(Clock::Shutdown as u8, Ordering::Relaxed);
        Clock::Shutdown
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Takes what would go to a client that is there. Says whether it was the end.
    fn swallow(&self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            end |= task.is_end();
            match task {
                HttpTask::Failed(error) => return Err(error),
                HttpTask::Body(Some(body), _) => {
                    let before = self.swallowed.fetch_add(body.len() as u64, Ordering::Relaxed);
                    if before + body.len() as u64 > drain::MOST_BYTES as u64 {
                        let error = Error::explain(ErrorType::ConnectionClosed, "too long to be read without a client");
                        return Err(error.into_down());
                    }
                }
                _ => {}
            }
        }
        Ok(end)
    }
}

/// The exchange's handle on its installed session.
pub struct Replay {
    shared: Arc<Shared>,
    origin: Instant,
}

/// Puts the replay session in the place of `session`'s real one.
///
/// `body` is the whole request body as read and decoded. `drains`: where the answer may be read without its client, if it may.
/// `screener`: what everything that is written goes through, if anything.
pub fn install(
    session: &mut Session,
    body: Bytes,
    drains: Option<Drains>,
    ending: &Ending,
    screener: Option<Box<Screener>>,
) -> Replay {
    let origin = Instant::now();
    let shared = Arc::new(Shared { body: Mutex::new(Some(body)), drains, ..Shared::default() });
    let inner = std::mem::replace(&mut *session.downstream_session, vacant());
    *session.downstream_session = ServerSession::new_custom(Box::new(ReplaySession {
        inner: Box::new(inner),
        shared: shared.clone(),
        origin,
        held: Vec::new(),
        held_attempt: 0,
        watchdog: None,
        end: ending.wait(),
        screener,
    }));
    Replay { shared, origin }
}

impl Replay {
    /// Begins an attempt and starts its clocks; without `first_token` (answers that are not streamed) only the total.
    pub fn begin_attempt(&self, total: Duration, first_token: Option<Duration>) {
        self.shared.total_at.store(nanos(self.origin.elapsed()).saturating_add(nanos(total)), Ordering::Relaxed);
        self.shared.attempt.fetch_add(1, Ordering::Relaxed);
        self.shared.fired.store(0, Ordering::Relaxed);
        self.shared.holding.store(false, Ordering::Relaxed);
        self.shared.unjudged.store(false, Ordering::Relaxed);
        self.shared.breaks_off.store(false, Ordering::Relaxed);
        match first_token {
            Some(limit) => self.arm(Clock::FirstToken, limit),
            None => self.arm_total(),
        }
    }

    /// Withholds everything that Pingora writes from now on, until [`Self::commit`] or the next attempt.
    pub fn hold(&self) {
        self.shared.holding.store(true, Ordering::Relaxed);
    }

    /// Lets the answer go: what is withheld leaves with the next write, and the request body is no longer needed.
    pub fn commit(&self) {
        self.shared.holding.store(false, Ordering::Relaxed);
        // Without a body Pingora would not ask for that of an attempt which goes on.
        *lock(&self.shared.body) = Some(Bytes::new());
    }

    /// Ends the attempt, but not the answer, behind what is written next: Pingora gets an error.
    pub fn break_off(&self) {
        self.shared.breaks_off.store(true, Ordering::Relaxed);
    }

    /// What comes from now on goes on with the answer that the client has the beginning of.
    pub fn go_on(&self) {
        self.shared.goes_on.store(true, Ordering::Relaxed);
    }

    /// Sets headers on an answer that is still withheld. `content-length` takes the place of chunks.
    pub fn amend(&self, headers: Vec<(HeaderName, HeaderValue)>) {
        *lock(&self.shared.amendments) = headers;
    }

    /// Says that the end of the answer has (not) passed the filters that judge it.
    pub fn set_unjudged(&self, unjudged: bool) {
        self.shared.unjudged.store(unjudged, Ordering::Relaxed);
    }

    /// Stops the clocks until the next attempt.
    pub fn rest(&self) {
        self.shared.idle.store(0, Ordering::Relaxed);
        self.shared.deadline.store(0, Ordering::Relaxed);
    }

    /// Starts the idle clock anew: something arrived.
    pub fn saw_progress(&self, idle: Duration) {
        self.arm(Clock::Idle, idle);
        self.shared.idle.store(nanos(idle), Ordering::Relaxed);
    }

    /// The clock that ended the current attempt, if one did.
    pub fn fired(&self) -> Option<Clock> {
        Clock::from_u8(self.shared.fired.load(Ordering::Relaxed))
    }

    /// Whether the client has left and the answer is read without it.
    pub fn drains(&self) -> bool {
        self.shared.is_gone()
    }

    /// Puts the real session back. Does nothing when it is back already.
    pub fn restore(&self, session: &mut Session) {
        if self.shared.restored.swap(true, Ordering::Relaxed) {
            return;
        }
        drop(std::mem::replace(&mut *session.downstream_session, vacant()));
        if let Some(inner) = lock(&self.shared.returned).take() {
            session.downstream_session = inner;
        }
    }

    fn arm(&self, clock: Clock, limit: Duration) {
        let at = nanos(self.origin.elapsed()).saturating_add(nanos(limit));
        self.shared.idle.store(0, Ordering::Relaxed);
        if at < self.shared.total_at.load(Ordering::Relaxed) {
            self.shared.deadline_clock.store(clock as u8, Ordering::Relaxed);
            self.shared.deadline.store(at, Ordering::Relaxed);
        } else {
            self.arm_total();
        }
    }

    fn arm_total(&self) {
        self.shared.deadline_clock.store(Clock::Total as u8, Ordering::Relaxed);
        self.shared.deadline.store(self.shared.total_at.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session that is never used: it stands where the real one was, for the moment of a swap.
fn vacant() -> ServerSession {
    ServerSession::new_custom(Box::new(()))
}

struct ReplaySession {
    inner: Box<ServerSession>,
    shared: Arc<Shared>,
    origin: Instant,
    held: Vec<HttpTask>,
    held_attempt: u32,
    watchdog: Option<Pin<Box<Sleep>>>,
    end: End,
    screener: Option<Box<Screener>>,
}

impl Drop for ReplaySession {
    fn drop(&mut self) {
        let inner = std::mem::replace(&mut self.inner, Box::new(vacant()));
        *lock(&self.shared.returned) = Some(inner);
    }
}

impl ReplaySession {
    /// Sets what [`Replay::amend`] asked for on the header, if it is among the tasks.
    fn amend(&self, tasks: &mut [HttpTask]) -> Result<()> {
        let Some(HttpTask::Header(header, _)) = tasks.iter_mut().find(|task| matches!(task, HttpTask::Header(..)))
        else {
            return Ok(());
        };
        for (name, value) in std::mem::take(&mut *lock(&self.shared.amendments)) {
            if name == http::header::CONTENT_LENGTH {
                header.remove_header(&http::header::TRANSFER_ENCODING);
            }
            header.insert_header(name, value)?;
        }
        Ok(())
    }

    /// Writes what an attempt that broke off has said, if anything, and not that it ended.
    async fn write_the_last(&mut self, mut tasks: Vec<HttpTask>) -> Result<()> {
        let mut said = std::mem::take(&mut self.held);
        said.append(&mut tasks);
        if !said.iter().any(|task| matches!(task, HttpTask::Body(Some(body), _) if !body.is_empty())) {
            return Ok(());
        }
        let goes_on = self.shared.goes_on.load(Ordering::Relaxed);
        let unended = |task| match task {
            HttpTask::Header(header, _) if !goes_on => Some(HttpTask::Header(header, false)),
            HttpTask::Body(body, _) => Some(HttpTask::Body(body, false)),
            _ => None,
        };
        let mut said: Vec<HttpTask> = said.into_iter().filter_map(unended).collect();
        if let Some(screener) = &mut self.screener {
            said = screener.pass(said).await?;
        }
        self.inner.response_duplex_vec(said).await.map(drop)
    }

    /// Writes what an answer out of the cache says, through the plugins.
    async fn write_screened(&mut self, task: HttpTask) -> Result<()> {
        let Some(screener) = &mut self.screener else { return Ok(()) };
        for task in screener.pass(vec![task]).await? {
            match task {
                HttpTask::Header(header, end) => {
                    self.inner.write_response_header(header).await?;
                    if end {
                        self.inner.finish_body().await?;
                    }
                }
                HttpTask::Body(body, end) => self.inner.write_response_body(body.unwrap_or_default(), end).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The upstream was not read while the client took its time: that silence is not the upstream's.
    fn forgive_slow_client(&self) {
        let idle = self.shared.idle.load(Ordering::Relaxed);
        if idle > 0 && self.shared.deadline_clock.load(Ordering::Relaxed) == Clock::Idle as u8 {
            self.shared.deadline.store(nanos(self.origin.elapsed()).saturating_add(idle), Ordering::Relaxed);
        }
    }
}

/// Resolves when a clock has run out. Deadlines mostly move later, so the timer is registered anew only when it fires
/// too early or is set too late.
async fn clock_runs_out(shared: &Shared, origin: Instant, watchdog: &mut Option<Pin<Box<Sleep>>>) -> Clock {
    loop {
        let at = shared.deadline.load(Ordering::Relaxed);
        if at == 0 {
            return std::future::pending().await;
        }
        let deadline = tokio::time::Instant::from_std(origin + Duration::from_nanos(at));
        let watchdog = watchdog.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if watchdog.deadline() > deadline || watchdog.is_elapsed() {
            watchdog.as_mut().reset(deadline);
        }
        watchdog.as_mut().await;
        if shared.deadline.load(Ordering::Relaxed) <= nanos(origin.elapsed()) {
            let clock = shared.deadline_clock.load(Ordering::Relaxed);
            shared.fired.store(clock, Ordering::Relaxed);
            return Clock::from_u8(clock).unwrap_or(Clock::Total);
        }
    }
}

#[async_trait]
impl CustomSession for ReplaySession {
    fn req_header(&self) -> &RequestHeader {
        self.inner.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.inner.req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write_response_header(&mut self, resp: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.held.clear();
        if self.screener.is_some() {
            return self.write_screened(HttpTask::Header(resp, end)).await;
        }
        self.inner.write_response_header(resp).await?;
        if end { self.inner.finish_body().await } else { Ok(()) }
    }

    async fn write_response_header_ref(&mut self, resp: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(resp.clone()), end).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        if self.screener.is_some() {
            return self.write_screened(HttpTask::Body(Some(data), end)).await;
        }
        self.inner.write_response_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.inner.write_response_trailers(trailers).await
    }

    async fn response_duplex_vec(&mut self, mut tasks: Vec<HttpTask>) -> Result<bool> {
        let attempt = self.shared.attempt.load(Ordering::Relaxed);
        if self.held_attempt != attempt {
            self.held.clear();
            self.held_attempt = attempt;
        }
        let ends = |task: &HttpTask| matches!(task, HttpTask::Header(_, true) | HttpTask::Trailer(_) | HttpTask::Done);
        let ends_unjudged = self.shared.unjudged.load(Ordering::Relaxed) && tasks.iter().any(ends);
        if ends_unjudged || self.shared.breaks_off.load(Ordering::Relaxed) {
            if !self.shared.holding.load(Ordering::Relaxed) && !self.shared.is_gone() {
                self.write_the_last(tasks).await?;
            }
            return Error::e_explain(ErrorType::ConnectionClosed, "the answer ended before it was complete");
        }
        if self.shared.goes_on.load(Ordering::Relaxed) {
            tasks.retain(|task| !matches!(task, HttpTask::Header(..)));
        }
        if self.shared.holding.load(Ordering::Relaxed) {
            for task in tasks {
                match task {
                    HttpTask::Failed(error) => return Err(error),
                    task => self.held.push(task),
                }
            }
            return Ok(false);
        }
        if !self.held.is_empty() {
            self.held.append(&mut tasks);
            tasks = std::mem::take(&mut self.held);
        }
        if self.shared.is_gone() {
            return self.shared.swallow(tasks);
        }
        self.amend(&mut tasks)?;
        let mut end = tasks.iter().any(HttpTask::is_end);
        if let Some(screener) = &mut self.screener {
            let was_over = screener.is_over();
            tasks = screener.pass(tasks).await?;
            end |= screener.is_over();
            if tasks.is_empty() || was_over {
                self.forgive_slow_client();
                return Ok(end);
            }
        }
        let done = self.inner.response_duplex_vec(tasks).await;
        self.forgive_slow_client();
        match done {
            Err(_) if self.shared.goes_on_without_client(self.origin) => Ok(end),
            done => done.map(|done| done || end),
        }
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.inner.get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.inner.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.inner.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.inner.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.inner.response_written()
    }

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {
        self.inner.shutdown().await;
    }

    fn is_body_done(&mut self) -> bool {
        true
    }

    async fn finish(&mut self) -> Result<()> {
        self.inner.finish_body().await
    }

    fn is_body_empty(&mut self) -> bool {
        false
    }

    async fn read_body_or_idle(&mut self, _no_body_expected: bool) -> Result<Option<Bytes>> {
        let Self { inner, shared, origin, watchdog, end, .. } = self;
        let clock = tokio::select! {
            gone = inner.read_body_or_idle(true), if !shared.is_gone() => {
                if gone.is_ok() || !shared.goes_on_without_client(*origin) {
                    return gone;
                }
                tokio::select! {
                    clock = clock_runs_out(shared, *origin, watchdog) => clock,
                    () = &mut *end => shared.ends(),
                }
            }
            clock = clock_runs_out(shared, *origin, watchdog) => clock,
            () = &mut *end => shared.ends(),
        };
        Error::e_explain(ErrorType::ReadTimedout, format!("{clock:?} clock of the attempt ran out"))
    }

    fn body_bytes_sent(&self) -> usize {
        self.inner.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.inner.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.inner.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.inner.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.inner.to_h1_raw()
    }

    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        false
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        lock(&self.shared.body).clone()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<CustomMessageReader> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: CustomMessageReader) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
