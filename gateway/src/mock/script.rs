//! An answer before it has a dialect: what is thought, said and called, piece by piece.

use std::borrow::Cow;

use ai_gateway_providers::common::flat_name;
use serde_json::json;

use super::ask::Ask;
use super::behaviour::{Behaviour, Content, Fault, Prefill, UsageForm};
use super::steps::{self, Step};
use super::{ask, schema};

/// The words of `lorem-N`, in turn. The space stands in front, so that a stream adds up to what is not streamed.
const LOREM: [&str; 16] = [
    " lorem",
    " ipsum",
    " dolor",
    " sit",
    " amet",
    " consectetur",
    " adipiscing",
    " elit",
    " sed",
    " do",
    " eiusmod",
    " tempor",
    " incididunt",
    " ut",
    " labore",
    " et",
];

const MULTI_BYTE: [&str; 6] = ["Grüße", " aus", " 東京", " — naïve", " 🎉🎊", " fin."];

const REASONING: [&str; 4] = ["Let", " me", " think", " first."];

/// At most this many chunks for one echo, however long.
const ECHO_CHUNKS: usize = 1000;

/// A number of words: the mock's tokens.
pub(super) fn words(text: &str) -> u64 {
    text.split_ascii_whitespace().count() as u64
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
}

/// Tokens of an answer. `input` is everything that was sent, `output` everything that was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) input: u64,
    pub(super) cache_read: u64,
    pub(super) cache_write: u64,
    pub(super) output: u64,
    pub(super) reasoning: u64,
}

/// A tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    /// JSON text, or the plain text that a custom tool takes.
    pub(super) arguments: String,
    /// Whether the tool is a custom one.
    pub(super) custom: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    Lorem(u64),
    Endless,
    Fixed(&'static [&'static str]),
    /// One text and the ends of its chunks.
    Cut(String, Vec<usize>),
}

/// One step of an answer: one chunk of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'s> {
    Reasoning(&'s str),
    Text(&'s str),
    /// A call begins: its number and itself.
    Call(usize, &'s Call),
    /// A part of the arguments of the call with that number.
    Arguments(usize, &'s str),
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    reasoning: &'static [&'static str],
    text: Text,
    pub(super) calls: Vec<Call>,
    pub(super) finish: Finish,
    /// `None`: not reported.
    pub(super) usage: Option<Usage>,
}

impl Script {
    /// What `behaviour` says to `ask`. `inspection` is the text of `inspect`.
    pub(super) fn new(behaviour: &Behaviour, ask: &Ask, inspection: impl FnOnce() -> String) -> Self {
        let mut finish = Finish::Stop;
        let mut reasoning: &'static [&'static str] = &[];
        let mut calls = Vec::new();
        let text = match behaviour.content {
            Content::Lorem(n) => Text::Lorem(match ask.max_tokens {
                Some(max) if max.saturating_add(words(&ask.begun)) < n => {
                    finish = Finish::Length;
                    max
                }
                _ => n,
            }),
            Content::Endless => Text::Endless,
            Content::MultiByte => Text::Fixed(&MULTI_BYTE),
            Content::Inspect => cut(inspection()),
            Content::Sized(bytes) => sized(bytes),
            Content::Echo => echo(ask),
            Content::Reasoning => {
                reasoning = &REASONING;
                echo(ask)
            }
            Content::ToolCalls(_) | Content::ReasoningToolCall if ask.after_tool => quoted(ask),
            Content::ToolCalls(n) => {
                calls = (0..n).map(|i| call(ask, i)).collect();
                Text::Fixed(&[])
            }
            Content::ReasoningToolCall => {
                reasoning = &REASONING;
                calls = vec![call(ask, 0)];
                Text::Fixed(&[])
            }
            Content::ToolLoop(n) if ask.history.loops >= n => quoted(ask),
            Content::ToolLoop(_) => {
                calls = vec![call(ask, 0)];
                Text::Fixed(&[])
            }
            Content::Script => match ask.history.steps.get(ask.history.turns) {
                Some(Step::Call { tool, input }) if !ask.tools.is_empty() => {
                    calls = vec![scripted(ask, tool, input)];
                    Text::Fixed(&[])
                }
                // An agent's request for a title, which has no tools, repeats the user's text.
                Some(Step::Call { tool, input }) => cut(format!("CALL {tool} {input}")),
                Some(Step::Say(text)) => cut(text.clone()),
                None => Text::Fixed(&["done"]),
            },
        };
        if !calls.is_empty() {
            finish = Finish::ToolCalls;
            if ask.thinking {
                reasoning = &REASONING;
            }
        }
        let mut script = Script { reasoning, text, calls, finish, usage: None };
        if behaviour.prefill == Prefill::Continued
            && !ask.begun.is_empty()
            && let Some(rest) = script.text().strip_prefix(&ask.begun)
        {
            script.text = cut(rest.to_owned());
        }
        match behaviour.fault {
            Some(Fault::Length(n)) => script.shorten(n, Finish::Length),
            Some(Fault::OutputFilter(n)) => script.shorten(n, Finish::ContentFilter),
            _ => {}
        }
        script.usage = match behaviour.usage {
            UsageForm::Missing => None,
            UsageForm::Cached => Some(Usage { input: 100, cache_read: 60, cache_write: 10, output: 20, reasoning: 8 }),
            UsageForm::Counted => Some(script.count(ask.words)),
        };
        script
    }

    fn shorten(&mut self, chunks: u64, finish: Finish) {
        self.finish = finish;
        let chunks = usize::try_from(chunks).unwrap_or(usize::MAX);
        match &mut self.text {
            Text::Lorem(n) => *n = (*n).min(chunks as u64),
            Text::Endless => self.text = Text::Lorem(chunks as u64),
            Text::Fixed(all) => *all = &all[..chunks.min(all.len())],
            Text::Cut(text, ends) => {
                ends.truncate(chunks);
                text.truncate(ends.last().copied().unwrap_or(0));
            }
        }
    }

    fn count(&self, input: u64) -> Usage {
        let reasoning = self.reasoning.len() as u64;
        let text = match &self.text {
            Text::Lorem(n) => *n,
            Text::Endless => 0,
            Text::Fixed(_) | Text::Cut(..) => words(&self.text()),
        };
        let calls: u64 = self.calls.iter().map(|call| words(&call.arguments).max(1)).sum();
        Usage { input, output: reasoning + text + calls, reasoning, ..Usage::default() }
    }

    /// The whole text.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match &self.text {
            Text::Lorem(n) => (0..*n).map(lorem).collect(),
            Text::Endless => Cow::Borrowed(""),
            Text::Fixed(all) => Cow::Owned(all.concat()),
            Text::Cut(text, _) => Cow::Borrowed(text),
        }
    }

    /// The whole reasoning.
    pub(super) fn reasoning(&self) -> String {
        self.reasoning.concat()
    }

    /// Whether `pieces` never ends.
    pub(super) fn endless(&self) -> bool {
        self.text == Text::Endless
    }

    /// How many pieces there are; of an endless one, none is counted.
    pub(super) fn len(&self) -> u64 {
        let text = match &self.text {
            Text::Lorem(n) => *n,
            Text::Endless => 0,
            Text::Fixed(all) => all.len() as u64,
            Text::Cut(_, ends) => ends.len() as u64,
        };
        let calls: usize = self.calls.iter().map(|call| 1 + arguments(&call.arguments).count()).sum();
        self.reasoning.len() as u64 + text + calls as u64
    }

    /// The pieces in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece<'_>> + Send {
        let reasoning = self.reasoning.iter().map(|word| Piece::Reasoning(word));
        let calls = self.calls.iter().enumerate().flat_map(|(i, call)| {
            let parts = arguments(&call.arguments).map(move |part| Piece::Arguments(i, part));
            std::iter::once(Piece::Call(i, call)).chain(parts)
        });
        reasoning.chain((0..).map_while(|i| self.chunk(i)).map(Piece::Text)).chain(calls)
    }

    fn chunk(&self, i: u64) -> Option<&str> {
        match &self.text {
            Text::Lorem(n) => (i < *n).then(|| lorem(i)),
            Text::Endless => Some(lorem(i)),
            Text::Fixed(all) => all.get(usize::try_from(i).ok()?).copied(),
            Text::Cut(text, ends) => {
                let i = usize::try_from(i).ok()?;
                let start = if i == 0 { 0 } else { *ends.get(i - 1)? };
                text.get(start..*ends.get(i)?)
            }
        }
    }
}

fn lorem(i: u64) -> &'static str {
    if i == 0 { "lorem" } else { LOREM[(i % 16) as usize] }
}

fn echo(ask: &Ask) -> Text {
    if let Some(schema) = &ask.schema {
        return cut(schema::example(schema).to_string());
    }
    if ask.json_object {
        return cut(json!({"answer": ask.last}).to_string());
    }
    if ask.after_tool { quoted(ask) } else { cut(ask.last.clone()) }
}

/// A text that quotes the result of a tool.
fn quoted(ask: &Ask) -> Text {
    cut(format!("The tool answered: {}", ask.last))
}

/// A text in chunks of a word each, or more of them when it is long.
fn cut(text: String) -> Text {
    let least = text.len() / ECHO_CHUNKS;
    let mut ends = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(' ') {
        if at > start && at - start >= least {
            ends.push(at);
            start = at;
        }
    }
    if start < text.len() {
        ends.push(text.len());
    }
    Text::Cut(text, ends)
}

fn sized(bytes: usize) -> Text {
    let text = "lorem ipsum dolor sit amet, ".chars().cycle().take(bytes).collect();
    Text::Cut(text, (1..=bytes.div_ceil(1024)).map(|i| (i * 1024).min(bytes)).collect())
}

impl Script {
    /// Cuts `over` bytes off the end of the text, so that the finished answer has the size asked for.
    pub(super) fn trim(&mut self, over: usize) {
        if let Text::Cut(text, ends) = &mut self.text {
            text.truncate(text.len().saturating_sub(over));
            let len = text.len();
            ends.retain(|end| *end < len);
            ends.push(len);
        }
    }
}

fn call(ask: &Ask, i: usize) -> Call {
    match ask.tools.get(i % ask.tools.len().max(1)) {
        Some(tool) => {
            let arguments = if tool.custom { "Paris".into() } else { schema::example(&tool.schema).to_string() };
            Call::of(tool, arguments)
        }
        None => {
            let arguments = json!({"query": ask.last}).to_string();
            Call { name: "lookup".into(), namespace: None, arguments, custom: false }
        }
    }
}

/// The call that a line of a script asks for; a tool in a group is named with its group before it, or without. Plain text
/// goes to a custom tool as it is, and to a function as `input`.
fn scripted(ask: &Ask, name: &str, input: &str) -> Call {
    let flat = |tool: &&ask::Tool| flat_name(tool.namespace.as_deref(), &tool.name) == name;
    let known = ask.tools.iter().find(flat).or_else(|| ask.tools.iter().find(|tool| tool.name == name));
    let is_object = steps::is_object(input);
    let custom = known.map_or(ask.custom_tools && !is_object && !input.is_empty(), |known| known.custom);
    let arguments = match input {
        input if custom || is_object => input.to_owned(),
        "" => "{}".to_owned(),
        input => json!({"input": input}).to_string(),
    };
    match known {
        Some(tool) => Call::of(tool, arguments),
        None => Call { name: name.to_owned(), namespace: None, arguments, custom },
    }
}

impl Call {
    fn of(tool: &ask::Tool, arguments: String) -> Self {
        Call { name: tool.name.clone(), namespace: tool.namespace.clone(), arguments, custom: tool.custom }
    }
}

/// The arguments in about three parts.
fn arguments(text: &str) -> impl Iterator<Item = &str> {
    let third = text.len().div_ceil(3).max(1);
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut at = third.min(rest.len());
        while !rest.is_char_boundary(at) {
            at += 1;
        }
        let (part, after) = rest.split_at(at);
        rest = after;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(model: &str, ask: &Ask) -> Script {
        Script::new(&Behaviour::of(model, 99, &ask.last), ask, || "{}".into())
    }

    fn said(script: &Script) -> String {
        let texts = script.pieces().map(|piece| if let Piece::Text(text) = piece { text } else { "" });
        texts.collect()
    }

    #[test]
    fn pieces_add_up() {
        let ask = Ask { last: "one two  three\nfour".into(), ..Ask::default() };
        for model in ["echo", "lorem-40", "json-3KiB", "split-utf8", "reasoning", "tool-calls-3", "inspect"] {
            let script = script(model, &ask);
            assert_eq!(said(&script), script.text(), "{model}");
            assert_eq!(script.pieces().count() as u64, script.len(), "{model}");
        }
    }

    #[test]
    fn max_tokens_cut_lorem() {
        let script = script("lorem-40", &Ask { max_tokens: Some(3), ..Ask::default() });
        assert_eq!((script.text().as_ref(), script.finish), ("lorem ipsum dolor", Finish::Length));
    }

    #[test]
    fn long_echoes_have_few_chunks() {
        let script = script("echo", &Ask { last: "word ".repeat(100_000), ..Ask::default() });
        assert!(script.len() <= ECHO_CHUNKS as u64 + 1, "{}", script.len());
        assert_eq!(said(&script), script.text());
    }

    #[test]
    fn calls_come_in_parts() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let tools = vec![ask::Tool { name: "f".into(), namespace: None, schema, custom: false }];
        let script = script("tool-calls-2", &Ask { tools, ..Ask::default() });
        let second: String =
            script.pieces().filter_map(|p| if let Piece::Arguments(1, part) = p { Some(part) } else { None }).collect();
        assert_eq!(second, r#"{"a":"Paris"}"#);
        assert_eq!(script.calls.len(), 2);
    }
}
