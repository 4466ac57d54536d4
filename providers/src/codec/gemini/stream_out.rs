//! A stream for a client: chunks that are answers of their own, as server-sent events or as one JSON array. Google sends
//! calls whole, so they wait until they are complete; the finish reasons, the sources and the counts come with the last
//! chunk. There is no end marker.
//!
//! A ping is nothing in an event stream: Google's Python SDK takes every line that is no data for JSON.

use std::borrow::Cow;

use bounded_static::{IntoBoundedStatic as _, ToBoundedStatic as _};

use super::super::sse::write_event;
use super::super::{Client, StreamEncoder};
use super::answer_out::{Answer, Candidate, content, finish, write_logprobs};
use super::extras::{Beside, find, of_answers};
use super::grounding::{Chars, metadata};
use super::part_out::{Reader, Writer, sealed};
use super::usage;
use super::write::{Blob, Part, Piece};
use crate::common::{Block, Citation, Content, Delta, Event, Extras, Losses, MediaSource, Paragraphs, Stop, Str, Text};
use crate::dialect::Dialect;
use crate::error::{encode_error, encode_stream_error};
use crate::json;
use crate::usage::Usage;

const OWN: Dialect = Dialect::Gemini;

/// Writes the stream.
pub(super) struct Encoder {
    array: bool,
    request_id: String,
    id: String,
    model: String,
    choices: Vec<Choice>,
    open: Vec<Open>,
    usage: Option<Usage>,
    tier: Option<String>,
    extras: Extras<'static>,
    /// Something was written.
    begun: bool,
    /// A part was written.
    said: bool,
}

#[derive(Default)]
struct Choice {
    number: u32,
    text: Chars,
    citations: Vec<(Citation<'static>, (u64, u64))>,
    stop: Option<(Stop<'static>, Extras<'static>)>,
}

/// A block under way.
struct Open {
    choice: u32,
    index: u32,
    /// Of text and reasoning only what tells them apart and where it comes from; of others all that came so far.
    block: Block<'static>,
    /// Where in the answer's text it begins.
    from: u64,
    said: Paragraphs,
}

impl Encoder {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            array: client.json_array,
            request_id: client.request_id.clone(),
            id: client.request_id.clone(),
            model: client.model.clone(),
            choices: Vec::new(),
            open: Vec::new(),
            usage: None,
            tier: None,
            extras: Vec::new(),
            begun: false,
            said: false,
        }
    }

    fn choice(&mut self, number: u32) -> &mut Choice {
        let at = self.choices.iter().position(|choice| choice.number == number).unwrap_or_else(|| {
            self.choices.push(Choice { number, ..Choice::default() });
            self.choices.len() - 1
        });
        &mut self.choices[at]
    }

    /// Goes before each chunk.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if self.array {
            out.extend_from_slice(if self.begun { b",\r\n" } else { b"[" });
        }
        self.begun = true;
    }

    fn write(&self, answer: &Answer<'_>, out: &mut Vec<u8>) {
        if self.array { json::write(out, answer) } else { write_event(out, None, answer) }
    }

    fn parts(&mut self, choice: u32, parts: Vec<Piece<'_>>, out: &mut Vec<u8>) {
        if !parts.is_empty() {
            self.said = true;
            self.candidate(choice, |candidate| candidate.content = Some(content(parts)), out);
        }
    }

    fn candidate<'o>(&mut self, index: u32, fill: impl FnOnce(&mut Candidate<'o>), out: &mut Vec<u8>) {
        let mut candidate = Candidate {
            content: None,
            finish_reason: None,
            index,
            grounding_metadata: None,
            logprobs_result: None,
            beside: Beside::default(),
        };
        fill(&mut candidate);
        self.begin(out);
        let answer = Answer {
            candidates: vec![candidate],
            usage_metadata: None,
            model_version: Some(&self.model),
            response_id: Some(&self.id),
            beside: Beside::default(),
        };
        self.write(&answer, out);
    }

    fn block(&mut self, choice: u32, block: &Block<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        let mut parts = Vec::new();
        Writer::new(Reader::Client, true, losses).block(block, &mut parts);
        self.parts(choice, parts, out);
    }

    fn start(&mut self, choice: u32, index: u32, block: Block<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        let mut block = block.into_static();
        block.extras = kept(block.extras, losses);
        let from = self.choice(choice).text.count();
        match &mut block.content {
            Content::Text(text) => {
                let citations = std::mem::take(&mut text.citations);
                self.choice(choice).text.push(&text.text);
                if !text.text.is_empty() || text.signature.is_some() {
                    self.block(choice, &block, losses, out);
                }
                block.content = Content::Text(Text { citations, ..Text::default() });
            }
            Content::Reasoning(reasoning) => {
                let empty = reasoning.text.is_empty() && reasoning.summary.is_empty();
                if !empty || reasoning.signature.is_some() || reasoning.encrypted.is_some() {
                    self.block(choice, &block, losses, out);
                    block.content = Content::Reasoning(Box::default());
                }
            }
            Content::Refusal(text) => {
                let text = std::mem::take(text);
                self.choice(choice).text.push(&text);
                if !text.is_empty() {
                    self.parts(choice, vec![Piece::text(&*text)], out);
                }
            }
            Content::Media(media) => {
                // Sound may come in pieces, each a part of its own.
                let whole = !matches!(&media.source, MediaSource::Data(data) if data.is_empty());
                if whole {
                    if let Some(transcript) = &media.transcript {
                        self.choice(choice).text.push(transcript);
                    }
                    self.block(choice, &block, losses, out);
                }
            }
            Content::ToolCall(_) | Content::ToolResult(_) | Content::Foreign(_) => {}
        }
        self.open.push(Open { choice, index, block, from, said: Paragraphs::default() });
    }

    fn delta(&mut self, choice: u32, index: u32, delta: Delta<'_>, out: &mut Vec<u8>) {
        let Some(at) = self.open.iter().position(|open| (open.choice, open.index) == (choice, index)) else { return };
        let thinks = matches!(self.open[at].block.content, Content::Reasoning(_));
        let part = match &delta {
            Delta::Text(text) | Delta::Refusal(text) | Delta::Transcript(text) => {
                self.choice(choice).text.push(text);
                Part { text: Some(text.as_str().into()), ..Part::default() }
            }
            Delta::Reasoning(text) => thought(self.open[at].said.next(None, text)),
            Delta::Summary { part, text } => thought(self.open[at].said.next(Some(*part), text)),
            Delta::Signature(signature) => match &mut self.open[at].block.content {
                Content::ToolCall(call) => {
                    call.signature = Some(signature.to_static());
                    return;
                }
                Content::Text(_)
                | Content::Refusal(_)
                | Content::Media(_)
                | Content::Reasoning(_)
                | Content::ToolResult(_)
                | Content::Foreign(_) => signed(signature.for_client(OWN).into_owned(), thinks),
            },
            Delta::Encrypted(data) => signed(sealed(data), true),
            Delta::Arguments(more) => {
                if let Content::ToolCall(call) = &mut self.open[at].block.content {
                    call.arguments.push_str(more);
                }
                return;
            }
            Delta::Citation(citation) => {
                // The words that it supports may still come.
                if let Content::Text(text) = &mut self.open[at].block.content {
                    text.citations.push((**citation).to_static());
                }
                return;
            }
            Delta::MediaData(data) => {
                let Content::Media(media) = &self.open[at].block.content else { return };
                let mime = media.mime.clone().unwrap_or("audio/wav".into());
                let blob = Blob {
                    mime_type: Some(Cow::Borrowed(&mime)),
                    data: Cow::Borrowed(data),
                    display_name: None,
                    beside: Beside::default(),
                };
                let part = Part { inline_data: Some(blob), ..Part::default() };
                self.parts(choice, vec![part.into()], out);
                return;
            }
            Delta::Foreign(raw) => {
                if let Content::Foreign(foreign) = &mut self.open[at].block.content {
                    foreign.raw = raw.to_static();
                }
                return;
            }
        };
        let silent = part.text.as_deref().is_none_or(str::is_empty) && part.thought_signature.is_none();
        if !silent {
            self.parts(choice, vec![part.into()], out);
        }
    }

    fn end_block(&mut self, choice: u32, index: u32, losses: &mut Losses, out: &mut Vec<u8>) {
        let Some(at) = self.open.iter().position(|open| (open.choice, open.index) == (choice, index)) else { return };
        let Open { block, from, .. } = self.open.remove(at);
        match block.content {
            Content::ToolCall(_) | Content::ToolResult(_) | Content::Foreign(_) => {
                self.block(choice, &block, losses, out);
            }
            Content::Text(text) => {
                let choice = self.choice(choice);
                let to = choice.text.count();
                choice.citations.extend(text.citations.into_iter().map(|one| (one, (from, to))));
            }
            Content::Refusal(_) | Content::Media(_) | Content::Reasoning(_) => {}
        }
    }

    /// The last chunk.
    fn finish(&mut self, losses: &mut Losses, out: &mut Vec<u8>) {
        while let Some(Open { choice, index, .. }) = self.open.first() {
            let (choice, index) = (*choice, *index);
            self.end_block(choice, index, losses, out);
        }
        let extras = std::mem::take(&mut self.extras);
        let choices = std::mem::take(&mut self.choices);
        // A prompt that was refused has no candidates.
        let refused = !self.said && find(&extras, "promptFeedback").is_some();
        let mut candidates = Vec::with_capacity(choices.len());
        for Choice { number, text, citations, stop } in &choices {
            let Some((stop, extras)) = stop else { continue };
            let told = find(extras, "groundingMetadata").or(find(extras, "citationMetadata")).is_some();
            let cited = citations.iter().map(|(citation, block)| (citation, *block));
            candidates.push(Candidate {
                content: Some(content(vec![Piece::text("")])),
                finish_reason: Some(finish(stop, losses)),
                index: *number,
                grounding_metadata: if told { None } else { metadata(cited, text) },
                logprobs_result: None,
                beside: Beside::of(extras, ""),
            });
        }
        if refused {
            candidates.clear();
        }
        self.begin(out);
        let answer = Answer {
            candidates,
            usage_metadata: usage::write(self.usage.as_ref(), self.tier.as_deref()),
            model_version: Some(&self.model),
            response_id: Some(&self.id),
            beside: Beside::of(&extras, ""),
        };
        self.write(&answer, out);
        if self.array {
            out.extend_from_slice(b"]");
        }
    }
}

impl StreamEncoder for Encoder {
    fn encode(&mut self, event: Event<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, created: _ } => {
                if let Some(id) = id {
                    self.id = id.into_string();
                }
                if let Some(model) = model {
                    self.model = model.into_string();
                }
            }
            Event::BlockStart { choice, index, block } => self.start(choice, index, block, losses, out),
            Event::Delta { choice, index, delta } => self.delta(choice, index, delta, out),
            Event::BlockEnd { choice, index } => self.end_block(choice, index, losses, out),
            Event::Logprobs { choice, logprobs } => {
                self.candidate(
                    choice,
                    |candidate| {
                        candidate.content = Some(content(vec![Piece::text("")]));
                        candidate.logprobs_result = Some(write_logprobs(&logprobs));
                    },
                    out,
                );
            }
            Event::Stop { choice, stop, extras } => {
                let extras = kept(extras.into_static(), losses);
                self.choice(choice).stop = Some((stop.into_static(), extras));
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::ServiceTier(tier) => self.tier = Some(tier.into_string()),
            Event::Extras(extras) => self.extras.extend(kept(extras.into_static(), losses)),
            Event::Ping if self.array && self.begun => out.push(b'\n'),
            Event::Ping => {}
            Event::Error(error) if self.array => {
                self.begin(out);
                out.append(&mut encode_error(OWN, &error, &self.request_id));
                out.push(b']');
            }
            Event::Error(error) => out.append(&mut encode_stream_error(OWN, &error, &self.request_id, 0)),
            Event::End => self.finish(losses, out),
        }
    }
}

fn thought(text: Cow<'_, str>) -> Part<'_> {
    Part { text: Some(text), thought: Some(true), ..Part::default() }
}

/// An empty part that signs what came before it.
fn signed<'o>(signature: Str<'o>, thought: bool) -> Part<'o> {
    Part {
        text: Some("".into()),
        thought: thought.then_some(true),
        thought_signature: Some(signature),
        ..Part::default()
    }
}

/// The extras that are Gemini's; the others are noted.
fn kept(extras: Extras<'static>, losses: &mut Losses) -> Extras<'static> {
    let (own, others): (Extras<'static>, Extras<'static>) =
        extras.into_iter().partition(|(name, json)| of_answers(name, json));
    losses.note_extras("answer.", &others);
    own
}
