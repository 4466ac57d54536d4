//! Connections that speak HTTP/1, of clients and of the admin listener: each request's header is to be whole in time.
//!
//! Pingora bounds each read, not the header: whoever sends a line now and then would hold a connection for ever.

use std::cell::Cell;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;

use crate::net::patience::{CLIENT_PATIENCE, HEADER_CAME};

/// An application, which calls [`header_came`](crate::net::patience::header_came), on a listener that knows HTTP/1 only.
pub struct Http1<A> {
    app: Arc<A>,
    patience: Duration,
}

impl<A> Http1<A> {
    /// `app`, for clients as patient as they may be.
    pub fn new(app: A) -> Self {
        Self { app: Arc::new(app), patience: CLIENT_PATIENCE }
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> ServerApp for Http1<A> {
    async fn process_new(self: &Arc<Self>, connection: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        serve(&self.app, connection, self.patience, shutdown).await;
        None
    }

    async fn cleanup(&self) {
        self.app.http_cleanup().await;
    }
}

/// Serves all requests on `connection`. `patience`: longest wait for a whole header, and between two requests for its beginning.
pub async fn serve<A: HttpServerApp>(app: &Arc<A>, connection: Stream, patience: Duration, shutdown: &ShutdownWatch) {
    let mut session = ServerSession::new_http1(connection);
    session.set_keepalive((!*shutdown.borrow()).then_some(CLIENT_PATIENCE.as_secs()));
    let mut longest = patience;
    while let Some(reused) = serve_one(app, session, longest, shutdown).await {
        let (connection, settings) = reused.consume();
        session = ServerSession::new_http1(connection);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
        longest = 2 * patience;
    }
}

/// Serves one request, unless its header takes `longest`. What is left is the connection, if another may follow.
async fn serve_one<A: HttpServerApp>(
    app: &Arc<A>,
    session: ServerSession,
    longest: Duration,
    shutdown: &ShutdownWatch,
) -> Option<ReusedHttpStream> {
    let too_slow = async {
        tokio::time::sleep(longest).await;
        if HEADER_CAME.with(Cell::get) {
            pending().await
        }
    };
    let served = async {
        tokio::select! {
            biased;
            reused = app.process_new_http(session, shutdown) => reused,
            () = too_slow => None,
        }
    };
    HEADER_CAME.scope(Cell::new(false), served).await
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::watch;

    use super::*;
    use crate::admin::{Admin, Readiness};
    use crate::telemetry::Metrics;

    const PATIENCE: Duration = Duration::from_millis(500);

    async fn connect<A: ServerApp + Send + Sync + 'static>(app: &Arc<A>) -> DuplexStream {
        let (client, server) = tokio::io::duplex(1 << 10);
        let app = app.clone();
        tokio::spawn(async move {
            let (_stop, shutdown) = watch::channel(false);
            app.process_new(Box::new(server), &shutdown).await;
        });
        client
    }

    /// Sends header lines until the connection ends, on which nothing is said.
    async fn drip(mut client: DuplexStream) {
        let dripping = async {
            while client.write_all(b"x: a\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(CLIENT_PATIENCE / 2, dripping).await.expect("the connection ends");
        assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    }

    /// The first header and a later one are waited for in vain; a body and an answer may take longer than a header.
    pub async fn bounds_headers<A: ServerApp + Send + Sync + 'static>(app: impl Fn(Duration) -> A, target: &str) {
        let app = Arc::new(app(PATIENCE));
        let mut client = connect(&app).await;
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        drip(client).await;

        let mut client = connect(&app).await;
        let head = format!("POST {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(2 * PATIENCE).await;
        client.write_all(b"{}").await.unwrap();
        let mut answer = Vec::new();
        while !answer.trim_ascii_end().ends_with(b"}") {
            assert!(client.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
        }
        let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
        assert!(answer.contains("connection: keep-alive"), "{answer}");
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        drip(client).await;
    }

    #[tokio::test]
    async fn the_admin_listener_bounds_headers() {
        let admin = |patience| {
            let admin = Admin::new(Arc::new(Metrics::new()), Arc::new(Readiness::default()));
            Http1 { app: Arc::new(admin), patience }
        };
        bounds_headers(admin, "/api/keys").await;
    }
}
