//! A gateway between applications and every generative-AI provider.

pub mod config;
