//! `[ledger]`: the durable record of usage and cost. Not read yet: see `support`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::tree::At;

/// `[ledger]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// File of the embedded database.
    pub path: At<String>,
}
