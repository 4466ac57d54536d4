//! How numbers are written: a candidate, which begins with a digit, letter, `+` or `(`, and its groups.

use crate::find::{at, before, joins};

/// Most bytes of a candidate.
const LONGEST: usize = 72;
/// Most characters of one of its groups.
const LONGEST_GROUP: usize = 34;
/// Most groups.
const MOST_GROUPS: usize = 12;

/// A place where a number may begin, and how far it may reach.
pub(super) struct Candidate<'t> {
    text: &'t str,
    /// Where it begins.
    pub start: usize,
    /// Where each of its groups ends: a number is as long as the first few of them.
    ends: [usize; MOST_GROUPS],
    /// How many groups there are.
    pub groups: usize,
}

/// How far something reaches.
enum Reach {
    To(usize),
    /// There is none.
    Not,
    /// What follows the text decides.
    Open,
}

impl<'t> Candidate<'t> {
    /// The candidate that begins at `start`, where [`may_begin`] says so. `None`: what follows the text decides.
    pub fn read(text: &'t str, start: usize, end: bool) -> Option<Self> {
        let (mut ends, mut groups, mut here) = ([start; MOST_GROUPS], 0, start);
        while let Some(slot) = ends.get_mut(groups) {
            match group(text, here, end) {
                Reach::To(to) if to - start <= LONGEST => (here, *slot) = (to, to),
                Reach::To(_) | Reach::Not => break,
                Reach::Open => return None,
            }
            groups += 1;
            match separator(text, here, end) {
                Reach::To(to) => here = to,
                Reach::Not if !end && text.get(here..).is_some_and(may_be_thousands) => return None,
                Reach::Not => break,
                Reach::Open => return None,
            }
        }
        Some(Self { text, start, ends, groups })
    }

    /// Where the number of the first `count` groups ends.
    pub fn end(&self, count: usize) -> usize {
        self.ends.get(count.wrapping_sub(1)).copied().unwrap_or(self.start)
    }

    /// That number as it is written.
    pub fn written(&self, count: usize) -> &'t str {
        self.text.get(self.start..self.end(count)).unwrap_or_default()
    }

    /// Whether a number may end there: what stands behind it is not a part of it.
    pub fn ends_well(&self, count: usize) -> bool {
        let end = self.end(count);
        let Some(next) = at(self.text, end) else { return true };
        let after = at(self.text, end + next.len_utf8());
        match next {
            '@' | '%' | '€' | '$' | '£' => false,
            // "1234-56", "1.2.3", "1/2", "12:30", "1,000": one thing, of which this is a part.
            '-' | '.' | '/' | '–' => !after.is_some_and(joins),
            ':' => !after.is_some_and(|after| after.is_ascii_digit()),
            ',' => !is_thousands(self.text, end),
            next => !joins(next),
        }
    }

    /// Whether another group of digits stands behind the first `count`, after a space: a row of numbers.
    pub fn goes_on(&self, count: usize) -> bool {
        let behind = self.text.get(self.end(count)..).unwrap_or_default();
        count < self.groups
            && behind.chars().next().is_some_and(is_space)
            && behind.chars().nth(1).is_some_and(|char| char.is_ascii_digit())
    }

    /// What stands before it in its line, in lower case: words there say what it is.
    pub fn context(&self) -> String {
        let from = self.text.floor_char_boundary(self.start.saturating_sub(48));
        let context = self.text.get(from..self.start).unwrap_or_default();
        context.rsplit('\n').next().unwrap_or_default().to_lowercase()
    }
}

/// Whether a number may begin at `here`: not in the middle of something else. `None`: what follows the text decides.
pub(super) fn may_begin(text: &str, here: usize, end: bool) -> Option<bool> {
    if !end && here + 3 == text.len() && is_thousands(text, here.wrapping_sub(1)) {
        return None;
    }
    Some(begins(text, here))
}

fn begins(text: &str, here: usize) -> bool {
    let Some(last) = before(text, here) else { return true };
    if joins(last) || matches!(last, '@' | '#' | '$' | '€' | '£' | '%' | '&' | '+' | '~' | '\\') {
        return false;
    }
    // Glued to what is before: "1.2", "a-1", "v/1", "1,000", "12:30". A word and a colon is a name for it: "tel:1".
    let prior = before(text, here - last.len_utf8());
    match last {
        ':' => !prior.is_some_and(|prior| prior.is_ascii_digit()),
        ',' => !is_thousands(text, here - 1),
        '/' => !prior.is_some_and(|prior| joins(prior) || prior == '/'),
        '-' | '.' | '–' => !prior.is_some_and(joins),
        _ => true,
    }
}

/// Whether the comma at `comma` groups the thousands of one number.
fn is_thousands(text: &str, comma: usize) -> bool {
    let Some(behind) = text.get(comma..).and_then(|rest| rest.strip_prefix(',')) else { return false };
    let digits = behind.bytes().take(4).take_while(u8::is_ascii_digit).count();
    digits == 3 && before(text, comma).is_some_and(|prior| prior.is_ascii_digit())
}

/// Whether what stands behind a group may become a comma with thousands, or a colon with something.
fn may_be_thousands(rest: &str) -> bool {
    rest == ":" || (rest.len() <= 4 && rest.starts_with(',') && rest.bytes().skip(1).all(|byte| byte.is_ascii_digit()))
}

/// The group at `here`: digits and letters, at the front `+` or `(`. It has a digit, or is at most four capital letters: words are
/// no groups.
fn group(text: &str, here: usize, end: bool) -> Reach {
    let bytes = text.as_bytes().get(here..).unwrap_or_default();
    let lead = bytes.iter().take(3).take_while(|byte| matches!(byte, b'+' | b'(')).count();
    let body = bytes.iter().skip(lead).take(LONGEST_GROUP + 1).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    if lead > 2 || body > LONGEST_GROUP {
        return Reach::Not;
    }
    if !end && lead + body == bytes.len() {
        return Reach::Open;
    }
    let inner = bytes.get(lead..lead + body).unwrap_or_default();
    let counts = inner.iter().any(u8::is_ascii_digit) || (body <= 4 && inner.iter().all(u8::is_ascii_uppercase));
    if body == 0 || !counts || at(text, here + lead + body).is_some_and(joins) {
        return Reach::Not;
    }
    Reach::To(here + lead + body)
}

/// Where the next group begins, if what stands at `here` separates groups of one number: a space, a mark (`-./–`) or a closing
/// parenthesis, with a space at its sides or not.
fn separator(text: &str, here: usize, end: bool) -> Reach {
    let (mut spaces, mut marks, mut closed) = (0, 0, 0);
    for (offset, char) in text.get(here..).unwrap_or_default().char_indices() {
        match char {
            char if is_space(char) => spaces += 1,
            '-' | '.' | '/' | '–' => marks += 1,
            ')' => closed += 1,
            char => {
                let begins = char == '(' || (char.is_ascii_alphanumeric() && spaces + marks + closed > 0);
                return if begins { Reach::To(here + offset) } else { Reach::Not };
            }
        }
        if marks > 1 || closed > 1 || spaces > 2 || (spaces == 2 && marks + closed == 0) {
            return Reach::Not;
        }
    }
    if end { Reach::Not } else { Reach::Open }
}

/// Whether `written` has the form: `#` is a digit, `@` a letter, `?` a letter or digit, a space any sort of space; `~` is a space, a
/// hyphen or nothing; everything else stands for itself.
pub(super) fn fits(written: &str, form: &str) -> bool {
    let mut chars = written.chars().peekable();
    for wanted in form.chars() {
        let fits = match wanted {
            '~' => {
                chars.next_if(|char| is_space(*char) || *char == '-');
                continue;
            }
            '#' => chars.next().is_some_and(|char| char.is_ascii_digit()),
            '@' => chars.next().is_some_and(|char| char.is_ascii_alphabetic()),
            '?' => chars.next().is_some_and(|char| char.is_ascii_alphanumeric()),
            ' ' => chars.next().is_some_and(is_space),
            other => chars.next() == Some(other),
        };
        if !fits {
            return false;
        }
    }
    chars.next().is_none()
}

pub(super) fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\u{A0}' | '\u{202F}')
}

/// The digits and letters of a number, letters as capitals.
pub(super) fn compact(written: &str) -> Vec<u8> {
    written.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_uppercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (written, form) in [
            ("123-45-6789", "###-##-####"),
            ("12345678z", "########~@"),
            ("12345678-Z", "########~@"),
            ("1\u{A0}2", "# #"),
            ("A1", "??"),
        ] {
            assert!(fits(written, form), "{written}");
        }
        assert!(!fits("123-45-678", "###-##-####"));
        assert!(!fits("123-45-67890", "###-##-####"));
    }

    #[test]
    fn candidates() {
        let numbers = |text: &str| {
            let candidate = Candidate::read(text, 0, true).unwrap();
            (1..=candidate.groups).map(|count| candidate.written(count).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(numbers("(212) 555-1234, ext"), ["(212", "(212) 555", "(212) 555-1234"]);
        assert_eq!(numbers("+49 30 - 12 and"), ["+49", "+49 30", "+49 30 - 12"]);
        assert_eq!(numbers("12  13"), ["12"]);
        assert_eq!(numbers("word 13"), [""; 0]);
        assert!(Candidate::read("12 ", 0, false).is_none());
        assert!(Candidate::read("12,", 0, false).is_none());
        assert_eq!(Candidate::read("12 we", 0, false).map(|candidate| candidate.groups), None);
        assert_eq!(Candidate::read("12 we ", 0, false).map(|candidate| candidate.groups), Some(1));
    }
}
