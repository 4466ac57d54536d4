//! What messages for a provider are made of.

use std::borrow::Cow;

use serde::Serialize;

use super::part_out::{Fields, PartOut};
use super::reasoning::AnyDetail;
use crate::common::Json;

/// One message.
#[derive(Serialize, Default)]
pub(super) struct MessageOut<'r> {
    pub(super) role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<ContentOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_content: Option<Cow<'r, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning: Option<Cow<'r, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) reasoning_details: Vec<AnyDetail<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) images: Vec<PartOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audio: Option<AudioOut<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<CallOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_call: Option<FunctionOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_call_id: Option<Cow<'r, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) annotations: Vec<&'r Json<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extra_content: Option<ExtraOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prefix: Option<bool>,
    #[serde(flatten)]
    pub(super) rest: Fields<'r>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ContentOut<'r> {
    Null,
    Text(Cow<'r, str>),
    Parts(Vec<PartOut<'r>>),
}

#[derive(Serialize)]
pub(super) struct AudioOut<'r> {
    pub(super) id: &'r str,
}

/// A call.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum CallOut<'r> {
    /// Of a function or custom tool.
    Known(KnownCall<'r>),
    /// A piece of one in a stream.
    Piece(super::stream_out::CallPiece<'r>),
    /// As it was read.
    Raw(&'r Json<'r>),
}

#[derive(Serialize, Default)]
pub(super) struct KnownCall<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<u32>,
    pub(super) id: Cow<'r, str>,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function: Option<FunctionOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom: Option<CustomOut<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extra_content: Option<ExtraOut<'r>>,
    #[serde(flatten)]
    pub(super) rest: Fields<'r>,
}

#[derive(Serialize)]
pub(super) struct FunctionOut<'r> {
    pub(super) name: Cow<'r, str>,
    pub(super) arguments: Cow<'r, str>,
}

#[derive(Serialize)]
pub(super) struct CustomOut<'r> {
    pub(super) name: Cow<'r, str>,
    pub(super) input: &'r str,
}

/// A thought signature where Gemini's endpoint has it.
#[derive(Serialize)]
pub(super) struct ExtraOut<'r> {
    pub(super) google: GoogleOut<'r>,
}

#[derive(Serialize)]
pub(super) struct GoogleOut<'r> {
    pub(super) thought_signature: Cow<'r, str>,
}

impl<'r> ExtraOut<'r> {
    pub(super) fn new(signature: impl Into<Cow<'r, str>>) -> Self {
        Self { google: GoogleOut { thought_signature: signature.into() } }
    }
}
