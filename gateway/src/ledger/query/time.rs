//! Times as people write them.

use std::time::SystemTime;

use super::super::record::micros;

/// A text that is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time: write 2026-11-25, 2026-11-25T16:00:00Z, or 30d for that long ago")]
pub struct TimeError(String);

/// Reads a day (its beginning, UTC), a time of RFC 3339 in UTC, or a length of time before `now`. Gives microseconds since
/// 1970.
///
/// # Errors
/// It is none of them.
pub fn parse_time(text: &str, now: SystemTime) -> Result<i64, TimeError> {
    let error = || TimeError(text.chars().take(40).collect());
    let text = text.trim();
    if let Ok(ago) = humantime::parse_duration(text) {
        return now.checked_sub(ago).map(micros).ok_or_else(error);
    }
    let time = match text.len() {
        10 => humantime::parse_rfc3339(&format!("{text}T00:00:00Z")),
        _ => humantime::parse_rfc3339_weak(text),
    };
    time.map(micros).map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn days_times_and_spans() {
        let now = UNIX_EPOCH + Duration::from_secs(100 * 86_400);
        for (text, seconds) in [
            ("1970-01-02", 86_400),
            ("1970-01-02T01:00:00Z", 90_000),
            ("1970-01-02 01:00:00", 90_000),
            ("30d", 70 * 86_400),
            (" 1h 30m", 100 * 86_400 - 5_400),
        ] {
            assert_eq!(parse_time(text, now), Ok(seconds * 1_000_000), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01", "2026-1-1", "25.11.2026", "1970-01-02T01:00:00+02:00"] {
            assert!(parse_time(text, now).is_err(), "{text}");
        }
    }
}
