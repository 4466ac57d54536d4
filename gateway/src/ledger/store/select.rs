//! Records as they are read from the database.

use ai_gateway_providers::usage::Usage;
use rusqlite::{Connection, Result, Row};

use super::super::record::{Kind, Metadata, Record, Tags, Text, UsageSource};
use super::StoreError;

/// For [`read`].
pub const SELECT: &str = "
    SELECT at, id, seq, kind, key, account, team, owner, tags, key_tags, customer, metadata, operation, dialect, model, provider,
        upstream_model, answer_model, status, fault, stream, attempts, duration_us, first_token_us, input, cache_read,
        cache_write_5m, cache_write_1h, audio_input, image_input, output, reasoning, audio_output, image_output,
        audio_input_ms, search_units, web_searches, characters, images, other_models, usage_source, service_tier, cost,
        price_map
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

/// Reads a row of [`SELECT`].
fn read(row: &Row<'_>) -> Result<Record<'static>> {
    let text = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(column)?.map(Text::from));
    let count = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(unsigned));
    let (kind, source): (String, String) = (row.get("kind")?, row.get("usage_source")?);
    let tags: Vec<String> = serde_json::from_str(&row.get::<_, String>("tags")?).unwrap_or_default();
    let metadata = row.get::<_, Option<String>>("metadata")?;
    let metadata: Vec<(String, String)> =
        metadata.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    Ok(Record {
        id: row.get::<_, String>("id")?.into(),
        seq: row.get("seq")?,
        kind: Kind::ALL.into_iter().find(|known| known.as_str() == kind).unwrap_or_default(),
        at: row.get("at")?,
        key: text("key")?,
        account: text("account")?,
        team: text("team")?,
        owner: text("owner")?,
        // Rows of before this column: all of them, as was counted then.
        key_tags: row.get::<_, Option<u32>>("key_tags")?.map_or(tags.len(), |count| count as usize),
        tags: tags.into_iter().collect::<Tags<'_>>(),
        customer: text("customer")?,
        metadata: metadata.into_iter().collect::<Metadata<'_>>(),
        operation: row.get::<_, String>("operation")?.into(),
        dialect: text("dialect")?,
        model: text("model")?,
        provider: text("provider")?,
        upstream_model: text("upstream_model")?,
        answer_model: text("answer_model")?,
        status: row.get("status")?,
        fault: text("fault")?,
        stream: row.get("stream")?,
        attempts: row.get("attempts")?,
        duration_us: unsigned(row.get("duration_us")?),
        first_token_us: count("first_token_us")?,
        usage: Usage {
            input: count("input")?,
            cache_read: count("cache_read")?,
            cache_write_5m: count("cache_write_5m")?,
            cache_write_1h: count("cache_write_1h")?,
            audio_input: count("audio_input")?,
            image_input: count("image_input")?,
            output: count("output")?,
            reasoning: count("reasoning")?,
            audio_output: count("audio_output")?,
            image_output: count("image_output")?,
            audio_input_ms: count("audio_input_ms")?,
            search_units: count("search_units")?,
            web_searches: count("web_searches")?,
            characters: count("characters")?,
            images: count("images")?,
            other_models: count("other_models")?,
        },
        usage_source: UsageSource::ALL.into_iter().find(|known| known.as_str() == source).unwrap_or_default(),
        service_tier: text("service_tier")?,
        cost: count("cost")?,
        price_map: text("price_map")?,
    })
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
