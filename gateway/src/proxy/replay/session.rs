//! The session around the real one, as Pingora sees it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::custom::server::Session as CustomSession;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::Sleep;

use super::clocks::clock_runs_out;
use super::custom::{only_answers, vacant};
use super::{Clock, Shared, nanos};
use crate::proxy::plugins::Screener;
use crate::proxy::reply::deliver::deliver;
use crate::proxy::waiting::ending::{End, Ending};
use crate::proxy::waiting::{GivenUp, wait_for};

pub(super) struct ReplaySession {
    inner: Box<ServerSession>,
    shared: Arc<Shared>,
    origin: Instant,
    held: Vec<HttpTask>,
    held_attempt: u32,
    watchdog: Option<Pin<Box<Sleep>>>,
    screener: Option<Box<Screener>>,
    end: End,
    /// The client has closed its side, and the answer is read whether it listens or not: as long as it takes what is written it does.
    listens: bool,
}

impl Drop for ReplaySession {
    fn drop(&mut self) {
        let inner = std::mem::replace(&mut self.inner, Box::new(vacant()));
        *self.shared.returned.lock() = Some(inner);
    }
}

impl ReplaySession {
    pub(super) fn new(
        inner: ServerSession,
        shared: Arc<Shared>,
        origin: Instant,
        screener: Option<Box<Screener>>,
        ending: &Ending,
    ) -> Self {
        Self {
            inner: Box::new(inner),
            shared,
            origin,
            held: Vec::new(),
            held_attempt: 0,
            watchdog: None,
            screener,
            end: ending.wait(),
            listens: false,
        }
    }

    /// Sets what [`Replay::amend`](super::Replay::amend) asked for on the header, if it is among the tasks.
    fn amend(&self, tasks: &mut [HttpTask]) -> Result<()> {
        let Some(HttpTask::Header(header, _)) = tasks.iter_mut().find(|task| matches!(task, HttpTask::Header(..)))
        else {
            return Ok(());
        };
        for (name, value) in std::mem::take(&mut *self.shared.amendments.lock()) {
            if name == http::header::CONTENT_LENGTH {
                header.remove_header(&http::header::TRANSFER_ENCODING);
            }
            header.insert_header(name, value)?;
        }
        Ok(())
    }

    async fn write(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        deliver(&mut self.inner, tasks, &mut self.end).await
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
        let said = said.into_iter().filter_map(unended).collect();
        match self.screen(said).await? {
            Some(said) => self.write(said).await.map(drop),
            None => Ok(()),
        }
    }

    /// What plugins let pass; `None`: the client left meanwhile, and the answer is read without it.
    ///
    /// # Errors
    /// The client, or the process, left meanwhile.
    async fn screen(&mut self, tasks: Vec<HttpTask>) -> Result<Option<Vec<HttpTask>>> {
        let Some(screener) = &mut self.screener else { return Ok(Some(tasks)) };
        let given_up = match wait_for(&mut self.inner, self.end.of(), screener.pass(tasks)).await {
            Ok(passed) => return passed.map(Some),
            Err(given_up) => given_up,
        };
        if matches!(given_up, GivenUp::ClientLeft(_)) && self.shared.goes_on_without_client(self.origin) {
            return Ok(None);
        }
        self.shared.keeps_back.store(true, Ordering::Relaxed);
        match given_up {
            GivenUp::ClientLeft(error) => Err(error.into_down()),
            GivenUp::Ending => ran_out(self.shared.ends()),
        }
    }

    /// Writes what an answer out of the cache says, through the plugins.
    async fn write_screened(&mut self, task: HttpTask) -> Result<()> {
        for task in self.screen(vec![task]).await?.unwrap_or_default() {
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

    /// Whether plugins have put an end to the answer, or seen it.
    fn is_over(&self) -> bool {
        self.screener.as_ref().is_some_and(|screener| screener.is_over())
    }

    /// The upstream was not read while the client took its time: that silence is not the upstream's.
    fn forgive_slow_client(&self) {
        let idle = self.shared.idle.load(Ordering::Relaxed);
        if idle > 0 && self.shared.deadline_clock.load(Ordering::Relaxed) == Clock::Idle as u8 {
            self.shared.deadline.store(nanos(self.origin.elapsed()).saturating_add(idle), Ordering::Relaxed);
        }
    }
}

fn ran_out<T>(clock: Clock) -> Result<T> {
    Error::e_explain(ErrorType::ReadTimedout, format!("{clock:?} clock of the attempt ran out"))
}

#[async_trait]
impl CustomSession for ReplaySession {
    only_answers!();

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
        // Interim answers are not for the client, nor is what is set on its header for them.
        tasks.retain(|task| !matches!(task, HttpTask::Header(header, _) if header.status.is_informational()));
        if tasks.is_empty() {
            return Ok(false);
        }
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
        if self.shared.is_gone() && !self.listens {
            return self.shared.swallow(tasks);
        }
        self.amend(&mut tasks)?;
        let mut end = tasks.iter().any(HttpTask::is_end);
        if self.screener.is_some() {
            let was_over = self.is_over();
            let Some(passed) = self.screen(tasks).await? else { return Ok(end) };
            tasks = passed;
            end |= self.is_over();
            if tasks.is_empty() || was_over {
                self.forgive_slow_client();
                return Ok(end);
            }
        }
        // That the provider fails says nothing of the client.
        let failure = tasks.pop_if(|task| matches!(task, HttpTask::Failed(_)));
        let done = if tasks.is_empty() { Ok(false) } else { self.write(tasks).await };
        self.forgive_slow_client();
        if let Some(HttpTask::Failed(error)) = failure {
            return Err(error);
        }
        match done {
            Err(_) if self.listens || self.shared.goes_on_without_client(self.origin) => {
                self.listens = false;
                Ok(end)
            }
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

    async fn finish(&mut self) -> Result<()> {
        // A client that is gone has a part of the answer, which is not to look like the whole.
        if self.shared.is_gone() && !self.listens { Ok(()) } else { self.inner.finish_body().await }
    }

    async fn read_body_or_idle(&mut self, _no_body_expected: bool) -> Result<Option<Bytes>> {
        let Self { inner, shared, origin, watchdog, end, listens, .. } = self;
        let clock = tokio::select! {
            biased;
            // First: what else ends now does so because of it.
            () = &mut *end => shared.ends(),
            gone = inner.read_body_or_idle(true), if !shared.is_gone() => {
                let Err(error) = &gone else { return gone };
                if !shared.goes_on_without_client(*origin) {
                    return gone;
                }
                if matches!(**inner, ServerSession::H1(_)) && error.etype() == &ErrorType::ConnectionClosed {
                    *listens = true;
                    // What waits for plugins is not to take it for leaving either.
                    inner.set_abort_on_close(false);
                }
                tokio::select! {
                    clock = clock_runs_out(shared, *origin, watchdog) => clock,
                    () = &mut *end => shared.ends(),
                }
            }
            clock = clock_runs_out(shared, *origin, watchdog) => clock,
        };
        ran_out(clock)
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

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.shared.body.lock().clone()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }
}
