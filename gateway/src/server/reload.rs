//! A configuration takes the place of another one: read, checked, built, and only then put in force, or not at all.
//!
//! What a process has once only (its sockets, files and stores) it keeps: a file that wants others is refused.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use log::{info, warn};
use parking_lot::Mutex;

use super::build::Snapshots;
use super::certificate::Certificate;
use super::{Source, notify};
use crate::config::{Config, ConfigErrors, Warning};
use crate::proxy::Gateway;
use crate::snapshot::BuildError;

/// Why the configuration in force stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Another change is under way.
    #[error("an upgrade or a reload is under way")]
    Busy,
    /// The process is about to end, or another one serves in its place.
    #[error("this process is shutting down")]
    Leaving,
    /// There is nothing to read again.
    #[error(
        "this gateway runs without a configuration file, by the environment that it was started with: \
         restart it, or give it a file (`--config`)"
    )]
    NoFile,
    /// The file is wrong.
    #[error("{0}")]
    Config(ConfigErrors),
    /// The file changes what cannot be changed so.
    #[error("{}", .0.join("\n"))]
    Fixed(Vec<String>),
    /// It cannot be built.
    #[error("{0}")]
    Build(#[from] BuildError),
}

/// A configuration that was taken.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// Its number, from 1 for the first one of the process.
    pub generation: u64,
    /// What is doubtful about it.
    pub warnings: Vec<Warning>,
    /// How long it took.
    pub took: Duration,
}

/// How the last reload went.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// When.
    pub at: SystemTime,
    /// Why it was refused, if it was.
    pub error: Option<String>,
}

/// What is in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The configuration.
    pub config: Arc<Config>,
    /// Its number, from 1.
    pub generation: u64,
    /// When it was read.
    pub at: SystemTime,
    /// How the last reload went, if there was one.
    pub last: Option<LastReload>,
}

/// Reloads.
pub struct Reloader {
    source: Source,
    gateway: Gateway,
    snapshots: Snapshots,
    certificate: Option<Arc<Certificate>>,
    in_force: Mutex<InForce>,
}

impl Reloader {
    /// A process that runs with `config` so far.
    pub fn new(
        source: Source,
        config: Config,
        gateway: Gateway,
        snapshots: Snapshots,
        certificate: Option<Arc<Certificate>>,
    ) -> Self {
        let first = InForce { config: Arc::new(config), generation: 1, at: gateway.time.now(), last: None };
        gateway.telemetry.metrics.process.took(1);
        Self { source, gateway, snapshots, certificate, in_force: Mutex::new(first) }
    }

    /// What is in force.
    pub fn in_force(&self) -> InForce {
        self.in_force.lock().clone()
    }

    /// The file that the configuration comes from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Reads the file again. Not twice at a time. Blocks.
    ///
    /// # Errors
    /// Nothing has changed.
    pub fn reload(&self) -> Result<Reloaded, ReloadError> {
        let began = Instant::now();
        notify::reloading();
        let result = self.replace(began);
        let error = result.as_ref().err().map(ToString::to_string);
        self.gateway.telemetry.metrics.process.reloaded(error.is_none());
        match &error {
            None => notify::ready("serving"),
            Some(error) => {
                let first = error.lines().next().unwrap_or_default();
                notify::ready(&format!("serving; the last reload was refused: {first}"));
            }
        }
        match &result {
            Ok(reloaded) => {
                reloaded.warnings.iter().for_each(|warning| warn!("{warning}"));
                info!("configuration {} is in force", reloaded.generation);
            }
            Err(error) => warn!("the configuration was not reloaded:\n{error}"),
        }
        self.in_force.lock().last = Some(LastReload { at: self.gateway.time.now(), error });
        result
    }

    fn replace(&self, began: Instant) -> Result<Reloaded, ReloadError> {
        let Source::File(file, read) = &self.source else { return Err(ReloadError::NoFile) };
        let loaded = read(file).map_err(ReloadError::Config)?;
        let before = self.in_force();
        let fixed = fixed(&before.config, &loaded.config);
        if !fixed.is_empty() {
            return Err(ReloadError::Fixed(fixed));
        }
        let next = self.snapshots.build(&loaded.config)?;
        // Nothing fails from here on.
        if let (Some(certificate), Some(tls)) = (&self.certificate, &loaded.config.server.tls) {
            certificate.replace(&tls.certified);
        }
        self.snapshots.put_in_force(next, &self.gateway.current);
        let mut in_force = self.in_force.lock();
        in_force.config = Arc::new(loaded.config);
        in_force.generation += 1;
        in_force.at = self.gateway.time.now();
        self.gateway.telemetry.metrics.process.took(in_force.generation);
        Ok(Reloaded { generation: in_force.generation, warnings: loaded.warnings, took: began.elapsed() })
    }
}

/// What `new` wants that a running process cannot change, each with what to do.
fn fixed(old: &Config, new: &Config) -> Vec<String> {
    let changed = [
        ("server.listen", old.server.listen != new.server.listen),
        ("server.admin", old.server.admin != new.server.admin),
        ("server.tls, which is there or not,", old.server.tls.is_some() != new.server.tls.is_some()),
        ("[ledger]", old.ledger != new.ledger),
        ("store.path", old.store.path != new.store.path),
        ("store.redis", old.store.redis != new.store.redis),
        ("cache.disk", old.cache.disk != new.cache.disk),
        ("cache.redis", old.cache.redis != new.cache.redis),
        ("a first provider of kind `mock`", new.needs_mock() && !old.needs_mock()),
    ];
    let told = |(what, changed): (&str, bool)| {
        changed.then(|| {
            format!("{what} cannot be changed by a reload: `ai-gateway upgrade` changes it, and breaks no stream")
        })
    };
    changed.into_iter().filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;
    use crate::config::System;

    #[test]
    fn what_needs_another_process_is_named() {
        let config = |text: &str| {
            let text = format!("{text}\n[providers.p]\nkind = 'openai'\napi_key = 'secret-of-it'");
            Config::parse(&text, "f.toml", &System).unwrap().config
        };
        let old = config("[server]\nlisten = ['127.0.0.1:80']\ndrain = '1m'");
        assert!(fixed(&old, &config("[server]\nlisten = ['127.0.0.1:80']\nmax_body = '1MiB'")).is_empty());
        let told = fixed(&old, &config("[server]\nlisten = ['127.0.0.1:81']\nadmin = 'off'\n[ledger]\npath = 'x.db'"));
        assert_eq!(told.len(), 3);
        assert!(told[0].starts_with("server.listen cannot be changed by a reload: `ai-gateway upgrade`"), "{told:?}");
        let mocked = config("[providers.m]\nkind = 'mock'");
        assert!(fixed(&old, &Config { providers: mocked.providers, ..old.clone() })[0].contains("mock"));
    }

    #[test]
    fn without_a_file_there_is_nothing_to_read_again() {
        let config = Config::parse("[providers.p]\nkind = 'openai'\napi_key = 'secret-of-it'", "f.toml", &System)
            .unwrap()
            .config;
        let built = super::super::build(&config, None, Time::default()).unwrap();
        let reloader = Reloader::new(Source::Fixed, config, built.gateway, built.snapshots, None);
        let told = reloader.reload().unwrap_err().to_string();
        assert!(told.contains("runs without a configuration file"), "{told}");
        let in_force = reloader.in_force();
        assert_eq!((in_force.generation, in_force.last.unwrap().error), (1, Some(told)));
    }
}
