//! An answer that is one JSON document, scanned as it passes: which top-level values it has, and where it ends. Nothing
//! is kept but the few values that are read, and those only where they do not lie in one chunk, so that an embedding of
//! many megabytes costs no memory; a whole answer only where it is to be judged how it ended.

use memchr::memchr2;

use super::searches::Searches;
use super::{AnswerForm, Notes, end_of};
use crate::dialect::{Dialect, Operation};
use crate::usage::report::Report;
use crate::usage::tree::Tree;

/// The largest value that is kept.
const MAX_VALUE: usize = 64 << 10;
/// The largest document that is kept to be judged: one that says nothing may still repeat its request's instructions and tools.
const MAX_JUDGED: usize = 256 << 10;
/// The longest key that is compared; the rest of a longer one is dropped.
const MAX_KEY: usize = 32;

/// What a top-level key says of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Usage,
    Id,
    Model,
    Error,
    Status,
    Tier,
    BedrockTier,
    /// Of Responses: what the tools used that the provider ran.
    Tools,
    /// Of Groq, with a usage in it.
    Groq,
    /// Of Whisper's verbose answer.
    Duration,
    /// A text: the error of Bedrock and Cohere, which has no field of its own. Anything else: of Cohere's answers all that is
    /// said.
    Message,
    /// What an answer to a chat says.
    Output,
    /// The pictures that were asked for.
    Pictures,
    /// Nothing that is read.
    Other,
}

impl Key {
    fn of(name: &[u8], operation: Operation) -> Self {
        match name {
            // Gemini; Cohere and what imitates its rerank
            b"usage" | b"usageMetadata" | b"meta" => Self::Usage,
            b"id" => Self::Id,
            b"model" | b"modelVersion" => Self::Model,
            b"error" => Self::Error,
            b"status" => Self::Status,
            b"service_tier" => Self::Tier,
            b"serviceTier" => Self::BedrockTier,
            b"tool_usage" => Self::Tools,
            b"x_groq" => Self::Groq,
            b"duration" => Self::Duration,
            b"message" => Self::Message,
            b"choices" | b"content" | b"output" | b"candidates" => Self::Output,
            b"data" if operation == Operation::Images => Self::Pictures,
            _ => Self::Other,
        }
    }

    fn is_kept(self) -> bool {
        !matches!(self, Self::Output | Self::Pictures | Self::Other)
    }
}

/// Where the scan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the document.
    Start,
    /// Between strings, at any depth.
    Between,
    /// In a string; `escaped`: the next byte belongs to a backslash.
    String { escaped: bool },
    /// Behind the document.
    Closed,
    /// What has begun is no JSON.
    NoJson,
}

/// What is kept of the bytes that pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Nothing,
    /// The key of the outermost object that is being read.
    Key,
    /// The value of a key.
    Value,
}

#[derive(Debug)]
pub(super) struct JsonScan {
    state: State,
    depth: u32,
    /// The document is an object: only then its strings at depth 1 are keys.
    object: bool,
    /// A colon has been seen since the last key: what follows is its value.
    in_value: bool,
    /// The last key.
    key: Key,
    kept: Kept,
    /// Where in this chunk that begins.
    from: usize,
    /// What earlier chunks had of it.
    before: Vec<u8>,
    /// The document so far, if it is to be judged, and not too large.
    whole: Option<Vec<u8>>,
    searches: Searches,
}

impl JsonScan {
    pub(super) fn new() -> Self {
        Self {
            state: State::Start,
            depth: 0,
            object: false,
            in_value: false,
            key: Key::Other,
            kept: Kept::Nothing,
            from: 0,
            before: Vec::new(),
            whole: None,
            searches: Searches::default(),
        }
    }

    /// From now on the document is kept, and at its end it is judged how the answer ended.
    pub(super) fn keep_whole(&mut self) {
        self.whole = Some(Vec::new());
    }

    fn judge(&mut self, chunk: &[u8], end: bool, notes: &mut Notes) {
        self.whole = self.whole.take().filter(|whole| whole.len() + chunk.len() <= MAX_JUDGED);
        let Some(whole) = &mut self.whole else { return };
        whole.extend_from_slice(chunk);
        if end {
            notes.seen.end = end_of(whole, notes.dialect, AnswerForm::Json).unwrap_or_default();
        }
    }

    pub(super) fn feed(&mut self, chunk: &[u8], end: bool, notes: &mut Notes) {
        self.judge(chunk, end, notes);
        self.from = 0;
        let mut at = 0;
        while at < chunk.len() {
            at = match self.state {
                State::Start => self.on_start(chunk, notes),
                State::String { .. } => self.in_string(chunk, at, notes),
                State::Between if self.depth > 1 => self.nested(chunk, at, notes),
                State::Between => self.between(chunk, at, notes),
                State::Closed | State::NoJson => break,
            };
        }
        self.keep(chunk.get(self.from..).unwrap_or_default(), notes);
        // A document that is a bare number, word or string has no closing bracket.
        if end && self.depth == 0 && self.state == State::Between {
            self.state = State::Closed;
        }
        notes.seen.complete = self.state == State::Closed;
    }

    /// White space (some providers send it to keep the connection open), a byte order mark, then the first byte.
    fn on_start(&mut self, chunk: &[u8], notes: &mut Notes) -> usize {
        let skip = chunk.iter().take_while(|byte| byte.is_ascii_whitespace() || b"\xEF\xBB\xBF".contains(byte)).count();
        match chunk.get(skip) {
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

    /// From inside a string to behind its end, or that of the chunk.
    fn in_string(&mut self, chunk: &[u8], start: usize, notes: &mut Notes) -> usize {
        let mut at = start + usize::from(self.state == State::String { escaped: true });
        self.state = loop {
            let rest = chunk.get(at..).unwrap_or_default();
            let Some(found) = quote_or_backslash(rest) else {
                // Behind the chunk is where an escaped byte was not there yet.
                break State::String { escaped: at > chunk.len() };
            };
            if rest[found] == b'"' {
                at += found + 1;
                break State::Between;
            }
            at += found + 2;
        };
        let end = if self.state == State::Between { at } else { chunk.len() };
        if self.kept == Kept::Key {
            if self.state == State::Between {
                self.end_key(&chunk[self.from..end - 1], notes);
            }
        } else if self.depth > 1 && matches!(self.key, Key::Output | Key::Message) {
            notes.heard.length(end - start);
            if self.key == Key::Output {
                let is_over = self.state == State::Between;
                let part = chunk.get(start..end - usize::from(is_over)).unwrap_or_default();
                self.searches.text(self.depth, part, is_over, notes.dialect);
            }
        }
        end
    }

    /// From here to where a value nests, or to the end of the outermost one.
    fn between(&mut self, chunk: &[u8], start: usize, notes: &mut Notes) -> usize {
        let mut at = start;
        while let Some(&byte) = chunk.get(at) {
            at += 1;
            match byte {
                b'"' => {
                    if self.depth == 1 && self.object && !self.in_value {
                        self.kept = Kept::Key;
                        self.from = at;
                    }
                    self.state = State::String { escaped: false };
                    at = self.in_string(chunk, at, notes);
                }
                b'{' | b'[' => {
                    if self.depth == 0 {
                        self.object = byte == b'{';
                    }
                    self.depth += 1;
                    if self.key == Key::Message && self.kept == Kept::Value {
                        self.keep(&chunk[self.from..at - 1], notes);
                        self.keep_nothing();
                    }
                    if self.depth > 1 {
                        break;
                    }
                }
                b'}' | b']' => {
                    self.end_value(&chunk[self.from..at - 1], notes);
                    self.searches.tell(notes);
                    self.depth = 0;
                    self.state = State::Closed;
                    break;
                }
                b':' if self.depth == 1 && self.object && !self.in_value => {
                    self.in_value = true;
                    if self.key.is_kept() {
                        self.kept = Kept::Value;
                        self.from = at;
                    }
                }
                b',' if self.depth == 1 => self.end_value(&chunk[self.from..at - 1], notes),
                _ => {}
            }
        }
        at
    }

    /// The same below the outermost value, where only depth and strings matter: from here to where the nested value ends.
    fn nested(&mut self, chunk: &[u8], start: usize, notes: &mut Notes) -> usize {
        // So many bytes without a bracket or a string are taken for the beginning of many more.
        const FEW: u32 = 16;
        let mut at = start;
        let mut plain = 0;
        while let Some(&byte) = chunk.get(at) {
            at += 1;
            match byte {
                b'"' => {
                    plain = 0;
                    self.state = State::String { escaped: false };
                    at = self.in_string(chunk, at, notes);
                }
                b'{' | b'[' => {
                    plain = 0;
                    if self.depth == 2 && self.key == Key::Pictures {
                        notes.picture();
                    }
                    self.depth = self.depth.saturating_add(1);
                }
                b'}' | b']' => {
                    plain = 0;
                    self.depth -= 1;
                    if self.depth == 1 {
                        break;
                    }
                }
                _ => {
                    plain += 1;
                    if plain == FEW && self.key != Key::Pictures {
                        plain = 0;
                        at += self.skip_blocks(&chunk[at..]);
                    }
                }
            }
        }
        at
    }

    /// The length of the blocks that have no string and do not end the nested value. Counting over a block is much faster
    /// than looking at each byte: an embedding is nothing but numbers.
    fn skip_blocks(&mut self, rest: &[u8]) -> usize {
        let mut skipped = 0;
        for block in rest.as_chunks::<BLOCK>().0 {
            let Marks { quotes, opening, closing } = Marks::of(block);
            if quotes > 0 || self.depth.saturating_sub(closing.into()) <= 1 {
                break;
            }
            self.depth = (self.depth - u32::from(closing)).saturating_add(opening.into());
            skipped += BLOCK;
        }
        skipped
    }

    fn end_key(&mut self, part: &[u8], notes: &Notes) {
        self.key = if self.before.is_empty() {
            Key::of(part, notes.operation)
        } else {
            self.keep_key(part);
            Key::of(&self.before, notes.operation)
        };
        self.keep_nothing();
    }

    fn end_value(&mut self, part: &[u8], notes: &mut Notes) {
        self.in_value = false;
        if self.kept != Kept::Value {
            return;
        }
        if !self.before.is_empty() || part.len() > MAX_VALUE {
            self.keep(part, notes);
        }
        match self.kept {
            Kept::Value if self.before.is_empty() => on_value(self.key, part, notes),
            Kept::Value => on_value(self.key, &self.before, notes),
            Kept::Nothing | Kept::Key => {}
        }
        self.keep_nothing();
    }

    /// Takes in the next part of what is kept.
    fn keep(&mut self, part: &[u8], notes: &mut Notes) {
        match self.kept {
            Kept::Nothing => {}
            Kept::Key => self.keep_key(part),
            Kept::Value if self.before.len() + part.len() > MAX_VALUE => {
                self.keep_nothing();
                notes.unreadable();
            }
            Kept::Value => self.before.extend_from_slice(part),
        }
    }

    fn keep_key(&mut self, part: &[u8]) {
        let room = MAX_KEY - self.before.len();
        self.before.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn keep_nothing(&mut self) {
        self.kept = Kept::Nothing;
        self.before = Vec::new();
    }
}

/// Where a string ends, or has an escape. Most strings are short: their first bytes are searched eight at a time as one
/// number, before a search that is faster by far, and takes longer to begin.
fn quote_or_backslash(text: &[u8]) -> Option<usize> {
    const SHORT: usize = 4;
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // The high bit of the lowest byte that is zero, and of some above it.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let words = text.as_chunks::<8>().0;
    let words = &words[..words.len().min(SHORT)];
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(8 * at + (found.trailing_zeros() / 8) as usize);
        }
    }
    let searched = 8 * words.len();
    Some(searched + memchr2(b'"', b'\\', &text[searched..])?)
}

/// How many bytes are counted at once: their number fits a byte, which lets the compiler count many at once.
const BLOCK: usize = 192;

/// How often a block has what matters.
#[derive(Default)]
struct Marks {
    quotes: u8,
    opening: u8,
    closing: u8,
}

impl Marks {
    fn of(block: &[u8; BLOCK]) -> Self {
        let mut marks = Self::default();
        for &byte in block {
            marks.quotes += u8::from(byte == b'"');
            // A `[` differs from a `{` only in this bit, as do those that close.
            marks.opening += u8::from(byte | 0x20 == b'{');
            marks.closing += u8::from(byte | 0x20 == b'}');
        }
        marks
    }
}

fn on_value(key: Key, value: &[u8], notes: &mut Notes) {
    match key {
        Key::Usage => notes.usage(value),
        Key::Id if matches!(notes.dialect, Dialect::OpenAiResponses | Dialect::Anthropic) => notes.id(value),
        Key::Model => notes.model(value),
        Key::Error => on_error(value, notes),
        Key::Message if matches!(notes.dialect, Dialect::Bedrock | Dialect::Cohere) => on_error(value, notes),
        Key::Status if notes.dialect == Dialect::OpenAiResponses => {
            notes.seen.unfinished = matches!(value.trim_ascii(), br#""queued""# | br#""in_progress""#);
        }
        Key::Tier => on_tree(value, notes, |tier, notes| notes.tier(tier)),
        Key::BedrockTier if notes.dialect == Dialect::Bedrock => {
            on_tree(value, notes, |tier, notes| notes.tier(&tier["type"]));
        }
        Key::Tools if notes.dialect == Dialect::OpenAiResponses => {
            on_tree(value, notes, |tools, notes| notes.report(&Report::of_tools(tools)));
        }
        Key::Groq => on_tree(value, notes, |groq, notes| {
            if groq["usage"].is_object() {
                notes.report(&Report::read(notes.dialect, notes.operation, &groq["usage"]));
            }
        }),
        Key::Duration if notes.operation == Operation::Transcription => {
            on_tree(value, notes, |seconds, notes| notes.report(&Report::audio_duration(seconds)));
        }
        // What means something only in other answers, or is not kept.
        Key::Id | Key::Status | Key::Message | Key::BedrockTier | Key::Tools | Key::Duration => {}
        Key::Output | Key::Pictures | Key::Other => {}
    }
}

fn on_tree(value: &[u8], notes: &mut Notes, read: impl FnOnce(&Tree<'_>, &mut Notes)) {
    match Tree::parse(value) {
        Some(tree) => read(&tree, notes),
        None => notes.unreadable(),
    }
}

fn on_error(value: &[u8], notes: &mut Notes) {
    match value.trim_ascii() {
        b"null" | b"false" | b"\"\"" | b"{}" => {}
        value => notes.error(value),
    }
}
