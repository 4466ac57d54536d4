//! A record as a row of the spool.
//!
//! ```text
//! format, a byte | length of the record's own part, u32 LE | own part | context: what it has in common with many
//! ```
//!
//! Each part is a list of columns ([`part`]); later versions add columns at its end. The context comes last: the taker knows it by its
//! bytes.

mod part;

use ai_gateway_providers::usage::Usage;
use rusqlite::types::ValueRef;

use self::Column::{Number, Words};
use super::record::Record;
use part::{Part, set, values};

/// The first byte of a row. Rows of before it began with 1; they are no rows any more.
const FORMAT: u8 = 2;
/// Format and length.
const HEAD: usize = 5;
/// More than a usual row takes.
const USUAL_SIZE: usize = 512;

/// A column of the database that the spool has, too.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// It holds whole numbers.
    Number(&'static str),
    /// It holds texts.
    Words(&'static str),
}

/// As the database calls it.
pub const fn name(column: &Column) -> &'static str {
    match column {
        Number(name) | Words(name) => name,
    }
}

/// What a record has of its own. The first [`OWN_REQUIRED`] are always there, the first [`USUAL`] are in the table `record`, the
/// others, which most records lack, in `more`.
pub const OWN: [Column; 25] = with_rare(
    &[
        Number("at"),
        Words("id"),
        Number("seq"),
        Number("duration_us"),
        Number("first_token_us"),
        Number("input"),
        Number("cache_read"),
        Number("output"),
        Number("reasoning"),
        Number("cost"),
        Words("customer"),
    ],
    &[Words("tags"), Words("metadata")],
);
const OWN_REQUIRED: u32 = 4;
/// See [`OWN`].
pub const USUAL: usize = 11;

/// What is the same for many records. The first [`CONTEXT_REQUIRED`] are always there. Of a count that is in `more` it is here that
/// it is zero, as a provider says of it in each of its answers.
pub const CONTEXT: [Column; 33] = with_rare(
    &[
        Words("kind"),
        Words("tags"),
        Number("key_tags"),
        Words("operation"),
        Number("status"),
        Number("stream"),
        Number("attempts"),
        Words("usage_source"),
        Words("key"),
        Words("account"),
        Words("team"),
        Words("owner"),
        Words("dialect"),
        Words("model"),
        Words("provider"),
        Words("upstream_model"),
        Words("answer_model"),
        Words("fault"),
        Words("service_tier"),
        Words("price_map"),
    ],
    &[Words("fallback")],
);
const CONTEXT_REQUIRED: u32 = 8;

/// The counts that most records lack: in `more` if they are more than zero.
const RARE: [Column; 12] = [
    Number("cache_write_5m"),
    Number("cache_write_1h"),
    Number("audio_input"),
    Number("image_input"),
    Number("audio_output"),
    Number("image_output"),
    Number("audio_input_ms"),
    Number("search_units"),
    Number("web_searches"),
    Number("characters"),
    Number("images"),
    Number("other_models"),
];

/// [`RARE`] between these.
const fn with_rare<const N: usize>(before: &[Column], after: &[Column]) -> [Column; N] {
    let mut all = [RARE[0]; N];
    let (start, rest) = all.split_at_mut(before.len());
    let (middle, end) = rest.split_at_mut(RARE.len());
    start.copy_from_slice(before);
    middle.copy_from_slice(&RARE);
    end.copy_from_slice(after);
    all
}

/// Appends a record to `out`.
pub fn write(record: &Record<'_>, out: &mut Vec<u8>) {
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
        key_tags,
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
        fallback,
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
        characters,
        images,
        other_models,
        // It is in the cost.
        charged: _,
    } = usage;
    #[rustfmt::skip]
    let rare = [
        cache_write_5m, cache_write_1h, audio_input, image_input, audio_output, image_output, audio_input_ms, search_units,
        web_searches, characters, images, other_models,
    ];
    // A tag of the request's own may be as unique as the request.
    let (of_key, of_request) = tags.split_at((*key_tags).min(tags.len()));
    out.reserve(USUAL_SIZE);
    let start = out.len();
    out.extend_from_slice(&[FORMAT, 0, 0, 0, 0]);
    let mut own = Part::new(out);
    own.number(*at);
    own.text(id);
    own.number(i64::from(*seq));
    own.number(signed(*duration_us));
    for count in [first_token_us, input, cache_read, output, reasoning, cost] {
        own.count(*count);
    }
    own.maybe_text(customer);
    for count in rare {
        own.count(count.filter(|count| *count > 0));
    }
    own.list(of_request);
    own.list(metadata);
    own.end();
    let length = out.len() - start - HEAD;
    set(out, start + 1, u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());

    let mut context = Part::new(out);
    context.text(kind.as_str());
    if of_key.is_empty() {
        context.text("[]")
    } else {
        context.list(of_key)
    }
    context.count(Some(*key_tags as u64));
    context.text(operation);
    context.number(i64::from(*status));
    context.number(i64::from(*stream));
    context.number(i64::from(*attempts));
    context.text(usage_source.as_str());
    for text in [key, account, team, owner, dialect, model, provider, upstream_model, answer_model] {
        context.maybe_text(text);
    }
    for text in [fault, service_tier, price_map] {
        context.maybe_text(text);
    }
    for count in rare {
        context.count(count.filter(|count| *count == 0));
    }
    context.maybe_text(fallback);
    context.end();
}

/// The values of columns.
pub type Values<'a, const N: usize> = [ValueRef<'a>; N];

/// A row that was read. Its context is left as it is until somebody needs it.
#[derive(Debug, PartialEq)]
pub struct Row<'a> {
    /// When the request began.
    pub at: i64,
    /// Of [`OWN`].
    pub own: Values<'a, { OWN.len() }>,
    /// For [`context`].
    pub context: &'a [u8],
}

/// Reads what [`write`] wrote. `None`: it is no row.
pub fn read(payload: &[u8]) -> Option<Row<'_>> {
    let (head, rest) = payload.split_first_chunk::<HEAD>()?;
    let [FORMAT, length @ ..] = *head else { return None };
    let (own, context) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(length)).ok()?)?;
    let own = values(&OWN, OWN_REQUIRED, own)?;
    let at = own.first()?.as_i64().ok()?;
    Some(Row { at, own, context })
}

/// Reads a row's context: the values of [`CONTEXT`]. `None`: it is none.
pub fn context(part: &[u8]) -> Option<Values<'_, { CONTEXT.len() }>> {
    values(&CONTEXT, CONTEXT_REQUIRED, part)
}

/// SQLite has signed numbers only. Nothing real is larger: 2⁶³ pico-dollars are nine million dollars for one request.
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
