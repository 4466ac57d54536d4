//! How many tokens a chat request would take: asked of a provider that can tell (`translate_request`, with the codecs of
//! chat), or estimated here ([`local_answer`], [`estimate()`]) where it cannot. Settings that have no tokens (`temperature`,
//! `max_tokens`, …) are left out of what is asked, which is no loss.
//!
//! | wire | page |
//! |---|---|
//! | `Anthropic` | <https://docs.anthropic.com/en/api/messages-count-tokens>; on Vertex AI <https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/count-tokens> |
//! | `OpenAiResponses` | <https://platform.openai.com/docs/api-reference/responses/input-tokens> |
//! | `Gemini` | <https://ai.google.dev/api/tokens> |
//! | `Vertex` | <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/count-tokens> |
//! | `Bedrock` | <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html> |

mod estimate;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bounded_static::IntoBoundedStatic as _;

pub use self::estimate::estimate;
use super::{Answered, Asked, Translated, Wire, no_answer, no_translation, refused};
use crate::codec::wire::{read_answer, read_request, wire};
use crate::codec::{Call, Platform, Target, codec};
use crate::common::{CacheConfig, Extras, Json, Losses, Request, Str};
use crate::dialect::{Dialect, Operation};
use crate::error::ApiError;
use crate::json;
use crate::model_name::gemini_resource;
use crate::preset::{known_betas, without_fields};

wire! {
    /// Gemini's request stands alone, or within another.
    struct GeminiBody<'a> {
        "generateContentRequest" => within: Option<Json<'a>>,
    }

    struct BedrockBody<'a> {
        "input" => input: BedrockInput<'a>,
    }

    struct BedrockInput<'a> {
        "converse" => converse: Option<Json<'a>>,
        "invokeModel" => invoke: Option<BedrockInvoke<'a>>,
    }

    struct BedrockInvoke<'a> {
        "body" => body: Option<Str<'a>>,
    }

    struct AnswerBody<'a> {
        "input_tokens" => input_tokens: Option<u64>,
        "totalTokens" => total_tokens: Option<u64>,
        "inputTokens" => bedrock_tokens: Option<u64>,
    }

    struct Fields<'a> {}
}

/// Answers a client without a provider: an estimate, to be marked as one.
///
/// # Errors
/// What is wrong with the request, or that a part of it is kept elsewhere.
pub fn local_answer(wire: Wire, body: &[u8], call: &Call<'_>) -> Result<Answered, ApiError> {
    let request = read(wire, body, call)?;
    if let Some(field) = request.refers_to() {
        return Err(uncountable(field));
    }
    let count = estimate(&request);
    Ok(Answered { body: write_count(wire, count)?, losses: Losses::default(), usage: None })
}

pub(super) fn translate_request(
    from: Wire,
    to: Wire,
    body: &[u8],
    call: &Call<'_>,
    target: &Target<'_>,
) -> Result<Translated, ApiError> {
    let mut losses = Losses::default();
    let mut request = countable(read(from, body, call)?);
    if request.dialect != to.dialect() {
        request.put_in_words();
    }
    if is_claude_on_vertex(to, target) {
        let betas: Vec<_> = known_betas(Platform::Vertex).collect();
        without_fields(&mut request, &betas, &mut losses);
    }
    let body = write_request(to, &request, target, &mut losses)?;
    Ok(Translated { body, losses, asked: Asked::default() })
}

/// The chat request that is to be counted.
fn read(wire: Wire, body: &[u8], call: &Call<'_>) -> Result<Request<'static>, ApiError> {
    let chat =
        |dialect: Dialect, body: &[u8]| codec(dialect).decode_request(body, call).map(|request| request.into_static());
    match wire {
        Wire::Anthropic | Wire::OpenAiResponses => chat(wire.dialect(), body),
        Wire::Gemini | Wire::Vertex => {
            let GeminiBody { within, rest: _ } = read_request(body)?;
            let mut request = chat(Dialect::Gemini, within.as_ref().map_or(body, |within| within.get().as_bytes()))?;
            // A request within the request names the model again.
            request.extras.retain(|(name, _)| name != "model");
            Ok(request)
        }
        Wire::Bedrock => match read_request::<BedrockBody<'_>>(body)?.input {
            BedrockInput { converse: Some(converse), .. } => chat(Dialect::Bedrock, converse.get().as_bytes()),
            // Only Anthropic's models can count what InvokeModel takes.
            BedrockInput { invoke: Some(BedrockInvoke { body: Some(body), .. }), .. } => {
                let body = STANDARD.decode(&*body).map_err(|_| refused("body", "the body is not base64"))?;
                chat(Dialect::Anthropic, &body)
            }
            BedrockInput { .. } => Err(refused("input", "the input is neither converse nor invokeModel")),
        },
        _ => Err(no_translation(Operation::CountTokens)),
    }
}

/// The same without what has no tokens.
fn countable(request: Request<'_>) -> Request<'_> {
    let Request {
        dialect,
        model,
        stream: _,
        include_usage: _,
        system,
        messages,
        tools,
        tool_choice,
        parallel_tool_calls,
        response_format,
        reasoning,
        max_tokens: _,
        temperature: _,
        top_p: _,
        top_k: _,
        seed: _,
        presence_penalty: _,
        frequency_penalty: _,
        stop: _,
        n: _,
        logprobs: _,
        top_logprobs: _,
        modalities: _,
        audio: _,
        verbosity: _,
        service_tier: _,
        user: _,
        metadata: _,
        cache,
        store: _,
        previous,
        goes_on: _,
        extras,
    } = request;
    Request {
        model,
        system,
        messages,
        tools,
        tool_choice,
        parallel_tool_calls,
        response_format,
        reasoning,
        previous,
        extras,
        cache: CacheConfig { content: cache.content, ..CacheConfig::default() },
        ..Request::new(dialect)
    }
}

fn write_request(
    wire: Wire,
    request: &Request<'_>,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Result<Vec<u8>, ApiError> {
    // The counters refuse fields that they do not know.
    let known: &[&str] = match wire {
        Wire::Anthropic => &[
            "model",
            "messages",
            "system",
            "tools",
            "tool_choice",
            "thinking",
            "output_config",
            "mcp_servers",
            "context_management",
        ],
        Wire::OpenAiResponses => &[
            "model",
            "input",
            "instructions",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "reasoning",
            "text",
            "truncation",
            "conversation",
            "previous_response_id",
        ],
        Wire::Gemini => &["contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "cachedContent"],
        Wire::Vertex => &["contents", "systemInstruction", "tools", "generationConfig"],
        Wire::Bedrock => &["messages", "system", "toolConfig", "additionalModelRequestFields"],
        _ => return Err(no_translation(Operation::CountTokens)),
    };
    if let Some(field) = request.refers_to().filter(|field| !known.contains(field)) {
        return Err(uncountable(field));
    }
    let body = codec(wire.dialect()).encode_request(request, target, losses)?;
    let Fields { rest } = read_request(&body)?;
    let fields: Extras<'_> = rest.into_iter().filter(|(name, _)| known.contains(&&**name)).collect();
    Ok(json::body(|o| match wire {
        Wire::Gemini => o.object("generateContentRequest", |o| {
            o.field("model", &gemini_resource(target.model));
            o.extras(&fields);
        }),
        Wire::Bedrock => o.object("input", |o| o.object("converse", |o| o.extras(&fields))),
        // Its counter stands in the path in the place of the model.
        _ if is_claude_on_vertex(wire, target) => {
            let model = target.model.strip_prefix("publishers/anthropic/models/").unwrap_or(target.model);
            o.field("model", model.strip_suffix("@default").unwrap_or(model));
            o.extras(&fields);
        }
        _ => o.extras(&fields),
    }))
}

fn is_claude_on_vertex(to: Wire, target: &Target<'_>) -> bool {
    (to, target.platform) == (Wire::Anthropic, Platform::Vertex)
}

/// The caller's error of a field that refers to what whoever counts does not have.
fn uncountable(field: &str) -> ApiError {
    refused(field, format!("what `{field}` refers to cannot be counted for this model: send the whole conversation"))
}

pub(super) fn translate_answer(from: Wire, to: Wire, body: &[u8]) -> Result<Answered, ApiError> {
    let AnswerBody { input_tokens, total_tokens, bedrock_tokens, rest: _ } = read_answer(body)?;
    let count = match from {
        Wire::Anthropic | Wire::OpenAiResponses => input_tokens,
        Wire::Gemini | Wire::Vertex => total_tokens,
        Wire::Bedrock => bedrock_tokens,
        _ => return Err(no_translation(Operation::CountTokens)),
    };
    let count = count.ok_or_else(|| no_answer("count"))?;
    Ok(Answered { body: write_count(to, count)?, losses: Losses::default(), usage: None })
}

fn write_count(wire: Wire, count: u64) -> Result<Vec<u8>, ApiError> {
    Ok(match wire {
        Wire::Anthropic => json::body(|o| o.field("input_tokens", &count)),
        Wire::OpenAiResponses => json::body(|o| {
            o.field("object", "response.input_tokens");
            o.field("input_tokens", &count);
        }),
        Wire::Gemini | Wire::Vertex => json::body(|o| o.field("totalTokens", &count)),
        Wire::Bedrock => json::body(|o| o.field("inputTokens", &count)),
        _ => return Err(no_translation(Operation::CountTokens)),
    })
}

#[cfg(test)]
mod tests;
