//! Tests of keys.

mod grant;
mod jwt;
mod many;
mod ring;
mod runtime;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::clock::Clock;
use crate::credentials::Client;
use crate::net::dns::Resolver;
use crate::telemetry::Metrics;

/// A clock that a test moves.
#[derive(Clone)]
pub(super) struct Hand(Arc<AtomicU64>);

impl Hand {
    /// It shows so many seconds since 1970.
    pub(super) fn at(seconds: u64) -> Self {
        Self(Arc::new(seconds.into()))
    }

    pub(super) fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// A client that none of these tests lets out.
pub(super) fn client() -> Arc<Client> {
    Arc::new(Client::new(Resolver::new(Metrics::new().dns.clone())))
}
