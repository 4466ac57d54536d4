//! Tests of the whole: what happens to a target step by step, sequences by chance, and threads.

mod credentials;
mod registry;
mod sequences;
mod steps;
mod threads;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;

/// A registry with one provider, and its clock.
struct World {
    health: Health,
    now: Instant,
}

const SECOND: Duration = Duration::from_secs(1);

fn failure(kind: FailureKind) -> Verdict {
    Verdict::Failure { kind, retry_after: None }
}

fn asking(kind: FailureKind, seconds: u64) -> Verdict {
    Verdict::Failure { kind, retry_after: Some(Duration::from_secs(seconds)) }
}

const SUCCESS: Verdict = Verdict::Success { first_output: None };
const FAILED: Verdict = Verdict::Failure { kind: FailureKind::Connect, retry_after: None };

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self { health: Health::new(now, 7), now }
    }

    fn with(settings: Settings) -> Self {
        let world = Self::new();
        world.health.configure("p", settings, &["key a", "key b"]);
        world
    }

    fn target(&self, model: &str, credential: usize) -> Arc<TargetState> {
        self.health.target("p", model, credential, self.now)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// One attempt that ends at once.
    fn attempt(&self, target: &Arc<TargetState>, verdict: Verdict) -> Changes {
        target.begin(self.now).unwrap().finish(self.now, verdict)
    }

    fn fail(&self, target: &Arc<TargetState>, times: usize) {
        for _ in 0..times {
            let _ = self.attempt(target, FAILED);
        }
    }

    /// What keeps the target away, and for how long.
    fn waiting(&self, target: &TargetState) -> (Duration, String) {
        match target.check(self.now) {
            Availability::Until { at, reason } => (at - self.now, reason.to_string()),
            other => panic!("{other:?}"),
        }
    }
}

/// Whether it is `nominal` less the jitter.
fn about(wait: Duration, nominal: Duration) -> bool {
    wait <= nominal && wait >= nominal.mul_f64(0.9)
}
