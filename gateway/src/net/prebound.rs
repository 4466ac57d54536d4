//! Listening sockets that are bound before Pingora starts.
//!
//! Pingora binds late, inside a service's runtime: a port that is taken then panics a thread half a minute later, and a
//! port 0 can never be printed. A [`Prebound`] binds at once, in `main`, where an error can still be told in one line.
//! [`PreboundService`] hands the sockets to the service through the very table of descriptors by which Pingora passes
//! listeners from an old process to a new one, so nothing else in Pingora notices. In an upgrade they are passed on by
//! [`Prebound::duplicate`] and [`Prebound::inherited`].

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{IntoRawFd, OwnedFd};

use async_trait::async_trait;
use pingora_core::server::{ListenFds, RuntimeOpts, ShutdownWatch};
use pingora_core::services::{Service, ServiceReadyNotifier, ServiceWithDependents};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// A bound and listening TCP socket, not yet given to a service.
///
/// Clients may connect from the moment [`Prebound::bind`] returns; the kernel holds them until the service accepts.
#[derive(Debug)]
pub struct Prebound {
    listener: TcpListener,
    addr: SocketAddr,
    key: String,
}

impl Prebound {
    /// Binds `addr` (`"127.0.0.1:8080"`, `"[::1]:0"`, `"localhost:8080"`). Port 0 asks the system for a free port.
    ///
    /// # Errors
    /// The address cannot be parsed or resolved, is in use, or may not be bound; the message names the address.
    pub fn bind(addr: &str) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "it names no address");
        let resolved = addr.to_socket_addrs().map_err(|e| named(addr, "cannot be used as a listen address", &e))?;
        for candidate in resolved {
            match TcpListener::bind(candidate) {
                Ok(listener) => {
                    // Pingora takes the descriptor over as a tokio socket, which must not block.
                    listener.set_nonblocking(true)?;
                    let bound = listener.local_addr()?;
                    // The configured text is the identity of a listener across upgrades; with port 0 it has none.
                    let key = if candidate.port() == 0 { bound.to_string() } else { addr.to_string() };
                    return Ok(Prebound { listener, addr: bound, key });
                }
                Err(e) => last = e,
            }
        }
        Err(named(addr, "cannot be listened on", &last))
    }

    /// A socket that another process has bound and listens on, under the name that it had there.
    ///
    /// # Errors
    /// It is no listening TCP socket.
    pub fn inherited(socket: OwnedFd, key: String) -> io::Result<Self> {
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        Ok(Prebound { listener, addr, key })
    }

    /// The socket once more, for a process that takes it over. As long as one of the two is open, clients find it.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.listener.try_clone()?.into())
    }

    /// The address in use, with its true port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The name under which the service must add its endpoint (`service.add_tcp(prebound.key())`) for the two to meet.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// `addr` with what failed and why, keeping the kind for callers that look at it.
fn named(addr: &str, what: &str, cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("{addr:?} {what}: {cause}"))
}

/// A service with its listening sockets already open. Give it to `Server::add_service` in place of the service.
pub struct PreboundService<S> {
    inner: S,
    sockets: Vec<Prebound>,
    /// When it ends, if not with the server.
    until: Option<ShutdownWatch>,
    /// Told where it runs.
    runtime: Option<watch::Sender<Option<Handle>>>,
}

impl<S> PreboundService<S> {
    /// `inner` must have one TCP (or TLS) endpoint named [`Prebound::key`] for each of `sockets`.
    pub fn new(inner: S, sockets: Vec<Prebound>) -> Self {
        PreboundService { inner, sockets, until: None, runtime: None }
    }

    /// The same, serving until `end` says so, whatever happens to the rest of the server.
    #[must_use]
    pub fn until(mut self, end: ShutdownWatch) -> Self {
        self.until = Some(end);
        self
    }

    /// The same, telling on which runtime it serves once it does.
    #[must_use]
    pub fn telling(mut self, runtime: watch::Sender<Option<Handle>>) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// The wrapped service.
    pub fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Puts every socket into the table, unless an older process has already handed one over under that name.
    fn hand_over(&mut self, fds: &ListenFds) {
        let mut table = fds.lock();
        for socket in self.sockets.drain(..) {
            if table.get(&socket.key).is_none() {
                // From here on the table, and then Pingora's listener, owns the descriptor.
                table.add(socket.key, socket.listener.into_raw_fd());
            }
        }
    }
}

#[async_trait]
impl<S: Service + 'static> ServiceWithDependents for PreboundService<S> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready_notifier: ServiceReadyNotifier,
    ) {
        let fds = fds.unwrap_or_else(empty_table);
        self.hand_over(&fds);
        ready_notifier.notify_ready();
        if let Some(runtime) = &self.runtime {
            runtime.send_replace(Some(Handle::current()));
        }
        let shutdown = self.until.take().unwrap_or(shutdown);
        Service::start_service(&mut self.inner, Some(fds), shutdown, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        Service::name(&self.inner)
    }

    fn threads(&self) -> Option<usize> {
        Service::threads(&self.inner)
    }

    fn runtime_opts_override(&self, global: &RuntimeOpts) -> Option<RuntimeOpts> {
        Service::runtime_opts_override(&self.inner, global)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Service::listen_addresses(&self.inner)
    }
}

/// An empty table of descriptors, for services that are run without a `Server`.
fn empty_table() -> ListenFds {
    ListenFds::new(pingora_core::server::Fds::new().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_zero_becomes_a_port() {
        let socket = Prebound::bind("127.0.0.1:0").unwrap();
        assert_ne!(socket.local_addr().port(), 0);
        assert_eq!(socket.key(), socket.local_addr().to_string());
        std::net::TcpStream::connect(socket.local_addr()).unwrap();
    }

    #[test]
    fn a_taken_port_is_told_by_name() {
        let first = Prebound::bind("127.0.0.1:0").unwrap();
        let addr = first.local_addr().to_string();
        let error = Prebound::bind(&addr).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&addr), "{error}");
    }

    #[test]
    fn nonsense_is_told_by_name() {
        let error = Prebound::bind("nonsense").unwrap_err();
        assert!(error.to_string().contains("\"nonsense\" cannot be used as a listen address"), "{error}");
    }

    #[test]
    fn an_inherited_socket_wins() {
        let fds = empty_table();
        let socket = Prebound::bind("127.0.0.1:0").unwrap();
        let (key, addr) = (socket.key().to_string(), socket.local_addr());
        fds.lock().add(key.clone(), 77);
        PreboundService::new((), vec![socket]).hand_over(&fds);
        assert_eq!(fds.lock().get(&key), Some(&77));
        assert!(std::net::TcpStream::connect(addr).is_err(), "the socket that is not needed is closed");
    }
}
