//! `ai-gateway check F`: is this file a configuration, and if not, why not.

use std::path::Path;
use std::{fmt, io};

use super::{Config, ConfigErrors, Environment, LedgerConfig, Loaded, PluginConfig};
use crate::paths;
use crate::telemetry::AccessLog;

/// What `check` found out. Its `Display` is the command's output.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    name: String,
    result: Result<Loaded, ConfigErrors>,
}

/// Checks the file at `path` as `run` would read it, and whether the files and folders that it names can be used, without
/// starting, making or changing anything. Whether its addresses are free is not asked: the gateway that has them may be running.
pub fn check(path: &Path, env: &dyn Environment) -> Verdict {
    let name = path.display().to_string();
    let result = Config::load_with(path, env).and_then(|loaded| {
        let errors: Vec<String> = unusable(&loaded.config).map(|error| error.to_string()).collect();
        if errors.is_empty() { Ok(loaded) } else { Err(ConfigErrors::of_no_line(&name, errors, loaded.warnings)) }
    });
    Verdict { name, result }
}

/// What `run` could not open.
fn unusable(config: &Config) -> impl Iterator<Item = io::Error> {
    let folder = |key, path: &Path| paths::check_folder(path).map_err(paths::error(key, path));
    let ledger = |ledger: &LedgerConfig| {
        let above = paths::folder_of(&ledger.path);
        // That it can be written is not asked of a folder that is there: records stay in the spool until it can be.
        let made = if above.is_dir() { Ok(()) } else { folder("ledger.path", above) };
        made.and_then(|()| folder("ledger.spool", &ledger.spool))
    };
    let store = config.store.path.as_deref();
    let checks = [
        store.map(|path| paths::check_file(path).map_err(paths::error("store.path", path))),
        config.ledger.as_ref().map(ledger),
        config.cache.disk.as_ref().map(|disk| folder("cache.disk.path", &disk.path)),
        Some(AccessLog::check(&config.access_log)),
    ];
    checks.into_iter().flatten().chain(config.plugins.iter().map(PluginConfig::check_files)).filter_map(Result::err)
}

impl Verdict {
    /// Whether `run` would accept the file.
    pub fn is_ok(&self) -> bool {
        self.result.is_ok()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Ok(Loaded { config, warnings }) => {
                for warning in warnings {
                    writeln!(f, "{warning}")?;
                }
                let count = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
                write!(
                    f,
                    "{}: valid: {}, {}, {}",
                    self.name,
                    count(config.providers.len(), "provider"),
                    count(config.models.len(), "model"),
                    count(config.keys.len(), "key"),
                )?;
                if !warnings.is_empty() {
                    write!(f, ", {}", count(warnings.len(), "warning"))?;
                }
                Ok(())
            }
            Err(errors) => {
                for warning in &errors.warnings {
                    writeln!(f, "{warning}")?;
                }
                write!(f, "{errors}")
            }
        }
    }
}
