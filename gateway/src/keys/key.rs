//! A key as an exchange holds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use crate::config::{CacheScope, KeyConfig, ModelPattern, OnAbort, Right};
use crate::snapshot::ModelName;

/// A client's credential and its rights.
#[derive(Debug)]
pub struct Key {
    /// For logs and metrics; never the key itself.
    pub name: Arc<str>,
    config: KeyConfig,
    /// What bounds it besides: the key that made it, or the template of a token.
    within: Option<Arc<Key>>,
    /// Taken out of use, and every key within it.
    disabled: AtomicBool,
    /// When it was made at run time, in seconds since 1970; 0 of others.
    made: u64,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No key was sent.
    Missing,
    /// `authorization` was sent without the scheme, or with another one.
    NoBearer,
    /// What was sent is no key of ours.
    Wrong,
    /// A token that does not hold.
    Token(Flaw),
    /// The key's time is over.
    Expired,
    /// It was taken out of use.
    Disabled,
    /// A token whose issuer's public keys could not be had.
    Unverifiable,
    /// Too many came from its address without a right key.
    Many,
    /// There are no keys, and a page of somebody else's site sent it.
    Page,
}

/// Why a token does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It is too long, or no JWT that can be read.
    Form,
    /// No such issuer is configured.
    Issuer,
    /// It is for none of the issuer's configured audiences.
    Audience,
    /// It names no public key, or none that its issuer has.
    KeyId,
    /// Its algorithm is not its key's.
    Algorithm,
    /// Nobody with that key has signed it.
    Signature,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
    /// A claim that must be there is not, or is not what it must be.
    Claims,
    /// No template is for it, or that key may not be used now.
    Template,
}

impl Flaw {
    const fn reason(self) -> &'static str {
        match self {
            Self::Form => "token_form",
            Self::Issuer => "token_issuer",
            Self::Audience => "token_audience",
            Self::KeyId => "token_kid",
            Self::Algorithm => "token_algorithm",
            Self::Signature => "token_signature",
            Self::Expired => "token_expired",
            Self::NotYet => "token_not_yet",
            Self::Claims => "token_claims",
            Self::Template => "token_template",
        }
    }
}

impl Refused {
    /// The word in the access log and in metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NoBearer => "no_bearer",
            Self::Wrong => "unknown",
            Self::Token(flaw) => flaw.reason(),
            Self::Expired => "expired",
            Self::Disabled => "disabled",
            Self::Unverifiable => "unverifiable",
            Self::Many => "too_many",
            Self::Page => "page",
        }
    }

    /// What the client is told. Only who has a key learns that it is over or disabled.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Missing => "no API key was sent; send it as `authorization: Bearer …`, `x-api-key` or `api-key`",
            Self::NoBearer => {
                "`authorization` holds no `Bearer KEY`; send the API key as `authorization: Bearer …`, `x-api-key` or `api-key`"
            }
            Self::Wrong | Self::Token(_) => "the API key is not valid",
            Self::Expired => "the API key is expired",
            Self::Disabled => "the API key is disabled",
            Self::Many => "too many requests without a valid API key came from this address",
            Self::Unverifiable => "tokens cannot be verified at the moment",
            Self::Page => {
                "without `[[keys]]` this gateway is for programs on this machine: it answers no page of another site in a browser"
            }
        }
    }
}

impl Key {
    /// A key with these rights.
    pub fn new(config: KeyConfig) -> Self {
        Self::within(config, None, true)
    }

    /// A key that may what `config` says as far as `within` may.
    pub(crate) fn within(mut config: KeyConfig, within: Option<Arc<Self>>, enabled: bool) -> Self {
        let name = std::mem::take(&mut config.name).into();
        Self { name, config, within, disabled: AtomicBool::new(!enabled), made: 0 }
    }

    /// The same, made at that time: another key of its name is not this one.
    #[must_use]
    pub(crate) fn made_at(mut self, seconds: u64) -> Self {
        self.made = seconds;
        self
    }

    /// When it was made at run time, in seconds since 1970: with its name it tells it from every other key, also from one of the
    /// same name that was deleted before. 0 of keys of the file.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Whether it may be used now.
    ///
    /// # Errors
    /// It may not, or what it is within may not.
    pub fn check(&self, now: SystemTime) -> Result<(), Refused> {
        if self.disabled.load(Ordering::Acquire) {
            return Err(Refused::Disabled);
        }
        if self.config.expires.is_some_and(|end| now >= end) {
            return Err(Refused::Expired);
        }
        self.within.as_ref().map_or(Ok(()), |maker| maker.check(now))
    }

    /// Takes it out of use from the next request on, or brings it back.
    pub(super) fn set_enabled(&self, enabled: bool) {
        self.disabled.store(!enabled, Ordering::Release);
    }

    /// Whether it has not been taken out of use itself.
    pub fn is_enabled(&self) -> bool {
        !self.disabled.load(Ordering::Acquire)
    }

    /// Whether the key may ask for the model that clients call `name`.
    pub fn may_use<'n>(&self, name: impl Into<ModelName<'n>>) -> bool {
        let name = name.into();
        self.line().all(|key| name.is(|name| key.config.may_use(name)))
    }

    /// Whether it may use every model, also those that only a provider knows.
    pub fn may_use_any(&self) -> bool {
        self.config.models.is_none() && self.within.as_ref().is_none_or(|within| within.may_use_any())
    }

    /// Words that rules go by.
    pub fn tags(&self) -> &[String] {
        &self.config.tags
    }

    /// Its team.
    pub fn team(&self) -> Option<&str> {
        self.config.team.as_deref()
    }

    /// Who answers for it.
    pub fn owner(&self) -> Option<&str> {
        self.config.owner.as_deref()
    }

    /// What becomes of its answers when the client leaves: what the key says by which it was made goes for it, too.
    pub fn on_abort(&self) -> OnAbort {
        match (self.config.on_abort, &self.within) {
            (OnAbort::Cancel, Some(within)) => within.on_abort(),
            (own, _) => own,
        }
    }

    /// Who else may receive its kept answers: never more than of the key by which it was made.
    pub fn cache(&self) -> CacheScope {
        self.within.as_ref().map_or(self.config.cache, |within| self.config.cache.min(within.cache()))
    }

    /// Whether it may ask for that.
    pub fn may(&self, right: Right) -> bool {
        self.config.allow.contains(&right) && self.within.as_ref().is_none_or(|within| within.may(right))
    }

    /// The key that made it, or the template of its token.
    pub fn made_by(&self) -> Option<&Self> {
        self.within.as_deref()
    }

    /// Its own rights, apart from what it is within.
    pub(super) fn config(&self) -> &KeyConfig {
        &self.config
    }

    /// The names of the keys whose limits and budgets it uses up: its own, then that which made it, or is the template of its
    /// token.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        self.line().map(|key| &*key.name)
    }

    /// It, what it is within, and so on. Names alone do not tell all keys apart: a token is called by its template's and its own.
    pub fn line(&self) -> impl Iterator<Item = &Self> + Clone {
        std::iter::successors(Some(self), |key| key.made_by())
    }

    /// Its place among those that wait: the larger number waits less, and none waits less than the key by which it was made.
    pub fn priority(&self) -> u32 {
        let own = self.config.priority;
        match &self.within {
            None => own.unwrap_or_default(),
            Some(within) => own.unwrap_or(u32::MAX).min(within.priority()),
        }
    }

    /// The patterns of its allow-list that are plain names.
    pub fn plain_names(&self) -> impl Iterator<Item = &str> {
        self.patterns().filter(|pattern| !pattern.contains('*') && self.may_use(*pattern))
    }

    /// Whether its allow-list speaks of a provider's models together, as `openai/*` does.
    pub fn names_providers(&self) -> bool {
        self.patterns().any(|pattern| pattern.contains('*') && pattern.contains('/'))
    }

    fn patterns(&self) -> impl Iterator<Item = &str> {
        let own = self.config.models.as_ref();
        let patterns = own.or_else(|| self.within.as_ref().and_then(|within| within.config.models.as_ref()));
        patterns.into_iter().flatten().map(ModelPattern::as_str)
    }
}
