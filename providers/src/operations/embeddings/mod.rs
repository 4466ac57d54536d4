//! Embeddings: a common model of requests and answers (`model`), vectors in their spellings (`vectors`), the purpose that a
//! vector is made for in each vendor's words (`task`), and one file per family of wire forms.

mod bedrock;
mod cohere;
mod gemini;
mod model;
mod openai;
mod task;
mod vectors;
mod vertex;

use self::model::{Answer, Request};
use super::{About, Answered, Asked, Translated, Wire, no_translation};
use crate::codec::{Call, Platform, Target};
use crate::common::{Losses, Str};
use crate::dialect::Operation;
use crate::error::ApiError;

pub use self::vectors::Form;

pub(super) fn translate_request(
    from: Wire,
    to: Wire,
    body: &[u8],
    call: &Call<'_>,
    target: &Target<'_>,
) -> Result<Translated, ApiError> {
    let request = read_request(from, body, call)?;
    let mut losses = Losses::default();
    let body = write_request(to, &request, target.model, target.platform, &mut losses)?;
    let asked = Asked { inputs: request.inputs.len(), forms: request.forms, ..Asked::default() };
    Ok(Translated { body, losses, asked })
}

fn read_request<'a>(wire: Wire, body: &'a [u8], call: &Call<'_>) -> Result<Request<'a>, ApiError> {
    let mut request = match wire {
        Wire::OpenAi | Wire::Jina | Wire::Voyage => openai::read_request(wire, body),
        Wire::Cohere | Wire::BedrockCohere => cohere::read_request(wire, body),
        Wire::Gemini => gemini::read_request(body),
        Wire::GeminiBatch => gemini::read_batch(body),
        Wire::Vertex => vertex::read_request(body),
        Wire::BedrockTitan => bedrock::read_titan(body),
        Wire::BedrockNova => bedrock::read_nova(body),
        Wire::OpenAiResponses | Wire::Anthropic | Wire::Bedrock => Err(no_translation(Operation::Embeddings)),
    }?;
    if let Some(model) = call.model.filter(|_| request.model.is_empty()) {
        request.model = Str::from(model.to_owned());
    }
    request.check()?;
    Ok(request)
}

fn write_request(
    wire: Wire,
    request: &Request<'_>,
    model: &str,
    platform: Platform,
    losses: &mut Losses,
) -> Result<Vec<u8>, ApiError> {
    match wire {
        Wire::OpenAi | Wire::Jina | Wire::Voyage => openai::write_request(wire, request, model, losses),
        Wire::Cohere | Wire::BedrockCohere => cohere::write_request(wire, request, model, losses),
        Wire::Gemini => gemini::write_request(request, platform, losses),
        Wire::GeminiBatch => gemini::write_batch(request, model, losses),
        Wire::Vertex => vertex::write_request(request, losses),
        Wire::BedrockTitan => bedrock::write_titan(request, losses),
        Wire::BedrockNova => bedrock::write_nova(request, losses),
        Wire::OpenAiResponses | Wire::Anthropic | Wire::Bedrock => Err(no_translation(Operation::Embeddings)),
    }
}

pub(super) fn translate_answer(
    from: Wire,
    to: Wire,
    body: &[u8],
    asked: &Asked,
    about: &About<'_>,
) -> Result<Answered, ApiError> {
    let answer = read_answer(from, body, asked, about)?;
    let mut losses = Losses::default();
    let body = write_answer(to, &answer, asked, about, &mut losses)?;
    Ok(Answered { body, losses, usage: answer.usage })
}

fn read_answer<'a>(wire: Wire, body: &'a [u8], asked: &Asked, about: &About<'_>) -> Result<Answer<'a>, ApiError> {
    let answer = match wire {
        Wire::OpenAi | Wire::Jina | Wire::Voyage => openai::read_answer(body, asked),
        Wire::Cohere | Wire::BedrockCohere => cohere::read_answer(body, about),
        Wire::Gemini | Wire::GeminiBatch => gemini::read_answer(body),
        Wire::Vertex => vertex::read_answer(body),
        Wire::BedrockTitan => bedrock::read_titan_answer(body),
        Wire::BedrockNova => bedrock::read_nova_answer(body, about),
        Wire::OpenAiResponses | Wire::Anthropic | Wire::Bedrock => Err(no_translation(Operation::Embeddings)),
    }?;
    answer.check(asked.inputs)?;
    Ok(answer)
}

fn write_answer(
    wire: Wire,
    answer: &Answer<'_>,
    asked: &Asked,
    about: &About<'_>,
    losses: &mut Losses,
) -> Result<Vec<u8>, ApiError> {
    match wire {
        Wire::OpenAi | Wire::Jina | Wire::Voyage => openai::write_answer(wire, answer, asked, about, losses),
        Wire::Cohere | Wire::BedrockCohere => cohere::write_answer(wire, answer, asked, about),
        Wire::Gemini => gemini::write_answer(answer, losses),
        Wire::GeminiBatch => gemini::write_batch_answer(answer, losses),
        Wire::Vertex => vertex::write_answer(answer, losses),
        Wire::BedrockTitan => bedrock::write_titan_answer(answer, losses),
        Wire::BedrockNova => bedrock::write_nova_answer(answer, losses),
        Wire::OpenAiResponses | Wire::Anthropic | Wire::Bedrock => Err(no_translation(Operation::Embeddings)),
    }
}

#[cfg(test)]
mod tests;
