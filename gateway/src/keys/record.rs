//! What a change of keys needs: all keys made at run time, and those that bound them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use log::warn;

use super::by_hash::Digest;
use super::grant::Maker;
use super::store::{Put, Row, Store};
use super::{Key, KeyError, Refused};
use crate::config::{KeyConfig, Right};
use crate::limits::{Kind, Limits, Rule};

/// What a change needs; no request takes its lock.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) records: BTreeMap<Arc<str>, Record>,
    /// What was deleted, and when: milliseconds since 1970.
    pub(super) deleted: BTreeMap<String, u64>,
    /// The keys of the configuration that is about to be in force.
    pub(super) configured: BTreeMap<Arc<str>, Arc<Key>>,
}

/// What is known of a key beside what requests need.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) key: Arc<Key>,
    /// Its limits and budgets, which can be changed.
    pub(super) rules: Vec<Rule>,
    pub(super) maker: Option<Arc<str>>,
    pub(super) created: u64,
    /// When it was changed last: milliseconds since 1970.
    pub(super) changed: u64,
    /// The newest first; the other, if there is one, ends.
    pub(super) secrets: Secrets,
    /// The configuration has a key of its name: this one is not taken, and its limits are not the key's.
    aside: bool,
}

pub(super) type Secrets = Vec<(Digest, Option<u64>)>;

impl Inner {
    /// The key, bound to what bounds it now.
    pub(super) fn record(&self, mut row: Row, secrets: Secrets) -> Record {
        let within = self.within(&row);
        Record {
            aside: self.configured.contains_key(&*row.config.name),
            maker: row.maker.map(Arc::from),
            created: row.created,
            changed: row.changed,
            rules: std::mem::take(&mut row.config.rules),
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
        let maker = row.maker.as_deref()?;
        let found = self.configured.get(maker).or_else(|| self.records.get(maker).map(|record| &record.key)).cloned();
        Some(found.unwrap_or_else(|| {
            warn!("the key `{name}` of the store is not taken: `{maker}`, which made it, is gone");
            nobody()
        }))
    }

    /// The maker's key as it is now, which may be another one than when it was asked for; `None`: the master.
    ///
    /// # Errors
    /// It is gone, out of use, or may not make keys any more.
    pub(super) fn maker(&self, maker: &Maker, now: SystemTime) -> Result<Option<Arc<Key>>, KeyError> {
        let Maker::Key(asked) = maker else { return Ok(None) };
        let found = match asked.made() {
            0 => self.configured.get(&asked.name),
            _ => self.records.get(&asked.name).map(|record| &record.key),
        };
        let same = found.filter(|key| key.made() == asked.made() && key.may(Right::Keys));
        let key = same.ok_or(KeyError::Refused(Refused::Wrong))?;
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
            maker: self.maker.as_deref().map(str::to_owned),
            created: self.created,
            enabled: self.key.is_enabled(),
            changed: self.changed,
        }
    }

    pub(super) fn put<'a>(&'a self, row: &'a Row) -> Put<'a> {
        Put::Key { row, secrets: &self.secrets }
    }

    /// The master manages all keys, a key those that it made.
    pub(super) fn is_of(&self, maker: &Maker) -> bool {
        maker.name().is_none_or(|name| self.maker.as_deref() == Some(name))
    }

    /// Has the key's limits counted. One that never had any costs nothing.
    pub(super) fn bound(&self, limits: &Limits) {
        let known = || limits.find(Kind::Key, &self.key.name).is_some();
        if !self.aside && (!self.rules.is_empty() || known()) {
            limits.set(Kind::Key, &self.key.name, &self.rules);
        }
    }
}

/// What bounds a key that nobody may use.
fn nobody() -> Arc<Key> {
    Arc::new(Key::within(KeyConfig::default(), None, false))
}
