//! Commands with a file of their own.

pub mod explain;
pub mod generate;
pub mod key;
pub mod prices;
pub mod usage;
