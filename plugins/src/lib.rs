//! The plugin interface of ai-gateway, and the plugins that ship with it.
//!
//! A plugin is a type that implements [`Plugin`]: it says what it [needs](Needs), and gets called at those points of a
//! request's life. Its settings come from `[[plugins]]` in the configuration. Here is a whole one; `docs/plugins.md` goes on
//! from there.
//!
//! ```
//! use ai_gateway_plugins::{Context, Failure, Kind, Needs, Plugin, Request, Settings, SettingsError, Verdict, async_trait};
//! use std::sync::Arc;
//!
//! /// Refuses what is asked in capitals.
//! struct Calm {
//!     message: String,
//! }
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct CalmSettings {
//!     message: String,
//! }
//!
//! #[async_trait]
//! impl Plugin for Calm {
//!     fn needs(&self) -> Needs {
//!         Needs::new().body()
//!     }
//!
//!     async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
//!         let shouts = |text: &str| text.len() > 20 && !text.chars().any(char::is_lowercase);
//!         if request.texts().iter().any(|text| shouts(&text.text)) {
//!             cx.tag("calm", "refused");
//!             return Ok(Verdict::reject(400, &self.message));
//!         }
//!         Ok(Verdict::Pass)
//!     }
//! }
//!
//! /// `[[plugins]] use = "calm"`.
//! pub const CALM: Kind = Kind::new("calm", |settings: &Settings<'_>| {
//!     let CalmSettings { message } = settings.read()?;
//!     Ok(Arc::new(Calm { message }))
//! });
//! # let settings = Settings::of("message = 'Please.'");
//! # assert!(CALM.build(&settings).is_ok());
//! # assert!(CALM.build(&Settings::of("massage = 'Please.'")).is_err());
//! # let _: fn(SettingsError) = |_| {};
//! ```
//!
//! | module | what is there |
//! |---|---|
//! | `plugin` | the trait, and what a plugin needs |
//! | `context` | what every hook knows of the exchange; state and tags |
//! | `request`, `plan`, `upstream`, `answer`, `end` | the views that the hooks get |
//! | `text` | text of answers in a sliding window, streamed or whole |
//! | `screen` | runs the hooks of `text` over an answer: a stream of any dialect, or a whole one |
//! | `verdict` | what a hook may decide |
//! | `host` | what a plugin may ask of the gateway: HTTP, and configured models |
//! | `settings`, `tls`, `registry` | from `[[plugins]]` to a plugin |
//! | `find` | finding things in text, whole or streamed: what the plugins that ship are built on |
//! | `guard` | a finder and what becomes of what it finds |
//! | `judging` | what those that judge texts have in common |
//! | all others | the plugins that ship, one each |

mod answer;
mod body;
mod content_log;
mod context;
mod deny;
mod end;
mod fields;
pub mod find;
mod guard;
mod headers;
mod host;
mod injection;
mod judging;
mod language;
mod moderation;
pub mod pii;
mod plan;
mod plugin;
mod prompt;
mod registry;
mod request;
mod screen;
pub mod secrets;
mod settings;
mod size;
mod template;
mod text;
mod tls;
mod upstream;
mod verdict;
mod wasm;
mod webhook;

pub use ai_gateway_providers as providers;
pub use ai_gateway_providers::scan::{Side, Text, TextKind, edit_texts, texts};
pub use async_trait::async_trait;

pub use answer::{Answer, AnswerBody};
pub use context::{About, Context, Key, Tag};
pub use end::{End, Finish};
pub use host::{Host, HostError, HostErrorKind, NoHost};
pub use plan::{Candidate, Plan};
pub use plugin::{Needs, Plugin};
pub use registry::{Kind, Registry};
pub use request::Request;
pub use settings::{Settings, SettingsError, SettingsHost, parse_size};
pub use text::{Flow, Part, PartKind, TextHook, Window};
pub use tls::{Tls, TlsFiles};
pub use upstream::Upstream;
pub use verdict::{Failure, Rejection, Reply, Verdict};

/// How the gateway runs plugins over answers. It is not part of the interface.
#[doc(hidden)]
pub mod internal {
    pub use crate::headers::CREDENTIALS;
    pub use crate::screen::{EventScreen, Hooked, Policy, Screen, delta, part_of, refuse_whole, screen_whole, text_of};
    pub use crate::text::Stage;
}
