//! The database's tables, and how an older file comes to have them.
//!
//! A migration only ever adds: while a binary is upgraded, the old process still writes to the migrated file. The one that made
//! the table `usage` a view was before the first release.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::M;

use super::StoreError;
use crate::sqlite;

/// The view; `$more`: columns behind the first ones.
macro_rules! view {
    ($more:literal) => {
        concat!(
            "
    -- CROSS JOIN: records first, each with its context.
    CREATE VIEW usage AS
        SELECT r.at, r.id, r.seq, c.kind, c.key, c.team, c.owner,
            CASE
                WHEN m.tags IS NULL THEN c.tags
                WHEN c.tags = '[]' THEN m.tags
                ELSE substr(c.tags, 1, length(c.tags) - 1) || ',' || substr(m.tags, 2)
            END AS tags,
            r.customer, c.operation, c.dialect, c.model, c.provider, c.upstream_model, c.answer_model, c.status, c.fault,
            c.stream, c.attempts, r.duration_us, r.first_token_us, r.input, r.cache_read,
            coalesce(m.cache_write_5m, c.cache_write_5m) AS cache_write_5m,
            coalesce(m.cache_write_1h, c.cache_write_1h) AS cache_write_1h,
            coalesce(m.audio_input, c.audio_input) AS audio_input,
            coalesce(m.image_input, c.image_input) AS image_input,
            r.output, r.reasoning,
            coalesce(m.audio_output, c.audio_output) AS audio_output,
            coalesce(m.image_output, c.image_output) AS image_output,
            coalesce(m.audio_input_ms, c.audio_input_ms) AS audio_input_ms,
            coalesce(m.search_units, c.search_units) AS search_units,
            coalesce(m.web_searches, c.web_searches) AS web_searches,
            c.usage_source, c.service_tier, r.cost, c.price_map, m.rerated_cost, m.rerated_map, m.metadata, c.account, c.key_tags,
            coalesce(m.characters, c.characters) AS characters,
            coalesce(m.images, c.images) AS images,
            coalesce(m.other_models, c.other_models) AS other_models",
            $more,
            "
        FROM record AS r CROSS JOIN context AS c ON c.id = r.context
            LEFT JOIN more AS m ON m.at = r.at AND m.id = r.id AND m.seq = r.seq;
",
        )
    };
}

/// `at` comes first in the primary key of `record`: new rows go to the end of the file, a query reads the part of its time, and
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
    M::up(SPLIT),
    M::up(concat!("ALTER TABLE context ADD COLUMN fallback TEXT; DROP VIEW usage;", view!(", c.fallback"))),
];

/// What is the same for many records is told once, in `context`, which is found by a digest of its bytes in the spool; `last` is
/// when the last record of it began. What most records lack is in `more`, which has no row for these; zeros are in `context`.
/// Tags of the request's own are in `more`, too, so that they make no context.
///
/// `record` has no more than 13 columns: up to these SQLite compares keys the quick way.
const SPLIT: &str = concat!(
    "
    ALTER TABLE usage RENAME TO usage_before;
    CREATE TABLE context (
        id INTEGER PRIMARY KEY,
        digest BLOB UNIQUE,
        last INTEGER NOT NULL,
        kind TEXT NOT NULL,
        tags TEXT NOT NULL,
        key_tags INTEGER,
        operation TEXT NOT NULL,
        status INTEGER NOT NULL,
        stream INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        usage_source TEXT NOT NULL,
        key TEXT,
        account TEXT,
        team TEXT,
        owner TEXT,
        dialect TEXT,
        model TEXT,
        provider TEXT,
        upstream_model TEXT,
        answer_model TEXT,
        fault TEXT,
        service_tier TEXT,
        price_map TEXT,
        cache_write_5m INTEGER,
        cache_write_1h INTEGER,
        audio_input INTEGER,
        image_input INTEGER,
        audio_output INTEGER,
        image_output INTEGER,
        audio_input_ms INTEGER,
        search_units INTEGER,
        web_searches INTEGER,
        characters INTEGER,
        images INTEGER,
        other_models INTEGER
    ) STRICT;
    CREATE INDEX context_last ON context (last);
    CREATE TABLE record (
        at INTEGER NOT NULL,
        id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        context INTEGER NOT NULL,
        duration_us INTEGER NOT NULL,
        first_token_us INTEGER,
        input INTEGER,
        cache_read INTEGER,
        output INTEGER,
        reasoning INTEGER,
        cost INTEGER,
        customer TEXT,
        PRIMARY KEY (at, id, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE more (
        at INTEGER NOT NULL,
        id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        cache_write_5m INTEGER,
        cache_write_1h INTEGER,
        audio_input INTEGER,
        image_input INTEGER,
        audio_output INTEGER,
        image_output INTEGER,
        audio_input_ms INTEGER,
        search_units INTEGER,
        web_searches INTEGER,
        characters INTEGER,
        images INTEGER,
        other_models INTEGER,
        tags TEXT,
        metadata TEXT,
        rerated_cost INTEGER,
        rerated_map TEXT,
        PRIMARY KEY (at, id, seq)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO context (last, kind, tags, key_tags, operation, status, stream, attempts, usage_source, key, account, team, owner,
            dialect, model, provider, upstream_model, answer_model, fault, service_tier, price_map)
        SELECT max(at), kind, tags, key_tags, operation, status, stream, attempts, usage_source, key, account, team, owner,
            dialect, model, provider, upstream_model, answer_model, fault, service_tier, price_map
        FROM usage_before
        GROUP BY kind, tags, key_tags, operation, status, stream, attempts, usage_source, key, account, team, owner,
            dialect, model, provider, upstream_model, answer_model, fault, service_tier, price_map;
    INSERT INTO record
        SELECT u.at, u.id, u.seq, c.id, duration_us, first_token_us, input, cache_read, output, reasoning, cost, customer
        FROM usage_before AS u JOIN context AS c ON c.kind = u.kind AND c.tags = u.tags AND c.key_tags IS u.key_tags
            AND c.operation = u.operation AND c.status = u.status AND c.stream = u.stream AND c.attempts = u.attempts
            AND c.usage_source = u.usage_source AND c.key IS u.key AND c.account IS u.account AND c.team IS u.team
            AND c.owner IS u.owner AND c.dialect IS u.dialect AND c.model IS u.model AND c.provider IS u.provider
            AND c.upstream_model IS u.upstream_model AND c.answer_model IS u.answer_model AND c.fault IS u.fault
            AND c.service_tier IS u.service_tier AND c.price_map IS u.price_map;
    INSERT INTO more
        SELECT at, id, seq, cache_write_5m, cache_write_1h, audio_input, image_input, audio_output, image_output, audio_input_ms,
            search_units, web_searches, characters, images, other_models, NULL, metadata, rerated_cost, rerated_map
        FROM usage_before
        WHERE coalesce(cache_write_5m, cache_write_1h, audio_input, image_input, audio_output, image_output, audio_input_ms,
            search_units, web_searches, characters, images, other_models, metadata, rerated_map) IS NOT NULL;
    DROP TABLE usage_before;
",
    view!("")
);

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

    /// Whatever may be null is so in one row; none is lost, and none is another one afterwards.
    #[test]
    fn what_was_one_table_is_a_view_with_the_same_rows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let rows = |db: &Connection| {
            let mut all = db.prepare("SELECT * FROM usage ORDER BY at, id, seq").unwrap();
            let names: Vec<String> = all.column_names().into_iter().map(str::to_owned).collect();
            let row = |row: &rusqlite::Row<'_>| {
                (0..names.len()).map(|column| row.get(column)).collect::<Result<Vec<rusqlite::types::Value>, _>>()
            };
            let rows: Vec<_> = all.query_map([], row).unwrap().map(Result::unwrap).collect();
            (names, rows)
        };
        let old = sqlite::open(&path, &MIGRATIONS[..6]).unwrap_or_else(|_| panic!("no file"));
        old.execute_batch(
            "INSERT INTO usage (at, id, seq, kind, tags, operation, status, stream, attempts, duration_us, usage_source)
                 VALUES (1, 'a', 0, 'request', '[]', 'chat', 200, 0, 1, 7, 'none'),
                     (2, 'a', 1, 'attempt', '[\"x\",\"y\"]', 'chat', 0, 1, 2, 8, 'estimated'),
                     (-3, 'b', 0, 'request', '[]', 'chat', 200, 0, 1, 7, 'none');
             INSERT INTO usage VALUES (4, 'c', 0, 'request', 'key', 'team', 'owner', '[\"x\",\"y\"]', 'customer', 'chat',
                 'dialect', 'model', 'provider', 'upstream', 'answer', 200, 'fault', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
                 14, 15, 16, 17, 'provider', 'tier', 18, 'map', 19, 'newer', '[[\"a\",\"b\"]]', 'account', 1, 20, 21, 22);
             INSERT INTO usage SELECT 5, id, seq, kind, key, NULL, owner, tags, NULL, operation, dialect, model, provider,
                 upstream_model, answer_model, status, NULL, stream, attempts, duration_us, first_token_us, input, cache_read,
                 cache_write_5m, cache_write_1h, audio_input, image_input, output, reasoning, audio_output, image_output,
                 audio_input_ms, search_units, web_searches, usage_source, service_tier, cost, price_map, NULL, NULL,
                 metadata, account, NULL, characters, images, other_models FROM usage WHERE at = 4",
        )
        .unwrap();
        let were = rows(&old);
        drop(old);
        assert_eq!((were.0.len(), were.1.len()), (46, 5));
        for _ in 0..2 {
            let db = open(&path).unwrap();
            let (mut names, mut all) = rows(&db);
            assert_eq!(names.split_off(46), ["fallback"], "came later");
            assert!(all.iter_mut().all(|row| row.split_off(46) == [rusqlite::types::Value::Null]));
            assert_eq!((names, all), were);
            let tables: Vec<String> =
                (db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1").unwrap())
                    .query_map([], |row| row.get(0))
                    .unwrap()
                    .map(Result::unwrap)
                    .collect();
            assert_eq!(tables, ["context", "more", "record"]);
            // What they have in common is there once, and grows old with the last one.
            let mut last = db.prepare("SELECT last FROM context ORDER BY 1").unwrap();
            let last: Vec<i64> = last.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            assert_eq!(last, [1, 2, 4, 5]);
        }
    }

    #[test]
    fn the_migrations_are_sound() {
        Migrations::from_slice(MIGRATIONS).validate().unwrap();
    }
}
