//! The files of SQLite that the gateway keeps: how they are opened, made and brought up to date.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

/// How long a statement waits for another process that writes.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the file, makes it if it is not there, and brings its tables up to date. What is committed to it from then on outlives a
/// power loss.
///
/// # Errors
/// SQLite's, or the file has tables of something else.
pub fn open(path: &Path, migrations: &[M<'static>]) -> Result<Connection, rusqlite_migration::Error> {
    let mut db = Connection::open(path)?;
    db.busy_timeout(PATIENCE)?;
    // Tables that a power loss takes away are made again: a start does not wait for the disk at each step.
    db.pragma_update(None, "synchronous", "normal")?;
    // Readers and the writer do not wait for each other.
    db.pragma_update(None, "journal_mode", "wal")?;
    Migrations::from_slice(migrations).to_latest(&mut db)?;
    db.pragma_update(None, "synchronous", "full")?;
    Ok(db)
}
