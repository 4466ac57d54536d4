//! The process: sockets, services, signals, and a shutdown that lets streams finish.

mod build;

pub use build::{Built, Snapshots, build};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use log::info;
use pingora_core::apps::HttpServerOptions;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::protocols::http::v2::server::default_h2_options;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{ExecutionPhase, RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use pingora_core::services::background::{BackgroundService, background_service};
use pingora_core::services::listening::Service;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::signal::unix::SignalKind;
use tokio::sync::broadcast;

use crate::admin::{Admin, Readiness};
use crate::config::{Config, TlsConfig};
use crate::keys::KeyError;
use crate::ledger::Ledger;
use crate::mock;
use crate::net::prebound::{Prebound, PreboundService};
use crate::proxy::{Gateway, Probing};
use crate::snapshot::BuildError;
use crate::telemetry::{Telemetry, TelemetryService};

/// Idle connections kept to all upstreams together.
const UPSTREAM_POOL: usize = 1024;
/// Streams that one HTTP/2 client may have open on a connection.
const H2_STREAMS: u32 = 256;
/// Request headers larger than this are refused on HTTP/2; HTTP/1 has Pingora's own bound.
const H2_HEADER_LIST: u32 = 64 * 1024;
/// Bytes that an HTTP/2 client may send ahead on one stream: large prompts must not wait for a round trip each 64 KiB.
const H2_WINDOW: u32 = 1 << 20;
/// How long the access log and the ledger may take to write what they have, at the end.
const PATIENCE: Duration = Duration::from_secs(2);
/// More tries than any plan has: the plan decides, not Pingora.
const MAX_RETRIES: usize = 64;

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener has no socket.
    #[error("{0}")]
    Bind(#[from] std::io::Error),
    /// The configuration cannot be built.
    #[error("{0}")]
    Build(#[from] BuildError),
    /// The keys made at run time cannot be read.
    #[error("store.path: {0}")]
    Keys(#[from] KeyError),
    /// No provider could be verified.
    #[error("the system's certificates, by which providers are verified, cannot be read: {0}")]
    Roots(std::io::Error),
    /// The store's address cannot be used.
    #[error("store.redis: {0}")]
    Store(String),
    /// The access log cannot go where it should.
    #[error("access_log: {0}")]
    AccessLog(std::io::Error),
    /// Usage could not be kept.
    #[error("the ledger cannot be used: {0}")]
    Ledger(std::io::Error),
    /// The listener's certificate cannot be used.
    #[error("server.tls: {0}")]
    Tls(Box<pingora_error::Error>),
}

/// Runs the gateway until it is told to stop. Prints where it listens on standard error.
///
/// # Errors
/// [`StartError`] before anything is served; never afterwards.
pub fn run(config: &Config) -> Result<(), StartError> {
    let public: Vec<Prebound> =
        config.server.listen.iter().map(|address| Prebound::bind(&address.to_string())).collect::<Result<_, _>>()?;
    let admin = config.server.admin.map(|address| Prebound::bind(&address.to_string())).transpose()?;
    let mock = config
        .providers
        .values()
        .any(|provider| provider.base_url.is_none())
        .then(|| Prebound::bind("127.0.0.1:0"))
        .transpose()?;

    let Built { gateway, store, snapshots } = build(config, mock.as_ref().map(Prebound::local_addr))?;
    let runtime_keys = snapshots.runtime_keys;
    let (telemetry, ledger) = (gateway.telemetry.clone(), gateway.ledger.clone());
    let books = Books { telemetry: telemetry.clone(), ledger: ledger.clone() };
    let current = gateway.current.clone();
    let readiness = Arc::new(Readiness::default());

    let mut server = Server::new_with_opt_and_conf(None, server_conf(config));
    server.bootstrap();
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    let mut announcements: Vec<String> =
        public.iter().map(|socket| format!("listening on {scheme}://{}", socket.local_addr())).collect();
    let probing = Probing(gateway.clone());
    let reporting = TelemetryService::new(telemetry.clone(), gateway.current.clone(), gateway.resolver.clone());
    let proxy = proxy_service(&server.configuration, gateway, config.server.tls.as_ref(), &public)?;
    server.add_service(PreboundService::new(proxy, public));
    if let Some(socket) = admin {
        announcements.push(format!("admin on http://{}", socket.local_addr()));
        let api = Admin::new(telemetry.metrics.clone(), readiness.clone())
            .with_ledger(ledger.as_ref().map(|ledger| ledger.path()))
            .with_keys(config.server.admin_key.clone(), current, runtime_keys);
        let mut service = Service::new("admin".to_owned(), api);
        service.threads = Some(1);
        service.add_tcp(socket.key());
        server.add_service(PreboundService::new(service, vec![socket]));
    }
    if let Some(socket) = mock {
        server.add_service(mock::service(socket, None)?);
    }
    if let Some(store) = store {
        server.add_service(background_service("store", store));
    }
    let drain = Drain { phases: Mutex::new(Some(server.watch_execution_phase())), books: books.clone() };
    server.add_service(background_service("drain", drain));
    server.add_service(background_service("probes", probing));
    server.add_service(background_service("telemetry", reporting));

    server.run(RunArgs { shutdown_signal: Box::new(Signals { readiness, announcements }) });
    books.close();
    Ok(())
}

/// What has to be written to its end before the process leaves.
#[derive(Clone)]
struct Books {
    telemetry: Arc<Telemetry>,
    ledger: Option<Arc<Ledger>>,
}

impl Books {
    /// Blocks, some seconds at most.
    fn close(&self) {
        self.telemetry.flush(PATIENCE);
        if let Some(ledger) = &self.ledger
            && !ledger.close(PATIENCE)
        {
            info!("the ledger leaves records in its spool to the next process");
        }
    }
}

fn server_conf(config: &Config) -> ServerConf {
    ServerConf {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        max_retries: MAX_RETRIES,
        grace_period_seconds: Some(config.server.drain.as_secs()),
        graceful_shutdown_timeout_seconds: Some(2),
        ..ServerConf::default()
    }
}

fn proxy_service(
    conf: &Arc<ServerConf>,
    gateway: Gateway,
    tls: Option<&TlsConfig>,
    sockets: &[Prebound],
) -> Result<Service<HttpProxy<Gateway>>, StartError> {
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
    let mut service = Service::new("gateway".to_owned(), proxy);
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

/// Pingora's signals: SIGTERM drains, SIGQUIT hands over, SIGINT stops at once. Ready is said once they are caught, and
/// taken back before anything else happens.
struct Signals {
    readiness: Arc<Readiness>,
    announcements: Vec<String>,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (terminate, quit, interrupt) = (SignalKind::terminate(), SignalKind::quit(), SignalKind::interrupt());
        let (terminate, quit, interrupt) = (caught(terminate), caught(quit), caught(interrupt));
        self.readiness.set_ready();
        for line in &self.announcements {
            eprintln!("{line}");
        }
        let signal = tokio::select! {
            () = terminate => ShutdownSignal::GracefulTerminate,
            () = quit => ShutdownSignal::GracefulUpgrade,
            () = interrupt => ShutdownSignal::FastShutdown,
        };
        self.readiness.set_draining();
        signal
    }
}

/// Catches a signal from now on; resolves when it comes.
fn caught(kind: SignalKind) -> impl Future<Output = ()> {
    let signal = tokio::signal::unix::signal(kind);
    async move {
        match signal {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                log::error!("signal {} cannot be caught: {error}", kind.as_raw_value());
                std::future::pending().await
            }
        }
    }
}

/// Tenths of a second without any exchange: the last frames of HTTP/2 are out by then.
const QUIET_TICKS: u32 = 5;

/// Leaves as soon as nothing is in flight: Pingora itself would sleep through the whole grace period.
struct Drain {
    /// Taken at the start of the service; it remembers what came before that.
    phases: Mutex<Option<broadcast::Receiver<ExecutionPhase>>>,
    books: Books,
}

#[async_trait]
impl BackgroundService for Drain {
    async fn start(&self, _shutdown: pingora_core::server::ShutdownWatch) {
        let Some(mut phases) = self.phases.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        while let Ok(phase) = phases.recv().await {
            if matches!(phase, ExecutionPhase::ShutdownGracePeriod) {
                break;
            }
        }
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let mut quiet = 0;
        loop {
            tick.tick().await;
            quiet = if self.books.telemetry.metrics.in_flight_count() == 0 { quiet + 1 } else { 0 };
            if quiet == QUIET_TICKS {
                info!("nothing is in flight any more: leaving");
                self.books.close();
                std::process::exit(0);
            }
        }
    }
}
