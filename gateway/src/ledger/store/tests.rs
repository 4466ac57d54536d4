use std::collections::HashSet;

use ai_gateway_providers::usage::Usage;
use proptest::prelude::*;

use super::super::frame;
use super::super::record::tests::full;
use super::super::record::{Kind, Metadata, Tags, Text, UsageSource};
use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("ledger.db")).unwrap();
    (dir, store)
}

fn segment(records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    records.iter().for_each(|record| frame::append(record, &mut bytes));
    bytes
}

/// The one number that a statement gives.
fn number(store: &Store, sql: &str) -> i64 {
    store.db.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn contexts(store: &Store) -> i64 {
    // And each record has one, and nothing is left of one that is gone.
    assert_eq!(number(store, "SELECT count(*) FROM record"), number(store, "SELECT count(*) FROM usage"));
    let left = "SELECT count(*) FROM more LEFT JOIN record AS r USING (at, id, seq) WHERE r.context IS NULL";
    assert_eq!(number(store, left), 0);
    number(store, "SELECT count(*) FROM context")
}

fn all(store: &Store) -> Vec<Record<'static>> {
    store.page(i64::MIN, i64::MAX, None, 100_000).unwrap()
}

#[test]
fn a_segment_taken_in_twice_is_booked_once() {
    let (_dir, mut store) = store();
    let records: Vec<_> = (0..50).map(full).collect();
    let bytes = segment(&records);
    assert_eq!(store.take_in(&bytes).unwrap(), TakenIn { stored: 50, known: 0, damaged: 0 });
    assert_eq!(store.take_in(&bytes).unwrap(), TakenIn { stored: 0, known: 50, damaged: 0 });
    assert_eq!(all(&store), records);
}

/// In one segment, too, and whatever else the second one says.
#[test]
fn the_same_record_twice_is_one_row() {
    let (_dir, mut store) = store();
    let other = Record { cost: None, model: Some("another".into()), ..full(1) };
    let taken = store.take_in(&segment(&[full(1), full(1), other])).unwrap();
    assert_eq!(taken, TakenIn { stored: 1, known: 2, damaged: 0 });
    assert_eq!(all(&store), [full(1)]);
}

#[test]
fn what_records_have_in_common_is_there_once() {
    let (_dir, mut store) = store();
    // Of a kind, but of another moment, request and customer, and with another tag of the request.
    let alike = |n: u32| Record {
        kind: Kind::Request,
        usage_source: UsageSource::Provider,
        tags: ["a".to_owned(), format!("trace-{n}")].into_iter().collect(),
        ..full(n)
    };
    let records: Vec<_> = (0..40).map(alike).collect();
    // The latest record is not the last one.
    store.take_in(&segment(&records[20..])).unwrap();
    store.take_in(&segment(&records[..20])).unwrap();
    assert_eq!((contexts(&store), all(&store)), (1, records.clone()));
    assert_eq!(number(&store, "SELECT last FROM context"), records[39].at);
    store.take_in(&segment(&[alike(50), Record { model: None, ..alike(51) }, alike(45)])).unwrap();
    assert_eq!((contexts(&store), number(&store, "SELECT min(last) FROM context")), (2, records[39].at + 11));
}

/// What most records do not have is no less their own when others lack it.
#[test]
fn a_value_is_no_other_records() {
    let (_dir, mut store) = store();
    let usual = |n| Record {
        usage: Usage { input: Some(7), ..Usage::default() },
        customer: None,
        metadata: Metadata::default(),
        first_token_us: None,
        ..full(n)
    };
    let records = [usual(0), full(1), usual(2), usual(3), full(4), Record { cost: None, ..usual(5) }, usual(6)];
    let untagged = Record { tags: Tags::default(), key_tags: 0, ..full(7) };
    let by_request = Record { tags: ["x", "y\"],["].into_iter().collect(), key_tags: 0, ..full(8) };
    let records = [&records[..], &[untagged, by_request]].concat();
    store.take_in(&segment(&records)).unwrap();
    assert_eq!(all(&store), records);
}

#[test]
fn a_usual_record_is_one_row() {
    let (_dir, mut store) = store();
    // As OpenAI tells of them.
    let zeros =
        Usage { input: Some(7), cache_read: Some(0), audio_input: Some(0), audio_output: Some(0), ..Usage::default() };
    let usual = |n| Record {
        usage: Usage { reasoning: Some(u64::from(n)), ..zeros },
        tags: ["a"].into_iter().collect(),
        metadata: Metadata::default(),
        ..full(n)
    };
    let records: Vec<_> = (0..10).map(usual).collect();
    store.take_in(&segment(&records)).unwrap();
    assert_eq!((number(&store, "SELECT count(*) FROM more"), all(&store)), (0, records.clone()));
    // What is noted later is beside it, once, and goes with it.
    for cost in [Some(5), None, Some(6)] {
        store.set_rerated(&[(records[3].clone(), cost)], "newer").unwrap();
        assert_eq!(number(&store, "SELECT count(*) FROM more"), 1);
    }
    assert_eq!(number(&store, "SELECT rerated_cost FROM usage WHERE rerated_map = 'newer'"), 6);
    assert_eq!(all(&store), records);
    assert_eq!(store.prune(records[4].at, 100).unwrap(), 4);
    assert_eq!((number(&store, "SELECT count(*) FROM more"), all(&store)), (0, records[4..].to_vec()));
}

#[test]
fn a_row_of_before_is_damage() {
    let (_dir, mut store) = store();
    // `at` and `id` as they were written then.
    let old = b"\x01\x80\x80\x90\x9e\xe1\xa4\x85\x06\x02\x01x";
    let head = [&[0xff, 0xa6][..], &(old.len() as u32).to_le_bytes(), &crc32fast::hash(old).to_le_bytes()].concat();
    let bytes = [segment(&[full(0)]), head, old.to_vec(), segment(&[full(1)])].concat();
    assert_eq!(store.take_in(&bytes).unwrap(), TakenIn { stored: 2, known: 0, damaged: 1 });
}

#[test]
fn damage_costs_one_record_and_is_told() {
    let (_dir, mut store) = store();
    let mut bytes = segment(&[full(0), full(1), full(2)]);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // A whole frame that holds no record.
    let mut other = bytes.clone();
    assert_eq!(store.take_in(&bytes).unwrap(), TakenIn { stored: 2, known: 0, damaged: 1 });
    other.truncate(other.len() - 1);
    assert_eq!(store.take_in(&other).unwrap(), TakenIn { stored: 0, known: 1, damaged: 0 });
    assert_eq!(all(&store), [full(0), full(2)]);
}

#[test]
fn pruning_takes_the_oldest_in_pieces() {
    let (_dir, mut store) = store();
    let records: Vec<_> = (0..100).map(full).collect();
    store.take_in(&segment(&records)).unwrap();
    let before = full(60).at;
    let mut pieces = Vec::new();
    loop {
        match store.prune(before, 25).unwrap() {
            0 => break,
            piece => pieces.push(piece),
        }
        assert_eq!(all(&store).last(), records.last());
    }
    assert_eq!(pieces, [25, 25, 10]);
    assert_eq!(all(&store), records[60..]);
}

#[test]
fn contexts_go_with_the_last_record_and_come_again() {
    let (_dir, mut store) = store();
    let of = |n: u32, model: &'static str| Record {
        model: Some(model.into()),
        kind: Kind::Request,
        usage_source: UsageSource::Provider,
        ..full(n)
    };
    let records: Vec<_> = (0..40).map(|n| of(n, if n % 10 == 0 { "rare" } else { "usual" })).collect();
    store.take_in(&segment(&records)).unwrap();
    // As long as there may be a record of one it stays: here while pieces are left, and then as its last one is young enough.
    assert_eq!((store.prune(full(31).at, 20).unwrap(), contexts(&store)), (20, 2));
    assert_eq!((store.prune(full(30).at, 20).unwrap(), contexts(&store)), (10, 2));
    // A record that was late keeps its context as long as itself.
    store.take_in(&segment(&[of(2, "late"), of(1, "rare")])).unwrap();
    assert_eq!((store.prune(full(2).at, 20).unwrap(), contexts(&store)), (1, 3));
    assert_eq!((store.prune(full(31).at, 20).unwrap(), contexts(&store)), (2, 1));
    assert_eq!(all(&store), records[31..]);
    store.take_in(&segment(&[of(50, "rare"), of(51, "usual")])).unwrap();
    assert_eq!((contexts(&store), all(&store).len()), (2, 11));
    assert_eq!((store.prune(i64::MAX, 20).unwrap(), contexts(&store)), (11, 0));
    store.take_in(&segment(&records)).unwrap();
    assert_eq!((contexts(&store), all(&store)), (2, records));
}

#[test]
fn two_processes_write_and_one_reads_meanwhile() {
    let (dir, mut first) = store();
    let path = dir.path().join("ledger.db");
    let mut second = Store::open(&path).unwrap();
    let reader = open_read_only(&path).unwrap();
    let count = || reader.query_row("SELECT count(*) FROM usage", [], |row| row.get::<_, u32>(0)).unwrap();
    std::thread::scope(|scope| {
        for (store, start) in [(&mut first, 0), (&mut second, 1_000)] {
            scope.spawn(move || {
                for n in start..start + 40 {
                    store.take_in(&segment(&[full(n), full(5_000 + n % 1_000)])).unwrap();
                }
            });
        }
    });
    assert_eq!(count(), 120);
}

/// As in an upgrade; and one deletes what the other knows.
#[test]
fn two_that_take_in_alternately_have_the_same_contexts() {
    let (dir, mut first) = store();
    let mut second = Store::open(&dir.path().join("ledger.db")).unwrap();
    let of = |n: u32, model: String| Record {
        model: Some(model.into()),
        kind: Kind::Request,
        usage_source: UsageSource::Provider,
        ..full(n)
    };
    for n in 0..10 {
        first.take_in(&segment(&[of(4 * n, "both".into()), of(4 * n + 1, format!("first-{n}"))])).unwrap();
        second.take_in(&segment(&[of(4 * n + 2, "both".into()), of(4 * n + 3, format!("second-{n}"))])).unwrap();
    }
    let expected: Vec<_> = (0..40)
        .map(|n| match n % 4 {
            1 => of(n, format!("first-{}", n / 4)),
            3 => of(n, format!("second-{}", n / 4)),
            _ => of(n, "both".into()),
        })
        .collect();
    assert_eq!((contexts(&first), all(&first)), (21, expected.clone()));
    assert_eq!(all(&second), expected);
    // Its number is another one's afterwards.
    assert_eq!((first.prune(i64::MAX, 100).unwrap(), contexts(&second)), (40, 0));
    first.take_in(&segment(&[of(41, "other".into())])).unwrap();
    second.take_in(&segment(&[of(42, "both".into())])).unwrap();
    assert_eq!((contexts(&first), all(&first)), (2, vec![of(41, "other".into()), of(42, "both".into())]));
}

/// A page costs what is on it: records are found by their place, contexts by their number.
#[test]
fn a_page_begins_where_it_begins() {
    let (_dir, store) = store();
    for (which, search) in [
        (select::AFTER, "SEARCH r USING PRIMARY KEY ((at,id,seq)>(?,?,?) AND at<?)"),
        (select::BEFORE, "SEARCH r USING PRIMARY KEY (at>? AND (at,id,seq)<(?,?,?))"),
    ] {
        let sql = format!("EXPLAIN QUERY PLAN {} WHERE {which}", select::SELECT);
        let mut plan = store.db.prepare(&sql).unwrap();
        let steps = plan.query_map((0, "", 0, 0, 10), |row| row.get::<_, String>("detail")).unwrap();
        let steps: Vec<_> = steps.map(Result::unwrap).collect();
        let more = "SEARCH m USING PRIMARY KEY (at=? AND id=? AND seq=?) LEFT-JOIN";
        assert_eq!(steps, [search, "SEARCH c USING INTEGER PRIMARY KEY (rowid=?)", more]);
    }
}

#[test]
fn pages_cover_everything_once() {
    let (_dir, mut store) = store();
    // Several records of one request, and requests of one moment.
    let mut records: Vec<_> =
        (0..30).map(|n| Record { at: 5 + i64::from(n) / 10, seq: n % 3, ..full(n / 3) }).collect();
    records.sort_by(|a, b| (a.at, &a.id, a.seq).cmp(&(b.at, &b.id, b.seq)));
    store.take_in(&segment(&records)).unwrap();
    for size in 1..8 {
        let mut seen: Vec<Record<'_>> = Vec::new();
        loop {
            let page = store.page(5, 7, seen.last(), size).unwrap();
            if page.is_empty() {
                break;
            }
            seen.extend(page);
        }
        assert_eq!(seen, records[..20], "{size}");
    }
}

/// The counts that are each record's own, also if they are zero.
const OWN_COUNTS: [&str; 4] = ["input", "cache_read", "output", "reasoning"];

/// A record without what is its own.
fn context(record: &Record<'_>) -> String {
    let mut counts = record.usage.counts().into_iter();
    let usage = Usage::of_counts(|name| {
        let (_, count) = counts.next().ok_or(())?;
        Ok::<_, ()>(count.filter(|count| *count == 0 && !OWN_COUNTS.contains(&name)))
    });
    let usage = usage.unwrap();
    let own = Record { usage, ..Record::default() };
    let Record { id, seq, at, customer, metadata, duration_us, first_token_us, usage, cost, .. } = own;
    let tags = record.tags.iter().take(record.key_tags).cloned().collect();
    let record = record.clone();
    format!(
        "{:?}",
        Record { id, seq, at, customer, metadata, duration_us, first_token_us, usage, cost, tags, ..record }
    )
}

fn text() -> impl Strategy<Value = Option<Text<'static>>> {
    proptest::option::of("\\PC{0,20}|.{0,10}|a").prop_map(|text| text.map(Into::into))
}

fn count() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(prop_oneof![Just(0), 0..1_000_u64, 0..=i64::MAX as u64])
}

/// With rare values and without, and often with the same context as another.
fn any_record() -> impl Strategy<Value = Record<'static>> {
    // A page begins after the first moment.
    let at = prop_oneof![0..4_i64, i64::MIN + 1..i64::MAX];
    let texts = || prop_oneof![4 => Just(vec![None; 8]), 1 => proptest::collection::vec(text(), 8)];
    let usage = prop_oneof![1 => Just(None), 1 => proptest::collection::vec(count(), 12).prop_map(Some)];
    let fixed = prop_oneof![4 => Just((1, 1, 200, true, 1)), 1 => (0..8_usize, 0..5_usize, any::<u16>(), any::<bool>(), any::<u32>())];
    let common = (texts(), texts(), fixed);
    let tags = (proptest::collection::vec("a|.{0,8}", 0..4), prop_oneof![2 => Just(0), 1 => 0..4_usize]);
    let metadata = proptest::collection::vec((".{0,8}", ".{0,8}"), 0..2);
    let own = (".{0,20}|a", count(), count(), count(), proptest::collection::vec(count(), 4), text());
    (at, own, usage, common, tags, metadata).prop_map(|(at, own, rare, common, (tags, key_tags), metadata)| {
        let (id, duration, first_token_us, cost, counts, customer) = own;
        let (one, two, (kind, source, status, stream, attempts)) = common;
        let (mut usual, mut rare) = (counts.into_iter(), rare.unwrap_or_else(|| vec![None; 12]).into_iter());
        let usage =
            Usage::of_counts(|name| if OWN_COUNTS.contains(&name) { usual.next() } else { rare.next() }.ok_or(()));
        Record {
            at,
            id: id.into(),
            seq: 0,
            duration_us: duration.unwrap_or(0),
            first_token_us,
            cost,
            customer,
            tags: tags.into_iter().collect(),
            key_tags,
            metadata: metadata.into_iter().collect(),
            kind: Kind::ALL[kind],
            usage_source: UsageSource::ALL[source],
            status,
            stream,
            attempts,
            operation: one[0].clone().unwrap_or_default(),
            key: one[1].clone(),
            account: one[2].clone(),
            team: one[3].clone(),
            owner: one[4].clone(),
            dialect: one[5].clone(),
            model: one[6].clone(),
            provider: one[7].clone(),
            upstream_model: two[0].clone(),
            answer_model: two[1].clone(),
            fault: two[2].clone(),
            service_tier: two[3].clone(),
            price_map: two[4].clone(),
            fallback: two[5].clone(),
            usage: usage.unwrap(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_booked_is_what_is_read(mut records in proptest::collection::vec(any_record(), 1..12)) {
        let (_dir, mut store) = store();
        // No two of one place.
        records.iter_mut().zip(0..).for_each(|(record, n)| record.seq = n);
        store.take_in(&segment(&records)).unwrap();
        records.sort_by(|a, b| (a.at, &a.id, a.seq).cmp(&(b.at, &b.id, b.seq)));
        prop_assert_eq!(contexts(&store), all(&store).iter().map(context).collect::<HashSet<_>>().len() as i64);
        prop_assert_eq!(all(&store), records);
    }
}

#[test]
fn what_a_later_version_has_written_is_told_to_be_that() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    Store::open(&path).unwrap().db.pragma_update(None, "user_version", 1_000).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Later) && error.to_string().contains("later version"), "{error}");
}
