//! `[store]`: where keys made at run time are kept, and what several instances share.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::tree::At;
use super::units::{DurationText, SecretText};
use super::{Context, Secret, certificates, secret};

/// `[store]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// File of the embedded database that holds the keys made at run time. With it every request needs a key.
    /// Default: keys stand in this file only.
    pub path: Option<At<String>>,
    /// URL of a Redis or Valkey that holds the limits and budgets of several instances, and with `path` their keys: `redis://`,
    /// `redis-sentinel://A:26379,B:26379/MASTER`, `redis-cluster://A:6379,B:6379`; with `rediss` for TLS.
    pub redis: Option<At<SecretText>>,
    /// PEM file with certificates to trust for the Redis (and its Sentinels) instead of the system's.
    pub ca: Option<At<String>>,
    /// The user that the Sentinels know this gateway as. Default: theirs.
    pub sentinel_user: Option<At<String>>,
    /// The password that the Sentinels want, which is not that of the Redis. Default: none.
    pub sentinel_password: Option<At<SecretText>>,
    /// How long a request waits for the Redis before this instance counts alone. Default: `"50ms"`.
    pub timeout: Option<At<DurationText>>,
}

/// A resolved `[store]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoreConfig {
    /// File of the embedded database; its folder exists or not: that is seen when it is opened.
    pub path: Option<PathBuf>,
    /// What several instances share.
    pub redis: Option<RedisConfig>,
}

/// A Redis or Valkey.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisConfig {
    /// Its URL.
    pub url: Secret,
    /// Certificates to trust instead of the system's, in PEM.
    pub ca: Option<Vec<u8>>,
    /// As whom its Sentinels are asked.
    pub sentinel_user: Option<String>,
    /// The password for that.
    pub sentinel_password: Option<Secret>,
    /// How long a request waits for it.
    pub timeout: Duration,
}

impl RedisConfig {
    /// The one at `url`, verified by the system's certificates where it is asked over TLS.
    pub fn new(url: impl Into<String>, timeout: Duration) -> Self {
        Self { url: Secret::new(url), ca: None, sentinel_user: None, sentinel_password: None, timeout }
    }
}

/// Whether a text is a URL with somebody's name or password in it, or something else that may be secret.
fn holds_password(text: &str) -> bool {
    secret::is_literal(text) && !secret::is_open_url(text)
}

impl Store {
    pub(super) fn resolve(self, cx: &mut Context<'_>) -> StoreConfig {
        if let Some(path) = self.path.as_ref().filter(|path| path.value.trim().is_empty()) {
            cx.report.error(
                path.span.clone(),
                "the path is empty",
                "name a file, as in \"/var/lib/ai-gateway/keys.db\"",
            );
        }
        let timeout = cx.duration(self.timeout.as_ref()).unwrap_or(Duration::from_millis(50));
        let ca = self.ca.as_ref().and_then(|path| certificates::authorities(path, cx).and_then(|_| cx.read(path)));
        let redis = self.redis.and_then(|written| {
            let url = cx.secret_if(holds_password, &written)?;
            if let Some(At { span, .. }) = self.ca.as_ref().filter(|_| !url.expose().starts_with("rediss")) {
                cx.report.error(span.clone(), "`ca` is for TLS", "write `rediss` in `redis`");
                return None;
            }
            let user = self.sentinel_user.as_ref();
            let password = self.sentinel_password.as_ref();
            let login = user.map(|user| &user.span).or(password.map(|password| &password.span));
            if let Some(span) = login.filter(|_| !url.expose().contains("-sentinel://")) {
                let help = "write redis-sentinel://A,B/MASTER in `redis`; the password of the Redis itself stands there too";
                cx.report.error(span.clone(), "no Sentinel is asked", help);
                return None;
            }
            if let Some(user) = user.filter(|_| password.is_none()) {
                cx.report.error(user.span.clone(), "`sentinel_user` has no `sentinel_password`", None);
                return None;
            }
            let sentinel_password = match password {
                Some(password) => Some(cx.secret(password)?),
                None => None,
            };
            let sentinel_user = self.sentinel_user.map(|user| user.value);
            let config = RedisConfig { url, ca, sentinel_user, sentinel_password, timeout };
            if let Err(message) = crate::limits::shared::check(&config) {
                let help = "write redis://HOST:PORT/DB, redis-sentinel://A,B/MASTER or redis-cluster://A,B; rediss is with TLS";
                cx.report.error(written.span, message, help);
                return None;
            }
            Some(config)
        });
        StoreConfig { path: self.path.map(|path| cx.dir.join(path.value)), redis }
    }
}
