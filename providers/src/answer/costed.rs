//! The cost in the usage object of a stream, as OpenRouter says it: `"usage":{"cost":0.00012,"prompt_tokens":…}`. Only for
//! clients that ask for it: no bytes of other streams are touched.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::raw::{self, Raw};
use crate::dialect::Dialect;
use crate::event_stream::{Frame, write_event};

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    usage: Raw<'a>,
    #[serde(borrow, rename = "usageMetadata")]
    usage_metadata: Raw<'a>,
    #[serde(borrow)]
    response: Raw<'a>,
    /// Cohere's last event.
    #[serde(borrow)]
    delta: Raw<'a>,
}

/// Puts `cost`, a number as JSON writes it, into the usage objects among these whole events of a stream in `dialect`. Events
/// without such an object stay as they are.
#[must_use]
pub fn with_cost(dialect: Dialect, events: Bytes, cost: &str) -> Bytes {
    let out = match dialect {
        Dialect::Bedrock => in_frames(&events, cost),
        // Where it says what was used, only its codec knows.
        Dialect::Own(_) => None,
        _ => in_lines(dialect, &events, cost),
    };
    out.map_or(events, Bytes::from)
}

fn in_lines(dialect: Dialect, events: &[u8], cost: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    for line in events.split_inclusive(|byte| *byte == b'\n') {
        if let Some(data) = line.strip_prefix(b"data:")
            && let Some(inside) = usage_object(dialect, data)
        {
            let open = at + (line.len() - data.len()) + inside;
            out.extend_from_slice(&events[copied..open]);
            put(&mut out, cost, &events[open..]);
            copied = open;
        }
        at += line.len();
    }
    out.extend_from_slice(&events[copied..]);
    (copied > 0).then_some(out)
}

/// A frame's lengths and checksums follow from its payload: one with usage is written anew.
fn in_frames(events: &[u8], cost: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut changed = false;
    let mut rest = events;
    while let Ok(Some((frame, length))) = Frame::first(rest) {
        let (frame_bytes, after) = rest.split_at(length);
        match frame {
            Frame::Event { name, payload } if let Some(inside) = usage_object(Dialect::Bedrock, payload) => {
                write_event(&mut out, name, |out| {
                    out.extend_from_slice(&payload[..inside]);
                    put(out, cost, &payload[inside..]);
                    out.extend_from_slice(&payload[inside..]);
                });
                changed = true;
            }
            _ => out.extend_from_slice(frame_bytes),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    changed.then_some(out)
}

/// Appends the field; `fields` are those of the object that come behind it.
fn put(out: &mut Vec<u8>, cost: &str, fields: &[u8]) {
    out.extend_from_slice(b"\"cost\":");
    out.extend_from_slice(cost.as_bytes());
    if !fields.trim_ascii_start().starts_with(b"}") {
        out.extend_from_slice(b",");
    }
}

/// The last `cost`, as JSON, in the usage objects of these whole events: what a stream that is written anew would lose.
#[must_use]
pub fn cost_in(dialect: Dialect, events: &[u8]) -> Option<Box<str>> {
    #[derive(Deserialize)]
    struct Usage<'a> {
        #[serde(borrow)]
        cost: Raw<'a>,
    }
    memchr::memmem::find(events, b"\"cost\"")?;
    let cost = |data| Some(raw::parse::<Usage<'_>>(usage(dialect, data)?.get().as_bytes())?.cost?.get().into());
    if dialect != Dialect::Bedrock {
        let data = events.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
        return data.rev().find_map(cost);
    }
    let (mut last, mut rest) = (None, events);
    while let Ok(Some((frame, length))) = Frame::first(rest) {
        if let Frame::Event { payload, .. } = frame {
            last = cost(payload).or(last);
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    last
}

/// Just behind the opening brace of the usage object of an event, counted from the beginning of its `data`.
fn usage_object(dialect: Dialect, data: &[u8]) -> Option<usize> {
    let text = usage(dialect, data)?.get();
    text.starts_with('{').then(|| text.as_ptr().addr() - data.as_ptr().addr() + 1)
}

fn usage(dialect: Dialect, data: &[u8]) -> Option<&RawValue> {
    let event = raw::parse::<Event<'_>>(data)?;
    match dialect {
        Dialect::OpenAiChat | Dialect::Anthropic | Dialect::Bedrock => event.usage,
        Dialect::OpenAiResponses => raw::parse::<Event<'_>>(raw::bytes(event.response?))?.usage,
        Dialect::Gemini => event.usage_metadata,
        Dialect::Cohere => raw::parse::<Event<'_>>(raw::bytes(event.delta?))?.usage,
        Dialect::Own(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_found_where_it_was_put() {
        for (dialect, event) in [
            (Dialect::OpenAiChat, "data: {\"usage\":{\"prompt_tokens\":7}}\n\ndata: [DONE]\n\n"),
            (Dialect::OpenAiResponses, "data: {\"response\":{\"usage\":{\"input_tokens\":7}}}\n\n"),
            (Dialect::Gemini, "data: {\"usageMetadata\":{\"promptTokenCount\":7}}\n\n"),
        ] {
            assert_eq!(cost_in(dialect, event.as_bytes()), None);
            let costed = with_cost(dialect, Bytes::from(event), "0.5");
            assert_eq!(cost_in(dialect, &costed).as_deref(), Some("0.5"), "{costed:?}");
        }
        let mut frame = Vec::new();
        write_event(&mut frame, "metadata", |out| out.extend_from_slice(b"{\"usage\":{\"cost\":0.5}}"));
        assert_eq!(cost_in(Dialect::Bedrock, &frame).as_deref(), Some("0.5"));
        assert_eq!(cost_in(Dialect::OpenAiChat, b"data: {\"delta\":\"the \\\"cost\\\"\"}\n\n"), None);
    }

    #[test]
    fn usage_objects_get_the_cost_and_nothing_else_changes() {
        use Dialect::{Anthropic, Cohere, Gemini, OpenAiChat, OpenAiResponses};
        for (dialect, sent, wanted) in [
            (
                OpenAiChat,
                "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7}}\n\ndata: [DONE]\n\n",
                "data: {\"choices\":[],\"usage\":{\"cost\":0.5,\"prompt_tokens\":7}}\n\ndata: [DONE]\n\n",
            ),
            (OpenAiChat, "data: {\"usage\": { }}\r\n\r\n", "data: {\"usage\": {\"cost\":0.5 }}\r\n\r\n"),
            (OpenAiChat, "data: {\"usage\":null}\n\n", "data: {\"usage\":null}\n\n"),
            (
                OpenAiResponses,
                "event: response.completed\ndata: {\"response\":{\"usage\":{\"input_tokens\":1}}}\n\n",
                "event: response.completed\ndata: {\"response\":{\"usage\":{\"cost\":0.5,\"input_tokens\":1}}}\n\n",
            ),
            (
                Anthropic,
                "data: {\"message\":{\"usage\":{}}}\n\ndata:{\"usage\":{\"o\":1}}\n\n",
                "data: {\"message\":{\"usage\":{}}}\n\ndata:{\"usage\":{\"cost\":0.5,\"o\":1}}\n\n",
            ),
            (
                Gemini,
                "data: {\"candidates\":[{\"args\":{\"usageMetadata\":{\"a\":1}}}],\"usageMetadata\":{\"b\":1}}\n\n",
                "data: {\"candidates\":[{\"args\":{\"usageMetadata\":{\"a\":1}}}],\"usageMetadata\":{\"cost\":0.5,\"b\":1}}\n\n",
            ),
            (
                Cohere,
                "data: {\"delta\":{\"usage\":{\"a\":1}}}\n\n",
                "data: {\"delta\":{\"usage\":{\"cost\":0.5,\"a\":1}}}\n\n",
            ),
        ] {
            let out = with_cost(dialect, Bytes::from_static(sent.as_bytes()), "0.5");
            assert_eq!(String::from_utf8_lossy(&out), wanted);
        }
    }

    #[test]
    fn frames_with_usage_are_written_anew() {
        let body = |usage: &str| {
            let mut body = Vec::new();
            write_event(&mut body, "contentBlockDelta", |out| out.extend_from_slice(br#"{"delta":{"usage":{"a":1}}}"#));
            write_event(&mut body, "metadata", |out| {
                out.extend_from_slice(format!(r#"{{"metrics":{{"latencyMs":1}},"usage":{usage}}}"#).as_bytes());
            });
            body.extend_from_slice(b"what is no frame");
            Bytes::from(body)
        };
        for (sent, wanted) in
            [(r#"{"inputTokens":7}"#, r#"{"cost":0.5,"inputTokens":7}"#), ("{}", r#"{"cost":0.5}"#), ("null", "null")]
        {
            assert_eq!(with_cost(Dialect::Bedrock, body(sent), "0.5"), body(wanted));
        }
    }
}
