//! Keys made at run time: made, listed, rotated, disabled and deleted through the admin API.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use log::{info, warn};

use super::by_hash::Digest;
use super::grant::{Maker, grant};
use super::secret::digest;
use super::store::{Row, Store};
use super::{Key, KeyError, KeyRing, LiveKeys, NewKey, new_secret, seconds, shown};
use crate::config::KeyConfig;

/// The keys made at run time and where they are kept. Every method blocks: on a disk, or on another one's. A change is on disk
/// before it counts, and counts for the next request.
#[derive(Debug)]
pub struct RuntimeKeys {
    live: Arc<LiveKeys>,
    inner: Mutex<Inner>,
}

/// What a change needs; no request takes its lock.
#[derive(Debug)]
pub(super) struct Inner {
    store: Store,
    records: BTreeMap<Arc<str>, Record>,
}

/// What is known of a key beside what requests need.
#[derive(Debug)]
struct Record {
    key: Arc<Key>,
    maker: Option<Arc<str>>,
    created: u64,
    /// The newest first; the other, if there is one, ends.
    secrets: Vec<(Digest, Option<u64>)>,
}

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
    expires: Option<String>,
    created: Option<String>,
    /// The key that made it; `null`: the master, or the file.
    made_by: Option<String>,
    /// Until when the secret before the present one is taken too.
    old_secret_until: Option<String>,
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
            expires: config.expires.map(|end| shown(seconds(end))),
            created: None,
            made_by: None,
            old_secret_until: None,
        }
    }

    fn record(record: &Record, now: u64) -> Self {
        let old = record.secrets.iter().find_map(|(_, until)| until.filter(|until| *until > now));
        Self {
            created: Some(shown(record.created)),
            made_by: record.maker.as_deref().map(str::to_owned),
            old_secret_until: old.map(shown),
            ..Self::of(&record.key, "store")
        }
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl RuntimeKeys {
    /// Opens the store at `path`, which is made if there is none, and takes its keys into memory. A key whose maker is not in
    /// the configuration any more, or whose name now stands there, is refused to clients, and reported.
    ///
    /// # Errors
    /// The store cannot be opened or read.
    pub fn open(path: &Path, configured: &KeyRing) -> Result<Self, KeyError> {
        let mut store = Store::open(path)?;
        let (rows, secrets) = store.load(seconds(SystemTime::now()))?;
        let mut records = BTreeMap::new();
        // Makers are of the file or made by the master: nothing that a key made makes keys itself.
        let (of_master, of_keys): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.maker.is_none());
        for row in of_master.into_iter().chain(of_keys) {
            let within = bounds(&row.config.name, row.maker.as_deref(), &records, configured);
            let record = Record::new(row, within);
            records.insert(record.key.name.clone(), record);
        }
        for (hash, name, until) in secrets {
            if let Some(record) = records.get_mut(&*name) {
                record.secrets.push((hash, until));
                record.secrets.sort_by_key(|(_, until)| until.is_some());
            }
        }
        let in_memory = records
            .values()
            .flat_map(|record| record.secrets.iter().map(|(hash, until)| (*hash, *until, record.key.clone())));
        let live = Arc::new(LiveKeys::new(in_memory));
        Ok(Self { live, inner: Mutex::new(Inner { store, records }) })
    }

    /// Binds the keys to another configuration's: those that made them may have other rights now, or be gone.
    pub fn rebind(&self, configured: &KeyRing) {
        let mut inner = self.lock();
        let records = &mut inner.records;
        let (of_master, of_keys): (Vec<Arc<str>>, Vec<Arc<str>>) =
            records.keys().cloned().partition(|name| records.get(name).is_some_and(|record| record.maker.is_none()));
        for name in of_master.into_iter().chain(of_keys) {
            let Some(record) = records.get(&name) else { continue };
            let within = bounds(&name, record.maker.as_deref(), records, configured);
            let key = Arc::new(record.key.bound(&name, within));
            let Some(record) = records.get_mut(&name) else { continue };
            record.key = key;
            for (hash, until) in &record.secrets {
                self.live.change(hash, |keys| keys.insert(*hash, *until, record.key.clone()));
            }
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
        let now = seconds(SystemTime::now());
        let (secret, row) =
            (new_secret()?, Row { config, maker: maker.name().map(str::to_owned), created: now, enabled: true });
        let hash = digest(secret.as_bytes());
        inner.store.create(&row, &hash)?;
        let mut record = Record::new(row, maker.key().cloned());
        record.secrets.push((hash, None));
        self.live.change(&hash, |keys| keys.insert(hash, None, record.key.clone()));
        let listed = Listed::record(&record, now);
        info!("the key `{}` was made by {}", record.key.name, who(maker));
        inner.records.insert(record.key.name.clone(), record);
        Ok((listed, secret))
    }

    /// Gives the key a new secret; the present one is taken for `overlap` more, any before it no longer.
    ///
    /// # Errors
    /// There is no such key of this maker's, or the store failed.
    pub fn rotate(&self, name: &str, overlap: Duration, maker: &Maker) -> Result<(Listed, String), KeyError> {
        let mut inner = self.lock();
        let Inner { store, records } = &mut *inner;
        let record = find(records, name, maker)?;
        let now = seconds(SystemTime::now());
        let secret = new_secret()?;
        let hash = digest(secret.as_bytes());
        let current = record.secrets.iter().find(|(_, until)| until.is_none()).map(|(hash, _)| *hash);
        let kept =
            current.filter(|_| !overlap.is_zero()).map(|old| (old, now.saturating_add(overlap.as_secs().max(1))));
        store.rotate(name, &hash, kept.as_ref().map(|(old, until)| (old, *until)))?;
        let before = std::mem::take(&mut record.secrets);
        record.secrets.push((hash, None));
        record.secrets.extend(kept.map(|(old, until)| (old, Some(until))));
        // What goes on being taken is at no moment missing.
        for (hash, until) in &record.secrets {
            self.live.change(hash, |keys| keys.insert(*hash, *until, record.key.clone()));
        }
        for (old, _) in before.iter().filter(|(old, _)| kept.is_none_or(|(kept, _)| kept != *old)) {
            self.live.change(old, |keys| keys.remove(old));
        }
        info!("the key `{name}` has a new secret, by {}", who(maker));
        Ok((Listed::record(record, now), secret))
    }

    /// Takes the key out of use, or brings it back.
    ///
    /// # Errors
    /// There is no such key of this maker's, or the store failed.
    pub fn set_enabled(&self, name: &str, enabled: bool, maker: &Maker) -> Result<Listed, KeyError> {
        let mut inner = self.lock();
        let Inner { store, records } = &mut *inner;
        let record = find(records, name, maker)?;
        store.set_enabled(name, enabled)?;
        record.key.set_enabled(enabled);
        info!("the key `{name}` was {} by {}", if enabled { "enabled" } else { "disabled" }, who(maker));
        Ok(Listed::record(record, seconds(SystemTime::now())))
    }

    /// Deletes the key, and those that it made.
    ///
    /// # Errors
    /// There is no such key of this maker's, or the store failed.
    pub fn delete(&self, name: &str, maker: &Maker) -> Result<(), KeyError> {
        let mut inner = self.lock();
        let Inner { store, records } = &mut *inner;
        find(records, name, maker)?;
        store.delete(name)?;
        records.retain(|_, record| {
            let goes = &*record.key.name == name || record.maker.as_deref() == Some(name);
            if goes {
                record.key.set_enabled(false);
                for (hash, _) in &record.secrets {
                    self.live.change(hash, |keys| keys.remove(hash));
                }
            }
            !goes
        });
        info!("the key `{name}` was deleted by {}", who(maker));
        Ok(())
    }

    /// One key.
    ///
    /// # Errors
    /// There is no such key of this maker's.
    pub fn get(&self, name: &str, maker: &Maker) -> Result<Listed, KeyError> {
        let mut inner = self.lock();
        let record = find(&mut inner.records, name, maker)?;
        Ok(Listed::record(record, seconds(SystemTime::now())))
    }

    /// The maker's keys whose name comes after `after`, by name, at most `most`.
    pub fn list(&self, after: &str, most: usize, maker: &Maker) -> Vec<Listed> {
        use std::ops::Bound::{Excluded, Unbounded};
        let inner = self.lock();
        let now = seconds(SystemTime::now());
        let rest = inner.records.range::<str, _>((Excluded(after), Unbounded)).map(|(_, record)| record);
        rest.filter(|record| record.is_of(maker)).take(most).map(|record| Listed::record(record, now)).collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn new(row: Row, within: Option<Arc<Key>>) -> Self {
        Self {
            maker: row.maker.map(Arc::from),
            created: row.created,
            secrets: Vec::new(),
            key: Arc::new(Key::within(row.config, within, row.enabled)),
        }
    }

    /// The master manages all keys, a key those that it made.
    fn is_of(&self, maker: &Maker) -> bool {
        maker.name().is_none_or(|name| self.maker.as_deref() == Some(name))
    }
}

fn find<'a>(
    records: &'a mut BTreeMap<Arc<str>, Record>,
    name: &str,
    maker: &Maker,
) -> Result<&'a mut Record, KeyError> {
    let found = records.get_mut(name).filter(|record| record.is_of(maker));
    found.ok_or_else(|| KeyError::NotFound(name.escape_default().to_string()))
}

fn maker_of(name: &str, records: &BTreeMap<Arc<str>, Record>, configured: &KeyRing) -> Option<Arc<Key>> {
    configured.configured().get(name).or_else(|| records.get(name).map(|record| &record.key)).cloned()
}

/// What bounds the key `name` of the store; `None`: nothing.
fn bounds(
    name: &str,
    maker: Option<&str>,
    records: &BTreeMap<Arc<str>, Record>,
    configured: &KeyRing,
) -> Option<Arc<Key>> {
    if configured.configured().contains_key(name) {
        warn!("the key `{name}` of the store is not taken: the configuration has a key of that name");
        return Some(nobody());
    }
    maker.map(|maker| {
        maker_of(maker, records, configured).unwrap_or_else(|| {
            warn!("the key `{name}` of the store is not taken: `{maker}`, which made it, is gone");
            nobody()
        })
    })
}

/// What bounds a key that nobody may use.
fn nobody() -> Arc<Key> {
    Arc::new(Key::within(KeyConfig::default(), None, false))
}

fn who(maker: &Maker) -> &str {
    maker.name().unwrap_or("the master")
}
