//! Content blocks as they are written.

use serde::Serialize;

use crate::codec::fields::Fields;
use crate::common::{CacheMark, Json};

/// A block.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum BlockOut<'x> {
    /// Of a kind that the codec knows.
    Known(Known<'x>),
    /// Of another, as it came.
    Raw(&'x Json<'x>),
}

#[derive(Serialize)]
pub(super) struct Known<'x> {
    #[serde(flatten)]
    pub body: BodyOut<'x>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<CacheOut<'x>>,
    #[serde(flatten)]
    pub extras: Fields<'x, 'x>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum BodyOut<'x> {
    Text {
        text: &'x str,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        citations: Vec<&'x Json<'x>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        signature: Option<Box<str>>,
    },
    Image {
        source: SourceOut<'x>,
    },
    Document {
        source: SourceOut<'x>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'x str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        context: Option<&'x str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        citations: Option<CiteOut>,
    },
    /// Its `source` is among the extras.
    SearchResult {
        title: &'x str,
        content: Vec<BlockOut<'x>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        citations: Option<CiteOut>,
    },
    Thinking {
        thinking: Box<str>,
        signature: Box<str>,
    },
    RedactedThinking {
        data: Box<str>,
    },
    ToolUse {
        id: Box<str>,
        name: Box<str>,
        input: Json<'x>,
        #[serde(skip_serializing_if = "Option::is_none")]
        signature: Option<Box<str>>,
    },
    ToolResult {
        tool_use_id: Box<str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<BlockOut<'x>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        is_error: Option<bool>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum SourceOut<'x> {
    Base64 { media_type: &'x str, data: &'x str },
    Text { media_type: &'x str, data: std::borrow::Cow<'x, str> },
    Url { url: &'x str },
    File { file_id: &'x str },
    Content { content: Vec<BlockOut<'x>> },
}

#[derive(Serialize)]
pub(super) struct CiteOut {
    pub enabled: bool,
}

#[derive(Serialize)]
pub(super) struct CacheOut<'x> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'x str>,
}

impl<'x> CacheOut<'x> {
    pub(super) fn of(mark: &'x CacheMark<'_>) -> Self {
        Self { r#type: "ephemeral", ttl: mark.ttl.as_deref() }
    }
}

impl<'x> BlockOut<'x> {
    /// A block with nothing beside it.
    pub(super) fn plain(body: BodyOut<'x>) -> Self {
        Self::Known(Known { body, cache_control: None, extras: Fields::default() })
    }

    pub(super) fn text(text: &'x str) -> Self {
        Self::plain(BodyOut::Text { text, citations: Vec::new(), signature: None })
    }
}
