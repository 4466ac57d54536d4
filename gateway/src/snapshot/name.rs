//! Names of models, where there are two ways to spell one.

use std::borrow::Cow;

/// A model as clients name it. Of Gemini's models `provider/models/X` and `provider/X` are one, and whoever speaks of either means
/// both: rules, plugins, and what keys may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName<'n> {
    plain: Cow<'n, str>,
    of_gemini: bool,
}

/// Before the name of a model, where a model is a resource: <https://ai.google.dev/api/models>.
const RESOURCE: &str = "models/";

impl<'n> ModelName<'n> {
    /// The name of a model of Gemini's `provider`, which calls it `model`.
    pub(super) fn of_gemini(name: &'n str, provider: &str, model: &str) -> Self {
        let plain = match model.strip_prefix(RESOURCE) {
            Some(model) => Cow::Owned(format!("{provider}/{model}")),
            None => Cow::Borrowed(name),
        };
        Self { plain, of_gemini: true }
    }

    /// The name that it goes by.
    pub fn as_str(&self) -> &str {
        &self.plain
    }

    /// Whether one of the ways to spell it is what is looked for.
    pub fn is(&self, wanted: impl Fn(&str) -> bool) -> bool {
        let resource = || {
            let (provider, model) = self.plain.split_once('/').filter(|_| self.of_gemini)?;
            Some(wanted(&format!("{provider}/{RESOURCE}{model}")))
        };
        wanted(&self.plain) || resource() == Some(true)
    }
}

/// There is one way to spell it.
impl<'n> From<&'n str> for ModelName<'n> {
    fn from(name: &'n str) -> Self {
        Self { plain: Cow::Borrowed(name), of_gemini: false }
    }
}

impl<'n> From<&'n ModelName<'_>> for ModelName<'n> {
    fn from(name: &'n ModelName<'_>) -> Self {
        Self { plain: Cow::Borrowed(&name.plain), of_gemini: name.of_gemini }
    }
}
