//! Finding things in text, whole or as it streams in, and putting something else in their place.
//!
//! A [`Finder`] knows one thing to look for. A [`Reader`] runs it over text that comes in pieces: it says up to where
//! a text is settled, and only what the next piece could still make part of a finding has to be kept; so every cut of a text gives
//! the same result as the whole. All plugins that look for something in prompts and answers are built on these two.
//!
//! | file | subject |
//! |---|---|
//! | `any` | several finders as one |
//! | `words` | words of a list |
//! | `pattern` | a regular expression |
//! | `reader` | text that comes in pieces |
//! | `json` | text that is JSON: the arguments of a tool call |

mod any;
mod json;
mod pattern;
mod reader;
mod words;

#[cfg(test)]
pub(crate) mod tests;

use std::ops::Range;
use std::sync::Arc;

pub use any::Any;
pub(crate) use json::LONGEST_ESCAPE;
pub use json::{escape, unescape};
pub use pattern::{Pattern, PatternError};
pub use reader::{Found, Reader, Script, in_json, rewrite};
pub use words::Words;

/// What was found, as settings, placeholders and metrics call it: `email`, `card`, a word list's name.
pub type Kind = Arc<str>;

/// The name of a kind in a placeholder.
pub(crate) fn label(kind: &Kind) -> String {
    kind.chars().map(|char| if char.is_ascii_alphanumeric() { char.to_ascii_uppercase() } else { '_' }).collect()
}

/// What stands where something was that does not come back.
pub(crate) fn redacted(kind: &Kind) -> String {
    format!("[{}]", label(kind))
}

/// Something found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Where it stands, in bytes of the text; never empty.
    pub range: Range<usize>,
}

impl Finding {
    /// This is there.
    #[must_use]
    pub fn new(kind: Kind, range: Range<usize>) -> Self {
        Self { kind, range }
    }
}

/// What a [`Finder`] says of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The leftmost finding. Whatever follows the text, it stays.
    Found(Finding),
    /// No finding begins before this place. From there on, what follows the text decides. The text's length if nothing is open.
    Open(usize),
}

/// Finds one sort of thing, in time linear in the text.
///
/// Of the text it sees only [`CONTEXT`] bytes before the place from which it looks, and it decides about a place by what stands
/// near it, not by where it began to look: that makes the result independent of how a text was cut.
pub trait Finder: Send + Sync {
    /// The leftmost finding that begins at `from` or behind. Text before `from` is seen (for the borders of words, and for names of
    /// what follows) but never part of a finding. `end`: nothing follows `text`; then the answer is no [`Next::Open`] before the end.
    fn next(&self, text: &str, from: usize, end: bool) -> Next;

    /// Tells all findings from `from` on, in order; `found` says from where to go on. Gives back the place at which
    /// [`next`](Self::next) would say [`Next::Open`].
    fn walk(&self, text: &str, mut from: usize, end: bool, found: &mut dyn FnMut(Finding) -> usize) -> usize {
        loop {
            match self.next(text, from, end) {
                Next::Found(finding) => from = found(finding),
                Next::Open(open) => return open,
            }
        }
    }
}

/// Bytes that finders see before the place from which they look.
pub const CONTEXT: usize = 96;

/// All findings of a text that is whole.
pub fn find_all(finder: &dyn Finder, text: &str) -> Vec<Finding> {
    let mut all = Vec::new();
    finder.walk(text, 0, true, &mut |finding| {
        let end = finding.range.end;
        all.push(finding);
        end
    });
    all
}

/// The first finding of a text that is whole.
pub fn find_first(finder: &dyn Finder, text: &str, script: Script) -> Option<Kind> {
    let mut first = None;
    Reader::new(script).look(finder, text, true, &mut |found| {
        first.get_or_insert(found.kind);
    });
    first
}

/// The character that ends at `at`.
pub(crate) fn before(text: &str, at: usize) -> Option<char> {
    text.get(..at)?.chars().next_back()
}

/// The character that begins at `at`.
pub(crate) fn at(text: &str, at: usize) -> Option<char> {
    text.get(at..)?.chars().next()
}

/// Whether a word may go on with `char`.
pub(crate) fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Whether a character makes a word with its neighbours. Those of scripts that put no spaces between words, or hang endings on names
/// (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese), do not.
pub(crate) fn joins(char: char) -> bool {
    is_word(char) && (char.is_ascii() || !is_spaceless(char))
}

fn is_spaceless(char: char) -> bool {
    matches!(char, '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1100}'..='\u{11FF}' | '\u{1780}'..='\u{17FF}'
        | '\u{3040}'..='\u{30FF}' | '\u{3130}'..='\u{318F}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7AF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}
