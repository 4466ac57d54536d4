use ai_gateway_providers::Operation;

use super::super::frame;
use super::super::record::tests::full;
use super::super::record::{BACKGROUND, Kind, Record, UsageSource};
use super::super::store::Store;
use super::*;

const DAY: i64 = 86_400_000_000;

fn ledger(records: &[Record<'_>]) -> (tempfile::TempDir, impl Fn(Query) -> Report + use<>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let mut bytes = Vec::new();
    records.iter().for_each(|record| frame::append(record, &mut bytes));
    Store::open(&path).unwrap().take_in(&bytes).unwrap();
    (dir, move |query| ask(&path, &query).unwrap())
}

fn record(n: u32, key: &'static str, tags: &[&'static str], cost: Option<u64>) -> Record<'static> {
    Record {
        seq: 0,
        kind: Kind::Request,
        at: i64::from(n) * DAY / 2,
        key: Some(key.into()),
        tags: tags.iter().copied().collect(),
        fault: None,
        usage: Usage { input: Some(u64::from(n)), reasoning: None, ..Usage::default() },
        usage_source: UsageSource::Provider,
        cost,
        ..full(n)
    }
}

fn by(dimensions: &[Dimension]) -> Query {
    Query { by: dimensions.to_vec(), ..Query::default() }
}

#[test]
fn sums_by_group() {
    let retry = Record { seq: 1, kind: Kind::Attempt, cost: Some(5), ..record(2, "a", &[], None) };
    let nothing = Record { usage: Usage::default(), usage_source: UsageSource::None, ..record(4, "b", &[], None) };
    let failed = Record { fault: Some("upstream".into()), ..nothing };
    let (_dir, ask) =
        ledger(&[record(1, "a", &[], Some(7)), record(2, "a", &[], None), retry, record(3, "b", &[], Some(1)), failed]);
    let rows = ask(by(&[Dimension::Key])).rows;
    assert_eq!(rows.len(), 2);
    let (group, a) = &rows[0];
    assert_eq!(group, &[Some("a".to_owned())]);
    assert_eq!((a.requests, a.records, a.failed, a.cost, a.unpriced), (2, 3, 0, 12, 1));
    assert_eq!((a.usage.input, a.usage.reasoning), (Some(5), None));
    let (_, b) = &rows[1];
    assert_eq!((b.requests, b.records, b.failed, b.cost, b.unpriced), (2, 2, 1, 1, 0));

    let days = ask(by(&[Dimension::Day])).rows;
    let days: Vec<_> = days.iter().map(|(group, totals)| (group[0].as_deref().unwrap(), totals.requests)).collect();
    assert_eq!(days, [("1970-01-01", 1), ("1970-01-02", 2), ("1970-01-03", 1)]);
    assert_eq!(ask(Query::default()).rows[0].1.records, 5);
}

/// What a report calls unpriced is what the record says: also an answer without any usage, of what costs something.
#[test]
fn an_answer_that_tells_nothing_is_unpriced() {
    let untold = |n, operation: Operation| Record {
        operation: operation.as_str().into(),
        usage: Usage::default(),
        usage_source: UsageSource::None,
        ..record(n, "a", &[], None)
    };
    let speech = untold(20, Operation::Speech);
    let others = [
        Record { at: 21, status: 499, ..speech.clone() },
        Record { at: 22, fault: Some("upstream".into()), ..speech.clone() },
        Record { at: 23, provider: None, ..speech.clone() },
        Record { at: 24, kind: Kind::Shared, ..speech.clone() },
        Record { at: 25, cost: Some(3), ..speech.clone() },
        Record { at: 26, usage_source: UsageSource::Estimated, status: 499, ..speech.clone() },
    ];
    let records: Vec<Record<'_>> =
        (0..).zip(Operation::ALL).map(|(n, operation)| untold(n, operation)).chain(others).collect();
    let unpriced = records.iter().filter(|record| record.costs() && record.cost.is_none()).count() as u64;
    assert_eq!(unpriced, 7 + 1, "chat, completions, embeddings, rerank, images, speech, transcription; one estimate");
    let (_dir, ask) = ledger(&records);
    assert_eq!(ask(Query::default()).rows[0].1.unpriced, unpriced);
}

/// What an answer has consumed that went on being made is on a record of its own, as soon as that is known.
#[test]
fn what_waits_for_its_usage_is_unpriced_until_it_has_it() {
    let pending =
        |n| Record { usage: Usage::default(), usage_source: UsageSource::Pending, ..record(n, "a", &[], None) };
    let told = Record { seq: BACKGROUND, kind: Kind::Background, cost: Some(5), ..record(2, "a", &[], None) };
    let unpriced = Record { cost: None, id: pending(3).id, ..told.clone() };
    let unpriced = Record { at: pending(3).at, ..unpriced };
    let (_dir, ask) = ledger(&[pending(1), pending(2), told, pending(3), unpriced]);
    let rows = ask(Query::default()).rows;
    let totals = &rows[0].1;
    assert_eq!((totals.requests, totals.records, totals.cost, totals.unpriced), (3, 5, 5, 2));
    let kinds = ask(by(&[Dimension::UsageSource])).rows;
    let unpriced: Vec<_> =
        kinds.iter().map(|(group, totals)| (group[0].as_deref().unwrap(), totals.unpriced)).collect();
    assert_eq!(unpriced, [("pending", 1), ("provider", 1)]);
}

#[test]
fn a_record_is_in_the_group_of_each_of_its_tags() {
    let (_dir, ask) =
        ledger(&[record(1, "a", &["x", "y"], Some(1)), record(2, "a", &["y"], Some(2)), record(3, "a", &[], Some(4))]);
    let costs = |query| {
        let rows = ask(query).rows;
        rows.into_iter().map(|(group, totals)| (group[0].clone().unwrap_or_default(), totals.cost)).collect::<Vec<_>>()
    };
    let named = |name: &str, cost: u128| (name.to_owned(), cost);
    assert_eq!(costs(by(&[Dimension::Tag])), [named("", 4), named("x", 1), named("y", 3)]);
    let only = |tag: &str| vec![(Dimension::Tag, tag.to_owned())];
    assert_eq!(costs(Query { filters: only("x"), ..by(&[Dimension::Tag]) }), [named("x", 1), named("y", 1)]);
    // Once, though two tags match.
    let both = [only("x"), only("y")].concat();
    assert_eq!(costs(Query { filters: both, ..by(&[Dimension::Key]) }), [named("a", 3)]);
}

#[test]
fn spans_of_time_and_filters() {
    let records: Vec<_> = (0..8).map(|n| record(n, if n % 2 == 0 { "even" } else { "odd" }, &[], Some(1))).collect();
    let (_dir, ask) = ledger(&records);
    let requests = |query| ask(query).rows[0].1.requests;
    let span = Query { from: Some(DAY), to: Some(3 * DAY), ..Query::default() };
    assert_eq!(requests(span.clone()), 4);
    let filter = |dimension, value: &str| vec![(dimension, value.to_owned())];
    assert_eq!(requests(Query { filters: filter(Dimension::Key, "odd"), ..span.clone() }), 2);
    assert_eq!(requests(Query { filters: filter(Dimension::Day, "1970-01-02"), ..span.clone() }), 2);
    let injection = "odd' OR 1 = 1 --";
    assert_eq!(requests(Query { filters: filter(Dimension::Key, injection), ..span }), 0);
}

/// Nine million dollars are 2⁶³ pico-dollars.
#[test]
fn sums_of_money_do_not_overflow() {
    let each = i64::MAX as u64;
    let (_dir, ask) =
        ledger(&[record(1, "a", &[], Some(each)), record(2, "a", &[], Some(each)), record(3, "a", &[], Some(each))]);
    assert_eq!(ask(Query::default()).rows[0].1.cost, 3 * u128::from(each));
}

#[test]
fn every_dimension_is_answered() {
    let (_dir, ask) = ledger(&[full(0), full(1)]);
    for dimension in Dimension::ALL {
        let report = ask(Query { filters: vec![(dimension, "x".to_owned())], ..by(&[dimension]) });
        assert_eq!(report.rows, [], "{dimension}");
        assert_ne!(ask(by(&[dimension])).rows, [], "{dimension}");
        assert_eq!(dimension.as_str().parse(), Ok(dimension));
    }
    assert!("cost".parse::<Dimension>().is_err());
    assert_eq!(Dimension::list("day, key,,day"), Ok(vec![Dimension::Day, Dimension::Key]));
    assert_eq!(Dimension::list(""), Ok(vec![]));
    assert!(Dimension::list("day,cost").is_err());
    assert_ne!(ask(by(&Dimension::ALL)).rows, []);
}

/// Records are found by their time, and what they have in common by its number, whatever is asked for.
#[test]
fn a_report_reads_its_time_only() {
    let (dir, _ask) = ledger(&[full(0)]);
    let db = open_read_only(&dir.path().join("ledger.db")).unwrap();
    let filters = Dimension::ALL.map(|dimension| (dimension, "x".to_owned())).to_vec();
    for query in
        [Query::default(), by(&[Dimension::Key]), by(&Dimension::ALL), Query { filters, ..by(&[Dimension::Tag]) }]
    {
        let (sql, values) = query.sql();
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = plan.query_map(rusqlite::params_from_iter(values), |row| row.get("detail")).unwrap();
        let steps: Vec<String> = steps.map(Result::unwrap).collect();
        assert_eq!(steps[0], "SEARCH r USING PRIMARY KEY (at>? AND at<?)", "{steps:?}");
        assert_eq!(steps[1], "SEARCH c USING INTEGER PRIMARY KEY (rowid=?)", "{steps:?}");
        let more = "SEARCH m USING PRIMARY KEY (at=? AND id=? AND seq=?) LEFT-JOIN";
        assert!(steps.iter().any(|step| step == more), "{steps:?}");
    }
}

/// As rows of older versions may have them, and thousands of newer ones together.
#[test]
fn absurd_counts_do_not_break_a_report() {
    let absurd = |n| {
        let usage = Usage { input: Some(i64::MAX as u64), output: Some(7), ..Usage::default() };
        Record { usage, ..record(n, "a", &[], None) }
    };
    let (_dir, ask) = ledger(&[absurd(1), absurd(2)]);
    let usage = &ask(Query::default()).rows[0].1.usage;
    assert_eq!((usage.input, usage.output, usage.cache_read), (Some(i64::MAX as u64), Some(14), None));
}
