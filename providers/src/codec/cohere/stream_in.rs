//! A provider's stream: <https://docs.cohere.com/v2/docs/streaming>.
//!
//! Content, plan and calls count their indexes apart, so a block here is found by its sort and index. A citation may come after
//! its text has ended: a text's end is held back until the next block begins.

use super::block_in;
use super::citation::{self, Place};
use super::response_in::{logprob, made_by, missing_id, read_usage, reported, stop};
use super::wire::{Part, StreamDelta, StreamEvent, StreamMessage};
use crate::codec::sse::EventRules;
use crate::codec::{Maker, Sink};
use crate::common::{Block, Content, Delta, Event, Extras, Json, ProviderTag, Str};
use crate::error::ApiError;

/// More blocks than any real answer has open at once, and more citations that belong nowhere: against servers that mean harm.
const MOST_OPEN: usize = 128;
const MOST_LEFT: usize = 1024;

/// The sort of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Text,
    Thinking,
    Foreign,
    Plan,
    Call,
}

/// A block that has begun and not ended.
#[derive(Debug)]
struct Open {
    sort: Sort,
    /// Its number on the wire, where there is one.
    key: Option<u64>,
    /// Its number in the common model.
    index: u32,
}

#[derive(Debug)]
pub(super) struct Rules {
    provider: ProviderTag,
    model: String,
    id_seed: String,
    started: bool,
    open: Vec<Open>,
    blocks: u32,
    calls: usize,
    /// Citations of what has ended, or of what has none here.
    left: Vec<Json<'static>>,
}

impl Rules {
    pub(super) fn new(maker: &Maker<'_>) -> Self {
        Self {
            provider: maker.provider,
            model: maker.model.to_owned(),
            id_seed: maker.id_seed.to_owned(),
            started: false,
            open: Vec::new(),
            blocks: 0,
            calls: 0,
            left: Vec::new(),
        }
    }

    fn start(&mut self, id: Option<Str<'_>>, sink: Sink<'_>) {
        if !self.started {
            self.started = true;
            sink(Event::Start { id, model: Some(self.model.as_str().into()), created: None });
        }
    }

    /// Begins a block. Content and plan end when something else begins; calls may run side by side.
    fn begin(&mut self, sort: Sort, key: Option<u64>, block: Block<'_>, sink: Sink<'_>) -> u32 {
        self.end(|open| open.sort != Sort::Call || (sort == Sort::Call && open.key == key), sink);
        if self.open.len() >= MOST_OPEN {
            self.end(|_| true, sink);
        }
        let index = self.blocks;
        self.blocks += 1;
        self.open.push(Open { sort, key, index });
        sink(Event::BlockStart { choice: 0, index, block });
        index
    }

    fn end(&mut self, which: impl Fn(&Open) -> bool, sink: Sink<'_>) {
        self.open.retain(|open| {
            let ends = which(open);
            if ends {
                sink(Event::BlockEnd { choice: 0, index: open.index });
            }
            !ends
        });
    }

    fn find(&self, sort: Sort, key: Option<u64>) -> Option<u32> {
        let is_it = |open: &&Open| open.sort == sort && (key.is_none() || open.key.is_none() || open.key == key);
        self.open.iter().rfind(is_it).map(|open| open.index)
    }

    /// Adds to a block, which begins now if it has not.
    fn add(&mut self, sort: Sort, key: Option<u64>, text: Str<'_>, sink: Sink<'_>) {
        if text.is_empty() {
            return;
        }
        let index = match self.find(sort, key) {
            Some(index) => index,
            None => {
                let block = match sort {
                    Sort::Thinking => Block::new(Content::Reasoning(Box::default())),
                    Sort::Text | Sort::Plan | Sort::Call | Sort::Foreign => Block::text(""),
                };
                self.begin(sort, key, block, sink)
            }
        };
        let delta = match sort {
            Sort::Thinking => Delta::Reasoning(text),
            Sort::Text | Sort::Plan | Sort::Call | Sort::Foreign => Delta::Text(text),
        };
        sink(Event::Delta { choice: 0, index, delta });
    }

    fn content_start(&mut self, part: Part<'_>, key: Option<u64>, sink: Sink<'_>) {
        let block = block_in::part(part, &|text| made_by(self.provider, text));
        let sort = match &block.content {
            Content::Text(_) => Sort::Text,
            Content::Reasoning(_) => Sort::Thinking,
            _ => Sort::Foreign,
        };
        self.begin(sort, key, block, sink);
    }

    fn content_delta(&mut self, part: Part<'_>, key: Option<u64>, sink: Sink<'_>) {
        let Part { kind: _, text, thinking, image: _, document: _, signature, encrypted, rest: _ } = part;
        self.add(Sort::Thinking, key, thinking.unwrap_or_default(), sink);
        self.add(Sort::Text, key, text.unwrap_or_default(), sink);
        let index = self.find(Sort::Thinking, key).or_else(|| self.find(Sort::Text, key));
        let Some(index) = index else { return };
        if let Some(signature) = signature {
            let delta = Delta::Signature(made_by(self.provider, signature));
            sink(Event::Delta { choice: 0, index, delta });
        }
        if let Some(encrypted) = encrypted {
            let delta = Delta::Encrypted(made_by(self.provider, encrypted));
            sink(Event::Delta { choice: 0, index, delta });
        }
    }

    fn call_start(&mut self, message: StreamMessage<'_>, key: Option<u64>, sink: Sink<'_>) {
        let provider = self.provider;
        for call in message.tool_calls.0 {
            let mut block = block_in::call(call, &|text| made_by(provider, text));
            if let Content::ToolCall(call) = &mut block.content
                && call.id.is_empty()
            {
                call.id = missing_id(&self.id_seed, self.calls).into();
            }
            self.calls += 1;
            self.begin(Sort::Call, key, block, sink);
        }
    }

    fn call_delta(&mut self, message: StreamMessage<'_>, key: Option<u64>, sink: Sink<'_>) {
        let Some(index) = self.find(Sort::Call, key) else { return };
        let Some(call) = message.tool_calls.first() else { return };
        if !call.function.arguments.is_empty() {
            sink(Event::Delta { choice: 0, index, delta: Delta::Arguments(call.function.arguments) });
        }
        if let Some(signature) = call.signature {
            let delta = Delta::Signature(made_by(self.provider, signature));
            sink(Event::Delta { choice: 0, index, delta });
        }
    }

    fn citations(&mut self, given: &Json<'_>, sink: Sink<'_>) {
        match given.read::<Vec<Json<'_>>>() {
            Ok(list) => list.iter().for_each(|one| self.citation(one, sink)),
            Err(_) => self.citation(given, sink),
        }
    }

    fn citation(&mut self, raw: &Json<'_>, sink: Sink<'_>) {
        let read = citation::read(raw);
        let index = read.as_ref().and_then(|(place, _)| match place {
            Place::Plan => self.find(Sort::Plan, None),
            Place::Text(key @ Some(_)) => self.find(Sort::Text, *key),
            Place::Text(None) => self.find(Sort::Text, None).or_else(|| self.find(Sort::Plan, None)),
            Place::Elsewhere => None,
        });
        match (index, read) {
            (Some(index), Some((_, citations))) => citations.into_iter().for_each(|citation| {
                sink(Event::Delta { choice: 0, index, delta: Delta::Citation(Box::new(citation)) });
            }),
            (_, _) if self.left.len() < MOST_LEFT => self.left.push(raw.clone().into_owned()),
            (_, _) => {}
        }
    }

    fn message_end(&mut self, delta: StreamDelta<'_>, rest: Extras<'_>, sink: Sink<'_>) {
        let StreamDelta { message: _, finish_reason, usage, error, rest: mut extras } = delta;
        let stop = match stop(finish_reason.as_deref(), &error) {
            Ok(stop) => stop,
            Err(error) => return sink(Event::Error(error)),
        };
        self.end(|_| true, sink);
        if !self.left.is_empty() {
            extras.push(("citations".into(), Json::of(&self.left)));
        }
        sink(Event::Stop { choice: 0, stop, extras });
        if let Some(usage) = read_usage(&usage) {
            sink(Event::Usage(usage));
        }
        if !rest.is_empty() {
            sink(Event::Extras(rest));
        }
        sink(Event::End);
    }
}

impl EventRules for Rules {
    fn on_event(&mut self, _: &[u8], data: &[u8], sink: Sink<'_>) {
        // An event that cannot be read is a glitch; if it was the last one, the stream's end is missing.
        let Ok(event) = serde_json::from_slice::<StreamEvent<'_>>(data) else { return };
        let StreamEvent { kind, id, index, mut delta, logprobs, message, error, rest } = event;
        if !matches!(&*kind, "" | "error") {
            self.start(id, sink);
        }
        match &*kind {
            "content-start" => {
                if let Some(part) = delta.message.content.first() {
                    self.content_start(part, index, sink);
                }
            }
            "content-delta" => {
                if let Some(part) = delta.message.content.first() {
                    self.content_delta(part, index, sink);
                }
                let logprobs: Vec<_> = logprobs.0.iter().filter_map(logprob).collect();
                if !logprobs.is_empty() {
                    sink(Event::Logprobs { choice: 0, logprobs });
                }
            }
            "content-end" => self.end(|open| matches!(open.sort, Sort::Thinking | Sort::Foreign), sink),
            "tool-plan-delta" => {
                let plan = delta.message.tool_plan.take().unwrap_or_default();
                self.add(Sort::Plan, None, plan, sink);
            }
            "tool-call-start" => self.call_start(delta.message, index, sink),
            "tool-call-delta" => self.call_delta(delta.message, index, sink),
            "tool-call-end" => {
                if let Some(index) = self.find(Sort::Call, index) {
                    self.end(|open| open.index == index, sink);
                }
            }
            "citation-start" => {
                if let Some(citations) = delta.message.citations.take() {
                    self.citations(&citations, sink);
                }
            }
            "message-end" => self.message_end(delta, rest, sink),
            "" | "error" => {
                let said = [error, message].into_iter().find(|said| !said.is_null());
                if kind == "error" || said.is_some() {
                    sink(Event::Error(reported(&said.unwrap_or_default())));
                }
            }
            // `message-start`, `citation-end`, `debug`, and what is to come.
            _ => {}
        }
    }

    fn on_end(&mut self, sink: Sink<'_>) {
        sink(Event::Error(ApiError::cut_short()));
    }
}
