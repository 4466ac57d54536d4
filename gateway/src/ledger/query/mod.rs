//! Questions to the ledger: sums of a span of time, grouped and filtered by [`Dimension`]s.
//!
//! ```text
//! Query { by: [day, key], from, to, filters: [(team, "support")] }  →  Report { rows: [(["2026-11-25", "bot"], Totals)] }
//! ```

mod dimension;
mod output;
mod time;

use std::path::Path;

use ai_gateway_providers::usage::Usage;
use rusqlite::types::Value;
use rusqlite::{Connection, Row};

use super::store::{StoreError, open_read_only};
pub use dimension::Dimension;
pub use output::dollars;
pub use time::parse_time;

/// Groups of one report. There may be as many customers as clients make up.
const MAX_ROWS: usize = if cfg!(test) { 100 } else { 50_000 };

/// What to add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// What a row of the report stands for; without any, the report is one row.
    pub by: Vec<Dimension>,
    /// Records that began at this time or later, in microseconds since 1970.
    pub from: Option<i64>,
    /// Records that began before this time.
    pub to: Option<i64>,
    /// Only records with these values; several of one dimension: one of them.
    pub filters: Vec<(Dimension, String)>,
}

/// Sums of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// What clients asked.
    pub requests: u64,
    /// Requests that failed.
    pub failed: u64,
    /// All records: requests and what else they cost.
    pub records: u64,
    /// Tokens and other units by bucket.
    pub usage: Usage,
    /// Known costs in pico-dollars.
    pub cost: u128,
    /// Records whose cost is not known although they [cost](super::Record::costs) something, and such as wait for it still
    /// ([pending](super::UsageSource::Pending)): `cost` lacks theirs.
    pub unpriced: u64,
    /// What the same records cost by the map of the last re-rating; records that it did not reach count with `cost`.
    pub rerated_cost: u128,
    /// Records that were re-rated.
    pub rerated: u64,
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the values of a row's group are.
    pub by: Vec<Dimension>,
    /// Groups in their order, each with its sums. A value is `None` where records have none.
    pub rows: Vec<(Vec<Option<String>>, Totals)>,
    /// There were more groups than a report takes.
    pub truncated: bool,
}

/// Asks the database at `path`. Blocks: not for a runtime's thread.
///
/// # Errors
/// There is no database, or it cannot be read.
pub fn ask(path: &Path, query: &Query) -> Result<Report, StoreError> {
    query.run(&open_read_only(path)?)
}

/// An integer may overflow when pico-dollars are summed: whole micro-dollars and the rest are summed apart. So it may when a provider
/// told absurd counts, which are summed as floating-point numbers: exact to 2⁵³, far above what is real.
const SUMS: &str = "
    count(*) FILTER (WHERE kind IN ('request', 'cache_hit', 'shared')),
    count(*) FILTER (WHERE kind IN ('request', 'cache_hit', 'shared') AND fault IS NOT NULL),
    count(*),
    iif(count(input), CAST(total(input) AS INTEGER), NULL),
    iif(count(cache_read), CAST(total(cache_read) AS INTEGER), NULL),
    iif(count(cache_write_5m), CAST(total(cache_write_5m) AS INTEGER), NULL),
    iif(count(cache_write_1h), CAST(total(cache_write_1h) AS INTEGER), NULL),
    iif(count(audio_input), CAST(total(audio_input) AS INTEGER), NULL),
    iif(count(image_input), CAST(total(image_input) AS INTEGER), NULL),
    iif(count(output), CAST(total(output) AS INTEGER), NULL),
    iif(count(reasoning), CAST(total(reasoning) AS INTEGER), NULL),
    iif(count(audio_output), CAST(total(audio_output) AS INTEGER), NULL),
    iif(count(image_output), CAST(total(image_output) AS INTEGER), NULL),
    iif(count(audio_input_ms), CAST(total(audio_input_ms) AS INTEGER), NULL),
    iif(count(search_units), CAST(total(search_units) AS INTEGER), NULL),
    iif(count(web_searches), CAST(total(web_searches) AS INTEGER), NULL),
    iif(count(characters), CAST(total(characters) AS INTEGER), NULL),
    iif(count(images), CAST(total(images) AS INTEGER), NULL),
    iif(count(other_models), CAST(total(other_models) AS INTEGER), NULL),
    sum(cost / 1000000), sum(cost % 1000000),
    count(*) FILTER (WHERE cost IS NULL AND (usage_source NOT IN ('none', 'pending') OR (usage_source = 'pending' AND NOT EXISTS
        (SELECT 1 FROM record AS told WHERE told.at = usage.at AND told.id = usage.id AND told.seq = 2000)) OR (
        usage_source = 'none' AND kind = 'request' AND provider IS NOT NULL AND status BETWEEN 200 AND 299 AND fault IS NULL AND operation IN
        ('chat', 'completions', 'embeddings', 'rerank', 'images', 'speech', 'transcription')))),
    sum(iif(rerated_map IS NULL, cost, rerated_cost) / 1000000),
    sum(iif(rerated_map IS NULL, cost, rerated_cost) % 1000000),
    count(rerated_map)";

impl Query {
    fn run(&self, db: &Connection) -> Result<Report, StoreError> {
        let (sql, values) = self.sql();
        let mut statement = db.prepare(&sql)?;
        let groups = self.by.len();
        let rows = statement.query_map(rusqlite::params_from_iter(values), |row| {
            let group = (0..groups).map(|column| row.get(column)).collect::<Result<_, _>>()?;
            Ok((group, totals(row, groups)?))
        })?;
        let mut rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        let truncated = rows.len() > MAX_ROWS;
        rows.truncate(MAX_ROWS);
        Ok(Report { by: self.by.clone(), rows, truncated })
    }

    /// Only fixed texts are in the statement; what the asker wrote is bound.
    fn sql(&self) -> (String, Vec<Value>) {
        let groups: Vec<&str> = self.by.iter().map(|dimension| dimension.sql()).collect();
        let columns: String = groups.iter().map(|group| format!("{group}, ")).collect();
        let mut sql = format!("SELECT {columns}{SUMS} FROM usage");
        if self.by.contains(&Dimension::Tag) {
            sql.push_str(" LEFT JOIN json_each(usage.tags) AS tag");
        }
        sql.push_str(" WHERE at >= ? AND at < ?");
        let mut values: Vec<Value> = vec![self.from.unwrap_or(i64::MIN).into(), self.to.unwrap_or(i64::MAX).into()];
        for dimension in Dimension::ALL {
            let wanted: Vec<_> = self.filters.iter().filter(|(of, _)| *of == dimension).collect();
            if wanted.is_empty() {
                continue;
            }
            let places = vec!["?"; wanted.len()].join(", ");
            sql.push_str(&match dimension {
                Dimension::Tag => {
                    format!(" AND EXISTS (SELECT 1 FROM json_each(usage.tags) WHERE value IN ({places}))")
                }
                _ => format!(" AND {} IN ({places})", dimension.sql()),
            });
            values.extend(wanted.into_iter().map(|(_, value)| Value::from(value.clone())));
        }
        if !groups.is_empty() {
            let list: Vec<String> = (1..=groups.len()).map(|column| column.to_string()).collect();
            let list = list.join(", ");
            sql.push_str(&format!(" GROUP BY {list} ORDER BY {list}"));
        }
        sql.push_str(&format!(" LIMIT {}", MAX_ROWS + 1));
        (sql, values)
    }
}

/// The columns of [`SUMS`], one after the other.
struct Columns<'a> {
    row: &'a Row<'a>,
    next: usize,
}

impl Columns<'_> {
    /// `None` if no record has a value.
    fn sum(&mut self) -> rusqlite::Result<Option<u64>> {
        let value: Option<i64> = self.row.get(self.next)?;
        self.next += 1;
        Ok(value.map(|value| u64::try_from(value).unwrap_or_default()))
    }

    fn count(&mut self) -> rusqlite::Result<u64> {
        Ok(self.sum()?.unwrap_or_default())
    }

    fn money(&mut self) -> rusqlite::Result<u128> {
        Ok(u128::from(self.count()?) * 1_000_000 + u128::from(self.count()?))
    }
}

fn totals(row: &Row<'_>, first: usize) -> rusqlite::Result<Totals> {
    let mut columns = Columns { row, next: first };
    Ok(Totals {
        requests: columns.count()?,
        failed: columns.count()?,
        records: columns.count()?,
        usage: Usage::of_counts(|_| columns.sum())?,
        cost: columns.money()?,
        unpriced: columns.count()?,
        rerated_cost: columns.money()?,
        rerated: columns.count()?,
    })
}

#[cfg(test)]
mod tests;
