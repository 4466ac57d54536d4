//! How an attempt ended, and whether that moves on to the next target.

use ai_gateway_providers::error::ErrorKind;
use pingora_error::ErrorType;

use super::replay::Clock;
use crate::config::{RetryConfig, RetryOn};
use crate::telemetry::AttemptOutcome;

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
    /// A connection, but no TLS on it, or not with whom it should be.
    Tls,
    /// A clock ran out.
    Timeout(Clock),
    /// An error status.
    Status(u16),
    /// The provider refused the gateway's credentials.
    Credentials(u16),
    /// An error inside an answer of status 200.
    StreamError(ErrorKind),
    /// The answer ended before it was complete.
    Cut,
    /// What came was no valid answer.
    Garbage,
    /// The client went away.
    ClientLeft,
    /// Another call of the same request began its answer first. It says nothing of the provider.
    Hedged,
}

impl Outcome {
    /// What kept a connection from being made.
    pub fn of_connect_error(error: &ErrorType) -> Self {
        match error {
            ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::InvalidCert
            | ErrorType::HandshakeError => Self::Tls,
            _ => Self::Connect,
        }
    }

    /// Whether the caller is to blame and not the provider.
    pub fn is_callers_fault(self) -> bool {
        match self {
            Self::Status(408 | 429) => false,
            Self::Status(status) => status < 500,
            Self::ClientLeft | Self::Hedged => true,
            _ => false,
        }
    }

    /// Whether `retry.on` lets this outcome move on to the next target. Before output only; the caller checks that.
    pub fn moves_on(self, retry: &RetryConfig) -> bool {
        let on = match self {
            Self::Ok | Self::ClientLeft | Self::Hedged => return false,
            // The gateway's own account is at fault; no setting makes that the caller's problem.
            Self::NoCredentials | Self::Credentials(_) => return true,
            Self::Dns | Self::Connect | Self::Tls | Self::Cut | Self::Garbage => RetryOn::Connect,
            Self::Timeout(_) | Self::Status(408) => RetryOn::Timeout,
            Self::Status(429) | Self::StreamError(ErrorKind::RateLimited | ErrorKind::QuotaExceeded) => {
                RetryOn::TooManyRequests
            }
            Self::Status(529) | Self::StreamError(ErrorKind::Overloaded) => RetryOn::Overloaded,
            // The provider understood the request and refuses it.
            Self::Status(..500) => return false,
            Self::Status(_) | Self::StreamError(_) => RetryOn::ServerError,
        };
        retry.on.contains(&on)
    }
}

impl From<Outcome> for AttemptOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::NoCredentials => Self::NoCredentials,
            Outcome::Dns => Self::Dns,
            Outcome::Connect => Self::Connect,
            Outcome::Tls => Self::Tls,
            Outcome::Timeout(Clock::FirstToken) => Self::FirstTokenTimeout,
            Outcome::Timeout(Clock::Idle) => Self::IdleTimeout,
            Outcome::Timeout(Clock::Total) => Self::TotalTimeout,
            Outcome::Status(status) => Self::of_status(status).unwrap_or(Self::Protocol),
            Outcome::Credentials(_) => Self::StatusAuth,
            Outcome::StreamError(_) => Self::StreamError,
            Outcome::Cut => Self::Cut,
            Outcome::Garbage => Self::Protocol,
            Outcome::ClientLeft => Self::ClientLeft,
            Outcome::Hedged => Self::Hedged,
        }
    }
}
