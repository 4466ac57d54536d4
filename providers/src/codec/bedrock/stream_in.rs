//! Streams read.
//!
//! `messageStart`, the blocks, `messageStop`, `metadata`, and that is the end. Text and reasoning begin with their first delta.

use serde_json::Value;

use super::wire;
use super::{OWN, answer, media, read};
use crate::codec::wire::read_answer;
use crate::codec::{Maker, Sink, StreamDecoder};
use crate::common::{
    Block, Content, Delta, Event, Extras, Foreign, Json, Media, MediaKind, Opaque, ProviderTag, Reasoning, Stop, Str,
    Text, ToolCall,
};
use crate::error::{ApiError, ErrorKind, decode_error};
use crate::event_stream::{Frame, FrameSplitter};

pub(super) struct Decoder {
    splitter: FrameSplitter,
    answer: Answer,
    ended: bool,
}

impl Decoder {
    pub(super) fn new(maker: &Maker<'_>) -> Self {
        let answer = Answer {
            provider: maker.provider,
            model: maker.model.to_owned(),
            started: false,
            stopped: false,
            metadata: false,
            blocks: Vec::new(),
            begun: 0,
        };
        Self { splitter: FrameSplitter::default(), answer, ended: false }
    }
}

impl StreamDecoder for Decoder {
    fn feed(&mut self, chunk: &[u8], end: bool, sink: Sink<'_>) {
        let Self { splitter, answer, ended } = self;
        let mut watch = |event: Event<'_>| {
            if !*ended {
                *ended = matches!(event, Event::End | Event::Error(_));
                sink(event);
            }
        };
        splitter.feed(chunk, |frame| match frame {
            Ok(Frame::Event { name, payload }) => {
                if let Err(error) = answer.event(name, payload, &mut watch) {
                    watch(Event::Error(error));
                }
            }
            Ok(Frame::Exception { name, payload }) => watch(Event::Error(exception(name, payload))),
            Ok(Frame::Error { code, message }) => {
                let body = Json::of(&std::collections::BTreeMap::from([("message", message)]));
                watch(Event::Error(exception(code, body.get().as_bytes())));
            }
            Err(error) => watch(Event::Error(ApiError::new(ErrorKind::UpstreamError, error.to_string()))),
        });
        if end {
            watch(if answer.stopped { Event::End } else { Event::Error(ApiError::cut_short()) });
        }
    }

    fn has_stopped(&self) -> bool {
        !self.ended && self.answer.stopped
    }
}

/// What an exception inside a stream means: its name says what its status would.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html#API_runtime_ConverseStream_ResponseSyntax>
pub(crate) fn exception(name: &str, payload: &[u8]) -> ApiError {
    let status = match name.to_ascii_lowercase().as_str() {
        "validationexception" => 400,
        "accessdeniedexception" | "unrecognizedclientexception" | "expiredtokenexception" => 403,
        "resourcenotfoundexception" => 404,
        "throttlingexception" | "servicequotaexceededexception" => 429,
        "modelstreamerrorexception" | "modelerrorexception" => 424,
        "modeltimeoutexception" => 504,
        "serviceunavailableexception" | "modelnotreadyexception" => 503,
        _ => 500,
    };
    let mut error = decode_error(OWN, status, payload);
    error.status = 200;
    error.provider_type.get_or_insert_with(|| name.to_owned());
    error
}

struct Answer {
    provider: ProviderTag,
    model: String,
    started: bool,
    stopped: bool,
    metadata: bool,
    /// Those that are open.
    blocks: Vec<Open>,
    /// How many have begun.
    begun: u32,
}

struct Open {
    /// The provider's number.
    number: u64,
    index: u32,
    kind: Kind,
}

enum Kind {
    Text,
    Reasoning,
    /// Whether arguments came.
    Call(bool),
    Image,
    /// A block of this dialect alone, put together: its member's name, its fields, its input or content so far.
    Foreign(&'static str, serde_json::Map<String, Value>, ForeignBody),
}

enum ForeignBody {
    Input(String),
    Content(Vec<Value>),
}

impl Answer {
    /// A frame that is whole and cannot be read would leave a gap in the answer.
    fn event(&mut self, name: &str, payload: &[u8], sink: Sink<'_>) -> Result<(), ApiError> {
        if self.stopped && name != "metadata" {
            return Ok(());
        }
        match name {
            "messageStart" => self.start(sink),
            "contentBlockStart" => {
                let wire::BlockStart { index, start, rest: _ } = read_answer(payload)?;
                self.block_start(index, start, sink);
            }
            "contentBlockDelta" => {
                let wire::BlockDelta { index, delta, rest: _ } = read_answer(payload)?;
                self.delta(index, delta, sink)?;
            }
            "contentBlockStop" => {
                let wire::BlockStop { index, rest: _ } = read_answer(payload)?;
                if let Some(at) = self.blocks.iter().position(|block| block.number == index) {
                    end_block(self.blocks.remove(at), sink);
                }
            }
            "messageStop" => {
                let wire::MessageStop { reason, padding: _, rest } = read_answer(payload)?;
                self.start(sink);
                self.stop(reason.as_deref().unwrap_or("end_turn"), rest, sink);
            }
            "metadata" => {
                let wire::Metadata { usage, metrics: _, tier, padding: _, mut rest } = read_answer(payload)?;
                answer::drop_own(&mut rest);
                if let Some(usage) = usage.and_then(|usage| answer::read_usage(&usage)) {
                    sink(Event::Usage(usage));
                }
                if let Some(tier) = tier.kind {
                    sink(Event::ServiceTier(tier));
                }
                if !rest.is_empty() {
                    sink(Event::Extras(rest));
                }
                self.metadata = true;
            }
            _ => sink(Event::Ping),
        }
        if self.stopped && self.metadata {
            sink(Event::End);
        }
        Ok(())
    }

    fn start(&mut self, sink: Sink<'_>) {
        if !std::mem::replace(&mut self.started, true) {
            sink(Event::Start { id: None, model: Some((&*self.model).into()), created: None });
        }
    }

    fn stop(&mut self, reason: &str, mut extras: Extras<'_>, sink: Sink<'_>) {
        answer::drop_own(&mut extras);
        for block in self.blocks.drain(..) {
            end_block(block, sink);
        }
        let stop: Stop<'_> = answer::read_stop(reason, &extras);
        if !extras.is_empty() {
            sink(Event::Extras(extras));
        }
        sink(Event::Stop { choice: 0, stop, extras: Extras::new() });
        self.stopped = true;
    }

    fn begin(&mut self, number: u64, kind: Kind, block: Block<'_>, sink: Sink<'_>) -> usize {
        self.start(sink);
        // A number is used again only by servers that forget to end blocks.
        if let Some(at) = self.blocks.iter().position(|block| block.number == number) {
            end_block(self.blocks.remove(at), sink);
        }
        let index = self.begun;
        self.begun += 1;
        sink(Event::BlockStart { choice: 0, index, block });
        self.blocks.push(Open { number, index, kind });
        self.blocks.len() - 1
    }

    fn block_start(&mut self, number: u64, start: wire::Start<'_>, sink: Sink<'_>) {
        let wire::Start { tool_use, tool_result, image, rest } = start;
        if let Some(call) = tool_use {
            let wire::ToolUse { id, name, input: _, kind, rest: extras } = call;
            match kind.as_deref() {
                None | Some("tool_use") => {
                    let call = ToolCall { id, name, ..ToolCall::default() };
                    let block = Block { extras, ..Block::new(Content::ToolCall(Box::new(call))) };
                    self.begin(number, Kind::Call(false), block, sink);
                }
                Some(kind) => {
                    let mut fields: serde_json::Map<String, Value> =
                        extras.iter().map(|(key, value)| (key.to_string(), value.to_value())).collect();
                    for (key, value) in [("toolUseId", &*id), ("name", &*name), ("type", kind)] {
                        fields.insert(key.to_owned(), value.into());
                    }
                    self.begin_foreign(number, "toolUse", kind, fields, ForeignBody::Input(String::new()), sink);
                }
            }
        } else if let Some(result) = tool_result {
            let fields: serde_json::Map<String, Value> = result.read().unwrap_or_default();
            self.begin_foreign(number, "toolResult", "toolResult", fields, ForeignBody::Content(Vec::new()), sink);
        } else if let Some(image) = image {
            let mime = media::mime_of(MediaKind::Image, &image.format).map(Str::from);
            let media = Media { kind: MediaKind::Image, mime, ..Media::default() };
            self.begin(number, Kind::Image, Block::new(Content::Media(Box::new(media))), sink);
        } else if let Some((kind, raw)) = rest.first() {
            let block = read::foreign(kind, raw);
            let at = self.begin(number, Kind::Text, block, sink);
            end_block(self.blocks.remove(at), sink);
        }
    }

    fn begin_foreign(
        &mut self,
        number: u64,
        member: &'static str,
        kind: &str,
        fields: serde_json::Map<String, Value>,
        body: ForeignBody,
        sink: Sink<'_>,
    ) {
        let raw = read::wrapped(member, &fields);
        let foreign = Foreign { dialect: OWN, kind: kind.to_owned().into(), raw };
        let block = Block::new(Content::Foreign(Box::new(foreign)));
        self.begin(number, Kind::Foreign(member, fields, body), block, sink);
    }

    fn delta(&mut self, number: u64, delta: wire::Delta<'_>, sink: Sink<'_>) -> Result<(), ApiError> {
        let wire::Delta { text, tool_use, reasoning, citation, tool_result, image, rest: _ } = delta;
        let provider = self.provider;
        let opaque = |data| Opaque::made_by(OWN, Some(provider), data);
        if let Some(text) = text {
            let index = self.open(number, |kind| matches!(kind, Kind::Text), sink);
            sink(Event::Delta { choice: 0, index, delta: Delta::Text(text) });
        }
        if let Some(citation) = citation {
            let index = self.open(number, |kind| matches!(kind, Kind::Text), sink);
            let citation = Delta::Citation(Box::new(read::citation(citation)));
            sink(Event::Delta { choice: 0, index, delta: citation });
        }
        if let Some(wire::ReasoningDelta { text, signature, redacted, rest: _ }) = reasoning {
            let deltas = [
                text.map(Delta::Reasoning),
                signature.map(|data| Delta::Signature(opaque(data))),
                redacted.map(|data| Delta::Encrypted(opaque(data))),
            ];
            for delta in deltas.into_iter().flatten() {
                let index = self.open_reasoning(number, sink);
                sink(Event::Delta { choice: 0, index, delta });
            }
        }
        let open = self.blocks.iter_mut().find(|block| block.number == number);
        let Some(Open { index, kind, .. }) = open else {
            let lost = "the provider sent the arguments of a call that it had not begun";
            return if tool_use.is_some() { Err(ApiError::new(ErrorKind::UpstreamError, lost)) } else { Ok(()) };
        };
        let index = *index;
        match kind {
            Kind::Call(any) => {
                if let Some(wire::InputDelta { input, rest: _ }) = tool_use {
                    *any |= !input.is_empty();
                    sink(Event::Delta { choice: 0, index, delta: Delta::Arguments(input) });
                }
            }
            Kind::Image => {
                if let Some(bytes) = image.and_then(|image| image.source.bytes) {
                    sink(Event::Delta { choice: 0, index, delta: Delta::MediaData(bytes) });
                }
            }
            Kind::Foreign(_, _, ForeignBody::Input(text)) => {
                text.push_str(tool_use.as_ref().map_or("", |delta| &delta.input));
            }
            Kind::Foreign(_, _, ForeignBody::Content(content)) => {
                content.extend(tool_result.iter().flatten().map(Json::to_value));
            }
            Kind::Text | Kind::Reasoning => {}
        }
        Ok(())
    }

    /// The block that a delta belongs to: text and reasoning need no `contentBlockStart`.
    fn open(&mut self, number: u64, fits: fn(&Kind) -> bool, sink: Sink<'_>) -> u32 {
        if let Some(open) = self.blocks.iter().find(|block| block.number == number && fits(&block.kind)) {
            return open.index;
        }
        let at = self.begin(number, Kind::Text, Block::new(Content::Text(Text::default())), sink);
        self.blocks[at].index
    }

    fn open_reasoning(&mut self, number: u64, sink: Sink<'_>) -> u32 {
        let fits = |block: &&Open| block.number == number && matches!(block.kind, Kind::Reasoning);
        if let Some(open) = self.blocks.iter().find(fits) {
            return open.index;
        }
        let block = Block::new(Content::Reasoning(Box::<Reasoning<'_>>::default()));
        let at = self.begin(number, Kind::Reasoning, block, sink);
        self.blocks[at].index
    }
}

fn end_block(block: Open, sink: Sink<'_>) {
    let Open { number: _, index, kind } = block;
    let delta = match kind {
        // A call without arguments has an empty object for them, as in an answer that comes whole.
        Kind::Call(false) => Some(Delta::Arguments("{}".into())),
        Kind::Foreign(member, mut fields, body) => {
            match body {
                ForeignBody::Input(text) => {
                    let empty = || Value::Object(serde_json::Map::new());
                    let input =
                        if text.is_empty() { empty() } else { serde_json::from_str(&text).unwrap_or(text.into()) };
                    fields.insert("input".to_owned(), input);
                }
                ForeignBody::Content(content) => {
                    fields.insert("content".to_owned(), content.into());
                }
            }
            Some(Delta::Foreign(read::wrapped(member, &fields)))
        }
        Kind::Text | Kind::Reasoning | Kind::Call(true) | Kind::Image => None,
    };
    if let Some(delta) = delta {
        sink(Event::Delta { choice: 0, index, delta });
    }
    sink(Event::BlockEnd { choice: 0, index });
}
