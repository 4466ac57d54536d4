//! From the configuration to limits.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use super::{Kind, Limits, Rule};
use crate::config::{Config, RouteTo};

impl Limits {
    /// Sets what the file says, in force at once; what was counted stays. Keys made at run time are set with
    /// [`Limits::set`].
    pub fn configure(&self, config: &Config) {
        self.wait.store(u64::try_from(config.limits.wait.as_millis()).unwrap_or(u64::MAX), Relaxed);
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
        let own = config.routes.iter().flat_map(|route| {
            let to = match &route.to {
                RouteTo::Targets(model) => Some(&**model),
                _ => None,
            };
            to.into_iter().chain(route.mirror.as_ref().map(|mirror| &mirror.model))
        });
        for model in config.models.values() {
            apply(Kind::Model, &model.name, &model.rules);
        }
        for target in config.models.values().chain(own).flat_map(|model| &model.targets) {
            apply(Kind::Target, &target.id(), &target.rules);
        }
        for kind in Kind::ALL {
            for (name, subject) in self.subjects[kind as usize].load().iter() {
                // Those of keys made at run time are not in the file.
                if kind != Kind::Key && !set.contains(&(kind, name.to_string())) {
                    subject.set_rules(&[]);
                }
            }
        }
    }
}
