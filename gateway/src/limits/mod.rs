//! Limits and budgets: how much each key, team, tag, model and everything together may use, and how much of a target's own
//! limits is left.
//!
//! [`Limits`] holds a [`Subject`] for each of them, and a subject a meter for each limit and window. A request comes with a
//! [`Claim`], is checked against all its subjects at once and holds a [`Reservation`] of what it is expected to use, until
//! [`Reservation::settle`] books what it has used; dropped before that, it gives everything back. Requests count when they
//! come; tokens and money when they are known.
//!
//! There are four ways in: clients' requests take [`Limits::admit_in_turn`], where they may wait for room, or [`Limits::admit`];
//! attempts at a target take [`Limits::begin`], or [`Limits::begin_anyway`].
//!
//! | file | subject |
//! |---|---|
//! | `subject`, `registry` | whose limits they are, and how all are checked at once; every subject by kind and name |
//! | `meter`, `period` | one limit and what was counted against it, in which time |
//! | `admit`, `wait`, `look` | the ways in: at once, in turn; how a request would fare, without counting it |
//! | `reservation`, `upload` | a request under way; a body on its way |
//! | `standing`, `status` | what clients are told of their limits; what metrics and the admin API tell |
//! | `configure` | from the configuration to limits |
//! | `restore`, `handover`, `shared` | what was counted before this process began, in the one before it, and in other instances |
//! | `elsewhere` | who is let in once another process serves in this one's place |
//! | `outputs`, `strangers` | how long answers are; who comes without a right key |
//!
//! Everything is counted exactly, in integers and under short locks. `pingora-limits` is not used for it: its estimators are
//! count-min sketches, which may take one key for another and refuse it too early, and they know one window and no
//! reservation. It counts what may be wrong and must not grow: addresses that come without a right key ([`Strangers`]).
//!
//! With `[store]` several instances count in one Redis ([`shared`]); while it cannot be reached, each goes on with its share
//! of every limit.

mod admit;
mod configure;
mod elsewhere;
mod handover;
mod look;
mod meter;
mod outputs;
mod period;
mod registry;
mod reservation;
mod restore;
pub mod shared;
mod standing;
mod status;
mod strangers;
mod subject;
mod upload;
mod wait;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::UNIX_EPOCH;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

pub use admit::Refusal;
pub use elsewhere::{Answered, Asked, Change, Held, HeldFor, Questions, Said};
pub use handover::{Saved, TellingTo, Told};
pub use meter::{Amounts, Claim, Rule, What};
pub use period::{NEVER, Period};
pub use reservation::Reservation;
pub use restore::Used;
pub use standing::Standing;
pub(crate) use status::LimitsCollector;
pub use status::SubjectStatus;
pub use strangers::Strangers;
pub use subject::{Kind, MeterUsage, Preview, Refused, Subject};
pub use upload::Upload;

use crate::clock::Time;
use elsewhere::Elsewhere;
use registry::Registry;
use shared::Shared;
use wait::Queues;

/// All limits of the process and what was counted against them. One per process; reloads change the limits only.
pub struct Limits {
    time: Time,
    subjects: Registry,
    /// Those that the file has set.
    configured: Mutex<HashSet<(Kind, String)>>,
    /// Whether budgets put by the most that a model can say ([`Reserve::Most`](crate::config::Reserve)).
    reserves_most: AtomicBool,
    /// Whether there are budgets, or were.
    has_budgets: AtomicBool,
    /// Longest wait of a request for room, in milliseconds.
    wait: AtomicU64,
    /// Who waits.
    queues: Queues,
    /// The store's clock less ours, in milliseconds.
    offset: AtomicI64,
    shared: OnceLock<Arc<Shared>>,
    /// The process that decides in this one's place.
    elsewhere: ArcSwapOption<Elsewhere>,
    rejected: status::Rejections,
    /// What was used before this process began is not known yet.
    restoring: AtomicBool,
    /// It could not be read.
    began_anew: AtomicBool,
    /// Who comes without a right key, if that is bounded.
    strangers: ArcSwapOption<Strangers>,
    /// How long answers have been.
    outputs: outputs::Outputs,
}

impl Limits {
    /// No limits at all, by the system's clock.
    pub fn new() -> Self {
        Self::by(Time::default())
    }

    /// No limits at all. Theirs is the time of the gateway.
    pub fn by(time: Time) -> Self {
        Self {
            time,
            subjects: Registry::default(),
            configured: Mutex::default(),
            reserves_most: AtomicBool::new(true),
            has_budgets: AtomicBool::new(false),
            wait: AtomicU64::new(0),
            queues: Queues::default(),
            offset: AtomicI64::new(0),
            shared: OnceLock::new(),
            elsewhere: ArcSwapOption::empty(),
            rejected: status::Rejections::default(),
            restoring: AtomicBool::new(false),
            began_anew: AtomicBool::new(false),
            strangers: ArcSwapOption::empty(),
            outputs: outputs::Outputs::default(),
        }
    }

    /// The time by which limits go: milliseconds since 1970, the same at all instances that share a store.
    pub fn now(&self) -> u64 {
        let since = self.time.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(NEVER).saturating_add_signed(self.offset.load(Relaxed))
    }

    /// By which clock they go.
    pub fn time(&self) -> &Time {
        &self.time
    }

    /// The subject of that kind and name, if it has or had limits.
    pub fn find(&self, kind: Kind, name: &str) -> Option<Arc<Subject>> {
        self.subjects.find(kind, name)
    }

    /// Sets the limits of one subject, in force at once; without any it has none any more. What was counted stays.
    pub fn set(&self, kind: Kind, name: &str, rules: &[Rule]) -> Arc<Subject> {
        let subject = self.subject(kind, name);
        subject.set_rules(rules);
        if rules.iter().any(|rule| rule.what == What::Cost) {
            self.has_budgets.store(true, Relaxed);
        }
        subject
    }

    /// The subject of that kind and name, made without limits if need be.
    pub fn subject(&self, kind: Kind, name: &str) -> Arc<Subject> {
        self.subjects.find_or_make(kind, name)
    }

    /// Everything whose limits a request must keep within.
    pub fn subjects_of<'a>(
        &self,
        keys: impl Iterator<Item = &'a str>,
        team: Option<&'a str>,
        tags: impl Iterator<Item = &'a str>,
        model: &'a str,
    ) -> Vec<Arc<Subject>> {
        let named = [(Kind::Global, Some("")), (Kind::Team, team), (Kind::Model, Some(model))];
        let named = named.into_iter().filter_map(|(kind, name)| Some((kind, name?)));
        let named = named.chain(keys.map(|key| (Kind::Key, key)));
        named.chain(tags.map(|tag| (Kind::Tag, tag))).filter_map(|(kind, name)| self.find(kind, name)).collect()
    }

    /// Who comes without a right key; `None`: nobody asks.
    pub fn strangers(&self) -> Option<Arc<Strangers>> {
        self.strangers.load_full()
    }

    /// Whether there are budgets, which put by the most that an answer may cost, and not what answers usually do.
    pub fn reserves_most(&self) -> bool {
        self.reserves_most.load(Relaxed) && self.has_budgets.load(Relaxed)
    }

    /// The length in tokens that nearly all answers of `model` have stayed within lately; `None`: too few are known.
    pub fn usual_output(&self, model: &str) -> Option<u64> {
        self.outputs.high(model)
    }

    /// An answer of `model` had so many tokens.
    pub fn learn_output(&self, model: &str, tokens: u64) {
        self.outputs.learn(model, tokens);
    }

    /// The store that counts for several instances, as long as it can be asked.
    fn store_in_reach(&self) -> Option<&Arc<Shared>> {
        self.shared.get().filter(|shared| shared.is_up())
    }

    /// Of how many parts of the limits this instance has one when it counts alone.
    fn share(&self) -> u64 {
        self.shared.get().map_or(1, |shared| shared.instances())
    }

    /// Every subject that has or had limits.
    fn all(&self) -> Vec<Arc<Subject>> {
        self.subjects.all()
    }
}

fn warn(subject: &Subject, rule: &Rule) {
    log::warn!("the budget of {subject} for {} has passed its soft mark", rule.period);
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("subjects", &self.all().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
