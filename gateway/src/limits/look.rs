//! Whether there is room, before anything is counted: who has none pays for nothing that is asked on its behalf. And how a
//! request would fare, for those who ask.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::meter::{Claim, WHILE_OTHERS_RUN};
use super::subject::{Entry, places};
use super::{Amounts, Limits, Preview, Refusal, Subject};

impl Limits {
    /// Why a request that is expected to use `amounts` would be refused by `subjects` now; `None`: it would be let in, or wait
    /// for room. By what this process knows, also where a store counts for several.
    pub fn refusal(&self, subjects: &[Arc<Subject>], amounts: Amounts) -> Option<Box<Refusal>> {
        let claim = Claim::request(amounts);
        let refusal = self.look(subjects, claim)?;
        let (until, most) = (refusal.refused.until, self.wait.load(Relaxed));
        // As in `claim_in_turn`.
        let waits = most > 0
            && !claim.exceeds(&refusal.refused.rule)
            && until.saturating_sub(self.now()) <= most.max(WHILE_OTHERS_RUN);
        (!waits).then_some(refusal)
    }

    /// Whether `subjects` have room for so much more of a request that is let in already. By what this process knows.
    pub fn has_room(&self, subjects: &[Arc<Subject>], amounts: Amounts) -> bool {
        self.look(subjects, Claim::more(amounts)).is_none()
    }

    /// Each limit in force of `subjects`, by kind and name, as a request that is expected to use `amounts` meets it now. By what
    /// this process knows.
    pub fn preview(&self, subjects: Vec<Arc<Subject>>, amounts: Amounts) -> Vec<Preview> {
        let (now, share) = (self.now(), self.share_in_use());
        let mut subjects = places(subjects);
        subjects.sort_by(|a, b| (a.subject.kind, &a.subject.name).cmp(&(b.subject.kind, &b.subject.name)));
        subjects.iter().flat_map(|place| place.subject.preview(amounts, now, share)).collect()
    }

    fn look(&self, subjects: &[Arc<Subject>], claim: Claim) -> Option<Box<Refusal>> {
        let mut entry = Entry::new(claim, self.now(), Some(self.share_in_use()), &|| false);
        entry.look_at(&places(subjects.to_vec()));
        let Entry { refused, standing, .. } = entry;
        refused.map(|refused| Box::new(Refusal { refused, standing }))
    }

    /// Of how many parts of the limits this instance has one now: of all, as long as a store counts.
    fn share_in_use(&self) -> u64 {
        if self.store_in_reach().is_some() { 1 } else { self.share() }
    }
}
