//! Where each dialect has its instructions.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Mode;
use crate::fields::Object;
use crate::providers::common::Block;
use crate::providers::{Dialect, Operation};
use crate::{Failure, Request};

/// The fields that lead to the chat in the body: what is only counted may stand within another object.
pub(super) const fn path_of(request: &Request) -> &'static [&'static str] {
    match (request.dialect, request.operation) {
        // Gemini has no place for instructions in a count of bare contents.
        (Dialect::Gemini, Operation::CountTokens) => &["generateContentRequest"],
        (Dialect::Bedrock, Operation::CountTokens) => &["input", "converse"],
        _ => &[],
    }
}

/// Joins `text` with the instructions of the chat at `path` in a body, if there is one.
pub(super) fn instruct_within(body: &mut Object<'_>, path: &[&str], dialect: Dialect, text: &str, mode: Mode) {
    let Some((name, rest)) = path.split_first() else { return instruct(body, dialect, text, mode) };
    let old = body.get(name).map(str::to_owned);
    let Some(mut inner) = old.as_ref().and_then(|old| Object::read(old.as_bytes())) else { return };
    instruct_within(&mut inner, rest, dialect, text, mode);
    body.set(name, &inner);
}

/// Joins `text` with the instructions of a chat's body.
fn instruct(body: &mut Object<'_>, dialect: Dialect, text: &str, mode: Mode) {
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
            let old = body.get(name).map(str::to_owned);
            let mut instruction = old.as_ref().and_then(|old| Object::read(old.as_bytes())).unwrap_or_default();
            if instruction.get("parts").is_none() {
                instruction.set("parts", &json!([]));
            }
            field(&mut instruction, "parts", text, mode, || json!({ "text": text }));
            body.set(name, &instruction);
        }
        // [`instruct_chat`]
        Dialect::Own(_) => {}
    }
}

/// The same in a dialect of which only its codec knows where they are.
///
/// # Errors
/// The dialect has no instructions.
pub(super) fn instruct_chat(request: &mut Request, text: &str, mode: Mode) -> Result<(), Failure> {
    let asked = request.clone();
    // What cannot be read is refused when it is planned.
    let Some(Ok(mut chat)) = asked.chat() else { return Ok(()) };
    if mode == Mode::Replace {
        chat.system.clear();
        chat.messages.retain(|message| !message.role.instructs());
    }
    let at = if mode == Mode::Append { chat.system.len() } else { 0 };
    chat.system.insert(at, Block::text(text));
    // The error itself may quote the body.
    request.set_chat(&chat).map(drop).map_err(|_| Failure::from("the dialect cannot say the instructions"))
}

/// Instructions that are a text, or an array of blocks.
fn field(body: &mut Object<'_>, name: &str, text: &str, mode: Mode, block: impl Fn() -> Value) {
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
fn among_messages(body: &mut Object<'_>, name: &str, text: &str, mode: Mode) {
    if mode == Mode::Replace {
        drop_instructions(body, name);
    }
    let Some(mut messages) = body.get(name).and_then(array) else { return };
    let first = messages.iter().take_while(|message| instructs(message)).count();
    let mode = if mode == Mode::Replace { Mode::Prepend } else { mode };
    place(&mut messages, json!({ "role": "system", "content": text }), mode, Some(first));
    body.set(name, &messages);
}

fn drop_instructions(body: &mut Object<'_>, name: &str) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn run(dialect: Dialect, body: &Value, mode: Mode) -> Value {
        let body = body.to_string();
        let mut object = Object::read(body.as_bytes()).unwrap();
        instruct(&mut object, dialect, "new", mode);
        serde_json::from_slice(&object.write()).unwrap()
    }

    #[test]
    fn instructions_that_stand_among_the_messages() {
        let old = json!({ "role": "developer", "content": "old" });
        let (user, new) = (json!({ "role": "user", "content": "hi" }), json!({ "role": "system", "content": "new" }));
        for (mode, before, after) in [
            (Mode::Prepend, vec![old.clone(), user.clone()], vec![new.clone(), old.clone(), user.clone()]),
            (Mode::Append, vec![old.clone(), user.clone()], vec![old.clone(), new.clone(), user.clone()]),
            (Mode::Replace, vec![old.clone(), user.clone(), old.clone()], vec![new.clone(), user.clone()]),
            (Mode::Append, vec![user.clone()], vec![new.clone(), user.clone()]),
        ] {
            for dialect in [Dialect::OpenAiChat, Dialect::Cohere] {
                let made = run(dialect, &json!({ "messages": before }), mode);
                assert_eq!(made, json!({ "messages": after }), "{dialect} {mode:?}");
            }
        }
    }

    #[test]
    fn instructions_of_their_own() {
        let block = |text: &str| json!({ "text": text });
        let typed = |text: &str| json!({ "type": "text", "text": text });
        for (dialect, before, prepended, appended, replaced) in [
            (
                Dialect::OpenAiResponses,
                json!({ "instructions": "old" }),
                json!({ "instructions": "new\n\nold" }),
                json!({ "instructions": "old\n\nnew" }),
                json!({ "instructions": "new" }),
            ),
            (
                Dialect::Anthropic,
                json!({ "system": [typed("old")] }),
                json!({ "system": [typed("new"), typed("old")] }),
                json!({ "system": [typed("old"), typed("new")] }),
                json!({ "system": [typed("new")] }),
            ),
            (
                Dialect::Bedrock,
                json!({ "system": [block("old")] }),
                json!({ "system": [block("new"), block("old")] }),
                json!({ "system": [block("old"), block("new")] }),
                json!({ "system": [block("new")] }),
            ),
            (
                Dialect::Gemini,
                json!({ "systemInstruction": { "role": "user", "parts": [block("old")] } }),
                json!({ "systemInstruction": { "role": "user", "parts": [block("new"), block("old")] } }),
                json!({ "systemInstruction": { "role": "user", "parts": [block("old"), block("new")] } }),
                json!({ "systemInstruction": { "role": "user", "parts": [block("new")] } }),
            ),
        ] {
            assert_eq!(run(dialect, &before, Mode::Prepend), prepended, "{dialect}");
            assert_eq!(run(dialect, &before, Mode::Append), appended, "{dialect}");
            assert_eq!(run(dialect, &before, Mode::Replace), replaced, "{dialect}");
        }
        assert_eq!(run(Dialect::Anthropic, &json!({}), Mode::Append), json!({ "system": "new" }));
        assert_eq!(run(Dialect::Bedrock, &json!({}), Mode::Append), json!({ "system": [block("new")] }));
        assert_eq!(
            run(Dialect::Gemini, &json!({}), Mode::Prepend),
            json!({ "systemInstruction": { "parts": [block("new")] } })
        );
    }

    #[test]
    fn what_is_counted_stands_within() {
        let run = |dialect, body: Value| {
            let body = body.to_string();
            let request = Request::new(dialect, Operation::CountTokens, http::HeaderMap::new(), body.clone().into());
            let mut object = Object::read(body.as_bytes()).unwrap();
            instruct_within(&mut object, path_of(&request), dialect, "new", Mode::Prepend);
            serde_json::from_slice::<Value>(&object.write()).unwrap()
        };
        let bare = json!({ "contents": [] });
        assert_eq!(run(Dialect::Gemini, bare.clone()), bare);
        assert_eq!(
            run(Dialect::Gemini, json!({ "generateContentRequest": bare })),
            json!({ "generateContentRequest": { "contents": [], "systemInstruction": { "parts": [{ "text": "new" }] } } })
        );
        assert_eq!(
            run(Dialect::Bedrock, json!({ "input": { "converse": {} } })),
            json!({ "input": { "converse": { "system": [{ "text": "new" }] } } })
        );
        assert_eq!(run(Dialect::Anthropic, json!({})), json!({ "system": "new" }));
    }
}
