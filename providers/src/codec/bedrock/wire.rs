//! Converse as it is read: requests, answers and the payloads of stream events, after the service model
//! (`bedrock-runtime`, 2023-09-30) that the AWS SDKs are made of. Unions are objects with one member.

use serde_json::value::RawValue;

pub(super) use crate::codec::fields::Whole as AnyObject;
use crate::codec::wire::wire;
use crate::common::{Json, Str};

wire! {
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>
    pub(super) struct Request<'a> {
        "messages" => messages: Vec<Message<'a>>,
        "system" => system: Vec<Part<'a>>,
        "inferenceConfig" => inference: Inference<'a>,
        "toolConfig" => tools: ToolConfig<'a>,
        "additionalModelRequestFields" => fields: Option<Json<'a>>,
        "requestMetadata" => metadata: Option<Json<'a>>,
        "serviceTier" => tier: Tier<'a>,
        "outputConfig" => output: OutputConfig<'a>,
    }

    pub(super) struct Message<'a> {
        "role" => role: Str<'a>,
        "content" => content: Vec<Part<'a>>,
    }

    pub(super) struct Inference<'a> {
        "maxTokens" => max_tokens: Option<u64>,
        "temperature" => temperature: Option<f64>,
        "topP" => top_p: Option<f64>,
        "stopSequences" => stop: Vec<Str<'a>>,
    }

    pub(super) struct Tier<'a> {
        "type" => kind: Option<Str<'a>>,
    }

    pub(super) struct OutputConfig<'a> {
        "textFormat" => format: Option<Json<'a>>,
        "effort" => effort: Option<Str<'a>>,
    }

    pub(super) struct TextFormat<'a> {
        "type" => kind: Str<'a>,
        "structure" => structure: FormatStructure<'a>,
    }

    pub(super) struct FormatStructure<'a> {
        "jsonSchema" => schema: Option<SchemaFormat<'a>>,
    }

    pub(super) struct SchemaFormat<'a> {
        "schema" => schema: Str<'a>,
        "name" => name: Option<Str<'a>>,
        "description" => description: Option<Str<'a>>,
    }

    pub(super) struct ToolConfig<'a> {
        "tools" => tools: Vec<Tool<'a>>,
        "toolChoice" => choice: Option<Json<'a>>,
    }

    /// A union.
    pub(super) struct Tool<'a> {
        "toolSpec" => spec: Option<Box<ToolSpec<'a>>>,
        "cachePoint" => cache_point: Option<CachePoint<'a>>,
    }

    pub(super) struct ToolSpec<'a> {
        "name" => name: Str<'a>,
        "description" => description: Option<Str<'a>>,
        "inputSchema" => schema: InputSchema<'a>,
        "strict" => strict: Option<bool>,
    }

    pub(super) struct InputSchema<'a> {
        "json" => json: Option<Json<'a>>,
    }

    pub(super) struct ToolChoice<'a> {
        "auto" => auto: Option<AnyObject<'a>>,
        "any" => any: Option<AnyObject<'a>>,
        "tool" => tool: Option<Named<'a>>,
    }

    pub(super) struct Named<'a> {
        "name" => name: Str<'a>,
    }

    /// A content block of a message, of the instructions or of a tool's result; a union. Members that are not here are kept
    /// whole.
    pub(super) struct Part<'a> {
        "text" => text: Option<Str<'a>>,
        "image" => image: Option<Box<Medium<'a>>>,
        "document" => document: Option<Box<Medium<'a>>>,
        "video" => video: Option<Box<Medium<'a>>>,
        "audio" => audio: Option<Box<Medium<'a>>>,
        "toolUse" => tool_use: Option<Box<ToolUse<'a>>>,
        "toolResult" => tool_result: Option<Box<ToolResult<'a>>>,
        "reasoningContent" => reasoning: Option<Box<Reasoning<'a>>>,
        "citationsContent" => cited: Option<Box<Cited<'a>>>,
        "guardContent" => guard: Option<Box<Json<'a>>>,
        "searchResult" => search: Option<Box<Json<'a>>>,
        "json" => json: Option<Box<Json<'a>>>,
        "cachePoint" => cache_point: Option<Box<CachePoint<'a>>>,
    }

    pub(super) struct CachePoint<'a> {
        "type" => kind: Str<'a>,
        "ttl" => ttl: Option<Str<'a>>,
    }

    /// An image, document, video or audio block.
    pub(super) struct Medium<'a> {
        "format" => format: Option<Str<'a>>,
        "source" => source: MediumSource<'a>,
        "name" => name: Option<Str<'a>>,
        "context" => context: Option<Str<'a>>,
        "citations" => citations: Option<Enabled<'a>>,
    }

    /// A union.
    pub(super) struct MediumSource<'a> {
        "bytes" => bytes: Option<Str<'a>>,
        "s3Location" => s3: Option<S3Location<'a>>,
        "text" => text: Option<Str<'a>>,
        "content" => content: Option<Vec<Part<'a>>>,
    }

    pub(super) struct S3Location<'a> {
        "uri" => uri: Str<'a>,
    }

    pub(super) struct Enabled<'a> {
        "enabled" => enabled: bool,
    }

    pub(super) struct ToolUse<'a> {
        "toolUseId" => id: Str<'a>,
        "name" => name: Str<'a>,
        "input" => input: Option<&'a RawValue>,
        "type" => kind: Option<Str<'a>>,
    }

    pub(super) struct ToolResult<'a> {
        "toolUseId" => id: Str<'a>,
        "content" => content: Vec<Part<'a>>,
        "status" => status: Option<Str<'a>>,
    }

    /// A union.
    pub(super) struct Reasoning<'a> {
        "reasoningText" => text: Option<ReasoningText<'a>>,
        "redactedContent" => redacted: Option<Str<'a>>,
    }

    pub(super) struct ReasoningText<'a> {
        "text" => text: Str<'a>,
        "signature" => signature: Option<Str<'a>>,
    }

    pub(super) struct Cited<'a> {
        "content" => content: Vec<Words<'a>>,
        "citations" => citations: Vec<Json<'a>>,
    }

    pub(super) struct Words<'a> {
        "text" => text: Str<'a>,
    }

    pub(super) struct Citation<'a> {
        "title" => title: Option<Str<'a>>,
        "source" => source: Option<Str<'a>>,
        "sourceContent" => content: Vec<Words<'a>>,
        "location" => location: Location<'a>,
    }

    pub(super) struct Location<'a> {
        "web" => web: Option<Web<'a>>,
    }

    pub(super) struct Web<'a> {
        "url" => url: Option<Str<'a>>,
    }

    pub(super) struct Guard<'a> {
        "text" => text: Option<Words<'a>>,
    }

    pub(super) struct SearchResult<'a> {
        "source" => source: Str<'a>,
        "title" => title: Str<'a>,
        "content" => content: Vec<Words<'a>>,
    }

    /// An answer.
    pub(super) struct Response<'a> {
        "output" => output: Option<Output<'a>>,
        "stopReason" => stop: Option<Str<'a>>,
        "usage" => usage: Option<Json<'a>>,
        "metrics" => metrics: Option<AnyObject<'a>>,
        "serviceTier" => tier: Tier<'a>,
    }

    pub(super) struct Output<'a> {
        "message" => message: Message<'a>,
    }

    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlockStartEvent.html>
    pub(super) struct BlockStart<'a> {
        "contentBlockIndex" => index: u64,
        "start" => start: Start<'a>,
    }

    /// A union.
    pub(super) struct Start<'a> {
        "toolUse" => tool_use: Option<ToolUse<'a>>,
        "toolResult" => tool_result: Option<Json<'a>>,
        "image" => image: Option<ImageStart<'a>>,
    }

    pub(super) struct ImageStart<'a> {
        "format" => format: Str<'a>,
    }

    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlockDeltaEvent.html>
    pub(super) struct BlockDelta<'a> {
        "contentBlockIndex" => index: u64,
        "delta" => delta: Delta<'a>,
    }

    /// A union.
    pub(super) struct Delta<'a> {
        "text" => text: Option<Str<'a>>,
        "toolUse" => tool_use: Option<InputDelta<'a>>,
        "reasoningContent" => reasoning: Option<ReasoningDelta<'a>>,
        "citation" => citation: Option<Json<'a>>,
        "toolResult" => tool_result: Option<Vec<Json<'a>>>,
        "image" => image: Option<ImageDelta<'a>>,
    }

    pub(super) struct InputDelta<'a> {
        "input" => input: Str<'a>,
    }

    /// A union.
    pub(super) struct ReasoningDelta<'a> {
        "text" => text: Option<Str<'a>>,
        "signature" => signature: Option<Str<'a>>,
        "redactedContent" => redacted: Option<Str<'a>>,
    }

    pub(super) struct ImageDelta<'a> {
        "source" => source: MediumSource<'a>,
    }

    pub(super) struct BlockStop<'a> {
        "contentBlockIndex" => index: u64,
    }

    pub(super) struct MessageStop<'a> {
        "stopReason" => reason: Option<Str<'a>>,
        "p" => padding: Option<Str<'a>>,
    }

    pub(super) struct Metadata<'a> {
        "usage" => usage: Option<Json<'a>>,
        "metrics" => metrics: Option<AnyObject<'a>>,
        "serviceTier" => tier: Tier<'a>,
        "p" => padding: Option<Str<'a>>,
    }
}
