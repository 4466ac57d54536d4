//! The events of a stream as they are written.

use serde::Serialize;

use super::super::sse::write_event;
use super::block_out::BlockOut;
use super::response_out::MessageOut;
use super::usage::UsageOut;
use crate::codec::fields::Fields;
use crate::common::Json;

/// An event.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum EventOut<'x> {
    MessageStart {
        message: MessageOut<'x>,
    },
    ContentBlockStart {
        index: u32,
        content_block: BlockOut<'x>,
    },
    ContentBlockDelta {
        index: u32,
        delta: DeltaOut<'x>,
    },
    ContentBlockStop {
        index: u32,
    },
    MessageDelta {
        delta: EndOut<'x>,
        usage: UsageOut<'x>,
        #[serde(flatten)]
        extras: Fields<'x, 'x>,
    },
    MessageStop,
    Ping,
}

impl EventOut<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
            Self::Ping => "ping",
        }
    }
}

/// What is added to a block.
#[derive(Serialize)]
#[serde(tag = "type")]
pub(super) enum DeltaOut<'x> {
    #[serde(rename = "text_delta")]
    Text { text: &'x str },
    #[serde(rename = "input_json_delta")]
    Input { partial_json: &'x str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'x str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'x str },
    #[serde(rename = "citations_delta")]
    Citation { citation: &'x Json<'x> },
    #[serde(rename = "compaction_delta")]
    Compaction {
        #[serde(flatten)]
        fields: Fields<'x, 'x>,
    },
}

/// What `message_delta` says of the end.
#[derive(Serialize)]
pub(super) struct EndOut<'x> {
    pub stop_reason: &'x str,
    pub stop_sequence: Option<&'x str>,
    #[serde(flatten)]
    pub extras: Fields<'x, 'x>,
}

/// Appends an event.
pub(super) fn put(out: &mut Vec<u8>, event: &EventOut<'_>) {
    write_event(out, Some(event.name()), event);
}
