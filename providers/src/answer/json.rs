//! An answer that is one JSON document, scanned as it passes: which top-level values it has, and where it ends. Nothing is kept but the few values that
//! are read, so that an embedding of many megabytes costs no memory.

use memchr::memchr2;
use serde_json::Value;

use super::Notes;
use crate::dialect::Operation;
use crate::usage::report::Report;

/// The largest value that is kept.
const MAX_VALUE: usize = 64 << 10;
/// The longest key that is compared; the rest of a longer one is dropped.
const MAX_KEY: usize = 32;

/// The top-level keys that are read.
const KEYS: &[&[u8]] = &[
    b"usage",
    b"model",
    b"error",
    b"service_tier",
    // Groq
    b"x_groq",
    // Whisper, verbose
    b"duration",
    // Cohere and what imitates its rerank
    b"meta",
    // Gemini
    b"usageMetadata",
    b"modelVersion",
];

/// Where the scan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the document.
    Start,
    /// Between values, at any depth.
    Between,
    /// In a string; `escaped`: the next byte belongs to a backslash.
    String { escaped: bool },
    /// Behind the document.
    Closed,
}

#[derive(Debug)]
pub(super) struct JsonScan {
    state: State,
    depth: u32,
    /// The document is an object: only then its strings at depth 1 are keys.
    object: bool,
    /// The string being read is a key of the outermost object.
    in_key: bool,
    /// A colon has been seen since the last key: what follows is its value.
    in_value: bool,
    key: Vec<u8>,
    /// The value of a key that is read, as far as it has come.
    value: Option<Vec<u8>>,
}

impl JsonScan {
    pub(super) fn new() -> Self {
        Self {
            state: State::Start,
            depth: 0,
            object: false,
            in_key: false,
            in_value: false,
            key: Vec::new(),
            value: None,
        }
    }

    pub(super) fn feed(&mut self, chunk: &[u8], end: bool, notes: &mut Notes) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let taken = match self.state {
                State::Start => self.on_start(rest, notes),
                State::String { escaped } => self.in_string(rest, escaped, notes),
                State::Between => self.between(rest, notes),
                State::Closed => break,
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        // A document that is a bare number, word or string has no closing bracket.
        if end && self.depth == 0 && self.state == State::Between {
            self.state = State::Closed;
        }
        notes.seen.complete = self.state == State::Closed;
    }

    /// White space (some providers send it to keep the connection open), a byte order mark, then the first byte.
    fn on_start(&mut self, rest: &[u8], notes: &mut Notes) -> usize {
        let skip = rest.iter().take_while(|byte| byte.is_ascii_whitespace() || b"\xEF\xBB\xBF".contains(byte)).count();
        if skip < rest.len() {
            notes.output();
            self.state = State::Between;
        }
        skip
    }

    fn in_string(&mut self, rest: &[u8], escaped: bool, notes: &mut Notes) -> usize {
        let mut from = 0;
        if escaped {
            from = 1;
        }
        let (taken, state) = match memchr2(b'"', b'\\', &rest[from..]) {
            None => (rest.len(), State::String { escaped: false }),
            Some(offset) if rest[from + offset] == b'"' => (from + offset + 1, State::Between),
            Some(offset) => (from + offset + 1, State::String { escaped: true }),
        };
        self.state = state;
        let bytes = &rest[..taken];
        if self.in_key {
            let bytes = if state == State::Between { &bytes[..taken - 1] } else { bytes };
            let room = MAX_KEY.saturating_sub(self.key.len());
            self.key.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if state == State::Between {
                self.in_key = false;
            }
        } else {
            self.keep(bytes, notes);
        }
        taken
    }

    /// From here to the next string, or to a byte that changes what is being read.
    fn between(&mut self, rest: &[u8], notes: &mut Notes) -> usize {
        if self.depth > 1 {
            let skipped = self.skip_nested(rest);
            if skipped > 0 {
                self.keep(&rest[..skipped], notes);
                return skipped;
            }
        }
        let byte = rest[0];
        match byte {
            b'"' => {
                self.state = State::String { escaped: false };
                if self.depth == 1 && self.object && !self.in_value {
                    self.in_key = true;
                    self.key.clear();
                } else {
                    self.keep(b"\"", notes);
                }
            }
            b'{' | b'[' => {
                if self.depth == 0 {
                    self.object = byte == b'{';
                }
                self.depth = self.depth.saturating_add(1);
                self.keep(&[byte], notes);
            }
            b'}' | b']' if self.depth <= 1 => {
                self.end_value(notes);
                self.depth = 0;
                self.state = State::Closed;
            }
            b'}' | b']' => {
                self.depth -= 1;
                self.keep(&[byte], notes);
            }
            b':' if self.depth == 1 && self.object && !self.in_value => {
                self.in_value = true;
                self.value = KEYS.contains(&self.key.as_slice()).then(Vec::new);
            }
            b',' if self.depth == 1 => self.end_value(notes),
            _ => self.keep(&[byte], notes),
        }
        1
    }

    /// How many bytes up to the next string cannot lead out of the nested value. Counting brackets over a block is much faster than looking at
    /// each byte, and an embedding is nothing but numbers.
    fn skip_nested(&mut self, rest: &[u8]) -> usize {
        const BLOCK: usize = 1024;
        let block = &rest[..rest.len().min(BLOCK)];
        let block = &block[..memchr::memchr(b'"', block).unwrap_or(block.len())];
        // `{` and `[` differ only in the bit 0x20, as do `}` and `]`.
        let count = |bracket: u8| block.iter().map(|byte| u32::from(byte | 0x20 == bracket)).sum::<u32>();
        let closing = count(b'}');
        if self.depth.saturating_sub(closing) <= 1 {
            return 0;
        }
        self.depth = (self.depth - closing).saturating_add(count(b'{'));
        block.len()
    }

    fn keep(&mut self, bytes: &[u8], notes: &mut Notes) {
        let Some(value) = &mut self.value else { return };
        if value.len() + bytes.len() > MAX_VALUE {
            self.value = None;
            notes.unreadable();
        } else {
            value.extend_from_slice(bytes);
        }
    }

    fn end_value(&mut self, notes: &mut Notes) {
        self.in_value = false;
        if let Some(value) = self.value.take() {
            on_value(&self.key, &value, notes);
        }
    }
}

fn on_value(key: &[u8], value: &[u8], notes: &mut Notes) {
    match key {
        b"usage" | b"usageMetadata" | b"meta" => notes.usage(value),
        b"model" | b"modelVersion" => notes.model(value),
        b"error" => on_error(value, notes),
        b"duration" if notes.operation != Operation::Transcription => {}
        b"service_tier" | b"duration" | b"x_groq" => match serde_json::from_slice::<Value>(value) {
            Ok(value) if key == b"service_tier" => notes.tier(&value),
            Ok(value) if key == b"duration" => notes.report(&Report::audio_duration(&value)),
            Ok(value) => {
                if let Some(usage) = value.get("usage") {
                    notes.report(&Report::read(notes.dialect, notes.operation, usage));
                }
            }
            Err(_) => notes.unreadable(),
        },
        // Every key in KEYS is above.
        _ => {}
    }
}

fn on_error(value: &[u8], notes: &mut Notes) {
    match value.trim_ascii() {
        b"null" | b"\"\"" | b"false" => {}
        value => notes.error(value),
    }
}
