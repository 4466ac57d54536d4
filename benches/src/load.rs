//! Driving a target: closed loop, fixed rate, or many streams held open.
//!
//! Everything runs on the caller's (single-threaded) runtime, with one task per connection.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep_until, timeout},
};

use crate::{
    Result,
    stats::Samples,
    wire::{Connection, Request},
};

/// What to send, where, how often and for how long.
#[derive(Debug, Clone)]
pub struct Load {
    /// The target's listener.
    pub address: SocketAddr,
    /// The request that every connection repeats.
    pub request: Arc<Request>,
    /// Connections, each with one request in flight at most.
    pub connections: usize,
    /// When no further request is begun; those in flight are finished.
    pub length: Duration,
    /// Requests per second over all connections (open loop); `None` sends the next as soon as one is answered.
    pub rate: Option<f64>,
}

/// What a load run saw. Runs can be added up with [`Outcome::append`].
#[derive(Debug, Default)]
pub struct Outcome {
    /// Complete, correct answers.
    pub answers: u64,
    /// Requests that failed; the connection is opened anew after each.
    pub errors: u64,
    /// The first failure's text.
    pub first_error: Option<String>,
    /// Server-sent events received.
    pub events: u64,
    /// Body bytes received.
    pub body_bytes: u64,
    /// From the first request's start to the last answer's end.
    pub elapsed: Duration,
    /// Request start to end of answer.
    pub latency: Samples,
    /// Request start to first output text of a stream.
    pub first_output: Samples,
    /// Between reads that brought events of one stream.
    pub gaps: Samples,
}

impl Outcome {
    /// Adds what `other` saw.
    pub fn append(&mut self, mut other: Self) {
        self.answers += other.answers;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.events += other.events;
        self.body_bytes += other.body_bytes;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.latency.append(&mut other.latency);
        self.first_output.append(&mut other.first_output);
        self.gaps.append(&mut other.gaps);
    }

    /// Answers per second.
    pub fn rate(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
    }

    fn failed(&mut self, error: &std::io::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }
}

/// Longest wait for one answer; a target that takes longer has hung.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

impl Load {
    /// Runs to the end. Fails only if no connection can be made at the start; later failures are counted.
    pub async fn run(&self) -> Result<Outcome> {
        let mut connections = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            connections.push(Connection::open(self.address).await?);
        }
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for (index, connection) in connections.into_iter().enumerate() {
            tasks.spawn(worker(self.clone(), index, connection, start));
        }
        let mut outcome = Outcome::default();
        while let Some(done) = tasks.join_next().await {
            outcome.append(done?);
        }
        Ok(outcome)
    }
}

async fn worker(load: Load, index: usize, mut connection: Connection, start: Instant) -> Outcome {
    let mut outcome = Outcome::default();
    let mut due = load.rate.map(|rate| start + Duration::from_secs_f64(index as f64 / rate));
    let period = load.rate.map(|rate| Duration::from_secs_f64(load.connections as f64 / rate));
    let mut ready = start;
    loop {
        let mut begun = Instant::now();
        if let (Some(next), Some(period)) = (due, period) {
            if next >= start + load.length {
                break;
            }
            if next > begun {
                sleep_until(next.into()).await;
                // The timer's own lateness is not the target's.
                begun = Instant::now();
            }
            // A request that had to wait for the answer before it was late from the moment it was due.
            if ready > next {
                begun = next;
            }
            due = Some(next + period);
        } else if begun >= start + load.length {
            break;
        }
        let mut last_event = None;
        let on_event = |now: Instant| {
            if let Some(last) = last_event.replace(now) {
                outcome.gaps.push(now - last);
            }
        };
        let result = timeout(ANSWER_LIMIT, connection.exchange(&load.request, on_event)).await;
        ready = Instant::now();
        match result.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
            Ok(answer) => {
                outcome.answers += 1;
                outcome.events += answer.events;
                outcome.body_bytes += answer.body_bytes;
                outcome.latency.push(ready - begun);
                if let Some(first) = answer.first_output {
                    outcome.first_output.push(first - begun);
                }
            }
            Err(error) => {
                outcome.failed(&error);
                match Connection::open(load.address).await {
                    Ok(fresh) => connection = fresh,
                    Err(error) => {
                        outcome.failed(&error);
                        break;
                    }
                }
            }
        }
    }
    outcome.elapsed = start.elapsed();
    outcome
}

/// Streams that are open and being read; dropping it cuts them.
#[derive(Debug)]
pub struct HeldStreams {
    tasks: JoinSet<std::io::Result<()>>,
    stop: watch::Sender<()>,
}

/// How many streams are opened at the same time, so that no listen queue overflows.
const OPENING: usize = 64;

impl HeldStreams {
    /// Opens `count` streams and returns when each has brought output. All stay open and are read on.
    pub async fn open(address: SocketAddr, request: Arc<Request>, count: usize) -> Result<Self> {
        let (stop, stopped) = watch::channel(());
        let (began, mut begins) = mpsc::channel::<()>(OPENING);
        let mut held = Self { tasks: JoinSet::new(), stop };
        let mut streaming = 0;
        for opened in 0..count {
            if opened >= streaming + OPENING {
                held.next_began(&mut begins).await?;
                streaming += 1;
            }
            held.tasks.spawn(hold_one(address, request.clone(), began.clone(), stopped.clone()));
        }
        for _ in streaming..count {
            held.next_began(&mut begins).await?;
        }
        Ok(held)
    }

    async fn next_began(&mut self, begins: &mut mpsc::Receiver<()>) -> Result<()> {
        tokio::select! {
            began = timeout(ANSWER_LIMIT, begins.recv()) => began?.ok_or("no stream is left"),
            Some(ended) = self.tasks.join_next() => {
                ended??;
                Err("a stream that was to be held ended")
            }
        }?;
        Ok(())
    }

    /// How many streams are still open.
    pub fn open_streams(&self) -> usize {
        self.tasks.len()
    }

    /// Cuts all streams from the client's side; fails if one had ended before.
    pub async fn close(mut self) -> Result<()> {
        if let Some(ended) = self.tasks.try_join_next() {
            ended??;
            return Err("a stream that was to be held ended".into());
        }
        self.stop.send_replace(());
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

async fn hold_one(
    address: SocketAddr,
    request: Arc<Request>,
    began: mpsc::Sender<()>,
    mut stopped: watch::Receiver<()>,
) -> std::io::Result<()> {
    let mut connection = Connection::open(address).await?;
    let mut exchange = connection.begin(&request).await?;
    let mut told = false;
    loop {
        tokio::select! {
            _ = stopped.changed() => return Ok(()),
            more = exchange.advance(&mut connection, |_| {}) => if !more? { return Ok(()) },
        }
        if !told && exchange.has_output() {
            told = began.send(()).await.is_ok();
        }
    }
}
