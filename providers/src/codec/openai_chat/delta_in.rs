//! One answer of a stream: which blocks its deltas begin and end.

use super::answer_in::{of_message, read_annotations, read_images, refused, stop_of};
use super::call_deltas::{Call, Ids};
use super::parts::{Origin, read_part};
use super::wire::{Audio, Message, Raw, ToolCall as WireCall, keep, read, thought_signature};
use super::{OF_MESSAGE, OWN, mark, mark_choice, reasoning};
use crate::codec::Sink;
use crate::codec::wire::TextOr;
use crate::common::{Block, Content, Delta, Event, Extras, Json, Media, MediaKind, Opaque, Reasoning, Stop, Str};
use bounded_static::IntoBoundedStatic as _;

/// Unknown fields that are kept of a stream.
const MOST_EXTRAS: usize = 32;

/// Keeps the last value of each name.
pub(super) fn remember_last(extras: &mut Extras<'static>, name: Str<'_>, value: Json<'_>) {
    if value.is_null() {
        return;
    }
    match extras.iter().position(|(known, _)| *known == *name) {
        Some(at) => extras[at].1 = value.into_owned(),
        None if extras.len() < MOST_EXTRAS => extras.push((name.into_owned(), value.into_owned())),
        None => {}
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

/// One answer of a stream.
#[derive(Default)]
pub(super) struct Choice {
    pub(super) number: u32,
    pub(super) blocks: u32,
    open: Option<(Kind, u32)>,
    pub(super) calls: Vec<Call>,
    /// A signature that came before anything that it could sign.
    pub(super) signature: Option<Opaque<'static>>,
    pub(super) extras: Extras<'static>,
    annotations: Vec<Json<'static>>,
    pub(super) stop: Option<Stop<'static>>,
    refuses: bool,
}

impl Choice {
    pub(super) fn new(number: u32) -> Self {
        Self { number, ..Self::default() }
    }

    pub(super) fn start(&mut self, mut block: Block<'_>, sink: Sink<'_>) -> u32 {
        mark(&mut block.extras);
        let index = self.blocks;
        self.blocks += 1;
        sink(Event::BlockStart { choice: self.number, index, block });
        index
    }

    pub(super) fn add(&self, index: u32, delta: Delta<'_>, sink: Sink<'_>) {
        sink(Event::Delta { choice: self.number, index, delta });
    }

    pub(super) fn close(&mut self, sink: Sink<'_>) {
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

    pub(super) fn delta(&mut self, mut delta: Message<'_>, origin: Origin, ids: &mut Ids<'_>, sink: Sink<'_>) {
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
            let room = MOST_EXTRAS.saturating_sub(self.annotations.len());
            self.annotations.extend(others.into_iter().map(Json::into_owned).take(room));
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

    pub(super) fn whole(&mut self, block: Block<'_>, sink: Sink<'_>) {
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
        let index = match self.open {
            Some((Kind::Audio, index)) => index,
            // OpenAI tells at the end when the sound expires.
            _ if audio.data.is_none() && audio.transcript.is_none() => return,
            _ => {
                self.close(sink);
                let media = Media { kind: MediaKind::Audio, ..Media::default() };
                let block = Block { id: audio.id, extras: audio.rest, ..Block::new(Content::Media(Box::new(media))) };
                let index = self.start(block, sink);
                self.open = Some((Kind::Audio, index));
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

    /// A signature beside the message: as in a whole answer it goes to the text, else to the first call.
    fn sign(&mut self, signature: Opaque<'_>, sink: Sink<'_>) {
        let call = self.calls.first().filter(|call| !call.closed).and_then(|call| call.block);
        match (self.open, call) {
            (Some((Kind::Text, index)), _) | (_, Some(index)) => self.add(index, Delta::Signature(signature), sink),
            (_, None) => self.signature = Some(signature.into_static()),
        }
    }

    pub(super) fn finish(&mut self, ids: &mut Ids<'_>, sink: Sink<'_>) {
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
        let stop = self.stop.take().unwrap_or_else(|| stop_of(None, None, !self.calls.is_empty()));
        let stop = refused(stop, self.refuses);
        mark_choice(&mut self.extras, &stop);
        sink(Event::Stop { choice: self.number, stop, extras: std::mem::take(&mut self.extras) });
    }
}
