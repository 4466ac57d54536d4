//! `ai-gateway check F`: is this file a configuration, and if not, why not.

use std::fmt;
use std::path::Path;

use super::{Config, ConfigErrors, Environment, Loaded};

/// What `check` found out. Its `Display` is the command's output.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    name: String,
    result: Result<Loaded, ConfigErrors>,
}

/// Checks the file at `path` as `run` would read it, without starting anything.
pub fn check(path: &Path, env: &dyn Environment) -> Verdict {
    Verdict { name: path.display().to_string(), result: Config::load_with(path, env) }
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
