//! What other instances have changed is taken over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use log::warn;

use super::record::Inner;
use super::shared::{Entry, Parts};
use super::store::{Deleted, Put};
use super::{KeyError, RuntimeKeys};

/// What becomes of keys, by name.
type News = BTreeMap<String, Entry>;

impl RuntimeKeys {
    /// Takes over what other instances have changed later than this one, and tells them what they have not heard of.
    ///
    /// # Errors
    /// The store failed; nothing has changed then.
    pub(super) fn merge(&self, mut entries: Vec<Entry>) -> Result<(), KeyError> {
        let oldest = self.oldest();
        entries.retain(|entry| entry.deletion().is_none_or(|deleted| deleted.changed >= oldest));
        // Those that made others come first.
        entries.sort_by_key(|entry| entry.maker().is_some());
        let mut inner = self.inner.lock();
        let mut news = News::new();
        for mut entry in entries {
            if let Err(error) = entry.parts() {
                warn!("the key `{}` of the Redis is not taken: {error}", entry.name.escape_debug());
                continue;
            }
            let own = inner.entry(&entry.name);
            let same_maker = own.as_ref().and_then(Entry::maker);
            entry.complete(|maker| match same_maker {
                Some((name, created)) if name == maker => created,
                _ => inner.made(maker, &news),
            });
            let merged = own.as_ref().map_or_else(|| entry.clone(), |own| entry.clone().over(own));
            if merged != entry {
                self.tell(&entry.name);
            }
            if own.is_none_or(|own| own != merged) {
                news.insert(entry.name, merged);
            }
        }
        for name in inner.orphans(&news) {
            let Some(last) = news.get(&name).cloned().or_else(|| inner.entry(&name)) else { continue };
            let deleted = Deleted { created: last.rank().0, changed: self.stamp(Some(last.changed)) };
            self.tell(&name);
            news.insert(name.clone(), Entry::deleted(name, deleted));
        }
        self.take_over(&mut inner, news)
    }

    fn take_over(&self, inner: &mut Inner, news: News) -> Result<(), KeyError> {
        let mut all: Vec<(Entry, Option<Parts>)> = Vec::with_capacity(news.len());
        for entry in news.into_values() {
            let parts = entry.parts()?;
            all.push((entry, parts));
        }
        all.sort_by_key(|(entry, _)| entry.maker().is_some());
        let puts: Vec<Put<'_>> = all.iter().filter_map(|(entry, parts)| put_of(entry, parts.as_ref())).collect();
        inner.store.put(&puts)?;
        drop(puts);
        let mut replaced = BTreeSet::new();
        for (entry, parts) in all {
            let name = &*entry.name;
            match (parts, entry.deletion()) {
                (Some((row, secrets)), _) if inner.records.get(name).is_some_and(|record| record.is(&row)) => {
                    self.update(inner, row, secrets);
                }
                (Some((row, secrets)), _) => {
                    self.remove(inner, name);
                    let record = inner.record(row, secrets);
                    self.take_in(inner, record);
                    replaced.insert(entry.name);
                }
                (None, Some(deleted)) => self.forget(inner, name, deleted),
                (None, None) => {}
            }
        }
        // What they made is bound to them as they are now.
        let of_replaced = inner
            .records
            .values()
            .filter(|record| record.maker.as_ref().is_some_and(|maker| replaced.contains(&maker.name)));
        let names: Vec<Arc<str>> = of_replaced.map(|record| record.key.name.clone()).collect();
        self.bind(inner, names);
        Ok(())
    }
}

fn put_of<'a>(entry: &'a Entry, parts: Option<&'a Parts>) -> Option<Put<'a>> {
    match parts {
        Some((row, secrets)) => Some(Put::Key { row, secrets }),
        None => entry.deletion().map(|deleted| Put::Deleted { name: &entry.name, deleted }),
    }
}

impl Inner {
    /// What is known of that name.
    fn entry(&self, name: &str) -> Option<Entry> {
        match self.records.get(name) {
            Some(record) => Some(Entry::of(record.row(), &record.secrets)),
            None => self.deleted.get(name).map(|deleted| Entry::deleted(name.to_owned(), *deleted)),
        }
    }

    /// When the key of that name was made; 0: it stands in the file.
    fn made(&self, name: &str, news: &News) -> u64 {
        if self.configured.contains_key(name) {
            return 0;
        }
        let known = || self.records.get(name).map(|record| record.created);
        news.get(name).map(|entry| entry.rank().0).or_else(known).unwrap_or(0)
    }

    /// Keys whose maker is deleted by then: their names.
    fn orphans(&self, news: &News) -> Vec<String> {
        let is_over = |maker: &str, created: u64| {
            let known = || self.deleted.get(maker).map(|deleted| (deleted.created, true));
            let life = match news.get(maker) {
                Some(entry) => Some((entry.rank().0, entry.rank().1)),
                None => self.records.get(maker).map(|record| (record.created, false)).or_else(known),
            };
            // One of the file is not known here, and may come back.
            created != 0 && life.is_some_and(|life| life > (created, false))
        };
        let new = news.values().filter(|entry| entry.maker().is_some_and(|(maker, created)| is_over(maker, created)));
        let there = self.records.values().filter(|record| {
            let maker = record.maker.as_ref().filter(|maker| news.contains_key(&maker.name));
            let over = maker.is_some_and(|maker| is_over(&maker.name, maker.created));
            over && news.get(&*record.key.name).is_none_or(|entry| entry.deletion().is_none())
        });
        new.map(|entry| entry.name.clone()).chain(there.map(|record| record.key.name.to_string())).collect()
    }
}
