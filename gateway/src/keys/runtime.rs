//! Keys made at run time: made, listed, changed, rotated and deleted through the admin API.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use log::{info, warn};
use serde_json::Value;

use super::by_hash::Digest;
use super::grant::{Maker, grant};
use super::secret::digest;
use super::shared::{Entry, Outbox, Parts};
use super::store::{Put, Row, Store};
use super::{Change, Key, KeyError, KeyRing, LiveKeys, NewKey, bounds, new_secret, seconds, shown};
use crate::config::KeyConfig;
use crate::limits::{Kind, Limits, Rule};

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

/// What a change needs; no request takes its lock.
#[derive(Debug)]
pub(super) struct Inner {
    store: Store,
    pub(super) records: BTreeMap<Arc<str>, Record>,
    /// What was deleted, and when: milliseconds since 1970.
    pub(super) deleted: BTreeMap<String, u64>,
}

/// What is known of a key beside what requests need.
#[derive(Debug)]
pub(super) struct Record {
    key: Arc<Key>,
    /// Its limits and budgets, which can be changed.
    rules: Vec<Rule>,
    maker: Option<Arc<str>>,
    created: u64,
    /// When it was changed last: milliseconds since 1970.
    pub(super) changed: u64,
    /// The newest first; the other, if there is one, ends.
    secrets: Secrets,
    /// The configuration has a key of its name: this one is not taken, and its limits are not the key's.
    aside: bool,
}

type Secrets = Vec<(Digest, Option<u64>)>;

/// A key as it is shown: neither its secret nor the secret's hash.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Listed {
    name: String,
    /// `file` or `store`.
    source: &'static str,
    enabled: bool,
    models: Option<Vec<String>>,
    tags: Vec<String>,
    team: Option<String>,
    owner: Option<String>,
    allow: Vec<&'static str>,
    cache: &'static str,
    expires: Option<String>,
    created: Option<String>,
    /// The key that made it; `null`: the master, or the file.
    made_by: Option<String>,
    /// Until when the secret before the present one is taken too.
    old_secret_until: Option<String>,
    /// Its own limits and budgets, as they are asked for.
    limits: Vec<Value>,
    budget: Vec<Value>,
}

impl Listed {
    /// A key of the configuration.
    pub fn configured(key: &Key) -> Self {
        Self::of(key, "file")
    }

    fn of(key: &Key, source: &'static str) -> Self {
        let config = key.config();
        Self {
            name: key.name.to_string(),
            source,
            enabled: key.is_enabled(),
            models: config.models.as_ref().map(|models| models.iter().map(ToString::to_string).collect()),
            tags: config.tags.clone(),
            team: config.team.clone(),
            owner: config.owner.clone(),
            allow: config.allow.iter().map(|right| right.as_str()).collect(),
            cache: key.cache().as_str(),
            expires: config.expires.map(|end| shown(seconds(end))),
            created: None,
            made_by: None,
            old_secret_until: None,
            limits: bounds::shown_limits(&config.rules),
            budget: bounds::shown_budgets(&config.rules),
        }
    }

    fn record(record: &Record, now: u64) -> Self {
        let old = record.secrets.iter().find_map(|(_, until)| until.filter(|until| *until > now));
        Self {
            created: Some(shown(record.created)),
            made_by: record.maker.as_deref().map(str::to_owned),
            old_secret_until: old.map(shown),
            limits: bounds::shown_limits(&record.rules),
            budget: bounds::shown_budgets(&record.rules),
            ..Self::of(&record.key, "store")
        }
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }
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
        let mut records = BTreeMap::new();
        // Makers are of the file or made by the master: nothing that a key made makes keys itself.
        let (of_master, of_keys): (Vec<Row>, Vec<Row>) = loaded.rows.into_iter().partition(|row| row.maker.is_none());
        for row in of_master.into_iter().chain(of_keys) {
            let within = within(&row, &records, configured);
            let record = Record::new(row, within, Vec::new(), configured);
            records.insert(record.key.name.clone(), record);
        }
        for (hash, name, until) in loaded.secrets {
            if let Some(record) = records.get_mut(&*name) {
                record.secrets.push((hash, until));
                record.secrets.sort_by_key(|(_, until)| until.is_some());
            }
        }
        let in_memory = records
            .values()
            .flat_map(|record| record.secrets.iter().map(|(hash, until)| (*hash, *until, record.key.clone())));
        let live = Arc::new(LiveKeys::new(in_memory));
        for record in records.values() {
            bound(&limits, record);
        }
        let inner = Inner { store, records, deleted: loaded.deleted.into_iter().collect() };
        Ok(Self { live, limits, inner: Mutex::new(inner), outbox: OnceLock::new() })
    }

    /// Binds the keys to another configuration's: those that made them may have other rights now, or be gone.
    pub fn rebind(&self, configured: &KeyRing) {
        let mut inner = self.lock();
        let records = &mut inner.records;
        let (of_master, of_keys): (Vec<Arc<str>>, Vec<Arc<str>>) =
            records.keys().cloned().partition(|name| records.get(name).is_some_and(|record| record.maker.is_none()));
        for name in of_master.into_iter().chain(of_keys) {
            let Some(record) = records.get(&name) else { continue };
            let (row, secrets) = (record.row(), record.secrets.clone());
            let within = within(&row, records, configured);
            let record = Record::new(row, within, secrets, configured);
            bound(&self.limits, &record);
            for (hash, until) in &record.secrets {
                self.live.change(hash, |keys| keys.insert(*hash, *until, record.key.clone()));
            }
            records.insert(name, record);
        }
    }

    /// The part that requests look into.
    pub fn live(&self) -> Arc<LiveKeys> {
        self.live.clone()
    }

    /// Makes a key and gives its secret, which is shown this once.
    ///
    /// # Errors
    /// The name is taken, it would have more than its maker, or the store failed.
    pub fn create(&self, new: NewKey, maker: &Maker, configured: &KeyRing) -> Result<(Listed, String), KeyError> {
        let config = grant(new, maker)?;
        let mut inner = self.lock();
        let taken = configured.configured().contains_key(&*config.name) || inner.records.contains_key(&*config.name);
        if taken || inner.store.has(&config.name)? {
            return Err(KeyError::Conflict(format!("there is a key named `{}` already", config.name)));
        }
        let now = self.now();
        let changed = self.stamp(inner.deleted.get(&config.name).copied());
        let maker_name = maker.name().map(str::to_owned);
        let (secret, row) = (new_secret()?, Row { config, maker: maker_name, created: now, enabled: true, changed });
        let record = Record::new(row, maker.key().cloned(), vec![(digest(secret.as_bytes()), None)], configured);
        let listed = Listed::record(&record, now);
        inner.store.put(&[record.put(&record.row())])?;
        self.take_in(&mut inner, record);
        self.tell(&listed.name);
        info!("the key `{}` was made by {}", listed.name, who(maker));
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
        let record = find(&inner.records, name, maker)?;
        let (mut row, mut secrets) = (record.row(), record.secrets.clone());
        edit(&mut row, &mut secrets);
        row.changed = self.stamp(Some(record.changed));
        inner.store.put(&[Put::Key { row: &row, secrets: &secrets }])?;
        self.update(&mut inner, row, secrets);
        self.tell(name);
        let record = find(&inner.records, name, maker)?;
        Ok(Listed::record(record, self.now()))
    }

    /// Deletes the key, and those that it made.
    ///
    /// # Errors
    /// There is no such key of this maker's, or the store failed.
    pub fn delete(&self, name: &str, maker: &Maker) -> Result<(), KeyError> {
        let mut inner = self.lock();
        let last = match find(&inner.records, name, maker) {
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
        let record = find(&inner.records, name, maker)?;
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

    /// Takes over what other instances have changed later than this one. Their makers' keys are looked for in `configured`.
    ///
    /// # Errors
    /// The store failed; nothing has changed then.
    pub(super) fn merge(&self, mut entries: Vec<Entry>, configured: &KeyRing) -> Result<(), KeyError> {
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
                let within = within(&row, &inner.records, configured);
                self.take_in(&mut inner, Record::new(row, within, secrets, configured));
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
        for (hash, until) in &record.secrets {
            self.live.change(hash, |keys| keys.insert(*hash, *until, record.key.clone()));
        }
        bound(&self.limits, &record);
        inner.deleted.remove(&*record.key.name);
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
        bound(&self.limits, record);
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
        bound(&self.limits, &record);
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

impl Record {
    fn new(mut row: Row, within: Option<Arc<Key>>, secrets: Secrets, configured: &KeyRing) -> Self {
        Self {
            aside: configured.configured().contains_key(&*row.config.name),
            maker: row.maker.map(Arc::from),
            created: row.created,
            changed: row.changed,
            rules: std::mem::take(&mut row.config.rules),
            secrets,
            key: Arc::new(Key::within(row.config, within, row.enabled).made_at(row.created)),
        }
    }

    fn row(&self) -> Row {
        let config =
            KeyConfig { name: self.key.name.to_string(), rules: self.rules.clone(), ..self.key.config().clone() };
        Row {
            config,
            maker: self.maker.as_deref().map(str::to_owned),
            created: self.created,
            enabled: self.key.is_enabled(),
            changed: self.changed,
        }
    }

    fn put<'a>(&'a self, row: &'a Row) -> Put<'a> {
        Put::Key { row, secrets: &self.secrets }
    }

    /// The master manages all keys, a key those that it made.
    fn is_of(&self, maker: &Maker) -> bool {
        maker.name().is_none_or(|name| self.maker.as_deref() == Some(name))
    }
}

fn find<'a>(records: &'a BTreeMap<Arc<str>, Record>, name: &str, maker: &Maker) -> Result<&'a Record, KeyError> {
    let found = records.get(name).filter(|record| record.is_of(maker));
    found.ok_or_else(|| KeyError::NotFound(name.escape_default().to_string()))
}

/// Has the key's limits counted. One that never had any costs nothing.
fn bound(limits: &Limits, record: &Record) {
    let known = || limits.find(Kind::Key, &record.key.name).is_some();
    if !record.aside && (!record.rules.is_empty() || known()) {
        limits.set(Kind::Key, &record.key.name, &record.rules);
    }
}

/// What bounds a key of the store.
fn within(row: &Row, records: &BTreeMap<Arc<str>, Record>, configured: &KeyRing) -> Option<Arc<Key>> {
    let name = &row.config.name;
    if configured.configured().contains_key(&**name) {
        warn!("the key `{name}` of the store is not taken: the configuration has a key of that name");
        return Some(nobody());
    }
    let maker = row.maker.as_deref()?;
    let found = configured.configured().get(maker).or_else(|| records.get(maker).map(|record| &record.key)).cloned();
    Some(found.unwrap_or_else(|| {
        warn!("the key `{name}` of the store is not taken: `{maker}`, which made it, is gone");
        nobody()
    }))
}

/// What bounds a key that nobody may use.
fn nobody() -> Arc<Key> {
    Arc::new(Key::within(KeyConfig::default(), None, false))
}

fn who(maker: &Maker) -> &str {
    maker.name().unwrap_or("the master")
}
