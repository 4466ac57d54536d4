//! The snapshot: the validated configuration as built, immutable. An exchange pins one for its whole life, so a reload
//! never mixes two configurations in one request.

mod build;
mod model;
mod name;
mod plugins;
mod provider;
mod route;

use std::collections::HashMap;
use std::sync::Arc;

use ai_gateway_providers::Own;
use ai_gateway_providers::price::Model as Known;
use quick_cache::sync::Cache;

pub use build::BuildError;
pub(crate) use build::trust;
pub use model::{Model, Stage, Target};
pub use name::ModelName;
pub use plugins::{Chain, Entry};
pub use provider::Provider;
pub use route::{Route, Way, client_wire};

use crate::clock::Time;
use crate::config::{ModelConfig, PricesConfig, TelemetryConfig};
use crate::health::Health;
pub use crate::keys::{Key, KeyRing};
use crate::limits::Limits;
use crate::routing::rules::RuleSet;

/// How much a body may take.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// One body, as sent and as decoded.
    pub max_body: usize,
    /// All bodies together.
    pub max_buffered: usize,
}

/// Everything that answering a request needs of the configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Bounds on request bodies.
    pub body_limits: BodyLimits,
    /// Dialects of the program that embeds the gateway.
    pub dialects: Vec<Own>,
    providers: HashMap<String, Arc<Provider>>,
    models: HashMap<String, Arc<Model>>,
    /// The clients' keys.
    pub keys: KeyRing,
    /// SHA-256 of the admin API's key.
    pub admin_key: Option<[u8; 32]>,
    /// `provider/model` names as built, the last ones asked for.
    direct: Cache<Box<str>, Arc<Model>>,
    /// What models cost, and whether those without a price are refused.
    pub prices: PricesConfig,
    /// What time it is.
    pub time: Time,
    health: Arc<Health>,
    /// What clients may use, and have used.
    pub limits: Arc<Limits>,
    /// The rules that decide where requests go.
    pub rules: RuleSet,
    /// What is done to requests and answers.
    pub plugins: Chain,
    /// Traces and metrics that are sent to a collector.
    pub telemetry: TelemetryConfig,
}

impl Snapshot {
    /// The model that clients call `name`: a `[models]` entry, or `provider/model`.
    pub fn model(&self, name: &str) -> Option<Arc<Model>> {
        if let Some(model) = self.models.get(name) {
            return Some(model.clone());
        }
        let (provider, upstream) = self.direct_name(name)?;
        if let Some(model) = self.direct.get(name) {
            return Some(model);
        }
        let known = self.prices.find(&provider.name, provider.preset, provider.region.as_deref(), upstream);
        let model = self.build_direct(&ModelConfig::direct(name, &provider.name, upstream, known))?;
        self.direct.insert(name.into(), model.clone());
        Some(model)
    }

    /// Whether clients can call a model `name`; for whom [`model`](Self::model) need not be made yet.
    pub fn has_model(&self, name: &str) -> bool {
        self.models.contains_key(name) || self.direct_name(name).is_some()
    }

    /// Where `provider` answers by its model `upstream` what `model` was asked for: a target of that model, else of another one whose price is
    /// known, else the one that `provider/upstream` names. Its price is that which
    /// [`Config::price_of`](crate::config::Config::price_of) finds later.
    pub fn target_of(&self, model: &Model, provider: &str, upstream: &str) -> Option<Arc<Target>> {
        let is_it = |target: &&Arc<Target>| *target.provider.name == *provider && *target.model == *upstream;
        let priced = |model: &Arc<Model>| {
            let target = model.targets.iter().filter(is_it).find(|target| target.known.price.is_some())?;
            Some((model.name.clone(), target.clone()))
        };
        let of_others = || self.models.values().filter_map(priced).min_by(|(one, _), (other, _)| one.cmp(other));
        let own = model.targets.iter().find(is_it).cloned();
        own.or_else(|| Some(of_others()?.1))
            .or_else(|| self.model(&format!("{provider}/{upstream}"))?.targets.first().cloned())
    }

    /// `name` in all the ways to spell it.
    pub fn name<'n>(&self, name: &'n str) -> ModelName<'n> {
        let at = || {
            let (provider, model) = name.split_once('/').filter(|_| !self.models.contains_key(name))?;
            Some(ModelName::at(self.providers.get(provider)?, model, name))
        };
        at().unwrap_or_else(|| name.into())
    }

    /// The two parts of `provider/model`.
    fn direct_name<'n>(&self, name: &'n str) -> Option<(&Arc<Provider>, &'n str)> {
        let (provider, upstream) = name.split_once('/')?;
        // It may become a part of a path, from which it must not climb.
        let plain = upstream.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
        let provider = self.providers.get(provider).filter(|_| plain)?;
        ModelName::may_be(provider, upstream).then_some((provider, upstream))
    }

    /// Names the prices in force, for records.
    pub fn price_map(&self) -> &str {
        self.prices.map.id()
    }

    /// The names under `[models]`, sorted.
    pub fn model_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.models.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The provider called `name`.
    pub fn provider(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.get(name)
    }

    /// `provider` as the only target, for requests that name no model.
    pub fn any_model_of(&self, provider: &Provider) -> Option<Arc<Model>> {
        self.build_direct(&ModelConfig::direct(&provider.name, &provider.name, "", Known::default()))
    }

    /// The providers, sorted by name.
    pub fn providers(&self) -> Vec<&Arc<Provider>> {
        let mut providers: Vec<_> = self.providers.values().collect();
        providers.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        providers
    }
}
