//! PEM files: read at load, and checked as a handshake would.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::Context;
use super::tree::At;

/// Certificates that a provider's own is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaConfig {
    /// The file they came from.
    pub path: PathBuf,
    /// Each certificate in DER; at least one.
    pub certificates: Vec<Vec<u8>>,
}

/// Certificate and key of the public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// Both, as read and checked.
    pub certified: Certified,
}

/// A certificate and its key. It shows neither.
#[derive(Clone)]
pub struct Certified(pub Arc<CertifiedKey>);

impl PartialEq for Certified {
    fn eq(&self, other: &Self) -> bool {
        self.0.cert == other.0.cert
    }
}

impl Eq for Certified {}

impl fmt::Debug for Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certified(…)")
    }
}

/// Every certificate of the file; `None`, and reported, unless there is one that can be read.
fn chain(path: &At<String>, cx: &mut Context<'_>) -> Option<Vec<CertificateDer<'static>>> {
    let pem = cx.read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    if chain.is_none() {
        let help = "a PEM file with one or more CERTIFICATE blocks";
        cx.report.error(path.span.clone(), format!("`{}` holds no PEM certificate", path.value), help);
    }
    chain
}

/// The authorities in a file.
pub(super) fn authorities(path: &At<String>, cx: &mut Context<'_>) -> Option<CaConfig> {
    let certificates = chain(path, cx)?;
    let mut store = RootCertStore::empty();
    if let Some(error) = certificates.iter().find_map(|certificate| store.add(certificate.clone()).err()) {
        let message = format!("`{}` holds a certificate that cannot be trusted as an authority's: {error}", path.value);
        cx.report.error(path.span.clone(), message, None);
        return None;
    }
    let certificates = certificates.into_iter().map(|certificate| certificate.to_vec()).collect();
    Some(CaConfig { path: cx.dir.join(&path.value), certificates })
}

/// A server's certificate and its key.
pub(super) fn server(cert: &At<String>, key: &At<String>, cx: &mut Context<'_>) -> Option<TlsConfig> {
    let chain = chain(cert, cx);
    let private = cx.read(key).and_then(|pem| {
        let private = PrivateKeyDer::from_pem_slice(&pem).ok();
        if private.is_none() {
            let help = "a PEM file with one PRIVATE KEY block";
            cx.report.error(key.span.clone(), format!("`{}` holds no PEM private key", key.value), help);
        }
        private
    });
    let (chain, private) = chain.zip(private)?;
    // The same check as the handshake's: both parse, and the key is the certificate's.
    match CertifiedKey::from_der(chain, private, &rustls::crypto::ring::default_provider()) {
        Ok(certified) => Some(TlsConfig {
            cert: cx.dir.join(&cert.value),
            key: cx.dir.join(&key.value),
            certified: Certified(Arc::new(certified)),
        }),
        Err(error) => {
            let message = format!("`{}` and `{}` cannot be used together: {error}", cert.value, key.value);
            cx.report.error(key.span.clone(), message, "give the private key that the certificate was issued for");
            None
        }
    }
}
