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
//! [`Gateway::builder`] tells the other ways to run it: as a service of another Pingora server, and inside another proxy. What
//! programs that embed it rely on is [`Gateway`], [`Builder`], [`Mounted`], [`OwnDialect`], [`Clock`], [`plugins`], the stores of
//! [`cache`], and [`config::Config`]. How it is made tells `docs/architecture.md`.

// It panics where standard error cannot be written: `stderr::say`.
#![deny(clippy::print_stderr)]

mod admin;
pub mod cache;
pub mod clock;
pub mod config;
mod continuity;
mod credentials;
pub mod embed;
mod health;
mod keys;
mod ledger;
mod limits;
mod mock;
mod net;
mod paths;
pub mod proxy;
mod routing;
mod server;
mod snapshot;
mod sqlite;
mod stderr;
mod telemetry;

/// What the command and the tests of this workspace use beside that. It is not part of the interface.
#[doc(hidden)]
pub mod internal {
    pub use crate::clock::Time;
    pub use crate::health::State;
    pub use crate::keys::{KeyRing, Maker, NewKey, RuntimeKeys, hash_line, new_secret};
    pub use crate::limits::shared::Instance;
    pub use crate::limits::{Amounts, Claim, Kind, Limits, Period, Rule, Used, What};
    pub use crate::stderr::say;

    /// What `ai-gateway explain` tells.
    pub mod explain {
        pub use crate::proxy::explain::{AnsweredBy, Cache, Candidate, Explanation, Limit, Offline};
    }

    /// The ledger, as the command reads it.
    pub mod ledger {
        use std::time::Duration;

        pub use crate::ledger::{
            CHARGED, Dimension, Kind, Query, Record, Report, Store, UsageSource, ask, dollars, parse_time, rerate,
        };

        /// Puts all that the ledger of `proxy` has into its database. `false`: it has none, or that would take longer.
        pub fn close(proxy: &crate::proxy::Gateway, longest: Duration) -> bool {
            proxy.ledger.as_ref().is_some_and(|ledger| ledger.close(longest))
        }
    }

    /// The mock provider as a server.
    pub mod mock {
        pub use crate::mock::{Options, Tls, help, serve};
    }

    /// The process.
    pub mod server {
        pub use crate::server::{Invocation, Source, run};
    }
}

pub use ai_gateway_plugins as plugins;
pub use ai_gateway_providers::own::{ClientPath, Own, OwnDialect};
pub use clock::Clock;
pub use embed::{Builder, Error, Gateway, Mounted};

/// The guide's plugin compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/plugins.md")]
struct PluginGuide;
