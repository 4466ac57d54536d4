//! Rows of the spool on their way into the tables.

use std::collections::HashMap;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Result};
use sha2::{Digest, Sha256};

use super::super::row::{self, CONTEXT, Column, OWN, Row, USUAL, Values};

/// So many of [`OWN`], the first ones, tell a record from all others.
const PLACE: usize = 3;

/// Inserts rows one after the other, within a transaction. What it knows of contexts is true only as long as nobody else can
/// delete one.
pub struct Insert<'t, 'a> {
    db: &'t Connection,
    record: Statement<'t, 'a>,
    more: Statement<'t, 'a>,
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
        let record = Statement::new(db, "record", [Column::Number("context")].iter().chain(usual))?;
        let more = Statement::new(db, "more", place.iter().chain(more))?;
        Ok(Self { db, record, more, contexts: HashMap::new() })
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
        let digest = Sha256::digest(row.context);
        let mut find = self.db.prepare_cached("SELECT id, last FROM context WHERE digest = ?1")?;
        let found = find.query_row([digest.as_slice()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let context = match found {
            Some((id, last)) => Context { id, stored: last, last: row.at.max(last) },
            None => Context { id: self.make(&digest, row.at, &values)?, stored: row.at, last: row.at },
        };
        self.contexts.insert(row.context, context);
        Ok(Some(context.id))
    }

    fn make(&self, digest: &[u8], last: i64, values: &Values<'a, { CONTEXT.len() }>) -> Result<i64> {
        let first = [Column::Number("digest"), Column::Number("last")];
        let mut insert = self.db.prepare_cached(&sql("context", first.iter().chain(&CONTEXT)))?;
        let first = [ValueRef::Blob(digest), ValueRef::Integer(last)];
        for (place, value) in (1..).zip(first.iter().chain(values)) {
            insert.raw_bind_parameter(place, ToSqlOutput::Borrowed(*value))?;
        }
        insert.raw_execute()?;
        Ok(self.db.last_insert_rowid())
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
    fn new<'c>(db: &'t Connection, table: &str, columns: impl Iterator<Item = &'c Column>) -> Result<Self> {
        let mut statement = db.prepare_cached(&sql(table, columns))?;
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

fn sql<'c>(table: &str, columns: impl Iterator<Item = &'c Column>) -> String {
    let names: Vec<&str> = columns.map(|column| column.name()).collect();
    let places = vec!["?"; names.len()].join(", ");
    format!("INSERT OR IGNORE INTO {table} ({}) VALUES ({places})", names.join(", "))
}
