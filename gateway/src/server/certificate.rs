//! The certificate of the listeners, which a reload replaces under the next handshake.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::Certified;

/// The certificate in force.
#[derive(Debug)]
pub struct Certificate(ArcSwap<CertifiedKey>);

impl Certificate {
    /// This one.
    pub fn new(certified: &Certified) -> Self {
        Self(ArcSwap::new(certified.0.clone()))
    }

    /// Another one from now on.
    pub fn replace(&self, certified: &Certified) {
        self.0.store(certified.0.clone());
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
