//! The plan: the ordered attempts of one request.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::strategy::{self, Asked};
use crate::health::{Availability, Pass, Reason, TargetState};
use crate::snapshot::{Model, Stage, Target};

/// When to come back while another request finds out whether a target is well again …
const PROBE_PATIENCE: Duration = Duration::from_secs(1);
/// … and while an operator keeps it out, who may bring it back at any time.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
/// Less is not told apart: what has been idle for minutes must not look as if any load took no time.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// The targets that a request will be tried on, best first.
///
/// Lower priorities come only after every target of a higher one; inside one priority the model's strategy decides. Targets
/// that rest are left out, and why is kept.
#[derive(Debug, Default)]
pub struct Plan {
    candidates: Vec<Candidate>,
    /// The candidate to take from.
    next: usize,
    /// Whether an attempt was made at that candidate.
    begun: bool,
    /// How many other targets may still be tried.
    targets_left: usize,
    left_out: Vec<LeftOut>,
}

/// A target, and which of its provider's credentials have been tried.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The target.
    pub target: Arc<Target>,
    tried: u64,
}

/// A target that a request is not tried on.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// The target.
    pub target: Arc<Target>,
    /// Why.
    pub why: Why,
}

/// Why a target is left out.
#[derive(Clone, Debug)]
pub enum Why {
    /// Its API has nothing that says what is asked, or the request belongs to another provider.
    Unusable,
    /// It rests until then.
    Resting(Instant, Reason),
    /// An operator took it out.
    Drained,
    /// It rests, and another request is finding out whether it is well again.
    Probed,
    /// What its provider allows is used up until then, or what the model to fall back on may use that it answers for.
    Limited(Instant),
    /// Its model has been tried often enough before those that the client named to fall back on.
    Enough,
}

/// What an attempt is made with.
pub struct Taken {
    /// Where it goes.
    pub target: Arc<Target>,
    /// Number of the provider's credential.
    pub credential: usize,
    /// Counts the attempt at its target.
    pub pass: Pass,
}

impl Plan {
    /// Orders those targets of `model` that `against` has no reason against and that are not resting. `random` draws below
    /// its argument.
    pub fn build(
        model: &Model,
        asked: &Asked,
        against: impl Fn(&Target) -> Option<Why>,
        random: &mut impl FnMut(u64) -> u64,
    ) -> Self {
        let mut left_out = Vec::new();
        let mut candidates = Vec::with_capacity(model.targets.len());
        for target in &model.targets {
            match against(target).or_else(|| rests(target, asked.now)) {
                None => candidates.push(Candidate { target: target.clone(), tried: 0 }),
                Some(why) => left_out.push(LeftOut { target: target.clone(), why }),
            }
        }
        if candidates.len() > 1 {
            candidates.sort_by_key(|candidate| candidate.target.priority);
            let turn = strategy::turn(model, asked);
            for group in candidates.chunk_by_mut(|a, b| a.target.priority == b.target.priority) {
                strategy::order(group, model, asked, turn, random);
            }
            leave_enough(&mut candidates, &model.stages, &mut left_out);
        }
        Self { candidates, next: 0, begun: false, targets_left: model.retry.attempts as usize, left_out }
    }

    /// At most `targets` of them are asked.
    pub fn limit(&mut self, targets: usize) {
        self.targets_left = self.targets_left.min(targets);
    }

    /// Of each target for which `which` names a credential that one is tried and no other.
    pub fn keep_to(&mut self, which: impl Fn(&Target) -> Option<usize>) {
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.target.states.len() > 1) {
            if let Some(credential) = which(&candidate.target) {
                candidate.tried = candidate.all() & !(1 << credential);
            }
        }
    }

    /// Keeps the targets whose numbers are in `order`, in that order. Numbers that are not there, or there twice, are passed over.
    pub fn arrange(&mut self, order: &[usize]) {
        let mut candidates: Vec<Option<Candidate>> =
            std::mem::take(&mut self.candidates).into_iter().map(Some).collect();
        self.candidates = order.iter().filter_map(|number| candidates.get_mut(*number)?.take()).collect();
    }

    /// Takes the next attempt: another credential of the target that was just tried, or the next target.
    pub fn take_next(&mut self, now: Instant) -> Option<Taken> {
        while let Some(candidate) = self.candidates.get_mut(self.next) {
            if !self.begun && self.targets_left == 0 {
                return None;
            }
            if let Some((credential, pass)) = candidate.begin(now) {
                candidate.note(credential);
                if !self.begun {
                    self.begun = true;
                    self.targets_left -= 1;
                }
                return Some(Taken { target: candidate.target.clone(), credential, pass });
            }
            if self.begun {
                self.leave_target();
            } else {
                let why = rests(&candidate.target, now).unwrap_or(Why::Probed);
                self.leave_out(why);
            }
        }
        None
    }

    /// Leaves the target that was taken last, which cannot be asked after all.
    pub fn leave_out(&mut self, why: Why) {
        if let Some(candidate) = self.candidates.get(self.next) {
            self.left_out.push(LeftOut { target: candidate.target.clone(), why });
        }
        self.leave_target();
    }

    /// The target after the one that is being tried, if it is well: whom a second call of the request may go to.
    pub fn rival(&self, now: Instant) -> Option<&Arc<Target>> {
        let target = self.other_target()?;
        let well = target.states.iter().any(|state| matches!(state.check(now), Availability::Ready));
        (well && self.targets_left > 0).then_some(target)
    }

    /// Begins an attempt at the [rival](Self::rival), while the one before it goes on. It counts once it is
    /// [adopted](Self::adopt_rival).
    pub fn begin_rival(&self, now: Instant) -> Option<Taken> {
        let candidate = self.candidates.get(self.next + usize::from(self.begun))?;
        let (credential, pass) = candidate.begin(now)?;
        Some(Taken { target: candidate.target.clone(), credential, pass })
    }

    /// The attempt that was begun at the rival `target`, with `credential`, is the current one from now on. `false`: its turn is
    /// not now.
    pub fn adopt_rival(&mut self, target: &Arc<Target>, credential: usize) -> bool {
        if self.targets_left == 0 || !self.other_target().is_some_and(|next| Arc::ptr_eq(next, target)) {
            return false;
        }
        if self.begun {
            self.leave_target();
        }
        if let Some(candidate) = self.candidates.get_mut(self.next) {
            candidate.note(credential);
        }
        self.begun = true;
        self.targets_left -= 1;
        true
    }

    /// The rival's attempt with `credential` is the current one from now on, as it was the faster one. The target before it, whose
    /// attempt with the credential `lost` was given up, has not failed and comes next.
    pub fn prefer_rival(&mut self, credential: usize, lost: usize) {
        let Some([loser, rival]) = self.candidates.get_mut(self.next..self.next + 2) else { return };
        loser.tried &= !(1 << lost);
        rival.note(credential);
        std::mem::swap(loser, rival);
    }

    /// The next target that was not begun with.
    fn other_target(&self) -> Option<&Arc<Target>> {
        self.candidates.get(self.next + usize::from(self.begun)).map(|candidate| &candidate.target)
    }

    /// Leaves the target that was just tried, with whatever credentials it has left.
    pub fn leave_target(&mut self) {
        self.next += 1;
        self.begun = false;
    }

    /// Leaves the targets that have no larger context window than `than`, the one just tried.
    pub fn seek_larger_window(&mut self, than: &Target) {
        self.leave_target();
        let mut index = 0;
        let next = self.next;
        self.candidates.retain(|candidate| {
            index += 1;
            index <= next || has_larger_window(&candidate.target, than)
        });
    }

    /// Whether a target is left that has a larger context window than `than`, the one just tried.
    pub fn has_larger_window(&self, than: &Target) -> bool {
        let others = self.candidates.iter().skip(self.next + 1);
        self.targets_left > 0 && others.into_iter().any(|candidate| has_larger_window(&candidate.target, than))
    }

    /// Whether another target, or another credential of this one, is left that may be tried now.
    pub fn has_next(&self, now: Instant) -> bool {
        let current = self.candidates.get(self.next).filter(|_| self.begun);
        current.is_some_and(|current| current.is_usable(now)) || self.has_other_target(now)
    }

    /// Whether another target than the one just tried is left that may be tried now.
    pub fn has_other_target(&self, now: Instant) -> bool {
        let mut others = self.candidates.iter().skip(self.next + usize::from(self.begun));
        self.targets_left > 0 && others.any(|candidate| candidate.is_usable(now))
    }

    /// How many more targets may be tried.
    pub fn targets_left(&self) -> usize {
        self.targets_left
    }

    /// The targets that are left, in order.
    pub fn candidates(&self) -> &[Candidate] {
        self.candidates.get(self.next..).unwrap_or_default()
    }

    /// The targets left out, and why.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Whether no target was usable at all.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// How long until the first of the targets that cannot be asked now may be; `None` if it is not for that that there is none.
    pub fn earliest(&self, now: Instant) -> Option<Duration> {
        let at = |left_out: &LeftOut| match left_out.why {
            Why::Resting(at, _) | Why::Limited(at) => Some(at.saturating_duration_since(now)),
            Why::Probed => Some(PROBE_PATIENCE),
            Why::Drained => Some(DRAIN_PATIENCE),
            Why::Unusable | Why::Enough => None,
        };
        self.left_out.iter().filter_map(at).min()
    }

    /// How long until the first of the targets may be asked again that rest because their providers asked for it: if there is
    /// nobody else, and it is not longer than `longest`.
    pub fn worth_waiting(&self, now: Instant, longest: Duration) -> Option<Duration> {
        let wait = |left_out: &LeftOut| match left_out.why {
            Why::Resting(at, Reason::RateLimited { .. } | Reason::AskedToWait(_)) => {
                Some(at.saturating_duration_since(now))
            }
            _ => None,
        };
        let shortest = self.left_out.iter().filter_map(wait).min().filter(|_| self.candidates.is_empty())?;
        (shortest <= longest).then_some(shortest)
    }
}

impl Taken {
    /// An attempt that was decided on while the target could be tried, though it may rest by now.
    pub fn anyway(target: Arc<Target>, credential: usize, now: Instant) -> Self {
        let pass = target.states[credential].begin_anyway(now);
        Self { target, credential, pass }
    }
}

impl LeftOut {
    /// Why it is left out now, for people; `None` if it could not be asked at any time.
    pub fn words(&self, now: Instant) -> Option<String> {
        let (provider, model) = (&self.target.provider.name, &self.target.model);
        Some(match &self.why {
            Why::Unusable | Why::Enough => return None,
            Why::Resting(at, reason) => {
                let seconds = at.saturating_duration_since(now).as_secs_f64();
                format!("{provider}/{model} rests for {seconds:.1} s: {reason}")
            }
            Why::Drained => format!("{provider}/{model} was taken out by an operator"),
            Why::Probed => format!("{provider}/{model} is just being probed"),
            Why::Limited(at) => {
                let seconds = at.saturating_duration_since(now).as_secs_f64();
                format!("{provider}/{model} has no room in its rpm, tpm or limits, or its model's, for {seconds:.1} s")
            }
        })
    }
}

impl Candidate {
    /// Begins an attempt with the least busy of the credentials that are well and have not been tried. It has not until it is
    /// [noted](Self::note).
    fn begin(&self, now: Instant) -> Option<(usize, Pass)> {
        let states = &self.target.states;
        if let [only] = &states[..] {
            return (self.tried == 0).then(|| only.begin(now)).flatten().map(|pass| (0, pass));
        }
        let turn = self.target.turn.fetch_add(1, Ordering::Relaxed);
        let mut passed_over = self.tried;
        loop {
            let least_busy = (0..states.len())
                .map(|number| turn.wrapping_add(number) % states.len())
                .filter(|number| passed_over & (1 << number) == 0)
                .min_by_key(|number| states[*number].in_flight())?;
            if let Some(pass) = states[least_busy].begin(now) {
                return Some((least_busy, pass));
            }
            passed_over |= 1 << least_busy;
        }
    }

    /// All of its credentials.
    fn all(&self) -> u64 {
        u64::MAX >> (64 - self.target.states.len().clamp(1, 64))
    }

    /// `credential` has been tried.
    fn note(&mut self, credential: usize) {
        self.tried |= 1 << credential;
    }

    /// How it is with each credential that is well and has not been tried.
    fn usable(&self, now: Instant) -> impl Iterator<Item = &TargetState> {
        let states = self.target.states.iter().enumerate();
        let untried = states.filter(|(number, _)| self.tried & (1 << number) == 0).map(|(_, state)| &**state);
        untried.filter(move |state| state.check(now).is_usable())
    }

    fn is_usable(&self, now: Instant) -> bool {
        self.usable(now).next().is_some()
    }

    /// Exchanges in flight for its weight.
    pub(super) fn load(&self) -> f64 {
        let in_flight: usize = self.target.states.iter().map(|state| state.in_flight()).sum();
        match self.target.weight {
            0 => f64::INFINITY,
            #[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
            weight => in_flight as f64 / f64::from(weight),
        }
    }

    /// How long an answer is expected to take, by what was seen lately and what is in flight. What was never seen is taken to be
    /// as fast as the rest of the target, or as `other`: until its first answer comes, what it has in flight counts.
    pub(super) fn expected_wait(&self, asked: &Asked, other: &Self) -> Duration {
        let unseen = self.latency(asked).or_else(|| other.latency(asked)).unwrap_or_default();
        let waits = self.usable(asked.now).map(|state| {
            let ahead = u32::try_from(state.in_flight()).unwrap_or(u32::MAX);
            asked.latency_of(state).unwrap_or(unseen).max(LEAST_WAIT).saturating_mul(ahead.saturating_add(1))
        });
        waits.min().unwrap_or(Duration::MAX)
    }

    fn latency(&self, asked: &Asked) -> Option<Duration> {
        self.usable(asked.now).filter_map(|state| asked.latency_of(state)).min()
    }
}

/// Leaves of the targets of each of several models as many as it may have tried, so that the next one's turn comes.
fn leave_enough(candidates: &mut Vec<Candidate>, stages: &[Stage], left_out: &mut Vec<LeftOut>) {
    for (number, stage) in stages.iter().enumerate() {
        let end = stages.get(number + 1).map(|next| next.from);
        let mut left = stage.attempts;
        candidates.retain(|Candidate { target, .. }| {
            if target.priority < stage.from || end.is_some_and(|end| target.priority >= end) {
                return true;
            }
            let stays = left > 0;
            left = left.saturating_sub(1);
            if !stays {
                left_out.push(LeftOut { target: target.clone(), why: Why::Enough });
            }
            stays
        });
    }
}

/// Where a window is not known, another model may have a larger one.
fn has_larger_window(target: &Target, than: &Target) -> bool {
    match (target.known.context_window, than.known.context_window) {
        (Some(window), Some(tried)) => window > tried,
        _ => target.model != than.model,
    }
}

/// Why `target` cannot be asked now; `None` if it can, with one credential at least.
fn rests(target: &Target, now: Instant) -> Option<Why> {
    let mut why: Option<Why> = None;
    for state in &target.states {
        let rests = match state.check(now) {
            Availability::Ready | Availability::HalfOpen => return None,
            Availability::Drained => Why::Drained,
            Availability::Until { at, reason } => Why::Resting(at, reason),
        };
        why = Some(match (why, rests) {
            (Some(Why::Resting(first, reason)), Why::Resting(at, _)) if first <= at => Why::Resting(first, reason),
            (_, rests) => rests,
        });
    }
    why
}

#[cfg(test)]
pub(super) mod tests;
