//! Reading answers to their end after their clients have left (`on_abort = "drain"`), so that what they consumed is what the
//! provider says it is.
//!
//! There is no reader of its own: the [replay session](super::replay) keeps from Pingora that the client is gone and swallows
//! what is written, so that the attempt goes on as before, with its clocks and in the same task. It counts as in flight: a
//! shutdown waits for it as for any stream.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers that are drained at a time; of others the upstream is cancelled.
const MOST: usize = 256;
/// The most that is read of one.
pub const MOST_BYTES: usize = 16 << 20;
/// The longest that one is read.
pub const LONGEST: Duration = Duration::from_secs(120);

/// Room for answers without clients.
#[derive(Clone, Debug)]
pub struct Drains(Arc<Semaphore>);

impl Default for Drains {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Drains {
    /// Room for one, until it is dropped; `None` when all is taken.
    pub fn enter(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().ok()
    }
}
