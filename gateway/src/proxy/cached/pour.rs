//! Writing an answer to one client, from a fill or from what is kept.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use memchr::memchr_iter;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_error::{Error, Result};
use pingora_http::ResponseHeader;

use crate::cache::fill::{Next, Reader};
use crate::proxy::header;
use crate::proxy::plugins::Screener;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poured {
    /// The client has the whole answer.
    Whole,
    /// The answer broke off; nothing says so yet.
    Broken,
    /// The client left.
    Left,
}

/// A client and, if it has any, the plugins that look at what it gets.
pub struct Outlet<'a> {
    /// Its session.
    pub client: &'a mut ServerSession,
    /// Its plugins.
    pub screener: Option<Box<Screener>>,
}

impl Outlet<'_> {
    /// Writes `tasks`. `true`: nothing more is to come, because they are the end or plugins have put an end to it.
    async fn send(&mut self, mut tasks: Vec<HttpTask>) -> Result<bool> {
        let Some(screener) = &mut self.screener else {
            header::fit(&mut tasks, self.client);
            return self.client.response_duplex_vec(tasks).await;
        };
        let mut tasks = screener.pass(tasks).await?;
        if !tasks.is_empty() {
            header::fit(&mut tasks, self.client);
            self.client.response_duplex_vec(tasks).await?;
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

/// Resolves when the client leaves.
pub async fn leaves(client: &mut ServerSession) -> Box<Error> {
    loop {
        if let Err(error) = client.read_body_or_idle(true).await {
            return error;
        }
    }
}

/// Serves the client whose exchange makes the call: its header is as it stands in the fill.
pub async fn first(mut outlet: Outlet<'_>, reader: &mut Reader) -> Poured {
    let header = tokio::select! {
        biased;
        header = reader.header() => header,
        _ = leaves(outlet.client) => return Poured::Left,
    };
    let poured = match header {
        Some(header) => pour(&mut outlet, ResponseHeader::clone(&header), reader, |_| {}).await,
        None => Poured::Broken,
    };
    if poured == Poured::Broken {
        outlet.client.shutdown().await;
    }
    poured
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
            Err(_) => return Poured::Left,
        };
        match next {
            Next::More if over => return Poured::Whole,
            Next::More => {}
            Next::End => return Poured::Whole,
            Next::Broken => return Poured::Broken,
        }
    }
}

/// Writes a whole answer. `pace`: between its events, if it is a stream of such.
pub async fn write(outlet: &mut Outlet<'_>, mut header: ResponseHeader, body: Bytes, pace: Duration) -> Result<()> {
    if pace.is_zero() {
        if outlet.screener.is_none() {
            header.insert_header(CONTENT_LENGTH, body.len())?;
        } else {
            outlet.frame(&mut header)?;
        }
        let tasks = vec![HttpTask::Header(Box::new(header), false), HttpTask::Body(Some(body), true)];
        return outlet.send(tasks).await.map(drop);
    }
    outlet.frame(&mut header)?;
    let mut tasks = vec![HttpTask::Header(Box::new(header), false)];
    for event in events(&body) {
        tasks.push(HttpTask::Body(Some(event), false));
        if outlet.send(std::mem::take(&mut tasks)).await? {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(pace) => {}
            error = leaves(outlet.client) => return Err(error),
        }
    }
    tasks.push(HttpTask::Done);
    outlet.send(tasks).await.map(drop)
}

/// A stream's events, each with the empty line that ends it. What is no event stream is one.
fn events(body: &Bytes) -> impl Iterator<Item = Bytes> {
    let mut rest = body.clone();
    std::iter::from_fn(move || {
        let mut lines = memchr_iter(b'\n', &rest).map(|at| at + 1);
        let ends = |end: &usize| [&b"\n\n"[..], b"\r\n\r\n"].iter().any(|mark| rest[..*end].ends_with(mark));
        let end = lines.find(ends).unwrap_or(rest.len());
        (end > 0).then(|| rest.split_to(end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_at_empty_lines() {
        let cut = |body: &'static str| events(&Bytes::from_static(body.as_bytes())).collect::<Vec<_>>();
        assert_eq!(cut("data: 1\n\ndata: 2\n\n"), ["data: 1\n\n", "data: 2\n\n"]);
        assert_eq!(cut("data: 1\r\n\r\ndata: 2"), ["data: 1\r\n\r\n", "data: 2"]);
        assert!(cut("").is_empty());
    }
}
