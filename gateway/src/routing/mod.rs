//! Which targets a request is tried on, and in what order: [`Plan`].

mod plan;

pub use plan::Plan;
