//! OpenInference's names.

use crate::telemetry::trace::content::{Conversation, Part, Redactor, Said};
use crate::telemetry::trace::{Attributes, Record};

use super::dollars;

/// Adds what these conventions say; returns the span's name.
pub(super) fn describe(record: &Record, redactor: Option<&Redactor>, attributes: &mut Attributes) -> String {
    let last = record.attempts.last();
    let model = last.map(|attempt| &*attempt.model).or(record.model.as_deref()).filter(|model| !model.is_empty());
    let kind = match record.operation {
        "embeddings" => "EMBEDDING",
        "rerank" => "RERANKER",
        _ => "LLM",
    };
    let model_key = if kind == "EMBEDDING" { "embedding.model_name" } else { "llm.model_name" };
    attributes
        .add("openinference.span.kind", kind)
        .add("llm.system", last.map(|attempt| system(attempt.kind, attempt.dialect)))
        .add("llm.provider", last.map(|attempt| provider(attempt.kind)))
        .add(model_key, record.response_model.as_deref().or(model))
        .add("llm.invocation_parameters", serde_json::to_string(&record.parameters).ok())
        .add("session.id", record.session.as_deref())
        .add("user.id", record.user.as_deref());
    if let Some(tokens) = record.tokens {
        let total = tokens.input.unwrap_or(0) + tokens.output.unwrap_or(0);
        attributes
            .add("llm.token_count.prompt", tokens.input)
            .add("llm.token_count.completion", tokens.output)
            .add("llm.token_count.total", total)
            .add("llm.token_count.prompt_details.cache_read", tokens.cached_input)
            .add("llm.token_count.prompt_details.cache_write", tokens.cache_creation_input)
            .add("llm.token_count.completion_details.reasoning", tokens.reasoning);
    }
    attributes.add("llm.cost.total", dollars(record));
    if let (Some(captured), Some(redactor)) = (&record.captured, redactor) {
        tell(&captured.read(redactor), attributes);
    }
    name(record).to_owned()
}

fn tell(conversation: &Conversation, attributes: &mut Attributes) {
    let Conversation { system, asked, answered, input, omitted } = conversation;
    let mut number = 0;
    if !system.is_empty() {
        said("llm.input_messages", 0, "system", system, attributes);
        number = 1;
    }
    for message in asked {
        said("llm.input_messages", number, message.role, &message.parts, attributes);
        number += 1;
    }
    for (number, message) in answered.iter().enumerate() {
        said("llm.output_messages", number, message.role, &message.parts, attributes);
    }
    let value = input.clone().or_else(|| asked.last().map(text)).filter(|text| !text.is_empty());
    let mime = |value: &Option<String>, json: bool| {
        value.is_some().then_some(if json { "application/json" } else { "text/plain" })
    };
    let output = answered.first().map(text).filter(|text| !text.is_empty());
    attributes
        .add("input.mime_type", mime(&value, input.is_some()))
        .add("input.value", value)
        .add("output.mime_type", mime(&output, false))
        .add("output.value", output)
        .add("gateway.content_omitted", omitted.then_some(true));
}

/// Adds one message.
fn said(list: &str, number: usize, role: &str, parts: &[Part], attributes: &mut Attributes) {
    let prefix = format!("{list}.{number}.message");
    attributes.add(format!("{prefix}.role"), role);
    let (mut contents, mut calls) = (0, 0);
    let plain = matches!(parts, [Part::Text(_)]);
    for part in parts {
        match part {
            Part::Text(text) if plain => {
                attributes.add(format!("{prefix}.content"), &**text);
            }
            Part::Result { id, text } => {
                attributes.add(format!("{prefix}.tool_call_id"), &**id).add(format!("{prefix}.content"), &**text);
            }
            Part::Call { id, name, arguments } => {
                let call = format!("{prefix}.tool_calls.{calls}.tool_call");
                attributes
                    .add(format!("{call}.id"), &**id)
                    .add(format!("{call}.function.name"), &**name)
                    .add(format!("{call}.function.arguments"), &**arguments);
                calls += 1;
            }
            Part::Text(_) | Part::Reasoning(_) | Part::Media => {
                let (kind, text) = match part {
                    Part::Text(text) => ("text", Some(&**text)),
                    Part::Reasoning(text) => ("reasoning", Some(&**text)),
                    _ => ("image", None),
                };
                let content = format!("{prefix}.contents.{contents}.message_content");
                attributes.add(format!("{content}.type"), kind).add(format!("{content}.text"), text);
                contents += 1;
            }
        }
    }
}

fn text(said: &Said) -> String {
    let texts = said.parts.iter().filter_map(|part| match part {
        Part::Text(text) | Part::Result { text, .. } => Some(&**text),
        Part::Reasoning(_) | Part::Call { .. } | Part::Media => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// What OpenInference's own instrumentations call such a span.
fn name(record: &Record) -> &'static str {
    match (record.operation, record.dialect) {
        ("chat", Some("openai-responses")) => "Responses",
        ("chat", Some("anthropic")) => "Message",
        ("chat", Some("gemini")) => "GenerateContent",
        ("chat", Some("bedrock")) => "Converse",
        ("chat", _) => "ChatCompletion",
        ("completions", _) => "Completion",
        ("embeddings", _) => "CreateEmbeddings",
        ("rerank", _) => "Rerank",
        ("images", _) => "ImagesResponse",
        ("speech", _) => "AudioSpeech",
        ("transcription", _) => "Transcription",
        ("count_tokens", _) => "CountTokens",
        (other, _) => other,
    }
}

/// The well-known value of `llm.system`: whose model it is.
fn system(kind: &'static str, dialect: &'static str) -> &'static str {
    match (kind, dialect) {
        ("vertex" | "gemini", "gemini") => "vertexai",
        ("bedrock", "bedrock") => "amazon",
        ("mistral", _) => "mistralai",
        ("cohere" | "xai" | "deepseek", _) => kind,
        (_, "anthropic") => "anthropic",
        _ => "openai",
    }
}

/// The well-known value of `llm.provider`: who runs it.
fn provider(kind: &'static str) -> &'static str {
    match kind {
        "bedrock" => "aws",
        "vertex" | "gemini" => "google",
        "mistral" => "mistralai",
        other => other,
    }
}
