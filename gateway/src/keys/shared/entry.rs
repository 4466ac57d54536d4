//! A key as instances tell each other of it.

use serde::{Deserialize, Serialize};

use super::super::by_hash::Digest;
use super::super::store::{Rights, Row};
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
    /// `None`: it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Kept>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    rights: Rights,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    maker: Option<String>,
    created: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    enabled: bool,
    /// SHA-256 in hexadecimal, and until when each is taken.
    secrets: Vec<(String, Option<u64>)>,
}

impl Entry {
    /// A key that is there.
    pub fn of(row: Row, secrets: &[(Digest, Option<u64>)]) -> Self {
        let kept = Kept {
            rights: Rights::of(&row.config),
            maker: row.maker,
            created: row.created,
            expires: row.config.expires.map(seconds),
            enabled: row.enabled,
            secrets: secrets.iter().map(|(hash, until)| (hex::encode(hash), *until)).collect(),
        };
        Self { name: row.config.name, changed: row.changed, key: Some(kept) }
    }

    /// A key that is no more.
    pub const fn deleted(name: String, changed: u64) -> Self {
        Self { name, changed, key: None }
    }

    /// Whether it was made by another key.
    pub fn has_maker(&self) -> bool {
        self.key.as_ref().is_some_and(|kept| kept.maker.is_some())
    }

    /// The key and its secrets; `None`: there is none any more.
    ///
    /// # Errors
    /// It is not as a gateway writes it.
    pub fn parts(&self) -> Result<Option<Parts>, KeyError> {
        let Some(Kept { rights, maker, created, expires, enabled, secrets }) = self.key.clone() else {
            return Ok(None);
        };
        let config = rights.into_config(&self.name, expires)?;
        let secret = |(hash, until): (String, Option<u64>)| {
            let mut digest = Digest::default();
            let read = hex::decode_to_slice(&hash, &mut digest);
            read.map(|()| (digest, until)).map_err(|_| KeyError::Store("a secret is no hash".to_owned()))
        };
        let secrets = secrets.into_iter().map(secret).collect::<Result<_, _>>()?;
        Ok(Some((Row { config, maker, created, enabled, changed: self.changed }, secrets)))
    }
}
