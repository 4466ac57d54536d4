//! AWS's default credential chain: environment, profile files, SSO, web identity (IRSA), `credential_process`, ECS and EKS
//! containers, EC2 instances. The order and the formats are `reqsign-aws-core`'s; the network is ours.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use reqsign_aws_core::{AssumeRoleWithWebIdentityCredentialProvider, DefaultCredentialProvider};
use reqsign_core::{CommandExecute, CommandOutput, Context, Env, Error, FileRead, HttpSend, OsEnv, ProvideCredential};

use super::sigv4::Keys;
use super::source::{Issue, Issued};
use super::{Client, CredentialError};

/// Keys that name no end are asked for again after this time: other tools rewrite profile files.
const UNDATED: Duration = Duration::from_secs(15 * 60);

/// Asks the chain for keys.
pub struct Issuer {
    chain: DefaultCredentialProvider,
}

impl Issuer {
    /// Fetches nothing yet.
    pub fn new(region: &str) -> Self {
        let mut web_identity = AssumeRoleWithWebIdentityCredentialProvider::new()
            .with_region(region.to_owned())
            .with_regional_sts_endpoint();
        if Environment.var("AWS_ROLE_SESSION_NAME").is_none() {
            web_identity = web_identity.with_role_session_name("ai-gateway".to_owned());
        }
        Self { chain: DefaultCredentialProvider::builder().web_identity(web_identity).build() }
    }
}

#[async_trait]
impl Issue for Issuer {
    type Token = Keys;

    async fn issue(&self, client: &Arc<Client>) -> Result<Issued<Keys>, CredentialError> {
        let context = Context::new()
            .with_env(Environment)
            .with_file_read(Files)
            .with_command_execute(Commands)
            .with_http_send(Http(client.clone()));
        let found = self.chain.provide_credential(&context).await;
        let credential = match found {
            Ok(Some(credential)) => credential,
            Ok(None) => return Err(CredentialError::new("the AWS default chain has no credentials on this machine")),
            // Its text may quote an answer.
            Err(error) => return Err(CredentialError::new(format!("the AWS default chain: {}", error.kind()))),
        };
        let keys = Keys::new(
            &credential.access_key_id,
            &credential.secret_access_key,
            credential.session_token.as_deref().filter(|token| !token.is_empty()),
        );
        let keys =
            keys.ok_or_else(|| CredentialError::new("the AWS default chain gave keys that no header carries"))?;
        let lifetime = match credential.expires_in {
            Some(end) => end.as_system_time().duration_since(SystemTime::now()).unwrap_or_default(),
            None => UNDATED,
        };
        Ok(Issued { token: keys, lifetime: Some(lifetime) })
    }
}

/// The process's environment; a variable that is set to nothing is not set.
#[derive(Debug)]
struct Environment;

impl Env for Environment {
    fn var(&self, key: &str) -> Option<String> {
        OsEnv.var(key).filter(|value| !value.is_empty())
    }

    fn vars(&self) -> HashMap<String, String> {
        // Not `std::env::vars`, which panics over one that is not Unicode.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok().filter(|value| !value.is_empty())?))
        };
        std::env::vars_os().filter_map(text).collect()
    }

    fn home_dir(&self) -> Option<PathBuf> {
        OsEnv.home_dir()
    }
}

#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> Result<Vec<u8>, Error> {
        Ok(tokio::fs::read(path).await?)
    }
}

#[derive(Debug)]
struct Commands;

impl CommandExecute for Commands {
    async fn command_execute(&self, program: &str, args: &[&str]) -> Result<CommandOutput, Error> {
        let output = tokio::process::Command::new(program).args(args).kill_on_drop(true).output().await?;
        Ok(CommandOutput { status: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr: output.stderr })
    }
}

#[derive(Debug)]
struct Http(Arc<Client>);

impl HttpSend for Http {
    async fn http_send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, Error> {
        self.0.send(request).await.map_err(|error| Error::unexpected(error.to_string()))
    }
}
