//! JWTs of identity providers as the other way in.
//!
//! A token is told from a key by its form. Its `iss` names the issuer, whose public keys ([`KeySet`]) verify it; its claims,
//! within the template key that they choose, make the [`Key`] that the exchange holds. What was verified is remembered by the token's
//! hash until the token ends or the issuer's keys change. Whatever is wrong with a token, the client hears the same; the access log
//! has the [`Flaw`].

mod claims;
mod jwks;
mod ring;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::errors::ErrorKind as Error;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use serde::Deserialize;
use serde_json::{Map, Value};

pub use jwks::check_jwks;

use super::by_hash::Digest;
use super::secret::digest;
use super::{Flaw, Key, KeyRing, Many, Refused, seconds, time};
use crate::config::{ClaimNames, IssuerConfig, JwksConfig, TemplateConfig};
use crate::credentials::Client;
use jwks::{KeySet, PublicKeys};

/// Bytes of the longest token.
const LONGEST: usize = 8 * 1024;
/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(30);
/// Verified tokens that are remembered; the least used go first.
const REMEMBERED: usize = 20_000;

/// Verifies tokens of the configured issuers.
#[derive(Debug)]
pub struct Tokens {
    issuers: HashMap<String, Vec<Issuer>>,
    verified: Cache<Digest, Verified>,
}

/// An issuer as far as its tokens for one audience go.
#[derive(Debug)]
struct Issuer {
    audience: String,
    claims: ClaimNames,
    templates: Vec<Template>,
    keys: Arc<KeySet>,
}

/// A key, for the tokens of which a claim has something, or for all.
#[derive(Debug)]
struct Template {
    claim: Option<(String, String)>,
    key: Arc<Key>,
}

impl Issuer {
    fn new(config: &IssuerConfig, ring: &KeyRing, sets: &KeySets) -> Self {
        let template = |config: &TemplateConfig| {
            let key = ring.configured().get(&*config.key)?.clone();
            Some(Template { claim: config.claim.clone(), key })
        };
        Self {
            audience: config.audience.clone(),
            claims: config.claims.clone(),
            templates: config.templates.iter().filter_map(template).collect(),
            keys: sets.of(&config.jwks),
        }
    }

    /// The key that a token with these claims, which are verified, stands for.
    fn key(&self, claims: &Map<String, Value>) -> Result<Arc<Key>, Flaw> {
        let fits = |(name, value): &(String, String)| claims::has(claims, name, value);
        let template = self.templates.iter().find(|template| template.claim.as_ref().is_none_or(fits));
        claims::key(claims, &self.claims, &template.ok_or(Flaw::Template)?.key).ok_or(Flaw::Claims)
    }

    /// A token of this issuer, whose audience is among those that the token names.
    async fn verify(
        &self,
        token: &[u8],
        kid: &str,
        alg: Algorithm,
        iss: &str,
        now: SystemTime,
    ) -> Result<Verified, Refused> {
        let by = self.keys.with(kid).await.ok_or(Refused::Unverifiable)?;
        let flaw = if by.has(kid) { Flaw::Algorithm } else { Flaw::KeyId };
        let key = by.find(kid, alg).ok_or(Refused::Token(flaw))?;

        let mut validation = Validation::new(alg);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[iss]);
        validation.set_audience(&[&self.audience]);
        // By our own time, below.
        validation.validate_exp = false;
        let decoded = decode::<Map<String, Value>>(token, key, &validation);
        let claims = decoded.map_err(|error| Refused::Token(flaw_of(error.kind())))?.claims;

        let wrong = Refused::Token(Flaw::Claims);
        let date =
            |claim: &Value| claim.as_f64().filter(|date| *date >= 0.0).map(|date| date.round() as u64).ok_or(wrong);
        let end = claims.get("exp").map_or(Err(wrong), date)?.saturating_add(LEEWAY.as_secs());
        let begin = claims.get("nbf").map_or(Ok(0), date)?.saturating_sub(LEEWAY.as_secs());
        if seconds(now) < begin {
            return Err(Refused::Token(Flaw::NotYet));
        }
        if seconds(now) >= end {
            return Err(Refused::Token(Flaw::Expired));
        }
        let key = self.key(&claims).map_err(Refused::Token)?;
        key.check(now).map_err(|_| Refused::Token(Flaw::Template))?;
        // A token for ever is one until the year 9999.
        Ok(Verified { key, until: time(end), by, issuer: self.keys.clone() })
    }
}

/// What the library found wrong.
const fn flaw_of(error: &Error) -> Flaw {
    match error {
        Error::InvalidSignature => Flaw::Signature,
        Error::InvalidIssuer => Flaw::Issuer,
        Error::InvalidAudience => Flaw::Audience,
        Error::InvalidAlgorithm | Error::InvalidAlgorithmName | Error::MissingAlgorithm => Flaw::Algorithm,
        Error::MissingRequiredClaim(_) | Error::InvalidClaimFormat(_) | Error::Json(_) => Flaw::Claims,
        _ => Flaw::Form,
    }
}

#[derive(Debug, Clone)]
struct Verified {
    key: Arc<Key>,
    until: SystemTime,
    /// With which keys: when the issuer withdraws one, its tokens are verified anew.
    by: Arc<PublicKeys>,
    issuer: Arc<KeySet>,
}

/// The claims that decide by whose keys a token is verified, and are believed only then.
#[derive(Deserialize)]
struct Claimed {
    iss: String,
    aud: Value,
}

impl Tokens {
    /// The issuers of the configuration; `None` if there are none. Their templates are keys of `ring`.
    pub fn new(issuers: &[IssuerConfig], ring: &KeyRing, sets: &KeySets) -> Option<Self> {
        ring::install();
        let mut known: HashMap<String, Vec<Issuer>> = HashMap::new();
        for config in issuers {
            known.entry(config.issuer.clone()).or_default().push(Issuer::new(config, ring, sets));
        }
        (!issuers.is_empty()).then(|| Self { issuers: known, verified: Cache::new(REMEMBERED) })
    }

    /// Whether what was presented has the form of a token: three parts, of which the first begins a JSON object in Base64.
    pub fn is_token(presented: &[u8]) -> bool {
        presented.starts_with(b"eyJ") && presented.iter().filter(|byte| **byte == b'.').count() == 2
    }

    /// The key that a token stands for. Waits only for the issuer's public keys, when there are none yet, none of the
    /// token's name, or nobody has asked for them in the last hour.
    ///
    /// # Errors
    /// The token does not hold now.
    pub async fn verify(&self, token: &[u8], now: SystemTime, many: Many<'_>) -> Result<Arc<Key>, Refused> {
        let flawed = Refused::Token;
        if token.len() > LONGEST {
            return Err(flawed(Flaw::Form));
        }
        let hash = digest(token);
        if let Some(verified) = self.verified.get(&hash)
            && verified.issuer.is_current(&verified.by)
        {
            if now >= verified.until {
                self.verified.remove(&hash);
                return Err(flawed(Flaw::Expired));
            }
            verified.key.check(now).map_err(|_| flawed(Flaw::Template))?;
            return Ok(verified.key);
        }
        if many() {
            return Err(Refused::Many);
        }
        let header = decode_header(token).map_err(|_| flawed(Flaw::Form))?;
        // Extensions that must be understood are not (RFC 7515 §4.1.11).
        if header.crit.is_some() {
            return Err(flawed(Flaw::Form));
        }
        let kid = header.kid.as_deref().ok_or(flawed(Flaw::KeyId))?;
        let claimed: Claimed = insecure_decode_claims(token).map_err(|_| flawed(Flaw::Claims))?;
        let is_for = |issuer: &&Issuer| match &claimed.aud {
            Value::Array(audiences) => audiences.iter().any(|audience| *audience == issuer.audience),
            audience => *audience == issuer.audience,
        };
        let issuers = self.issuers.get(&claimed.iss).ok_or(flawed(Flaw::Issuer))?;
        let mut refused = flawed(Flaw::Audience);
        for issuer in issuers.iter().filter(is_for) {
            match issuer.verify(token, kid, header.alg, &claimed.iss, now).await {
                Ok(verified) => {
                    let key = verified.key.clone();
                    self.verified.insert(hash, verified);
                    return Ok(key);
                }
                // It may be for another audience, too. That it cannot be told is told.
                Err(why) if refused != Refused::Unverifiable => refused = why,
                Err(_) => {}
            }
        }
        Err(refused)
    }
}

/// The public keys of all issuers. They outlive a configuration.
#[derive(Debug)]
pub struct KeySets {
    client: Arc<Client>,
    fetched: Mutex<HashMap<String, Arc<KeySet>>>,
}

impl KeySets {
    /// None yet; `client` will fetch them.
    pub fn new(client: Arc<Client>) -> Self {
        Self { client, fetched: Mutex::default() }
    }

    fn of(&self, jwks: &JwksConfig) -> Arc<KeySet> {
        match jwks {
            JwksConfig::Fixed(content) => Arc::new(KeySet::fixed(content)),
            JwksConfig::Url(url) => {
                let mut fetched = self.fetched.lock();
                let set = || Arc::new(KeySet::fetched(url, self.client.clone()));
                fetched.entry(url.as_str().to_owned()).or_insert_with(set).clone()
            }
        }
    }
}
