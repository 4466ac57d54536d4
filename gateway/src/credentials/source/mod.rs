//! Tokens that end: kept, renewed ahead of their end in the background, one renewal at a time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;

use super::{Client, CredentialError};

/// Tokens are renewed this long before their end, or at half of their life if that is short.
const AHEAD: Duration = Duration::from_secs(300);
/// A token is not used in its very last moments: it must still hold when the request arrives.
const MARGIN: Duration = Duration::from_secs(10);
/// A token that is over already is not asked for again with every request.
const SHORTEST: Duration = Duration::from_secs(1);
/// A renewal that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(10);
/// After a failure the next renewal waits this long; meanwhile whoever has no token is told at once.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Something that can be asked for a token.
#[async_trait]
pub trait Issue: Send + Sync + 'static {
    /// What it gives.
    type Token: Send + Sync + 'static;

    /// Asks now. Called once at a time, from a task of its own, given up after 10 s.
    async fn issue(&self, client: &Arc<Client>) -> Result<Issued<Self::Token>, CredentialError>;
}

/// A new token.
#[derive(Debug)]
pub struct Issued<T> {
    /// The token.
    pub token: T,
    /// How long it holds from now; `None`: for good.
    pub lifetime: Option<Duration>,
}

type Clock = Box<dyn Fn() -> Instant + Send + Sync>;
type Flight<T> = Shared<BoxFuture<'static, Result<Arc<T>, CredentialError>>>;

/// A token that is always there once it has been.
pub struct Source<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    /// Whose token it is.
    provider: Box<str>,
    issuer: Option<Box<dyn Issue<Token = T>>>,
    clock: Clock,
    held: ArcSwapOption<Held<T>>,
    renewal: Mutex<Renewal<T>>,
}

struct Held<T> {
    token: Arc<T>,
    /// When to ask for the next one, and when this one must not be used any more; `None`: never.
    times: Option<(Instant, Instant)>,
}

struct Renewal<T> {
    flight: Option<Flight<T>>,
    failed: Option<(Instant, CredentialError)>,
}

impl<T: Send + Sync + 'static> Source<T> {
    /// Asks `issuer` when a token for `provider` is wanted.
    pub fn new(provider: &str, issuer: impl Issue<Token = T>) -> Self {
        Self::with_clock(provider, Some(Box::new(issuer)), None, Instant::now)
    }

    /// Always this token.
    pub fn fixed(token: T) -> Self {
        Self::with_clock("", None, Some(Held { token: Arc::new(token), times: None }), Instant::now)
    }

    fn with_clock(
        provider: &str,
        issuer: Option<Box<dyn Issue<Token = T>>>,
        held: Option<Held<T>>,
        clock: impl Fn() -> Instant + Send + Sync + 'static,
    ) -> Self {
        let inner = Inner {
            provider: provider.into(),
            issuer,
            clock: Box::new(clock),
            held: ArcSwapOption::new(held.map(Arc::new)),
            renewal: Mutex::new(Renewal { flight: None, failed: None }),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The token. Waits, with everybody else and at most for `limit`, only when there is none that holds. Must be called
    /// in a tokio runtime.
    ///
    /// # Errors
    /// There is none, and none could be had.
    pub async fn get(&self, client: &Arc<Client>, limit: Duration) -> Result<Arc<T>, CredentialError> {
        let now = (self.inner.clock)();
        if let Some(held) = &*self.inner.held.load() {
            match held.times {
                Some((_, end)) if now >= end => {}
                Some((renew, _)) if now >= renew => {
                    // Whoever waits for it gets the error; this caller has a token.
                    let _renewed_in_the_background = self.renew(client, now);
                    return Ok(held.token.clone());
                }
                Some(_) | None => return Ok(held.token.clone()),
            }
        }
        match tokio::time::timeout(limit, self.renew(client, now)?).await {
            Ok(result) => result,
            Err(_) => Err(CredentialError::new("no answer in time")),
        }
    }

    /// The renewal that is under way, or that this starts. It goes on when the callers leave.
    fn renew(&self, client: &Arc<Client>, now: Instant) -> Result<Flight<T>, CredentialError> {
        let mut renewal = self.inner.renewal.lock();
        if let Some(flight) = &renewal.flight {
            return Ok(flight.clone());
        }
        // Another renewal may have landed since the caller looked.
        if let Some(held) = &*self.inner.held.load()
            && held.times.is_none_or(|(renew, _)| now < renew)
        {
            let token = held.token.clone();
            return Ok(async { Ok(token) }.boxed().shared());
        }
        if let Some((until, error)) = &renewal.failed
            && now < *until
        {
            return Err(error.clone());
        }
        let (inner, client) = (self.inner.clone(), client.clone());
        let task = tokio::spawn(async move { inner.ask(&client).await });
        let flight = task
            .map(|joined| joined.unwrap_or_else(|_| Err(CredentialError::new("asking for it broke down"))))
            .boxed()
            .shared();
        renewal.flight = Some(flight.clone());
        Ok(flight)
    }
}

impl<T: Send + Sync + 'static> Inner<T> {
    async fn ask(&self, client: &Arc<Client>) -> Result<Arc<T>, CredentialError> {
        // Lives until the result is in place, and clears the way for the next renewal even if asking panics.
        let mut landing = Landing { inner: self, result: Err(CredentialError::new("asking for it broke down")) };
        let Some(issuer) = &self.issuer else { return landing.result.clone() };
        let begun = (self.clock)();
        let issued = tokio::time::timeout(LIMIT, issuer.issue(client)).await;
        landing.result = match issued {
            Ok(Ok(issued)) => {
                let token = Arc::new(issued.token);
                let times = issued.lifetime.map(|lifetime| {
                    let lifetime = lifetime.max(SHORTEST);
                    let margin = MARGIN.min(lifetime / 10);
                    (begun + (lifetime - AHEAD.min(lifetime / 2)), begun + (lifetime - margin))
                });
                self.held.store(Some(Arc::new(Held { token: token.clone(), times })));
                Ok(token)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(CredentialError::new("no answer in time")),
        };
        landing.result.clone()
    }
}

struct Landing<'a, T> {
    inner: &'a Inner<T>,
    result: Result<Arc<T>, CredentialError>,
}

impl<T> Drop for Landing<'_, T> {
    fn drop(&mut self) {
        let mut renewal = self.inner.renewal.lock();
        renewal.flight = None;
        renewal.failed = match &self.result {
            Ok(_) => None,
            Err(error) => {
                log::warn!("provider {}: no new credential: {error}", self.inner.provider);
                Some(((self.inner.clock)() + RETRY_AFTER, error.clone()))
            }
        };
    }
}

impl<T> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source(…)")
    }
}

#[cfg(test)]
mod tests;
