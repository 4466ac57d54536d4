//! What time it is: by the system's clocks, or by one of the program's own ([`Builder::clock`](crate::Builder::clock)).
//!
//! Whatever asks for a time of day, or whether something is over by now, asks the [`Time`] of its gateway: keys and tokens,
//! limits and budgets, breakers, kept answers, records and log lines. How long something took is measured
//! (`Instant::now`), timers run on the runtime's, and what others check or say by their clocks (signatures of requests,
//! tokens and addresses that are fetched, dates of providers) goes by the system's.

mod time;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

pub use time::Time;

/// A clock of one's own. Requests ask it on their way: it must not wait.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// use std::sync::Arc;
/// use std::time::{Duration, Instant, SystemTime};
///
/// use ai_gateway::{Clock, Gateway};
///
/// /// Stands still until somebody moves it on.
/// struct ByHand {
///     start: (SystemTime, Instant),
///     seconds: AtomicU64,
/// }
///
/// impl ByHand {
///     fn passed(&self) -> Duration {
///         Duration::from_secs(self.seconds.load(Relaxed))
///     }
/// }
///
/// impl Clock for ByHand {
///     fn now(&self) -> SystemTime {
///         self.start.0 + self.passed()
///     }
///
///     fn instant(&self) -> Instant {
///         self.start.1 + self.passed()
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = Arc::new(ByHand { start: (SystemTime::now(), Instant::now()), seconds: AtomicU64::new(0) });
/// let gateway = Gateway::builder().config_text("[providers.m]\nkind = \"mock\"").clock(clock.clone()).build()?;
/// clock.seconds.fetch_add(86_400, Relaxed); // For this gateway it is tomorrow.
/// # Ok(())
/// # }
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The time of the calendar, which may be set: what expires, windows of limits, ages, records.
    fn now(&self) -> SystemTime;

    /// A time that never goes back: how long targets rest after they failed, and what counts as lately.
    fn instant(&self) -> Instant;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> SystemTime {
        (**self).now()
    }

    fn instant(&self) -> Instant {
        (**self).instant()
    }
}
