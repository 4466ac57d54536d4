//! Records as they are read from the database.

use ai_gateway_providers::usage::Usage;
use rusqlite::types::FromSql;
use rusqlite::{Connection, Result, Row};
use serde::de::DeserializeOwned;

use super::super::record::{Kind, Metadata, Record, Tags, Text, UsageSource};
use super::StoreError;

/// For [`read`], in its order.
pub const SELECT: &str = "
    SELECT tags, metadata, id, seq, kind, at, key, account, team, owner, key_tags, customer, operation, dialect, model, provider,
        upstream_model, answer_model, status, fault, stream, attempts, duration_us, first_token_us, input, cache_read,
        cache_write_5m, cache_write_1h, audio_input, image_input, output, reasoning, audio_output, image_output,
        audio_input_ms, search_units, web_searches, characters, images, other_models, usage_source, service_tier, cost,
        price_map, fallback
    FROM usage";

/// The next records after one, and before an end, in their order. There is one condition for where it begins: of two SQLite takes
/// the one that does not move.
pub const AFTER: &str = "(at, id, seq) > (?1, ?2, ?3) AND at < ?4 ORDER BY at, id, seq LIMIT ?5";
/// The last records before one, and not before a beginning, the last first.
pub const BEFORE: &str = "(at, id, seq) < (?1, ?2, ?3) AND at >= ?4 ORDER BY at DESC, id DESC, seq DESC LIMIT ?5";

/// Up to `limit` records in the direction that `which` says, from `last` on, which is not one of them, or from the time `from`, to
/// the time `to`.
pub fn page(
    db: &Connection,
    which: &str,
    last: Option<&Record<'_>>,
    from: i64,
    to: i64,
    limit: u32,
) -> Result<Vec<Record<'static>>, StoreError> {
    // No record of this time comes before this.
    let (at, id, seq) = last.map_or((from, "", -1), |last| (last.at, &*last.id, i64::from(last.seq)));
    let mut statement = db.prepare_cached(&format!("{SELECT} WHERE {which}"))?;
    let rows = statement.query_map((at, id, seq, to, limit), read)?;
    Ok(rows.collect::<Result<_>>()?)
}

/// Reads a row of [`SELECT`]. By their names it would take five times as long.
fn read(row: &Row<'_>) -> Result<Record<'static>> {
    let mut columns = Columns { row, next: 0 };
    let tags: Vec<String> = columns.list()?;
    let metadata: Vec<(String, String)> = columns.list()?;
    Ok(Record {
        id: columns.next::<String>()?.into(),
        seq: columns.next()?,
        kind: columns.word(&Kind::ALL, Kind::as_str)?,
        at: columns.next()?,
        key: columns.text()?,
        account: columns.text()?,
        team: columns.text()?,
        owner: columns.text()?,
        // Rows of before this column: all of them, as was counted then.
        key_tags: columns.next::<Option<u32>>()?.map_or(tags.len(), |count| count as usize),
        tags: tags.into_iter().collect::<Tags<'_>>(),
        customer: columns.text()?,
        metadata: metadata.into_iter().collect::<Metadata<'_>>(),
        operation: columns.next::<String>()?.into(),
        dialect: columns.text()?,
        model: columns.text()?,
        provider: columns.text()?,
        upstream_model: columns.text()?,
        answer_model: columns.text()?,
        status: columns.next()?,
        fault: columns.text()?,
        stream: columns.next()?,
        attempts: columns.next()?,
        duration_us: unsigned(columns.next()?),
        first_token_us: columns.count()?,
        usage: Usage::of_counts(|_| columns.count())?,
        usage_source: columns.word(&UsageSource::ALL, UsageSource::as_str)?,
        service_tier: columns.text()?,
        cost: columns.count()?,
        price_map: columns.text()?,
        fallback: columns.text()?,
    })
}

/// The values of a row, one after the other.
struct Columns<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl Columns<'_> {
    fn next<T: FromSql>(&mut self) -> Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    fn text(&mut self) -> Result<Option<Text<'static>>> {
        Ok(self.next::<Option<String>>()?.map(Text::from))
    }

    fn count(&mut self) -> Result<Option<u64>> {
        Ok(self.next::<Option<i64>>()?.map(unsigned))
    }

    fn list<T: DeserializeOwned>(&mut self) -> Result<Vec<T>> {
        let text = self.next::<Option<String>>()?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    fn word<T: Copy + Default>(&mut self, all: &[T], word: impl Fn(T) -> &'static str) -> Result<T> {
        let text: String = self.next()?;
        Ok(all.iter().copied().find(|known| word(*known) == text).unwrap_or_default())
    }
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
