//! Where a provider is: what a base URL may be, and where it comes from when the file does not say.

use std::net::IpAddr;

use ai_gateway_providers::preset::{Account, AddressEnv, PRESETS, Preset, UpstreamRequest, upstream_path};
use ai_gateway_providers::{Dialect, Operation};
use url::{Host, Url};

use super::environment::Environment;

/// What is wrong with a URL as a base URL, and what would be right.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    if !text.contains("://") {
        return Err("the URL does not begin with https:// or http://".into());
    }
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::EmptyHost => "the URL has no host".to_owned(),
        error => format!("this is not a URL: {error}"),
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{}` is not a scheme for a provider: use https or http", url.scheme()));
    }
    // `https:///v1` and `https:/v1` would be read as the host `v1`.
    let after_scheme = text.trim_start().get(url.scheme().len()..).unwrap_or_default();
    if !after_scheme.starts_with("://") || after_scheme.starts_with(":///") {
        return Err("the URL has no host".into());
    }
    if url.port() == Some(0) {
        return Err("port 0 cannot be connected to".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a base URL holds no user and no password: use `api_key` or `headers`".into());
    }
    if url.query().is_some() {
        return Err("a base URL has no query (Azure's is `api_version`)".into());
    }
    if url.fragment().is_some() {
        return Err("a base URL has no fragment".into());
    }
    Ok(url)
}

/// Paths that clients ask for below a base URL, and that are pasted with it.
const ENDPOINTS: [&str; 5] = ["/chat/completions", "/completions", "/responses", "/embeddings", "/v1/messages"];

/// What is very likely meant where `url` is written for an account of this kind, spoken to in `dialects`; `api_version` is
/// Azure's.
pub(super) fn meant(url: &Url, preset: &Preset, dialects: &[Dialect], api_version: Option<&str>) -> Option<Url> {
    if preset.kind == "mock" {
        return None;
    }
    let path = url.path().trim_end_matches('/');
    let without = ENDPOINTS.iter().find_map(|endpoint| path.strip_suffix(endpoint).map(|base| (base, *endpoint)));
    let base = match without {
        Some((base, "/v1/messages")) => format!("{base}/v1"),
        Some((base, _)) => base.to_owned(),
        None => path.to_owned(),
    };
    let base = match base.as_str() {
        "" => usual_path(url, preset, dialects),
        _ if openai_is_below(preset, dialects) => base,
        base => without_head(base, preset, dialects, api_version).to_owned(),
    };
    if base == path {
        return None;
    }
    let mut meant = url.clone();
    meant.set_path(&base);
    Some(meant)
}

/// Whether OpenAI's paths are right below the base URL, which then ends in `/v1` or the like.
fn openai_is_below(preset: &Preset, dialects: &[Dialect]) -> bool {
    let of_openai = |dialect: &Dialect| matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses);
    dialects.iter().any(|dialect| of_openai(dialect) && preset.dialects.contains(&(*dialect, "")))
}

/// `base` without the end that the API's own paths begin with, if one of them would hold it twice.
fn without_head<'a>(base: &'a str, preset: &Preset, dialects: &[Dialect], api_version: Option<&str>) -> &'a str {
    // It may be a deployment of Azure's.
    let model = base.rsplit('/').next().unwrap_or_default();
    let paths = |base_path: &str, api_version: Option<&str>| -> Vec<Option<String>> {
        let account = Account { base_path, api_version, ..Account::default() };
        let asked = dialects.iter().flat_map(|dialect| [(*dialect, Operation::Chat), (*dialect, Operation::Models)]);
        let path = |(dialect, operation)| {
            let request = UpstreamRequest { dialect, operation, suffix: None, model, stream: false, query: None };
            upstream_path(preset, &account, &request)
        };
        asked.map(path).collect()
    };
    let own: Vec<String> =
        [api_version, Some(DATED)].iter().flat_map(|version| paths("", *version)).flatten().collect();
    let is_head = |head: &str| own.iter().any(|path| path.strip_prefix(head).is_some_and(|rest| rest.starts_with('/')));
    let bases = base.match_indices('/').map(|(at, _)| base.split_at(at));
    let meant = bases.filter(|(_, head)| is_head(head)).map(|(base, _)| base).next();
    meant.filter(|meant| paths(meant, api_version) != paths(base, api_version)).unwrap_or(base)
}

/// Any version of Azure's API that has deployments in its paths.
const DATED: &str = "2024-10-21";

/// The path of a base URL that is written as a bare origin: none where that is right.
fn usual_path(url: &Url, preset: &Preset, dialects: &[Dialect]) -> String {
    if !openai_is_below(preset, dialects) {
        return String::new();
    }
    let vendor = |preset: &Preset| preset.base_url.and_then(|own| Url::parse(own).ok());
    let at_vendor = || PRESETS.iter().filter_map(vendor).find(|own| own.origin() == url.origin());
    let usual = vendor(preset).or_else(at_vendor);
    usual.map_or_else(|| "/v1".to_owned(), |usual| usual.path().trim_end_matches('/').to_owned())
}

/// Where an account of this kind usually is, by the environment or else by the table and the region.
///
/// # Errors
/// The variable holds no usable address.
pub(super) fn usual(preset: &Preset, region: Option<&str>, env: &dyn Environment) -> Result<Option<Url>, String> {
    let own = preset.base_url_in(region).and_then(|url| Url::parse(&url).ok());
    let Some(variable) = preset.address_env else { return Ok(own) };
    let Some(value) = env.var(variable.name()) else { return Ok(own) };
    let text = match variable {
        AddressEnv::Url(_) => value.trim().to_owned(),
        AddressEnv::Host(_) if value.contains("://") => value.trim().to_owned(),
        AddressEnv::Host(_) => format!("http://{}", value.trim()),
    };
    let mut url = parse(&text).map_err(|error| format!("`{}` cannot be used: {error}", variable.name()))?;
    if let (AddressEnv::Host(_), Some(own)) = (variable, own) {
        if url.port().is_none() && !value.contains("://") {
            // Both URLs are of a scheme with ports: this cannot fail.
            let _ = url.set_port(own.port());
        }
        if url.path() == "/" {
            url.set_path(own.path());
        }
    }
    Ok(Some(url))
}

/// Whether nothing that is sent there leaves this machine.
pub(super) fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}
