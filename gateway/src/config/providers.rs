//! `[providers.NAME]`: upstream accounts.

use std::collections::BTreeMap;
use std::fmt;

use ai_gateway_providers::Dialect;
use ai_gateway_providers::preset::{self, Account, Cloud, PRESETS, Preset, Quirks, UpstreamRequest};
use http::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::base_url;
use super::certificates::{self, CaConfig};
use super::credentials::{self, CredentialConfig};
use super::health::{Health, HealthConfig};
use super::secret;
use super::tree::{At, instead};
use super::units::SecretText;
use super::{CREDENTIALS, Context};

/// `[providers.NAME]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Which vendor: decides the base URL, the API, the credential's header and what is peculiar.
    #[schemars(extend("enum" = kinds()))]
    pub kind: At<String>,
    /// What the vendor's SDK calls its base URL: ends in `/v1` (or the vendor's equivalent) for OpenAI-like providers; the
    /// bare origin for Anthropic, Gemini, Vertex AI, Bedrock, Cohere and Azure. Default: the vendor's.
    pub base_url: Option<At<String>>,
    /// The credential. Default: the vendor's usual environment variable, unless `base_url` is written.
    pub api_key: Option<At<SecretText>>,
    /// Several credentials instead of one: requests are spread over them, and each fails on its own.
    #[schemars(length(min = 1))]
    pub api_keys: Option<At<Vec<At<SecretText>>>>,
    /// Azure only: a date such as `2024-10-21` chooses the API with deployments in its paths. Default: the v1 API.
    pub api_version: Option<At<String>>,
    /// The APIs it is spoken to in, the preferred one first. Default: all that the vendor documents.
    #[schemars(with = "Option<Vec<DialectName>>")]
    pub dialects: Option<At<Vec<At<String>>>>,
    /// Where the credential goes: `"bearer"`, `"none"`, or `"header:NAME"`. Default: the vendor's.
    #[schemars(regex(pattern = r"^(bearer|none|header:.+)$"))]
    pub auth: Option<At<String>>,
    /// Headers added to every request; values may be `env:`, `file:` or `credential:` references.
    pub headers: Option<BTreeMap<String, At<SecretText>>>,
    /// Headers of the client's request that go on to this provider, besides those that always do and those that the vendor is known
    /// to look for. No credentials.
    pub forward: Option<Vec<At<String>>>,
    /// PEM file with certificates to trust for this provider instead of the system's.
    pub ca: Option<At<String>>,
    /// Speak HTTP/2 when the server agrees to it. Default: `true` with https. With http, `true` speaks it unasked.
    pub http2: Option<bool>,
    /// What is peculiar about this server.
    pub quirks: Option<QuirksText>,
    /// The names in `anthropic-beta` that it takes; others are left out. Default: all; for `bedrock` and `vertex` those that are
    /// known to be taken.
    pub betas: Option<Vec<String>>,
    /// When its targets are left alone because they fail.
    pub health: Option<Health>,
    /// `bedrock`, `vertex`: the cloud's region; `vertex` also knows `global`, `us` and `eu`. Default: `AWS_REGION`,
    /// `GOOGLE_CLOUD_LOCATION`.
    pub region: Option<At<String>>,
    /// `vertex`: the Google Cloud project. Default: `GOOGLE_CLOUD_PROJECT`, or the one of the credentials.
    pub project: Option<At<String>>,
    /// `vertex`: the JSON of a service account's key. Default: `GOOGLE_APPLICATION_CREDENTIALS`, or the machine's own
    /// account.
    pub credentials: Option<At<SecretText>>,
    /// `vertex`: an access token instead of credentials; it is not renewed.
    pub access_token: Option<At<SecretText>>,
    /// `bedrock`: a static key's id. Default: the AWS default chain.
    pub access_key_id: Option<At<SecretText>>,
    /// `bedrock`: a static key's secret.
    pub secret_access_key: Option<At<SecretText>>,
    /// `bedrock`: a temporary key's token.
    pub session_token: Option<At<SecretText>>,
    /// `azure`: the Entra ID directory, instead of `api_key`.
    pub tenant_id: Option<At<String>>,
    /// `azure`: the application in that directory.
    pub client_id: Option<At<String>>,
    /// `azure`: the application's secret.
    pub client_secret: Option<At<SecretText>>,
}

/// `quirks` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuirksText {
    /// Whether it accepts `stream_options`, through which usage of a stream is asked for. Default: the vendor's.
    pub stream_options: Option<bool>,
}

/// The API families that a provider can be spoken to in.
#[derive(Debug, Clone, Copy, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "the schema's view of ai_gateway_providers::Dialect, which knows no schemas")]
enum DialectName {
    #[schemars(rename = "openai-chat")]
    OpenAiChat,
    #[schemars(rename = "openai-responses")]
    OpenAiResponses,
    Anthropic,
    Gemini,
    Bedrock,
    Cohere,
}

fn kinds() -> Vec<&'static str> {
    PRESETS.iter().map(|preset| preset.kind).collect()
}

/// A resolved upstream account.
#[derive(Clone, PartialEq)]
pub struct ProviderConfig {
    /// Its name in the configuration, in metrics and logs.
    pub name: String,
    /// The row of its kind.
    pub preset: &'static Preset,
    /// Where it is: http or https, with a host, without user, query or fragment. `None` only for a `mock` inside this process.
    pub base_url: Option<Url>,
    /// Azure's API version.
    pub api_version: Option<String>,
    /// The dialects it is spoken to in, the preferred one first; at least one.
    pub dialects: Vec<Dialect>,
    /// The cloud's region.
    pub region: Option<String>,
    /// The Google Cloud project.
    pub project: Option<String>,
    /// What it is convinced with; several are spread over and fail on their own. At least one.
    pub credentials: Vec<CredentialConfig>,
    /// Headers added to every request, marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Values of those that the file refers to as secrets.
    pub secret_headers: Vec<HeaderValue>,
    /// Headers of a client's request that mean something to it alone and go on.
    pub forward: Vec<HeaderName>,
    /// Certificates to trust instead of the system's.
    pub ca: Option<CaConfig>,
    /// Whether to offer h2 by ALPN (https) or to speak it unasked (http).
    pub http2: bool,
    /// What is peculiar about it.
    pub quirks: Quirks,
    /// The only betas of Anthropic that it takes, where that is said.
    pub betas: Option<Vec<String>>,
    /// How its health is judged.
    pub health: HealthConfig,
}

impl fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header_names: Vec<&HeaderName> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("ProviderConfig")
            .field("name", &self.name)
            .field("kind", &self.preset.kind)
            .field("base_url", &self.base_url.as_ref().map(Url::as_str))
            .field("api_version", &self.api_version)
            .field("dialects", &self.dialects)
            .field("region", &self.region)
            .field("project", &self.project)
            .field("credentials", &self.credentials)
            .field("headers", &header_names)
            .field("forward", &self.forward)
            .field("ca", &self.ca.as_ref().map(|ca| &ca.path))
            .field("http2", &self.http2)
            .field("quirks", &self.quirks)
            .field("betas", &self.betas)
            .field("health", &self.health)
            .finish()
    }
}

impl ProviderConfig {
    /// The account that a kind's defaults describe, at `base_url` with `credentials`.
    pub(super) fn of_preset(
        name: &str,
        preset: &'static Preset,
        base_url: Option<Url>,
        credentials: Vec<CredentialConfig>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            preset,
            http2: base_url.as_ref().is_some_and(|url| url.scheme() == "https"),
            base_url,
            api_version: None,
            dialects: preset.dialects.iter().map(|(dialect, _)| *dialect).collect(),
            region: None,
            project: None,
            credentials,
            headers: Vec::new(),
            secret_headers: Vec::new(),
            forward: preset.forward.iter().map(|name| HeaderName::from_static(name)).collect(),
            ca: None,
            quirks: preset.quirks,
            betas: None,
            health: HealthConfig::default(),
        }
    }

    /// Whether it is spoken to in `dialect`.
    pub fn speaks(&self, dialect: Dialect) -> bool {
        self.dialects.contains(&dialect)
    }

    /// Path and query of an upstream request (see [`preset::upstream_path`]).
    pub fn path(&self, request: &UpstreamRequest<'_>) -> Option<String> {
        let account = Account {
            base_path: self.base_url.as_ref().map_or("/v1", |url| url.path()),
            api_version: self.api_version.as_deref(),
            project: self.project.as_deref(),
            region: self.region.as_deref(),
        };
        preset::upstream_path(self.preset, &account, request)
    }
}

impl Provider {
    /// `None` when it is so wrong that nothing can be said about it.
    pub(super) fn resolve(self, name: &At<String>, cx: &mut Context<'_>) -> Option<ProviderConfig> {
        let preset = find_kind(&self.kind, cx)?;
        let written_at = self.base_url.as_ref().map(|text| text.span.clone());
        let region = region(self.region.as_ref(), name, preset, cx)?;
        let base_url = match &self.base_url {
            Some(text) => own_base_url(text, cx)?,
            None => default_base_url(preset, region.as_deref(), name, cx)?,
        };
        let credentials = credentials::resolve(&self, name, preset, base_url.as_ref(), region.as_deref(), cx);
        let mut resolved = ProviderConfig::of_preset(&name.value, preset, base_url, credentials);
        resolved.region = region;
        resolved.project = project(self.project, &resolved, name, cx);
        resolved.api_version = self.api_version.and_then(|text| api_version(text, preset, cx));
        if let Some(written) = self.dialects {
            resolved.dialects = dialects(written, cx);
            resolved.quirks.reasons_in_responses = false;
        }
        let version = resolved.api_version.as_deref();
        let meant = |url| base_url::meant(url, preset, &resolved.dialects, version);
        let meant = resolved.base_url.as_ref().and_then(meant);
        if let (Some(at), Some(meant)) = (written_at, meant) {
            let message = "the API's paths are most likely not below this base URL";
            cx.report.warn(at, message, format!("did you mean \"{meant}\"?"));
        }
        let carriers: Vec<_> = resolved.credentials.iter().flat_map(CredentialConfig::header_names).collect();
        let written = self.headers.unwrap_or_default();
        let referred: Vec<_> = written
            .iter()
            .filter(|(_, value)| !secret::is_literal(&value.value.0))
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect();
        resolved.headers = headers(written, &carriers, cx);
        let secret = resolved.headers.iter().filter(|(name, _)| referred.iter().any(|other| other == name.as_str()));
        resolved.secret_headers = secret.map(|(_, value)| value.clone()).collect();
        forward(self.forward.unwrap_or_default(), &carriers, &mut resolved.forward, cx);
        resolved.ca = self.ca.and_then(|path| certificates::authorities(&path, cx));
        resolved.http2 = self.http2.unwrap_or(resolved.http2);
        if let Some(accepted) = self.quirks.and_then(|quirks| quirks.stream_options) {
            resolved.quirks.no_stream_options = !accepted;
        }
        resolved.betas = self.betas;
        resolved.health = self.health.map(|health| health.resolve(cx)).unwrap_or_default();
        Some(resolved)
    }
}

fn find_kind(kind: &At<String>, cx: &mut Context<'_>) -> Option<&'static Preset> {
    let preset = Preset::find(&kind.value);
    if preset.is_some() {
        return preset;
    }
    let help = instead(&kind.value, &kinds());
    cx.report.error(kind.span.clone(), format!("there is no kind `{}`", kind.value), help);
    None
}

fn own_base_url(text: &At<String>, cx: &mut Context<'_>) -> Option<Option<Url>> {
    match base_url::parse(&text.value) {
        Ok(url) => Some(Some(url)),
        Err(message) => {
            cx.report.error(text.span.clone(), message, "as in \"https://api.openai.com/v1\"");
            None
        }
    }
}

/// Where the cloud's regions are named, by whom it is asked for.
pub(super) fn region_env(cloud: Cloud) -> &'static [&'static str] {
    match cloud {
        Cloud::Aws => &["AWS_REGION", "AWS_DEFAULT_REGION"],
        Cloud::Google => &["GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION"],
        Cloud::Azure => &[],
    }
}

/// It becomes a part of a host's name.
pub(super) fn check_region(region: &str) -> Result<(), String> {
    let plain = region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if plain && region.starts_with(|first: char| first.is_ascii_lowercase()) && !region.ends_with('-') {
        return Ok(());
    }
    Err(format!("`{region}` is not the name of a region"))
}

/// `None`: one is needed and there is none, or it is none.
fn region(
    written: Option<&At<String>>,
    name: &At<String>,
    preset: &'static Preset,
    cx: &mut Context<'_>,
) -> Option<Option<String>> {
    let Some(cloud) = preset.cloud.filter(|cloud| *cloud != Cloud::Azure) else {
        if let Some(text) = written {
            let message = format!("`region` means nothing to the kind `{}`", preset.kind);
            cx.report.error(text.span.clone(), message, "only `bedrock` and `vertex` have it");
        }
        return Some(None);
    };
    if let Some(text) = written {
        cx.parse(text, |text| check_region(text))?;
        return Some(Some(text.value.clone()));
    }
    let variables = region_env(cloud);
    let found = variables.iter().find_map(|variable| Some((variable, cx.env.var(variable)?)));
    let problem = match found {
        None => format!("no `region`, and `{}` is not set", variables.join("` or `")),
        Some((variable, region)) => match check_region(&region) {
            Ok(()) => return Some(Some(region)),
            Err(message) => format!("no `region`, and `{variable}` cannot be used: {message}"),
        },
    };
    cx.report.error(name.span.clone(), format!("[providers.{}] has {problem}", name.value), "as in \"us-east-1\"");
    None
}

/// It becomes a part of paths.
pub(super) fn check_project(project: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.');
    if project.bytes().all(plain) && project.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(format!("`{project}` is not the id of a Google Cloud project"))
}

/// The project of a Vertex account.
pub(super) fn usual_project(credential: &CredentialConfig, env: &dyn super::Environment) -> Option<String> {
    let of_credential = match credential {
        CredentialConfig::Google(google) => google.project().map(str::to_owned),
        CredentialConfig::None
        | CredentialConfig::Key(_)
        | CredentialConfig::Aws { .. }
        | CredentialConfig::Entra(_) => None,
    };
    env.var("GOOGLE_CLOUD_PROJECT").or(of_credential)
}

fn project(
    written: Option<At<String>>,
    provider: &ProviderConfig,
    name: &At<String>,
    cx: &mut Context<'_>,
) -> Option<String> {
    let preset = provider.preset;
    if preset.cloud != Some(Cloud::Google) {
        if let Some(text) = written {
            let message = format!("`project` means nothing to the kind `{}`", preset.kind);
            cx.report.error(text.span, message, "only `vertex` has it");
        }
        return None;
    }
    if let Some(text) = written {
        cx.parse(&text, |text| check_project(text))?;
        return Some(text.value);
    }
    let found = provider
        .credentials
        .iter()
        .find_map(|credential| usual_project(credential, cx.env))
        .filter(|project| check_project(project).is_ok());
    if found.is_none() {
        let message = format!("[providers.{}] has no `project`, and `GOOGLE_CLOUD_PROJECT` is not set", name.value);
        cx.report.error(name.span.clone(), message, "write the id of the Google Cloud project");
    }
    found
}

fn default_base_url(
    preset: &'static Preset,
    region: Option<&str>,
    name: &At<String>,
    cx: &mut Context<'_>,
) -> Option<Option<Url>> {
    if preset.kind == "mock" {
        return Some(None);
    }
    match base_url::usual(preset, region, cx.env) {
        Ok(Some(url)) => Some(Some(url)),
        Ok(None) => {
            let help = match preset.address_env {
                Some(variable) => format!("write it, or set `{}`", variable.name()),
                None => "write it, as in \"http://127.0.0.1:8000/v1\"".to_owned(),
            };
            let message = format!(
                "[providers.{}] has no `base_url`, and the kind `{}` has no usual one",
                name.value, preset.kind
            );
            cx.report.error(name.span.clone(), message, help);
            None
        }
        Err(message) => {
            let message = format!("[providers.{}] has no `base_url`, and {message}", name.value);
            cx.report.error(name.span.clone(), message, None);
            None
        }
    }
}

fn api_version(text: At<String>, preset: &Preset, cx: &mut Context<'_>) -> Option<String> {
    if !preset.quirks.azure_deployments {
        let message = format!("`api_version` means nothing to the kind `{}`", preset.kind);
        cx.report.error(text.span, message, "only `azure` has it");
        return None;
    }
    let plain = text.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if text.value.is_empty() || !plain {
        let help = "as in \"2024-10-21\"; leave it out for the v1 API";
        cx.report.error(text.span, format!("`{}` is not a version of the Azure API", text.value), help);
        return None;
    }
    Some(text.value)
}

fn dialects(written: At<Vec<At<String>>>, cx: &mut Context<'_>) -> Vec<Dialect> {
    if written.value.is_empty() {
        cx.report.error(written.span, "`dialects` names none", "leave it out for the vendor's own");
    }
    let known = cx.dialects();
    let mut resolved = Vec::with_capacity(written.value.len());
    for text in written.value {
        match known.iter().find(|dialect| dialect.as_str() == text.value) {
            Some(dialect) if resolved.contains(dialect) => {
                cx.report.error(text.span, format!("`{dialect}` is listed twice"), None);
            }
            Some(dialect) => resolved.push(*dialect),
            None => {
                let names: Vec<&str> = known.iter().map(|dialect| dialect.as_str()).collect();
                let help = instead(&text.value, &names);
                cx.report.error(text.span, format!("there is no dialect `{}`", text.value), help);
            }
        }
    }
    resolved
}

/// Headers that the gateway itself writes, or that belong to one connection.
pub(super) const OWN_HEADERS: &[&str] = &[
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "proxy-authorization",
    "proxy-connection",
];

/// The name of a header that is neither the gateway's own nor a credential's; else it says why not.
pub(super) fn harmless_header(name: &str, at: &At<String>, cx: &mut Context<'_>) -> Option<HeaderName> {
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
        cx.report.error(at.span.clone(), format!("`{name}` cannot be the name of a header"), None);
        return None;
    };
    let own = OWN_HEADERS.contains(&header.as_str()) || header == "accept-encoding";
    if own || CREDENTIALS.contains(&header.as_str()) || header.as_str().starts_with("x-amz-") {
        let message = format!("`{header}` carries a credential, or the gateway writes it itself");
        cx.report.error(at.span.clone(), message, "remove it; credentials belong to [providers]");
        return None;
    }
    Some(header)
}

/// `carriers`: the headers that carry this provider's own credentials.
fn forward(written: Vec<At<String>>, carriers: &[HeaderName], to: &mut Vec<HeaderName>, cx: &mut Context<'_>) {
    for name in written {
        let Some(header) = harmless_header(&name.value, &name, cx) else { continue };
        if carriers.contains(&header) {
            cx.report.error(
                name.span,
                format!("`{header}` carries the credential"),
                "clients have none of this provider's",
            );
        } else if header.as_str().starts_with("x-gateway-") {
            cx.report.error(name.span, format!("`{header}` is said to the gateway"), "remove it");
        } else if !to.contains(&header) {
            to.push(header);
        }
    }
}

pub(super) fn headers(
    written: BTreeMap<String, At<SecretText>>,
    credential: &[HeaderName],
    cx: &mut Context<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut resolved: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(written.len());
    for (name, value) in written {
        let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
            cx.report.error(value.span, format!("`{name}` cannot be the name of a header"), None);
            continue;
        };
        if OWN_HEADERS.contains(&header.as_str()) {
            cx.report.error(value.span, format!("the gateway writes `{header}` itself"), "remove it");
            continue;
        }
        if credential.contains(&header) {
            cx.report.error(
                value.span,
                format!("`{header}` carries the credential"),
                "use `api_key`, with `auth` if need be",
            );
            continue;
        }
        if resolved.iter().any(|(other, _)| *other == header) {
            cx.report.error(value.span, format!("`{header}` is written twice"), "names of headers know no case");
            continue;
        }
        let text = match secret::fetch(&value.value.0, &cx.dir, cx.env) {
            Ok(text) => text,
            Err(message) => {
                cx.report.error(value.span, message, secret::help(&value.value.0));
                continue;
            }
        };
        match HeaderValue::from_str(text.expose()) {
            Ok(mut text) => {
                text.set_sensitive(true);
                resolved.push((header, text));
            }
            Err(_) => cx.report.error(value.span, format!("the value of `{header}` holds a control character"), None),
        }
    }
    resolved
}
