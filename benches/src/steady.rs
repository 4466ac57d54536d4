//! Steady load that must not notice how its target is reloaded, replaced or restarted politely: long streams, each read
//! to its end and followed by the next, and short requests at a fixed rate, every other one on a connection of its own.
//!
//! Unlike [`crate::load`] it measures nothing: it counts what a client would have complained about.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};

use crate::{
    Result,
    wire::{Connection, Request},
};

/// What to send, where and for how long.
#[derive(Debug, Clone)]
pub struct Steady {
    /// The target's listener.
    pub address: SocketAddr,
    /// How many streams are open at any time.
    pub streams: usize,
    /// What each of them asks for.
    pub stream: Arc<Request>,
    /// Short requests per second.
    pub rate: f64,
    /// What each of them asks for.
    pub request: Arc<Request>,
    /// When nothing more is begun; what has begun is read to its end.
    pub length: Duration,
}

/// What clients saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Streams that came whole.
    pub streams: u64,
    /// Streams that did not: cut, refused, or ended by an error.
    pub broken: u64,
    /// Requests that were answered.
    pub answers: u64,
    /// Requests that were not, or with an error.
    pub failed: u64,
    /// Connections that were refused; what they were for counts as broken or failed, too.
    pub refused: u64,
    /// Requests sent again because a connection kept from an earlier one turned out to be closed before any answer came:
    /// every HTTP client does that.
    pub resent: u64,
    /// The first thing that went wrong, and when.
    pub first_error: Option<String>,
}

impl Seen {
    /// Whether no client has a reason to complain.
    pub fn is_clean(&self) -> bool {
        self.broken == 0 && self.failed == 0 && self.refused == 0 && self.streams > 0 && self.answers > 0
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { streams, broken, answers, failed, refused, resent, first_error } = self;
        write!(
            f,
            "streams={streams} broken={broken} answers={answers} failed={failed} refused={refused} resent={resent}"
        )?;
        first_error.as_ref().map_or(Ok(()), |error| write!(f, " first_error=\"{error}\""))
    }
}

/// Longest silence before and within an answer.
const PATIENCE: Duration = Duration::from_secs(30);

struct Run {
    steady: Steady,
    start: Instant,
    seen: Mutex<Seen>,
    idle: Mutex<Vec<Connection>>,
}

impl Steady {
    /// Runs to the end.
    ///
    /// # Errors
    /// None of the target's: those are counted.
    pub async fn run(self) -> Result<Seen> {
        let (streams, period) = (self.streams, Duration::from_secs_f64(1.0 / self.rate));
        let run = Arc::new(Run { steady: self, start: Instant::now(), seen: Mutex::default(), idle: Mutex::default() });
        let mut tasks = JoinSet::new();
        for _ in 0..streams {
            tasks.spawn(run.clone().stream_after_stream());
            sleep(Duration::from_millis(5)).await;
        }
        let mut number = 0;
        while run.goes_on() {
            sleep_until((run.start + period * number).into()).await;
            tasks.spawn(run.clone().one_request(number % 2 == 0));
            number += 1;
            while let Some(done) = tasks.try_join_next() {
                done?;
            }
        }
        while let Some(done) = tasks.join_next().await {
            done?;
        }
        Ok(std::mem::take(&mut *lock(&run.seen)))
    }
}

impl Run {
    fn goes_on(&self) -> bool {
        self.start.elapsed() < self.steady.length
    }

    /// Counts a result in one of two places.
    fn see(&self, result: io::Result<()>, what: &str, places: impl Fn(&mut Seen) -> (&mut u64, &mut u64)) {
        let mut seen = lock(&self.seen);
        let (good, bad) = places(&mut seen);
        *(if result.is_ok() { good } else { bad }) += 1;
        if let Err(error) = result {
            let after = self.start.elapsed().as_secs_f64();
            seen.refused += u64::from(error.kind() == io::ErrorKind::ConnectionRefused);
            seen.first_error.get_or_insert_with(|| format!("{what} after {after:.1} s: {error}"));
        }
    }

    async fn stream_after_stream(self: Arc<Self>) {
        while self.goes_on() {
            let result = self.one_stream().await;
            let failed = result.is_err();
            self.see(result, "a stream", |seen| (&mut seen.streams, &mut seen.broken));
            if failed {
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn one_stream(&self) -> io::Result<()> {
        let mut connection = Connection::open(self.steady.address).await?;
        let mut exchange = connection.begin(&self.steady.stream).await?;
        while timeout(PATIENCE, exchange.advance(&mut connection, |_| {})).await?? {}
        exchange.finish().map(drop)
    }

    async fn one_request(self: Arc<Self>, on_its_own: bool) {
        let result = self.ask(on_its_own).await;
        self.see(result, "a request", |seen| (&mut seen.answers, &mut seen.failed));
    }

    async fn ask(&self, on_its_own: bool) -> io::Result<()> {
        let kept = if on_its_own { None } else { lock(&self.idle).pop() };
        if let Some(kept) = kept {
            match self.ask_on(kept, true).await {
                Err(Failure::ClosedWhileIdle) => lock(&self.seen).resent += 1,
                Err(Failure::Other(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
        let fresh = Connection::open(self.steady.address).await?;
        self.ask_on(fresh, !on_its_own).await.map_err(|failure| match failure {
            Failure::Other(error) => error,
            Failure::ClosedWhileIdle => io::Error::other("a new connection was closed before any answer"),
        })
    }

    async fn ask_on(&self, mut connection: Connection, keep: bool) -> std::result::Result<(), Failure> {
        let mut exchange = connection.begin(&self.steady.request).await.map_err(|_| Failure::ClosedWhileIdle)?;
        loop {
            match timeout(PATIENCE, exchange.advance(&mut connection, |_| {})).await.map_err(io::Error::from)? {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if exchange.has_begun() => return Err(error.into()),
                Err(_) => return Err(Failure::ClosedWhileIdle),
            }
        }
        exchange.finish()?;
        if keep && !exchange.closes() {
            lock(&self.idle).push(connection);
        }
        Ok(())
    }
}

enum Failure {
    ClosedWhileIdle,
    Other(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
