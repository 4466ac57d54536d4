//! An upstream that records exactly what it receives and answers from a script. One address speaks HTTP/1 and HTTP/2
//! (by ALPN under TLS, by the connection preface without), chunks can wait for a [`Gate`], and an answer may be cut, never
//! end, or not be HTTP at all. It notices when the gateway leaves before the answer is complete ([`Stub::departed`]).

mod h1;
mod h2;

pub(crate) use h2::send;

use crate::{Authority, guard};
use bytes::Bytes;
use http::{HeaderMap, Method};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A request as the upstream received it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Method of the request line.
    pub method: Method,
    /// Path and query as sent.
    pub target: String,
    /// All headers, in order of arrival for equal names.
    pub headers: HeaderMap,
    /// The body with its transfer framing removed.
    pub body: Bytes,
    /// False when the connection ended inside the body.
    pub complete: bool,
    /// Came over HTTP/2.
    pub http2: bool,
    /// Number of the connection, from 0.
    pub connection: usize,
}

impl Received {
    /// A header's value, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("upstream body is not JSON: {e}"))
    }
}

/// A latch that a script waits at and the test opens, once and for all who wait.
#[derive(Debug, Clone)]
pub struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Gate(watch::Sender::new(false))
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub async fn passed(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// One step of an answer's body.
#[derive(Debug, Clone)]
pub enum Step {
    /// Sends these bytes at once, as one chunk or DATA frame.
    Send(Bytes),
    /// Goes on when the gate opens.
    Wait(Gate),
    /// Goes on after a time: for streams that must neither end nor fall silent, not for synchronisation.
    Pause(Duration),
    /// Sends nothing more and never ends.
    Stall,
    /// Ends the connection (HTTP/2: resets the stream) in the middle.
    Cut,
    /// HTTP/2: ends the stream with trailers, so that no DATA frame carries the end.
    Trailers,
    /// HTTP/2: ends the stream with this `grpc-status`.
    GrpcStatus(u32),
}

/// How an HTTP/1 answer says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `content-length`: the sum of the steps' bytes.
    Length,
    /// `transfer-encoding: chunked`, one chunk a step.
    Chunked,
    /// Until the connection closes.
    Close,
    /// The steps are the raw bytes of the connection, head included.
    Raw,
}

/// What to answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers besides the framing.
    pub headers: Vec<(String, String)>,
    /// HTTP/1 framing.
    pub framing: Framing,
    /// The body, and what happens on the way.
    pub steps: Vec<Step>,
    /// Waited for before the first byte of the head.
    pub before: Option<Gate>,
}

impl Answer {
    /// An answer with this status, without body and headers.
    pub fn status(status: u16) -> Self {
        Answer { status, headers: Vec::new(), framing: Framing::Length, steps: Vec::new(), before: None }
    }

    /// A whole JSON document.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self::status(status).header("content-type", "application/json").step(Step::Send(body))
    }

    /// A stream of server-sent events, one chunk for each piece.
    pub fn sse<B: Into<Bytes>>(pieces: impl IntoIterator<Item = B>) -> Self {
        let mut answer = Self::status(200).header("content-type", "text/event-stream; charset=utf-8");
        answer.framing = Framing::Chunked;
        answer.steps.extend(pieces.into_iter().map(|piece| Step::Send(piece.into())));
        answer
    }

    /// These bytes on the connection instead of a response, which then closes.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        let mut answer = Self::status(0).step(Step::Send(bytes.into()));
        answer.framing = Framing::Raw;
        answer
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a step to the body.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Sets the HTTP/1 framing.
    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Holds everything, the head too, until the gate opens.
    #[must_use]
    pub fn after(mut self, gate: &Gate) -> Self {
        self.before = Some(gate.clone());
        self
    }
}

type Script = dyn Fn(&Received) -> Answer + Send + Sync;

struct State {
    script: Box<Script>,
    received: Mutex<Vec<Received>>,
    departures: Mutex<Vec<Instant>>,
    /// Rises when all connections are to be closed.
    epoch: watch::Sender<()>,
    changed: watch::Sender<()>,
}

impl State {
    fn record(&self, request: Received) -> Answer {
        let answer = (self.script)(&request);
        self.received.lock().unwrap().push(request);
        self.changed.send_replace(());
        answer
    }

    fn departed(&self) {
        self.departures.lock().unwrap().push(Instant::now());
        self.changed.send_replace(());
    }
}

/// A running upstream. Must be started inside a Tokio runtime; ends with it or on drop.
pub struct Stub {
    /// Where it listens.
    pub addr: SocketAddr,
    tls: bool,
    state: Arc<State>,
    next: AtomicUsize,
    next_departure: AtomicUsize,
    accept: tokio::task::JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

impl Stub {
    /// Listens without TLS and answers each request with what `script` says.
    pub async fn start(script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Stub {
        Self::serve(None, script).await
    }

    /// Always the same answer.
    pub async fn always(answer: Answer) -> Stub {
        Self::start(move |_| answer.clone()).await
    }

    /// Answers the n-th request with the n-th answer; the last one repeats.
    pub async fn sequence(answers: Vec<Answer>) -> Stub {
        let turn = AtomicUsize::new(0);
        Self::start(move |_| answers[turn.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1)].clone()).await
    }

    /// Listens with TLS and these ALPN protocols (`"h2"`, `"http/1.1"`).
    pub async fn tls(
        authority: &Authority,
        alpn: &[&str],
        script: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Stub {
        Self::serve(Some(tokio_rustls::TlsAcceptor::from(authority.server(alpn))), script).await
    }

    /// The same, for clients only that have a certificate of this authority.
    pub async fn mutual_tls(
        authority: &Authority,
        script: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Stub {
        let server = authority.demanding_server(&["http/1.1"]);
        Self::serve(Some(tokio_rustls::TlsAcceptor::from(server)), script).await
    }

    async fn serve(
        tls: Option<tokio_rustls::TlsAcceptor>,
        script: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("stub listener");
        let addr = listener.local_addr().expect("stub address");
        let state = Arc::new(State {
            script: Box::new(script),
            received: Mutex::default(),
            departures: Mutex::default(),
            epoch: watch::Sender::new(()),
            changed: watch::Sender::new(()),
        });
        let (with_tls, shared) = (tls.is_some(), state.clone());
        let accept = tokio::spawn(async move {
            for connection in 0.. {
                let Ok((tcp, _)) = listener.accept().await else { return };
                let _ = tcp.set_nodelay(true);
                let (tls, state) = (tls.clone(), shared.clone());
                let mut epoch = state.epoch.subscribe();
                let connection = async move {
                    match tls {
                        None => {
                            let mut first = [0; 3];
                            let http2 = matches!(tcp.peek(&mut first).await, Ok(3)) && &first == b"PRI";
                            connected(tcp, http2, connection, state).await;
                        }
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(tcp).await else { return };
                            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                            connected(stream, http2, connection, state).await;
                        }
                    }
                };
                tokio::spawn(async move {
                    tokio::select! {
                        () = connection => {}
                        _ = epoch.changed() => {}
                    }
                });
            }
        });
        Stub { addr, tls: with_tls, state, next: AtomicUsize::new(0), next_departure: AtomicUsize::new(0), accept }
    }

    /// `http://127.0.0.1:port` or `https://127.0.0.1:port`: the bare origin.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.addr)
    }

    /// Requests received so far.
    pub fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }

    /// Closes all connections, as a provider does with idle ones.
    pub fn close_connections(&self) {
        self.state.epoch.send_replace(());
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        self.state.received.lock().unwrap().len()
    }

    /// The next request that this method has not returned yet, waiting for it.
    pub async fn next(&self) -> Received {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let mut changed = self.state.changed.subscribe();
        guard("a request at the stub", async {
            loop {
                changed.borrow_and_update();
                if let Some(request) = self.state.received.lock().unwrap().get(index) {
                    return request.clone();
                }
                let _ = changed.changed().await;
            }
        })
        .await
    }

    /// How many times the gateway has left before an answer was complete.
    pub fn departures(&self) -> usize {
        self.state.departures.lock().unwrap().len()
    }

    /// When the gateway left before an answer was complete: the next time that this method has not returned yet, waiting for it.
    pub async fn departed(&self) -> Instant {
        let index = self.next_departure.fetch_add(1, Ordering::Relaxed);
        let mut changed = self.state.changed.subscribe();
        guard("the gateway leaves the stub", async {
            loop {
                changed.borrow_and_update();
                if let Some(at) = self.state.departures.lock().unwrap().get(index) {
                    return *at;
                }
                let _ = changed.changed().await;
            }
        })
        .await
    }
}

async fn connected<S>(io: S, http2: bool, connection: usize, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if http2 {
        h2::serve(io, connection, state).await;
    } else {
        h1::serve(io, connection, state).await;
    }
}
