//! The service that clients speak to: Pingora's proxy with our settings, ending politely.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::listening::Service;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::sync::watch;

use super::StartError;
use super::leave::Leaving;
use crate::config::TlsConfig;
use crate::net::prebound::Prebound;
use crate::proxy::Gateway;

/// Streams that one HTTP/2 client may have open on a connection.
const H2_STREAMS: u32 = 256;
/// Request headers larger than this are refused on HTTP/2; HTTP/1 has Pingora's own bound.
const H2_HEADER_LIST: u32 = 64 * 1024;
/// Bytes that an HTTP/2 client may send ahead on one stream: large prompts must not wait for a round trip each 64 KiB.
const H2_WINDOW: u32 = 1 << 20;

/// The proxy, which lets idle connections end by themselves for a while.
///
/// Pingora closes them the moment it stops listening, also under a request that is just coming in. Here each is answered once
/// more, with `connection: close`, before it is closed at last. (HTTP/2 clients are told by GOAWAY, and lose nothing.)
pub struct Polite {
    proxy: Arc<HttpProxy<Gateway>>,
    leaving: watch::Receiver<Option<Leaving>>,
    open: Open,
}

/// How many requests are served or, on idle HTTP/1 connections, waited for.
#[derive(Clone, Debug, Default)]
pub struct Open(Arc<AtomicUsize>);

impl Open {
    /// So many.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn enter(&self) -> Opened {
        self.0.fetch_add(1, Ordering::Relaxed);
        Opened(self.0.clone())
    }
}

struct Opened(Arc<AtomicUsize>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the rest of the process wants to know of the service.
pub struct Watched {
    /// Whether and why the process leaves.
    pub leaving: watch::Receiver<Option<Leaving>>,
    /// Counts.
    pub open: Open,
}

#[async_trait]
impl HttpServerApp for Polite {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let _open = self.open.enter();
        self.proxy.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options()
    }

    /// Pingora calls it when it has stopped listening.
    async fn http_cleanup(&self) {
        let linger = self.leaving.borrow().as_ref().map_or(Duration::ZERO, Leaving::linger);
        tokio::time::sleep(linger).await;
        self.proxy.http_cleanup().await;
    }
}

/// The service on `sockets`.
///
/// # Errors
/// [`StartError::Tls`].
pub fn service(
    conf: &Arc<ServerConf>,
    gateway: Gateway,
    tls: Option<&TlsConfig>,
    sockets: &[Prebound],
    watched: Watched,
) -> Result<Service<Polite>, StartError> {
    let mut proxy = http_proxy(conf, gateway);
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    proxy.server_options = Some(options);
    let mut h2 = default_h2_options();
    h2.max_concurrent_streams(H2_STREAMS)
        .max_header_list_size(H2_HEADER_LIST)
        .initial_window_size(H2_WINDOW)
        .initial_connection_window_size(2 * H2_WINDOW);
    proxy.h2_options = Some(h2);
    let Watched { leaving, open } = watched;
    let polite = Polite { proxy: Arc::new(proxy), leaving, open };
    let mut service = Service::new("gateway".to_owned(), polite);
    for socket in sockets {
        match tls {
            None => service.add_tcp(socket.key()),
            Some(tls) => {
                let mut settings = TlsSettings::intermediate(&tls.cert.to_string_lossy(), &tls.key.to_string_lossy())
                    .map_err(StartError::Tls)?;
                settings.enable_h2();
                service.add_tls_with_settings(socket.key(), None, settings);
            }
        }
    }
    Ok(service)
}
