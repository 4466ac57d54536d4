//! A table that only grows, found by borrowed parts: no allocation and no lock when the entry exists.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

/// Entries by the hash of their key. The key is part of the entry; callers compare it with what they borrow.
#[derive(Debug)]
pub(super) struct Interned<T> {
    map: ArcSwap<Map<T>>,
    /// Held while the map is copied to add an entry, so that no addition is lost.
    growing: Mutex<()>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Map<T> {
    /// An entry is under its hash, or, if another one has that already, under the next number that is free.
    entries: HashMap<u64, Arc<T>, BuildHasherDefault<AsIs>>,
}

impl<T> Interned<T> {
    pub(super) fn new() -> Self {
        let map = Map { entries: HashMap::default() };
        Self { map: ArcSwap::from_pointee(map), growing: Mutex::new(()), hasher: RandomState::new() }
    }

    /// The hash to look a key up with.
    pub(super) fn hash(&self, key: impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Calls `found` with the entry of that hash for which `is_it` holds.
    pub(super) fn with<R>(&self, hash: u64, is_it: impl Fn(&T) -> bool, found: impl FnOnce(&T) -> R) -> Option<R> {
        let map = self.map.load();
        map.find(hash, is_it).map(|entry| found(entry))
    }

    /// The entry, made by `make` if it is new and there are fewer than `limit` of them.
    pub(super) fn get_or_make(
        &self,
        hash: u64,
        limit: usize,
        is_it: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> Option<Arc<T>> {
        let map = self.map.load();
        if let Some(entry) = map.find(hash, &is_it) {
            return Some(entry.clone());
        }
        // A full table stays full: no lock for what it cannot take.
        if map.entries.len() >= limit {
            return None;
        }
        let _growing = self.growing.lock();
        let map = self.map.load();
        if let Some(entry) = map.find(hash, &is_it) {
            return Some(entry.clone());
        }
        if map.entries.len() >= limit {
            return None;
        }
        let entry = Arc::new(make());
        let mut entries = map.entries.clone();
        let mut place = hash;
        while entries.contains_key(&place) {
            place = place.wrapping_add(1);
        }
        entries.insert(place, entry.clone());
        self.map.store(Arc::new(Map { entries }));
        Some(entry)
    }

    /// Records into the entry of a key, made by `make` if it is new. `ladder` has the keys, the finest first, each with the number
    /// of entries from which on those that it has none for are counted with the next.
    pub(super) fn record<K: Copy + Hash>(
        &self,
        ladder: impl IntoIterator<Item = (K, usize)>,
        is: impl Fn(&T, K) -> bool,
        make: impl Fn(K) -> T,
        record: impl Fn(&T),
    ) {
        for (key, limit) in ladder {
            let hash = self.hash(key);
            let is_it = |entry: &T| is(entry, key);
            if self.with(hash, is_it, &record).is_some() {
                return;
            }
            if let Some(entry) = self.get_or_make(hash, limit, is_it, || make(key)) {
                return record(&entry);
            }
        }
    }

    /// All entries as of now.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.map.load().entries.values().cloned().collect()
    }
}

impl<T> Map<T> {
    fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<&Arc<T>> {
        let mut place = hash;
        loop {
            let entry = self.entries.get(&place)?;
            if is_it(entry) {
                return Some(entry);
            }
            place = place.wrapping_add(1);
        }
    }
}

/// The keys are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::Interned;

    #[test]
    fn entries_with_the_same_hash_are_told_apart() {
        let table: Interned<&str> = Interned::new();
        assert!(table.get_or_make(7, 10, |e| *e == "a", || "a").is_some());
        assert!(table.get_or_make(7, 10, |e| *e == "b", || "b").is_some());
        assert_eq!(table.with(7, |e| *e == "b", |e| *e), Some("b"));
        assert_eq!(table.all().len(), 2);
    }

    #[test]
    fn the_limit_holds_for_new_entries_only() {
        let table: Interned<u64> = Interned::new();
        for n in 0..5 {
            assert_eq!(table.get_or_make(n, 3, |e| *e == n, || n).is_some(), n < 3);
        }
        assert!(table.get_or_make(0, 3, |e| *e == 0, || 0).is_some());
    }

    #[test]
    fn what_has_no_room_is_recorded_in_the_next_coarser_entry() {
        let table: Interned<(u64, Cell<u32>)> = Interned::new();
        let record = |n: u64| {
            let (make, count) = (|n| (n, Cell::new(0)), |entry: &(u64, Cell<u32>)| entry.1.set(entry.1.get() + 1));
            table.record([(n, 2), (u64::MAX, usize::MAX)], |entry, n| entry.0 == n, make, count);
        };
        [1, 2, 3, 4, 2].into_iter().for_each(record);
        let mut counts: Vec<_> = table.all().iter().map(|entry| (entry.0, entry.1.get())).collect();
        counts.sort_unstable();
        assert_eq!(counts, [(1, 1), (2, 2), (u64::MAX, 2)]);
    }

    #[test]
    fn concurrent_callers_make_one_entry() {
        let table: Interned<u64> = Interned::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for n in 0..50 {
                        assert!(table.get_or_make(n, 100, |e| *e == n, || n).is_some());
                    }
                });
            }
        });
        assert_eq!(table.all().len(), 50);
    }
}
