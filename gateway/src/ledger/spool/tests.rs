use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;

use super::super::frame::{self, Frames};
use super::super::record::tests::full;
use super::super::row;
use super::*;

const SYNC: Duration = Duration::from_millis(5);
const LIMIT: Duration = Duration::from_secs(20);

fn spool(root: &Path, memory: usize) -> Spool {
    Spool::open(root, memory, SYNC, LedgerMetrics::default()).unwrap()
}

fn framed(n: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&full(n), &mut bytes);
    bytes
}

/// Numbers of the records in all segments, in order.
fn found(spool: &Spool) -> Vec<i64> {
    let mut numbers = Vec::new();
    for path in spool.run.segments().unwrap() {
        let bytes = fs::read(path).unwrap();
        let at = |payload| row::read(payload).unwrap().at;
        numbers.extend(Frames::new(&bytes).map(|payload| at(payload) - full(0).at));
    }
    numbers
}

/// Puts another file in the place of the segment's own, which is given back.
fn swap_file(spool: &Spool, file: File) -> Arc<File> {
    let mut state = spool.state.lock();
    std::mem::replace(&mut state.segment.as_mut().unwrap().file, Arc::new(file))
}

fn full_disk() -> File {
    fs::OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// Waits for what another thread brings about.
fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(Instant::now() < end, "hung");
        thread::yield_now();
    }
}

#[test]
fn an_appended_record_is_in_the_file_at_once() {
    let root = tempfile::tempdir().unwrap();
    let spool = spool(root.path(), 1 << 20);
    for n in 0..10 {
        spool.append(&framed(n));
        assert_eq!(found(&spool), (0..=i64::from(n)).collect::<Vec<_>>());
        if n % 4 == 0 {
            spool.rotate().unwrap();
            spool.rotate().unwrap();
        }
    }
    assert_eq!(spool.closed().len(), 3);
    let size: u64 = spool.run.segments().unwrap().iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(spool.bytes(), size);
}

#[test]
fn many_threads_lose_nothing_and_write_nothing_twice() {
    let root = tempfile::tempdir().unwrap();
    let spool = spool(root.path(), 64 << 20);
    let (threads, each) = (8, 500);
    let start = Barrier::new(threads as usize + 2);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            spool.tend();
        });
        scope.spawn(|| {
            start.wait();
            while !done.load(Ordering::Relaxed) {
                spool.rotate().unwrap();
            }
        });
        let writers: Vec<_> = (0..threads)
            .map(|thread| {
                let (spool, start) = (&spool, &start);
                scope.spawn(move || {
                    start.wait();
                    (0..each).for_each(|n| spool.append(&framed(thread * each + n)));
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        spool.close(LIMIT);
        assert!(spool.wait_closed(Duration::from_secs(20)));
    });
    let mut found = found(&spool);
    found.sort_unstable();
    assert_eq!(found, (0..i64::from(threads * each)).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_makes_records_wait_and_once_freed_nothing_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let spool = spool(root.path(), 1 << 20);
    spool.append(&framed(0));
    let file = swap_file(&spool, full_disk());
    for n in 1..20 {
        spool.append(&framed(n));
    }
    assert_eq!(found(&spool), [0]);
    assert_eq!((spool.metrics.waiting.get(), spool.metrics.lost.get()), (19, 0));
    assert!(spool.metrics.write_errors.get() > 0);
    thread::scope(|scope| {
        scope.spawn(|| spool.tend());
        until(|| spool.metrics.write_errors.get() > 2);
        spool.append(&framed(20));
        swap_file(&spool, file.try_clone().unwrap());
        until(|| spool.metrics.waiting.get() == 0);
        spool.close(LIMIT);
    });
    // And requests write themselves again.
    spool.append(&framed(21));
    assert_eq!(found(&spool), (0..22).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_has_some_time_at_the_end_before_what_waits_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let freed = spool(root.path(), 1 << 20);
    let file = swap_file(&freed, full_disk());
    (0..20).for_each(|n| freed.append(&framed(n)));
    thread::scope(|scope| {
        scope.spawn(|| freed.tend());
        freed.close(LIMIT);
        let tried = freed.metrics.write_errors.get();
        until(|| freed.metrics.write_errors.get() > tried + 1);
        swap_file(&freed, file.try_clone().unwrap());
        assert!(freed.wait_closed(LIMIT));
    });
    assert_eq!((found(&freed).len(), freed.metrics.lost.get()), (20, 0));

    let full = spool(root.path(), 1 << 20);
    swap_file(&full, full_disk());
    (0..20).for_each(|n| full.append(&framed(n)));
    thread::scope(|scope| {
        scope.spawn(|| full.tend());
        full.close(Duration::ZERO);
        assert!(full.wait_closed(LIMIT));
    });
    assert_eq!((found(&full).len(), full.metrics.lost.get()), (0, 20));
}

#[test]
fn past_the_bound_of_memory_the_loss_is_counted() {
    let root = tempfile::tempdir().unwrap();
    let spool = spool(root.path(), 1);
    drop(swap_file(&spool, full_disk()));
    let count = 2_000;
    for n in 0..count {
        spool.append(&framed(n));
    }
    let (lost, waiting) = (spool.metrics.lost.get(), spool.metrics.waiting.get() as u64);
    assert!(lost > 0 && waiting > 0, "{lost} {waiting}");
    assert_eq!(lost + waiting, u64::from(count));
}

#[test]
fn a_disk_that_hangs_holds_a_request_up_for_a_moment_only() {
    let root = tempfile::tempdir().unwrap();
    let spool = spool(root.path(), 1 << 20);
    // Somebody writes and does not come back.
    spool.state.lock().writing = Some(Instant::now());
    let began = Instant::now();
    for n in 0..1_000 {
        spool.append(&framed(n));
    }
    assert!(began.elapsed() < Duration::from_secs(50), "the wait was not once but for each: {:?}", began.elapsed());
    assert!(spool.state.lock().behind && found(&spool).is_empty());
    thread::scope(|scope| {
        scope.spawn(|| spool.tend());
        spool.state.lock().writing = None;
        spool.written.notify_all();
        until(|| spool.metrics.waiting.get() == 0);
        spool.close(LIMIT);
    });
    assert_eq!(found(&spool).len(), 1_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever order of failing and succeeding writes: each record once, in order.
    #[test]
    fn any_weather_keeps_every_record(steps in proptest::collection::vec(0u8..4, 1..40)) {
        let root = tempfile::tempdir().unwrap();
        let spool = spool(root.path(), 1 << 20);
        let (mut next, mut good) = (0, None);
        for step in steps {
            match step {
                0 => good = good.or_else(|| Some(swap_file(&spool, full_disk()))),
                1 => if let Some(file) = good.take() {
                    drop(swap_file(&spool, file.try_clone().unwrap()));
                },
                2 => if good.is_none() {
                    spool.rotate().unwrap();
                },
                _ => {
                    spool.append(&framed(next));
                    next += 1;
                }
            }
            if good.is_none() && spool.state.lock().behind {
                drop(spool.catch_up(spool.state.lock()));
            }
        }
        if let Some(file) = good {
            drop(swap_file(&spool, file.try_clone().unwrap()));
            drop(spool.catch_up(spool.state.lock()));
        }
        prop_assert_eq!(found(&spool), (0..i64::from(next)).collect::<Vec<_>>());
    }
}
