//! The instance of an exchange, from hook to hook.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::instance::Instance;
use super::world::{Decision, Event};
use crate::Failure;

/// Where an exchange keeps its instance. Made by the first event; what it keeps in its memory is there in the next.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    /// Nothing has happened yet.
    #[default]
    New,
    /// It waits for the next event.
    Idle(Box<Instance>),
    /// It broke off, or was left in the middle of a call when its time was over.
    Broken,
}

impl Slot {
    /// Whether its instance broke off, which whoever was told of the event has said.
    pub(super) fn is_broken(&self) -> bool {
        self.0.try_lock().is_ok_and(|state| matches!(*state, State::Broken))
    }

    /// Tells the instance of an event; `start` makes it.
    ///
    /// # Errors
    /// It failed. When it broke off it stays broken for this exchange.
    pub(super) async fn tell(
        &self,
        event: &Event,
        start: impl Future<Output = Result<Instance, Failure>>,
    ) -> Result<Decision, Failure> {
        let mut state = self.0.lock().await;
        // Until it comes back, in case this is dropped on the way.
        let mut instance = match std::mem::replace(&mut *state, State::Broken) {
            State::New => Box::new(start.await?),
            State::Idle(instance) => instance,
            State::Broken => return Err("it broke off before, in the same request".into()),
        };
        let decided = instance.handle(event).await?;
        *state = State::Idle(instance);
        decided
    }
}
