//! What follows on a failed attempt: nothing, another target, or the same one once more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora_error::{Error, ErrorSource, Result};
use pingora_proxy::Session;

use super::Exchange;
use super::outcome::Outcome;
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
        let elsewhere = match outcome {
            // The second call of a hedged request is under way elsewhere.
            _ if self.hedge.is_some() && !outcome.is_of_length() => return Step::Elsewhere,
            _ if request.attempts.is_some_and(|most| self.attempts.len() >= most) => return Step::Stop,
            outcome if outcome.is_of_length() => self.plan.has_larger_window(&attempt.target),
            outcome if outcome.is_of_credential() => self.plan.has_next(),
            _ => self.plan.has_other_target(),
        };
        let mut same_target = self.attempts.iter().filter(|other| Arc::ptr_eq(&other.target, &attempt.target));
        let again = retry.same_target && same_target.nth(1).is_none();
        match outcome.worth_repeating(!elsewhere, attempt.retry_after) {
            Some(wait)
                if again && wait <= retry.max_wait && attempt.state().retries().has(self.snapshot.time.instant()) =>
            {
                Step::Repeat(wait)
            }
            _ if elsewhere => Step::Elsewhere,
            _ => Step::Stop,
        }
    }

    /// Prepares for what follows on the attempt that ended with `outcome`.
    pub fn prepare(&mut self, step: Step, outcome: Outcome) {
        let Some(attempt) = self.attempts.last() else { return };
        let target = attempt.target.clone();
        match step {
            Step::Stop => return,
            Step::Repeat(wait) => {
                attempt.state().retries().withdraw(self.snapshot.time.instant());
                // Not longer than half as long again, so that those that failed together do not come back together.
                let jitter = wait.mul_f64(fastrand::f64() / 2.0);
                self.repeat = Some(Repeat { target, credential: attempt.credential, wait: wait + jitter });
            }
            Step::Elsewhere => match outcome {
                outcome if outcome.is_of_length() => self.plan.seek_larger_window(&target),
                outcome if outcome.is_of_credential() => {}
                _ => self.plan.leave_target(),
            },
        }
        self.keep_consumed();
        self.observer = None;
        self.error_body = None;
        self.first_output = None;
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
    /// The client went away.
    pub async fn wait(&self, session: &mut Session, exchange: &mut Exchange) -> Result<()> {
        wait(session, exchange, self.wait).await
    }

    /// The attempt. The target may rest by now: this one was promised before.
    pub fn take(self, now: Instant) -> Taken {
        Taken::anyway(self.target, self.credential, now)
    }
}

/// Waits, with no clock of an attempt running.
///
/// # Errors
/// The client went away.
pub async fn wait(session: &mut Session, exchange: &mut Exchange, wait: Duration) -> Result<()> {
    if let Some(replay) = &exchange.replay {
        replay.rest();
    }
    let gone = tokio::select! {
        () = tokio::time::sleep(wait) => return Ok(()),
        gone = session.downstream_session.read_body_or_idle(true) => gone,
    };
    Err(left(exchange, gone))
}

/// The client went away while it waited; `gone` is how it was seen.
pub fn left<T>(exchange: &mut Exchange, gone: Result<T>) -> Box<Error> {
    exchange.client_left = true;
    let mut error = gone.err().unwrap_or_else(|| Error::new(pingora_error::ErrorType::ConnectionClosed));
    error.esource = ErrorSource::Downstream;
    error.set_retry(false);
    error
}
