//! How much an answer has said so far: what its output is estimated by if the provider never reports it.

use memchr::memchr;

use crate::operations::tokenizer::Counter;
use crate::scan::string_end;

/// Bytes that are kept of what was said: enough to know how many bytes of it make a token.
const SAMPLE: usize = 2 << 10;
/// Members of a delta that are no text that was generated: names and numbers, sound and images, what is encrypted.
const NO_OUTPUT: [&[u8]; 12] = [
    b"role",
    b"id",
    b"type",
    b"name",
    b"finish_reason",
    b"obfuscation",
    b"signature",
    b"thought_signature",
    b"encrypted_content",
    b"data",
    b"b64_json",
    b"url",
];
/// Bytes of text that make a token, where none was kept.
const BYTES_PER_TOKEN: u64 = 4;

/// The length of what was said, and its beginning. Never shown to anybody: it exists to be counted.
#[derive(Clone, Default)]
pub struct Heard {
    bytes: u64,
    sample: Vec<u8>,
}

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heard").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Heard {
    /// Bytes of text, reasoning and calls so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// About how many tokens that is: counted with OpenAI's `o200k_base` up to 2 KiB, the rest taken to be like it. The first
    /// count of a process unpacks the tokenizer, which takes a moment: not for a thread that serves requests.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        if self.sample.is_empty() {
            return self.bytes.div_ceil(BYTES_PER_TOKEN);
        }
        let mut counter = Counter::default();
        counter.add(&String::from_utf8_lossy(&self.sample));
        let tokens = u128::from(counter.total()) * u128::from(self.bytes) / self.sample.len() as u128;
        u64::try_from(tokens).unwrap_or(u64::MAX).max(u64::from(self.bytes > 0))
    }

    /// Takes text in.
    pub(super) fn text(&mut self, text: &[u8]) {
        self.bytes += text.len() as u64;
        let room = SAMPLE - self.sample.len();
        if room > 0 && !text.is_empty() {
            self.sample.reserve_exact(room);
            self.sample.extend_from_slice(&text[..text.len().min(room)]);
        }
    }

    /// Takes text in of which nothing is kept.
    pub(super) fn length(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Takes in the strings of the JSON value that `json` begins with, but for names and what is no output.
    pub(super) fn json(&mut self, json: &[u8]) {
        let (mut rest, mut depth, mut passes) = (json, 0_u32, false);
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'"' => {
                    let Some((text, after)) = rest.split_at_checked(string_end(rest, 0)) else { return };
                    let Some((_quote, after)) = after.split_first() else { return };
                    rest = after;
                    if depth > 0 && rest.trim_ascii_start().starts_with(b":") {
                        passes = !NO_OUTPUT.contains(&text);
                    } else if passes || depth == 0 {
                        self.escaped(text);
                    }
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => continue,
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Takes in a JSON string's text. Its `\u` escapes stay as they are: they are rare, and this is an estimate.
    fn escaped(&mut self, mut text: &[u8]) {
        while let Some(at) = memchr(b'\\', text) {
            self.text(&text[..at]);
            let Some(&escape) = text.get(at + 1) else { return };
            let meant: &[u8] = match escape {
                b'n' => b"\n",
                b't' => b"\t",
                b'r' => b"\r",
                b'u' => b"\\u",
                _ => &text[at + 1..at + 2],
            };
            self.text(meant);
            text = &text[at + 2..];
        }
        self.text(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(json: &str) -> String {
        let mut heard = Heard::default();
        heard.json(json.as_bytes());
        assert_eq!(heard.bytes(), heard.sample.len() as u64);
        String::from_utf8(heard.sample).unwrap()
    }

    #[test]
    fn deltas_say_their_strings() {
        for (json, said) in [
            (r#""a \"b\"\n",{"x":"y"}"#, "a \"b\"\n"),
            (r#"{"role":"assistant","content":"Hel\\lo"},"z":"no""#, "Hel\\lo"),
            (r#"{"type":"thinking_delta","thinking":"hm"}"#, "hm"),
            (r#"{"type":"signature_delta","signature":"abc"}"#, ""),
            (
                r#"{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\""}}]}"#,
                "{\"a\"",
            ),
            (r#"{"audio":{"id":"a","data":"UklGRg==","transcript":"hi"}}"#, "hi"),
            (r#"{"content":null}"#, ""),
            (r#"{"content":["a","b"]}"#, "ab"),
            ("", ""),
            ("{\"content\":\"cut", ""),
            ("\"cut\\", ""),
        ] {
            assert_eq!(heard(json), said, "{json}");
        }
    }

    #[test]
    fn tokens_are_counted_and_what_is_long_is_taken_to_go_on_like_that() {
        let mut heard = Heard::default();
        assert_eq!(heard.tokens(), 0);
        heard.text(b"Hello, world!");
        assert_eq!((heard.bytes(), heard.tokens()), (13, 4));
        for _ in 0..999 {
            heard.text(b"Hello, world!");
        }
        assert!(heard.sample.len() == SAMPLE && heard.tokens().abs_diff(4000) < 200, "{}", heard.tokens());
        let mut unkept = Heard::default();
        unkept.length(9);
        assert_eq!(unkept.tokens(), 3);
    }
}
