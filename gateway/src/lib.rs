//! A gateway between applications and every generative-AI provider, on Cloudflare's Pingora: a binary, and this library.
//!
//! ```no_run
//! use ai_gateway::Gateway;
//! use ai_gateway::plugins::{Context, Failure, Needs, Plugin, Request, Verdict, async_trait};
//!
//! /// Nobody asks for more than a question.
//! struct Short;
//!
//! #[async_trait]
//! impl Plugin for Short {
//!     fn needs(&self) -> Needs {
//!         Needs::new().body()
//!     }
//!
//!     async fn on_request(&self, request: &mut Request, _: &Context) -> Result<Verdict, Failure> {
//!         let long = request.texts().iter().any(|text| text.text.len() > 10_000);
//!         Ok(if long { Verdict::reject(400, "that is too long a question") } else { Verdict::Pass })
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Listens on 127.0.0.1:8080 with the providers found in the environment, until SIGTERM.
//!     Gateway::builder().plugin("short", Short).run()?;
//!     Ok(())
//! }
//! ```
//!
//! [`Gateway::builder`] tells the other ways to run it: as a service of another Pingora server, and inside another proxy. The
//! modules below are how it is made; what programs that embed it rely on is [`Gateway`], [`Builder`], [`Mounted`], [`OwnDialect`],
//! [`plugins`], and [`config::Config`].
//!
//! The way to read it: [`proxy`] is the life of a request, [`config`] is what the operator writes, [`snapshot`] is that
//! as built, [`keys`] let clients in, [`routing`] chooses targets, [`credentials`] convince providers, [`continuity`] is what
//! one request leaves for the next, [`cache`] keeps and shares answers, [`limits`] bounds what clients use, [`telemetry`] tells
//! what happened, [`ledger`] remembers what it cost, [`clock`] says what time it is, and [`server`] is the process around them.

// It panics where standard error cannot be written: `stderr::say`.
#![deny(clippy::print_stderr)]

pub mod admin;
pub mod cache;
pub mod clock;
pub mod config;
pub mod continuity;
pub mod credentials;
pub mod embed;
pub mod health;
pub mod keys;
pub mod ledger;
pub mod limits;
pub mod mock;
pub mod net;
mod paths;
pub mod proxy;
pub mod routing;
pub mod server;
pub mod snapshot;
mod sqlite;
pub mod stderr;
pub mod telemetry;

pub use ai_gateway_plugins as plugins;
pub use ai_gateway_providers::own::{ClientPath, Own, OwnDialect};
pub use clock::Clock;
pub use embed::{Builder, Error, Gateway, Mounted};
