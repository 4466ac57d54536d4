//! Which targets a request is tried on, and in what order: the [`Plan`]. `strategy` orders the targets of one priority,
//! `why` tells of an order why it is so, `stable` hashes what must fall out alike in every process; the [`rules`] decide of which model.

mod plan;
pub mod rules;
mod stable;
mod strategy;
mod why;

pub use plan::{LeftOut, Plan, Taken, Why};
pub use stable::stable_hash;
pub use strategy::Asked;
pub use why::Behind;
