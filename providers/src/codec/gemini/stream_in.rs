//! A provider's stream: server-sent events (`alt=sse`) or one JSON array, told apart by the first byte. It has no end
//! marker: it is whole when every answer in it has a finish reason.

use super::super::sse::{EventRules, SseDecoder};
use super::super::{Maker, Sink, StreamDecoder};
use super::answer_in::Assembler;
use super::wire::{Answer, OneOrMany};
use crate::common::Event;
use crate::error::{ApiError, ErrorKind};

/// The largest element of an array; a base64 image fits.
const MOST: usize = 16 << 20;

/// Reads either form.
pub(super) struct Decoder {
    form: Form,
}

enum Form {
    /// Nothing but white space so far.
    Unknown(Option<Box<Rules>>),
    Events(Box<SseDecoder<Rules>>),
    Array(Box<Elements>),
}

impl Decoder {
    pub(super) fn new(maker: &Maker<'_>) -> Self {
        Self { form: Form::Unknown(Some(Box::new(Rules { answer: Assembler::new(maker), unread: false }))) }
    }
}

impl StreamDecoder for Decoder {
    fn feed(&mut self, chunk: &[u8], end: bool, sink: Sink<'_>) {
        if let Form::Unknown(rules) = &mut self.form {
            let first = chunk.trim_ascii_start().first();
            if (first.is_some() || end)
                && let Some(rules) = rules.take()
            {
                self.form = match first {
                    Some(b'[' | b'{') => Form::Array(Box::new(Elements::new(*rules))),
                    Some(_) | None => Form::Events(Box::new(SseDecoder::new(*rules))),
                };
            }
        }
        match &mut self.form {
            Form::Unknown(_) => {}
            Form::Events(decoder) => decoder.feed(chunk, end, sink),
            Form::Array(elements) => elements.feed(chunk, end, sink),
        }
    }

    fn has_stopped(&self) -> bool {
        match &self.form {
            Form::Unknown(_) => false,
            Form::Events(decoder) => decoder.has_stopped(),
            Form::Array(elements) => !elements.ended && elements.rules.has_stopped(),
        }
    }
}

struct Rules {
    answer: Assembler,
    /// A chunk could not be read: what was in it is missing.
    unread: bool,
}

impl EventRules for Rules {
    fn on_event(&mut self, _: &[u8], data: &[u8], sink: Sink<'_>) {
        match serde_json::from_slice::<OneOrMany<Answer<'_>>>(data) {
            Ok(OneOrMany(answers)) => answers.into_iter().for_each(|answer| self.answer.chunk(answer, sink)),
            // Anything but an object is a comment that lost its colon, or OpenAI's end marker.
            Err(_) => {
                let data = data.trim_ascii();
                self.unread |= data.starts_with(b"{") || (data.starts_with(b"[") && data != b"[DONE]");
            }
        }
    }

    fn on_end(&mut self, sink: Sink<'_>) {
        let unread = self.unread;
        self.answer.end(true, &mut |event| match event {
            Event::End if unread => sink(Event::Error(ApiError::new(
                ErrorKind::UpstreamError,
                "a part of the provider's answer could not be read",
            ))),
            event => sink(event),
        });
    }

    fn has_stopped(&self) -> bool {
        self.answer.has_stopped()
    }
}

/// Cuts an array, or a lone object, into its elements.
struct Elements {
    rules: Rules,
    element: Vec<u8>,
    depth: u32,
    in_string: bool,
    escaped: bool,
    ended: bool,
}

impl Elements {
    fn new(rules: Rules) -> Self {
        Self { rules, element: Vec::new(), depth: 0, in_string: false, escaped: false, ended: false }
    }

    fn feed(&mut self, chunk: &[u8], end: bool, sink: Sink<'_>) {
        let mut from = 0;
        for (at, byte) in chunk.iter().enumerate() {
            if self.ended {
                return;
            }
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' if self.depth > 0 => self.in_string = true,
                b'{' => {
                    if self.depth == 0 {
                        from = at;
                    }
                    self.depth = self.depth.saturating_add(1);
                }
                b'}' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.keep(&chunk[from..=at], sink);
                        self.element(sink);
                    }
                }
                _ => {}
            }
        }
        if self.depth > 0 && !self.ended {
            self.keep(&chunk[from..], sink);
        }
        if end && !self.ended {
            self.ended = true;
            self.rules.on_end(sink);
        }
    }

    fn keep(&mut self, bytes: &[u8], sink: Sink<'_>) {
        if self.element.len() + bytes.len() > MOST {
            self.ended = true;
            self.element = Vec::new();
            sink(Event::Error(ApiError::new(
                ErrorKind::UpstreamError,
                "the provider sent an event that is too large to be translated",
            )));
            return;
        }
        self.element.extend_from_slice(bytes);
    }

    fn element(&mut self, sink: Sink<'_>) {
        if self.ended {
            return;
        }
        let element = std::mem::take(&mut self.element);
        let ended = &mut self.ended;
        self.rules.on_event(b"", &element, &mut |event| {
            if !*ended {
                *ended = matches!(event, Event::End | Event::Error(_));
                sink(event);
            }
        });
        // The room is used again, unless one large element made it large.
        if element.capacity() <= 64 << 10 {
            self.element = element;
            self.element.clear();
        }
    }
}
