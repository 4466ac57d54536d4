//! Streams written: `messageStart`, the blocks one behind the other, and at the end `messageStop` and `metadata`, because
//! usage may come before or after the stop.

use bounded_static::{IntoBoundedStatic as _, ToBoundedStatic as _};
use serde::Serialize;

use super::events::{
    BlockDelta, BlockStart, BlockStop, MessageStart, MessageStop, Metadata, OutDelta, ReasoningDelta, Start,
    ToolUseStart,
};
use super::{OWN, answer, media, parts, wire, write};
use crate::codec::StreamEncoder;
use crate::common::{
    Block, Content, Delta, Event, Extras, Foreign, Json, Losses, Media, MediaKind, Paragraphs, Reasoning, Sequence,
    Stop, Str, flat_name,
};
use crate::error::encode_stream_error;
use crate::event_stream::write_event;
use crate::json;
use crate::usage::Usage;

#[derive(Default)]
pub(super) struct Encoder {
    sequence: Sequence,
    stream: Stream,
}

impl StreamEncoder for Encoder {
    fn encode(&mut self, event: Event<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        let Self { sequence, stream } = self;
        sequence.feed(event, &mut |event| stream.event(event, losses, out));
    }
}

#[derive(Default)]
struct Stream {
    started: bool,
    /// The open block, as its client sees it.
    open: Open,
    /// The number of the open block, or of the next.
    number: u32,
    /// Whether anything of the open block was written.
    said: bool,
    stop: Option<Stop<'static>>,
    usage: Option<Usage>,
    tier: Option<Str<'static>>,
    extras: Extras<'static>,
    /// What was said of the open reasoning.
    thought: Paragraphs,
    /// The open block if only this dialect knows it.
    foreign: Option<Json<'static>>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// None, or one that cannot be said.
    #[default]
    Nothing,
    Text,
    /// Text of no words that another dialect has signed: Claude refuses one that a client sends back.
    Silent,
    Reasoning,
    /// Behind reasoning that is shown: its hidden form is a block of its own.
    Redacted,
    Call,
    /// Its text is put into an object, as in whole answers.
    CustomCall,
    Image,
    /// Sound: its transcript is written as text.
    Transcript,
    /// Written whole when it ends.
    Foreign,
}

/// Events of which an encoder for one choice sees only the first choice's.
fn choice_of(event: &Event<'_>) -> u32 {
    match event {
        Event::BlockStart { choice, .. }
        | Event::Delta { choice, .. }
        | Event::BlockEnd { choice, .. }
        | Event::Logprobs { choice, .. }
        | Event::Stop { choice, .. } => *choice,
        Event::Start { .. }
        | Event::Usage(_)
        | Event::ServiceTier(_)
        | Event::Extras(_)
        | Event::Ping
        | Event::Error(_)
        | Event::End => 0,
    }
}

impl Stream {
    fn event(&mut self, event: Event<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        if choice_of(&event) > 0 {
            return losses.note("answer.choices");
        }
        match event {
            Event::Start { id: _, model: _, created: _ } => self.start(out),
            Event::BlockStart { choice: _, index: _, block } => self.block_start(&block, losses, out),
            Event::Delta { choice: _, index: _, delta } => self.delta(&delta, losses, out),
            Event::BlockEnd { .. } => self.block_end(losses, out),
            Event::Logprobs { .. } => losses.note("answer.logprobs"),
            Event::Stop { choice: _, stop, extras } => {
                losses.note_extras("answer.", &extras);
                self.stop = Some(stop.into_static());
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::ServiceTier(tier) => self.tier = Some(tier.into_owned()),
            Event::Extras(extras) => self.extras.extend(extras.to_static()),
            // The framing has no keep-alive that every SDK skips.
            Event::Ping => {}
            Event::Error(error) => {
                out.extend_from_slice(&encode_stream_error(OWN, &error, "", 0));
            }
            Event::End => self.end(losses, out),
        }
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.started, true) {
            emit(out, "messageStart", &MessageStart { role: "assistant" });
        }
    }

    fn write(&mut self, delta: OutDelta<'_>, out: &mut Vec<u8>) {
        self.said = true;
        emit(out, "contentBlockDelta", &BlockDelta { delta, content_block_index: self.number });
    }

    fn write_start(&mut self, start: Start<'_>, out: &mut Vec<u8>) {
        self.said = true;
        emit(out, "contentBlockStart", &BlockStart { start, content_block_index: self.number });
    }

    fn write_stop(&mut self, out: &mut Vec<u8>) {
        emit(out, "contentBlockStop", &BlockStop { content_block_index: self.number });
        self.number += 1;
        self.said = false;
    }

    fn block_start(&mut self, block: &Block<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        self.start(out);
        self.said = false;
        let Block { content, cache: _, id: _, extras } = block;
        match content {
            Content::Text(text) => {
                self.open = if block.is_silent() && block.is_signed_text() { Open::Silent } else { Open::Text };
                losses.note_extras("answer.", extras);
                losses.note_if(text.signature.is_some(), "answer.signature");
                self.words(&text.text, out);
                for citation in &text.citations {
                    self.write(OutDelta::Citation(parts::citation(citation)), out);
                }
            }
            Content::Refusal(text) => {
                self.open = Open::Text;
                losses.note_extras("answer.", extras);
                self.words(text, out);
            }
            Content::Reasoning(reasoning) => {
                self.open = Open::Reasoning;
                losses.note_extras("answer.", extras);
                let Reasoning { text: _, summary: _, signature, encrypted } = &**reasoning;
                self.think(None, &reasoning.shown().unwrap_or_default(), out);
                let hidden = [signature.clone().map(Delta::Signature), encrypted.clone().map(Delta::Encrypted)];
                hidden.iter().flatten().for_each(|delta| self.delta(delta, losses, out));
            }
            Content::ToolCall(call) => {
                let name = flat_name(call.namespace.as_deref(), &call.name);
                losses.note_extras("answer.", extras);
                let start = ToolUseStart { id: parts::call_id(&call.id), name: &name };
                self.write_start(Start::ToolUse(start), out);
                if call.custom {
                    self.open = Open::CustomCall;
                    self.arguments(r#"{"input":""#, out);
                    self.custom_input(&call.arguments, out);
                } else {
                    self.open = Open::Call;
                    self.arguments(&call.arguments, out);
                }
            }
            Content::Media(media) => self.media_start(media, extras, losses, out),
            Content::ToolResult(_) => {
                self.open = Open::Nothing;
                losses.note("answer.tool_result");
            }
            Content::Foreign(foreign) => {
                let Foreign { dialect, kind, raw } = &**foreign;
                if *dialect == OWN {
                    self.open = Open::Foreign;
                    self.foreign = Some(raw.to_static());
                } else {
                    self.open = Open::Nothing;
                    losses.note_foreign("answer.", kind);
                }
            }
        }
    }

    fn media_start(&mut self, media: &Media<'_>, extras: &Extras<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        losses.note_extras("answer.", extras);
        let Media { kind, source, mime, name: _, detail: _, context: _, cite: _, transcript, signature } = media;
        let format = mime.as_deref().and_then(|mime| media::word_of(MediaKind::Image, mime)).unwrap_or("png");
        losses.note_if(signature.is_some(), "answer.signature");
        match (kind, source) {
            (MediaKind::Image, crate::common::MediaSource::Data(data)) => {
                self.open = Open::Image;
                self.write_start(Start::Image { format }, out);
                self.image(data, out);
            }
            _ => {
                self.open = Open::Transcript;
                losses.note(kind.lost_in_answer());
                self.words(transcript.as_deref().unwrap_or_default(), out);
            }
        }
    }

    fn delta(&mut self, delta: &Delta<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        match (self.open, delta) {
            (Open::Text | Open::Silent, Delta::Text(text) | Delta::Refusal(text))
            | (Open::Transcript, Delta::Transcript(text)) => self.words(text, out),
            (Open::Text | Open::Silent, Delta::Citation(citation)) => {
                self.write(OutDelta::Citation(parts::citation(citation)), out)
            }
            (Open::Reasoning, Delta::Reasoning(text)) => self.think(None, text, out),
            (Open::Reasoning, Delta::Summary { part, text }) => self.think(Some(*part), text, out),
            (Open::Reasoning, Delta::Signature(data)) => {
                self.write(OutDelta::ReasoningContent(ReasoningDelta::Signature(data.for_client(OWN))), out);
            }
            (Open::Reasoning | Open::Redacted, Delta::Encrypted(data)) => {
                if self.said {
                    self.write_stop(out);
                }
                self.open = Open::Redacted;
                self.write(OutDelta::ReasoningContent(ReasoningDelta::RedactedContent(data.for_client(OWN))), out);
            }
            (Open::Call, Delta::Arguments(text)) => self.arguments(text, out),
            (Open::CustomCall, Delta::Arguments(text)) => self.custom_input(text, out),
            // Kept by the gateway under the call's id.
            (Open::Call | Open::CustomCall, Delta::Signature(_)) => {}
            (Open::Image, Delta::MediaData(data)) => self.image(data, out),
            (Open::Foreign, Delta::Foreign(raw)) => self.foreign = Some(raw.to_static()),
            (Open::Text, Delta::Signature(_)) if !self.said => {
                self.open = Open::Silent;
                losses.note("answer.signature");
            }
            (Open::Text | Open::Silent | Open::Image, Delta::Signature(_)) => losses.note("answer.signature"),
            // Of blocks that are noted as lost already, or what such a block cannot have.
            (_, _) => {}
        }
    }

    fn words(&mut self, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            self.write(OutDelta::Text(text), out);
        }
    }

    /// Adds to the reasoning: to a part of its summary, or to itself.
    fn think(&mut self, part: Option<u32>, text: &str, out: &mut Vec<u8>) {
        let text = self.thought.next(part, text);
        if !text.is_empty() {
            self.write(OutDelta::ReasoningContent(ReasoningDelta::Text(&text)), out);
        }
    }

    fn arguments(&mut self, input: &str, out: &mut Vec<u8>) {
        if !input.is_empty() {
            self.write(OutDelta::ToolUse { input }, out);
        }
    }

    fn custom_input(&mut self, text: &str, out: &mut Vec<u8>) {
        let quoted = serde_json::Value::from(text).to_string();
        self.arguments(&quoted[1..quoted.len() - 1], out);
    }

    fn image(&mut self, data: &str, out: &mut Vec<u8>) {
        if !data.is_empty() {
            let source = write::MediumSource::Bytes(data.into());
            self.write(OutDelta::Image { source }, out);
        }
    }

    /// Clients know a block of text or reasoning by its first delta.
    fn block_end(&mut self, losses: &mut Losses, out: &mut Vec<u8>) {
        match std::mem::take(&mut self.open) {
            Open::Text if !self.said => self.write(OutDelta::Text(""), out),
            Open::Reasoning if !self.said => self.write(OutDelta::ReasoningContent(ReasoningDelta::Text("")), out),
            Open::Foreign => self.foreign(losses, out),
            Open::CustomCall => self.arguments(r#""}"#, out),
            Open::Nothing
            | Open::Text
            | Open::Silent
            | Open::Reasoning
            | Open::Redacted
            | Open::Call
            | Open::Image
            | Open::Transcript => {}
        }
        self.thought = Paragraphs::default();
        if self.said {
            self.write_stop(out);
        }
    }

    /// Tools that the provider runs: the call streams its input, the result its content.
    fn foreign(&mut self, losses: &mut Losses, out: &mut Vec<u8>) {
        let Some(raw) = self.foreign.take() else { return };
        let object: wire::AnyObject<'_> = raw.read().unwrap_or_default();
        let Some((member, value)) = object.rest.first() else { return };
        let mut fields: wire::AnyObject<'_> = value.read().unwrap_or_default();
        let body = match &**member {
            "toolUse" => "input",
            "toolResult" => "content",
            _ => return losses.note_foreign("answer.", member),
        };
        let at = fields.rest.iter().position(|(name, _)| *name == body);
        let body = at.map(|at| fields.rest.remove(at).1);
        self.write_start(Start::Raw(super::read::wrapped(member, &write::Fields(&fields.rest))), out);
        match body {
            Some(input) if *member == "toolUse" => self.arguments(input.get(), out),
            Some(content) => self.write(OutDelta::ToolResult(&content), out),
            None => {}
        }
    }

    fn end(&mut self, losses: &mut Losses, out: &mut Vec<u8>) {
        self.start(out);
        // Only this dialect's own answers have extras that mean something here; which they are, the names tell.
        let (mut at_stop, mut at_end) = (Extras::new(), Extras::new());
        for (name, raw) in std::mem::take(&mut self.extras) {
            match &*name {
                answer::RESPONSE_FIELDS => at_stop.push((name, raw)),
                "trace" | "performanceConfig" => at_end.push((name, raw)),
                _ => losses.note_extras("answer.", &[(name, raw)]),
            }
        }
        let stop = self.stop.take().unwrap_or_default();
        let stop_reason = answer::stop_word(&stop, is_own_word(&stop), losses);
        losses.note_if(at_stop.is_empty() && stop.sequence.is_some(), "answer.stop_sequence");
        emit(out, "messageStop", &MessageStop { stop_reason, extras: write::Fields(&at_stop) });
        let metadata = Metadata {
            usage: answer::TokenUsage::of(self.usage.as_ref()),
            metrics: answer::NO_METRICS,
            service_tier: self.tier.as_deref().map(|tier| answer::Tier { r#type: answer::tier_word(tier) }),
            extras: write::Fields(&at_end),
        };
        emit(out, "metadata", &metadata);
    }
}

/// Whether the detail of a stop is a word of this dialect.
fn is_own_word(stop: &Stop<'_>) -> bool {
    matches!(stop.detail.as_deref(), Some("guardrail_intervened" | "content_filtered" | "malformed_model_output"))
}

fn emit(out: &mut Vec<u8>, name: &str, payload: &impl Serialize) {
    write_event(out, name, |out| json::write(out, payload));
}
