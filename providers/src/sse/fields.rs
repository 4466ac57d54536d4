//! The fields of one event.

use std::borrow::Cow;

use memchr::memchr2;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// What one event says. Comments, `id:` and `retry:` are left out: no dialect uses them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields<'a> {
    /// The `event:` field. The last one wins, as in browsers.
    pub event: Option<&'a [u8]>,
    /// The `data:` lines joined by a newline; copied only if there are several. `None`: the event has no data
    /// (a comment, a ping without content), and a client never sees it.
    pub data: Option<Cow<'a, [u8]>>,
}

impl<'a> Fields<'a> {
    /// Reads the lines of `event`, which ends where the [`Splitter`](super::Splitter) cut it. Never fails: unknown
    /// lines are skipped.
    #[must_use]
    pub fn parse(event: &'a [u8]) -> Self {
        let mut fields = Self::default();
        let mut rest = event.strip_prefix(BOM).unwrap_or(event);
        while !rest.is_empty() {
            let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            if let Some(value) = value_of(line, b"data") {
                fields.data = Some(match fields.data {
                    None => Cow::Borrowed(value),
                    Some(data) => {
                        let mut data = data.into_owned();
                        data.push(b'\n');
                        data.extend_from_slice(value);
                        Cow::Owned(data)
                    }
                });
            } else if let Some(value) = value_of(line, b"event") {
                fields.event = Some(value);
            }
        }
        fields
    }
}

/// The value of `line` if it is the field `name`: after the colon and at most one space.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?;
    match value.split_first() {
        None => Some(value),
        Some((b':', value)) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(event: &str) -> (Option<String>, Option<String>) {
        let fields = Fields::parse(event.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (fields.event.map(text), fields.data.as_deref().map(text))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn reads_fields_in_every_spelling() {
        assert_eq!(parse("data: x\n\n"), (None, some("x")));
        assert_eq!(parse("data:x\r\n\r\n"), (None, some("x")));
        assert_eq!(parse("data:  x\r\r"), (None, some(" x")));
        assert_eq!(parse("event: ping\ndata: {}\n\n"), (some("ping"), some("{}")));
        assert_eq!(parse("\u{feff}data: x\n\n"), (None, some("x")));
        assert_eq!(parse("\ndata: x\n\n"), (None, some("x")));
        assert_eq!(parse("data\n\n"), (None, some("")));
        assert_eq!(parse("data: x"), (None, some("x")));
    }

    #[test]
    fn joins_data_lines_and_skips_the_rest() {
        assert_eq!(parse("data: a\ndata: b\r\ndata:\n\n"), (None, some("a\nb\n")));
        assert_eq!(parse(": OPENROUTER PROCESSING\n\n"), (None, None));
        assert_eq!(parse("id: 1\nretry: 5\ndatabase: no\ngarbage\n: c\ndata: x\n\n"), (None, some("x")));
    }
}
