//! The words that health is talked about with: how attempts ended, what a target may do, why, and what changed.

use std::fmt;
use std::time::{Duration, Instant};

/// How an attempt ended, as far as it tells about the target. Given at the end of the answer, not at its beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// A complete answer.
    Success {
        /// From the attempt's begin to its first output; `None` where that says nothing of the target's speed. Not
        /// counted again after [`Pass::first_output`](super::Pass::first_output).
        first_output: Option<Duration>,
    },
    /// The target or its credential is at fault.
    Failure {
        /// What happened.
        kind: FailureKind,
        /// How long the provider asked to stay away.
        retry_after: Option<Duration>,
    },
    /// It says nothing about the target: the client left, the request itself was wrong, the gateway refused it.
    Neutral,
}

/// What an attempt failed of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No address for its name.
    Dns,
    /// No connection, or one that broke before an answer began.
    Connect,
    /// No TLS on the connection.
    Tls,
    /// A clock ran out.
    Timeout,
    /// An error status that has no kind of its own here.
    Status(u16),
    /// 529, or an error in the answer that says the same.
    Overloaded,
    /// 429, or an error in the answer that says the same. Does not count towards opening the breaker.
    RateLimited,
    /// An error inside an answer of status 200.
    StreamError,
    /// The answer ended before it was complete.
    Cut,
    /// What came was no valid answer.
    Garbage,
    /// 401, 402 or 403: the credential is refused, at least for this model. Counts for the credential, not for the breaker.
    Credentials(u16),
    /// The provider does not know the model. The model alone is left alone.
    NoModel,
    /// No credential could be had. Counts for the credential, not for the breaker.
    NoCredentials,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "no address",
            Self::Connect => "connect",
            Self::Tls => "TLS",
            Self::Timeout => "timeout",
            Self::Status(status) => return write!(f, "status {status}"),
            Self::Overloaded => "overloaded",
            Self::RateLimited => "rate limited",
            Self::StreamError => "error in the answer",
            Self::Cut => "answer cut short",
            Self::Garbage => "no valid answer",
            Self::Credentials(status) => return write!(f, "credentials refused ({status})"),
            Self::NoModel => "no such model",
            Self::NoCredentials => "no credentials",
        })
    }
}

/// Whether a target may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It may.
    Ready,
    /// It failed before; one request at a time may find out whether it is back, and this may be the one.
    HalfOpen,
    /// Not before a moment.
    Until {
        /// The moment.
        at: Instant,
        /// Why.
        reason: Reason,
    },
    /// Not until an operator brings it back.
    Drained,
}

impl Availability {
    /// Whether [`TargetState::begin`](super::TargetState::begin) would give a pass at this moment.
    pub fn is_usable(&self) -> bool {
        matches!(self, Self::Ready | Self::HalfOpen)
    }

    /// Why it may not be tried.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Ready | Self::HalfOpen => None,
            Self::Until { reason, .. } => Some(*reason),
            Self::Drained => Some(Reason::Drained),
        }
    }

    /// The earliest moment to come back; `None` where nobody knows one, or none is needed.
    pub fn retry_at(&self) -> Option<Instant> {
        match self {
            Self::Until { at, .. } => Some(*at),
            Self::Ready | Self::HalfOpen | Self::Drained => None,
        }
    }
}

/// Why a target may not be tried. Its `Display` is for people, without any secret or name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// So many attempts in a row failed.
    Failures {
        /// How many.
        count: u32,
        /// The last one.
        last: FailureKind,
    },
    /// Too large a share of attempts failed.
    FailureRate {
        /// How many failed.
        failed: u32,
        /// Of how many.
        of: u32,
        /// The last one.
        last: FailureKind,
    },
    /// The probe failed, too.
    StillFailing(FailureKind),
    /// Another request is finding out whether the target, or its credential, is back.
    Probing,
    /// The provider limits the rate.
    RateLimited {
        /// What it asked for.
        retry_after: Option<Duration>,
    },
    /// The provider asked to stay away for so long.
    AskedToWait(Duration),
    /// The provider refuses the credential.
    CredentialsRefused(u16),
    /// No credential could be had.
    NoCredentials,
    /// The credential works, but not for this model.
    ModelRefused(u16),
    /// The provider does not know the model.
    NoModel,
    /// An operator took it out.
    Drained,
}

impl Reason {
    /// A short fixed name, for labels of metrics and for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Failures { .. } => "failures",
            Self::FailureRate { .. } => "failure_rate",
            Self::StillFailing(_) => "still_failing",
            Self::Probing => "probing",
            Self::RateLimited { .. } => "rate_limited",
            Self::AskedToWait(_) => "asked_to_wait",
            Self::CredentialsRefused(_) => "credentials_refused",
            Self::NoCredentials => "no_credentials",
            Self::ModelRefused(_) => "model_refused",
            Self::NoModel => "no_model",
            Self::Drained => "drained",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures { count, last } => write!(f, "{count} failures in a row (last: {last})"),
            Self::FailureRate { failed, of, last } => write!(f, "{failed} of {of} attempts failed (last: {last})"),
            Self::StillFailing(last) => write!(f, "still failing when tried again (last: {last})"),
            Self::Probing => f.write_str("another request is trying whether it is back"),
            Self::RateLimited { retry_after: None } => f.write_str("rate limited by the provider"),
            Self::RateLimited { retry_after: Some(wait) } => {
                write!(f, "rate limited by the provider, retry-after {}", Seconds(*wait))
            }
            Self::AskedToWait(wait) => write!(f, "the provider asked to wait {}", Seconds(*wait)),
            Self::CredentialsRefused(status) => write!(f, "credentials refused ({status})"),
            Self::NoCredentials => f.write_str("no credentials could be had"),
            Self::ModelRefused(status) => write!(f, "the credentials may not use this model ({status})"),
            Self::NoModel => f.write_str("its provider does not know this model"),
            Self::Drained => f.write_str("drained by an operator"),
        }
    }
}

/// Whole seconds where they are whole.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{} s", self.0.as_secs()),
            millis => write!(f, "{}.{millis:03} s", self.0.as_secs()),
        }
    }
}

/// What a verdict changed, for the log and for metrics. Most change nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "an operator wants to read of it"]
pub struct Changes {
    /// At the target.
    pub target: Option<TargetChange>,
    /// At its credential.
    pub credential: Option<CredentialChange>,
}

/// What changed at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetChange {
    /// Its breaker opened, or stays open after a failed probe.
    Opened {
        /// Why.
        reason: Reason,
        /// For how long.
        cooldown: Duration,
    },
    /// Its breaker closed: it is back.
    Closed,
    /// It is left alone for a while: rate limited, asked to wait, or not open to the credential.
    Held {
        /// Why.
        reason: Reason,
        /// For how long.
        wait: Duration,
    },
}

/// What changed at a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialChange {
    /// It is refused, and benched with all its targets. An alarm: told once, until it is accepted again.
    Refused(Reason),
    /// It is accepted again.
    Accepted,
}
