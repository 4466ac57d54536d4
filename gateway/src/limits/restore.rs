//! What was used before this process began.

use std::sync::atomic::Ordering::Relaxed;

use super::{Amounts, Kind, Limits, What};

/// What a request of a process before this one used.
#[derive(Clone, Debug, Default)]
pub struct Used<'a> {
    /// Its key, and the key that this one counts against besides.
    pub keys: [Option<&'a str>; 2],
    /// Its team.
    pub team: Option<&'a str>,
    /// Its tags.
    pub tags: Vec<&'a str>,
    /// Its model, as the client asked for it.
    pub model: Option<&'a str>,
    /// The model to fall back on that was asked.
    pub fallback: Option<&'a str>,
    /// Whether it was an attempt, which counts there as a request.
    pub is_attempt: bool,
    /// How much.
    pub amounts: Amounts,
    /// When it ended: milliseconds since 1970.
    pub at: u64,
    /// When it came, if it is a client's request that was let in: milliseconds since 1970.
    pub let_in: Option<u64>,
}

impl Limits {
    /// Since when what was used still counts against a budget or a limit in force, in milliseconds since 1970. `None`: nothing
    /// does, or it is not known what of it this instance has used.
    pub fn restores_from(&self) -> Option<u64> {
        let since = self.restores_since()?;
        let now = self.now();
        let counted = self.all().into_iter().filter(|subject| subject.kind != Kind::Target);
        let rules = counted.flat_map(|subject| subject.usage(now)).map(|usage| usage.rule);
        let begins = rules.filter(|rule| rule.what != What::Concurrent).map(|rule| rule.period.begins(now)).min();
        begins.map(|begins| begins.max(since))
    }

    /// Where a store counts for several: since when this instance knows by itself what it has used.
    fn restores_since(&self) -> Option<u64> {
        self.shared.get().map_or(Some(0), |shared| shared.instance.since())
    }

    /// Counts what was used before this process began, each record once. A store is told what it does not have of it.
    pub fn restore(&self, used: &Used<'_>) {
        if self.restores_since().is_none_or(|since| used.at < since) {
            return;
        }
        let now = self.now();
        let keys = used.keys.into_iter().flatten();
        let subjects = self.subjects_of(keys, used.team, used.tags.iter().copied(), used.model.unwrap_or_default());
        let of_request = subjects.into_iter().map(|subject| (subject, used.let_in));
        let fallback = used.fallback.and_then(|name| self.find(Kind::Model, name));
        let of_attempt = fallback.map(|subject| (subject, used.is_attempt.then_some(used.let_in.unwrap_or(used.at))));
        for (subject, came) in of_request.chain(of_attempt) {
            for meter in subject.meters().iter_mut() {
                let what = meter.rule.what;
                match (what, came) {
                    (What::Requests, Some(came)) => meter.book_past(1, came, now),
                    (What::Tokens | What::Cost, _) => meter.book_past(used.amounts.of(what), used.at, now),
                    (What::Requests, None) | (What::Concurrent, _) => {}
                }
            }
        }
    }

    /// Notes whether what was used before is still being read.
    pub fn set_restoring(&self, restoring: bool) {
        self.restoring.store(restoring, Relaxed);
        if let Some(shared) = self.shared.get().filter(|_| !restoring) {
            shared.compare();
        }
    }

    /// Whether budgets have more room than is left, because what was used before is still being read.
    pub fn is_restoring(&self) -> bool {
        self.restoring.load(Relaxed)
    }

    /// Notes that what was used before could not be read.
    pub fn begin_anew(&self) {
        self.began_anew.store(true, Relaxed);
    }

    /// Whether it could not.
    pub fn began_anew(&self) -> bool {
        self.began_anew.load(Relaxed)
    }
}
