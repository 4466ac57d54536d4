//! Blocks that overlap, put one behind the other: for dialects in which only one block is open at a time.

use bounded_static::IntoBoundedStatic as _;

use super::Event;

/// Orders a stream's blocks. Events of the open block pass at once; those of others wait until it has ended.
#[derive(Debug, Default)]
pub struct Sequence {
    open: Option<(u32, u32)>,
    waiting: Vec<Event<'static>>,
}

impl Sequence {
    /// Takes the next event in and gives out those that can go now. Before a `Stop` or `End` all blocks are ended, also those
    /// that the provider left open.
    pub fn feed(&mut self, event: Event<'_>, sink: &mut dyn FnMut(Event<'_>)) {
        match block_of(&event) {
            Some(block) => match self.open {
                Some(open) if open != block => self.waiting.push(event.into_static()),
                Some(_) | None => {
                    self.pass(block, event, sink);
                    if self.open.is_none() {
                        self.drain(sink);
                    }
                }
            },
            None => {
                if matches!(event, Event::Stop { .. } | Event::End) {
                    self.close(sink);
                }
                sink(event);
            }
        }
    }

    /// Ends the open block, and then lets all that waits go.
    fn close(&mut self, sink: &mut dyn FnMut(Event<'_>)) {
        while let Some((choice, index)) = self.open.take() {
            sink(Event::BlockEnd { choice, index });
            self.drain(sink);
        }
    }

    fn pass(&mut self, block: (u32, u32), event: Event<'_>, sink: &mut dyn FnMut(Event<'_>)) {
        self.open = if matches!(event, Event::BlockEnd { .. }) { None } else { Some(block) };
        sink(event);
    }

    /// With no block open: lets the waiting blocks go, until one is met that has not ended.
    fn drain(&mut self, sink: &mut dyn FnMut(Event<'_>)) {
        while self.open.is_none() && !self.waiting.is_empty() {
            let Some(block) = self.waiting.first().and_then(block_of) else { return };
            let (of_block, others) =
                std::mem::take(&mut self.waiting).into_iter().partition(|event| block_of(event) == Some(block));
            self.waiting = others;
            for event in of_block {
                self.pass(block, event, sink);
            }
        }
    }
}

fn block_of(event: &Event<'_>) -> Option<(u32, u32)> {
    match event {
        Event::BlockStart { choice, index, .. }
        | Event::Delta { choice, index, .. }
        | Event::BlockEnd { choice, index } => Some((*choice, *index)),
        Event::Start { .. }
        | Event::Logprobs { .. }
        | Event::Stop { .. }
        | Event::Usage(_)
        | Event::ServiceTier(_)
        | Event::Extras(_)
        | Event::Ping
        | Event::Error(_)
        | Event::End => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::{Block, Delta};

    fn start(index: u32) -> Event<'static> {
        Event::BlockStart { choice: 0, index, block: Block::text("") }
    }

    fn delta(index: u32, text: &'static str) -> Event<'static> {
        Event::Delta { choice: 0, index, delta: Delta::Text(text.into()) }
    }

    fn end(index: u32) -> Event<'static> {
        Event::BlockEnd { choice: 0, index }
    }

    fn run(events: Vec<Event<'static>>) -> Vec<Event<'static>> {
        let (mut sequence, mut out) = (Sequence::default(), Vec::new());
        for event in events {
            sequence.feed(event, &mut |event| out.push(event.into_static()));
        }
        out
    }

    #[test]
    fn overlapping_blocks_come_one_behind_the_other() {
        let given =
            vec![start(0), start(1), delta(1, "b"), start(2), delta(0, "a"), end(1), end(0), delta(2, "c"), end(2)];
        let wanted =
            vec![start(0), delta(0, "a"), end(0), start(1), delta(1, "b"), end(1), start(2), delta(2, "c"), end(2)];
        assert_eq!(run(given), wanted);
    }

    #[test]
    fn what_is_left_open_is_ended() {
        let given = vec![start(0), start(1), delta(1, "b"), start(2), Event::End];
        assert_eq!(run(given), vec![start(0), end(0), start(1), delta(1, "b"), end(1), start(2), end(2), Event::End]);
    }

    #[test]
    fn a_lone_block_passes_at_once() {
        let given = vec![start(0), delta(0, "a"), Event::Ping, delta(0, "b"), end(0), start(1), end(1)];
        assert_eq!(run(given.clone()), given);
    }
}
