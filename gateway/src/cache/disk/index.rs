//! What lies on disk, as far as it matters to finding, bounding and purging it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::{Fingerprint, Form, Meta, Purge, record};

/// What a file is called by.
pub type Name = (Fingerprint, Form);

/// What is known of a file.
#[derive(Debug)]
pub struct Item {
    /// Bytes that it takes on the disk.
    pub size: u64,
    /// When its time is over, in milliseconds since 1970.
    pub until: u64,
    /// When it was made, likewise.
    created: u64,
    used: u64,
    key: Option<Box<str>>,
    model: Box<str>,
    tags: Vec<Box<str>>,
}

impl Item {
    /// The file of an entry.
    pub fn new(meta: Meta, size: u64) -> Self {
        let (until, created) = (record::end_of(&meta), record::millis(meta.created));
        Self { size, until, created, used: 0, key: meta.key, model: meta.model, tags: meta.tags }
    }
}

/// All files.
#[derive(Debug, Default)]
pub struct Index {
    items: HashMap<Name, Item>,
    /// By when they were last used.
    order: BTreeMap<u64, Name>,
    /// By when their time is over.
    ends: BTreeSet<(u64, Name)>,
    clock: u64,
    bytes: u64,
}

impl Index {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether a file is there whose time is not over at `now`; it is the most recently used one then.
    pub fn find(&mut self, name: &Name, now: u64) -> bool {
        let Some(item) = self.items.get_mut(name).filter(|item| item.until > now) else { return false };
        self.clock += 1;
        self.order.remove(&item.used);
        item.used = self.clock;
        self.order.insert(self.clock, *name);
        true
    }

    /// A file has been written, in place of the one before.
    pub fn insert(&mut self, name: Name, mut item: Item) {
        self.remove(&name);
        self.clock += 1;
        item.used = self.clock;
        self.order.insert(self.clock, name);
        self.ends.insert((item.until, name));
        self.bytes += item.size;
        self.items.insert(name, item);
    }

    /// A file is gone.
    pub fn remove(&mut self, name: &Name) -> bool {
        let Some(item) = self.items.remove(name) else { return false };
        self.order.remove(&item.used);
        self.ends.remove(&(item.until, *name));
        self.bytes -= item.size.min(self.bytes);
        true
    }

    /// The one that was not used for the longest time.
    pub fn oldest(&self) -> Option<Name> {
        self.order.first_key_value().map(|(_, name)| *name)
    }

    /// One whose time is over at `now`.
    pub fn over(&self, now: u64) -> Option<Name> {
        self.ends.first().filter(|(until, _)| *until <= now).map(|(_, name)| *name)
    }

    /// Those that `what` takes and that were made before `then`, among the next `most` ones from the place `from` on; and the place
    /// to go on at.
    pub fn taken(&self, what: &Purge, then: u64, from: u64, most: usize) -> (Vec<Name>, Option<u64>) {
        let mut taken = Vec::new();
        let mut last = None;
        for (place, name) in self.order.range(from..).take(most) {
            last = Some(*place);
            let takes = |item: &Item| {
                item.created < then && what.takes_named(&name.0, item.key.as_deref(), &item.model, &item.tags)
            };
            if self.items.get(name).is_some_and(takes) {
                taken.push(*name);
            }
        }
        (taken, last.map(|last| last + 1))
    }
}
