//! How a client stands with its limits: `x-ratelimit-*`, in the spelling of OpenAI.
//! <https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers>

use std::fmt::{self, Write};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::meter::{WHILE_OTHERS_RUN, What};
use super::subject::{Kind, MeterUsage};

/// How a request stands with the limits of its key and team: of several windows the one with the least room. How one stands that
/// is refused by a limit on requests or tokens: with that one, whoever's it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    requests: Option<Mark>,
    tokens: Option<Mark>,
    /// Of the budget that is used most; what requests under way may cost is not used yet.
    budget: Option<f64>,
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    limit: u64,
    remaining: u64,
    /// Milliseconds until nothing is counted.
    reset: u64,
}

impl Mark {
    fn new(usage: &MeterUsage, limit: u64, last_end: Option<u64>, now: u64) -> Self {
        let used = usage.booked.saturating_add(usage.reserved);
        let reset = match last_end {
            Some(end) => end.saturating_sub(now),
            // Of requests under way.
            None if used > 0 => WHILE_OTHERS_RUN,
            None => 0,
        };
        Self { limit, remaining: limit.saturating_sub(used), reset }
    }
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
    pub(super) fn add(&mut self, kind: Kind, usage: &MeterUsage, limit: u64, last_end: Option<u64>, now: u64) {
        if !matches!(kind, Kind::Key | Kind::Team) {
            return;
        }
        let mark = Mark::new(usage, limit, last_end, now);
        if let Some(place) = self.place(usage.rule.what) {
            if place.is_none_or(|other| mark.remaining < other.remaining) {
                *place = Some(mark);
            }
        } else if usage.rule.what == What::Cost && usage.booked >= usage.rule.soft {
            #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
            let part = usage.booked as f64 / limit as f64;
            self.budget = Some(self.budget.map_or(part, |most| most.max(part)));
        }
    }

    /// The limit that refuses the request.
    pub(super) fn refuse(&mut self, usage: &MeterUsage, limit: u64, last_end: Option<u64>, now: u64) {
        if let Some(place) = self.place(usage.rule.what) {
            *place = Some(Mark::new(usage, limit, last_end, now));
        }
    }

    fn place(&mut self, what: What) -> Option<&mut Option<Mark>> {
        match what {
            What::Requests => Some(&mut self.requests),
            What::Tokens => Some(&mut self.tokens),
            What::Concurrent | What::Cost => None,
        }
    }

    /// Sets the headers that say so.
    pub fn tell(&self, headers: &mut HeaderMap) {
        for (mark, [limit, remaining, reset]) in [(self.requests, &REQUESTS), (self.tokens, &TOKENS)] {
            let Some(mark) = mark else { continue };
            Text::default().number(mark.limit).insert(headers, limit);
            Text::default().number(mark.remaining).insert(headers, remaining);
            Text::default().reset(mark.reset).insert(headers, reset);
        }
        if let Some(part) = self.budget {
            let mut text = Text::default();
            _ = write!(text, "{part:.3}");
            text.insert(headers, &BUDGET);
        }
    }
}

/// A value while it is written, on the stack: every answer has several.
#[derive(Default)]
struct Text {
    bytes: [u8; 32],
    length: usize,
}

impl Text {
    fn text(&mut self, part: &str) -> &mut Self {
        if let Some(room) = self.bytes.get_mut(self.length..self.length + part.len()) {
            room.copy_from_slice(part.as_bytes());
            self.length += part.len();
        }
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.text(itoa::Buffer::new().format(number))
    }

    /// Milliseconds in the spelling of OpenAI (Go's): `6m0s`, `1.5s`, `20ms`.
    fn reset(&mut self, millis: u64) -> &mut Self {
        let (seconds, millis) = (millis / 1000, millis % 1000);
        if seconds == 0 {
            return if millis == 0 { self.text("0s") } else { self.number(millis).text("ms") };
        }
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            self.number(hours).text("h");
        }
        if hours > 0 || minutes > 0 {
            self.number(minutes).text("m");
        }
        self.number(seconds % 60);
        if millis > 0 {
            // A thousand more, so that the zeros in front are there.
            let mut buffer = itoa::Buffer::new();
            let digits = buffer.format(1000 + millis).get(1..).unwrap_or_default();
            self.text(".").text(digits.trim_end_matches('0'));
        }
        self.text("s")
    }

    fn insert(&self, headers: &mut HeaderMap, name: &HeaderName) {
        if let Some(text) = self.bytes.get(..self.length)
            && let Ok(value) = HeaderValue::from_bytes(text)
        {
            headers.insert(name, value);
        }
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.text(part);
        Ok(())
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
            let mut spelled = Text::default();
            spelled.reset(millis);
            assert_eq!(std::str::from_utf8(&spelled.bytes[..spelled.length]).unwrap(), text);
        }
    }
}
