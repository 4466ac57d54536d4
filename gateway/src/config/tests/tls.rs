//! Certificates and keys: checked as the handshake would.

use super::*;

/// A self-signed certificate and its key, as PEM.
pub(super) fn pair() -> (String, String) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

const FILE: &str = "[server]\ntls = { cert = \"c.pem\", key = \"k.pem\" }\n[providers.mock]\nkind = \"mock\"\n";

#[test]
fn a_pair_that_belongs_together() {
    let (cert, key) = pair();
    let world = Fake::new().with_file("dir/c.pem", cert).with_file("dir/k.pem", key);
    let config = Config::parse(FILE, "dir/a.toml", &world).unwrap().config;
    let TlsConfig { cert, key, certified } = config.server.tls.unwrap();
    assert_eq!((cert.to_str(), key.to_str()), (Some("dir/c.pem"), Some("dir/k.pem")));
    assert_eq!(format!("{certified:?}"), "Certified(…)");
}

#[test]
fn pairs_that_do_not() {
    let (cert, key) = pair();
    let (_, other) = pair();
    for (cert, key, reason) in [
        (cert.as_str(), other.as_str(), "cannot be used together"),
        (key.as_str(), key.as_str(), "`c.pem` holds no PEM certificate"),
        (cert.as_str(), cert.as_str(), "`k.pem` holds no PEM private key"),
        ("", "", "`c.pem` holds no PEM certificate"),
    ] {
        let world = Fake::new().with_file("c.pem", cert).with_file("k.pem", key);
        let errors = Config::parse(FILE, "a.toml", &world).unwrap_err().to_string();
        assert!(errors.contains(reason), "{errors}");
        assert!(!errors.contains("BEGIN PRIVATE"), "{errors}");
    }
}
