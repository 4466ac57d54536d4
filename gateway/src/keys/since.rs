//! Since when limits and budgets count that were given to a key later than the window began.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits::Rule;

/// Since when each limit of a key counts, by what it counts in which time: milliseconds since 1970. One that is not there counts
/// all that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Since(BTreeMap<String, u64>);

impl Since {
    /// Since when `rule` counts.
    pub(super) fn of(&self, rule: &Rule) -> u64 {
        self.0.get(&name(rule)).copied().unwrap_or(0)
    }

    /// The same for `rules`, which came in the place of `before` at the time `now`: what none of those counted begins then.
    pub(super) fn after(&self, before: &[Rule], rules: &[Rule], now: u64) -> Self {
        let since = |rule| if before.iter().any(|old| name(old) == name(rule)) { self.of(rule) } else { now };
        Self(rules.iter().map(|rule| (name(rule), since(rule))).filter(|(_, since)| *since > 0).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn name(rule: &Rule) -> String {
    rule.per().map_or_else(|| rule.what.as_str().to_owned(), |per| format!("{} per {per}", rule.what.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Period, What};

    #[test]
    fn only_what_is_new_begins_anew() {
        let rule = |what, period, limit| Rule { what, period, limit, soft: limit };
        let budget = rule(What::Cost, Period::Month, 5);
        let (more, day) = (rule(What::Cost, Period::Month, 9), rule(What::Cost, Period::Day, 5));
        let old = Since::default();
        assert!(old.after(&[budget], &[more], 7).is_empty());
        let given = old.after(&[budget], &[more, day], 7);
        assert_eq!((given.of(&more), given.of(&day)), (0, 7));
        let changed = given.after(&[more, day], &[day, rule(What::Tokens, Period::Day, 1)], 8);
        assert_eq!((changed.of(&more), changed.of(&day)), (0, 7));
        let again = changed.after(&[day], &[budget, day], 9);
        assert_eq!((again.of(&budget), again.of(&day)), (9, 7));
    }
}
