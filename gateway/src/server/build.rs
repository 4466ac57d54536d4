//! From a configuration to a gateway that can serve, without the process around it: no listener, no signal, no service.
//!
//! [`build`] is for the first configuration; what it gives goes on to build the later ones ([`Built::snapshot`]), so that what
//! was counted, measured and fetched under one is there under the next.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora_core::services::ServiceWithDependents;
use pingora_core::services::background::{BackgroundService, background_service};

use super::{RESTORE, StartError, UPSTREAM_POOL};
use crate::cache::{self, Cache, Opened};
use crate::clock::Time;
use crate::config::{Config, PluginConfig, ProviderConfig, RedisConfig};
use crate::credentials::Client;
use crate::keys::{KeySets, RuntimeKeys, SharedKeys};
use crate::ledger::{Ledger, Record};
use crate::limits::shared::Instance;
use crate::net::dns::Resolver;
use crate::net::patience::CLIENT_PATIENCE;
use crate::net::prebound::Prebound;
use crate::proxy::{BufferBudget, Calls, Drains, Gateway, Probing};
use crate::snapshot::{BuildError, Chain, Snapshot};
use crate::telemetry::{OpenedLog, Telemetry, TelemetryService};

/// A gateway and what belongs to it.
pub struct Built {
    /// Serves requests; to be given to Pingora's proxy. Its `current` is the configuration in force.
    pub gateway: Gateway,
    /// What works beside the requests: whoever keeps common stores told, probes and telemetry. To be added to the server.
    pub services: Vec<Box<dyn ServiceWithDependents>>,
    /// Builds what comes after the first configuration.
    pub snapshots: Snapshots,
}

/// Builds snapshots that all rest on the same state.
#[derive(Clone)]
pub struct Snapshots {
    /// Keys made at run time.
    pub runtime_keys: Option<Arc<RuntimeKeys>>,
    key_sets: Arc<KeySets>,
    mock: Option<SocketAddr>,
    telemetry: Arc<Telemetry>,
    cache: Arc<Cache>,
}

/// What is built and opened of a configuration that is to take the place of another.
pub struct Next {
    snapshot: Snapshot,
    log: OpenedLog,
}

/// Builds the gateway of `config`. `mock` is where providers without a base URL are answered, if there are any; `time` is what
/// it goes by. Opens the
/// ledger and the store of keys; opens no socket, and waits for nobody but, some seconds at most, until budgets know from
/// the ledger what was spent before.
///
/// # Errors
/// [`StartError`].
pub fn build(config: &Config, mock: Option<SocketAddr>, time: Time) -> Result<Built, StartError> {
    let built = build_heir(config, mock, time)?;
    if let Some(ledger) = &built.gateway.ledger {
        let config = config.clone();
        ledger.restore(&built.gateway.limits, move |record| known_cost(&config, record), RESTORE);
    }
    Ok(built)
}

/// What is known, in pico-dollars, of what a record cost that has no cost because something of it has no price. It is what the
/// budgets of the process that booked it have counted, if prices are the same.
fn known_cost(config: &Config, record: &Record<'_>) -> u64 {
    let cost = config.cost_of(record).filter(|_| record.costs()).unwrap_or_default();
    // What has a whole price by now had none then: its budgets counted nothing.
    cost.unpriced.map_or(0, |_| cost.known())
}

/// [`build`] for a process that another one tells what was spent before.
pub(super) fn build_heir(config: &Config, mock: Option<SocketAddr>, time: Time) -> Result<Built, StartError> {
    check_roots(config)?;
    check_logs(config)?;
    let telemetry = Arc::new(Telemetry::by(time.clone()));
    let log = telemetry.access_log.open(&config.access_log).map_err(BuildError::Log)?;
    telemetry.access_log.go_on_with(log);
    // First: its threads open the database meanwhile.
    let start = |ledger| Ledger::start(ledger, telemetry.metrics.ledger.clone(), time.clone()).map(Arc::new);
    let ledger = config.ledger.as_ref().map(start).transpose().map_err(StartError::Ledger)?;
    let health = telemetry.metrics.health.clone();
    let limits = telemetry.metrics.limits.clone();
    let share = |redis: &RedisConfig| {
        let instance = match &config.ledger {
            Some(ledger) => Instance::of_ledger(&ledger.path, limits.now()).map_err(StartError::Ledger)?,
            None => Instance::passing(),
        };
        let store = limits.share_through(redis, instance);
        store.map_err(|error| StartError::Store(error.category().to_owned()))
    };
    let store = config.store.redis.as_ref().map(share).transpose()?;
    let mut snapshot = Snapshot::build(config, mock, &health, &limits)?;
    let resolver = Resolver::new(telemetry.metrics.dns.clone());
    let http = Arc::new(Client::new(resolver.clone()));
    let runtime_keys = match &config.store.path {
        Some(path) => Some(Arc::new(RuntimeKeys::open(path, &snapshot.keys, limits.clone())?)),
        None => None,
    };
    let Opened { cache, keeper } = cache::open(config, telemetry.metrics.cache.clone(), &time)?;
    let snapshots = Snapshots {
        runtime_keys,
        key_sets: Arc::new(KeySets::new(http.clone())),
        mock,
        telemetry: telemetry.clone(),
        cache: cache.clone(),
    };
    snapshots.join_state(&mut snapshot, config);
    let current = Arc::new(ArcSwap::from_pointee(snapshot));
    let shared_keys = match (&config.store.redis, &snapshots.runtime_keys) {
        (Some(redis), Some(keys)) => Some(SharedKeys::new(redis, keys.clone())),
        _ => None,
    };
    let shared_keys = shared_keys.transpose().map_err(|error| StartError::Store(error.category().to_owned()))?;
    let gateway = Gateway {
        time,
        current,
        http,
        resolver: Arc::new(resolver),
        calls: Arc::new(Calls::new(UPSTREAM_POOL)),
        drains: Drains::new(telemetry.metrics.draining.clone()),
        buffered: BufferBudget::new(telemetry.metrics.bytes_buffered.clone()),
        telemetry,
        ledger,
        health,
        limits,
        cache,
        continuity: Arc::default(),
        ending: Default::default(),
        patience: CLIENT_PATIENCE,
    };
    let reporting = TelemetryService::new(gateway.telemetry.clone(), gateway.current.clone(), gateway.resolver.clone());
    let services = [
        store.map(|store| beside("store", store)),
        keeper.map(|keeper| beside("cache", keeper)),
        shared_keys.map(|keys| beside("keys", keys)),
        Some(beside("probes", Probing(gateway.clone()))),
        Some(beside("telemetry", reporting)),
    ];
    Ok(Built { gateway, services: services.into_iter().flatten().collect(), snapshots })
}

fn beside<S: BackgroundService + Send + Sync + 'static>(name: &str, service: S) -> Box<dyn ServiceWithDependents> {
    Box::new(background_service(&format!("ai-gateway {name}"), service))
}

/// The socket at which this process answers for providers of kind `mock`, if there are any.
///
/// # Errors
/// There is no port left.
pub fn mock_socket(config: &Config) -> Result<Option<Prebound>, StartError> {
    config.needs_mock().then(|| Prebound::bind("127.0.0.1:0")).transpose().map_err(StartError::Bind)
}

impl Snapshots {
    /// Builds what `config` says, and opens what it names. Nothing is in force before [`Self::put_in_force`], but limits and the
    /// cache's size.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(&self, config: &Config) -> Result<Next, BuildError> {
        // First: it is what may fail.
        check_logs(config)?;
        let log = self.telemetry.access_log.open(&config.access_log).map_err(BuildError::Log)?;
        let metrics = &self.telemetry.metrics;
        let mut snapshot = Snapshot::build(config, self.mock, &metrics.health, &metrics.limits)?;
        self.join_state(&mut snapshot, config);
        self.cache.configure(&config.cache);
        Ok(Next { snapshot, log })
    }

    /// Puts what was built in force as `current`, and binds the keys made at run time to it.
    pub fn put_in_force(&self, Next { snapshot, log }: Next, current: &ArcSwap<Snapshot>) {
        if let Some(runtime_keys) = &self.runtime_keys {
            runtime_keys.rebind(&snapshot.keys);
        }
        current.store(Arc::new(snapshot));
        self.telemetry.access_log.go_on_with(log);
    }

    fn join_state(&self, snapshot: &mut Snapshot, config: &Config) {
        snapshot.plugins = Chain::new(&config.plugins, &self.telemetry.metrics.plugins);
        let live = self.runtime_keys.as_ref().map(|keys| keys.live());
        snapshot.keys = std::mem::take(&mut snapshot.keys).joined_by(live, &config.issuers, &self.key_sets);
    }
}

/// What plugins write is opened when there is something to write.
fn check_logs(config: &Config) -> Result<(), BuildError> {
    config.plugins.iter().try_for_each(PluginConfig::check_files).map_err(BuildError::Log)
}

/// Pingora panics over certificates that it cannot read, and takes a machine without any in silence.
fn check_roots(config: &Config) -> Result<(), StartError> {
    let roots = pingora_rustls::load_native_certs().map_err(StartError::Roots)?;
    let relies = |provider: &ProviderConfig| {
        provider.ca.is_none() && provider.base_url.as_ref().is_some_and(|url| url.scheme() == "https")
    };
    if roots.is_empty() && config.providers.values().any(relies) {
        log::warn!(
            "this machine has no certificate roots (package ca-certificates): no https provider can be verified"
        );
    }
    Ok(())
}
