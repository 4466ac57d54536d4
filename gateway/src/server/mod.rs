//! The process: sockets, services, signals, and a life that ends without breaking a stream.
//!
//! [`run`] is the whole of it: it takes over from a process before it, if there is one (`upgrade`), [`build`]s a gateway from
//! the configuration, and serves until `signals` or the admin API say otherwise ([`Control`]). `leave` sees to the end.

mod build;
mod certificate;
mod control;
mod descriptors;
mod downstream;
mod http1;
mod leave;
mod notify;
mod reload;
mod serve;
mod signals;
mod sockets;
#[cfg(test)]
mod stalled;
mod status;
mod upgrade;

pub use build::{Built, Snapshots, build, mock_socket};
pub use control::{Control, UPGRADE_LIMIT};
pub use downstream::Downstream;
pub use reload::ReloadError;
pub use upgrade::{Invocation, UpgradeError};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::background::background_service;
use pingora_core::services::listening::Service;
use tokio::sync::watch;

use crate::admin::Admin;
use crate::clock::Time;
use crate::config::{Config, ConfigErrors, Loaded};
use crate::keys::KeyError;
use crate::mock;
use crate::net::prebound::{Prebound, PreboundService};
use crate::snapshot::BuildError;
use build::build_heir;
use certificate::Certificate;
use http1::Http1;
use leave::Leave;
use notify::Watchdog;
use reload::Reloader;
use serve::Watched;
use signals::Signals;
use sockets::Sockets;
use upgrade::{Inheritance, Predecessor, Upgrader};

/// Idle connections kept to all upstreams together.
const UPSTREAM_POOL: usize = 1024;
/// How long the start waits until budgets know what was spent before.
const RESTORE: Duration = Duration::from_secs(3);
/// More tries than any plan has: the plan decides, not Pingora.
const MAX_RETRIES: usize = 64;
/// Longer than any drain: [`Leave`] ends the process, not Pingora.
const GRACE: Duration = Duration::from_secs(30 * 86_400);

/// Where the configuration of a process comes from.
#[derive(Clone)]
pub enum Source {
    /// A file, which is read again for a reload, and how.
    File(PathBuf, Reading),
    /// The environment as it was, or the program itself.
    Fixed,
}

/// Makes a configuration of a file.
pub type Reading = Arc<dyn Fn(&Path) -> Result<Loaded, ConfigErrors> + Send + Sync>;

impl Source {
    /// A file, to which the program adds nothing.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into(), Arc::new(Config::load))
    }
}

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A listener has no socket.
    #[error("{0}")]
    Bind(std::io::Error),
    /// The process that this one takes over from does not hand over.
    #[error("this process cannot take over: {0}")]
    Predecessor(std::io::Error),
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
    /// Answers could not be kept as configured.
    #[error("{0}")]
    Cache(#[from] crate::cache::OpenError),
    /// Usage could not be kept.
    #[error("{0}")]
    Ledger(std::io::Error),
    /// The listener's certificate cannot be used.
    #[error("server.tls: {0}")]
    Tls(Box<pingora_error::Error>),
}

/// Runs the gateway until it is told to stop. Prints where it listens on standard error.
///
/// `invocation` is how a process is started that takes over from this one; `time` is what the gateway goes by.
///
/// # Errors
/// [`StartError`] before anything is served; never afterwards.
pub fn run(config: &Config, source: Source, invocation: Invocation, time: Time) -> Result<(), StartError> {
    descriptors::raise();
    let (mut predecessor, inherited) = match Inheritance::claim(&invocation).map_err(StartError::Predecessor)? {
        Some(Inheritance { predecessor, sockets }) => (Some(predecessor), sockets),
        None => (None, Vec::new()),
    };
    let prepared = Sockets::open(&config.server, inherited).map_err(StartError::Bind).and_then(|sockets| {
        let mock = mock_socket(config)?;
        let build = if predecessor.is_some() { build_heir } else { build };
        let built = build(config, mock.as_ref().map(Prebound::local_addr), time)?;
        Ok((sockets, mock, built))
    });
    let (sockets, mock, built) = match (prepared, &predecessor) {
        (Ok(prepared), _) => prepared,
        (Err(error), Some(predecessor)) => {
            predecessor.tell_failure(&error);
            return Err(error);
        }
        (Err(error), None) => return Err(error),
    };
    if let Some(predecessor) = &mut predecessor {
        predecessor.take_over(&built.gateway).map_err(StartError::Predecessor)?;
    }
    serve(config, source, invocation, sockets, mock, built, predecessor)
}

fn serve(
    config: &Config,
    source: Source,
    invocation: Invocation,
    sockets: Sockets,
    mock: Option<Prebound>,
    built: Built,
    predecessor: Option<Predecessor>,
) -> Result<(), StartError> {
    let Built { gateway, services, snapshots } = built;
    let Sockets { public, admin, kept } = sockets;
    let certificate = config.server.tls.as_ref().map(|tls| Arc::new(Certificate::new(&tls.certified)));
    let runtime_keys = snapshots.runtime_keys.clone();
    let reloader = Reloader::new(source, config.clone(), gateway.clone(), snapshots, certificate.clone());
    let hint = invocation.hint.clone();
    let control = Arc::new(Control::new(gateway.clone(), reloader, Upgrader::new(invocation, kept), predecessor));
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    let mut announcements: Vec<String> =
        public.iter().map(|socket| format!("listening on {scheme}://{}", socket.local_addr())).collect();

    let mut server = Server::new_with_opt_and_conf(None, server_conf());
    server.bootstrap();
    let (serving, served) = watch::channel(None);
    let watched = Watched { leaving: control.leaving(), open: control.open().clone() };
    let proxy = serve::service(&server.configuration, gateway.clone(), certificate.as_ref(), &public, watched)?;
    server.add_service(PreboundService::new(proxy, public).telling(serving));
    if let Some(socket) = admin {
        announcements.push(format!("admin on http://{}", socket.local_addr()));
        let api = Admin::new(gateway.telemetry.metrics.clone(), control.readiness().clone())
            .with_cache(gateway.cache.clone())
            .with_ledger(gateway.ledger.as_ref().map(|ledger| ledger.path()))
            .with_keys(gateway.current.clone(), runtime_keys)
            .with_control(control.clone());
        let mut service = Service::new("admin".to_owned(), Http1::new(api));
        service.threads = Some(1);
        service.add_tcp(socket.key());
        // It tells to the last how it stands, unless another process has the listener.
        server.add_service(PreboundService::new(service, vec![socket]).until(control.handed_over()));
    }
    announcements.extend(hint);
    // Requests that are being finished may still need it.
    let (_mock_serves, always) = watch::channel(false);
    if let Some(socket) = mock {
        server.add_service(mock::service(socket, None).map_err(StartError::Bind)?.until(always));
    }
    server.add_services(services);
    let leave = Leave::new(server.watch_execution_phase(), control.clone());
    server.add_service(background_service("leave", leave));
    server
        .add_service(background_service("watchdog", Watchdog { serving: served, handed_over: control.handed_over() }));

    server.run(RunArgs { shutdown_signal: Box::new(Signals { control: control.clone(), announcements }) });
    control.close();
    Ok(())
}

fn server_conf() -> ServerConf {
    ServerConf {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        max_retries: MAX_RETRIES,
        grace_period_seconds: Some(GRACE.as_secs()),
        graceful_shutdown_timeout_seconds: Some(2),
        ..ServerConf::default()
    }
}
