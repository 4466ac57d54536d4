//! Names of models, where there are two ways to spell one.

use std::borrow::Cow;

use super::Provider;

/// A model as clients name it. Where models are resources (`gemini/models/X`, `vertex/publishers/google/models/X`) the name without
/// the collection, `gemini/X`, means the same, and whoever speaks of either means both: rules, plugins, and what keys may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName<'n> {
    plain: Cow<'n, str>,
    /// What may stand before the model's own name; empty if nothing may.
    resource: &'static str,
}

impl<'n> ModelName<'n> {
    /// `name` is that of `provider`, which calls it `model`.
    pub(super) fn at(provider: &Provider, model: &str, name: &'n str) -> Self {
        let plain = provider.preset.plain(model);
        // What is not in the collection is not spelt with it.
        let resource = if plain.contains('/') { "" } else { provider.preset.resource(plain) };
        let name = if plain == model { name.into() } else { format!("{}/{plain}", provider.name).into() };
        Self { plain: name, resource }
    }

    /// Whether `provider` may be asked for `model`: the collection does not stand there twice, nor before what is not in it,
    /// which a provider might take for something that has another name.
    pub(super) fn may_be(provider: &Provider, model: &str) -> bool {
        let resource = provider.preset.resource(model);
        resource.is_empty() || model.strip_prefix(resource).is_none_or(|plain| !plain.contains('/'))
    }

    /// The name that it goes by.
    pub fn as_str(&self) -> &str {
        &self.plain
    }

    /// Whether one of the ways to spell it is what is looked for.
    pub fn is(&self, wanted: impl Fn(&str) -> bool) -> bool {
        let as_resource = || {
            let (provider, model) = self.plain.split_once('/').filter(|_| !self.resource.is_empty())?;
            Some(wanted(&format!("{provider}/{}{model}", self.resource)))
        };
        wanted(&self.plain) || as_resource() == Some(true)
    }
}

/// There is one way to spell it.
impl<'n> From<&'n str> for ModelName<'n> {
    fn from(name: &'n str) -> Self {
        Self { plain: Cow::Borrowed(name), resource: "" }
    }
}

impl<'n> From<&'n ModelName<'_>> for ModelName<'n> {
    fn from(name: &'n ModelName<'_>) -> Self {
        Self { plain: Cow::Borrowed(&name.plain), resource: name.resource }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, System};
    use crate::snapshot::Snapshot;

    #[test]
    fn a_model_has_one_name_and_may_have_two_spellings() {
        let config = "[providers.g]\nkind = 'gemini'\napi_key = 'k'\n\
            [providers.v]\nkind = 'vertex'\nproject = 'p'\nregion = 'r'\naccess_token = 't'\n\
            [providers.o]\nkind = 'openai'\napi_key = 'k'\n\
            [models.'g/models/own']\ntargets = [{ provider = 'o', model = 'm' }]\n";
        let snapshot = Snapshot::of(&Config::parse(config, "test.toml", &System).unwrap().config);
        for (name, plain, other) in [
            ("g/gemini-3", "g/gemini-3", "g/models/gemini-3"),
            ("g/models/gemini-3", "g/gemini-3", "g/models/gemini-3"),
            ("v/gemini-3", "v/gemini-3", "v/publishers/google/models/gemini-3"),
            ("v/publishers/google/models/gemini-3", "v/gemini-3", "v/publishers/google/models/gemini-3"),
            ("v/claude-5", "v/claude-5", "v/publishers/anthropic/models/claude-5"),
            ("v/publishers/anthropic/models/claude-5", "v/claude-5", "v/publishers/anthropic/models/claude-5"),
            // Not the Claude that is called so elsewhere.
            ("v/publishers/google/models/claude-5", "v/publishers/google/models/claude-5", ""),
            ("v/publishers/meta/models/llama", "v/publishers/meta/models/llama", ""),
            ("v/endpoints/123", "v/endpoints/123", ""),
            ("g/tunedModels/x", "g/tunedModels/x", ""),
            ("g/models/own", "g/models/own", ""),
            ("o/models/x", "o/models/x", ""),
            ("other/models/x", "other/models/x", ""),
            ("x", "x", ""),
        ] {
            let it = snapshot.name(name);
            assert_eq!(it.as_str(), plain, "{name}");
            assert!(it.is(|spelt| spelt == plain) && !it.is(|spelt| spelt == "v/claude"), "{name}");
            assert!(other.is_empty() || it.is(|spelt| spelt == other), "{name}");
            assert!(snapshot.has_model(name) || !name.starts_with(['g', 'v']), "{name}");
            let collections = ["g/models/", "v/publishers/google/", "v/publishers/anthropic/"];
            let in_one = |spelt: &str| collections.iter().any(|it| spelt.starts_with(it));
            assert!(!other.is_empty() || !it.is(|spelt| spelt != name && in_one(spelt)), "{name}");
        }
        for name in [
            "g/models/models/gemini-3",
            "g/models/tunedModels/x",
            "v/publishers/google/models/publishers/google/models/gemini-3",
            "v/publishers/google/models/publishers/meta/models/llama",
            "v/publishers/anthropic/models/claude-5/publishers/google/models/gemini-3",
        ] {
            assert!(!snapshot.has_model(name), "{name}");
        }
    }
}
