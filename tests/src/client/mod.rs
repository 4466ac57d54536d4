//! Raw clients that send exactly what a test says, with the framing it says, and see each chunk when it arrives.

mod h1;
mod h2;
pub mod wire;

pub use h1::{Body, H1};
pub use h2::H2;

use bytes::Bytes;
use http::HeaderMap;
use std::net::SocketAddr;

/// How a request body travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body and no length.
    None,
    /// HTTP/1 with `content-length`.
    Length,
    /// HTTP/1 chunked, in chunks of this many bytes.
    Chunked(usize),
    /// HTTP/2, in DATA frames of at most this many bytes.
    H2(usize),
}

/// A request to send.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers besides the framing; `host` is `localhost` unless it is among them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// How it travels.
    pub framing: Framing,
}

impl Request {
    /// A request without body.
    pub fn get(target: &str) -> Self {
        Request {
            method: "GET".into(),
            target: target.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            framing: Framing::None,
        }
    }

    /// A JSON body with `content-length`.
    pub fn post(target: &str, body: impl Into<Bytes>) -> Self {
        Request {
            method: "POST".into(),
            target: target.into(),
            headers: vec![("content-type".into(), "application/json".into())],
            body: body.into(),
            framing: Framing::Length,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the framing.
    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }
}

/// A whole response.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body without its framing.
    pub body: Bytes,
    /// True when the body ended as its framing says; false when the connection was cut inside it.
    pub complete: bool,
}

impl Reply {
    /// A header's value, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text()))
    }
}

/// A client connection of either protocol, kept between requests.
pub enum Connection {
    /// HTTP/1.1 keep-alive.
    H1(H1),
    /// HTTP/2 with prior knowledge.
    H2(H2),
}

impl Connection {
    /// A connection that can carry this framing.
    pub async fn for_framing(addr: SocketAddr, framing: Framing) -> Self {
        match framing {
            Framing::H2(_) => Connection::H2(H2::connect(addr).await),
            Framing::None | Framing::Length | Framing::Chunked(_) => Connection::H1(H1::connect(addr).await),
        }
    }

    /// Sends a request and reads the whole response.
    pub async fn exchange(&mut self, request: &Request) -> Reply {
        match self {
            Connection::H1(h1) => h1.exchange(request).await,
            Connection::H2(h2) => h2.exchange(request).await,
        }
    }
}

impl Connection {
    /// Like [`Connection::exchange`]; `None` when the connection ends without an answer.
    pub async fn exchange_or_cut(&mut self, request: &Request) -> Option<Reply> {
        match self {
            Connection::H1(h1) => h1.try_exchange(request).await,
            Connection::H2(h2) => Some(h2.exchange(request).await).filter(|reply| reply.status > 0),
        }
    }
}

/// One request on a connection of its own.
pub async fn exchange(addr: SocketAddr, request: &Request) -> Reply {
    Connection::for_framing(addr, request.framing).await.exchange(request).await
}
