//! A gateway between applications and every generative-AI provider, on Cloudflare's Pingora.
//!
//! The way to read it: [`proxy`] is the life of a request, [`config`] is what the operator writes, [`snapshot`] is that
//! as built, [`keys`] let clients in, [`routing`] chooses targets, [`credentials`] convince providers, [`continuity`] is what
//! one request leaves for the next, [`cache`] keeps and shares answers, [`limits`] bounds what clients use, [`telemetry`] tells
//! what happened, [`ledger`] remembers what it cost, and [`server`] is the process around them.

pub mod admin;
pub mod cache;
pub mod config;
pub mod continuity;
pub mod credentials;
pub mod health;
pub mod keys;
pub mod ledger;
pub mod limits;
pub mod mock;
pub mod net;
pub mod proxy;
pub mod routing;
pub mod server;
pub mod snapshot;
pub mod telemetry;
