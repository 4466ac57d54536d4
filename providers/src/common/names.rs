//! Names of tools that a dialect does not take: spelt anew for its providers, the same in declarations, choices, calls and results.
//! [`Aliases`](super::Aliases) turns calls back.

use std::borrow::Cow;

use super::{Block, Content, Request, Str, Tool, ToolChoice, flat_name, group_of};
use crate::codec::ids::respelt;
use crate::dialect::Dialect;

/// `_`, and the hash of a name behind a `_`.
const ADDED: usize = 18;

/// What a dialect takes for a tool's name, besides letters, digits, `_` and `-`.
struct Rule {
    longest: usize,
    dots: bool,
    /// It begins with a letter or a `_`.
    begins: bool,
}

impl Rule {
    fn of(dialect: Dialect) -> Option<Self> {
        let rule = Self { longest: 64, dots: false, begins: false };
        match dialect {
            // "Expected a string with maximum length 64", "^[a-zA-Z0-9_-]+$"; Bedrock:
            // <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html>
            Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Bedrock | Dialect::Cohere => Some(rule),
            // "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"
            Dialect::Anthropic => Some(Self { longest: 128, ..rule }),
            // <https://ai.google.dev/api/caching#FunctionDeclaration>; colons are not known everywhere.
            Dialect::Gemini => Some(Self { dots: true, begins: true, ..rule }),
            Dialect::Own(_) => None,
        }
    }

    /// `None`: the name is taken as it is. One that is empty is the provider's to complain about.
    fn spelt(&self, namespace: Option<&str>, name: &str) -> Option<String> {
        let flat = flat_name(namespace, name);
        let first = flat.chars().next()?;
        let begins = !self.begins || first.is_ascii_alphabetic() || first == '_';
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-') || self.dots && c == '.';
        // What begins wrong is none of the names that are taken, whatever its length.
        let longest = if begins { self.longest } else { 0 };
        match respelt(&flat, longest, self.longest - ADDED, fits) {
            Cow::Borrowed(_) => None,
            Cow::Owned(spelt) if begins => Some(spelt),
            Cow::Owned(spelt) => Some(format!("_{spelt}")),
        }
    }
}

/// What providers that speak `dialect` call a tool whose name they do not take.
pub(super) fn spelt(dialect: Dialect, namespace: Option<&str>, name: &str) -> Option<String> {
    Rule::of(dialect)?.spelt(namespace, name)
}

impl<'a> Request<'a> {
    /// With names of tools that `dialect` takes. A client's own dialect takes its names.
    pub(crate) fn named_for(&self, dialect: Dialect) -> Cow<'_, Self> {
        let Some(rule) = Rule::of(dialect).filter(|_| self.dialect != dialect) else { return Cow::Borrowed(self) };
        let misfits = |namespace: &Option<Str<'_>>, name: &str| rule.spelt(namespace.as_deref(), name).is_some();
        let tools = self.tools.iter().any(|tool| match tool {
            Tool::Function(tool) => misfits(&tool.namespace, &tool.name),
            Tool::Custom(tool) => misfits(&tool.namespace, &tool.name),
            Tool::Foreign { .. } => false,
        });
        let mut blocks = self.messages.iter().flat_map(|message| &message.blocks);
        let said = |block: &Block<'_>| match &block.content {
            Content::ToolCall(call) => misfits(&call.namespace, &call.name),
            Content::ToolResult(result) => result.name.as_ref().is_some_and(|name| misfits(&None, name)),
            _ => false,
        };
        if !tools && !blocks.any(said) {
            return Cow::Borrowed(self);
        }
        let mut renamed = self.clone();
        renamed.rename(&rule);
        Cow::Owned(renamed)
    }

    fn rename(&mut self, rule: &Rule) {
        let apply = |name: &mut Str<'a>, namespace: &mut Option<Str<'a>>| {
            if let Some(spelt) = rule.spelt(namespace.as_deref(), name) {
                (*name, *namespace) = (spelt.into(), None);
            }
        };
        let tools = &self.tools;
        let chosen = |name: &mut Str<'a>| apply(name, &mut group_of(tools, name).cloned());
        match &mut self.tool_choice {
            Some(ToolChoice::Named(name)) => chosen(name),
            Some(ToolChoice::Allowed { names, required: _ }) => names.iter_mut().for_each(chosen),
            Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required | ToolChoice::Foreign { .. }) | None => {}
        }
        for tool in &mut self.tools {
            match tool {
                Tool::Function(tool) => apply(&mut tool.name, &mut tool.namespace),
                Tool::Custom(tool) => apply(&mut tool.name, &mut tool.namespace),
                Tool::Foreign { .. } => {}
            }
        }
        for block in self.messages.iter_mut().flat_map(|message| &mut message.blocks) {
            match &mut block.content {
                Content::ToolCall(call) => apply(&mut call.name, &mut call.namespace),
                Content::ToolResult(result) => result.name.iter_mut().for_each(|name| apply(name, &mut None)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Call, codec};
    use crate::common::MediaSource;

    #[test]
    fn media_are_not_copied_for_the_sake_of_a_name() {
        let tools = r#"[{"type":"function","function":{"name":"files.read"}}]"#;
        let image = r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}"#;
        let body = format!(r#"{{"model":"m","tools":{tools},"messages":[{{"role":"user","content":[{image}]}}]}}"#);
        let request = codec(Dialect::OpenAiChat).decode_request(body.as_bytes(), &Call::default()).unwrap();
        let renamed = request.named_for(Dialect::Anthropic);
        assert!(matches!(renamed, Cow::Owned(_)));
        let Content::Media(media) = &renamed.messages[0].blocks[0].content else { panic!() };
        let MediaSource::Data(data) = &media.source else { panic!() };
        assert!(body.as_bytes().as_ptr_range().contains(&data.as_ptr()));
    }

    #[test]
    fn names_are_spelt_as_each_dialect_takes_them() {
        let long = format!("mcp__plugin_{}", "x".repeat(62));
        for (dialect, name, wanted) in [
            (Dialect::OpenAiChat, &*"x".repeat(64), None),
            (Dialect::OpenAiChat, &long, Some(64)),
            (Dialect::OpenAiResponses, &long, Some(64)),
            (Dialect::Bedrock, &long, Some(64)),
            (Dialect::Cohere, &long, Some(64)),
            (Dialect::Gemini, &long, Some(64)),
            (Dialect::Anthropic, &long, None),
            (Dialect::Anthropic, &"x".repeat(129), Some(128)),
            (Dialect::Anthropic, "files.read:v1", Some(30)),
            (Dialect::OpenAiChat, "files.read:v1", Some(30)),
            (Dialect::Gemini, "files.read", None),
            (Dialect::Gemini, "1abc", Some(22)),
            (Dialect::Gemini, "_1abc", None),
            (Dialect::OpenAiChat, "1abc", None),
            (Dialect::OpenAiChat, "", None),
            (Dialect::Gemini, "", None),
        ] {
            let spelt = spelt(dialect, None, name);
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            assert!(spelt.iter().all(|name| name.chars().all(fits)), "{dialect} {spelt:?}");
            match wanted {
                None => assert_eq!(spelt, None, "{dialect} {name}"),
                Some(most) => assert!(spelt.as_ref().is_some_and(|name| name.len() <= most), "{dialect} {spelt:?}"),
            }
        }
        assert!(spelt(Dialect::Gemini, None, "1abc").unwrap().starts_with("_1abc_"));
        assert_ne!(spelt(Dialect::OpenAiChat, None, "a.b"), spelt(Dialect::OpenAiChat, None, "a:b"));
    }
}
