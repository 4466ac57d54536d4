//! A key as instances tell each other of it.

use serde::{Deserialize, Serialize};

use super::super::by_hash::Digest;
use super::super::store::{Changed, Deleted, Parent, Rights, Row};
use super::super::{KeyError, seconds};

/// A key and its secrets, each with the end of its time.
pub type Parts = (Row, Vec<(Digest, Option<u64>)>);

/// A key, or that there is none any more. Secrets are in it as hashes only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The key's name.
    pub name: String,
    /// When it was changed: milliseconds since 1970.
    pub changed: u64,
    /// When the key that was deleted had been made; an older version does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<u64>,
    /// `None`: it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Kept>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    rights: Rights,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    maker: Option<String>,
    /// When the maker was made; an older version does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    maker_created: Option<u64>,
    created: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    enabled: bool,
    /// SHA-256 in hexadecimal, and until when each is taken.
    secrets: Vec<(String, Option<u64>)>,
    /// An older version does not say.
    #[serde(default)]
    parts: Changed,
}

/// Of two accounts of a name the higher one counts: that of the key that was made later, then that it was deleted, then the later
/// change. `push.lua` goes by the same.
pub type Rank = (u64, bool, u64);

impl Entry {
    /// A key that is there.
    pub fn of(row: Row, secrets: &[(Digest, Option<u64>)]) -> Self {
        let kept = Kept {
            rights: Rights::of(&row),
            maker_created: row.maker.as_ref().map(|maker| maker.created),
            maker: row.maker.map(|maker| maker.name),
            created: row.created,
            expires: row.config.expires.map(seconds),
            enabled: row.enabled,
            secrets: secrets.iter().map(|(hash, until)| (hex::encode(hash), *until)).collect(),
            parts: row.parts,
        };
        Self { name: row.config.name, changed: row.changed, created: None, key: Some(kept) }
    }

    /// A key that is no more.
    pub const fn deleted(name: String, Deleted { created, changed }: Deleted) -> Self {
        Self { name, changed, created: Some(created), key: None }
    }

    /// What is known of its deletion, if it was deleted.
    pub fn deletion(&self) -> Option<Deleted> {
        self.key.is_none().then(|| Deleted::read(self.created.unwrap_or(0), self.changed))
    }

    /// Its place among accounts of its name.
    pub fn rank(&self) -> Rank {
        let deletion = self.deletion().map(|deleted| deleted.created);
        let created = self.key.as_ref().map(|kept| kept.created).or(deletion);
        (created.unwrap_or(0), deletion.is_some(), self.changed)
    }

    /// The key that made it, if one did, and when that had been made; 0: it stands in the file.
    pub fn maker(&self) -> Option<(&str, u64)> {
        let kept = self.key.as_ref()?;
        Some((kept.maker.as_deref()?, kept.maker_created.unwrap_or(0)))
    }

    /// Fills in what an older version did not say: `made` tells when the key of a name was made.
    pub fn complete(&mut self, made: impl FnOnce(&str) -> u64) {
        let Some(kept) = &mut self.key else { return };
        kept.parts = kept.parts.or(self.changed);
        if let (Some(maker), None) = (&kept.maker, kept.maker_created) {
            kept.maker_created = Some(made(maker));
        }
    }

    /// What is left of this and of `own`, which is what was known before: of the same key the later change of each part.
    pub fn over(self, own: &Self) -> Self {
        let (theirs, ours) = match (&self.key, &own.key) {
            (Some(theirs), Some(ours)) if theirs.is(ours) => (theirs, ours),
            _ => return if own.rank() > self.rank() { own.clone() } else { self },
        };
        let mut kept = theirs.clone();
        if ours.parts.enabled > theirs.parts.enabled {
            (kept.enabled, kept.parts.enabled) = (ours.enabled, ours.parts.enabled);
        }
        if ours.parts.secrets > theirs.parts.secrets {
            kept.secrets.clone_from(&ours.secrets);
            kept.parts.secrets = ours.parts.secrets;
        }
        if ours.parts.rules > theirs.parts.rules {
            kept.rights = kept.rights.bounded_as(&ours.rights);
            kept.parts.rules = ours.parts.rules;
        }
        let changed = match (kept == *theirs, kept == *ours) {
            (true, _) if self.changed >= own.changed => self.changed,
            (_, true) if own.changed > self.changed => own.changed,
            // Something of both: later than either, so that it goes round.
            _ => self.changed.max(own.changed).saturating_add(1),
        };
        Self { changed, key: Some(kept), ..self }
    }

    /// The key and its secrets; `None`: there is none any more.
    ///
    /// # Errors
    /// It is not as a gateway writes it.
    pub fn parts(&self) -> Result<Option<Parts>, KeyError> {
        let Some(Kept { rights, maker, maker_created, created, expires, enabled, secrets, parts }) = self.key.clone()
        else {
            return Ok(None);
        };
        let since = rights.since.clone();
        let config = rights.into_config(&self.name, expires)?;
        let secret = |(hash, until): (String, Option<u64>)| {
            let mut digest = Digest::default();
            let read = hex::decode_to_slice(&hash, &mut digest);
            read.map(|()| (digest, until)).map_err(|_| KeyError::Store("a secret is no hash".to_owned()))
        };
        let secrets = secrets.into_iter().map(secret).collect::<Result<_, _>>()?;
        let maker = maker.map(|name| Parent { name, created: maker_created.unwrap_or(0) });
        Ok(Some((Row { config, maker, created, enabled, changed: self.changed, parts, since }, secrets)))
    }
}

impl Kept {
    /// Whether they are the same key, apart from what can be changed.
    fn is(&self, other: &Self) -> bool {
        let born = |kept: &Self| (kept.created, kept.expires, kept.maker.clone(), kept.maker_created);
        born(self) == born(other) && self.rights.clone().bounded_as(&other.rights) == other.rights
    }
}
