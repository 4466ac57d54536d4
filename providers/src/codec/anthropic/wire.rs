//! The objects of the wire, as they are read: <https://docs.anthropic.com/en/api/messages>. What may have many shapes is kept
//! raw until its kind is known.

use serde_json::value::RawValue;

use super::super::wire::{TextOr, wire};
pub(super) use crate::codec::fields::Whole;
use crate::common::{Json, Str};

wire! {
    /// A request.
    pub(super) struct Body<'a> {
        "model" => model: Str<'a>,
        "stream" => stream: bool,
        "system" => system: Option<TextOr<'a, &'a RawValue>>,
        "messages" => messages: Vec<MessageIn<'a>>,
        "tools" => tools: Vec<&'a RawValue>,
        "tool_choice" => tool_choice: Option<&'a RawValue>,
        "max_tokens" => max_tokens: Option<u64>,
        "temperature" => temperature: Option<f64>,
        "top_p" => top_p: Option<f64>,
        "top_k" => top_k: Option<u64>,
        "stop_sequences" => stop_sequences: Vec<Str<'a>>,
        "metadata" => metadata: Option<Metadata<'a>>,
        "service_tier" => service_tier: Option<Str<'a>>,
        "thinking" => thinking: Option<&'a RawValue>,
        "output_config" => output_config: Option<OutputConfig<'a>>,
        "output_format" => output_format: Option<&'a RawValue>,
        "cache_control" => cache_control: Option<&'a RawValue>,
    }
    /// One of its messages.
    pub(super) struct MessageIn<'a> {
        "role" => role: Str<'a>,
        "content" => content: TextOr<'a, &'a RawValue>,
    }
    pub(super) struct Metadata<'a> {
        "user_id" => user_id: Option<Str<'a>>,
    }
    pub(super) struct OutputConfig<'a> {
        "effort" => effort: Option<Str<'a>>,
        "format" => format: Option<&'a RawValue>,
    }
    pub(super) struct ThinkingIn<'a> {
        "type" => kind: Str<'a>,
        "budget_tokens" => budget_tokens: Option<u64>,
        "display" => display: Option<Str<'a>>,
    }
    pub(super) struct FormatIn<'a> {
        "type" => kind: Str<'a>,
        "schema" => schema: Option<Json<'a>>,
    }
    pub(super) struct ToolIn<'a> {
        "type" => kind: Option<Str<'a>>,
        "name" => name: Str<'a>,
        "description" => description: Option<Str<'a>>,
        "input_schema" => input_schema: Option<Json<'a>>,
        "strict" => strict: Option<bool>,
        "cache_control" => cache_control: Option<&'a RawValue>,
    }
    pub(super) struct ChoiceIn<'a> {
        "type" => kind: Str<'a>,
        "name" => name: Option<Str<'a>>,
        "disable_parallel_tool_use" => disable_parallel: Option<bool>,
    }
    pub(super) struct CacheIn<'a> {
        "type" => kind: Str<'a>,
        "ttl" => ttl: Option<Str<'a>>,
    }
    /// A content block of any kind.
    pub(super) struct BlockIn<'a> {
        "type" => kind: Str<'a>,
        "text" => text: Option<Str<'a>>,
        "citations" => citations: Option<&'a RawValue>,
        "cache_control" => cache_control: Option<&'a RawValue>,
        "source" => source: Option<&'a RawValue>,
        "title" => title: Option<Str<'a>>,
        "context" => context: Option<Str<'a>>,
        "thinking" => thinking: Option<Str<'a>>,
        "signature" => signature: Option<Str<'a>>,
        "data" => data: Option<Str<'a>>,
        "id" => id: Option<Str<'a>>,
        "name" => name: Option<Str<'a>>,
        "input" => input: Option<&'a RawValue>,
        "tool_use_id" => tool_use_id: Option<Str<'a>>,
        "content" => content: Option<&'a RawValue>,
        "is_error" => is_error: Option<bool>,
    }
    /// Where an image or a document is.
    pub(super) struct SourceIn<'a> {
        "type" => kind: Str<'a>,
        "media_type" => media_type: Option<Str<'a>>,
        "data" => data: Option<Str<'a>>,
        "url" => url: Option<Str<'a>>,
        "file_id" => file_id: Option<Str<'a>>,
        "content" => content: Option<TextOr<'a, &'a RawValue>>,
    }
    /// Whether answers shall cite a document.
    pub(super) struct CiteIn<'a> {
        "enabled" => enabled: Option<bool>,
    }
    /// A citation of any kind.
    pub(super) struct CitationIn<'a> {
        "cited_text" => cited_text: Option<Str<'a>>,
        "url" => url: Option<Str<'a>>,
        "source" => source: Option<Str<'a>>,
        "title" => title: Option<Str<'a>>,
        "document_title" => document_title: Option<Str<'a>>,
    }
    /// An answer, or what `message_start` says of it.
    pub(super) struct Answer<'a> {
        "type" => kind: Str<'a>,
        "role" => role: Option<Str<'a>>,
        "id" => id: Option<Str<'a>>,
        "model" => model: Option<Str<'a>>,
        "content" => content: Option<Vec<&'a RawValue>>,
        "stop_reason" => stop_reason: Option<Str<'a>>,
        "stop_sequence" => stop_sequence: Option<Str<'a>>,
        "usage" => usage: Option<&'a RawValue>,
        "error" => error: Option<&'a RawValue>,
    }
    /// An event of a stream.
    pub(super) struct EventIn<'a> {
        "type" => kind: Str<'a>,
        "index" => index: u64,
        "message" => message: Option<&'a RawValue>,
        "content_block" => content_block: Option<&'a RawValue>,
        "delta" => delta: Option<&'a RawValue>,
        "usage" => usage: Option<&'a RawValue>,
        "error" => error: Option<&'a RawValue>,
    }
    /// What is added to a block.
    pub(super) struct DeltaIn<'a> {
        "type" => kind: Str<'a>,
        "text" => text: Option<Str<'a>>,
        "partial_json" => partial_json: Option<Str<'a>>,
        "thinking" => thinking: Option<Str<'a>>,
        "signature" => signature: Option<Str<'a>>,
        "citation" => citation: Option<&'a RawValue>,
    }
    /// What `message_delta` says of the end.
    pub(super) struct EndIn<'a> {
        "stop_reason" => stop_reason: Option<Str<'a>>,
        "stop_sequence" => stop_sequence: Option<Str<'a>>,
    }
}
