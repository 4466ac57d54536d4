//! Rows of the spool on their way into the tables.

use std::collections::HashMap;
use std::iter;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Result};
use sha2::{Digest, Sha256};

use super::super::row::{self, CONTEXT, OWN, Row, USUAL, name};

/// So many of [`OWN`], the first ones, tell a record from all others.
const PLACE: usize = 3;

/// Inserts rows one after the other, within a transaction. What it knows of contexts is true only as long as nobody else can
/// delete one.
pub struct Insert<'t, 'a> {
    db: &'t Connection,
    record: Statement<'t, 'a>,
    more: Statement<'t, 'a>,
    find: CachedStatement<'t>,
    make: CachedStatement<'t>,
    contexts: HashMap<&'a [u8], Context>,
}

/// A row of the table `context`.
#[derive(Clone, Copy)]
struct Context {
    id: i64,
    /// As the table has it.
    stored: i64,
    last: i64,
}

impl<'t, 'a> Insert<'t, 'a> {
    /// # Errors
    /// There are no such tables.
    pub fn new(db: &'t Connection) -> Result<Self> {
        let ((usual, more), (place, _)) = (OWN.split_at(USUAL), OWN.split_at(PLACE));
        let record = sql("INSERT OR IGNORE INTO record", iter::once("context").chain(usual.iter().map(name)));
        let more = sql("INSERT OR IGNORE INTO more", place.iter().chain(more).map(name));
        let make = sql("INSERT INTO context", ["digest", "last"].into_iter().chain(CONTEXT.iter().map(name)));
        Ok(Self {
            db,
            record: Statement::new(db, &record)?,
            more: Statement::new(db, &more)?,
            find: db.prepare_cached("SELECT id, last FROM context WHERE digest = ?1")?,
            make: db.prepare_cached(&make)?,
            contexts: HashMap::new(),
        })
    }

    /// Says whether the row is new; `None`: it cannot be read.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn insert(&mut self, row: &Row<'a>) -> Result<Option<bool>> {
        let Some(context) = self.context(row)? else { return Ok(None) };
        let ((usual, more), (place, _)) = (row.own.split_at(USUAL), row.own.split_at(PLACE));
        self.record.bind(1, &[ValueRef::Integer(context)])?;
        self.record.bind(2, usual)?;
        let new = self.record.run()?;
        if new && more.iter().any(|value| *value != ValueRef::Null) {
            self.more.bind(1, place)?;
            self.more.bind(1 + PLACE, more)?;
            self.more.run()?;
        }
        Ok(Some(new))
    }

    /// The id of the row's context, which is made if it is not there.
    fn context(&mut self, row: &Row<'a>) -> Result<Option<i64>> {
        if let Some(context) = self.contexts.get_mut(row.context) {
            context.last = context.last.max(row.at);
            return Ok(Some(context.id));
        }
        let Some(values) = row::context(row.context) else { return Ok(None) };
        // A version that knows more columns does not find what lacks their values.
        let digest = Sha256::new_with_prefix([CONTEXT.len() as u8]).chain_update(row.context).finalize();
        let found = self.find.query_row([&*digest], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let (id, stored) = match found {
            Some(found) => found,
            None => {
                let first = [ValueRef::Blob(&digest), ValueRef::Integer(row.at)];
                for (place, value) in (1..).zip(first.iter().chain(&values)) {
                    self.make.raw_bind_parameter(place, ToSqlOutput::Borrowed(*value))?;
                }
                self.make.raw_execute()?;
                (self.db.last_insert_rowid(), row.at)
            }
        };
        self.contexts.insert(row.context, Context { id, stored, last: row.at.max(stored) });
        Ok(Some(id))
    }

    /// Notes until when the contexts are used. To be called before the transaction is committed.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn end(self) -> Result<()> {
        let mut update = self.db.prepare_cached("UPDATE context SET last = ?2 WHERE id = ?1")?;
        for context in self.contexts.values().filter(|context| context.last > context.stored) {
            update.execute((context.id, context.last))?;
        }
        Ok(())
    }
}

/// Inserts rows into a table. A value that is as in the row before is not bound again.
struct Statement<'t, 'a> {
    statement: CachedStatement<'t>,
    before: [ValueRef<'a>; OWN.len()],
}

impl<'t, 'a> Statement<'t, 'a> {
    fn new(db: &'t Connection, sql: &str) -> Result<Self> {
        let mut statement = db.prepare_cached(sql)?;
        statement.clear_bindings();
        Ok(Self { statement, before: [ValueRef::Null; OWN.len()] })
    }

    /// Sets values, the first one at `place`, which counts from 1.
    fn bind(&mut self, place: usize, values: &[ValueRef<'a>]) -> Result<()> {
        let before = self.before.get_mut(place - 1..).unwrap_or_default();
        for ((place, value), before) in (place..).zip(values).zip(before) {
            if value != before {
                self.statement.raw_bind_parameter(place, ToSqlOutput::Borrowed(*value))?;
                *before = *value;
            }
        }
        Ok(())
    }

    /// Says whether the row is new.
    fn run(&mut self) -> Result<bool> {
        Ok(self.statement.raw_execute()? > 0)
    }
}

fn sql<'n>(insert: &str, columns: impl Iterator<Item = &'n str>) -> String {
    let columns: Vec<&str> = columns.collect();
    format!("{insert} ({}) VALUES ({})", columns.join(", "), vec!["?"; columns.len()].join(", "))
}
