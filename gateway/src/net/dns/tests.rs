use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{Answer, DnsError, DnsMetrics, Lookup, Resolver, SystemLookup};

const LIMIT: Duration = Duration::from_secs(20);

/// A lookup that answers what the test says, when the test says, at the time that the test says.
#[derive(Clone)]
struct World(Arc<Inner>);

struct Inner {
    answer: Mutex<Result<Answer, DnsError>>,
    /// One permit for each lookup that may end.
    gate: Semaphore,
    calls: AtomicUsize,
    now: Mutex<Instant>,
}

#[async_trait]
impl Lookup for World {
    async fn lookup(&self, host: &str) -> Result<Answer, DnsError> {
        assert_eq!(host, "api.example");
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        self.0.gate.acquire().await.unwrap().forget();
        self.0.answer.lock().clone()
    }
}

impl World {
    /// A world whose lookups end at once.
    fn new(addresses: &[&str], ttl: u64) -> (Self, Resolver, DnsMetrics) {
        let world = Self(Arc::new(Inner {
            answer: Mutex::new(Err(DnsError::NotFound)),
            gate: Semaphore::new(1_000),
            calls: AtomicUsize::new(0),
            now: Mutex::new(Instant::now()),
        }));
        world.answers(addresses, ttl);
        let metrics = DnsMetrics::default();
        let clock = world.clone();
        let resolver = Resolver::with_lookup(world.clone(), move || *clock.0.now.lock(), metrics.clone());
        (world, resolver, metrics)
    }

    fn answers(&self, addresses: &[&str], ttl: u64) {
        let addresses = addresses.iter().map(|address| ip(address)).collect();
        *self.0.answer.lock() = Ok(Answer { addresses, ttl: Duration::from_secs(ttl) });
    }

    fn fails(&self) {
        *self.0.answer.lock() = Err(DnsError::Failed("refused".into()));
    }

    fn hold(&self) {
        self.0.gate.forget_permits(1_000);
    }

    fn let_go(&self, lookups: usize) {
        self.0.gate.add_permits(lookups);
    }

    fn pass(&self, seconds: u64) {
        *self.0.now.lock() += Duration::from_secs(seconds);
    }

    fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

async fn resolve(resolver: &Resolver) -> Result<String, DnsError> {
    resolver.resolve("api.example", 443, LIMIT).await.map(|address| address.ip().to_string())
}

/// Lets the tasks of this one-threaded runtime run until they wait for something.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn addresses_need_no_lookup() {
    let (world, resolver, _) = World::new(&[], 60);
    for (host, address) in [("192.0.2.7", "192.0.2.7:8"), ("::1", "[::1]:8"), ("[2001:db8::1]", "[2001:db8::1]:8")] {
        let expected: SocketAddr = address.parse().unwrap();
        assert_eq!(resolver.resolve(host, 8, LIMIT).await, Ok(expected));
    }
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn an_answer_past_its_time_is_used_while_one_task_refreshes_it() {
    let (world, resolver, metrics) = World::new(&["192.0.2.1"], 60);
    assert_eq!(resolve(&resolver).await.unwrap(), "192.0.2.1");
    world.pass(59);
    assert_eq!(resolve(&resolver).await.unwrap(), "192.0.2.1");
    settle().await;
    assert_eq!(world.calls(), 1);

    world.answers(&["192.0.2.2"], 60);
    world.hold();
    world.pass(1);
    for _ in 0..10 {
        assert_eq!(resolve(&resolver).await.unwrap(), "192.0.2.1");
        settle().await;
    }
    assert_eq!(world.calls(), 2);
    world.let_go(1);
    settle().await;
    assert_eq!(resolve(&resolver).await.unwrap(), "192.0.2.2");
    assert_eq!((world.calls(), metrics.lookups.get(), metrics.stale_served.get()), (2, 2, 0));
}

#[tokio::test]
async fn times_to_live_are_kept_within_bounds() {
    for (ttl, kept) in [(0, 5), (86_400, 300)] {
        let (world, resolver, _) = World::new(&["192.0.2.1"], ttl);
        resolve(&resolver).await.unwrap();
        world.pass(kept - 1);
        resolve(&resolver).await.unwrap();
        settle().await;
        assert_eq!(world.calls(), 1);
        world.pass(1);
        resolve(&resolver).await.unwrap();
        settle().await;
        assert_eq!(world.calls(), 2);
    }
}

#[tokio::test]
async fn old_addresses_stay_for_an_hour_of_failures() {
    let (world, resolver, metrics) = World::new(&["192.0.2.1"], 60);
    resolve(&resolver).await.unwrap();
    world.fails();
    world.pass(60);
    resolve(&resolver).await.unwrap();
    settle().await;
    assert_eq!((metrics.failures.get(), metrics.stale_served.get()), (1, 0));

    // The next try is some seconds later, not with the next request.
    for _ in 0..3 {
        assert_eq!(resolve(&resolver).await.unwrap(), "192.0.2.1");
        settle().await;
    }
    assert_eq!((world.calls(), metrics.stale_served.get()), (2, 3));
    world.pass(5);
    resolve(&resolver).await.unwrap();
    settle().await;
    assert_eq!(world.calls(), 3);

    world.pass(3_594);
    assert_eq!(resolve(&resolver).await.unwrap(), "192.0.2.1");
    settle().await;
    world.pass(1);
    assert_eq!(resolve(&resolver).await, Err(DnsError::Failed("refused".into())));

    world.answers(&["192.0.2.3"], 60);
    world.pass(5);
    assert_eq!(resolve(&resolver).await.unwrap(), "192.0.2.3");
}

#[tokio::test]
async fn a_host_that_was_not_asked_for_in_a_long_time_is_looked_up_anew() {
    let (world, resolver, _) = World::new(&["192.0.2.1"], 60);
    resolve(&resolver).await.unwrap();
    world.answers(&["192.0.2.2"], 60);
    world.pass(60 + 3_600);
    assert_eq!(resolve(&resolver).await.unwrap(), "192.0.2.2");
}

#[tokio::test]
async fn all_callers_share_the_first_lookup() {
    let (world, resolver, _) = World::new(&["192.0.2.1", "192.0.2.2"], 60);
    world.hold();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let resolver = resolver.clone();
            tokio::spawn(async move { resolve(&resolver).await })
        })
        .collect();
    settle().await;
    assert_eq!(world.calls(), 1);
    world.let_go(1);
    let mut counts = HashMap::new();
    for caller in callers {
        *counts.entry(caller.await.unwrap().unwrap()).or_insert(0) += 1;
    }
    assert_eq!(counts, HashMap::from([("192.0.2.1".to_owned(), 50), ("192.0.2.2".to_owned(), 50)]));
    assert_eq!(world.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_on_many_threads_share_the_first_lookup() {
    for _ in 0..50 {
        let (world, resolver, _) = World::new(&["192.0.2.1"], 60);
        let callers: Vec<_> = (0..100)
            .map(|_| {
                let resolver = resolver.clone();
                tokio::spawn(async move { resolve(&resolver).await })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap().unwrap(), "192.0.2.1");
        }
        assert_eq!(world.calls(), 1);
    }
}

#[tokio::test]
async fn the_first_lookup_outlives_the_caller_who_began_it() {
    let (world, resolver, _) = World::new(&["192.0.2.1"], 60);
    world.hold();
    assert_eq!(resolver.resolve("api.example", 1, Duration::ZERO).await, Err(DnsError::Timeout));
    settle().await;
    world.let_go(1);
    settle().await;
    assert_eq!(resolve(&resolver).await.unwrap(), "192.0.2.1");
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn failures_are_remembered_for_five_seconds() {
    let (world, resolver, metrics) = World::new(&[], 60);
    assert_eq!(resolve(&resolver).await, Err(DnsError::NotFound));
    world.fails();
    world.pass(4);
    assert_eq!(resolve(&resolver).await, Err(DnsError::NotFound));
    assert_eq!(world.calls(), 1);
    world.pass(1);
    assert_eq!(resolve(&resolver).await, Err(DnsError::Failed("refused".into())));
    world.pass(5);
    world.answers(&["192.0.2.1"], 60);
    assert_eq!(resolve(&resolver).await.unwrap(), "192.0.2.1");
    assert_eq!((world.calls(), metrics.lookups.get(), metrics.failures.get()), (3, 3, 2));
}

#[tokio::test]
async fn addresses_take_turns_and_ipv6_waits_for_the_others_to_fail() {
    let (_world, resolver, _) = World::new(&["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.1"], 60);
    let turns = async |n: usize| {
        let mut seen = Vec::new();
        for _ in 0..n {
            seen.push(resolve(&resolver).await.unwrap());
        }
        seen.sort();
        seen.dedup();
        seen
    };
    assert_eq!(turns(4).await, ["192.0.2.1", "192.0.2.2"]);
    resolver.unreachable("api.example", ip("192.0.2.1"));
    resolver.unreachable("other.example", ip("192.0.2.2"));
    assert_eq!(turns(4).await, ["192.0.2.2"]);
    resolver.unreachable("api.example", ip("192.0.2.2"));
    assert_eq!(turns(4).await, ["2001:db8::1"]);
    resolver.unreachable("api.example", ip("2001:db8::1"));
    assert_eq!(turns(4).await, ["192.0.2.1", "192.0.2.2"]);
}

#[tokio::test]
async fn an_address_that_is_dead_is_tried_by_one_request_a_minute() {
    let (world, resolver, _) = World::new(&["192.0.2.1", "192.0.2.2"], 10);
    let dead = ip("192.0.2.1");
    let tries = async |n: usize| {
        let mut tries = 0;
        for _ in 0..n {
            tries += usize::from(resolve(&resolver).await.unwrap() == "192.0.2.1");
        }
        tries
    };
    assert_eq!(tries(4).await, 2);
    assert!(resolver.unreachable("api.example", dead), "another one is left");
    for _ in 0..5 {
        world.pass(10);
        assert_eq!(tries(4).await, 0);
        settle().await;
        assert_eq!(tries(4).await, 0, "a refresh that finds it again tells nothing of it");
    }
    world.pass(10);
    assert_eq!(tries(4).await, 1, "one finds out");
    resolver.unreachable("api.example", dead);
    assert_eq!(tries(4).await, 0);
    world.pass(60);
    assert_eq!(tries(4).await, 1);
    resolver.reached("api.example", dead);
    assert_eq!(tries(4).await, 2);
    assert!(resolver.unreachable("api.example", dead));
    assert!(!resolver.unreachable("api.example", ip("192.0.2.2")), "none is left");
    assert_eq!(tries(4).await, 2);
}

#[tokio::test]
async fn a_lookup_that_panics_does_not_stop_the_next() {
    struct Panics;
    #[async_trait]
    impl Lookup for Panics {
        async fn lookup(&self, _: &str) -> Result<Answer, DnsError> {
            panic!("a fault in the lookup")
        }
    }
    let resolver = Resolver::with_lookup(Panics, Instant::now, DnsMetrics::default());
    for _ in 0..2 {
        assert!(matches!(resolve(&resolver).await, Err(DnsError::Failed(_))));
    }
}

#[tokio::test]
async fn localhost_needs_no_name_server() {
    let answer = SystemLookup::new().lookup("localhost").await.unwrap();
    assert_eq!(answer.addresses, [ip("127.0.0.1"), ip("::1")]);
    let resolver = Resolver::new(DnsMetrics::default());
    let expected: SocketAddr = "127.0.0.1:80".parse().unwrap();
    assert_eq!(resolver.resolve("mock.localhost", 80, LIMIT).await, Ok(expected));
}
