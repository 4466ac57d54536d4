//! The replay session: reading the body first, choosing the upstream later, and taking an attempt back.
//!
//! Stock Pingora 0.9.1 chooses the upstream before it reads the body, forwards a body read earlier only from a 64 KiB
//! buffer, and has no way to withhold an answer. [`install`] puts a session of ours around the real one, in the public
//! field `Session::downstream_session`. It claims the whole body as its retry buffer, withholds what Pingora writes
//! until the answer is committed, lets another attempt go on with the body of an answer that broke off, and runs the clocks
//! of the attempt. A client that leaves can be kept from Pingora, so that the answer is read to its end all the same.
//! [`Replay::restore`] puts the real session back, so that keep-alive survives.
//!
//! | file | subject |
//! |---|---|
//! | `session` | what Pingora sees |
//! | `clocks` | what ends an attempt |
//! | `drain` | reading an answer to its end for a client that has left |
//! | `custom` | what all sessions in a client's place have in common |
//!
//! A later Pingora that sends a body read earlier (its pull request 816) replaces `session`.

pub mod custom;
pub mod drain;

mod clocks;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::plugins::Screener;
use crate::proxy::waiting::ending::Ending;
pub use clocks::Clock;
use custom::vacant;
use drain::{Draining, Drains};
use session::ReplaySession;

/// What the exchange and the installed session share: the body, whether the answer is withheld, and the clocks.
///
/// Only one task touches it at a time; the atomics are there because the session must be `Sync`, not for ordering.
#[derive(Default)]
struct Shared {
    /// The session it stands before, handed back when the wrapper is dropped.
    returned: Mutex<Option<Box<ServerSession>>>,
    /// Whether that has been put back.
    restored: AtomicBool,
    body: Mutex<Option<Bytes>>,
    /// Headers to be set on an answer that was withheld, when it leaves.
    amendments: Mutex<Vec<(HeaderName, HeaderValue)>>,
    holding: AtomicBool,
    /// The answer's end has still to be judged by the filters: an end that comes without a body never reaches them.
    unjudged: AtomicBool,
    /// What is written next is the last of the attempt, and not the end of the answer.
    breaks_off: AtomicBool,
    /// What the client gets is the body of an answer whose header it has.
    goes_on: AtomicBool,
    /// Number of the current attempt: what an earlier one left withheld is thrown away.
    attempt: AtomicU32,
    /// When the next clock runs out, in nanoseconds after `Clocks::origin`; 0 = never.
    deadline: AtomicU64,
    deadline_clock: AtomicU8,
    /// Length of the idle clock while it is the one that runs, in nanoseconds; else 0.
    idle: AtomicU64,
    fired: AtomicU8,
    /// Plugins still had a part of the answer when they were waited for no longer.
    keeps_back: AtomicBool,
    /// When the total clock of the current attempt runs out, in nanoseconds after `Clocks::origin`.
    total_at: AtomicU64,
    /// Where there may be room to read the answer without its client; `None`: it is cancelled.
    drains: Option<Drains>,
    /// Held while the answer is read without its client.
    draining: Mutex<Option<Draining>>,
    /// The client has left, and the answer is read without it.
    gone: AtomicBool,
    /// Bytes swallowed since.
    swallowed: AtomicU64,
}

impl Shared {
    /// The client has left. Whether the answer is to be read to its end all the same, for a limited time.
    fn goes_on_without_client(&self, origin: Instant) -> bool {
        let Some(room) = self.drains.as_ref().and_then(Drains::enter) else { return false };
        *self.draining.lock() = Some(room);
        self.gone.store(true, Ordering::Relaxed);
        let end = nanos(origin.elapsed()).saturating_add(nanos(drain::LONGEST));
        self.total_at.fetch_min(end, Ordering::Relaxed);
        if self.deadline.load(Ordering::Relaxed) > end {
            self.deadline_clock.store(Clock::Total as u8, Ordering::Relaxed);
            self.deadline.store(end, Ordering::Relaxed);
        }
        true
    }

    /// The process leaves.
    fn ends(&self) -> Clock {
        self.fired.store(Clock::Shutdown as u8, Ordering::Relaxed);
        Clock::Shutdown
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Takes what would go to a client that is there. Says whether it was the end.
    fn swallow(&self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            end |= task.is_end();
            match task {
                HttpTask::Failed(error) => return Err(error),
                HttpTask::Body(Some(body), _) => {
                    let before = self.swallowed.fetch_add(body.len() as u64, Ordering::Relaxed);
                    if before + body.len() as u64 > drain::MOST_BYTES as u64 {
                        let error = Error::explain(ErrorType::ConnectionClosed, "too long to be read without a client");
                        return Err(error.into_down());
                    }
                }
                _ => {}
            }
        }
        Ok(end)
    }
}

/// The exchange's handle on its installed session.
pub struct Replay {
    shared: Arc<Shared>,
    origin: Instant,
}

/// Puts the replay session in the place of `session`'s real one.
///
/// `body` is the whole request body as read and decoded. `drains`: where the answer may be read without its client, if it may.
/// `screener`: what everything that is written goes through, if anything. `ending`: when the process is about to leave.
pub fn install(
    session: &mut Session,
    body: Bytes,
    drains: Option<Drains>,
    screener: Option<Box<Screener>>,
    ending: &Ending,
) -> Replay {
    let origin = Instant::now();
    let shared = Arc::new(Shared { body: Mutex::new(Some(body)), drains, ..Shared::default() });
    let inner = std::mem::replace(&mut *session.downstream_session, vacant());
    *session.downstream_session =
        ServerSession::new_custom(Box::new(ReplaySession::new(inner, shared.clone(), origin, screener, ending)));
    Replay { shared, origin }
}

impl Replay {
    /// Begins an attempt, which is to end after `total`.
    pub fn begin_attempt(&self, total: Duration) {
        self.shared.total_at.store(nanos(self.origin.elapsed()).saturating_add(nanos(total)), Ordering::Relaxed);
        self.shared.attempt.fetch_add(1, Ordering::Relaxed);
        self.shared.fired.store(0, Ordering::Relaxed);
        self.shared.holding.store(false, Ordering::Relaxed);
        self.shared.unjudged.store(false, Ordering::Relaxed);
        self.shared.breaks_off.store(false, Ordering::Relaxed);
        self.shared.amendments.lock().clear();
        self.arm_total();
    }

    /// From now on the first output is waited for, until `limit`.
    pub fn expect_output(&self, limit: Duration) {
        self.arm(Clock::FirstToken, limit);
    }

    /// Withholds everything that Pingora writes from now on, until [`Self::commit`] or the next attempt.
    pub fn hold(&self) {
        self.shared.holding.store(true, Ordering::Relaxed);
    }

    /// Lets the answer go: what is withheld leaves with the next write, and the request body is no longer needed.
    pub fn commit(&self) {
        self.shared.holding.store(false, Ordering::Relaxed);
        // Without a body Pingora would not ask for that of an attempt which goes on.
        *self.shared.body.lock() = Some(Bytes::new());
    }

    /// Ends the attempt, but not the answer, behind what is written next: Pingora gets an error.
    pub fn break_off(&self) {
        self.shared.breaks_off.store(true, Ordering::Relaxed);
    }

    /// What comes from now on goes on with the answer that the client has the beginning of.
    pub fn go_on(&self) {
        self.shared.goes_on.store(true, Ordering::Relaxed);
    }

    /// Sets headers on an answer that is still withheld. `content-length` takes the place of chunks.
    pub fn amend(&self, headers: Vec<(HeaderName, HeaderValue)>) {
        *self.shared.amendments.lock() = headers;
    }

    /// Says that the end of the answer has (not) passed the filters that judge it.
    pub fn set_unjudged(&self, unjudged: bool) {
        self.shared.unjudged.store(unjudged, Ordering::Relaxed);
    }

    /// Stops the clocks until the next attempt.
    pub fn rest(&self) {
        self.shared.idle.store(0, Ordering::Relaxed);
        self.shared.deadline.store(0, Ordering::Relaxed);
    }

    /// Starts the idle clock anew: something arrived.
    pub fn saw_progress(&self, idle: Duration) {
        self.arm(Clock::Idle, idle);
        self.shared.idle.store(nanos(idle), Ordering::Relaxed);
    }

    /// The clock that ended the current attempt, if one did.
    pub fn fired(&self) -> Option<Clock> {
        Clock::from_u8(self.shared.fired.load(Ordering::Relaxed))
    }

    /// Whether plugins still had a part of the answer when the client, or the process, left.
    pub fn keeps_back(&self) -> bool {
        self.shared.keeps_back.load(Ordering::Relaxed)
    }

    /// Whether the client has left and the answer is read without it.
    pub fn drains(&self) -> bool {
        self.shared.is_gone()
    }

    /// Puts the real session back. Does nothing when it is back already.
    pub fn restore(&self, session: &mut Session) {
        if self.shared.restored.swap(true, Ordering::Relaxed) {
            return;
        }
        drop(std::mem::replace(&mut *session.downstream_session, vacant()));
        if let Some(inner) = self.shared.returned.lock().take() {
            session.downstream_session = inner;
        }
    }

    fn arm(&self, clock: Clock, limit: Duration) {
        let at = nanos(self.origin.elapsed()).saturating_add(nanos(limit));
        self.shared.idle.store(0, Ordering::Relaxed);
        if at < self.shared.total_at.load(Ordering::Relaxed) {
            self.shared.deadline_clock.store(clock as u8, Ordering::Relaxed);
            self.shared.deadline.store(at, Ordering::Relaxed);
        } else {
            self.arm_total();
        }
    }

    fn arm_total(&self) {
        self.shared.deadline_clock.store(Clock::Total as u8, Ordering::Relaxed);
        self.shared.deadline.store(self.shared.total_at.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
