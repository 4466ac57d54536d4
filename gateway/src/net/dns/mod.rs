//! Name resolution that the request path never waits for, except for a host's very first address.
//!
//! [`Resolver::resolve`] answers from a cache. An answer past its time is still used, while one task per host refreshes
//! it; if that fails the old addresses stay for up to an hour. Only a host without any usable answer is waited for, by
//! all callers together. [`Lookup`] is what asks the network ([`SystemLookup`]) or a test's script.

mod host;
mod system;

pub use system::SystemLookup;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use log::warn;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use host::{Cached, Host};

/// Answers are kept at least this long, so that a TTL of 0 does not mean a lookup per request …
const MIN_TTL: Duration = Duration::from_secs(5);
/// … and at most this long, so that a provider's move is noticed.
const MAX_TTL: Duration = Duration::from_secs(300);
/// After a failure the next lookup waits this long.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Addresses may be used this long past their time while refreshes fail.
const MAX_STALE: Duration = Duration::from_secs(3_600);
/// A lookup that takes longer has failed.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The name does not exist or has no address.
    #[error("the name has no address")]
    NotFound,
    /// No answer in the time that the caller or the lookup had.
    #[error("no answer in time")]
    Timeout,
    /// The name servers cannot be reached or answer with a failure.
    #[error("the lookup failed: {0}")]
    Failed(Arc<str>),
}

/// What a lookup found.
#[derive(Clone, Debug)]
pub struct Answer {
    /// IPv4 and IPv6 in any order; none is [`DnsError::NotFound`].
    pub addresses: Vec<IpAddr>,
    /// How long they hold, according to the name server.
    pub ttl: Duration,
}

/// Something that can be asked for the addresses of a host.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    /// Asks now. Called once at a time per host, from a task of its own; given up after 10 s.
    async fn lookup(&self, host: &str) -> Result<Answer, DnsError>;
}

/// `gateway_dns_*`.
#[derive(Clone, Debug, Default)]
pub struct DnsMetrics {
    /// Lookups made.
    pub lookups: Counter,
    /// Lookups that failed.
    pub failures: Counter,
    /// Addresses handed out past their time because their refresh had failed.
    pub stale_served: Counter,
}

type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

/// Resolves host names. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    hosts: ArcSwap<HashMap<Box<str>, Arc<Host>>>,
    /// Held while `hosts` is copied to add one.
    growing: Mutex<()>,
    lookup: Box<dyn Lookup>,
    clock: Clock,
    metrics: DnsMetrics,
}

impl Resolver {
    /// A resolver with the system's configuration. Reads no file and starts no task yet, and works without a name
    /// server for what needs none: addresses, `localhost` and the hosts file.
    pub fn new(metrics: DnsMetrics) -> Self {
        Self::with_lookup(SystemLookup::new(), Instant::now, metrics)
    }

    /// A resolver that asks `lookup` and takes the time from `clock`.
    pub fn with_lookup(
        lookup: impl Lookup,
        clock: impl Fn() -> Instant + Send + Sync + 'static,
        metrics: DnsMetrics,
    ) -> Self {
        let shared = Shared {
            hosts: ArcSwap::default(),
            growing: Mutex::new(()),
            lookup: Box::new(lookup),
            clock: Box::new(clock),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// An address of `host`: a name, or an IP address (IPv6 with or without brackets). Several addresses are taken in
    /// turn, IPv6 ones only if there is no usable IPv4 one. Must be called in a tokio runtime. `limit` bounds the wait
    /// for a host that has no answer yet.
    pub async fn resolve(&self, host: &str, port: u16, limit: Duration) -> Result<SocketAddr, DnsError> {
        if let Some(address) = literal(host) {
            return Ok(SocketAddr::new(address, port));
        }
        let entry = self.shared.host(host);
        let address = match self.cached(&entry) {
            Some(cached) => cached,
            None => self.first(&entry, limit).await,
        };
        Ok(SocketAddr::new(address?, port))
    }

    /// Tells that no connection to `address` of `host` could be made: the host's other addresses are preferred, and one request a
    /// minute finds out whether that has changed. Whether there are others.
    pub fn unreachable(&self, host: &str, address: IpAddr) -> bool {
        let cached = self.shared.hosts.load().get(host).and_then(|entry| entry.cached().clone());
        cached.is_some_and(|cached| cached.avoid(address, (self.shared.clock)()))
    }

    /// Tells that a connection to `address` of `host` was made.
    pub fn reached(&self, host: &str, address: IpAddr) {
        if let Some(cached) = self.shared.hosts.load().get(host).and_then(|entry| entry.cached().clone()) {
            cached.reached(address);
        }
    }

    /// The answer in the cache, refreshed in the background if it is past its time. `None` if there is none to use.
    fn cached(&self, host: &Arc<Host>) -> Option<Result<IpAddr, DnsError>> {
        let now = (self.shared.clock)();
        let cached = host.cached();
        let cached = cached.as_ref().filter(|cached| now < cached.usable_until)?;
        if cached.stale {
            self.shared.metrics.stale_served.inc();
        }
        if now >= cached.fresh_until {
            self.refresh(host);
        }
        Some(cached.pick(now))
    }

    /// Waits with everybody else for the lookup that is under way, or that this starts.
    async fn first(&self, host: &Arc<Host>, limit: Duration) -> Result<IpAddr, DnsError> {
        let done = host.looked_up.notified();
        let mut done = std::pin::pin!(done);
        // From here on no notification is missed, also not one before the first poll.
        done.as_mut().enable();
        if let Some(cached) = self.cached(host) {
            return cached;
        }
        self.refresh(host);
        if tokio::time::timeout(limit, done).await.is_err() {
            return Err(DnsError::Timeout);
        }
        // Nothing in the cache: the lookup itself broke down.
        self.cached(host).unwrap_or_else(|| Err(DnsError::Failed("the lookup did not end".into())))
    }

    /// Starts the lookup of `host`, unless it is under way. It goes on when the caller leaves.
    fn refresh(&self, host: &Arc<Host>) {
        let Some(flight) = host.take_off() else { return };
        let shared = self.shared.clone();
        // Another lookup may have ended just before this one took off.
        if flight.cached().as_ref().is_some_and(|cached| (shared.clock)() < cached.fresh_until) {
            return;
        }
        tokio::spawn(async move {
            shared.metrics.lookups.inc();
            let lookup = shared.lookup.lookup(flight.host());
            let answer = match tokio::time::timeout(LOOKUP_LIMIT, lookup).await {
                Ok(Ok(answer)) if answer.addresses.is_empty() => Err(DnsError::NotFound),
                Ok(answer) => answer,
                Err(_) => Err(DnsError::Timeout),
            };
            if let Err(error) = &answer {
                shared.metrics.failures.inc();
                warn!("looking up {}: {error}", flight.host());
            }
            let next = Cached::next(flight.cached().as_deref(), answer, (shared.clock)());
            flight.land(next);
        });
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("hosts", &self.shared.hosts.load().len()).finish_non_exhaustive()
    }
}

impl Shared {
    /// The host's entry. Hosts come from the configuration, so that their number needs no limit.
    fn host(&self, name: &str) -> Arc<Host> {
        if let Some(host) = self.hosts.load().get(name) {
            return host.clone();
        }
        let _growing = self.growing.lock();
        let hosts = self.hosts.load();
        if let Some(host) = hosts.get(name) {
            return host.clone();
        }
        let host = Arc::new(Host::new(name));
        let mut grown = HashMap::clone(&hosts);
        grown.insert(name.into(), host.clone());
        self.hosts.store(Arc::new(grown));
        host
    }
}

/// The address that a host is written as, if it is one.
fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

#[cfg(test)]
mod tests;
