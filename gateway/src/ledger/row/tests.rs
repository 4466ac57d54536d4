use proptest::prelude::*;

use super::super::record::tests::full;
use super::*;

fn written(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(record, &mut bytes);
    bytes
}

/// The place of the column of that name.
fn place(columns: &[Column], of: &str) -> usize {
    columns.iter().position(|column| name(column) == of).unwrap()
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
    for rare in RARE.iter().map(name) {
        let of_both = |row: &Row<'_>| {
            let both = [row.own[place(&OWN, rare)], context(row.context).unwrap()[place(&CONTEXT, rare)]];
            both.iter().filter(|value| **value != ValueRef::Null).count()
        };
        assert_eq!((of_both(&row), of_both(&zeros)), (1, 1), "{rare}");
    }
    assert_eq!(place(&OWN, name(&RARE[0])), USUAL);
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
        let own = |name| row.own[place(&OWN, name)];
        let count = |name| own(name).as_i64_or_null().unwrap().map(|count| count as u64);
        prop_assert_eq!((row.at, own("id").as_str()), (at, Ok(&*record.id)));
        prop_assert_eq!(["cost", "input", "output", "web_searches"].map(count).to_vec(), counts[..4].to_vec());
        let list = |value: ValueRef<'_>| {
            let text = value.as_str_or_null().unwrap();
            text.map_or(Vec::new(), |text| serde_json::from_str::<Vec<String>>(text).unwrap())
        };
        let tags: Vec<String> = [list(context(row.context).unwrap()[place(&CONTEXT, "tags")]), list(own("tags"))].concat();
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
