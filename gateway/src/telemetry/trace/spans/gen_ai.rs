//! OpenTelemetry's names.

use serde_json::{Value, json};

use crate::telemetry::trace::content::{Conversation, Part, Redactor, Said};
use crate::telemetry::trace::{Attributes, Record};

/// Adds what these conventions say; returns the span's name.
pub(super) fn describe(record: &Record, redactor: Option<&Redactor>, attributes: &mut Attributes) -> String {
    let operation = operation(record.operation);
    let last = record.attempts.last();
    let model = last.map(|attempt| &*attempt.model).or(record.model.as_deref()).filter(|model| !model.is_empty());
    let parameters = &record.parameters;
    attributes
        .add("gen_ai.operation.name", operation)
        .add("gen_ai.provider.name", last.map(|attempt| provider_name(attempt.kind)))
        .add("gen_ai.original.model", record.model.as_deref())
        .add("gen_ai.request.model", model)
        .add("gen_ai.request.stream", record.stream.then_some(true))
        .add("gen_ai.request.max_tokens", parameters.max_tokens.as_ref())
        .add("gen_ai.request.temperature", parameters.temperature.as_ref().and_then(serde_json::Number::as_f64))
        .add("gen_ai.request.top_p", parameters.top_p.as_ref().and_then(serde_json::Number::as_f64))
        .add("gen_ai.request.top_k", parameters.top_k.as_ref())
        .add(
            "gen_ai.request.frequency_penalty",
            parameters.frequency_penalty.as_ref().and_then(serde_json::Number::as_f64),
        )
        .add(
            "gen_ai.request.presence_penalty",
            parameters.presence_penalty.as_ref().and_then(serde_json::Number::as_f64),
        )
        .add("gen_ai.request.seed", parameters.seed.as_ref())
        .add("gen_ai.request.choice.count", parameters.n.as_ref().filter(|n| n.as_u64() != Some(1)))
        .add("gen_ai.embeddings.dimension.count", parameters.dimensions.as_ref())
        .add("gen_ai.response.id", record.response_id.as_deref())
        .add("gen_ai.response.model", record.response_model.as_deref())
        .add("gen_ai.conversation.id", record.session.as_deref())
        .add("user.id", record.user.as_deref());
    if let Some(tokens) = record.tokens {
        attributes
            .add("gen_ai.usage.input_tokens", tokens.input)
            .add("gen_ai.usage.output_tokens", tokens.output)
            .add("gen_ai.usage.cache_read.input_tokens", tokens.cached_input)
            .add("gen_ai.usage.cache_creation.input_tokens", tokens.cache_creation_input)
            .add("gen_ai.usage.reasoning.output_tokens", tokens.reasoning);
    }
    if let (Some(captured), Some(redactor)) = (&record.captured, redactor) {
        tell(&captured.read(redactor), attributes);
    }
    match &record.model {
        Some(model) => format!("{operation} {model}"),
        None => operation.to_owned(),
    }
}

fn tell(conversation: &Conversation, attributes: &mut Attributes) {
    let Conversation { system, asked, answered, input, omitted } = conversation;
    let some = |parts: &[Part]| (!parts.is_empty()).then(|| Value::from(self::parts(parts)).to_string());
    let all = |said: &[Said]| (!said.is_empty()).then(|| said.iter().map(message).collect::<Value>().to_string());
    attributes
        .add("gen_ai.system_instructions", some(system))
        .add("gen_ai.input.messages", all(asked))
        .add("gen_ai.output.messages", all(answered))
        .add("gateway.input", input.clone())
        .add("gateway.content_omitted", omitted.then_some(true));
}

fn message(said: &Said) -> Value {
    let mut message = json!({ "role": said.role, "parts": parts(&said.parts) });
    if let Some(stop) = said.stop {
        message["finish_reason"] = stop.into();
    }
    message
}

fn parts(parts: &[Part]) -> Vec<Value> {
    let part = |part: &Part| match part {
        Part::Text(text) => json!({ "type": "text", "content": text }),
        Part::Reasoning(text) => json!({ "type": "reasoning", "content": text }),
        Part::Call { id, name, arguments } => {
            let arguments = serde_json::from_str(arguments).unwrap_or_else(|_| Value::from(&**arguments));
            json!({ "type": "tool_call", "id": id, "name": name, "arguments": arguments })
        }
        Part::Result { id, text } => json!({ "type": "tool_call_response", "id": id, "response": text }),
        Part::Media => json!({ "type": "media" }),
    };
    parts.iter().map(part).collect()
}

/// The well-known value of `gen_ai.operation.name`, where there is one.
fn operation(operation: &'static str) -> &'static str {
    match operation {
        "completions" => "text_completion",
        other => other,
    }
}

/// The well-known value of `gen_ai.provider.name` for a provider's `kind`, where there is one.
pub(super) fn provider_name(kind: &'static str) -> &'static str {
    match kind {
        "azure" => "azure.ai.openai",
        "bedrock" => "aws.bedrock",
        "gemini" => "gcp.gemini",
        "vertex" => "gcp.vertex_ai",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        other => other,
    }
}
