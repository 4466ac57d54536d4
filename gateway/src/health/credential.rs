//! One credential of a provider: whether the provider accepts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::circuit::{Circuit, Gate, Ticket};
use super::settings::{FIRST_REFUSAL, MAX_REFUSAL, Settings, backoff, is_recent};
use super::verdict::{CredentialChange, FailureKind, Reason};

/// So many refused models are told apart.
const MOST_REFUSED: usize = 64;

/// What all targets of one credential share. It outlives reloads, by the provider's name and the credential's number.
#[derive(Debug)]
pub struct CredentialState {
    provider: Arc<str>,
    index: usize,
    settings: Arc<ArcSwap<Settings>>,
    /// How many targets share it.
    targets: AtomicUsize,
    pub(super) inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) circuit: Circuit,
    pub(super) reason: Reason,
    /// When any target of it succeeded last.
    pub(super) success: Option<Instant>,
    /// The model of that.
    good: Option<Arc<str>>,
    /// The models that it was refused for since, each once. Short: the second one benches it, and then only probes get through; or
    /// no more than [`MOST_REFUSED`].
    refused: Vec<Arc<str>>,
    /// When it was refused last.
    refusal: Option<Instant>,
    /// Of the configured secret, to see when it is replaced.
    pub(super) fingerprint: Option<u64>,
    random: fastrand::Rng,
}

impl CredentialState {
    pub(super) fn new(provider: Arc<str>, index: usize, settings: Arc<ArcSwap<Settings>>, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let reason = Reason::NoCredentials;
        let inner = Inner {
            circuit: Circuit::default(),
            reason,
            success: None,
            good: None,
            refused: Vec::new(),
            refusal: None,
            fingerprint: None,
            random,
        };
        Self { provider, index, settings, targets: AtomicUsize::new(0), inner: Mutex::new(inner) }
    }

    /// The provider's name.
    pub fn provider(&self) -> &Arc<str> {
        &self.provider
    }

    /// Its number among the provider's credentials, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// When it may be tried again, or might have been, and why not before; `None` if it is not benched or was accepted since. What
    /// is not in use any more is forgotten after a while.
    pub fn benched(&self, now: Instant) -> Option<(Instant, Reason)> {
        let inner = self.inner.lock();
        let (until, _) = inner.circuit.opened()?;
        (now < until || inner.refusal.is_some_and(|at| is_recent(at, now))).then_some((until, inner.reason))
    }

    pub(super) fn gain_target(&self) {
        self.targets.fetch_add(1, Relaxed);
    }

    pub(super) fn lose_target(&self) {
        self.targets.fetch_sub(1, Relaxed);
    }

    pub(super) fn settings(&self) -> Settings {
        **self.settings.load()
    }

    /// Another secret in the same place has not been refused yet.
    pub(super) fn configure(&self, fingerprint: u64) {
        let mut inner = self.inner.lock();
        if inner.fingerprint.replace(fingerprint).is_some_and(|old| old != fingerprint) {
            inner.circuit.replace();
            inner.success = None;
            inner.good = None;
            inner.refused.clear();
        }
    }

    /// Tells the configured secret from others; `None`: nothing is configured yet.
    pub fn fingerprint(&self) -> Option<u64> {
        self.inner.lock().fingerprint
    }

    pub(super) fn gate(&self, now: Instant) -> (Gate, Reason) {
        let inner = self.inner.lock();
        (inner.circuit.gate(now), inner.reason)
    }

    pub(super) fn enter(&self, now: Instant) -> Option<Ticket> {
        self.inner.lock().circuit.enter(now)
    }

    pub(super) fn enter_anyway(&self, now: Instant) -> Ticket {
        self.inner.lock().circuit.enter_anyway(now)
    }

    pub(super) fn give_back(&self, ticket: &mut Ticket) {
        if ticket.is_probe() {
            self.inner.lock().circuit.give_back(ticket);
        }
    }

    /// The provider answered a request for `model` that carried it.
    pub(super) fn accepted(&self, now: Instant, ticket: &mut Ticket, model: &Arc<str>) -> Option<CredentialChange> {
        let mut inner = self.inner.lock();
        inner.circuit.give_back(ticket);
        if !inner.circuit.is_current(*ticket) {
            return None;
        }
        inner.success = inner.success.max(Some(now));
        if inner.good.as_ref() != Some(model) {
            inner.good = Some(model.clone());
        }
        inner.refused.clear();
        if inner.circuit.is_closed() {
            return None;
        }
        inner.circuit.close();
        Some(CredentialChange::Accepted)
    }

    /// The provider refused it for `model`, or there was none. `Err`: as far as is known this is about the model alone.
    pub(super) fn refused(
        &self,
        now: Instant,
        ticket: &mut Ticket,
        kind: FailureKind,
        model: &Arc<str>,
    ) -> Result<Option<CredentialChange>, Reason> {
        let mut inner = self.inner.lock();
        inner.circuit.give_back(ticket);
        if !inner.circuit.is_current(*ticket) {
            return Ok(None);
        }
        if let FailureKind::Credentials(status) = kind
            && inner.is_of_model(now, status, model, self.targets.load(Relaxed))
        {
            return Err(Reason::ModelRefused(status));
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

impl Inner {
    /// Notes that the credential was refused for `model`, one of `targets`, and says whether that may be about this model alone.
    ///
    /// The first refusal may, if it speaks of permission (403) or comes soon after a success; the same model's next one tells
    /// nothing new, so that whoever insists on a forbidden model does not keep the others from trying. A second model's is about
    /// the credential, unless it speaks of permission and nothing is wrong with the model that succeeded last: clients may make up
    /// names. So is any once no model is left that it was not refused for.
    fn is_of_model(&mut self, now: Instant, status: u16, model: &Arc<str>, targets: usize) -> bool {
        self.refusal = Some(now);
        let first = self.refused.is_empty();
        let again = self.refused.contains(model);
        if !again && self.refused.len() < MOST_REFUSED {
            self.refused.push(model.clone());
        }
        let by_all = self.refused.len() >= targets;
        let works = self.success.is_some_and(|at| is_recent(at, now));
        let other_works = works && self.good.as_ref().is_some_and(|good| good != model && !self.refused.contains(good));
        if first {
            status == 403 || (works && !by_all)
        } else if status == 403 && other_works {
            true
        } else {
            again && !by_all && (status == 403 || works || !self.circuit.is_closed())
        }
    }
}
