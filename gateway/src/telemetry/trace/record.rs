//! What a trace is made of: everything that is known of a request when it is over, owned.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Captured, Context, Parameters};
use crate::telemetry::{AttemptOutcome, Finish, Tokens};

/// A request that is over.
#[derive(Debug)]
pub struct Record {
    /// Its place in the trace.
    pub context: Context,
    /// When it began.
    pub begun: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// When the first output of a stream came, from the beginning.
    pub first_output: Option<Duration>,
    /// The request's id.
    pub id: Box<str>,
    /// The operation's word; `unknown` if the path matched none.
    pub operation: &'static str,
    /// The client's dialect.
    pub dialect: Option<&'static str>,
    /// The HTTP method.
    pub method: Box<str>,
    /// The path, without a query.
    pub path: Box<str>,
    /// The model that the client named.
    pub model: Option<Box<str>>,
    /// Name of the client's key.
    pub key: Option<Arc<str>>,
    /// The rule that decided its way.
    pub route: Option<Box<str>>,
    /// The client's session.
    pub session: Option<Box<str>>,
    /// On whose behalf the client asked.
    pub user: Option<Box<str>>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// The status that the client got.
    pub status: u16,
    /// Who was to blame, if it failed.
    pub fault: Option<&'static str>,
    /// The short code of what went wrong.
    pub error: Option<&'static str>,
    /// How the answer ended.
    pub finish: Finish,
    /// The provider's id of the answer.
    pub response_id: Option<Box<str>>,
    /// The model that the answer names.
    pub response_model: Option<Box<str>>,
    /// What it used, as far as reported.
    pub tokens: Option<Tokens>,
    /// What it cost, in pico-dollars.
    pub cost: Option<u64>,
    /// Fields that got lost in translation.
    pub dropped: Option<Box<str>>,
    /// How the answer was wanted.
    pub parameters: Parameters,
    /// Prompt and answer, if they are to be sent.
    pub captured: Option<Box<Captured>>,
    /// In order of time.
    pub attempts: Vec<AttemptRecord>,
}

/// One try of one target.
#[derive(Debug)]
pub struct AttemptRecord {
    /// Id of its span.
    pub span: u64,
    /// When it began, from the request's beginning.
    pub begun: Duration,
    /// How long it took.
    pub duration: Duration,
    /// When its first output came, from its own beginning.
    pub first_output: Option<Duration>,
    /// Name of the provider.
    pub provider: Arc<str>,
    /// Its `kind`.
    pub kind: &'static str,
    /// The model asked of it.
    pub model: Arc<str>,
    /// The dialect it was asked in.
    pub dialect: &'static str,
    /// Where it is.
    pub host: Box<str>,
    /// TCP port.
    pub port: u16,
    /// Number of the credential.
    pub credential: usize,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Who was to blame, if it failed.
    pub fault: Option<&'static str>,
    /// Status of its answer.
    pub status: Option<u16>,
    /// Whether it ran beside another one (hedging) and did not become the answer.
    pub rival: bool,
}

impl Record {
    /// Bytes that it takes in the queue, roughly.
    pub(super) fn size(&self) -> usize {
        2_048 + self.attempts.len() * 256 + self.captured.as_ref().map_or(0, |captured| captured.size())
    }
}
