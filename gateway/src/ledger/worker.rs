//! The thread that moves segments into the database and deletes what is too old.

use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, SystemTime};

use log::{error, warn};

use super::metrics::LedgerMetrics;
use super::record::micros;
use super::spool::{Run, Spool, put_aside};
use super::store::{Store, StoreError};
use crate::clock::Time;
use crate::config::LedgerConfig;

/// Between two moves: how old the database's knowledge may be.
const MOVE_EVERY: Duration = Duration::from_secs(1);
/// Moves between two looks for segments of processes that have died.
const CLAIM_EVERY: u32 = 30;
/// Records deleted at once, and pieces of them in one go.
const PRUNE: (u32, u32) = (2_000, 10);
/// Seconds in which a closing spool must be done.
const CLOSING: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum MoveError {
    #[error("its spool: {0}")]
    Spool(#[from] io::Error),
    #[error("its database: {0}")]
    Store(#[from] StoreError),
}

/// The thread's state.
pub struct Worker {
    pub time: Time,
    pub config: LedgerConfig,
    pub spool: Arc<Spool>,
    pub metrics: LedgerMetrics,
    /// Opened when it first works out: a full disk must not keep the gateway from starting.
    pub store: Option<Store>,
    /// Folders of processes that have died.
    pub claimed: Vec<Run>,
    /// Dropped when what such processes left is in the database.
    pub catching_up: Option<SyncSender<()>>,
}

impl Worker {
    /// The thread's life; it ends when the other side of `stop` is dropped, after a last move.
    pub fn run(mut self, stop: &Receiver<()>) {
        let mut failing = false;
        for turn in 0_u32.. {
            let stopping = turn > 0 && stop.recv_timeout(MOVE_EVERY) != Err(RecvTimeoutError::Timeout);
            if stopping {
                self.spool.wait_closed(CLOSING);
            }
            // Until what the dead left is in the database, budgets wait for it.
            match self.turn(turn.is_multiple_of(CLAIM_EVERY) || self.catching_up.is_some()) {
                Ok(()) => {
                    self.catching_up = None;
                    if failing {
                        warn!("the ledger's database takes records again");
                    }
                    failing = false;
                    self.metrics.last_commit.set(micros(SystemTime::now()) / 1_000_000);
                }
                Err(error) => {
                    self.metrics.write_errors.inc();
                    if !failing {
                        error!("the ledger keeps its records in the spool for now: {error}");
                    }
                    failing = true;
                    // What is there may be read all the same.
                    self.catching_up.take_if(|_| matches!(error, MoveError::Store(StoreError::Later)));
                }
            }
            self.metrics.spooled_bytes.set(i64::try_from(self.spool.bytes()).unwrap_or(i64::MAX));
            if stopping {
                return;
            }
        }
    }

    fn turn(&mut self, claim: bool) -> Result<(), MoveError> {
        let path = &self.config.path;
        if self.store.take_if(|store| !store.is_at(path)).is_some() {
            self.metrics.write_errors.inc();
            error!("{} is not the file that it was: the ledger goes on with what is there now", path.display());
        }
        let mut store = match self.store.take() {
            Some(store) => store,
            None => Store::open(path)?,
        };
        let done = self.move_all(&mut store, claim);
        self.store = Some(store);
        done
    }

    fn move_all(&mut self, store: &mut Store, claim: bool) -> Result<(), MoveError> {
        if claim {
            self.claimed.extend(Run::claim_dead(&self.config.spool)?);
        }
        // One folder that cannot be read keeps neither the others nor the process's own records from the database.
        let claimed = mem::take(&mut self.claimed);
        let mut failed = Ok(());
        for run in claimed {
            if let Err(error) = move_run(store, &run, &self.metrics) {
                self.claimed.push(run);
                failed = Err(error);
            } else {
                run.remove()?;
            }
        }
        // A spool that cannot go on with a new file keeps the old one.
        let rotated = self.spool.rotate();
        for closed in self.spool.closed() {
            take_in(store, &closed.path, &self.metrics)?;
            self.spool.forget(&closed.path);
        }
        rotated?;
        if let Some(retention) = self.config.retention
            && let Some(before) = self.time.now().checked_sub(retention)
        {
            for _ in 0..PRUNE.1 {
                if store.prune(micros(before), PRUNE.0)? < PRUNE.0 as usize {
                    break;
                }
            }
        }
        failed
    }
}

/// Moves what a process that has died left behind.
fn move_run(store: &mut Store, run: &Run, metrics: &LedgerMetrics) -> Result<(), MoveError> {
    run.segments()?.iter().try_for_each(|path| take_in(store, path, metrics))
}

/// Moves a segment into the database. Stopped between its two steps, it does the first one again, which changes nothing.
fn take_in(store: &mut Store, path: &Path, metrics: &LedgerMetrics) -> Result<(), MoveError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let taken = if bytes.is_empty() { super::store::TakenIn::default() } else { store.take_in(&bytes)? };
    metrics.stored.inc_by(taken.stored);
    if taken.damaged > 0 {
        metrics.damaged.inc_by(taken.damaged);
        let aside: PathBuf = put_aside(path)?;
        error!("{} damaged pieces in a segment of the ledger: it is kept as {}", taken.damaged, aside.display());
        return Ok(());
    }
    Ok(fs::remove_file(path)?)
}
