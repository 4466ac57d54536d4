//! `ai-gateway key`: keys for the configuration.

use std::io::Read;

use ai_gateway::config::{KEY_NAME, is_key_name};
use ai_gateway::internal::{hash_line, new_secret};
use clap::Subcommand;

use super::print;

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Make a key: prints it, this once, and the lines for the configuration, which hold only its hash.
    New {
        /// The key's name, for metrics and logs.
        #[arg(value_name = "NAME", value_parser = name)]
        name: String,
    },
    /// Read a key from standard input and print the line for the configuration.
    Hash,
}

fn name(text: &str) -> Result<String, String> {
    is_key_name(text).then(|| text.to_owned()).ok_or_else(|| format!("a name has {KEY_NAME}"))
}

/// Runs the command; the error is for a person.
pub fn run(command: Command) -> Result<(), String> {
    match command {
        Command::New { name } => {
            let key = new_secret().map_err(|error| error.to_string())?;
            let name = toml::Value::String(name);
            print(&format!("{key}\n\n[[keys]]\nname = {name}\nhash = \"{}\"\n", hash_line(&key)))
        }
        Command::Hash => {
            let mut text = String::new();
            let read = std::io::stdin().take(64 * 1024).read_to_string(&mut text);
            read.map_err(|error| format!("standard input: {error}"))?;
            // `echo` ends it with a line break, which is no part of the key.
            let key = text.trim_end_matches(['\r', '\n']);
            if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err("standard input holds no key: one line of printable characters without spaces".to_owned());
            }
            print(&format!("hash = \"{}\"\n", hash_line(key)))
        }
    }
}
