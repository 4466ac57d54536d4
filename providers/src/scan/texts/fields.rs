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
/// Fields of what stands in those, of any API.
const WITHIN: [(&[u8], Within); 39] = [
    (b"text", Within::Same),
    (b"content", Within::Same),
    (b"parts", Within::Same),
    (b"message", Within::Same),
    (b"output", Within::Same),
    (b"source", Within::Same),
    (b"document", Within::Same),
    (b"documents", Within::Same),
    (b"searchResult", Within::Same),
    (b"guardContent", Within::Same),
    (b"citationsContent", Within::Same),
    (b"transcript", Within::Same),
    (b"audio", Within::Same),
    (b"tool_calls", Within::Same),
    (b"function", Within::Same),
    (b"function_call", Within::Same),
    // The call of a custom tool, whose `input` is any text.
    (b"custom", Within::Same),
    (b"functionCall", Within::Same),
    (b"toolUse", Within::Same),
    (b"requests", Within::Same),
    // What a shell said, of any API that has one.
    (b"stdout", Within::Same),
    (b"stderr", Within::Same),
    (b"thinking", Within::OfModel(TextKind::Reasoning)),
    (b"reasoning_content", Within::OfModel(TextKind::Reasoning)),
    (b"reasoning", Within::OfModel(TextKind::Reasoning)),
    (b"tool_plan", Within::OfModel(TextKind::Reasoning)),
    (b"summary", Within::OfModel(TextKind::Reasoning)),
    (b"reasoning_details", Within::OfModel(TextKind::Reasoning)),
    (b"reasoningContent", Within::OfModel(TextKind::Reasoning)),
    (b"reasoningText", Within::OfModel(TextKind::Reasoning)),
    (b"refusal", Within::OfModel(TextKind::Refusal)),
    (b"toolResult", Within::ToolResult),
    (b"functionResponse", Within::ToolResult),
    (b"function_response", Within::ToolResult),
    (b"arguments", Within::JsonText(TextKind::Arguments)),
    (b"args", Within::Json(TextKind::Arguments)),
    (b"input", Within::Json(TextKind::Arguments)),
    (b"response", Within::Json(TextKind::ToolResult)),
    (b"json", Within::Json(TextKind::ToolResult)),
];

/// What a field holds that does not stand at the top.
#[derive(Clone, Copy)]
pub(super) enum Within {
    /// Texts of who says what is around them.
    Same,
    /// Texts that are this if a model says them, else what is around them.
    OfModel(TextKind),
    /// Texts that a tool returned.
    ToolResult,
    /// JSON, or a text.
    Json(TextKind),
    /// JSON, written as a string or as it is.
    JsonText(TextKind),
}

/// What the field `name` holds, wherever it does not stand at the top.
pub(super) fn within(name: &[u8]) -> Option<Within> {
    WITHIN.iter().find(|(field, _)| *field == name).map(|(_, within)| *within)
}

/// What the field `name` holds in an item of the Responses API, or in a part of one, that says it is a `type_`: calls of OpenAI's own
/// tools, most of which the client runs.
pub(super) fn of_item(type_: &[u8], name: &[u8]) -> Option<Within> {
    Some(match (type_, name) {
        (b"shell_call" | b"local_shell_call" | b"computer_call" | b"web_search_call", b"action" | b"actions")
        | (b"apply_patch_call", b"operation")
        | (b"code_interpreter_call", b"code")
        | (b"file_search_call", b"queries") => Within::Json(TextKind::Arguments),
        (b"code_interpreter_call", b"outputs") | (b"file_search_call", b"results") => Within::ToolResult,
        (b"logs", b"logs") | (b"mcp_approval_response", b"reason") => Within::Same,
        _ => return None,
    })
}

/// Whether `name` is one of those to a server that does not mind the case (Go's `encoding/json`, to which also ſ is an s), and not as
/// its API spells it.
pub(super) fn is_spelt_otherwise(name: &[u8]) -> bool {
    let is_other = |name: &[u8]| {
        let mut fields = TOP_LEVEL.iter().chain(WITHIN.iter().map(|(field, _)| field));
        fields.any(|field| field.eq_ignore_ascii_case(name) && *field != name)
    };
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
