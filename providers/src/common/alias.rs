//! Tools that go to the provider under another name or as another sort of tool, and their calls turned back.
//!
//! Dialects without custom tools get a function with one argument `input`; dialects without namespaces get the namespace as
//! part of the name; and each gets names that it takes.

use std::borrow::Cow;

use serde::Deserialize;

use super::names::spelt;
use super::{Block, Content, Delta, Event, Request, Response, Str, Tool, ToolCall};
use crate::dialect::Dialect;

/// The name of a tool for dialects without namespaces.
#[must_use]
pub fn flat_name<'a>(namespace: Option<&str>, name: &'a str) -> Cow<'a, str> {
    match namespace {
        None | Some("") => Cow::Borrowed(name),
        Some(namespace) if namespace.ends_with('_') || name.starts_with('_') => format!("{namespace}{name}").into(),
        Some(namespace) => format!("{namespace}__{name}").into(),
    }
}

/// One renamed tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// What the provider calls it.
    pub flat: String,
    /// Its name.
    pub name: String,
    /// Its group.
    pub namespace: Option<String>,
    /// Whether its input is plain text.
    pub custom: bool,
}

/// The renamed tools of a request, and the calls of custom ones that are under way in a stream.
#[derive(Debug, Clone, Default)]
pub struct Aliases {
    entries: Vec<Alias>,
    /// Arguments withheld: choice, block, text.
    held: Vec<(u32, u32, String)>,
}

#[derive(Deserialize)]
struct Input {
    input: String,
}

impl Aliases {
    /// Those of `request` where it is written for a provider that speaks another dialect, `to`.
    #[must_use]
    pub fn of(request: &Request<'_>, to: Dialect) -> Self {
        let alias = |name: &Str<'_>, namespace: Option<&Str<'_>>, custom: bool| {
            let group = namespace.map(|namespace| &**namespace);
            let spelt = spelt(to, group, name);
            (custom || namespace.is_some() || spelt.is_some()).then(|| Alias {
                flat: spelt.unwrap_or_else(|| flat_name(group, name).into_owned()),
                name: name.to_string(),
                namespace: namespace.map(ToString::to_string),
                custom,
            })
        };
        let entries = request.tools.iter().filter_map(|tool| match tool {
            Tool::Function(tool) => alias(&tool.name, tool.namespace.as_ref(), false),
            Tool::Custom(tool) => alias(&tool.name, tool.namespace.as_ref(), true),
            Tool::Foreign { .. } => None,
        });
        Self { entries: entries.collect(), held: Vec::new() }
    }

    /// Whether no tool was renamed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Turns the calls of a whole answer back.
    pub fn restore(&self, response: &mut Response<'_>) {
        for block in response.choices.iter_mut().flat_map(|choice| &mut choice.blocks) {
            if let Content::ToolCall(call) = &mut block.content
                && self.rename(call)
            {
                call.arguments = unwrap_input(&call.arguments).into();
            }
        }
    }

    /// Turns calls in a stream back. Arguments of custom tools come whole, at the end of their block.
    pub fn restore_event(&mut self, event: Event<'_>, sink: &mut dyn FnMut(Event<'_>)) {
        match event {
            Event::BlockStart {
                choice,
                index,
                block: Block { content: Content::ToolCall(mut call), cache, id, extras },
            } => {
                if self.rename(&mut call) {
                    self.held.push((choice, index, std::mem::take(&mut call.arguments).into_string()));
                }
                let block = Block { content: Content::ToolCall(call), cache, id, extras };
                sink(Event::BlockStart { choice, index, block });
            }
            Event::Delta { choice, index, delta: Delta::Arguments(more) } => match self.held(choice, index) {
                Some(at) => self.held[at].2.push_str(&more),
                None => sink(Event::Delta { choice, index, delta: Delta::Arguments(more) }),
            },
            Event::BlockEnd { choice, index } => {
                if let Some(at) = self.held(choice, index) {
                    let (_, _, arguments) = self.held.swap_remove(at);
                    sink(Event::Delta { choice, index, delta: Delta::Arguments(unwrap_input(&arguments).into()) });
                }
                sink(Event::BlockEnd { choice, index });
            }
            event => sink(event),
        }
    }

    fn held(&self, choice: u32, index: u32) -> Option<usize> {
        self.held.iter().position(|(c, i, _)| (*c, *i) == (choice, index))
    }

    /// Gives a call its own name back; true if its arguments have to be unwrapped.
    fn rename(&self, call: &mut ToolCall<'_>) -> bool {
        if call.namespace.is_some() {
            return false;
        }
        let Some(alias) = self.entries.iter().find(|alias| alias.flat == *call.name) else { return false };
        call.name = alias.name.clone().into();
        call.namespace = alias.namespace.clone().map(Str::from);
        let unwrap = alias.custom && !call.custom;
        call.custom = alias.custom;
        unwrap
    }
}

/// The text of `{"input": "…"}`; anything else as it is.
fn unwrap_input(arguments: &str) -> String {
    serde_json::from_str::<Input>(arguments).map_or_else(|_| arguments.to_owned(), |wrapped| wrapped.input)
}

#[cfg(test)]
mod tests {
    use bounded_static::IntoBoundedStatic as _;

    use super::*;
    use crate::common::{CustomTool, FunctionTool};

    fn aliases() -> Aliases {
        let mut request = Request::new(Dialect::OpenAiResponses);
        request.tools.push(Tool::Custom(Box::new(CustomTool { name: "apply_patch".into(), ..CustomTool::default() })));
        request.tools.push(Tool::Function(Box::new(FunctionTool {
            name: "search".into(),
            namespace: Some("mcp__docs".into()),
            ..FunctionTool::default()
        })));
        request.tools.push(Tool::Function(Box::new(FunctionTool { name: "shell".into(), ..FunctionTool::default() })));
        Aliases::of(&request, Dialect::OpenAiChat)
    }

    fn call(name: &str, arguments: &str) -> Block<'static> {
        Block::new(Content::ToolCall(Box::new(ToolCall {
            id: "c1".into(),
            name: name.to_owned().into(),
            arguments: arguments.to_owned().into(),
            ..ToolCall::default()
        })))
    }

    #[test]
    fn custom_calls_and_namespaces_come_back() {
        let start = |index, name| Event::BlockStart { choice: 0, index, block: call(name, "") };
        let delta = |index, text: &'static str| Event::Delta { choice: 0, index, delta: Delta::Arguments(text.into()) };
        let end = |index| Event::BlockEnd { choice: 0, index };
        let events = vec![
            start(0, "apply_patch"),
            start(1, "mcp__docs__search"),
            delta(0, r#"{"input": "*** Beg"#),
            delta(1, "{}"),
            delta(0, r#"in\n"}"#),
            end(0),
            end(1),
        ];
        let (mut aliases, mut restored) = (aliases(), Vec::new());
        for event in events {
            aliases.restore_event(event, &mut |event| restored.push(event.into_static()));
        }
        assert_eq!(restored.len(), 6);
        let Event::BlockStart { block: Block { content: Content::ToolCall(patch), .. }, .. } = &restored[0] else {
            panic!()
        };
        assert!(patch.custom && patch.arguments.is_empty());
        let Event::BlockStart { block: Block { content: Content::ToolCall(search), .. }, .. } = &restored[1] else {
            panic!()
        };
        assert_eq!((&*search.name, search.namespace.as_deref()), ("search", Some("mcp__docs")));
        assert_eq!(restored[3], Event::Delta { choice: 0, index: 0, delta: Delta::Arguments("*** Begin\n".into()) });
    }
}
