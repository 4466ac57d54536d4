//! A record as a row of the spool.
//!
//! ```text
//! format, a byte | length of the record's own part, u32 LE | own part | context: what it has in common with many
//! ```
//!
//! A part is a mask of the columns that have a value, u64 LE, the first one in the lowest bit, and these values, in the order
//! of the columns: a number in zigzag and groups of seven bits, a text behind its length. Later versions add columns at the
//! end of a part, which others pass over. The context comes last: the taker knows it by its bytes.

use ai_gateway_providers::usage::Usage;
use rusqlite::types::ValueRef;
use serde::Serialize;

use super::record::{Record, Text};

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

use Column::{Number, Words};

/// As the database calls it.
pub const fn name(column: &Column) -> &'static str {
    match column {
        Number(name) | Words(name) => name,
    }
}

/// What a record has of its own. The first [`OWN_REQUIRED`] are always there, the first [`USUAL`] are in the table `record`, the
/// others, which most records lack, in `more`.
pub const OWN: [Column; 25] = [
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
    Words("tags"),
    Words("metadata"),
];
const OWN_REQUIRED: u32 = 4;
/// See [`OWN`].
pub const USUAL: usize = 11;

/// What is the same for many records. The first [`CONTEXT_REQUIRED`] are always there. Of a count that is in `more` it is here that
/// it is zero, as a provider says of it in each of its answers.
pub const CONTEXT: [Column; 33] = [
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
    Words("fallback"),
];
const CONTEXT_REQUIRED: u32 = 8;

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

/// A part that is being written, one column after the other.
struct Part<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    mask: u64,
    /// The bit of the next column.
    bit: u64,
}

impl<'o> Part<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        Self { out, start, mask: 0, bit: 1 }
    }

    fn end(self) {
        set(self.out, self.start, self.mask.to_le_bytes());
    }

    fn null(&mut self) {
        self.bit <<= 1;
    }

    fn value(&mut self) {
        self.mask |= self.bit;
        self.bit <<= 1;
    }

    fn number(&mut self, number: i64) {
        self.value();
        self.varint(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    fn count(&mut self, count: Option<u64>) {
        match count {
            Some(count) => self.number(signed(count)),
            None => self.null(),
        }
    }

    fn text(&mut self, text: &str) {
        self.value();
        self.varint(text.len() as u64);
        self.out.extend_from_slice(text.as_bytes());
    }

    fn maybe_text(&mut self, text: &Option<Text<'_>>) {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    /// A list as JSON; an empty one is null.
    fn list<T: Serialize>(&mut self, list: &[T]) {
        if list.is_empty() {
            return self.null();
        }
        self.value();
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 3]);
        // Texts have no values that JSON could not hold, and memory takes all.
        _ = serde_json::to_writer(&mut *self.out, list);
        // The length in three groups, however small it is.
        let length = self.out.len() - start - 3;
        let [low, ..] = length.to_le_bytes();
        let [middle, ..] = (length >> 7).to_le_bytes();
        let [high, ..] = (length >> 14).to_le_bytes();
        set(self.out, start, [low | 0x80, middle | 0x80, high & 0x7f]);
    }

    fn varint(&mut self, mut rest: u64) {
        while let [low, ..] = rest.to_le_bytes()
            && rest > 0x7f
        {
            self.out.push(low | 0x80);
            rest >>= 7;
        }
        let [low, ..] = rest.to_le_bytes();
        self.out.push(low);
    }
}

fn set<const N: usize>(out: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
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

/// The values of a part; columns of a later version are passed over.
fn values<'a, const N: usize>(columns: &[Column; N], required: u32, part: &'a [u8]) -> Option<Values<'a, N>> {
    let (mask, mut rest) = part.split_first_chunk()?;
    let mut mask = u64::from_le_bytes(*mask);
    if mask.trailing_ones() < required {
        return None;
    }
    let mut values = [ValueRef::Null; N];
    for (column, value) in columns.iter().zip(&mut values) {
        if mask == 0 {
            break;
        }
        if mask & 1 == 1 {
            *value = match column {
                Number(_) => {
                    let number = varint(&mut rest)?;
                    ValueRef::Integer((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
                }
                Words(_) => {
                    let length = usize::try_from(varint(&mut rest)?).ok()?;
                    let (text, after) = rest.split_at_checked(length)?;
                    rest = after;
                    ValueRef::Text(text)
                }
            };
        }
        mask >>= 1;
    }
    Some(values)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// SQLite has signed numbers only. Nothing real is larger: 2⁶³ pico-dollars are nine million dollars for one request.
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::tests::full;
    use super::*;

    fn written(record: &Record<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(record, &mut bytes);
        bytes
    }

    /// A row of these two parts.
    fn joined(own: &[u8], context: &[u8]) -> Vec<u8> {
        [&[FORMAT], &(own.len() as u32).to_le_bytes()[..], own, context].concat()
    }

    /// The part with a value more, of the column at `bit`.
    fn longer(part: &[u8], bit: usize, value: &[u8]) -> Vec<u8> {
        let mask = u64::from_le_bytes(*part.first_chunk().unwrap()) | (1 << bit);
        [&mask.to_le_bytes(), &part[8..], value].concat()
    }

    /// What an older and a newer version write is read: parts without their last columns, and with more.
    #[test]
    fn columns_may_be_added_at_the_end() {
        let bytes = written(&full(3));
        let known = read(&bytes).unwrap();
        let own = &bytes[HEAD..bytes.len() - known.context.len()];
        assert_eq!(joined(own, known.context), bytes);

        let (more, other) = (longer(own, OWN.len(), &[9, 9]), longer(known.context, CONTEXT.len(), b"\x03new"));
        let newer = joined(&more, &other);
        let newer = read(&newer).unwrap();
        assert_eq!((newer.at, newer.own, context(newer.context)), (known.at, known.own, context(known.context)));
        assert_ne!(newer.context, known.context);

        let mask = |part: &[u8], last: usize| {
            (u64::from_le_bytes(*part.first_chunk().unwrap()) & !(1 << (last - 1))).to_le_bytes()
        };
        let (less, other) = (mask(own, OWN.len()), mask(known.context, CONTEXT.len()));
        let older = joined(&[&less, &own[8..]].concat(), &[&other, &known.context[8..]].concat());
        let older = read(&older).unwrap();
        let without_last = |values: &[ValueRef<'_>]| {
            let (last, others) = values.split_last().unwrap();
            (*last == ValueRef::Null, format!("{others:?}"))
        };
        assert_eq!(without_last(&older.own), (true, without_last(&known.own).1));
        let contexts = [older.context, known.context].map(|part| without_last(&context(part).unwrap()));
        assert_eq!(contexts[0], (true, contexts[1].1.clone()));
    }

    #[test]
    fn there_is_a_place_for_each_column() {
        let zeros = Usage::of_counts(|_| Ok::<_, ()>(Some(0))).unwrap();
        let (bytes, zeros) = (written(&full(1)), written(&Record { usage: zeros, ..full(1) }));
        assert!(bytes.len() <= USUAL_SIZE);
        let [row, zeros] = [&bytes, &zeros].map(|bytes| read(bytes).unwrap());
        assert!(row.own.iter().all(|value| *value != ValueRef::Null));
        assert!(context(zeros.context).unwrap().iter().all(|value| *value != ValueRef::Null));
        // Each count that may be in `more` is in one of them.
        let of_more = |row: &Row<'_>| {
            let all: Vec<_> = row.own[USUAL..].iter().chain(&context(row.context).unwrap()[20..32]).copied().collect();
            all.iter().filter(|value| **value != ValueRef::Null).count()
        };
        assert_eq!((of_more(&row), of_more(&zeros)), (12 + 2, 12 + 2));
        let names = |columns: &[Column]| columns.iter().map(name).collect::<Vec<_>>();
        assert_eq!(names(&CONTEXT[20..32]), names(&OWN[USUAL..OWN.len() - 2]));
    }

    #[test]
    fn what_has_no_value_takes_no_byte() {
        let bytes = written(&Record::default());
        let row = read(&bytes).unwrap();
        let values = |values: &[ValueRef<'_>]| values.iter().filter(|value| **value != ValueRef::Null).count() as u32;
        assert_eq!(values(&row.own), OWN_REQUIRED);
        assert_eq!(values(&context(row.context).unwrap()), CONTEXT_REQUIRED);
        // The words are `request`, `[]`, an empty one and `none`.
        assert_eq!(bytes.len(), HEAD + 8 + 4 + 8 + 8 + 7 + 2 + 4);
    }

    /// What another has in common with a record is the same bytes; the request's own tags are no part of it.
    #[test]
    fn records_that_differ_in_what_is_their_own_have_one_context() {
        let (one, other) = (full(0), full(40));
        assert_eq!((one.kind, one.usage_source), (other.kind, other.usage_source));
        let tagged = Record { tags: ["a", "another"].into_iter().collect(), ..full(0) };
        let untagged = Record { tags: ["a"].into_iter().collect(), ..full(0) };
        let rows = [one, other, tagged, untagged].map(|record| written(&record));
        let rows = rows.each_ref().map(|bytes| read(bytes).unwrap());
        assert!(rows.iter().all(|row| row.context == rows[0].context));
        let more = written(&Record { key_tags: 2, ..full(0) });
        assert_ne!(read(&more).unwrap().context, rows[0].context);
    }

    /// Rows of before this format, and such as lack what each record has.
    #[test]
    fn what_is_no_row_is_told() {
        assert_eq!(read(b"\x01\x80\x80\x90\x9e\xe1\xa4\x85\x06\x02\x01x"), None);
        let bytes = written(&full(1));
        let row = read(&bytes).unwrap();
        let own = &bytes[HEAD..bytes.len() - row.context.len()];
        for bit in 0..OWN_REQUIRED {
            let mask = (!(1_u64 << bit)).to_le_bytes();
            assert_eq!(read(&joined(&[&mask, &own[8..]].concat(), row.context)), None);
        }
        for bit in 0..CONTEXT_REQUIRED {
            let mask = (!(1_u64 << bit)).to_le_bytes();
            assert_eq!(context(&[&mask, &row.context[8..]].concat()), None);
        }
        assert_eq!(context(&row.context[..row.context.len() - 1]), None);
    }

    proptest! {
        #[test]
        fn numbers_and_texts_come_back(
            at in any::<i64>(), counts in prop::collection::vec(prop::option::of(0..=i64::MAX as u64), 16),
            id in ".{0,200}", tags in prop::collection::vec(".{0,200}", 0..40),
        ) {
            let record = Record {
                at,
                id: id.into(),
                cost: counts[0],
                usage: Usage { input: counts[1], output: counts[2], web_searches: counts[3], ..Usage::default() },
                tags: tags.into_iter().collect(),
                key_tags: 3,
                ..Record::default()
            };
            let bytes = written(&record);
            let row = read(&bytes).unwrap();
            let count = |at: usize| row.own[at].as_i64_or_null().unwrap().map(|count| count as u64);
            prop_assert_eq!((row.at, row.own[1].as_str()), (at, Ok(&*record.id)));
            prop_assert_eq!([9, 5, 7, 19].map(count), [counts[0], counts[1], counts[2], counts[3]]);
            let list = |value: ValueRef<'_>| {
                let text = value.as_str_or_null().unwrap();
                text.map_or(Vec::new(), |text| serde_json::from_str::<Vec<String>>(text).unwrap())
            };
            let tags: Vec<String> = [list(context(row.context).unwrap()[1]), list(row.own[23])].concat();
            prop_assert_eq!(tags, record.tags.iter().map(ToString::to_string).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(
            format in prop_oneof![Just(FORMAT), any::<u8>()], length in 0u8..40, masks in any::<bool>(),
            mut bytes in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..200),
        ) {
            let mask = if masks { u64::MAX } else { 0_u64 };
            for at in [0, usize::from(length)] {
                set(&mut bytes, at, mask.to_le_bytes());
            }
            let bytes = [&[format, length, 0, 0, 0], bytes.as_slice()].concat();
            _ = read(&bytes).map(|row| context(row.context));
            _ = context(&bytes);
        }
    }
}
