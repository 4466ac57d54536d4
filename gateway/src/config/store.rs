//! `[store]`: what several instances share.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::tree::At;
use super::units::{DurationText, SecretText};
use super::{Context, Secret};

/// `[store]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// URL of a Redis or Valkey that holds the limits and budgets of several instances: `redis://`,
    /// `redis-sentinel://A:26379,B:26379/MASTER`, `redis-cluster://A:6379,B:6379`; with `rediss` for TLS.
    pub redis: Option<At<SecretText>>,
    /// How long a request waits for it before this instance counts alone. Default: `"50ms"`.
    pub timeout: Option<At<DurationText>>,
}

/// A resolved `[store]`.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreConfig {
    /// The URL of the Redis.
    pub redis: Secret,
    /// How long a request waits for it.
    pub timeout: Duration,
}

impl Store {
    pub(super) fn resolve(self, cx: &mut Context<'_>) -> Option<StoreConfig> {
        let timeout = cx.duration(self.timeout.as_ref()).unwrap_or(Duration::from_millis(50));
        let written = self.redis?;
        let redis = cx.secret(&written)?;
        match crate::limits::shared::check_url(redis.expose()) {
            Ok(()) => Some(StoreConfig { redis, timeout }),
            Err(message) => {
                cx.report.error(written.span, message, "write redis://HOST:PORT/DB, redis-sentinel://A,B/MASTER or redis-cluster://A,B; rediss is with TLS");
                None
            }
        }
    }
}
