//! The keys made at run time, as requests find them: no lock, and a change copies a small part.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Key;
use super::by_hash::{ByHash, Digest};

/// Parts of the map; a hash's first byte is its part's number.
const SHARDS: usize = 256;

/// All keys made at run time. Changes are seen by the next request.
#[derive(Debug)]
pub struct LiveKeys(Box<[ArcSwap<ByHash>]>);

impl LiveKeys {
    /// These secrets and their keys.
    pub(super) fn new(secrets: impl IntoIterator<Item = (Digest, Option<u64>, Arc<Key>)>) -> Self {
        let mut shards = vec![ByHash::default(); SHARDS];
        for (hash, until, key) in secrets {
            shards[shard(&hash)].insert(hash, until, key);
        }
        Self(shards.into_iter().map(ArcSwap::from_pointee).collect())
    }

    /// The key whose secret has this hash, with the end of the secret's time.
    pub(super) fn find(&self, hash: &Digest) -> Option<(Arc<Key>, Option<u64>)> {
        self.0[shard(hash)].load().find(hash).map(|(key, until)| (key.clone(), until))
    }

    /// Changes the part that `hash` is in. Not at the same time as another change: the store's lock is held.
    pub(super) fn change(&self, hash: &Digest, change: impl FnOnce(&mut ByHash)) {
        let part = &self.0[shard(hash)];
        let mut changed = ByHash::clone(&part.load());
        change(&mut changed);
        part.store(Arc::new(changed));
    }
}

fn shard(hash: &Digest) -> usize {
    usize::from(hash[0])
}
