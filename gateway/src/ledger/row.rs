//! A record as a row: of the spool, of the database, and back.

use ai_gateway_providers::usage::Usage;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, Result, Row};
use serde::Serialize;

use super::record::{Kind, Metadata, Record, Tags, Text, UsageSource};

/// Of a row.
const COLUMNS: usize = 44;

macro_rules! columns {
    () => {
        "at, id, seq, kind, key, team, owner, tags, customer, operation, dialect, model, provider, upstream_model, \
         answer_model, status, fault, stream, attempts, duration_us, first_token_us, input, cache_read, cache_write_5m, \
         cache_write_1h, audio_input, image_input, output, reasoning, audio_output, image_output, audio_input_ms, \
         search_units, web_searches, usage_source, service_tier, cost, price_map, metadata, account, key_tags, \
         characters, images, other_models"
    };
}

/// For [`Insert`].
const INSERT: &str = concat!(
    "INSERT OR IGNORE INTO usage (",
    columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, \
     ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38, ?39, ?40, ?41, ?42, ?43, \
     ?44)"
);

/// For [`read`].
pub const SELECT: &str = concat!("SELECT ", columns!(), " FROM usage");

/// Appends a record's values to `out`, in the order of the columns: one byte for the kind of a value, then a number in
/// zigzag and groups of seven bits, or a text behind its length.
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
    } = usage;
    let mut row = Writer(out);
    row.number(*at);
    row.text(id);
    row.number(i64::from(*seq));
    row.text(kind.as_str());
    row.maybe_text(key);
    row.maybe_text(team);
    row.maybe_text(owner);
    row.json(tags);
    row.maybe_text(customer);
    row.text(operation);
    for text in [dialect, model, provider, upstream_model, answer_model] {
        row.maybe_text(text);
    }
    row.number(i64::from(*status));
    row.maybe_text(fault);
    row.number(i64::from(*stream));
    row.number(i64::from(*attempts));
    row.number(signed(*duration_us));
    row.count(*first_token_us);
    for count in [input, cache_read, cache_write_5m, cache_write_1h, audio_input, image_input, output] {
        row.count(*count);
    }
    for count in [reasoning, audio_output, image_output, audio_input_ms, search_units, web_searches] {
        row.count(*count);
    }
    row.text(usage_source.as_str());
    row.maybe_text(service_tier);
    row.count(*cost);
    row.maybe_text(price_map);
    if metadata.is_empty() {
        row.null()
    } else {
        row.json(metadata)
    }
    row.maybe_text(account);
    row.count(Some(*key_tags as u64));
    row.count(*characters);
    row.count(*images);
    row.count(*other_models);
}

/// What a value is.
const NULL: u8 = 0;
const NUMBER: u8 = 1;
const TEXT: u8 = 2;

struct Writer<'o>(&'o mut Vec<u8>);

impl Writer<'_> {
    fn null(&mut self) {
        self.0.push(NULL);
    }

    fn number(&mut self, number: i64) {
        self.0.push(NUMBER);
        self.varint(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    fn count(&mut self, count: Option<u64>) {
        match count {
            Some(count) => self.number(signed(count)),
            None => self.null(),
        }
    }

    fn text(&mut self, text: &str) {
        self.0.push(TEXT);
        self.varint(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn maybe_text(&mut self, text: &Option<Text<'_>>) {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    /// A list. Texts have no values that JSON could not hold.
    fn json<T: Serialize>(&mut self, list: &[T]) {
        if list.is_empty() { self.text("[]") } else { self.text(&serde_json::to_string(list).unwrap_or_default()) }
    }

    fn varint(&mut self, mut rest: u64) {
        while let [low, ..] = rest.to_le_bytes()
            && rest > 0x7f
        {
            self.0.push(low | 0x80);
            rest >>= 7;
        }
        let [low, ..] = rest.to_le_bytes();
        self.0.push(low);
    }
}

/// A record as [`write`] wrote it.
pub type Values<'a> = [ValueRef<'a>; COLUMNS];

/// Reads what [`write`] wrote. Values behind the last known column are a later version's, missing ones are null: columns
/// are only ever added, at the end. `None`: it is no row.
pub fn values(mut payload: &[u8]) -> Option<Values<'_>> {
    let mut values = [ValueRef::Null; COLUMNS];
    for value in &mut values {
        let Some((kind, rest)) = payload.split_first() else { break };
        payload = rest;
        *value = match *kind {
            NULL => ValueRef::Null,
            NUMBER => {
                let number = varint(&mut payload)?;
                ValueRef::Integer((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
            }
            TEXT => {
                let length = usize::try_from(varint(&mut payload)?).ok()?;
                let (text, rest) = payload.split_at_checked(length)?;
                payload = rest;
                ValueRef::Text(text)
            }
            _ => return None,
        };
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

/// Inserts rows one after the other. A column that is as in the row before, as most are, is not bound again.
pub struct Insert<'t, 'a> {
    statement: CachedStatement<'t>,
    before: Option<Values<'a>>,
}

impl<'t, 'a> Insert<'t, 'a> {
    /// # Errors
    /// There is no such table.
    pub fn new(db: &'t Connection) -> Result<Self> {
        let mut statement = db.prepare_cached(INSERT)?;
        statement.clear_bindings();
        Ok(Self { statement, before: None })
    }

    /// Says whether the row is new.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn insert(&mut self, values: Values<'a>) -> Result<bool> {
        let before = self.before.replace(values).unwrap_or([ValueRef::Null; COLUMNS]);
        for (column, (value, before)) in (1..).zip(values.iter().zip(&before)) {
            if value != before {
                self.statement.raw_bind_parameter(column, ToSqlOutput::Borrowed(*value))?;
            }
        }
        Ok(self.statement.raw_execute()? > 0)
    }
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

/// SQLite has signed numbers only. Nothing real is larger: 2⁶³ pico-dollars are nine million dollars for one request.
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
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

    /// What an older and a newer version write is read: a row without its last columns, and one with more.
    #[test]
    fn columns_may_be_added_at_the_end() {
        let bytes = written(&full(3));
        let known = values(&bytes).unwrap();
        let longer = [bytes.as_slice(), &[NULL, NUMBER, 4, TEXT, 1, b'x']].concat();
        assert_eq!(values(&longer).unwrap(), known);
        // 316 tokens of other models.
        let shorter = bytes.strip_suffix(b"\x01\xf8\x04").unwrap();
        let (last, others) =
            values(shorter).unwrap().split_last().map(|(last, others)| (*last, others.to_vec())).unwrap();
        assert_eq!((last, others.as_slice()), (ValueRef::Null, &known[..COLUMNS - 1]));
    }

    #[test]
    fn there_is_a_place_for_each_column() {
        assert_eq!(columns!().split(", ").count(), COLUMNS);
        assert_eq!(INSERT.matches('?').count(), COLUMNS);
        assert!(values(&written(&full(1))).unwrap().iter().all(|value| *value != ValueRef::Null));
    }

    proptest! {
        #[test]
        fn numbers_and_texts_come_back(numbers in prop::collection::vec(any::<i64>(), 0..20), text in ".{0,200}") {
            let mut bytes = Vec::new();
            let mut row = Writer(&mut bytes);
            numbers.iter().for_each(|number| row.number(*number));
            row.text(&text);
            let read = values(&bytes).unwrap();
            for (value, number) in read.iter().zip(&numbers) {
                prop_assert_eq!(*value, ValueRef::Integer(*number));
            }
            prop_assert_eq!(read[numbers.len()], ValueRef::Text(text.as_bytes()));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..200)) {
            _ = values(&bytes);
        }
    }
}
