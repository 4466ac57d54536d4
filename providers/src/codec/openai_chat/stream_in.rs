//! A provider's stream: <https://platform.openai.com/docs/api-reference/chat/streaming>, and what vendors make of it.
//!
//! The stop of a choice is held until `[DONE]` or the end of the body: OpenRouter goes on after it, repeats it, or reports an
//! error. A body that ends without `[DONE]` is complete if every choice has been told to be.

use bounded_static::IntoBoundedStatic as _;

use super::answer_in::{
    choice_error, error_of, of_message, read_annotations, read_images, read_logprobs, read_usage, refused, seconds,
    stop_of,
};
use super::calls::{ObjectEnd, foreign_call, made_up_id};
use super::parts::{Origin, read_part};
use super::wire::{
    Answer, Audio, Choice as WireChoice, Message, Raw, ToolCall as WireCall, arguments, keep, read, thought_signature,
};
use super::{OF_MESSAGE, OWN, mark, reasoning};
use crate::codec::sse::{EventRules, cut};
use crate::codec::wire::{TextOr, read_answer};
use crate::codec::{Maker, Sink};
use crate::common::{
    Block, Content, Delta, Event, Extras, Json, Media, MediaKind, Opaque, ProviderTag, Reasoning, Stop, Str, ToolCall,
};
use crate::error::decode_error;
use crate::usage::Usage;
use crate::usage::report::Report;

/// Answers that are followed at once; what calls itself by a higher number is taken for the last.
const MOST_CHOICES: u32 = 128;
/// Unknown fields that are kept of a stream.
const MOST_EXTRAS: usize = 32;

/// The chunks of a stream.
pub(super) struct Chunks {
    origin: Origin,
    id_seed: String,
    started: bool,
    choices: Vec<Choice>,
    made_up: usize,
    report: Report,
    usage: Option<Usage>,
    service_tier: Option<String>,
    extras: Extras<'static>,
    /// A chunk could not be read: the answer may lack something.
    torn: bool,
    over: bool,
}

impl Chunks {
    pub(super) fn new(maker: &Maker<'_>) -> Self {
        let provider: ProviderTag = maker.provider;
        Self {
            origin: Origin::Provider(provider),
            id_seed: maker.id_seed.to_owned(),
            started: false,
            choices: Vec::new(),
            made_up: 0,
            report: Report::default(),
            usage: None,
            service_tier: None,
            extras: Vec::new(),
            torn: false,
            over: false,
        }
    }

    fn chunk(&mut self, chunk: Answer<'_>, sink: Sink<'_>) {
        if let Some(error) = error_of(&chunk) {
            self.over = true;
            return sink(Event::Error(error));
        }
        let Answer { id, model, created, choices, usage, service_tier, x_groq, rest, .. } = chunk;
        let choices = choices.unwrap_or_default();
        let id = id.filter(|id| !id.is_empty());
        // Azure's first chunk tells of the prompt's filter and has neither id nor choices.
        if !self.started && (id.is_some() || !choices.is_empty()) {
            self.started = true;
            let model = model.filter(|model| !model.is_empty());
            sink(Event::Start { id, model, created: created.and_then(seconds) });
        }
        for (name, value) in rest {
            remember_last(&mut self.extras, name, value);
        }
        for choice in choices {
            if let Some(error) = choice_error(choice.error, choice.finish_reason.as_deref()) {
                self.over = true;
                return sink(Event::Error(error));
            }
            self.choice(choice, sink);
        }
        if let Some(report) = read_usage(usage, x_groq) {
            self.report.merge(&report);
            let usage = self.report.usage();
            if usage != self.usage
                && let Some(usage) = usage
            {
                sink(Event::Usage(usage));
            }
            self.usage = usage;
        }
        if let Some(tier) = service_tier
            && self.service_tier.as_deref() != Some(&*tier)
        {
            self.service_tier = Some(tier.to_string());
            sink(Event::ServiceTier(tier));
        }
    }

    fn choice(&mut self, wire: WireChoice<'_>, sink: Sink<'_>) {
        let WireChoice { index, message, delta, finish_reason, stop_reason, logprobs, error: _, rest } = wire;
        let number = index.unwrap_or(0).min(MOST_CHOICES - 1);
        while self.choices.len() <= number as usize {
            let number = u32::try_from(self.choices.len()).unwrap_or(u32::MAX);
            self.choices.push(Choice { number, ..Choice::default() });
        }
        let Self { origin, id_seed, choices, made_up, .. } = self;
        let choice = &mut choices[number as usize];
        let ids = &mut Ids { seed: id_seed, made_up };
        for (name, value) in rest {
            remember_last(&mut choice.extras, name, value);
        }
        // Some send the whole message in place of a delta.
        if let Some(delta) = delta.or(message) {
            choice.delta(*delta, *origin, ids, sink);
        }
        match logprobs.map(read_logprobs) {
            Some(Ok(logprobs)) if !logprobs.is_empty() => sink(Event::Logprobs { choice: number, logprobs }),
            Some(Ok(_)) | None => {}
            Some(Err(raw)) => remember_last(&mut choice.extras, "logprobs".into(), raw),
        }
        if finish_reason.as_ref().is_some_and(|word| !word.is_empty()) && choice.stop.is_none() {
            choice.stop = Some(stop_of(finish_reason, stop_reason, !choice.calls.is_empty()).into_static());
        }
    }

    fn finish(&mut self, sink: Sink<'_>) {
        self.over = true;
        if self.torn {
            return sink(Event::Error(cut()));
        }
        for choice in &mut self.choices {
            choice.finish(&mut Ids { seed: &self.id_seed, made_up: &mut self.made_up }, sink);
        }
        if !self.extras.is_empty() {
            mark(&mut self.extras);
            sink(Event::Extras(std::mem::take(&mut self.extras)));
        }
        sink(Event::End);
    }
}

impl EventRules for Chunks {
    fn on_event(&mut self, name: &[u8], data: &[u8], sink: Sink<'_>) {
        let data = data.trim_ascii();
        if self.over {
        } else if data == b"[DONE]" {
            self.finish(sink);
        } else if name == b"error" {
            self.over = true;
            sink(Event::Error(decode_error(OWN, 200, data)));
        } else if let Ok(chunk) = read_answer::<Answer<'_>>(data) {
            self.chunk(chunk, sink);
        } else {
            // Words between the chunks are no loss, a chunk that cannot be read is.
            self.torn |= data.starts_with(b"{");
        }
    }

    fn on_end(&mut self, sink: Sink<'_>) {
        if self.over {
            return;
        }
        if !self.choices.is_empty() && self.choices.iter().all(|choice| choice.stop.is_some()) {
            self.finish(sink);
        } else {
            sink(Event::Error(cut()));
        }
    }
}

/// Keeps the last value of each name.
fn remember_last(extras: &mut Extras<'static>, name: Str<'_>, value: Json<'_>) {
    if value.is_null() {
        return;
    }
    match extras.iter().position(|(known, _)| *known == *name) {
        Some(at) => extras[at].1 = value.into_owned(),
        None if extras.len() < MOST_EXTRAS => extras.push((name.into_owned(), value.into_owned())),
        None => {}
    }
}

struct Ids<'s> {
    seed: &'s str,
    made_up: &'s mut usize,
}

impl Ids<'_> {
    fn next(&mut self) -> Str<'static> {
        let id = made_up_id(self.seed, *self.made_up);
        *self.made_up += 1;
        id
    }
}

/// The sorts of blocks of which at most one is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Refusal,
    /// With the entry's index in `reasoning_details`.
    Reasoning(Option<u64>),
    Audio,
}

#[derive(Default)]
struct Choice {
    number: u32,
    blocks: u32,
    open: Option<(Kind, u32)>,
    audio: Option<u32>,
    calls: Vec<Call>,
    /// A signature that came before anything that it could sign.
    signature: Option<Opaque<'static>>,
    extras: Extras<'static>,
    annotations: Vec<Json<'static>>,
    stop: Option<Stop<'static>>,
    refuses: bool,
}

/// A tool call under way.
#[derive(Default)]
struct Call {
    /// Its number on the wire.
    index: Option<u32>,
    id: String,
    /// Its block; `None` until its name is known.
    block: Option<u32>,
    custom: bool,
    /// Arguments that came before the name.
    early: String,
    end: ObjectEnd,
    closed: bool,
}

impl Choice {
    fn start(&mut self, mut block: Block<'_>, sink: Sink<'_>) -> u32 {
        mark(&mut block.extras);
        let index = self.blocks;
        self.blocks += 1;
        sink(Event::BlockStart { choice: self.number, index, block });
        index
    }

    fn add(&self, index: u32, delta: Delta<'_>, sink: Sink<'_>) {
        sink(Event::Delta { choice: self.number, index, delta });
    }

    fn close(&mut self, sink: Sink<'_>) {
        if let Some((_, index)) = self.open.take() {
            sink(Event::BlockEnd { choice: self.number, index });
        }
    }

    /// The open block of this sort; a new one if another is open.
    fn block(&mut self, kind: Kind, sink: Sink<'_>) -> u32 {
        if let Some((open, index)) = self.open
            && open == kind
        {
            return index;
        }
        self.close(sink);
        self.close_complete_calls(sink);
        let content = match kind {
            Kind::Text => Content::default(),
            Kind::Refusal => Content::Refusal(Str::default()),
            Kind::Reasoning(_) => Content::Reasoning(Box::default()),
            Kind::Audio => Content::Media(Box::new(Media { kind: MediaKind::Audio, ..Media::default() })),
        };
        let index = self.start(Block::new(content), sink);
        self.open = Some((kind, index));
        if kind == Kind::Text
            && let Some(signature) = self.signature.take()
        {
            self.add(index, Delta::Signature(signature), sink);
        }
        index
    }

    fn delta(&mut self, mut delta: Message<'_>, origin: Origin, ids: &mut Ids<'_>, sink: Sink<'_>) {
        self.reasoning(&mut delta, origin, sink);
        match std::mem::take(&mut delta.content) {
            TextOr::Text(text) => self.text(text, sink),
            TextOr::List(parts) => parts.into_iter().for_each(|raw| self.part(raw, origin, sink)),
        }
        if let Some(raw) = delta.annotations {
            let (citations, others) = read_annotations(raw);
            for citation in citations {
                let index = self.block(Kind::Text, sink);
                self.add(index, Delta::Citation(Box::new(citation)), sink);
            }
            self.annotations.extend(others.into_iter().map(Json::into_owned).take(MOST_EXTRAS));
        }
        if let Some(refusal) = delta.refusal.take().filter(|refusal| !refusal.is_empty()) {
            self.refuses = true;
            let index = self.block(Kind::Refusal, sink);
            self.add(index, Delta::Refusal(refusal), sink);
        }
        if let Some(audio) = delta.audio.and_then(read::<Audio<'_>>) {
            self.audio(audio, sink);
        }
        for block in read_images(delta.images) {
            self.close(sink);
            self.whole(block, sink);
        }
        for raw in std::mem::take(&mut delta.tool_calls) {
            self.tool_call(raw, origin, ids, sink);
        }
        if let Some(function) = delta.function_call.take() {
            let wire = WireCall { index: Some(0), function: Some(function), ..WireCall::default() };
            self.known_call(wire, origin, ids, sink);
        }
        if let Some(signature) = thought_signature(delta.extra_content, delta.thought_signature) {
            self.sign(origin.opaque(signature), sink);
        } else if let Some(raw) = delta.extra_content {
            remember_last(&mut self.extras, format!("{OF_MESSAGE}extra_content").into(), keep(raw));
        }
        for (name, value) in of_message(std::mem::take(&mut delta.rest)) {
            remember_last(&mut self.extras, name, value);
        }
    }

    fn text(&mut self, text: Str<'_>, sink: Sink<'_>) {
        if !text.is_empty() {
            let index = self.block(Kind::Text, sink);
            self.add(index, Delta::Text(text), sink);
        }
    }

    /// Mistral's parts.
    fn part(&mut self, raw: Raw<'_>, origin: Origin, sink: Sink<'_>) {
        let block = read_part(raw, origin);
        match block.content {
            Content::Text(text) => self.text(text.text, sink),
            Content::Reasoning(reasoning) => {
                let Reasoning { text, summary: _, signature, encrypted } = *reasoning;
                let index = self.block(Kind::Reasoning(None), sink);
                if !text.is_empty() {
                    self.add(index, Delta::Reasoning(text), sink);
                }
                if let Some(signature) = signature {
                    self.add(index, Delta::Signature(signature), sink);
                }
                if let Some(encrypted) = encrypted {
                    self.add(index, Delta::Encrypted(encrypted), sink);
                }
            }
            content => {
                self.close(sink);
                self.whole(Block { content, ..block }, sink);
            }
        }
    }

    fn whole(&mut self, block: Block<'_>, sink: Sink<'_>) {
        let index = self.start(block, sink);
        sink(Event::BlockEnd { choice: self.number, index });
    }

    /// The plain text repeats that of the details: it counts only where these have none.
    fn reasoning(&mut self, delta: &mut Message<'_>, origin: Origin, sink: Sink<'_>) {
        let mut told = false;
        for (detail, raw) in reasoning::details(delta.reasoning_details) {
            if !matches!(&*detail.kind, "reasoning.text" | "reasoning.summary" | "reasoning.encrypted") {
                self.close(sink);
                let foreign = crate::common::Foreign { dialect: OWN, kind: detail.kind, raw: keep(raw) };
                self.whole(Block::new(Content::Foreign(Box::new(foreign))), sink);
                continue;
            }
            if detail.is_empty() {
                continue;
            }
            let index = self.reasoning_block(&detail, sink);
            if let Some(text) = detail.text.filter(|text| !text.is_empty()) {
                told = true;
                self.add(index, Delta::Reasoning(text), sink);
            }
            if let Some(text) = detail.summary.filter(|text| !text.is_empty()) {
                told = true;
                self.add(index, Delta::Summary { part: 0, text }, sink);
            }
            if let Some(signature) = detail.signature.filter(|text| !text.is_empty()) {
                self.add(index, Delta::Signature(origin.opaque(signature)), sink);
            }
            if let Some(data) = detail.data.filter(|data| !data.is_empty()) {
                self.add(index, Delta::Encrypted(origin.opaque(data)), sink);
            }
        }
        if let Some(plain) = reasoning::plain(delta.reasoning_content, delta.reasoning).filter(|_| !told) {
            let index = match self.open {
                Some((Kind::Reasoning(_), index)) => index,
                _ => self.block(Kind::Reasoning(None), sink),
            };
            self.add(index, Delta::Reasoning(plain), sink);
        }
    }

    /// Entries of one index are one block. Its id, if there is one, stands in the first of them.
    fn reasoning_block(&mut self, detail: &reasoning::Detail<'_>, sink: Sink<'_>) -> u32 {
        match self.open {
            Some((Kind::Reasoning(open), index)) if open == detail.index || open.is_none() => {
                self.open = Some((Kind::Reasoning(detail.index), index));
                index
            }
            _ => {
                self.close(sink);
                self.close_complete_calls(sink);
                let id = detail.id.clone();
                let mut extras = detail.rest.clone();
                extras.extend(detail.format.map(|format| ("=format".into(), keep(format))));
                let block = Block { id, extras, ..Block::new(Content::Reasoning(Box::default())) };
                let index = self.start(block, sink);
                self.open = Some((Kind::Reasoning(detail.index), index));
                index
            }
        }
    }

    fn audio(&mut self, audio: Audio<'_>, sink: Sink<'_>) {
        let index = match self.audio {
            Some(index) => index,
            None => {
                self.close(sink);
                let media = Media { kind: MediaKind::Audio, ..Media::default() };
                let block = Block { id: audio.id, extras: audio.rest, ..Block::new(Content::Media(Box::new(media))) };
                let index = self.start(block, sink);
                self.open = Some((Kind::Audio, index));
                self.audio = Some(index);
                index
            }
        };
        if let Some(data) = audio.data.filter(|data| !data.is_empty()) {
            self.add(index, Delta::MediaData(data), sink);
        }
        if let Some(transcript) = audio.transcript.filter(|transcript| !transcript.is_empty()) {
            self.add(index, Delta::Transcript(transcript), sink);
        }
    }

    fn tool_call(&mut self, raw: Raw<'_>, origin: Origin, ids: &mut Ids<'_>, sink: Sink<'_>) {
        let Some(wire) = read::<WireCall<'_>>(raw) else { return };
        if matches!(wire.kind.as_deref(), None | Some("function" | "custom" | "")) {
            self.known_call(wire, origin, ids, sink);
        } else {
            self.close(sink);
            self.whole(foreign_call(raw), sink);
        }
    }

    fn known_call(&mut self, wire: WireCall<'_>, origin: Origin, ids: &mut Ids<'_>, sink: Sink<'_>) {
        let custom = wire.custom.is_some();
        let (name, arguments) = match (wire.function, wire.custom) {
            (Some(function), _) => (function.name, arguments(function.arguments)),
            (None, Some(custom)) => (custom.name, custom.input.unwrap_or_default()),
            (None, None) => (None, Str::default()),
        };
        let id = wire.id.filter(|id| !id.is_empty());
        let name = name.filter(|name| !name.is_empty());
        let at = match self.find_call(wire.index, id.as_deref(), name.is_some(), &arguments) {
            Some(at) => at,
            None => {
                self.close(sink);
                self.close_complete_calls(sink);
                self.calls.push(Call { index: wire.index, custom, ..Call::default() });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at];
        if let Some(id) = &id
            && call.id.is_empty()
        {
            call.id = id.to_string();
        }
        call.custom |= custom;
        call.end.feed(&arguments);
        match (call.block, name) {
            (None, Some(name)) => {
                let early = std::mem::take(&mut call.early);
                self.start_call(at, name, ids, sink);
                self.call_goes_on(at, early.into(), sink);
                self.call_goes_on(at, arguments, sink);
            }
            (None, None) => call.early.push_str(&arguments),
            (Some(_), _) => self.call_goes_on(at, arguments, sink),
        }
        if let Some(signature) = thought_signature(wire.extra_content, None) {
            let signature = origin.opaque(signature);
            match self.calls[at].block {
                Some(index) if !self.calls[at].closed => self.add(index, Delta::Signature(signature), sink),
                _ => {}
            }
        }
    }

    /// The call that a piece belongs to; `None` if it begins one. Some vendors give all calls the index 0, or none at all.
    fn find_call(&self, index: Option<u32>, id: Option<&str>, named: bool, arguments: &str) -> Option<usize> {
        let at = match (index, id) {
            (Some(index), _) => self.calls.iter().rposition(|call| call.index == Some(index)),
            (None, Some(id)) => self.calls.iter().rposition(|call| call.id == id),
            (None, None) => self.calls.len().checked_sub(1),
        }?;
        let call = &self.calls[at];
        let another = match id {
            Some(id) => named && !call.id.is_empty() && call.id != id,
            None => named && !arguments.is_empty() && call.end.is_complete(),
        };
        (!another).then_some(at)
    }

    fn start_call(&mut self, at: usize, name: Str<'_>, ids: &mut Ids<'_>, sink: Sink<'_>) {
        let call = &mut self.calls[at];
        let id = if call.id.is_empty() { ids.next() } else { call.id.clone().into() };
        call.id = id.to_string();
        let signature = self.signature.take();
        let custom = self.calls[at].custom;
        let call = ToolCall { id, name, custom, signature, ..ToolCall::default() };
        let index = self.start(Block::new(Content::ToolCall(Box::new(call))), sink);
        self.calls[at].block = Some(index);
    }

    fn call_goes_on(&mut self, at: usize, arguments: Str<'_>, sink: Sink<'_>) {
        if let (Some(index), false, false) = (self.calls[at].block, self.calls[at].closed, arguments.is_empty()) {
            self.add(index, Delta::Arguments(arguments), sink);
        }
    }

    /// Ends the calls whose arguments are whole, so that dialects with one open block need not hold back what follows.
    fn close_complete_calls(&mut self, sink: Sink<'_>) {
        for call in &mut self.calls {
            if let Some(index) = call.block
                && !call.closed
                && call.end.is_complete()
            {
                call.closed = true;
                sink(Event::BlockEnd { choice: self.number, index });
            }
        }
    }

    /// A signature beside the message: as in a whole answer it goes to the text, else to the first call.
    fn sign(&mut self, signature: Opaque<'_>, sink: Sink<'_>) {
        let call = self.calls.first().filter(|call| !call.closed).and_then(|call| call.block);
        match (self.open, call) {
            (Some((Kind::Text, index)), _) | (_, Some(index)) => self.add(index, Delta::Signature(signature), sink),
            (_, None) => self.signature = Some(signature.into_static()),
        }
    }

    fn finish(&mut self, ids: &mut Ids<'_>, sink: Sink<'_>) {
        self.close(sink);
        for at in 0..self.calls.len() {
            if self.calls[at].block.is_none() {
                let early = std::mem::take(&mut self.calls[at].early);
                self.start_call(at, Str::default(), ids, sink);
                self.call_goes_on(at, early.into(), sink);
            }
            let call = &mut self.calls[at];
            if let Some(index) = call.block
                && !std::mem::replace(&mut call.closed, true)
            {
                sink(Event::BlockEnd { choice: self.number, index });
            }
        }
        if !self.annotations.is_empty() {
            let annotations = Json::of(&self.annotations);
            self.extras.push((format!("{OF_MESSAGE}annotations").into(), annotations));
        }
        mark(&mut self.extras);
        let stop = self.stop.take().unwrap_or_else(|| stop_of(None, None, !self.calls.is_empty()));
        let stop = refused(stop, self.refuses);
        sink(Event::Stop { choice: self.number, stop, extras: std::mem::take(&mut self.extras) });
    }
}
