//! The database's tables, and how an older file comes to have them.
//!
//! A migration only ever adds: while a binary is upgraded, the old process still writes to the migrated file.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::M;

use super::StoreError;
use crate::sqlite;

/// `at` comes first in the primary key: new rows go to the end of the file, a query reads the part of its time, and
/// what is too old goes from the front. Costs are whole pico-dollars, times whole microseconds.
const MIGRATIONS: &[M<'static>] = &[
    M::up(
        "CREATE TABLE usage (
        at INTEGER NOT NULL,
        id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        kind TEXT NOT NULL,
        key TEXT,
        team TEXT,
        owner TEXT,
        tags TEXT NOT NULL,
        customer TEXT,
        operation TEXT NOT NULL,
        dialect TEXT,
        model TEXT,
        provider TEXT,
        upstream_model TEXT,
        answer_model TEXT,
        status INTEGER NOT NULL,
        fault TEXT,
        stream INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        duration_us INTEGER NOT NULL,
        first_token_us INTEGER,
        input INTEGER,
        cache_read INTEGER,
        cache_write_5m INTEGER,
        cache_write_1h INTEGER,
        audio_input INTEGER,
        image_input INTEGER,
        output INTEGER,
        reasoning INTEGER,
        audio_output INTEGER,
        image_output INTEGER,
        audio_input_ms INTEGER,
        search_units INTEGER,
        web_searches INTEGER,
        usage_source TEXT NOT NULL,
        service_tier TEXT,
        cost INTEGER,
        price_map TEXT,
        rerated_cost INTEGER,
        rerated_map TEXT,
        PRIMARY KEY (at, id, seq)
    ) STRICT, WITHOUT ROWID",
    ),
    M::up("ALTER TABLE usage ADD COLUMN metadata TEXT"),
    M::up("ALTER TABLE usage ADD COLUMN account TEXT"),
    M::up("ALTER TABLE usage ADD COLUMN key_tags INTEGER"),
    M::up("ALTER TABLE usage ADD COLUMN characters INTEGER; ALTER TABLE usage ADD COLUMN images INTEGER"),
    M::up("ALTER TABLE usage ADD COLUMN other_models INTEGER"),
];

/// Opens the file, makes it if it is not there, and brings its tables up to date. A commit outlives a power loss: the segment that
/// its records came from is removed after it.
pub fn open(path: &Path) -> Result<Connection, StoreError> {
    let db = sqlite::open(path, MIGRATIONS)?;
    db.pragma_update(None, "journal_size_limit", 64 << 20)?;
    Ok(db)
}

/// Opens the file for reading only; the gateway may be running.
pub fn open_read_only(path: &Path) -> Result<Connection, StoreError> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(sqlite::PATIENCE)?;
    Ok(db)
}

#[cfg(test)]
mod tests {
    use rusqlite_migration::Migrations;

    use super::*;

    /// The first cells of the first table of `docs/ledger.md` are the columns.
    #[test]
    fn every_column_is_documented() {
        let page = include_str!("../../../../docs/ledger.md");
        let table = page.split("\n\n").find(|part| part.starts_with("| field |")).unwrap();
        let cells = table.lines().skip(2).map(|row| row.split('|').nth(1).unwrap());
        let documented: std::collections::BTreeSet<String> =
            cells.flat_map(|cell| cell.split(',')).map(|name| name.trim().trim_matches('`').to_owned()).collect();
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir.path().join("ledger.db")).unwrap();
        let mut columns = db.prepare("SELECT name FROM pragma_table_info('usage')").unwrap();
        let columns: std::collections::BTreeSet<String> =
            columns.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(documented, columns);
    }

    #[test]
    fn the_migrations_are_sound() {
        Migrations::from_slice(MIGRATIONS).validate().unwrap();
    }
}
