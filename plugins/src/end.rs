//! How an exchange ended.

use std::sync::Arc;
use std::time::Duration;

use crate::providers::Usage;

/// An exchange that is over.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct End {
    /// Status that the client got; 499 if it left before.
    pub status: u16,
    /// How it ended.
    pub finish: Finish,
    /// The error's kind, as in logs, if it ended in one.
    pub error: Option<&'static str>,
    /// What was consumed, as far as is known.
    pub usage: Option<Usage>,
    /// What it cost in US dollars as an exact decimal, if the price is known.
    pub cost: Option<String>,
    /// The provider that was asked last.
    pub provider: Option<Arc<str>>,
    /// That provider's own name of the model.
    pub model: Option<Arc<str>>,
    /// Attempts made.
    pub attempts: usize,
    /// From the request to here.
    pub duration: Duration,
    /// From the request to the first output, of streams.
    pub first_token: Option<Duration>,
}

impl End {
    /// An exchange that ended with `status` and of which nothing else is known.
    #[must_use]
    pub fn new(status: u16, finish: Finish) -> Self {
        Self {
            status,
            finish,
            error: None,
            usage: None,
            cost: None,
            provider: None,
            model: None,
            attempts: 0,
            duration: Duration::ZERO,
            first_token: None,
        }
    }
}

/// In which way an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finish {
    /// The client got its answer.
    Complete,
    /// The client got a part of an answer, and was told that it broke off.
    Cut,
    /// The client got an error.
    Error,
    /// The client left.
    ClientLeft,
}
