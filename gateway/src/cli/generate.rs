//! `ai-gateway generate`: the man pages and the completions of shells, for packages.

use std::io;
use std::path::Path;

use clap_complete::Shell;

/// Writes them into `dir`: a page for each command, and a file for bash, zsh and fish.
///
/// # Errors
/// A file that cannot be written.
pub fn run(mut command: clap::Command, dir: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, &name, dir)?;
    }
    // No pages for `ai-gateway help …`.
    clap_mangen::generate_to(command.disable_help_subcommand(true), dir)
}
