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

    /// The target that [`Self::take_next`] would take.
    pub fn peek_next(&self) -> Option<&Arc<Target>> {
        self.targets.get(self.next)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, System};
    use crate::snapshot::Snapshot;

    fn model(targets: &[(&str, u32, u32)], attempts: usize) -> Arc<Model> {
        let targets: Vec<String> = targets
            .iter()
            .map(|(name, weight, priority)| {
                format!("{{ provider = 'p', model = '{name}', weight = {weight}, priority = {priority} }}")
            })
            .collect();
        let text = format!(
            "[providers.p]\nkind = 'openai-compatible'\nbase_url = 'http://127.0.0.1:1/v1'\n\
             [models.m]\ntargets = [{}]\nretry = {{ attempts = {attempts} }}",
            targets.join(", ")
        );
        let loaded = Config::parse(&text, "test.toml", &System).unwrap();
        Snapshot::build(&loaded.config, None).unwrap().model("m").unwrap()
    }

    fn order(plan: &mut Plan) -> Vec<String> {
        std::iter::from_fn(|| plan.take_next()).map(|target| target.model.to_string()).collect()
    }

    #[test]
    fn priorities_come_before_weights() {
        let model = model(&[("low", 1000, 1), ("high", 1, 0)], 3);
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut plan = Plan::build(&model, |_| true, &mut |bound| random.u64(..bound));
            assert_eq!(order(&mut plan), ["high", "low"]);
        }
    }

    #[test]
    fn shares_follow_the_weights() {
        let model = model(&[("a", 90, 0), ("b", 10, 0), ("never", 0, 0)], 3);
        let mut random = fastrand::Rng::with_seed(7);
        let mut first = std::collections::HashMap::<String, u32>::new();
        for _ in 0..100_000 {
            let mut plan = Plan::build(&model, |_| true, &mut |bound| random.u64(..bound));
            let order = order(&mut plan);
            assert_eq!(order.len(), 3);
            *first.entry(order[0].clone()).or_default() += 1;
        }
        assert!(!first.contains_key("never"));
        assert!((89_000..91_000).contains(&first["a"]), "{first:?}");
    }

    #[test]
    fn unusable_targets_and_too_many_are_left_out() {
        let model = model(&[("a", 1, 0), ("b", 1, 1), ("c", 1, 2), ("d", 1, 3)], 2);
        let mut plan = Plan::build(&model, |target| &*target.model != "a", &mut |_| 0);
        assert!(plan.has_next() && !plan.is_empty());
        assert_eq!(order(&mut plan), ["b", "c"]);
        assert!(!plan.has_next());
        assert!(Plan::build(&model, |_| false, &mut |_| 0).is_empty());
    }
}
