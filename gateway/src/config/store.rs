//! `[store]`: what several instances share. Not read yet: see `support`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::tree::At;
use super::units::SecretText;

/// `[store]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// URL of a Redis or Valkey that holds limits, budgets and the cache of several instances.
    pub redis: Option<At<SecretText>>,
}
