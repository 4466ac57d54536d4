//! All the ways in: keys of the file, keys made at run time, tokens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;

use super::by_hash::ByHash;
use super::secret::digest;
use super::{Key, KeySets, LiveKeys, Many, Refused, Tokens, page, presented_key, seconds};
use crate::config::{IssuerConfig, KeyConfig};

/// All keys. Without any, every client is let in but a page of another site: the configuration allows that on loopback only.
#[derive(Debug, Default)]
pub struct KeyRing {
    configured: ByHash,
    /// The same by name, with those that nobody can present.
    named: BTreeMap<Arc<str>, Arc<Key>>,
    live: Option<Arc<LiveKeys>>,
    tokens: Option<Tokens>,
}

/// What the key headers of a request said.
#[derive(Debug)]
pub enum Admission {
    /// No keys are configured: anybody may.
    Open,
    /// This key.
    Key(Arc<Key>),
    /// This one, which may not be used now.
    Unusable(Arc<Key>, Refused),
    /// None.
    Refused(Refused),
}

impl KeyRing {
    /// The keys of the configuration.
    pub fn new(keys: &[KeyConfig]) -> Self {
        let mut ring = Self::default();
        for config in keys {
            let key = Arc::new(Key::new(config.clone()));
            ring.named.insert(key.name.clone(), key.clone());
            if let Some(hash) = config.hash {
                ring.configured.insert(hash, None, key);
            }
        }
        ring
    }

    /// Lets in keys made at run time and tokens as well. With either nobody comes in without a key, also while there is none.
    #[must_use]
    pub fn joined_by(mut self, live: Option<Arc<LiveKeys>>, issuers: &[IssuerConfig], sets: &KeySets) -> Self {
        self.live = live;
        self.tokens = Tokens::new(issuers, &self, sets);
        self
    }

    /// Keys of the configuration, by name.
    pub fn configured(&self) -> &BTreeMap<Arc<str>, Arc<Key>> {
        &self.named
    }

    /// Decides by the headers in which SDKs send their key and `?key=`, as of `now`. Waits only for the public keys of a token's issuer, the first time and
    /// when they may have changed. `many`, which is asked for a token
    /// that was not verified before: whether it is not to be looked at.
    pub async fn admit(&self, headers: &HeaderMap, query: Option<&str>, now: SystemTime, many: Many<'_>) -> Admission {
        if self.named.is_empty() && self.live.is_none() && self.tokens.is_none() {
            let foreign = page::is_from_other_site(headers);
            return if foreign { Admission::Refused(Refused::Page) } else { Admission::Open };
        }
        let Some(presented) = presented_key(headers, query) else {
            let other = headers.contains_key(http::header::AUTHORIZATION);
            return Admission::Refused(if other { Refused::NoBearer } else { Refused::Missing });
        };
        if let Some(tokens) = self.tokens.as_ref().filter(|_| Tokens::is_token(&presented)) {
            return tokens.verify(&presented, now, many).await.map_or_else(Admission::Refused, Admission::Key);
        }
        match self.known(&presented, now) {
            None => Admission::Refused(Refused::Wrong),
            Some((key, Ok(()))) => Admission::Key(key),
            Some((key, Err(why))) => Admission::Unusable(key, why),
        }
    }

    /// The key of this secret: one hash, at most two looks into a map, one comparison in constant time.
    ///
    /// # Errors
    /// There is none, or it may not be used now.
    pub fn find(&self, secret: &[u8], now: SystemTime) -> Result<Arc<Key>, Refused> {
        let (key, usable) = self.known(secret, now).ok_or(Refused::Wrong)?;
        usable.map(|()| key)
    }

    /// The key of this secret, and whether it may be used now.
    fn known(&self, secret: &[u8], now: SystemTime) -> Option<(Arc<Key>, Result<(), Refused>)> {
        let hash = digest(secret);
        let configured = self.configured.find(&hash).map(|(key, until)| (key.clone(), until));
        let (key, until) = configured.or_else(|| self.live.as_ref()?.find(&hash))?;
        let is_over = until.is_some_and(|until| seconds(now) >= until);
        let usable = key.check(now).and(if is_over { Err(Refused::Expired) } else { Ok(()) });
        Some((key, usable))
    }
}
