//! What systemd is told (`Type=notify`); nothing where there is none.

use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use sd_notify::NotifyState;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Tells that the process serves, from now on as the main one of its unit.
pub fn ready(status: &str) {
    // Also when nothing has changed: a process cannot know whether it is the one that systemd has started.
    send(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells that the configuration is being read; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => log::warn!("systemd cannot be told of the reload: {error}"),
    }
}

/// Tells that the process ends within that time, and nobody takes over from it. The unit's `TimeoutStopSec=` may be shorter.
pub fn stopping(status: &str, within: Duration) {
    // `NotifyState::ExtendTimeoutUsec` has room for 71 minutes.
    let within = format!("EXTEND_TIMEOUT_USEC={}", within.as_micros());
    send(&[NotifyState::Stopping, NotifyState::Status(status), NotifyState::Custom(&within)]);
}

/// Tells a person how it stands.
pub fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("systemd cannot be told: {error}");
    }
}

/// Tells systemd's watchdog (`WatchdogSec=`) that the process lives, as long as the threads that serve clients do.
pub struct Watchdog {
    /// Where clients are served, once they are.
    pub serving: watch::Receiver<Option<Handle>>,
    /// Turns true when another process is the main one of the unit: only that one is to be waited for.
    pub handed_over: watch::Receiver<bool>,
}

#[async_trait]
impl BackgroundService for Watchdog {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let Some(limit) = sd_notify::watchdog_enabled() else { return };
        let mut serving = self.serving.clone();
        let Ok(serving) = serving.wait_for(Option::is_some).await.map(|handle| handle.clone()) else { return };
        let Some(serving) = serving else { return };
        // Twice in the time that systemd waits, as it advises; also while streams are finished.
        let mut tick = tokio::time::interval((limit / 2).max(Duration::from_millis(10)));
        while !*self.handed_over.borrow() {
            tick.tick().await;
            if serving.spawn(async {}).await.is_ok() {
                send(&[NotifyState::Watchdog]);
            }
        }
    }
}
