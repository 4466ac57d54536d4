//! Commands with a file of their own.

pub mod explain;
pub mod prices;
pub mod usage;
