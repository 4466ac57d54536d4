use std::fs;

use super::record::tests::full;
use super::*;
use crate::clock::Time;
use crate::limits::{Period, Rule, What};

fn config(dir: &Path) -> LedgerConfig {
    LedgerConfig::at(dir.join("sub/ledger.db"))
}

fn start(config: &LedgerConfig) -> Ledger {
    Ledger::start(config, LedgerMetrics::default(), Time::default()).unwrap()
}

fn booked(config: &LedgerConfig) -> Vec<Record<'static>> {
    Store::open(&config.path).unwrap().page(i64::MIN, i64::MAX, None, 100_000).unwrap()
}

/// With a time that is not too old to be kept.
fn recent(n: u32) -> Record<'static> {
    Record { at: micros(std::time::SystemTime::now()) + i64::from(n) * 1_000_000, ..full(n) }
}

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn what_is_booked_is_in_the_database_after_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let ledger = start(&config);
    let records: Vec<_> = (0..500).map(recent).collect();
    records.iter().for_each(|record| ledger.book(record));
    assert!(ledger.close(LIMIT) && ledger.close(LIMIT));
    assert_eq!(booked(&config), records);
    assert_eq!((ledger.metrics.booked.get(), ledger.metrics.stored.get(), ledger.metrics.lost.get()), (500, 500, 0));
    assert_eq!(ledger.metrics.spooled_bytes.get(), 0);
    assert!(ledger.metrics.last_commit.get() > 0);
}

#[test]
fn records_booked_after_the_end_are_left_to_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let records: Vec<_> = (0..3).map(recent).collect();
    let first = start(&config);
    assert!(first.close(LIMIT));
    first.book(&records[0]);
    // Two processes at once.
    let second = start(&config);
    second.book(&records[1]);
    first.book(&records[2]);
    assert!(second.close(LIMIT));
    assert_eq!(booked(&config), records[1..2]);
    drop((first, second));
    assert!(start(&config).close(LIMIT));
    assert_eq!(booked(&config), records);
    // Nothing but the folder of the last one is left, and it holds no record.
    let runs: Vec<_> =
        fs::read_dir(&config.spool).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    assert_eq!(runs.len(), 1);
}

#[test]
fn a_database_that_cannot_be_opened_does_not_keep_the_gateway_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    fs::create_dir_all(&config.path).unwrap();
    let ledger = start(&config);
    ledger.book(&recent(1));
    assert!(ledger.close(LIMIT));
    assert!(ledger.metrics.write_errors.get() > 0 && ledger.metrics.spooled_bytes.get() > 0);
    drop(ledger);
    fs::remove_dir(&config.path).unwrap();
    assert!(start(&config).close(LIMIT));
    assert_eq!(booked(&config).len(), 1);
}

#[test]
fn a_database_that_was_taken_away_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let (ledger, second) = (start(&config), recent(2));
    ledger.book(&recent(1));
    while ledger.metrics.stored.get() == 0 {
        thread::yield_now();
    }
    fs::rename(&config.path, dir.path().join("aside.db")).unwrap();
    ledger.book(&second);
    assert!(ledger.close(LIMIT));
    assert_eq!(booked(&config), [second]);
    assert_eq!(ledger.metrics.write_errors.get(), 1);
}

#[test]
fn what_was_spent_before_the_clock_was_set_back_counts() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let ahead = Record { at: micros(std::time::SystemTime::now()) + 7_200_000_000, ..full(1) };
    let ledger = start(&config);
    ledger.book(&ahead);
    assert!(ledger.close(LIMIT));
    drop(ledger);
    let limits = Arc::<Limits>::default();
    let rule = Rule { what: What::Cost, period: Period::Month, limit: 1, soft: 1 };
    let key = limits.set(crate::limits::Kind::Key, ahead.key.as_deref().unwrap(), &[rule]);
    start(&config).restore(&limits, |_| 0, LIMIT);
    assert_eq!(key.usage(limits.now())[0].booked, ahead.cost.unwrap());
}

/// Budgets are told what was spent once this is said to be in the database.
#[test]
fn what_the_dead_left_is_waited_for_while_the_database_fails() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    fs::create_dir_all(&config.path).unwrap();
    let (dead, record) = (start(&config), recent(1));
    dead.book(&record);
    dead.close(LIMIT);
    drop(dead);
    let ledger = start(&config);
    while ledger.metrics.write_errors.get() == 0 {
        thread::yield_now();
    }
    fs::remove_dir(&config.path).unwrap();
    let caught_up = ledger.caught_up.lock().take().unwrap();
    assert!(caught_up.recv_timeout(LIMIT) == Err(RecvTimeoutError::Disconnected));
    assert_eq!(booked(&config), [record]);
}

#[test]
fn a_folder_that_cannot_be_used_does() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("sub"), "a file").unwrap();
    assert!(Ledger::start(&config(dir.path()), LedgerMetrics::default(), Time::default()).is_err());
}

#[test]
fn what_is_too_old_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let ledger = start(&config);
    let new = recent(1);
    // `full` is of 2023.
    for record in [full(0), new.clone()] {
        ledger.book(&record);
    }
    assert!(ledger.close(LIMIT));
    assert_eq!(booked(&config), [new]);
}
