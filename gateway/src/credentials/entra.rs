//! Azure Entra ID client credentials:
//! <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow>.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderValue;

use super::source::{Issue, Issued};
use super::{Client, CredentialError, oauth};
use crate::config::EntraConfig;

/// Asks Entra for tokens of an application.
pub struct Issuer {
    config: EntraConfig,
    url: String,
}

impl Issuer {
    /// Fetches nothing yet.
    pub fn new(config: &EntraConfig) -> Self {
        let authority = config.authority.as_str().trim_end_matches('/');
        Self { url: format!("{authority}/{}/oauth2/v2.0/token", config.tenant_id), config: config.clone() }
    }
}

#[async_trait]
impl Issue for Issuer {
    type Token = HeaderValue;

    async fn issue(&self, client: &Arc<Client>) -> Result<Issued<HeaderValue>, CredentialError> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", self.config.client_id.as_str()),
            ("client_secret", self.config.client_secret.expose()),
            ("scope", scope(self.config.authority.host_str().unwrap_or_default())),
        ];
        oauth::post(client, &self.url, &form).await
    }
}

/// National clouds have names of their own for everything.
fn scope(authority: &str) -> &'static str {
    if authority.ends_with(".us") {
        "https://cognitiveservices.azure.us/.default"
    } else if authority.ends_with(".cn") {
        "https://cognitiveservices.azure.cn/.default"
    } else {
        "https://cognitiveservices.azure.com/.default"
    }
}
