//! Gives an answer that has begun outside Pingora's proxy path to that path, as a connection on which it arrives. From
//! there on it is an ordinary attempt: judged, translated, timed and accounted for by the same code.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};
use http::header::{CONNECTION, TRANSFER_ENCODING};
use parking_lot::Mutex;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{BError, Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::call::{Call, NoAnswer};

/// An answer as far as it has come.
pub struct Begun {
    /// Its header.
    pub header: ResponseHeader,
    /// What was read of its body.
    pub held: Vec<Bytes>,
    /// What follows.
    pub rest: Rest,
}

/// What follows on what was read.
pub enum Rest {
    /// More, from the upstream.
    Open(Box<Call>),
    /// Nothing: the answer is over.
    Over,
    /// Nothing: the answer broke off.
    Broken,
}

/// A peer for Pingora at which `answer` arrives, or that fails as the call did. `address` is the upstream's.
pub fn peer(address: SocketAddr, answer: Result<Begun, NoAnswer>) -> HttpPeer {
    let connection = match answer {
        Ok(begun) => Ok(Socket::answering(begun)),
        Err(NoAnswer { connected: true, error, .. }) => Ok(Socket::failing(&error)),
        Err(NoAnswer { connected: false, error, .. }) => Err(error),
    };
    let mut peer = HttpPeer::new(address, false, String::new());
    // No connection of the pool may take its place.
    peer.group_key = fastrand::u64(..);
    peer.options.custom_l4 = Some(std::sync::Arc::new(Handover(Mutex::new(Some(connection)))));
    peer
}

/// Connects to the one connection there is.
struct Handover(Mutex<Option<Result<Socket, BError>>>);

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handover")
    }
}

#[async_trait]
impl Connect for Handover {
    async fn connect(&self, _: &PeerAddress) -> Result<Stream> {
        let connection = self.0.lock().take();
        let gone = || Error::e_explain(ErrorType::InternalError, "the answer was handed over before");
        let socket = connection.unwrap_or_else(gone)?;
        Ok(VirtualSocketStream::new(Box::new(socket)).into())
    }
}

/// The server's side of an HTTP/1 connection: whatever is asked, it answers with what has been asked before.
struct Socket {
    ready: Bytes,
    /// A mutex because sockets must be `Sync`; it is never locked.
    chunks: Mutex<BoxStream<'static, io::Result<Bytes>>>,
}

impl Socket {
    fn answering(begun: Begun) -> Self {
        let Begun { header, held, rest } = begun;
        let held = stream::iter(VecDeque::from(held).into_iter().map(Ok));
        let rest = stream::try_unfold(rest, |rest| async {
            match rest {
                Rest::Open(mut call) => match call.next().await {
                    Ok(chunk) => Ok(chunk.map(|chunk| (chunk, Rest::Open(call)))),
                    Err(_) => Err(io::ErrorKind::ConnectionReset.into()),
                },
                Rest::Over => Ok(None),
                Rest::Broken => Err(io::ErrorKind::ConnectionReset.into()),
            }
        });
        Self { ready: head(&header), chunks: Mutex::new(held.chain(rest).boxed()) }
    }

    /// A connection that broke before an answer, or one on which something else than HTTP came.
    fn failing(error: &Error) -> Self {
        let garbage = matches!(error.etype(), ErrorType::InvalidHTTPHeader | ErrorType::InvalidH2);
        let ready = if garbage { Bytes::from_static(b"garbage\r\n\r\n") } else { Bytes::new() };
        Self { ready, chunks: Mutex::new(stream::iter([Err(io::ErrorKind::ConnectionReset.into())]).boxed()) }
    }
}

/// The header as HTTP/1 writes it. The body ends with the connection unless its length is announced.
fn head(header: &ResponseHeader) -> Bytes {
    let mut head = BytesMut::with_capacity(1024);
    head.extend_from_slice(format!("HTTP/1.1 {} \r\n", header.status.as_u16()).as_bytes());
    for (name, value) in &header.headers {
        if name != TRANSFER_ENCODING && name != CONNECTION {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
    }
    head.extend_from_slice(b"connection: close\r\n\r\n");
    head.freeze()
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.ready.is_empty() {
            let chunks = self.chunks.get_mut();
            match ready!(chunks.poll_next_unpin(cx)) {
                Some(chunk) => self.ready = chunk?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.ready.len().min(buf.remaining());
        buf.put_slice(&self.ready[..length]);
        self.ready.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl VirtualSocket for Socket {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}
