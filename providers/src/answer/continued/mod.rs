//! One answer made of several: what has been said of a stream, and how the events of another attempt that goes on with it are
//! joined to it.
//!
//! The client's stream is written by one encoder from its first event to its last; it never learns that the maker has changed. Of
//! the second answer its own beginning is swallowed, its first text goes into the text that is open, and its usage is added to what
//! was consumed before.

use crate::common::{Content, Delta, Event, Str};
use crate::usage::Usage;

/// The longest text that another attempt is asked to go on with.
const MOST_SAID: usize = 1 << 20;

/// What has been said of an answer, for as long as another attempt could go on with it: text, and reasoning that has ended before it.
#[derive(Debug, Default)]
pub(super) struct Said {
    text: String,
    /// Blocks so far.
    blocks: u32,
    /// The text that is under way.
    open: Option<u32>,
    /// Reasoning that is under way.
    reasoning: Option<u32>,
    usage: Option<Usage>,
    /// Something else was said, or it has ended: nobody can go on with it.
    over: bool,
}

impl Said {
    /// Takes in what goes to the client.
    pub(super) fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::BlockStart { choice: 0, index, block } => {
                self.blocks = self.blocks.max(index.saturating_add(1));
                match &block.content {
                    Content::Text(text) if text.citations.is_empty() && self.reasoning.is_none() => {
                        self.open = Some(*index);
                        self.say(&text.text);
                    }
                    Content::Reasoning(_) if self.open.is_none() => self.reasoning = Some(*index),
                    _ => self.give_up(),
                }
            }
            Event::Delta { choice: 0, index, delta: Delta::Text(text) } if self.open == Some(*index) => self.say(text),
            Event::Delta {
                choice: 0,
                delta: Delta::Reasoning(_) | Delta::Summary { .. } | Delta::Signature(_) | Delta::Encrypted(_),
                ..
            } => {}
            Event::BlockEnd { choice: 0, index } => {
                self.open = self.open.filter(|open| open != index);
                self.reasoning = self.reasoning.filter(|open| open != index);
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Start { .. } | Event::ServiceTier(_) | Event::Extras(_) | Event::Ping | Event::Error(_) => {}
            Event::BlockStart { .. }
            | Event::Delta { .. }
            | Event::BlockEnd { .. }
            | Event::Logprobs { .. }
            | Event::Stop { .. }
            | Event::End => self.give_up(),
        }
    }

    fn say(&mut self, text: &str) {
        if self.over {
            return;
        }
        if self.text.len() + text.len() > MOST_SAID {
            return self.give_up();
        }
        self.text.push_str(text);
    }

    fn give_up(&mut self) {
        self.over = true;
        self.text = String::new();
    }

    /// Whether it has come to a point from which nobody can go on any more.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// The text to go on with, without white space at its end, which some providers refuse. `None` if there is none, or nobody
    /// can go on with it.
    pub(super) fn text(&self) -> Option<&str> {
        let text = self.text.trim_end();
        (!self.over && self.reasoning.is_none() && !text.is_empty()).then_some(text)
    }

    /// How the events of an attempt that goes on with it are joined to it. `echoes`: its text may begin with all that was said.
    pub(super) fn seam(&self, echoes: bool) -> Seam {
        let text = self.text.trim_end();
        Seam {
            open: self.open,
            next: self.blocks,
            blocks: Vec::new(),
            head: Head {
                echo: if echoes { text.to_owned() } else { String::new() },
                matched: 0,
                space: self.text[text.len()..].to_owned(),
            },
            before: self.usage.unwrap_or_default(),
        }
    }
}

/// Joins the events of an attempt that goes on to those of the one before.
#[derive(Debug)]
pub(super) struct Seam {
    /// The text that the one before has left open.
    open: Option<u32>,
    /// The number of the next block.
    next: u32,
    /// The numbers of the new attempt's blocks: its own, and what they became.
    blocks: Vec<(u32, u32)>,
    head: Head,
    /// What the one before consumed.
    before: Usage,
}

impl Seam {
    /// Takes the next event of the new attempt and gives out what it becomes.
    pub(super) fn feed(&mut self, event: Event<'_>, sink: &mut dyn FnMut(Event<'_>)) {
        match event {
            Event::Start { .. } => {}
            Event::BlockStart { choice: 0, index, mut block } => {
                let said = match &mut block.content {
                    Content::Text(text) => Some(std::mem::take(&mut text.text)),
                    _ => None,
                };
                let (joined, said) = match (self.open.take(), said) {
                    (Some(open), Some(said)) => {
                        self.blocks.push((index, open));
                        (open, Some(said))
                    }
                    (open, said) => {
                        if let Some(open) = open {
                            self.flush(open, sink);
                            sink(Event::BlockEnd { choice: 0, index: open });
                        }
                        let number = self.next;
                        self.next = number.saturating_add(1);
                        self.blocks.push((index, number));
                        sink(Event::BlockStart { choice: 0, index: number, block });
                        (number, said)
                    }
                };
                if let Some(said) = said {
                    self.say(joined, said, sink);
                }
            }
            Event::Delta { choice: 0, index, delta } => {
                let Some(index) = self.number(index) else { return };
                match delta {
                    Delta::Text(text) => self.say(index, text, sink),
                    delta => sink(Event::Delta { choice: 0, index, delta }),
                }
            }
            Event::BlockEnd { choice: 0, index } => {
                let Some(index) = self.number(index) else { return };
                self.flush(index, sink);
                sink(Event::BlockEnd { choice: 0, index });
            }
            // Nothing was added: the answer had been whole but for its end.
            event @ (Event::Stop { choice: 0, .. } | Event::End) => {
                if let Some(index) = self.open.take() {
                    sink(Event::BlockEnd { choice: 0, index });
                }
                sink(event);
            }
            Event::Usage(usage) => sink(Event::Usage(self.before.plus(&usage))),
            Event::BlockStart { .. } | Event::Delta { .. } | Event::BlockEnd { .. } | Event::Stop { .. } => {}
            event @ (Event::Logprobs { .. }
            | Event::ServiceTier(_)
            | Event::Extras(_)
            | Event::Ping
            | Event::Error(_)) => sink(event),
        }
    }

    fn number(&self, index: u32) -> Option<u32> {
        self.blocks.iter().find(|(own, _)| *own == index).map(|(_, number)| *number)
    }

    fn say(&mut self, index: u32, text: Str<'_>, sink: &mut dyn FnMut(Event<'_>)) {
        let mut delta = |text: Str<'_>| {
            if !text.is_empty() {
                sink(Event::Delta { choice: 0, index, delta: Delta::Text(text) });
            }
        };
        self.head.feed(text, &mut delta);
    }

    fn flush(&mut self, index: u32, sink: &mut dyn FnMut(Event<'_>)) {
        if let Some(text) = self.head.withheld() {
            sink(Event::Delta { choice: 0, index, delta: Delta::Text(text.into()) });
        }
    }
}

/// The head of a text that goes on, from which what the client has already is cut.
#[derive(Debug)]
struct Head {
    /// What it may repeat; empty where it does not, or has.
    echo: String,
    /// How much of that it has repeated so far, which is withheld.
    matched: usize,
    /// White space that the client has behind what was to be gone on with, as far as it was not met.
    space: String,
}

impl Head {
    fn feed(&mut self, text: Str<'_>, out: &mut dyn FnMut(Str<'_>)) {
        let mut text: &str = &text;
        if !self.echo.is_empty() {
            let expected = &self.echo.as_bytes()[self.matched..];
            let same = expected.iter().zip(text.as_bytes()).take_while(|(a, b)| a == b).count();
            if same == expected.len() {
                text = text.get(same..).unwrap_or_default();
                self.echo = String::new();
            } else if same == text.len() {
                self.matched += same;
                return;
            } else if let Some(withheld) = self.withheld() {
                self.cut(&[&withheld, text].concat(), out);
                return;
            }
        }
        self.cut(text, out);
    }

    /// Cuts the white space that the client has.
    fn cut(&mut self, text: &str, out: &mut dyn FnMut(Str<'_>)) {
        let mut text = text;
        while let Some(next) = self.space.chars().next().filter(|_| !text.is_empty()) {
            match text.strip_prefix(next) {
                Some(rest) => {
                    text = rest;
                    self.space.remove(0);
                }
                None => self.space = String::new(),
            }
        }
        out(text.into());
    }

    /// What looked like a repetition and turned out to be none.
    fn withheld(&mut self) -> Option<String> {
        let mut echo = std::mem::take(&mut self.echo);
        let matched = std::mem::take(&mut self.matched);
        echo.truncate(matched);
        (!echo.is_empty()).then_some(echo)
    }
}

#[cfg(test)]
mod tests;
