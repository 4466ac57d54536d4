//! Commands with a file of their own.

pub mod prices;
pub mod usage;
