//! Runs [`TextHook`]s over answers. [`Screen`] is for a stream: the client dialect's decoder reads it, the texts go through the
//! hooks, and what comes out is written by the same dialect's encoder; an [`EventScreen`] is one of events. [`screen_whole`] is for a JSON document, of which only
//! the texts that are changed are touched. `chain` is what both share.

mod chain;
mod stream;
mod whole;

use std::sync::Arc;
use std::time::Duration;

use crate::{Failure, Flow, Rejection, TextHook};

pub use stream::{EventScreen, Screen, delta, text_of};
pub use whole::{part_of, refuse_whole, screen_whole};

/// A hook at work on one answer.
pub struct Hooked {
    hook: Box<dyn TextHook>,
    hold: usize,
    policy: Arc<dyn Policy>,
    /// It only brings back what the client said.
    restores: bool,
    /// It failed, and the answer goes on without it.
    off: bool,
}

impl Hooked {
    /// `hold`: the most bytes of a part that it may hold back.
    #[must_use]
    pub fn new(hook: Box<dyn TextHook>, hold: usize, policy: Arc<dyn Policy>) -> Self {
        Self { hook, hold, policy, restores: false, off: false }
    }

    /// The same for a [`restore_hook`](crate::Plugin::restore_hook).
    #[must_use]
    pub fn restores(self) -> Self {
        Self { restores: true, ..self }
    }
}

/// What its plugin's configuration says to what happens to a hook.
pub trait Policy: Send + Sync {
    /// The hook failed: what the client is told, or `None` to go on without the hook.
    fn failed(&self, failure: &Failure) -> Option<Rejection>;

    /// A call of the hook took so long, and said this. Called once for each that did not fail by itself.
    ///
    /// # Errors
    /// That was too long.
    fn called(&self, said: &Flow, time: Duration) -> Result<(), Failure> {
        let _ = (said, time);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
