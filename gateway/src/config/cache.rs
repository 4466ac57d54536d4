//! `[cache]`: how much is kept. Not read yet: see `support`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::tree::At;
use super::units::SizeText;

/// `[cache]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// The most bytes of kept answers. Default: `"512MiB"`.
    pub max_size: Option<At<SizeText>>,
}
