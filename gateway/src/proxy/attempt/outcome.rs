//! How an attempt ended, and whether that moves on to the next target.

use std::io;
use std::time::Duration;

use ai_gateway_providers::error::{ErrorKind, Fault};
use pingora_error::{Error, ErrorType};
use rustix::io::Errno;

use crate::config::{RetryConfig, RetryOn};
use crate::health::{FailureKind, Verdict};
use crate::proxy::replay::Clock;
use crate::telemetry::AttemptOutcome;

/// Before a target is asked once more that did not say when to come back.
const SHORT_WAIT: Duration = Duration::from_millis(50);
/// The same, of one that is overloaded.
const LONG_WAIT: Duration = Duration::from_millis(500);

/// The end of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A complete answer.
    Ok,
    /// The gateway has no credential for the provider.
    NoCredentials,
    /// The provider's name has no address.
    Dns,
    /// No connection, or one that broke before an answer began.
    Connect,
    /// No connection in the time that there is for it, TLS included.
    ConnectTimeout,
    /// A connection, but no TLS on it, or not with whom it should be.
    Tls,
    /// A clock ran out.
    Timeout(Clock),
    /// An error status.
    Status(u16),
    /// An error status whose body says that the prompt does not fit, that the content is refused, that (a 403) something else of this
    /// request is, or, where another target may be asked, that what was asked for is not there.
    Refused(ErrorKind),
    /// The provider refused the gateway's credentials.
    Credentials(u16),
    /// An error inside an answer of status 200.
    StreamError(ErrorKind),
    /// A complete answer that a filter of the provider's has kept back, where `retry.on` has another target asked for that.
    Blocked,
    /// The answer ended before it was complete.
    Cut,
    /// What came was no valid answer.
    Garbage,
    /// The client went away.
    ClientLeft,
    /// Another call of the same request began its answer first.
    Hedged,
    /// The process had to leave.
    Shutdown,
    /// Nothing was sent: a plugin without which nothing passes has failed.
    Withheld,
    /// No connection, and not for the provider's sake: this machine has no descriptor or no memory for one.
    NoRoom,
}

impl Outcome {
    /// What kept a connection from being made.
    pub fn of_connect_error(error: &Error) -> Self {
        let cause = error.root_cause().downcast_ref::<io::Error>().and_then(Errno::from_io_error);
        if matches!(cause, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) {
            return Self::NoRoom;
        }
        match error.etype() {
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Self::ConnectTimeout,
            ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => Self::Tls,
            _ => Self::Connect,
        }
    }

    /// Whether the caller is to blame and not the provider.
    pub fn is_callers_fault(self) -> bool {
        match self {
            Self::Status(408 | 409 | 429) => false,
            Self::Status(status) => status < 500,
            Self::Refused(ErrorKind::ModelNotFound) => false,
            Self::StreamError(kind) | Self::Refused(kind) => kind.fault() == Fault::Caller,
            Self::ClientLeft | Self::Blocked => true,
            _ => false,
        }
    }

    /// Whether `retry.on` lets this outcome move on to the next target. Before output only; the caller checks that.
    pub fn moves_on(self, retry: &RetryConfig) -> bool {
        let on = match self {
            Self::Ok | Self::ClientLeft | Self::Hedged | Self::Shutdown | Self::Withheld | Self::NoRoom => {
                return false;
            }
            // The gateway's own account or configuration is at fault; no setting makes that the caller's problem.
            Self::NoCredentials | Self::Credentials(_) => return true,
            Self::Refused(ErrorKind::ModelNotFound | ErrorKind::NotFound) => return true,
            // It is both.
            Self::ConnectTimeout if retry.on.contains(&RetryOn::Timeout) => return true,
            Self::Dns | Self::Connect | Self::ConnectTimeout | Self::Tls | Self::Cut | Self::Garbage => {
                RetryOn::Connect
            }
            Self::Timeout(_) | Self::Status(408) => RetryOn::Timeout,
            Self::StreamError(ErrorKind::ContextLength) | Self::Refused(ErrorKind::ContextLength) => {
                RetryOn::ContextLength
            }
            Self::Blocked | Self::StreamError(ErrorKind::ContentFilter) | Self::Refused(ErrorKind::ContentFilter) => {
                RetryOn::ContentFilter
            }
            Self::StreamError(ErrorKind::UpstreamAuth) => return true,
            Self::Status(429) | Self::StreamError(ErrorKind::RateLimited | ErrorKind::QuotaExceeded) => {
                RetryOn::TooManyRequests
            }
            Self::Status(529) | Self::StreamError(ErrorKind::Overloaded) => RetryOn::Overloaded,
            // The provider understood the request and refuses it; 409 speaks of its own state.
            Self::Refused(_) => return false,
            Self::StreamError(kind) if kind.fault() == Fault::Caller => return false,
            Self::Status(409) => RetryOn::ServerError,
            Self::Status(..500) => return false,
            Self::Status(_) | Self::StreamError(_) => RetryOn::ServerError,
        };
        retry.on.contains(&on)
    }

    /// Whether the prompt does not fit.
    pub fn is_of_length(self) -> bool {
        matches!(self, Self::Refused(ErrorKind::ContextLength) | Self::StreamError(ErrorKind::ContextLength))
    }

    /// Whether the target's model, or its API, is not there.
    pub fn is_of_model(self) -> bool {
        matches!(self, Self::Refused(ErrorKind::ModelNotFound | ErrorKind::NotFound))
    }

    /// Whether another credential of the same account may fare better.
    pub fn is_of_credential(self) -> bool {
        matches!(
            self,
            Self::NoCredentials
                | Self::Credentials(_)
                | Self::Status(429)
                | Self::StreamError(ErrorKind::UpstreamAuth | ErrorKind::RateLimited | ErrorKind::QuotaExceeded)
        )
    }

    /// How long to wait before the same target is asked once more; `None` if that makes no sense. `alone`: there is no
    /// other target. `asked`: how long the provider asked to stay away.
    pub fn worth_repeating(self, alone: bool, asked: Option<Duration>) -> Option<Duration> {
        match self {
            // It often passes at once, and is the only failure for which asking again is better than moving on.
            Self::Status(500) if alone || asked.is_none() => Some(asked.unwrap_or(SHORT_WAIT)),
            Self::Status(429 | 503 | 529) if alone && asked.is_some() => asked,
            Self::Status(409 | 502 | 503) | Self::Connect | Self::ConnectTimeout | Self::Dns if alone => {
                Some(asked.unwrap_or(SHORT_WAIT))
            }
            Self::Status(529) if alone => Some(asked.unwrap_or(LONG_WAIT)),
            // One that was silent would be silent again; anything else says the same again.
            _ => None,
        }
    }

    /// What it says about the target's health.
    pub fn verdict(self, retry_after: Option<Duration>) -> Verdict {
        let kind = match self {
            // Its first output was counted when it came.
            Self::Ok => return Verdict::Success { first_output: None },
            Self::Blocked | Self::ClientLeft | Self::Hedged | Self::Shutdown | Self::Withheld | Self::NoRoom => {
                return Verdict::Neutral;
            }
            _ if self.is_callers_fault() => return Verdict::Neutral,
            Self::NoCredentials => FailureKind::NoCredentials,
            Self::Dns => FailureKind::Dns,
            Self::Connect | Self::ConnectTimeout => FailureKind::Connect,
            Self::Tls => FailureKind::Tls,
            Self::Timeout(_) | Self::Status(408) => FailureKind::Timeout,
            Self::Status(429) | Self::StreamError(ErrorKind::RateLimited | ErrorKind::QuotaExceeded) => {
                FailureKind::RateLimited
            }
            Self::Status(529) | Self::StreamError(ErrorKind::Overloaded) => FailureKind::Overloaded,
            Self::Refused(ErrorKind::ModelNotFound) => FailureKind::NoModel,
            Self::Status(status) => FailureKind::Status(status),
            Self::Credentials(status) => FailureKind::Credentials(status),
            Self::StreamError(ErrorKind::UpstreamAuth) => FailureKind::Credentials(401),
            Self::StreamError(_) | Self::Refused(_) => FailureKind::StreamError,
            Self::Cut => FailureKind::Cut,
            Self::Garbage => FailureKind::Garbage,
        };
        Verdict::Failure { kind, retry_after }
    }
}

impl From<Outcome> for AttemptOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::NoCredentials => Self::NoCredentials,
            Outcome::Dns => Self::Dns,
            Outcome::Connect => Self::Connect,
            Outcome::ConnectTimeout => Self::ConnectTimeout,
            Outcome::Tls => Self::Tls,
            Outcome::Timeout(Clock::FirstToken) => Self::FirstTokenTimeout,
            Outcome::Timeout(Clock::Idle) => Self::IdleTimeout,
            Outcome::Timeout(Clock::Total | Clock::Shutdown) => Self::TotalTimeout,
            Outcome::Shutdown => Self::Gateway,
            Outcome::Status(status) => Self::of_status(status).unwrap_or(Self::Protocol),
            Outcome::Refused(kind) => Self::of_status(kind.status()).unwrap_or(Self::Protocol),
            Outcome::Credentials(_) => Self::StatusAuth,
            Outcome::StreamError(_) => Self::StreamError,
            Outcome::Blocked => Self::Blocked,
            Outcome::Cut => Self::Cut,
            Outcome::Garbage => Self::Protocol,
            Outcome::ClientLeft => Self::ClientLeft,
            Outcome::Hedged => Self::Hedged,
            Outcome::Withheld | Outcome::NoRoom => Self::Gateway,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_says_nothing_of_the_provider() {
        let failed =
            |errno: Errno, etype| Outcome::of_connect_error(&Error::because(etype, "peer", io::Error::from(errno)));
        let wrapped = Error::because(
            ErrorType::ConnectError,
            "again",
            Error::because(ErrorType::InternalError, "peer", io::Error::from(Errno::MFILE)),
        );
        assert_eq!(Outcome::of_connect_error(&wrapped), Outcome::NoRoom);
        assert_eq!(failed(Errno::NOBUFS, ErrorType::InternalError), Outcome::NoRoom);
        assert_eq!(failed(Errno::CONNREFUSED, ErrorType::ConnectRefused), Outcome::Connect);
        for clock in [ErrorType::ConnectTimedout, ErrorType::TLSHandshakeTimedout] {
            let ran_out = Outcome::of_connect_error(&Error::new(clock));
            assert_eq!(ran_out, Outcome::ConnectTimeout);
            let moves_on = |on| ran_out.moves_on(&RetryConfig { on, ..RetryConfig::of(2) });
            assert!(moves_on(vec![RetryOn::Connect]) && moves_on(vec![RetryOn::Timeout]) && !moves_on(vec![]));
        }
        // Also of an address of a family that this machine has no other of: the provider may have one.
        assert_eq!(failed(Errno::ADDRNOTAVAIL, ErrorType::InternalError), Outcome::Connect);
        assert!(matches!(Outcome::NoRoom.verdict(None), Verdict::Neutral));
    }
}
