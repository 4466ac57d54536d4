//! When a breaker opens, and for how long.

use std::time::{Duration, Instant};

/// The longest that a provider's `retry-after` is obeyed.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// The first wait after a rate limit that names none.
pub(super) const FIRST_RATE_LIMIT: Duration = Duration::from_millis(200);
/// The first wait after refused credentials: somebody must act, and asking more often helps nobody.
pub(super) const FIRST_REFUSAL: Duration = Duration::from_secs(30);
/// The first wait after a 403 of a model that has just worked: it may have been about one request.
pub(super) const FIRST_FORBIDDEN: Duration = Duration::from_secs(1);
/// The longest wait after refused credentials.
pub(super) const MAX_REFUSAL: Duration = Duration::from_secs(300);
/// How long a success says that a credential, or a model, is good when it is refused next; and a refusal that it is not, when
/// nobody tries.
const STILL_TRUE: Duration = Duration::from_secs(600);
/// No wait is longer, whatever the settings say.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(86_400);
/// Cool-downs are shortened by up to this share, so that instances do not come back all at once.
const JITTER: f64 = 0.1;

/// When the breakers of a provider's targets open, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Failures in a row that open it; 0: never for that.
    pub failures: u32,
    /// Share of failed attempts (above 0, up to 1) that opens it; 0: never for that.
    pub rate: f64,
    /// The time in which the share is taken.
    pub window: Duration,
    /// How many attempts the share needs.
    pub min_requests: u32,
    /// The first cool-down; each that follows without a success between is twice as long.
    pub cooldown: Duration,
    /// The longest cool-down.
    pub max_cooldown: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures: 5,
            rate: 0.5,
            window: Duration::from_secs(30),
            min_requests: 20,
            cooldown: Duration::from_secs(2),
            max_cooldown: Duration::from_secs(60),
        }
    }
}

pub(super) fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < STILL_TRUE
}

/// The `nth` wait (from 1) of a series that begins with `first`, doubles and ends at `longest`, shortened by the jitter
/// that `random` (0 to 1) gives.
pub(super) fn backoff(first: Duration, longest: Duration, nth: u32, random: f64) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(nth.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(longest.max(first)).min(MAX_WAIT).mul_f64(1.0 - JITTER * random)
}
