//! Text that is JSON: what a tool is called with. Finders see a view of it in which escapes are what they say.

use std::borrow::Cow;

/// What stands for a quotation mark that begins or ends a string: nothing that is found goes over it.
pub(super) const QUOTE: char = '\0';

/// Where what finders see stands in the text that was shown: an escape is longer there than the character that it says.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Vec<(usize, usize)>);

impl Places {
    /// From here on the view, which has `seen` bytes, is as long as the text, of which nothing is seen yet.
    pub(super) fn begin(&mut self, seen: usize) {
        self.0.clear();
        self.0.push((seen, 0));
    }

    /// The place in the text of one in the view.
    pub(super) fn of(&self, seen: usize) -> usize {
        let next = self.0.partition_point(|(view, _)| *view <= seen);
        let (view, text) = next.checked_sub(1).and_then(|last| self.0.get(last)).copied().unwrap_or_default();
        text + seen.saturating_sub(view)
    }
}

/// Appends to `view` what finders see of `raw`: escapes are the characters that they say, the quotation marks of strings [`QUOTE`].
/// An escape whose end is still to come is left out, unless nothing follows (`end`).
pub(super) fn view(raw: &str, end: bool, view: &mut String, places: &mut Places) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest.as_bytes()) {
        let (plain, special) = rest.split_at(at);
        view.push_str(plain);
        if let Some(behind) = special.strip_prefix('"') {
            view.push(QUOTE);
            rest = behind;
            continue;
        }
        let (char, length) = match escaped(special) {
            Some(escaped) => escaped,
            None if end => NO_ESCAPE,
            None => return,
        };
        view.push(char);
        rest = special.get(length..).unwrap_or_default();
        if length != char.len_utf8() {
            places.0.push((view.len(), raw.len() - rest.len()));
        }
    }
    view.push_str(rest);
}

/// Most bytes of text for one of what it says.
pub(crate) const LONGEST_ESCAPE: usize = 6;
/// A backslash that begins no escape of JSON's: what follows it is taken as it stands.
const NO_ESCAPE: (char, usize) = ('\n', 1);

/// What the escape at the beginning of `text` says, and its length; `None` if its end is missing.
fn escaped(text: &str) -> Option<(char, usize)> {
    let said = match text.as_bytes().get(1)? {
        b'u' => return unicode(text),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        byte @ (b'"' | b'\\' | b'/') => char::from(*byte),
        _ => return Some(NO_ESCAPE),
    };
    Some((said, 2))
}

/// The same of one that names a character by its number, or by two halves.
fn unicode(text: &str) -> Option<(char, usize)> {
    let Unit::Code(first) = unit(text)? else { return Some(NO_ESCAPE) };
    if !(0xD800..0xDC00).contains(&first) {
        let said = char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER);
        return Some((if said == QUOTE { '\n' } else { said }, 6));
    }
    let pair = match unit(text.get(6..).unwrap_or_default())? {
        Unit::Code(second) => char::decode_utf16([first, second]).next().and_then(Result::ok),
        Unit::None => None,
    };
    Some(pair.map_or((char::REPLACEMENT_CHARACTER, 6), |said| (said, 12)))
}

/// What a text begins with.
enum Unit {
    /// `\uXXXX`
    Code(u16),
    None,
}

/// `None`: it ends too early to say.
fn unit(text: &str) -> Option<Unit> {
    let fits = |(at, byte): &(usize, u8)| match at {
        0 => *byte == b'\\',
        1 => *byte == b'u',
        _ => byte.is_ascii_hexdigit(),
    };
    let length = text.bytes().take(6).enumerate().take_while(fits).count();
    match text.get(2..6).filter(|_| length == 6).map(|hex| u16::from_str_radix(hex, 16)) {
        Some(code) => Some(code.map_or(Unit::None, Unit::Code)),
        None if length == text.len() => None,
        None => Some(Unit::None),
    }
}

/// `text` as it stands inside a JSON string.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        return Cow::Borrowed(text);
    }
    let quoted = serde_json::to_string(text).unwrap_or_default();
    Cow::Owned(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned())
}

/// What `raw`, the inside of a JSON string, says; itself if it is none.
#[must_use]
pub fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    serde_json::from_str(&format!("\"{raw}\"")).map_or(Cow::Borrowed(raw), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is seen of a text, and the place in the text of each character of that.
    fn seen(raw: &str, end: bool) -> (String, Vec<usize>) {
        let (mut seen, mut places) = (String::new(), Places::default());
        places.begin(0);
        view(raw, end, &mut seen, &mut places);
        let all = seen.char_indices().map(|(at, _)| places.of(at)).chain([places.of(seen.len())]).collect();
        (seen, all)
    }

    #[test]
    fn the_view_says_what_strings_say_and_knows_every_place() {
        let raw = r#"{"a":"x\n4\u00e9\u0040 \"\\\/ é","#;
        let (said, places) = seen(raw, false);
        assert_eq!(said, "{\0a\0:\0x\n4é@ \"\\/ é\0,");
        assert_eq!(places, [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 16, 22, 23, 25, 27, 29, 30, 32, 33, 34]);
        assert_eq!(seen(r"\ud83d\ude00!", false), ("😀!".to_owned(), vec![0, 12, 13]));
    }

    #[test]
    fn halves_and_what_is_no_escape_hide_nothing() {
        for (raw, said) in [
            (r"a\ud83dbad", "a\u{FFFD}bad"),
            (r"a\ude00bad", "a\u{FFFD}bad"),
            (r"\ud83d\u0062ad", "\u{FFFD}bad"),
            (r"\ud83d\nbad", "\u{FFFD}\nbad"),
            (r"\u0000bad", "\nbad"),
            (r"x\quite", "x\nquite"),
            (r"C:\users", "C:\nusers"),
            (r"a\é", "a\né"),
        ] {
            assert_eq!(seen(raw, false).0, said, "{raw}");
        }
    }

    #[test]
    fn an_escape_is_never_cut() {
        for (raw, kept) in [
            (r"ab\", 2),
            (r"ab\\", 4),
            (r"ab\\\", 4),
            (r"ab\n", 4),
            (r"ab\u", 2),
            (r"ab\u00e", 2),
            (r"ab\u00e9", 8),
            (r"ab\uzz", 6),
            (r"ab\ud83d", 2),
            (r"ab\ud83d\", 2),
            (r"ab\ud83d\ude0", 2),
            (r"ab\ud83d\ude00", 14),
            (r"ab\ud83d\n", 10),
            ("é", 2),
            ("", 0),
        ] {
            assert_eq!(seen(raw, false).1.last(), Some(&kept), "{raw}");
            assert_eq!(seen(raw, true).1.last(), Some(&raw.len()), "{raw}");
        }
    }

    #[test]
    fn escaping_and_back() {
        for text in ["plain", "a\"b\\c\nd\u{1}é", ""] {
            assert_eq!(unescape(&escape(text)), text);
        }
    }
}
