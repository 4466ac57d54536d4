//! The JSON shape of an access log line.

use std::io::Write;
use std::net::IpAddr;
use std::time::SystemTime;

use ai_gateway_plugins::Tag;
use ai_gateway_providers::Fault;
use ai_gateway_providers::json::{self, Object};

use super::finished::Finished;
use super::object::Members as _;

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
    /// Why its key or token was not taken, if it was not: `unknown`, `expired` and so on.
    pub refused: Option<&'static str>,
    /// What plugins noted.
    pub tags: &'a [Tag],
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

    /// Appends the line and its newline. It never contains a second newline. Absent values are left out.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        json::object(out, |line| self.write(line));
        out.push(b'\n');
    }

    fn write(&self, line: &mut Object<'_>) {
        let finished = self.finished;
        // humantime refuses what lies before 1970 or after 9999.
        let at = humantime::format_rfc3339_millis(self.at.max(SystemTime::UNIX_EPOCH));
        _ = write!(line.key("ts"), "\"{at}\"");
        line.text("id", self.id);
        line.text("method", self.method);
        line.text("path", short(self.path.split(['?', '#']).next().unwrap_or_default()));
        line.text("operation", finished.operation);
        line.maybe_text("dialect", finished.dialect);
        line.maybe_text("key", finished.key);
        line.maybe_text("model", finished.request_model.name().map(short));
        line.maybe_text("route", self.route);
        line.maybe_text("provider", finished.provider);
        line.maybe_text("upstream_model", finished.upstream_model.map(short));
        line.maybe_text("response_model", finished.response_model.map(short));
        line.number("status", finished.status.into());
        line.maybe_text("fault", finished.fault.map(Fault::as_str));
        line.field("stream", &finished.stream);
        line.each("attempts", finished.attempts, |out, attempt| {
            json::object(out, |item| {
                item.text("provider", &attempt.provider);
                item.text("model", short(&attempt.model));
                item.text("outcome", attempt.outcome.as_str());
                item.maybe_number("status", attempt.status.map(Into::into));
                item.millis("ms", attempt.duration);
                if let Some(first) = attempt.first_output {
                    item.millis("first_ms", first);
                }
            });
        });
        line.number("bytes_in", self.bytes_in);
        line.number("bytes_out", self.bytes_out);
        line.millis("duration_ms", finished.duration);
        if let Some(first) = finished.first_token {
            line.millis("first_token_ms", first);
        }
        line.number("overhead_us", u64::try_from(finished.overhead.as_micros()).unwrap_or(u64::MAX));
        if let Some(tokens) = finished.usage.tokens() {
            line.object("tokens", |object| {
                object.maybe_number("input", tokens.input);
                object.maybe_number("cached", tokens.cached_input);
                object.maybe_number("cache_write", tokens.cache_creation_input);
                object.maybe_number("output", tokens.output);
                object.maybe_number("reasoning", tokens.reasoning);
            });
        }
        if let Some(pico) = finished.cost {
            #[expect(clippy::cast_precision_loss, reason = "the ledger is exact")]
            line.field("cost_usd", &(pico as f64 / 1e12));
        }
        line.text("finish", finished.finish.as_str());
        if let Some(client) = self.client {
            line.field("client", &client);
        }
        line.maybe_text("user_agent", self.user_agent.map(|agent| cut(agent, MAX_USER_AGENT)));
        line.maybe_text("dropped", self.dropped);
        if self.seams > 0 {
            line.number("seams", self.seams.into());
        }
        line.maybe_text("cache", self.cache);
        line.maybe_text("error", self.error);
        line.maybe_text("refused", self.refused);
        if !self.tags.is_empty() {
            let tag = |tag: &Tag| format!("{}.{}={}", tag.plugin, tag.name, tag.value);
            line.field("tags", &self.tags.iter().map(tag).collect::<Vec<_>>());
        }
        line.maybe_text("trace_id", self.trace_id);
    }
}

/// What is kept of a path or a name of a model, which clients choose: its first 256 bytes.
pub fn short(text: &str) -> &str {
    cut(text, MAX_NAME)
}

/// The longest beginning of at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or_default()
}
