//! The way in: a [`Claim`] is counted at all subjects of a request, or at none.

use std::sync::Arc;

use super::subject::{Entry, Place, places};
use super::{Amounts, Claim, Limits, Refused, Reservation, Standing, Subject};

/// A request that may not pass, and how it stands with its other limits.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The limit in the way.
    pub refused: Refused,
    /// For the answer's headers.
    pub standing: Standing,
}

impl Limits {
    /// Lets a request in, if all of `subjects` have room for it: then it counts at all of them, else at none.
    ///
    /// # Errors
    /// The limit that is in the way.
    pub async fn admit(
        self: &Arc<Self>,
        subjects: Vec<Arc<Subject>>,
        claim: Claim,
    ) -> Result<Reservation, Box<Refusal>> {
        let places = places(subjects);
        if let Some(shared) = self.store_in_reach()
            && !places.is_empty()
        {
            return shared.admit(self, places, claim).await;
        }
        self.admit_without_store(places, claim).await
    }

    /// Counts an attempt at its target, and at the model to fall back on that the target answers for, unless the limits of one
    /// of these `subjects` are reached. Never asks the store: each instance keeps to its share of them.
    pub fn begin(self: &Arc<Self>, subjects: Vec<Arc<Subject>>, claim: Claim) -> Option<Reservation> {
        self.enter(places(subjects), claim, Some(self.share()), self.now()).ok()
    }

    /// [`Self::begin`] of an attempt that is made whether or not limits are reached.
    pub fn begin_anyway(self: &Arc<Self>, subjects: Vec<Arc<Subject>>, claim: Claim) -> Option<Reservation> {
        self.enter(places(subjects), claim, None, self.now()).ok()
    }

    /// Counts at `subjects` what was used beside any request that they have let in.
    pub fn charge(self: &Arc<Self>, subjects: Vec<Arc<Subject>>, used: Amounts) {
        let nothing = Claim::more(Amounts::default());
        Reservation::new(self.clone(), places(subjects), nothing, Standing::default()).settle(used);
    }

    /// Lets a request in by what this process has counted. `check`: of how many parts of the limits it has one; `None`: they are
    /// not checked.
    pub(super) fn enter(
        self: &Arc<Self>,
        mut places: Vec<Place>,
        claim: Claim,
        check: Option<u64>,
        now: u64,
    ) -> Result<Reservation, Box<Refusal>> {
        let tell = || self.shared.get().is_some();
        let mut entry = Entry::new(claim, now, check, &tell);
        entry.pass(&mut places);
        if let Some(shared) = self.shared.get() {
            places.iter().for_each(|place| shared.queue(&place.subject));
        }
        Ok(Reservation::new(self.clone(), places, claim, entry.verdict()?))
    }
}
