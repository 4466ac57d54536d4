//! Finished requests on their way to the exporter. What does not fit is dropped and counted: nobody waits for a collector.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::Record;
use crate::telemetry::otlp::OtlpMetrics;

/// Traces that may wait …
const MAX_WAITING: usize = 4_096;
/// … and their bytes, roughly.
const MAX_BYTES: usize = 32 << 20;

/// The way in: takes finished requests.
#[derive(Debug)]
pub struct Traces {
    records: mpsc::Sender<Record>,
    waiting: Mutex<Option<Waiting>>,
    state: Arc<State>,
    metrics: OtlpMetrics,
}

/// The way out: what waits to be sent.
#[derive(Debug)]
pub(in crate::telemetry) struct Waiting {
    records: mpsc::Receiver<Record>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Traces taken in and not done with.
    pending: AtomicUsize,
    bytes: AtomicUsize,
    /// Metrics are to be pushed once more at the end.
    metrics_due: AtomicBool,
    /// Somebody waits for all to be sent.
    hurry: watch::Sender<bool>,
    /// Nobody sends any more.
    closed: AtomicBool,
}

impl Traces {
    pub(in crate::telemetry) fn new(metrics: OtlpMetrics) -> Self {
        let (records, receiver) = mpsc::channel(MAX_WAITING);
        let state = Arc::new(State::default());
        let waiting = Mutex::new(Some(Waiting { records: receiver, state: state.clone() }));
        Self { records, waiting, state, metrics }
    }

    /// Queues what `record` makes, unless there is no room.
    pub fn offer(&self, record: impl FnOnce() -> Record) {
        let Ok(place) = self.records.try_reserve() else { return self.metrics.dropped_traces("queue_full", 1) };
        let record = record();
        let size = record.size();
        if self.state.bytes.fetch_add(size, SeqCst) + size > MAX_BYTES {
            self.state.bytes.fetch_sub(size, SeqCst);
            return self.metrics.dropped_traces("queue_full", 1);
        }
        self.state.pending.fetch_add(1, SeqCst);
        place.send(record);
    }

    /// The way out, to be had once.
    pub(in crate::telemetry) fn take_waiting(&self) -> Option<Waiting> {
        self.waiting.lock().take()
    }

    /// Changes when the end is near.
    pub(in crate::telemetry) fn hurry(&self) -> watch::Receiver<bool> {
        self.state.hurry.subscribe()
    }

    /// Says whether metrics are to be pushed once more at the end.
    pub(in crate::telemetry) fn set_metrics_due(&self, due: bool) {
        self.state.metrics_due.store(due, SeqCst);
    }

    /// Waits until every trace taken in is sent or given up, and the metrics are, at most `limit`. Blocks its thread: call it at shutdown.
    pub fn flush(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        self.state.hurry.send_replace(true);
        let waits = || self.state.pending.load(SeqCst) > 0 || self.state.metrics_due.load(SeqCst);
        while waits() && !self.state.closed.load(SeqCst) {
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

impl Waiting {
    /// Waits for a trace, and a little for more of them, up to `most`.
    pub(in crate::telemetry) async fn next(&mut self, linger: Duration, most: usize) -> Vec<Record> {
        let mut batch = Vec::new();
        if self.records.recv_many(&mut batch, most).await > 0 && !self.is_hurried() {
            let end = tokio::time::Instant::now() + linger;
            let mut hurry = self.state.hurry.subscribe();
            while batch.len() < most && !self.is_hurried() {
                let room = most - batch.len();
                tokio::select! {
                    more = self.records.recv_many(&mut batch, room) => if more == 0 { break },
                    () = tokio::time::sleep_until(end) => break,
                    _ = hurry.changed() => break,
                }
            }
        }
        batch
    }

    /// Whether somebody waits for the end.
    pub(in crate::telemetry) fn is_hurried(&self) -> bool {
        *self.state.hurry.borrow()
    }

    /// Notes that these are no longer waiting.
    pub(in crate::telemetry) fn done(&self, records: &[Record]) {
        self.state.bytes.fetch_sub(records.iter().map(Record::size).sum(), SeqCst);
        self.state.pending.fetch_sub(records.len(), SeqCst);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.state.closed.store(true, SeqCst);
    }
}
