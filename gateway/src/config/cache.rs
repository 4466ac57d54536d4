//! `[cache]`, and `cache` of a model: which answers are kept, where, and who gets them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::semantic::{Semantic, SemanticConfig};
use super::tree::At;
use super::units::{self, DurationText, SizeText};
use crate::cache::{Payer, Tier};

/// The longest that an answer is kept.
const LONGEST_TTL: Duration = Duration::from_secs(365 * 86_400);
/// The longest pause between two events of a replay: a client must not take it for a broken stream.
const LONGEST_PACE: Duration = Duration::from_secs(1);

/// `[cache]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// The most bytes of answers that are kept in memory, of all models together. Default: `"512MiB"`.
    pub max_size: Option<At<SizeText>>,
    /// Keep answers on disk too, so that they survive a restart. Default: in memory only.
    pub disk: Option<Disk>,
    /// Keep answers in the Redis of `[store]` too, for all instances that use it. Default: false.
    pub redis: Option<At<bool>>,
}

/// `disk` of `[cache]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Folder of the answers, for this instance alone. It is made if it is not there.
    pub path: At<String>,
    /// The most bytes of files in it. Default: `"4GiB"`.
    pub max_size: Option<At<SizeText>>,
}

/// `cache` of a model as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelCache {
    /// How long an answer may be used again. Without it, or with `"0s"`, none is kept.
    pub ttl: Option<At<DurationText>>,
    /// Whether who asks the same while an answer is being produced gets that one, from its beginning. Default: true.
    pub share: Option<At<bool>>,
    /// Keep answers to requests that offer tools of the client, too. Default: false.
    pub tool_calls: Option<bool>,
    /// Keep answers to requests with a `temperature` above zero, too. Default: false.
    pub temperature: Option<bool>,
    /// The pause between two events of a stream that is replayed. Default: none.
    pub pace: Option<At<DurationText>>,
    /// Who pays for an answer that several follow while it is produced. Default: `"first"`.
    pub pays: Option<Payer>,
    /// Give answers of questions that mean nearly the same, too. Default: no.
    pub semantic: Option<Semantic>,
}

/// A resolved `[cache]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// Bytes of answers in memory.
    pub max_size: usize,
    /// Where answers survive a restart.
    pub disk: Option<DiskConfig>,
    /// Whether they are kept in the store's Redis, too.
    pub redis: bool,
    /// Stores of a program that embeds the gateway, below all others.
    pub own: OwnTiers,
}

/// Stores that no file can name.
#[derive(Clone, Default)]
pub struct OwnTiers(pub Vec<Arc<dyn Tier>>);

impl PartialEq for OwnTiers {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl Eq for OwnTiers {}

impl fmt::Debug for OwnTiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|tier| tier.name())).finish()
    }
}

/// Where answers survive a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskConfig {
    /// The folder; it exists or not: that is seen when it is opened.
    pub path: PathBuf,
    /// Bytes of files in it.
    pub max_size: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { max_size: 512 << 20, disk: None, redis: false, own: OwnTiers::default() }
    }
}

/// How answers of a model are kept and shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCacheConfig {
    /// How long they may be used again; zero: they are not kept.
    pub ttl: Duration,
    /// Whether requests join one that is under way.
    pub share: bool,
    /// Whether this goes for requests that offer tools of the client.
    pub tool_calls: bool,
    /// Whether it goes for those with a temperature above zero.
    pub temperature: bool,
    /// Between two events of a replay.
    pub pace: Option<Duration>,
    /// Who pays for a shared call.
    pub pays: Payer,
    /// Whether answers of questions that mean nearly the same are given, too.
    pub semantic: Option<SemanticConfig>,
}

impl Default for ModelCacheConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::ZERO,
            share: true,
            tool_calls: false,
            temperature: false,
            pace: None,
            pays: Payer::First,
            semantic: None,
        }
    }
}

impl Cache {
    /// `has_redis`: whether `[store]` names one.
    pub(super) fn resolve(self, has_redis: bool, cx: &mut Context<'_>) -> CacheConfig {
        let default = CacheConfig::default();
        if let Some(At { value: true, span }) = &self.redis
            && !has_redis
        {
            cx.report.error(span.clone(), "there is no Redis", "name it in [store]: redis = \"redis://HOST:PORT\"");
        }
        CacheConfig {
            max_size: size(self.max_size, cx).unwrap_or(default.max_size),
            disk: self.disk.map(|disk| disk.resolve(cx)),
            redis: self.redis.is_some_and(|redis| redis.value),
            own: OwnTiers::default(),
        }
    }
}

impl Disk {
    fn resolve(self, cx: &mut Context<'_>) -> DiskConfig {
        if self.path.value.trim().is_empty() {
            cx.report.error(self.path.span.clone(), "the path is empty", "name a folder");
        }
        let max_size = size(self.max_size, cx).map_or(4 << 30, |size| size as u64);
        DiskConfig { path: cx.dir.join(self.path.value), max_size }
    }
}

impl ModelCache {
    pub(super) fn resolve(self, cx: &mut Context<'_>) -> ModelCacheConfig {
        let default = ModelCacheConfig::default();
        let ttl = self.ttl.and_then(|text| {
            let zero = humantime::parse_duration(text.value.0.trim()) == Ok(Duration::ZERO);
            let ttl = if zero { Some(Duration::ZERO) } else { cx.duration(Some(&text)) };
            at_most(ttl, LONGEST_TTL, "a year", &text, cx)
        });
        let pace = self.pace.and_then(|text| {
            let pace = cx.duration(Some(&text));
            at_most(pace, LONGEST_PACE, "a second", &text, cx)
        });
        if let Some(At { value: false, span }) = &self.share
            && ttl.unwrap_or_default().is_zero()
        {
            cx.report.error(
                span.clone(),
                "without a `ttl` nothing is kept, and without `share` nothing is shared",
                "write a `ttl`, or leave `cache` out",
            );
        }
        ModelCacheConfig {
            ttl: ttl.unwrap_or(default.ttl),
            share: self.share.map_or(default.share, |share| share.value),
            tool_calls: self.tool_calls.unwrap_or_default(),
            temperature: self.temperature.unwrap_or_default(),
            pace,
            pays: self.pays.unwrap_or_default(),
            semantic: self.semantic.map(|semantic| semantic.resolve(cx)),
        }
    }
}

fn size(text: Option<At<SizeText>>, cx: &mut Context<'_>) -> Option<usize> {
    text.and_then(|text| cx.parse(&text, |text| units::size(&text.0)))
}

fn at_most(
    value: Option<Duration>,
    most: Duration,
    in_words: &str,
    text: &At<DurationText>,
    cx: &mut Context<'_>,
) -> Option<Duration> {
    if value.is_some_and(|value| value > most) {
        cx.report.error(text.span.clone(), format!("this is longer than {in_words}"), None);
    }
    value
}
