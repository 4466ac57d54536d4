//! A turn as each provider streams it.

use super::{SIGNATURE, Turn, USAGE};
use crate::bodies::anthropic_event;
use crate::stub::{Answer, Framing, Step};
use ai_gateway_providers::event_stream::write_event;
use serde_json::{Value, json};

const INPUT: u64 = USAGE.0;
const OUTPUT: u64 = USAGE.1;

/// Arguments arrive in pieces.
fn halves(arguments: &Value) -> [String; 2] {
    let text = arguments.to_string();
    let (first, second) = text.split_at(text.floor_char_boundary(text.len() / 2));
    [first.to_owned(), second.to_owned()]
}

/// <https://platform.openai.com/docs/api-reference/chat-streaming>
pub(super) fn chat(id: &str, turn: &Turn) -> Answer {
    let chunk = |choices: Value, usage: Value| {
        let head =
            json!({"id": format!("chatcmpl-{id}"), "object": "chat.completion.chunk", "created": 1, "model": "m"});
        let Value::Object(mut chunk) = head else { unreachable!() };
        chunk.insert("choices".into(), choices);
        chunk.insert("usage".into(), usage);
        format!("data: {}\n\n", Value::Object(chunk))
    };
    let delta = |delta: Value, finish: Value| {
        chunk(json!([{"index": 0, "delta": delta, "finish_reason": finish}]), Value::Null)
    };
    let mut events = vec![delta(json!({"role": "assistant", "content": ""}), Value::Null)];
    match turn {
        Turn::Say(text) => {
            events.push(delta(json!({"content": text}), Value::Null));
            events.push(delta(json!({}), json!("stop")));
        }
        Turn::Call(name, arguments) => {
            let begin = json!({"index": 0, "id": format!("call_{id}"), "type": "function", "function": {"name": name, "arguments": ""}});
            events.push(delta(json!({"tool_calls": [begin]}), Value::Null));
            for piece in halves(arguments) {
                let more = json!({"index": 0, "function": {"arguments": piece}});
                events.push(delta(json!({"tool_calls": [more]}), Value::Null));
            }
            events.push(delta(json!({}), json!("tool_calls")));
        }
    }
    events.push(chunk(
        json!([]),
        json!({"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}),
    ));
    events.push("data: [DONE]\n\n".to_owned());
    Answer::sse(events)
}

/// <https://platform.openai.com/docs/api-reference/responses-streaming>
pub(super) fn responses(id: &str, turn: &Turn) -> Answer {
    let mut events = Vec::new();
    let mut event = |name: &str, mut data: Value| {
        data["type"] = name.into();
        data["sequence_number"] = events.len().into();
        events.push(format!("event: {name}\ndata: {data}\n\n"));
    };
    let response = |status: &str, output: Value, usage: Value| {
        json!({"response": {
            "id": format!("resp_{id}"), "object": "response", "created_at": 1, "status": status, "model": "m",
            "output": output, "usage": usage
        }})
    };
    event("response.created", response("in_progress", json!([]), Value::Null));
    let item = match turn {
        Turn::Say(text) => {
            let message = |status: &str, content: Value| json!({"type": "message", "id": format!("msg_{id}"), "role": "assistant", "status": status, "content": content});
            let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
            let at = json!({"item_id": format!("msg_{id}"), "output_index": 0, "content_index": 0});
            let with = |field: &str, value: Value| {
                let mut data = at.clone();
                data[field] = value;
                data
            };
            event("response.output_item.added", json!({"output_index": 0, "item": message("in_progress", json!([]))}));
            event("response.content_part.added", with("part", part("")));
            event("response.output_text.delta", with("delta", json!(text)));
            event("response.output_text.done", with("text", json!(text)));
            event("response.content_part.done", with("part", part(text)));
            message("completed", json!([part(text)]))
        }
        Turn::Call(name, arguments) => {
            let call = |status: &str, arguments: &str| {
                json!({
                    "type": "function_call", "id": format!("fc_{id}"), "call_id": format!("call_{id}"), "name": name,
                    "arguments": arguments, "status": status
                })
            };
            event("response.output_item.added", json!({"output_index": 0, "item": call("in_progress", "")}));
            for piece in halves(arguments) {
                event(
                    "response.function_call_arguments.delta",
                    json!({"item_id": format!("fc_{id}"), "output_index": 0, "delta": piece}),
                );
            }
            let whole = arguments.to_string();
            event(
                "response.function_call_arguments.done",
                json!({"item_id": format!("fc_{id}"), "output_index": 0, "arguments": whole}),
            );
            call("completed", &whole)
        }
    };
    event("response.output_item.done", json!({"output_index": 0, "item": item}));
    let usage = json!({
        "input_tokens": INPUT, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": OUTPUT,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": INPUT + OUTPUT
    });
    event("response.completed", response("completed", json!([item]), usage));
    Answer::sse(events)
}

/// <https://docs.anthropic.com/en/api/messages-streaming>
pub(super) fn anthropic(id: &str, turn: &Turn) -> Answer {
    let event = |mut data: Value, name: &str| {
        data["type"] = name.into();
        anthropic_event(name, &data)
    };
    let message = json!({
        "id": format!("msg_{id}"), "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": INPUT, "output_tokens": 1}
    });
    let mut events = vec![event(json!({"message": message}), "message_start")];
    let (block, deltas, stop) = match turn {
        Turn::Say(text) => {
            (json!({"type": "text", "text": ""}), vec![json!({"type": "text_delta", "text": text})], "end_turn")
        }
        Turn::Call(name, arguments) => (
            json!({"type": "tool_use", "id": format!("toolu_{id}"), "name": name, "input": {}}),
            halves(arguments).iter().map(|piece| json!({"type": "input_json_delta", "partial_json": piece})).collect(),
            "tool_use",
        ),
    };
    events.push(event(json!({"index": 0, "content_block": block}), "content_block_start"));
    for delta in deltas {
        events.push(event(json!({"index": 0, "delta": delta}), "content_block_delta"));
    }
    events.push(event(json!({"index": 0}), "content_block_stop"));
    let end = json!({"delta": {"stop_reason": stop, "stop_sequence": null}, "usage": {"output_tokens": OUTPUT}});
    events.push(event(end, "message_delta"));
    events.push(event(json!({}), "message_stop"));
    Answer::sse(events)
}

/// <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>. Calls come without ids, as from AI
/// Studio, and signed, as from Gemini 3.
pub(super) fn gemini(id: &str, turn: &Turn) -> Answer {
    let part = match turn {
        Turn::Say(text) => json!({"text": text}),
        Turn::Call(name, arguments) => {
            json!({"functionCall": {"name": name, "args": arguments}, "thoughtSignature": SIGNATURE})
        }
    };
    let chunk = json!({
        "candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": INPUT, "candidatesTokenCount": OUTPUT, "totalTokenCount": INPUT + OUTPUT
        },
        "modelVersion": "m", "responseId": id
    });
    Answer::sse([format!("data: {chunk}\r\n\r\n")])
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>
pub(super) fn bedrock(id: &str, turn: &Turn) -> Answer {
    let mut frames = Vec::new();
    let mut event = |name: &str, data: Value| {
        let mut frame = Vec::new();
        write_event(&mut frame, name, |out| out.extend_from_slice(data.to_string().as_bytes()));
        frames.push(frame);
    };
    event("messageStart", json!({"role": "assistant"}));
    let stop = match turn {
        Turn::Say(text) => {
            event("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": text}}));
            "end_turn"
        }
        Turn::Call(name, arguments) => {
            let start = json!({"toolUse": {"toolUseId": format!("tooluse_{id}"), "name": name}});
            event("contentBlockStart", json!({"contentBlockIndex": 0, "start": start}));
            for piece in halves(arguments) {
                event("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"toolUse": {"input": piece}}}));
            }
            "tool_use"
        }
    };
    event("contentBlockStop", json!({"contentBlockIndex": 0}));
    event("messageStop", json!({"stopReason": stop}));
    let usage = json!({"inputTokens": INPUT, "outputTokens": OUTPUT, "totalTokens": INPUT + OUTPUT});
    event("metadata", json!({"usage": usage, "metrics": {"latencyMs": 1}}));
    let mut answer = Answer::status(200).header("content-type", "application/vnd.amazon.eventstream");
    answer.framing = Framing::Chunked;
    answer.steps.extend(frames.into_iter().map(|frame| Step::Send(frame.into())));
    answer
}
