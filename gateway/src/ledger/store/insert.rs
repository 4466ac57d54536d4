//! Rows of the spool on their way into the tables.

use std::collections::HashMap;
use std::iter;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Result};
use sha2::{Digest, Sha256};

use super::super::row::{self, CONTEXT, Column, OWN, Row, Values};

/// So many of [`OWN`], the first ones, are all that most rows have.
const USUAL: usize = 10;

/// Inserts rows one after the other, within a transaction. What it knows of contexts is true only as long as nobody else can
/// delete one.
pub struct Insert<'t, 'a> {
    db: &'t Connection,
    usual: Statement<'t, 'a>,
    whole: Statement<'t, 'a>,
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
        let (usual, _) = OWN.split_at(USUAL);
        Ok(Self { db, usual: Statement::new(db, usual)?, whole: Statement::new(db, &OWN)?, contexts: HashMap::new() })
    }

    /// Says whether the row is new; `None`: it cannot be read.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn insert(&mut self, row: &Row<'a>) -> Result<Option<bool>> {
        let Some(context) = self.context(row)? else { return Ok(None) };
        let (usual, rare) = row.own.split_at(USUAL);
        match rare.iter().all(|value| *value == ValueRef::Null) {
            true => self.usual.insert(context, usual).map(Some),
            false => self.whole.insert(context, &row.own).map(Some),
        }
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
        let mut insert = self.db.prepare_cached(&sql("INSERT INTO context (digest, last", &CONTEXT, 2))?;
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

/// Inserts records that have no other values than those of its columns. A value that is as in the row before is not bound again.
struct Statement<'t, 'a> {
    statement: CachedStatement<'t>,
    before: [ValueRef<'a>; 1 + OWN.len()],
}

impl<'t, 'a> Statement<'t, 'a> {
    fn new(db: &'t Connection, columns: &[Column]) -> Result<Self> {
        let mut statement = db.prepare_cached(&sql("INSERT OR IGNORE INTO record (context", columns, 1))?;
        statement.clear_bindings();
        Ok(Self { statement, before: [ValueRef::Null; 1 + OWN.len()] })
    }

    fn insert(&mut self, context: i64, own: &[ValueRef<'a>]) -> Result<bool> {
        let values = iter::once(ValueRef::Integer(context)).chain(own.iter().copied());
        for ((place, value), before) in (1..).zip(values).zip(&mut self.before) {
            if value != *before {
                self.statement.raw_bind_parameter(place, ToSqlOutput::Borrowed(value))?;
                *before = value;
            }
        }
        Ok(self.statement.raw_execute()? > 0)
    }
}

/// The statement that begins with `insert` and `before` columns, and goes on with `columns`.
fn sql(insert: &str, columns: &[Column], before: usize) -> String {
    let names: String = columns.iter().map(|column| format!(", {}", column.name())).collect();
    let places = vec!["?"; before + columns.len()].join(", ");
    format!("{insert}{names}) VALUES ({places})")
}
