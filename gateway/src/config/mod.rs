//! The configuration: one TOML file, one module per section of it.
//!
//! The text becomes a tree with positions (`tree`), each section gives its part a type and checks it, and what comes out
//! is [`Config`]: plain values with every default and every secret filled in. All problems of a file are reported together,
//! each with its line and what would be right ([`Problem`]).

mod access_log;
mod attempts;
mod base_url;
mod cache;
mod certificates;
mod check;
mod credentials;
mod discover;
mod elsewhere;
mod environment;
mod google;
mod health;
mod hedge;
mod jwt;
mod keys;
mod ledger;
mod limits;
mod models;
mod peek;
mod plugins;
mod prices;
mod providers;
mod report;
mod routes;
mod schema;
mod secret;
mod sections;
mod semantic;
mod server;
mod store;
mod strategy;
mod targets;
mod telemetry;
mod tree;
mod units;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ai_gateway_plugins::Registry;
use ai_gateway_providers::price::{Cost, Model, Price};
use ai_gateway_providers::{Dialect, Own};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::clock::Time;
use crate::ledger::Record;

pub use access_log::{AccessLogConfig, LogTo};
pub(crate) use ai_gateway_plugins::internal::CREDENTIALS;
pub use attempts::{RetryConfig, RetryOn, TimeoutsConfig};
pub use cache::{CacheConfig, DiskConfig, ModelCacheConfig, OwnTiers};
pub use certificates::{CaConfig, Certified, TlsConfig};
pub use check::{Verdict, check};
pub use credentials::{AwsKeys, CredentialConfig, EntraConfig, KeyHeaders};
pub use discover::{Discovery, Found};
pub use environment::{Environment, System};
pub use google::{GoogleConfig, GoogleUser, ServiceAccount};
pub use health::{HealthConfig, ProbeConfig};
pub use hedge::{HedgeAfter, HedgeConfig};
pub use jwt::{ClaimNames, IssuerConfig, JwksConfig, TemplateConfig};
pub use keys::{CacheScope, KEY_NAME, KeyConfig, ModelPattern, OnAbort, Right, is_key_name};
pub use ledger::LedgerConfig;
pub use limits::{LimitsConfig, Reserve, UNKNOWN_OUTPUT};
pub(crate) use limits::{budget_rule, concurrent_rule, dollars_and_soft, rate_rule};
pub use models::{Lossy, ModelConfig, OnCut};
pub use peek::AdminAddress;
pub use plugins::{OnError, PluginConfig};
pub use prices::PricesConfig;
pub use providers::ProviderConfig;
pub use report::{ConfigErrors, Place, Problem, Severity, Warning};
pub use routes::{Condition, HeaderEdits, MirrorConfig, Patterns, RouteConfig, RouteTo, SideConfig, SplitBy};
pub use schema::{schema, schema_json};
pub use secret::Secret;
pub use semantic::SemanticConfig;
pub use server::ServerConfig;
pub use store::{RedisConfig, StoreConfig};
pub use strategy::{StickyBy, Strategy, StrategyConfig};
pub use targets::TargetConfig;
pub use telemetry::{
    CollectorConfig, ContentConfig, Convention, MetricsConfig, Protocol, Signal, TelemetryConfig, TracesConfig,
};
pub(crate) use tree::nearest;
pub use units::Rate;

use report::Report;
use sections::Sections;
use tree::At;
use units::{DurationText, SecretText};

/// The whole file as written. Its doc comments are the descriptions of the JSON Schema.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Configuration of ai-gateway")]
pub struct File {
    /// Where the gateway listens, and what it holds at most.
    pub server: Option<server::Server>,
    /// Upstream accounts by name. `NAME/model` can be asked for without an entry in `[models]`.
    #[serde(default)]
    pub providers: BTreeMap<String, providers::Provider>,
    /// Public names of models, and the targets behind them.
    #[serde(default)]
    pub models: BTreeMap<String, models::Model>,
    /// What models cost, where the built-in price map does not say it right.
    pub prices: Option<prices::Prices>,
    /// Rules that decide the model when the client's name should not; the first that matches wins.
    #[serde(default)]
    pub routes: Vec<routes::Route>,
    /// The clients' keys. Without any, everybody on this machine may use everything.
    #[serde(default)]
    pub keys: Vec<keys::Key>,
    /// Tokens of identity providers as the other way in.
    pub jwt: Option<jwt::Jwt>,
    /// What everybody together may use.
    pub limits: Option<limits::Global>,
    /// What the keys of a team may use together.
    #[serde(default)]
    pub teams: BTreeMap<String, limits::Team>,
    /// What the keys with a tag may spend together.
    #[serde(default)]
    pub tags: BTreeMap<String, limits::Tag>,
    /// How much is kept of answers.
    pub cache: Option<cache::Cache>,
    /// Where keys made at run time are kept, and what several instances share.
    pub store: Option<store::Store>,
    /// The durable record of usage and cost.
    pub ledger: Option<ledger::Ledger>,
    /// Traces and metrics that are sent to a collector.
    pub telemetry: Option<telemetry::Telemetry>,
    /// One line for each request.
    pub access_log: Option<access_log::AccessLog>,
    /// What is done to requests and answers on their way, in this order.
    #[serde(default)]
    pub plugins: Vec<plugins::Plugin>,
}

/// A validated configuration: plain values, every default and secret filled in.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Config {
    /// Listeners and bounds.
    pub server: ServerConfig,
    /// Dialects of the program that embeds the gateway: those that its clients may speak beside the built-in ones.
    pub dialects: Vec<Own>,
    /// Upstream accounts by name; at least one.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// What models cost.
    pub prices: PricesConfig,
    /// Models by public name. Targets name providers of this configuration.
    pub models: BTreeMap<String, ModelConfig>,
    /// Rules in the order of the file; the first that matches wins.
    pub routes: Vec<RouteConfig>,
    /// Clients' keys in the order of the file; names and hashes are unique.
    pub keys: Vec<KeyConfig>,
    /// Limits of everything, of teams and of tags.
    pub limits: LimitsConfig,
    /// Where usage is kept; `None`: nowhere.
    pub ledger: Option<LedgerConfig>,
    /// Whose tokens are accepted.
    pub issuers: Vec<IssuerConfig>,
    /// Where keys made at run time are kept, and what several instances share.
    pub store: StoreConfig,
    /// Where answers are kept, of the models that say so.
    pub cache: CacheConfig,
    /// What is done to requests and answers, in this order.
    pub plugins: Vec<PluginConfig>,
    /// Traces and metrics that are sent to a collector.
    pub telemetry: TelemetryConfig,
    /// One line for each request.
    pub access_log: AccessLogConfig,
}

impl Config {
    /// Whether a provider is the mock one of this process.
    pub fn needs_mock(&self) -> bool {
        self.providers.values().any(|provider| provider.base_url.is_none())
    }
}

/// What a configuration may name beside what the gateway itself brings along.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    /// The plugins that `[[plugins]]` may name, those that ship among them.
    pub plugins: Registry,
    /// Dialects that providers may be spoken to in, and clients may speak.
    pub dialects: Vec<Own>,
    /// What the gateway goes by.
    pub(crate) time: Time,
}

/// A configuration, and what is doubtful about it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

impl Config {
    /// Reads and checks the file at `path`. Relative paths in it start at its own folder.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
        Self::load_with(path, &System)
    }

    /// [`Config::load`] with another environment.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load_with(path: &Path, env: &dyn Environment) -> Result<Loaded, ConfigErrors> {
        Self::load_extended(path, env, &Extensions::default())
    }

    /// [`Config::load_with`] with the plugins of `extensions` and no others, and its dialects.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load_extended(path: &Path, env: &dyn Environment, extensions: &Extensions) -> Result<Loaded, ConfigErrors> {
        let name = path.display().to_string();
        let bytes =
            env.read(path).map_err(|error| ConfigErrors::single(&name, format!("cannot be read: {error}"), None))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let line =
                error.as_bytes().iter().take(error.utf8_error().valid_up_to()).filter(|byte| **byte == b'\n').count()
                    + 1;
            ConfigErrors::single(
                &name,
                format!("line {line} is not UTF-8 text"),
                Some("TOML is UTF-8: convert the file".into()),
            )
        })?;
        Self::parse_extended(&text, &name, env, extensions)
    }

    /// Checks the configuration in `text`. `name` is the file's path: it stands in messages, and relative paths in the text
    /// start at its folder.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text.
    pub fn parse(text: &str, name: &str, env: &dyn Environment) -> Result<Loaded, ConfigErrors> {
        Self::parse_extended(text, name, env, &Extensions::default())
    }

    /// [`Config::parse`] with the plugins of `extensions` and no others, and its dialects.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text.
    pub fn parse_extended(
        text: &str,
        name: &str,
        env: &dyn Environment,
        extensions: &Extensions,
    ) -> Result<Loaded, ConfigErrors> {
        let dir = Path::new(name).parent().map(Path::to_owned).unwrap_or_default();
        let Extensions { plugins, dialects, time } = extensions;
        let mut cx = Context {
            report: Report::new(name, text),
            env,
            dir,
            plugins,
            dialects,
            time,
            models_named: Vec::new(),
            asked_of_keys: Vec::new(),
            compared_models: Vec::new(),
            spending_known: None,
            budget: None,
        };
        let config = read(text, &mut cx);
        let warnings = cx.report.finish()?;
        // Without an error there is a configuration.
        Ok(Loaded { config: config.unwrap_or_default(), warnings })
    }

    /// The model that a client asks for by `name`: an entry of `[models]`, or else `provider/model`.
    pub fn model(&self, name: &str) -> Option<Cow<'_, ModelConfig>> {
        if let Some(model) = self.models.get(name) {
            return Some(Cow::Borrowed(model));
        }
        let (provider, model) = name.split_once('/')?;
        let known = self.prices.of(self.providers.get(provider)?, model);
        (!model.is_empty()).then(|| Cow::Owned(ModelConfig::direct(name, provider, model, known)))
    }

    /// All models that it describes: those of `[models]`, and those that only a route knows, its mirror's included.
    pub fn described_models(&self) -> impl Iterator<Item = &ModelConfig> {
        let of_routes = self.routes.iter().flat_map(|route| {
            let to = match &route.to {
                RouteTo::Targets(model) => Some(&**model),
                _ => None,
            };
            to.into_iter().chain(route.mirror.as_ref().map(|mirror| &mirror.model))
        });
        self.models.values().chain(of_routes)
    }

    /// The price of what a client got who asked for `model`, and `upstream` of `provider` gave: that of this target of the model,
    /// or of a model with this target whose price is known, as that which it fell back on may be; else that of the provider's
    /// model.
    pub fn price_of(&self, model: Option<&str>, provider: &str, upstream: &str) -> Option<Price> {
        let is_it = |target: &&TargetConfig| target.provider == provider && target.model == upstream;
        let named = model.and_then(|name| self.model(name));
        if let Some(target) = named.iter().flat_map(|model| &model.targets).find(is_it) {
            return target.known.price.clone();
        }
        let (same, others): (Vec<_>, Vec<_>) =
            self.described_models().partition(|described| model == Some(&*described.name));
        let targets = same.into_iter().chain(others).flat_map(|model| &model.targets);
        let known = targets.filter(is_it).find_map(|target| target.known.price.clone());
        known.or_else(|| self.prices.of(self.providers.get(provider)?, upstream).price)
    }

    /// What a record costs by that; `None`: nobody was asked, or there is no price.
    pub fn cost_of(&self, record: &Record<'_>) -> Option<Cost> {
        let (provider, upstream) = (record.provider.as_deref()?, record.upstream_model.as_deref()?);
        let price = self.price_of(record.asked_model(), provider, upstream)?;
        Some(price.cost(&record.usage, record.service_tier.as_deref()))
    }
}

/// What every section needs while it is checked.
struct Context<'a> {
    report: Report<'a>,
    env: &'a dyn Environment,
    /// Where relative paths start.
    dir: PathBuf,
    /// What `[[plugins]]` may name.
    plugins: &'a Registry,
    /// Those beside the built-in ones.
    dialects: &'a [Own],
    time: &'a Time,
    /// Models that settings name; looked at when all models are known.
    models_named: Vec<At<String>>,
    /// What rules ask of keys: their key in the file (`key`, `tag`, `team`), and the pattern; looked at when all keys are known.
    asked_of_keys: Vec<(&'static str, At<String>)>,
    /// What expressions compare the model with; looked at when all of them are read.
    compared_models: Vec<At<String>>,
    /// How long it is known after a restart what was spent, if not for ever.
    spending_known: Option<Duration>,
    /// Where the first budget stands.
    budget: Option<Range<usize>>,
}

impl Context<'_> {
    /// Parses a text of the file; what is wrong with it is reported at its place.
    fn parse<T, U>(&mut self, text: &At<T>, parse: impl FnOnce(&T) -> Result<U, String>) -> Option<U> {
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.report.error(text.span.clone(), message, None);
                None
            }
        }
    }

    /// All that there are.
    fn dialects(&self) -> Vec<Dialect> {
        Dialect::ALL.into_iter().chain(self.dialects.iter().map(|own| Dialect::Own(*own))).collect()
    }

    fn duration(&mut self, text: Option<&At<DurationText>>) -> Option<Duration> {
        text.and_then(|text| self.parse(text, |text| units::duration(&text.0)))
    }

    fn secret(&mut self, text: &At<SecretText>) -> Option<Secret> {
        self.secret_if(secret::is_literal, text)
    }

    /// A text that may be no secret; `is_one`: whether it is one that stands in the file itself.
    fn secret_if(&mut self, is_one: impl FnOnce(&str) -> bool, text: &At<SecretText>) -> Option<Secret> {
        match secret::fetch(&text.value.0, &self.dir, self.env) {
            Ok(secret) => {
                if is_one(&text.value.0) {
                    self.report.warn(
                        text.span.clone(),
                        "a secret stands in the file itself",
                        "write \"env:NAME\", \"file:PATH\" or \"credential:NAME\", and keep the file's readers few until then",
                    );
                }
                Some(secret)
            }
            Err(message) => {
                self.report.error(text.span.clone(), message, secret::help(&text.value.0));
                None
            }
        }
    }

    fn where_relative(&self, path: &str) -> Option<String> {
        let dir = self.dir.display().to_string();
        (Path::new(path).is_relative() && !dir.is_empty()).then(|| format!("relative paths start at `{dir}`"))
    }

    /// The content of a file that is named in the file.
    fn read(&mut self, path: &At<String>) -> Option<Vec<u8>> {
        match self.env.read(&self.dir.join(&path.value)) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.report.error(
                    path.span.clone(),
                    format!("`{}` cannot be read: {error}", path.value),
                    self.where_relative(&path.value),
                );
                None
            }
        }
    }
}

/// `None` only with an error reported.
///
/// What a section is checked against is read before it: keys, however they come, before the server, which without any listens on
/// this machine only; the store before the cache that may be in its Redis, and before the ledger, which has a file of its own; the
/// ledger before all budgets, which know for as long as it does what was spent; the server before providers, which are other
/// addresses; those before what names them, and models before routes, keys and plugins. Everything is reported in the order of
/// the text all the same.
fn read(text: &str, cx: &mut Context<'_>) -> Option<Config> {
    let mut file = Sections::of(text, cx)?;
    let keys = file.elements::<keys::Key>("keys", cx);
    let jwt = file.table::<jwt::Jwt>("jwt", cx);
    let store = file.table::<store::Store>("store", cx).unwrap_or_default().resolve(cx);
    let has_keys = !keys.is_empty() || jwt.is_some() || store.path.is_some();
    let cache = file.table::<cache::Cache>("cache", cx).unwrap_or_default().resolve(store.redis.is_some(), cx);
    let server = file.table::<server::Server>("server", cx).unwrap_or_default().resolve(has_keys, cx);
    let ledger = read_ledger(&mut file, &store, cx);
    cx.spending_known = ledger.as_ref().and_then(|ledger| ledger.retention).filter(|_| store.redis.is_none());
    let providers = read_providers(&mut file, &server, cx);
    let telemetry = file.table::<telemetry::Telemetry>("telemetry", cx).unwrap_or_default().resolve(&providers, cx);
    let access_log = file.table::<access_log::AccessLog>("access_log", cx).unwrap_or_default().resolve(cx);
    let prices = file.table::<prices::Prices>("prices", cx).unwrap_or_default().resolve(&providers, cx);
    let models = read_models(&mut file, &providers, &prices, cx);
    let routes = file.elements::<routes::Route>("routes", cx).into_iter().enumerate();
    let routes = routes.filter_map(|(index, At { value, span })| Some((index, At { value: value?, span }))).collect();
    let routes = routes::resolve(routes, &models, &providers, &prices, cx);
    let keys: Vec<keys::Key> = keys.into_iter().filter_map(|key| key.value).collect();
    keys::check_hashes(&keys, jwt.as_ref(), cx);
    let only_these = jwt.is_none() && store.path.is_none();
    let of_teams: Vec<At<String>> = keys.iter().filter_map(|key| key.team.clone()).collect();
    let keys = keys::resolve(keys, &models, &providers, cx);
    let issuers = jwt.map(|jwt| jwt.resolve(&keys, cx)).unwrap_or_default();
    let plugins = plugins::resolve(file.untyped("plugins", cx), &models, &providers, cx);
    routes::check_compared(&providers, cx);
    let limits = read_limits(&mut file, cx);
    keys::check_teams(of_teams, &limits, cx);
    if only_these {
        keys::check_asked(&keys, cx);
    }
    let config = Config {
        dialects: cx.dialects.to_vec(),
        server,
        providers: providers.into_iter().filter_map(|(name, provider)| Some((name, provider?))).collect(),
        prices,
        models,
        routes,
        keys,
        issuers,
        limits,
        store,
        ledger,
        cache,
        plugins,
        telemetry,
        access_log,
    };
    if let (Reserve::Most, Some(at)) = (config.limits.reserve, cx.budget.clone()) {
        limits::check_most(at, &config, cx);
    }
    Some(config)
}

fn read_ledger(file: &mut Sections<'_>, store: &StoreConfig, cx: &mut Context<'_>) -> Option<LedgerConfig> {
    let span = file.span("ledger");
    let ledger = file.table::<ledger::Ledger>("ledger", cx)?.resolve(cx);
    if store.path.as_ref() == Some(&ledger.path) {
        cx.report.error(span, "the ledger and `[store]` name one file", "give each a `path` of its own");
    }
    Some(ledger)
}

/// `None` for a provider that is wrong: what names it is right all the same.
fn read_providers(
    file: &mut Sections<'_>,
    server: &ServerConfig,
    cx: &mut Context<'_>,
) -> BTreeMap<String, Option<ProviderConfig>> {
    let span = file.span("providers");
    let mut providers = BTreeMap::new();
    for (name, provider) in file.tables::<providers::Provider>("providers", cx) {
        check_provider_name(&name, cx);
        let at = provider.as_ref().and_then(|provider| Some(provider.base_url.as_ref()?.span.clone()));
        let provider = provider.and_then(|provider| provider.resolve(&name, cx));
        let url = provider.as_ref().and_then(|provider| provider.base_url.as_ref());
        if let (Some(at), Some(true)) = (at, url.map(|url| server.is_at(url))) {
            let help = "name the provider's address: a request that goes there comes back, and may do so without end";
            cx.report.warn(at, "this is the gateway's own address", help);
        }
        providers.insert(name.value, provider);
    }
    if providers.is_empty() && !cx.report.has_errors() {
        cx.report.error(
            span,
            "there is no provider",
            "add a [providers.NAME] table with a `kind`; `kind = \"mock\"` needs no account",
        );
    }
    providers
}

fn read_models(
    file: &mut Sections<'_>,
    providers: &BTreeMap<String, Option<ProviderConfig>>,
    prices: &PricesConfig,
    cx: &mut Context<'_>,
) -> BTreeMap<String, ModelConfig> {
    let mut models = BTreeMap::new();
    for (name, model) in file.tables::<models::Model>("models", cx) {
        check_model_name(&name, cx);
        let model = model
            .map(|model| model.resolve(&name, providers, prices, cx))
            // It is still there for the keys that name it.
            .unwrap_or_else(|| ModelConfig::direct(&name.value, "", "", Model::default()));
        models.insert(name.value, model);
    }
    for name in std::mem::take(&mut cx.models_named) {
        routes::known_model(name, &models, providers, cx);
    }
    models
}

fn read_limits(file: &mut Sections<'_>, cx: &mut Context<'_>) -> LimitsConfig {
    let mut limits = file.table::<limits::Global>("limits", cx).unwrap_or_default().resolve(cx);
    for (name, team) in file.tables::<limits::Team>("teams", cx) {
        let rules = team.map(|team| limits::rules(team.limits, team.budget, cx));
        limits.teams.insert(name.value, rules.unwrap_or_default());
    }
    for (name, tag) in file.tables::<limits::Tag>("tags", cx) {
        let rules = tag.map(|tag| limits::rules(None, tag.budget, cx));
        limits.tags.insert(name.value, rules.unwrap_or_default());
    }
    limits
}

fn check_provider_name(name: &At<String>, cx: &mut Context<'_>) {
    let plain = name.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if name.value.is_empty() || !plain {
        cx.report.error(
            name.span.clone(),
            format!("`{}` cannot be the name of a provider", name.value),
            "use letters, digits, `-`, `_` and `.`: clients write it before the slash of `provider/model`",
        );
    }
}

fn check_model_name(name: &At<String>, cx: &mut Context<'_>) {
    if name.value.trim().is_empty() || name.value.contains('*') || name.value.chars().any(char::is_control) {
        let message = format!("`{}` cannot be the name of a model", name.value.escape_debug());
        cx.report.error(name.span.clone(), message, "a name has at least one letter, no `*` and no control character");
    }
}
