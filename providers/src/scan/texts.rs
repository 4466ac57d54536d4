//! Where the texts are in a JSON body of any dialect, and replacing them without touching any other byte.
//!
//! Dialects call the same things by few names, and none uses one name for two things in the places that are looked at: so one
//! walk serves all of them. It goes only where texts can be (messages, instructions, tools' arguments and results, inputs)
//! and passes over the rest: media, tools' definitions, schemas, ids, encrypted state.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::cursor::Cursor;
use crate::dialect::{Dialect, Operation};
use crate::own;

/// No dialect nests texts so deeply.
const DEEPEST: usize = 48;

/// Whether a body asks or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A client's request.
    Request,
    /// An answer to it.
    Answer,
}

/// A text of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Text<'a> {
    /// Who wrote it, and what for.
    pub kind: TextKind,
    /// The text itself; of arguments and results that are JSON, their JSON text.
    pub text: Cow<'a, str>,
    /// Whether it is JSON text: what is put in its place must be, too.
    pub json: bool,
    /// Its place among the texts of the body, from 0.
    pub number: usize,
}

/// Who wrote a text, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TextKind {
    /// Instructions: a system or developer message.
    System,
    /// A user.
    User,
    /// The model, now or in an earlier turn.
    Assistant,
    /// The model, about how it comes to its answer.
    Reasoning,
    /// The model declines.
    Refusal,
    /// What a tool is called with.
    Arguments,
    /// What a tool returned.
    ToolResult,
    /// What is to be embedded, ranked, moderated, drawn or spoken, or was written down of speech.
    Input,
}

/// The texts of `body`, in its order. Of a body that is no JSON some, or none. Of an own dialect its codec finds them.
#[must_use]
pub fn texts(body: &[u8], side: Side, dialect: Dialect, operation: Operation) -> Vec<Text<'_>> {
    if let Dialect::Own(own) = dialect
        && let Some(texts) = own::texts(own, body, side)
    {
        return texts;
    }
    find(body, side, dialect, operation).into_iter().map(|(text, _)| text).collect()
}

/// Puts another text in the place of each for which `edit` gives one. Gives back the new body, unless nothing was changed, and
/// how many texts were.
///
/// A text that is an object on the wire must stay JSON: `{}` takes the place of what is not. In an own dialect the body is
/// written anew by its codec, if a text was changed.
pub fn edit_texts(
    body: &Bytes,
    side: Side,
    dialect: Dialect,
    operation: Operation,
    mut edit: impl FnMut(&Text<'_>) -> Option<String>,
) -> (Option<Bytes>, usize) {
    if let Dialect::Own(own) = dialect
        && let Some(done) = own::edit_texts(own, body, side, &mut edit)
    {
        return done;
    }
    let (mut edited, mut at, mut count) = (Vec::new(), 0, 0);
    for (text, span) in find(body, side, dialect, operation) {
        let Some(new) = edit(&text) else { continue };
        edited.extend_from_slice(body.get(at..span.start).unwrap_or_default());
        if body.get(span.start) == Some(&b'"') {
            edited.extend_from_slice(serde_json::Value::String(new).to_string().as_bytes());
        } else if serde_json::from_str::<IgnoredAny>(&new).is_ok() {
            edited.extend_from_slice(new.as_bytes());
        } else {
            edited.extend_from_slice(b"{}");
        }
        at = span.end;
        count += 1;
    }
    if count == 0 {
        return (None, 0);
    }
    edited.extend_from_slice(body.get(at..).unwrap_or_default());
    (Some(edited.into()), count)
}

fn find(body: &[u8], side: Side, dialect: Dialect, operation: Operation) -> Vec<(Text<'_>, Range<usize>)> {
    let mut walk = Walk { cursor: Cursor::new(body), cohere: dialect == Dialect::Cohere, found: Vec::new() };
    if walk.cursor.enter(b'{') {
        while let Some(key) = walk.cursor.next_key() {
            match top_level(&key.name, side, operation) {
                Some(kind) => walk.any(kind, 0),
                None => drop(walk.cursor.value()),
            }
        }
    }
    walk.found
}

/// What the field of a body holds, if it holds texts.
fn top_level(name: &[u8], side: Side, operation: Operation) -> Option<TextKind> {
    Some(match (side, name) {
        (Side::Request, b"messages" | b"contents" | b"generateContentRequest") => TextKind::User,
        (Side::Request, b"system" | b"systemInstruction" | b"system_instruction" | b"instructions") => TextKind::System,
        (Side::Request, b"input") if matches!(operation, Operation::Chat | Operation::CountTokens) => TextKind::User,
        (
            Side::Request,
            b"input" | b"prompt" | b"suffix" | b"query" | b"documents" | b"texts" | b"content" | b"requests"
            | b"inputText" | b"inputs",
        ) => TextKind::Input,
        (Side::Answer, b"choices" | b"output" | b"content" | b"candidates" | b"message") => TextKind::Assistant,
        (Side::Answer, b"text") if operation == Operation::Transcription => TextKind::Input,
        // The list of what a kept answer was asked with.
        (Side::Answer, b"data") if operation == Operation::Stored => TextKind::User,
        _ => return None,
    })
}

struct Walk<'a> {
    cursor: Cursor<'a>,
    cohere: bool,
    found: Vec<(Text<'a>, Range<usize>)>,
}

impl Walk<'_> {
    /// A value that is a text, or has some.
    fn any(&mut self, kind: TextKind, depth: usize) {
        match self.cursor.peek() {
            Some(b'"') => self.string(kind, false),
            Some(b'[') if depth < DEEPEST => {
                self.cursor.enter(b'[');
                while self.cursor.next_element() {
                    self.any(kind, depth + 1);
                }
            }
            Some(b'{') if depth < DEEPEST => self.object(kind, depth),
            _ => drop(self.cursor.value()),
        }
    }

    fn object(&mut self, kind: TextKind, depth: usize) {
        let said = self.said();
        let kind = said.kind(kind);
        self.cursor.enter(b'{');
        while let Some(key) = self.cursor.next_key() {
            match &*key.name {
                b"text" | b"content" | b"parts" | b"message" | b"output" | b"source" | b"document" | b"documents"
                | b"transcript" | b"audio" | b"tool_calls" | b"function" | b"function_call" | b"functionCall"
                | b"toolUse" | b"requests" => self.any(kind, depth + 1),
                b"thinking" | b"reasoning_content" | b"reasoning" | b"tool_plan" | b"summary"
                | b"reasoning_details" | b"reasoningContent" | b"reasoningText" => {
                    self.any(TextKind::Reasoning, depth + 1)
                }
                b"refusal" => self.any(TextKind::Refusal, depth + 1),
                b"toolResult" | b"functionResponse" | b"function_response" => self.any(TextKind::ToolResult, depth + 1),
                b"arguments" => self.json(TextKind::Arguments, true),
                b"args" => self.json(TextKind::Arguments, false),
                b"input" => self.json(TextKind::Arguments, false),
                b"response" | b"json" => self.json(TextKind::ToolResult, false),
                b"data" if said.is_text => self.any(kind, depth + 1),
                b"data" if self.cohere => self.json(kind, false),
                _ => drop(self.cursor.value()),
            }
        }
    }

    /// What the object that comes next says of itself; the cursor stays.
    fn said(&mut self) -> Said {
        let start = self.cursor.at();
        let mut said = Said::default();
        self.cursor.enter(b'{');
        while let Some(key) = self.cursor.next_key() {
            match &*key.name {
                b"role" => said.role = self.cursor.text().and_then(|role| role_of(&role)).or(said.role),
                b"type" => {
                    let word = self.cursor.text().unwrap_or_default();
                    said.is_text = &*word == b"text";
                    said.type_ = type_of(&word);
                }
                b"thought" => {
                    let value = self.cursor.value();
                    said.thought = self.cursor.slice(value) == b"true";
                }
                _ => drop(self.cursor.value()),
            }
        }
        self.cursor.go_back(start);
        said
    }

    fn string(&mut self, kind: TextKind, json: bool) {
        let inner = self.cursor.string();
        let span = inner.start - 1..inner.end + 1;
        let raw = self.cursor.slice(inner);
        if let Ok(raw) = std::str::from_utf8(raw) {
            let text = match raw.contains('\\') {
                false => Cow::Borrowed(raw),
                true => match serde_json::from_str::<String>(&format!("\"{raw}\"")) {
                    Ok(text) => Cow::Owned(text),
                    Err(_) => return,
                },
            };
            self.found.push((Text { kind, text, json, number: self.found.len() }, span));
        }
    }

    /// Arguments or results: an object, or a string that may hold one.
    fn json(&mut self, kind: TextKind, string_is_json: bool) {
        match self.cursor.peek() {
            Some(b'"') => self.string(kind, string_is_json),
            Some(b'{' | b'[') => {
                let span = self.cursor.value();
                if let Ok(text) = std::str::from_utf8(self.cursor.slice(span.clone())) {
                    let text = Text { kind, text: text.into(), json: true, number: self.found.len() };
                    self.found.push((text, span));
                }
            }
            _ => drop(self.cursor.value()),
        }
    }
}

/// What an object says of itself.
#[derive(Default)]
struct Said {
    role: Option<TextKind>,
    type_: Option<TextKind>,
    is_text: bool,
    thought: bool,
}

impl Said {
    fn kind(&self, outer: TextKind) -> TextKind {
        if self.thought {
            return TextKind::Reasoning;
        }
        self.type_.or(self.role).unwrap_or(outer)
    }
}

fn role_of(word: &[u8]) -> Option<TextKind> {
    Some(match word.to_ascii_lowercase().as_slice() {
        b"system" | b"developer" => TextKind::System,
        b"user" => TextKind::User,
        b"assistant" | b"model" | b"chatbot" => TextKind::Assistant,
        b"tool" | b"function" => TextKind::ToolResult,
        _ => return None,
    })
}

fn type_of(word: &[u8]) -> Option<TextKind> {
    match word {
        b"reasoning" | b"reasoning_text" | b"summary_text" | b"thinking" => Some(TextKind::Reasoning),
        _ if word.ends_with(b"tool_result") || word.ends_with(b"_call_output") => Some(TextKind::ToolResult),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
