//! Keys by the SHA-256 of their secrets.

use std::collections::HashMap;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::Key;

/// A secret's SHA-256.
pub(super) type Digest = [u8; 32];

/// Found by the first eight bytes of the hash. They are public knowledge to nobody who lacks the secret, so the map's timing
/// tells nothing; the whole hash is then compared in constant time.
#[derive(Debug, Default, Clone)]
pub(super) struct ByHash(HashMap<u64, Vec<Slot>>);

/// One secret.
#[derive(Debug, Clone)]
struct Slot {
    hash: Digest,
    /// Seconds since 1970 from which on it is not taken any more.
    until: Option<u64>,
    key: Arc<Key>,
}

impl ByHash {
    /// The key whose secret has this hash, with the end of the secret's time.
    pub(super) fn find(&self, hash: &Digest) -> Option<(&Arc<Key>, Option<u64>)> {
        let slots = self.0.get(&prefix(hash))?;
        slots.iter().find(|slot| bool::from(slot.hash.ct_eq(hash))).map(|slot| (&slot.key, slot.until))
    }

    /// Adds a secret of `key`, or gives one that is there another end.
    pub(super) fn insert(&mut self, hash: Digest, until: Option<u64>, key: Arc<Key>) {
        let slots = self.0.entry(prefix(&hash)).or_default();
        slots.retain(|slot| slot.hash != hash);
        slots.push(Slot { hash, until, key });
        slots.shrink_to_fit();
    }

    /// Forgets a secret.
    pub(super) fn remove(&mut self, hash: &Digest) {
        let place = prefix(hash);
        if let Some(slots) = self.0.get_mut(&place) {
            slots.retain(|slot| slot.hash != *hash);
            if slots.is_empty() {
                self.0.remove(&place);
            }
        }
    }
}

fn prefix(hash: &Digest) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first)
}
