//! Writing an answer to one client, from a fill or from what is kept.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use memchr::memchr_iter;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_error::Result;
use pingora_http::ResponseHeader;

use crate::cache::fill::{BATCH, Next, Reader};
use crate::proxy::plugins::Screener;
use crate::proxy::reply::deliver::deliver;
use crate::proxy::waiting::ending::Ending;
use crate::proxy::waiting::{GivenUp, leaves, wait_for};

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poured {
    /// The client has the whole answer.
    Whole,
    /// The answer broke off; nothing says so yet.
    Broken,
    /// The answer went on without the client, which is too slow; nothing says so yet.
    Behind,
    /// The client left.
    Left,
    /// The process leaves, and does not wait for its plugins any longer; nothing says so yet.
    Ending,
}

impl From<GivenUp> for Poured {
    fn from(given_up: GivenUp) -> Self {
        match given_up {
            GivenUp::ClientLeft(_) => Self::Left,
            GivenUp::Ending => Self::Ending,
        }
    }
}

/// A client and, if it has any, the plugins that look at what it gets.
pub struct Outlet<'a> {
    /// Its session.
    pub client: &'a mut ServerSession,
    /// Its plugins.
    pub screener: Option<Box<Screener>>,
    /// Until when they are waited for.
    pub ending: &'a Ending,
}

impl Outlet<'_> {
    /// Writes `tasks`. `true`: nothing more is to come, because they are the end or plugins have put an end to it.
    async fn send(&mut self, tasks: Vec<HttpTask>) -> Result<bool, GivenUp> {
        let Some(screener) = &mut self.screener else {
            return Ok(deliver(self.client, tasks, self.ending.reached()).await?);
        };
        let tasks = wait_for(self.client, self.ending, screener.pass(tasks)).await??;
        if !tasks.is_empty() {
            deliver(self.client, tasks, self.ending.reached()).await?;
        }
        Ok(screener.is_over())
    }

    /// Says in the header how the body ends, if its length is not known or may change.
    fn frame(&self, header: &mut ResponseHeader) -> Result<()> {
        header.remove_header(&CONNECTION);
        header.remove_header(&DATE);
        if self.screener.is_some() {
            header.remove_header(&CONTENT_LENGTH);
        }
        if !self.client.is_http2() && !header.headers.contains_key(CONTENT_LENGTH) {
            header.set_version(http::Version::HTTP_11);
            header.insert_header(TRANSFER_ENCODING, "chunked")?;
        }
        Ok(())
    }
}

/// Serves the client whose exchange makes the call: its header is as it stands in the fill. `closes`: its connection closes behind the
/// answer.
pub async fn first(mut outlet: Outlet<'_>, reader: &mut Reader, closes: &AtomicBool) -> Poured {
    let header = tokio::select! {
        biased;
        header = reader.header() => header,
        _ = leaves(outlet.client) => return Poured::Left,
    };
    if closes.load(Ordering::Relaxed) {
        outlet.client.set_keepalive(None);
    }
    match header {
        Some(header) => pour(&mut outlet, ResponseHeader::clone(&header), reader, |_| {}).await,
        None => Poured::Broken,
    }
}

/// Writes `header` and what `reader` finds to the client. `at_end` is called before the last of a whole answer is written.
pub async fn pour(
    outlet: &mut Outlet<'_>,
    mut header: ResponseHeader,
    reader: &mut Reader,
    at_end: impl FnOnce(&Reader),
) -> Poured {
    if outlet.frame(&mut header).is_err() {
        return Poured::Broken;
    }
    let mut tasks = vec![HttpTask::Header(Box::new(header), false)];
    let mut chunks = Vec::new();
    let mut at_end = Some(at_end);
    loop {
        let next = tokio::select! {
            biased;
            next = reader.next(&mut chunks) => next,
            _ = leaves(outlet.client), if tasks.is_empty() => return Poured::Left,
            // The header alone, if nothing comes with it.
            () = std::future::ready(()), if !tasks.is_empty() => Next::More,
        };
        tasks.extend(chunks.drain(..).map(|chunk| HttpTask::Body(Some(chunk), false)));
        if next == Next::End {
            if let Some(at_end) = at_end.take() {
                at_end(reader);
            }
            tasks.push(HttpTask::Done);
        }
        let over = match outlet.send(std::mem::take(&mut tasks)).await {
            Ok(over) => over,
            Err(given_up) => return given_up.into(),
        };
        match next {
            Next::More if over => return Poured::Whole,
            Next::More => {}
            Next::End => return Poured::Whole,
            Next::Broken => return Poured::Broken,
            Next::Behind => return Poured::Behind,
        }
    }
}

/// Writes a whole answer, in parts for each of which the client has its time. `pace`: between its events, if it is a stream of
/// such.
///
/// # Errors
/// The client, or the process, left meanwhile.
pub async fn write(
    outlet: &mut Outlet<'_>,
    mut header: ResponseHeader,
    mut body: Bytes,
    pace: Duration,
) -> Result<(), GivenUp> {
    if pace.is_zero() && outlet.screener.is_none() {
        header.insert_header(CONTENT_LENGTH, body.len())?;
    } else {
        outlet.frame(&mut header)?;
    }
    let mut tasks = vec![HttpTask::Header(Box::new(header), false)];
    loop {
        let length = if pace.is_zero() { body.len().min(BATCH) } else { first_event(&body) };
        let part = body.split_to(length);
        let end = body.is_empty();
        tasks.push(HttpTask::Body(Some(part), end));
        if outlet.send(std::mem::take(&mut tasks)).await? || end {
            return Ok(());
        }
        if !pace.is_zero() {
            wait_for(outlet.client, outlet.ending, tokio::time::sleep(pace)).await?;
        }
    }
}

/// The length of a stream's first event with the empty line that ends it. What is no event stream is one.
fn first_event(body: &[u8]) -> usize {
    let mut lines = memchr_iter(b'\n', body).map(|at| at + 1);
    lines.find(|end| [&b"\n\n"[..], b"\r\n\r\n"].iter().any(|mark| body[..*end].ends_with(mark))).unwrap_or(body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_at_empty_lines() {
        for (first, rest) in
            [("data: 1\n\n", "data: 2\n\n"), ("data: 1\r\n\r\n", "data: 2"), ("data: 1\ndata: 2", ""), ("", "")]
        {
            assert_eq!(first_event(format!("{first}{rest}").as_bytes()), first.len(), "{first}{rest}");
        }
    }
}
