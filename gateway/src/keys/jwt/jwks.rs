//! An issuer's public keys: from a file, or fetched, kept, and fetched anew when they are old or a token names another one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http::{Request, StatusCode};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tokio::task::AbortHandle;
use url::Url;

use crate::credentials::Client;

/// Keys older than this are fetched anew beside the request that finds them so.
const FRESH: Duration = Duration::from_secs(5 * 60);
/// Keys that nobody has tried to fetch for this long are waited for: some may have been withdrawn long ago.
const STALE: Duration = Duration::from_secs(60 * 60);
/// Between two fetches lies at least this: tokens with made-up key names cost the issuer nothing.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest that a fetch is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most keys of a set.
const MOST: usize = 200;

/// Public keys by `kid`, each with the algorithms that it verifies.
pub(super) struct PublicKeys {
    source: Bytes,
    keys: HashMap<String, Vec<PublicKey>>,
}

struct PublicKey {
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// Whether `content` is a JWKS with a key that can verify a token.
///
/// # Errors
/// It is not, in words that follow its name.
pub fn check_jwks(content: &[u8]) -> Result<(), &'static str> {
    let keys = PublicKeys::parse(Bytes::copy_from_slice(content)).ok_or("is no JWKS: a JSON object with `keys`")?;
    let usable = !keys.keys.is_empty();
    usable.then_some(()).ok_or("has no key that can be used: one with a `kid`, for RS…, PS…, ES256, ES384 or EdDSA")
}

impl PublicKeys {
    /// The keys that can be used; others may stand beside them.
    fn parse(source: Bytes) -> Option<Self> {
        let set: Set = serde_json::from_slice(&source).ok()?;
        let mut keys: HashMap<String, Vec<PublicKey>> = HashMap::new();
        for value in set.keys.into_iter().take(MOST) {
            let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { continue };
            if let (Some(kid), Some(key)) = (jwk.common.key_id.clone(), PublicKey::of(&jwk)) {
                keys.entry(kid).or_default().push(key);
            }
        }
        Some(Self { source, keys })
    }

    /// Whether there is a key of that name.
    pub(super) fn has(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    /// The key of that name for that algorithm.
    pub(super) fn find(&self, kid: &str, algorithm: Algorithm) -> Option<&DecodingKey> {
        let named = self.keys.get(kid)?;
        named.iter().find(|key| key.algorithms.contains(&algorithm)).map(|key| &key.key)
    }
}

impl PublicKey {
    fn of(jwk: &Jwk) -> Option<Self> {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let of_type: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[ES256],
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[ES384],
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[EdDSA],
            _ => return None,
        };
        if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let algorithms: Vec<Algorithm> = match jwk.common.key_algorithm {
            Some(named) => named.to_string().parse().ok().filter(|named| of_type.contains(named)).into_iter().collect(),
            None => of_type.to_vec(),
        };
        let key = DecodingKey::from_jwk(jwk).ok()?;
        (!algorithms.is_empty()).then_some(Self { algorithms, key })
    }
}

impl fmt::Debug for PublicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

/// The public keys of one issuer as they are now.
pub(super) struct KeySet {
    current: ArcSwapOption<PublicKeys>,
    origin: Option<Origin>,
}

struct Origin {
    ask: Ask,
    clock: Clock,
    fetching: Mutex<Fetching>,
}

/// Asks the issuer now: gives the JWKS, or what went wrong.
pub(super) type Ask = Box<dyn Fn() -> BoxFuture<'static, Result<Bytes, String>> + Send + Sync>;
pub(super) type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

type Fetch = Shared<BoxFuture<'static, ()>>;

#[derive(Default)]
struct Fetching {
    begun: Option<Instant>,
    under_way: Option<(AbortHandle, Fetch)>,
    /// The keys were stale when it began.
    awaited: bool,
}

impl KeySet {
    /// Keys that do not change.
    pub(super) fn fixed(content: &[u8]) -> Self {
        let keys = PublicKeys::parse(Bytes::copy_from_slice(content)).map(Arc::new);
        Self { current: ArcSwapOption::new(keys), origin: None }
    }

    /// Keys that are fetched when the first token comes.
    pub(super) fn fetched(url: &Url, client: Arc<Client>) -> Self {
        let url = url.clone();
        let ask: Ask = Box::new(move || ask(url.clone(), client.clone()).boxed());
        Self::asked(ask, Box::new(Instant::now))
    }

    pub(super) fn asked(ask: Ask, clock: Clock) -> Self {
        let origin = Origin { ask, clock, fetching: Mutex::default() };
        Self { current: ArcSwapOption::empty(), origin: Some(origin) }
    }

    /// Whether these are still the issuer's keys. Not before new ones were waited for, if they are stale.
    pub(super) fn is_current(self: &Arc<Self>, keys: &Arc<PublicKeys>) -> bool {
        if let Some(origin) = &self.origin {
            if origin.is_stale() {
                return false;
            }
            if origin.is_old() {
                let _beside_the_request = self.fetch(origin);
            }
        }
        self.current.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, keys))
    }

    /// The keys, fetched anew first if there is none called `kid` or they are stale. `None`: none could be had so far.
    pub(super) async fn with(self: &Arc<Self>, kid: &str) -> Option<Arc<PublicKeys>> {
        let known = |keys: &Arc<PublicKeys>| keys.keys.contains_key(kid);
        if let Some(origin) = &self.origin {
            let must_wait = !self.current.load().as_ref().is_some_and(known) || origin.is_stale();
            if (must_wait || origin.is_old())
                && let Some(fetch) = self.fetch(origin)
                && must_wait
            {
                let _the_keys_tell = tokio::time::timeout(PATIENCE, fetch).await;
            }
        }
        self.current.load_full()
    }

    /// The fetch that is under way, or that this starts; `None` if the last one was just now. It goes on when the callers leave.
    fn fetch(self: &Arc<Self>, origin: &Origin) -> Option<Fetch> {
        let now = (origin.clock)();
        let mut fetching = origin.fetching.lock();
        // Not asked of the future itself, which nobody may be polling.
        if let Some((_, fetch)) = fetching.under_way.as_ref().filter(|(task, _)| !task.is_finished()) {
            return Some(fetch.clone());
        }
        if fetching.begun.is_some_and(|begun| now.duration_since(begun) < PAUSE) {
            return None;
        }
        let set = self.clone();
        let task = tokio::spawn(async move { set.refresh().await });
        let running = task.abort_handle();
        let fetch = task.map(|_| ()).boxed().shared();
        let awaited = fetching.begun.is_some_and(|begun| now.duration_since(begun) >= STALE);
        *fetching = Fetching { begun: Some(now), under_way: Some((running, fetch.clone())), awaited };
        Some(fetch)
    }

    async fn refresh(&self) {
        let Some(origin) = &self.origin else { return };
        let failure = match (origin.ask)().await {
            Ok(source) if self.current.load().as_ref().is_some_and(|keys| keys.source == source) => return,
            Ok(source) => match PublicKeys::parse(source) {
                Some(keys) => return self.current.store(Some(Arc::new(keys))),
                None => "the answer is no JWKS".to_owned(),
            },
            Err(error) => error,
        };
        log::warn!("the public keys of an issuer could not be fetched: {failure}");
    }
}

impl Origin {
    fn is_old(&self) -> bool {
        let now = (self.clock)();
        let fetching = self.fetching.lock();
        fetching.begun.is_none_or(|begun| now.duration_since(begun) >= FRESH)
    }

    /// Whether the keys are so old that a request waits for new ones, also for those that another one has asked for.
    fn is_stale(&self) -> bool {
        let now = (self.clock)();
        let fetching = self.fetching.lock();
        match &fetching.under_way {
            Some((task, _)) if !task.is_finished() => fetching.awaited,
            _ => fetching.begun.is_some_and(|begun| now.duration_since(begun) >= STALE),
        }
    }
}

async fn ask(url: Url, client: Arc<Client>) -> Result<Bytes, String> {
    let request = Request::get(url.as_str()).header("accept", "application/json").body(Bytes::new());
    let request = request.map_err(|error| error.to_string())?;
    // The client's errors name the host.
    let answer = client.send(request).await.map_err(|error| error.to_string())?;
    match answer.status() {
        StatusCode::OK => Ok(answer.into_body()),
        status => Err(format!("{}: status {}", url.host_str().unwrap_or_default(), status.as_u16())),
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current.load().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;

    /// An issuer whose answer and whose time a test sets.
    #[derive(Clone)]
    struct Issuer {
        answer: Arc<Mutex<Result<Bytes, String>>>,
        asked: Arc<AtomicUsize>,
        seconds: Arc<AtomicU64>,
    }

    impl Issuer {
        fn new(kid: &str) -> (Self, Arc<KeySet>) {
            let issuer =
                Self { answer: Arc::new(Mutex::new(jwks(kid))), asked: Arc::default(), seconds: Arc::default() };
            let (asked, clock, began) = (issuer.clone(), issuer.clone(), Instant::now());
            let ask: Ask = Box::new(move || {
                asked.asked.fetch_add(1, Ordering::Relaxed);
                let answer = asked.answer.lock().clone();
                async move { answer }.boxed()
            });
            let clock = Box::new(move || began + Duration::from_secs(clock.seconds.load(Ordering::Relaxed)));
            (issuer, Arc::new(KeySet::asked(ask, clock)))
        }

        fn serve(&self, answer: Result<Bytes, String>) {
            *self.answer.lock() = answer;
        }

        fn pass(&self, time: Duration) {
            self.seconds.fetch_add(time.as_secs(), Ordering::Relaxed);
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    fn jwks(kid: &str) -> Result<Bytes, String> {
        let x = "A".repeat(43);
        let set = serde_json::json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x }] });
        Ok(set.to_string().into())
    }

    async fn has(set: &Arc<KeySet>, kid: &str) -> bool {
        set.with(kid).await.is_some_and(|keys| keys.find(kid, Algorithm::EdDSA).is_some())
    }

    #[tokio::test]
    async fn an_unknown_name_is_asked_for_but_not_too_often() {
        let (issuer, set) = Issuer::new("a");
        assert!(has(&set, "a").await && has(&set, "a").await);
        issuer.serve(jwks("b"));
        for _ in 0..10 {
            assert!(!has(&set, "b").await);
        }
        assert_eq!(issuer.asked(), 1);
        issuer.pass(PAUSE);
        assert!(has(&set, "b").await);
        assert!(!has(&set, "a").await, "the issuer has withdrawn it");
        assert_eq!(issuer.asked(), 2);
    }

    #[tokio::test]
    async fn old_keys_are_fetched_anew_beside_the_request() {
        let (issuer, set) = Issuer::new("a");
        assert!(has(&set, "a").await);
        let first = set.with("a").await.unwrap();
        issuer.pass(FRESH);
        assert!(set.is_current(&first), "nobody waits");
        while issuer.asked() < 2 {
            tokio::task::yield_now().await;
        }
        // The same again: what was verified by them stays verified.
        assert!(set.is_current(&first));
        issuer.serve(jwks("b"));
        issuer.pass(FRESH);
        while set.is_current(&first) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn after_a_quiet_hour_new_keys_are_waited_for_once() {
        let (issuer, set) = Issuer::new("a");
        assert!(has(&set, "a").await);
        let first = set.with("a").await.unwrap();
        issuer.serve(jwks("b"));
        issuer.pass(STALE);
        assert!(!set.is_current(&first), "what was verified by them is verified anew");
        let (one, other) = tokio::join!(has(&set, "a"), has(&set, "a"));
        assert!(!one && !other, "the issuer has withdrawn it");
        assert_eq!(issuer.asked(), 2);
        // An issuer that is down is waited for once; then its last keys count.
        issuer.serve(Err("status 500".to_owned()));
        issuer.pass(STALE);
        assert!(has(&set, "b").await);
        assert_eq!(issuer.asked(), 3);
        let second = set.with("b").await.unwrap();
        assert!(set.is_current(&second));
    }

    #[tokio::test]
    async fn the_last_keys_count_while_the_issuer_is_down() {
        let (issuer, set) = Issuer::new("a");
        assert!(has(&set, "a").await);
        for broken in [Err("status 500".to_owned()), Ok(Bytes::from_static(b"<html>"))] {
            issuer.serve(broken);
            issuer.pass(FRESH);
            assert!(!has(&set, "b").await);
            assert!(has(&set, "a").await);
        }
        assert_eq!(issuer.asked(), 3);
    }
}
