//! Which targets a request is tried on, and in what order: the [`Plan`]. `strategy` orders the targets of one priority,
//! `stable` hashes what must fall out alike in every process; the [`rules`] decide of which model.

mod plan;
pub mod rules;
mod stable;
mod strategy;

pub use plan::{Candidate, LeftOut, Plan, Taken, Why};
pub use stable::stable_hash;
pub use strategy::Asked;
