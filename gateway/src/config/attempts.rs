//! `timeouts` and `retry` of a model: how long an attempt may take, and when another one is made.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::tree::{At, instead};
use super::units::DurationText;

/// Bounds of the targets that an exchange tries where the file does not say how many.
const LEAST_ATTEMPTS: u32 = 3;
const MOST_ATTEMPTS: u32 = 16;

/// `timeouts` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// Until the connection stands, TLS included. Default: `"5s"`.
    pub connect: Option<At<DurationText>>,
    /// Of streams: from the request's last byte until the first output. A whole answer has until `total`. Default: `"2m"`.
    pub first_token: Option<At<DurationText>>,
    /// The longest gap between two chunks. Default: `"2m"`.
    pub idle: Option<At<DurationText>>,
    /// One attempt from its beginning to the end of its answer. Default: `"15m"`.
    pub total: Option<At<DurationText>>,
}

/// `retry` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// The most targets that one exchange tries, the first included; asking one again (`same_target`) is not another. Default: all that
    /// the model has, at least 3 and at most 16.
    #[schemars(range(min = 1))]
    pub attempts: Option<At<u32>>,
    /// Failures that lead to another attempt. Default: all but `content_filter`.
    #[schemars(with = "Option<Vec<RetryOn>>")]
    pub on: Option<Vec<At<String>>>,
    /// Whether a target that failed in a way that often passes is asked once more. Default: true, unless `attempts` is 1: one call.
    pub same_target: Option<bool>,
    /// The longest wait that a provider's `retry-after` may ask for when no other target is left. Default: `"10s"`.
    pub max_wait: Option<At<DurationText>>,
    /// How long the beginning of a stream, before its first output, is kept from the client so that another target can still answer in
    /// its place. Default: `"10s"`.
    pub hold: Option<At<DurationText>>,
}

/// A failure that leads to another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
pub enum RetryOn {
    /// No connection, one that broke before the first output, or what is no answer.
    #[serde(rename = "connect")]
    Connect,
    /// One of the clocks ran out before the first output.
    #[serde(rename = "timeout")]
    Timeout,
    /// Status 429.
    #[serde(rename = "429")]
    TooManyRequests,
    /// Any status from 500 to 599, 409, and an error inside a 200.
    #[serde(rename = "5xx")]
    ServerError,
    /// The provider says that it is overloaded (Anthropic's 529, an error inside a 200).
    #[serde(rename = "overloaded")]
    Overloaded,
    /// The prompt does not fit the model: a target with a larger window may have room.
    #[serde(rename = "context_length")]
    ContextLength,
    /// The provider refused the content, or answered 200 and a filter of its own has kept back all of the answer.
    #[serde(rename = "content_filter")]
    ContentFilter,
}

impl RetryOn {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::Timeout,
        Self::TooManyRequests,
        Self::ServerError,
        Self::Overloaded,
        Self::ContextLength,
        Self::ContentFilter,
    ];

    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::TooManyRequests => "429",
            Self::ServerError => "5xx",
            Self::Overloaded => "overloaded",
            Self::ContextLength => "context_length",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// The clocks of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeoutsConfig {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until the first output of a stream.
    pub first_token: Duration,
    /// Between two chunks.
    pub idle: Duration,
    /// One attempt from its beginning to its end.
    pub total: Duration,
}

impl TimeoutsConfig {
    /// How long a connection may take: an attempt that is over needs none.
    pub fn to_connect(&self) -> Duration {
        self.connect.min(self.total)
    }
}

impl Default for TimeoutsConfig {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(120),
            idle: Duration::from_secs(120),
            total: Duration::from_secs(900),
        }
    }
}

/// When another attempt is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryConfig {
    /// The most targets of one exchange, at least 1.
    pub attempts: u32,
    /// Failures that lead to another attempt, sorted, none twice.
    pub on: Vec<RetryOn>,
    /// Whether a target that failed in a way that often passes is asked once more.
    pub same_target: bool,
    /// The longest wait for a provider that said when to come back.
    pub max_wait: Duration,
    /// How long a stream without output is withheld while another target could answer.
    pub hold: Duration,
}

impl RetryConfig {
    /// What holds of a model with so many targets that says nothing else.
    pub fn of(targets: usize) -> Self {
        let on = RetryOn::ALL.into_iter().filter(|on| *on != RetryOn::ContentFilter).collect();
        Self {
            attempts: u32::try_from(targets).unwrap_or(u32::MAX).clamp(LEAST_ATTEMPTS, MOST_ATTEMPTS),
            on,
            same_target: true,
            max_wait: Duration::from_secs(10),
            hold: Duration::from_secs(10),
        }
    }
}

impl Timeouts {
    /// The clocks; `default` where nothing is written.
    pub(super) fn resolve(self, default: TimeoutsConfig, cx: &mut Context<'_>) -> TimeoutsConfig {
        let resolved = TimeoutsConfig {
            connect: cx.duration(self.connect.as_ref()).unwrap_or(default.connect),
            first_token: cx.duration(self.first_token.as_ref()).unwrap_or(default.first_token),
            idle: cx.duration(self.idle.as_ref()).unwrap_or(default.idle),
            total: cx.duration(self.total.as_ref()).unwrap_or(default.total),
        };
        for (name, written, value) in [
            ("connect", self.connect, resolved.connect),
            ("first_token", self.first_token, resolved.first_token),
            ("idle", self.idle, resolved.idle),
        ] {
            if let Some(written) = written
                && value > resolved.total
            {
                let total = humantime::format_duration(resolved.total);
                cx.report.warn(
                    written.span,
                    format!("`{name}` is longer than `total` ({total}), which ends the attempt first"),
                    "raise `total` too",
                );
            }
        }
        resolved
    }
}

impl Retry {
    /// The settings of a model with so many targets.
    pub(super) fn resolve(self, targets: usize, cx: &mut Context<'_>) -> RetryConfig {
        let default = RetryConfig::of(targets);
        let is_one = self.attempts.as_ref().is_some_and(|attempts| attempts.value == 1);
        let mut resolved = RetryConfig {
            same_target: self.same_target.unwrap_or(!is_one),
            max_wait: cx.duration(self.max_wait.as_ref()).unwrap_or(default.max_wait),
            hold: cx.duration(self.hold.as_ref()).unwrap_or(default.hold),
            ..default
        };
        if let Some(attempts) = self.attempts {
            if attempts.value == 0 {
                cx.report.error(attempts.span, "`attempts` counts the first one too: it is at least 1", None);
            } else {
                resolved.attempts = attempts.value;
            }
        }
        if let Some(on) = self.on {
            let known = RetryOn::ALL.map(RetryOn::as_str);
            resolved.on = on
                .into_iter()
                .filter_map(|word| {
                    let found = RetryOn::ALL.into_iter().find(|on| on.as_str() == word.value);
                    if found.is_none() {
                        let help = instead(&word.value, &known);
                        cx.report.error(word.span, format!("`{}` is nothing to retry on", word.value), help);
                    }
                    found
                })
                .collect();
            resolved.on.sort_unstable();
            resolved.on.dedup();
        }
        resolved
    }
}
