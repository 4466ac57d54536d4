//! Who the gateway is to a server that it calls, and whom it trusts.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::Deserialize;
use toml::Spanned;

use crate::{Settings, SettingsError};

/// `tls = { cert = "client.pem", key = "client.key", ca = "ca.pem" }` in a plugin's settings: PEM files, each of which may be
/// missing, but `cert` and `key` go together. Read by [`Settings::tls`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    cert: Option<Spanned<String>>,
    key: Option<Spanned<String>>,
    ca: Option<Spanned<String>>,
}

/// A client's certificate, and the authorities by which a server's is checked. For a call of
/// [`Host::fetch`](crate::Host::fetch) it is put into the request's extensions; without it nothing is shown and the system's
/// authorities count.
#[derive(Clone)]
pub struct Tls(Arc<Read>);

struct Read {
    identity: Option<(Vec<Vec<u8>>, Vec<u8>)>,
    authorities: Option<Vec<Vec<u8>>>,
}

impl Tls {
    /// The chain of certificates, the client's own first, and its private key, in DER. `None`: nothing is shown.
    #[must_use]
    pub fn identity(&self) -> Option<(&[Vec<u8>], &[u8])> {
        self.0.identity.as_ref().map(|(chain, key)| (&**chain, &**key))
    }

    /// The authorities that are trusted, in DER; at least one. `None`: those of the system.
    #[must_use]
    pub fn authorities(&self) -> Option<&[Vec<u8>]> {
        self.0.authorities.as_deref()
    }
}

impl fmt::Debug for Tls {
    /// Not the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Settings<'_> {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// One cannot be read or holds something else, or the key is not the certificate's.
    pub fn tls(&self, files: &TlsFiles) -> Result<Tls, SettingsError> {
        let identity = match (&files.cert, &files.key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(self.identity(cert, key)?),
            (Some(alone), None) | (None, Some(alone)) => {
                return Err(SettingsError::at(alone, "`cert` and `key` go together"));
            }
        };
        let authorities = files.ca.as_ref().map(|ca| self.authorities(ca)).transpose()?;
        Ok(Tls(Arc::new(Read { identity, authorities })))
    }

    fn identity(
        &self,
        cert: &Spanned<String>,
        key: &Spanned<String>,
    ) -> Result<(Vec<Vec<u8>>, Vec<u8>), SettingsError> {
        let chain = self.certificates(cert)?;
        let private = PrivateKeyDer::from_pem_slice(&self.file(key)?);
        let private = private.map_err(|_| SettingsError::at(key, "this file holds no PEM private key"))?;
        let der = private.secret_der().to_vec();
        // The same check as the handshake's: both parse, and the key is the certificate's.
        let fits = CertifiedKey::from_der(chain.clone(), private, &default_provider());
        match fits.is_ok() && PrivateKeyDer::try_from(&*der).is_ok() {
            true => Ok((chain.into_iter().map(|one| one.to_vec()).collect(), der)),
            false => Err(SettingsError::at(key, "this is not the private key of `cert`")),
        }
    }

    fn authorities(&self, ca: &Spanned<String>) -> Result<Vec<Vec<u8>>, SettingsError> {
        let (all, mut store) = (self.certificates(ca)?, RootCertStore::empty());
        if all.iter().any(|one| store.add(one.clone()).is_err()) {
            return Err(SettingsError::at(ca, "a certificate in this file cannot be trusted as an authority's"));
        }
        Ok(all.into_iter().map(|one| one.to_vec()).collect())
    }

    fn certificates(&self, path: &Spanned<String>) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.file(path)?).collect();
        let all = all.ok().filter(|all| !all.is_empty());
        all.ok_or_else(|| SettingsError::at(path, "this file holds no PEM certificate"))
    }
}
