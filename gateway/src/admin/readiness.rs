//! Should a load balancer send requests here.

use std::sync::atomic::{AtomicU8, Ordering};

use super::limits;
use crate::ledger::LedgerMetrics;
use crate::limits::Limits;

/// What `/health/ready` says while the ledger cannot write.
const WAITING: &str = "records of usage wait in memory: the ledger's disk is full or slow";

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its listeners are not open yet.
    Starting,
    /// It serves.
    Ready,
    /// It finishes what it has and takes nothing new: a shutdown or an upgrade began.
    Draining,
}

impl State {
    /// The word in `/health/ready`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }

    /// Why it is not ready, for people; empty if it is.
    pub const fn reasons(self) -> &'static [&'static str] {
        match self {
            Self::Starting => &["the listeners are not open yet"],
            Self::Ready => &[],
            Self::Draining => &["a shutdown or an upgrade began; running requests are finished, new ones go elsewhere"],
        }
    }
}

/// Why the process is not ready, and what else a person should know of it then: what is no reason to go elsewhere, as all
/// instances share the store, and none is told to wait for a disk.
pub fn reasons(state: State, limits: &Limits, ledger: &LedgerMetrics) -> Vec<&'static str> {
    let alone = limits.store().is_some_and(|store| !store.up).then_some(limits::ALONE);
    let restoring = limits.is_restoring().then_some(limits::RESTORING);
    let anew = limits.began_anew().then_some(limits::BEGAN_ANEW);
    let waiting = (ledger.waiting.get() > 0).then_some(WAITING);
    state.reasons().iter().copied().chain(alone).chain(restoring).chain(anew).chain(waiting).collect()
}

/// The state as shared between the server and its admin listener. Begins with [`State::Starting`].
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// The listeners are open. Does nothing if draining began before.
    pub fn set_ready(&self) {
        _ = self.0.compare_exchange(STARTING, READY, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// A shutdown or an upgrade began. There is no way back.
    pub fn set_draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    /// The state now.
    pub fn state(&self) -> State {
        match self.0.load(Ordering::Acquire) {
            STARTING => State::Starting,
            READY => State::Ready,
            _ => State::Draining,
        }
    }
}
