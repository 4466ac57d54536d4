//! `ai-gateway reload`: the running gateway reads its configuration again.

use std::time::Duration;

use ai_gateway::internal::say;
use clap::Args;
use rustix::process::Signal;

use super::ask::Commanded;
use super::print;

/// Reading a large file takes less.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which gateway.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    whom: Commanded,
}

/// Prints the verdict; the error is for a person.
pub fn run(options: &Options) -> Result<(), String> {
    let Some(answer) = options.whom.command("/api/reload", PATIENCE, Signal::HUP)? else { return Ok(()) };
    if !answer.is_ok() {
        return Err(format!("{}\nThe configuration in force stays.", answer.error()));
    }
    for warning in answer.body["warnings"].as_array().into_iter().flatten() {
        say(warning["text"].as_str().unwrap_or_default());
    }
    print(&format!("reloaded: configuration {} is in force\n", answer.body["generation"]))
}
