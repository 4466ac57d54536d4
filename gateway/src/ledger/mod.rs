//! The ledger: one [`Record`] of usage and cost for each request, kept in SQLite (`[ledger]`).
//!
//! ```text
//! Ledger::book ──write(2)──▶ spool: segments on disk ──once a second, a transaction each──▶ SQLite ──▶ Query, rerate
//! ```
//!
//! **What is promised.** When [`Ledger::book`] returns, the record is in a file (its page cache): `kill -9` at any point
//! later loses nothing. A segment is removed only after the database has committed its records, and a record that comes
//! twice is one row, so that each is booked exactly once. A process that has died leaves its segments to the next one, or to
//! one that runs beside it, as in an upgrade. A power loss costs at most the last `sync` (50 ms) of records.
//!
//! **Where it is weaker.** While the disk is full, hangs, or is slow time after time, requests do not wait for it: records wait
//! in memory, at most `memory` bytes of them, `gateway_ledger_waiting` counts them, and they are lost if the process is killed
//! just then, or ends and the disk still takes none for ten seconds. Past that bound the oldest are given up and counted in `gateway_ledger_lost_total`. The thread that is writing when
//! the disk begins to hang stands until it answers, and the requests on it with it; a spool in memory (`spool`) knows no such disk.
//!
//! No request ever reads or writes the database.

mod frame;
mod metrics;
mod query;
mod record;
mod rerate;
mod restore;
mod row;
mod spool;
mod store;
mod worker;

pub use metrics::LedgerMetrics;
pub use query::{Dimension, Query, Report, ask, dollars, parse_time};
pub use record::{BACKGROUND, CHARGED, Kind, Record, Tags, UsageSource, micros};
pub use rerate::rerate;
pub use store::Store;

use std::cell::RefCell;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use log::error;
use parking_lot::Mutex;

use crate::clock::Time;
use crate::config::LedgerConfig;
use crate::limits::Limits;
use crate::paths;
use spool::Spool;
use worker::Worker;

thread_local! {
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Books records; one for the process, shared by every exchange.
#[derive(Debug)]
pub struct Ledger {
    spool: Arc<Spool>,
    metrics: LedgerMetrics,
    config: LedgerConfig,
    threads: Mutex<Option<Threads>>,
    /// Its other side is dropped when what processes left that have died is in the database.
    caught_up: Mutex<Option<Receiver<()>>>,
}

#[derive(Debug)]
struct Threads {
    /// Dropped, it tells the worker to end.
    stop: SyncSender<()>,
    /// Nothing is ever sent: its other side is dropped when the worker has ended.
    ended: Receiver<()>,
}

impl Ledger {
    /// Opens the spool and starts the ledger's two threads, which wait for the disk so that nobody else has to. Records grow old
    /// by `time`.
    ///
    /// # Errors
    /// The folders cannot be used. A full disk and a database that cannot be opened are no reason not to start: the records
    /// stay in the spool meanwhile.
    pub fn start(config: &LedgerConfig, metrics: LedgerMetrics, time: Time) -> io::Result<Self> {
        let folder = paths::folder_of(&config.path);
        let made = DirBuilder::new().recursive(true).mode(0o750).create(folder);
        made.map_err(paths::error("ledger.path", folder))?;
        let spool = Spool::open(&config.spool, config.memory, config.sync, metrics.clone());
        let spool = Arc::new(spool.map_err(paths::error("ledger.spool", &config.spool))?);
        let (stop, stopped) = mpsc::sync_channel(0);
        let (ending, ended) = mpsc::sync_channel::<()>(0);
        let (catching_up, caught_up) = mpsc::sync_channel::<()>(0);
        let tended = spool.clone();
        thread::Builder::new().name("ledger-spool".to_owned()).spawn(move || tended.tend())?;
        let worker = Worker {
            time,
            config: config.clone(),
            spool: spool.clone(),
            metrics: metrics.clone(),
            store: None,
            claimed: Vec::new(),
            catching_up: Some(catching_up),
        };
        thread::Builder::new().name("ledger-store".to_owned()).spawn(move || {
            worker.run(&stopped);
            drop(ending);
        })?;
        Ok(Self {
            spool,
            metrics,
            config: config.clone(),
            threads: Mutex::new(Some(Threads { stop, ended })),
            caught_up: Mutex::new(Some(caught_up)),
        })
    }

    /// Books a record. Never fails and never waits for the database. A disk that hangs holds up the one thread that writes to it just
    /// then until it answers, others for a tenth of a second, once.
    /// Allocates nothing.
    pub fn book(&self, record: &Record<'_>) {
        self.metrics.booked.inc();
        let appended = FRAME.try_with(|frame| {
            let mut frame = frame.try_borrow_mut().map_err(|_| io::ErrorKind::ResourceBusy)?;
            frame.clear();
            frame::append(record, &mut frame);
            self.spool.append(&frame);
            Ok::<(), io::Error>(())
        });
        // Fails only on a thread that is ending.
        if !matches!(appended, Ok(Ok(()))) {
            self.metrics.lost.inc();
            error!("a record of usage is lost: its thread is ending");
        }
    }

    /// Gives limits and budgets what requests have used before this process began. Waits for it for `patience` at most;
    /// what is left then is done beside the requests. Does something the first time only. `known` says what a record counts for
    /// whose whole cost was not known, in pico-dollars.
    ///
    /// Blocks its thread: call it before anything is served.
    pub fn restore(
        &self,
        limits: &Arc<Limits>,
        known: impl Fn(&Record<'_>) -> u64 + Send + 'static,
        patience: Duration,
    ) {
        let caught_up = self.caught_up.lock().take();
        if let (Some(caught_up), Some(from)) = (caught_up, limits.restores_from()) {
            restore::start(&self.config.path, limits, Box::new(known), from, caught_up, patience);
        }
    }

    /// The database, for [`ask`].
    pub fn path(&self) -> &Path {
        &self.config.path
    }

    /// Moves everything into the database and ends the threads, in `limit` at most; what is left then is on disk for the next
    /// process, but for what a full disk did not take: that is lost. Says if nothing is left. Records are still taken in afterwards,
    /// and left to the next process.
    ///
    /// Blocks its thread: call it at shutdown.
    pub fn close(&self, limit: Duration) -> bool {
        let Some(threads) = self.threads.lock().take() else { return true };
        let end = Instant::now() + limit;
        self.spool.close(limit);
        let closed = self.spool.wait_closed(limit);
        drop(threads.stop);
        let left = end.saturating_duration_since(Instant::now());
        closed && threads.ended.recv_timeout(left) == Err(RecvTimeoutError::Disconnected)
    }
}

impl Drop for Ledger {
    /// Lets the threads end; does not wait for them (see [`Ledger::close`]).
    fn drop(&mut self) {
        self.spool.close(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests;
