//! What the process is told by signals: SIGTERM and SIGQUIT finish and end, SIGINT does not wait for anything to finish, nor does
//! a second SIGTERM; SIGHUP reloads, SIGUSR2 upgrades.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind};

use super::control::Control;
use super::leave::Leaving;
use crate::stderr::say;

/// A signal that is caught from now on.
struct Caught(Option<Signal>);

impl Caught {
    /// Catches it.
    pub fn new(kind: SignalKind) -> Self {
        match tokio::signal::unix::signal(kind) {
            Ok(signal) => Self(Some(signal)),
            Err(error) => {
                log::error!("signal {} cannot be caught: {error}", kind.as_raw_value());
                Self(None)
            }
        }
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

/// Waits for Pingora until the process is to leave. Ready is said once the signals are caught, and taken back before anything
/// else happens.
pub struct Signals {
    /// What the signals command.
    pub control: Arc<Control>,
    /// What is printed when the process serves.
    pub announcements: Vec<String>,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let mut terminate = Caught::new(SignalKind::terminate());
        let mut quit = Caught::new(SignalKind::quit());
        let mut interrupt = Caught::new(SignalKind::interrupt());
        let mut hangup = Caught::new(SignalKind::hangup());
        let mut upgrade = Caught::new(SignalKind::user_defined2());
        let mut leaving = self.control.leaving();
        self.control.serve();
        for line in &self.announcements {
            say(line);
        }
        loop {
            tokio::select! {
                () = terminate.next() => break self.control.leave(Leaving::Terminated),
                () = quit.next() => break self.control.leave(Leaving::Terminated),
                () = interrupt.next() => {
                    self.control.leave(Leaving::Terminated);
                    break self.control.hasten();
                }
                () = hangup.next() => self.control.reload_unasked(),
                () = upgrade.next() => self.control.upgrade_unasked(),
                _ = leaving.wait_for(Option::is_some) => break,
            }
        }
        let control = self.control.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = terminate.next() => control.hasten(),
                    () = interrupt.next() => control.hasten(),
                    // It is for who serves now.
                    () = hangup.next() => control.reload_unasked(),
                }
            }
        });
        // Where nobody else serves already: whoever sends requests here learns it before the listeners close.
        if *leaving.borrow() == Some(Leaving::Terminated) {
            let mut haste = self.control.haste();
            tokio::select! {
                () = tokio::time::sleep(self.control.shutdown_delay()) => {}
                _ = haste.wait_for(|asked| *asked > 0) => {}
            }
        }
        ShutdownSignal::GracefulTerminate
    }
}
