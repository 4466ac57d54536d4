//! Keys as the admin API shows them.

use serde_json::Value;

use super::record::Record;
use super::{Key, bounds, seconds, shown};

/// A key as it is shown: neither its secret nor the secret's hash.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Listed {
    name: String,
    /// `file` or `store`.
    source: &'static str,
    enabled: bool,
    models: Option<Vec<String>>,
    tags: Vec<String>,
    team: Option<String>,
    owner: Option<String>,
    allow: Vec<&'static str>,
    cache: &'static str,
    priority: u32,
    on_abort: &'static str,
    expires: Option<String>,
    created: Option<String>,
    /// The key that made it; `null`: the master, or the file.
    made_by: Option<String>,
    /// Until when the secret before the present one is taken too.
    old_secret_until: Option<String>,
    /// Its own limits and budgets, as they are asked for.
    limits: Vec<Value>,
    budget: Vec<Value>,
}

impl Listed {
    /// A key of the configuration.
    pub fn configured(key: &Key) -> Self {
        Self::of(key, "file")
    }

    fn of(key: &Key, source: &'static str) -> Self {
        let config = key.config();
        Self {
            name: key.name.to_string(),
            source,
            enabled: key.is_enabled(),
            models: config.models.as_ref().map(|models| models.iter().map(ToString::to_string).collect()),
            tags: config.tags.clone(),
            team: config.team.clone(),
            owner: config.owner.clone(),
            allow: config.allow.iter().map(|right| right.as_str()).collect(),
            cache: key.cache().as_str(),
            priority: key.priority(),
            on_abort: key.on_abort().as_str(),
            expires: config.expires.map(|end| shown(seconds(end))),
            created: None,
            made_by: None,
            old_secret_until: None,
            limits: bounds::shown_limits(&config.rules),
            budget: bounds::shown_budgets(&config.rules),
        }
    }

    pub(super) fn record(record: &Record, now: u64) -> Self {
        let old = record.secrets.iter().find_map(|(_, until)| until.filter(|until| *until > now));
        Self {
            created: Some(shown(record.created)),
            made_by: record.maker.as_ref().map(|maker| maker.name.clone()),
            old_secret_until: old.map(shown),
            limits: bounds::shown_limits(&record.rules),
            budget: bounds::shown_budgets(&record.rules),
            ..Self::of(&record.key, "store")
        }
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}
