//! The clocks of one request: `x-gateway-timeout-connect`, `-first-token`, `-idle` and `-total`, instead of those of the
//! model and the target.

use std::time::Duration;

use ai_gateway_providers::error::{ApiError, ErrorKind};
use http::HeaderMap;

use crate::config::TimeoutsConfig;

/// Longest time that a client may ask for.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

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
            connect: read(headers, "x-gateway-timeout-connect")?,
            first_token: read(headers, "x-gateway-timeout-first-token")?,
            idle: read(headers, "x-gateway-timeout-idle")?,
            total: read(headers, "x-gateway-timeout-total")?,
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

fn read(headers: &HeaderMap, name: &'static str) -> Result<Option<Duration>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    match parsed.filter(|duration| !duration.is_zero() && *duration <= LONGEST) {
        Some(duration) => Ok(Some(duration)),
        None => {
            let message = format!("`{name}` must be a length of time such as `30s` or `1500ms`, at most 6 hours");
            Err(ApiError::new(ErrorKind::InvalidRequest, message).with_param(name))
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
        for wrong in ["0", "-1", "soon", "", "7h", "1e300", "NaN"] {
            assert_eq!(clocks("x-gateway-timeout-connect", wrong).unwrap_err().status, 400, "{wrong}");
        }
    }
}
