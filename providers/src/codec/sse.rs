//! Streams of server-sent events, read and written.

use serde::Serialize;

use super::surrogates::whole_characters;
use super::{Sink, StreamDecoder};
use crate::common::Event;
use crate::error::{ApiError, ErrorKind};
use crate::json;
use crate::sse::{Fields, Piece, Splitter};

/// What a dialect makes of its events.
pub(super) trait EventRules: Send + Sync {
    /// Takes an event's name (empty if it has none) and data.
    fn on_event(&mut self, name: &[u8], data: &[u8], sink: Sink<'_>);

    /// The body has ended, and neither `End` nor `Error` was given out: gives out `End` if the answer is whole all the same,
    /// else an error ([`cut`]).
    fn on_end(&mut self, sink: Sink<'_>);

    /// See [`StreamDecoder::has_stopped`].
    fn has_stopped(&self) -> bool {
        false
    }
}

/// Cuts a body into events and hands them to the rules, until those have given out `End` or `Error`.
pub(super) struct SseDecoder<R> {
    splitter: Splitter,
    rules: R,
    ended: bool,
}

impl<R: EventRules> SseDecoder<R> {
    pub(super) fn new(rules: R) -> Self {
        Self { splitter: Splitter::default(), rules, ended: false }
    }
}

impl<R: EventRules> StreamDecoder for SseDecoder<R> {
    fn feed(&mut self, chunk: &[u8], end: bool, sink: Sink<'_>) {
        let Self { splitter, rules, ended } = self;
        let mut watch = |event: Event<'_>| {
            if !*ended {
                *ended = matches!(event, Event::End | Event::Error(_));
                sink(event);
            }
        };
        splitter.feed(chunk, |piece, _| match piece {
            Piece::Event(event) => {
                let fields = Fields::parse(event);
                match &fields.data {
                    Some(data) => {
                        rules.on_event(fields.event.unwrap_or_default(), &whole_characters(data), &mut watch);
                    }
                    None => watch(Event::Ping),
                }
            }
            Piece::Oversized { begins: true, .. } => watch(Event::Error(ApiError::new(
                ErrorKind::UpstreamError,
                "the provider sent an event that is too large to be translated",
            ))),
            Piece::Oversized { begins: false, .. } => {}
        });
        if end {
            // A server that leaves out the last line end is understood; an event that was cut is not JSON.
            let fields = Fields::parse(splitter.tail());
            if let Some(data) = &fields.data
                && (data.trim_ascii() == b"[DONE]" || serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok())
            {
                rules.on_event(fields.event.unwrap_or_default(), &whole_characters(data), &mut watch);
            }
            rules.on_end(&mut watch);
        }
    }

    fn has_stopped(&self) -> bool {
        !self.ended && self.rules.has_stopped()
    }
}

/// Appends an event. Line breaks between the tokens of raw JSON would end the data early: they become spaces.
pub(crate) fn write_event(out: &mut Vec<u8>, name: Option<&str>, data: &impl Serialize) {
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    let from = out.len();
    json::write(out, data);
    for byte in &mut out[from..] {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\n\n");
}
