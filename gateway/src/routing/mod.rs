//! Which targets a request is tried on, and in what order: [`Plan`]; and the [`rules`] that decide of which model.

mod plan;
pub mod rules;

pub use plan::Plan;
