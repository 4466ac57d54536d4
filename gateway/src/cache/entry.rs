//! A finished answer.

use std::borrow::Cow;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use ai_gateway_providers::Operation;
use ai_gateway_providers::usage::Usage;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::Fingerprint;

/// How an answer is written. The same request may have an entry of each form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// In one piece.
    Whole,
    /// As a stream; the number tells apart ways of framing it (with or without usage, as a JSON array, …).
    Stream(u32),
}

/// `whole`, or `stream` and the number: in the names of files and of what is in a Redis.
impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Stream(number) => write!(f, "stream{number}"),
        }
    }
}

impl FromStr for Form {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "whole" => Ok(Self::Whole),
            other => other.strip_prefix("stream").unwrap_or_default().parse().map(Self::Stream),
        }
    }
}

/// What is known of an answer beside its body.
#[derive(Clone, Debug)]
pub struct Meta {
    /// What was asked.
    pub fingerprint: Fingerprint,
    /// How it is written.
    pub form: Form,
    /// Name of the API that it is written in: the client's.
    pub dialect: Cow<'static, str>,
    /// What kind of thing was asked.
    pub operation: Operation,
    /// Its status; of an entry that is kept always one of success.
    pub status: StatusCode,
    /// Its header, without what the gateway sets for each client.
    pub headers: HeaderMap,
    /// Name of the client's key that made the call, to purge by.
    pub key: Option<Box<str>>,
    /// The model that was asked for, to purge by.
    pub model: Box<str>,
    /// Tags of the key and the request, to purge by.
    pub tags: Vec<Box<str>>,
    /// The provider that answered.
    pub provider: Box<str>,
    /// Its name of the model.
    pub upstream_model: Box<str>,
    /// When the answer was complete.
    pub created: SystemTime,
    /// How long it may be used from then on.
    pub ttl: Duration,
    /// What it consumed, which each hit saves.
    pub usage: Option<Usage>,
    /// What it cost, in pico-dollars, which each hit saves; `None`: not known.
    pub cost: Option<u64>,
}

/// An answer: successful, and complete to its end.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is known of it.
    pub meta: Meta,
    /// Its body as sent to the client.
    pub body: Bytes,
}

impl Entry {
    /// How old it is; zero if the clock was set back.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.meta.created).unwrap_or_default()
    }

    /// Whether it may be used by who takes nothing older than `max_age`. Of one that was made later than now, because a clock was set,
    /// nobody knows how old it is.
    pub fn is_fresh(&self, now: SystemTime, max_age: Duration) -> bool {
        self.meta.created <= now + SKEW && self.age(now) < self.meta.ttl.min(max_age)
    }

    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        let meta = &self.meta;
        let headers: usize = meta.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        let tags: usize = meta.tags.iter().map(|tag| tag.len() + 32).sum();
        let names = meta.model.len() + meta.provider.len() + meta.upstream_model.len();
        size_of::<Self>()
            + OVERHEAD
            + headers
            + tags
            + names
            + meta.key.as_ref().map_or(0, |key| key.len())
            + self.body.len()
    }
}

/// How much the clocks of instances may differ.
pub const SKEW: Duration = Duration::from_secs(60);
/// Bytes for places in maps and for what an allocator adds.
const OVERHEAD: usize = 1152;

/// What of a header belongs to one answer and one connection.
const OF_ONE_ANSWER: [&str; 8] = [
    "connection",
    "transfer-encoding",
    "content-length",
    "date",
    "age",
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
];
/// How names begin of what belongs to one client.
const OF_ONE_CLIENT: &str = "x-ratelimit-";
/// How those of the gateway begin: most tell how one client stands, or what was done for it.
const OURS: &str = "x-gateway-";
/// Those that tell of the answer itself.
const COMMON_OF_OURS: [&str; 3] = ["x-gateway-provider", "x-gateway-model", "x-gateway-dropped"];

/// Whether a header is the same for all who get the answer.
pub fn is_common(name: &HeaderName) -> bool {
    let name = name.as_str();
    if name.starts_with(OURS) {
        return COMMON_OF_OURS.contains(&name);
    }
    !OF_ONE_ANSWER.contains(&name) && !name.starts_with(OF_ONE_CLIENT)
}

/// What of an answer's header is the same for all who get it, to be kept.
pub fn common_headers(headers: &HeaderMap) -> HeaderMap {
    // Copied: the values are pieces of the buffer that the connection was read into, which a clone would keep.
    let copied = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
    let common = headers.iter().filter(|(name, _)| is_common(name));
    common.filter_map(|(name, value)| Some((name.clone(), copied(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_of_one_client_is_not_common() {
        for (name, common) in [
            ("content-type", true),
            ("openai-processing-ms", true),
            ("x-gateway-provider", true),
            ("x-gateway-dropped", true),
            ("x-gateway-budget-used", false),
            ("x-gateway-cost", false),
            ("x-gateway-cache-distance", false),
            ("x-ratelimit-remaining-tokens", false),
            ("x-request-id", false),
        ] {
            assert_eq!(is_common(&HeaderName::from_static(name)), common, "{name}");
        }
    }

    #[test]
    fn common_headers_hold_no_more_than_themselves() {
        let buffer = Bytes::from("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-a: 1\r\nx-a: 2\r\n".repeat(9));
        let value = |range| HeaderValue::from_maybe_shared(buffer.slice(range)).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("content-type", value(31..41));
        headers.append("x-a", value(48..49));
        headers.append("x-a", value(56..57));
        headers.insert("x-request-id", value(48..49));
        let common = common_headers(&headers);
        assert_eq!(common.get("content-type").unwrap(), "text/plain");
        assert_eq!(common.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(common.len(), 3);
        drop(headers);
        assert!(buffer.is_unique());
    }
}
