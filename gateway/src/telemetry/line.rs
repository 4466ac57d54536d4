//! The JSON shape of an access log line.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::finished::{Attempt, AttemptOutcome, Finish, Finished, Tokens};

/// Longer user agents are cut here (bytes).
const MAX_USER_AGENT: usize = 160;
/// Longer paths and model names, which clients choose, are cut here (bytes).
const MAX_NAME: usize = 256;

/// A request that is over, with what only the log wants to know.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When the request began.
    pub at: SystemTime,
    /// The request's id, as in `x-request-id`.
    pub id: &'a str,
    /// The HTTP method.
    pub method: &'a str,
    /// The path; a query is left out, for it may hold a key.
    pub path: &'a str,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The client's `user-agent`.
    pub user_agent: Option<&'a str>,
    /// Body bytes that came from the client.
    pub bytes_in: u64,
    /// Body bytes that went to the client.
    pub bytes_out: u64,
    /// The rule that decided where it went.
    pub route: Option<&'a str>,
    /// Names of fields that the API of the other side could not say, with commas between.
    pub dropped: Option<&'a str>,
    /// Places at which the answer of one attempt went on with that of another.
    pub seams: u32,
    /// How the cache answered (`hit`, `shared`, `miss`, `bypass`), if there is one for the request.
    pub cache: Option<&'static str>,
    /// A short code of what went wrong, for instance `unknown_model`; never a message with content of the request.
    pub error: Option<&'a str>,
    /// What plugins noted.
    pub tags: &'a [ai_gateway_plugins::Tag],
    /// Id of the trace, in hexadecimal.
    pub trace_id: Option<&'a str>,
    /// What the metrics know, too.
    pub finished: &'a Finished<'a>,
}

impl Line<'_> {
    /// Whether it tells of something that went wrong.
    pub(super) fn is_of_failure(&self) -> bool {
        self.finished.fault.is_some() || self.finished.status >= 400
    }

    /// Appends the line and its newline. It never contains a second newline.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(&mut *out, &Json::from(self))?;
        out.push(b'\n');
        Ok(())
    }
}

/// Absent values are left out. The order of the fields is the order in the line.
#[derive(Serialize)]
struct Json<'a> {
    ts: Timestamp,
    id: &'a str,
    method: &'a str,
    path: &'a str,
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialect: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_model: Option<&'a str>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
    stream: bool,
    attempts: Attempts<'a>,
    bytes_in: u64,
    bytes_out: u64,
    duration_ms: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_token_ms: Option<Millis>,
    overhead_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Tokens>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<f64>,
    finish: Finish,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seams: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Tags<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
}

impl<'a> From<&Line<'a>> for Json<'a> {
    fn from(line: &Line<'a>) -> Self {
        let finished = line.finished;
        let path = line.path.split(['?', '#']).next().unwrap_or_default();
        Self {
            ts: Timestamp(line.at),
            id: line.id,
            method: line.method,
            path: cut(path, MAX_NAME),
            operation: finished.operation,
            dialect: finished.dialect,
            key: finished.key,
            model: finished.request_model.name().map(|name| cut(name, MAX_NAME)),
            route: line.route,
            provider: finished.provider,
            upstream_model: finished.upstream_model.map(|name| cut(name, MAX_NAME)),
            response_model: finished.response_model.map(|name| cut(name, MAX_NAME)),
            status: finished.status,
            fault: finished.fault.map(ai_gateway_providers::Fault::as_str),
            stream: finished.stream,
            attempts: Attempts(finished.attempts),
            bytes_in: line.bytes_in,
            bytes_out: line.bytes_out,
            duration_ms: Millis(finished.duration),
            first_token_ms: finished.first_token.map(Millis),
            overhead_us: u64::try_from(finished.overhead.as_micros()).unwrap_or(u64::MAX),
            tokens: finished.usage.tokens(),
            #[expect(clippy::cast_precision_loss, reason = "the ledger is exact")]
            cost_usd: finished.cost.map(|pico| pico as f64 / 1e12),
            finish: finished.finish,
            client: line.client,
            user_agent: line.user_agent.map(|agent| cut(agent, MAX_USER_AGENT)),
            dropped: line.dropped,
            seams: (line.seams > 0).then_some(line.seams),
            cache: line.cache,
            error: line.error,
            tags: (!line.tags.is_empty()).then_some(Tags(line.tags)),
            trace_id: line.trace_id,
        }
    }
}

/// What plugins noted, as `plugin.name=value`.
struct Tags<'a>(&'a [ai_gateway_plugins::Tag]);

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|tag| format!("{}.{}={}", tag.plugin, tag.name, tag.value)))
    }
}

/// The longest beginning of at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or_default()
}

/// RFC 3339 in UTC with milliseconds.
struct Timestamp(SystemTime);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // humantime refuses what lies before 1970 or after 9999.
        let in_range = self.0.max(SystemTime::UNIX_EPOCH);
        serializer.collect_str(&humantime::format_rfc3339_millis(in_range))
    }
}

/// Milliseconds with three decimals.
struct Millis(Duration);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_micros() as f64 / 1_000.0)
    }
}

struct Attempts<'a>(&'a [Attempt]);

impl Serialize for Attempts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|attempt| AttemptJson {
            provider: &attempt.provider,
            model: cut(&attempt.model, MAX_NAME),
            outcome: attempt.outcome,
            status: attempt.status,
            ms: Millis(attempt.duration),
            first_ms: attempt.first_output.map(Millis),
        }))
    }
}

#[derive(Serialize)]
struct AttemptJson<'a> {
    provider: &'a str,
    model: &'a str,
    outcome: AttemptOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    ms: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_ms: Option<Millis>,
}
