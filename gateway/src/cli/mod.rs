//! Commands with a file of their own.

pub mod ask;
pub mod cache;
pub mod explain;
pub mod generate;
pub mod key;
pub mod prices;
pub mod reload;
pub mod status;
pub mod upgrade;
pub mod usage;
