//! Tests of keys.

mod grant;
mod jwt;
mod many;
mod ring;
mod runtime;

use std::sync::Arc;

use crate::credentials::Client;
use crate::net::dns::Resolver;
use crate::telemetry::Metrics;

/// A client that none of these tests lets out.
pub(super) fn client() -> Arc<Client> {
    Arc::new(Client::new(Resolver::new(Metrics::new().dns.clone())))
}
