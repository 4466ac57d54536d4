//! A stream for a client: <https://docs.cohere.com/v2/docs/streaming>. One block is open at a time. Whether a text is the plan is
//! known only when a call follows it, which is too late: all texts are content here.
//!
//! Events do not say what dialect their extras are of. A stream of Cohere's own does not pass here, so they are others'.

use bounded_static::{IntoBoundedStatic as _, ToBoundedStatic as _};

use super::response_out::{NAMES, state, write_logprob, write_stop, write_usage};
use super::{DIALECT, citation};
use crate::codec::{Client, StreamEncoder};
use crate::common::{
    Block, Citation, Content, Delta, Event, Losses, MediaKind, Opaque, Paragraphs, Sequence, Stop, TokenLogprob,
    flat_name,
};
use crate::error::encode_stream_error;
use crate::json::{self, Object};
use crate::usage::Usage;

/// What the open block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Call,
    /// A call of a tool whose input is plain text: it is wrapped as it comes.
    CustomCall,
    /// What cannot be said.
    Nothing,
}

/// Puts overlapping blocks one behind the other, and drops all answers but the first.
pub(super) struct Encoder {
    sequence: Sequence,
    writer: EventWriter,
}

impl Encoder {
    pub(super) fn new(client: &Client) -> Self {
        Self { sequence: Sequence::default(), writer: EventWriter::new(client) }
    }
}

impl StreamEncoder for Encoder {
    fn encode(&mut self, event: Event<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        let Self { sequence, writer } = self;
        match event {
            Event::BlockStart { choice: 1.., .. }
            | Event::Delta { choice: 1.., .. }
            | Event::BlockEnd { choice: 1.., .. }
            | Event::Logprobs { choice: 1.., .. }
            | Event::Stop { choice: 1.., .. } => losses.note("answer.choices"),
            event => sequence.feed(event, &mut |event| writer.write(event, losses, out)),
        }
    }
}

struct EventWriter {
    request_id: String,
    started: bool,
    ended: bool,
    open: Kind,
    contents: u64,
    calls: u64,
    citations: u64,
    /// The open text.
    said: String,
    /// Citations of all of it.
    waiting: Vec<Citation<'static>>,
    /// The last citation of the open text.
    last_citation: Option<Citation<'static>>,
    /// What was said of the open reasoning.
    thought: Paragraphs,
    stop: Stop<'static>,
    usage: Option<Usage>,
}

impl EventWriter {
    fn new(client: &Client) -> Self {
        Self {
            request_id: client.request_id.clone(),
            started: false,
            ended: false,
            open: Kind::Nothing,
            contents: 0,
            calls: 0,
            citations: 0,
            said: String::new(),
            waiting: Vec::new(),
            last_citation: None,
            thought: Paragraphs::default(),
            stop: Stop::default(),
            usage: None,
        }
    }

    fn write(&mut self, event: Event<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        match event {
            Event::Start { id, model: _, created: _ } => self.start(id.as_deref(), out),
            Event::BlockStart { choice: _, index: _, block } => {
                self.start(None, out);
                self.begin(&block, losses, out);
            }
            Event::Delta { choice: _, index: _, delta } => self.delta(delta, losses, out),
            Event::BlockEnd { choice: _, index: _ } => self.end_block(out),
            Event::Logprobs { choice: _, logprobs } => {
                self.start(None, out);
                logprobs.iter().for_each(|token| self.logprob(token, losses, out));
            }
            Event::Stop { choice: _, stop, extras } => {
                losses.note_extras("answer.", &extras);
                self.stop = stop.into_static();
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::ServiceTier(_) => losses.note("answer.service_tier"),
            Event::Extras(extras) => losses.note_extras("answer.", &extras),
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            Event::Error(error) => {
                self.ended = true;
                out.extend_from_slice(&encode_stream_error(DIALECT, &error, &self.request_id, 0));
            }
            Event::End => {
                self.start(None, out);
                self.ended = true;
                self.end(losses, out);
            }
        }
    }

    fn start(&mut self, id: Option<&str>, out: &mut Vec<u8>) {
        if self.started {
            return;
        }
        self.started = true;
        let id = id.unwrap_or(&self.request_id);
        event(out, "message-start", |event| {
            event.field("id", id);
            event.object("delta", |delta| {
                delta.object("message", |message| {
                    let none: [u8; 0] = [];
                    message.field("role", "assistant");
                    message.field("content", &none);
                    message.field("tool_plan", "");
                    message.field("tool_calls", &none);
                    message.field("citations", &none);
                });
            });
        });
    }

    fn begin(&mut self, block: &Block<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        let Block { content, cache, id: _, extras } = block;
        losses.note_if(cache.is_some(), NAMES.cache);
        losses.note_extras(NAMES.place, extras);
        (self.last_citation, self.thought) = (None, Paragraphs::default());
        self.said.clear();
        self.open = match content {
            Content::Text(text) => {
                self.begin_content("text", out);
                self.text(&text.text, out);
                text.citations.iter().for_each(|one| self.citation(one, out));
                self.state(Kind::Text, "signature", text.signature.as_ref(), out);
                Kind::Text
            }
            Content::Refusal(text) => {
                self.begin_content("text", out);
                self.text(text, out);
                Kind::Text
            }
            Content::Reasoning(reasoning) => {
                self.begin_content("thinking", out);
                self.thinking(None, &reasoning.shown().unwrap_or_default(), out);
                self.state(Kind::Thinking, "signature", reasoning.signature.as_ref(), out);
                self.state(Kind::Thinking, "encrypted", reasoning.encrypted.as_ref(), out);
                Kind::Thinking
            }
            Content::ToolCall(call) => {
                let index = self.calls;
                event(out, "tool-call-start", |event| {
                    event.field("index", &index);
                    event.message(|message| {
                        message.object("tool_calls", |object| {
                            object.field("id", &call.id);
                            object.field("type", "function");
                            object.object("function", |function| {
                                function.field("name", &*flat_name(call.namespace.as_deref(), &call.name));
                                function.field("arguments", "");
                            });
                            object.optional("signature", call.signature.as_ref().and_then(state).as_ref());
                        });
                    });
                });
                if call.custom {
                    self.arguments("{\"input\":\"", out);
                    self.input(&call.arguments, out);
                    Kind::CustomCall
                } else {
                    self.arguments(&call.arguments, out);
                    Kind::Call
                }
            }
            Content::Media(media) => {
                losses.note((NAMES.media)(media.kind));
                if media.kind == MediaKind::Audio {
                    // What is spoken can be told.
                    self.begin_content("text", out);
                    self.text(media.transcript.as_deref().unwrap_or_default(), out);
                    Kind::Text
                } else {
                    Kind::Nothing
                }
            }
            Content::Foreign(foreign) => {
                losses.note_foreign(NAMES.place, &foreign.kind);
                Kind::Nothing
            }
            Content::ToolResult(_) => {
                losses.note(NAMES.misplaced);
                Kind::Nothing
            }
        };
    }

    fn begin_content(&mut self, kind: &'static str, out: &mut Vec<u8>) {
        let index = self.contents;
        event(out, "content-start", |event| {
            event.field("index", &index);
            event.message(|message| {
                message.object("content", |content| {
                    content.field("type", kind);
                    content.field(kind, "");
                });
            });
        });
    }

    fn delta(&mut self, delta: Delta<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        match (self.open, delta) {
            (Kind::Text, Delta::Text(text) | Delta::Refusal(text) | Delta::Transcript(text)) => self.text(&text, out),
            (Kind::Text, Delta::Citation(one)) => self.citation(&one, out),
            (Kind::Thinking, Delta::Reasoning(text)) => self.thinking(None, &text, out),
            (Kind::Thinking, Delta::Summary { part, text }) => self.thinking(Some(part), &text, out),
            (kind @ (Kind::Text | Kind::Thinking | Kind::Call | Kind::CustomCall), Delta::Signature(signature)) => {
                self.state(kind, "signature", Some(&signature), out);
            }
            (Kind::Thinking, Delta::Encrypted(data)) => self.state(Kind::Thinking, "encrypted", Some(&data), out),
            (Kind::Call, Delta::Arguments(more)) => self.arguments(&more, out),
            (Kind::CustomCall, Delta::Arguments(more)) => self.input(&more, out),
            // Noted when the block began.
            (_, Delta::MediaData(_) | Delta::Foreign(_)) | (Kind::Nothing, _) => {}
            (_, Delta::Citation(_)) => losses.note("answer.citations"),
            (_, Delta::Encrypted(_)) => losses.note(NAMES.signature),
            (_, Delta::Reasoning(_) | Delta::Summary { .. }) => losses.note(NAMES.reasoning),
            (_, Delta::Text(_) | Delta::Refusal(_) | Delta::Transcript(_) | Delta::Arguments(_)) => {
                losses.note("answer.content");
            }
        }
    }

    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        self.said.push_str(text);
        self.content_delta("text", text, out);
    }

    /// Adds to the thinking. Summaries stand apart from each other and from the reasoning.
    fn thinking(&mut self, summary: Option<u32>, text: &str, out: &mut Vec<u8>) {
        let text = self.thought.next(summary, text);
        self.content_delta("thinking", &text, out);
    }

    fn content_delta(&self, kind: &'static str, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        event(out, "content-delta", |event| {
            event.field("index", &self.contents);
            event.message(|message| message.object("content", |content| content.field(kind, text)));
        });
    }

    /// Adds to a call's arguments.
    fn arguments(&self, more: &str, out: &mut Vec<u8>) {
        if !more.is_empty() {
            self.call_delta(|call| call.object("function", |function| function.field("arguments", more)), out);
        }
    }

    /// Adds plain text to the one string of a custom tool's arguments.
    fn input(&self, more: &str, out: &mut Vec<u8>) {
        let quoted = serde_json::to_string(more).unwrap_or_default();
        self.arguments(quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default(), out);
    }

    fn call_delta(&self, fill: impl FnOnce(&mut Object<'_>), out: &mut Vec<u8>) {
        event(out, "tool-call-delta", |event| {
            event.field("index", &self.calls);
            event.message(|message| message.object("tool_calls", fill));
        });
    }

    /// Gives opaque state to the client, beside an addition of nothing: clients read that unasked.
    fn state(&self, kind: Kind, field: &'static str, opaque: Option<&Opaque<'_>>, out: &mut Vec<u8>) {
        let Some(text) = opaque.and_then(state) else { return };
        let content = match kind {
            Kind::Call | Kind::CustomCall => {
                let fill = |call: &mut Object<'_>| {
                    call.object("function", |function| function.field("arguments", ""));
                    call.field(field, &text);
                };
                return self.call_delta(fill, out);
            }
            Kind::Thinking => "thinking",
            Kind::Text | Kind::Nothing => "text",
        };
        event(out, "content-delta", |event| {
            event.field("index", &self.contents);
            event.message(|message| {
                message.object("content", |object| {
                    object.field(content, "");
                    object.field(field, &text);
                });
            });
        });
    }

    fn citation(&mut self, one: &Citation<'_>, out: &mut Vec<u8>) {
        if one.span.is_none() {
            // The words that it supports may still come.
            self.waiting.push(one.to_static());
        } else if !citation::repeats(self.last_citation.as_ref(), one) {
            self.cite(one, out);
            self.last_citation = Some(one.to_static());
        }
    }

    fn cite(&mut self, one: &Citation<'_>, out: &mut Vec<u8>) {
        let index = usize::try_from(self.contents).ok();
        let json = citation::written(one, Some(&self.said), self.said.chars().count() as u64, index);
        let number = self.citations;
        event(out, "citation-start", |event| {
            event.field("index", &number);
            event.message(|message| message.field("citations", &json));
        });
        event(out, "citation-end", |event| event.field("index", &number));
        self.citations += 1;
    }

    fn logprob(&self, token: &TokenLogprob<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        // With all blocks ended they belong to the last one.
        let index = if self.open == Kind::Nothing { self.contents.saturating_sub(1) } else { self.contents };
        event(out, "content-delta", |event| {
            event.field("index", &index);
            event.message(|message| message.object("content", |content| content.field("text", "")));
            write_logprob(token, event.key("logprobs"), losses);
        });
    }

    fn end_block(&mut self, out: &mut Vec<u8>) {
        match std::mem::replace(&mut self.open, Kind::Nothing) {
            Kind::Text | Kind::Thinking => {
                std::mem::take(&mut self.waiting).iter().for_each(|one| self.cite(one, out));
                event(out, "content-end", |event| event.field("index", &self.contents));
                self.contents += 1;
            }
            kind @ (Kind::Call | Kind::CustomCall) => {
                if kind == Kind::CustomCall {
                    self.arguments("\"}", out);
                }
                event(out, "tool-call-end", |event| event.field("index", &self.calls));
                self.calls += 1;
            }
            Kind::Nothing => {}
        }
    }

    fn end(&self, losses: &mut Losses, out: &mut Vec<u8>) {
        event(out, "message-end", |event| {
            event.object("delta", |delta| {
                write_stop(false, &self.stop, delta, losses);
                if let Some(usage) = &self.usage {
                    write_usage(usage, delta.key("usage"));
                }
            });
        });
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

impl Object<'_> {
    /// What most events are about.
    fn message(&mut self, fill: impl FnOnce(&mut Object<'_>)) {
        self.object("delta", |delta| delta.object("message", fill));
    }
}

/// Appends an event. Raw JSON may have line breaks between its tokens, which would end the data early: they become spaces.
fn event(out: &mut Vec<u8>, name: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let from = out.len();
    json::object(out, |event| {
        event.field("type", name);
        fill(event);
    });
    for byte in &mut out[from..] {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\n\n");
}
