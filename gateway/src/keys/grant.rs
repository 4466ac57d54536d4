//! A key gives no more than it has.

use std::sync::Arc;

use super::{Key, KeyError, NewKey};
use crate::config::{KeyConfig, ModelPattern, OnAbort, Right};

/// Who makes and manages keys.
#[derive(Debug, Clone)]
pub enum Maker {
    /// Who has the admin key: may everything.
    Master,
    /// A key with `allow = ["keys"]`: keys within its own rights, and of those that exist only the ones that it made.
    Key(Arc<Key>),
}

impl Maker {
    /// The maker's name; `None`: the master's.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Master => None,
            Self::Key(key) => Some(&key.name),
        }
    }
}

/// The rights of the key that `maker` asks for, or the master (`None`), what was left out filled in with the maker's.
///
/// # Errors
/// It would have more than its maker.
pub(super) fn grant(new: NewKey, maker: Option<&Key>) -> Result<KeyConfig, KeyError> {
    let patterns = |models: Vec<String>| models.iter().map(|model| ModelPattern::new(model)).collect();
    let mut granted = KeyConfig {
        name: new.name,
        models: new.models.map(patterns),
        tags: new.tags.unwrap_or_default(),
        team: new.team,
        owner: new.owner,
        allow: new.allow.unwrap_or_default(),
        expires: new.expires,
        rules: new.rules,
        cache: new.cache.unwrap_or_default(),
        priority: new.priority,
        on_abort: new.on_abort.unwrap_or_default(),
        ..KeyConfig::default()
    };
    let Some(maker) = maker else { return Ok(granted) };
    let own = maker.config();
    let beyond = |field, message: String| Err(KeyError::Beyond { field, message });

    match (&granted.models, &own.models) {
        (Some(wanted), Some(own)) => {
            if let Some(more) = wanted.iter().find(|pattern| !own.iter().any(|own| covers(own, pattern))) {
                return beyond("models", format!("this key may not use `{more}` itself"));
            }
        }
        (None, own) => granted.models.clone_from(own),
        (Some(_), None) => {}
    }
    if granted.tags.is_empty() {
        granted.tags.clone_from(&own.tags);
    } else if let Some(more) = granted.tags.iter().find(|tag| !own.tags.contains(tag)) {
        return beyond("tags", format!("this key has no tag `{more}` itself"));
    } else if let Some(less) = own.tags.iter().find(|tag| !granted.tags.contains(tag)) {
        // Budgets and rules go by tags.
        return beyond("tags", format!("this key gives its tag `{less}` to every key that it makes"));
    }
    match &granted.team {
        None => granted.team.clone_from(&own.team),
        team if *team == own.team => {}
        Some(_) => return beyond("team", "a key gives no team but its own".to_owned()),
    }
    // What makes keys is given by the master alone: there is no chain to follow when one goes bad.
    if let Some(more) = granted.allow.iter().find(|right| **right == Right::Keys || !maker.may(**right)) {
        return beyond("allow", format!("this key cannot give `{}`", more.as_str()));
    }
    match new.cache {
        None => granted.cache = maker.cache(),
        Some(wanted) if wanted > maker.cache() => {
            return beyond("cache", format!("this key itself has `{}`", maker.cache().as_str()));
        }
        Some(_) => {}
    }
    if new.priority.is_some_and(|wanted| wanted > maker.priority()) {
        return beyond("priority", format!("this key itself has {}", maker.priority()));
    }
    if new.on_abort == Some(OnAbort::Cancel) && maker.on_abort() == OnAbort::Drain {
        return beyond("on_abort", "this key itself has `drain`, and so have those that it makes".to_owned());
    }
    match (granted.expires, own.expires) {
        (Some(wanted), Some(end)) if wanted > end => {
            return beyond("expires", "this key itself ends before".to_owned());
        }
        (None, end) => granted.expires = end,
        (Some(_), _) => {}
    }
    Ok(granted)
}

/// Whether every name that `inner` stands for is one of `outer`'s. A star of `inner` is a character that only a star of
/// `outer` can be, so that `outer` must match it as it is written.
fn covers(outer: &ModelPattern, inner: &ModelPattern) -> bool {
    outer.matches(inner.as_str())
}
