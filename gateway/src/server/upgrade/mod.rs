//! Another binary takes over, and no client notices.
//!
//! The running process checks the new binary and its configuration (`check`), starts it with one end of a [`Channel`] as its
//! standard input, and passes the listening sockets on. The new process builds everything its configuration says; only then it
//! is given what the old one has counted, and serves. The sockets are the same ones in both processes, so that at no moment a
//! connection is refused or forgotten in a queue. Then the old process takes no more connections, finishes what it has, and
//! ends. Whatever goes wrong before the new process serves, the old one goes on as if nothing had been.
//!
//! Pingora's own transfer is not used: it sleeps five seconds, and stops the old process also if the new one never came.

mod channel;
mod lineage;
mod message;
mod predecessor;
pub mod state;

pub use channel::Channel;
pub use lineage::Lineage;
pub use message::{Identity, Role};
pub use predecessor::{Inheritance, Predecessor};

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

use super::sockets::Listening;
use crate::continuity::Continuity;
use crate::limits::{Limits, Questions, Said, TellingTo};
use message::Message;

/// Tells a new process that its standard input is a channel, and what to do: [`START`] or [`TAKE_OVER`].
const HANDOVER: &str = "AI_GATEWAY_HANDOVER";
/// Start the process that takes over, and end. Its parent is the service manager then, as a main process's has to be: systemd
/// neither notices the end of others, nor waits for it in a stop.
const START: &str = "start";
/// Take over.
const TAKE_OVER: &str = "take-over";
/// Between two looks at a process that should end.
const LOOK: Duration = Duration::from_millis(10);
/// Bytes of a checker's output that are told on.
const MOST_TOLD: usize = 16 << 10;

/// How this program is started anew.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The program's file. Not what the kernel says is running: that one may have been replaced.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The arguments with which it tells, by its exit code, whether it could be started, if there are such.
    pub check: Option<Vec<OsString>>,
    /// A line that is printed when it serves.
    pub hint: Option<String>,
}

impl Invocation {
    /// As this process was started. To be called before the working directory changes.
    pub fn own() -> Self {
        let mut arguments = std::env::args_os();
        let name = PathBuf::from(arguments.next().unwrap_or_default());
        Self { program: locate(&name), arguments: arguments.collect(), check: None, hint: None }
    }
}

/// The file that a shell would run for `name`.
fn locate(name: &Path) -> PathBuf {
    if name.components().count() > 1 {
        return std::path::absolute(name).unwrap_or_else(|_| name.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.or_else(|| std::env::current_exe().ok()).unwrap_or_else(|| name.to_owned())
}

/// Why no other process took over. The running one serves on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// There is one under way, or a reload.
    #[error("an upgrade or a reload is under way")]
    Busy,
    /// The process is about to end.
    #[error("this process is shutting down")]
    Leaving,
    /// The program's file cannot be run.
    #[error("{} cannot be started: {error}", program.display())]
    Start {
        /// The file.
        program: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The new binary refuses the configuration, or cannot even tell.
    #[error("{}: {told}", program.display())]
    Check {
        /// The file.
        program: PathBuf,
        /// What it printed.
        told: String,
    },
    /// The new process could not begin.
    #[error("the new process cannot take over: {0}")]
    Refused(String),
    /// It ended without a word.
    #[error("the new process ended before it served ({0}); its messages are in the log")]
    Ended(String),
    /// Limits do not know yet what the next process has to be told.
    #[error(
        "what was used before this process began is still being read from the ledger, and the new process would not know it: try again in a while"
    )]
    Restoring,
    /// It took too long.
    #[error("the new process did not serve within {}", humantime::format_duration(*.0))]
    TooSlow(Duration),
    /// It could not be spoken to.
    #[error("the new process cannot be spoken to: {0}")]
    Channel(#[from] io::Error),
}

/// A process that serves in this one's place.
#[derive(Debug)]
pub struct Successor {
    /// Who it is.
    pub who: Identity,
    channel: Channel,
    telling: Mutex<TellingTo>,
    questions: Questions,
}

/// Starts successors.
#[derive(Debug)]
pub struct Upgrader {
    invocation: Invocation,
    /// Empty when they have been handed over for good.
    sockets: Mutex<Vec<Listening>>,
}

impl Upgrader {
    /// A process started by `invocation` that listens on `sockets`.
    pub fn new(invocation: Invocation, sockets: Vec<Listening>) -> Self {
        Self { invocation, sockets: Mutex::new(sockets) }
    }

    /// Starts another process and waits until it serves, `limit` at most. `hand_over` is called when it can take over: it sends
    /// what it has to know, and may still refuse. Blocks.
    ///
    /// # Errors
    /// Nobody took over.
    pub fn upgrade(
        &self,
        limit: Duration,
        hand_over: impl FnOnce(&Channel) -> Result<(TellingTo, Questions), UpgradeError>,
    ) -> Result<Successor, UpgradeError> {
        let sockets = self.sockets.try_lock().ok_or(UpgradeError::Busy)?;
        let end = Instant::now() + limit;
        self.check(limit)?;
        let (ours, theirs) = Channel::pair()?;
        let Invocation { program, arguments, .. } = &self.invocation;
        let child = Command::new(program)
            .args(arguments)
            .env(HANDOVER, START)
            // Systemd's watchdog waits for another process now.
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(theirs.into_socket()))
            .spawn()
            .map_err(|error| UpgradeError::Start { program: program.clone(), error })?;
        let mut starting = Starting { child: Some(child), follower: None };
        let conversation = Conversation { channel: &ours, limit, end };
        let held = conversation.started().and_then(|pid| {
            starting.follower = Pid::from_raw(pid.cast_signed());
            starting.wait(limit).ok_or(UpgradeError::TooSlow(limit))?;
            conversation.hold(&sockets, hand_over)
        });
        match held {
            Ok((who, (telling, questions))) => {
                starting.follower = None;
                Ok(Successor { who, channel: ours, telling: Mutex::new(telling), questions })
            }
            Err(UpgradeError::Ended(_)) => Err(UpgradeError::Ended(starting.ended())),
            Err(error) => Err(error),
        }
    }

    /// Closes the sockets, which nobody is to get any more: while they are open here, clients connect. Not during an upgrade.
    pub fn let_go(&self) {
        if let Some(mut sockets) = self.sockets.try_lock() {
            sockets.clear();
        }
    }

    fn check(&self, limit: Duration) -> Result<(), UpgradeError> {
        let Invocation { program, check: Some(arguments), .. } = &self.invocation else { return Ok(()) };
        let start = |error| UpgradeError::Start { program: program.clone(), error };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let outputs = [child.stderr.take().map(read_all), child.stdout.take().map(read_all)];
        let mut starting = Starting { child: Some(child), follower: None };
        let status = starting.wait(limit).ok_or(UpgradeError::TooSlow(limit))?;
        if status.success() {
            return Ok(());
        }
        let told: String = outputs.into_iter().flatten().filter_map(|output| output.join().ok()).collect();
        let told = if told.trim().is_empty() { format!("its check ended with {status}") } else { told };
        Err(UpgradeError::Check { program: program.clone(), told: told.trim_end().to_owned() })
    }
}

/// Reads what a process prints, on a thread of its own, so that the process never waits for that.
fn read_all(from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        // What came before an error is good enough.
        _ = from.take(MOST_TOLD as u64).read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// A process that is killed if it does not come to serve.
struct Starting {
    child: Option<Child>,
    /// The one that it has started in its place.
    follower: Option<Pid>,
}

impl Starting {
    /// Waits for the child's end. `None`: it does not come, or there is no child any more.
    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(status) = child.try_wait().ok().flatten() {
                self.child = None;
                return Some(status);
            }
            std::thread::sleep(LOOK);
        }
        None
    }

    /// How it ended, which it just did.
    fn ended(&mut self) -> String {
        self.wait(Duration::from_secs(1)).map_or("without a word".to_owned(), |status| status.to_string())
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Fails only if it has just ended.
            _ = child.kill();
            _ = child.wait();
        }
        if let Some(follower) = self.follower {
            _ = kill_process(follower, Signal::KILL);
        }
    }
}

/// What is said until the new process serves.
struct Conversation<'a> {
    channel: &'a Channel,
    limit: Duration,
    end: Instant,
}

impl Conversation<'_> {
    fn hold(
        &self,
        sockets: &[Listening],
        hand_over: impl FnOnce(&Channel) -> Result<(TellingTo, Questions), UpgradeError>,
    ) -> Result<(Identity, (TellingTo, Questions)), UpgradeError> {
        self.tell(&Message::Begin { from: Identity::own() })?;
        for Listening { role, configured, key, socket } in sockets {
            let message = Message::Listener { role: *role, configured: configured.clone(), key: key.clone() };
            self.channel.send_socket(&message, socket.as_fd()).map_err(gone)?;
        }
        self.tell(&Message::Listeners)?;
        let who = self.wait_for(|message| match message {
            Message::Prepared { who } => Some(who),
            _ => None,
        })?;
        let handed = hand_over(self.channel)?;
        self.tell(&Message::Go)?;
        self.wait_for(|message| matches!(message, Message::Ready).then_some(()))?;
        Ok((who, handed))
    }

    /// The process that takes over has been started.
    fn started(&self) -> Result<u32, UpgradeError> {
        self.wait_for(|message| match message {
            Message::Started { pid } => Some(pid),
            _ => None,
        })
    }

    fn tell(&self, message: &Message) -> Result<(), UpgradeError> {
        self.channel.send(message).map_err(gone)
    }

    fn wait_for<T>(&self, wanted: impl Fn(Message) -> Option<T>) -> Result<T, UpgradeError> {
        loop {
            let left = self.end.saturating_duration_since(Instant::now());
            match self.channel.receive(Some(left)) {
                Ok(Some((Message::Failed { message }, _))) => return Err(UpgradeError::Refused(message)),
                Ok(Some((message, _))) => {
                    if let Some(found) = wanted(message) {
                        return Ok(found);
                    }
                }
                Ok(None) => return Err(UpgradeError::Ended(String::new())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(UpgradeError::TooSlow(self.limit));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A new process that does not listen any more has ended.
fn gone(error: io::Error) -> UpgradeError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => UpgradeError::Ended(String::new()),
        _ => UpgradeError::Channel(error),
    }
}

impl Successor {
    /// Tells it what was booked and reserved here since it was told last, who keeps the answers that were given, and how many
    /// requests are left.
    ///
    /// # Errors
    /// It is gone.
    pub fn tell(&self, limits: &Limits, continuity: &Continuity, in_flight: u64) -> io::Result<()> {
        let mut telling = self.telling.lock();
        let pid = std::process::id();
        self.channel.send_list(continuity.new_answers(), |answers| Message::Kept { answers })?;
        self.channel.send_list(limits.tell(&mut telling), |told| Message::Told { pid, told })?;
        self.channel.send(&Message::InFlight { count: in_flight, listens: true })
    }

    /// Passes on what requests ask of it, and what becomes of those that it has let in, `within` that time. Blocks.
    ///
    /// # Errors
    /// It is gone.
    pub fn ask(&self, limits: &Limits, within: Duration) -> io::Result<()> {
        let end = Instant::now() + within;
        while let Some(said) = self.questions.next(end.saturating_duration_since(Instant::now())) {
            match said {
                // Whoever waited for too long has been let in here.
                Said::Asked(asked) if !self.questions.awaits(&asked) => {}
                Said::Asked(asked) => {
                    // What was given back here a moment ago has room for it there.
                    let told = limits.tell_of(&asked, &mut self.telling.lock());
                    let pid = std::process::id();
                    self.channel.send_list(told, |told| Message::Told { pid, told })?;
                    self.channel.send(&Message::Asks { asked })?;
                }
                Said::Changed(id, change) => self.channel.send(&Message::Changes { id, change })?,
            }
        }
        Ok(())
    }

    /// It is not asked any more.
    pub fn ask_no_more(&self) {
        self.questions.close();
    }

    /// Listens to what it says, until it ends. Blocks.
    pub fn listen(&self, limits: &Limits) {
        self.questions.open();
        let mut heard = (self.who.pid, TellingTo::default());
        while let Ok(Some((message, _))) = self.channel.receive(None) {
            match message {
                Message::Answers { answered } => self.questions.answer(answered),
                Message::Told { pid, told } => {
                    if heard.0 != pid {
                        // Another one has followed on it.
                        limits.forget(&mut heard.1);
                        heard = (pid, TellingTo::default());
                    }
                    limits.hear(told, &mut heard.1);
                }
                _ => {}
            }
        }
        limits.forget(&mut heard.1);
        self.ask_no_more();
    }

    /// Passes on a signal that this process got.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.who.pid.cast_signed()) {
            // Fails only if it has ended.
            _ = kill_process(pid, signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_child_does_not_wait_for_its_end() {
        let began = Instant::now();
        assert_eq!(Starting { child: None, follower: None }.ended(), "without a word");
        assert!(began.elapsed() < Duration::from_millis(500));
    }
}
