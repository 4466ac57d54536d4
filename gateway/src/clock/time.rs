//! The time of one gateway, handed to whatever of it asks.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::Clock;

/// Where a gateway takes its time from; by default from the system. Cheap to clone.
#[derive(Clone, Default)]
pub struct Time(Option<Arc<dyn Clock>>);

impl Time {
    /// That of `clock`.
    pub fn of(clock: impl Clock) -> Self {
        Self(Some(Arc::new(clock)))
    }

    /// The time of the calendar.
    pub fn now(&self) -> SystemTime {
        self.0.as_ref().map_or_else(SystemTime::now, |clock| clock.now())
    }

    /// The time that never goes back.
    pub fn instant(&self) -> Instant {
        self.0.as_ref().map_or_else(Instant::now, |clock| clock.instant())
    }

    /// The same, for who has asked the system just now, which has said `system`.
    pub fn instant_or(&self, system: Instant) -> Instant {
        self.0.as_ref().map_or(system, |clock| clock.instant())
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Time(own)" } else { "Time(system)" })
    }
}
