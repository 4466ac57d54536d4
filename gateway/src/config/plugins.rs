//! `[[plugins]]`: what is done to requests and answers on their way. Not read yet: see `support`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::tree::At;

/// `[[plugins]]` as written; they run in this order.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Plugin {
    /// Which plugin.
    #[serde(rename = "use")]
    pub use_: At<String>,
    /// What it does when it finds something.
    pub action: Option<At<String>>,
    /// The plugin's own settings.
    #[serde(flatten)]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub settings: toml::Table,
}
