//! Writing an answer to one client, from a fill or from what is kept.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use memchr::memmem;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_error::{Error, Result};
use pingora_http::ResponseHeader;

use crate::cache::fill::{Next, Reader};

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

/// Resolves when the client leaves.
pub async fn leaves(client: &mut ServerSession) -> Box<Error> {
    loop {
        if let Err(error) = client.read_body_or_idle(true).await {
            return error;
        }
    }
}

/// Serves the client whose exchange makes the call: its header is as it stands in the fill.
pub async fn first(client: &mut ServerSession, reader: &mut Reader) -> Poured {
    let header = tokio::select! {
        biased;
        header = reader.header() => header,
        _ = leaves(client) => return Poured::Left,
    };
    let poured = match header {
        Some(header) => pour(client, ResponseHeader::clone(&header), reader, |_| {}).await,
        None => Poured::Broken,
    };
    if poured == Poured::Broken {
        client.shutdown().await;
    }
    poured
}

/// Writes `header` and what `reader` finds to the client. `at_end` is called before the last of a whole answer is written.
pub async fn pour(
    client: &mut ServerSession,
    mut header: ResponseHeader,
    reader: &mut Reader,
    at_end: impl FnOnce(&Reader),
) -> Poured {
    if frame(client, &mut header).is_err() {
        return Poured::Broken;
    }
    let mut tasks = vec![HttpTask::Header(Box::new(header), false)];
    let mut chunks = Vec::new();
    let mut at_end = Some(at_end);
    loop {
        let next = tokio::select! {
            biased;
            next = reader.next(&mut chunks) => next,
            _ = leaves(client), if tasks.is_empty() => return Poured::Left,
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
        if client.response_duplex_vec(std::mem::take(&mut tasks)).await.is_err() {
            return Poured::Left;
        }
        match next {
            Next::More => {}
            Next::End => return Poured::Whole,
            Next::Broken => return Poured::Broken,
        }
    }
}

/// Says in the header how the body ends, if its length is not known.
fn frame(client: &ServerSession, header: &mut ResponseHeader) -> Result<()> {
    header.remove_header(&CONNECTION);
    header.remove_header(&DATE);
    if !client.is_http2() && !header.headers.contains_key(CONTENT_LENGTH) {
        header.set_version(http::Version::HTTP_11);
        header.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    Ok(())
}

/// Writes a whole answer. `pace`: between its events, if it is a stream of such.
pub async fn write(client: &mut ServerSession, mut header: ResponseHeader, body: Bytes, pace: Duration) -> Result<()> {
    if pace.is_zero() {
        header.insert_header(CONTENT_LENGTH, body.len())?;
        let tasks = vec![HttpTask::Header(Box::new(header), false), HttpTask::Body(Some(body), true)];
        return client.response_duplex_vec(tasks).await.map(drop);
    }
    frame(client, &mut header)?;
    let mut tasks = vec![HttpTask::Header(Box::new(header), false)];
    for event in events(&body) {
        tasks.push(HttpTask::Body(Some(event), false));
        client.response_duplex_vec(std::mem::take(&mut tasks)).await?;
        tokio::select! {
            () = tokio::time::sleep(pace) => {}
            error = leaves(client) => return Err(error),
        }
    }
    tasks.push(HttpTask::Done);
    client.response_duplex_vec(tasks).await.map(drop)
}

/// A stream's events, each with the empty line that ends it. What is no event stream is one.
fn events(body: &Bytes) -> impl Iterator<Item = Bytes> {
    let mut rest = body.clone();
    std::iter::from_fn(move || {
        let ends = [memmem::find(&rest, b"\n\n").map(|at| at + 2), memmem::find(&rest, b"\r\n\r\n").map(|at| at + 4)];
        let end = ends.into_iter().flatten().min().unwrap_or(rest.len());
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
