//! Converse as it is written. The members of a union are the variants of an enum.

pub(super) use crate::codec::fields::Fields;
use crate::common::{Json, Str};

#[derive(serde::Serialize)]
pub(super) struct Message<'r> {
    pub(super) role: &'static str,
    pub(super) content: Vec<Part<'r>>,
    #[serde(flatten)]
    pub(super) extras: Fields<'r, 'r>,
}

/// A content block.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Part<'r> {
    Text(Str<'r>),
    Image(Medium<'r>),
    Document(Medium<'r>),
    Video(Medium<'r>),
    Audio(Medium<'r>),
    ToolUse(ToolUse<'r>),
    ToolResult(ToolResult<'r>),
    ReasoningContent(Reasoning<'r>),
    CitationsContent(Cited<'r>),
    CachePoint(CachePoint<'r>),
    GuardContent(Json<'r>),
    SearchResult(Json<'r>),
    Json(Json<'r>),
    /// A whole block as it came.
    #[serde(untagged)]
    Raw(Json<'r>),
}

#[derive(serde::Serialize)]
pub(super) struct CachePoint<'r> {
    #[serde(rename = "type")]
    pub(super) kind: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl: Option<&'r str>,
    #[serde(flatten)]
    pub(super) extras: Fields<'r, 'r>,
}

/// An image, document, video or audio block.
#[derive(serde::Serialize)]
pub(super) struct Medium<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) format: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Str<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<MediumSource<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) citations: Option<Enabled>,
    #[serde(flatten)]
    pub(super) extras: Fields<'r, 'r>,
}

#[derive(serde::Serialize)]
pub(super) enum MediumSource<'r> {
    #[serde(rename = "bytes")]
    Bytes(Str<'r>),
    #[serde(rename = "s3Location")]
    S3(S3Location<'r>),
    #[serde(rename = "text")]
    Text(&'r str),
    #[serde(rename = "content")]
    Content(Vec<Part<'r>>),
}

#[derive(serde::Serialize)]
pub(super) struct S3Location<'r> {
    pub(super) uri: &'r str,
    #[serde(flatten)]
    pub(super) extras: Fields<'r, 'r>,
}

#[derive(serde::Serialize)]
pub(super) struct Enabled {
    pub(super) enabled: bool,
}

/// `{"text": "…"}`.
#[derive(serde::Serialize)]
pub(super) struct Words<'r> {
    pub(super) text: &'r str,
}

#[derive(serde::Serialize)]
pub(super) struct ToolUse<'r> {
    #[serde(rename = "toolUseId")]
    pub(super) id: Str<'r>,
    pub(super) name: Str<'r>,
    pub(super) input: Json<'r>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'r str>,
    #[serde(flatten)]
    pub(super) extras: Fields<'r, 'r>,
}

#[derive(serde::Serialize)]
pub(super) struct ToolResult<'r> {
    #[serde(rename = "toolUseId")]
    pub(super) id: Str<'r>,
    pub(super) content: Vec<Part<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<&'static str>,
    #[serde(flatten)]
    pub(super) extras: Fields<'r, 'r>,
}

#[derive(serde::Serialize)]
pub(super) enum Reasoning<'r> {
    #[serde(rename = "reasoningText")]
    Text(ReasoningText<'r>),
    #[serde(rename = "redactedContent")]
    Redacted(Str<'r>),
}

#[derive(serde::Serialize)]
pub(super) struct ReasoningText<'r> {
    pub(super) text: Str<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<Str<'r>>,
    #[serde(flatten)]
    pub(super) extras: Fields<'r, 'r>,
}

#[derive(serde::Serialize)]
pub(super) struct Cited<'r> {
    pub(super) content: [Words<'r>; 1],
    pub(super) citations: Vec<Citation<'r>>,
    #[serde(flatten)]
    pub(super) extras: Fields<'r, 'r>,
}

#[derive(serde::Serialize)]
#[serde(untagged)]
pub(super) enum Citation<'r> {
    Raw(Json<'r>),
    New(NewCitation<'r>),
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewCitation<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<&'r str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) source_content: Vec<Words<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) location: Option<Location<'r>>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Location<'r> {
    Web { url: &'r str },
}
