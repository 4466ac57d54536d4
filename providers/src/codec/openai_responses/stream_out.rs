//! Streams written. <https://platform.openai.com/docs/api-reference/responses-streaming>
//!
//! An error is told twice, as OpenAI does: first as `error`, whose nested `error` makes the SDKs raise it (Vercel's `ai` reads the
//! fields beside it), then as `response.failed`, the only one of the two that Codex reads.

use std::ops::Range;

use bounded_static::IntoBoundedStatic as _;

use super::items_out::{Body, Item, Part, Parts};
use super::reasoning;
use super::response_out::{
    self, Held, Meta, Object, Shown, has_citations, is_part, item, may_stay_hidden, one_message, part, shown, status,
};
use super::sources::{Annotation, Logprobs, can_say, waits};
use super::stream_wire::{Wire, write, write_error};
use crate::codec::{Client, OutputItem, StreamEncoder};
use crate::common::{Block, Citation, Content, Delta, Event, Extras, Losses, Stop, Str, TokenLogprob, add, split};
use crate::error::ApiError;
use crate::usage::Usage;

/// An item that has begun: blocks `from..to` of those shown.
#[derive(Debug)]
struct Open {
    id: String,
    from: usize,
    to: usize,
    /// How many of its blocks have not ended.
    running: usize,
    /// No part can join it any more.
    sealed: bool,
    done: bool,
    /// Of a message: the part whose end is still to be told.
    part: Option<usize>,
    /// Of reasoning: the summary whose end is still to be told.
    summary: Option<u32>,
    /// Of reasoning: its text has begun.
    text: bool,
}

/// Writes a stream.
pub(super) struct Encoder {
    client: Client,
    meta: Meta,
    started: bool,
    sequence: u64,
    shown: Vec<Shown<'static>>,
    /// For each block of the stream: its place among those shown, and its item.
    places: Vec<Option<(usize, usize)>>,
    /// Texts without words so far, with their numbers.
    silent: Vec<(u32, Block<'static>)>,
    items: Vec<Open>,
    stop: Stop<'static>,
    usage: Option<Usage>,
    service_tier: Option<Str<'static>>,
    extras: Extras<'static>,
}

impl StreamEncoder for Encoder {
    fn encode(&mut self, event: Event<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, created } => self.start(id.as_deref(), model.as_deref(), created, out),
            Event::BlockStart { choice: 0, index: _, block } => self.begin(&block, losses, out),
            Event::Delta { choice: 0, index, delta } => self.add(index, delta, losses, out),
            Event::BlockEnd { choice: 0, index } => {
                self.hide(index, losses);
                self.end_block(index, out);
            }
            Event::Logprobs { choice: 0, logprobs } => self.logprobs(logprobs, losses, out),
            Event::Stop { choice: 0, stop, extras } => {
                losses.note_if(stop.sequence.is_some(), "answer.stop_sequence");
                self.stop = stop.into_static();
                self.keep(extras, losses);
                self.end_items(out);
            }
            Event::BlockStart { .. } => losses.note("answer.choices"),
            Event::Delta { .. } | Event::BlockEnd { .. } | Event::Logprobs { .. } | Event::Stop { .. } => {}
            Event::Usage(usage) => self.usage = Some(usage),
            Event::ServiceTier(tier) => self.service_tier = Some(tier.into_owned()),
            Event::Extras(extras) => self.keep(extras, losses),
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            Event::Error(error) => self.fail(&error, out),
            Event::End => self.finish(out),
        }
    }

    fn items(&self) -> Vec<OutputItem> {
        let (status, _) = status(&self.stop, response_out::refuses(&self.shown));
        let item = |mut item: Item<'_>| {
            let id = item.id.take()?.into_owned();
            Some(OutputItem { id, json: serde_json::to_string(&item).ok()? })
        };
        response_out::items(&self.shown, &self.meta, status).into_iter().filter_map(item).collect()
    }
}

impl Encoder {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            client: Client {
                model: client.model.clone(),
                request_id: client.request_id.clone(),
                now: client.now,
                ..Client::default()
            },
            meta: Meta::of(client),
            started: false,
            sequence: 0,
            shown: Vec::new(),
            places: Vec::new(),
            silent: Vec::new(),
            items: Vec::new(),
            stop: Stop::default(),
            usage: None,
            service_tier: None,
            extras: Extras::new(),
        }
    }

    fn start(&mut self, id: Option<&str>, model: Option<&str>, created: Option<u64>, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.started, true) {
            self.meta = std::mem::take(&mut self.meta).started(id, model, created, &self.client);
            self.response("response.created", "in_progress", out);
            self.response("response.in_progress", "in_progress", out);
        }
    }

    /// An event with an answer that says nothing yet.
    fn response(&mut self, kind: &'static str, status: &str, out: &mut Vec<u8>) {
        let response = Some(Object { output: Vec::new(), usage: None, ..object(&self.meta, status) });
        write(&mut self.sequence, out, kind, Wire { response, ..Wire::default() });
    }

    /// Extras are fields of this dialect only if the answer's items have ids, which no other dialect gives.
    fn keep(&mut self, extras: Extras<'_>, losses: &mut Losses) {
        if self.shown.iter().any(|one| one.block.id.is_some()) {
            self.extras.extend(extras.into_static());
        } else {
            losses.note_extras("answer.", &extras);
        }
    }

    fn begin(&mut self, block: &Block<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        self.start(None, None, None, out);
        let Some(one) = shown(block, losses) else {
            self.places.push(None);
            return;
        };
        let (start, deltas) = split(&one.block);
        let index = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        if may_stay_hidden(&start) {
            self.places.push(None);
            self.silent.push((index, start.into_static()));
        } else {
            let place = self.push(start, out);
            self.places.push(Some(place));
        }
        for delta in deltas {
            match &delta {
                Delta::Text(text) | Delta::Refusal(text) | Delta::Arguments(text) if text.is_empty() => {}
                _ => self.add(index, delta, losses, out),
            }
        }
    }

    /// Lets a text begin that has words now.
    fn speak_up(&mut self, index: u32, delta: &Delta<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        let Some(at) = self.silent.iter().position(|(number, _)| *number == index) else { return };
        match delta {
            Delta::Text(text) | Delta::Refusal(text) | Delta::Transcript(text) if !text.is_empty() => {}
            // The words that it supports may still come.
            Delta::Citation(_) => return add(&mut self.silent[at].1, delta),
            Delta::Signature(_) => return losses.note("answer.signature"),
            _ => return,
        }
        let (_, mut block) = self.silent.remove(at);
        let citations = match &mut block.content {
            Content::Text(text) => std::mem::take(&mut text.citations),
            _ => Vec::new(),
        };
        let place = self.push(block, out);
        if let Some(slot) = self.places.get_mut(index as usize) {
            *slot = Some(place);
        }
        for citation in citations {
            self.add(index, Delta::Citation(Box::new(citation)), losses, out);
        }
    }

    /// A text that has had no words is not shown.
    fn hide(&mut self, index: u32, losses: &mut Losses) {
        if let Some(at) = self.silent.iter().position(|(number, _)| *number == index) {
            let (_, block) = self.silent.remove(at);
            losses.note_if(has_citations(&block), "answer.citations");
        }
    }

    /// Puts a block, which says nothing yet, into the last message or into an item of its own. Returns its place and its item's.
    fn push(&mut self, block: Block<'_>, out: &mut Vec<u8>) -> (usize, usize) {
        let place = self.shown.len();
        let joins = self
            .items
            .last()
            .is_some_and(|item| !item.sealed && self.shown.last().is_some_and(|last| one_message(&last.block, &block)));
        let is_part = is_part(&block);
        let is_foreign = matches!(block.content, Content::Foreign(_));
        self.shown.push(Shown { block: Held::Own(Box::new(block.into_static())), logprobs: Vec::new() });
        if joins {
            let at = self.items.len() - 1;
            self.end_part(at, out);
            self.items[at].to += 1;
            self.items[at].running += 1;
        } else {
            if let Some(last) = self.items.len().checked_sub(1) {
                self.items[last].sealed = true;
                self.end_if_ready(last, out);
            }
            self.begin_item(place, is_part, out);
        }
        let at = self.items.len() - 1;
        if is_part && !is_foreign {
            self.items[at].part = Some(place);
            self.part_event("response.content_part.added", at, place, out);
        }
        (place, at)
    }

    fn begin_item(&mut self, place: usize, is_part: bool, out: &mut Vec<u8>) {
        let at = self.items.len();
        let blocks = &self.shown[place..=place];
        let mut item = item(blocks, &self.meta, at, "in_progress");
        if let Body::Message { content, .. } = &mut item.body {
            *content = Parts::List(Vec::new());
        }
        if let Body::Call { arguments, .. } = &mut item.body {
            *arguments = "";
        }
        let id = item.id.clone().unwrap_or_default().into_owned();
        let wire = Wire { output_index: Some(at), item: Some(item), ..Wire::default() };
        write(&mut self.sequence, out, "response.output_item.added", wire);
        self.items.push(Open {
            id,
            from: place,
            to: place + 1,
            running: 1,
            sealed: !is_part,
            done: false,
            part: None,
            summary: None,
            text: false,
        });
    }

    fn part_event(&mut self, kind: &'static str, at: usize, place: usize, out: &mut Vec<u8>) {
        let Self { items, shown, sequence, .. } = self;
        let (item_id, output_index, content_index) = position(items, at, place);
        let part = Some(part(&shown[place]));
        write(sequence, out, kind, Wire { item_id, output_index, content_index, part, ..Wire::default() });
    }

    fn add(&mut self, index: u32, delta: Delta<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        self.speak_up(index, &delta, losses, out);
        let Some(Some((place, at))) = self.places.get(index as usize).copied() else { return };
        if self.items[at].done {
            return;
        }
        // Sound is shown as what is spoken.
        let delta = match delta {
            Delta::Transcript(text) => Delta::Text(text),
            delta => delta,
        };
        match &delta {
            Delta::Text(text) | Delta::Refusal(text) => {
                let is_text = matches!(delta, Delta::Text(_));
                let (item_id, output_index, content_index) = position(&self.items, at, place);
                let (kind, logprobs) = if is_text {
                    ("response.output_text.delta", Some(Logprobs(&[])))
                } else {
                    ("response.refusal.delta", None)
                };
                let delta = Some(&**text);
                let wire = Wire { item_id, output_index, content_index, delta, logprobs, ..Wire::default() };
                write(&mut self.sequence, out, kind, wire);
            }
            Delta::Reasoning(text) if reasoning::text_as_summary(&self.shown[place].block) => {
                let Content::Reasoning(reasoning) = &self.shown[place].block.content else { return };
                let number = u32::try_from(reasoning.summary.len()).unwrap_or(u32::MAX);
                self.summary(at, place, number, text, out);
            }
            Delta::Reasoning(text) => self.reasoning_text(at, text, out),
            Delta::Summary { part, text } => self.summary(at, place, *part, text, out),
            Delta::Arguments(text) => {
                let Content::ToolCall(call) = &self.shown[place].block.content else { return };
                let kind = if call.custom {
                    "response.custom_tool_call_input.delta"
                } else {
                    "response.function_call_arguments.delta"
                };
                self.item_event(kind, at, Wire { delta: Some(text), ..Wire::default() }, out);
            }
            // The words that it supports may still come.
            Delta::Citation(citation) if waits(citation) && self.items[at].part == Some(place) => {}
            Delta::Citation(citation) if can_say(citation) => {
                let Content::Text(text) = &self.shown[place].block.content else { return };
                let number = text.citations.iter().filter(|citation| can_say(citation)).count();
                self.citation((at, place), number, citation, out);
            }
            Delta::Citation(_) => losses.note("answer.citations"),
            Delta::Signature(_) => {
                losses.note_if(matches!(self.shown[place].block.content, Content::Text(_)), "answer.signature");
            }
            Delta::Encrypted(_) | Delta::MediaData(_) | Delta::Transcript(_) | Delta::Foreign(_) => {}
        }
        if let Held::Own(block) = &mut self.shown[place].block {
            add(block, &delta);
        }
    }

    /// An event about the item `at`.
    fn item_event(&mut self, kind: &'static str, at: usize, wire: Wire<'_>, out: &mut Vec<u8>) {
        let item_id = Some(&*self.items[at].id);
        write(&mut self.sequence, out, kind, Wire { item_id, output_index: Some(at), ..wire });
    }

    /// Tells the citation that has this number in its text.
    fn citation(&mut self, (at, place): (usize, usize), number: usize, citation: &Citation<'_>, out: &mut Vec<u8>) {
        let Content::Text(text) = &self.shown[place].block.content else { return };
        let (item_id, output_index, content_index) = position(&self.items, at, place);
        let annotation_index = Some(number);
        let annotation = Some(Annotation { citation, length: text.text.chars().count() as u64 });
        let wire = Wire { item_id, output_index, content_index, annotation_index, annotation, ..Wire::default() };
        write(&mut self.sequence, out, "response.output_text.annotation.added", wire);
    }

    fn summary(&mut self, at: usize, place: usize, number: u32, text: &str, out: &mut Vec<u8>) {
        if self.items[at].summary != Some(number) {
            self.end_summary(at, place, out);
            self.items[at].summary = Some(number);
            let (summary_index, part) = (Some(number as usize), Some(Part::SummaryText("")));
            let wire = Wire { summary_index, part, ..Wire::default() };
            self.item_event("response.reasoning_summary_part.added", at, wire, out);
        }
        let wire = Wire { summary_index: Some(number as usize), delta: Some(text), ..Wire::default() };
        self.item_event("response.reasoning_summary_text.delta", at, wire, out);
    }

    fn end_summary(&mut self, at: usize, place: usize, out: &mut Vec<u8>) {
        let Some(number) = self.items[at].summary.take() else { return };
        let Self { items, shown, sequence, .. } = self;
        let Content::Reasoning(reasoning) = &shown[place].block.content else { return };
        let text = reasoning.summary.get(number as usize).unwrap_or(&reasoning.text);
        let wire = || Wire {
            item_id: Some(&*items[at].id),
            output_index: Some(at),
            summary_index: Some(number as usize),
            ..Wire::default()
        };
        let done = Wire { text: Some(text), ..wire() };
        write(sequence, out, "response.reasoning_summary_text.done", done);
        let done = Wire { part: Some(Part::SummaryText(text)), ..wire() };
        write(sequence, out, "response.reasoning_summary_part.done", done);
    }

    fn reasoning_text(&mut self, at: usize, text: &str, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.items[at].text, true) {
            let wire = Wire { content_index: Some(0), part: Some(Part::ReasoningText("")), ..Wire::default() };
            self.item_event("response.content_part.added", at, wire, out);
        }
        let wire = Wire { content_index: Some(0), delta: Some(text), ..Wire::default() };
        self.item_event("response.reasoning_text.delta", at, wire, out);
    }

    fn logprobs(&mut self, logprobs: Vec<TokenLogprob<'_>>, losses: &mut Losses, out: &mut Vec<u8>) {
        let open = self.items.iter().enumerate().rev().find_map(|(at, item)| {
            let place = item.part.filter(|place| matches!(self.shown[*place].block.content, Content::Text(_)))?;
            Some((at, place))
        });
        let Some((at, place)) = open else {
            // Too late for an event of their own: the answer at the end has them.
            match self.shown.iter_mut().rev().find(|one| matches!(one.block.content, Content::Text(_))) {
                Some(text) => text.logprobs.extend(logprobs.into_static()),
                None => losses.note("answer.logprobs"),
            }
            return;
        };
        let (item_id, output_index, content_index) = position(&self.items, at, place);
        let (delta, tokens) = (Some(""), Some(Logprobs(&logprobs)));
        let wire = Wire { item_id, output_index, content_index, delta, logprobs: tokens, ..Wire::default() };
        write(&mut self.sequence, out, "response.output_text.delta", wire);
        self.shown[place].logprobs.extend(logprobs.into_static());
    }

    fn end_block(&mut self, index: u32, out: &mut Vec<u8>) {
        let Some(Some((_, at))) = self.places.get(index as usize).copied() else { return };
        let item = &mut self.items[at];
        item.running = item.running.saturating_sub(1);
        self.end_if_ready(at, out);
    }

    fn end_if_ready(&mut self, at: usize, out: &mut Vec<u8>) {
        if self.items[at].sealed && self.items[at].running == 0 {
            self.end_item(at, "completed", out);
        }
    }

    /// Tells the end of a message's last part.
    fn end_part(&mut self, at: usize, out: &mut Vec<u8>) {
        let Some(place) = self.items[at].part.take() else { return };
        if let Content::Text(text) = &self.shown[place].block.content {
            let told = text.citations.iter().filter(|citation| can_say(citation)).enumerate();
            let late: Vec<_> = told.filter(|(_, one)| waits(one)).map(|(number, one)| (number, one.clone())).collect();
            late.iter().for_each(|(number, one)| self.citation((at, place), *number, one, out));
        }
        let (item_id, output_index, content_index) = position(&self.items, at, place);
        let wire = Wire { item_id, output_index, content_index, ..Wire::default() };
        let one = &self.shown[place];
        match &one.block.content {
            Content::Text(text) => {
                let wire = Wire { text: Some(&text.text), logprobs: Some(Logprobs(&one.logprobs)), ..wire };
                write(&mut self.sequence, out, "response.output_text.done", wire);
            }
            Content::Refusal(text) => {
                write(&mut self.sequence, out, "response.refusal.done", Wire { refusal: Some(text), ..wire });
            }
            _ => {}
        }
        self.part_event("response.content_part.done", at, place, out);
    }

    fn end_item(&mut self, at: usize, status: &str, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.items[at].done, true) {
            return;
        }
        self.end_part(at, out);
        let place = self.items[at].from;
        self.end_summary(at, place, out);
        let Self { items, shown, sequence, meta, .. } = self;
        let Open { id, from, to, text: has_text, .. } = &items[at];
        let wire = || Wire { item_id: Some(id), output_index: Some(at), ..Wire::default() };
        match &shown[place].block.content {
            Content::Reasoning(reasoning) if *has_text => {
                let done = Wire { content_index: Some(0), text: Some(&reasoning.text), ..wire() };
                write(sequence, out, "response.reasoning_text.done", done);
                let part = Some(Part::ReasoningText(&reasoning.text));
                write(sequence, out, "response.content_part.done", Wire { content_index: Some(0), part, ..wire() });
            }
            Content::ToolCall(call) if call.custom => {
                let done = Wire { input: Some(&call.arguments), ..wire() };
                write(sequence, out, "response.custom_tool_call_input.done", done);
            }
            Content::ToolCall(call) => {
                let none = call.arguments.is_empty();
                if none {
                    let delta = Wire { delta: Some("{}"), ..wire() };
                    write(sequence, out, "response.function_call_arguments.delta", delta);
                }
                let arguments = Some(if none { "{}" } else { &call.arguments });
                let done = Wire { name: Some(&call.name), arguments, ..wire() };
                write(sequence, out, "response.function_call_arguments.done", done);
            }
            _ => {}
        }
        let item = Some(item(&shown[Range { start: *from, end: *to }], meta, at, status));
        let done = Wire { output_index: Some(at), item, ..Wire::default() };
        write(sequence, out, "response.output_item.done", done);
    }

    fn end_items(&mut self, out: &mut Vec<u8>) {
        let stop = self.stop.clone();
        let last = self.items.len().saturating_sub(1);
        for at in 0..self.items.len() {
            let (status, _) = status(&stop, response_out::refuses(&self.shown));
            self.end_item(at, if at == last && status == "incomplete" { status } else { "completed" }, out);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.start(None, None, None, out);
        self.end_items(out);
        let (status, reason) = status(&self.stop, response_out::refuses(&self.shown));
        let kind = if status == "incomplete" { "response.incomplete" } else { "response.completed" };
        let response = Some(Object {
            reason,
            output: response_out::items(&self.shown, &self.meta, status),
            usage: self.usage.as_ref(),
            service_tier: self.service_tier.as_deref(),
            extras: &self.extras,
            ..object(&self.meta, status)
        });
        write(&mut self.sequence, out, kind, Wire { response, ..Wire::default() });
    }

    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        self.start(None, None, None, out);
        let (code, message) = write_error(&mut self.sequence, out, error);
        let (error, usage) = (Some((&*code, &*message)), self.usage.as_ref());
        let response = Some(Object { error, usage, ..object(&self.meta, "failed") });
        write(&mut self.sequence, out, "response.failed", Wire { response, ..Wire::default() });
    }
}

fn object<'b>(meta: &'b Meta, status: &'b str) -> Object<'b> {
    let output = Vec::new();
    Object { meta, status, reason: None, error: None, output, usage: None, service_tier: None, extras: &[] }
}

/// Where the part at `place` is: its item's id and number, its own number.
fn position(items: &[Open], at: usize, place: usize) -> (Option<&str>, Option<usize>, Option<usize>) {
    let item = &items[at];
    (Some(&item.id), Some(at), Some(place.saturating_sub(item.from)))
}
