//! What a JSON body says, apart from how it is spelled: a digest that is the same for two bodies if and only if they say
//! the same.
//!
//! Two objects say the same if they have the same members, in whichever order, unless they are what a member called `properties`
//! holds: a model answers in the order of its schema's; two numbers if they are the same decimal
//! number (`1`, `1.0`, `10e-1`); two strings if they are the same text, however escaped. White space says nothing. Everything
//! else does: the order of an array, the case of a letter, a member that is `null` against none, an object in which one name
//! stands twice.
//!
//! Each value is written in one form that depends on nothing but what it says, and that no other value has: short ones as
//! they are, with their length; longer ones as their SHA-256. An object's members are sorted by their names in that form, where their
//! order says nothing. So
//! a body is read once, its long texts are hashed where they stand, and what is held at a time is no more than about one
//! mebibyte for each level of nesting, and no more than twice the body.

use sha2::{Digest as _, Sha256};

use super::cursor::Cursor;
use super::depth::MAX_DEPTH;

/// Bytes of a value that is written as it is.
const INLINE: usize = 120;
/// The form of an array is hashed in pieces of about so many bytes.
const PIECE: usize = 4 << 10;
/// Members of the largest object that is taken: to sort more of them could take long.
const MAX_MEMBERS: usize = 4096;

/// What of a top-level member is to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// All of it.
    Whole,
    /// Nothing: the body says the same without it.
    Not,
    /// Of an object, all its members but the one of this name. If it has no other, nothing.
    Without(&'static str),
}

/// The digest of what the JSON object `body` says in the top-level members that count; `None` if one of its objects has more
/// than 4096 members. The body is one that [`scan_json`](super::scan_json) has accepted; of any other the digest is nonsense.
#[must_use]
pub fn canonical_digest(body: &[u8], counts: impl Fn(&[u8]) -> Counts) -> Option<[u8; 32]> {
    let mut writer = Writer {
        cursor: Cursor::new(body),
        out: Vec::with_capacity(1024),
        members: Vec::with_capacity(32),
        sorted: Vec::new(),
    };
    if !writer.cursor.enter(b'{') {
        return None;
    }
    writer.members_of(0, &counts, false)?;
    Some(Sha256::digest(&writer.out).into())
}

/// Writes values in their form.
struct Writer<'a> {
    cursor: Cursor<'a>,
    /// The forms of what was read of the arrays and objects that are open.
    out: Vec<u8>,
    /// Members of the objects that are open.
    members: Vec<Member>,
    sorted: Vec<u8>,
}

/// Where a member stands in the output.
#[derive(Clone, Copy)]
struct Member {
    name: usize,
    value: usize,
    end: usize,
}

impl Writer<'_> {
    /// `ordered`: if it is an object, the order of its members says something.
    fn value(&mut self, depth: usize, ordered: bool) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.cursor.peek() {
            Some(b'"') => self.string(),
            Some(b'[') => self.array(depth)?,
            Some(b'{') => {
                self.cursor.enter(b'{');
                let start = self.begin();
                self.members_of(depth, &|_| Counts::Whole, ordered)?;
                self.end(start, b'o');
            }
            Some(first @ (b'n' | b't' | b'f')) => {
                self.cursor.value();
                self.out.push(first);
            }
            _ => self.number(),
        }
        Some(())
    }

    /// Leaves room for tag and length of a value whose length is not known.
    fn begin(&mut self) -> usize {
        self.out.extend_from_slice(&[0; 2]);
        self.out.len() - 2
    }

    /// What was written since `start` is a value with this tag.
    fn end(&mut self, start: usize, tag: u8) {
        let content = self.out.get(start + 2..).unwrap_or_default();
        match u8::try_from(content.len()) {
            Ok(length) if content.len() <= INLINE => {
                if let Some(head) = self.out.get_mut(start..start + 2) {
                    head.copy_from_slice(&[tag, length]);
                }
            }
            _ => {
                let digest = Sha256::digest(content);
                self.out.truncate(start);
                self.digest(tag, digest.into());
            }
        }
    }

    /// A value that is too long to stand here. Its tag is the capital letter.
    fn digest(&mut self, tag: u8, digest: [u8; 32]) {
        self.out.push(tag.to_ascii_uppercase());
        self.out.extend_from_slice(&digest);
    }

    fn string(&mut self) {
        let span = self.cursor.string();
        let raw = self.cursor.slice(span);
        self.text(raw);
    }

    /// The text that stands between two quotes.
    fn text(&mut self, raw: &[u8]) {
        let escaped = memchr::memchr(b'\\', raw).is_some();
        if !escaped && raw.len() > INLINE {
            self.digest(b's', Sha256::digest(raw).into());
        } else if raw.len() > 6 * INLINE {
            // An escape takes at most six bytes for one: it is too long in any case.
            let mut hasher = Sha256::new();
            unescape(raw, |piece| hasher.update(piece));
            self.digest(b's', hasher.finalize().into());
        } else {
            let start = self.begin();
            let out = &mut self.out;
            unescape(raw, |piece| out.extend_from_slice(piece));
            self.end(start, b's');
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.cursor.enter(b'[');
        let start = self.begin();
        let mut hasher = None;
        while self.cursor.next_element() {
            self.value(depth + 1, false)?;
            if self.out.len() - start > PIECE {
                let piece = self.out.get(start + 2..).unwrap_or_default();
                hasher.get_or_insert_with(Sha256::new).update(piece);
                self.out.truncate(start + 2);
            }
        }
        match hasher {
            None => self.end(start, b'a'),
            Some(mut hasher) => {
                hasher.update(self.out.get(start + 2..).unwrap_or_default());
                self.out.truncate(start);
                self.digest(b'a', hasher.finalize().into());
            }
        }
        Some(())
    }

    /// The members of the object that was entered, sorted unless they are `ordered`.
    fn members_of(&mut self, depth: usize, counts: &dyn Fn(&[u8]) -> Counts, ordered: bool) -> Option<()> {
        let (first, start) = (self.members.len(), self.out.len());
        while let Some(key) = self.cursor.next_key() {
            let counts = counts(&key.name);
            if counts == Counts::Not {
                self.cursor.value();
                continue;
            }
            if self.members.len() - first >= MAX_MEMBERS {
                return None;
            }
            let name = self.out.len();
            // As it stands there: of two names that are no Unicode, `next_key` does not say which is which.
            self.text(self.cursor.slice(key.raw));
            let value = self.out.len();
            match counts {
                Counts::Without(member) if self.cursor.enter(b'{') => {
                    let inner = self.begin();
                    let empty = self.out.len();
                    let rest = |name: &[u8]| if name == member.as_bytes() { Counts::Not } else { Counts::Whole };
                    self.members_of(depth + 1, &rest, false)?;
                    if self.out.len() == empty {
                        self.out.truncate(name);
                        continue;
                    }
                    self.end(inner, b'o');
                }
                _ => self.value(depth + 1, *key.name == *b"properties")?,
            }
            self.members.push(Member { name, value, end: self.out.len() });
        }
        if !ordered {
            self.sort(first, start);
        }
        self.members.truncate(first);
        Some(())
    }

    /// Sorts the members from the one numbered `first` on, which stand in the output from `start` on. Those of one name keep
    /// their order: readers differ in which of them they take.
    fn sort(&mut self, first: usize, start: usize) {
        let Self { out, members, sorted, .. } = self;
        let members = members.get_mut(first..).unwrap_or_default();
        let name = |member: &Member| out.get(member.name..member.value).unwrap_or_default();
        if members.is_sorted_by(|a, b| name(a) <= name(b)) {
            return;
        }
        members.sort_by(|a, b| name(a).cmp(name(b)));
        sorted.clear();
        for member in members.iter() {
            sorted.extend_from_slice(out.get(member.name..member.end).unwrap_or_default());
        }
        out.truncate(start);
        out.extend_from_slice(sorted);
    }

    /// A number: its sign, its digits without zeros at either end, and the power of ten that they are to be multiplied by.
    fn number(&mut self) {
        let span = self.cursor.value();
        let raw = self.cursor.slice(span);
        let start = self.begin();
        match Decimal::read(raw) {
            Some(decimal) => decimal.write(&mut self.out),
            // The power of ten is beyond any use: whatever it says, it is the same only as written.
            None => {
                self.out.push(b'?');
                self.out.extend_from_slice(raw);
            }
        }
        self.end(start, b'd');
    }
}

/// A number as its digits stand in the text.
struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Decimal<'a> {
    fn read(raw: &'a [u8]) -> Option<Self> {
        let (negative, rest) = match raw.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, raw),
        };
        let e = rest.iter().position(|byte| matches!(byte, b'e' | b'E'));
        let (digits, exponent) = e.map_or((rest, &b""[..]), |at| {
            (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default())
        });
        let exponent = match exponent {
            b"" => 0,
            text => {
                let (minus, text) = match text.first() {
                    Some(b'-') => (true, text.get(1..).unwrap_or_default()),
                    Some(b'+') => (false, text.get(1..).unwrap_or_default()),
                    _ => (false, text),
                };
                let digits = text
                    .iter()
                    .position(|digit| *digit != b'0')
                    .map_or(&b""[..], |at| text.get(at..).unwrap_or_default());
                if digits.len() > 15 {
                    return None;
                }
                let value = digits.iter().fold(0_i64, |sum, digit| sum * 10 + i64::from(digit.wrapping_sub(b'0')));
                if minus { -value } else { value }
            }
        };
        let point = digits.iter().position(|byte| *byte == b'.');
        let (whole, fraction) = point.map_or((digits, &b""[..]), |at| {
            (digits.get(..at).unwrap_or_default(), digits.get(at + 1..).unwrap_or_default())
        });
        Some(Self { negative, whole, fraction, exponent })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.push(if self.negative { b'-' } else { b'+' });
        let digits = out.len();
        for digit in self.whole.iter().chain(self.fraction) {
            if *digit != b'0' || out.len() > digits {
                out.push(*digit);
            }
        }
        let zeros = out.get(digits..).unwrap_or_default().iter().rev().take_while(|digit| **digit == b'0').count();
        out.truncate(out.len() - zeros);
        if out.len() == digits {
            // Nought, however it is written.
            out.truncate(start);
            return;
        }
        let length = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let exponent = self.exponent.saturating_add(length(zeros)).saturating_sub(length(self.fraction.len()));
        out.push(b'e');
        out.extend_from_slice(&exponent.to_be_bytes());
    }
}

/// Gives the text that `raw`, from between two quotes, stands for, in pieces. A lone surrogate becomes the three bytes that
/// UTF-8 has no use for, so that no two texts become one.
fn unescape(raw: &[u8], mut piece: impl FnMut(&[u8])) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(at);
        if !plain.is_empty() {
            piece(plain);
        }
        let (taken, byte) = match escape.get(1) {
            Some(b'u') => {
                let first = unit(escape.get(2..6));
                let second = escape.get(6..8).filter(|next| next == b"\\u").and_then(|_| escape.get(8..12));
                let (code, taken) = match (first, unit(second)) {
                    (high @ 0xd800..0xdc00, low @ 0xdc00..0xe000) => {
                        (0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00), 12)
                    }
                    (one, _) => (one, 6),
                };
                let mut bytes = [0; 4];
                piece(utf8(code, &mut bytes));
                rest = escape.get(taken..).unwrap_or_default();
                continue;
            }
            Some(b'n') => (2, b'\n'),
            Some(b't') => (2, b'\t'),
            Some(b'r') => (2, b'\r'),
            Some(b'b') => (2, 8),
            Some(b'f') => (2, 12),
            Some(same) => (2, *same),
            None => (1, b'\\'),
        };
        piece(&[byte]);
        rest = escape.get(taken..).unwrap_or_default();
    }
    if !rest.is_empty() {
        piece(rest);
    }
}

/// Four hexadecimal digits; what is none counts as 0.
fn unit(digits: Option<&[u8]>) -> u32 {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or_default();
    digits.unwrap_or_default().iter().fold(0, |sum, byte| (sum << 4) | digit(byte))
}

/// `code` as UTF-8 writes it; a surrogate as it would.
fn utf8(code: u32, bytes: &mut [u8; 4]) -> &[u8] {
    match char::from_u32(code) {
        Some(char) => char.encode_utf8(bytes).as_bytes(),
        None => {
            let six = |shift: u32| 0x80 | ((code >> shift) & 0x3f) as u8;
            *bytes = [0xed, six(6), six(0), 0];
            bytes.get(..3).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests;
