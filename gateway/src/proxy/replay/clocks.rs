//! The clocks of an attempt.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::{Shared, nanos};

/// Which clock of an attempt ran out. Each is an error of its own to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Clock {
    /// No first output within `timeouts.first_token`.
    FirstToken = 1,
    /// Nothing for `timeouts.idle` after output began.
    Idle = 2,
    /// The attempt as a whole took longer than `timeouts.total`.
    Total = 3,
    /// The process leaves, and does not wait any longer.
    Shutdown = 4,
}

impl Clock {
    pub(super) fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::FirstToken),
            2 => Some(Self::Idle),
            3 => Some(Self::Total),
            4 => Some(Self::Shutdown),
            _ => None,
        }
    }
}

/// Resolves when a clock has run out. Deadlines mostly move later, so the timer is registered anew only when it fires
/// too early or is set too late.
pub(super) async fn clock_runs_out(shared: &Shared, origin: Instant, watchdog: &mut Option<Pin<Box<Sleep>>>) -> Clock {
    loop {
        let at = shared.deadline.load(Ordering::Relaxed);
        if at == 0 {
            return std::future::pending().await;
        }
        let deadline = tokio::time::Instant::from_std(origin + Duration::from_nanos(at));
        let watchdog = watchdog.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if watchdog.deadline() > deadline || watchdog.is_elapsed() {
            watchdog.as_mut().reset(deadline);
        }
        watchdog.as_mut().await;
        if shared.deadline.load(Ordering::Relaxed) <= nanos(origin.elapsed()) {
            let clock = shared.deadline_clock.load(Ordering::Relaxed);
            shared.fired.store(clock, Ordering::Relaxed);
            return Clock::from_u8(clock).unwrap_or(Clock::Total);
        }
    }
}
