//! Cache marks of other dialects: Anthropic takes four of them.

use super::block_out::{BlockOut, BodyOut, CacheOut, Known};
use crate::common::{Block, CacheMark, Content, Losses, Request, Tool};

/// Most cache marks of a request.
const MOST_MARKS: usize = 4;

/// Cache marks, of which the last ones are kept: they cover the most.
pub(super) struct Marks {
    skip: usize,
}

impl Marks {
    /// For the marks of `request`; all of them if it is of this dialect.
    pub(super) fn of(request: &Request<'_>, own: bool) -> Self {
        if own {
            return Self { skip: 0 };
        }
        let on_tools = request.tools.iter().filter(|tool| matches!(tool, Tool::Function(tool) if tool.cache.is_some()));
        let blocks = request.messages.iter().flat_map(|message| &message.blocks).chain(&request.system);
        let automatic = usize::from(request.cache.automatic.is_some());
        let all = on_tools.count() + blocks.map(marks_in).sum::<usize>() + automatic;
        Self { skip: all.saturating_sub(MOST_MARKS) }
    }

    /// Writes the next mark, or notes it as `field`.
    pub(super) fn take<'x>(
        &mut self,
        mark: Option<&'x CacheMark<'_>>,
        field: &'static str,
        losses: &mut Losses,
    ) -> Option<CacheOut<'x>> {
        let mark = mark?;
        if self.skip > 0 {
            self.skip -= 1;
            losses.note(field);
            return None;
        }
        Some(CacheOut::of(mark))
    }
}

/// Puts `mark` on the first of the blocks that takes one, unless it has one.
pub(super) fn mark_first<'b, 'x: 'b>(mut blocks: impl Iterator<Item = &'b mut BlockOut<'x>>, mark: &'x CacheMark<'_>) {
    let first = blocks.find_map(|block| match block {
        BlockOut::Known(Known { body: BodyOut::Thinking { .. } | BodyOut::RedactedThinking { .. }, .. })
        | BlockOut::Raw(_) => None,
        BlockOut::Known(known) => Some(known),
    });
    if let Some(known) = first {
        known.cache_control.get_or_insert_with(|| CacheOut::of(mark));
    }
}

/// The marks on a block and on those within it.
fn marks_in(block: &Block<'_>) -> usize {
    let within = match &block.content {
        Content::ToolResult(result) => result.content.iter().map(marks_in).sum(),
        _ => 0,
    };
    within + usize::from(block.cache.is_some() && takes_mark(block))
}

/// Thinking and texts without content cannot be marked.
pub(super) fn takes_mark(block: &Block<'_>) -> bool {
    match &block.content {
        Content::Text(text) => !text.text.trim().is_empty(),
        Content::Refusal(text) => !text.trim().is_empty(),
        Content::Media(_) | Content::ToolCall(_) | Content::ToolResult(_) => true,
        Content::Reasoning(_) | Content::Foreign(_) => false,
    }
}
