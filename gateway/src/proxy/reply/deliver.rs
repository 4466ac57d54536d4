//! Writing to a client, which has its time for each part: whoever reads slowly gets a large answer all the same, and whoever stops is
//! not waited for. What it leaves untaken is never ended as if it were whole.

use std::mem;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::poll;
use pingora_core::protocols::SocketDigest;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::Session;

use super::header;

/// Most bytes of a body that are written at once.
const PART: usize = 64 << 10;
/// How often it is looked in a client's time whether it takes anything.
const LOOKS: u32 = 4;
/// How often at most at a connection that several clients may have.
const MOST_LOOKS: u32 = 10 * LOOKS;
/// Longest wait for a client to take the last of its answer.
pub const LAST_WRITE: Duration = Duration::from_secs(5);

/// Writes `tasks`. Says whether they were the end.
///
/// # Errors
/// [`took_no_more`]: the client took nothing for its time (its session's), or not all until `end`.
pub async fn deliver(
    client: &mut ServerSession,
    mut tasks: Vec<HttpTask>,
    end: impl Future<Output = ()>,
) -> Result<bool> {
    header::fit(&mut tasks, client);
    // Nobody's own session: what is written to it waits for those who read there.
    let Some(patience) = client.get_write_timeout() else { return client.response_duplex_vec(tasks).await };
    let unhurried = Unhurried::new(client, patience);
    tokio::select! {
        biased;
        done = deliver_parts(unhurried.client, tasks, patience) => done,
        () = end => untaken(),
    }
}

/// A client whose session does not end a write meanwhile: it would look at what is handed over, not at what is taken.
struct Unhurried<'c> {
    client: &'c mut ServerSession,
    patience: Duration,
}

impl<'c> Unhurried<'c> {
    fn new(client: &'c mut ServerSession, patience: Duration) -> Self {
        client.set_write_timeout(None);
        Self { client, patience }
    }
}

impl Drop for Unhurried<'_> {
    fn drop(&mut self) {
        self.client.set_write_timeout(Some(self.patience));
    }
}

async fn deliver_parts(client: &mut ServerSession, tasks: Vec<HttpTask>, patience: Duration) -> Result<bool> {
    if tasks.iter().map(length).sum::<usize>() <= PART {
        return deliver_part(client, tasks, patience).await;
    }
    let (mut part, mut room) = (Vec::new(), PART);
    for mut task in tasks {
        while let HttpTask::Body(Some(body), _) = &mut task
            && body.len() > room
        {
            part.push(HttpTask::Body(Some(body.split_to(room)), false));
            deliver_part(client, mem::take(&mut part), patience).await?;
            room = PART;
        }
        room -= length(&task);
        part.push(task);
    }
    deliver_part(client, part, patience).await
}

async fn deliver_part(client: &mut ServerSession, part: Vec<HttpTask>, patience: Duration) -> Result<bool> {
    let socket = client.digest().and_then(|digest| digest.socket_digest.clone());
    // What a connection takes may be other streams'.
    let mut most = if client.is_http2() { MOST_LOOKS } else { u32::MAX };
    let mut write = pin!(client.response_duplex_vec(part));
    // No timer is made for what is taken at once.
    if let Poll::Ready(done) = poll!(&mut write) {
        return done;
    }
    let socket = socket.as_deref();
    let (mut before, mut looks) = (taken(socket).0, LOOKS);
    while looks > 0 && most > 0 {
        most -= 1;
        if let Ok(done) = pingora_timeout::timeout(patience / LOOKS, &mut write).await {
            return done;
        }
        let (now, has_more) = taken(socket);
        looks = if has_more && now > before { LOOKS } else { looks - 1 };
        before = now;
    }
    untaken()
}

/// How many bytes of its connection a client has taken, and whether more are there for it: a full socket is writable again only when
/// a third of what it holds is gone, which may be megabytes.
fn taken(socket: Option<&SocketDigest>) -> (u64, bool) {
    let info = socket.and_then(SocketDigest::tcp_info);
    info.map(|info| (info.tcpi_bytes_acked, info.tcpi_notsent_bytes > 0 || info.tcpi_unacked > 0)).unwrap_or_default()
}

fn length(task: &HttpTask) -> usize {
    match task {
        HttpTask::Body(Some(body), _) => body.len(),
        _ => 0,
    }
}

fn untaken<T>() -> Result<T> {
    Err(Error::explain(ErrorType::WriteTimedout, "the client does not take its answer").into_down())
}

/// Tells a client that it may send its body.
///
/// # Errors
/// [`took_no_more`], or the connection broke.
pub async fn write_continue(session: &mut Session) -> Result<()> {
    let client = &mut session.downstream_session;
    let Some(patience) = client.get_write_timeout() else { return client.write_continue_response().await };
    pingora_timeout::timeout(patience, client.write_continue_response()).await.unwrap_or_else(|_| untaken())
}

/// Whether `error` is that a client took no more of what was written to it: it may have the beginning of a part.
pub fn took_no_more(error: &Error) -> bool {
    error.esource() == &ErrorSource::Downstream && error.etype() == &ErrorType::WriteTimedout
}

/// Writes the last of what the client is told. Says whether it has that.
pub async fn write_last(session: &mut Session, event: Bytes, end: bool) -> bool {
    let written = session.downstream_session.write_response_body(event, end);
    matches!(tokio::time::timeout(LAST_WRITE, written).await, Ok(Ok(())))
}

/// Closes the connection behind a whole answer: after an error Pingora serves no other request on it, and while the tokens of this
/// one are counted its client would send one. HTTP/2 has no such trouble, and would take it for a reset.
pub async fn close(session: &mut Session) {
    session.set_keepalive(None);
    if !session.is_http2() {
        let closed = tokio::time::timeout(LAST_WRITE, session.downstream_session.shutdown()).await;
        if closed.is_err() {
            log::debug!("a client does not take the end of its answer");
        }
    }
}

/// Leaves an answer as it is, for its client to see that it is not whole: Pingora, which would end it, gets another session to end.
pub async fn abandon(session: &mut Session) {
    if session.is_http2() {
        session.downstream_session.shutdown().await;
    }
    *session.downstream_session = ServerSession::new_http1(Box::new(tokio::io::duplex(1).0));
}
