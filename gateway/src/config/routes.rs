//! `[[routes]]`: rules that decide the model when the client's name should not. Not read yet: see `support`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::tree::At;

/// `[[routes]]` as written; the first that matches wins.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// What must hold, all of it. Default: it always matches.
    pub when: Option<When>,
    /// The model that the request goes to instead: a name of `[models]`, or `provider/model`.
    pub model: At<String>,
}

/// `when` as written; values are patterns in which `*` stands for any characters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Headers of the request.
    pub header: Option<BTreeMap<String, At<String>>>,
    /// The model that the client asked for.
    pub model: Option<At<String>>,
}
