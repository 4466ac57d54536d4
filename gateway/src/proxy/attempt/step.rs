//! What follows on a failed attempt: nothing, another target, or the same one once more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::outcome::Outcome;
use crate::proxy::Exchange;
use crate::proxy::answer::under_way::UpstreamAnswer;
use crate::proxy::reply::Stopped;
use crate::proxy::waiting::ending::Ending;
use crate::proxy::waiting::wait_for;
use crate::routing::Taken;
use crate::snapshot::Target;

/// What follows on an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The client is told.
    Stop,
    /// Another target, or another credential.
    Elsewhere,
    /// The same target once more, after a while.
    Repeat(Duration),
}

/// The same target once more.
pub struct Repeat {
    target: Arc<Target>,
    credential: usize,
    wait: Duration,
}

impl Exchange {
    /// What follows if the current attempt ends with `outcome` now.
    pub fn step_after(&self, outcome: Outcome) -> Step {
        let (Some(request), Some(attempt)) = (&self.request, self.attempt()) else { return Step::Stop };
        let retry = &request.model.retry;
        if self.committed || !outcome.moves_on(retry) {
            return Step::Stop;
        }
        if outcome.is_of_model() && request.model.direct {
            // It is the client that named it.
            return Step::Stop;
        }
        let now = self.snapshot.time.instant();
        let elsewhere = match outcome {
            // The second call of a hedged request is under way elsewhere.
            _ if self.hedge.is_some() && !outcome.is_of_length() => return Step::Elsewhere,
            _ if self.has_made_all() => return Step::Stop,
            outcome if outcome.is_of_length() => self.plan.has_larger_window(&attempt.target),
            outcome if outcome.is_of_credential() => self.plan.has_next(now),
            _ => self.plan.has_other_target(now),
        };
        let mut same_target = self.attempts.iter().filter(|other| Arc::ptr_eq(&other.target, &attempt.target));
        let again = retry.same_target && same_target.nth(1).is_none();
        match outcome.worth_repeating(!elsewhere, attempt.retry_after) {
            Some(wait) if again && wait <= retry.max_wait && attempt.state().retries().has(now) => Step::Repeat(wait),
            _ if elsewhere => Step::Elsewhere,
            _ => Step::Stop,
        }
    }

    /// Whether as many attempts were made as its client wants at most.
    pub fn has_made_all(&self) -> bool {
        let most = self.request.as_ref().and_then(|request| request.attempts);
        most.is_some_and(|most| self.attempts.len() >= most)
    }

    /// Whether an attempt may yet follow on one that fails for whatever reason.
    pub fn may_go_elsewhere(&self) -> bool {
        self.plan.has_next(self.snapshot.time.instant())
    }

    /// Another attempt follows on the one that failed: the client is not told of that.
    pub fn forget_failure(&mut self) {
        self.error = None;
        self.retry_after = Vec::new();
    }

    /// Prepares for what follows on the attempt that ended with `outcome`.
    pub fn prepare(&mut self, step: Step, outcome: Outcome) {
        let Some(attempt) = self.attempt() else { return };
        let target = attempt.target.clone();
        match step {
            Step::Stop => return,
            Step::Repeat(wait) => {
                attempt.state().retries().withdraw(self.snapshot.time.instant());
                self.repeat = Some(Repeat { target, credential: attempt.credential, wait: spread(wait) });
            }
            Step::Elsewhere => match outcome {
                outcome if outcome.is_of_length() => self.plan.seek_larger_window(&target),
                outcome if outcome.is_of_credential() => {}
                _ => self.plan.leave_target(),
            },
        }
        self.keep_consumed();
        self.upstream_answer = UpstreamAnswer::new(Instant::now());
        self.status = 0;
    }
}

impl Repeat {
    /// How long before it is asked again.
    pub fn pause(&self) -> Duration {
        self.wait
    }

    /// Waits for the moment to ask again.
    ///
    /// # Errors
    /// The client went away, or the process leaves.
    pub async fn wait(&self, session: &mut Session, exchange: &mut Exchange, ending: &Ending) -> Result<()> {
        match wait(session, exchange, self.wait, ending).await {
            Ok(()) => Ok(()),
            Err(Stopped::Client(error)) => Err(error),
            Err(Stopped::Refused(refusal)) => {
                exchange.forget_failure();
                exchange.error = Some(refusal.into_error());
                Err(Error::explain(ErrorType::InternalError, "the process leaves"))
            }
        }
    }

    /// The attempt. The target may rest by now: this one was promised before.
    pub fn take(self, now: Instant) -> Taken {
        Taken::anyway(self.target, self.credential, now)
    }
}

/// `wait`, and up to half as long again, so that those that failed together do not come back together.
pub fn spread(wait: Duration) -> Duration {
    wait + wait.mul_f64(fastrand::f64() / 2.0)
}

/// Waits, with no clock of an attempt running.
///
/// # Errors
/// The client went away, or the process leaves.
pub async fn wait(
    session: &mut Session,
    exchange: &mut Exchange,
    wait: Duration,
    ending: &Ending,
) -> Result<(), Stopped> {
    if let Some(replay) = &exchange.replay {
        replay.rest();
    }
    let waited = wait_for(&mut session.downstream_session, ending, tokio::time::sleep(wait)).await;
    waited.map_err(|given_up| given_up.told(exchange))
}
