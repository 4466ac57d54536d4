//! Calls beside the one upstream request that Pingora's proxy path makes of an exchange: hedges, mirrored requests, and
//! the probes of the health checks.
//!
//! A `call` goes through Pingora's client connector. `hedging` races two of them (`leg`) for one exchange and gives the
//! winner back to the proxy path as if it were a connection (`handover`), so that what follows is an ordinary attempt.
//! `mirror` sends copies whose answers nobody sees; `ask` is for requests of the gateway's own; `probing` has each provider asked (`probe`) when its time has come.

mod allowance;
mod ask;
mod handover;
mod hedging;
mod leg;
mod mirror;
mod probe;
mod probing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;

pub use ask::ask;
pub use hedging::{Hedge, give_up, go_on_with_hedge, may_hedge, race, take_over};
pub use mirror::mirror;
pub use probing::Probing;

use allowance::Allowance;
use mirror::Mirrors;

use crate::ledger::Kind;
use crate::proxy::account::{admission, book};
use crate::proxy::{Exchange, Gateway};

/// Books what a call has consumed that no client waits for, as far as that was told or is known of its answer, and counts it against
/// the limits of whoever it was made for.
async fn settle(gateway: &Gateway, exchange: &mut Exchange, kind: Kind, seq: u32) {
    exchange.keep_estimate();
    exchange.count_tokens().await;
    admission::charge_own(&gateway.limits, exchange);
    book::book_own(gateway, exchange, kind, seq);
}

/// What all calls of the process share.
pub struct Calls {
    connector: Arc<Connector>,
    mirrors: Mirrors,
    /// By model; they survive a reload.
    allowances: Mutex<HashMap<Arc<str>, Arc<Allowance>>>,
}

impl Calls {
    /// Keeps up to `pool` idle connections.
    pub fn new(pool: usize) -> Self {
        let connector = Connector::new(Some(ConnectorOptions::new(pool)));
        Self { connector: Arc::new(connector), mirrors: Mirrors::default(), allowances: Mutex::default() }
    }

    /// The second calls that `model` may still make.
    fn allowance(&self, model: &Arc<str>) -> Arc<Allowance> {
        let mut allowances = self.allowances.lock();
        if let Some(allowance) = allowances.get(model) {
            return allowance.clone();
        }
        allowances.entry(model.clone()).or_default().clone()
    }
}
