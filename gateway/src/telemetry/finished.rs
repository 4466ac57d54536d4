//! What is known of a request when it is over: the input of the metrics and of the access log.

use std::sync::Arc;
use std::time::Duration;

use ai_gateway_providers::Fault;

/// How the answer ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finish {
    /// The whole answer was delivered.
    Complete,
    /// The client closed its side before the end.
    ClientLeft,
    /// The answer had begun and broke off.
    Cut,
    /// The client got an error instead of an answer.
    Error,
}

impl Finish {
    /// The word used in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientLeft => "client_left",
            Self::Cut => "cut",
            Self::Error => "error",
        }
    }
}

/// The outcome of one attempt, as a label of `gateway_attempts_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptOutcome {
    /// A complete, successful answer.
    Ok,
    /// The provider's name could not be resolved.
    Dns,
    /// No connection (refused, unreachable), or one that broke before an answer began.
    Connect,
    /// No connection in time.
    ConnectTimeout,
    /// The TLS handshake or the certificate check failed.
    Tls,
    /// Connected, but no first output in time.
    FirstTokenTimeout,
    /// Output had begun and then nothing came for the idle time.
    IdleTimeout,
    /// The whole exchange took longer than allowed.
    TotalTimeout,
    /// The gateway had no credential for the provider: its token could not be fetched.
    NoCredentials,
    /// HTTP 401 or 403: the provider refused this gateway's credentials.
    StatusAuth,
    /// HTTP 429.
    Status429,
    /// Any other HTTP 4xx.
    Status4xx,
    /// Any HTTP 5xx (and 529).
    Status5xx,
    /// An error reported inside an answer of status 200.
    StreamError,
    /// An answer of status 200 that a filter of the provider's kept back, and another target was asked for that.
    Blocked,
    /// The answer ended before its end marker.
    Cut,
    /// The answer broke the protocol (HTTP, SSE or JSON).
    Protocol,
    /// The client left while this attempt was running.
    ClientLeft,
    /// Another call of the same request began its answer first.
    Hedged,
    /// The attempt could not be made for a reason inside the gateway.
    Gateway,
}

impl AttemptOutcome {
    /// All of them, each at the place of its discriminant.
    pub const ALL: [Self; 20] = [
        Self::Ok,
        Self::Dns,
        Self::Connect,
        Self::ConnectTimeout,
        Self::Tls,
        Self::FirstTokenTimeout,
        Self::IdleTimeout,
        Self::TotalTimeout,
        Self::NoCredentials,
        Self::StatusAuth,
        Self::Status429,
        Self::Status4xx,
        Self::Status5xx,
        Self::StreamError,
        Self::Blocked,
        Self::Cut,
        Self::Protocol,
        Self::ClientLeft,
        Self::Hedged,
        Self::Gateway,
    ];

    /// The word used in labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::FirstTokenTimeout => "first_token_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::NoCredentials => "no_credentials",
            Self::StatusAuth => "status_auth",
            Self::Status429 => "status_429",
            Self::Status4xx => "status_4xx",
            Self::Status5xx => "status_5xx",
            Self::StreamError => "stream_error",
            Self::Blocked => "blocked",
            Self::Cut => "cut",
            Self::Protocol => "protocol",
            Self::ClientLeft => "client_left",
            Self::Hedged => "hedged",
            Self::Gateway => "gateway",
        }
    }

    /// The outcome that an HTTP status of a provider stands for; `None` for a success or a redirect.
    pub const fn of_status(status: u16) -> Option<Self> {
        match status {
            401 | 403 => Some(Self::StatusAuth),
            429 => Some(Self::Status429),
            400..=499 => Some(Self::Status4xx),
            500..=599 => Some(Self::Status5xx),
            _ => None,
        }
    }
}

/// One try of one target.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The provider's name in the configuration.
    pub provider: Arc<str>,
    /// The upstream model that was asked for.
    pub model: Arc<str>,
    /// The client chose that name (`provider/model`), so that it is not trusted as a label before a first success.
    pub direct: bool,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The provider's HTTP status, if it came to that.
    pub status: Option<u16>,
    /// From the choice of the target to the outcome.
    pub duration: Duration,
    /// From the choice of the target to its first output.
    pub first_output: Option<Duration>,
    /// It ran beside another attempt (hedging) and did not become the answer.
    pub rival: bool,
}

/// The model that the client asked for, and how far its name can be trusted as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestModel<'a> {
    /// A name of `[models]`: always labelled.
    Configured(&'a str),
    /// `provider/model` of a configured provider. Anybody with a key can make such names up, so one becomes a label
    /// only after a first success, and only for a bounded number of names.
    Direct(&'a str),
    /// None was named, none that there is, or the request ended before it was read: labelled `_unknown`.
    Unknown,
}

impl<'a> RequestModel<'a> {
    /// The name as the client sent it.
    pub const fn name(self) -> Option<&'a str> {
        match self {
            Self::Configured(name) | Self::Direct(name) => Some(name),
            Self::Unknown => None,
        }
    }
}

/// Tokens of an answer. `None` is "not reported", which is not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// All input tokens, **including** the two cached kinds below.
    pub input: Option<u64>,
    /// The part of the input that was read from the provider's cache.
    pub cached_input: Option<u64>,
    /// The part of the input that was written to the provider's cache.
    pub cache_creation_input: Option<u64>,
    /// All output tokens, **including** reasoning.
    pub output: Option<u64>,
    /// The part of the output that is reasoning.
    pub reasoning: Option<u64>,
}

/// What the answer said about tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Usage {
    /// None was to be expected: no answer, an error, an operation that has none.
    #[default]
    NotExpected,
    /// A successful answer that should have reported usage and did not.
    Missing,
    /// What was reported, possibly of an answer that broke off.
    Reported(Tokens),
}

impl Usage {
    /// What was reported.
    pub const fn tokens(self) -> Option<Tokens> {
        match self {
            Self::Reported(tokens) => Some(tokens),
            Self::Missing | Self::NotExpected => None,
        }
    }
}

/// A request that is over.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// The operation's word, for instance `chat`; `unknown` if the path matched none.
    pub operation: &'static str,
    /// The client's dialect, for instance `openai-chat`; `None` if the path matched none.
    pub dialect: Option<&'static str>,
    /// What the client asked for.
    pub request_model: RequestModel<'a>,
    /// The provider of the last attempt.
    pub provider: Option<&'a str>,
    /// The model asked of that provider.
    pub upstream_model: Option<&'a str>,
    /// The model that the answer names.
    pub response_model: Option<&'a str>,
    /// The HTTP status that the client got; 499 if it left before there was one.
    pub status: u16,
    /// The name of the client's key; never the key.
    pub key: Option<&'a str>,
    /// `None` for a success.
    pub fault: Option<Fault>,
    /// How the answer ended.
    pub finish: Finish,
    /// Was a stream asked for.
    pub stream: bool,
    /// From the first byte of the request to the end of the answer.
    pub duration: Duration,
    /// From the first byte of the request to the first output of the answer.
    pub first_token: Option<Duration>,
    /// Time spent in the gateway itself: neither reading the client nor waiting for a provider.
    pub overhead: Duration,
    /// Token usage.
    pub usage: Usage,
    /// What the answer cost, in pico-dollars; `None`: nothing was used, or it has no price.
    pub cost: Option<u64>,
    /// In order of time. Logged here; counted one by one with `Metrics::attempt` when each ends.
    pub attempts: &'a [Attempt],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_outcome() {
        let document = include_str!("../../../docs/telemetry.md");
        let section = document.split("### Outcomes of attempts").nth(1).unwrap();
        let table = section.split("\n\n").nth(2).unwrap();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        let words: Vec<&str> = rows.map(|(word, _)| word).collect();
        assert_eq!(words, AttemptOutcome::ALL.map(AttemptOutcome::as_str));
    }
}
