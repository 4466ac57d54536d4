//! Keys made at run time: made, listed, changed, rotated and deleted through the admin API.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use log::{info, warn};
use parking_lot::Mutex;

use super::by_hash::Digest;
use super::grant::{Maker, grant};
use super::record::{Inner, Record, Secrets};
use super::secret::digest;
use super::shared::{Entry, Outbox};
use super::since::Since;
use super::store::{Changed, Deleted, Parent, Put, REMEMBERED, Row, Store};
use super::{Bounds, Change, KeyError, KeyRing, Listed, LiveKeys, NewKey, new_secret, seconds};
use crate::limits::Limits;

/// The keys made at run time and where they are kept. Every method blocks: on a disk, or on another one's. A change is on disk
/// before it counts, and counts for the next request.
#[derive(Debug)]
pub struct RuntimeKeys {
    live: Arc<LiveKeys>,
    limits: Arc<Limits>,
    pub(super) inner: Mutex<Inner>,
    /// What other instances have to be told, if there are any.
    pub(super) outbox: OnceLock<Arc<Outbox>>,
}

impl RuntimeKeys {
    /// Opens the store at `path`, which is made if there is none, and takes its keys into memory and their limits into `limits`.
    /// A key whose maker is not in the configuration any more, or whose name now stands there, is refused to clients, and
    /// reported.
    ///
    /// # Errors
    /// The store cannot be opened or read.
    pub fn open(path: &Path, configured: &KeyRing, limits: Arc<Limits>) -> Result<Self, KeyError> {
        let mut store = Store::open(path)?;
        let loaded = store.load(limits.now())?;
        let mut secrets: BTreeMap<String, Secrets> = BTreeMap::new();
        for (hash, name, until) in loaded.secrets {
            secrets.entry(name).or_default().push((hash, until));
        }
        let (deleted, configured) = (loaded.deleted.into_iter().collect(), configured.configured().clone());
        let mut inner = Inner { store, records: BTreeMap::new(), deleted, configured };
        // Makers are of the file or made by the master: nothing that a key made makes keys itself.
        let (of_master, of_keys): (Vec<Row>, Vec<Row>) = loaded.rows.into_iter().partition(|row| row.maker.is_none());
        for row in of_master.into_iter().chain(of_keys) {
            let mut secrets = secrets.remove(&row.config.name).unwrap_or_default();
            secrets.sort_by_key(|(_, until)| until.is_some());
            let record = inner.record(row, secrets);
            inner.records.insert(record.key.name.clone(), record);
        }
        let in_memory = inner
            .records
            .values()
            .flat_map(|record| record.secrets.iter().map(|(hash, until)| (*hash, *until, record.key.clone())));
        let live = Arc::new(LiveKeys::new(in_memory));
        for record in inner.records.values() {
            record.bound(&limits);
        }
        Ok(Self { live, limits, inner: Mutex::new(inner), outbox: OnceLock::new() })
    }

    /// Binds the keys to another configuration's: those that made them may have other rights now, or be gone.
    pub fn rebind(&self, configured: &KeyRing) {
        let mut inner = self.inner.lock();
        inner.configured.clone_from(configured.configured());
        let mut names: Vec<(bool, Arc<str>)> =
            inner.records.iter().map(|(name, record)| (record.maker.is_some(), name.clone())).collect();
        // Those that made others come first.
        names.sort();
        self.bind(&mut inner, names.into_iter().map(|(_, name)| name));
        let oldest = self.oldest();
        inner.deleted.retain(|_, deleted| deleted.changed >= oldest);
        if let Err(error) = inner.store.forget_before(oldest) {
            warn!("{error}");
        }
    }

    /// The part that requests look into.
    pub fn live(&self) -> Arc<LiveKeys> {
        self.live.clone()
    }

    /// Makes a key and gives its secret, which is shown this once.
    ///
    /// # Errors
    /// The maker may not make keys any more, the name is taken, it would have more than its maker, or the store failed.
    pub fn create(&self, new: NewKey, maker: &Maker) -> Result<(Listed, String), KeyError> {
        let mut inner = self.inner.lock();
        let config = grant(new, inner.maker(maker, self.limits.time().now())?.as_deref())?;
        let taken = inner.configured.contains_key(&*config.name) || inner.records.contains_key(&*config.name);
        if taken || inner.store.created(&config.name)?.is_some() {
            return Err(KeyError::Conflict(format!("there is a key named `{}` already", config.name)));
        }
        let now = self.now();
        // No two keys of a name are made at the same time: that tells them apart.
        let before = inner.deleted.get(&config.name);
        let created = now.max(before.map_or(1, |before| before.created.saturating_add(1)));
        let changed = self.stamp(before.map(|before| before.changed));
        let maker_is = match maker {
            Maker::Master => None,
            Maker::Key(key) => Some(Parent { name: key.name.to_string(), created: key.made() }),
        };
        let secret = new_secret()?;
        // What was spent by one of that name before is not its.
        let since = Since::default().after(&[], &config.rules, changed);
        let row = Row { config, maker: maker_is, created, enabled: true, changed, parts: Changed::at(changed), since };
        let record = inner.record(row, vec![(digest(secret.as_bytes()), None)]);
        let listed = Listed::record(&record, now);
        inner.store.put(&[record.put(&record.row())])?;
        self.take_in(&mut inner, record);
        self.tell(listed.name());
        info!("the key `{}` was made by {}", listed.name(), who(maker));
        Ok((listed, secret))
    }

    /// Gives the key a new secret; the present one is taken for `overlap` more, any before it no longer.
    ///
    /// # Errors
    /// There is no such key of this maker's, or the store failed.
    pub fn rotate(&self, name: &str, overlap: Duration, maker: &Maker) -> Result<(Listed, String), KeyError> {
        let secret = new_secret()?;
        let now = self.now();
        let listed = self.edit(name, maker, |row, secrets| {
            let current = secrets.iter().find(|(_, until)| until.is_none()).map(|(hash, _)| *hash);
            let kept = current.filter(|_| !overlap.is_zero());
            let until = now.saturating_add(overlap.as_secs().max(1));
            *secrets = vec![(digest(secret.as_bytes()), None)];
            secrets.extend(kept.map(|old| (old, Some(until))));
            row.parts.secrets = row.changed;
        })?;
        info!("the key `{name}` has a new secret, by {}", who(maker));
        Ok((listed, secret))
    }

    /// Takes the key out of use or brings it back, and gives it other limits and budgets. What was counted stays counted.
    ///
    /// # Errors
    /// There is no such key of this maker's, or the store failed.
    pub fn change(&self, name: &str, change: Change, maker: &Maker) -> Result<Listed, KeyError> {
        let Change { enabled, bounds } = change;
        let listed = self.edit(name, maker, |row, _| {
            if let Some(enabled) = enabled {
                (row.enabled, row.parts.enabled) = (enabled, row.changed);
            }
            if bounds != Bounds::default() {
                let rules = bounds.over(&row.config.rules);
                row.since = row.since.after(&row.config.rules, &rules, row.changed);
                row.config.rules = rules;
                row.parts.rules = row.changed;
            }
        })?;
        let what = match enabled {
            Some(true) => "enabled",
            Some(false) => "disabled",
            None => "given other limits",
        };
        info!("the key `{name}` was {what} by {}", who(maker));
        Ok(listed)
    }

    /// `edit` gets the row with the time of the change in it.
    fn edit(&self, name: &str, maker: &Maker, edit: impl FnOnce(&mut Row, &mut Secrets)) -> Result<Listed, KeyError> {
        let mut inner = self.inner.lock();
        inner.maker(maker, self.limits.time().now())?;
        let record = inner.find(name, maker)?;
        let (mut row, mut secrets) = (record.row(), record.secrets.clone());
        row.changed = self.stamp(Some(record.changed));
        edit(&mut row, &mut secrets);
        inner.store.put(&[Put::Key { row: &row, secrets: &secrets }])?;
        self.update(&mut inner, row, secrets);
        self.tell(name);
        let record = inner.find(name, maker)?;
        Ok(Listed::record(record, self.now()))
    }

    /// Deletes the key, and those that it made.
    ///
    /// # Errors
    /// There is no such key of this maker's, or the store failed.
    pub fn delete(&self, name: &str, maker: &Maker) -> Result<(), KeyError> {
        let mut inner = self.inner.lock();
        inner.maker(maker, self.limits.time().now())?;
        let (created, last) = match inner.find(name, maker) {
            Ok(record) => (record.created, Some(record.changed)),
            Err(error) => match inner.store.created(name)? {
                // One that could not be read.
                Some(created) if maker.name().is_none() => (created, None),
                Some(_) | None => return Err(error),
            },
        };
        let made = inner.records.values().filter(|record| record.is_by(name, created));
        let made = made.map(|record| (record.key.name.clone(), record.created, Some(record.changed)));
        let gone: Vec<(Arc<str>, Deleted)> = made
            .chain([(name.into(), created, last)])
            .map(|(name, created, last)| (name, Deleted { created, changed: self.stamp(last) }))
            .collect();
        let puts: Vec<Put<'_>> = gone.iter().map(|(name, deleted)| Put::Deleted { name, deleted: *deleted }).collect();
        inner.store.put(&puts)?;
        for (name, deleted) in gone {
            self.forget(&mut inner, &name, deleted);
            self.tell(&name);
        }
        info!("the key `{name}` was deleted by {}", who(maker));
        Ok(())
    }

    /// One key.
    ///
    /// # Errors
    /// There is no such key of this maker's.
    pub fn get(&self, name: &str, maker: &Maker) -> Result<Listed, KeyError> {
        let inner = self.inner.lock();
        let record = inner.find(name, maker)?;
        Ok(Listed::record(record, self.now()))
    }

    /// The maker's keys whose name comes after `after`, by name, at most `most`.
    pub fn list(&self, after: &str, most: usize, maker: &Maker) -> Vec<Listed> {
        use std::ops::Bound::{Excluded, Unbounded};
        let inner = self.inner.lock();
        let now = self.now();
        let rest = inner.records.range::<str, _>((Excluded(after), Unbounded)).map(|(_, record)| record);
        rest.filter(|record| record.is_of(maker)).take(most).map(|record| Listed::record(record, now)).collect()
    }

    /// Seconds since 1970.
    fn now(&self) -> u64 {
        seconds(self.limits.time().now())
    }

    /// Since when it is known what was deleted: milliseconds since 1970.
    pub(super) fn oldest(&self) -> u64 {
        self.limits.now().saturating_sub(REMEMBERED)
    }

    /// A time later than `last`.
    pub(super) fn stamp(&self, last: Option<u64>) -> u64 {
        self.limits.now().max(last.map_or(0, |last| last.saturating_add(1)))
    }

    /// A key that was not there is there now.
    pub(super) fn take_in(&self, inner: &mut Inner, record: Record) {
        inner.deleted.remove(&*record.key.name);
        self.put_in_force(inner, record);
    }

    fn put_in_force(&self, inner: &mut Inner, record: Record) {
        for (hash, until) in &record.secrets {
            self.live.change(hash, |keys| keys.insert(*hash, *until, record.key.clone()));
        }
        record.bound(&self.limits);
        inner.records.insert(record.key.name.clone(), record);
    }

    /// Binds the keys of these names to what bounds them now. Those that made others come first.
    pub(super) fn bind(&self, inner: &mut Inner, names: impl IntoIterator<Item = Arc<str>>) {
        for name in names {
            let Some(record) = inner.records.get(&name) else { continue };
            let record = inner.record(record.row(), record.secrets.clone());
            self.put_in_force(inner, record);
        }
    }

    /// A key that is there is as `row` says now.
    pub(super) fn update(&self, inner: &mut Inner, row: Row, secrets: Secrets) {
        let Some(record) = inner.records.get_mut(&*row.config.name) else { return };
        let before = record.take(row, secrets);
        // What goes on being taken is at no moment missing.
        for (hash, until) in &record.secrets {
            self.live.change(hash, |keys| keys.insert(*hash, *until, record.key.clone()));
        }
        let gone = |(old, _): &&(Digest, _)| !record.secrets.iter().any(|(hash, _)| hash == old);
        for (old, _) in before.iter().filter(gone) {
            self.live.change(old, |keys| keys.remove(old));
        }
        record.bound(&self.limits);
    }

    /// A key is no more.
    pub(super) fn forget(&self, inner: &mut Inner, name: &str, deleted: Deleted) {
        inner.deleted.insert(name.to_owned(), deleted);
        self.remove(inner, name);
    }

    /// A key is no more, or another one is to take its name.
    pub(super) fn remove(&self, inner: &mut Inner, name: &str) {
        let Some(mut record) = inner.records.remove(name) else { return };
        record.key.set_enabled(false);
        for (hash, _) in &record.secrets {
            self.live.change(hash, |keys| keys.remove(hash));
        }
        record.rules.clear();
        record.bound(&self.limits);
    }

    pub(super) fn tell(&self, name: &str) {
        if let Some(outbox) = self.outbox.get() {
            outbox.add(name);
        }
    }

    /// What other instances have to know of the keys of these names; `None`: of all.
    pub(super) fn entries(&self, names: Option<&HashSet<String>>) -> Vec<Entry> {
        let inner = self.inner.lock();
        let wanted = |name: &str| names.is_none_or(|names| names.contains(name));
        let records = inner.records.iter().filter(|(name, _)| wanted(name));
        let oldest = self.oldest();
        let deleted = inner.deleted.iter().filter(|(name, deleted)| wanted(name) && deleted.changed >= oldest);
        let there = records.map(|(_, record)| Entry::of(record.row(), &record.secrets));
        there.chain(deleted.map(|(name, deleted)| Entry::deleted(name.clone(), *deleted))).collect()
    }
}

fn who(maker: &Maker) -> &str {
    maker.name().unwrap_or("the master")
}
