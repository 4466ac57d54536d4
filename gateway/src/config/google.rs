//! Google's credential files: <https://google.aip.dev/auth/4110>.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use super::credentials::token_url;
use super::environment::Environment;
use super::secret::Secret;
use crate::credentials::check_private_key;

/// Who asks Google for tokens.
#[derive(Debug, Clone, PartialEq, Hash)]
pub enum GoogleConfig {
    /// A service account.
    ServiceAccount(Box<ServiceAccount>),
    /// A person.
    User(Box<GoogleUser>),
    /// The machine, by its metadata server.
    Machine {
        /// Host, and port if it is not 80.
        host: String,
    },
}

/// A service account's key.
#[derive(Debug, Clone, PartialEq, Hash)]
pub struct ServiceAccount {
    /// The account.
    pub client_email: String,
    /// Names the key.
    pub private_key_id: Option<String>,
    /// The key, in PEM.
    pub private_key: Secret,
    /// Where tokens are asked for.
    pub token_uri: String,
    /// The project that the account belongs to.
    pub project_id: Option<String>,
}

/// What `gcloud auth application-default login` leaves.
#[derive(Debug, Clone, PartialEq, Hash)]
pub struct GoogleUser {
    /// The application that the person allowed.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// The permission.
    pub refresh_token: Secret,
    /// Where tokens are asked for.
    pub token_uri: String,
}

impl GoogleConfig {
    /// The project that the credential names.
    pub(super) fn project(&self) -> Option<&str> {
        match self {
            Self::ServiceAccount(account) => account.project_id.as_deref(),
            Self::User(_) | Self::Machine { .. } => None,
        }
    }
}

#[derive(Deserialize)]
struct File {
    r#type: String,
    client_email: Option<String>,
    private_key_id: Option<String>,
    private_key: Option<String>,
    project_id: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
    token_uri: Option<String>,
}

const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// Reads a credential file.
///
/// # Errors
/// What is wrong with it, without any of it.
pub(super) fn parse(json: &str) -> Result<GoogleConfig, String> {
    let file: File = serde_json::from_str(json).map_err(|error| {
        format!("this is no Google credential file: line {}, column {}", error.line(), error.column())
    })?;
    let token_uri = file.token_uri.unwrap_or_else(|| TOKEN_URI.to_owned());
    let url = Url::parse(&token_uri).map_err(|error| format!("its `token_uri` is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("its `token_uri` is no https URL".to_owned());
    }
    token_url(&url).map_err(|error| format!("its `token_uri` cannot be used: {error}"))?;
    let missing = |key: &str| format!("the credential file has no `{key}`");
    match file.r#type.as_str() {
        "service_account" => {
            let private_key = file.private_key.ok_or_else(|| missing("private_key"))?;
            check_private_key(&private_key)?;
            Ok(GoogleConfig::ServiceAccount(Box::new(ServiceAccount {
                client_email: file.client_email.ok_or_else(|| missing("client_email"))?,
                private_key_id: file.private_key_id,
                private_key: Secret::new(private_key),
                token_uri,
                project_id: file.project_id,
            })))
        }
        "authorized_user" => Ok(GoogleConfig::User(Box::new(GoogleUser {
            client_id: file.client_id.ok_or_else(|| missing("client_id"))?,
            client_secret: Secret::new(file.client_secret.ok_or_else(|| missing("client_secret"))?),
            refresh_token: Secret::new(file.refresh_token.ok_or_else(|| missing("refresh_token"))?),
            token_uri,
        }))),
        "external_account" | "external_account_authorized_user" | "impersonated_service_account" => {
            Err("Google credentials of an external or impersonated account are not supported yet".to_owned())
        }
        _ => Err("the credential file's `type` is unknown".to_owned()),
    }
}

/// Application default credentials: the file that a variable names, the one that `gcloud` leaves, or the machine itself.
///
/// # Errors
/// A file is there and cannot be used.
pub(super) fn of_the_machine(env: &dyn Environment) -> Result<GoogleConfig, String> {
    let named = env.var("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from);
    let gcloud =
        env.var("HOME").map(|home| Path::new(&home).join(".config/gcloud/application_default_credentials.json"));
    let (path, bytes) = match (named, gcloud) {
        (Some(path), _) => {
            let bytes = env.read(&path).map_err(|error| {
                format!("`GOOGLE_APPLICATION_CREDENTIALS` names a file that cannot be read: {error}")
            })?;
            (path, bytes)
        }
        (None, Some(path)) => match env.read(&path) {
            Ok(bytes) => (path, bytes),
            Err(_) => return Ok(machine(env)),
        },
        (None, None) => return Ok(machine(env)),
    };
    let shown = path.display();
    let json = String::from_utf8(bytes).map_err(|_| format!("the file `{shown}` is not UTF-8 text"))?;
    parse(&json).map_err(|error| format!("the file `{shown}`: {error}"))
}

fn machine(env: &dyn Environment) -> GoogleConfig {
    let host = env.var("GCE_METADATA_HOST").unwrap_or_else(|| "metadata.google.internal".to_owned());
    GoogleConfig::Machine { host }
}
