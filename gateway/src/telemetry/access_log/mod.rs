//! The access log's way out: request threads append lines to a shared buffer, one thread of its own writes them to where the
//! configuration says (`out`).

mod out;

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use log::warn;
use parking_lot::{Condvar, Mutex, MutexGuard};
use prometheus_client::metrics::counter::Counter;

use super::line::Line;
use crate::config::{AccessLogConfig, LogTo};
use out::Out;

/// Bytes that may wait for a slow reader; lines past it are dropped and counted.
const MAX_WAITING: usize = 8 << 20;
/// Between two writes, so that busy times write large pieces and wake the writer seldom.
const PAUSE: Duration = Duration::from_millis(10);
/// Every successful request, in ten thousand …
const ALL: u32 = 10_000;
/// … and no request at all.
const OFF: u32 = u32::MAX;
/// Buffers that a burst made larger than this are given back.
const KEEP_CAPACITY: usize = 256 << 10;

/// One JSON line per request. Writing one never waits for the reader of the log, and never fails.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    /// Which part of the successes is logged, in ten thousand, or [`OFF`].
    sample: AtomicU32,
    /// A file is to be opened anew.
    reopen: Arc<AtomicBool>,
}

/// Where lines are to go, and which.
pub struct Opened {
    out: Out,
    sample: u32,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The writer waits here for lines, for the end of its pause, or for an order to hurry.
    writer: Condvar,
    /// [`AccessLog::flush`] waits here.
    flushed: Condvar,
    dropped: Counter,
}

struct State {
    /// Whole lines that nobody has taken yet.
    waiting: Vec<u8>,
    /// Bytes taken in and bytes done with, ever.
    accepted: u64,
    done: u64,
    writer: Writer,
    /// Where the writer goes on, after so many bytes of what is waiting.
    next: Option<(usize, Out)>,
    /// The writer should not pause.
    hurry: bool,
    /// No more lines will come.
    closed: bool,
}

enum Writer {
    /// Started with the first line and not earlier: threads do not survive the fork of a daemon.
    NotStarted(Out),
    /// Waiting for a first line.
    Idle,
    /// Writing or pausing; it will look again by itself.
    Busy,
}

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl AccessLog {
    /// A log on standard output. `dropped` counts the lines that were lost.
    pub fn stdout(dropped: Counter) -> Self {
        let reopen = Arc::new(AtomicBool::new(false));
        let out = out::open(&LogTo::Stdout, &reopen).unwrap_or_else(|_| Box::new(io::stdout()));
        let mut log = Self::new(out, dropped);
        log.reopen = reopen;
        log
    }

    /// A log on anything. `out` is used by one thread; it may block or fail as it likes.
    pub fn new(out: impl Write + Send + 'static, dropped: Counter) -> Self {
        let state = State {
            waiting: Vec::new(),
            accepted: 0,
            done: 0,
            writer: Writer::NotStarted(Box::new(out)),
            next: None,
            hurry: false,
            closed: false,
        };
        let shared = Shared { state: Mutex::new(state), writer: Condvar::new(), flushed: Condvar::new(), dropped };
        Self { shared: Arc::new(shared), sample: AtomicU32::new(ALL), reopen: Arc::default() }
    }

    /// Whether [`Self::open`] would do it; nothing is made for that.
    ///
    /// # Errors
    /// It cannot go there.
    pub fn check(config: &AccessLogConfig) -> io::Result<()> {
        out::check(&config.to)
    }

    /// Opens what `config` names, for [`Self::go_on_with`]. A file is opened anew even if it is the one that is written to.
    ///
    /// # Errors
    /// It cannot go there.
    pub fn open(&self, config: &AccessLogConfig) -> io::Result<Opened> {
        let sample = if config.to == LogTo::Off { OFF } else { config.sample };
        Ok(Opened { out: out::open(&config.to, &self.reopen)?, sample })
    }

    /// From now on lines go there; those logged before go where they were to go.
    pub fn go_on_with(&self, Opened { out, sample }: Opened) {
        let mut state = self.shared.state.lock();
        match &mut state.writer {
            Writer::NotStarted(first) => *first = out,
            Writer::Idle | Writer::Busy => {
                let before = state.next.as_ref().map_or(state.waiting.len(), |(before, _)| *before);
                state.next = Some((before, out));
            }
        }
        drop(state);
        self.sample.store(sample, Relaxed);
    }

    /// A file is opened anew before its next line: it was rotated.
    pub fn reopen(&self) {
        self.reopen.store(true, Relaxed);
    }

    fn wants(&self, line: &Line<'_>) -> bool {
        match self.sample.load(Relaxed) {
            ALL => true,
            OFF => false,
            sample => line.is_of_failure() || fastrand::u32(..ALL) < sample,
        }
    }

    /// Logs a request.
    pub fn write(&self, line: &Line<'_>) {
        if !self.wants(line) {
            return;
        }
        let pushed = LINE.try_with(|buffer| {
            let mut buffer = buffer.try_borrow_mut().ok()?;
            buffer.clear();
            line.append_to(&mut buffer);
            self.push(&buffer);
            Some(())
        });
        // Fails only on a thread that is ending.
        if !matches!(pushed, Ok(Some(()))) {
            self.shared.dropped.inc();
        }
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.shared.state.lock();
        if state.waiting.len() + line.len() > MAX_WAITING {
            drop(state);
            self.shared.dropped.inc();
            return;
        }
        state.waiting.extend_from_slice(line);
        state.accepted += line.len() as u64;
        match std::mem::replace(&mut state.writer, Writer::Busy) {
            Writer::Busy => {}
            Writer::Idle => {
                drop(state);
                self.shared.writer.notify_one();
            }
            Writer::NotStarted(out) => {
                drop(state);
                let shared = self.shared.clone();
                let started = thread::Builder::new().name("access-log".to_owned()).spawn(move || shared.run(out));
                if let Err(error) = started {
                    warn!("the access log has no thread to write it, its lines are dropped: {error}");
                }
            }
        }
    }

    /// Waits until every line logged before is written or given up, at most `limit`. Says if it was in time.
    ///
    /// Blocks its thread: call it at shutdown.
    pub fn flush(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.shared.state.lock();
        let goal = state.accepted;
        while state.done < goal {
            state.hurry = true;
            self.shared.writer.notify_one();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.shared.flushed.wait_for(&mut state, left);
        }
        true
    }
}

impl Drop for AccessLog {
    /// Lets the writer end once it has written what is there; does not wait for it (see [`AccessLog::flush`]).
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        drop(state);
        self.shared.writer.notify_one();
    }
}

impl Shared {
    /// The writer's life.
    fn run(&self, mut out: Out) {
        let mut batch = Vec::new();
        let mut failing = false;
        // A line was written in part, and what came next was dropped.
        let mut torn = false;
        while let Some((more, next)) = self.next_batch(batch) {
            batch = more;
            if let Some(next) = next {
                (out, failing, torn) = (next, false, false);
            }
            if torn {
                torn = self.write_all(&mut out, b"\n").is_err();
            }
            match self.write_all(&mut out, &batch) {
                Ok(()) => failing = false,
                Err((error, rest)) => {
                    let written = batch.get(..batch.len() - rest.len()).and_then(<[u8]>::last);
                    torn |= written.is_some_and(|last| *last != b'\n');
                    self.dropped.inc_by(memchr::memchr_iter(b'\n', rest).count() as u64);
                    if !failing {
                        warn!("the access log cannot be written, its lines are dropped: {error}");
                    }
                    failing = true;
                }
            }
            self.written(batch.len());
            batch.clear();
            if batch.capacity() > KEEP_CAPACITY {
                batch = Vec::new();
            }
        }
    }

    /// Takes what is waiting, leaving `empty` in its place, and where it is to go if not where the last went; waits for a first
    /// line. `None` at the end.
    fn next_batch(&self, empty: Vec<u8>) -> Option<(Vec<u8>, Option<Out>)> {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            state.writer = Writer::Idle;
            self.writer.wait(&mut state);
        }
        state.writer = Writer::Busy;
        if let Some((before, _)) = &mut state.next
            && *before > 0
        {
            let before = std::mem::take(before).min(state.waiting.len());
            let rest = state.waiting.split_off(before);
            return Some((std::mem::replace(&mut state.waiting, rest), None));
        }
        Some((std::mem::replace(&mut state.waiting, empty), state.next.take().map(|(_, out)| out)))
    }

    fn written(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.done += bytes as u64;
        self.flushed.notify_all();
        self.pause(state);
    }

    /// Waits a moment, unless somebody is in a hurry.
    fn pause(&self, mut state: MutexGuard<'_, State>) {
        let on = |state: &mut State| !state.hurry && !state.closed;
        self.writer.wait_while_for(&mut state, on, PAUSE);
        state.hurry = false;
    }

    /// Writes all, waiting while the reader is slow; on failure also says what was not written.
    fn write_all<'b>(&self, out: &mut dyn Write, batch: &'b [u8]) -> Result<(), (io::Error, &'b [u8])> {
        let mut rest = batch;
        while !rest.is_empty() {
            match out.write(rest) {
                Ok(0) => return Err((io::ErrorKind::WriteZero.into(), rest)),
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Standard output can be a pipe that somebody else made non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
                Err(error) => return Err((error, rest)),
            }
        }
        out.flush().or_else(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
            _ => Err((error, rest)),
        })
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
