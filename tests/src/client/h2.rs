//! The raw HTTP/2 client, without TLS and with prior knowledge.

use super::{Framing, Reply, Request};
use crate::guard;
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// One connection; requests on it may overlap.
#[derive(Clone)]
pub struct H2 {
    requests: SendRequest<Bytes>,
}

impl H2 {
    /// Connects and shakes hands.
    pub async fn connect(addr: SocketAddr) -> Self {
        let io = TcpStream::connect(addr).await.unwrap_or_else(|e| panic!("connect {addr}: {e}"));
        io.set_nodelay(true).expect("nodelay");
        let (requests, connection) = guard("the HTTP/2 handshake", h2::client::handshake(io)).await.expect("handshake");
        tokio::spawn(connection);
        H2 { requests }
    }

    /// Sends the head; the returned streams carry the body and the response.
    pub async fn open(&mut self, request: &Request) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        self.try_open(request).await.expect("an HTTP/2 stream")
    }

    /// Like [`H2::open`]; `None` when the peer takes no more streams on this connection.
    pub async fn try_open(&mut self, request: &Request) -> Option<(h2::client::ResponseFuture, SendStream<Bytes>)> {
        let mut head =
            http::Request::builder().method(request.method.as_str()).uri(format!("http://localhost{}", request.target));
        for (name, value) in &request.headers {
            head = head.header(name, value);
        }
        let head = head.body(()).expect("request head");
        guard("an HTTP/2 stream", std::future::poll_fn(|cx| self.requests.poll_ready(cx))).await.ok()?;
        self.requests.send_request(head, request.framing == Framing::None).ok()
    }

    /// Sends a request and waits for the response head.
    pub async fn start(&mut self, request: &Request) -> Result<http::Response<RecvStream>, h2::Error> {
        let (response, stream) = self.open(request).await;
        Self::send(request, response, stream).await
    }

    async fn send(
        request: &Request,
        response: h2::client::ResponseFuture,
        mut stream: SendStream<Bytes>,
    ) -> Result<http::Response<RecvStream>, h2::Error> {
        let frame = if let Framing::H2(frame) = request.framing { frame.max(1) } else { usize::MAX };
        let (body, bodyless) = (request.body.clone(), request.framing == Framing::None);
        let write = async move {
            if !bodyless {
                let mut rest = body;
                while !rest.is_empty() {
                    let part = rest.split_to(frame.min(rest.len()));
                    // Refused: what counts is the answer.
                    if crate::stub::send(&mut stream, part).await.is_err() {
                        break;
                    }
                }
                let _ = stream.send_data(Bytes::new(), true);
            }
            std::future::pending::<()>().await;
        };
        guard("an HTTP/2 response", async {
            tokio::select! {
                response = response => response,
                () = write => unreachable!("never ends"),
            }
        })
        .await
    }

    /// Sends a request and reads the whole response. A stream that is reset before its head is an incomplete reply of
    /// status 0.
    pub async fn exchange(&mut self, request: &Request) -> Reply {
        let started = self.start(request).await;
        Self::read(started).await
    }

    /// Like [`H2::exchange`]; `None` when the peer takes no more streams on this connection: none was opened, or its GOAWAY, which
    /// was on its way meanwhile, says that it has not looked at this one (RFC 9113 §6.8). Whether it has, the caller's books tell.
    pub async fn try_exchange(&mut self, request: &Request) -> Option<Reply> {
        let (response, stream) = self.try_open(request).await?;
        let started = Self::send(request, response, stream).await;
        match &started {
            Err(error) if error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR) => {
                None
            }
            _ => Some(Self::read(started).await),
        }
    }

    async fn read(started: Result<http::Response<RecvStream>, h2::Error>) -> Reply {
        let response = match started {
            Ok(response) => response,
            Err(error) => {
                let body = Bytes::from(format!("HTTP/2: {error}"));
                return Reply { status: 0, headers: http::HeaderMap::new(), body, complete: false };
            }
        };
        let (head, mut stream) = response.into_parts();
        let mut body = BytesMut::new();
        let mut complete = true;
        while let Some(data) = guard("the next DATA frame", stream.data()).await {
            match data {
                Ok(data) => {
                    let _ = stream.flow_control().release_capacity(data.len());
                    body.extend_from_slice(&data);
                }
                Err(_) => {
                    complete = false;
                    break;
                }
            }
        }
        Reply { status: head.status.as_u16(), headers: head.headers, body: body.freeze(), complete }
    }
}
