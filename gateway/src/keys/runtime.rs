//! Keys made at run time: made, listed, changed, rotated and deleted through the admin API.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use log::{info, warn};

use super::by_hash::Digest;
use super::grant::{Maker, grant};
use super::record::{Inner, Record, Secrets};
use super::secret::digest;
use super::shared::{Entry, Outbox, Parts};
use super::store::{Put, Row, Store};
use super::{Change, KeyError, KeyRing, Listed, LiveKeys, NewKey, new_secret, seconds};
use crate::limits::Limits;

/// The keys made at run time and where they are kept. Every method blocks: on a disk, or on another one's. A change is on disk
/// before it counts, and counts for the next request.
#[derive(Debug)]
pub struct RuntimeKeys {
    live: Arc<LiveKeys>,
    limits: Arc<Limits>,
    inner: Mutex<Inner>,
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
        let mut inner = self.lock();
        inner.configured.clone_from(configured.configured());
        let mut names: Vec<(bool, Arc<str>)> =
            inner.records.iter().map(|(name, record)| (record.maker.is_some(), name.clone())).collect();
        // Those that made others come first.
        names.sort();
        for (_, name) in names {
            let Some(record) = inner.records.get(&name) else { continue };
            let record = inner.record(record.row(), record.secrets.clone());
            self.put_in_force(&mut inner, record);
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
        let mut inner = self.lock();
        let config = grant(new, inner.maker(maker, self.limits.time().now())?.as_deref())?;
        let taken = inner.configured.contains_key(&*config.name) || inner.records.contains_key(&*config.name);
        if taken || inner.store.has(&config.name)? {
            return Err(KeyError::Conflict(format!("there is a key named `{}` already", config.name)));
        }
        let now = self.now();
        let changed = self.stamp(inner.deleted.get(&config.name).copied());
        let maker_name = maker.name().map(str::to_owned);
        let (secret, row) = (new_secret()?, Row { config, maker: maker_name, created: now, enabled: true, changed });
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
        let listed = self.edit(name, maker, |_, secrets| {
            let current = secrets.iter().find(|(_, until)| until.is_none()).map(|(hash, _)| *hash);
            let kept = current.filter(|_| !overlap.is_zero());
            let until = now.saturating_add(overlap.as_secs().max(1));
            *secrets = vec![(digest(secret.as_bytes()), None)];
            secrets.extend(kept.map(|old| (old, Some(until))));
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
            row.enabled = enabled.unwrap_or(row.enabled);
            row.config.rules = bounds.over(&row.config.rules);
        })?;
        let what = match enabled {
            Some(true) => "enabled",
            Some(false) => "disabled",
            None => "given other limits",
        };
        info!("the key `{name}` was {what} by {}", who(maker));
        Ok(listed)
    }

    fn edit(&self, name: &str, maker: &Maker, edit: impl FnOnce(&mut Row, &mut Secrets)) -> Result<Listed, KeyError> {
        let mut inner = self.lock();
        inner.maker(maker, self.limits.time().now())?;
        let record = inner.find(name, maker)?;
        let (mut row, mut secrets) = (record.row(), record.secrets.clone());
        edit(&mut row, &mut secrets);
        row.changed = self.stamp(Some(record.changed));
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
        let mut inner = self.lock();
        inner.maker(maker, self.limits.time().now())?;
        let last = match inner.find(name, maker) {
            Ok(record) => Some(record.changed),
            // One that could not be read.
            Err(_) if maker.name().is_none() && inner.store.has(name)? => None,
            Err(error) => return Err(error),
        };
        let changed = self.stamp(last);
        let made = inner.records.values().filter(|record| record.maker.as_deref() == Some(name));
        let mut names: Vec<Arc<str>> = made.map(|record| record.key.name.clone()).collect();
        names.push(name.into());
        let puts: Vec<Put<'_>> = names.iter().map(|name| Put::Deleted { name, changed }).collect();
        inner.store.put(&puts)?;
        for name in &names {
            self.forget(&mut inner, name, changed);
            self.tell(name);
        }
        info!("the key `{name}` was deleted by {}", who(maker));
        Ok(())
    }

    /// One key.
    ///
    /// # Errors
    /// There is no such key of this maker's.
    pub fn get(&self, name: &str, maker: &Maker) -> Result<Listed, KeyError> {
        let inner = self.lock();
        let record = inner.find(name, maker)?;
        Ok(Listed::record(record, self.now()))
    }

    /// The maker's keys whose name comes after `after`, by name, at most `most`.
    pub fn list(&self, after: &str, most: usize, maker: &Maker) -> Vec<Listed> {
        use std::ops::Bound::{Excluded, Unbounded};
        let inner = self.lock();
        let now = self.now();
        let rest = inner.records.range::<str, _>((Excluded(after), Unbounded)).map(|(_, record)| record);
        rest.filter(|record| record.is_of(maker)).take(most).map(|record| Listed::record(record, now)).collect()
    }

    /// Takes over what other instances have changed later than this one.
    ///
    /// # Errors
    /// The store failed; nothing has changed then.
    pub(super) fn merge(&self, mut entries: Vec<Entry>) -> Result<(), KeyError> {
        // Those that made others come first.
        entries.sort_by_key(Entry::has_maker);
        let mut inner = self.lock();
        let known = |name: &str| match inner.records.get(name) {
            Some(record) => Some(Entry::of(record.row(), &record.secrets)),
            None => inner.deleted.get(name).map(|changed| Entry::deleted(name.to_owned(), *changed)),
        };
        // Of two changes in one millisecond everybody takes that which the Redis has.
        entries.retain(|entry| known(&entry.name).is_none_or(|own| own.changed <= entry.changed && own != *entry));
        let parts: Vec<(Entry, Option<Parts>)> = entries
            .into_iter()
            .filter_map(|entry| match entry.parts() {
                Ok(parts) => Some((entry, parts)),
                Err(error) => {
                    warn!("the key `{}` of the Redis is not taken: {error}", entry.name.escape_debug());
                    None
                }
            })
            .collect();
        let puts: Vec<Put<'_>> = parts
            .iter()
            .map(|(entry, parts)| match parts {
                Some((row, secrets)) => Put::Key { row, secrets },
                None => Put::Deleted { name: &entry.name, changed: entry.changed },
            })
            .collect();
        inner.store.put(&puts)?;
        for (entry, parts) in parts {
            let Some((row, secrets)) = parts else {
                self.forget(&mut inner, &entry.name, entry.changed);
                continue;
            };
            let same =
                |record: &Record| record.created == row.created && record.maker.as_deref() == row.maker.as_deref();
            if inner.records.get(&*entry.name).is_some_and(same) {
                self.update(&mut inner, row, secrets);
            } else {
                self.forget(&mut inner, &entry.name, entry.changed);
                let record = inner.record(row, secrets);
                self.take_in(&mut inner, record);
            }
        }
        Ok(())
    }

    /// Seconds since 1970.
    fn now(&self) -> u64 {
        seconds(self.limits.time().now())
    }

    /// A time later than `last`.
    fn stamp(&self, last: Option<u64>) -> u64 {
        self.limits.now().max(last.map_or(0, |last| last.saturating_add(1)))
    }

    /// A key that was not there is there now.
    fn take_in(&self, inner: &mut Inner, record: Record) {
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

    /// A key that is there is as `row` says now.
    fn update(&self, inner: &mut Inner, row: Row, secrets: Secrets) {
        let Some(record) = inner.records.get_mut(&*row.config.name) else { return };
        record.key.set_enabled(row.enabled);
        let before = std::mem::replace(&mut record.secrets, secrets);
        // What goes on being taken is at no moment missing.
        for (hash, until) in &record.secrets {
            self.live.change(hash, |keys| keys.insert(*hash, *until, record.key.clone()));
        }
        let gone = |(old, _): &&(Digest, _)| !record.secrets.iter().any(|(hash, _)| hash == old);
        for (old, _) in before.iter().filter(gone) {
            self.live.change(old, |keys| keys.remove(old));
        }
        (record.rules, record.changed) = (row.config.rules, row.changed);
        record.bound(&self.limits);
    }

    /// A key is no more.
    fn forget(&self, inner: &mut Inner, name: &str, changed: u64) {
        inner.deleted.insert(name.to_owned(), changed);
        let Some(mut record) = inner.records.remove(name) else { return };
        record.key.set_enabled(false);
        for (hash, _) in &record.secrets {
            self.live.change(hash, |keys| keys.remove(hash));
        }
        record.rules.clear();
        record.bound(&self.limits);
    }

    fn tell(&self, name: &str) {
        if let Some(outbox) = self.outbox.get() {
            outbox.add(name);
        }
    }

    /// What other instances have to know of the keys of these names; `None`: of all.
    pub(super) fn entries(&self, names: Option<&HashSet<String>>) -> Vec<Entry> {
        let inner = self.lock();
        let wanted = |name: &str| names.is_none_or(|names| names.contains(name));
        let records = inner.records.iter().filter(|(name, _)| wanted(name));
        let deleted = inner.deleted.iter().filter(|(name, _)| wanted(name));
        let there = records.map(|(_, record)| Entry::of(record.row(), &record.secrets));
        there.chain(deleted.map(|(name, changed)| Entry::deleted(name.clone(), *changed))).collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn who(maker: &Maker) -> &str {
    maker.name().unwrap_or("the master")
}
