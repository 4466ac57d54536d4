//! Keys made at run time as they lie in the embedded database. Nothing here is called by a request of a client.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use rusqlite_migration::{M, Migrations};
use serde::{Deserialize, Serialize};

use super::by_hash::Digest;
use super::{KeyError, seconds, time};
use crate::config::{CacheScope, KeyConfig, ModelPattern, OnAbort, Right};

const MIGRATIONS: &[M<'static>] = &[M::up(
    "CREATE TABLE keys (
        name TEXT PRIMARY KEY,
        rights TEXT NOT NULL,
        maker TEXT,
        created INTEGER NOT NULL,
        expires INTEGER,
        enabled INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE secrets (
        hash BLOB PRIMARY KEY,
        key TEXT NOT NULL REFERENCES keys (name) ON DELETE CASCADE,
        until INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX secrets_of_key ON secrets (key);",
)];

/// A key as it is kept, without its secrets.
#[derive(Debug)]
pub(super) struct Row {
    pub config: KeyConfig,
    /// The key that made it; `None`: the master.
    pub maker: Option<String>,
    /// Seconds since 1970.
    pub created: u64,
    pub enabled: bool,
}

/// A secret as it is kept: its hash, whose it is, and from when on it is not taken any more.
pub(super) type Secret = (Digest, String, Option<u64>);

/// What a key may, in JSON: columns would have to follow every new right.
#[derive(Serialize, Deserialize)]
struct Rights {
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allow: Vec<Right>,
    #[serde(default)]
    cache: CacheScope,
}

/// The database. Every call blocks; every change is on disk when it returns.
#[derive(Debug)]
pub(super) struct Store(Connection);

impl Store {
    /// Opens or makes the file, which only its owner can read.
    pub(super) fn open(path: &Path) -> Result<Self, KeyError> {
        let shown = path.display();
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| KeyError::Store(format!("`{shown}` cannot be opened: {error}")))?;
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        Migrations::from_slice(MIGRATIONS)
            .to_latest(&mut connection)
            .map_err(|error| KeyError::Store(format!("`{shown}` is no store of keys: {error}")))?;
        Ok(Self(connection))
    }

    /// Everything in it, without secrets whose time is over, which are forgotten.
    pub(super) fn load(&mut self, now: u64) -> Result<(Vec<Row>, Vec<Secret>), KeyError> {
        self.0.execute("DELETE FROM secrets WHERE until <= ?1", [signed(now)])?;
        let mut keys = self.0.prepare("SELECT name, rights, maker, created, expires, enabled FROM keys")?;
        let rows = keys.query_map([], |row| {
            let (name, rights): (String, String) = (row.get(0)?, row.get(1)?);
            let rest = (row.get(2)?, row.get::<_, i64>(3)?, row.get::<_, Option<i64>>(4)?, row.get(5)?);
            Ok((name, rights, rest))
        })?;
        let mut loaded = Vec::new();
        for row in rows {
            let (name, rights, (maker, created, expires, enabled)) = row?;
            let rights: Rights = serde_json::from_str(&rights)
                .map_err(|error| KeyError::Store(format!("the rights of `{name}` cannot be read: {error}")))?;
            let expires = expires.map(|end| time(unsigned(end)));
            loaded.push(Row { config: rights.into_config(name, expires), maker, created: unsigned(created), enabled });
        }
        let mut secrets = self.0.prepare("SELECT hash, key, until FROM secrets")?;
        let secrets =
            secrets.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<i64>>(2)?.map(unsigned))))?;
        Ok((loaded, secrets.collect::<Result<_, _>>()?))
    }

    /// Adds a key with its first secret.
    pub(super) fn create(&mut self, row: &Row, hash: &Digest) -> Result<(), KeyError> {
        let rights =
            serde_json::to_string(&Rights::of(&row.config)).map_err(|error| KeyError::Store(error.to_string()))?;
        let expires = row.config.expires.map(|end| signed(seconds(end)));
        self.change(|change| {
            change.execute(
                "INSERT INTO keys (name, rights, maker, created, expires, enabled) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![row.config.name, rights, row.maker, signed(row.created), expires, row.enabled],
            )?;
            change.execute("INSERT INTO secrets (hash, key) VALUES (?1, ?2)", params![hash, row.config.name])?;
            Ok(())
        })
    }

    /// Adds a secret; of the others only `kept` is left, until a time.
    pub(super) fn rotate(&mut self, name: &str, hash: &Digest, kept: Option<(&Digest, u64)>) -> Result<(), KeyError> {
        self.change(|change| {
            let kept_hash = kept.map(|(hash, _)| hash);
            change.execute("DELETE FROM secrets WHERE key = ?1 AND hash IS NOT ?2", params![name, kept_hash])?;
            if let Some((hash, until)) = kept {
                change.execute("UPDATE secrets SET until = ?2 WHERE hash = ?1", params![hash, signed(until)])?;
            }
            change.execute("INSERT INTO secrets (hash, key) VALUES (?1, ?2)", params![hash, name])?;
            Ok(())
        })
    }

    pub(super) fn set_enabled(&mut self, name: &str, enabled: bool) -> Result<(), KeyError> {
        self.change(|change| {
            change.execute("UPDATE keys SET enabled = ?2 WHERE name = ?1", params![name, enabled])?;
            Ok(())
        })
    }

    /// Deletes a key and those that it made.
    pub(super) fn delete(&mut self, name: &str) -> Result<(), KeyError> {
        self.change(|change| {
            change.execute("DELETE FROM keys WHERE name = ?1 OR maker = ?1", [name])?;
            Ok(())
        })
    }

    fn change(&mut self, change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>) -> Result<(), KeyError> {
        let transaction = self.0.transaction()?;
        change(&transaction)?;
        Ok(transaction.commit()?)
    }

    /// Whether the database has this name: another process may have made it.
    pub(super) fn has(&self, name: &str) -> Result<bool, KeyError> {
        let found = self.0.query_row("SELECT 1 FROM keys WHERE name = ?1", [name], |_| Ok(())).optional()?;
        Ok(found.is_some())
    }
}

impl Rights {
    fn of(config: &KeyConfig) -> Self {
        let patterns = |models: &Vec<ModelPattern>| models.iter().map(ToString::to_string).collect();
        Self {
            models: config.models.as_ref().map(patterns),
            tags: config.tags.clone(),
            team: config.team.clone(),
            owner: config.owner.clone(),
            allow: config.allow.clone(),
            cache: config.cache,
        }
    }

    fn into_config(self, name: String, expires: Option<std::time::SystemTime>) -> KeyConfig {
        let patterns = |models: Vec<String>| models.iter().map(|model| ModelPattern::new(model)).collect();
        KeyConfig {
            name,
            hash: None,
            models: self.models.map(patterns),
            tags: self.tags,
            team: self.team,
            owner: self.owner,
            allow: self.allow,
            expires,
            rules: Vec::new(),
            priority: 0,
            on_abort: OnAbort::default(),
            cache: self.cache,
        }
    }
}

/// SQLite's integers have a sign.
fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

fn unsigned(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0)
}
