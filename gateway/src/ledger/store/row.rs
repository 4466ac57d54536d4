//! A record as a row, and back.

use ai_gateway_providers::usage::Usage;
use rusqlite::{Result, Row, Statement, params};

use super::super::record::{Kind, Metadata, Record, Tags, Text, UsageSource};

macro_rules! columns {
    () => {
        "at, id, seq, kind, key, team, owner, tags, customer, operation, dialect, model, provider, upstream_model, \
         answer_model, status, fault, stream, attempts, duration_us, first_token_us, input, cache_read, cache_write_5m, \
         cache_write_1h, audio_input, image_input, output, reasoning, audio_output, image_output, audio_input_ms, \
         search_units, web_searches, usage_source, service_tier, cost, price_map, metadata, account"
    };
}

/// For [`bind`].
pub const INSERT: &str = concat!(
    "INSERT OR IGNORE INTO usage (",
    columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, \
     ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38, ?39, ?40)"
);

/// For [`read`].
pub const SELECT: &str = concat!("SELECT ", columns!(), " FROM usage");

/// Inserts a record. Returns 0 if it is there already.
pub fn bind(insert: &mut Statement<'_>, record: &Record<'_>) -> Result<usize> {
    let Record {
        id,
        seq,
        kind,
        at,
        key,
        account,
        team,
        owner,
        tags,
        customer,
        metadata,
        operation,
        dialect,
        model,
        provider,
        upstream_model,
        answer_model,
        status,
        fault,
        stream,
        attempts,
        duration_us,
        first_token_us,
        usage,
        usage_source,
        service_tier,
        cost,
        price_map,
    } = record;
    let Usage {
        input,
        cache_read,
        cache_write_5m,
        cache_write_1h,
        audio_input,
        image_input,
        output,
        reasoning,
        audio_output,
        image_output,
        audio_input_ms,
        search_units,
        web_searches,
    } = usage;
    insert.execute(params![
        at,
        &**id,
        seq,
        kind.as_str(),
        text(key),
        text(team),
        text(owner),
        // Texts have no values that JSON could not hold.
        serde_json::to_string(tags).unwrap_or_else(|_| "[]".to_owned()),
        text(customer),
        &**operation,
        text(dialect),
        text(model),
        text(provider),
        text(upstream_model),
        text(answer_model),
        status,
        text(fault),
        stream,
        attempts,
        signed(*duration_us),
        first_token_us.map(signed),
        input.map(signed),
        cache_read.map(signed),
        cache_write_5m.map(signed),
        cache_write_1h.map(signed),
        audio_input.map(signed),
        image_input.map(signed),
        output.map(signed),
        reasoning.map(signed),
        audio_output.map(signed),
        image_output.map(signed),
        audio_input_ms.map(signed),
        search_units.map(signed),
        web_searches.map(signed),
        usage_source.as_str(),
        text(service_tier),
        cost.map(signed),
        text(price_map),
        (!metadata.is_empty()).then(|| serde_json::to_string(metadata).unwrap_or_default()),
        text(account),
    ])
}

/// Reads a row of [`SELECT`].
pub fn read(row: &Row<'_>) -> Result<Record<'static>> {
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
        },
        usage_source: UsageSource::ALL.into_iter().find(|known| known.as_str() == source).unwrap_or_default(),
        service_tier: text("service_tier")?,
        cost: count("cost")?,
        price_map: text("price_map")?,
    })
}

fn text<'a>(text: &'a Option<Text<'_>>) -> Option<&'a str> {
    text.as_deref()
}

/// SQLite has signed numbers only. Nothing real is larger: 2⁶³ pico-dollars are nine million dollars for one request.
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
