//! The gateway's own credentials at its providers: one file per scheme.
//!
//! A provider has [`Credentials`]. They give each attempt a [`Grant`] before it connects, from memory in all but the
//! first case: tokens are kept and renewed ahead of their end by a `Source`. The grant is written into the request's
//! header once its URL and body are final, and goes nowhere but to that provider's origin.

mod aws;
mod client;
mod entra;
mod google;
mod oauth;
mod sigv4;
mod source;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ai_gateway_providers::Dialect;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use pingora_error::Result;
use pingora_http::RequestHeader;

pub use client::Client;
pub use google::check_private_key;

use crate::config::{CredentialConfig, KeyHeaders};
use sigv4::Keys;
use source::Source;

/// Why there is no credential. Says where it was asked for and what came of it, never with any secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CredentialError(Arc<str>);

impl CredentialError {
    pub(crate) fn new(message: impl Into<Arc<str>>) -> Self {
        Self(message.into())
    }
}

/// What a provider is convinced with.
pub enum Credentials {
    /// Nothing.
    None,
    /// A key, in a header that depends on the dialect.
    Key(KeyHeaders),
    /// An access token that is renewed (Google, Azure).
    Token(Source<HeaderValue>),
    /// A signature with keys that may be renewed (AWS).
    Signature {
        /// The region whose service is asked.
        region: Arc<str>,
        /// Access key and secret.
        keys: Source<Keys>,
    },
}

impl Credentials {
    /// What the configuration of `provider` says. Fetches nothing yet.
    ///
    /// # Errors
    /// The private key cannot be used, which the checks of the configuration should have refused.
    pub fn new(provider: &str, config: &CredentialConfig) -> Result<Self, CredentialError> {
        Ok(match config {
            CredentialConfig::None => Self::None,
            CredentialConfig::Key(headers) => Self::Key(headers.clone()),
            CredentialConfig::Google(google) => Self::Token(Source::new(provider, google::Issuer::new(google)?)),
            CredentialConfig::Entra(entra) => Self::Token(Source::new(provider, entra::Issuer::new(entra))),
            CredentialConfig::Aws { region, keys } => Self::Signature {
                region: region.as_str().into(),
                keys: match keys {
                    Some(keys) => Source::fixed(Keys::of_config(keys)),
                    None => Source::new(provider, aws::Issuer::new(region)),
                },
            },
        })
    }

    /// The credential for one attempt in `dialect`; waits at most `limit`, and only when there is none yet.
    ///
    /// # Errors
    /// None could be had.
    pub async fn grant(
        &self,
        dialect: Dialect,
        client: &Arc<Client>,
        limit: Duration,
    ) -> Result<Grant, CredentialError> {
        Ok(match self {
            Self::None => Grant::None,
            Self::Key(headers) => {
                let (name, value) = headers.of(dialect);
                Grant::Header(name.clone(), value.clone())
            }
            Self::Token(source) => Grant::Header(AUTHORIZATION, HeaderValue::clone(&*source.get(client, limit).await?)),
            Self::Signature { region, keys } => {
                Grant::Signature { region: region.clone(), keys: keys.get(client, limit).await? }
            }
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Key(_) => "Key(…)",
            Self::Token(_) => "Token(…)",
            Self::Signature { .. } => "Signature(…)",
        })
    }
}

/// The credential of one attempt.
#[derive(Default)]
pub enum Grant {
    /// Nothing is sent.
    #[default]
    None,
    /// This header.
    Header(HeaderName, HeaderValue),
    /// A signature with these keys.
    Signature {
        /// The region whose service is asked.
        region: Arc<str>,
        /// Access key and secret.
        keys: Arc<Keys>,
    },
}

/// What of a header's value is a secret: without the name of its scheme.
pub fn without_scheme(value: &HeaderValue) -> &[u8] {
    value.as_bytes().rsplit(|byte| *byte == b' ').next().unwrap_or_default()
}

impl Grant {
    /// What of it is a secret, as it is sent. Empty if there is none.
    pub fn secret(&self) -> &[u8] {
        match self {
            Self::None => b"",
            Self::Header(_, value) => without_scheme(value),
            Self::Signature { keys, .. } => keys.id().as_bytes(),
        }
    }

    /// Writes the credential into `header`, which is final otherwise. `body` is what will be sent.
    ///
    /// # Errors
    /// The signature cannot stand in a header (never in practice).
    pub fn apply(&self, header: &mut RequestHeader, body: &[u8]) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Header(name, value) => header.insert_header(name, value),
            Self::Signature { region, keys } => {
                for (name, value) in sigv4::sign(header, body, keys, region, SystemTime::now()) {
                    header.insert_header(name, value)?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Header(..) => "Header(…)",
            Self::Signature { .. } => "Signature(…)",
        })
    }
}
