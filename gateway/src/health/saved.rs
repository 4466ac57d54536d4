//! What is known of the targets, from one process to the next. Moments travel as lengths of time from now: the clock of a process
//! is its own.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Health;
use super::circuit::Circuit;
use super::target::Counters;
use super::verdict::Reason;

/// A target of another process, with its credential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    provider: Box<str>,
    model: Box<str>,
    credential: usize,
    drained: bool,
    open: Option<Open>,
    /// For how much longer it is left alone, and why.
    held: Option<(Duration, Reason)>,
    streak: u32,
    consecutive: u32,
    /// Seconds, and how long ago that was.
    latency: Option<(f64, Duration)>,
    #[serde(default)]
    answer_time: Option<(f64, Duration)>,
    histogram: Vec<(usize, f32)>,
    /// How long ago it succeeded.
    success: Option<Duration>,
    counters: Counters,
    /// The credential is refused; of which secret that is true.
    refused: Option<(Open, Option<u64>)>,
}

/// An open circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    /// For how much longer.
    wait: Duration,
    openings: u32,
    reason: Reason,
}

impl Open {
    fn of(circuit: &Circuit, reason: Reason, now: Instant) -> Option<Self> {
        let (until, openings) = circuit.opened()?;
        Some(Self { wait: until.saturating_duration_since(now), openings, reason })
    }
}

impl Health {
    /// Everything that is known of the targets; of the last attempts only that they failed in a row.
    pub fn save(&self, now: Instant) -> Vec<Saved> {
        let save = |target: &std::sync::Arc<super::TargetState>| {
            let credential = target.credential().inner.lock();
            let refused = Open::of(&credential.circuit, credential.reason, now);
            let refused = refused.map(|open| (open, credential.fingerprint));
            drop(credential);
            let inner = target.inner.lock();
            Saved {
                provider: (&**target.provider()).into(),
                model: (&**target.model()).into(),
                credential: target.credential().index(),
                drained: target.is_drained(),
                open: Open::of(&inner.circuit, inner.reason, now),
                held: inner.hold.until(now).map(|(until, why)| (until.saturating_duration_since(now), why)),
                streak: inner.hold.streak(),
                consecutive: inner.consecutive,
                latency: inner.latency.saved(now),
                answer_time: inner.answer_time.saved(now),
                histogram: inner.histogram.saved(now),
                success: inner.success.map(|at| now.saturating_duration_since(at)),
                counters: inner.counters,
                refused,
            }
        };
        self.targets().iter().map(save).collect()
    }

    /// Takes over what another process knew of the providers that there are here. A credential that was refused there may be another one here, which was not.
    pub fn load(&self, saved: Vec<Saved>, now: Instant) {
        let ago = |length: Duration| now.checked_sub(length).unwrap_or(now);
        let later = |length: Duration| now.checked_add(length).unwrap_or(now);
        for saved in saved.into_iter().filter(|saved| self.has(&saved.provider)) {
            let target = self.target(&saved.provider, &saved.model, saved.credential, now);
            if saved.drained {
                target.drain();
            }
            {
                let mut inner = target.inner.lock();
                if let Some(Open { wait, openings, reason }) = saved.open {
                    inner.circuit.restore(later(wait), openings);
                    inner.reason = reason;
                }
                inner.hold.restore(saved.held.map(|(wait, why)| (later(wait), why)), saved.streak);
                inner.consecutive = saved.consecutive;
                if let Some((value, age)) = saved.latency {
                    inner.latency.restore(value, ago(age));
                }
                if let Some((value, age)) = saved.answer_time {
                    inner.answer_time.restore(value, ago(age));
                }
                inner.histogram.restore(now, &saved.histogram);
                inner.success = saved.success.map(ago);
                inner.counters = saved.counters;
            }
            if let Some((Open { wait, openings, reason }, of)) = saved.refused {
                let mut credential = target.credential().inner.lock();
                if credential.fingerprint == of {
                    credential.circuit.restore(later(wait), openings);
                    credential.reason = reason;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Availability, FailureKind, Settings, State, Verdict};
    use super::*;

    #[test]
    fn a_new_process_knows_what_the_old_one_knew() {
        let (begin, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let old = Health::new(begin, 1);
        old.configure("p", Settings { failures: 2, ..Settings::default() }, &["secret", "other"]);
        let failure = |kind| Verdict::Failure { kind, retry_after: None };
        let [broken, fast, refused, drained] = [("broken", 0), ("fast", 0), ("any", 1), ("drained", 0)]
            .map(|(model, key)| old.target("p", model, key, begin));
        for _ in 0..2 {
            _ = broken.begin(begin).unwrap().finish(begin, failure(FailureKind::Cut));
        }
        for _ in 0..30 {
            let first_output = Some(Duration::from_millis(80));
            _ = fast.begin(begin).unwrap().finish(begin, Verdict::Success { first_output });
        }
        _ = refused.begin(begin).unwrap().finish(begin, failure(FailureKind::Credentials(401)));
        drained.drain();

        let saved = old.save(later);
        let json = serde_json::to_string(&saved).unwrap();
        let new = Health::new(later, 2);
        new.configure("p", Settings::default(), &["secret", "other"]);
        new.load(serde_json::from_str(&json).unwrap(), later);
        let (was, is) = (old.targets(), new.targets());
        assert_eq!(was.len(), is.len());
        for (was, is) in was.iter().zip(&is) {
            let (was, is) = (was.status(later), is.status(later));
            assert_eq!((was.state, was.reason, was.counters), (is.state, is.reason, is.counters), "{}", was.model);
            assert_eq!(
                (was.retry_in_ms, was.p50_ms, was.consecutive_failures),
                (is.retry_in_ms, is.p50_ms, is.consecutive_failures)
            );
        }
        assert_eq!(new.target("p", "drained", 0, later).check(later), Availability::Drained);
        assert_eq!(new.target("p", "broken", 0, later).status(later).state, State::Waiting);

        // Another secret in its place has not been refused yet.
        let other = Health::new(later, 3);
        other.configure("p", Settings::default(), &["secret", "changed"]);
        other.load(saved, later);
        assert_eq!(other.target("p", "any", 1, later).check(later), Availability::Ready);
    }
}
