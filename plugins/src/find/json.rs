//! Text that is JSON: what a tool is called with. Finders see a view of it in which escapes are no letters.

use std::borrow::Cow;

/// What stands for a quotation mark that begins or ends a string: nothing that is found goes over it.
pub(super) const QUOTE: char = '\0';

/// Appends to `view` what finders see of `raw`: as many bytes, at the same places. Escapes become line ends, or `x` if they stand for
/// a letter or digit; the quotation marks of strings become [`QUOTE`].
pub(super) fn view(raw: &str, view: &mut String) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest.as_bytes()) {
        let (plain, special) = rest.split_at(at);
        view.push_str(plain);
        if let Some(behind) = special.strip_prefix('"') {
            view.push(QUOTE);
            rest = behind;
            continue;
        }
        let length = escape_length(special).unwrap_or(special.len());
        let (escape, behind) = special.split_at(length);
        let char = escape.get(2..6).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let stand_in = match (escape.as_bytes().get(1), char) {
            // Half of a pair: mostly an emoji or a rare ideograph.
            (Some(b'u'), Some(code)) => match char::from_u32(code) {
                Some(char) if char.is_alphanumeric() => 'x',
                _ => '\n',
            },
            _ => '\n',
        };
        match escape {
            r"\/" => view.push_str("//"),
            r"\\" => view.push_str(r"\\"),
            // No escape of JSON's: the character stays where it is.
            _ if !escape.is_ascii() => {
                view.push('\n');
                view.push_str(escape.get(1..).unwrap_or_default());
            }
            _ => view.extend(std::iter::repeat_n(stand_in, length)),
        }
        rest = behind;
    }
    view.push_str(rest);
}

/// Bytes of the escape at the beginning of `text`, `None` if its end is missing. What is no escape of JSON's is taken for one of two
/// characters.
fn escape_length(text: &str) -> Option<usize> {
    match text.as_bytes().get(1)? {
        b'u' => {
            let hex = text.as_bytes().iter().skip(2).take(4).take_while(|byte| byte.is_ascii_hexdigit()).count();
            if hex < 4 && text.len() == 2 + hex { None } else { Some(2 + hex) }
        }
        _ => text.chars().nth(1).map(|second| 1 + second.len_utf8()),
    }
}

/// Where an escape begins whose end is still to come; the length if there is none.
pub(super) fn whole(raw: &str) -> usize {
    let tail = raw.floor_char_boundary(raw.len().saturating_sub(6));
    let Some(at) = raw.get(tail..).and_then(|tail| tail.rfind('\\')).map(|at| tail + at) else { return raw.len() };
    // An even number of them is that many escaped ones; of an odd number the last begins an escape.
    let run = raw.as_bytes()[..=at].iter().rev().take_while(|byte| **byte == b'\\').count();
    let begins = run % 2 == 1;
    if begins && escape_length(&raw[at..]).is_none() { at } else { raw.len() }
}

/// The last place not behind `at` that is not inside of an escape.
pub(super) fn border(raw: &str, at: usize) -> usize {
    let mut here = 0;
    while let Some(escape) = raw.get(here..at).and_then(|text| memchr::memchr(b'\\', text.as_bytes())) {
        let start = here + escape;
        let length = raw.get(start..).and_then(escape_length).unwrap_or(raw.len());
        if start + length > at {
            return start;
        }
        here = start + length;
    }
    at
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

    #[test]
    fn the_view_keeps_every_place() {
        let raw = r#"{"a":"x\n4111 \u00e9\u0040 \"q\" \\ \/ é","#;
        let mut seen = String::new();
        view(raw, &mut seen);
        assert_eq!(seen.len(), raw.len());
        assert_eq!(seen, "{\0a\0:\0x\n\n4111 xxxxxx\n\n\n\n\n\n \n\nq\n\n \\\\ // é\0,");
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
            ("é", 2),
            ("", 0),
        ] {
            assert_eq!(whole(raw), kept, "{raw}");
        }
    }

    #[test]
    fn escaping_and_back() {
        for text in ["plain", "a\"b\\c\nd\u{1}é", ""] {
            assert_eq!(unescape(&escape(text)), text);
        }
    }
}
