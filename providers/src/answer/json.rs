//! An answer that is one JSON document, scanned as it passes: which top-level values it has, and where it ends. Nothing
//! is kept but the few values that are read, so that an embedding of many megabytes costs no memory.

use memchr::{memchr, memchr2};
use serde_json::Value;

use super::Notes;
use crate::dialect::{Dialect, Operation};
use crate::usage::report::Report;

/// The largest value that is kept.
const MAX_VALUE: usize = 64 << 10;
/// The longest key that is compared; the rest of a longer one is dropped.
const MAX_KEY: usize = 32;

/// The top-level keys that are read.
const KEYS: &[&[u8]] = &[
    b"usage",
    b"id",
    b"model",
    b"error",
    b"service_tier",
    // Bedrock
    b"serviceTier",
    // Groq
    b"x_groq",
    // Whisper, verbose
    b"duration",
    // Cohere and what imitates its rerank
    b"meta",
    // Gemini
    b"usageMetadata",
    b"modelVersion",
    // Errors of Bedrock and Cohere, which have no field of their own; of Cohere's answers it is all that is said
    b"message",
];

/// The top-level keys under which an answer to a chat has its output.
const OUTPUT: &[&[u8]] = &[b"choices", b"content", b"output", b"candidates", b"message"];

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
    /// What has begun is no JSON.
    NoJson,
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
                State::Closed | State::NoJson => break,
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
        match rest.get(skip) {
            None => {}
            Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                notes.output();
                self.state = State::Between;
            }
            Some(_) => {
                notes.unreadable();
                self.state = State::NoJson;
            }
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
            if self.depth > 1 && OUTPUT.contains(&self.key.as_slice()) {
                notes.heard.length(bytes.len());
            }
            self.keep(bytes, notes);
        }
        taken
    }

    /// From here into the next string, or out of a nested value, or to the end of the outermost one.
    fn between(&mut self, rest: &[u8], notes: &mut Notes) -> usize {
        if self.depth > 1 {
            return self.nested(rest, notes);
        }
        for (at, &byte) in rest.iter().enumerate() {
            match byte {
                b'"' => {
                    self.state = State::String { escaped: false };
                    if self.depth == 1 && self.object && !self.in_value {
                        self.in_key = true;
                        self.key.clear();
                    } else {
                        self.keep(b"\"", notes);
                    }
                    return at + 1;
                }
                b'{' | b'[' => {
                    if self.depth == 0 {
                        self.object = byte == b'{';
                    }
                    self.depth += 1;
                    if self.key == b"message" {
                        self.value = None;
                    }
                    self.keep(&[byte], notes);
                    if self.depth > 1 {
                        return at + 1;
                    }
                }
                b'}' | b']' => {
                    self.end_value(notes);
                    self.depth = 0;
                    self.state = State::Closed;
                    return at + 1;
                }
                b':' if self.depth == 1 && self.object && !self.in_value => {
                    self.in_value = true;
                    self.value = KEYS.contains(&self.key.as_slice()).then(Vec::new);
                }
                b',' if self.depth == 1 => self.end_value(notes),
                _ => self.keep(&[byte], notes),
            }
        }
        rest.len()
    }

    /// The same below the outermost value, where only depth and strings matter. Brackets are counted over a block,
    /// which is much faster than looking at each byte: an embedding is nothing but numbers.
    fn nested(&mut self, rest: &[u8], notes: &mut Notes) -> usize {
        // A count over a block fits a byte, which lets the compiler count many at once.
        const BLOCK: usize = 192;
        let block = &rest[..rest.len().min(BLOCK)];
        let (block, string) = match memchr(b'"', block) {
            Some(quote) => (&block[..quote], true),
            None => (block, false),
        };
        let closing = u32::from(brackets(block, b'}'));
        if self.depth.saturating_sub(closing) <= 1 || (self.has_pictures(notes) && !block.is_empty()) {
            return self.byte_by_byte(block, notes);
        }
        self.depth = (self.depth - closing).saturating_add(u32::from(brackets(block, b'{')));
        if string {
            self.state = State::String { escaped: false };
        }
        let taken = block.len() + usize::from(string);
        self.keep(&rest[..taken], notes);
        taken
    }

    /// Whether the elements of the value being read are the pictures that were asked for.
    fn has_pictures(&self, notes: &Notes) -> bool {
        notes.operation == Operation::Images && self.object && self.key == b"data"
    }

    /// `block` may end the nested value, or the beginning of its elements is of interest.
    fn byte_by_byte(&mut self, block: &[u8], notes: &mut Notes) -> usize {
        let mut taken = 0;
        for &byte in block {
            taken += 1;
            match byte | 0x20 {
                b'{' => {
                    if self.depth == 2 && self.has_pictures(notes) {
                        notes.picture();
                    }
                    self.depth = self.depth.saturating_add(1);
                }
                b'}' => self.depth -= 1,
                _ => {}
            }
            if self.depth == 1 {
                break;
            }
        }
        self.keep(&block[..taken], notes);
        taken
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

/// How many brackets there are: `{` stands for `[` too, `}` for `]`, as they differ only in the bit 0x20. `block` is
/// shorter than 256 bytes.
fn brackets(block: &[u8], bracket: u8) -> u8 {
    block.iter().fold(0, |count, byte| count + u8::from(byte | 0x20 == bracket))
}

fn on_value(key: &[u8], value: &[u8], notes: &mut Notes) {
    match key {
        b"usage" | b"usageMetadata" | b"meta" => notes.usage(value),
        b"id" if notes.dialect != Dialect::OpenAiResponses => {}
        b"id" => notes.id(value),
        b"model" | b"modelVersion" => notes.model(value),
        b"error" => on_error(value, notes),
        b"message" if matches!(notes.dialect, Dialect::Bedrock | Dialect::Cohere) => on_error(value, notes),
        b"duration" if notes.operation != Operation::Transcription => {}
        b"serviceTier" if notes.dialect != Dialect::Bedrock => {}
        b"service_tier" | b"serviceTier" | b"duration" | b"x_groq" => match serde_json::from_slice::<Value>(value) {
            Ok(value) if key == b"service_tier" => notes.tier(&value),
            Ok(value) if key == b"serviceTier" => notes.tier(&value["type"]),
            Ok(value) if key == b"duration" => notes.report(&Report::audio_duration(&value)),
            Ok(value) => {
                if let Some(usage) = value.get("usage") {
                    notes.report(&Report::read(notes.dialect, notes.operation, usage));
                }
            }
            Err(_) => notes.unreadable(),
        },
        // Every key in KEYS is above; a `message` of others says nothing about them.
        _ => {}
    }
}

fn on_error(value: &[u8], notes: &mut Notes) {
    match value.trim_ascii() {
        b"null" | b"false" | b"\"\"" | b"{}" => {}
        value => notes.error(value),
    }
}
