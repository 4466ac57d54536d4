//! Whose limits they are, and how a request is checked against all that concern it, at once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::meter::{Claim, Meter, Rule, WHILE_OTHERS_RUN, What};
use super::{Refusal, Standing};

/// What kind of thing has limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Everything.
    Global,
    /// A client's key.
    Key,
    /// A team of keys.
    Team,
    /// A word that keys are marked with.
    Tag,
    /// A model as clients name it.
    Model,
    /// A provider's model, `provider/model`: its limits decide where requests go, and refuse none.
    Target,
}

impl Kind {
    /// The word in metrics and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Key => "key",
            Self::Team => "team",
            Self::Tag => "tag",
            Self::Model => "model",
            Self::Target => "target",
        }
    }
}

/// Something that has limits, with what was counted against them. It lives as long as the process, whatever is reloaded.
pub struct Subject {
    /// Its kind.
    pub kind: Kind,
    /// Its name; empty for [`Kind::Global`].
    pub name: Box<str>,
    /// Locks are taken in this order.
    id: u64,
    /// A meter keeps its place for ever: reservations go by it.
    meters: Mutex<Vec<Meter>>,
    /// Told when a request that was counted has ended.
    pub(super) freed: Notify,
    /// Whether it waits to be told to the store.
    pub(super) queued: AtomicBool,
}

/// A request that may not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose limit it is.
    pub subject: Arc<Subject>,
    /// The limit; of several the one that lasts longest.
    pub rule: Rule,
    /// When to come back; [`super::NEVER`] if no time helps.
    pub until: u64,
    /// It is not used up: requests under way hold what is left.
    pub is_held: bool,
}

impl Subject {
    pub(super) fn new(kind: Kind, name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            kind,
            name: name.into(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            meters: Mutex::default(),
            freed: Notify::new(),
            queued: AtomicBool::new(false),
        }
    }

    /// Sets the limits; what was counted in the same time stays.
    pub fn set_rules(&self, rules: &[Rule]) {
        let mut meters = self.meters();
        for meter in meters.iter_mut() {
            meter.in_force = false;
        }
        for rule in rules {
            match meters.iter_mut().find(|meter| meter.rule.counts_as(rule)) {
                // The narrower one of two for the same time.
                Some(meter) if meter.in_force && meter.rule.limit <= rule.limit => {}
                Some(meter) => (meter.rule, meter.in_force) = (*rule, true),
                None => meters.push(Meter::new(*rule)),
            }
        }
        drop(meters);
        // There may be room for who waits.
        self.freed.notify_waiters();
    }

    /// Whether it has a budget.
    pub fn has_budget(&self) -> bool {
        self.meters().iter().any(|meter| meter.in_force && meter.rule.what == What::Cost)
    }

    /// Says of each limit since when it counts what is used: milliseconds since 1970. What it has counted before that is forgotten.
    pub fn count_since(&self, since: impl Fn(&Rule) -> u64) {
        for meter in self.meters().iter_mut().filter(|meter| meter.in_force) {
            let since = since(&meter.rule);
            if since > meter.since {
                meter.since = since;
                meter.clear();
            }
        }
    }

    pub(super) fn meters(&self) -> MutexGuard<'_, Vec<Meter>> {
        self.meters.lock()
    }

    /// Whether a request may pass now, without counting it; else when.
    pub fn check(&self, claim: Claim, now: u64, share: u64) -> Result<(), u64> {
        let mut meters = self.meters();
        let refusals = meters.iter_mut().filter_map(|meter| {
            meter.advance(now);
            meter.check(claim.of(meter.rule.what), now, share).err()
        });
        refusals.max().map_or(Ok(()), Err)
    }

    /// What is told a request that does not even find room to wait here; `None`: nothing limits it any more.
    pub(super) fn refuses(self: &Arc<Self>, claim: Claim, now: u64, share: u64) -> Option<Box<Refusal>> {
        let mut meters = self.meters();
        let refusals = meters.iter_mut().filter(|meter| meter.in_force).map(|meter| {
            meter.advance(now);
            let until = meter.check(claim.of(meter.rule.what), now, share).err();
            (until.unwrap_or(now.saturating_add(WHILE_OTHERS_RUN)), meter)
        });
        let (until, meter) = refusals.max_by_key(|(until, _)| *until)?;
        let mut standing = Standing::default();
        standing.refuse(&meter.usage(), meter.limit(share), meter.last_end(), now);
        let refused = Refused { subject: self.clone(), rule: meter.rule, until, is_held: meter.is_held(share) };
        Some(Box::new(Refusal { refused, standing }))
    }

    /// The limits in force, with what is used of each.
    pub fn usage(&self, now: u64) -> Vec<MeterUsage> {
        let mut meters = self.meters();
        let shown = meters.iter_mut().filter(|meter| meter.in_force).map(|meter| {
            meter.advance(now);
            meter.usage()
        });
        shown.collect()
    }

    /// The limits in force, as a request meets them.
    pub(super) fn preview(self: &Arc<Self>, claim: Claim, now: u64, share: u64) -> Vec<Preview> {
        let mut meters = self.meters();
        let met = meters.iter_mut().filter(|meter| meter.in_force).map(|meter| {
            meter.advance(now);
            let takes = claim.of(meter.rule.what);
            Preview {
                subject: self.clone(),
                rule: Rule { limit: meter.limit(share), ..meter.rule },
                used: meter.used(),
                takes,
                until: meter.check(takes, now, share).err(),
            }
        });
        met.collect()
    }

    /// What requests under way are expected to use, by what.
    pub fn reserved(&self, what: What) -> u64 {
        // All meters of one kind reserve the same.
        self.meters().iter().filter(|meter| meter.rule.what == what).map(|meter| meter.reserved).max().unwrap_or(0)
    }

    /// Whether it is time to warn of so much that was used, by what the store has counted.
    pub(super) fn warns(&self, rule: &Rule, booked: u64, now: u64) -> bool {
        let mut meters = self.meters();
        meters.iter_mut().find(|meter| meter.rule == *rule).is_some_and(|meter| meter.warns(booked, now))
    }
}

/// What is used of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterUsage {
    /// The limit.
    pub rule: Rule,
    /// What was used.
    pub booked: u64,
    /// What requests under way are expected to use.
    pub reserved: u64,
}

/// A limit as a request meets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Whose limit it is.
    pub subject: Arc<Subject>,
    /// The limit; while a store is out of reach, this instance's share of it.
    pub rule: Rule,
    /// What was used, and what requests under way are expected to use.
    pub used: u64,
    /// What the request would reserve.
    pub takes: u64,
    /// When there will be room for it, [`super::NEVER`] if no time helps; `None`: there is.
    pub until: Option<u64>,
}

impl PartialEq for Subject {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Subject {}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Global => f.write_str("everything"),
            kind => write!(f, "{} `{}`", kind.as_str(), self.name),
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({} {})", self.kind.as_str(), self.name)
    }
}

/// A subject of a request.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) subject: Arc<Subject>,
    /// At how many of its meters the request is counted; later ones do not know it.
    pub(super) meters: usize,
}

/// Puts subjects into the order in which they are locked, each once.
pub(super) fn places(mut subjects: Vec<Arc<Subject>>) -> Vec<Place> {
    subjects.sort_unstable_by_key(|subject| subject.id);
    subjects.dedup();
    subjects.into_iter().map(|subject| Place { subject, meters: 0 }).collect()
}

/// A request on its way past its subjects.
pub(super) struct Entry<'a> {
    claim: Claim,
    now: u64,
    /// Whether limits are checked, and which share of them is this instance's.
    check: Option<u64>,
    /// Whether the store has yet to be told.
    tell: &'a dyn Fn() -> bool,
    standing: Standing,
    refused: Option<Refused>,
    /// The limit that refuses: what is used, how much it is here, and the end of what is booked.
    refusing: Option<(MeterUsage, u64, Option<u64>)>,
}

impl<'a> Entry<'a> {
    pub(super) fn new(claim: Claim, now: u64, check: Option<u64>, tell: &'a dyn Fn() -> bool) -> Self {
        Self { claim, now, check, tell, standing: Standing::default(), refused: None, refusing: None }
    }

    /// Checks the request against all subjects, in the order of [`places`], and counts it at all of them, or, if one refuses
    /// it, at none. All are locked meanwhile, so that no request is refused for another that is refused itself.
    pub(super) fn pass(&mut self, places: &mut [Place]) {
        let Some((Place { subject, meters: count }, others)) = places.split_first_mut() else { return };
        let mut meters = subject.meters();
        *count = meters.len();
        self.judge(subject, &mut meters);
        self.pass(others);
        for meter in meters.iter_mut() {
            if self.refused.is_none() {
                meter.enter(self.claim.of(meter.rule.what), self.now, (self.tell)());
            }
            self.note(subject.kind, meter);
        }
    }

    /// What [`Self::pass`] would say of the request, which counts nowhere for that.
    pub(super) fn look_at(&mut self, places: &[Place]) {
        for Place { subject, .. } in places {
            let mut meters = subject.meters();
            self.judge(subject, &mut meters);
            meters.iter().for_each(|meter| self.note(subject.kind, meter));
        }
    }

    /// How it stands with its limits, or the one that refuses it.
    pub(super) fn verdict(self) -> Result<Standing, Box<Refusal>> {
        let Self { mut standing, refused, refusing, now, .. } = self;
        if let Some((usage, limit, last_end)) = refusing {
            standing.refuse(&usage, limit, last_end, now);
        }
        refused.map_or(Ok(standing), |refused| Err(Box::new(Refusal { refused, standing })))
    }

    fn judge(&mut self, subject: &Arc<Subject>, meters: &mut [Meter]) {
        for meter in meters {
            meter.advance(self.now);
            let Some(share) = self.check else { continue };
            let Err(until) = meter.check(self.claim.of(meter.rule.what), self.now, share) else { continue };
            if self.refused.as_ref().is_none_or(|other| other.until < until) {
                let is_held = meter.is_held(share);
                self.refused = Some(Refused { subject: subject.clone(), rule: meter.rule, until, is_held });
                self.refusing = Some((meter.usage(), meter.limit(share), meter.last_end()));
            }
        }
    }

    fn note(&mut self, kind: Kind, meter: &Meter) {
        let Some(share) = self.check.filter(|_| meter.in_force) else { return };
        self.standing.add(kind, &meter.usage(), meter.limit(share), meter.last_end(), self.now);
    }
}
