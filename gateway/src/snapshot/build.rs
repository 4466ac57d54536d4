//! From a validated configuration to a [`Snapshot`].

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ai_gateway_providers::common::ProviderTag;
use http::{HeaderName, HeaderValue};
use pingora_core::protocols::tls::CaType;
use pingora_core::utils::tls::{WrappedX509, parse_x509};
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use super::{BodyLimits, Chain, KeyRing, Model, Provider, Snapshot, Target};
use crate::cache::key::CachedModel;
use crate::config::{Config, ModelConfig, ProviderConfig, TargetConfig};
use crate::credentials::{CredentialError, Credentials};
use crate::health::Health;
use crate::limits::Limits;
use crate::routing::rules::RuleSet;
use crate::telemetry::Plugins;

/// `provider/model` names that are kept as built.
const DIRECT_MODELS: usize = 1024;

/// A configuration that passed its checks and still cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A base URL without a host that can be connected to.
    #[error("provider `{0}` has no usable address")]
    Address(String),
    /// A credential that cannot be used.
    #[error("provider `{0}`: {1}")]
    Credentials(String, CredentialError),
    /// A target whose provider does not exist.
    #[error("model `{model}` names the provider `{provider}`, which does not exist")]
    Provider {
        /// The model.
        model: String,
        /// What it names.
        provider: String,
    },
    /// A rule that refers to what does not exist.
    #[error("route `{route}` refers to `{name}`, which does not exist")]
    Route {
        /// The rule.
        route: String,
        /// What it names.
        name: String,
    },
    /// A log cannot go where it should: the access log, or that of a plugin.
    #[error("{0}")]
    Log(std::io::Error),
}

impl Snapshot {
    /// Builds everything that answering needs. `mock` is where the mock provider of this process listens; `health` is the
    /// state that targets have had so far, `limits` what was counted, and by which clock. What the configuration says of breakers and limits is in
    /// force at once.
    ///
    /// # Errors
    /// [`BuildError`], for what the checks of the configuration should have refused; nothing has changed then.
    pub fn build(
        config: &Config,
        mock: Option<SocketAddr>,
        health: &Arc<Health>,
        limits: &Arc<Limits>,
    ) -> Result<Self, BuildError> {
        let providers = config
            .providers
            .iter()
            .map(|(name, provider)| Ok((name.clone(), Arc::new(build_provider(provider, mock)?))))
            .collect::<Result<HashMap<_, _>, BuildError>>()?;
        limits.know_targets(config);
        let models = config
            .models
            .iter()
            .map(|(name, model)| Ok((name.clone(), Arc::new(build_model(model, false, &providers, health, limits)?))))
            .collect::<Result<HashMap<_, _>, BuildError>>()?;
        let mut snapshot = Self {
            body_limits: BodyLimits { max_body: config.server.max_body, max_buffered: config.server.max_buffered },
            dialects: config.dialects.clone(),
            providers,
            models,
            keys: KeyRing::new(&config.keys),
            admin_key: config.server.admin_key.as_ref().map(|key| Sha256::digest(key.expose()).into()),
            rules: RuleSet::default(),
            direct: Cache::new(DIRECT_MODELS),
            prices: config.prices.clone(),
            time: limits.time().clone(),
            health: health.clone(),
            limits: limits.clone(),
            plugins: Chain::new(&config.plugins, &Plugins::default()),
            telemetry: config.telemetry.clone(),
        };
        let own = |model: &ModelConfig| build_model(model, false, &snapshot.providers, health, limits);
        snapshot.rules = RuleSet::build(&config.routes, |name| snapshot.model(name), own)?;
        // Nothing fails any more: a configuration that cannot be built has changed nothing.
        for (name, provider) in &config.providers {
            health.configure(name, provider.health.settings, &provider.credentials);
            health.locate(name, provider.base_url.as_ref().map_or("", url::Url::as_str));
        }
        health.keep(|name| config.providers.contains_key(name));
        limits.configure(config);
        Ok(snapshot)
    }

    /// That of a test's configuration, about which nothing is known yet.
    #[cfg(test)]
    pub fn of(config: &Config) -> Self {
        Self::build(config, None, &Arc::new(Health::new(std::time::Instant::now(), 1)), &Arc::default()).unwrap()
    }

    /// A model that has no entry of its own.
    pub(super) fn build_direct(&self, config: &ModelConfig) -> Option<Arc<Model>> {
        build_model(config, true, &self.providers, &self.health, &self.limits).ok().map(Arc::new)
    }
}

fn build_model(
    model: &ModelConfig,
    direct: bool,
    providers: &HashMap<String, Arc<Provider>>,
    health: &Health,
    limits: &Limits,
) -> Result<Model, BuildError> {
    let target = |target: &TargetConfig| {
        let provider = providers
            .get(&target.provider)
            .ok_or_else(|| BuildError::Provider { model: model.name.clone(), provider: target.provider.clone() })?;
        Ok(Arc::new(Target::new(target, provider, health, limits)))
    };
    let targets: Vec<_> = model.targets.iter().map(target).collect::<Result<_, _>>()?;
    Ok(Model {
        cache: CachedModel::new(model, &targets),
        name: model.name.as_str().into(),
        direct,
        strategy: model.strategy.clone(),
        turn: Arc::default(),
        targets,
        retry: model.retry.clone(),
        lossy: model.lossy,
        hedge: model.hedge,
        on_cut: model.on_cut,
        stages: Vec::new(),
    })
}

fn build_provider(config: &ProviderConfig, mock: Option<SocketAddr>) -> Result<Provider, BuildError> {
    let unusable = || BuildError::Address(config.name.clone());
    let (host, port, tls, base_path) = match (&config.base_url, mock) {
        (Some(url), _) => (
            url.host_str().ok_or_else(unusable)?.trim_matches(['[', ']']).to_owned(),
            url.port_or_known_default().ok_or_else(unusable)?,
            url.scheme() == "https",
            url.path().to_owned(),
        ),
        (None, Some(mock)) => (mock.ip().to_string(), mock.port(), false, "/v1".to_owned()),
        (None, None) => return Err(unusable()),
    };
    let authority = match &config.base_url {
        Some(url) => url.authority().to_owned(),
        None => format!("{host}:{port}"),
    };
    Ok(Provider {
        name: config.name.as_str().into(),
        preset: config.preset,
        dialects: config.dialects.clone(),
        authority: HeaderValue::from_str(&authority).map_err(|_| unusable())?,
        credentials: config
            .credentials
            .iter()
            .map(|credential| Credentials::new(&config.name, credential))
            .collect::<Result<_, _>>()
            .map_err(|error| BuildError::Credentials(config.name.clone(), error))?,
        headers: config.headers.clone(),
        secret_headers: config.secret_headers.clone(),
        forward: config.forward.clone(),
        default_headers: default_headers(config),
        api_version: config.api_version.clone(),
        region: config.region.clone(),
        project: config.project.clone(),
        probe: config.health.probe.clone(),
        quirks: config.quirks,
        betas: config.betas.clone(),
        tag: ProviderTag::of(&config.name),
        tls,
        http2: config.http2,
        only_http2: AtomicBool::new(false),
        ca: config.ca.as_ref().map(|ca| trust(&ca.certificates)),
        pool: pool_of(config, tls),
        host,
        port,
        base_path,
    })
}

fn default_headers(config: &ProviderConfig) -> Vec<(HeaderName, HeaderValue)> {
    let headers = config.preset.default_headers.iter();
    headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

pub(crate) fn trust(certificates: &[Vec<u8>]) -> Arc<CaType> {
    certificates.iter().map(|der| WrappedX509::new(der.clone(), parse_x509)).collect::<Vec<_>>().into()
}

/// Pingora's pool looks neither at the trusted certificates nor at the protocol: connections are shared only between
/// providers that agree in both, and never between two accounts.
fn pool_of(config: &ProviderConfig, tls: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&config.name, tls, config.http2, config.ca.as_ref().map(|ca| &ca.certificates)).hash(&mut hasher);
    hasher.finish()
}
