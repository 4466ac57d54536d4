//! Server-sent events: cut, read by the rules of the dialect, passed on.

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::chat::Chat;
use super::followed::whole_events;
use super::{Notes, anthropic, raw, typed};
use crate::dialect::{Dialect, Operation};
use crate::sse::{Fields, Piece, Splitter};

/// What the rules say of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes to the client.
    Pass,
    /// It is there only because the gateway asked for usage.
    UsageOnly,
    /// It is no JSON: clients stumble over it, and the rest may be well.
    Malformed,
}

/// How the events of a stream are read.
#[derive(Debug)]
pub(super) enum Rules {
    Chat(Chat),
    Typed,
    /// OpenAI's images and audio: typed events from OpenAI, chat chunks from vLLM and others.
    TypedOrChat(Chat),
    Anthropic,
}

#[derive(Debug)]
pub(super) struct Stream {
    splitter: Splitter,
    rules: Rules,
    hide_usage: bool,
}

impl Stream {
    pub(super) fn new(rules: Rules, hide_usage: bool) -> Self {
        // No other stream has an event that may be hidden.
        let hide_usage = hide_usage && matches!(rules, Rules::Chat(_));
        Self { splitter: Splitter::default(), rules, hide_usage }
    }

    /// Gives back whole events only, so that an error event can follow at any time; without those that are to be
    /// hidden. An event that came in one chunk is passed on as it lies there, not copied.
    pub(super) fn feed(&mut self, chunk: &Bytes, end: bool, notes: &mut Notes) -> Bytes {
        let (rules, hide_usage) = (&mut self.rules, self.hide_usage);
        let out = whole_events(&mut self.splitter, chunk, |piece, at| {
            notes.errors_at.clear();
            let pass = passes(rules.on_piece(piece, notes), hide_usage);
            if pass {
                notes.passes_errors(piece.bytes(), at);
            }
            pass
        });
        let tail = self.splitter.tail();
        if !end || tail.is_empty() {
            return out;
        }
        notes.errors_at.clear();
        let pass = passes(rules.on_tail(tail, notes), hide_usage);
        // What is left of an event in an answer that broke off stays behind: an error event takes its place.
        if !pass || !notes.is_over() {
            return out;
        }
        notes.passes_errors(tail, out.len());
        [&out, tail].concat().into()
    }

    /// Whether what was given out so far ends inside an event: only one too large to be held.
    pub(super) fn mid_event(&self) -> bool {
        self.splitter.oversized()
    }
}

fn passes(verdict: Verdict, hide_usage: bool) -> bool {
    match verdict {
        Verdict::Pass => true,
        Verdict::UsageOnly => !hide_usage,
        Verdict::Malformed => false,
    }
}

impl Rules {
    /// `None`: the codec of the dialect follows such a stream.
    pub(super) fn of(dialect: Dialect, operation: Operation) -> Option<Self> {
        match (dialect, operation) {
            (Dialect::OpenAiChat, Operation::Images | Operation::Speech | Operation::Transcription) => {
                Some(Self::TypedOrChat(Chat::default()))
            }
            (Dialect::OpenAiChat, _) => Some(Self::Chat(Chat::default())),
            (Dialect::OpenAiResponses, _) => Some(Self::Typed),
            (Dialect::Anthropic, _) => Some(Self::Anthropic),
            (Dialect::Gemini | Dialect::Bedrock | Dialect::Cohere | Dialect::Own(_), _) => None,
        }
    }

    fn on_piece(&mut self, piece: Piece<'_>, notes: &mut Notes) -> Verdict {
        match piece {
            Piece::Event(event) => {
                let fields = Fields::parse(event);
                match &fields.data {
                    Some(data) => self.on_event(fields.event.unwrap_or_default(), data, notes),
                    None => Verdict::Pass,
                }
            }
            Piece::Oversized { begins, .. } => {
                if begins {
                    notes.unreadable();
                }
                Verdict::Pass
            }
        }
    }

    /// The rest at the end of the body. A server that leaves out the last line end is understood; an event that was cut
    /// is not.
    fn on_tail(&mut self, tail: &[u8], notes: &mut Notes) -> Verdict {
        let fields = Fields::parse(tail);
        match &fields.data {
            Some(data) if data.trim_ascii() == b"[DONE]" || raw::parse::<IgnoredAny>(data).is_some() => {
                self.on_event(fields.event.unwrap_or_default(), data, notes)
            }
            Some(_) | None => Verdict::Pass,
        }
    }

    fn on_event(&mut self, name: &[u8], data: &[u8], notes: &mut Notes) -> Verdict {
        let unreadable = notes.seen.unreadable;
        let verdict = self.on_readable_event(name, data, notes);
        // Whether it is no JSON at all is asked only of what could not be read.
        if notes.seen.unreadable > unreadable
            && data.trim_ascii() != b"[DONE]"
            && raw::parse::<IgnoredAny>(data).is_none()
        {
            return Verdict::Malformed;
        }
        notes.seen.events += 1;
        verdict
    }

    fn on_readable_event(&mut self, name: &[u8], data: &[u8], notes: &mut Notes) -> Verdict {
        match self {
            Self::Chat(chat) => chat.on_event(name, data, notes),
            Self::Typed => {
                typed::on_event(name, data, notes);
                Verdict::Pass
            }
            Self::TypedOrChat(chat) => {
                if !typed::on_event_if_typed(name, data, notes) {
                    chat.on_event(name, data, notes);
                }
                Verdict::Pass
            }
            Self::Anthropic => {
                anthropic::on_event(name, data, notes);
                Verdict::Pass
            }
        }
    }
}
