//! The spool: records are on their way to the database here, in files that survive the process.
//!
//! A request thread writes its own record, with one `write(2)` into the page cache (about a microsecond), before it goes on:
//! what was booked survives `kill -9`. Threads that come at the same time leave their records to the one that is writing and
//! wait for it. Where the disk refuses a record, hangs for a tenth of a second, or is slow several times on end, the spool
//! falls *behind*: from then on requests only queue in memory, and the spool's own thread ([`Spool::tend`]) writes until it
//! has caught up. That thread also syncs the file, which bounds what a power loss costs.

mod backlog;
mod run;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use log::{error, warn};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::metrics::LedgerMetrics;
use backlog::Backlog;
pub use run::{Run, put_aside};

/// How long a disk that hangs may hold a request up that is not the one that writes to it.
const PATIENCE: Duration = Duration::from_millis(100);
/// A write that takes longer is slow: on a sound disk it is a copy into memory.
const SLOW: Duration = Duration::from_millis(2);
/// So many slow writes on end are the disk; one alone may be a busy processor.
const SLOW_WRITES: u32 = 8;
/// Between two tries to write to a disk that refused.
const RETRY: Duration = Duration::from_millis(100);
/// A segment of this size is closed even if the database takes none.
const MAX_SEGMENT: u64 = 8 << 20;

/// Files to append records to; see the module's description.
#[derive(Debug)]
pub struct Spool {
    state: Mutex<State>,
    /// There is something for the spool's thread: bytes to sync, the spool fell behind, more came while it was, the end. And the
    /// end is told to who waits for it.
    changed: Condvar,
    /// A write ended, or the spool fell behind. Told only if somebody waits: it costs a system call.
    written: Condvar,
    run: Run,
    sync_every: Duration,
    metrics: LedgerMetrics,
}

#[derive(Debug)]
struct State {
    backlog: Backlog,
    /// Records ever taken in; those of them that are in a file, or lost.
    booked: u64,
    settled: u64,
    /// Since when somebody writes, without holding the lock.
    writing: Option<Instant>,
    /// Threads that wait for its end.
    waiting: usize,
    /// Slow writes on end.
    slow: u32,
    /// Requests do not write themselves.
    behind: bool,
    /// The disk refused the last try.
    failing: bool,
    /// What is written to; `None` until one could be made.
    segment: Option<Segment>,
    /// Full segments, for the database.
    closed: Vec<Closed>,
    next_number: u64,
    /// It closes; a disk that takes nothing has until then to take what waits.
    closing: Option<Instant>,
    finished: bool,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: Arc<File>,
    /// Bytes of whole frames in it.
    length: u64,
    synced: u64,
}

impl Segment {
    fn is_synced(&self) -> bool {
        self.synced == self.length
    }
}

/// A segment that nothing is written to any more.
#[derive(Clone, Debug)]
pub struct Closed {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub length: u64,
}

type Guard<'a> = MutexGuard<'a, State>;

impl Spool {
    /// A spool with a folder of its own below `root`. At most `memory` bytes of records wait while the disk takes none, and
    /// the file is synced every `sync_every` while it changes.
    ///
    /// # Errors
    /// The folder cannot be used. A disk that is full is no error as long as the folder can be made.
    pub fn open(root: &Path, memory: usize, sync_every: Duration, metrics: LedgerMetrics) -> io::Result<Self> {
        let spool = Self {
            state: Mutex::new(State {
                backlog: Backlog::new(memory),
                booked: 0,
                settled: 0,
                writing: None,
                waiting: 0,
                slow: 0,
                behind: false,
                failing: false,
                segment: None,
                closed: Vec::new(),
                next_number: 1,
                closing: None,
                finished: false,
            }),
            changed: Condvar::new(),
            written: Condvar::new(),
            run: Run::create(root)?,
            sync_every,
            metrics,
        };
        if let Err(error) = spool.rotate() {
            spool.fall_behind(&mut spool.state.lock(), &error);
        }
        Ok(spool)
    }

    /// Takes a record in. Returns when it is in a file; at once while the spool is behind.
    pub fn append(&self, frame: &[u8]) {
        let mut state = self.state.lock();
        let lost = state.backlog.push(frame);
        state.booked += 1;
        let mine = state.booked;
        if lost > 0 {
            state.settled += lost;
            self.metrics.lost.inc_by(lost);
        }
        if state.behind {
            self.metrics.waiting.set(waiting(&state.backlog));
            self.changed.notify_all();
            return;
        }
        while state.settled < mine && !state.behind {
            let Some(since) = state.writing else {
                state = self.write(state).0;
                continue;
            };
            let left = PATIENCE.saturating_sub(since.elapsed());
            if left.is_zero() {
                state.behind = true;
                self.changed.notify_all();
                self.written.notify_all();
                return;
            }
            state.waiting += 1;
            self.written.wait_for(&mut state, left);
            state.waiting -= 1;
        }
    }

    /// Writes the oldest waiting records; nobody else must be writing. Says whether the disk was quick.
    fn write<'a>(&'a self, mut state: Guard<'a>) -> (Guard<'a>, io::Result<bool>) {
        let Some((file, offset)) = state.segment.as_ref().map(|segment| (segment.file.clone(), segment.length)) else {
            state.behind = true;
            return (state, Err(io::ErrorKind::StorageFull.into()));
        };
        let Some(batch) = state.backlog.take() else { return (state, Ok(true)) };
        let began = Instant::now();
        state.writing = Some(began);
        drop(state);
        let (written, result) = write_at(&file, &batch.bytes, offset);
        let took = began.elapsed();

        let mut state = self.state.lock();
        state.writing = None;
        let (length, records) = match &result {
            Ok(()) => {
                let all = (written, batch.records);
                state.backlog.recycle(batch);
                all
            }
            Err(_) => state.backlog.put_back(batch, written),
        };
        state.settled += records;
        let mut first = false;
        if let Some(segment) = &mut state.segment {
            first = segment.is_synced();
            segment.length += length as u64;
        }
        let quick = took < SLOW;
        state.slow = if quick { 0 } else { state.slow.saturating_add(1) };
        state.behind |= took >= PATIENCE || state.slow >= SLOW_WRITES;
        if let Err(error) = &result {
            self.fall_behind(&mut state, error);
        }
        self.metrics.waiting.set(waiting(&state.backlog));
        if first || state.behind {
            self.changed.notify_all();
        }
        if state.waiting > 0 {
            self.written.notify_all();
        }
        (state, result.map(|()| quick))
    }

    fn fall_behind(&self, state: &mut State, error: &io::Error) {
        self.metrics.write_errors.inc();
        if !state.failing {
            error!("the ledger's spool cannot be written, records wait in memory: {error}");
        }
        (state.behind, state.failing) = (true, true);
    }

    /// The life of the spool's thread: writes while the spool is behind, syncs, closes segments that are full. Ends after
    /// [`Spool::close`].
    pub fn tend(&self) {
        let mut last_sync = Instant::now();
        loop {
            let idle = |state: &mut State| state.closing.is_none() && (!state.behind || state.backlog.is_empty());
            let synced = |state: &mut State| idle(state) && state.segment.as_ref().is_some_and(Segment::is_synced);
            let mut state = self.state.lock();
            self.changed.wait_while(&mut state, synced);
            self.changed.wait_while_for(&mut state, idle, self.sync_every);
            let closing = state.closing;
            if state.behind || (closing.is_some() && !state.backlog.is_empty()) {
                state = self.catch_up(state);
            }
            let full = state.segment.as_ref().is_none_or(|segment| segment.length >= MAX_SEGMENT);
            drop(state);
            if last_sync.elapsed() >= self.sync_every || closing.is_some() {
                self.sync();
                last_sync = Instant::now();
            }
            if full && let Err(error) = self.rotate() {
                self.fall_behind(&mut self.state.lock(), &error);
                thread::sleep(RETRY);
            }
            if let Some(until) = closing {
                let mut state = self.state.lock();
                if !state.backlog.is_empty() {
                    if Instant::now() < until {
                        continue;
                    }
                    let lost = state.backlog.records();
                    self.metrics.lost.inc_by(lost);
                    error!("{lost} records of usage are lost: the ledger's spool cannot be written");
                }
                state.finished = true;
                self.changed.notify_all();
                return;
            }
        }
    }

    /// Writes what waits. Gives the writing back to the requests once nothing does and the disk is quick.
    fn catch_up<'a>(&'a self, state: Guard<'a>) -> Guard<'a> {
        let mut state = self.wait_written(state);
        loop {
            let result;
            (state, result) = self.write(state);
            match result {
                Ok(quick) if state.backlog.is_empty() => {
                    state.behind = !quick;
                    if std::mem::take(&mut state.failing) {
                        warn!("the ledger's spool can be written again, all waiting records are");
                    }
                    return state;
                }
                Ok(_) => {}
                Err(_) if state.segment.is_none() => return state,
                Err(_) => {
                    drop(state);
                    thread::sleep(RETRY);
                    return self.state.lock();
                }
            }
        }
    }

    /// Waits until nobody writes.
    fn wait_written<'a>(&self, mut state: Guard<'a>) -> Guard<'a> {
        let busy = |state: &mut State| state.writing.is_some();
        state.waiting += 1;
        self.written.wait_while(&mut state, busy);
        state.waiting -= 1;
        state
    }

    /// Makes what was written survive a power loss, too.
    fn sync(&self) {
        let Some((file, length)) = self
            .state
            .lock()
            .segment
            .as_ref()
            .filter(|segment| !segment.is_synced())
            .map(|segment| (segment.file.clone(), segment.length))
        else {
            return;
        };
        match file.sync_data() {
            Ok(()) => {
                if let Some(segment) = self.state.lock().segment.as_mut().filter(|now| Arc::ptr_eq(&now.file, &file)) {
                    segment.synced = length;
                }
            }
            Err(error) => {
                self.metrics.write_errors.inc();
                warn!("the ledger's spool cannot be synced: {error}");
            }
        }
    }

    /// Begins a new segment, and closes the one before if it holds anything.
    ///
    /// # Errors
    /// No file can be made; the old segment goes on.
    pub fn rotate(&self) -> io::Result<()> {
        let number = {
            let mut state = self.state.lock();
            if state.segment.as_ref().is_some_and(|segment| segment.length == 0) {
                return Ok(());
            }
            state.next_number += 1;
            state.next_number - 1
        };
        let (path, file) = self.run.create_segment(number)?;
        let new = Segment { path, file: Arc::new(file), length: 0, synced: 0 };
        let mut state = self.wait_written(self.state.lock());
        let Some(old) = state.segment.replace(new) else { return Ok(()) };
        state.closed.push(Closed { path: old.path, length: old.length });
        drop(state);
        old.file.sync_data()
    }

    /// Segments that nothing is written to any more, in order.
    pub fn closed(&self) -> Vec<Closed> {
        self.state.lock().closed.clone()
    }

    /// Forgets a closed segment whose records are in the database. The caller has removed the file.
    pub fn forget(&self, path: &Path) {
        self.state.lock().closed.retain(|closed| closed.path != path);
    }

    /// Bytes in all segments.
    pub fn bytes(&self) -> u64 {
        let state = self.state.lock();
        let closed: u64 = state.closed.iter().map(|closed| closed.length).sum();
        closed + state.segment.as_ref().map_or(0, |segment| segment.length)
    }

    /// Waits until it is closed, or for `limit`. Says if it is closed and the spool's thread is done.
    pub fn wait_closed(&self, limit: Duration) -> bool {
        let open = |state: &mut State| !state.finished;
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, open, limit);
        state.finished
    }

    /// Tells the spool's thread to write and sync what there is, and to end; a disk that takes nothing is tried for `patience`,
    /// and what waits then is lost. Records are still taken in afterwards.
    pub fn close(&self, patience: Duration) {
        self.state.lock().closing = Some(Instant::now() + patience);
        self.changed.notify_all();
    }
}

fn waiting(backlog: &Backlog) -> i64 {
    i64::try_from(backlog.records()).unwrap_or(i64::MAX)
}

/// Writes all of `bytes`; also says how many were.
fn write_at(file: &File, bytes: &[u8], offset: u64) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write_at(rest, offset + written as u64) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests;
