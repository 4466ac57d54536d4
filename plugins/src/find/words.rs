//! Words of a list, in any case, at the borders of words.

use std::collections::HashMap;

use regex::RegexBuilder;

use super::{Finder, Finding, Kind, Next, PatternError, at, before, joins};

/// Finds words and phrases. Upper and lower case are the same (Unicode's simple folding), white space within a phrase is any white
/// space, and a word is found only where it is not part of a longer one; in scripts without spaces (Chinese, Japanese, Thai) it is
/// found anywhere.
#[derive(Debug)]
pub struct Words {
    kind: Kind,
    regex: regex::Regex,
    /// Bytes of the longest word, with room for white space and other spellings in another case.
    reach: usize,
    /// The starts of words by their first character, folded: without one of them near its end, no text has to be kept.
    starts: HashMap<char, Vec<Vec<char>>>,
    /// Which of those characters are ASCII, for a quick no.
    ascii: [bool; 128],
}

/// Most characters of white space between two words of a phrase.
const MOST_SPACE: usize = 8;

impl Words {
    /// Finds `words`, as findings of `kind`.
    ///
    /// # Errors
    /// One of them is empty, or all of them together are too much.
    pub fn new(kind: Kind, words: &[impl AsRef<str>]) -> Result<Self, PatternError> {
        let mut alternatives = Vec::with_capacity(words.len());
        let mut starts: HashMap<char, Vec<Vec<char>>> = HashMap::new();
        let (mut ascii, mut reach) = ([false; 128], 0);
        // Longer words first: of "bad" and "bad word" the longer shall be found.
        let mut sorted: Vec<&str> = words.iter().map(|word| word.as_ref().trim()).collect();
        sorted.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
        for word in sorted {
            if word.is_empty() {
                return Err(PatternError("a word is empty".to_owned()));
            }
            let parts: Vec<String> = word.split_whitespace().map(regex::escape).collect();
            alternatives.push(parts.join(&format!(r"\s{{1,{MOST_SPACE}}}")));
            // In another case a character may take up to three times the bytes.
            reach = reach.max(word.len() * 3 + (parts.len() - 1) * MOST_SPACE * 3);
            let folded: Vec<char> = word.split_whitespace().collect::<Vec<_>>().join(" ").chars().map(fold).collect();
            if let Some(first) = folded.first() {
                if let Some(ascii) = ascii.get_mut(*first as usize) {
                    *ascii = true;
                }
                starts.entry(*first).or_default().push(folded);
            }
        }
        let regex = RegexBuilder::new(&alternatives.join("|")).case_insensitive(true).size_limit(16 << 20).build();
        let regex = regex.map_err(|_| PatternError("the words are too many".to_owned()))?;
        Ok(Self { kind, regex, reach, starts, ascii })
    }

    /// Most bytes of an answer that may have to be kept.
    #[must_use]
    pub fn reach(&self) -> usize {
        self.reach
    }

    /// From where on the end of `text` could be the beginning of a word.
    fn open(&self, text: &str, from: usize) -> usize {
        let tail = text.floor_char_boundary(text.len().saturating_sub(self.reach)).max(from);
        let Some(rest) = text.get(tail..) else { return text.len() };
        for (offset, first) in rest.char_indices() {
            let first = fold(first);
            if self.ascii.get(first as usize) == Some(&false) {
                continue;
            }
            let Some(words) = self.starts.get(&first) else { continue };
            let here = tail + offset;
            if words.iter().any(|word| has_border(text, here, word.first()) && may_go_on(&rest[offset..], word)) {
                return here;
            }
        }
        text.len()
    }
}

impl Finder for Words {
    fn next(&self, text: &str, from: usize, end: bool) -> Next {
        let open = if end { text.len() } else { self.open(text, from) };
        let mut start = from;
        while let Some(found) = self.regex.find_at(text, start) {
            if found.start() >= open {
                break;
            }
            let first = at(text, found.start());
            let last = before(text, found.end());
            let next = at(text, found.end());
            let ends = !(next.is_some_and(joins) && last.is_some_and(joins));
            if ends && has_border(text, found.start(), first.as_ref()) {
                return Next::Found(Finding::new(self.kind.clone(), found.range()));
            }
            // A shorter word of the list may end there; it begins at the same place only if it is a part of this one, and then
            // its end is inside a word as well or it was tried by `shorter`.
            if let Some(range) = self.shorter(text, found.range()) {
                return Next::Found(Finding::new(self.kind.clone(), range));
            }
            start = found.start() + first.map_or(1, char::len_utf8);
        }
        Next::Open(open)
    }
}

impl Words {
    /// Another word of the list that begins where `longer` does and ends at a border.
    fn shorter(&self, text: &str, longer: std::ops::Range<usize>) -> Option<std::ops::Range<usize>> {
        let first = at(text, longer.start)?;
        if !has_border(text, longer.start, Some(&first)) {
            return None;
        }
        let mut end = longer.end;
        loop {
            end = text.floor_char_boundary(end.checked_sub(1)?);
            if end <= longer.start {
                return None;
            }
            let found = self.regex.find(text.get(longer.start..end)?).filter(|found| found.start() == 0)?;
            end = longer.start + found.end();
            let (last, next) = (before(text, end), at(text, end));
            if !(next.is_some_and(joins) && last.is_some_and(joins)) {
                return Some(longer.start..end);
            }
        }
    }
}

/// Whether a word that begins with `first` may begin at `here`.
fn has_border(text: &str, here: usize, first: Option<&char>) -> bool {
    !(first.copied().is_some_and(joins) && before(text, here).is_some_and(joins))
}

/// Whether `rest`, the end of what is there, is the beginning of `word` or the whole of it with its border still to come.
fn may_go_on(rest: &str, word: &[char]) -> bool {
    let mut rest = rest.chars().map(fold).peekable();
    for char in word {
        if char.is_whitespace() {
            if rest.peek().is_none() {
                return true;
            }
            let mut spaces = 0;
            while rest.next_if(|char| char.is_whitespace()).is_some() {
                spaces += 1;
            }
            if rest.peek().is_none() {
                return spaces <= MOST_SPACE;
            }
            if spaces == 0 {
                return false;
            }
            continue;
        }
        match rest.next() {
            None => return true,
            Some(found) if found != *char => return false,
            Some(_) => {}
        }
    }
    rest.next().is_none()
}

/// One form for upper and lower case, alike for what simple folding makes alike (`ſ` and `S`, `ς` and `Σ`, `µ` and `Μ`).
fn fold(char: char) -> char {
    if char.is_ascii() {
        return char.to_ascii_lowercase();
    }
    let upper = only(char.to_uppercase()).unwrap_or(char);
    only(upper.to_lowercase()).unwrap_or(upper)
}

fn only(mut chars: impl Iterator<Item = char>) -> Option<char> {
    let first = chars.next()?;
    chars.next().is_none().then_some(first)
}
