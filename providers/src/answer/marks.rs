//! Marks on what a provider of another dialect made and did not sign.
//!
//! Providers refuse histories with calls (Gemini) or reasoning (Bedrock; Anthropic's and Responses' codecs see to theirs) that carry
//! no signature, and Claude one whose calls were made without reasoning while it is asked to reason. Such calls and
//! reasoning get a ticket without data, by which the next turn is seen to hold them: it goes through the codec, which knows
//! what to send instead, also where both sides then speak one dialect.

use crate::common::{Block, Content, Delta, Event, Opaque, ProviderTag, Reasoning, Response, Str};
use crate::dialect::Dialect;

/// Sets the marks in one answer. Only the first of several choices gets blocks of its own: no client goes on with more than one.
#[derive(Debug)]
pub(super) struct Marks {
    to: Dialect,
    from: Dialect,
    provider: ProviderTag,
    /// A call without reasoning before it is to be marked.
    wants_thought: bool,
    /// Choice and index of reasoning that has no signature so far.
    unsigned: Vec<(u32, u32)>,
    /// From this block on, blocks are one further behind, as a mark was put before them.
    shifted_from: Option<u32>,
}

impl Marks {
    /// For an answer from a provider of `from` to a client of `to` that asked for reasoning or not; `None` where nothing is to be
    /// marked.
    pub(super) fn new(from: Dialect, to: Dialect, provider: ProviderTag, reasoning: bool) -> Option<Self> {
        let marks = from != to && matches!(to, Dialect::Gemini | Dialect::Bedrock | Dialect::Anthropic);
        let wants_thought = reasoning && to != Dialect::Gemini;
        marks.then(|| Self { to, from, provider, wants_thought, unsigned: Vec::new(), shifted_from: None })
    }

    fn ticket(&self) -> Opaque<'static> {
        Opaque::made_by(self.from, Some(self.provider), Str::default())
    }

    /// A thought of nobody.
    fn thought(&self) -> Block<'static> {
        let reasoning = Reasoning { signature: Some(self.ticket()), ..Reasoning::default() };
        Block::new(Content::Reasoning(Box::new(reasoning)))
    }

    pub(super) fn whole(&self, response: &mut Response<'_>) {
        for block in response.choices.iter_mut().flat_map(|choice| &mut choice.blocks) {
            self.call(block);
            if let Content::Reasoning(reasoning) = &mut block.content
                && self.to == Dialect::Bedrock
                && reasoning.encrypted.is_none()
            {
                reasoning.signature.get_or_insert_with(|| self.ticket());
            }
        }
        if let Some(choice) = response.choices.first_mut().filter(|_| self.wants_thought)
            && let Some(call) = choice.blocks.iter().position(is_call)
            && !choice.blocks.iter().any(is_thought)
        {
            choice.blocks.insert(call, self.thought());
        }
    }

    pub(super) fn stream(&mut self, mut event: Event<'_>, sink: &mut dyn FnMut(Event<'_>)) {
        if let Event::BlockStart { choice: 0, index, block } = &event
            && self.wants_thought
            && (is_call(block) || is_thought(block))
        {
            self.wants_thought = false;
            if is_call(block) {
                self.shifted_from = Some(*index);
                sink(Event::BlockStart { choice: 0, index: *index, block: self.thought() });
                sink(Event::BlockEnd { choice: 0, index: *index });
            }
        }
        if let Event::BlockStart { choice: 0, index, .. }
        | Event::Delta { choice: 0, index, .. }
        | Event::BlockEnd { choice: 0, index } = &mut event
            && self.shifted_from.is_some_and(|from| *index >= from)
        {
            *index += 1;
        }
        match &mut event {
            Event::BlockStart { choice, index, block } => {
                self.call(block);
                if let Content::Reasoning(reasoning) = &block.content
                    && self.to == Dialect::Bedrock
                    && reasoning.signature.is_none()
                    && reasoning.encrypted.is_none()
                {
                    self.unsigned.push((*choice, *index));
                }
            }
            Event::Delta { choice, index, delta: Delta::Signature(_) | Delta::Encrypted(_) } => {
                self.unsigned.retain(|block| *block != (*choice, *index));
            }
            Event::BlockEnd { choice, index } => {
                let (choice, index) = (*choice, *index);
                if let Some(at) = self.unsigned.iter().position(|block| *block == (choice, index)) {
                    self.unsigned.swap_remove(at);
                    sink(Event::Delta { choice, index, delta: Delta::Signature(self.ticket()) });
                }
            }
            _ => {}
        }
        sink(event);
    }

    /// Calls are written whole, so that a signature that comes late still takes the mark's place.
    fn call(&self, block: &mut Block<'_>) {
        if let Content::ToolCall(call) = &mut block.content
            && self.to == Dialect::Gemini
        {
            call.signature.get_or_insert_with(|| self.ticket());
        }
    }
}

fn is_call(block: &Block<'_>) -> bool {
    matches!(block.content, Content::ToolCall(_))
}

fn is_thought(block: &Block<'_>) -> bool {
    matches!(block.content, Content::Reasoning(_))
}
