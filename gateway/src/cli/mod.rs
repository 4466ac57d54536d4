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

use std::io::{self, Write};

/// Prints to standard output; a reader that has gone, as `head` does, is no error.
pub fn print(text: &str) -> Result<(), String> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => Ok(()),
    }
}
