//! What the gateway does for plugins.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::async_trait;
use crate::providers::Operation;

/// The gateway, as plugins may ask it for things. Implemented by the gateway; a plugin's tests implement their own.
#[async_trait]
pub trait Host: Send + Sync {
    /// Sends an HTTP request to an absolute `https:` or `http:` URL and reads the answer whole, up to 256 KiB. Follows no redirect.
    /// A [`Tls`](crate::Tls) in the request's extensions says who the gateway is and whom it trusts.
    ///
    /// # Errors
    /// No answer came in time, or none that can be understood. An error status is no error here.
    async fn fetch(&self, request: http::Request<Bytes>, timeout: Duration)
    -> Result<http::Response<Bytes>, HostError>;

    /// Asks `model`, a name of `[models]` or `provider/model`, as a client of OpenAI's API would, but with no plugins and no cache,
    /// and whatever the request's key may use. What it costs is booked to that key. `body` is the operation's JSON; its `model`
    /// is replaced.
    ///
    /// # Errors
    /// There is no such model, its provider did not answer with success, or the request is not let in yet and its limits have no
    /// room: then it is refused, whatever the plugin makes of this. [`HostError::kind`] tells which.
    async fn ask(&self, operation: Operation, model: &str, body: Bytes, timeout: Duration) -> Result<Bytes, HostError>;
}

/// The gateway could not do what a plugin asked for. The text tells neither what was sent nor what came back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostError {
    /// For a plugin that makes a difference.
    pub kind: HostErrorKind,
    /// For people.
    pub message: String,
}

/// Why the gateway could not do what a plugin asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostErrorKind {
    /// The configuration: there is no such model, nor at its provider, none of its targets can do what is asked, or no credential is
    /// good for it. It fails until somebody changes that.
    Misconfigured,
    /// The question: it cannot be asked, or its provider refuses it. Another one may be answered.
    Invalid,
    /// The limits of the client's request have no room. It is refused.
    NoRoom,
    /// Nobody answers, or with something that is no answer, or all targets rest. Later it may be otherwise.
    Unavailable,
    /// There was no answer in the time that the plugin gave.
    TimedOut,
}

impl HostError {
    /// An error of this kind.
    #[must_use]
    pub fn new(kind: HostErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HostError {}

impl From<HostError> for crate::Failure {
    fn from(error: HostError) -> Self {
        Self(error.message)
    }
}

/// Does nothing for anybody: for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHost;

#[async_trait]
impl Host for NoHost {
    async fn fetch(&self, _: http::Request<Bytes>, _: Duration) -> Result<http::Response<Bytes>, HostError> {
        Err(HostError::new(HostErrorKind::Unavailable, "there is no host"))
    }

    async fn ask(&self, _: Operation, _: &str, _: Bytes, _: Duration) -> Result<Bytes, HostError> {
        Err(HostError::new(HostErrorKind::Unavailable, "there is no host"))
    }
}
