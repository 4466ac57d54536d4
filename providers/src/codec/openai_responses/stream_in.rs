//! Streams read. <https://platform.openai.com/docs/api-reference/responses-streaming>
//!
//! Vendors leave events out: an item, part or summary is opened by whatever names it first, and what was not streamed is taken
//! from the event that repeats it whole.

use bounded_static::IntoBoundedStatic as _;
use serde_json::value::RawValue;

use super::items_in::{self, Read};
use super::response_in::{self, Body};
use super::wire::{self, Item, Part, Raw};
use super::{OWN, Side, sources};
use crate::codec::sse::EventRules;
use crate::codec::wire::wire;
use crate::codec::{Maker, Platform, Sink};
use crate::common::{Block, Content, Delta, Event, Extras, ProviderTag, Reasoning, Str, Text};
use crate::error::{ApiError, decode_error};

wire! {
    struct Wire<'a> {
        "type" => kind: Str<'a>,
        "output_index" => output: Option<u64>,
        "content_index" => content: Option<u64>,
        "summary_index" => summary: Option<u32>,
        "item_id" => item_id: Option<Str<'a>>,
        "delta" => delta: Raw<'a>,
        "text" => text: Raw<'a>,
        "refusal" => refusal: Raw<'a>,
        "arguments" => arguments: Raw<'a>,
        "input" => input: Raw<'a>,
        "logprobs" => logprobs: Raw<'a>,
        "annotation" => annotation: Option<crate::common::Json<'a>>,
        "part" => part: Raw<'a>,
        "item" => item: Raw<'a>,
        "response" => response: Raw<'a>,
        "error" => error: Raw<'a>,
    }
}

/// The sorts of items, as far as their streams differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Reasoning,
    Call,
    /// It has no block before it is complete.
    Image,
    Foreign,
}

/// An item that has begun.
#[derive(Debug)]
struct Open {
    output: u64,
    kind: Kind,
    id: Option<Str<'static>>,
    /// The message's own fields, until a part takes them.
    extras: Extras<'static>,
    parts: Vec<Streamed>,
    logprobs: bool,
    summaries: bool,
    done: bool,
}

/// A block that has begun.
#[derive(Debug)]
struct Streamed {
    content: u64,
    block: u32,
    /// How much text was given out, in bytes.
    length: usize,
    citations: usize,
}

/// What the events mean.
pub(super) struct Rules {
    provider: ProviderTag,
    id_seed: String,
    started: bool,
    ended: bool,
    calls: bool,
    refuses: bool,
    next: u32,
    items: Vec<Open>,
}

impl EventRules for Rules {
    fn on_event(&mut self, name: &[u8], data: &[u8], sink: Sink<'_>) {
        let Ok(mut event) = serde_json::from_slice::<Wire<'_>>(data) else { return };
        if event.kind.is_empty() {
            event.kind = String::from_utf8_lossy(name).into();
        }
        match &*event.kind {
            "response.created" | "response.queued" | "response.in_progress" => {
                if let Some(response) = parse::<Body<'_>>(event.response) {
                    self.start(Some(&response), sink);
                }
            }
            "response.completed" | "response.incomplete" | "response.cancelled" | "response.done" => {
                match parse::<Body<'_>>(event.response) {
                    Some(response) if response.failed() => self.fail(data, sink),
                    Some(response) => self.finish(response, sink),
                    None => {}
                }
            }
            "error" | "response.failed" => self.fail(data, sink),
            "response.output_item.added" => {
                if let Some(item) = parse::<Item<'_>>(event.item) {
                    self.added(event.output, item, sink);
                }
            }
            "response.output_item.done" => {
                if let Some(item) = parse::<Item<'_>>(event.item) {
                    self.done(event.output, item, sink);
                }
            }
            "response.content_part.added" | "response.content_part.done" => self.part(&event, sink),
            "response.output_text.delta" => {
                let at = self.text(&event, sink);
                if let Some(tokens) = parse::<Vec<wire::Logprob<'_>>>(event.logprobs).filter(|list| !list.is_empty()) {
                    self.items[at].logprobs = true;
                    let logprobs = tokens.into_iter().map(sources::logprob).collect();
                    sink(Event::Logprobs { choice: 0, logprobs });
                }
            }
            "response.refusal.delta" => {
                self.text(&event, sink);
            }
            "response.output_text.done" | "response.refusal.done" => {
                let text = wire::text(event.text.or(event.refusal));
                let (at, part) = self.message_part(&event, sink);
                rest(&mut self.items[at].parts[part], &text, delta_of(&event.kind), sink);
            }
            "response.output_text.annotation.added" => {
                let (at, part) = self.message_part(&event, sink);
                let part = &mut self.items[at].parts[part];
                if let Some(annotation) = event.annotation {
                    part.citations += 1;
                    let delta = Delta::Citation(Box::new(sources::citation(annotation)));
                    sink(Event::Delta { choice: 0, index: part.block, delta });
                }
            }
            "response.reasoning_summary_text.delta" => {
                let at = self.reasoning(&event, sink);
                self.items[at].summaries = true;
                let delta = Delta::Summary { part: event.summary.unwrap_or(0), text: wire::text(event.delta) };
                self.say(at, delta, sink);
            }
            "response.reasoning_text.delta" => {
                let at = self.reasoning(&event, sink);
                let text = wire::text(event.delta);
                if let Some(part) = self.items[at].parts.first_mut() {
                    part.length += text.len();
                }
                self.say(at, Delta::Reasoning(text), sink);
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                let text = wire::text(event.delta);
                if let Some(at) = self.find(&event).filter(|at| self.items[*at].kind == Kind::Call) {
                    if let Some(part) = self.items[at].parts.first_mut() {
                        part.length += text.len();
                    }
                    self.say(at, Delta::Arguments(text), sink);
                }
            }
            "response.function_call_arguments.done" | "response.custom_tool_call_input.done" => {
                let text = wire::text(event.arguments.or(event.input));
                let call = self.find(&event).filter(|at| self.items[*at].kind == Kind::Call);
                if let Some(part) = call.and_then(|at| self.items[at].parts.first_mut()) {
                    rest(part, &text, Delta::Arguments, sink);
                }
            }
            _ if event.error.is_some() && event.response.is_none() => self.fail(data, sink),
            // Progress of what the provider runs itself, and whatever is new.
            _ => sink(Event::Ping),
        }
    }

    fn on_end(&mut self, sink: Sink<'_>) {
        if !self.ended {
            sink(Event::Error(ApiError::cut_short()));
        }
    }
}

fn parse<'a, T: serde::Deserialize<'a>>(raw: Raw<'a>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// Gives out what of `text` was not streamed.
fn rest<'t>(part: &mut Streamed, text: &'t str, delta: fn(Str<'t>) -> Delta<'t>, sink: Sink<'_>) {
    if let Some(missing) = text.get(part.length..).filter(|missing| !missing.is_empty()) {
        part.length = text.len();
        sink(Event::Delta { choice: 0, index: part.block, delta: delta(missing.into()) });
    }
}

fn delta_of<'t>(kind: &str) -> fn(Str<'t>) -> Delta<'t> {
    if kind.starts_with("response.refusal") { Delta::Refusal } else { Delta::Text }
}

impl Rules {
    pub(super) fn new(maker: &Maker<'_>) -> Self {
        Self {
            provider: maker.provider,
            id_seed: maker.id_seed.to_owned(),
            started: false,
            ended: false,
            calls: false,
            refuses: false,
            next: 0,
            items: Vec::new(),
        }
    }

    fn fail(&mut self, data: &[u8], sink: Sink<'_>) {
        self.ended = true;
        sink(Event::Error(decode_error(OWN, 200, data)));
    }

    fn start(&mut self, response: Option<&Body<'_>>, sink: Sink<'_>) {
        if !std::mem::replace(&mut self.started, true) {
            sink(Event::Start {
                id: response.and_then(|response| response.id.as_ref().map(Str::borrowed)),
                model: response.and_then(|response| response.model.as_ref().map(Str::borrowed)),
                created: response.and_then(Body::created),
            });
        }
    }

    /// The item that an event is about. Copilot changes the ids of items from event to event: the index tells.
    fn find(&self, event: &Wire<'_>) -> Option<usize> {
        match event.output {
            Some(output) => self.items.iter().rposition(|item| item.output == output && !item.done),
            None => self.items.iter().rposition(|item| !item.done && item.id == event.item_id),
        }
    }

    fn push(&mut self, output: Option<u64>, kind: Kind, id: Option<Str<'_>>) -> usize {
        self.items.push(Open {
            output: output.unwrap_or(self.items.len() as u64),
            kind,
            id: id.map(Str::into_owned),
            extras: Extras::new(),
            parts: Vec::new(),
            logprobs: false,
            summaries: false,
            done: false,
        });
        self.items.len() - 1
    }

    /// Begins a block of the item `at`.
    fn block(&mut self, at: usize, content: u64, block: Block<'_>, sink: Sink<'_>) -> usize {
        self.start(None, sink);
        self.calls |= matches!(block.content, Content::ToolCall(_));
        self.refuses |= matches!(block.content, Content::Refusal(_));
        let index = self.next;
        self.next += 1;
        sink(Event::BlockStart { choice: 0, index, block });
        let parts = &mut self.items[at].parts;
        parts.push(Streamed { content, block: index, length: 0, citations: 0 });
        parts.len() - 1
    }

    /// Adds to the only block of the item `at`.
    fn say(&self, at: usize, delta: Delta<'_>, sink: Sink<'_>) {
        if let Some(part) = self.items[at].parts.first() {
            sink(Event::Delta { choice: 0, index: part.block, delta });
        }
    }

    fn added(&mut self, output: Option<u64>, mut item: Item<'_>, sink: Sink<'_>) -> Option<usize> {
        let kind = match &*item.kind {
            "message" => Kind::Message,
            "reasoning" => Kind::Reasoning,
            "function_call" | "custom_tool_call" => Kind::Call,
            "image_generation_call" => Kind::Image,
            _ => Kind::Foreign,
        };
        let at = self.push(output, kind, item.id.clone());
        // What these say so far is repeated by their deltas, or at their end.
        item.content = None;
        item.summary = None;
        item.encrypted = None;
        item.arguments = None;
        item.input = None;
        match kind {
            Kind::Image => return Some(at),
            Kind::Message => {
                self.items[at].extras = response_in::item_extras(item.rest).into_static();
                return Some(at);
            }
            Kind::Reasoning | Kind::Call | Kind::Foreign => {}
        }
        let Ok(Read::Block { mut block, .. }) = items_in::item(item, Side::Maker(self.provider)) else { return None };
        self.finish_block(&mut block);
        self.block(at, 0, block, sink);
        Some(at)
    }

    fn finish_block(&self, block: &mut Block<'_>) {
        response_in::finish(block, &self.maker(), self.next as usize);
    }

    fn maker(&self) -> Maker<'_> {
        Maker { provider: self.provider, platform: Platform::Native, model: "", id_seed: &self.id_seed }
    }

    /// The message item that an event is about, and the part, begun if need be.
    fn message_part(&mut self, event: &Wire<'_>, sink: Sink<'_>) -> (usize, usize) {
        let at = match self.find(event).filter(|at| self.items[*at].kind == Kind::Message) {
            Some(at) => at,
            None => self.push(event.output, Kind::Message, event.item_id.clone()),
        };
        let content = event.content.unwrap_or(0);
        if let Some(part) = self.items[at].parts.iter().position(|part| part.content == content) {
            return (at, part);
        }
        let refusal = event.kind.starts_with("response.refusal");
        let block = if refusal { Content::Refusal(Str::default()) } else { Content::Text(Text::default()) };
        (at, self.begin_part(at, content, Block::new(block), sink))
    }

    fn begin_part(&mut self, at: usize, content: u64, mut block: Block<'_>, sink: Sink<'_>) -> usize {
        let item = &mut self.items[at];
        block.id = item.id.clone();
        block.extras.extend(std::mem::take(&mut item.extras));
        self.block(at, content, block, sink)
    }

    fn text(&mut self, event: &Wire<'_>, sink: Sink<'_>) -> usize {
        let (at, part) = self.message_part(event, sink);
        let part = &mut self.items[at].parts[part];
        let text = wire::text(event.delta);
        part.length += text.len();
        sink(Event::Delta { choice: 0, index: part.block, delta: delta_of(&event.kind)(text) });
        at
    }

    fn reasoning(&mut self, event: &Wire<'_>, sink: Sink<'_>) -> usize {
        if let Some(at) = self.find(event).filter(|at| self.items[*at].kind == Kind::Reasoning) {
            return at;
        }
        let at = self.push(event.output, Kind::Reasoning, event.item_id.clone());
        let mut block = Block::new(Content::Reasoning(Box::<Reasoning<'_>>::default()));
        block.id = self.items[at].id.clone();
        self.block(at, 0, block, sink);
        at
    }

    /// A part of a message begins, or is told whole. (DeepSeek tells reasoning so, too: that is in its deltas.)
    fn part(&mut self, event: &Wire<'_>, sink: Sink<'_>) {
        let Some(part) = parse::<Part<'_>>(event.part).filter(|part| part.kind != "reasoning_text") else { return };
        let at = match self.find(event) {
            Some(at) if self.items[at].kind == Kind::Message => at,
            Some(_) => return,
            None => self.push(event.output, Kind::Message, event.item_id.clone()),
        };
        self.whole_part(at, event.content.unwrap_or(0), part, sink);
    }

    /// Gives out what of a part is not out yet.
    fn whole_part(&mut self, at: usize, content: u64, part: Part<'_>, sink: Sink<'_>) {
        let mut block = items_in::part(part, &mut Vec::new());
        let found = self.items[at].parts.iter().position(|part| part.content == content);
        let (text, citations) = match &mut block.content {
            Content::Text(text) => (std::mem::take(&mut text.text), std::mem::take(&mut text.citations)),
            Content::Refusal(text) => (std::mem::take(text), Vec::new()),
            _ => (Str::default(), Vec::new()),
        };
        let refusal = matches!(block.content, Content::Refusal(_));
        let found = found.unwrap_or_else(|| self.begin_part(at, content, block, sink));
        let item = &mut self.items[at];
        let part = &mut item.parts[found];
        rest(part, &text, if refusal { Delta::Refusal } else { Delta::Text }, sink);
        for citation in citations.into_iter().skip(part.citations) {
            part.citations += 1;
            sink(Event::Delta { choice: 0, index: part.block, delta: Delta::Citation(Box::new(citation)) });
        }
    }

    /// Gives out the probabilities that a message repeats, if they were not streamed.
    fn whole_logprobs(&mut self, at: usize, content: &RawValue, sink: Sink<'_>) {
        if self.items[at].logprobs || memchr::memmem::find(content.get().as_bytes(), b"\"logprob\"").is_none() {
            return;
        }
        let parts: Vec<Part<'_>> = parse(Some(content)).unwrap_or_default();
        let logprobs: Vec<_> = parts.into_iter().flat_map(|part| part.logprobs).map(sources::logprob).collect();
        if !logprobs.is_empty() {
            self.items[at].logprobs = true;
            sink(Event::Logprobs { choice: 0, logprobs });
        }
    }

    /// An item is complete.
    fn done(&mut self, output: Option<u64>, item: Item<'_>, sink: Sink<'_>) {
        let id = item.id.as_ref().map(Str::borrowed);
        let open = Wire { output, item_id: id, ..Wire::default() };
        let at = match self.find(&open) {
            Some(at) => Some(at),
            None if self.items.iter().any(|item| item.done && Some(item.output) == output) => None,
            None => self.added(output, item.clone(), sink),
        };
        let Some(at) = at else { return };
        let side = Side::Maker(self.provider);
        if self.items[at].kind == Kind::Message {
            let content = item.content.and_then(|raw| serde_json::from_str::<Vec<Part<'_>>>(raw.get()).ok());
            for (content, part) in (0u64..).zip(content.unwrap_or_default()) {
                self.whole_part(at, content, part, sink);
            }
            if let Some(content) = item.content {
                self.whole_logprobs(at, content, sink);
            }
            self.end(at, sink);
            return;
        }
        if let Ok(Read::Block { mut block, .. }) = items_in::item(item, side) {
            self.finish_block(&mut block);
            if self.items[at].kind == Kind::Image {
                self.block(at, 0, block, sink);
            } else {
                self.whole_block(at, block, sink);
            }
        }
        self.end(at, sink);
    }

    /// Gives out what of an item with one block is not out yet.
    fn whole_block(&mut self, at: usize, block: Block<'_>, sink: Sink<'_>) {
        let Open { parts, summaries, .. } = &mut self.items[at];
        let Some(part) = parts.first_mut() else { return };
        let mut say = |delta| sink(Event::Delta { choice: 0, index: part.block, delta });
        match block.content {
            Content::Reasoning(reasoning) => {
                let Reasoning { text, summary, signature, encrypted } = *reasoning;
                if !*summaries {
                    (0u32..).zip(summary).for_each(|(part, text)| say(Delta::Summary { part, text }));
                }
                signature.into_iter().for_each(|signature| say(Delta::Signature(signature)));
                encrypted.into_iter().for_each(|encrypted| say(Delta::Encrypted(encrypted)));
                rest(part, &text, Delta::Reasoning, sink);
            }
            Content::ToolCall(call) => rest(part, &call.arguments, Delta::Arguments, sink),
            Content::Foreign(foreign) => say(Delta::Foreign(foreign.raw)),
            Content::Text(_) | Content::Refusal(_) | Content::Media(_) | Content::ToolResult(_) => {}
        }
    }

    fn end(&mut self, at: usize, sink: Sink<'_>) {
        let item = &mut self.items[at];
        item.done = true;
        for part in std::mem::take(&mut item.parts) {
            sink(Event::BlockEnd { choice: 0, index: part.block });
        }
    }

    fn finish(&mut self, mut response: Body<'_>, sink: Sink<'_>) {
        self.start(Some(&response), sink);
        let streamed = !self.items.is_empty();
        let usage = response.usage();
        for (output, item) in (0u64..).zip(std::mem::take(&mut response.output)) {
            match self.items.iter().rposition(|item| item.output == output) {
                Some(at) if self.items[at].done => {
                    if let Some(content) = item.content.filter(|_| self.items[at].kind == Kind::Message) {
                        self.whole_logprobs(at, content, sink);
                    }
                }
                Some(_) => self.done(Some(output), item, sink),
                None if !streamed => self.done(Some(output), item, sink),
                None => {}
            }
        }
        for at in 0..self.items.len() {
            self.end(at, sink);
        }
        let stop = response.stop_of(self.calls, self.refuses);
        sink(Event::Stop { choice: 0, stop, extras: Extras::new() });
        if let Some(usage) = usage {
            sink(Event::Usage(usage));
        }
        let extras = response.kept();
        if let Some(tier) = response.service_tier {
            sink(Event::ServiceTier(tier));
        }
        if !extras.is_empty() {
            sink(Event::Extras(extras));
        }
        self.ended = true;
        sink(Event::End);
    }
}
