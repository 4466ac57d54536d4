//! What a provider is convinced with: a key, or the credentials of a cloud.

use std::fmt;
use std::ops::Range;

use ai_gateway_providers::auth::AuthScheme;
use ai_gateway_providers::preset::{Cloud, Preset};
use ai_gateway_providers::{Dialect, Own};
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use url::Url;

use super::environment::Environment;
use super::google::{self, GoogleConfig};
use super::providers::Provider;
use super::secret::Secret;
use super::tree::At;
use super::units::SecretText;
use super::{Context, base_url};

/// What a provider is convinced with.
#[derive(Clone, PartialEq, Hash, Default)]
pub enum CredentialConfig {
    /// Nothing.
    #[default]
    None,
    /// A key.
    Key(KeyHeaders),
    /// AWS signatures.
    Aws {
        /// The region whose service is asked.
        region: String,
        /// The keys; `None`: the default chain's.
        keys: Option<AwsKeys>,
    },
    /// Google access tokens.
    Google(GoogleConfig),
    /// Azure access tokens.
    Entra(EntraConfig),
}

/// A key, as the headers that carry it; marked sensitive.
#[derive(Clone, PartialEq, Hash)]
pub struct KeyHeaders {
    usual: (HeaderName, HeaderValue),
    others: Vec<(Dialect, (HeaderName, HeaderValue))>,
}

impl KeyHeaders {
    /// The header in requests of `dialect`.
    pub fn of(&self, dialect: Dialect) -> &(HeaderName, HeaderValue) {
        self.others.iter().find(|(other, _)| *other == dialect).map_or(&self.usual, |(_, header)| header)
    }

    /// `secret` where `preset` wants it, and those of `dialects` that say so themselves. `None`: nowhere.
    pub(super) fn of_preset(
        preset: &Preset,
        dialects: impl Iterator<Item = Own>,
        secret: &str,
    ) -> Result<Option<Self>, ai_gateway_providers::auth::AuthError> {
        let Some(usual) = preset.auth.header(secret)? else { return Ok(None) };
        let mut others = Vec::with_capacity(preset.auth_of.len());
        let own = dialects.filter_map(|own| Some((Dialect::Own(own), own.dialect().auth()?)));
        for (dialect, scheme) in preset.auth_of.iter().copied().chain(own) {
            others.extend(scheme.header(secret)?.map(|header| (dialect, header)));
        }
        Ok(Some(Self { usual, others }))
    }
}

/// A static AWS key.
#[derive(Debug, Clone, PartialEq, Hash)]
pub struct AwsKeys {
    /// Its id, of visible ASCII characters.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Secret,
    /// Of a temporary key; marked sensitive.
    pub session_token: Option<HeaderValue>,
}

/// An application in Azure Entra ID.
#[derive(Debug, Clone, PartialEq, Hash)]
pub struct EntraConfig {
    /// Where tokens are asked for: the origin of Entra in this cloud.
    pub authority: Url,
    /// The directory: letters, digits, `-` and `.`.
    pub tenant_id: String,
    /// The application.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
}

impl CredentialConfig {
    /// The headers of a key.
    pub fn key(&self) -> Option<&KeyHeaders> {
        match self {
            Self::Key(headers) => Some(headers),
            Self::None | Self::Aws { .. } | Self::Google(_) | Self::Entra(_) => None,
        }
    }

    /// The headers that it writes, which nobody else may.
    pub(super) fn header_names(&self) -> Vec<HeaderName> {
        match self {
            Self::None => Vec::new(),
            Self::Key(headers) => {
                let others = headers.others.iter().map(|(_, (name, _))| name.clone());
                std::iter::once(headers.usual.0.clone()).chain(others).collect()
            }
            Self::Google(_) | Self::Entra(_) => vec![AUTHORIZATION],
            Self::Aws { .. } => {
                let own = ["x-amz-date", "x-amz-security-token"].map(HeaderName::from_static);
                std::iter::once(AUTHORIZATION).chain(own).collect()
            }
        }
    }
}

impl fmt::Debug for CredentialConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Key(headers) => f.debug_tuple("Key").field(&headers.usual.0).finish(),
            Self::Aws { region, keys } => {
                f.debug_struct("Aws").field("region", region).field("static", &keys.is_some()).finish()
            }
            Self::Google(google) => f.debug_tuple("Google").field(google).finish(),
            Self::Entra(entra) => f.debug_tuple("Entra").field(&entra.tenant_id).finish(),
        }
    }
}

/// What of the cloud's own credentials the file holds: the keys, and to which cloud they belong.
fn written(provider: &Provider) -> Vec<(&'static str, &Range<usize>, Cloud)> {
    fn place<T>(value: &Option<At<T>>) -> Option<&Range<usize>> {
        value.as_ref().map(|value| &value.span)
    }
    let all = [
        ("access_key_id", place(&provider.access_key_id), Cloud::Aws),
        ("secret_access_key", place(&provider.secret_access_key), Cloud::Aws),
        ("session_token", place(&provider.session_token), Cloud::Aws),
        ("credentials", place(&provider.credentials), Cloud::Google),
        ("access_token", place(&provider.access_token), Cloud::Google),
        ("tenant_id", place(&provider.tenant_id), Cloud::Azure),
        ("client_id", place(&provider.client_id), Cloud::Azure),
        ("client_secret", place(&provider.client_secret), Cloud::Azure),
    ];
    all.into_iter().filter_map(|(key, span, cloud)| Some((key, span?, cloud))).collect()
}

/// The provider's credentials, by its file or else by the environment; at least one.
pub(super) fn resolve(
    provider: &Provider,
    name: &At<String>,
    preset: &'static Preset,
    base_url: Option<&Url>,
    region: Option<&str>,
    cx: &mut Context<'_>,
) -> Vec<CredentialConfig> {
    let (own, misplaced): (Vec<_>, Vec<_>) =
        written(provider).into_iter().partition(|(.., cloud)| preset.cloud == Some(*cloud));
    for (key, span, cloud) in &misplaced {
        let message = format!("`{key}` means nothing to the kind `{}`", preset.kind);
        cx.report.error((*span).clone(), message, format!("only `{}` has it", kind_of(*cloud)));
    }
    let scheme = match &provider.auth {
        Some(text) => match cx.parse(text, |text| text.parse::<AuthScheme>().map_err(|e| format!("{e}"))) {
            Some(scheme) => Some((scheme, text.span.clone())),
            None => return vec![CredentialConfig::None],
        },
        None => None,
    };
    let Some(keys) = written_keys(provider, cx) else { return vec![CredentialConfig::None] };
    let (scheme, scheme_span) = scheme.unzip();
    let cloud = preset.cloud.filter(|_| keys.is_empty() && scheme != Some(AuthScheme::None));
    if let (None, Some((key, span, _))) = (cloud, own.first()) {
        let other = match (&provider.api_key, &provider.api_keys) {
            (Some(_), _) => "`api_key`",
            (None, Some(_)) => "`api_keys`",
            (None, None) => "`auth = \"none\"`",
        };
        cx.report.error((*span).clone(), format!("`{key}` and {other} exclude each other"), "remove one of them");
        return vec![CredentialConfig::None];
    }
    let one = match cloud {
        Some(Cloud::Aws) if !own.is_empty() => static_keys(provider, name, region, cx),
        Some(Cloud::Google) if !own.is_empty() => google_credentials(provider, cx),
        Some(Cloud::Azure) if !own.is_empty() => entra(provider, name, cx),
        // What the machine has is for the cloud itself, and for no other address.
        Some(cloud) if is_the_clouds_own(cloud, provider, base_url) && !has_key(preset, provider, cx) => {
            match of_the_machine(cloud, region, cx.env) {
                Ok(Some(credential)) => Some(credential),
                Ok(None) => Some(key(None, provider, name, preset, scheme.clone(), cx)),
                Err(message) => {
                    cx.report.error(name.span.clone(), format!("[providers.{}]: {message}", name.value), None);
                    None
                }
            }
        }
        _ => Some(key(keys.first(), provider, name, preset, scheme.clone(), cx)),
    };
    let mut credentials = vec![one.unwrap_or_default()];
    for text in keys.iter().skip(1) {
        let credential = key(Some(text), provider, name, preset, scheme.clone(), cx);
        if credential != CredentialConfig::None && credentials.contains(&credential) {
            cx.report.error(text.span.clone(), "this key stands here twice", "remove one: they would fail together");
        }
        credentials.push(credential);
    }
    let is_key = credentials.iter().all(|one| matches!(one, CredentialConfig::None | CredentialConfig::Key(_)));
    if let Some(span) = scheme_span.filter(|_| !is_key || provider.access_token.is_some()) {
        cx.report.error(span, "`auth` says where a key goes, and this provider has none", "remove it");
    }
    if credentials.iter().any(|credential| *credential != CredentialConfig::None)
        && let Some(url) = base_url.filter(|url| url.scheme() == "http" && !base_url::is_local(url))
    {
        let span = keys.first().map_or(&name.span, |text| &text.span);
        let host = url.host_str().unwrap_or_default();
        cx.report.warn(span.clone(), format!("the key is sent to `{host}` unencrypted"), "use https in `base_url`");
    }
    credentials
}

/// A request remembers by one bit each which of them it has tried.
const MOST_KEYS: usize = u64::BITS as usize;

/// The keys in the file. `None`: they cannot be told, which is reported.
fn written_keys<'a>(provider: &'a Provider, cx: &mut Context<'_>) -> Option<&'a [At<SecretText>]> {
    let (problem, help) = match (&provider.api_key, &provider.api_keys) {
        (key, None) => return Some(key.as_slice()),
        (Some(_), Some(_)) => ("`api_keys` and `api_key` exclude each other", "write all keys into `api_keys`"),
        (None, Some(keys)) if keys.value.is_empty() => {
            ("`api_keys` names none", "leave it out for the vendor's usual variable")
        }
        (None, Some(keys)) if keys.value.len() > MOST_KEYS => {
            ("`api_keys` names more than 64 keys", "make several providers of them, and a model with targets at each")
        }
        (None, Some(keys)) => return Some(&keys.value),
    };
    let span = provider.api_keys.as_ref().map_or(0..0, |keys| keys.span.clone());
    cx.report.error(span, problem, help);
    None
}

fn kind_of(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::Aws => "bedrock",
        Cloud::Google => "vertex",
        Cloud::Azure => "azure",
    }
}

fn has_key(preset: &Preset, provider: &Provider, cx: &Context<'_>) -> bool {
    provider.base_url.is_none() && preset.key_env.iter().any(|variable| cx.env.var(variable).is_some())
}

/// Whether the machine's own credentials may go there: to the cloud itself, or no farther than this machine. A signature
/// gives nothing away, so that AWS's may go everywhere.
fn is_the_clouds_own(cloud: Cloud, provider: &Provider, base_url: Option<&Url>) -> bool {
    let host = base_url.and_then(Url::host_str).unwrap_or_default();
    match cloud {
        Cloud::Aws => true,
        Cloud::Google => {
            provider.base_url.is_none() || host.ends_with(".googleapis.com") || base_url.is_some_and(base_url::is_local)
        }
        Cloud::Azure => provider.base_url.is_none(),
    }
}

/// What the usual variables and files of the machine give for `cloud`.
///
/// # Errors
/// They are there and cannot be used.
pub(super) fn of_the_machine(
    cloud: Cloud,
    region: Option<&str>,
    env: &dyn Environment,
) -> Result<Option<CredentialConfig>, String> {
    match cloud {
        Cloud::Aws => Ok(region.map(|region| CredentialConfig::Aws { region: region.to_owned(), keys: None })),
        Cloud::Google => google::of_the_machine(env).map(|google| Some(CredentialConfig::Google(google))),
        Cloud::Azure => {
            let variables = ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"].map(|name| env.var(name));
            let [Some(tenant_id), Some(client_id), Some(client_secret)] = variables else { return Ok(None) };
            check_tenant(&tenant_id)?;
            let client_secret = Secret::new(client_secret);
            let authority = authority(env)?;
            Ok(Some(CredentialConfig::Entra(EntraConfig { authority, tenant_id, client_id, client_secret })))
        }
    }
}

/// Where Entra is: <https://learn.microsoft.com/en-us/entra/identity-platform/authentication-national-cloud>.
fn authority(env: &dyn Environment) -> Result<Url, String> {
    let text = env.var("AZURE_AUTHORITY_HOST").unwrap_or_else(|| "https://login.microsoftonline.com".to_owned());
    let text = if text.contains("://") { text } else { format!("https://{text}") };
    base_url::parse(&text)
        .and_then(|url| token_url(&url).map(|()| url))
        .map_err(|error| format!("`AZURE_AUTHORITY_HOST` cannot be used: {error}"))
}

/// Secrets go there.
pub(super) fn token_url(url: &Url) -> Result<(), String> {
    if url.scheme() == "http" && !base_url::is_local(url) {
        return Err("it is asked for tokens, and must be https".to_owned());
    }
    Ok(())
}

fn check_tenant(tenant: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if tenant.starts_with('.') || tenant.is_empty() || !tenant.bytes().all(plain) {
        return Err("a tenant is the id of a directory, or its domain name".to_owned());
    }
    Ok(())
}

/// The value of a key that must stand beside others.
fn needed<'a, T>(
    value: &'a Option<At<T>>,
    key: &str,
    beside: &str,
    name: &At<String>,
    cx: &mut Context<'_>,
) -> Option<&'a At<T>> {
    if value.is_none() {
        let message = format!("[providers.{}] has no `{key}`", name.value);
        cx.report.error(name.span.clone(), message, format!("it belongs to `{beside}`"));
    }
    value.as_ref()
}

fn static_keys(
    provider: &Provider,
    name: &At<String>,
    region: Option<&str>,
    cx: &mut Context<'_>,
) -> Option<CredentialConfig> {
    let id = needed(&provider.access_key_id, "access_key_id", "secret_access_key", name, cx);
    let secret = needed(&provider.secret_access_key, "secret_access_key", "access_key_id", name, cx);
    let (id, secret) = (id?, secret?);
    let (id_span, id, secret_access_key) = (id.span.clone(), cx.secret(id), cx.secret(secret));
    let session_token = match &provider.session_token {
        None => None,
        Some(text) => Some(token_header(text, "", cx)?),
    };
    let (id, secret_access_key) = (id?, secret_access_key?);
    let access_key_id = id.expose().trim().to_owned();
    if access_key_id.is_empty() || !access_key_id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        cx.report.error(id_span, "the id of an AWS key is letters and digits", None);
        return None;
    }
    let secret_access_key = Secret::new(secret_access_key.expose().trim());
    let keys = Some(AwsKeys { access_key_id, secret_access_key, session_token });
    Some(CredentialConfig::Aws { region: region?.to_owned(), keys })
}

fn token_header(text: &At<SecretText>, scheme: &str, cx: &mut Context<'_>) -> Option<HeaderValue> {
    let secret = cx.secret(text)?;
    match HeaderValue::from_str(&format!("{scheme}{}", secret.expose().trim())) {
        Ok(mut value) => {
            value.set_sensitive(true);
            Some(value)
        }
        Err(_) => {
            cx.report.error(text.span.clone(), "the token holds a character that no HTTP header can carry", None);
            None
        }
    }
}

fn google_credentials(provider: &Provider, cx: &mut Context<'_>) -> Option<CredentialConfig> {
    match (&provider.credentials, &provider.access_token) {
        (Some(_), Some(token)) => {
            let message = "`access_token` and `credentials` exclude each other";
            cx.report.error(token.span.clone(), message, "remove one of them");
            None
        }
        (Some(text), None) => {
            let json = cx.secret(text)?;
            match google::parse(json.expose()) {
                Ok(google) => Some(CredentialConfig::Google(google)),
                Err(message) => {
                    cx.report.error(text.span.clone(), message, "give the JSON file of a service account's key");
                    None
                }
            }
        }
        (None, token) => {
            let usual = (AUTHORIZATION, token_header(token.as_ref()?, "Bearer ", cx)?);
            Some(CredentialConfig::Key(KeyHeaders { usual, others: Vec::new() }))
        }
    }
}

fn entra(provider: &Provider, name: &At<String>, cx: &mut Context<'_>) -> Option<CredentialConfig> {
    let beside = "tenant_id`, `client_id` and `client_secret";
    let tenant = needed(&provider.tenant_id, "tenant_id", beside, name, cx);
    let client = needed(&provider.client_id, "client_id", beside, name, cx);
    let secret = needed(&provider.client_secret, "client_secret", beside, name, cx);
    let (tenant, client, secret) = (tenant?, client?, secret?);
    cx.parse(tenant, |tenant| check_tenant(tenant))?;
    let client_secret = cx.secret(secret)?;
    match authority(cx.env) {
        Ok(authority) => Some(CredentialConfig::Entra(EntraConfig {
            authority,
            tenant_id: tenant.value.clone(),
            client_id: client.value.clone(),
            client_secret,
        })),
        Err(message) => {
            cx.report.error(name.span.clone(), message, None);
            None
        }
    }
}

/// A key, from the file or from the vendor's usual variable.
fn key(
    written: Option<&At<SecretText>>,
    provider: &Provider,
    name: &At<String>,
    preset: &'static Preset,
    scheme: Option<AuthScheme>,
    cx: &mut Context<'_>,
) -> CredentialConfig {
    let unwanted = scheme == Some(AuthScheme::None) || (scheme.is_none() && preset.auth == AuthScheme::None);
    let (span, secret) = match written {
        Some(text) if unwanted => {
            cx.report.warn(text.span.clone(), "`auth = \"none\"` sends no credential: this key is not used", None);
            return CredentialConfig::None;
        }
        Some(text) => match cx.secret(text) {
            Some(secret) => (text.span.clone(), secret),
            None => return CredentialConfig::None,
        },
        None if unwanted => return CredentialConfig::None,
        // A key from the environment is the vendor's: it goes to no other address than the vendor's own.
        None if provider.base_url.is_some() => {
            if preset.needs_key {
                let message = format!("[providers.{}] has no `api_key`: its requests carry no credential", name.value);
                cx.report.warn(name.span.clone(), message, "write `auth = \"none\"` if that is meant");
            }
            return CredentialConfig::None;
        }
        None => match preset.key_env.iter().find_map(|variable| cx.env.var(variable)) {
            Some(value) => (name.span.clone(), Secret::new(value)),
            None if !preset.needs_key => return CredentialConfig::None,
            None => {
                let variables = preset.key_env.join("` or `");
                cx.report.error(
                    name.span.clone(),
                    format!("[providers.{}] has no `api_key`, and `{variables}` is not set", name.value),
                    "write `api_key = \"env:NAME\"`, `\"file:PATH\"` or `\"credential:NAME\"`",
                );
                return CredentialConfig::None;
            }
        },
    };
    let spoken = |own: &Own| {
        let named = provider.dialects.as_ref().map(|names| &*names.value).unwrap_or_default();
        named.iter().any(|name| name.value == own.name())
    };
    let headers = match scheme {
        None => KeyHeaders::of_preset(preset, cx.dialects.iter().copied().filter(spoken), secret.expose()),
        Some(scheme) => {
            scheme.header(secret.expose()).map(|header| header.map(|usual| KeyHeaders { usual, others: Vec::new() }))
        }
    };
    match headers {
        Ok(headers) => headers.map_or(CredentialConfig::None, CredentialConfig::Key),
        Err(error) => {
            cx.report.error(span, format!("the key of [providers.{}] cannot be used: {error}", name.value), None);
            CredentialConfig::None
        }
    }
}
