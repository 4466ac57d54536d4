//! The running process as its operators command it, by signals, the admin API and the command line.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use log::{error, info};
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::sync::watch;

use super::leave::Leaving;
use super::notify;
use super::reload::{ReloadError, Reloaded, Reloader};
use super::serve::Open;
use super::upgrade::{Identity, Lineage, Predecessor, Successor, UpgradeError, Upgrader, state};
use crate::admin::Readiness;
use crate::proxy::Gateway;
use crate::stderr::say;

/// How long what is written in the background may take, at the end.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a disk that takes no records may hold up the end of the process.
const DISK_PATIENCE: Duration = Duration::from_secs(10);
/// How much longer than its streams may go on a process takes to end, at most.
const MARGIN: Duration = Duration::from_secs(30);
/// How long an upgrade may take that nobody waits for.
pub const UPGRADE_LIMIT: Duration = Duration::from_secs(30);
/// What is still open so long after idle connections were closed has nothing to say.
const SILENT: Duration = Duration::from_millis(500);
/// How often a successor is told what has changed; more rarely where looking takes long.
const TELL: Duration = Duration::from_millis(20);

/// A process that another one follows on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// Who serves now.
    pub who: Identity,
    /// How long it took.
    pub took: Duration,
}

/// Whether a change is under way.
#[derive(Debug, Default)]
struct Changing(AtomicBool);

/// Held while it is.
struct Change<'a>(&'a AtomicBool);

impl Changing {
    /// Begins a change, if there is no other.
    fn begin(&self) -> Option<Change<'_>> {
        (!self.0.swap(true, Ordering::AcqRel)).then(|| Change(&self.0))
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        // Whoever found it under way has said what for before: that is known from here on.
        self.0.swap(false, Ordering::AcqRel);
    }
}

/// Commands for the running process, and what is known of it. One for the process.
pub struct Control {
    pub(super) gateway: Gateway,
    pub(super) reloader: Reloader,
    pub(super) lineage: Lineage,
    pub(super) readiness: Arc<Readiness>,
    pub(super) started: (SystemTime, Instant),
    open: Open,
    leaving: watch::Sender<Option<Leaving>>,
    /// How often somebody asked it not to wait any longer.
    haste: watch::Sender<u32>,
    /// Told when the admin listener has to close: another process has it.
    handed_over: watch::Sender<bool>,
    /// Only one change at a time.
    changing: Changing,
    /// A signal has asked for a reload that has not begun.
    asked: AtomicBool,
    upgrader: Upgrader,
    /// Until it has been told that this process serves.
    predecessor: Mutex<Option<Predecessor>>,
    successor: OnceLock<Successor>,
}

impl Control {
    /// The commands of a process that serves `gateway`.
    pub(super) fn new(
        gateway: Gateway,
        reloader: Reloader,
        upgrader: Upgrader,
        predecessor: Option<Predecessor>,
    ) -> Self {
        let living = gateway.telemetry.metrics.process.predecessors.clone();
        let started = (gateway.time.now(), Instant::now());
        Self {
            lineage: Lineage::new(gateway.limits.clone(), gateway.continuity.clone(), living),
            gateway,
            reloader,
            readiness: Arc::default(),
            started,
            open: Open::default(),
            leaving: watch::Sender::new(None),
            haste: watch::Sender::new(0),
            handed_over: watch::Sender::new(false),
            changing: Changing::default(),
            asked: AtomicBool::new(false),
            upgrader,
            predecessor: Mutex::new(predecessor),
            successor: OnceLock::new(),
        }
    }

    /// Where the process is in its life.
    pub fn readiness(&self) -> &Arc<Readiness> {
        &self.readiness
    }

    /// Counts what the listeners serve.
    pub(super) fn open(&self) -> &Open {
        &self.open
    }

    /// Whether and why the process leaves.
    pub(super) fn leaving(&self) -> watch::Receiver<Option<Leaving>> {
        self.leaving.subscribe()
    }

    /// How often somebody asked it not to wait any longer.
    pub(super) fn haste(&self) -> watch::Receiver<u32> {
        self.haste.subscribe()
    }

    /// The process is not to wait any longer for what it waits for.
    pub(super) fn hasten(&self) {
        self.haste.send_modify(|asked| *asked += 1);
    }

    /// Turns true when another process has the listeners.
    pub(super) fn handed_over(&self) -> watch::Receiver<bool> {
        self.handed_over.subscribe()
    }

    fn is_leaving(&self) -> bool {
        self.leaving.borrow().is_some()
    }

    /// Whether a reload or an upgrade is under way, or another process serves already.
    pub fn is_changing(&self) -> bool {
        self.is_leaving() || self.changing.0.load(Ordering::Acquire)
    }

    /// The process serves from now on.
    pub(super) fn serve(&self) {
        self.readiness.set_ready();
        // Before the predecessor hears of it: systemd must never see its main process end.
        notify::ready("serving");
        let predecessor = self.predecessor.lock().take();
        if let Some(predecessor) = predecessor {
            let pid = predecessor.who.pid;
            match predecessor.tell_ready(&self.lineage) {
                Ok(()) => info!("took over from process {pid}"),
                Err(error) => error!("process {pid}, which should hand over, does not listen: {error}"),
            }
        }
    }

    /// The process takes nothing new.
    pub(super) fn leave(&self, why: Leaving) {
        self.readiness.set_draining();
        self.leaving.send_if_modified(|leaving| {
            let first = leaving.is_none();
            leaving.get_or_insert(why);
            first
        });
        self.upgrader.let_go();
        if why == Leaving::Terminated {
            let within = self.shutdown_delay() + self.drain() + MARGIN;
            notify::stopping("finishing what is in flight", within);
        }
    }

    /// Reads the configuration again and puts it in force. Blocks.
    ///
    /// # Errors
    /// The one in force stays.
    pub fn reload(self: &Arc<Self>) -> Result<Reloaded, ReloadError> {
        let result = self.reload_now();
        // Who is busy looks at its end.
        if !matches!(result, Err(ReloadError::Busy)) {
            self.reload_if_asked();
        }
        result
    }

    fn reload_now(&self) -> Result<Reloaded, ReloadError> {
        let Some(_changing) = self.changing.begin() else { return Err(ReloadError::Busy) };
        self.asked.store(false, Ordering::Relaxed);
        if self.is_leaving() {
            return Err(ReloadError::Leaving);
        }
        self.reloader.reload()
    }

    /// Reloads on a thread of its own, now or behind the change that is under way; the log tells how it went.
    pub(super) fn reload_unasked(self: &Arc<Self>) {
        self.asked.store(true, Ordering::Relaxed);
        self.reload_if_asked();
    }

    fn reload_if_asked(self: &Arc<Self>) {
        if !self.asked.load(Ordering::Relaxed) {
            return;
        }
        let control = self.clone();
        self.on_a_thread("reload", move || match control.reload() {
            Ok(reloaded) => say(format!("configuration {} is in force", reloaded.generation)),
            // The log has the reasons.
            Err(ReloadError::NoFile | ReloadError::Config(_) | ReloadError::Fixed(_) | ReloadError::Build(_)) => {}
            Err(ReloadError::Busy) => say("the reload waits for the change that is under way"),
            Err(error @ ReloadError::Leaving) => match control.successor.get() {
                Some(successor) => successor.signal(Signal::HUP),
                None => error!("there was no reload: {error}"),
            },
        });
    }

    /// Starts this program anew and lets the new process take over. Returns when that one serves, or why it does not. Blocks.
    ///
    /// # Errors
    /// Nobody took over, and this process serves on.
    pub fn upgrade(self: &Arc<Self>, limit: Duration) -> Result<Upgraded, UpgradeError> {
        let Some(changing) = self.changing.begin() else { return Err(UpgradeError::Busy) };
        let result = self.hand_over(limit);
        drop(changing);
        self.reload_if_asked();
        if self.is_leaving() {
            self.upgrader.let_go();
        }
        if let Err(error) = &result {
            notify::status("serving; the last upgrade failed");
            self.gateway.telemetry.metrics.process.upgrade_failures.inc();
            error!("there was no upgrade: {error}");
        }
        result
    }

    fn hand_over(self: &Arc<Self>, limit: Duration) -> Result<Upgraded, UpgradeError> {
        if self.is_leaving() {
            return Err(UpgradeError::Leaving);
        }
        let began = Instant::now();
        info!("an upgrade begins");
        notify::status("serving; an upgrade is under way");
        self.wait_for_limits(began + limit)?;
        let successor = self.upgrader.upgrade(limit, |channel| {
            if self.is_leaving() {
                return Err(UpgradeError::Leaving);
            }
            self.lineage.pass_on(channel)?;
            Ok(state::send(&self.gateway, channel)?)
        });
        let successor = successor.inspect_err(|_| {
            self.lineage.resume();
            self.gateway.continuity.tell_nobody();
        })?;
        if self.is_leaving() {
            // Nobody is to serve.
            successor.signal(Signal::TERM);
            return Err(UpgradeError::Leaving);
        }
        let upgraded = Upgraded { who: successor.who.clone(), took: began.elapsed() };
        info!("process {} (version {}) serves from now on", upgraded.who.pid, upgraded.who.version);
        // There is no other: only one change at a time, and none after this.
        _ = self.successor.set(successor);
        self.leave(Leaving::Upgraded);
        self.gateway.cache.hand_over();
        self.handed_over.send_replace(true);
        let control = self.clone();
        self.on_a_thread("tell", move || control.keep_telling());
        let control = self.clone();
        self.on_a_thread("hear", move || {
            if let Some(successor) = control.successor.get() {
                successor.listen(&control.gateway.limits);
            }
        });
        Ok(upgraded)
    }

    /// Waits until limits know what was used before this process began: the next one learns it from nobody else.
    fn wait_for_limits(&self, end: Instant) -> Result<(), UpgradeError> {
        while self.gateway.limits.is_restoring() {
            if self.is_leaving() {
                return Err(UpgradeError::Leaving);
            }
            if Instant::now() >= end {
                return Err(UpgradeError::Restoring);
            }
            thread::sleep(TELL);
        }
        Ok(())
    }

    /// Upgrades on a thread of its own; the log tells how it went.
    pub(super) fn upgrade_unasked(self: &Arc<Self>) {
        let control = self.clone();
        self.on_a_thread("upgrade", move || _ = control.upgrade(UPGRADE_LIMIT));
    }

    fn on_a_thread(&self, name: &str, work: impl FnOnce() + Send + 'static) {
        if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(work) {
            error!("{name}: there is no thread for it: {error}");
        }
    }

    /// Tells the successor what becomes of the requests that are left here, and asks it about those that still come, until it or
    /// this process ends.
    fn keep_telling(&self) {
        let mut pause = Duration::ZERO;
        while let Some(took) = self.tell_successor(pause) {
            pause = TELL.max(20 * took);
        }
    }

    /// Asks the successor, if there is one, what requests want to know `within` that time, and tells it how everything stands then,
    /// which takes the time that comes back. `None`: nobody listens.
    fn tell_successor(&self, within: Duration) -> Option<Duration> {
        let successor = self.successor.get()?;
        let Gateway { limits, continuity, .. } = &self.gateway;
        let told = successor.ask(limits, within).and_then(|()| {
            let began = Instant::now();
            successor.tell(limits, continuity, u64::try_from(self.in_flight()).unwrap_or(0))?;
            Ok(began.elapsed())
        });
        let failed = |error: &std::io::Error| {
            error!("process {} does not hear what is settled here: {error}", successor.who.pid);
            successor.ask_no_more();
        };
        told.inspect_err(failed).ok()
    }

    /// How long streams may go on.
    pub(super) fn drain(&self) -> Duration {
        self.reloader.in_force().config.server.drain
    }

    /// How long requests are taken after the process said that it takes none.
    pub(super) fn shutdown_delay(&self) -> Duration {
        self.reloader.in_force().config.server.shutdown_delay
    }

    /// Requests that are being served.
    pub fn in_flight(&self) -> i64 {
        self.gateway.telemetry.metrics.in_flight_count()
    }

    /// Whether nothing is in flight, nor may come on a connection that is open `since` the listeners closed. The last process waits
    /// for those before it, too: systemd takes its end for theirs.
    pub(super) fn is_quiet(&self, since: Duration) -> bool {
        let leaving = *self.leaving.borrow();
        let linger = leaving.as_ref().map_or(Duration::ZERO, Leaving::linger);
        let waits = leaving == Some(Leaving::Terminated) && self.lineage.has_living();
        // One that has never said anything does not end by itself.
        !waits && self.in_flight() == 0 && (self.open.count() == 0 || since > linger + SILENT)
    }

    /// Ends everything that is in flight, with an error that its clients understand.
    pub(super) fn end_exchanges(&self) {
        self.gateway.ending.end();
    }

    /// Writes what has to be written before the process ends. Blocks, some seconds at most.
    pub(super) fn close(&self) {
        self.tell_successor(Duration::ZERO);
        self.gateway.telemetry.flush(PATIENCE);
        if let Some(ledger) = &self.gateway.ledger
            && !ledger.close(DISK_PATIENCE)
        {
            info!("the ledger leaves records in its spool to the next process");
        }
    }
}

#[cfg(test)]
mod tests {
    use pingora_core::apps::HttpServerApp;
    use pingora_core::protocols::http::ServerSession;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::Source;
    use super::super::build::{Built, build};
    use super::super::upgrade::Invocation;
    use super::*;
    use crate::admin::Admin;
    use crate::clock::Time;
    use crate::config::{Config, System};
    use crate::keys::Maker;

    /// A key that is made while another process reads the store would be unknown to that: nor may a request bring one whose body
    /// comes then.
    #[tokio::test]
    async fn no_key_is_made_during_an_upgrade_that_begins_before_its_request_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("[providers.m]\nkind = 'mock'\n[store]\npath = {:?}\n", dir.path().join("keys.db"));
        let config = Config::parse(&text, "a.toml", &System).unwrap_or_else(|errors| panic!("{errors}")).config;
        let mock = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let Built { gateway, snapshots, .. } = build(&config, Some(mock), Time::default()).unwrap();
        let runtime = snapshots.runtime_keys.clone().unwrap();
        let reloader = Reloader::new(Source::Fixed, config, gateway.clone(), snapshots, None);
        let upgrader = Upgrader::new(Invocation::own(), Vec::new());
        let control = Arc::new(Control::new(gateway.clone(), reloader, upgrader, None));
        let admin = Admin::new(gateway.telemetry.metrics.clone(), control.readiness().clone())
            .with_keys(gateway.current.clone(), Some(runtime.clone()))
            .with_control(control.clone());
        let admin = Arc::new(admin);

        for (begins, status) in [(true, 409), (false, 201)] {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            let head = "POST /api/keys HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 15\r\n\r\n";
            client.write_all(format!("{head}{{\"name\": \"bot\"").as_bytes()).await.unwrap();
            let (_stop, shutdown) = watch::channel(false);
            let mut answering = admin.process_new_http(ServerSession::new_http1(Box::new(server)), &shutdown);
            assert!(futures::poll!(&mut answering).is_pending(), "it waits for the last byte");

            let _upgrade = begins.then(|| control.changing.begin().unwrap());
            client.write_all(b"}").await.unwrap();
            answering.await;
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert_eq!(answer.contains("an upgrade or a reload is under way"), begins);
            assert_eq!(runtime.list("", 10, &Maker::Master).len(), usize::from(!begins));
        }
    }
}
