//! The plan: the ordered attempts of one request.

use std::sync::Arc;

use crate::snapshot::{Model, Target};

/// The targets that a request will be tried on, best first.
///
/// Lower priorities come only after every target of a higher one; inside one priority the order is random in
/// proportion to the weights.
#[derive(Debug, Default)]
pub struct Plan {
    targets: Vec<Arc<Target>>,
    next: usize,
}

impl Plan {
    /// Orders those targets of `model` that `usable` accepts, at most `model.retry.attempts` of them.
    pub fn build(model: &Model, usable: impl Fn(&Target) -> bool, random: &mut impl FnMut(u64) -> u64) -> Self {
        let mut candidates: Vec<&Arc<Target>> = model.targets.iter().filter(|target| usable(target)).collect();
        if candidates.len() <= 1 {
            return Self { targets: candidates.into_iter().cloned().collect(), next: 0 };
        }
        candidates.sort_by_key(|target| target.priority);
        let mut targets = Vec::with_capacity(candidates.len());
        for group in candidates.chunk_by_mut(|a, b| a.priority == b.priority) {
            shuffle_by_weight(group, random);
            targets.extend(group.iter().map(|target| Arc::clone(target)));
        }
        targets.truncate(model.retry.attempts as usize);
        Self { targets, next: 0 }
    }

    /// Takes the next target to try.
    pub fn take_next(&mut self) -> Option<Arc<Target>> {
        let target = self.targets.get(self.next)?.clone();
        self.next += 1;
        Some(target)
    }

    /// Whether a target is left.
    pub fn has_next(&self) -> bool {
        self.next < self.targets.len()
    }

    /// Whether no target was usable at all.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}

/// Draws without replacement, each time in proportion to the weights. Weight 0 comes last.
fn shuffle_by_weight(targets: &mut [&Arc<Target>], random: &mut impl FnMut(u64) -> u64) {
    for start in 0..targets.len() {
        let total: u64 = targets[start..].iter().map(|target| u64::from(target.weight)).sum();
        if total == 0 {
            return;
        }
        let mut ticket = random(total);
        let drawn = targets[start..].iter().position(|target| {
            let weight = u64::from(target.weight);
            let hit = ticket < weight;
            ticket = ticket.saturating_sub(weight);
            hit
        });
        targets.swap(start, start + drawn.unwrap_or(0));
    }
}
