//! An upstream that plays the model of a coding agent: it calls the client's tools one after the other, says a last
//! sentence, and knows by the tool results in a request how far the conversation is. It speaks the dialect it is told,
//! written down here from the providers' documents and not with the gateway's own codecs.

mod answers;

use crate::stub::{Answer, Received, Stub};
use ai_gateway_providers::Dialect;
use serde_json::Value;

/// What an answer reports as used: 100 tokens in, 7 out.
pub const USAGE: (u64, u64) = (100, 7);

/// The signature that a Gemini upstream puts on its calls and wants back.
pub const SIGNATURE: &str = "Y2FsbCBzaWduYXR1cmU=";

/// One turn of the model.
#[derive(Debug, Clone)]
pub enum Turn {
    /// Calls the tool with these arguments.
    Call(&'static str, Value),
    /// Says this, and ends.
    Say(&'static str),
}

/// An upstream of `dialect` that takes `turns` in order. What asks without tools is a background request of the agent
/// (a title, a check of the connection) and gets `ok`.
pub async fn play(dialect: Dialect, turns: Vec<Turn>) -> Stub {
    Stub::start(move |request| answer(dialect, &turns, request)).await
}

/// Whether a request has tools: one of the conversation and not of the background.
pub fn is_turn(request: &Received) -> bool {
    let body = request.json();
    ["tools", "toolConfig"].iter().any(|field| !body[field].is_null())
}

fn answer(dialect: Dialect, turns: &[Turn], request: &Received) -> Answer {
    let results = count(&request.json(), result_of(dialect));
    let turn = if is_turn(request) { turns.get(results).or(turns.last()) } else { None };
    let turn = turn.cloned().unwrap_or(Turn::Say("ok"));
    // Agents tell answers apart by their ids.
    let id = format!("{results}{:x}", request.body.len());
    match dialect {
        Dialect::OpenAiChat => answers::chat(&id, &turn),
        Dialect::OpenAiResponses => answers::responses(&id, &turn),
        Dialect::Anthropic => answers::anthropic(&id, &turn),
        Dialect::Gemini => answers::gemini(&id, &turn),
        Dialect::Bedrock => answers::bedrock(&id, &turn),
        Dialect::Cohere | Dialect::Own(_) => panic!("no script for {dialect}"),
    }
}

/// What a tool result looks like: a field, and its value if that matters.
fn result_of(dialect: Dialect) -> (&'static str, Option<&'static str>) {
    match dialect {
        Dialect::OpenAiChat => ("role", Some("tool")),
        Dialect::OpenAiResponses => ("type", Some("function_call_output")),
        Dialect::Anthropic => ("type", Some("tool_result")),
        Dialect::Gemini => ("functionResponse", None),
        Dialect::Bedrock => ("toolResult", None),
        Dialect::Cohere | Dialect::Own(_) => panic!("no script for {dialect}"),
    }
}

fn count(value: &Value, result: (&str, Option<&str>)) -> usize {
    let (field, wanted) = result;
    match value {
        Value::Array(list) => list.iter().map(|item| count(item, result)).sum(),
        Value::Object(object) => {
            let own = object.get(field).is_some_and(|found| wanted.is_none_or(|wanted| found == wanted));
            usize::from(own) + object.values().map(|item| count(item, result)).sum::<usize>()
        }
        _ => 0,
    }
}
