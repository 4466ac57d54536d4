//! A gateway between applications and every generative-AI provider.

pub mod mock;
pub mod net;
