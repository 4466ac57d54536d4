//! Rows of the spool on their way into the tables.

use std::collections::HashMap;
use std::iter;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Result};
use sha2::{Digest, Sha256};

use super::super::row::{self, CONTEXT, OWN, Row, USUAL, name};

/// So many of [`OWN`], the first ones, tell a record from all others.
const PLACE: usize = 3;
/// Columns of the table `record`: the context and what is usual.
const COLUMNS: usize = 1 + USUAL;
/// Records that one statement inserts: a quarter of the work is the statement's.
const GROUP: usize = 8;

/// Inserts rows, all within one transaction. What it knows of contexts is true only as long as nobody else can
/// delete one.
pub struct Insert<'t, 'a> {
    db: &'t Connection,
    group: Statement<'t, 'a>,
    /// Records of the group that is not complete yet.
    waiting: usize,
    /// For what is no whole group.
    record: Statement<'t, 'a>,
    stored: u64,
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
        let usual: Vec<_> = iter::once("context").chain(usual.iter().map(name)).collect();
        let more: Vec<_> = place.iter().chain(more).map(name).collect();
        let context: Vec<_> = ["digest", "last"].into_iter().chain(CONTEXT.iter().map(name)).collect();
        Ok(Self {
            db,
            group: Statement::new(db, &sql("INSERT OR IGNORE INTO record", &usual, GROUP))?,
            waiting: 0,
            record: Statement::new(db, &sql("INSERT OR IGNORE INTO record", &usual, 1))?,
            stored: 0,
            more: Statement::new(db, &sql("INSERT OR IGNORE INTO more", &more, 1))?,
            find: db.prepare_cached("SELECT id, last FROM context WHERE digest = ?1")?,
            make: db.prepare_cached(&sql("INSERT INTO context", &context, 1))?,
            contexts: HashMap::new(),
        })
    }

    /// Says whether the row can be read. One that is there already is left alone.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn insert(&mut self, row: &Row<'a>) -> Result<bool> {
        let Some(context) = self.context(row)? else { return Ok(false) };
        let ((usual, more), (place, _)) = (row.own.split_at(USUAL), row.own.split_at(PLACE));
        let first = self.waiting * COLUMNS;
        self.group.bind(first, &[ValueRef::Integer(context)])?;
        self.group.bind(first + 1, usual)?;
        self.waiting += 1;
        if self.waiting == GROUP {
            self.stored += self.group.run()?;
            self.waiting = 0;
        }
        if more.iter().any(|value| *value != ValueRef::Null) {
            self.more.bind(0, place)?;
            self.more.bind(PLACE, more)?;
            self.more.run()?;
        }
        Ok(true)
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

    /// Inserts what waits still, and notes until when the contexts are used. To be called before the transaction is committed.
    /// Returns how many records were new.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn end(mut self) -> Result<u64> {
        for values in self.group.bound.chunks(COLUMNS).take(self.waiting) {
            self.record.bind(0, values)?;
            self.stored += self.record.run()?;
        }
        let mut update = self.db.prepare_cached("UPDATE context SET last = ?2 WHERE id = ?1")?;
        for context in self.contexts.values().filter(|context| context.last > context.stored) {
            update.execute((context.id, context.last))?;
        }
        Ok(self.stored)
    }
}

/// Inserts rows into a table. A value that is as it was the last time is not bound again.
struct Statement<'t, 'a> {
    statement: CachedStatement<'t>,
    bound: Vec<ValueRef<'a>>,
}

impl<'t, 'a> Statement<'t, 'a> {
    fn new(db: &'t Connection, sql: &str) -> Result<Self> {
        let mut statement = db.prepare_cached(sql)?;
        statement.clear_bindings();
        let bound = vec![ValueRef::Null; statement.parameter_count()];
        Ok(Self { statement, bound })
    }

    /// Sets values from the one at `first` on.
    fn bind(&mut self, first: usize, values: &[ValueRef<'a>]) -> Result<()> {
        let bound = self.bound.get_mut(first..).unwrap_or_default();
        // SQLite counts from 1.
        for ((place, value), bound) in (first + 1..).zip(values).zip(bound) {
            if value != bound {
                self.statement.raw_bind_parameter(place, ToSqlOutput::Borrowed(*value))?;
                *bound = *value;
            }
        }
        Ok(())
    }

    /// Says how many rows are new.
    fn run(&mut self) -> Result<u64> {
        Ok(self.statement.raw_execute()? as u64)
    }
}

/// The statement that inserts so many `rows`.
fn sql(insert: &str, columns: &[&str], rows: usize) -> String {
    let places = format!("({})", vec!["?"; columns.len()].join(", "));
    format!("{insert} ({}) VALUES {}", columns.join(", "), vec![&*places; rows].join(", "))
}
