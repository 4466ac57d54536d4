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
use std::path::{Path, PathBuf};

use clap::Args;

/// A configuration, named in either way.
#[derive(Args)]
pub struct File {
    /// The configuration, in TOML.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The same.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl File {
    /// Where it is, if it was named.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_deref().or(self.config.as_deref())
    }
}

/// Prints whole lines to standard output; a reader that has gone, as `head` does, is no error.
pub fn print(text: &str) -> Result<(), String> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes())).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => Ok(()),
    }
}
