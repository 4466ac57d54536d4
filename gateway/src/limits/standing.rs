//! How a client stands with its limits: `x-ratelimit-*`, in the spelling of OpenAI.
//! <https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers>

use std::fmt;
use std::io::Write;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::meter::{Rule, WHILE_OTHERS_RUN, What};
use super::subject::Kind;

/// How a request stands with the limits of its key and team: of several windows the one with the least room.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    requests: Option<Mark>,
    tokens: Option<Mark>,
    /// Of the budget that is used most.
    budget: Option<f64>,
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    limit: u64,
    remaining: u64,
    /// Milliseconds until nothing is counted.
    reset: u64,
}

/// Limit, what is left of it, and when all of it is there again.
static REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
static TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];
/// Tells that a budget is past its soft mark: which part of it is used.
static BUDGET: HeaderName = HeaderName::from_static("x-gateway-budget-used");

impl Standing {
    pub(super) fn add(&mut self, kind: Kind, rule: &Rule, limit: u64, used: u64, last_end: Option<u64>, now: u64) {
        if !matches!(kind, Kind::Key | Kind::Team) {
            return;
        }
        let place = match rule.what {
            What::Requests => &mut self.requests,
            What::Tokens => &mut self.tokens,
            What::Concurrent => return,
            What::Cost => {
                if used >= rule.soft {
                    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
                    let part = used as f64 / limit as f64;
                    self.budget = Some(self.budget.map_or(part, |most| most.max(part)));
                }
                return;
            }
        };
        let reset = match last_end {
            Some(end) => end.saturating_sub(now),
            // Of requests under way.
            None if used > 0 => WHILE_OTHERS_RUN,
            None => 0,
        };
        let mark = Mark { limit, remaining: limit.saturating_sub(used), reset };
        if place.is_none_or(|other| mark.remaining < other.remaining) {
            *place = Some(mark);
        }
    }

    /// Sets the headers that say so.
    pub fn tell(&self, headers: &mut HeaderMap) {
        for (mark, [limit, remaining, reset]) in [(self.requests, &REQUESTS), (self.tokens, &TOKENS)] {
            let Some(mark) = mark else { continue };
            headers.insert(limit, mark.limit.into());
            headers.insert(remaining, mark.remaining.into());
            insert(headers, reset, Reset(mark.reset));
        }
        if let Some(part) = self.budget {
            insert(headers, &BUDGET, format_args!("{part:.3}"));
        }
    }
}

fn insert(headers: &mut HeaderMap, name: &HeaderName, value: impl fmt::Display) {
    // On the stack: a text that grows while it is written costs more than all else of a header.
    let mut text = [0; 32];
    let mut rest = text.as_mut_slice();
    if write!(rest, "{value}").is_err() {
        return;
    }
    let left = rest.len();
    if let Some(text) = text.get(..text.len() - left)
        && let Ok(value) = HeaderValue::from_bytes(text)
    {
        headers.insert(name, value);
    }
}

/// Milliseconds in the spelling of OpenAI (Go's): `6m0s`, `1.5s`, `20ms`.
struct Reset(u64);

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0 / 1000, self.0 % 1000);
        if seconds == 0 {
            return if millis == 0 { f.write_str("0s") } else { write!(f, "{millis}ms") };
        }
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        match millis {
            0 => write!(f, "{seconds}s"),
            _ if millis % 100 == 0 => write!(f, "{seconds}.{}s", millis / 100),
            _ if millis % 10 == 0 => write!(f, "{seconds}.{:02}s", millis / 10),
            _ => write!(f, "{seconds}.{millis:03}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_spelled_as_openai_does() {
        for (millis, text) in [
            (0, "0s"),
            (20, "20ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (1_050, "1.05s"),
            (10_000, "10s"),
            (360_000, "6m0s"),
            (3_600_000, "1h0m0s"),
            (90_061_001, "25h1m1.001s"),
        ] {
            assert_eq!(Reset(millis).to_string(), text);
        }
    }
}
