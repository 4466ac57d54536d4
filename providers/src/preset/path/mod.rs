//! The path and query of an upstream request.

use std::fmt::Write as _;

use super::{Cloud, Preset};
use crate::dialect::{Dialect, Operation};

/// What a path needs to know of the account.
#[derive(Debug, Clone, Copy, Default)]
pub struct Account<'a> {
    /// The path of its base URL, with or without a trailing slash.
    pub base_path: &'a str,
    /// Azure only: a date chooses the deployments form (`/openai/deployments/{model}/chat/completions?api-version=…`);
    /// `v1`, `preview` and `latest` go to the v1 API.
    pub api_version: Option<&'a str>,
    /// Google Cloud only: the project.
    pub project: Option<&'a str>,
    /// Google Cloud only: the location.
    pub region: Option<&'a str>,
}

/// What a path needs to know of the request.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamRequest<'a> {
    /// The dialect the provider is asked in.
    pub dialect: Dialect,
    /// What is asked.
    pub operation: Operation,
    /// The endpoint's own path as the client sent it (`/images/edits`, `/v1/messages`, …), where it spoke this dialect.
    /// `None`: the usual one of the operation. Of a path that names the model only the verb counts
    /// (`…:embedContent`, `…/invoke`).
    pub suffix: Option<&'a str>,
    /// The upstream's name of the model, which some APIs put into the path.
    pub model: &'a str,
    /// Whether a stream is wanted: some APIs have another path for it.
    pub stream: bool,
    /// The query to pass on, without `?`; credentials already removed.
    pub query: Option<&'a str>,
}

/// The path and query of an upstream request; `None` if the dialect has no such operation, or the model's name cannot
/// stand in a path.
///
/// A base URL may be written the way another SDK wants it (with the vendor's prefix, with `/v1` for Anthropic): what is
/// there already is not repeated.
pub fn upstream_path(preset: &Preset, account: &Account<'_>, request: &UpstreamRequest<'_>) -> Option<String> {
    // Google's query has a meaning of its own everywhere (<https://cloud.google.com/apis/docs/system-parameters>): other credentials,
    // and which fields are left out of the answer, its usage for one.
    let is_google =
        preset.kind == "gemini" || preset.cloud == Some(Cloud::Google) || request.dialect == Dialect::Gemini;
    let request = &UpstreamRequest { query: request.query.filter(|_| !is_google), ..*request };
    let base = account.base_path.trim_end_matches('/');
    let mut path = String::with_capacity(base.len() + request.model.len() + 128);
    let cloud = preset.cloud;
    match request.dialect {
        Dialect::Bedrock => bedrock(base, request, bedrock_action(request)?, &mut path)?,
        Dialect::Anthropic if cloud == Some(Cloud::Aws) => bedrock(base, request, invoke_action(request)?, &mut path)?,
        Dialect::Gemini | Dialect::Anthropic if cloud == Some(Cloud::Google) => {
            vertex(base, account, request, &mut path)?;
        }
        Dialect::Gemini => gemini(base, request, &mut path)?,
        Dialect::OpenAiChat if cloud == Some(Cloud::Google) => {
            push_location(base, account, &mut path)?;
            path.push_str("/endpoints/openapi");
            path.push_str(suffix(request)?);
            push_query(request.query, &mut path);
        }
        Dialect::Own(own) => {
            let mut model = String::with_capacity(request.model.len());
            push_segment(request.model, &mut model)?;
            path.push_str(base);
            path.push_str(&own.dialect().provider_path(&model, request.stream));
            push_query(request.query, &mut path);
        }
        Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Anthropic | Dialect::Cohere => {
            plain(preset, base, account, request, &mut path)?;
        }
    }
    Some(path)
}

/// Base URL, the dialect's prefix at this vendor, the endpoint's own path.
fn plain(
    preset: &Preset,
    base: &str,
    account: &Account<'_>,
    request: &UpstreamRequest<'_>,
    path: &mut String,
) -> Option<()> {
    let (prefix, suffix) = (preset.prefix(request.dialect), suffix(request)?);
    let mut base = base.strip_suffix(prefix).unwrap_or(base);
    if request.dialect == Dialect::Anthropic {
        // Anthropic's own paths begin with /v1, which the base URL of an OpenAI-like vendor ends in.
        base = base.strip_suffix("/v1").unwrap_or(base);
    }
    path.push_str(base);
    let api_version = account.api_version.filter(|_| preset.quirks.azure_deployments);
    if api_version.is_some_and(is_dated) {
        path.push_str("/openai");
        if is_deployment_scoped(suffix) {
            path.push_str("/deployments/");
            push_segment(request.model, path)?;
        }
    } else {
        path.push_str(prefix);
    }
    path.push_str(suffix);
    if let Some(version) = api_version {
        path.push_str("?api-version=");
        percent_encode(version, path);
    }
    push_query(request.query, path);
    Some(())
}

/// <https://ai.google.dev/api/generate-content>
fn gemini(base: &str, request: &UpstreamRequest<'_>, path: &mut String) -> Option<()> {
    path.push_str(base.strip_suffix("/v1beta").unwrap_or(base));
    path.push_str("/v1beta/");
    let model = request.model.strip_prefix("models/").unwrap_or(request.model);
    if !model.starts_with("tunedModels/") {
        path.push_str("models/");
    }
    push_resource(model, &["tunedModels"], path)?;
    push_verb(gemini_verb(request, "batchEmbedContents")?, path);
    Some(())
}

/// <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference>,
/// <https://docs.anthropic.com/en/api/claude-on-vertex-ai>
fn vertex(base: &str, account: &Account<'_>, request: &UpstreamRequest<'_>, path: &mut String) -> Option<()> {
    push_location(base, account, path)?;
    path.push('/');
    let anthropic = request.dialect == Dialect::Anthropic;
    let (publisher, verb) = match request.operation {
        Operation::CountTokens if anthropic => {
            path.push_str("publishers/anthropic/models/count-tokens:rawPredict");
            return Some(());
        }
        Operation::Chat if anthropic => ("anthropic", if request.stream { "streamRawPredict" } else { "rawPredict" }),
        _ if anthropic => return None,
        _ => ("google", gemini_verb(request, "predict")?),
    };
    if !["publishers/", "endpoints/"].iter().any(|start| request.model.starts_with(start)) {
        path.push_str("publishers/");
        path.push_str(publisher);
        path.push_str("/models/");
    }
    push_resource(request.model, &["publishers", "endpoints"], path)?;
    push_verb(verb, path);
    Some(())
}

/// `/v1/projects/{project}/locations/{region}`.
fn push_location(base: &str, account: &Account<'_>, path: &mut String) -> Option<()> {
    path.push_str(base.strip_suffix("/v1").unwrap_or(base));
    path.push_str("/v1/projects/");
    push_segment(account.project?, path)?;
    path.push_str("/locations/");
    push_segment(account.region?, path)
}

fn gemini_verb<'a>(request: &UpstreamRequest<'a>, embeddings: &'static str) -> Option<&'a str> {
    match request.operation {
        Operation::Chat if request.stream => Some("streamGenerateContent"),
        Operation::Chat => Some("generateContent"),
        Operation::CountTokens => Some("countTokens"),
        Operation::Embeddings => Some(match request.suffix.and_then(|suffix| suffix.rsplit_once(':')) {
            Some((_, verb @ ("embedContent" | "batchEmbedContents" | "predict"))) => verb,
            _ => embeddings,
        }),
        Operation::Images => Some("predict"),
        _ => None,
    }
}

/// The verb, and what says that a stream comes as server-sent events and not as one JSON array.
fn push_verb(verb: &str, path: &mut String) {
    path.push(':');
    path.push_str(verb);
    if verb == "streamGenerateContent" {
        path.push_str("?alt=sse");
    }
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>. The model is an
/// id or an ARN; a client's query means nothing there.
fn bedrock(base: &str, request: &UpstreamRequest<'_>, action: &str, path: &mut String) -> Option<()> {
    path.push_str(base);
    path.push_str("/model/");
    push_segment(request.model, path)?;
    path.push('/');
    path.push_str(action);
    Some(())
}

fn bedrock_action(request: &UpstreamRequest<'_>) -> Option<&'static str> {
    let invokes = request.suffix.is_some_and(|suffix| suffix.contains("/invoke"));
    match request.operation {
        Operation::Chat if !invokes => Some(if request.stream { "converse-stream" } else { "converse" }),
        Operation::Embeddings | Operation::Rerank | Operation::Images => Some("invoke"),
        _ => invoke_action(request),
    }
}

fn invoke_action(request: &UpstreamRequest<'_>) -> Option<&'static str> {
    match request.operation {
        Operation::Chat => Some(if request.stream { "invoke-with-response-stream" } else { "invoke" }),
        Operation::CountTokens => Some("count-tokens"),
        _ => None,
    }
}

/// Whether `dialect` has `operation` at all.
pub(super) fn exists(dialect: Dialect, operation: Operation) -> bool {
    match dialect {
        Dialect::Gemini => matches!(
            operation,
            Operation::Chat | Operation::Embeddings | Operation::Images | Operation::CountTokens | Operation::Models
        ),
        Dialect::Bedrock => matches!(
            operation,
            Operation::Chat | Operation::Embeddings | Operation::Rerank | Operation::Images | Operation::CountTokens
        ),
        Dialect::Own(_) => operation == Operation::Chat,
        Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Anthropic | Dialect::Cohere => {
            usual_suffix(dialect, operation).is_some()
        }
    }
}

fn suffix<'a>(request: &UpstreamRequest<'a>) -> Option<&'a str> {
    request.suffix.or_else(|| usual_suffix(request.dialect, request.operation))
}

/// The path of an operation below the base URL, in dialects whose paths do not name the model.
fn usual_suffix(dialect: Dialect, operation: Operation) -> Option<&'static str> {
    match (dialect, operation) {
        (Dialect::OpenAiChat, Operation::Chat) => Some("/chat/completions"),
        (Dialect::OpenAiChat, Operation::Completions) => Some("/completions"),
        (Dialect::OpenAiChat, Operation::Embeddings) => Some("/embeddings"),
        (Dialect::OpenAiChat, Operation::Rerank) => Some("/rerank"),
        (Dialect::OpenAiChat, Operation::Images) => Some("/images/generations"),
        (Dialect::OpenAiChat, Operation::Speech) => Some("/audio/speech"),
        (Dialect::OpenAiChat, Operation::Transcription) => Some("/audio/transcriptions"),
        (Dialect::OpenAiChat, Operation::Moderation) => Some("/moderations"),
        (Dialect::OpenAiChat, Operation::Models) => Some("/models"),
        (Dialect::OpenAiResponses, Operation::Chat) => Some("/responses"),
        (Dialect::OpenAiResponses, Operation::CountTokens) => Some("/responses/input_tokens"),
        (Dialect::Anthropic, Operation::Chat) => Some("/v1/messages"),
        (Dialect::Anthropic, Operation::CountTokens) => Some("/v1/messages/count_tokens"),
        (Dialect::Anthropic, Operation::Models) => Some("/v1/models"),
        (Dialect::Cohere, Operation::Chat) => Some("/v2/chat"),
        (Dialect::Cohere, Operation::Embeddings) => Some("/v2/embed"),
        (Dialect::Cohere, Operation::Rerank) => Some("/v2/rerank"),
        (Dialect::Cohere, Operation::Models) => Some("/v1/models"),
        _ => None,
    }
}

/// Whether an Azure `api_version` is one of the dated ones, which know deployments.
pub fn is_dated(api_version: &str) -> bool {
    api_version.starts_with(|first: char| first.is_ascii_digit())
}

/// <https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference>: inference on a model is below its deployment,
/// stored objects (responses, files) are below the resource.
fn is_deployment_scoped(suffix: &str) -> bool {
    ["/chat/", "/completions", "/embeddings", "/images/", "/audio/"].iter().any(|start| suffix.starts_with(start))
}

fn push_query(query: Option<&str>, path: &mut String) {
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(query);
    }
}

/// A name that may be a path of its own if it begins with one of `roots`; otherwise it is one segment.
fn push_resource(name: &str, roots: &[&str], path: &mut String) -> Option<()> {
    let root = name.split_once('/').map(|(root, _)| root);
    if !root.is_some_and(|root| roots.contains(&root)) {
        return push_segment(name, path);
    }
    for (index, segment) in name.split('/').enumerate() {
        if index > 0 {
            path.push('/');
        }
        push_segment(segment, path)?;
    }
    Some(())
}

/// Names come from clients: none may climb out of its place in the path, not even encoded.
fn push_segment(name: &str, path: &mut String) -> Option<()> {
    if matches!(name, "" | "." | "..") {
        return None;
    }
    percent_encode(name, path);
    Some(())
}

fn percent_encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            into.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests;
