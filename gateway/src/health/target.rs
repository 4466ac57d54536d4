//! One target: its breaker, what its provider asked for, its latency and its load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::budget::{Budget, BudgetSettings};
use super::circuit::{Circuit, Gate, Ticket};
use super::credential::CredentialState;
use super::histogram::Histogram;
use super::hold::Hold;
use super::latency::Latency;
use super::settings::{FIRST_FORBIDDEN, FIRST_RATE_LIMIT, FIRST_REFUSAL, MAX_REFUSAL, Settings, backoff, is_recent};
use super::verdict::{Availability, Changes, FailureKind, Reason, TargetChange, Verdict};
use super::window::Window;

/// When to come back while somebody else's probe is under way: soon, as nobody knows how long it takes.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// One provider, upstream model and credential, as long as the process lives. About 1 KiB.
#[derive(Debug)]
pub struct TargetState {
    model: Arc<str>,
    credential: Arc<CredentialState>,
    in_flight: AtomicUsize,
    drained: AtomicBool,
    retries: Budget,
    /// Milliseconds since the registry began: when it was asked for last.
    pub(super) used: AtomicU64,
    pub(super) inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) circuit: Circuit,
    /// Why the circuit is open.
    pub(super) reason: Reason,
    pub(super) consecutive: u32,
    window: Window,
    pub(super) hold: Hold,
    pub(super) latency: Latency,
    /// Of answers that are not streamed.
    pub(super) answer_time: Latency,
    pub(super) histogram: Histogram,
    /// When it succeeded last.
    pub(super) success: Option<Instant>,
    pub(super) counters: Counters,
    random: fastrand::Rng,
}

/// What happened to a target since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Complete answers.
    pub successes: u64,
    /// Failures of any kind.
    pub failures: u64,
    /// How often its breaker opened, failed probes included.
    pub opened: u64,
    /// How often its breaker closed again.
    pub closed: u64,
    /// Requests that went as a probe of it or of its credential.
    pub probes: u64,
    /// How often its provider limited the rate.
    pub rate_limited: u64,
}

/// What of a target's state a person wants to see.
pub(super) struct Seen {
    pub(super) availability: Availability,
    pub(super) latency: Option<Duration>,
    pub(super) quantiles: [Option<Duration>; 3],
    pub(super) consecutive: u32,
    pub(super) recent: (u32, u32),
    pub(super) counters: Counters,
}

impl TargetState {
    pub(super) fn new(credential: Arc<CredentialState>, model: &str, now: Instant, seed: u64) -> Self {
        let inner = Inner {
            circuit: Circuit::default(),
            reason: Reason::Probing,
            consecutive: 0,
            window: Window::new(now, credential.settings().window),
            hold: Hold::default(),
            latency: Latency::default(),
            answer_time: Latency::default(),
            histogram: Histogram::new(now),
            success: None,
            counters: Counters::default(),
            random: fastrand::Rng::with_seed(seed),
        };
        credential.gain_target();
        Self {
            model: model.into(),
            credential,
            in_flight: AtomicUsize::new(0),
            drained: AtomicBool::new(false),
            retries: Budget::new(now, BudgetSettings::default()),
            used: AtomicU64::new(0),
            inner: Mutex::new(inner),
        }
    }

    /// The provider's name.
    pub fn provider(&self) -> &Arc<str> {
        self.credential.provider()
    }

    /// The provider's own name of the model.
    pub fn model(&self) -> &Arc<str> {
        &self.model
    }

    /// What it shares with other targets of the same account.
    pub fn credential(&self) -> &Arc<CredentialState> {
        &self.credential
    }

    /// Whether it may be tried. Changes nothing.
    pub fn check(&self, now: Instant) -> Availability {
        self.availability(&self.inner.lock(), now)
    }

    fn availability(&self, inner: &Inner, now: Instant) -> Availability {
        if self.is_drained() {
            return Availability::Drained;
        }
        let credential = self.credential.gate(now);
        let mut latest = inner.hold.until(now);
        let mut half_open = false;
        for (gate, why) in [(inner.circuit.gate(now), inner.reason), credential] {
            let shut = match gate {
                Gate::Closed => continue,
                Gate::HalfOpen => {
                    half_open = true;
                    continue;
                }
                Gate::Probing => (now + PROBE_PATIENCE, Reason::Probing),
                Gate::Open(until) => (until, why),
            };
            latest = latest.filter(|(at, _)| *at >= shut.0).or(Some(shut));
        }
        match latest {
            Some((at, reason)) => Availability::Until { at, reason },
            None if half_open => Availability::HalfOpen,
            None => Availability::Ready,
        }
    }

    /// Begins an attempt, if [`TargetState::check`] allows one at this very moment; takes the place of the probe if that
    /// is all that is allowed.
    pub fn begin(self: &Arc<Self>, now: Instant) -> Option<Pass> {
        let mut inner = self.inner.lock();
        if !self.availability(&inner, now).is_usable() {
            return None;
        }
        // The credential may have changed since; the circuit cannot.
        let mut credential = self.credential.enter(now)?;
        let Some(ticket) = inner.circuit.enter(now) else {
            self.credential.give_back(&mut credential);
            return None;
        };
        self.retries.deposit(now);
        Some(self.pass(&mut inner, now, ticket, credential))
    }

    /// Begins an attempt that was decided on while the target could be tried, though it may rest by now.
    pub fn begin_anyway(self: &Arc<Self>, now: Instant) -> Pass {
        let mut inner = self.inner.lock();
        let (ticket, credential) = (inner.circuit.enter_anyway(now), self.credential.enter_anyway(now));
        self.pass(&mut inner, now, ticket, credential)
    }

    fn pass(self: &Arc<Self>, inner: &mut Inner, now: Instant, ticket: Ticket, credential: Ticket) -> Pass {
        let was_probe = ticket.is_probe() || credential.is_probe();
        inner.counters.probes += u64::from(was_probe);
        self.in_flight.fetch_add(1, Relaxed);
        let hold = inner.hold.generation();
        Pass { target: self.clone(), begun: now, ticket, credential, hold, measured: false, was_probe }
    }

    /// How often it may be asked once more after a failure.
    pub fn retries(&self) -> &Budget {
        &self.retries
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// First-output time lately, failures counted as slow; sinks while nothing is measured. `None`: never measured.
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        self.inner.lock().latency.get(now)
    }

    /// How long answers that are not streamed have taken lately; otherwise as [`TargetState::latency`].
    pub fn answer_time(&self, now: Instant) -> Option<Duration> {
        self.inner.lock().answer_time.get(now)
    }

    /// The time within which a share of `quantile` (0 to 1) of the first outputs came lately, within 6 %. `None` below 20
    /// recent measurements (each counts half after two minutes).
    pub fn quantile(&self, now: Instant, quantile: f64) -> Option<Duration> {
        self.inner.lock().histogram.quantile(now, quantile)
    }

    /// Takes it out of use until [`TargetState::undrain`]; attempts under way go on. Whether that changed anything.
    pub fn drain(&self) -> bool {
        !self.drained.swap(true, Relaxed)
    }

    /// Brings it back. Whether that changed anything.
    pub fn undrain(&self) -> bool {
        self.drained.swap(false, Relaxed)
    }

    /// Another one is in its place, of which nothing is known; what is under way tells nothing of it.
    pub(super) fn forget(&self) {
        let mut inner = self.inner.lock();
        inner.circuit.replace();
        inner.hold.restore(None, 0);
        inner.consecutive = 0;
        inner.window.reset(self.credential.settings().window);
    }

    /// Whether an operator took it out.
    pub fn is_drained(&self) -> bool {
        self.drained.load(Relaxed)
    }

    /// What happened to it so far.
    pub fn counters(&self) -> Counters {
        self.inner.lock().counters
    }

    pub(super) fn see(&self, now: Instant) -> Seen {
        let mut inner = self.inner.lock();
        let recent = inner.window.count(now);
        Seen {
            availability: self.availability(&inner, now),
            // Before the first output it is nothing but what failures count as.
            latency: inner.latency.get(now).filter(|_| !inner.histogram.is_empty()),
            quantiles: [0.5, 0.95, 0.99].map(|quantile| inner.histogram.quantile(now, quantile)),
            consecutive: inner.consecutive,
            recent: (recent.failed, recent.all),
            counters: inner.counters,
        }
    }
}

impl Drop for TargetState {
    fn drop(&mut self) {
        self.credential.lose_target();
    }
}

impl Inner {
    fn measure(&mut self, now: Instant, first_output: Duration) {
        self.latency.add(now, first_output);
        self.histogram.add(now, first_output);
    }

    /// Whether it has answered lately.
    fn works(&self, now: Instant) -> bool {
        self.success.is_some_and(|at| is_recent(at, now))
    }

    fn penalise(&mut self, now: Instant, took: Duration) {
        self.latency.penalise(now, took);
        self.answer_time.penalise(now, took);
    }

    fn count(&mut self, now: Instant, settings: &Settings, failed: bool) {
        if self.window.length() != settings.window {
            self.window.reset(settings.window);
        }
        self.window.add(now, failed);
    }

    fn succeed(&mut self, now: Instant, ticket: Ticket, settings: &Settings) -> Option<TargetChange> {
        self.success = self.success.max(Some(now));
        self.hold.forget();
        if !self.circuit.is_current(ticket) {
            return None;
        }
        self.consecutive = 0;
        if self.circuit.is_closed() {
            self.count(now, settings, false);
            return None;
        }
        self.circuit.close();
        self.window.reset(settings.window);
        self.counters.closed += 1;
        Some(TargetChange::Closed)
    }

    fn fail(&mut self, now: Instant, ticket: Ticket, kind: FailureKind, settings: &Settings) -> Option<TargetChange> {
        if !self.circuit.is_current(ticket) {
            return None;
        }
        self.consecutive = self.consecutive.saturating_add(1);
        self.count(now, settings, true);
        let reason = self.why_open(now, kind, settings)?;
        let cooldown =
            backoff(settings.cooldown, settings.max_cooldown, self.circuit.next_opening(), self.random.f64());
        self.circuit.open(now + cooldown);
        self.reason = reason;
        self.counters.opened += 1;
        Some(TargetChange::Opened { reason, cooldown })
    }

    fn why_open(&mut self, now: Instant, last: FailureKind, settings: &Settings) -> Option<Reason> {
        if !self.circuit.is_closed() {
            return Some(Reason::StillFailing(last));
        }
        if settings.failures > 0 && self.consecutive >= settings.failures {
            return Some(Reason::Failures { count: self.consecutive, last });
        }
        let recent = self.window.count(now);
        let too_many = settings.rate > 0.0
            && recent.all >= settings.min_requests
            && f64::from(recent.failed) >= settings.rate * f64::from(recent.all);
        too_many.then_some(Reason::FailureRate { failed: recent.failed, of: recent.all, last })
    }

    /// Leaves the target alone for `first`, doubled each time.
    fn hold(
        &mut self,
        now: Instant,
        pass: &Pass,
        first_and_longest: (Duration, Duration),
        reason: Reason,
    ) -> Option<TargetChange> {
        let random = self.random.f64();
        let wait = self.hold.growing(now, pass.hold, first_and_longest, reason, random)?;
        Some(TargetChange::Held { reason, wait })
    }
}

/// An attempt under way. Dropped without a verdict it says nothing about the target; its place is given back either way.
#[derive(Debug)]
#[must_use = "dropped, it counts as neutral"]
pub struct Pass {
    target: Arc<TargetState>,
    begun: Instant,
    ticket: Ticket,
    credential: Ticket,
    /// The generation of the target's hold when it began.
    hold: u32,
    /// The first output was counted.
    measured: bool,
    was_probe: bool,
}

impl Pass {
    /// The target that is tried.
    pub fn target(&self) -> &Arc<TargetState> {
        &self.target
    }

    /// When it began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Whether it began as the probe of a target or of a credential that failed before.
    pub fn is_probe(&self) -> bool {
        self.was_probe
    }

    /// The first output came, `took` after the begin. Counted at once, so that routing follows within seconds although
    /// an answer may take minutes. For the same reason a probe's place is free from here on; only the end of a complete
    /// answer closes the breaker. The credential is proven good.
    pub fn first_output(&mut self, now: Instant, took: Duration) -> Changes {
        if std::mem::replace(&mut self.measured, true) {
            return Changes::default();
        }
        let mut inner = self.target.inner.lock();
        inner.measure(now, took);
        inner.circuit.give_back(&mut self.ticket);
        drop(inner);
        Changes {
            target: None,
            credential: self.target.credential.accepted(now, &mut self.credential, &self.target.model),
        }
    }

    /// An answer that is not streamed came, `took` after the begin.
    pub fn answered(&mut self, now: Instant, took: Duration) {
        self.target.inner.lock().answer_time.add(now, took);
    }

    /// There was no output for `waited`, and the attempt is given up for a reason that is not the target's fault (another
    /// leg won). Counted as a measurement: leaving it out would make a target look the faster the more its slow answers
    /// are given up.
    pub fn no_output(&mut self, now: Instant, waited: Duration) {
        if !std::mem::replace(&mut self.measured, true) {
            self.target.inner.lock().measure(now, waited);
        }
    }

    /// Ends it. What changed is for the log and the metrics.
    pub fn finish(mut self, now: Instant, verdict: Verdict) -> Changes {
        match verdict {
            Verdict::Neutral => Changes::default(),
            Verdict::Success { first_output } => self.succeed(now, first_output),
            Verdict::Failure { kind, retry_after } => self.fail(now, kind, retry_after),
        }
    }

    fn succeed(&mut self, now: Instant, first_output: Option<Duration>) -> Changes {
        let target = self.target.clone();
        let settings = target.credential.settings();
        let mut inner = target.inner.lock();
        if let Some(took) = first_output.filter(|_| !std::mem::replace(&mut self.measured, true)) {
            inner.measure(now, took);
        }
        inner.counters.successes += 1;
        let changed = inner.succeed(now, self.ticket, &settings);
        drop(inner);
        Changes { target: changed, credential: target.credential.accepted(now, &mut self.credential, &target.model) }
    }

    fn fail(&mut self, now: Instant, kind: FailureKind, retry_after: Option<Duration>) -> Changes {
        let target = self.target.clone();
        let settings = target.credential.settings();
        let mut inner = target.inner.lock();
        inner.counters.failures += 1;
        let mut credential = None;
        let changed = match kind {
            FailureKind::Credentials(_) | FailureKind::NoCredentials => {
                match target.credential.refused(now, &mut self.credential, kind, &target.model) {
                    Ok(change) => {
                        credential = change;
                        None
                    }
                    Err(reason) => {
                        let may_be_one_request = kind == FailureKind::Credentials(403) && inner.works(now);
                        let first = if may_be_one_request { FIRST_FORBIDDEN } else { FIRST_REFUSAL };
                        inner.hold(now, self, (first, MAX_REFUSAL), reason)
                    }
                }
            }
            FailureKind::NoModel => inner.hold(now, self, (FIRST_REFUSAL, MAX_REFUSAL), Reason::NoModel),
            FailureKind::RateLimited => {
                inner.counters.rate_limited += 1;
                inner.penalise(now, now.saturating_duration_since(self.begun));
                let reason = Reason::RateLimited { retry_after };
                match retry_after.filter(|wait| *wait >= FIRST_RATE_LIMIT) {
                    Some(wait) => Some(TargetChange::Held { reason, wait: inner.hold.for_a(now, wait, reason) }),
                    None => inner.hold(now, self, (FIRST_RATE_LIMIT, settings.max_cooldown), reason),
                }
            }
            _ => {
                inner.penalise(now, now.saturating_duration_since(self.begun));
                let held = retry_after.map(|wait| {
                    let reason = Reason::AskedToWait(wait);
                    TargetChange::Held { reason, wait: inner.hold.for_a(now, wait, reason) }
                });
                inner.fail(now, self.ticket, kind, &settings).or(held)
            }
        };
        Changes { target: changed, credential }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.ticket.is_probe() {
            self.target.inner.lock().circuit.give_back(&mut self.ticket);
        }
        self.target.credential.give_back(&mut self.credential);
        self.target.in_flight.fetch_sub(1, Relaxed);
    }
}
