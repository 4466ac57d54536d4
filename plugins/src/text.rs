//! Text of answers in a sliding window.
//!
//! A [`TextHook`] sees the text of one answer, part by part, before the client does. Of a stream it is shown, with every piece
//! that comes (those that come together, as out of the cache, are one), what of the part has not gone out yet; it says what to replace and up to where the text may go. At most as many
//! bytes as its plugin's [`Needs::text`](crate::Needs::text) are held back, and all of it goes out when the part ends. A
//! text of an answer that comes whole is one piece that ends at once, so the same code serves both.
//!
//! What the model reasons, what it calls tools with and what it speaks are text, too: [`PartKind`] tells them apart. The
//! arguments of a tool are shown as the JSON text that they are, and what is put in there is escaped, so that they stay JSON
//! if what is replaced lies inside a string. Reasoning that was changed loses its signature: its maker would refuse it. Names of tools,
//! citations, and what a provider's own tools return are not shown.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Failure, Rejection};

/// The most bytes that a hook may hold back of a part.
pub const MOST_HELD: usize = 64 << 10;
/// The most bytes that a hook may let a text grow by in one call, over twice its length.
const MOST_GROWTH: usize = 1 << 20;
/// How much of what went out before stays visible.
const CONTEXT: usize = 32;

/// Looks at the text of one answer. One value for each answer, so it may keep state.
pub trait TextHook: Send + Sync {
    /// More text has come, or the part has ended. Called often: allocate only when something is found.
    ///
    /// # Errors
    /// As of every hook: `on_error` decides.
    fn on_text(&mut self, text: &mut Window<'_>) -> Result<Flow, Failure>;
}

/// How an answer goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// On.
    Pass,
    /// Not at all. A stream ends here: the client gets the message as the model's refusal, and a proper end that names a content
    /// filter. In an answer that came whole they stand in the place of all that was said.
    Refuse(Rejection),
}

/// A part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Part {
    /// Which of several answers, from 0.
    pub choice: u32,
    /// Which part of it, from 0.
    pub index: u32,
    /// What it is.
    pub kind: PartKind,
}

impl Part {
    /// Part `index` of answer `choice`.
    #[must_use]
    pub fn new(choice: u32, index: u32, kind: PartKind) -> Self {
        Self { choice, index, kind }
    }
}

/// What a part of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PartKind {
    /// What is said.
    Text,
    /// That and why the model declines.
    Refusal,
    /// Reasoning, or a summary of it.
    Reasoning,
    /// What a tool is called with: JSON text.
    Arguments,
    /// What a custom tool is called with: any text.
    Input,
    /// What is spoken in a sound.
    Transcript,
}

/// What of a part has not gone out yet.
#[derive(Debug)]
pub struct Window<'a> {
    part: Part,
    text: &'a str,
    seen: usize,
    before: &'a str,
    end: bool,
    hold: usize,
    release: Option<usize>,
    edits: &'a mut Vec<(Range<usize>, String)>,
    /// Where the last of them ends: from there on none overlaps.
    edited_to: usize,
}

impl<'a> Window<'a> {
    /// Which part it is of.
    #[must_use]
    pub fn part(&self) -> Part {
        self.part
    }

    /// The text: what was held back, and what has come.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// How many bytes of it were shown before.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// A few characters that went out just before it, for rules that ask what stands in front. Empty at the beginning.
    #[must_use]
    pub fn before(&self) -> &'a str {
        self.before
    }

    /// Whether nothing follows in this part.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.end
    }

    /// Puts `with` in the place of a range of bytes of the text. A range that cuts a character, or overlaps one given before, is
    /// ignored. Of [`PartKind::Arguments`] `with` is escaped.
    pub fn replace(&mut self, range: Range<usize>, with: impl Into<String>) {
        let with = with.into();
        self.replace_raw(range, if self.part.kind == PartKind::Arguments { escape(&with) } else { with });
    }

    /// The same, with nothing escaped: for who knows where in the JSON of arguments it goes.
    pub fn replace_raw(&mut self, range: Range<usize>, with: impl Into<String>) {
        let sound = range.start <= range.end && self.text.get(range.clone()).is_some();
        let overlaps = |(other, _): &(Range<usize>, String)| range.start < other.end && other.start < range.end;
        if sound && (range.start >= self.edited_to || !self.edits.iter().any(overlaps)) {
            self.edited_to = self.edited_to.max(range.end);
            self.edits.push((range, with.into()));
        }
    }

    /// Nothing that is looked for begins before byte `at` and may yet go on: the text may go out up to there. Without this all
    /// but the last bytes, as many as may be held back, goes out. What would have to be held back beyond that goes out all the same.
    pub fn release_to(&mut self, at: usize) {
        self.release = Some(at);
    }
}

fn escape(text: &str) -> String {
    let quoted = serde_json::Value::String(text.to_owned()).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

/// One hook with the text that it holds back of one part. What leaves one stage goes into the next.
#[derive(Debug, Default)]
pub struct Stage {
    held: String,
    seen: usize,
    before: String,
    edits: Vec<(Range<usize>, String)>,
    edited: bool,
}

impl Stage {
    /// Shows `text` to `hook`, and gives what may go out to `out`. `hold`: the most bytes to hold back. `end`: nothing follows.
    /// `out` is called at most twice and not with an empty text. Allocates nothing as long as nothing is held or changed.
    ///
    /// # Errors
    /// The hook's, or that it panicked. Nothing of `text` has gone out then; [`Self::forgive`] lets it go.
    pub fn feed(
        &mut self,
        part: Part,
        text: &str,
        end: bool,
        hold: usize,
        hook: &mut dyn TextHook,
        out: &mut dyn FnMut(&str),
    ) -> Result<Flow, Failure> {
        if text.is_empty() && !end {
            return Ok(Flow::Pass);
        }
        let hold = hold.min(MOST_HELD);
        let straight = self.held.is_empty();
        if !straight {
            self.held.push_str(text);
        }
        let shown = if straight { text } else { &*self.held };
        let mut window = Window {
            part,
            text: shown,
            seen: if straight { 0 } else { self.seen },
            before: &self.before,
            end,
            hold,
            release: None,
            edits: &mut self.edits,
            edited_to: 0,
        };
        let asked = catch_unwind(AssertUnwindSafe(|| hook.on_text(&mut window)));
        let flow = match asked.unwrap_or_else(|_| Err("it panicked".into())) {
            Ok(flow) => flow,
            Err(failure) => {
                self.edits.clear();
                if straight {
                    self.held.push_str(text);
                }
                return Err(failure);
            }
        };
        if let Flow::Refuse(_) = flow {
            return Ok(flow);
        }
        let least = shown.len().saturating_sub(window.hold);
        let release = window.release.unwrap_or(least).clamp(least, shown.len());
        let mut release = if end { shown.len() } else { shown.floor_char_boundary(release) };
        if !self.edits.is_empty() {
            self.edits.sort_by_key(|(range, _)| range.start);
            let grown: usize = self.edits.iter().map(|(_, with)| with.len()).sum();
            if grown > 2 * shown.len() + MOST_GROWTH {
                self.edits.clear();
                if straight {
                    self.held.push_str(text);
                }
                return Err("a text was replaced by one too long".into());
            }
            // What has been replaced is not looked at again.
            release = release.max(self.edits.last().map_or(0, |(range, _)| range.end));
        }
        let rest = release..shown.len();
        if self.edits.is_empty() {
            if release > 0 {
                out(&shown[..release]);
                remember(&mut self.before, &shown[..release]);
            }
        } else {
            self.edited = true;
            let edited = apply(&shown[..release], &self.edits);
            self.edits.clear();
            if !edited.is_empty() {
                out(&edited);
            }
            remember(&mut self.before, &edited);
        }
        if straight {
            self.held.push_str(&text[rest]);
        } else {
            self.held.drain(..release);
        }
        self.seen = self.held.len();
        Ok(flow)
    }

    /// Gives out what is held back, after the hook failed.
    pub fn forgive(&mut self, out: &mut dyn FnMut(&str)) {
        if !self.held.is_empty() {
            out(&self.held);
            remember(&mut self.before, &self.held);
            self.held.clear();
            self.seen = 0;
        }
    }

    /// Whether anything was changed in this part.
    #[must_use]
    pub fn is_edited(&self) -> bool {
        self.edited
    }

    /// How many bytes are held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

fn apply(text: &str, edits: &[(Range<usize>, String)]) -> String {
    let mut edited = String::with_capacity(text.len());
    let mut at = 0;
    for (range, with) in edits {
        edited.push_str(&text[at..range.start]);
        edited.push_str(with);
        at = range.end;
    }
    edited.push_str(&text[at..]);
    edited
}

/// Keeps the end of what went out.
fn remember(before: &mut String, gone: &str) {
    if gone.len() >= CONTEXT {
        before.clear();
        before.push_str(&gone[gone.ceil_char_boundary(gone.len() - CONTEXT)..]);
        return;
    }
    let keep = before.ceil_char_boundary((before.len() + gone.len()).saturating_sub(CONTEXT));
    before.drain(..keep);
    before.push_str(gone);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds each `a`, the last one first if it is so.
    struct Letters(bool);

    impl TextHook for Letters {
        fn on_text(&mut self, text: &mut Window<'_>) -> Result<Flow, Failure> {
            let mut found: Vec<usize> = text.text().match_indices('a').map(|(at, _)| at).collect();
            if self.0 {
                found.reverse();
            }
            for at in found {
                text.replace(at..at + 1, "b");
                text.replace(at..at + 1, "c");
            }
            Ok(Flow::Pass)
        }
    }

    #[test]
    fn many_edits_are_made_in_any_order_and_no_place_is_edited_twice() {
        for (count, backwards) in [(2_000, false), (1_000, true)] {
            let (mut stage, mut out) = (Stage::default(), String::new());
            let part = Part::new(0, 0, PartKind::Text);
            let text = "a ".repeat(count);
            stage.feed(part, &text, true, 0, &mut Letters(backwards), &mut |text| out.push_str(text)).unwrap();
            assert_eq!(out, "b ".repeat(count));
        }
    }

    /// Puts `#` in the place of each digit that stands between two letters.
    struct Digits;

    impl TextHook for Digits {
        fn on_text(&mut self, text: &mut Window<'_>) -> Result<Flow, Failure> {
            let whole = format!("{}{}", text.before(), text.text());
            let skipped = text.before().len();
            let letter = |at: Option<char>| at.is_some_and(char::is_alphabetic);
            for (at, _) in whole.char_indices().filter(|(at, found)| *at >= skipped && found.is_ascii_digit()) {
                if letter(whole[..at].chars().next_back()) && letter(whole[at + 1..].chars().next()) {
                    text.replace(at - skipped..at - skipped + 1, "#");
                }
            }
            Ok(if whole.contains("stop") {
                Flow::Refuse(Rejection { status: 400, message: "no".into() })
            } else {
                Flow::Pass
            })
        }
    }

    fn run(pieces: &[&str], hold: usize) -> (String, Vec<usize>) {
        let (mut stage, mut out, mut held) = (Stage::default(), String::new(), Vec::new());
        for (number, piece) in pieces.iter().enumerate() {
            let end = number + 1 == pieces.len();
            let part = Part::new(0, 0, PartKind::Text);
            stage.feed(part, piece, end, hold, &mut Digits, &mut |text| out.push_str(text)).unwrap();
            held.push(stage.held());
        }
        (out, held)
    }

    #[test]
    fn the_cut_does_not_matter() {
        let text = "a1b 2c d3 é4é e5";
        let expected = "a#b 2c d3 é#é e5";
        for (cut, _) in text.char_indices() {
            for (second, _) in text.char_indices().filter(|(at, _)| *at >= cut) {
                let (out, held) = run(&[&text[..cut], &text[cut..second], &text[second..]], 4);
                assert_eq!(out, expected, "cut at {cut} and {second}");
                assert!(held.iter().all(|held| *held <= 4 + 1), "{held:?}");
                assert_eq!(held.last(), Some(&0));
            }
        }
    }

    #[test]
    fn nothing_held_nothing_allocated() {
        struct Pass;
        impl TextHook for Pass {
            fn on_text(&mut self, text: &mut Window<'_>) -> Result<Flow, Failure> {
                text.release_to(text.text().len());
                Ok(Flow::Pass)
            }
        }
        let (mut stage, text) = (Stage::default(), "hello");
        let mut out = |given: &str| assert_eq!(given.as_ptr(), text.as_ptr(), "it is lent, not copied");
        stage.feed(Part::new(0, 0, PartKind::Text), text, false, 64, &mut Pass, &mut out).unwrap();
        assert_eq!(stage.held(), 0);
    }

    #[test]
    fn what_fails_can_be_let_go() {
        struct Fails;
        impl TextHook for Fails {
            fn on_text(&mut self, text: &mut Window<'_>) -> Result<Flow, Failure> {
                text.replace(0..1, "x");
                Err("no".into())
            }
        }
        let (mut stage, mut out) = (Stage::default(), String::new());
        let part = Part::new(0, 0, PartKind::Text);
        assert!(stage.feed(part, "abc", false, 8, &mut Fails, &mut |text| out.push_str(text)).is_err());
        assert_eq!(out, "");
        stage.forgive(&mut |text| out.push_str(text));
        assert_eq!(out, "abc");
    }

    #[test]
    fn what_goes_into_arguments_is_escaped() {
        struct Quote;
        impl TextHook for Quote {
            fn on_text(&mut self, text: &mut Window<'_>) -> Result<Flow, Failure> {
                if let Some(at) = text.text().find('b') {
                    text.replace(at..at + 1, "\"\n");
                    text.replace(at..at + 1, "twice");
                    text.replace(1000..1001, "nowhere");
                }
                Ok(Flow::Pass)
            }
        }
        let (mut stage, mut out) = (Stage::default(), String::new());
        let part = Part::new(0, 0, PartKind::Arguments);
        stage.feed(part, r#"{"a":"b"}"#, true, 8, &mut Quote, &mut |text| out.push_str(text)).unwrap();
        assert_eq!(out, r#"{"a":"\"\n"}"#);
        assert!(stage.is_edited());
    }
}
