//! One credential of a provider: whether the provider accepts it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::circuit::{Circuit, Gate, Ticket};
use super::lock;
use super::settings::{FIRST_REFUSAL, MAX_REFUSAL, Settings, backoff};
use super::verdict::{CredentialChange, FailureKind, Reason};

/// How long the success of one model says that the credential is good, when it is refused for another.
const STILL_GOOD: Duration = Duration::from_secs(600);

/// What all targets of one credential share. It outlives reloads, by the provider's name and the credential's number.
#[derive(Debug)]
pub struct CredentialState {
    provider: Arc<str>,
    index: usize,
    settings: Arc<ArcSwap<Settings>>,
    pub(super) inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) circuit: Circuit,
    pub(super) reason: Reason,
    /// When any target of it succeeded last.
    pub(super) success: Option<Instant>,
    /// Of the configured secret, to see when it is replaced.
    pub(super) fingerprint: Option<u64>,
    random: fastrand::Rng,
}

impl CredentialState {
    pub(super) fn new(provider: Arc<str>, index: usize, settings: Arc<ArcSwap<Settings>>, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let reason = Reason::NoCredentials;
        let inner = Inner { circuit: Circuit::default(), reason, success: None, fingerprint: None, random };
        Self { provider, index, settings, inner: Mutex::new(inner) }
    }

    /// The provider's name.
    pub fn provider(&self) -> &Arc<str> {
        &self.provider
    }

    /// Its number among the provider's credentials, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// When it may be tried again and why not before, if it is benched.
    pub fn benched(&self, now: Instant) -> Option<(Instant, Reason)> {
        let inner = lock(&self.inner);
        match inner.circuit.gate(now) {
            Gate::Open(until) => Some((until, inner.reason)),
            Gate::Closed | Gate::HalfOpen | Gate::Probing => None,
        }
    }

    pub(super) fn settings(&self) -> Settings {
        **self.settings.load()
    }

    /// Another secret in the same place has not been refused yet.
    pub(super) fn configure(&self, fingerprint: u64) {
        let mut inner = lock(&self.inner);
        if inner.fingerprint.replace(fingerprint).is_some_and(|old| old != fingerprint) {
            inner.circuit.replace();
            inner.success = None;
        }
    }

    pub(super) fn gate(&self, now: Instant) -> (Gate, Reason) {
        let inner = lock(&self.inner);
        (inner.circuit.gate(now), inner.reason)
    }

    pub(super) fn enter(&self, now: Instant) -> Option<Ticket> {
        lock(&self.inner).circuit.enter(now)
    }

    pub(super) fn enter_anyway(&self, now: Instant) -> Ticket {
        lock(&self.inner).circuit.enter_anyway(now)
    }

    pub(super) fn give_back(&self, ticket: &mut Ticket) {
        if ticket.probe {
            lock(&self.inner).circuit.give_back(ticket);
        }
    }

    /// The provider answered a request that carried it.
    pub(super) fn accepted(&self, now: Instant, ticket: &mut Ticket) -> Option<CredentialChange> {
        let mut inner = lock(&self.inner);
        inner.circuit.give_back(ticket);
        if !inner.circuit.is_current(*ticket) {
            return None;
        }
        inner.success = inner.success.max(Some(now));
        if inner.circuit.is_closed() {
            return None;
        }
        inner.circuit.close();
        Some(CredentialChange::Accepted)
    }

    /// The provider refused it, or there was none; `own_success` is the last time that the target in question answered.
    /// `Err`: others of it work, so that this is about the target alone.
    pub(super) fn refused(
        &self,
        now: Instant,
        ticket: &mut Ticket,
        kind: FailureKind,
        own_success: Option<Instant>,
    ) -> Result<Option<CredentialChange>, ()> {
        let mut inner = lock(&self.inner);
        inner.circuit.give_back(ticket);
        let others_work = inner
            .success
            .is_some_and(|success| Some(success) > own_success && now.saturating_duration_since(success) < STILL_GOOD);
        if kind == FailureKind::Credentials(403) && others_work {
            return Err(());
        }
        if !inner.circuit.is_current(*ticket) {
            return Ok(None);
        }
        let was_closed = inner.circuit.is_closed();
        let nth = inner.circuit.next_opening();
        let random = inner.random.f64();
        let (reason, wait) = match kind {
            FailureKind::Credentials(status) => {
                (Reason::CredentialsRefused(status), backoff(FIRST_REFUSAL, MAX_REFUSAL, nth, random))
            }
            _ => {
                let settings = self.settings();
                (Reason::NoCredentials, backoff(settings.cooldown, settings.max_cooldown, nth, random))
            }
        };
        inner.reason = reason;
        inner.circuit.open(now + wait);
        Ok(was_closed.then_some(CredentialChange::Refused(reason)))
    }
}
