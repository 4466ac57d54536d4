//! All subjects, by kind and name. Requests look them up without a lock; a new one costs the copy of a short list, however many
//! there are.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use arc_swap::ArcSwapOption;

use super::{Kind, Subject};

/// A million subjects make 250 for each.
const SHARDS: usize = 4_096;

/// Each subject by the hash of what it is.
type Shard = Vec<(u64, Arc<Subject>)>;

pub(super) struct Registry {
    random: RandomState,
    /// Of which kinds there are any: a bit for each.
    kinds: AtomicU8,
    shards: Box<[ArcSwapOption<Shard>]>,
}

impl Registry {
    pub(super) fn find(&self, kind: Kind, name: &str) -> Option<Arc<Subject>> {
        if self.kinds.load(Relaxed) & bit(kind) == 0 {
            return None;
        }
        let hash = self.hash(kind, name);
        find(self.shard(hash)?.load().as_ref()?, hash, kind, name).cloned()
    }

    /// The one of that kind and name, made if need be.
    pub(super) fn find_or_make(&self, kind: Kind, name: &str) -> Arc<Subject> {
        if let Some(subject) = self.find(kind, name) {
            return subject;
        }
        self.kinds.fetch_or(bit(kind), Relaxed);
        let made = Arc::new(Subject::new(kind, name));
        let hash = self.hash(kind, name);
        let Some(shard) = self.shard(hash) else { return made };
        shard.rcu(|shard| {
            let known = shard.as_deref().map_or(&[][..], Vec::as_slice);
            // Another thread may have been faster.
            match find(known, hash, kind, name) {
                Some(_) => shard.clone(),
                None => Some(Arc::new([known, &[(hash, made.clone())]].concat())),
            }
        });
        self.find(kind, name).unwrap_or(made)
    }

    pub(super) fn all(&self) -> Vec<Arc<Subject>> {
        let shards = self.shards.iter().filter_map(ArcSwapOption::load_full);
        shards.flat_map(|shard| shard.iter().map(|(_, subject)| subject.clone()).collect::<Vec<_>>()).collect()
    }

    fn hash(&self, kind: Kind, name: &str) -> u64 {
        self.random.hash_one((kind, name))
    }

    fn shard(&self, hash: u64) -> Option<&ArcSwapOption<Shard>> {
        self.shards.get(usize::try_from(hash % SHARDS as u64).ok()?)
    }
}

const fn bit(kind: Kind) -> u8 {
    1 << kind as u8
}

fn find<'a>(shard: &'a [(u64, Arc<Subject>)], hash: u64, kind: Kind, name: &str) -> Option<&'a Arc<Subject>> {
    let is_it = |(of, subject): &&(u64, Arc<Subject>)| *of == hash && subject.kind == kind && *subject.name == *name;
    shard.iter().find(is_it).map(|(_, subject)| subject)
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            random: RandomState::new(),
            kinds: AtomicU8::new(0),
            shards: (0..SHARDS).map(|_| ArcSwapOption::empty()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_made_with_few_copies_and_each_once() {
        let registry = Registry::default();
        let names: Vec<String> = (0..30_000).map(|number| format!("key-{number}")).collect();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| names.iter().for_each(|name| drop(registry.find_or_make(Kind::Key, name))));
            }
        });
        // Whoever is added to a shard copies those that are there: about four each, and 15 000 each if all were in one.
        let lengths = registry.shards.iter().map(|shard| shard.load().as_ref().map_or(0, |shard| shard.len()));
        let copied: usize = lengths.map(|length| length * length.saturating_sub(1) / 2).sum();
        assert!(copied < 10 * names.len(), "not all of them for each: {copied}");
        assert_eq!(registry.all().len(), names.len());
        let made = registry.find_or_make(Kind::Key, "key-7");
        assert!(Arc::ptr_eq(&made, &registry.find(Kind::Key, "key-7").unwrap()));
        assert!(registry.find(Kind::Team, "key-7").is_none() && registry.find(Kind::Key, "key-x").is_none());
        assert!(!Arc::ptr_eq(&made, &registry.find_or_make(Kind::Team, "key-7")));
    }
}
