//! `[providers.NAME]`: upstream accounts.

use std::collections::BTreeMap;
use std::fmt;

use ai_gateway_providers::Dialect;
use ai_gateway_providers::auth::AuthScheme;
use ai_gateway_providers::preset::{self, PLANNED, PRESETS, Preset, Quirks, UpstreamRequest};
use http::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::Context;
use super::base_url;
use super::certificates::{self, CaConfig};
use super::secret::{self, Secret};
use super::tree::{At, instead};
use super::units::SecretText;

/// `[providers.NAME]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Which vendor: decides the base URL, the API, the credential's header and what is peculiar.
    #[schemars(extend("enum" = kinds()))]
    pub kind: At<String>,
    /// What the vendor's SDK calls its base URL: ends in `/v1` (or the vendor's equivalent) for OpenAI-like providers; the
    /// bare origin for Anthropic, Gemini and Azure. Default: the vendor's.
    pub base_url: Option<At<String>>,
    /// The credential. Default: the vendor's usual environment variable, unless `base_url` is written.
    pub api_key: Option<At<SecretText>>,
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
    /// PEM file with certificates to trust for this provider instead of the system's.
    pub ca: Option<At<String>>,
    /// Speak HTTP/2 when the server agrees to it. Default: `true` with https. With http, `true` speaks it unasked.
    pub http2: Option<bool>,
    /// What is peculiar about this server.
    pub quirks: Option<QuirksText>,
    /// `bedrock`, `vertex`: the cloud's region.
    pub region: Option<At<String>>,
    /// `vertex`: the Google Cloud project.
    pub project: Option<At<String>>,
    /// `vertex`: the service account's JSON. Default: the machine's own account.
    pub credentials: Option<At<SecretText>>,
    /// `vertex`: an access token instead of credentials.
    pub access_token: Option<At<SecretText>>,
    /// `bedrock`: a static key's id. Default: the AWS default chain.
    pub access_key_id: Option<At<SecretText>>,
    /// `bedrock`: a static key's secret.
    pub secret_access_key: Option<At<SecretText>>,
    /// `bedrock`: a temporary key's token.
    pub session_token: Option<At<SecretText>>,
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

/// Dialects that the gateway speaks to providers today; the others are refused as not supported yet.
const DIALECTS: [Dialect; 3] = [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Anthropic];

fn kinds() -> Vec<&'static str> {
    let planned = PLANNED.iter().map(|planned| planned.kind);
    PRESETS.iter().map(|preset| preset.kind).chain(planned).collect()
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
    /// The header with its credential, marked sensitive.
    pub auth: Option<(HeaderName, HeaderValue)>,
    /// Headers added to every request, marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Certificates to trust instead of the system's.
    pub ca: Option<CaConfig>,
    /// Whether to offer h2 by ALPN (https) or to speak it unasked (http).
    pub http2: bool,
    /// What is peculiar about it.
    pub quirks: Quirks,
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
            .field("auth", &self.auth.as_ref().map(|(name, _)| name))
            .field("headers", &header_names)
            .field("ca", &self.ca.as_ref().map(|ca| &ca.path))
            .field("http2", &self.http2)
            .field("quirks", &self.quirks)
            .finish()
    }
}

impl ProviderConfig {
    /// The account that a kind's defaults describe, at `base_url` with the credential `auth`.
    pub(super) fn of_preset(
        name: &str,
        preset: &'static Preset,
        base_url: Option<Url>,
        auth: Option<(HeaderName, HeaderValue)>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            preset,
            http2: base_url.as_ref().is_some_and(|url| url.scheme() == "https"),
            base_url,
            api_version: None,
            dialects: preset.dialects.iter().map(|(dialect, _)| *dialect).collect(),
            auth,
            headers: Vec::new(),
            ca: None,
            quirks: preset.quirks,
        }
    }

    /// Whether it is spoken to in `dialect`.
    pub fn speaks(&self, dialect: Dialect) -> bool {
        self.dialects.contains(&dialect)
    }

    /// Path and query of an upstream request (see [`preset::upstream_path`]).
    pub fn path(&self, request: &UpstreamRequest<'_>) -> String {
        let base = self.base_url.as_ref().map_or("/v1", |url| url.path());
        preset::upstream_path(self.preset, base, self.api_version.as_deref(), request)
    }
}

impl Provider {
    /// `None` when it is so wrong that nothing can be said about it.
    pub(super) fn resolve(self, name: &At<String>, cx: &mut Context<'_>) -> Option<ProviderConfig> {
        let preset = find_kind(&self.kind, cx)?;
        let base_url = match &self.base_url {
            Some(text) => own_base_url(text, cx)?,
            None => default_base_url(preset, name, cx)?,
        };
        let auth = self.credential(name, preset, base_url.as_ref(), cx);
        let mut resolved = ProviderConfig::of_preset(&name.value, preset, base_url, auth);
        resolved.api_version = self.api_version.and_then(|text| api_version(text, preset, cx));
        if let Some(written) = self.dialects {
            resolved.dialects = dialects(written, cx);
        }
        let credential = resolved.auth.as_ref().map(|(name, _)| name.clone());
        resolved.headers = headers(self.headers.unwrap_or_default(), credential.as_ref(), cx);
        resolved.ca = self.ca.and_then(|path| certificates::authorities(&path, cx));
        resolved.http2 = self.http2.unwrap_or(resolved.http2);
        if let Some(accepted) = self.quirks.and_then(|quirks| quirks.stream_options) {
            resolved.quirks.no_stream_options = !accepted;
        }
        Some(resolved)
    }

    fn credential(
        &self,
        name: &At<String>,
        preset: &'static Preset,
        base_url: Option<&Url>,
        cx: &mut Context<'_>,
    ) -> Option<(HeaderName, HeaderValue)> {
        let written = self.auth.as_ref().map(|text| cx.parse(text, |text| text.parse().map_err(|e| format!("{e}"))));
        let scheme: AuthScheme = match written {
            Some(scheme) => scheme?,
            None => own_scheme(preset),
        };
        let (span, secret) = match &self.api_key {
            Some(text) if scheme == AuthScheme::None => {
                cx.report.warn(text.span.clone(), "`auth = \"none\"` sends no credential: this key is not used", None);
                return None;
            }
            Some(text) => (text.span.clone(), cx.secret(text)?),
            None if scheme == AuthScheme::None => return None,
            // A key from the environment is the vendor's: it goes to no other address than the vendor's own.
            None if self.base_url.is_some() => {
                if preset.needs_key {
                    let message =
                        format!("[providers.{}] has no `api_key`: its requests carry no credential", name.value);
                    cx.report.warn(name.span.clone(), message, "write `auth = \"none\"` if that is meant");
                }
                return None;
            }
            None => match preset.key_env.iter().find_map(|variable| cx.env.var(variable)) {
                Some(value) => (name.span.clone(), Secret::new(value)),
                None if !preset.needs_key => return None,
                None => {
                    let variables = preset.key_env.join("` or `");
                    cx.report.error(
                        name.span.clone(),
                        format!("[providers.{}] has no `api_key`, and `{variables}` is not set", name.value),
                        "write `api_key = \"env:NAME\"`, `\"file:PATH\"` or `\"credential:NAME\"`",
                    );
                    return None;
                }
            },
        };
        if let Some(url) = base_url.filter(|url| url.scheme() == "http" && !base_url::is_local(url)) {
            let host = url.host_str().unwrap_or_default();
            cx.report.warn(span.clone(), format!("the key is sent to `{host}` unencrypted"), "use https in `base_url`");
        }
        match scheme.header(secret.expose()) {
            Ok(header) => header,
            Err(error) => {
                cx.report.error(span, format!("the key of [providers.{}] cannot be used: {error}", name.value), None);
                None
            }
        }
    }
}

/// The preset's scheme as an account holds it.
pub(super) fn own_scheme(preset: &Preset) -> AuthScheme {
    match preset.auth {
        AuthScheme::Bearer => AuthScheme::Bearer,
        AuthScheme::Header(name) => AuthScheme::Header(HeaderName::from_static(name)),
        AuthScheme::None => AuthScheme::None,
    }
}

fn find_kind(kind: &At<String>, cx: &mut Context<'_>) -> Option<&'static Preset> {
    let preset = Preset::find(&kind.value);
    if preset.is_some() {
        return preset;
    }
    if PLANNED.iter().any(|planned| planned.kind == kind.value) {
        let message = format!("providers of kind `{}` are not supported yet", kind.value);
        cx.report.error(kind.span.clone(), message, "remove this provider, or wait for a later version");
    } else {
        let kinds: Vec<&str> = PRESETS.iter().map(|preset| preset.kind).collect();
        let help = instead(&kind.value, &kinds);
        cx.report.error(kind.span.clone(), format!("there is no kind `{}`", kind.value), help);
    }
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

fn default_base_url(preset: &'static Preset, name: &At<String>, cx: &mut Context<'_>) -> Option<Option<Url>> {
    if preset.kind == "mock" {
        return Some(None);
    }
    match base_url::usual(preset, cx.env) {
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
    let mut resolved = Vec::with_capacity(written.value.len());
    for text in written.value {
        match text.value.parse::<Dialect>() {
            Ok(dialect) if !DIALECTS.contains(&dialect) => {
                cx.report.error(text.span, format!("the dialect `{dialect}` is not supported yet"), None);
            }
            Ok(dialect) if resolved.contains(&dialect) => {
                cx.report.error(text.span, format!("`{dialect}` is listed twice"), None);
            }
            Ok(dialect) => resolved.push(dialect),
            Err(_) => {
                let help = instead(&text.value, &DIALECTS.map(Dialect::as_str));
                cx.report.error(text.span, format!("there is no dialect `{}`", text.value), help);
            }
        }
    }
    resolved
}

/// Headers that the gateway itself writes, or that belong to one connection.
const OWN_HEADERS: &[&str] = &[
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

fn headers(
    written: BTreeMap<String, At<SecretText>>,
    credential: Option<&HeaderName>,
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
        if credential == Some(&header) {
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
