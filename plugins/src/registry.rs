//! From a name to a plugin.

use std::fmt;
use std::sync::Arc;

use crate::{Plugin, Settings, SettingsError};

type Build = Arc<dyn Fn(&Settings<'_>) -> Result<Arc<dyn Plugin>, SettingsError> + Send + Sync>;

/// A kind of plugin: what `use` names, and how it is made of its settings.
#[derive(Clone)]
pub struct Kind {
    name: &'static str,
    build: fn(&Settings<'_>) -> Result<Arc<dyn Plugin>, SettingsError>,
}

impl Kind {
    /// The kind that `use = "name"` means.
    #[must_use]
    pub const fn new(name: &'static str, build: fn(&Settings<'_>) -> Result<Arc<dyn Plugin>, SettingsError>) -> Self {
        Self { name, build }
    }

    /// What `use` says.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Makes one.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn build(&self, settings: &Settings<'_>) -> Result<Arc<dyn Plugin>, SettingsError> {
        (self.build)(settings)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kind").field(&self.name).finish()
    }
}

/// The kinds that a configuration may name.
#[derive(Clone)]
pub struct Registry {
    kinds: Vec<(String, Build)>,
}

/// Those that ship. A plugin adds its line here.
const SHIPPED: &[Kind] = &[
    crate::body::PLUGIN,
    crate::content_log::PLUGIN,
    crate::deny::ALLOW,
    crate::deny::PLUGIN,
    crate::headers::PLUGIN,
    crate::injection::PLUGIN,
    crate::language::PLUGIN,
    crate::moderation::PLUGIN,
    crate::pii::PLUGIN,
    crate::prompt::PLUGIN,
    crate::secrets::PLUGIN,
    crate::size::PLUGIN,
    crate::wasm::PLUGIN,
    crate::webhook::PLUGIN,
];

impl Default for Registry {
    /// Those that ship.
    fn default() -> Self {
        let mut registry = Self::empty();
        SHIPPED.iter().for_each(|kind| registry.add(kind.clone()));
        registry
    }
}

impl Registry {
    /// None.
    #[must_use]
    pub fn empty() -> Self {
        Self { kinds: Vec::new() }
    }

    /// Adds a kind, in the place of one of the same name.
    pub fn add(&mut self, kind: Kind) {
        self.add_fn(kind.name, move |settings| kind.build(settings));
    }

    /// Adds a kind that is made by a closure.
    pub fn add_fn(
        &mut self,
        name: impl Into<String>,
        build: impl Fn(&Settings<'_>) -> Result<Arc<dyn Plugin>, SettingsError> + Send + Sync + 'static,
    ) {
        let name = name.into();
        self.kinds.retain(|(other, _)| *other != name);
        self.kinds.push((name, Arc::new(build)));
    }

    /// Their names, in the order in which they were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.kinds.iter().map(|(name, _)| name.as_str())
    }

    /// Makes the plugin that `use = "name"` means; `None` if there is no such kind.
    pub fn build(&self, name: &str, settings: &Settings<'_>) -> Option<Result<Arc<dyn Plugin>, SettingsError>> {
        let (_, build) = self.kinds.iter().find(|(kind, _)| kind == name)?;
        Some(build(settings))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
