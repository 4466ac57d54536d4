//! The cache as a configuration has it: memory, and the tiers that it names.

use std::sync::Arc;

use serde_json::{Value, json};

use super::disk::Disk;
use super::redis::{Keeper, Redis};
use super::{Cache, CacheMetrics, Tier};
use crate::clock::Time;
use crate::config::{CacheConfig, Config, DiskConfig};
use crate::paths;

/// Why there is no cache as the configuration has it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its folder cannot be used.
    #[error("{0}")]
    Disk(std::io::Error),
    /// The store's address cannot be used.
    #[error("store.redis: {0}")]
    Redis(String),
}

/// A cache, and what must run for it.
pub struct Opened {
    /// Memory, and what is below it.
    pub cache: Arc<Cache>,
    /// To run as a background service, if it is in a Redis too.
    pub keeper: Option<Keeper>,
}

/// What is below memory, as it was configured when the process began.
#[derive(Default)]
pub(super) struct Below {
    config: CacheConfig,
    disk: Option<Arc<Disk>>,
    redis: Option<Arc<Redis>>,
}

/// Opens the cache, which ages by `time`. Asks nothing of a Redis before the keeper runs.
///
/// # Errors
/// The folder cannot be used, or the URL of the store.
pub fn open(config: &Config, metrics: CacheMetrics, time: &Time) -> Result<Opened, OpenError> {
    let cache = Arc::new(Cache::new(config.cache.max_size, metrics, time.clone()));
    let tiers = &cache.metrics.tiers;
    let open =
        |disk: &DiskConfig| Disk::open(disk, tiers, time.clone()).map_err(paths::error("cache.disk.path", &disk.path));
    let disk = config.cache.disk.as_ref().map(open).transpose().map_err(OpenError::Disk)?.map(Arc::new);
    let redis = config.store.redis.as_ref().filter(|_| config.cache.redis);
    let redis = redis.map(|redis| Redis::new(redis, &cache, tiers)).transpose();
    let (redis, keeper) = redis.map_err(|error| OpenError::Redis(error.category().to_owned()))?.unzip();
    let below = Below { config: config.cache.clone(), disk, redis };
    // A disk of its own is nearer than a store.
    let disk = below.disk.clone().map(|disk| disk as Arc<dyn Tier>);
    let redis = below.redis.clone().map(|redis| redis as Arc<dyn Tier>);
    cache.stack(disk.into_iter().chain(redis).chain(config.cache.own.0.iter().cloned()).collect());
    let _ = cache.below.set(below);
    Ok(Opened { cache, keeper })
}

impl Cache {
    /// Follows a configuration that was read anew: sizes change at once. Another folder, or another choice of tiers, is for the
    /// next process, which is told in the log.
    pub fn configure(&self, config: &CacheConfig) {
        self.memory.resize(config.max_size);
        let Some(Below { config: begun, disk, .. }) = self.below.get() else { return };
        let path = |config: &CacheConfig| config.disk.as_ref().map(|disk| disk.path.clone());
        if (path(begun), begun.redis) != (path(config), config.redis) {
            log::warn!("[cache]: another `disk.path` or `redis` counts from the next start on");
        } else if let (Some(disk), Some(config)) = (disk, &config.disk) {
            disk.resize(config.max_size);
        }
    }

    /// Another process has taken over, which keeps answers in the same places: this one leaves them alone.
    pub fn hand_over(&self) {
        if let Some(disk) = self.below.get().and_then(|below| below.disk.as_ref()) {
            disk.hand_over();
        }
    }

    /// Its figures, for people and their tools.
    pub fn status(&self) -> Value {
        let below = self.below.get();
        let disk = below.and_then(|below| below.disk.as_ref()).map(|disk| {
            let (bytes, max_size, entries) = disk.size();
            json!({ "bytes": bytes, "max_size": max_size, "entries": entries })
        });
        let redis = below.and_then(|below| below.redis.as_ref()).map(|redis| json!({ "up": redis.is_up() }));
        let (memory, metrics) = (&self.memory, &self.metrics);
        json!({
            "memory": { "bytes": memory.size(), "max_size": memory.max_size(), "entries": memory.len() },
            "disk": disk,
            "redis": redis,
            "questions": self.semantic.count(),
            "hits": metrics.hits.get(),
            "shares": metrics.shares.get(),
            "misses": metrics.misses.get(),
            "bypasses": metrics.bypasses.get(),
            "following": metrics.following.get(),
            "evictions": metrics.evictions.get(),
            "saved_tokens": metrics.saved_tokens.get(),
            "saved_picodollars": metrics.saved_cost.get(),
            // The last of it: without a purge, the figures above are those of after it.
            "purging": self.is_purging(),
        })
    }
}
