//! The raw HTTP/1.1 client.

use super::wire::{self, BodyReader, Piece};
use super::{Framing, Reply, Request};
use crate::guard;
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::HeaderMap;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// One keep-alive connection.
pub struct H1 {
    io: TcpStream,
    buffer: BytesMut,
    method: String,
}

/// A response whose body is read as it arrives.
pub struct Body<'a> {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    reader: BodyReader,
    connection: &'a mut H1,
}

impl Body<'_> {
    /// The next bytes of the body, as soon as they are there.
    pub async fn piece(&mut self) -> Piece {
        let connection = &mut *self.connection;
        guard("the next piece of a response", self.reader.next(&mut connection.io, &mut connection.buffer)).await
    }

    /// Reads on until the text read since the last call contains `text`; returns what was read.
    pub async fn until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.piece().await {
                Piece::Data(bytes) => seen.extend_from_slice(&bytes),
                end => panic!("{end:?} before {text:?}: {}", String::from_utf8_lossy(&seen)),
            }
            if memchr(&seen, text.as_bytes()) {
                return String::from_utf8_lossy(&seen).into_owned();
            }
        }
    }

    /// Reads to the end: the rest of the body, and whether it ended properly.
    pub async fn rest(&mut self) -> (Bytes, bool) {
        let mut body = BytesMut::new();
        loop {
            match self.piece().await {
                Piece::Data(bytes) => body.extend_from_slice(&bytes),
                Piece::End => return (body.freeze(), true),
                Piece::Cut => return (body.freeze(), false),
            }
        }
    }
}

fn memchr(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

impl H1 {
    /// Connects.
    pub async fn connect(addr: SocketAddr) -> Self {
        let io = TcpStream::connect(addr).await.unwrap_or_else(|e| panic!("connect {addr}: {e}"));
        Self::over(io)
    }

    /// A client on a connection that stands.
    pub fn over(io: TcpStream) -> Self {
        io.set_nodelay(true).expect("nodelay");
        H1 { io, buffer: BytesMut::new(), method: String::new() }
    }

    /// The bytes of a request.
    pub fn encode(request: &Request) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", request.method, request.target).into_bytes();
        if !request.headers.iter().any(|(name, _)| name == "host") {
            out.extend_from_slice(b"host: localhost\r\n");
        }
        for (name, value) in &request.headers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        match request.framing {
            Framing::None => out.extend_from_slice(b"\r\n"),
            Framing::Length => {
                out.extend_from_slice(format!("content-length: {}\r\n\r\n", request.body.len()).as_bytes());
                out.extend_from_slice(&request.body);
            }
            Framing::Chunked(size) => {
                out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                for part in request.body.chunks(size.max(1)) {
                    out.extend_from_slice(&wire::chunk(part));
                }
                out.extend_from_slice(b"0\r\n\r\n");
            }
            Framing::H2(_) => panic!("this is the HTTP/1 client"),
        }
        out
    }

    /// Sends these bytes as they are. Panics when the connection does not take them.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        guard("sending", self.io.write_all(bytes)).await.expect("send");
    }

    /// Sends these bytes; false when the peer does not take them any more.
    pub async fn try_send_raw(&mut self, bytes: &[u8]) -> bool {
        guard("sending", self.io.write_all(bytes)).await.is_ok()
    }

    /// Sends a request whose body the gateway is expected to read.
    pub async fn send(&mut self, request: &Request) {
        self.method.clone_from(&request.method);
        self.send_raw(&Self::encode(request)).await;
    }

    /// Reads a response head; its body is then read from what this returns.
    pub async fn respond(&mut self) -> Body<'_> {
        let head = guard("a response head", wire::read_response_head(&mut self.io, &mut self.buffer)).await;
        let (status, headers) = head.expect("the connection ended before a response");
        let reader = BodyReader::new(wire::response_length(&self.method, status, &headers));
        Body { status, headers, reader, connection: self }
    }

    /// Like [`H1::respond`], skipping interim responses such as `103 Early Hints`.
    pub async fn respond_final(&mut self) -> Body<'_> {
        let mut head = None;
        while head.as_ref().is_none_or(|(status, _)| (100..200).contains(status)) {
            let next = guard("a response head", wire::read_response_head(&mut self.io, &mut self.buffer)).await;
            head = Some(next.expect("the connection ended before a response"));
        }
        let (status, headers) = head.expect("set above");
        let reader = BodyReader::new(wire::response_length(&self.method, status, &headers));
        Body { status, headers, reader, connection: self }
    }

    /// Reads a whole response; `None` when the connection ends before its head.
    pub async fn reply(&mut self) -> Option<Reply> {
        let head = guard("a response head", wire::read_response_head(&mut self.io, &mut self.buffer)).await;
        let (status, headers) = head?;
        let reader = BodyReader::new(wire::response_length(&self.method, status, &headers));
        let mut response = Body { status, headers, reader, connection: self };
        let (body, complete) = response.rest().await;
        Some(Reply { status, headers: response.headers, body, complete })
    }

    /// Reads the status line of an interim response such as `100 Continue`, and its empty line.
    pub async fn interim(&mut self) -> String {
        guard("an interim response", async {
            loop {
                if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                    let head = self.buffer.split_to(end + 4);
                    return String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
                }
                assert!(wire::fill(&mut self.io, &mut self.buffer).await, "the connection ended");
            }
        })
        .await
    }

    /// Sends a request and reads the whole response, which may come before the request has been sent; the rest of the
    /// request is then not sent, and an error of the sending is not one.
    pub async fn exchange(&mut self, request: &Request) -> Reply {
        self.try_exchange(request)
            .await
            .unwrap_or_else(|| panic!("no response to {} {}", request.method, request.target))
    }

    /// Like [`H1::exchange`]; `None` when the connection ends without a response.
    pub async fn try_exchange(&mut self, request: &Request) -> Option<Reply> {
        self.exchange_raw(&request.method, &Self::encode(request)).await
    }

    /// Like [`H1::try_exchange`] with the request's bytes as they are.
    pub async fn exchange_raw(&mut self, method: &str, bytes: &[u8]) -> Option<Reply> {
        self.method = method.to_owned();
        let (mut from, mut to) = self.io.split();
        let buffer = &mut self.buffer;
        let read = async {
            let (status, headers) = wire::read_response_head(&mut from, buffer).await?;
            let length = wire::response_length(method, status, &headers);
            let (body, complete) = match wire::read_body(&mut from, buffer, length).await {
                Ok(body) => (body, true),
                Err(partial) => (partial, false),
            };
            Some(Reply { status, headers, body, complete })
        };
        let write = async {
            if to.write_all(bytes).await.is_err() {
                // Refused: what counts is the answer.
            }
            std::future::pending::<()>().await;
        };
        guard("an exchange", async {
            tokio::select! {
                reply = read => reply,
                () = write => None,
            }
        })
        .await
    }

    /// Says that nothing more will be sent; answers can still be read.
    pub async fn half_close(&mut self) {
        let _ = self.io.shutdown().await;
    }

    /// True when something has arrived that was not read yet, or the peer has closed.
    pub fn readable(&self) -> bool {
        let mut byte = [0; 1];
        let peeked = self.io.peek(&mut byte).now_or_never();
        !self.buffer.is_empty() || peeked.is_some()
    }

    /// True when the peer has closed the connection, or does so now.
    pub async fn closed(&mut self) -> bool {
        guard("the peer closes", async {
            while wire::fill(&mut self.io, &mut self.buffer).await {}
            true
        })
        .await
    }
}
