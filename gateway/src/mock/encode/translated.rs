//! Gemini, Bedrock's Converse and Cohere, written with the gateway's own codecs.

use ai_gateway_providers::codec::{Client, StreamEncoder, codec};
use ai_gateway_providers::common::{
    Block, Choice, Content, Delta, Event, Losses, Opaque, Reasoning, Response, Stop, StopReason, ToolCall,
};
use ai_gateway_providers::event_stream::write_event;
use ai_gateway_providers::{self as providers, Dialect};
use bytes::Bytes;

use super::{CREATED, Encode, Meta};
use crate::mock::failure::Failure;
use crate::mock::proof;
use crate::mock::script::{Call, Finish, Piece, Script, Usage};

/// A stream of one of these dialects.
pub(in crate::mock) struct Translated {
    says: Says,
    encoder: Box<dyn StreamEncoder>,
    /// The open block, and its number or that of the next.
    open: Option<Kind>,
    number: u32,
    /// Of the reasoning.
    signature: Option<Opaque<'static>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reasoning,
    Text,
    Call(usize),
}

/// What the dialect adds to what is said.
struct Says {
    dialect: Dialect,
    meta: Meta,
}

impl Says {
    fn client(&self, json_array: bool) -> Client {
        Client {
            model: self.meta.model.clone(),
            include_usage: true,
            request_id: self.id(),
            now: CREATED,
            echo: None,
            json_array,
        }
    }

    fn id(&self) -> String {
        self.meta.id("")
    }

    /// Gemini and Claude on Bedrock sign their reasoning.
    fn signature(&self, reasoning: &str) -> Option<Opaque<'static>> {
        let signs = self.dialect != Dialect::Cohere && !reasoning.is_empty();
        signs.then(|| self.opaque(proof::of_text(self.dialect, reasoning)))
    }

    fn opaque(&self, data: String) -> Opaque<'static> {
        Opaque::made_by(self.dialect, None, data.into())
    }

    /// A call without its arguments. Of several calls Gemini signs the first.
    fn call(&self, i: usize, call: &Call) -> ToolCall<'static> {
        let id = match self.dialect {
            Dialect::Cohere => self.meta.call_id(&format!("{}_", call.name), i),
            Dialect::Bedrock => self.meta.call_id("tooluse_", i),
            _ => self.meta.call_id("", i),
        };
        let signs = self.dialect == Dialect::Gemini && i == 0;
        let signature = signs.then(|| self.opaque(proof::of_call(self.dialect, &call.name, &call.arguments)));
        ToolCall { id: id.into(), name: call.name.clone().into(), signature, ..ToolCall::default() }
    }
}

fn stop(finish: Finish) -> Stop<'static> {
    Stop::new(match finish {
        Finish::Stop => StopReason::End,
        Finish::Length => StopReason::MaxTokens,
        Finish::ToolCalls => StopReason::ToolCalls,
        Finish::ContentFilter => StopReason::ContentFilter,
    })
}

fn consumed(usage: Usage) -> providers::Usage {
    let some = |count: u64| (count > 0).then_some(count);
    providers::Usage {
        input: Some(usage.input - usage.cache_read - usage.cache_write),
        cache_read: some(usage.cache_read),
        cache_write_5m: some(usage.cache_write),
        output: Some(usage.output - usage.reasoning),
        reasoning: some(usage.reasoning),
        ..providers::Usage::default()
    }
}

impl Translated {
    /// A stream; Gemini's comes as a JSON array if it is not asked for as events.
    pub(in crate::mock) fn new(dialect: Dialect, meta: Meta, json_array: bool) -> Self {
        let says = Says { dialect, meta };
        let encoder = codec(dialect).stream_encoder(&says.client(json_array));
        Translated { says, encoder, open: None, number: 0, signature: None }
    }

    /// The answer in one.
    pub(in crate::mock) fn whole(dialect: Dialect, meta: &Meta, script: &Script) -> Vec<u8> {
        let says = Says { dialect, meta: meta.clone() };
        let mut blocks = Vec::new();
        let reasoning = script.reasoning();
        if !reasoning.is_empty() {
            let signature = says.signature(&reasoning);
            let reasoning = Reasoning { text: reasoning.into(), signature, ..Reasoning::default() };
            blocks.push(Block::new(Content::Reasoning(Box::new(reasoning))));
        }
        if script.calls.is_empty() {
            blocks.push(Block::text(script.text()));
        }
        blocks.extend(script.calls.iter().enumerate().map(|(i, call)| {
            let arguments = call.arguments.as_str().into();
            Block::new(Content::ToolCall(Box::new(ToolCall { arguments, ..says.call(i, call) })))
        }));
        let response = Response {
            id: Some(says.id().into()),
            model: Some(says.meta.model.as_str().into()),
            created: Some(CREATED),
            choices: vec![Choice { blocks, stop: stop(script.finish), ..Choice::default() }],
            usage: script.usage.map(consumed),
            ..Response::new(dialect)
        };
        codec(dialect).encode_response(&response, &says.client(false), &mut Losses::default())
    }

    fn write(&mut self, event: Event<'_>, out: &mut Vec<u8>) {
        // What the dialect cannot say is not said.
        self.encoder.encode(event, &mut Losses::default(), out);
    }

    fn enter(&mut self, kind: Kind, content: impl FnOnce(&Says) -> Content<'static>, out: &mut Vec<u8>) {
        if self.open == Some(kind) {
            return;
        }
        self.leave(out);
        let block = Block::new(content(&self.says));
        self.write(Event::BlockStart { choice: 0, index: self.number, block }, out);
        self.open = Some(kind);
    }

    fn leave(&mut self, out: &mut Vec<u8>) {
        let Some(kind) = self.open.take() else { return };
        if kind == Kind::Reasoning
            && let Some(signature) = self.signature.take()
        {
            self.delta(Delta::Signature(signature), out);
        }
        self.write(Event::BlockEnd { choice: 0, index: self.number }, out);
        self.number += 1;
    }

    fn delta(&mut self, delta: Delta<'_>, out: &mut Vec<u8>) {
        self.write(Event::Delta { choice: 0, index: self.number, delta }, out);
    }
}

impl Encode for Translated {
    fn preamble(&mut self, script: &Script) -> Bytes {
        self.signature = self.says.signature(&script.reasoning());
        let (id, model) = (self.says.id(), self.says.meta.model.clone());
        let mut out = Vec::new();
        self.write(Event::Start { id: Some(id.into()), model: Some(model.into()), created: Some(CREATED) }, &mut out);
        out.into()
    }

    fn piece(&mut self, piece: Piece<'_>) -> Bytes {
        let mut out = Vec::new();
        match piece {
            Piece::Reasoning(text) => {
                self.enter(Kind::Reasoning, |_| Content::Reasoning(Box::default()), &mut out);
                self.delta(Delta::Reasoning(text.into()), &mut out);
            }
            Piece::Text(text) => {
                self.enter(Kind::Text, |_| Content::default(), &mut out);
                self.delta(Delta::Text(text.into()), &mut out);
            }
            Piece::Call(i, call) => {
                self.enter(Kind::Call(i), |says| Content::ToolCall(Box::new(says.call(i, call))), &mut out);
            }
            Piece::Arguments(_, part) => self.delta(Delta::Arguments(part.into()), &mut out),
        }
        out.into()
    }

    fn closing(&mut self, finish: Finish, usage: Option<Usage>) -> Vec<Bytes> {
        let (mut done, mut last) = (Vec::new(), Vec::new());
        self.leave(&mut done);
        self.write(Event::Stop { choice: 0, stop: stop(finish), extras: Vec::new() }, &mut last);
        if let Some(usage) = usage {
            self.write(Event::Usage(consumed(usage)), &mut last);
        }
        self.write(Event::End, &mut last);
        vec![done.into(), last.into()]
    }

    fn malformed(&mut self) -> Bytes {
        if self.says.dialect != Dialect::Bedrock {
            return Bytes::from_static(b"data: {\"type\": nonsense\n\n");
        }
        let mut out = Vec::new();
        write_event(&mut out, "contentBlockDelta", |out| out.extend_from_slice(b"{\"delta\": nonsense"));
        out.into()
    }

    fn error(&mut self, failure: &Failure) -> Bytes {
        let mut out = Vec::new();
        self.write(Event::Error(failure.api()), &mut out);
        out.into()
    }
}
