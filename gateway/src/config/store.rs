//! `[store]`: where keys made at run time are kept, and what several instances share (not read yet: see `support`).

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::tree::At;
use super::units::SecretText;

/// `[store]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// File of the embedded database that holds the keys made at run time. With it every request needs a key.
    /// Default: keys stand in this file only.
    pub path: Option<At<String>>,
    /// URL of a Redis or Valkey that holds limits, budgets and the cache of several instances.
    pub redis: Option<At<SecretText>>,
}

/// The resolved `[store]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreConfig {
    /// File of the embedded database; its folder exists or not: that is seen when it is opened.
    pub path: Option<PathBuf>,
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
        StoreConfig { path: self.path.map(|path| cx.dir.join(path.value)) }
    }
}
