//! `ai-gateway key`: keys for the configuration.

use std::io::Read;

use ai_gateway::keys::{KeyError, hash_line, new_secret};
use clap::Subcommand;

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Make a key: prints it, this once, and the lines for the configuration, which hold only its hash.
    New {
        /// The key's name, for metrics and logs.
        #[arg(value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Read a key from standard input and print the line for the configuration.
    Hash,
}

/// Why nothing was printed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No key could be made.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// Standard input cannot be read.
    #[error("standard input: {0}")]
    Input(#[from] std::io::Error),
    /// It holds no key.
    #[error("standard input holds no key: one line of printable characters without spaces")]
    NoKey,
}

/// Runs the command.
///
/// # Errors
/// [`CommandError`].
pub fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::New { name } => {
            let key = new_secret()?;
            println!("{key}\n\n[[keys]]\nname = {}\nhash = \"{}\"", toml::Value::String(name), hash_line(&key));
        }
        Command::Hash => {
            let mut text = String::new();
            std::io::stdin().take(64 * 1024).read_to_string(&mut text)?;
            // `echo` ends it with a line break, which is no part of the key.
            let key = text.trim_end_matches(['\r', '\n']);
            if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(CommandError::NoKey);
            }
            println!("hash = \"{}\"", hash_line(key));
        }
    }
    Ok(())
}
