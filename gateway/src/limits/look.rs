//! Whether there is room, before anything is counted: who has none pays for nothing that is asked on its behalf. And how a
//! request would fare, for those who ask.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::meter::WHILE_OTHERS_RUN;
use super::subject::{Entry, places};
use super::{Claim, Limits, Preview, Refusal, Subject};

impl Limits {
    /// Why a request would be refused by `subjects` now; `None`: it would be let in, or wait for room. By what this process knows,
    /// also where a store counts for several.
    pub fn refusal(&self, subjects: &[Arc<Subject>], claim: Claim) -> Option<Box<Refusal>> {
        let refusal = self.look(subjects, claim)?;
        let (until, most) = (refusal.refused.until, self.wait.load(Relaxed));
        // As in `admit_in_turn`.
        let waits = most > 0
            && !claim.exceeds(&refusal.refused.rule)
            && until.saturating_sub(self.now()) <= most.max(WHILE_OTHERS_RUN);
        (!waits).then_some(refusal)
    }

    /// Whether `subjects` have room for that now. By what this process knows.
    pub fn has_room(&self, subjects: &[Arc<Subject>], claim: Claim) -> bool {
        self.look(subjects, claim).is_none()
    }

    /// Each limit in force of `subjects`, by kind and name, as a request meets it now. By what this process knows.
    pub fn preview(&self, subjects: Vec<Arc<Subject>>, claim: Claim) -> Vec<Preview> {
        let (now, share) = (self.now(), self.share_in_use());
        let mut subjects = places(subjects);
        subjects.sort_by(|a, b| (a.subject.kind, &a.subject.name).cmp(&(b.subject.kind, &b.subject.name)));
        subjects.iter().flat_map(|place| place.subject.preview(claim, now, share)).collect()
    }

    /// When the limits of `subject` have room for an attempt; `None`: now.
    pub fn full_until(&self, subject: &Subject, claim: Claim, now: u64) -> Option<u64> {
        subject.check(claim, now, self.share()).err()
    }

    fn look(&self, subjects: &[Arc<Subject>], claim: Claim) -> Option<Box<Refusal>> {
        let mut entry = Entry::new(claim, self.now(), Some(self.share_in_use()), &|| false);
        entry.look_at(&places(subjects.to_vec()));
        entry.verdict().err()
    }

    /// Of how many parts of the limits this instance has one now: of all, as long as a store counts.
    fn share_in_use(&self) -> u64 {
        if self.store_in_reach().is_some() { 1 } else { self.share() }
    }
}
