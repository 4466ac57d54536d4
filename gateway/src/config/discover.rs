//! The configuration of somebody who wrote none: the providers whose usual variables are set, or the mock.

use std::fmt;

use ai_gateway_providers::Operation;
use ai_gateway_providers::preset::{Cloud, PRESETS, Preset};

use super::base_url;
use super::credentials::{CredentialConfig, KeyHeaders, of_the_machine};
use super::providers::{ProviderConfig, check_project, check_region, region_env, usual_project};
use super::{Config, Environment, TelemetryConfig};

/// A configuration made from the environment, and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Discovery {
    /// Every provider found, or the mock, on the default listeners.
    pub config: Config,
    /// What was found, in the order of the table of presets. Empty: the mock stands in.
    pub found: Vec<Found>,
    /// Variables that are set and not used: why, without any value of theirs.
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
    /// The providers of chat whose usual variables are set, each named as its kind; the built-in mock when there is none.
    pub fn from_environment(env: &dyn Environment) -> Discovery {
        let mut discovery = Discovery { config: Self::default(), found: Vec::new(), skipped: Vec::new() };
        let can_chat = |preset: &&Preset| preset.dialects.iter().any(|(it, _)| preset.offers(*it, Operation::Chat));
        for preset in PRESETS.iter().filter(can_chat) {
            match find(preset, env) {
                Ok(None) => {}
                Ok(Some((variable, provider))) => {
                    discovery.skipped.extend(unread_address(&provider, env));
                    discovery.found.push(Found { provider: provider.name.clone(), variable });
                    discovery.config.providers.insert(provider.name.clone(), provider);
                }
                Err(message) => discovery.skipped.push(message),
            }
        }
        discovery.config.telemetry = TelemetryConfig::from_environment(env, &mut discovery.skipped);
        if let Some(mock) = Preset::find("mock").filter(|_| discovery.found.is_empty()) {
            let provider = ProviderConfig::of_preset(mock.kind, mock, None, vec![CredentialConfig::None]);
            discovery.config.providers.insert(provider.name.clone(), provider);
        }
        discovery
    }
}

/// The variable in which the vendor's SDK takes another address, if it is set (see [`Preset::address_env`]).
fn unread_address(provider: &ProviderConfig, env: &dyn Environment) -> Option<String> {
    let variable = format!("{}_BASE_URL", provider.preset.kind.to_uppercase());
    let url = provider.base_url.as_ref()?;
    env.var(&variable)?;
    Some(format!(
        "`{variable}`, which may be this gateway's own address: requests go to {url}; for another address write a file with \
         `base_url`"
    ))
}

fn find(preset: &'static Preset, env: &dyn Environment) -> Result<Option<(&'static str, ProviderConfig)>, String> {
    let key = preset.key_env.iter().find_map(|variable| Some((*variable, env.var(variable)?)));
    if preset.cloud.is_some_and(|cloud| cloud != Cloud::Azure) || (preset.cloud.is_some() && key.is_none()) {
        return find_in_cloud(preset, key, env);
    }
    let address = preset.address_env.map(|variable| variable.name()).filter(|variable| env.var(variable).is_some());
    let (variable, key) = match (key, address) {
        (None, None) => return Ok(None),
        (None, Some(_)) if preset.needs_key => return Ok(None),
        (None, Some(variable)) => (variable, None),
        (Some((variable, key)), _) => (variable, Some(key)),
    };
    let Some(base_url) = base_url::usual(preset, None, env)? else {
        let missing = preset.address_env.map_or("a base URL", |variable| variable.name());
        return Err(format!("`{variable}` is set, but `{missing}` is not"));
    };
    let credential = match key {
        None => CredentialConfig::None,
        Some(key) => of_key(preset, variable, &key)?,
    };
    Ok(Some((variable, ProviderConfig::of_preset(preset.kind, preset, Some(base_url), vec![credential]))))
}

fn of_key(preset: &Preset, variable: &str, key: &str) -> Result<CredentialConfig, String> {
    let headers = KeyHeaders::of_preset(preset, std::iter::empty(), key)
        .map_err(|error| format!("`{variable}` cannot be used: {error}"))?;
    Ok(headers.map_or(CredentialConfig::None, CredentialConfig::Key))
}

/// An account of a cloud: where the variables say that its credentials are meant to be used from here.
fn find_in_cloud(
    preset: &'static Preset,
    key: Option<(&'static str, String)>,
    env: &dyn Environment,
) -> Result<Option<(&'static str, ProviderConfig)>, String> {
    let Some(cloud) = preset.cloud else { return Ok(None) };
    let sign = match cloud {
        Cloud::Aws => ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"].as_slice(),
        // Credentials alone are on every machine where somebody works with Google Cloud.
        Cloud::Google => &["GOOGLE_CLOUD_LOCATION"],
        Cloud::Azure => &["AZURE_CLIENT_SECRET"],
    };
    let sign = sign.iter().find(|variable| env.var(variable).is_some()).copied();
    let Some(variable) = key.as_ref().map(|(variable, _)| *variable).or(sign) else { return Ok(None) };
    let region = region_env(cloud).iter().find_map(|variable| Some((*variable, env.var(variable)?)));
    if let Some((variable, region)) = &region {
        check_region(region).map_err(|error| format!("`{variable}` cannot be used: {error}"))?;
    }
    let region = region.map(|(_, region)| region);
    let Some(base_url) = base_url::usual(preset, region.as_deref(), env)? else {
        // Variables of a whole cloud do not say that its AI service is meant.
        return match (key, region_env(cloud).first()) {
            (Some(_), Some(missing)) => Err(format!("`{variable}` is set, but `{missing}` is not")),
            _ => Ok(None),
        };
    };
    let credential = match key {
        Some((variable, key)) => of_key(preset, variable, &key)?,
        None => match of_the_machine(cloud, region.as_deref(), env)? {
            Some(credential) => credential,
            None => return Ok(None),
        },
    };
    let project = if cloud == Cloud::Google { usual_project(&credential, env) } else { None };
    if cloud == Cloud::Google && project.as_deref().is_none_or(|project| check_project(project).is_err()) {
        return Err(format!("`{variable}` is set, but `GOOGLE_CLOUD_PROJECT` is not"));
    }
    let mut provider = ProviderConfig::of_preset(preset.kind, preset, Some(base_url), vec![credential]);
    (provider.region, provider.project) = (region, project);
    Ok(Some((variable, provider)))
}
