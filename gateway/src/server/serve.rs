//! The service that clients speak to: Pingora's proxy with our settings, ending politely.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp as _, HttpServerOptions, ServerApp};
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v2::server::default_h2_options;
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::listening::Service;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::sync::watch;

use super::StartError;
use super::certificate::Certificate;
use super::leave::Leaving;
use crate::net::prebound::Prebound;
use crate::proxy::Gateway;

/// Streams that one HTTP/2 client may have open on a connection.
const H2_STREAMS: u32 = 256;
/// Request headers larger than this are refused on HTTP/2; HTTP/1 has Pingora's own bound.
const H2_HEADER_LIST: u32 = 64 * 1024;
/// Bytes that an HTTP/2 client may send ahead on one stream: large prompts must not wait for a round trip each 64 KiB.
const H2_WINDOW: u32 = 1 << 20;
/// Bytes of an answer that are gathered until it is flushed, as each piece of a stream is when it comes. Pingora's own 1,460 cut
/// most answers in two: two system calls, two packets.
const WRITE_BUFFER: usize = 8 << 10;

/// The proxy, which lets idle connections end by themselves for a while.
///
/// Pingora closes them the moment it stops listening, also under a request that is just coming in. Here each is answered once
/// more, with `connection: close`, before it is closed at last. (HTTP/2 clients are told by GOAWAY, and lose nothing.)
pub struct Polite {
    proxy: Arc<HttpProxy<Gateway>>,
    leaving: watch::Receiver<Option<Leaving>>,
    open: Open,
}

/// How many connections there are.
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
impl ServerApp for Polite {
    async fn process_new(self: &Arc<Self>, connection: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _open = self.open.enter();
        self.proxy.process_new(connection, shutdown).await
    }

    /// Pingora calls it when it has stopped listening.
    async fn cleanup(&self) {
        let linger = self.leaving.borrow().as_ref().map_or(Duration::ZERO, Leaving::linger);
        tokio::time::sleep(linger).await;
        self.proxy.http_cleanup().await;
    }
}

/// Pingora's proxy around `gateway`, with the options that clients of such a gateway need.
pub fn http(conf: &Arc<ServerConf>, gateway: Gateway) -> HttpProxy<Gateway> {
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
    proxy
}

/// The service on `sockets`.
///
/// # Errors
/// [`StartError::Tls`].
pub fn service(
    conf: &Arc<ServerConf>,
    gateway: Gateway,
    certificate: Option<&Arc<Certificate>>,
    sockets: &[Prebound],
    watched: Watched,
) -> Result<Service<Polite>, StartError> {
    let proxy = http(conf, gateway);
    let Watched { leaving, open } = watched;
    let polite = Polite { proxy: Arc::new(proxy), leaving, open };
    let mut service = Service::new("gateway".to_owned(), polite);
    for socket in sockets {
        let mut listener = ListenerConfig::tcp(socket.key()).l4_buffer(L4BufferSettings::default().write(WRITE_BUFFER));
        if let Some(certificate) = certificate {
            // The resolver takes the place of the files.
            let mut settings = TlsSettings::intermediate("", "").map_err(StartError::Tls)?;
            settings.set_cert_resolver(certificate.clone());
            settings.enable_h2();
            listener = listener.tls(settings);
        }
        service.add_listener(listener);
    }
    Ok(service)
}
