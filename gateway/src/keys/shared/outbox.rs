//! What other instances have yet to be told.

use std::collections::HashSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Names of keys that were changed here.
#[derive(Debug, Default)]
pub struct Outbox {
    names: Mutex<HashSet<String>>,
    /// There is something new in it.
    pub(super) wake: Notify,
}

impl Outbox {
    /// The key of this name was changed.
    pub fn add(&self, name: &str) {
        self.names.lock().insert(name.to_owned());
        self.wake.notify_one();
    }

    /// Empties it.
    pub(super) fn take(&self) -> HashSet<String> {
        std::mem::take(&mut *self.names.lock())
    }
}
