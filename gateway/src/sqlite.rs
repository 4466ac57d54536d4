//! The files of SQLite that the gateway keeps: how they are opened, made and brought up to date.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

/// How long a statement waits for another process that writes.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Why a file cannot be used.
pub enum OpenError {
    /// The file cannot be opened or made.
    File(io::Error),
    /// SQLite says so: full, locked for long, damaged, no rights.
    Sqlite(rusqlite::Error),
    /// Its tables cannot be brought up to date: they are of something else.
    Schema(rusqlite_migration::Error),
    /// A later version of the gateway has brought its tables up to date.
    Later,
}

/// What is told of a file that is [`OpenError::Later`].
pub const LATER: &str = "a later version of ai-gateway has written it: run that one, or name another file";

impl From<rusqlite_migration::Error> for OpenError {
    fn from(error: rusqlite_migration::Error) -> Self {
        use rusqlite_migration::{Error, MigrationDefinitionError};
        match error {
            Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => Self::Later,
            other => Self::Schema(other),
        }
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Opens the file, makes it if it is not there, for its owner's eyes only, and brings its tables up to date. What is committed to it from then on outlives a
/// power loss.
///
/// # Errors
/// [`OpenError`].
pub fn open(path: &Path, migrations: &[M<'static>]) -> Result<Connection, OpenError> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(OpenError::File)?;
    let mut db = Connection::open(path)?;
    db.busy_timeout(PATIENCE)?;
    // Of a new file. Fewer and larger pages make a record of the ledger a fifth smaller and cheaper.
    db.pragma_update(None, "page_size", 16 << 10)?;
    // Tables that a power loss takes away are made again: a start does not wait for the disk at each step.
    db.pragma_update(None, "synchronous", "normal")?;
    // Readers and the writer do not wait for each other.
    db.pragma_update(None, "journal_mode", "wal")?;
    Migrations::from_slice(migrations).to_latest(&mut db)?;
    db.pragma_update(None, "synchronous", "full")?;
    Ok(db)
}
