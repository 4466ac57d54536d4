//! Pingora's proxy behind a first look at each connection.
//!
//! Pingora's own look waits, however long, for the 24 bytes with which HTTP/2 begins: who says nothing holds a connection for ever,
//! and a shorter request (`GET / HTTP/1.0`, as health checks send) is never answered.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp as _, HttpServerOptions, ServerApp};
use pingora_core::protocols::http::v2::server::default_h2_options;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::time::timeout;

use super::http1;
use crate::net::patience::CLIENT_PATIENCE;
use crate::proxy::Gateway;

/// Streams that one HTTP/2 client may have open on a connection.
const H2_STREAMS: u32 = 256;
/// Request headers larger than this are refused on HTTP/2; HTTP/1 has Pingora's own bound.
const H2_HEADER_LIST: u32 = 64 * 1024;
/// Bytes that an HTTP/2 client may send ahead on one stream: large prompts must not wait for a round trip each 64 KiB.
const H2_WINDOW: u32 = 1 << 20;
/// How HTTP/2 without TLS begins.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What serves the connections of clients.
pub struct Downstream {
    proxy: Arc<HttpProxy<Gateway>>,
    patience: Duration,
}

impl Downstream {
    /// Pingora's proxy around `gateway`, with the options that clients of such a gateway need.
    pub fn new(conf: &Arc<ServerConf>, gateway: Gateway) -> Self {
        let mut proxy = http_proxy(conf, gateway);
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        options.h2_idle_timeout = Some(CLIENT_PATIENCE);
        proxy.server_options = Some(options);
        let mut h2 = default_h2_options();
        h2.max_concurrent_streams(H2_STREAMS)
            .max_header_list_size(H2_HEADER_LIST)
            .initial_window_size(H2_WINDOW)
            .initial_connection_window_size(2 * H2_WINDOW);
        proxy.h2_options = Some(h2);
        Self { proxy: Arc::new(proxy), patience: CLIENT_PATIENCE }
    }
}

#[async_trait]
impl ServerApp for Downstream {
    async fn process_new(self: &Arc<Self>, mut connection: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let http2 = match connection.get_ssl_digest() {
            // The handshake has told.
            Some(_) => connection.selected_alpn_proto() == Some(ALPN::H2),
            None => speaks_http2(&mut connection, self.patience).await?,
        };
        if http2 {
            return self.proxy.process_new(connection, shutdown).await;
        }
        http1::serve(&self.proxy, connection, self.patience, shutdown).await;
        None
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

/// Whether HTTP/2 begins on `connection`, from which nothing is taken; `None`: it has ended, or said too little in `patience`.
async fn speaks_http2(connection: &mut Stream, patience: Duration) -> Option<bool> {
    let begins = async {
        // `POST` and `PUT` begin with the same letter; there are requests of less than the whole preface.
        for length in [1, 3, H2_PREFACE.len()] {
            let mut bytes = vec![0; length];
            connection.try_peek(&mut bytes).await.ok()?;
            if !H2_PREFACE.starts_with(&bytes) {
                return Some(false);
            }
        }
        Some(true)
    };
    timeout(patience, begins).await.ok()?
}

#[cfg(test)]
mod tests {
    use pingora_core::protocols::l4::stream::Stream as Socket;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::build::{Built, build};
    use super::super::http1::tests::bounds_headers;
    use super::*;
    use crate::clock::Time;
    use crate::config::{Config, System};

    async fn pair() -> (TcpStream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = listener.accept().await.unwrap().0;
        (client, Box::new(Socket::from(server)))
    }

    #[tokio::test]
    async fn headers_are_bounded() {
        let config = Config::parse("[providers.m]\nkind = 'mock'\n", "a.toml", &System).unwrap().config;
        let mock = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let Built { gateway, .. } = build(&config, Some(mock), Time::default()).unwrap();
        let impatient =
            |patience| Downstream { patience, ..Downstream::new(&Arc::new(ServerConf::default()), gateway.clone()) };
        bounds_headers(impatient, "/v1/chat/completions").await;
    }

    #[tokio::test]
    async fn the_first_bytes_tell_and_stay() {
        for (text, http2) in [
            ("GET / HTTP/1.0\r\n\r\n", Some(false)),
            ("P", None),
            ("POST / HTTP/1.1\r\n\r\n", Some(false)),
            ("PRI / HTTP/1.1\r\n\r\n and no more", Some(false)),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nframes", Some(true)),
        ] {
            let (mut client, mut server) = pair().await;
            client.write_all(text.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(speaks_http2(&mut server, CLIENT_PATIENCE).await, http2, "{text:?}");
            let mut read = String::new();
            server.read_to_string(&mut read).await.unwrap();
            assert!(http2.is_none() || read == text, "{read:?} of {text:?}");
        }
    }

    #[tokio::test]
    async fn who_says_nothing_is_not_waited_for() {
        for text in ["", "P", "PRI * HTTP/2.0\r\n"] {
            let (mut client, mut server) = pair().await;
            client.write_all(text.as_bytes()).await.unwrap();
            assert_eq!(speaks_http2(&mut server, Duration::from_millis(20)).await, None, "{text:?}");
        }
    }
}
