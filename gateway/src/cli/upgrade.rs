//! `ai-gateway upgrade`: the program that the running gateway was started from takes over from it.

use std::time::Duration;

use clap::Args;
use rustix::process::Signal;

use super::ask::Commanded;
use super::print;

/// How to upgrade.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    whom: Commanded,
    /// How long the new process may take until it serves; past that the old one goes on.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// Prints who serves now; the error is for a person.
pub fn run(options: &Options) -> Result<(), String> {
    let timeout = humantime::format_duration(options.timeout).to_string().replace(' ', "");
    // The check of the new binary has a time of its own, and so has the ledger to be read.
    let patience = options.timeout.saturating_mul(3).saturating_add(Duration::from_secs(10));
    let target = format!("/api/upgrade?timeout={timeout}");
    let Some(answer) = options.whom.command(&target, patience, Signal::USR2)? else { return Ok(()) };
    if !answer.is_ok() {
        // With another status it may be about to end, or nobody knows whom that was.
        let serves_on = if matches!(answer.status, 409 | 500) { "\nThe running gateway serves on." } else { "" };
        return Err(answer.error() + serves_on);
    }
    let (pid, version, took) = (&answer.body["pid"], &answer.body["version"], &answer.body["took_ms"]);
    print(&format!("upgraded: process {pid}, version {}, after {took} ms\n", version.as_str().unwrap_or("unknown")))
}
