//! From the configuration to limits.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Kind, Limits, Rule, Strangers};
use crate::config::{Config, Reserve};

impl Limits {
    /// Makes known which targets have limits of their own, so that all that are built from here on find them; nothing is in
    /// force before [`Self::configure`].
    pub fn know_targets(&self, config: &Config) {
        for id in target_rules(config).keys() {
            self.subject(Kind::Target, id);
        }
    }

    /// Sets what the file says, in force at once, instead of what it said before; what was counted stays. Keys made at run time
    /// are set with [`Limits::set`].
    pub fn configure(&self, config: &Config) {
        self.reserves_most.store(config.limits.reserve == Reserve::Most, Relaxed);
        self.wait.store(u64::try_from(config.limits.wait.as_millis()).unwrap_or(u64::MAX), Relaxed);
        if self.strangers().map(|strangers| strangers.rate()) != config.limits.wrong_keys {
            self.strangers.store(config.limits.wrong_keys.map(|rate| Arc::new(Strangers::new(rate))));
        }
        let mut set = HashSet::new();
        let mut apply = |kind: Kind, name: &str, rules: &[Rule]| {
            if !rules.is_empty() {
                self.set(kind, name, rules);
                set.insert((kind, name.to_owned()));
            }
        };
        apply(Kind::Global, "", &config.limits.rules);
        for key in &config.keys {
            apply(Kind::Key, &key.name, &key.rules);
        }
        for (team, rules) in &config.limits.teams {
            apply(Kind::Team, team, rules);
        }
        for (tag, rules) in &config.limits.tags {
            apply(Kind::Tag, tag, rules);
        }
        for model in config.models.values() {
            apply(Kind::Model, &model.name, &model.rules);
        }
        for (id, rules) in &target_rules(config) {
            apply(Kind::Target, id, rules);
        }
        // Those of keys made at run time are not in the file, and never were.
        let before = std::mem::replace(&mut *self.configured.lock(), set.clone());
        for (kind, name) in before.difference(&set) {
            if let Some(subject) = self.find(*kind, name) {
                subject.set_rules(&[]);
            }
        }
    }
}

/// What is said of each target that has limits: one in several places keeps to all of it, in all of them.
fn target_rules(config: &Config) -> HashMap<String, Vec<Rule>> {
    let mut all: HashMap<String, Vec<Rule>> = HashMap::new();
    for target in config.described_models().flat_map(|model| &model.targets) {
        if !target.rules.is_empty() {
            all.entry(target.id()).or_default().extend(&target.rules);
        }
    }
    all
}
