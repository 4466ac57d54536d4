//! `ai-gateway generate`: the man pages and the completions of shells, for packages.

use std::io;
use std::path::Path;

use clap_complete::Shell;

/// Writes them into `dir`: a page for each command, and a file for bash, zsh and fish.
///
/// # Errors
/// A file that cannot be written.
pub fn run(mut command: clap::Command, dir: &Path) -> io::Result<()> {
    // First, of a command that is not built yet: a built one has all `help …` among its commands.
    clap_mangen::generate_to(command.clone(), dir)?;
    let name = command.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, &name, dir)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_each_command_and_none_for_its_help() {
        let inner = clap::Command::new("key").subcommand(clap::Command::new("hash"));
        let dir = tempfile::tempdir().unwrap();
        run(clap::Command::new("gw").subcommand(inner), dir.path()).unwrap();
        let mut files: Vec<_> =
            dir.path().read_dir().unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        assert_eq!(files, ["_gw", "gw-key-hash.1", "gw-key.1", "gw.1", "gw.bash", "gw.fish"]);
        let of_shell = std::fs::read_to_string(dir.path().join("gw.fish")).unwrap();
        assert!(of_shell.contains("-a \"help\""), "shells still complete `gw help`");
    }
}
