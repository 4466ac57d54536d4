//! What a client may lose between two turns: reasoning and signatures that belong to tool calls.
//!
//! Providers want them back with the call's result, and many clients keep only what their dialect names. They are kept by
//! tool-call id and put back when the next turn goes to the same provider.

use bounded_static::{IntoBoundedStatic as _, ToBoundedStatic as _};

use super::collect::add;
use super::{Block, Content, Event, Opaque, ProviderTag, Request, Role};

/// The state behind the tool calls of one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnMemory {
    /// Who made it; nobody else gets it.
    pub provider: ProviderTag,
    /// The reasoning that led to the calls, in order.
    pub reasoning: Vec<Block<'static>>,
    /// The calls' ids and their signatures.
    pub calls: Vec<(String, Option<Opaque<'static>>)>,
}

impl TurnMemory {
    /// About how many bytes it holds.
    #[must_use]
    pub fn size(&self) -> usize {
        let opaque = |opaque: &Option<Opaque<'_>>| opaque.as_ref().map_or(0, |opaque| opaque.data.len());
        let reasoning = self.reasoning.iter().map(|block| match &block.content {
            Content::Reasoning(reasoning) => {
                let summaries: usize = reasoning.summary.iter().map(|text| text.len()).sum();
                reasoning.text.len() + summaries + opaque(&reasoning.signature) + opaque(&reasoning.encrypted)
            }
            _ => 0,
        });
        let calls = self.calls.iter().map(|(id, signature)| id.len() + opaque(signature) + 64);
        256 + reasoning.sum::<usize>() + calls.sum::<usize>()
    }
}

/// Watches a stream for what is to be kept.
#[derive(Debug)]
pub struct TurnRecorder {
    provider: ProviderTag,
    reasoning: Vec<(u32, Block<'static>)>,
    calls: Vec<(u32, Block<'static>)>,
}

impl TurnRecorder {
    /// For an answer of `provider`.
    #[must_use]
    pub fn new(provider: ProviderTag) -> Self {
        Self { provider, reasoning: Vec::new(), calls: Vec::new() }
    }

    /// Takes the next event in. Only the first of several answers is watched: no client goes on with more than one.
    pub fn feed(&mut self, event: &Event<'_>) {
        match event {
            Event::BlockStart { choice: 0, index, block } => match &block.content {
                Content::Reasoning(_) => self.reasoning.push((*index, block.to_static())),
                Content::ToolCall(call) => {
                    let call = super::ToolCall { arguments: super::Str::default(), ..(**call).clone() };
                    self.calls.push((*index, Block::new(Content::ToolCall(Box::new(call))).into_static()));
                }
                Content::Text(_)
                | Content::Refusal(_)
                | Content::Media(_)
                | Content::ToolResult(_)
                | Content::Foreign(_) => {}
            },
            Event::Delta { choice: 0, index, delta } => {
                let signs = matches!(delta, super::Delta::Signature(_));
                let known = self.reasoning.iter_mut().chain(self.calls.iter_mut().filter(|_| signs));
                if let Some((_, block)) = known.into_iter().find(|(at, _)| at == index) {
                    add(block, delta);
                }
            }
            _ => {}
        }
    }

    /// What is to be kept; `None` if no tool was called or nothing would be lost.
    #[must_use]
    pub fn finish(self) -> Option<TurnMemory> {
        let calls: Vec<_> = self
            .calls
            .into_iter()
            .filter_map(|(_, block)| match block.content {
                Content::ToolCall(call) => {
                    Some((call.id.into_string(), call.signature.filter(|signature| !signature.data.is_empty())))
                }
                _ => None,
            })
            .collect();
        let mut reasoning: Vec<_> = self.reasoning.into_iter().map(|(_, block)| block).collect();
        for block in &mut reasoning {
            if let Content::Reasoning(reasoning) = &mut block.content {
                reasoning.signature.take_if(|signature| signature.data.is_empty());
            }
        }
        reasoning.retain(|block| !is_empty(block));
        let worth = !reasoning.is_empty() || calls.iter().any(|(_, signature)| signature.is_some());
        (worth && !calls.is_empty()).then_some(TurnMemory { provider: self.provider, reasoning, calls })
    }
}

/// Whether nothing was thought: a block that only marks a turn.
fn is_empty(block: &Block<'_>) -> bool {
    matches!(&block.content, Content::Reasoning(reasoning) if **reasoning == super::Reasoning::default())
}

/// Puts back what `recall` knows about the tool calls of the history, as far as `provider` made it. What the client kept itself
/// stays.
pub fn restore_turns<M: AsRef<TurnMemory>>(
    request: &mut Request<'_>,
    provider: ProviderTag,
    recall: impl Fn(&str) -> Option<M>,
) {
    let mut from = 0;
    while from < request.messages.len() {
        let role = request.messages[from].role;
        let length = request.messages[from..].iter().take_while(|message| message.role == role).count();
        if role == Role::Assistant {
            restore_turn(&mut request.messages[from..from + length], provider, &recall);
        }
        from += length;
    }
}

fn restore_turn<M: AsRef<TurnMemory>>(
    turn: &mut [super::Message<'_>],
    provider: ProviderTag,
    recall: &impl Fn(&str) -> Option<M>,
) {
    let mut reasoning = Vec::new();
    let mut has_state = false;
    for block in turn.iter_mut().flat_map(|message| &mut message.blocks) {
        match &mut block.content {
            Content::ToolCall(call) => {
                let Some(memory) = recall(&call.id) else { continue };
                let memory = memory.as_ref();
                if memory.provider != provider {
                    continue;
                }
                let signature =
                    memory.calls.iter().find(|(id, _)| *id == *call.id).and_then(|(_, signature)| signature.clone());
                call.signature = call.signature.take().or(signature);
                if reasoning.is_empty() {
                    reasoning = memory.reasoning.clone();
                }
            }
            Content::Reasoning(own) => has_state |= own.signature.is_some() || own.encrypted.is_some(),
            Content::Text(_)
            | Content::Refusal(_)
            | Content::Media(_)
            | Content::ToolResult(_)
            | Content::Foreign(_) => {}
        }
    }
    if has_state || reasoning.is_empty() {
        return;
    }
    for message in turn.iter_mut() {
        // Without its signature it is a copy for people; the original takes its place.
        message.blocks.retain(|block| !matches!(block.content, Content::Reasoning(_)));
    }
    if let Some(first) = turn.first_mut() {
        first.blocks.splice(0..0, reasoning);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::common::{Delta, Message, Reasoning, ToolCall};
    use crate::dialect::Dialect;

    fn call(id: &'static str) -> Block<'static> {
        Block::new(Content::ToolCall(Box::new(ToolCall { id: id.into(), name: "f".into(), ..ToolCall::default() })))
    }

    fn recorded(provider: ProviderTag) -> TurnMemory {
        let sign = |data: &'static str| Opaque::made_by(Dialect::Anthropic, Some(provider), data.into());
        let mut recorder = TurnRecorder::new(provider);
        let reasoning = Block::new(Content::Reasoning(Box::<Reasoning<'_>>::default()));
        recorder.feed(&Event::BlockStart { choice: 0, index: 0, block: reasoning });
        recorder.feed(&Event::Delta { choice: 0, index: 0, delta: Delta::Reasoning("because".into()) });
        recorder.feed(&Event::Delta { choice: 0, index: 0, delta: Delta::Signature(sign("s0")) });
        recorder.feed(&Event::BlockStart { choice: 0, index: 1, block: Block::text("hi") });
        recorder.feed(&Event::BlockStart { choice: 0, index: 2, block: call("c1") });
        recorder.feed(&Event::Delta { choice: 0, index: 2, delta: Delta::Arguments("{\"long\":1}".into()) });
        recorder.feed(&Event::BlockStart { choice: 0, index: 3, block: call("c2") });
        recorder.feed(&Event::Delta { choice: 0, index: 3, delta: Delta::Signature(sign("s2")) });
        recorder.finish().unwrap()
    }

    #[test]
    fn what_a_client_stripped_comes_back_to_its_maker_only() {
        let (maker, other) = (ProviderTag::of("a"), ProviderTag::of("b"));
        let memory = Arc::new(recorded(maker));
        assert_eq!(memory.calls.len(), 2);
        let recall = |id: &str| ["c1", "c2"].contains(&id).then(|| memory.clone());
        let mut request = Request::new(Dialect::OpenAiChat);
        let assistant = |blocks| Message { role: Role::Assistant, blocks, ..Message::default() };
        request.messages =
            vec![Message::default(), assistant(vec![Block::text("hi"), call("c1"), call("c2")]), Message::default()];
        let before = request.clone();
        restore_turns(&mut request, other, recall);
        assert_eq!(request, before);
        restore_turns(&mut request, maker, recall);
        let blocks = &request.messages[1].blocks;
        assert_eq!(blocks.len(), 4);
        assert!(matches!(&blocks[0].content, Content::Reasoning(r) if r.text == "because" && r.signature.is_some()));
        assert!(matches!(&blocks[3].content, Content::ToolCall(c) if c.signature.is_some()));
        let restored = request.clone();
        restore_turns(&mut request, maker, recall);
        assert_eq!(request, restored, "nothing is put back twice");
    }

    #[test]
    fn nothing_is_kept_without_calls() {
        let mut recorder = TurnRecorder::new(ProviderTag::of("a"));
        recorder.feed(&Event::BlockStart { choice: 0, index: 0, block: Block::text("hi") });
        assert_eq!(recorder.finish(), None);
    }
}
