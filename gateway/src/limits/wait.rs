//! Waiting for room instead of being refused: `limits.wait`. The highest priority goes first, then whoever came first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::meter::WHILE_OTHERS_RUN;
use super::{Claim, Limits, NEVER, Refusal, Reservation, Subject};

/// The most that wait at one subject; others are refused at once.
const MOST: usize = 1_000;

/// Who waits at which subject, the next one first.
#[derive(Debug, Default)]
pub(super) struct Queues {
    waiting: Mutex<HashMap<usize, BTreeMap<Turn, Arc<Notify>>>>,
    next: AtomicU64,
}

/// Rank, then order of coming.
type Turn = (Reverse<Rank>, u64);

/// Who is let in already, and holds what others wait for; then priority.
type Rank = (bool, u32);

/// A place in the queue of a subject; dropping it lets the next one try.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
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
    /// `priority` goes first. The request has `waited` so long already.
    ///
    /// # Errors
    /// The limit that is in the way, of the last try.
    pub async fn admit_in_turn(
        self: &Arc<Self>,
        subjects: Vec<Arc<Subject>>,
        claim: Claim,
        priority: u32,
        waited: Duration,
    ) -> Result<Reservation, Box<Refusal>> {
        let most = Duration::from_millis(self.wait.load(Relaxed));
        if most.is_zero() {
            return self.admit(subjects, claim).await;
        }
        let deadline = Instant::now() + most.saturating_sub(waited);
        let rank = (claim.requests == 0, priority);
        // Who comes while others wait must not overtake them.
        let busy = subjects.iter().find_map(|subject| self.queues.join_if_busy(subject, rank));
        let full = busy.as_ref().and_then(|joined| joined.as_ref().err());
        if let Some(refusal) = full.and_then(|Full(subject)| subject.refuses(claim, self.now(), self.share())) {
            return Err(refusal);
        }
        let mut waiter = match busy {
            Some(Ok(waiter)) => waiter,
            _ => {
                let refusal = match self.admit(subjects.clone(), claim).await {
                    Ok(reservation) => return Ok(reservation),
                    Err(refusal) if claim.exceeds(&refusal.refused.rule) => return Err(refusal),
                    Err(refusal) => refusal,
                };
                match self.queues.join(&refusal.refused.subject, rank) {
                    Ok(waiter) => waiter,
                    Err(Full(_)) => return Err(refusal),
                }
            }
        };
        loop {
            let subject = waiter.subject.clone();
            let mut freed = pin!(subject.freed.notified());
            freed.as_mut().enable();
            let mut again = deadline;
            if waiter.is_first() || Instant::now() >= deadline {
                let refusal = match self.admit(subjects.clone(), claim).await {
                    Ok(reservation) => return Ok(reservation),
                    Err(refusal) => refusal,
                };
                let refused = &refusal.refused;
                let wait = refused.until.saturating_sub(self.now()).min(NEVER);
                let room = Instant::now() + Duration::from_millis(wait);
                let in_vain = claim.exceeds(&refused.rule) || (room > deadline && wait > WHILE_OTHERS_RUN);
                if in_vain || Instant::now() >= deadline {
                    return Err(refusal);
                }
                if refused.subject != subject {
                    // Those behind it here may have room.
                    waiter = match self.queues.join_as(&refused.subject, waiter.turn) {
                        Ok(waiter) => waiter,
                        Err(Full(_)) => return Err(refusal),
                    };
                    continue;
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

/// So many wait there already that nobody else may.
#[derive(Debug)]
pub(super) struct Full(Arc<Subject>);

impl Queues {
    /// Waits with those who wait at `subject`; `None`: nobody does.
    fn join_if_busy(&self, subject: &Arc<Subject>, rank: Rank) -> Option<Result<Waiter<'_>, Full>> {
        let busy = {
            let waiting = self.waiting.lock();
            waiting.get(&id(subject)).is_some_and(|queue| !queue.is_empty())
        };
        busy.then(|| self.join(subject, rank))
    }

    pub(super) fn join(&self, subject: &Arc<Subject>, rank: Rank) -> Result<Waiter<'_>, Full> {
        self.join_as(subject, (Reverse(rank), self.next.fetch_add(1, Relaxed)))
    }

    /// In the turn that it had elsewhere.
    fn join_as(&self, subject: &Arc<Subject>, turn: Turn) -> Result<Waiter<'_>, Full> {
        let mut waiting = self.waiting.lock();
        let queue = waiting.entry(id(subject)).or_default();
        if queue.len() >= MOST {
            return Err(Full(subject.clone()));
        }
        let called = Arc::new(Notify::new());
        queue.insert(turn, called.clone());
        Ok(Waiter { queues: self, subject: subject.clone(), turn, called })
    }

    /// Requests that wait now.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().values().map(BTreeMap::len).sum()
    }
}

impl Waiter<'_> {
    fn is_first(&self) -> bool {
        let waiting = self.queues.waiting.lock();
        let first = waiting.get(&id(&self.subject)).and_then(BTreeMap::first_key_value);
        first.is_some_and(|(turn, _)| *turn == self.turn)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queues.waiting.lock();
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
