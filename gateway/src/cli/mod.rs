//! Commands with a file of their own.

pub mod key;
pub mod prices;
