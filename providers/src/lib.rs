//! Wire formats and upstream accounts of generative-AI providers.

pub mod auth;
pub mod dialect;
pub mod preset;

pub use dialect::{Dialect, Operation};
