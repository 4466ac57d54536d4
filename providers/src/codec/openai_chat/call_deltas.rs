//! Tool calls in a stream: the pieces of parallel ones come interleaved, and not all vendors number them.

use super::calls::{ObjectEnd, foreign_call, made_up_id};
use super::delta_in::Choice;
use super::parts::Origin;
use super::wire::{Raw, ToolCall as WireCall, arguments, read, thought_signature};
use crate::codec::Sink;
use crate::common::{Block, Content, Delta, Event, Str, ToolCall};

/// Bytes of arguments that are kept of a call whose name has not come.
const MOST_EARLY: usize = 1 << 20;

/// Where the ids of calls without one come from.
pub(super) struct Ids<'s> {
    pub(super) seed: &'s str,
    pub(super) made_up: &'s mut usize,
}

impl Ids<'_> {
    fn next(&mut self) -> Str<'static> {
        let id = made_up_id(self.seed, *self.made_up);
        *self.made_up += 1;
        id
    }
}

/// A tool call under way.
#[derive(Default)]
pub(super) struct Call {
    /// Its number on the wire.
    index: Option<u32>,
    id: String,
    /// Its block; `None` until its name is known.
    pub(super) block: Option<u32>,
    custom: bool,
    /// Arguments that came before the name.
    pub(super) early: String,
    end: ObjectEnd,
    pub(super) closed: bool,
}

impl Choice {
    pub(super) fn tool_call(&mut self, raw: Raw<'_>, origin: Origin, ids: &mut Ids<'_>, sink: Sink<'_>) {
        let Some(wire) = read::<WireCall<'_>>(raw) else { return };
        if matches!(wire.kind.as_deref(), None | Some("function" | "custom" | "")) {
            self.known_call(wire, origin, ids, sink);
        } else {
            self.close(sink);
            self.whole(foreign_call(raw), sink);
        }
    }

    pub(super) fn known_call(&mut self, wire: WireCall<'_>, origin: Origin, ids: &mut Ids<'_>, sink: Sink<'_>) {
        let custom = wire.custom.is_some();
        let (name, arguments) = match (wire.function, wire.custom) {
            (Some(function), _) => (function.name, arguments(function.arguments)),
            (None, Some(custom)) => (custom.name, custom.input.unwrap_or_default()),
            (None, None) => (None, Str::default()),
        };
        let id = wire.id.filter(|id| !id.is_empty());
        let name = name.filter(|name| !name.is_empty());
        let at = match self.find_call(wire.index, id.as_deref(), name.is_some(), &arguments) {
            Some(at) => at,
            None => {
                self.close(sink);
                self.close_complete_calls(sink);
                self.calls.push(Call { index: wire.index, custom, ..Call::default() });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at];
        if let Some(id) = &id
            && call.id.is_empty()
        {
            call.id = id.to_string();
        }
        call.custom |= custom;
        call.end.feed(&arguments);
        match (call.block, name) {
            (None, Some(name)) => {
                let early = std::mem::take(&mut call.early);
                self.start_call(at, name, ids, sink);
                self.call_goes_on(at, early.into(), sink);
                self.call_goes_on(at, arguments, sink);
            }
            (None, None) if call.early.len() < MOST_EARLY => call.early.push_str(&arguments),
            (None, None) => {}
            (Some(_), _) => self.call_goes_on(at, arguments, sink),
        }
        if let Some(signature) = thought_signature(wire.extra_content, None) {
            let signature = origin.opaque(signature);
            match self.calls[at].block {
                Some(index) if !self.calls[at].closed => self.add(index, Delta::Signature(signature), sink),
                _ => {}
            }
        }
    }

    /// The call that a piece belongs to; `None` if it begins one. Some vendors give all calls the index 0, or none at all.
    fn find_call(&self, index: Option<u32>, id: Option<&str>, named: bool, arguments: &str) -> Option<usize> {
        let at = match (index, id) {
            (Some(index), _) => self.calls.iter().rposition(|call| call.index == Some(index)),
            (None, Some(id)) => self.calls.iter().rposition(|call| call.id == id),
            (None, None) => self.calls.len().checked_sub(1),
        }?;
        let call = &self.calls[at];
        let another = match id {
            Some(id) => named && !call.id.is_empty() && call.id != id,
            None => named && !arguments.is_empty() && call.end.is_complete(),
        };
        (!another).then_some(at)
    }

    pub(super) fn start_call(&mut self, at: usize, name: Str<'_>, ids: &mut Ids<'_>, sink: Sink<'_>) {
        let call = &mut self.calls[at];
        let id = if call.id.is_empty() { ids.next() } else { call.id.clone().into() };
        call.id = id.to_string();
        let signature = self.signature.take();
        let custom = self.calls[at].custom;
        let call = ToolCall { id, name, custom, signature, ..ToolCall::default() };
        let index = self.start(Block::new(Content::ToolCall(Box::new(call))), sink);
        self.calls[at].block = Some(index);
    }

    pub(super) fn call_goes_on(&mut self, at: usize, arguments: Str<'_>, sink: Sink<'_>) {
        if let (Some(index), false, false) = (self.calls[at].block, self.calls[at].closed, arguments.is_empty()) {
            self.add(index, Delta::Arguments(arguments), sink);
        }
    }

    /// Ends the calls whose arguments are whole, so that dialects with one open block need not hold back what follows.
    pub(super) fn close_complete_calls(&mut self, sink: Sink<'_>) {
        for call in &mut self.calls {
            if let Some(index) = call.block
                && !call.closed
                && call.end.is_complete()
            {
                call.closed = true;
                sink(Event::BlockEnd { choice: self.number, index });
            }
        }
    }
}
