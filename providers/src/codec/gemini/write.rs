//! What is written, of requests and of answers alike.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use super::extras::Beside;
use crate::common::{Json, Str};

/// A turn.
#[derive(Debug, Serialize)]
pub(super) struct Content<'o> {
    pub(super) parts: Vec<Piece<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<Str<'o>>,
    #[serde(flatten)]
    pub(super) beside: Beside<'o>,
}

/// A part, or one that is passed on as it came.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Piece<'o> {
    Part(Box<Part<'o>>),
    Raw(Json<'o>),
}

impl<'o> Piece<'o> {
    /// Plain text.
    pub(super) fn text(text: impl Into<Cow<'o, str>>) -> Self {
        Self::Part(Box::new(Part { text: Some(text.into()), ..Part::default() }))
    }
}

impl<'o> From<Part<'o>> for Piece<'o> {
    fn from(part: Part<'o>) -> Self {
        Self::Part(Box::new(part))
    }
}

/// A part.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'o> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<Cow<'o, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thought: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inline_data: Option<Blob<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file_data: Option<FileData<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_call: Option<FunctionCall<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_response: Option<FunctionResponse<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thought_signature: Option<Str<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) media_resolution: Option<Resolution>,
    #[serde(flatten)]
    pub(super) beside: Beside<'o>,
}

impl Part<'_> {
    /// Whether it is text, and no thought.
    pub(super) fn is_text(&self) -> bool {
        self.text.is_some() && self.thought.is_none()
    }
}

/// Bytes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob<'o> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mime_type: Option<Cow<'o, str>>,
    pub(super) data: Cow<'o, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) display_name: Option<&'o str>,
    #[serde(flatten)]
    pub(super) beside: Beside<'o>,
}

/// An address.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileData<'o> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mime_type: Option<Cow<'o, str>>,
    pub(super) file_uri: &'o str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) display_name: Option<&'o str>,
    #[serde(flatten)]
    pub(super) beside: Beside<'o>,
}

/// A call.
#[derive(Debug, Serialize)]
pub(super) struct FunctionCall<'o> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'o str>,
    pub(super) name: Cow<'o, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) args: Option<Json<'o>>,
    #[serde(flatten)]
    pub(super) beside: Beside<'o>,
}

/// Its result.
#[derive(Debug, Serialize)]
pub(super) struct FunctionResponse<'o> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'o str>,
    pub(super) name: Cow<'o, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<Returned<'o>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<Piece<'o>>,
    #[serde(flatten)]
    pub(super) beside: Beside<'o>,
}

/// What a tool returned: an object.
#[derive(Debug)]
pub(super) enum Returned<'o> {
    /// As it is.
    Object(Json<'o>),
    /// A text, under a key.
    Text(Str<'o>, Cow<'o, str>),
}

impl Serialize for Returned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(object) => object.serialize(serializer),
            Self::Text(key, text) => serializer.collect_map([(key, text)]),
        }
    }
}

/// How closely a medium is looked at.
#[derive(Debug, Serialize)]
pub(super) struct Resolution {
    pub(super) level: String,
}
