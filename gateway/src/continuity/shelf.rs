//! What is kept of many keys in a bounded room, so that none of them turns the others' out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

/// A key that has this part of a full room gives way to itself.
const SHARE: u64 = 8;

/// Things by name, of which the least used go first when they weigh too much: those of whoever adds one, if it has its share of
/// the room, else anybody's. Whose one is stands in its name, before the first `\0`.
#[derive(Debug)]
pub struct Shelf<V> {
    most: u64,
    inner: Mutex<Inner<V>>,
}

#[derive(Debug)]
struct Inner<V> {
    things: HashMap<Arc<str>, Thing<V>>,
    /// By when they were used.
    order: BTreeMap<u64, Arc<str>>,
    owners: HashMap<Box<str>, Owned>,
    weight: u64,
    /// When the next one is used.
    next: u64,
}

#[derive(Debug)]
struct Thing<V> {
    value: V,
    weight: u64,
    used: u64,
}

#[derive(Debug, Default)]
struct Owned {
    weight: u64,
    used: BTreeSet<u64>,
}

impl<V: Clone> Shelf<V> {
    /// Room for things that weigh no more than this together.
    pub fn new(most: u64) -> Self {
        let (things, order, owners) = (HashMap::new(), BTreeMap::new(), HashMap::new());
        Self { most, inner: Mutex::new(Inner { things, order, owners, weight: 0, next: 0 }) }
    }

    /// Keeps `value`, unless it weighs more than a share.
    pub fn insert(&self, name: Box<str>, value: V, weight: u64) {
        self.update(name, |_| (value, weight));
    }

    /// The same of what `new` makes of the one of that name, and of what that weighs: nobody else changes it meanwhile.
    pub fn update(&self, name: Box<str>, new: impl FnOnce(Option<&V>) -> (V, u64)) {
        let share = self.most / SHARE;
        let mut inner = self.inner.lock();
        let before = inner.take(&name);
        let (value, weight) = new(before.as_ref().map(|(_, thing)| &thing.value));
        if weight > share {
            return;
        }
        while inner.weight.saturating_add(weight) > self.most {
            let owned = inner.owners.get(owner(&name)).filter(|owned| owned.weight.saturating_add(weight) > share);
            let least = match owned {
                Some(owned) => owned.used.first().copied(),
                None => inner.order.keys().next().copied(),
            };
            let Some(name) = least.and_then(|used| inner.order.get(&used).cloned()) else { return };
            inner.take(&name);
        }
        inner.put(name.into(), value, weight);
    }

    /// The one of that name, which is used by that.
    pub fn get(&self, name: &str) -> Option<V> {
        let mut inner = self.inner.lock();
        let thing = inner.things.get(name)?;
        if inner.is_new(owner(name), thing, self.most / SHARE) {
            return Some(thing.value.clone());
        }
        let (name, Thing { value, weight, .. }) = inner.take(name)?;
        inner.put(name, value.clone(), weight);
        Some(value)
    }

    /// The same, and it is gone.
    pub fn remove(&self, name: &str) -> Option<V> {
        self.inner.lock().take(name).map(|(_, thing)| thing.value)
    }

    /// Whether there is one of that owner.
    pub fn has_any_of(&self, owner: &str) -> bool {
        self.inner.lock().owners.contains_key(owner)
    }

    /// All, the least used first.
    pub fn all(&self) -> Vec<(Box<str>, V)> {
        let inner = self.inner.lock();
        let all =
            inner.order.values().filter_map(|name| Some(((&**name).into(), inner.things.get(name)?.value.clone())));
        all.collect()
    }
}

impl<V> Inner<V> {
    /// Whether `thing` is among the newer half of those that it would go with, and need not change its place though it is used.
    fn is_new(&self, owner: &str, thing: &Thing<V>, share: u64) -> bool {
        let owned = self.owners.get(owner).filter(|owned| owned.weight > share / 2);
        let others = owned.map_or(self.things.len(), |owned| owned.used.len());
        self.next - thing.used < others as u64 / 2
    }

    fn take(&mut self, name: &str) -> Option<(Arc<str>, Thing<V>)> {
        let (name, thing) = self.things.remove_entry(name)?;
        self.order.remove(&thing.used);
        self.weight = self.weight.saturating_sub(thing.weight);
        let owner = owner(&name);
        if let Some(owned) = self.owners.get_mut(owner) {
            owned.weight = owned.weight.saturating_sub(thing.weight);
            owned.used.remove(&thing.used);
            if owned.used.is_empty() {
                self.owners.remove(owner);
            }
        }
        Some((name, thing))
    }

    fn put(&mut self, name: Arc<str>, value: V, weight: u64) {
        let used = self.next;
        self.next += 1;
        self.weight = self.weight.saturating_add(weight);
        let owner = owner(&name);
        if !self.owners.contains_key(owner) {
            self.owners.insert(owner.into(), Owned::default());
        }
        if let Some(owned) = self.owners.get_mut(owner) {
            owned.weight = owned.weight.saturating_add(weight);
            owned.used.insert(used);
        }
        self.order.insert(used, name.clone());
        self.things.insert(name, Thing { value, weight, used });
    }
}

fn owner(name: &str) -> &str {
    name.split_once('\0').map_or(name, |(owner, _)| owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(shelf: &Shelf<u8>) -> Vec<String> {
        shelf.all().into_iter().map(|(name, _)| name.replace('\0', "/")).collect()
    }

    #[test]
    fn who_has_its_share_gives_way_to_itself() {
        let shelf = Shelf::new(16);
        shelf.insert("quiet\x001".into(), 1, 1);
        for number in 0..100_u8 {
            shelf.insert(format!("busy\x00{number}").into(), number, 1);
        }
        assert_eq!(shelf.get("quiet\x001"), Some(1));
        let kept = names(&shelf);
        assert_eq!(kept.len(), 16, "what nobody else wants it may have: {kept:?}");
        assert_eq!((&*kept[0], &*kept[14]), ("busy/85", "busy/99"));

        // Whoever has less than its share finds room, and what is not used goes first.
        shelf.insert("new\x001".into(), 1, 2);
        assert_eq!(names(&shelf)[0], "busy/87");
        shelf.insert("new\x002".into(), 2, 1);
        assert_eq!((shelf.get("new\x001"), shelf.get("new\x002"), shelf.get("quiet\x001")), (None, Some(2), Some(1)));
    }

    #[test]
    fn what_is_there_is_made_another() {
        let shelf = Shelf::new(16);
        for known in [None, Some(1), Some(2)] {
            shelf.update("a\x001".into(), |before| {
                assert_eq!(before.copied(), known);
                (known.unwrap_or(0) + 1, 1)
            });
        }
        assert_eq!((shelf.get("a\x001"), shelf.inner.lock().weight), (Some(3), 1));
    }

    #[test]
    fn what_is_used_stays() {
        let shelf = Shelf::new(16);
        for number in 0..16_u8 {
            shelf.insert(format!("\x00{number}").into(), number, 1);
        }
        assert_eq!(shelf.get("\x000"), Some(0));
        shelf.insert("\x0016".into(), 16, 1);
        assert_eq!((shelf.get("\x000"), shelf.get("\x001")), (Some(0), None));
    }

    #[test]
    fn what_is_new_keeps_its_place() {
        let shelf = Shelf::new(64);
        for number in 0..32_u8 {
            shelf.insert(format!("{number}\x00").into(), number, 1);
        }
        let order = names(&shelf);
        assert_eq!((shelf.get("31\x00"), shelf.get("20\x00")), (Some(31), Some(20)));
        assert_eq!(names(&shelf), order);
        assert_eq!(shelf.get("10\x00"), Some(10));
        assert_eq!(names(&shelf).last().unwrap(), "10/");

        // Who would give way to itself has an order of its own.
        for number in 0..6_u8 {
            shelf.insert(format!("busy\x00{number}").into(), number, 1);
        }
        assert_eq!((shelf.get("busy\x004"), shelf.get("busy\x000")), (Some(4), Some(0)));
        assert_eq!(names(&shelf)[36..], ["busy/5", "busy/0"]);
    }

    #[test]
    fn what_weighs_more_than_a_share_is_not_kept_and_the_one_before_it_neither() {
        let shelf = Shelf::new(16);
        shelf.insert("a\x001".into(), 1, 1);
        shelf.insert("b\x001".into(), 1, 2);
        shelf.insert("a\x001".into(), 2, 3);
        assert_eq!((shelf.get("a\x001"), shelf.get("b\x001")), (None, Some(1)));
        assert!(shelf.has_any_of("b") && !shelf.has_any_of("a"));
        assert_eq!(shelf.remove("b\x001"), Some(1));
        let inner = shelf.inner.lock();
        assert_eq!((inner.weight, inner.things.len(), inner.order.len(), inner.owners.len()), (0, 0, 0, 0));
    }
}
