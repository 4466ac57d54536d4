//! The gateway as a library: built from a file, a text or code, with plugins of one's own, and run in one of three ways.
//!
//! | way | how |
//! |---|---|
//! | as a whole, like the binary | [`Builder::run`] |
//! | as a service of one's own Pingora server | [`Gateway::service`] |
//! | inside one's own `ProxyHttp`, under a path | [`Mounted`] |
//!
//! Nothing is global: a process may hold as many gateways as it likes.

mod mounted;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ai_gateway_plugins::{Kind, Plugin, Settings, SettingsError};
use ai_gateway_providers::{Dialect, Own};
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::ServiceWithDependents;
use pingora_core::services::listening::Service;

pub use crate::server::{Downstream, StartError};
pub use mounted::{MountCtx, Mounted};

use crate::cache::Tier;
use crate::clock::{Clock, Time};
use crate::config::{Config, ConfigErrors, Environment, Extensions, Loaded, PluginConfig, System, Warning};
use crate::net::prebound::Prebound;
use crate::proxy;
use crate::server::{self, Built, Invocation, Snapshots, Source};
use crate::snapshot::BuildError;
use crate::{keys::KeyError, mock};

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What is wrong with the configuration.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// A dialect has the name of another one.
    #[error("there are two dialects of the name `{0}`")]
    Dialect(&'static str),
    /// It cannot be started.
    #[error("{0}")]
    Start(#[from] StartError),
}

impl From<BuildError> for Error {
    fn from(error: BuildError) -> Self {
        Self::Start(error.into())
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::Start(error.into())
    }
}

/// Where the configuration comes from.
enum Origin {
    /// What the environment holds, as of `ai-gateway run` without a file.
    Environment,
    File(PathBuf),
    Text(String),
    Ready(Box<Config>),
}

/// What a gateway is built from. See [`Gateway::builder`].
pub struct Builder {
    origin: Origin,
    code: Code,
}

/// What is said in code, of the first configuration and of those that a reload reads.
struct Code {
    environment: Box<dyn Environment + Send + Sync>,
    extensions: Extensions,
    plugins: Vec<PluginConfig>,
    tiers: Vec<Arc<dyn Tier>>,
    changes: Vec<Change>,
}

/// What is done to a configuration once it has been read.
type Change = Box<dyn Fn(&mut Config) + Send + Sync>;

impl Code {
    /// # Errors
    /// A name stands for two dialects.
    fn check(&self) -> Result<(), Error> {
        let mut names: Vec<&str> = Dialect::ALL.iter().map(|dialect| dialect.as_str()).collect();
        for own in &self.extensions.dialects {
            if names.contains(&own.name()) {
                return Err(Error::Dialect(own.name()));
            }
            names.push(own.name());
        }
        Ok(())
    }

    fn load(&self, file: &Path) -> Result<Loaded, ConfigErrors> {
        Ok(self.complete(Config::load_extended(file, &*self.environment, &self.extensions)?))
    }

    fn complete(&self, mut loaded: Loaded) -> Loaded {
        self.changes.iter().for_each(|change| change(&mut loaded.config));
        let plugins = &mut loaded.config.plugins;
        let new: Vec<PluginConfig> = self.plugins.iter().filter(|own| !plugins.contains(own)).cloned().collect();
        plugins.extend(new);
        loaded.config.cache.own.0.extend(self.tiers.iter().cloned());
        let dialects = &mut loaded.config.dialects;
        let new: Vec<Own> = self.extensions.dialects.iter().filter(|own| !dialects.contains(own)).copied().collect();
        dialects.extend(new);
        loaded
    }
}

impl Builder {
    /// The configuration is in this file. [`run`](Self::run) reads it again for each reload.
    #[must_use]
    pub fn config_file(self, path: impl Into<PathBuf>) -> Self {
        Self { origin: Origin::File(path.into()), ..self }
    }

    /// The configuration is this text, in TOML. Relative paths in it start at the working directory.
    #[must_use]
    pub fn config_text(self, toml: impl Into<String>) -> Self {
        Self { origin: Origin::Text(toml.into()), ..self }
    }

    /// The configuration is this one, which was checked before: [`Config::parse`].
    #[must_use]
    pub fn config(self, config: Config) -> Self {
        Self { origin: Origin::Ready(Box::new(config)), ..self }
    }

    /// Variables and files are looked up here, and not in the process's own environment.
    #[must_use]
    pub fn environment(mut self, environment: impl Environment + Send + Sync + 'static) -> Self {
        self.code.environment = Box::new(environment);
        self
    }

    /// Changes the configuration whenever it has been read and checked: providers, models, keys and all else that it says.
    #[must_use]
    pub fn configure(mut self, change: impl Fn(&mut Config) + Send + Sync + 'static) -> Self {
        self.code.changes.push(Box::new(change));
        self
    }

    /// Keeps answers in a store of one's own, too, below memory and what the configuration names. It counts from the start on.
    #[must_use]
    pub fn cache_tier(mut self, tier: impl Tier + 'static) -> Self {
        self.code.tiers.push(Arc::new(tier));
        self
    }

    /// Goes by this clock, and not by the system's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.code.extensions.time = Time::of(clock);
        self
    }

    /// A dialect beside the built-in ones: clients may speak it, and `dialects` of a provider may name it, as `when` of a route.
    ///
    /// What is given as an [`OwnDialect`](ai_gateway_providers::OwnDialect) stays in memory until the process ends. A program that
    /// makes many gateways makes one [`Own`] of it and gives that to each.
    #[must_use]
    pub fn dialect(mut self, dialect: impl Into<Own>) -> Self {
        self.code.extensions.dialects.push(dialect.into());
        self
    }

    /// A kind of plugin that `[[plugins]]` may name, beside those that ship or in the place of one of them.
    #[must_use]
    pub fn plugin_kind(mut self, kind: Kind) -> Self {
        self.code.extensions.plugins.add(kind);
        self
    }

    /// The same, made by a closure.
    #[must_use]
    pub fn plugin_fn(
        mut self,
        name: impl Into<String>,
        build: impl Fn(&Settings<'_>) -> Result<Arc<dyn Plugin>, SettingsError> + Send + Sync + 'static,
    ) -> Self {
        self.code.extensions.plugins.add_fn(name, build);
        self
    }

    /// A plugin that all requests go through, behind those of the configuration.
    #[must_use]
    pub fn plugin(self, name: &str, plugin: impl Plugin) -> Self {
        self.plugin_config(PluginConfig::new(name, Arc::new(plugin)))
    }

    /// The same, with conditions and a failure mode.
    #[must_use]
    pub fn plugin_config(mut self, plugin: PluginConfig) -> Self {
        self.code.plugins.push(plugin);
        self
    }

    /// Reads and checks the configuration, and adds what was said in code.
    fn resolve(self) -> Result<(Loaded, Source, Arc<Code>), Error> {
        let Self { origin, code } = self;
        code.check()?;
        let code = Arc::new(code);
        let config = match origin {
            Origin::File(path) => {
                let loaded = code.load(&path)?;
                let again = code.clone();
                return Ok((loaded, Source::File(path, Arc::new(move |file| again.load(file))), code));
            }
            Origin::Text(text) => {
                let loaded = Config::parse_extended(&text, "configuration", &*code.environment, &code.extensions)?;
                return Ok((code.complete(loaded), Source::Fixed, code));
            }
            Origin::Environment => Config::from_environment(&*code.environment).config,
            Origin::Ready(config) => *config,
        };
        Ok((code.complete(Loaded { config, warnings: Vec::new() }), Source::Fixed, code))
    }

    /// Builds the gateway, for [`Gateway::service`] and [`Mounted`]. Opens the ledger and the store of keys, if there are such;
    /// listens nowhere, but where a provider of kind `mock` is one of this process.
    ///
    /// # Errors
    /// What is wrong with the configuration, or why it cannot be started.
    pub fn build(self) -> Result<Gateway, Error> {
        let time = self.code.extensions.time.clone();
        let (Loaded { config, warnings }, _, code) = self.resolve()?;
        let mock = server::mock_socket(&config)?;
        let built = server::build(&config, mock.as_ref().map(Prebound::local_addr), time)?;
        let Built { gateway, mut services, snapshots } = built;
        if let Some(socket) = mock {
            services.push(Box::new(mock::service(socket, None).map_err(StartError::Bind)?));
        }
        Ok(Gateway { gateway, services, snapshots, warnings, code })
    }

    /// Runs the gateway as the binary does, with its listeners, until it is told to stop by a signal. Prints where it listens.
    /// SIGHUP and the admin API reload what came from a file, and add what was said here.
    ///
    /// # Errors
    /// As of [`build`](Self::build), and that a listener cannot be opened; never once it serves.
    pub fn run(self) -> Result<(), Error> {
        let time = self.code.extensions.time.clone();
        let (Loaded { config, warnings }, source, _) = self.resolve()?;
        for warning in warnings {
            log::warn!("{warning}");
        }
        Ok(server::run(&config, source, Invocation::own(), time)?)
    }
}

/// A gateway that is part of another program.
///
/// ```
/// use ai_gateway::Gateway;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gateway = Gateway::builder()
///     .config_text("[providers.openai]\nkind = \"openai\"\napi_key = \"env:OPENAI_API_KEY\"")
/// #   .config_text("[providers.m]\nkind = \"mock\"")
///     .build()?;
/// assert!(gateway.warnings().is_empty());
/// # Ok(())
/// # }
/// ```
pub struct Gateway {
    gateway: proxy::Gateway,
    services: Vec<Box<dyn ServiceWithDependents>>,
    snapshots: Snapshots,
    warnings: Vec<Warning>,
    code: Arc<Code>,
}

impl Gateway {
    /// A gateway to be built; without anything else said, of what the environment holds, as of `ai-gateway run`.
    #[must_use]
    pub fn builder() -> Builder {
        let code = Code {
            environment: Box::new(System),
            extensions: Extensions::default(),
            plugins: Vec::new(),
            tiers: Vec::new(),
            changes: Vec::new(),
        };
        Builder { origin: Origin::Environment, code }
    }

    /// What a person should know of the configuration.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What works beside the requests: probes, the common store, the mock provider. To be added to the server, once, with
    /// `Server::add_services`.
    #[must_use]
    pub fn background(&mut self) -> Vec<Box<dyn ServiceWithDependents>> {
        std::mem::take(&mut self.services)
    }

    /// The gateway as a service, to which the caller adds its listeners.
    ///
    /// `conf` is that of the server. Its `max_retries` bounds the attempts of a request (64 is more than any plan has), and its
    /// `upstream_keepalive_pool_size` the idle connections to all providers together.
    #[must_use]
    pub fn service(&self, conf: &Arc<ServerConf>) -> Service<Downstream> {
        Service::new("ai-gateway".to_owned(), Downstream::new(conf, self.gateway.clone()))
    }

    /// The `ProxyHttp` that does the work, for who calls its hooks from their own; [`Mounted`] does that for most. Its answers
    /// must not be changed by modules of the other proxy, such as compression.
    #[must_use]
    pub fn proxy(&self) -> proxy::Gateway {
        self.gateway.clone()
    }

    /// Puts another configuration in force. Requests under way finish under the one that they began with; what was counted and
    /// measured is kept. Listeners and the ledger stay as they are.
    ///
    /// What the [`Builder`] was told counts for it, too: its plugins, its changes, its dialects.
    ///
    /// # Errors
    /// It cannot be built; the old one stays in force.
    pub fn reload(&self, config: &Config) -> Result<(), Error> {
        let Loaded { config, .. } = self.code.complete(Loaded { config: config.clone(), warnings: Vec::new() });
        self.snapshots.put_in_force(self.snapshots.build(&config)?, &self.gateway.current);
        Ok(())
    }

    /// The metrics in OpenMetrics' text format.
    ///
    /// # Errors
    /// Never in practice.
    pub fn metrics(&self) -> Result<String, std::fmt::Error> {
        self.gateway.telemetry.metrics.encode()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    struct Nothing;

    impl Plugin for Nothing {
        fn needs(&self) -> ai_gateway_plugins::Needs {
            ai_gateway_plugins::Needs::new()
        }
    }

    #[test]
    fn a_reload_reads_the_file_again_and_adds_what_was_said_in_code() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gateway.toml");
        let write = |provider: &str| std::fs::write(&file, format!("[providers.{provider}]\nkind = \"mock\"")).unwrap();
        write("one");
        let builder = Gateway::builder().config_file(&file).plugin("nothing", Nothing);
        let (first, source, _) = builder.configure(|config| config.server.max_body = 77).resolve().unwrap();
        assert!(first.config.providers.contains_key("one"));
        let Source::File(file, read) = source else { panic!("it comes from a file") };
        write("two");
        for _ in 0..2 {
            let Loaded { config, .. } = read(&file).unwrap();
            assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["two"]);
            assert_eq!((config.server.max_body, config.plugins.len()), (77, 1));
        }
    }

    #[test]
    fn a_kind_of_plugin_may_be_a_closure_that_keeps_something() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let text =
            "[providers.m]\nkind = \"mock\"\n[[plugins]]\nuse = \"own\"\n[[plugins]]\nuse = \"own\"\nname = \"again\"";
        let builder = Gateway::builder().config_text(text).plugin_fn("own", move |_| {
            count.fetch_add(1, Relaxed);
            Ok(Arc::new(Nothing))
        });
        let (loaded, ..) = builder.resolve().unwrap();
        assert_eq!((loaded.config.plugins.len(), made.load(Relaxed)), (2, 2));
    }

    /// A clock that stands still.
    struct At(&'static str);

    impl Clock for At {
        fn now(&self) -> std::time::SystemTime {
            humantime::parse_rfc3339(self.0).unwrap()
        }

        fn instant(&self) -> std::time::Instant {
            std::time::Instant::now()
        }
    }

    #[test]
    fn a_warning_of_an_expired_key_goes_by_the_clock_of_the_gateway() {
        let text =
            "[providers.m]\nkind = \"mock\"\n[[keys]]\nname = \"k\"\nexpires = \"2031-03-11T00:00:00Z\"\nhash = \"";
        let text = format!("{text}{}\"", crate::keys::hash_line("k"));
        let warnings = |now| {
            let builder = Gateway::builder().config_text(&text).clock(At(now));
            builder.resolve().unwrap().0.warnings.iter().map(ToString::to_string).collect::<String>()
        };
        assert!(!warnings("2031-03-10T23:59:59Z").contains("expired"));
        assert!(warnings("2031-03-11T00:00:00Z").contains("the key `k` has expired"));
    }

    #[test]
    fn another_configuration_is_completed_like_the_first() {
        let parse = |text: &str| Config::parse(text, "test", &System).unwrap().config;
        let builder = Gateway::builder().config_text("[providers.one]\nkind = \"openai\"\napi_key = \"sk\"");
        let builder = builder.plugin("nothing", Nothing).configure(|config| config.server.max_body = 77);
        let gateway = builder.build().unwrap();
        for _ in 0..2 {
            gateway.reload(&parse("[providers.two]\nkind = \"openai\"\napi_key = \"sk\"")).unwrap();
            let snapshot = gateway.gateway.current.load();
            assert!(snapshot.provider("two").is_some() && snapshot.provider("one").is_none());
            assert_eq!((snapshot.body_limits.max_body, snapshot.plugins.is_empty()), (77, false));
        }
    }
}
