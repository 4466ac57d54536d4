//! The configuration of somebody who wrote none: the providers whose usual variables are set, or the mock.

use std::fmt;

use ai_gateway_providers::preset::{PRESETS, Preset};

use super::base_url;
use super::providers::{ProviderConfig, own_scheme};
use super::{Config, Environment};

/// A configuration made from the environment, and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Discovery {
    /// Every provider found, or the mock, on the default listeners.
    pub config: Config,
    /// What was found, in the order of the table of presets. Empty: the mock stands in.
    pub found: Vec<Found>,
    /// Variables that are set and cannot be used: what is wrong, without any value.
    pub skipped: Vec<String>,
}

/// A provider, and the variable that brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The provider's name, which is its kind.
    pub provider: String,
    /// The environment variable.
    pub variable: &'static str,
}

impl fmt::Display for Discovery {
    /// What `run` says when it was given no file: lines without a line break at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for message in &self.skipped {
            writeln!(f, "ignored: {message}")?;
        }
        if self.found.is_empty() {
            return f.write_str(
                "no configuration file, and no provider's usual variable is set: the built-in mock answers",
            );
        }
        f.write_str("no configuration file: using")?;
        for (index, Found { provider, variable }) in self.found.iter().enumerate() {
            write!(f, "{} {provider} ({variable})", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl Config {
    /// The providers whose usual variables are set, each named as its kind; the built-in mock when there is none.
    pub fn from_environment(env: &dyn Environment) -> Discovery {
        let mut discovery = Discovery { config: Self::default(), found: Vec::new(), skipped: Vec::new() };
        for preset in PRESETS {
            match find(preset, env) {
                Ok(None) => {}
                Ok(Some((variable, provider))) => {
                    discovery.found.push(Found { provider: provider.name.clone(), variable });
                    discovery.config.providers.insert(provider.name.clone(), provider);
                }
                Err(message) => discovery.skipped.push(message),
            }
        }
        if let Some(mock) = Preset::find("mock").filter(|_| discovery.found.is_empty()) {
            let provider = ProviderConfig::of_preset(mock.kind, mock, None, None);
            discovery.config.providers.insert(provider.name.clone(), provider);
        }
        discovery
    }
}

fn find(preset: &'static Preset, env: &dyn Environment) -> Result<Option<(&'static str, ProviderConfig)>, String> {
    let key = preset.key_env.iter().find_map(|variable| Some((*variable, env.var(variable)?)));
    let address = preset.address_env.map(|variable| variable.name()).filter(|variable| env.var(variable).is_some());
    let (variable, key) = match (key, address) {
        (None, None) => return Ok(None),
        (None, Some(_)) if preset.needs_key => return Ok(None),
        (None, Some(variable)) => (variable, None),
        (Some((variable, key)), _) => (variable, Some(key)),
    };
    let Some(base_url) = base_url::usual(preset, env)? else {
        let missing = preset.address_env.map_or("a base URL", |variable| variable.name());
        return Err(format!("`{variable}` is set, but `{missing}` is not"));
    };
    let auth = match key {
        None => None,
        Some(key) => {
            own_scheme(preset).header(&key).map_err(|error| format!("`{variable}` cannot be used: {error}"))?
        }
    };
    Ok(Some((variable, ProviderConfig::of_preset(preset.kind, preset, Some(base_url), auth))))
}
