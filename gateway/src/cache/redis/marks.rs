//! What was purged, as all instances know it: a mark for each thing that was, another one each time.
//!
//! An entry is stored with the [stamp](Marks::stamp) of the marks that were there then. One whose stamp is not that of the
//! marks that are there now was purged, or may have been; so a purge costs one write, whatever there is, and no clocks are
//! compared. Only what has survived a restart, about which no marks are known, goes by the time of the marks.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::super::{Fingerprint, Meta, Purge};

/// The marks by what they are for.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Marks(HashMap<String, String>);

impl Marks {
    /// As they are stored.
    pub fn new(stored: HashMap<String, String>) -> Self {
        Self(stored)
    }

    /// Sets a mark.
    pub fn set(&mut self, field: String, mark: String) {
        self.0.insert(field, mark);
    }

    /// What was purged since `before`, and when, by the clock of who did.
    pub fn since(&self, before: &Self) -> Vec<(Purge, SystemTime)> {
        let new = self.0.iter().filter(|(field, mark)| before.0.get(*field) != Some(mark));
        new.filter_map(|(field, mark)| Some((purge(field)?, UNIX_EPOCH + Duration::from_millis(set_at(mark)))))
            .collect()
    }

    /// The stamp of an entry.
    pub fn stamp(&self, meta: &Meta) -> [u8; 8] {
        self.stamp_named(&meta.fingerprint, meta.key.as_deref(), &meta.model, &meta.tags)
    }

    /// The stamp of what is purged together with an entry of which this is known.
    pub fn stamp_named(&self, of: &Fingerprint, key: Option<&str>, model: &str, tags: &[Box<str>]) -> [u8; 8] {
        let of_key = key.map(|key| Purge::Key(key.to_owned()));
        let tags = tags.iter().map(|tag| Purge::Tag(tag.to_string()));
        let all = [Purge::All, Purge::Fingerprint(*of), Purge::Model(model.to_owned())];
        let mut hasher = Sha256::new();
        for purge in all.into_iter().chain(of_key).chain(tags) {
            let mark = self.0.get(&field(&purge)).map_or("", String::as_str);
            hasher.update((mark.len() as u64).to_le_bytes());
            hasher.update(mark);
        }
        let digest: [u8; 32] = hasher.finalize().into();
        *digest.first_chunk().unwrap_or(&[0; 8])
    }

    /// Those that were set before `before`, in milliseconds since 1970: no entry or instance needs them any more.
    pub fn older_than(&self, before: u64) -> Vec<String> {
        self.0.iter().filter(|(_, mark)| set_at(mark) < before).map(|(field, _)| field.clone()).collect()
    }
}

/// A mark that was never there before.
pub fn new_mark(now: u64) -> String {
    format!("{:016x}-{now}", fastrand::u64(..))
}

fn set_at(mark: &str) -> u64 {
    mark.split_once('-').and_then(|(_, at)| at.parse().ok()).unwrap_or(0)
}

/// What the mark of a purge is called by.
pub fn field(purge: &Purge) -> String {
    match purge {
        Purge::All => "all".to_owned(),
        Purge::Key(name) => format!("key:{name}"),
        Purge::Model(name) => format!("model:{name}"),
        Purge::Tag(name) => format!("tag:{name}"),
        Purge::Fingerprint(fingerprint) => format!("entry:{fingerprint}"),
    }
}

fn purge(field: &str) -> Option<Purge> {
    if field == "all" {
        return Some(Purge::All);
    }
    let (kind, name) = field.split_once(':')?;
    Some(match kind {
        "key" => Purge::Key(name.to_owned()),
        "model" => Purge::Model(name.to_owned()),
        "tag" => Purge::Tag(name.to_owned()),
        "entry" => Purge::Fingerprint(name.parse().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::record::tests::entry;
    use super::*;

    #[test]
    fn a_mark_changes_the_stamps_of_what_it_is_for() {
        let meta = entry(7, 0).meta;
        let none = Marks::default();
        let kinds = [
            Purge::All,
            Purge::Key("bot".into()),
            Purge::Model("assistant".into()),
            Purge::Tag("gold".into()),
            Purge::Fingerprint(meta.fingerprint),
        ];
        let mut seen = vec![none.stamp(&meta)];
        for purge in &kinds {
            assert!(purge.takes_named(&meta.fingerprint, meta.key.as_deref(), &meta.model, &meta.tags));
            let mut marks = none.clone();
            marks.set(field(purge), new_mark(5));
            assert_eq!(marks.since(&none), [(purge.clone(), UNIX_EPOCH + Duration::from_millis(5))]);
            assert_eq!(none.since(&marks), []);
            seen.push(marks.stamp(&meta));
            marks.set(field(purge), new_mark(5));
            seen.push(marks.stamp(&meta));
            assert_eq!((marks.older_than(5), marks.older_than(6)), (vec![], vec![field(purge)]));
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1 + 2 * kinds.len());
        let mut others = none.clone();
        for purge in [Purge::Key("b".into()), Purge::Model("bot".into()), Purge::Tag("assistant".into())] {
            others.set(field(&purge), new_mark(5));
        }
        assert_eq!(others.stamp(&meta), none.stamp(&meta));
    }
}
