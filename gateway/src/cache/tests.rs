use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use ai_gateway_providers::Operation;
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;
use pingora_http::ResponseHeader;
use proptest::prelude::*;
use tokio::sync::Notify;

use super::fill::{Next, Reader, Spent};
use super::memory::{Memory, Writer};
use super::*;
use crate::clock::Time;

fn memory(max_size: usize) -> Arc<Memory> {
    Arc::new(Memory::new(max_size, CacheMetrics::default(), Time::default()))
}

fn fingerprint(number: u64) -> Fingerprint {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Fingerprint(bytes)
}

fn meta(number: u64) -> Meta {
    Meta {
        fingerprint: fingerprint(number),
        form: Form::Whole,
        dialect: "openai-chat".into(),
        operation: Operation::Chat,
        status: http::StatusCode::OK,
        headers: http::HeaderMap::new(),
        key: Some("bot".into()),
        model: "m".into(),
        tags: vec!["red".into()],
        provider: "p".into(),
        upstream_model: "u".into(),
        created: SystemTime::now(),
        ttl: Duration::from_secs(60),
        usage: None,
        cost: None,
    }
}

fn entry(number: u64, size: usize) -> Arc<Entry> {
    Arc::new(Entry { meta: meta(number), body: vec![b'x'; size].into() })
}

fn lead(memory: &Arc<Memory>, number: u64) -> Writer {
    memory.begin(fingerprint(number), Form::Whole, true).unwrap()
}

fn header() -> ResponseHeader {
    let mut header = ResponseHeader::build(200, None).unwrap();
    header.insert_header("content-type", "text/plain").unwrap();
    for name in ["x-request-id", "request-id", "x-amzn-requestid"] {
        header.insert_header(name, "of the first").unwrap();
    }
    header
}

fn has(memory: &Memory, number: u64) -> bool {
    memory.find(&fingerprint(number), Form::Whole, Duration::MAX).is_some()
}

/// What can be read now, and how it ends if it does.
fn read(reader: &mut Reader) -> (Vec<u8>, Option<Next>) {
    let mut all = Vec::new();
    loop {
        let mut chunks = Vec::new();
        let next = reader.next(&mut chunks).now_or_never();
        chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
        if next != Some(Next::More) {
            return (all, next);
        }
    }
}

#[test]
fn the_least_recently_used_goes_first() {
    let memory = memory(13_000);
    for number in 0..4 {
        memory.insert(entry(number, 1_000));
    }
    assert!((0..4).all(|number| has(&memory, number)));
    assert!(has(&memory, 0));
    memory.insert(entry(4, 4_000));
    assert!(has(&memory, 0) && !has(&memory, 1) && has(&memory, 4));
    assert!(memory.size() <= 13_000, "{}", memory.size());
    memory.resize(0);
    assert_eq!((memory.size(), memory.len()), (0, 0));
}

#[test]
fn what_is_sent_to_somebody_counts_until_it_is() {
    let memory = memory(10_000);
    memory.insert(entry(1, 4_000));
    let held = memory.find(&fingerprint(1), Form::Whole, Duration::MAX).unwrap();
    memory.resize(0);
    assert!(!has(&memory, 1) && memory.size() > 4_000);
    drop(held);
    assert_eq!(memory.size(), 0);
}

#[test]
fn an_old_answer_is_none() {
    let memory = memory(10_000);
    let mut old = Entry::clone(&entry(1, 10));
    old.meta.created -= Duration::from_secs(30);
    memory.insert(Arc::new(old.clone()));
    let find = |max_age| memory.find(&fingerprint(1), Form::Whole, Duration::from_secs(max_age));
    assert!(find(40).is_some());
    assert!(find(20).is_none() && find(0).is_none());
    old.meta.created -= Duration::from_secs(31);
    memory.insert(Arc::new(old));
    assert!(find(3600).is_none());
    assert_eq!(memory.len(), 1);
}

/// The clock was fast, and has been set since.
#[test]
fn an_answer_of_the_future_is_none() {
    let memory = memory(10_000);
    let mut early = Entry::clone(&entry(1, 10));
    early.meta.created = memory.time.now() + Duration::from_secs(30);
    memory.insert(Arc::new(early.clone()));
    assert!(has(&memory, 1), "clocks differ by a little");
    early.meta.created += Duration::from_secs(3600);
    memory.insert(Arc::new(early));
    assert!(!has(&memory, 1));
}

#[test]
fn a_late_reader_gets_all_there_is_and_follows() {
    let memory = memory(1 << 20);
    let writer = lead(&memory, 1);
    let mut early = memory.begin(fingerprint(1), Form::Whole, true).unwrap_err();
    assert!(early.header().now_or_never().is_none(), "nothing is visible yet");
    writer.begin(header());
    assert!(early.header().now_or_never().flatten().is_some());
    writer.push(b"one ");
    assert_eq!(read(&mut early), (b"one ".to_vec(), None));
    let mut late = memory.begin(fingerprint(1), Form::Whole, true).unwrap_err();
    assert_eq!(read(&mut late), (b"one ".to_vec(), None));
    writer.push(b"two");
    writer.fill().keep(meta(1), None);
    let kept = writer.finish().unwrap();
    assert_eq!(read(&mut early), (b"two".to_vec(), Some(Next::End)));
    assert_eq!(read(&mut late), (b"two".to_vec(), Some(Next::End)));
    assert_eq!(kept.body, "one two");
    assert!(kept.meta.headers.keys().eq(["content-type"]), "{:?}", kept.meta.headers);
    assert!(has(&memory, 1));
    drop((early, late));
    assert_eq!(memory.size(), kept.weight());
}

#[test]
fn what_breaks_off_is_an_error_and_not_kept() {
    for length in 0..5 {
        let memory = memory(1 << 20);
        let writer = lead(&memory, 1);
        let mut reader = memory.begin(fingerprint(1), Form::Whole, true).unwrap_err();
        writer.begin(header());
        writer.fill().keep(meta(1), None);
        (0..length).for_each(|_| writer.push(b"x"));
        drop(writer);
        assert_eq!(read(&mut reader), (vec![b'x'; length], Some(Next::Broken)));
        assert!(!has(&memory, 1));
        drop(reader);
        assert_eq!(memory.size(), 0);
    }
}

#[test]
fn what_is_given_up_before_it_is_visible_is_made_by_another() {
    let memory = memory(1 << 20);
    let writer = lead(&memory, 1);
    let mut reader = memory.begin(fingerprint(1), Form::Whole, true).unwrap_err();
    drop(writer);
    assert!(reader.header().now_or_never().unwrap().is_none());
    assert!(memory.begin(fingerprint(1), Form::Whole, true).is_ok());
}

#[test]
fn nobody_joins_a_deserted_call() {
    let memory = memory(1 << 20);
    let writer = lead(&memory, 1);
    let fill = writer.fill().clone();
    let first = fill.join_first();
    assert!(fill.deserted().now_or_never().is_none());
    let second = fill.join().unwrap();
    drop(first);
    assert!(fill.deserted().now_or_never().is_none());
    drop(second);
    assert!(fill.deserted().now_or_never().is_some());
    assert!(fill.join().is_none());
    let another = memory.begin(fingerprint(1), Form::Whole, true).unwrap();
    drop(writer);
    assert!(another.fill().join().is_some(), "the one who goes does not take another's place");
}

#[tokio::test]
async fn who_waits_hears_of_the_last_one_leaving() {
    let memory = memory(1 << 20);
    let writer = lead(&memory, 1);
    let fill = writer.fill().clone();
    let reader = fill.join_first();
    let deserted = tokio::spawn(async move { fill.deserted().await });
    tokio::task::yield_now().await;
    drop(reader);
    deserted.await.unwrap();
}

#[test]
fn a_large_answer_is_forgotten_behind_its_readers() {
    let memory = memory(4 << 20);
    let writer = lead(&memory, 1);
    writer.begin(header());
    writer.fill().keep(meta(1), None);
    let (mut reader, mut stalled) = (writer.fill().join_first(), writer.fill().join().unwrap());
    let chunk = vec![b'x'; 100_000];
    let mut got = 0;
    for _ in 0..200 {
        writer.push(&chunk);
        got += read(&mut reader).0.len();
        assert!(memory.size() <= (4 << 20) + (MOST_LAG_IN_TESTS), "{}", memory.size());
    }
    assert_eq!(got, 20_000_000);
    assert_eq!(read(&mut stalled).1, Some(Next::Behind));
    assert!(writer.fill().join().is_none(), "its beginning is gone");
    assert!(writer.finish().is_none() && !has(&memory, 1));
    assert_eq!(read(&mut reader).1, Some(Next::End));
}

/// What one fill that forgets may hold beside `max_size`, with the last chunk.
const MOST_LAG_IN_TESTS: usize = (4 << 20) + 200_000;

/// Nobody is faster: what is not to be remembered as a whole is there for them all the same.
#[test]
fn who_reads_slowly_and_holds_up_nobody_is_not_left_behind() {
    let memory = memory(64 << 20);
    let writer = lead(&memory, 1);
    writer.begin(header());
    let (mut first, second) = (writer.fill().join_first(), writer.fill().join().unwrap());
    let has_room = || writer.fill().has_room().now_or_never().is_some();
    let mut pushed = 0;
    while has_room() {
        writer.push(&[b'x'; 100_000]);
        pushed += 100_000;
    }
    assert!(pushed > 16 << 20 && writer.fill().join().is_none(), "{pushed}");
    drop(second);
    let mut got = 0;
    while got < 40_000_000 {
        let mut chunks = Vec::new();
        assert_eq!(first.next(&mut chunks).now_or_never(), Some(Next::More));
        got += chunks.iter().map(Bytes::len).sum::<usize>();
        while has_room() {
            writer.push(&[b'x'; 100_000]);
            pushed += 100_000;
        }
        assert!(memory.size() < 18 << 20, "{}", memory.size());
    }
    writer.finish();
    let (rest, end) = read(&mut first);
    assert_eq!((got + rest.len(), end), (pushed, Some(Next::End)));
}

#[test]
fn who_writes_waits_for_the_fastest_reader_only() {
    let memory = memory(1 << 20);
    let writer = lead(&memory, 1);
    writer.begin(header());
    let (mut fast, _slow) = (writer.fill().join_first(), writer.fill().join().unwrap());
    let has_room = || writer.fill().has_room().now_or_never().is_some();
    for pushed in 0..30 {
        assert_eq!(has_room(), pushed <= 20, "{pushed}");
        writer.push(&[b'x'; 100_000]);
    }
    assert!(!has_room());
    read(&mut fast);
    assert!(has_room());
}

#[test]
fn a_purge_takes_what_it_names_and_keeps_nothing_that_is_under_way() {
    let memory = memory(1 << 20);
    (0..3).for_each(|number| drop(memory.insert(entry(number, 10))));
    let writer = lead(&memory, 9);
    writer.begin(header());
    writer.fill().keep(meta(9), None);
    assert_eq!(memory.purge(&Purge::Key("other".into())), 0);
    assert_eq!(memory.purge(&Purge::Fingerprint(fingerprint(1))), 1);
    assert!(writer.finish().is_none());
    assert!(has(&memory, 0) && !has(&memory, 1) && !has(&memory, 9));
    assert_eq!(memory.purge(&Purge::Tag("red".into())), 2);
    assert_eq!((memory.len(), memory.size()), (0, 0));
}

/// Keeps what it is given, and does not end a purge before it is told to.
#[derive(Default)]
struct Slow {
    kept: Mutex<Vec<Arc<Entry>>>,
    asked: AtomicUsize,
    goes_on: Notify,
}

impl Slow {
    fn count(&self) -> usize {
        self.kept.lock().len()
    }
}

#[async_trait]
impl Tier for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    async fn get(&self, fingerprint: &Fingerprint, _: Form) -> Option<Arc<Entry>> {
        self.asked.fetch_add(1, Relaxed);
        self.kept.lock().iter().find(|entry| entry.meta.fingerprint == *fingerprint).cloned()
    }

    fn put(&self, entry: &Arc<Entry>) {
        self.kept.lock().push(entry.clone());
    }

    async fn purge(&self, what: &Purge) -> Result<u64, TierError> {
        self.kept.lock().retain(|entry| !what.takes(entry));
        self.goes_on.notified().await;
        Ok(0)
    }
}

#[tokio::test]
async fn who_takes_nothing_that_is_kept_asks_nobody_for_it() {
    let (cache, slow) = (Cache::new(1 << 20, CacheMetrics::default(), Time::default()), Arc::new(Slow::default()));
    cache.stack(vec![slow.clone()]);
    slow.put(&entry(1, 10));
    let fetch = async |max_age, lasts| {
        let terms = Terms {
            fingerprint: fingerprint(1),
            max_age,
            lasts,
            ttl: lasts,
            share: true,
            payer: Payer::First,
            pace: Duration::ZERO,
        };
        (cache.fetch(&terms, Form::Whole).await.is_some(), slow.asked.load(Relaxed))
    };
    let minute = Duration::from_secs(60);
    assert_eq!(fetch(Duration::ZERO, minute).await, (false, 0), "its client wants a new one");
    assert_eq!(fetch(Duration::MAX, Duration::ZERO).await, (false, 0), "nothing is kept any more");
    assert_eq!(fetch(Duration::MAX, minute).await, (true, 1));
}

#[tokio::test]
async fn what_ends_while_a_purge_runs_does_not_survive_it() {
    let (cache, slow) = (Cache::new(1 << 20, CacheMetrics::default(), Time::default()), Arc::new(Slow::default()));
    cache.stack(vec![slow.clone()]);
    let begin = |number, share| {
        let writer = cache.memory.begin(fingerprint(number), Form::Whole, share).unwrap();
        writer.begin(header());
        writer.fill().keep(meta(number), None);
        writer
    };
    cache.finish(begin(1, true));
    assert_eq!((has(&cache.memory, 1), slow.count()), (true, 1));

    let before = [begin(2, true), begin(3, false)];
    let red = Purge::Tag("red".into());
    let mut purge = Box::pin(cache.purge(&red));
    assert!(purge.as_mut().now_or_never().is_none());
    assert!(!has(&cache.memory, 1));
    before.into_iter().for_each(|writer| cache.finish(writer));
    assert!(!has(&cache.memory, 2) && !has(&cache.memory, 3));
    cache.finish(begin(4, true));
    let during = begin(5, false);
    slow.goes_on.notify_one();
    purge.await.unwrap();
    cache.finish(during);
    assert_eq!((cache.memory.len(), slow.count()), (0, 0));

    // Also behind one that nobody waited for.
    let purge = Box::pin(cache.purge(&Purge::All)).now_or_never();
    assert!(purge.is_none());
    cache.finish(begin(6, true));
    assert_eq!((has(&cache.memory, 6), slow.count()), (true, 1));
    assert_eq!(cache.memory.size(), entry(6, 0).weight() + "content-type".len() + "text/plain".len() + 64);
}

#[test]
fn a_purge_of_one_request_leaves_the_calls_of_others_alone() {
    let memory = memory(1 << 20);
    memory.insert(entry(1, 10));
    let [own, other] = [1, 2].map(|number| {
        let writer = lead(&memory, number);
        writer.begin(header());
        writer.fill().keep(meta(number), None);
        writer
    });
    assert_eq!(memory.purge(&Purge::Fingerprint(fingerprint(1))), 1);
    assert!(own.fill().join().is_none() && other.fill().join().is_some());
    assert!(memory.begin(fingerprint(2), Form::Whole, true).is_err(), "it can still be followed");
    assert!(own.finish().is_none() && other.finish().is_some());
    assert!(!has(&memory, 1) && has(&memory, 2));
}

/// A million distinct answers of many sizes, some broken off, some read slowly.
#[test]
#[ignore = "takes a while"]
fn a_million_answers_are_bounded() {
    let max_size = 16 << 20;
    let memory = memory(max_size);
    let mut random = fastrand::Rng::with_seed(5);
    let (mut slow, mut largest) = (std::collections::VecDeque::new(), 0);
    for number in 0..1_000_000 {
        let writer = lead(&memory, number);
        writer.begin(header());
        if random.u8(..) < 10 {
            slow.push_back(writer.fill().join().unwrap());
        }
        let chunk = vec![b'x'; random.usize(1..2000)];
        for _ in 0..random.usize(1..20) {
            writer.push(&chunk);
            largest = largest.max(memory.size());
        }
        if random.u8(..) > 20 {
            writer.fill().keep(meta(number), None);
            writer.finish();
        }
        largest = largest.max(memory.size());
        if slow.len() > 100 {
            slow.pop_front();
        }
    }
    eprintln!("held at most {largest} of {max_size} bytes, {} answers at the end", memory.len());
    assert!(largest <= max_size * 11 / 10, "{largest}");
    slow.clear();
    memory.purge(&Purge::All);
    assert_eq!(memory.size(), 0);
}

proptest! {
    /// The parts add up to the whole, and differ by one at most.
    #[test]
    fn a_divided_cost_adds_up(cost in any::<u64>(), followers in 0_usize..50, left in 0_usize..50) {
        let memory = memory(1 << 20);
        let writer = lead(&memory, 1);
        writer.begin(header());
        let _first = writer.fill().join_first();
        let mut readers: Vec<Reader> = (0..followers).map(|_| writer.fill().join().unwrap()).collect();
        readers.drain(..left.min(followers));
        let own = writer.fill().settle(Spent { tokens: 1, cost: Some(cost), charged: false }, true).unwrap();
        let late = writer.fill().join().unwrap();
        prop_assert_eq!(late.bill().share, None);
        // Also of those that leave before they have everything.
        let told: Vec<_> = readers.iter().map(Reader::bill).collect();
        let bills: Vec<_> = readers.into_iter().map(Reader::leave).collect();
        prop_assert_eq!(&told, &bills);
        let shares: Vec<u64> = bills.iter().map(|bill| bill.share.unwrap()).collect();
        prop_assert!(bills.iter().all(|bill| bill.saved.cost == bill.share.map(|share| cost - share)));
        prop_assert_eq!(shares.iter().map(|share| u128::from(*share)).sum::<u128>() + u128::from(own), u128::from(cost));
        prop_assert!(shares.iter().all(|share| own - share <= 1));
    }

    /// However entries come and go, what is held is what is counted, and not too much.
    #[test]
    fn memory_is_bounded(steps in prop::collection::vec((0_u64..40, 0_usize..30_000, any::<bool>()), 1..200)) {
        let memory = memory(100_000);
        for (number, size, whole) in steps {
            let Ok(writer) = memory.begin(fingerprint(number), Form::Whole, true) else { unreachable!() };
            writer.begin(header());
            for chunk in vec![b'x'; size].chunks(700) {
                writer.push(chunk);
                prop_assert!(memory.size() <= 110_000, "{}", memory.size());
            }
            writer.fill().keep(meta(number), None);
            if whole {
                writer.finish();
            }
            prop_assert!(memory.size() <= 110_000, "{}", memory.size());
        }
        memory.purge(&Purge::All);
        prop_assert_eq!((memory.size(), memory.len()), (0, 0));
    }
}
