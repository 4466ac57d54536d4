//! A certificate authority for one test, so that `https` providers with a `ca` file can be tried.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::sync::Arc;

use crate::redis;

/// An authority whose certificate is in a file.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new authority with its own key.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "ai-gateway test authority");
        let certificate = params.self_signed(&key).expect("authority certificate");
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).expect("ca file");
        Authority { certificate: certificate.der().clone(), issuer: Issuer::new(params, key), dir }
    }

    /// The file for a provider's `ca` setting.
    pub fn file(&self) -> String {
        self.dir.path().join("ca.pem").to_str().expect("utf-8 path").to_owned()
    }

    /// Files with a certificate for `localhost` and `127.0.0.1`, and with its key: a value for `server.tls`.
    pub fn server_files(&self) -> String {
        let (cert, key) = self.server_paths();
        format!("{{ cert = \"{cert}\", key = \"{key}\" }}")
    }

    /// The same, as the paths of certificate and key.
    pub fn server_paths(&self) -> (String, String) {
        let (leaf, key) = self.issue();
        let path = |name: &str| self.dir.path().join(name).to_str().expect("utf-8 path").to_owned();
        std::fs::write(path("cert.pem"), leaf.pem()).expect("certificate file");
        std::fs::write(path("key.pem"), key.serialize_pem()).expect("key file");
        (path("cert.pem"), path("key.pem"))
    }

    /// A client's certificate of this authority with its key, and the authority: a value for a plugin's `tls`.
    pub fn client_files(&self) -> String {
        let (leaf, key) = self.issue();
        let path = |name: &str| self.dir.path().join(name).to_str().expect("utf-8 path").to_owned();
        std::fs::write(path("client.pem"), leaf.pem()).expect("certificate file");
        std::fs::write(path("client.key"), key.serialize_pem()).expect("key file");
        format!("{{ cert = \"{}\", key = \"{}\", ca = \"{}\" }}", path("client.pem"), path("client.key"), self.file())
    }

    fn issue(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), redis::own_ip().to_string()];
        let mut params = CertificateParams::new(names).expect("parameters");
        params.distinguished_name.push(rcgen::DnType::CommonName, "test server");
        (params.signed_by(&key, &self.issuer).expect("server certificate"), key)
    }

    /// A server that is `localhost` and `127.0.0.1`, speaking these ALPN protocols.
    pub fn server(&self, alpn: &[&str]) -> Arc<rustls::ServerConfig> {
        self.serving(alpn, WebPkiClientVerifier::no_client_auth())
    }

    /// The same, for clients only that have a certificate of this authority.
    pub fn demanding_server(&self, alpn: &[&str]) -> Arc<rustls::ServerConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        self.serving(alpn, verifier.expect("verifier"))
    }

    fn serving(&self, alpn: &[&str], clients: Arc<dyn ClientCertVerifier>) -> Arc<rustls::ServerConfig> {
        let (leaf, key) = self.issue();
        let chain = vec![CertificateDer::from(leaf.der().to_vec())];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .expect("certificate");
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}
