//! Keys made at run time as they lie in the embedded database. Nothing here is called by a request of a client.

use std::path::Path;

use log::error;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use rusqlite_migration::M;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::by_hash::Digest;
use super::since::Since;
use super::{KeyError, bounds, seconds, time};
use crate::config::{CacheScope, KeyConfig, ModelPattern, OnAbort, Right};
use crate::limits::Rule;
use crate::sqlite::{self, LATER, OpenError};

const MIGRATIONS: &[M<'static>] = &[
    M::up(
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
    ),
    M::up(
        "ALTER TABLE keys ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE deleted (name TEXT PRIMARY KEY, changed INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
    ),
    // What a version before this one writes meanwhile has none of these.
    M::up(
        "ALTER TABLE keys ADD COLUMN maker_created INTEGER;
    ALTER TABLE keys ADD COLUMN enabled_changed INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE keys ADD COLUMN secrets_changed INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE keys ADD COLUMN rules_changed INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE deleted ADD COLUMN created INTEGER NOT NULL DEFAULT 0;",
    ),
];

/// How long it is known of a key that it was deleted, in milliseconds: an instance that was away for less takes it along.
pub(super) const REMEMBERED: u64 = 366 * 86_400_000;

/// A key as it is kept, without its secrets.
#[derive(Debug)]
pub(super) struct Row {
    pub config: KeyConfig,
    /// The key that made it; `None`: the master.
    pub maker: Option<Parent>,
    /// Seconds since 1970.
    pub created: u64,
    pub enabled: bool,
    /// When it was changed last: milliseconds since 1970.
    pub changed: u64,
    pub parts: Changed,
    /// Since when its limits and budgets count.
    pub since: Since,
}

/// A key that made another one. A key of its name that is made later is not it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parent {
    pub name: String,
    /// Seconds since 1970; 0: it stands in the file.
    pub created: u64,
}

/// When the parts of a key were changed last, each by itself: milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Changed {
    /// Whether it is in use.
    pub enabled: u64,
    pub secrets: u64,
    /// Its limits and budgets.
    pub rules: u64,
}

impl Changed {
    /// All of it at once.
    pub(super) const fn at(changed: u64) -> Self {
        Self { enabled: changed, secrets: changed, rules: changed }
    }

    /// An older version told only when the key was changed.
    pub(super) fn or(self, changed: u64) -> Self {
        if self == Self::default() { Self::at(changed) } else { self }
    }
}

/// A key that was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deleted {
    /// When it had been made, in seconds since 1970: those of its name that were made before are gone as well.
    pub created: u64,
    /// When it was deleted: milliseconds since 1970.
    pub changed: u64,
}

impl Deleted {
    /// An older version told only when it was deleted (`created` is 0): whatever was made before is gone.
    pub(super) const fn read(created: u64, changed: u64) -> Self {
        Self { created: if created == 0 { changed / 1000 } else { created }, changed }
    }
}

/// What the database has.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub rows: Vec<Row>,
    pub secrets: Vec<Secret>,
    /// Keys that were deleted, by name.
    pub deleted: Vec<(String, Deleted)>,
}

/// A secret as it is kept: its hash, whose it is, and from when on it is not taken any more.
pub(super) type Secret = (Digest, String, Option<u64>);

/// What a key may, in JSON: columns would have to follow every new right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Rights {
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<u32>,
    #[serde(default, skip_serializing_if = "OnAbort::is_usual")]
    on_abort: OnAbort,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    limits: Vec<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    budget: Vec<Value>,
    #[serde(default, skip_serializing_if = "Since::is_empty")]
    pub(super) since: Since,
}

/// The database. Every call blocks; every change is on disk when it returns.
#[derive(Debug)]
pub(super) struct Store(Connection);

impl Store {
    /// Opens or makes the file, which only its owner can read.
    pub(super) fn open(path: &Path) -> Result<Self, KeyError> {
        let shown = path.display();
        let connection = sqlite::open(path, MIGRATIONS).map_err(|error| match error {
            OpenError::File(error) => KeyError::Store(format!("`{shown}` cannot be opened: {error}")),
            OpenError::Sqlite(error) => error.into(),
            OpenError::Schema(error) => KeyError::Store(format!("`{shown}` is no store of keys: {error}")),
            OpenError::Later => KeyError::Store(format!("`{shown}`: {LATER}")),
        })?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(Self(connection))
    }

    /// Everything in it, without secrets whose time is over and what was deleted long ago, which are forgotten. A key that
    /// cannot be read is left out, and reported. `now`: in milliseconds.
    pub(super) fn load(&mut self, now: u64) -> Result<Loaded, KeyError> {
        self.0.execute("DELETE FROM secrets WHERE until <= ?1", [signed(now / 1000)])?;
        self.forget_before(now.saturating_sub(REMEMBERED))?;
        // Older versions knew makers by name only.
        self.0.execute(
            "UPDATE keys SET maker_created =
                COALESCE((SELECT makers.created FROM keys AS makers WHERE makers.name = keys.maker), 0)
            WHERE maker IS NOT NULL AND maker_created IS NULL",
            [],
        )?;
        let mut keys = self.0.prepare(
            "SELECT name, rights, maker, created, expires, enabled, changed, maker_created, enabled_changed,
                secrets_changed, rules_changed
            FROM keys",
        )?;
        let rows = keys.query_map([], |row| {
            let (name, rights): (String, String) = (row.get(0)?, row.get(1)?);
            let times = (row.get::<_, i64>(3)?, row.get::<_, Option<i64>>(4)?, row.get::<_, i64>(6)?);
            let created = unsigned(row.get::<_, Option<i64>>(7)?.unwrap_or(0));
            let maker = row.get::<_, Option<String>>(2)?.map(|name| Parent { name, created });
            let part = |column| row.get(column).map(unsigned);
            let parts = Changed { enabled: part(8)?, secrets: part(9)?, rules: part(10)? };
            Ok((name, rights, maker, times, row.get(5)?, parts))
        })?;
        let mut loaded = Loaded::default();
        for row in rows {
            let (name, rights, maker, (created, expires, changed), enabled, parts) = row?;
            let read = Rights::read(&rights).and_then(|rights| {
                let since = rights.since.clone();
                Ok((rights.into_config(&name, expires.map(unsigned))?, since))
            });
            let (config, since) = match read {
                Ok(read) => read,
                Err(error) => {
                    error!("the key `{name}` of the store is refused to clients until it is deleted: {error}");
                    continue;
                }
            };
            let created = unsigned(created);
            let changed = if changed == 0 { created.saturating_mul(1000) } else { unsigned(changed) };
            loaded.rows.push(Row { config, maker, created, enabled, changed, parts: parts.or(changed), since });
        }
        let mut secrets = self.0.prepare("SELECT hash, key, until FROM secrets")?;
        let secrets =
            secrets.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<i64>>(2)?.map(unsigned))))?;
        loaded.secrets = secrets.collect::<Result<_, _>>()?;
        let mut deleted = self.0.prepare("SELECT name, created, changed FROM deleted")?;
        let deleted = deleted
            .query_map([], |row| Ok((row.get(0)?, Deleted::read(unsigned(row.get(1)?), unsigned(row.get(2)?)))))?;
        loaded.deleted = deleted.collect::<Result<_, _>>()?;
        Ok(loaded)
    }

    /// Keeps keys with their secrets, instead of what was there of these names; those without one as deleted at a time.
    pub(super) fn put(&mut self, keys: &[Put<'_>]) -> Result<(), KeyError> {
        let transaction = self.0.transaction()?;
        for key in keys {
            key.write(&transaction)?;
        }
        Ok(transaction.commit()?)
    }

    /// When the key of this name was made, if the database has one: it may be unreadable, or of another process.
    pub(super) fn created(&self, name: &str) -> Result<Option<u64>, KeyError> {
        let sql = "SELECT created FROM keys WHERE name = ?1";
        Ok(self.0.query_row(sql, [name], |row| row.get(0)).optional()?.map(unsigned))
    }

    /// Forgets what was deleted before: milliseconds since 1970.
    pub(super) fn forget_before(&self, oldest: u64) -> Result<(), KeyError> {
        self.0.execute("DELETE FROM deleted WHERE changed < ?1", [signed(oldest)])?;
        Ok(())
    }
}

/// A change of one key.
pub(super) enum Put<'a> {
    /// It is so now.
    Key { row: &'a Row, secrets: &'a [(Digest, Option<u64>)] },
    /// It is no more.
    Deleted { name: &'a str, deleted: Deleted },
}

impl Put<'_> {
    fn write(&self, change: &Transaction<'_>) -> Result<(), KeyError> {
        let name = match self {
            Self::Key { row, .. } => &*row.config.name,
            Self::Deleted { name, .. } => name,
        };
        change.prepare_cached("DELETE FROM keys WHERE name = ?1")?.execute([name])?;
        match self {
            Self::Key { row, secrets } => {
                let rights = Rights::of(row);
                let rights = serde_json::to_string(&rights).map_err(|error| KeyError::Store(error.to_string()))?;
                let expires = row.config.expires.map(|end| signed(seconds(end)));
                change.prepare_cached("DELETE FROM deleted WHERE name = ?1")?.execute([name])?;
                change
                    .prepare_cached(
                        "INSERT INTO keys (name, rights, maker, created, expires, enabled, changed, maker_created,
                            enabled_changed, secrets_changed, rules_changed)
                        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                    )?
                    .execute(params![
                        name,
                        rights,
                        row.maker.as_ref().map(|maker| &maker.name),
                        signed(row.created),
                        expires,
                        row.enabled,
                        signed(row.changed),
                        row.maker.as_ref().map(|maker| signed(maker.created)),
                        signed(row.parts.enabled),
                        signed(row.parts.secrets),
                        signed(row.parts.rules),
                    ])?;
                let mut insert =
                    change.prepare_cached("INSERT OR REPLACE INTO secrets (hash, key, until) VALUES (?1, ?2, ?3)")?;
                for (hash, until) in *secrets {
                    insert.execute(params![hash, name, until.map(signed)])?;
                }
            }
            Self::Deleted { deleted, .. } => {
                let sql = "INSERT OR REPLACE INTO deleted (name, created, changed) VALUES (?1, ?2, ?3)";
                change.prepare_cached(sql)?.execute(params![name, signed(deleted.created), signed(deleted.changed)])?;
            }
        }
        Ok(())
    }
}

impl Rights {
    pub(super) fn of(row: &Row) -> Self {
        let config = &row.config;
        let patterns = |models: &Vec<ModelPattern>| models.iter().map(ToString::to_string).collect();
        Self {
            models: config.models.as_ref().map(patterns),
            tags: config.tags.clone(),
            team: config.team.clone(),
            owner: config.owner.clone(),
            allow: config.allow.clone(),
            cache: config.cache,
            priority: config.priority,
            on_abort: config.on_abort,
            limits: bounds::shown_limits(&config.rules),
            budget: bounds::shown_budgets(&config.rules),
            since: row.since.clone(),
        }
    }

    /// The same with the limits and budgets of `other`.
    pub(super) fn bounded_as(self, other: &Self) -> Self {
        Self { limits: other.limits.clone(), budget: other.budget.clone(), since: other.since.clone(), ..self }
    }

    fn read(text: &str) -> Result<Self, KeyError> {
        serde_json::from_str(text).map_err(|error| KeyError::Store(format!("its rights cannot be read: {error}")))
    }

    /// `expires`: seconds since 1970.
    pub(super) fn into_config(self, name: &str, expires: Option<u64>) -> Result<KeyConfig, KeyError> {
        let patterns = |models: Vec<String>| models.iter().map(|model| ModelPattern::new(model)).collect();
        let unreadable = |error| KeyError::Store(format!("its limits cannot be read: {error}"));
        let limits = bounds::limits(self.limits.into()).map_err(unreadable)?;
        let budgets = bounds::budgets(self.budget.into()).map_err(unreadable)?;
        let rules: Vec<Rule> = limits.into_iter().chain(budgets).collect();
        Ok(KeyConfig {
            name: name.to_owned(),
            models: self.models.map(patterns),
            tags: self.tags,
            team: self.team,
            owner: self.owner,
            allow: self.allow,
            expires: expires.map(time),
            rules,
            cache: self.cache,
            priority: self.priority,
            on_abort: self.on_abort,
            ..KeyConfig::default()
        })
    }
}

/// SQLite's integers have a sign.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
