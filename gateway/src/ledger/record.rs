//! What the ledger keeps of a request. Never a prompt, an answer or a secret: there is no field for one.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::time::{SystemTime, UNIX_EPOCH};

use ai_gateway_providers::Operation;
use ai_gateway_providers::usage::Usage;
use bounded_static::ToStatic;
use serde::Serialize;

/// Bytes kept of a text. Clients choose some of them.
const MAX_TEXT: usize = 256;
/// Tags kept of a record whose key has fewer.
const MAX_TAGS: usize = 32;

/// Why there is a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ToStatic)]
pub enum Kind {
    /// A client's request, with what its final attempt consumed.
    #[default]
    Request,
    /// An attempt that was given up after it had cost something.
    Attempt,
    /// The slower one of two attempts that raced.
    HedgeLoser,
    /// A client's request that was answered from the cache.
    CacheHit,
    /// A client's request that followed the upstream call of another.
    Shared,
    /// A copy of a request, sent for comparison.
    Mirror,
    /// A call of the gateway's own: a vector for the semantic cache, the opinion that a plugin asked for.
    Own,
    /// What the answer to a client's request has consumed that its provider went on making when the request was over.
    Background,
}

/// [`Record::seq`] of a [`Kind::Background`].
pub const BACKGROUND: u32 = 2_000;

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Request,
        Self::Attempt,
        Self::HedgeLoser,
        Self::CacheHit,
        Self::Shared,
        Self::Mirror,
        Self::Own,
        Self::Background,
    ];

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Attempt => "attempt",
            Self::HedgeLoser => "hedge_loser",
            Self::CacheHit => "cache_hit",
            Self::Shared => "shared",
            Self::Mirror => "mirror",
            Self::Own => "own",
            Self::Background => "background",
        }
    }
}

/// Where a record's usage comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ToStatic)]
pub enum UsageSource {
    /// There is no usage.
    #[default]
    None,
    /// The provider reported it.
    Provider,
    /// The provider reported it after the client had left: the answer was read to its end for that.
    Drained,
    /// The gateway counted what had passed.
    Estimated,
    /// The provider goes on making the answer: a record of kind [`Kind::Background`] has it, as soon as it is told.
    Pending,
}

impl UsageSource {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Provider, Self::Drained, Self::Estimated, Self::Pending];

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Provider => "provider",
            Self::Drained => "drained",
            Self::Estimated => "estimated",
            Self::Pending => "pending",
        }
    }
}

/// A short text of a record, borrowed from the exchange; a longer one is cut at 256 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToStatic)]
#[serde(transparent)]
pub struct Text<'a>(Cow<'a, str>);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default()))
    }
}

impl From<String> for Text<'_> {
    fn from(mut text: String) -> Self {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        Self(Cow::Owned(text))
    }
}

impl<'a> From<Cow<'a, str>> for Text<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// Tags of a record, each once: all of its key, by which budgets go, and of others as many as make 32 with these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToStatic)]
#[serde(transparent)]
pub struct Tags<'a>(Vec<Text<'a>>);

impl<'a> Tags<'a> {
    /// Those of a key. Whoever made it decides how many.
    pub fn of_key(tags: impl IntoIterator<Item = impl Into<Text<'a>>>) -> Self {
        let mut all = Self::default();
        tags.into_iter().for_each(|tag| all.add(tag.into()));
        all
    }

    fn add(&mut self, tag: Text<'a>) {
        if !self.0.contains(&tag) {
            self.0.push(tag);
        }
    }
}

impl<'a, T: Into<Text<'a>>> FromIterator<T> for Tags<'a> {
    fn from_iter<I: IntoIterator<Item = T>>(tags: I) -> Self {
        let mut all = Self::default();
        all.extend(tags);
        all
    }
}

impl<'a, T: Into<Text<'a>>> Extend<T> for Tags<'a> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, tags: I) {
        for tag in tags.into_iter().map(Into::into) {
            if self.0.len() < MAX_TAGS {
                self.add(tag);
            }
        }
    }
}

impl<'a> Deref for Tags<'a> {
    type Target = [Text<'a>];

    fn deref(&self) -> &[Text<'a>] {
        &self.0
    }
}

/// Pairs of name and value, at most 32.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToStatic)]
#[serde(transparent)]
pub struct Metadata<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'a, T: Into<Text<'a>>> FromIterator<(T, T)> for Metadata<'a> {
    fn from_iter<I: IntoIterator<Item = (T, T)>>(pairs: I) -> Self {
        Self(pairs.into_iter().take(MAX_TAGS).map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl<'a> Deref for Metadata<'a> {
    type Target = [(Text<'a>, Text<'a>)];

    fn deref(&self) -> &[(Text<'a>, Text<'a>)] {
        &self.0
    }
}

/// One line of the ledger. `(at, id, seq)` is unique: booking a record twice books it once.
///
/// A client's request is one record of kind [`Kind::Request`], [`Kind::CacheHit`] or [`Kind::Shared`] with `seq` 0;
/// what else it cost is in records of their own kind, with the same `id` and `at` and a `seq` from 1.
#[derive(Clone, Debug, Default, PartialEq, ToStatic)]
pub struct Record<'a> {
    /// The request's id, as in `x-request-id`.
    pub id: Text<'a>,
    /// Which of the request's records this is.
    pub seq: u32,
    /// Why there is a record.
    pub kind: Kind,
    /// When the request began, in microseconds since 1970, UTC.
    pub at: i64,
    /// Name of the client's key.
    pub key: Option<Text<'a>>,
    /// The key whose limits it counted against besides: that which made the key, or is the template of the token.
    pub account: Option<Text<'a>>,
    /// The key's team.
    pub team: Option<Text<'a>>,
    /// Who answers for the key.
    pub owner: Option<Text<'a>>,
    /// Tags of the key, then those of the request.
    pub tags: Tags<'a>,
    /// How many of the tags, from the first on, are the key's: only with these did it count against limits.
    pub key_tags: usize,
    /// The client's own customer or user, as the request named it.
    pub customer: Option<Text<'a>>,
    /// What else the request said for its client's own accounts: `metadata` of its body and of its headers, and the client's
    /// numbers of the call (`call_id`, `trace_id`, `session_id`).
    pub metadata: Metadata<'a>,
    /// The operation's word, for instance `chat`.
    pub operation: Text<'a>,
    /// The client's dialect.
    pub dialect: Option<Text<'a>>,
    /// The model that the client asked for.
    pub model: Option<Text<'a>>,
    /// The provider of the attempt.
    pub provider: Option<Text<'a>>,
    /// The model that this provider was asked for, or that it has asked in its place (Anthropic's `fallbacks`) if that one answered: it is at
    /// the prices of this one.
    pub upstream_model: Option<Text<'a>>,
    /// The model that the answer names.
    pub answer_model: Option<Text<'a>>,
    /// HTTP status: the client's for a request, the provider's for an attempt; 499 if the client left before there was one.
    pub status: u16,
    /// Whose fault a failure was: `caller`, `policy`, `upstream` or `gateway`; `None` for a success.
    pub fault: Option<Text<'a>>,
    /// Was a stream asked for.
    pub stream: bool,
    /// Attempts that the request took.
    pub attempts: u32,
    /// Microseconds from the beginning of the request to the end of its answer.
    pub duration_us: u64,
    /// Microseconds to the first output, for streams.
    pub first_token_us: Option<u64>,
    /// What was consumed, in buckets that do not overlap.
    pub usage: Usage,
    /// Where `usage` comes from.
    pub usage_source: UsageSource,
    /// The service tier that the answer names.
    pub service_tier: Option<Text<'a>>,
    /// Cost in pico-dollars (10⁻¹² USD); `None`: not known, which is not zero.
    pub cost: Option<u64>,
    /// Which prices the cost was reckoned with.
    pub price_map: Option<Text<'a>>,
    /// The model that the client named to fall back on, if it was asked.
    pub fallback: Option<Text<'a>>,
}

/// What [`Record::price_map`] says where the cost is what the provider says that it charges.
pub const CHARGED: &str = "provider";

impl Record<'_> {
    /// The model whose target was asked.
    pub fn asked_model(&self) -> Option<&str> {
        self.fallback.as_deref().or(self.model.as_deref())
    }

    /// Whether it consumed what costs something: that is known, or an answer came that tells nothing of it. Without a cost it is
    /// [unpriced](super::query::Totals::unpriced).
    pub fn costs(&self) -> bool {
        let answered = || {
            self.kind == Kind::Request
                && self.provider.is_some()
                && (200..300).contains(&self.status)
                && self.fault.is_none()
        };
        let operation = || Operation::ALL.into_iter().find(|known| known.as_str() == &*self.operation);
        match self.usage_source {
            UsageSource::None => answered() && operation().is_some_and(Operation::costs),
            // It is on a record of its own.
            UsageSource::Pending => false,
            UsageSource::Provider | UsageSource::Drained | UsageSource::Estimated => true,
        }
    }
}

/// Microseconds since 1970; negative before it.
pub fn micros(time: SystemTime) -> i64 {
    let clamp = |duration: std::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => clamp(after),
        Err(before) => -clamp(before.duration()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A record with something in every field, told apart by `n`.
    pub fn full(n: u32) -> Record<'static> {
        let mut counts = (1..).map(|offset| Some(u64::from(n) * 100 + offset));
        Record {
            id: format!("{n:032x}").into(),
            seq: n % 3,
            kind: Kind::ALL[n as usize % 8],
            at: 1_700_000_000_000_000 + i64::from(n),
            key: Some("support-bot".into()),
            account: Some("support-lead".into()),
            team: Some("support".into()),
            owner: Some("ann".into()),
            tags: ["a", "prod"].into_iter().collect(),
            key_tags: 1,
            customer: Some(format!("customer-{n}").into()),
            metadata: [("env", "prod"), ("call_id", "c")].into_iter().collect(),
            operation: "chat".into(),
            dialect: Some("openai-chat".into()),
            model: Some("assistant".into()),
            provider: Some("openai".into()),
            upstream_model: Some("gpt-5".into()),
            answer_model: Some("gpt-5-2025-08-07".into()),
            status: 200,
            fault: Some("upstream".into()),
            stream: true,
            attempts: 2,
            duration_us: 1_234_567,
            first_token_us: Some(234_567),
            usage: Usage::of_counts(|_| counts.next().ok_or(())).unwrap(),
            usage_source: UsageSource::ALL[n as usize % 5],
            service_tier: Some("default".into()),
            cost: Some(u64::from(n) * 1_000_003),
            price_map: Some("2026-11-25-abc".into()),
            fallback: Some("other".into()),
        }
    }

    #[test]
    fn texts_and_tags_are_bounded() {
        let long = "é".repeat(200);
        assert_eq!(Text::from(&*long).len(), 256);
        assert_eq!(Text::from("a".to_owned() + &long).len(), 255);
        let many = || (0..100).map(|n| n.to_string());
        assert_eq!(many().collect::<Tags<'_>>().len(), 32);
        // A budget goes by each of them.
        let mut tags = Tags::of_key(many());
        tags.extend(["more"]);
        assert_eq!(tags.len(), 100);
    }

    #[test]
    fn times_before_1970_are_negative() {
        let second = std::time::Duration::from_secs(1);
        assert_eq!((micros(UNIX_EPOCH + second), micros(UNIX_EPOCH - second)), (1_000_000, -1_000_000));
    }
}
