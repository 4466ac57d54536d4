//! The database: SQLite. A record is a row of the table `record`; what it has in common with many others is one of `context`,
//! what it has and most others lack one of `more`. Whoever reads finds them together in the view `usage`. Whatever opens it for
//! writing is a thread of the ledger or the command line, never a request.

mod insert;
mod schema;
mod select;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::frame::Frames;
use super::record::Record;
use super::row::{self, signed};
use crate::sqlite::{LATER, OpenError};
use insert::Insert;
pub use schema::open_read_only;

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or made.
    #[error("{0}")]
    File(#[from] io::Error),
    /// SQLite says so: full, locked for long, damaged, no rights.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The tables cannot be brought up to date.
    #[error("the ledger's tables cannot be brought up to date: {0}")]
    Schema(#[from] rusqlite_migration::Error),
    /// It can be read at best.
    #[error("{LATER}")]
    Later,
}

impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::File(error) => error.into(),
            OpenError::Sqlite(error) => error.into(),
            OpenError::Schema(error) => error.into(),
            OpenError::Later => Self::Later,
        }
    }
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenIn {
    /// Records that are new.
    pub stored: u64,
    /// Records that were there before.
    pub known: u64,
    /// Damaged or unreadable pieces that were passed over.
    pub damaged: u64,
}

/// The database, open for writing.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    /// Device and number of its file.
    file: Option<(u64, u64)>,
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

impl Store {
    /// Opens the file at `path`; makes it if it is not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let db = schema::open(path)?;
        Ok(Self { db, file: file_at(path) })
    }

    /// Whether its file is still the one at `path`. SQLite goes on with a file that somebody moved or removed, which nobody reads.
    pub fn is_at(&self, path: &Path) -> bool {
        self.file == file_at(path)
    }

    /// Takes all records of a segment in, or none. Those that are there already are left alone.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn take_in(&mut self, segment: &[u8]) -> Result<TakenIn, StoreError> {
        let mut frames = Frames::new(segment);
        let mut taken = TakenIn::default();
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut rows = Insert::new(&transaction)?;
            for payload in frames.by_ref() {
                match row::read(payload) {
                    Some(row) if rows.insert(&row)? => taken.known += 1,
                    _ => taken.damaged += 1,
                }
            }
            taken.stored = rows.end()?;
            taken.known -= taken.stored;
        }
        transaction.commit()?;
        taken.damaged += u64::from(frames.damaged() > 0);
        Ok(taken)
    }

    /// Deletes records of before `before` (microseconds since 1970), the oldest first and about `limit` at most, so that the
    /// database is free for others soon, and contexts that none is left of. Returns how many records.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn prune(&mut self, before: i64, limit: u32) -> Result<usize, StoreError> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let last = "SELECT at FROM record ORDER BY at LIMIT 1 OFFSET ?2";
        let oldest = format!("WHERE at < ?1 AND at <= coalesce(({last}), ?1)");
        let which = (before, limit.saturating_sub(1));
        transaction.prepare_cached(&format!("DELETE FROM more {oldest}"))?.execute(which)?;
        let gone = transaction.prepare_cached(&format!("DELETE FROM record {oldest}"))?.execute(which)?;
        // Then no record is left that began before, and those of such a context did.
        if gone < limit as usize {
            let contexts = "DELETE FROM context WHERE id IN (SELECT id FROM context WHERE last < ?1 LIMIT ?2)";
            transaction.prepare_cached(contexts)?.execute((before, limit))?;
        }
        transaction.commit()?;
        Ok(gone)
    }

    /// Up to `limit` records that began in `from..to` and come after `after` (`at`, `id`, `seq`), which did, too; in that order.
    pub(super) fn page(
        &self,
        from: i64,
        to: i64,
        after: Option<&Record<'_>>,
        limit: u32,
    ) -> Result<Vec<Record<'static>>, StoreError> {
        select::page(&self.db, select::AFTER, after, from, to, limit)
    }

    /// The newest up to `limit` records that began in `from..to` and come before `before`, which did, too; the newest first.
    pub(super) fn newest(
        db: &Connection,
        from: i64,
        to: i64,
        before: Option<&Record<'_>>,
        limit: u32,
    ) -> Result<Vec<Record<'static>>, StoreError> {
        select::page(db, select::BEFORE, before, to, from, limit)
    }

    /// Notes other costs beside those that records were booked with.
    pub(super) fn set_rerated(
        &mut self,
        costs: &[(Record<'static>, Option<u64>)],
        price_map: &str,
    ) -> Result<(), StoreError> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut note = transaction.prepare_cached(
                "INSERT INTO more (at, id, seq, rerated_cost, rerated_map) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET rerated_cost = ?4, rerated_map = ?5",
            )?;
            for (record, cost) in costs {
                note.execute((record.at, &*record.id, record.seq, cost.map(signed), price_map))?;
            }
        }
        Ok(transaction.commit()?)
    }
}

#[cfg(test)]
mod tests;
