//! What the codecs take for what is said, who looks at texts sees.

use serde_json::{Value, json};

use super::{Side, texts};
use crate::codec::testing::maker;
use crate::codec::{Call, codec};
use crate::common::{Block, Content, MediaSource};
use crate::dialect::{Dialect, Operation};

/// A word that stands nowhere else.
const MARK: &str = "zqmarkqz";

/// Whether the mark is in what these blocks say, or is called with, or answer.
fn says_mark(blocks: &[Block<'_>]) -> bool {
    let has = |text: &str| text.contains(MARK);
    blocks.iter().any(|block| match &block.content {
        Content::Text(text) => has(&text.text),
        Content::Refusal(text) => has(text),
        Content::Reasoning(reasoning) => has(&reasoning.text) || reasoning.summary.iter().any(|text| has(text)),
        Content::ToolCall(call) => has(&call.arguments),
        Content::ToolResult(result) => says_mark(&result.content),
        Content::Media(media) => match &media.source {
            MediaSource::Text(text) => has(text),
            MediaSource::Blocks(blocks) => says_mark(blocks),
            MediaSource::Data(_) | MediaSource::Url(_) | MediaSource::File(_) => false,
        },
        Content::Foreign(_) => false,
    })
}

/// Whether the codec finds the mark among what is said; `None`: it takes no such body.
fn codec_sees(side: Side, dialect: Dialect, body: &[u8]) -> Option<bool> {
    Some(match side {
        Side::Request => {
            let request = codec(dialect).decode_request(body, &Call::default()).ok()?;
            says_mark(&request.system) || request.messages.iter().any(|message| says_mark(&message.blocks))
        }
        Side::Answer => {
            let response = codec(dialect).decode_response(body, &maker()).ok()?;
            response.choices.iter().any(|choice| says_mark(&choice.blocks))
        }
    })
}

/// The places of all strings in `value`.
fn strings(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at.to_owned()),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, value)| strings(value, &format!("{at}/{n}"), found))
        }
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            strings(value, &format!("{at}/{name}"), found);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Puts the mark in the place of each string of `body`, one after the other.
fn check(side: Side, dialect: Dialect, body: &Value) {
    let mut places = Vec::new();
    strings(body, "", &mut places);
    let mut seen = 0;
    for place in places {
        let mut marked = body.clone();
        // Arguments of calls are JSON in a string, of which no more than its strings is a text.
        let old = marked.pointer_mut(&place).unwrap();
        *old = if old.as_str().is_some_and(|old| old.starts_with('{')) {
            json!({ "q": MARK }).to_string()
        } else {
            MARK.into()
        }
        .into();
        let marked = marked.to_string();
        if codec_sees(side, dialect, marked.as_bytes()) != Some(true) {
            continue;
        }
        seen += 1;
        let found = texts(marked.as_bytes(), side, dialect, Operation::Chat);
        assert!(
            found.iter().any(|text| text.text.contains(MARK)),
            "{dialect} {side:?}: nobody sees {place} of {marked}"
        );
    }
    assert!(seen > 0, "{dialect} {side:?}: the codec sees nothing in {body}");
}

/// The samples of the fuzz targets, which have one of everything that a dialect knows.
fn sample(target: &str, dialect: &str) -> Value {
    let path = format!("{}/fuzz/seeds/{target}/{dialect}", env!("CARGO_MANIFEST_DIR"));
    let seed = std::fs::read(path).unwrap();
    let start = seed.iter().position(|byte| *byte == b'{').unwrap();
    serde_json::from_slice(&seed[start..]).unwrap()
}

#[test]
fn whatever_a_codec_takes_for_a_text_is_found() {
    for dialect in Dialect::ALL {
        check(Side::Request, dialect, &sample("codec_request", dialect.as_str()));
        check(Side::Answer, dialect, &sample("codec_answer", dialect.as_str()));
    }
}

/// What stands in none of those.
#[test]
fn blocks_that_are_seldom_sent() {
    let custom = json!({"id": "1", "type": "custom", "custom": {"name": "mail", "input": "to ann"}});
    let called = json!({"role": "assistant", "content": null, "tool_calls": [custom]});
    check(
        Side::Request,
        Dialect::OpenAiChat,
        &json!({"model": "m", "messages": [called,
        {"role": "tool", "tool_call_id": "1", "content": "sent"}]}),
    );
    check(
        Side::Answer,
        Dialect::OpenAiChat,
        &json!({"id": "1", "model": "m", "choices": [
        {"index": 0, "message": called, "finish_reason": "tool_calls"}]}),
    );
    let guarded = json!({"guardContent": {"text": {"text": "u", "qualifiers": ["query"]}}});
    let cited = json!({"citationsContent": {"content": [{"text": "a"}, {"text": "b"}],
        "citations": [{"title": "t", "sourceContent": [{"text": "s"}]}]}});
    let found = json!({"searchResult": {"title": "t", "source": "s", "content": [{"text": "x"}]}});
    let returned = json!({"toolResult": {"toolUseId": "1", "content": [{"json": {"a": "b"}}, {"text": "c"}, found]}});
    check(
        Side::Request,
        Dialect::Bedrock,
        &json!({
            "system": [guarded, {"text": "s"}],
            "messages": [
                {"role": "user", "content": [guarded, found, {"document": {"format": "txt", "name": "d",
                    "source": {"content": [{"text": "e"}]}}}]},
                {"role": "assistant", "content": [cited, {"toolUse": {"toolUseId": "1", "name": "f", "input": {"a": "b"}}}]},
                {"role": "user", "content": [returned]},
            ],
        }),
    );
    check(
        Side::Answer,
        Dialect::Bedrock,
        &json!({"stopReason": "end_turn",
        "output": {"message": {"role": "assistant", "content": [cited, {"text": "x"}]}}}),
    );
}
