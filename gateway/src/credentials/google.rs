//! Google Cloud access tokens: of a service account (<https://developers.google.com/identity/protocols/oauth2/service-account>),
//! of a person who ran `gcloud auth application-default login`, or of the machine itself
//! (<https://cloud.google.com/compute/docs/access/authenticate-workloads#applications>).

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use super::source::{Issue, Issued};
use super::{Client, CredentialError, oauth};
use crate::config::{GoogleConfig, GoogleUser, ServiceAccount};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Longest life that Google gives an assertion.
const ASSERTION_SECONDS: u64 = 3600;

/// Asks Google for tokens.
pub enum Issuer {
    /// By an assertion that the account's key signs.
    ServiceAccount(Box<(ServiceAccount, RsaKeyPair)>),
    /// By a refresh token.
    User(Box<GoogleUser>),
    /// From the metadata server at this URL.
    Machine(String),
}

impl Issuer {
    /// Fetches nothing yet.
    ///
    /// # Errors
    /// The private key cannot be used.
    pub fn new(config: &GoogleConfig) -> Result<Self, CredentialError> {
        Ok(match config {
            GoogleConfig::ServiceAccount(account) => {
                let key = key_pair(account.private_key.expose()).map_err(CredentialError::new)?;
                Self::ServiceAccount(Box::new(((**account).clone(), key)))
            }
            GoogleConfig::User(user) => Self::User(user.clone()),
            GoogleConfig::Machine { host } => {
                Self::Machine(format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token"))
            }
        })
    }
}

#[async_trait]
impl Issue for Issuer {
    type Token = HeaderValue;

    async fn issue(&self, client: &Arc<Client>) -> Result<Issued<HeaderValue>, CredentialError> {
        match self {
            Self::ServiceAccount(signer) => {
                let (account, key) = &**signer;
                let assertion = assertion(account, key, SystemTime::now())?;
                let form =
                    [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion.as_str())];
                oauth::post(client, &account.token_uri, &form).await
            }
            Self::User(user) => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("client_id", user.client_id.as_str()),
                    ("client_secret", user.client_secret.expose()),
                    ("refresh_token", user.refresh_token.expose()),
                ];
                oauth::post(client, &user.token_uri, &form).await
            }
            Self::Machine(url) => {
                let flavor = (HeaderName::from_static("metadata-flavor"), HeaderValue::from_static("Google"));
                oauth::get(client, url, flavor).await
            }
        }
    }
}

/// A JSON Web Token, RFC 7519, signed by the account's key.
fn assertion(account: &ServiceAccount, key: &RsaKeyPair, now: SystemTime) -> Result<String, CredentialError> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut header = json!({ "alg": "RS256", "typ": "JWT" });
    if let Some(id) = &account.private_key_id {
        header["kid"] = id.as_str().into();
    }
    let claims = json!({
        "iss": account.client_email,
        "scope": SCOPE,
        "aud": account.token_uri,
        "iat": now,
        "exp": now + ASSERTION_SECONDS,
    });
    let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| CredentialError::new("the service account's key signs nothing"))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Whether `pem` is a private key that service accounts are signed with.
///
/// # Errors
/// What is wrong with it, without any of it.
pub fn check_private_key(pem: &str) -> Result<(), &'static str> {
    key_pair(pem).map(|_| ())
}

fn key_pair(pem: &str) -> Result<RsaKeyPair, &'static str> {
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| "`private_key` is no PEM private key")?;
    match &key {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err("`private_key` is no RSA key"),
    }
    .map_err(|_| "`private_key` is no usable RSA key of 2048 bits or more")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;
    use crate::config::Secret;

    #[test]
    fn an_assertion_says_who_asks_for_what_and_is_signed() {
        let pem = include_str!("test_key.pem");
        let account = ServiceAccount {
            client_email: "bot@acme.iam.gserviceaccount.com".into(),
            private_key_id: Some("k1".into()),
            private_key: Secret::new(pem),
            token_uri: "https://oauth2.googleapis.com/token".into(),
            project_id: None,
        };
        let key = key_pair(pem).unwrap();
        let token = assertion(&account, &key, UNIX_EPOCH + Duration::from_secs(1_000)).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public().as_ref());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let parts: Vec<serde_json::Value> = signed
            .split('.')
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        assert_eq!(parts[0], json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
        assert_eq!(
            parts[1],
            json!({
                "iss": "bot@acme.iam.gserviceaccount.com",
                "scope": SCOPE,
                "aud": "https://oauth2.googleapis.com/token",
                "iat": 1_000,
                "exp": 4_600,
            })
        );
    }

    #[test]
    fn keys_that_cannot_sign_are_told_without_showing_them() {
        for bad in ["", "sk-this", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            let error = check_private_key(bad).unwrap_err();
            assert!(error.starts_with("`private_key` is no"), "{error}");
        }
    }
}
