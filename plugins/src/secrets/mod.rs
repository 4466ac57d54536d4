//! `secrets`: keys and tokens in prompts and answers.
//!
//! ```toml
//! [[plugins]]
//! use = "secrets"
//! action = "redact"           # redact (default) | mask | reject | report
//! on = ["request", "answer"]  # the default
//! assigned = true             # values, too, that only their names tell: password = "…"
//! message = "…"               # what a rejected client is told
//! status = 403
//! ```
//!
//! Found are keys and tokens of known shapes (AWS, GitHub, Slack, OpenAI, Anthropic, Google, Stripe, JWT, …), private keys in PEM,
//! passwords in URLs, and, with `assigned`, what is assigned to a name such as `password` or `api_key` and looks random. A secret
//! of no known shape that nothing names is not found: long random text alone is too often an id or a hash.

mod assigned;
mod find;
mod shapes;

use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use crate::Settings;
use crate::find::Any;
use crate::guard::{Action, Common, Guard};
use crate::judging::{Tokens, Way};

pub use find::Secrets;

/// Bytes of an answer that may have to be kept: a private key.
pub(crate) const HOLD: usize = 17 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretsSettings {
    #[serde(default = "redact")]
    action: Action,
    #[serde(default = "both")]
    on: Vec<Way>,
    #[serde(default = "yes")]
    assigned: bool,
    message: Option<String>,
    status: Option<Spanned<u16>>,
    #[serde(default)]
    tokens: Tokens,
}

fn redact() -> Action {
    Action::Redact
}

fn both() -> Vec<Way> {
    vec![Way::Request, Way::Answer]
}

fn yes() -> bool {
    true
}

/// `use = "secrets"`.
pub const PLUGIN: crate::Kind = crate::Kind::new("secrets", |settings: &Settings<'_>| {
    let SecretsSettings { action, on, assigned, message, status, tokens } = settings.read()?;
    let common = Common::new(on, action, message, status.as_ref(), tokens)?;
    Ok(Arc::new(Guard::new(Any::new(vec![Arc::new(Secrets::new(None, assigned))]), common, HOLD)))
});
