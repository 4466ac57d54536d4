//! Where each dialect has its instructions.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Mode;
use crate::fields::Object;
use crate::providers::Dialect;

/// Joins `text` with the instructions of a chat's body.
pub(super) fn instruct(body: &mut Object, dialect: Dialect, text: &str, mode: Mode) {
    match dialect {
        Dialect::OpenAiChat | Dialect::Cohere => among_messages(body, "messages", text, mode),
        Dialect::OpenAiResponses => {
            if mode == Mode::Replace {
                drop_instructions(body, "input");
            }
            field(body, "instructions", text, mode, || Value::String(text.to_owned()));
        }
        Dialect::Anthropic => {
            if mode == Mode::Replace {
                drop_instructions(body, "messages");
            }
            field(body, "system", text, mode, || json!({ "type": "text", "text": text }));
        }
        Dialect::Bedrock => {
            if body.get("system").is_none() {
                body.set("system", &json!([]));
            }
            field(body, "system", text, mode, || json!({ "text": text }));
        }
        Dialect::Gemini => {
            let name =
                if body.get("system_instruction").is_some() { "system_instruction" } else { "systemInstruction" };
            let mut instruction = body.get(name).and_then(|old| Object::read(old.as_bytes())).unwrap_or_default();
            if instruction.get("parts").is_none() {
                instruction.set("parts", &json!([]));
            }
            field(&mut instruction, "parts", text, mode, || json!({ "text": text }));
            body.set(name, &instruction);
        }
    }
}

/// Instructions that are a text, or an array of blocks.
fn field(body: &mut Object, name: &str, text: &str, mode: Mode, block: impl Fn() -> Value) {
    let old = body.get(name).map(str::to_owned).unwrap_or_default();
    if let Some(mut blocks) = array(&old) {
        place(&mut blocks, block(), mode, None);
        return body.set(name, &blocks);
    }
    let old: String = serde_json::from_str(&old).unwrap_or_default();
    let whole = match mode {
        _ if old.is_empty() => text.to_owned(),
        Mode::Prepend => format!("{text}\n\n{old}"),
        Mode::Append => format!("{old}\n\n{text}"),
        Mode::Replace => text.to_owned(),
    };
    body.set(name, &whole);
}

/// Instructions that are messages: the gateway's own stands before the client's or behind them.
fn among_messages(body: &mut Object, name: &str, text: &str, mode: Mode) {
    if mode == Mode::Replace {
        drop_instructions(body, name);
    }
    let Some(mut messages) = body.get(name).and_then(array) else { return };
    let first = messages.iter().take_while(|message| instructs(message)).count();
    let mode = if mode == Mode::Replace { Mode::Prepend } else { mode };
    place(&mut messages, json!({ "role": "system", "content": text }), mode, Some(first));
    body.set(name, &messages);
}

fn drop_instructions(body: &mut Object, name: &str) {
    if let Some(mut messages) = body.get(name).and_then(array) {
        messages.retain(|message| !instructs(message));
        body.set(name, &messages);
    }
}

fn instructs(message: &RawValue) -> bool {
    let role = Object::read(message.get().as_bytes()).and_then(|message| message.get("role").map(str::to_owned));
    role.is_some_and(|role| matches!(role.as_str(), "\"system\"" | "\"developer\""))
}

/// `own`: how many of the elements are the client's instructions; all if `None`.
fn place(elements: &mut Vec<Box<RawValue>>, new: Value, mode: Mode, own: Option<usize>) {
    let Ok(new) = serde_json::value::to_raw_value(&new) else { return };
    match mode {
        Mode::Prepend => elements.insert(0, new),
        Mode::Append => elements.insert(own.unwrap_or(elements.len()), new),
        Mode::Replace => *elements = vec![new],
    }
}

fn array(json: &str) -> Option<Vec<Box<RawValue>>> {
    serde_json::from_str(json).ok()
}
