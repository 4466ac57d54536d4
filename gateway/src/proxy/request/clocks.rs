//! The clocks of one request: `x-gateway-timeout-connect`, `-first-token`, `-idle` and `-total`, instead of those of the
//! model and the target; and how often its client wants it tried. The headers of other gateways that say the same are understood,
//! in their own units.

use std::time::Duration;

use ai_gateway_providers::error::{ApiError, ErrorKind};
use http::{HeaderMap, HeaderName};

use crate::config::TimeoutsConfig;
use crate::proxy::attempt::outcome::Outcome;
use crate::proxy::replay::Clock;

/// Longest time that a client may ask for.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// What a bare number counts.
const SECONDS: f64 = 1.0;
const MILLISECONDS: f64 = 1e-3;
static CONNECT: (HeaderName, f64) = (HeaderName::from_static("x-gateway-timeout-connect"), SECONDS);
static IDLE: (HeaderName, f64) = (HeaderName::from_static("x-gateway-timeout-idle"), SECONDS);
static FIRST_TOKEN: [(HeaderName, f64); 2] = [
    (HeaderName::from_static("x-gateway-timeout-first-token"), SECONDS),
    (HeaderName::from_static("x-litellm-stream-timeout"), SECONDS),
];
static TOTAL: [(HeaderName, f64); 4] = [
    (HeaderName::from_static("x-gateway-timeout-total"), SECONDS),
    (HeaderName::from_static("x-litellm-timeout"), SECONDS),
    (HeaderName::from_static("x-portkey-request-timeout"), MILLISECONDS),
    (HeaderName::from_static("cf-aig-request-timeout"), MILLISECONDS),
];
/// How often a request is tried: beside the first time, and in all.
static RETRIES: (HeaderName, usize) = (HeaderName::from_static("x-litellm-num-retries"), 1);
static ATTEMPTS: (HeaderName, usize) = (HeaderName::from_static("cf-aig-max-attempts"), 0);

/// What a request says about its clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    connect: Option<Duration>,
    first_token: Option<Duration>,
    idle: Option<Duration>,
    total: Option<Duration>,
}

impl Clocks {
    /// Reads the headers: a length of time such as `1500ms` or `30s`, or a number of seconds.
    ///
    /// # Errors
    /// A value that is no length of time, or longer than six hours.
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        Ok(Self {
            connect: read(headers, &CONNECT)?,
            first_token: first(headers, &FIRST_TOKEN)?,
            idle: read(headers, &IDLE)?,
            total: first(headers, &TOTAL)?,
        })
    }

    /// The clocks of an attempt at a target whose own are `target`.
    pub fn over(self, target: TimeoutsConfig) -> TimeoutsConfig {
        TimeoutsConfig {
            connect: self.connect.unwrap_or(target.connect),
            first_token: self.first_token.unwrap_or(target.first_token),
            idle: self.idle.unwrap_or(target.idle),
            total: self.total.unwrap_or(target.total),
        }
    }
}

/// Whether an attempt of `took` ended with `outcome` because its client `given` it less time than the target's `own`. A target that
/// would have had longer has not failed: else the haste of one client would put it out of service for all.
pub fn is_haste(outcome: Outcome, took: Duration, given: TimeoutsConfig, own: TimeoutsConfig) -> bool {
    match outcome {
        Outcome::Timeout(Clock::FirstToken) => given.first_token < own.first_token,
        Outcome::Timeout(Clock::Idle) => given.idle < own.idle,
        Outcome::Timeout(Clock::Total) => given.total < own.total,
        Outcome::Dns | Outcome::Connect | Outcome::ConnectTimeout | Outcome::Tls => {
            given.to_connect() < own.to_connect() && took >= given.to_connect()
        }
        _ => false,
    }
}

/// The most attempts that a request wants, if it says: `x-litellm-num-retries` comes on top of a first one,
/// `cf-aig-max-attempts` counts all.
///
/// # Errors
/// A value that is no number.
pub fn attempts(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    for (name, first) in [&RETRIES, &ATTEMPTS] {
        let Some(value) = headers.get(name) else { continue };
        let Some(number) = value.to_str().ok().and_then(|text| text.trim().parse::<u16>().ok()) else {
            let message = format!("`{name}` must be a number");
            return Err(ApiError::new(ErrorKind::InvalidRequest, message).with_param(name.as_str()));
        };
        return Ok(Some(usize::from(number).saturating_add(*first).max(1)));
    }
    Ok(None)
}

/// The first of some headers that is there.
fn first(headers: &HeaderMap, names: &'static [(HeaderName, f64)]) -> Result<Option<Duration>, ApiError> {
    names.iter().find(|(name, _)| headers.contains_key(name)).map_or(Ok(None), |name| read(headers, name))
}

/// `unit`: what a bare number counts, in seconds.
fn read(headers: &HeaderMap, (name, unit): &'static (HeaderName, f64)) -> Result<Option<Duration>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let parsed = match text.parse::<f64>() {
        Ok(number) => Duration::try_from_secs_f64(number * unit).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    match parsed.filter(|duration| !duration.is_zero() && *duration <= LONGEST) {
        Some(duration) => Ok(Some(duration)),
        None => {
            let message = format!("`{name}` must be a length of time such as `30s` or `1500ms`, at most 6 hours");
            Err(ApiError::new(ErrorKind::InvalidRequest, message).with_param(name.as_str()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(name: &'static str, value: &str) -> Result<TimeoutsConfig, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        Clocks::of(&headers).map(|clocks| clocks.over(TimeoutsConfig::default()))
    }

    #[test]
    fn a_request_sets_the_clocks_it_names() {
        let own = TimeoutsConfig::default();
        let idle = Duration::from_millis(1500);
        assert_eq!(clocks("x-gateway-timeout-idle", "1500ms").unwrap(), TimeoutsConfig { idle, ..own });
        assert_eq!(clocks("x-gateway-timeout-total", "1.5").unwrap(), TimeoutsConfig { total: idle, ..own });
        assert_eq!(clocks("x-other", "1.5").unwrap(), own);
        assert_eq!(clocks("x-litellm-timeout", "1.5").unwrap(), TimeoutsConfig { total: idle, ..own });
        assert_eq!(clocks("x-litellm-stream-timeout", "1.5").unwrap(), TimeoutsConfig { first_token: idle, ..own });
        assert_eq!(clocks("x-portkey-request-timeout", "1500").unwrap(), TimeoutsConfig { total: idle, ..own });
        assert_eq!(clocks("cf-aig-request-timeout", "1500").unwrap(), TimeoutsConfig { total: idle, ..own });
        for wrong in ["0", "-1", "soon", "", "7h", "1e300", "NaN"] {
            assert_eq!(clocks("x-gateway-timeout-connect", wrong).unwrap_err().status, 400, "{wrong}");
        }
    }

    #[test]
    fn the_haste_of_a_client_is_no_failure_of_the_target() {
        let own = TimeoutsConfig::default();
        let (short, long) = (Duration::from_millis(50), Duration::from_secs(3600));
        let hasty = |outcome, given| is_haste(outcome, short, given, own);
        let all = |clock| TimeoutsConfig { connect: clock, first_token: clock, idle: clock, total: clock };
        for (outcome, but_it) in [
            (Outcome::Timeout(Clock::FirstToken), TimeoutsConfig { first_token: own.first_token, ..all(short) }),
            (Outcome::Timeout(Clock::Idle), TimeoutsConfig { idle: own.idle, ..all(short) }),
            (Outcome::Timeout(Clock::Total), TimeoutsConfig { total: own.total, ..all(short) }),
            (Outcome::Dns, TimeoutsConfig { connect: own.connect, total: own.total, ..all(short) }),
            (Outcome::Connect, TimeoutsConfig { connect: own.connect, total: own.total, ..all(short) }),
            (Outcome::ConnectTimeout, TimeoutsConfig { connect: own.connect, total: own.total, ..all(short) }),
            (Outcome::Tls, TimeoutsConfig { connect: own.connect, total: own.total, ..all(short) }),
        ] {
            assert!(hasty(outcome, all(short)), "{outcome:?}");
            assert!(!hasty(outcome, but_it), "{outcome:?}: the other clocks did not run out");
            assert!(!hasty(outcome, all(long)) && !hasty(outcome, own), "{outcome:?}");
        }
        for outcome in [Outcome::Timeout(Clock::Shutdown), Outcome::Status(408), Outcome::Cut] {
            assert!(!hasty(outcome, all(short)), "{outcome:?}");
        }
        let refused_at_once = is_haste(Outcome::Connect, Duration::from_millis(1), all(short), own);
        assert!(!refused_at_once, "no clock ran out");
    }

    #[test]
    fn a_request_may_want_fewer_attempts() {
        let attempts = |name: &'static str, value: &str| {
            attempts(&HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())]))
        };
        assert_eq!(attempts("x-litellm-num-retries", "0").unwrap(), Some(1));
        assert_eq!(attempts("x-litellm-num-retries", "2").unwrap(), Some(3));
        assert_eq!(attempts("cf-aig-max-attempts", "2").unwrap(), Some(2));
        assert_eq!(attempts("cf-aig-max-attempts", "0").unwrap(), Some(1));
        assert_eq!(attempts("x-other", "2").unwrap(), None);
        assert_eq!(attempts("x-litellm-num-retries", "many").unwrap_err().status, 400);
    }
}
