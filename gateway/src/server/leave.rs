//! The end of the process: streams are finished, what remains is ended politely, and nothing is waited for that is not there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::{info, warn};
use parking_lot::Mutex;
use pingora_core::server::{ExecutionPhase, ShutdownWatch};
use pingora_core::services::background::BackgroundService;
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout};

use super::control::Control;

/// Between two looks at what is in flight.
const TICK: Duration = Duration::from_millis(50);
/// Looks without any exchange: the last frames of HTTP/2 are out by then.
const QUIET_TICKS: u32 = 10;
/// How long what was ended may take to say so to its client.
const LAST_WORDS: Duration = Duration::from_secs(6);
/// How long the records of what was ended are waited for, whoever is in a hurry.
const RECORDS: Duration = Duration::from_secs(1);

/// Why a process leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It was told to.
    Terminated,
    /// Another one serves in its place.
    Upgraded,
}

impl Leaving {
    /// How long idle connections may bring one more request. Nobody waits for the end of a process that has a successor; its
    /// clients' connections are just as good as new ones meanwhile.
    pub fn linger(&self) -> Duration {
        match self {
            Self::Terminated => Duration::from_millis(300),
            Self::Upgraded => Duration::from_secs(5),
        }
    }
}

/// Ends the process as soon as nothing is in flight: Pingora itself would sleep through its whole grace period.
pub struct Leave {
    /// Taken at the start of the service; it remembers what came before that.
    phases: Mutex<Option<broadcast::Receiver<ExecutionPhase>>>,
    control: Arc<Control>,
}

impl Leave {
    /// Waits for the server's end in `phases`.
    pub fn new(phases: broadcast::Receiver<ExecutionPhase>, control: Arc<Control>) -> Self {
        Self { phases: Mutex::new(Some(phases)), control }
    }

    /// Waits until nothing is in flight, and no idle connection is left that may bring a request; or until `end`, or until
    /// somebody has asked more often than `heard` not to wait.
    async fn quiet(&self, since: Instant, end: Instant, heard: u32) -> bool {
        let mut haste = self.control.haste();
        let mut tick = tokio::time::interval(TICK);
        let mut quiet = 0;
        while quiet < QUIET_TICKS {
            tokio::select! {
                _ = tick.tick() => {}
                () = tokio::time::sleep_until(end) => return false,
                _ = haste.wait_for(|asked| *asked > heard) => return false,
            }
            quiet = if self.control.is_quiet(since.elapsed()) { quiet + 1 } else { 0 };
        }
        true
    }

    /// Waits until nothing is in flight.
    async fn settled(&self) {
        let mut tick = tokio::time::interval(TICK);
        while self.control.in_flight() > 0 {
            tick.tick().await;
        }
    }
}

#[async_trait]
impl BackgroundService for Leave {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let Some(mut phases) = self.phases.lock().take() else { return };
        while let Ok(phase) = phases.recv().await {
            if matches!(phase, ExecutionPhase::ShutdownGracePeriod) {
                break;
            }
        }
        let since = Instant::now();
        if self.quiet(since, since + self.control.drain(), 0).await {
            info!("nothing is in flight any more: leaving");
        } else if self.control.in_flight() > 0 {
            // Who asked while the drain was ending has got what he wanted.
            let heard = (*self.control.haste().borrow()).max(1);
            warn!("{} requests are still in flight and are ended", self.control.in_flight());
            self.control.end_exchanges();
            if !self.quiet(since, Instant::now() + LAST_WORDS, heard).await {
                // An exchange is recorded some moments after its client has got the end of it.
                _ = timeout(RECORDS, self.settled()).await;
            }
        }
        self.control.close();
        std::process::exit(0);
    }
}
