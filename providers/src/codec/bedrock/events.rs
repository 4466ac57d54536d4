//! Events of a stream as they are written
//! (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>).

use serde::Serialize;

use super::{answer, write};
use crate::common::{Json, Str};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockStart<'r> {
    pub(super) start: Start<'r>,
    pub(super) content_block_index: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Start<'r> {
    ToolUse(ToolUseStart<'r>),
    Image {
        format: &'r str,
    },
    #[serde(untagged)]
    Raw(Json<'r>),
}

#[derive(Serialize)]
pub(super) struct ToolUseStart<'r> {
    #[serde(rename = "toolUseId")]
    pub(super) id: Str<'r>,
    pub(super) name: &'r str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockDelta<'r> {
    pub(super) delta: OutDelta<'r>,
    pub(super) content_block_index: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum OutDelta<'r> {
    Text(&'r str),
    ToolUse { input: &'r str },
    ReasoningContent(ReasoningDelta<'r>),
    Citation(write::Citation<'r>),
    ToolResult(&'r Json<'r>),
    Image { source: write::MediumSource<'r> },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ReasoningDelta<'r> {
    Text(&'r str),
    Signature(Str<'r>),
    RedactedContent(Str<'r>),
}

#[derive(Serialize)]
pub(super) struct MessageStart {
    pub(super) role: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockStop {
    pub(super) content_block_index: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageStop<'r> {
    pub(super) stop_reason: &'r str,
    #[serde(flatten)]
    pub(super) extras: write::Fields<'r, 'r>,
}

#[derive(Serialize)]
pub(super) struct Metadata<'r> {
    pub(super) usage: answer::TokenUsage,
    pub(super) metrics: answer::Metrics,
    #[serde(rename = "serviceTier", skip_serializing_if = "Option::is_none")]
    pub(super) service_tier: Option<answer::Tier<'r>>,
    #[serde(flatten)]
    pub(super) extras: write::Fields<'r, 'r>,
}
