//! What Claude Code says of itself in front of its system prompt: a line with a value that is another one in each request, meant for
//! Anthropic's accounts. It keeps every other provider's prompt cache from finding the prompt again, and Bedrock refuses it
//! (<https://github.com/anthropics/claude-code/issues/24168>).

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;

use super::cursor::Cursor;

const LINE: &[u8] = b"x-anthropic-billing-header:";

/// The body without that line: the block of `system` that is it, or the beginning of a `system` that is text. The body is one that
/// [`scan_json`](super::scan_json) has accepted.
#[must_use]
pub fn without_attribution(body: &[u8]) -> Cow<'_, [u8]> {
    match find(body) {
        Some(Range { start, end }) => {
            Cow::Owned([body.get(..start), body.get(end..)].map(Option::unwrap_or_default).concat())
        }
        None => Cow::Borrowed(body),
    }
}

fn find(body: &[u8]) -> Option<Range<usize>> {
    memmem::find(body, LINE)?;
    let mut cursor = Cursor::new(body);
    cursor.enter(b'{');
    while let Some(key) = cursor.next_key() {
        if &*key.name != b"system" {
            cursor.value();
            continue;
        }
        return match cursor.peek() {
            Some(b'"') => {
                let text = cursor.string();
                let line = line(cursor.slice(text.clone()))?;
                Some(text.start..text.start + line)
            }
            Some(b'[') => block(&mut cursor),
            _ => None,
        };
    }
    None
}

/// The block, with what parts it from the next one or the one before.
fn block(cursor: &mut Cursor<'_>) -> Option<Range<usize>> {
    cursor.enter(b'[');
    let mut behind = cursor.at();
    let mut first = true;
    while cursor.next_element() {
        let start = cursor.at();
        let mut is_line = false;
        cursor.members(|name, cursor| {
            let value = cursor.value();
            is_line |= name == b"text" && cursor.slice(value).get(1..).is_some_and(|text| text.starts_with(LINE));
        });
        let end = cursor.at();
        if is_line {
            let more = first && cursor.next_element();
            return Some(if more { start..cursor.at() } else { behind..end });
        }
        (behind, first) = (end, false);
    }
    None
}

/// The length of the line that the raw text begins with, and of the line breaks behind it.
fn line(raw: &[u8]) -> Option<usize> {
    let mut at = raw.starts_with(LINE).then_some(LINE.len())?;
    loop {
        at += match memchr::memchr(b'\\', raw.get(at..)?) {
            None => return Some(raw.len()),
            Some(escape) if raw.get(at + escape + 1) == Some(&b'n') => escape,
            Some(escape) => {
                at += escape + 2;
                continue;
            }
        };
        let breaks = raw.get(at..)?.chunks_exact(2).take_while(|pair| pair == b"\\n").count();
        return Some(at + 2 * breaks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_left_out_wherever_it_stands() {
        let line = r#"x-anthropic-billing-header: cc_version=2.1; \"q\"; cch=71fea;"#;
        let block = format!(r#"{{"type":"text","text":"{line}"}}"#);
        let you = r#"{"text":"You are","type":"text"}"#;
        for (system, without) in [
            (format!("[{block},{you}]"), format!("[{you}]")),
            (format!("[ {block} , {you}, {you} ]"), format!("[ {you}, {you} ]")),
            (format!("[{you}, {block}]"), format!("[{you}]")),
            (format!("[{you},{block},{you}]"), format!("[{you},{you}]")),
            (format!("[{block}]"), "[]".to_owned()),
            (format!(r#""{line}\n\nYou\nare""#), r#""You\nare""#.to_owned()),
            (format!(r#""{line}""#), r#""""#.to_owned()),
        ] {
            let body = |system: &str| format!(r#"{{"messages":[{{"content":"{line}"}}],"system": {system}, "a":1}}"#);
            let (with, without) = (body(&system), body(&without));
            let cut = without_attribution(with.as_bytes());
            assert_eq!(std::str::from_utf8(&cut).unwrap(), without);
            super::super::scan_json(&cut).unwrap();
        }
    }

    #[test]
    fn nothing_else_is() {
        for body in [
            r#"{"messages":[{"content":"x-anthropic-billing-header: a"}]}"#,
            r#"{"system":"say x-anthropic-billing-header: a"}"#,
            r#"{"system":[{"type":"text","text":"say x-anthropic-billing-header: a"},"x-anthropic-billing-header:"]}"#,
            r#"{"system":null,"a":"x-anthropic-billing-header:"}"#,
            r#"["x-anthropic-billing-header:"]"#,
            "x-anthropic-billing-header:",
        ] {
            assert!(matches!(without_attribution(body.as_bytes()), Cow::Borrowed(_)), "{body}");
        }
    }
}
