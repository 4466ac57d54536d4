use proptest::prelude::*;

use super::super::frame;
use super::super::record::tests::full;
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

fn text() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("\\PC{0,20}|.{0,10}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_booked_is_what_is_read(
        at in any::<i64>().prop_filter("a page begins after it", |at| *at > i64::MIN && *at < i64::MAX),
        id in ".{0,20}", model in text(), customer in text(), tags in proptest::collection::vec(".{0,8}", 0..4),
        input in proptest::option::of(0..=i64::MAX as u64), cost in proptest::option::of(0..=i64::MAX as u64),
        seq in any::<u32>(), stream in any::<bool>(),
    ) {
        let (_dir, mut store) = store();
        let base = full(3);
        let record = Record {
            at, seq, stream, cost,
            id: id.into(),
            model: model.map(Into::into),
            customer: customer.map(Into::into),
            tags: tags.into_iter().collect(),
            usage: Usage { input, ..base.usage },
            ..base
        };
        store.take_in(&segment(std::slice::from_ref(&record))).unwrap();
        prop_assert_eq!(all(&store), vec![record]);
    }
}

use ai_gateway_providers::usage::Usage;
