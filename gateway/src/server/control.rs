//! The running process as its operators command it, by signals, the admin API and the command line.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use log::{error, info};
use tokio::sync::watch;

use super::leave::Leaving;
use super::notify;
use super::serve::Open;
use super::upgrade::{Identity, Predecessor, Successor, UpgradeError, Upgrader};
use crate::admin::Readiness;
use crate::proxy::Gateway;

/// How long what is written in the background may take, at the end.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an upgrade may take that nobody waits for.
pub const UPGRADE_LIMIT: Duration = Duration::from_secs(30);

/// A process that another one follows on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// Who serves now.
    pub who: Identity,
    /// How long it took.
    pub took: Duration,
}

/// Commands for the running process, and what is known of it. One for the process.
pub struct Control {
    gateway: Gateway,
    readiness: Arc<Readiness>,
    open: Open,
    leaving: watch::Sender<Option<Leaving>>,
    /// Told when the admin listener has to close: another process has it.
    handed_over: watch::Sender<bool>,
    /// Only one change at a time.
    changing: Mutex<()>,
    upgrader: Upgrader,
    predecessor: Option<Predecessor>,
    successor: OnceLock<Successor>,
    started: (SystemTime, Instant),
}

impl Control {
    /// The commands of a process that serves `gateway`.
    pub fn new(gateway: Gateway, upgrader: Upgrader, predecessor: Option<Predecessor>) -> Self {
        Self {
            gateway,
            readiness: Arc::default(),
            open: Open::default(),
            leaving: watch::Sender::new(None),
            handed_over: watch::Sender::new(false),
            changing: Mutex::default(),
            upgrader,
            predecessor,
            successor: OnceLock::new(),
            started: (SystemTime::now(), Instant::now()),
        }
    }

    /// Where the process is in its life.
    pub fn readiness(&self) -> &Arc<Readiness> {
        &self.readiness
    }

    /// Counts what the listeners serve.
    pub fn open(&self) -> &Open {
        &self.open
    }

    /// Whether and why the process leaves.
    pub fn leaving(&self) -> watch::Receiver<Option<Leaving>> {
        self.leaving.subscribe()
    }

    /// Turns true when another process has the listeners.
    pub fn handed_over(&self) -> watch::Receiver<bool> {
        self.handed_over.subscribe()
    }

    /// Since when the process runs.
    pub fn started(&self) -> (SystemTime, Instant) {
        self.started
    }

    /// The process serves from now on.
    pub(super) fn serve(&self) {
        self.readiness.set_ready();
        if let Some(predecessor) = &self.predecessor {
            match predecessor.tell_ready() {
                Ok(()) => info!("took over from process {}", predecessor.who.pid),
                Err(error) => error!("process {} does not listen: {error}", predecessor.who.pid),
            }
        }
        notify::ready("serving");
    }

    /// The process takes nothing new.
    pub(super) fn leave(&self, why: Leaving) {
        self.readiness.set_draining();
        self.leaving.send_if_modified(|leaving| {
            let first = leaving.is_none();
            leaving.get_or_insert(why);
            first
        });
        if why == Leaving::Terminated {
            notify::stopping("finishing what is in flight");
        }
    }

    /// Starts this program anew and lets the new process take over. Returns when that one serves, or why it does not. Blocks.
    ///
    /// # Errors
    /// Nobody took over, and this process serves on.
    pub fn upgrade(&self, limit: Duration) -> Result<Upgraded, UpgradeError> {
        let Ok(_changing) = self.changing.try_lock() else { return Err(UpgradeError::Busy) };
        if self.leaving.borrow().is_some() {
            return Err(UpgradeError::Leaving);
        }
        let began = Instant::now();
        info!("an upgrade begins");
        let successor = self.upgrader.upgrade(limit, |_channel| {
            if self.leaving.borrow().is_some() { Err(UpgradeError::Leaving) } else { Ok(()) }
        })?;
        let upgraded = Upgraded { who: successor.who.clone(), took: began.elapsed() };
        if self.leaving.borrow().is_some() {
            successor.terminate();
            return Err(UpgradeError::Leaving);
        }
        info!("process {} (version {}) serves from now on", upgraded.who.pid, upgraded.who.version);
        // There is no other: only one change at a time, and none after this.
        _ = self.successor.set(successor);
        self.leave(Leaving::Upgraded);
        self.handed_over.send_replace(true);
        self.upgrader.let_go();
        Ok(upgraded)
    }

    /// Upgrades on a thread of its own; the log tells how it went.
    pub(super) fn upgrade_unasked(self: &Arc<Self>) {
        let control = self.clone();
        let run = move || match control.upgrade(UPGRADE_LIMIT) {
            Ok(_) => {}
            Err(error) => error!("there was no upgrade: {error}"),
        };
        if let Err(error) = std::thread::Builder::new().name("upgrade".to_owned()).spawn(run) {
            error!("there was no upgrade: {error}");
        }
    }

    /// How long streams may go on.
    pub(super) fn drain(&self) -> Duration {
        Duration::from_secs(600)
    }

    pub(super) fn shutdown_delay(&self) -> Duration {
        Duration::ZERO
    }

    /// Requests that are being served.
    pub fn in_flight(&self) -> i64 {
        self.gateway.telemetry.metrics.in_flight_count()
    }

    /// Whether nothing is in flight, nor may come on an idle connection.
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight() == 0 && self.open.count() == 0
    }

    /// Ends everything that is in flight, with an error that its clients understand.
    pub(super) fn end_exchanges(&self) {}

    /// Writes what has to be written before the process ends. Blocks, some seconds at most.
    pub(super) fn close(&self) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.gateway.telemetry.flush(PATIENCE);
        if let Some(ledger) = &self.gateway.ledger
            && !ledger.close(PATIENCE)
        {
            info!("the ledger leaves records in its spool to the next process");
        }
    }
}
