//! Waiting for room instead of being refused: `limits.wait`. The highest priority goes first, then whoever came first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::{Amounts, Limits, NEVER, Refusal, Reservation, Subject, What};

/// The most that wait at one subject; others are refused at once.
const MOST: usize = 1_000;

/// Who waits at which subject, the next one first.
#[derive(Debug, Default)]
pub(super) struct Queues {
    waiting: Mutex<HashMap<usize, BTreeMap<Turn, Arc<Notify>>>>,
    next: AtomicU64,
}

/// Priority, then order of coming.
type Turn = (Reverse<u32>, u64);

/// A place in the queue of a subject; dropping it lets the next one try.
struct Waiter<'a> {
    queues: &'a Queues,
    subject: Arc<Subject>,
    turn: Turn,
    called: Arc<Notify>,
}

impl Limits {
    /// Whether requests may wait for room.
    pub fn lets_wait(&self) -> bool {
        self.wait.load(Relaxed) > 0
    }

    /// [`Limits::admit`], after a wait for room where the configuration allows one and room is to be expected. The larger
    /// `priority` goes first.
    ///
    /// # Errors
    /// The limit that is in the way, of the last try.
    pub async fn admit_in_turn(
        self: &Arc<Self>,
        subjects: Vec<Arc<Subject>>,
        amounts: Amounts,
        priority: u32,
    ) -> Result<Reservation, Box<Refusal>> {
        let most = Duration::from_millis(self.wait.load(Relaxed));
        if most.is_zero() {
            return self.admit(subjects, amounts).await;
        }
        let deadline = Instant::now() + most;
        // Who comes while others wait must not overtake them.
        let waiter = match subjects.iter().find_map(|subject| self.queues.join_if_busy(subject, priority)) {
            Some(waiter) => waiter,
            None => {
                let refusal = match self.admit(subjects.clone(), amounts).await {
                    Ok(reservation) => return Ok(reservation),
                    Err(refusal) => refusal,
                };
                match self.queues.join(&refusal.refused.subject, priority) {
                    Some(waiter) => waiter,
                    None => return Err(refusal),
                }
            }
        };
        loop {
            let mut freed = pin!(waiter.subject.freed.notified());
            freed.as_mut().enable();
            let mut again = deadline;
            if waiter.is_first() || Instant::now() >= deadline {
                let refusal = match self.admit(subjects.clone(), amounts).await {
                    Ok(reservation) => return Ok(reservation),
                    Err(refusal) => refusal,
                };
                let refused = &refusal.refused;
                let room = Instant::now() + Duration::from_millis(refused.until.saturating_sub(self.now()).min(NEVER));
                if Instant::now() >= deadline || (room > deadline && refused.rule.what != What::Concurrent) {
                    return Err(refusal);
                }
                again = room.min(deadline);
            }
            tokio::select! {
                () = sleep_until(again) => {}
                () = waiter.called.notified() => {}
                () = freed => {}
            }
        }
    }
}

impl Queues {
    fn join_if_busy(&self, subject: &Arc<Subject>, priority: u32) -> Option<Waiter<'_>> {
        let busy = {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.get(&id(subject)).is_some_and(|queue| !queue.is_empty())
        };
        busy.then(|| self.join(subject, priority)).flatten()
    }

    fn join(&self, subject: &Arc<Subject>, priority: u32) -> Option<Waiter<'_>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = waiting.entry(id(subject)).or_default();
        if queue.len() >= MOST {
            return None;
        }
        let turn = (Reverse(priority), self.next.fetch_add(1, Relaxed));
        let called = Arc::new(Notify::new());
        queue.insert(turn, called.clone());
        Some(Waiter { queues: self, subject: subject.clone(), turn, called })
    }

    /// Requests that wait now.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).values().map(BTreeMap::len).sum()
    }
}

impl Waiter<'_> {
    fn is_first(&self) -> bool {
        let waiting = self.queues.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waiting.get(&id(&self.subject)).and_then(BTreeMap::first_key_value);
        first.is_some_and(|(turn, _)| *turn == self.turn)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queues.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = waiting.get_mut(&id(&self.subject)) else { return };
        queue.remove(&self.turn);
        match queue.first_key_value() {
            Some((_, next)) => next.notify_one(),
            None => {
                waiting.remove(&id(&self.subject));
            }
        }
    }
}

/// Subjects live as long as the process: so does their address.
fn id(subject: &Arc<Subject>) -> usize {
    Arc::as_ptr(subject) as usize
}
