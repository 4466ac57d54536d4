//! The service that clients speak to: Pingora's proxy with our settings, ending politely.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::listening::Service;
use tokio::sync::watch;

use super::StartError;
use super::certificate::Certificate;
use super::downstream::Downstream;
use super::leave::Leaving;
use crate::net::prebound::Prebound;
use crate::proxy::Gateway;

/// Bytes of an answer that are gathered until it is flushed, as each piece of a stream is when it comes. Pingora's own 1,460 cut
/// most answers in two: two system calls, two packets.
const WRITE_BUFFER: usize = 8 << 10;

/// The proxy, which lets idle connections end by themselves for a while.
///
/// Pingora closes them the moment it stops listening, also under a request that is just coming in. Here each is answered once
/// more, with `connection: close`, before it is closed at last. (HTTP/2 clients are told by GOAWAY, and lose nothing.)
pub struct Polite {
    downstream: Arc<Downstream>,
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
        self.downstream.process_new(connection, shutdown).await
    }

    /// Pingora calls it when it has stopped listening.
    async fn cleanup(&self) {
        let linger = self.leaving.borrow().as_ref().map_or(Duration::ZERO, Leaving::linger);
        tokio::time::sleep(linger).await;
        self.downstream.cleanup().await;
    }
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
    let Watched { leaving, open } = watched;
    let polite = Polite { downstream: Arc::new(Downstream::new(conf, gateway)), leaving, open };
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
