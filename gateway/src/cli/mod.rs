//! Commands with a file of their own.

pub mod ask;
pub mod explain;
pub mod key;
pub mod prices;
pub mod upgrade;
pub mod usage;
