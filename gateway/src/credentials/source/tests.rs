//! Tokens under a clock and an issuer of the test's own.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::*;
use crate::net::dns::{DnsMetrics, Resolver};

struct Script {
    asked: AtomicUsize,
    /// One permit lets one answer out.
    gate: Semaphore,
    fails: std::sync::atomic::AtomicBool,
    lifetime: Option<Duration>,
}

#[derive(Clone)]
struct Shown(Arc<Script>);

#[async_trait]
impl Issue for Shown {
    type Token = usize;

    async fn issue(&self, _: &Arc<Client>) -> Result<Issued<usize>, CredentialError> {
        let number = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.gate.acquire().await.unwrap().forget();
        if self.0.fails.load(Ordering::SeqCst) {
            return Err(CredentialError::new(format!("failure {number}")));
        }
        Ok(Issued { token: number, lifetime: self.0.lifetime })
    }
}

struct World {
    script: Arc<Script>,
    now: Arc<Mutex<Instant>>,
    source: Source<usize>,
    client: Arc<Client>,
}

const PATIENT: Duration = Duration::from_secs(30);

impl World {
    fn new(lifetime: Option<u64>, open: usize) -> Self {
        let script = Arc::new(Script {
            asked: AtomicUsize::new(0),
            gate: Semaphore::new(open),
            fails: false.into(),
            lifetime: lifetime.map(Duration::from_secs),
        });
        let now = Arc::new(Mutex::new(Instant::now()));
        let clock = now.clone();
        let source = Source::with_clock("p", Some(Box::new(Shown(script.clone()))), None, move || *clock.lock());
        Self { script, now, source, client: Arc::new(Client::new(Resolver::new(DnsMetrics::default()))) }
    }

    async fn get(&self) -> Result<usize, CredentialError> {
        self.source.get(&self.client, PATIENT).await.map(|token| *token)
    }

    fn pass(&self, seconds: u64) {
        *self.now.lock() += Duration::from_secs(seconds);
    }

    fn asked(&self) -> usize {
        self.script.asked.load(Ordering::SeqCst)
    }

    fn fail(&self, fails: bool) {
        self.script.fails.store(fails, Ordering::SeqCst);
    }

    /// Lets the renewal under way come to its end.
    async fn landed(&self) {
        while self.source.inner.renewal.lock().flight.is_some() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn everybody_waits_for_the_same_first_token() {
    let world = World::new(Some(3600), 0);
    let waiting: Vec<_> = (0..50).map(|_| world.get()).collect();
    let opened = async {
        tokio::task::yield_now().await;
        world.script.gate.add_permits(1);
    };
    let (tokens, ()) = futures::join!(futures::future::join_all(waiting), opened);
    assert!(tokens.iter().all(|token| *token == Ok(1)), "{tokens:?}");
    assert_eq!((world.get().await, world.asked()), (Ok(1), 1));
}

#[tokio::test]
async fn a_token_is_renewed_ahead_and_nobody_waits() {
    let world = World::new(Some(3600), 1);
    assert_eq!(world.get().await, Ok(1));
    world.pass(3299);
    assert_eq!((world.get().await, world.asked()), (Ok(1), 1));
    world.pass(1);
    for _ in 0..10 {
        assert_eq!(world.get().await, Ok(1), "the old one holds while the new one is asked for");
    }
    world.script.gate.add_permits(1);
    world.landed().await;
    assert_eq!((world.get().await, world.asked()), (Ok(2), 2));
}

#[tokio::test]
async fn the_last_good_token_outlives_failures_but_not_its_end() {
    let world = World::new(Some(3600), 100);
    assert_eq!(world.get().await, Ok(1));
    world.fail(true);
    world.pass(3400);
    assert_eq!(world.get().await, Ok(1));
    world.landed().await;
    assert_eq!((world.get().await, world.asked()), (Ok(1), 2), "not asked again at once");
    world.pass(3);
    assert_eq!(world.get().await, Ok(1));
    world.landed().await;
    assert_eq!(world.asked(), 3);
    world.pass(187);
    assert_eq!(world.get().await, Err(CredentialError::new("failure 4")));
    assert_eq!(world.get().await, Err(CredentialError::new("failure 4")), "told at once");
    world.fail(false);
    world.pass(3);
    assert_eq!(world.get().await, Ok(5));
}

#[tokio::test]
async fn a_caller_that_leaves_stops_nothing() {
    let world = World::new(None, 0);
    let impatient = world.source.get(&world.client, Duration::from_millis(1)).await;
    assert_eq!(impatient.map(|token| *token), Err(CredentialError::new("no answer in time")));
    world.script.gate.add_permits(1);
    assert_eq!((world.get().await, world.asked()), (Ok(1), 1));
    world.pass(1_000_000);
    assert_eq!((world.get().await, world.asked()), (Ok(1), 1), "it holds for good");
}

#[tokio::test]
async fn short_lives_are_halved() {
    let world = World::new(Some(60), 100);
    assert_eq!(world.get().await, Ok(1));
    world.pass(29);
    assert_eq!((world.get().await, world.asked()), (Ok(1), 1));
    world.pass(1);
    assert_eq!(world.get().await, Ok(1));
    world.landed().await;
    assert_eq!(world.get().await, Ok(2));
}

#[tokio::test]
async fn a_fixed_token_is_there() {
    let world = World::new(None, 0);
    let fixed = Source::fixed(7);
    assert_eq!(fixed.get(&world.client, PATIENT).await.map(|token| *token), Ok(7));
    assert_eq!(format!("{fixed:?}"), "Source(…)");
}
