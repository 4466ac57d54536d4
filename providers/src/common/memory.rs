//! What a client may lose between two turns: reasoning and signatures that belong to tool calls.
//!
//! Providers want them back with the call's result, and many clients keep only what their dialect names. They are kept by
//! what is certain to be that call of that conversation ([`Before`]) and put back when the next turn goes to the same provider.

use bounded_static::{IntoBoundedStatic as _, ToBoundedStatic as _};

use super::collect::add;
use super::history::History;
use super::{Before, Block, Content, Event, Message, Opaque, ProviderTag, Reasoning, Request, Role, Str, ToolCall};

/// The state behind the tool calls of one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnMemory {
    /// The reasoning that led to the calls, in order.
    pub reasoning: Vec<Block<'static>>,
    /// The calls, by names which no others have, and their signatures.
    pub calls: Vec<(String, Option<Opaque<'static>>)>,
}

impl TurnMemory {
    /// About how many bytes it holds.
    #[must_use]
    pub fn size(&self) -> usize {
        let opaque = |opaque: &Option<Opaque<'_>>| opaque.as_ref().map_or(0, |opaque| opaque.data.len());
        let reasoning = thoughts(&self.reasoning).map(|reasoning| {
            let summaries: usize = reasoning.summary.iter().map(|text| text.len()).sum();
            reasoning.text.len() + summaries + opaque(&reasoning.signature) + opaque(&reasoning.encrypted)
        });
        let calls = self.calls.iter().map(|(name, signature)| name.len() + opaque(signature) + 64);
        256 + reasoning.sum::<usize>() + calls.sum::<usize>()
    }
}

/// Watches a stream for what is to be kept.
#[derive(Debug)]
pub struct TurnRecorder {
    provider: ProviderTag,
    before: Before,
    plain: bool,
    reasoning: Vec<(u32, Block<'static>)>,
    calls: Vec<(u32, Block<'static>)>,
}

impl TurnRecorder {
    /// For an answer of `provider` after what was said `before`. `plain`: it wants reasoning back that it has not signed, too.
    #[must_use]
    pub fn new(provider: ProviderTag, before: Before, plain: bool) -> Self {
        Self { provider, before, plain, reasoning: Vec::new(), calls: Vec::new() }
    }

    /// Takes the next event in. Only the first of several answers is watched: no client goes on with more than one.
    pub fn feed(&mut self, event: &Event<'_>) {
        match event {
            Event::BlockStart { choice: 0, index, block } => match &block.content {
                Content::Reasoning(_) => self.reasoning.push((*index, block.to_static())),
                Content::ToolCall(call) => {
                    self.calls.push((*index, Block::new(Content::ToolCall(call.clone())).into_static()));
                }
                Content::Text(_)
                | Content::Refusal(_)
                | Content::Media(_)
                | Content::ToolResult(_)
                | Content::Foreign(_) => {}
            },
            Event::Delta { choice: 0, index, delta } => {
                let mut known = self.reasoning.iter_mut().chain(&mut self.calls);
                if let Some((_, block)) = known.find(|(at, _)| at == index) {
                    add(block, delta);
                }
            }
            _ => {}
        }
    }

    /// What is to be kept; `None` if no tool was called or nothing would be lost.
    #[must_use]
    pub fn finish(self) -> Option<TurnMemory> {
        let Self { provider, before, plain, reasoning, calls } = self;
        let calls: Vec<_> = calls
            .into_iter()
            .filter_map(|(_, block)| match block.content {
                Content::ToolCall(call) => {
                    let name = before.name_of(&call, provider);
                    Some((name, call.signature.filter(|signature| !signature.data.is_empty())))
                }
                _ => None,
            })
            .collect();
        let mut reasoning: Vec<_> = reasoning.into_iter().map(|(_, block)| block).collect();
        for block in &mut reasoning {
            if let Content::Reasoning(reasoning) = &mut block.content {
                reasoning.signature.take_if(|signature| signature.data.is_empty());
            }
        }
        // A block of nothing only marks a turn.
        reasoning.retain(|block| thoughts([block]).any(|reasoning| !reasoning.is_empty()));
        let has_state = calls.iter().any(|(_, signature)| signature.is_some())
            || thoughts(&reasoning).any(|reasoning| reasoning.signature.is_some() || reasoning.encrypted.is_some());
        let worth = has_state || (plain && !reasoning.is_empty());
        (worth && !calls.is_empty()).then_some(TurnMemory { reasoning, calls })
    }
}

fn thoughts<'b, 'a: 'b>(blocks: impl IntoIterator<Item = &'b Block<'a>>) -> impl Iterator<Item = &'b Reasoning<'a>> {
    blocks.into_iter().filter_map(|block| match &block.content {
        Content::Reasoning(reasoning) => Some(&**reasoning),
        _ => None,
    })
}

/// Puts back what `recall` knows about the tool calls of the history, as far as `provider` made it. What the client kept itself
/// stays. Gives what was said before the answer that is asked for, if that is to be remembered (`remembers`) and can call tools.
pub fn restore_turns<M: AsRef<TurnMemory>>(
    request: &mut Request<'_>,
    provider: ProviderTag,
    remembers: bool,
    recall: impl Fn(&str) -> Option<M>,
) -> Option<Before> {
    let is_call = |block: &Block<'_>| matches!(block.content, Content::ToolCall(_));
    let mut blocks = request.messages.iter().flat_map(|message| &message.blocks);
    let has_tools = remembers && !request.tools.is_empty();
    if !has_tools && !blocks.any(is_call) {
        return None;
    }
    let mut history = History::of(request);
    let mut before = history.before();
    for turn in request.messages.chunk_by_mut(|one, next| one.role == next.role) {
        before = history.before();
        history.push(turn);
        if turn.first().is_some_and(|message| message.role == Role::Assistant) {
            restore_turn(turn, provider, &before, &recall);
        } else {
            before = history.before();
        }
    }
    remembers.then_some(before)
}

fn restore_turn<M: AsRef<TurnMemory>>(
    turn: &mut [Message<'_>],
    provider: ProviderTag,
    before: &Before,
    recall: &impl Fn(&str) -> Option<M>,
) {
    let mut reasoning = Vec::new();
    let mut calls = turn.iter_mut().flat_map(|message| &mut message.blocks);
    while let Some(call) = calls.find_map(call_of) {
        let name = before.name_of(call, provider);
        let Some(memory) = recall(&name) else { continue };
        let TurnMemory { reasoning: thought, calls } = memory.as_ref();
        let signature = calls.iter().find(|(one, _)| *one == name).and_then(|(_, signature)| signature.clone());
        call.signature = call.signature.take().or(signature);
        if reasoning.is_empty() {
            reasoning = thought.clone();
        }
    }
    let own = || thoughts(turn.iter().flat_map(|message| &message.blocks));
    let has_state = own().any(|own| own.signature.is_some() || own.encrypted.is_some());
    if reasoning.is_empty() || has_state || !is_copy(own(), thoughts(&reasoning)) {
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

fn call_of<'b, 'a>(block: &'b mut Block<'a>) -> Option<&'b mut ToolCall<'a>> {
    match &mut block.content {
        Content::ToolCall(call) => Some(call),
        _ => None,
    }
}

/// Whether what the client kept says nothing, or the same, white space apart: dialects set paragraphs apart in their ways.
fn is_copy<'b>(
    kept: impl Iterator<Item = &'b Reasoning<'b>>,
    original: impl Iterator<Item = &'b Reasoning<'b>>,
) -> bool {
    fn words<'b>(all: impl Iterator<Item = &'b Reasoning<'b>>) -> impl Iterator<Item = char> {
        let texts = all.flat_map(|one| one.summary.iter().chain([&one.text]).map(Str::as_str));
        texts.flat_map(str::chars).filter(|c| !c.is_whitespace())
    }
    let mut kept = words(kept).peekable();
    kept.peek().is_none() || kept.eq(words(original))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::common::{Delta, Tool};
    use crate::dialect::Dialect;

    fn call(id: &'static str) -> Block<'static> {
        Block::new(Content::ToolCall(Box::new(ToolCall { id: id.into(), name: "f".into(), ..ToolCall::default() })))
    }

    /// A conversation of two turns, the second of which has called tools, as a client has it that strips what is not text.
    fn conversation(question: &'static str, ids: [&'static str; 2]) -> Request<'static> {
        let mut request = Request::new(Dialect::OpenAiChat);
        request.tools.push(Tool::Function(Box::default()));
        let blocks = vec![Block::text("hi"), call(ids[0]), call(ids[1])];
        let answer = Message { role: Role::Assistant, blocks, ..Message::default() };
        request.messages = vec![Message { blocks: vec![Block::text(question)], ..Message::default() }, answer];
        request
    }

    /// What is kept of the answer in `conversation`: signed or plain.
    fn recorded(conversation: &Request<'static>, provider: ProviderTag, thought: &str, signed: bool) -> TurnMemory {
        let mut asked = conversation.clone();
        let answer = asked.messages.pop().unwrap().blocks;
        let before = restore_turns(&mut asked, provider, true, |_| None::<Arc<TurnMemory>>).unwrap();
        let sign = |data: &'static str| Opaque::made_by(Dialect::Anthropic, Some(provider), data.into());
        let mut recorder = TurnRecorder::new(provider, before, true);
        let reasoning = Block::new(Content::Reasoning(Box::<Reasoning<'_>>::default()));
        recorder.feed(&Event::BlockStart { choice: 0, index: 0, block: reasoning });
        recorder.feed(&Event::Delta { choice: 0, index: 0, delta: Delta::Reasoning(thought.into()) });
        for (index, block) in (1..).zip(answer) {
            recorder.feed(&Event::BlockStart { choice: 0, index, block });
        }
        if signed {
            recorder.feed(&Event::Delta { choice: 0, index: 0, delta: Delta::Signature(sign("s0")) });
            recorder.feed(&Event::Delta { choice: 0, index: 3, delta: Delta::Signature(sign("s2")) });
        }
        recorder.finish().unwrap()
    }

    fn thought(request: &Request<'_>) -> Option<String> {
        thoughts(&request.messages[1].blocks).next().map(|reasoning| reasoning.text.to_string())
    }

    const DRAWN: [&str; 2] = ["call_Aq5n3Bv9s8dKd2lJ0aPqWx7z", "call_Bq5n3Bv9s8dKd2lJ0aPqWx7z"];
    const COUNTED: [&str; 2] = ["functions.f:0", "functions.f:1"];

    fn recall(memories: &[TurnMemory]) -> impl Fn(&str) -> Option<Arc<TurnMemory>> {
        move |name| {
            let found = memories.iter().find(|memory| memory.calls.iter().any(|(known, _)| known == name));
            found.cloned().map(Arc::new)
        }
    }

    #[test]
    fn what_a_client_stripped_comes_back_to_its_maker_only() {
        let (maker, other) = (ProviderTag::of("a"), ProviderTag::of("b"));
        for ids in [DRAWN, COUNTED] {
            let mut request = conversation("Hello", ids);
            let memory = [recorded(&request, maker, "because", true)];
            assert_eq!(memory[0].calls.len(), 2);
            let before = request.clone();
            assert!(restore_turns(&mut request, other, true, recall(&memory)).is_some());
            assert_eq!(request, before);
            assert!(
                restore_turns(&mut request, maker, false, recall(&memory)).is_none(),
                "nothing is to be remembered"
            );
            let blocks = &request.messages[1].blocks;
            assert_eq!(blocks.len(), 4);
            assert!(
                matches!(&blocks[0].content, Content::Reasoning(r) if r.text == "because" && r.signature.is_some())
            );
            assert!(matches!(&blocks[3].content, Content::ToolCall(c) if c.signature.is_some()));
            let restored = request.clone();
            restore_turns(&mut request, maker, true, recall(&memory));
            assert_eq!(request, restored, "nothing is put back twice");
        }
    }

    #[test]
    fn nobody_gets_the_thoughts_of_another_conversation_under_the_same_id() {
        let provider = ProviderTag::of("a");
        let (ann, bob) = (conversation("I am Ann", COUNTED), conversation("I am Bob", COUNTED));
        let memories = [recorded(&ann, provider, "Ann is ill", false), recorded(&bob, provider, "Bob eats", false)];
        for (mut request, known) in
            [(ann, Some("Ann is ill")), (bob, Some("Bob eats")), (conversation("I am Cid", COUNTED), None)]
        {
            restore_turns(&mut request, provider, true, recall(&memories));
            assert_eq!(thought(&request).as_deref(), known);
        }
    }

    #[test]
    fn the_original_takes_the_place_of_its_copy_and_of_nothing_else() {
        let provider = ProviderTag::of("a");
        let plain = conversation("Hello", DRAWN);
        let memory = [recorded(&plain, provider, "first\n\nsecond", true)];
        for (kept, original) in [("first second", true), ("", true), ("third", false)] {
            let mut request = plain.clone();
            let reasoning = Reasoning { text: kept.into(), ..Reasoning::default() };
            request.messages[1].blocks.insert(0, Block::new(Content::Reasoning(Box::new(reasoning))));
            restore_turns(&mut request, provider, true, recall(&memory));
            let expected = if original { "first\n\nsecond" } else { kept };
            assert_eq!(thought(&request).as_deref(), Some(expected));
            assert_eq!(thoughts(&request.messages[1].blocks).count(), 1);
        }
    }

    #[test]
    fn nothing_is_kept_without_calls_and_no_plain_reasoning_that_nobody_wants_back() {
        let provider = ProviderTag::of("a");
        let mut recorder = TurnRecorder::new(provider, Before::default(), true);
        recorder.feed(&Event::BlockStart { choice: 0, index: 0, block: Block::text("hi") });
        assert_eq!(recorder.finish(), None);
        for plain in [false, true] {
            let mut recorder = TurnRecorder::new(provider, Before::default(), plain);
            let reasoning = Reasoning { text: "because".into(), ..Reasoning::default() };
            let block = Block::new(Content::Reasoning(Box::new(reasoning)));
            recorder.feed(&Event::BlockStart { choice: 0, index: 0, block });
            recorder.feed(&Event::BlockStart { choice: 0, index: 1, block: call("c1") });
            assert_eq!(recorder.finish().is_some(), plain);
        }
    }
}
