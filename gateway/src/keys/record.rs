//! What a change of keys needs: all keys made at run time, and those that bound them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use log::warn;

use super::by_hash::Digest;
use super::grant::Maker;
use super::since::Since;
use super::store::{Changed, Deleted, Parent, Put, Row, Store};
use super::{Key, KeyError, Refused};
use crate::config::{KeyConfig, Right};
use crate::limits::{Kind, Limits, Rule};

/// What a change needs; no request takes its lock.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) records: BTreeMap<Arc<str>, Record>,
    /// What was deleted.
    pub(super) deleted: BTreeMap<String, Deleted>,
    /// The keys of the configuration that is about to be in force.
    pub(super) configured: BTreeMap<Arc<str>, Arc<Key>>,
}

/// What is known of a key beside what requests need.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) key: Arc<Key>,
    /// Its limits and budgets, which can be changed.
    pub(super) rules: Vec<Rule>,
    /// Since when these count.
    since: Since,
    pub(super) maker: Option<Parent>,
    pub(super) created: u64,
    /// When it was changed last: milliseconds since 1970.
    pub(super) changed: u64,
    parts: Changed,
    /// The newest first; the other, if there is one, ends.
    pub(super) secrets: Secrets,
    /// The configuration's key of its name: this one is not taken, and its limits are not the key's.
    aside: Option<Arc<Key>>,
}

pub(super) type Secrets = Vec<(Digest, Option<u64>)>;

impl Inner {
    /// The key, bound to what bounds it now.
    pub(super) fn record(&self, mut row: Row, secrets: Secrets) -> Record {
        let within = self.within(&row);
        Record {
            aside: self.configured.get(&*row.config.name).cloned(),
            maker: row.maker,
            created: row.created,
            changed: row.changed,
            parts: row.parts,
            rules: std::mem::take(&mut row.config.rules),
            since: row.since,
            secrets,
            key: Arc::new(Key::within(row.config, within, row.enabled).made_at(row.created)),
        }
    }

    /// What bounds a key of the store.
    fn within(&self, row: &Row) -> Option<Arc<Key>> {
        let name = &row.config.name;
        if self.configured.contains_key(&**name) {
            warn!("the key `{name}` of the store is not taken: the configuration has a key of that name");
            return Some(nobody());
        }
        let maker = row.maker.as_ref()?;
        Some(self.key(&maker.name, maker.created).cloned().unwrap_or_else(|| {
            warn!("the key `{name}` of the store is not taken: `{}`, which made it, is gone", maker.name);
            nobody()
        }))
    }

    /// The key of that name that was made then; 0: that of the configuration.
    fn key(&self, name: &str, created: u64) -> Option<&Arc<Key>> {
        match created {
            0 => self.configured.get(name),
            _ => self.records.get(name).filter(|record| record.created == created).map(|record| &record.key),
        }
    }

    /// The maker's key as it is now, which may be another one than when it was asked for; `None`: the master.
    ///
    /// # Errors
    /// It is gone, out of use, or may not make keys any more.
    pub(super) fn maker(&self, maker: &Maker, now: SystemTime) -> Result<Option<Arc<Key>>, KeyError> {
        let Maker::Key(asked) = maker else { return Ok(None) };
        let found = self.key(&asked.name, asked.made()).filter(|key| key.may(Right::Keys));
        let key = found.ok_or(KeyError::Refused(Refused::Wrong))?;
        key.check(now).map_err(KeyError::Refused)?;
        Ok(Some(key.clone()))
    }

    /// One of the maker's keys.
    ///
    /// # Errors
    /// There is none of that name.
    pub(super) fn find(&self, name: &str, maker: &Maker) -> Result<&Record, KeyError> {
        let found = self.records.get(name).filter(|record| record.is_of(maker));
        found.ok_or_else(|| KeyError::NotFound(name.escape_default().to_string()))
    }
}

impl Record {
    pub(super) fn row(&self) -> Row {
        let config =
            KeyConfig { name: self.key.name.to_string(), rules: self.rules.clone(), ..self.key.config().clone() };
        Row {
            config,
            maker: self.maker.clone(),
            created: self.created,
            enabled: self.key.is_enabled(),
            changed: self.changed,
            parts: self.parts,
            since: self.since.clone(),
        }
    }

    pub(super) fn put<'a>(&'a self, row: &'a Row) -> Put<'a> {
        Put::Key { row, secrets: &self.secrets }
    }

    /// The master manages all keys, a key those that it made.
    pub(super) fn is_of(&self, maker: &Maker) -> bool {
        match maker {
            Maker::Master => true,
            Maker::Key(key) => self.is_by(&key.name, key.made()),
        }
    }

    /// Whether the key of that name that was made then made it.
    pub(super) fn is_by(&self, name: &str, created: u64) -> bool {
        self.maker.as_ref().is_some_and(|maker| maker.name == name && maker.created == created)
    }

    /// Whether it is that key, apart from what can be changed.
    pub(super) fn is(&self, row: &Row) -> bool {
        let config = KeyConfig { name: String::new(), rules: Vec::new(), ..row.config.clone() };
        self.created == row.created && self.maker == row.maker && *self.key.config() == config
    }

    /// Takes what can be changed from `row`, and the secrets; gives those before.
    pub(super) fn take(&mut self, row: Row, secrets: Secrets) -> Secrets {
        self.key.set_enabled(row.enabled);
        (self.rules, self.since) = (row.config.rules, row.since);
        (self.changed, self.parts) = (row.changed, row.parts);
        std::mem::replace(&mut self.secrets, secrets)
    }

    /// Has the key's limits counted. One that never had any costs nothing.
    pub(super) fn bound(&self, limits: &Limits) {
        let name = &self.key.name;
        let known = || limits.find(Kind::Key, name).is_some();
        match &self.aside {
            // Those of this key may be in force still.
            Some(file) if known() => _ = limits.set(Kind::Key, name, &file.config().rules),
            None if !self.rules.is_empty() || known() => {
                limits.set(Kind::Key, name, &self.rules).count_since(|rule| self.since.of(rule));
            }
            Some(_) | None => {}
        }
    }
}

/// What bounds a key that nobody may use.
fn nobody() -> Arc<Key> {
    Arc::new(Key::within(KeyConfig::default(), None, false))
}
