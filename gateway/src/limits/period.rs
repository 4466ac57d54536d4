//! In which time something is counted.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Parts of a sliding window.
const PARTS: u64 = 60;
/// After every other moment, and still a whole number where numbers are floating (Lua).
pub const NEVER: u64 = 1 << 52;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// A window of time. All moments are milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// Whatever came in the last so many milliseconds. It is kept in sixty parts, each of which counts until its youngest
    /// moment is so old: no window of this length ever holds more than the limit, and room comes back at most a sixtieth
    /// of the window late.
    Sliding(u64),
    /// From one whole hour to the next.
    Hour,
    /// From midnight to midnight, UTC.
    Day,
    /// From Monday to Monday, UTC.
    Week,
    /// From the first of a month to the first of the next, UTC.
    Month,
    /// For ever.
    Total,
}

impl Period {
    /// The last `window`; at least a twentieth of a second.
    pub fn sliding(window: Duration) -> Self {
        Self::Sliding(u64::try_from(window.as_millis()).unwrap_or(NEVER).clamp(50, NEVER))
    }

    /// The longest time that anything counts.
    pub fn longest(self) -> Duration {
        Duration::from_millis(match self {
            Self::Sliding(window) => window,
            Self::Hour => HOUR,
            Self::Day => DAY,
            Self::Week => 7 * DAY,
            Self::Month => 31 * DAY,
            Self::Total => NEVER,
        })
    }

    /// Until when something counts that happens `now`.
    pub fn ends(self, now: u64) -> u64 {
        match self {
            Self::Sliding(window) => {
                let part = window.div_ceil(PARTS);
                ((now / part + 1) * part).saturating_add(window).min(NEVER)
            }
            Self::Hour => (now / HOUR + 1) * HOUR,
            Self::Day => (now / DAY + 1) * DAY,
            // The first of January 1970 was a Thursday.
            Self::Week => ((now / DAY + 3) / 7 + 1) * 7 * DAY - 3 * DAY,
            Self::Month => next_month(now / DAY) * DAY,
            Self::Total => NEVER,
        }
    }

    /// Since when things count that are counted `now`; what a ledger is asked for after a restart.
    pub fn begins(self, now: u64) -> u64 {
        match self {
            Self::Sliding(window) => now.saturating_sub(window),
            Self::Hour => now / HOUR * HOUR,
            Self::Day => now / DAY * DAY,
            Self::Week => ((now / DAY + 3) / 7 * 7 * DAY).saturating_sub(3 * DAY),
            Self::Month => month_of(now / DAY).0 * DAY,
            Self::Total => 0,
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sliding(window) => humantime::format_duration(Duration::from_millis(*window)).fmt(f),
            Self::Hour => f.write_str("hour"),
            Self::Day => f.write_str("day"),
            Self::Week => f.write_str("week"),
            Self::Month => f.write_str("month"),
            Self::Total => f.write_str("total"),
        }
    }
}

/// The day since 1970 on which the month after that of `day` begins.
fn next_month(day: u64) -> u64 {
    let (first, length) = month_of(day);
    first + length
}

/// The first day of the month of `day`, and how many days it has. Days are counted from 1970.
fn month_of(day: u64) -> (u64, u64) {
    // Years that begin in March put the leap day at their end: <https://howardhinnant.github.io/date_algorithms.html>
    let day_of_era = (day + 719_468) % 146_097;
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let first = (153 * month + 2) / 5;
    // March is 0. The year of its February is the next one.
    let leap = (year + 1).is_multiple_of(4) && (!(year + 1).is_multiple_of(100) || (year + 1).is_multiple_of(400));
    let length = match month {
        11 => 28 + u64::from(leap),
        1 | 3 | 6 | 8 => 30,
        _ => 31,
    };
    (day - (day_of_year - first), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> u64 {
        let time = humantime::parse_rfc3339(text).unwrap();
        u64::try_from(time.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
    }

    #[test]
    fn calendar() {
        for (period, now, begins, ends) in [
            (Period::Hour, "2026-11-25T17:59:59.999Z", "2026-11-25T17:00:00Z", "2026-11-25T18:00:00Z"),
            (Period::Day, "2026-11-25T00:00:00Z", "2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z"),
            (Period::Week, "2026-11-25T17:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            (Period::Week, "2026-11-30T00:00:00Z", "2026-11-30T00:00:00Z", "2026-12-07T00:00:00Z"),
            (Period::Week, "2026-11-29T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            (Period::Month, "2026-11-25T17:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            (Period::Month, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Period::Month, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Period::Month, "2027-02-28T12:00:00Z", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"),
            (Period::Month, "2100-02-28T12:00:00Z", "2100-02-01T00:00:00Z", "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(period.begins(at(now)), at(begins), "{period} {now}");
            assert_eq!(period.ends(at(now)), at(ends), "{period} {now}");
        }
    }

    #[test]
    fn each_month_follows_on_the_one_before() {
        let mut now = 0;
        for month in 0..12 * 200 {
            let text = format!("{}-{:02}-01T00:00:00Z", 1970 + month / 12, month % 12 + 1);
            assert_eq!(now, at(&text));
            let next = Period::Month.ends(now);
            assert_eq!(Period::Month.begins(next - 1), now);
            now = next;
        }
    }

    #[test]
    fn a_sliding_part_counts_for_the_window_and_at_most_a_sixtieth_longer() {
        for window in [50, 1_000, 60_000, 3_600_000, 86_400_000, 7 * 86_400_000] {
            for now in [0, 1, 999, 1_000, 1_764_092_000_123_u64] {
                let counts = Period::Sliding(window).ends(now) - now;
                assert!(counts > window && counts <= window + window.div_ceil(PARTS), "{window} {now}: {counts}");
            }
        }
    }
}
