//! What a request and its configuration say about the cache.

use std::fmt;
use std::time::Duration;

/// What is asked, and who may see the answer: a cryptographic hash of the scope (the client's key, unless it shares), the
/// client's dialect, the operation, the resolved model with all settings that change an answer, and the canonical request.
///
/// Not in it: whether a stream is asked for and how it is framed (that is the [`Form`](super::Form)), and what is for the gateway
/// only. Two requests of one fingerprint may be given each other's answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// In hexadecimal.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Whether a request uses the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No cache is set up for it. Its answer says nothing of one.
    Off,
    /// There is one, which this request does not use: it said so, or what it asks is not kept. Its answer says `bypass`.
    Bypass,
    /// It uses the cache.
    Use(Terms),
}

/// How a request uses the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What it asks.
    pub fingerprint: Fingerprint,
    /// Oldest kept answer that its client takes; zero: none, its own takes the place of what is kept (`no-cache`).
    pub max_age: Duration,
    /// How long any answer may be used, however long it was to be when it was made.
    pub lasts: Duration,
    /// How long its answer may be used again; zero: it is not kept.
    pub ttl: Duration,
    /// Whether it may follow the call of another, and be followed.
    pub share: bool,
    /// Who pays for a call that several followed.
    pub payer: Payer,
    /// Time between two events of a kept stream; zero: as fast as the client takes them.
    pub pace: Duration,
}

impl Terms {
    /// How old a kept answer may be; zero: none will do.
    pub fn oldest(&self) -> Duration {
        self.max_age.min(self.lasts)
    }
}

/// Who pays for a call that several followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Payer {
    /// The one that made it.
    #[default]
    First,
    /// All that are still there at its end, in equal parts.
    Split,
}
