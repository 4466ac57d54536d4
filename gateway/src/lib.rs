//! A gateway between applications and every generative-AI provider.

pub mod admin;
pub mod config;
pub mod mock;
pub mod net;
pub mod telemetry;
