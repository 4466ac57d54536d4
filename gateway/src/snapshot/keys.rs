//! The clients' keys: found by the SHA-256 of the whole key, without telling by time how close a guess was.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::{KeyConfig, ModelPattern, OnAbort, Right};

/// Headers that may carry a client's key, in the order in which they are looked at.
const KEY_HEADERS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// A client's credential and its rights.
#[derive(Debug)]
pub struct Key {
    /// For logs and metrics; never the key itself.
    pub name: Arc<str>,
    config: KeyConfig,
}

impl Key {
    /// Whether the key may ask for the model that clients call `name`.
    pub fn may_use(&self, name: &str) -> bool {
        self.config.may_use(name)
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

    /// What becomes of its answers when the client leaves.
    pub fn on_abort(&self) -> OnAbort {
        self.config.on_abort
    }

    /// Whether it may ask for that.
    pub fn may(&self, right: Right) -> bool {
        self.config.allow.contains(&right)
    }

    /// The patterns of its allow-list that are plain names.
    pub fn plain_names(&self) -> impl Iterator<Item = &str> {
        self.config.models.iter().flatten().map(ModelPattern::as_str).filter(|pattern| !pattern.contains('*'))
    }
}

/// All keys. Without any, every client is let in: the configuration allows that on loopback only.
#[derive(Debug, Default)]
pub struct KeyRing {
    /// By the first eight bytes of the hash. They are public knowledge to nobody who lacks a key's preimage, so the
    /// map's timing tells nothing; the whole hash is then compared in constant time.
    keys: HashMap<u64, Vec<Arc<Key>>>,
}

/// What the key headers of a request said.
#[derive(Debug)]
pub enum Admission {
    /// No keys are configured: anybody may.
    Open,
    /// This key.
    Key(Arc<Key>),
    /// No key was sent.
    Missing,
    /// A key was sent that is none of ours.
    Wrong,
}

impl KeyRing {
    /// Builds the ring from the configuration.
    pub fn new(keys: &[KeyConfig]) -> Self {
        let mut ring = Self::default();
        for key in keys {
            let entry = Key { name: key.name.as_str().into(), config: key.clone() };
            ring.keys.entry(prefix(&key.hash)).or_default().push(Arc::new(entry));
        }
        ring
    }

    /// Decides by the headers of design §11 and `?key=`.
    pub fn admit(&self, headers: &HeaderMap, query: Option<&str>) -> Admission {
        if self.keys.is_empty() {
            return Admission::Open;
        }
        match presented_key(headers, query) {
            None => Admission::Missing,
            Some(presented) => self.find(&presented).map_or(Admission::Wrong, Admission::Key),
        }
    }

    fn find(&self, presented: &[u8]) -> Option<Arc<Key>> {
        let hash: [u8; 32] = Sha256::digest(presented).into();
        let candidates = self.keys.get(&prefix(&hash))?;
        candidates.iter().find(|key| bool::from(key.config.hash.ct_eq(&hash))).cloned()
    }
}

fn prefix(hash: &[u8; 32]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first)
}

/// The key as sent: the first of the known headers that has one, else the query's `key`.
fn presented_key<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Option<Cow<'a, [u8]>> {
    for name in KEY_HEADERS {
        let Some(value) = headers.get(name) else { continue };
        let value = value.as_bytes().trim_ascii();
        let key = if name == "authorization" { bearer(value) } else { Some(value) };
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            return Some(Cow::Borrowed(key));
        }
    }
    let pairs = url::form_urlencoded::parse(query?.as_bytes());
    pairs.into_iter().find(|(name, value)| name == "key" && !value.is_empty()).map(|(_, value)| match value {
        Cow::Borrowed(value) => Cow::Borrowed(value.as_bytes()),
        Cow::Owned(value) => Cow::Owned(value.into_bytes()),
    })
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> KeyRing {
        let config = |name: &str, key: &str, models: &[&str]| KeyConfig {
            name: name.into(),
            hash: Sha256::digest(key).into(),
            models: Some(models.iter().map(|pattern| ModelPattern::new(pattern)).collect()),
            ..KeyConfig::default()
        };
        KeyRing::new(&[config("bot", "sk-bot", &["assistant", "openai/*"]), config("all", "sk-all", &["*"])])
    }

    fn admitted(name: &'static str, value: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())]);
        match ring().admit(&headers, None) {
            Admission::Key(key) => Some(key.name.to_string()),
            _ => None,
        }
    }

    #[test]
    fn every_header_form_is_read() {
        for (header, value) in [
            ("authorization", "Bearer sk-bot"),
            ("authorization", "bearer  sk-bot "),
            ("x-api-key", "sk-bot"),
            ("api-key", "sk-bot"),
            ("x-goog-api-key", "sk-bot"),
        ] {
            assert_eq!(admitted(header, value).as_deref(), Some("bot"), "{header}: {value}");
        }
        assert!(matches!(ring().admit(&HeaderMap::new(), Some("alt=sse&key=sk-all")), Admission::Key(_)));
    }

    #[test]
    fn wrong_and_missing_keys_are_told_apart() {
        assert!(matches!(ring().admit(&HeaderMap::new(), None), Admission::Missing));
        for bad in ["Bearer sk-bo", "Bearer sk-bott", "Basic c2stYm90", "Bearer", "Bearer "] {
            assert!(admitted("authorization", bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_empty_ring_is_open() {
        assert!(matches!(KeyRing::default().admit(&HeaderMap::new(), None), Admission::Open));
    }

    #[test]
    fn allow_lists_take_globs() {
        let Admission::Key(key) = ring().admit(&HeaderMap::new(), Some("key=sk-bot")) else { panic!() };
        assert!(key.may_use("assistant") && key.may_use("openai/gpt-5"));
        assert!(!key.may_use("assistant2") && !key.may_use("anthropic/claude"));
    }
}
