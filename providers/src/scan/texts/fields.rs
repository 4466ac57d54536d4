//! Which fields of a body hold texts, by its dialect and operation.
//!
//! A field is what its API takes it for, and nothing else: else a client would decide by fields that nobody reads which of its
//! texts count as what it asks. Texts in fields that the API does not have are still found, as [`TextKind::Context`].

use super::{Side, TextKind};
use crate::dialect::Dialect::{self, Anthropic, Bedrock, Cohere, Gemini, OpenAiChat, OpenAiResponses, Own};
use crate::dialect::Operation;

/// Fields of a request that hold texts in some API.
const TOP_LEVEL: [&[u8]; 18] = [
    b"messages",
    b"contents",
    b"system",
    b"systemInstruction",
    b"system_instruction",
    b"instructions",
    b"input",
    b"prompt",
    b"suffix",
    b"query",
    b"documents",
    b"texts",
    b"content",
    b"requests",
    b"inputText",
    b"inputs",
    b"instances",
    b"prediction",
];
/// Fields of what stands in those.
const WITHIN: [&[u8]; 33] = [
    b"text",
    b"content",
    b"parts",
    b"message",
    b"output",
    b"source",
    b"document",
    b"documents",
    b"searchResult",
    b"transcript",
    b"audio",
    b"tool_calls",
    b"function",
    b"function_call",
    b"functionCall",
    b"toolUse",
    b"requests",
    b"thinking",
    b"reasoning_content",
    b"reasoning",
    b"tool_plan",
    b"summary",
    b"reasoning_details",
    b"reasoningContent",
    b"reasoningText",
    b"refusal",
    b"toolResult",
    b"functionResponse",
    b"function_response",
    b"arguments",
    b"args",
    b"input",
    b"response",
];

/// Whether `name` is one of those to a server that does not mind the case (Go's `encoding/json`, to which also ſ is an s), and not as
/// its API spells it.
pub(super) fn is_spelt_otherwise(name: &[u8]) -> bool {
    let is_other =
        |name: &[u8]| TOP_LEVEL.iter().chain(&WITHIN).any(|field| field.eq_ignore_ascii_case(name) && *field != name);
    if name.is_ascii() {
        return is_other(name);
    }
    let folded = String::from_utf8_lossy(name).replace('\u{17f}', "S").replace('\u{212a}', "K");
    is_other(folded.as_bytes())
}

/// What the field `name` of a body holds, if it holds texts.
pub(super) fn top_level(name: &[u8], side: Side, dialect: Dialect, operation: Operation) -> Option<TextKind> {
    match side {
        Side::Request => of_request(name, dialect, operation),
        Side::Answer => of_answer(name, operation),
    }
}

fn of_request(name: &[u8], dialect: Dialect, operation: Operation) -> Option<TextKind> {
    if !TOP_LEVEL.contains(&name) {
        return None;
    }
    let kind = match operation {
        Operation::Chat | Operation::CountTokens => of_chat(name, dialect),
        Operation::Speech if name == b"instructions" => Some(TextKind::System),
        _ => inputs(dialect, operation).contains(&name).then_some(TextKind::Input),
    };
    Some(kind.unwrap_or(TextKind::Context))
}

fn of_chat(name: &[u8], dialect: Dialect) -> Option<TextKind> {
    match (name, dialect) {
        (b"messages", OpenAiChat | Anthropic | Bedrock | Cohere | Own(_))
        | (b"contents", Gemini | Own(_))
        // Cursor sends the bodies of Responses to the path of Chat.
        | (b"input", OpenAiResponses | OpenAiChat | Own(_)) => Some(TextKind::User),
        (b"system", Anthropic | Bedrock | Own(_))
        | (b"systemInstruction" | b"system_instruction", Gemini | Own(_))
        | (b"instructions", OpenAiResponses | OpenAiChat | Own(_)) => Some(TextKind::System),
        _ => None,
    }
}

/// The fields with what an operation that is no chat works on.
fn inputs(dialect: Dialect, operation: Operation) -> &'static [&'static [u8]] {
    match (operation, dialect) {
        (Operation::Completions, _) => &[b"prompt", b"suffix"],
        (Operation::Embeddings, OpenAiChat | OpenAiResponses | Anthropic) => &[b"input"],
        (Operation::Embeddings, Cohere) => &[b"texts", b"inputs"],
        (Operation::Embeddings, Gemini) => &[b"content", b"requests", b"instances"],
        (Operation::Embeddings, Bedrock) => &[b"inputText", b"texts", b"inputs"],
        (Operation::Embeddings, Own(_)) => &[b"input", b"texts", b"inputs", b"content", b"inputText"],
        (Operation::Rerank, _) => &[b"query", b"documents", b"texts"],
        (Operation::Images, _) => &[b"prompt", b"instances"],
        (Operation::Transcription, _) => &[b"prompt"],
        (Operation::Speech | Operation::Moderation, _) => &[b"input"],
        _ => &[],
    }
}

fn of_answer(name: &[u8], operation: Operation) -> Option<TextKind> {
    match (name, operation) {
        (b"text" | b"segments" | b"words", Operation::Transcription) => Some(TextKind::Input),
        // The list of what a kept answer was asked with.
        (b"data", Operation::Stored) => Some(TextKind::User),
        (b"choices" | b"output" | b"content" | b"candidates" | b"message", _) => Some(TextKind::Assistant),
        _ => None,
    }
}

/// Whether the elements of the field are items of the Responses API, which say by their type what they are.
pub(super) fn has_items(name: &[u8], dialect: Dialect) -> bool {
    match dialect {
        OpenAiResponses | Own(_) => matches!(name, b"input" | b"output" | b"data"),
        OpenAiChat => name == b"input",
        Anthropic | Gemini | Bedrock | Cohere => false,
    }
}

pub(super) fn role_of(word: &[u8]) -> Option<TextKind> {
    Some(match word.to_ascii_lowercase().as_slice() {
        b"system" | b"developer" => TextKind::System,
        b"user" => TextKind::User,
        b"assistant" | b"model" | b"chatbot" => TextKind::Assistant,
        b"tool" | b"function" => TextKind::ToolResult,
        _ => return None,
    })
}
