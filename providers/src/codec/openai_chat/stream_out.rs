//! A stream for a client: <https://platform.openai.com/docs/api-reference/chat/streaming>.
//!
//! The chunks that tell why the choices ended are held until the end: tier and extras stand in the last of them, and an error
//! behind a stop must not look like an answer.

use std::borrow::Cow;

use bounded_static::{IntoBoundedStatic as _, ToBoundedStatic as _};
use serde::Serialize;

use super::answer_out::{
    AnnotationOut, AudioOut, LegacyCall, LogprobsOut, Said, annotation, fields, finish_reason, made_id, says_functions,
    write_call,
};
use super::message_wire::{CallOut, ExtraOut};
use super::part_out::{Fields, PartBody, PartOut};
use super::reasoning::{AnyDetail, DetailOut};
use super::usage::UsageOut;
use super::{OF_MESSAGE, OWN, is_marked, spelt};
use crate::codec::sse::write_event;
use crate::codec::{Client, StreamEncoder};
use crate::common::{
    Block, Citation, Content, Delta, Event, Extras, Json, Losses, MediaKind, MediaSource, Paragraphs, Stop, Str,
    TokenLogprob, add,
};
use crate::error::encode_stream_error;
use crate::usage::Usage;

#[derive(Serialize)]
struct Chunk<'r> {
    id: &'r str,
    object: &'static str,
    created: u64,
    model: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'r str>,
    choices: &'r [ChunkChoice<'r>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageOut>>,
    #[serde(flatten)]
    rest: Fields<'r>,
}

#[derive(Serialize)]
struct ChunkChoice<'r> {
    index: u32,
    delta: Said<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<LogprobsOut<'r>>,
    finish_reason: Option<Cow<'r, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<&'r str>,
    #[serde(flatten)]
    rest: Fields<'r>,
}

/// A piece of a call that has begun.
#[derive(Serialize)]
pub(super) struct CallPiece<'r> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<Arguments<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom: Option<Input<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<ExtraOut<'r>>,
}

impl<'r> CallPiece<'r> {
    /// Adds `text` to what the call says. OpenAI's Python SDK fails on a piece of a function that has no `function`.
    fn new(index: u32, custom: bool, text: &'r str, extra_content: Option<ExtraOut<'r>>) -> Self {
        let (function, custom) = match custom {
            false => (Some(Arguments { arguments: text }), None),
            true => (None, Some(Input { input: text })),
        };
        Self { index, function, custom, extra_content }
    }
}

#[derive(Serialize)]
struct Arguments<'r> {
    arguments: &'r str,
}

#[derive(Serialize)]
struct Input<'r> {
    input: &'r str,
}

/// Writes the chunks.
pub(super) struct ChunkWriter {
    head: Head,
    request_id: String,
    now: u64,
    choices: Vec<Choice>,
    usage: Option<Usage>,
    extras: Extras<'static>,
}

/// What all chunks of a stream say.
struct Head {
    id: String,
    model: String,
    created: u64,
    tier: Option<String>,
    include_usage: bool,
    /// The client knows no tools.
    functions: bool,
}

#[derive(Default)]
struct Choice {
    begun: bool,
    blocks: Vec<Open>,
    calls: u32,
    reasoned: usize,
    /// Characters of text so far.
    position: u64,
    /// Sources so far.
    sources: u32,
    refused: bool,
    stop: Option<(Stop<'static>, Extras<'static>)>,
}

/// A block under way.
enum Open {
    Text {
        from: u64,
        citations: Vec<Citation<'static>>,
    },
    Refusal,
    Reasoning {
        number: usize,
        id: Option<String>,
        format: Option<Json<'static>>,
        said: Paragraphs,
    },
    Call {
        number: u32,
        custom: bool,
        empty: bool,
    },
    /// A picture whose data is still coming: chunks have no deltas for it.
    Image(Box<Block<'static>>),
    Audio,
    /// Nothing more of it is written.
    Other,
}

impl Head {
    /// More of a call's arguments.
    fn piece<'r>(&self, number: u32, custom: bool, text: &'r str) -> Said<'r> {
        if self.functions {
            let function_call = Some(LegacyCall { name: None, arguments: text.into() });
            return Said { function_call, ..Said::default() };
        }
        Said { tool_calls: vec![CallOut::Piece(CallPiece::new(number, custom, text, None))], ..Said::default() }
    }

    fn said(&self, index: u32, delta: Said<'_>, out: &mut Vec<u8>) {
        self.write(ChunkChoice { index, delta, ..ChunkChoice::nothing() }, out);
    }

    fn write(&self, choice: ChunkChoice<'_>, out: &mut Vec<u8>) {
        self.chunk(&[choice], self.include_usage.then_some(None), Fields::default(), out);
    }

    fn chunk(&self, choices: &[ChunkChoice<'_>], usage: Option<Option<UsageOut>>, rest: Fields<'_>, out: &mut Vec<u8>) {
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            service_tier: self.tier.as_deref(),
            choices,
            usage,
            rest,
        };
        write_event(out, None, &chunk);
    }
}

impl ChunkWriter {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            head: Head {
                id: made_id(client),
                model: client.model.clone(),
                created: client.now,
                tier: None,
                include_usage: client.include_usage,
                functions: says_functions(client),
            },
            request_id: client.request_id.clone(),
            now: client.now,
            choices: Vec::new(),
            usage: None,
            extras: Vec::new(),
        }
    }

    /// With its first chunk, which tells the role, if that is still to come.
    fn choice(&mut self, number: u32, out: &mut Vec<u8>) -> &mut Choice {
        let at = number as usize;
        if self.choices.len() <= at {
            self.choices.resize_with(at + 1, Choice::default);
        }
        if !std::mem::replace(&mut self.choices[at].begun, true) {
            let content = Some(Some("".into()));
            self.head.said(number, Said { role: Some("assistant"), content, ..Said::default() }, out);
        }
        &mut self.choices[at]
    }

    fn start(&mut self, number: u32, block: Block<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        self.choice(number, out);
        let Block { content, cache: _, id, extras } = block;
        let own = is_marked(&extras);
        if !own {
            losses.note_extras("answer.", &extras);
        }
        let choice = &mut self.choices[number as usize];
        let open = match content {
            Content::Text(text) => {
                let (from, signature) = (choice.position, text.signature);
                choice.blocks.push(Open::Text { from, citations: text.citations.into_static() });
                let at = choice.blocks.len() - 1;
                self.delta(number, at, Delta::Text(text.text), losses, out);
                if let Some(signature) = signature {
                    self.delta(number, at, Delta::Signature(signature), losses, out);
                }
                return;
            }
            Content::Refusal(text) => {
                choice.blocks.push(Open::Refusal);
                let at = choice.blocks.len() - 1;
                return self.delta(number, at, Delta::Refusal(text), losses, out);
            }
            Content::Reasoning(reasoning) => {
                let format = spelt(&extras, "format").map(|format| format.to_static());
                let (number_of, id) = (choice.reasoned, id.map(Str::into_string));
                let open = Open::Reasoning { number: number_of, id, format, said: Paragraphs::default() };
                choice.reasoned += 1;
                choice.blocks.push(open);
                let at = choice.blocks.len() - 1;
                let crate::common::Reasoning { text, summary, signature, encrypted } = *reasoning;
                let summary = (0..).zip(summary).map(|(part, text)| Delta::Summary { part, text });
                let deltas = summary
                    .chain([Delta::Reasoning(text)])
                    .chain(signature.map(Delta::Signature))
                    .chain(encrypted.map(Delta::Encrypted));
                return deltas.for_each(|delta| self.delta(number, at, delta, losses, out));
            }
            Content::ToolCall(_) if self.head.functions && choice.calls > 0 => {
                losses.note("answer.tool_calls");
                Open::Other
            }
            Content::ToolCall(call) => {
                let index = choice.calls;
                choice.calls += 1;
                let rest = if own { Fields::outer(&extras, "") } else { Fields::default() };
                let mut known = write_call(&call, rest);
                known.index = Some(index);
                if let Some(function) = &mut known.function {
                    function.arguments = (&*call.arguments).into();
                }
                choice.blocks.push(Open::Call { number: index, custom: call.custom, empty: call.arguments.is_empty() });
                let mut said = Said { tool_calls: vec![CallOut::Known(known)], ..Said::default() };
                if self.head.functions {
                    said.use_function_call(losses);
                }
                return self.head.said(number, said, out);
            }
            Content::Media(media) => {
                losses.note_if(media.signature.is_some(), "answer.signature");
                match (media.kind, &media.source) {
                    (MediaKind::Audio, MediaSource::Data(data)) => {
                        let id = id.map_or_else(|| format!("audio_{}", self.request_id), Str::into_string);
                        let rest = if own { Fields::outer(&extras, "") } else { Fields::default() };
                        let audio = AudioOut {
                            id: Some(id.into()),
                            data: Some(&**data).filter(|data| !data.is_empty()),
                            transcript: media.transcript.as_deref(),
                            expires_at: rest.is_empty().then_some(self.now + 3600),
                            rest,
                        };
                        self.head.said(number, Said { audio: Some(audio), ..Said::default() }, out);
                        Open::Audio
                    }
                    (MediaKind::Image, MediaSource::Data(data)) if data.is_empty() => {
                        let block = Block { content: Content::Media(media), cache: None, id, extras };
                        Open::Image(Box::new(block.into_static()))
                    }
                    (MediaKind::Image, MediaSource::Data(_) | MediaSource::Url(_)) => {
                        let extras: &[_] = if own { &extras } else { &[] };
                        let body = PartBody::shown(&media, extras, own);
                        let images = vec![PartOut { body, cache: None, extras }];
                        self.head.said(number, Said { images, ..Said::default() }, out);
                        Open::Other
                    }
                    (kind, _) => {
                        losses.note(kind.lost_in_answer());
                        Open::Other
                    }
                }
            }
            Content::Foreign(foreign) if foreign.dialect == OWN && id.is_some() => {
                let tool_calls = vec![CallOut::Raw(&foreign.raw)];
                self.head.said(number, Said { tool_calls, ..Said::default() }, out);
                Open::Other
            }
            Content::Foreign(foreign) if foreign.dialect == OWN && foreign.kind.starts_with("reasoning.") => {
                let reasoning_details = vec![AnyDetail::Raw(&foreign.raw)];
                self.head.said(number, Said { reasoning_details, ..Said::default() }, out);
                Open::Other
            }
            Content::Foreign(foreign) => {
                losses.note_foreign("answer.", &foreign.kind);
                Open::Other
            }
            Content::ToolResult(_) => {
                losses.note("answer.tool_result");
                Open::Other
            }
        };
        self.choices[number as usize].blocks.push(open);
    }

    fn delta(&mut self, number: u32, at: usize, delta: Delta<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        self.choice(number, out);
        let Choice { blocks, position, refused, .. } = &mut self.choices[number as usize];
        let Some(open) = blocks.get_mut(at) else { return };
        let said = match (open, &delta) {
            (_, Delta::Text(text) | Delta::Refusal(text) | Delta::Reasoning(text) | Delta::Arguments(text))
                if text.is_empty() =>
            {
                return;
            }
            (Open::Text { .. }, Delta::Text(text)) => {
                *position += text.chars().count() as u64;
                Said { content: Some(Some((&**text).into())), ..Said::default() }
            }
            // Where it ends in the answer is known only when the text is complete.
            (Open::Text { citations, .. }, Delta::Citation(citation)) => {
                return citations.push((**citation).to_static());
            }
            (Open::Text { .. }, Delta::Signature(signature)) => {
                let extra_content = Some(ExtraOut::new(signature.for_client(OWN).into_string()));
                Said { extra_content, ..Said::default() }
            }
            (Open::Refusal, Delta::Refusal(text)) => {
                *refused = true;
                Said { refusal: Some(Some((&**text).into())), ..Said::default() }
            }
            (_, Delta::Summary { text, .. }) if text.is_empty() => return,
            (Open::Reasoning { number, id, format, said }, delta) => {
                let mut detail =
                    DetailOut { id: id.as_deref(), index: *number, format: format.as_ref(), ..DetailOut::default() };
                let mut reasoning_content = None;
                match delta {
                    Delta::Reasoning(text) => {
                        reasoning_content = Some(said.next(None, text));
                        detail = DetailOut { kind: "reasoning.text", text: Some(text), ..detail };
                    }
                    Delta::Summary { part, text } => {
                        let text = said.next(Some(*part), text);
                        detail = DetailOut { kind: "reasoning.summary", summary: Some(text.clone().into()), ..detail };
                        reasoning_content = Some(text);
                    }
                    Delta::Signature(signature) => {
                        let signature = Some(signature.for_client(OWN));
                        detail = DetailOut { kind: "reasoning.text", signature, ..detail };
                    }
                    Delta::Encrypted(data) => {
                        detail = DetailOut { kind: "reasoning.encrypted", data: Some(data.for_client(OWN)), ..detail };
                    }
                    _ => return,
                }
                // A signature may follow, and is worth something only beside its text.
                let reasoning_details = vec![AnyDetail::Known(detail)];
                Said { reasoning_content, reasoning_details, ..Said::default() }
            }
            (Open::Call { number, custom, empty }, Delta::Arguments(text)) => {
                *empty = false;
                self.head.piece(*number, *custom, text)
            }
            (Open::Call { number, custom, .. }, Delta::Signature(signature)) if !self.head.functions => {
                let extra_content = Some(ExtraOut::new(signature.for_client(OWN).into_string()));
                let piece = CallPiece::new(*number, *custom, "", extra_content);
                Said { tool_calls: vec![CallOut::Piece(piece)], ..Said::default() }
            }
            (Open::Image(block), delta) => return add(block, delta),
            (Open::Audio, Delta::MediaData(data)) => {
                Said { audio: Some(AudioOut { data: Some(data), ..AudioOut::default() }), ..Said::default() }
            }
            (Open::Audio, Delta::Transcript(text)) => {
                Said { audio: Some(AudioOut { transcript: Some(text), ..AudioOut::default() }), ..Said::default() }
            }
            (_, Delta::Signature(_)) => return losses.note("answer.signature"),
            // Blocks that are not written, and deltas that do not fit their block.
            (_, _) => return,
        };
        self.head.said(number, said, out);
    }

    fn end_block(&mut self, number: u32, at: usize, losses: &mut Losses, out: &mut Vec<u8>) {
        let choice = self.choice(number, out);
        let to = choice.position;
        let Some(open) = choice.blocks.get_mut(at) else { return };
        match std::mem::replace(open, Open::Other) {
            Open::Image(block) => {
                if let Content::Media(media) = &block.content {
                    let own = is_marked(&block.extras);
                    let extras: &[_] = if own { &block.extras } else { &[] };
                    let body = PartBody::shown(media, extras, own);
                    let images = vec![PartOut { body, cache: None, extras }];
                    self.head.said(number, Said { images, ..Said::default() }, out);
                }
            }
            Open::Text { from, citations } => {
                let mut annotations: Vec<_> =
                    citations.iter().filter_map(|citation| annotation(citation, from, to, losses)).collect();
                annotations.iter_mut().for_each(|annotation| annotation.number(&mut choice.sources));
                if !annotations.is_empty() {
                    self.head.said(number, Said { annotations, ..Said::default() }, out);
                }
            }
            // Clients parse the arguments.
            Open::Call { number: call, custom: false, empty: true } => {
                self.head.said(number, self.head.piece(call, false, "{}"), out);
            }
            Open::Refusal | Open::Reasoning { .. } | Open::Call { .. } | Open::Audio | Open::Other => {}
        }
    }

    fn logprobs(&mut self, number: u32, tokens: &[TokenLogprob<'_>], out: &mut Vec<u8>) {
        let refused = self.choice(number, out).refused;
        let logprobs = LogprobsOut::of(tokens, refused);
        self.head.write(ChunkChoice { index: number, logprobs, ..ChunkChoice::nothing() }, out);
    }

    fn end(&mut self, losses: &mut Losses, out: &mut Vec<u8>) {
        self.choice(0, out);
        let choices = std::mem::take(&mut self.choices);
        let extras = std::mem::take(&mut self.extras);
        let usage = self.usage.filter(|_| self.head.include_usage);
        let rest = fields(&extras, "", losses);
        for (at, (number, choice)) in (0u32..).zip(&choices).enumerate() {
            let (stop, extras) = choice.stop.clone().unwrap_or_default();
            let mut delta = Said::default();
            let own = is_marked(&extras);
            if own {
                delta.rest = Fields::message(&extras);
                let others = extras.iter().find(|(name, _)| *name == *"message.annotations");
                let others = others.and_then(|(_, list)| list.read::<Vec<Json<'_>>>().ok()).unwrap_or_default();
                delta.annotations.extend(others.into_iter().map(AnnotationOut::Raw));
            }
            let choice = ChunkChoice {
                index: number,
                delta,
                logprobs: None,
                finish_reason: Some(finish_reason(&stop, own, choice.refused, self.head.functions, losses)),
                stop_reason: stop.sequence.as_deref(),
                rest: fields(&extras, OF_MESSAGE, losses),
            };
            let last = at + 1 == choices.len() && usage.is_none();
            let rest = if last { rest } else { Fields::default() };
            self.head.chunk(&[choice], self.head.include_usage.then_some(None), rest, out);
        }
        if let Some(usage) = usage {
            self.head.chunk(&[], Some(Some(UsageOut::of(&usage))), rest, out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

impl ChunkChoice<'_> {
    fn nothing() -> Self {
        Self {
            index: 0,
            delta: Said::default(),
            logprobs: None,
            finish_reason: None,
            stop_reason: None,
            rest: Fields::default(),
        }
    }
}

impl StreamEncoder for ChunkWriter {
    fn encode(&mut self, event: Event<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, created } => {
                self.head.id = id.map_or_else(|| std::mem::take(&mut self.head.id), Str::into_string);
                self.head.model = model.map_or_else(|| std::mem::take(&mut self.head.model), Str::into_string);
                self.head.created = created.unwrap_or(self.head.created);
                self.choice(0, out);
            }
            Event::BlockStart { choice, index: _, block } => self.start(choice, block, losses, out),
            Event::Delta { choice, index, delta } => self.delta(choice, index as usize, delta, losses, out),
            Event::BlockEnd { choice, index } => self.end_block(choice, index as usize, losses, out),
            Event::Logprobs { choice, logprobs } => self.logprobs(choice, &logprobs, out),
            Event::Stop { choice, stop, extras } => {
                self.choice(choice, out).stop = Some((stop.into_static(), extras.into_static()));
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::ServiceTier(tier) => self.head.tier = Some(tier.into_string()),
            Event::Extras(extras) => self.extras.extend(extras.into_static()),
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            Event::Error(error) => out.extend(encode_stream_error(OWN, &error, &self.request_id, 0)),
            Event::End => self.end(losses, out),
        }
    }
}
