//! Operations other than chat across dialects: what the client's API asks, said in another provider's API. Legacy
//! completions are chat in other words (`completions`); this is about the others: embeddings, rerank, token counts, images.
//!
//! Each of them has a small common model and, per wire form, a reader and a writer of it; [`translate_request`] and
//! [`translate_answer`] put two of them together. Like the codecs of chat they are pure, lose nothing without noting it, and
//! do one upstream call for one request. Where a provider takes a single input per call (Titan, Nova, Gemini's
//! `embedContent`) more of them are refused as the caller's error; such a client can send them one by one.

pub mod completions;
pub mod count_tokens;
pub mod embeddings;
pub mod images;
pub mod rerank;
pub(crate) mod tokenizer;

use crate::codec::{Call, Target};
use crate::common::{Json, Losses};
use crate::dialect::{Dialect, Operation};
use crate::error::{ApiError, ErrorKind};
use crate::usage::Usage;

/// The wire form of an operation. One vendor has several where paths differ in the shape of their bodies.
///
/// | operation | wire | path | client | provider |
/// |---|---|---|---|---|
/// | embeddings | `OpenAi`, `Jina`, `Voyage` | `/v1/embeddings` | yes | yes |
/// | | `Cohere` | `/v2/embed` | yes | yes |
/// | | `Gemini` | `/v1beta/models/{model}:embedContent` | yes | yes, one input |
/// | | `GeminiBatch` | `/v1beta/models/{model}:batchEmbedContents` | yes | yes |
/// | | `Vertex` | `…/publishers/google/models/{model}:predict` | yes | yes |
/// | | `BedrockTitan`, `BedrockNova` | `/model/{model}/invoke` | yes | yes, one input |
/// | | `BedrockCohere` | `/model/{model}/invoke` | yes | yes |
/// | rerank | `Cohere`, `Jina`, `Voyage` | `/v2/rerank`, `/v1/rerank`, `/v1/rerank` | yes | yes |
/// | | `BedrockCohere`, `Bedrock` (Amazon's ranker) | `/model/{model}/invoke` | no | yes |
/// | count_tokens | `Anthropic` | `/v1/messages/count_tokens` | yes | yes |
/// | | `OpenAiResponses` | `/v1/responses/input_tokens` | yes | yes |
/// | | `Gemini`, `Vertex` | `…/models/{model}:countTokens` | yes | yes |
/// | | `Bedrock` | `/model/{model}/count-tokens` | yes | yes |
/// | images | `OpenAi` | `/v1/images/generations` | yes | no |
/// | | `Vertex` | `…/publishers/google/models/{model}:predict` (Imagen) | no | yes |
/// | | `Gemini` | `…/models/{model}:generateContent` | no | yes |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// OpenAI, Azure, and those that imitate them.
    OpenAi,
    /// OpenAI's Responses.
    OpenAiResponses,
    /// Jina AI; for rerank also the many servers that speak its form (vLLM, TEI, LiteLLM, Cohere's v1).
    Jina,
    /// Voyage AI.
    Voyage,
    /// Cohere v2.
    Cohere,
    /// Anthropic.
    Anthropic,
    /// Gemini.
    Gemini,
    /// Gemini, several inputs at once.
    GeminiBatch,
    /// Vertex AI, where it differs from Gemini.
    Vertex,
    /// Bedrock's own operations, and InvokeModel with Amazon's ranker.
    Bedrock,
    /// Bedrock's InvokeModel with Amazon Titan.
    BedrockTitan,
    /// Bedrock's InvokeModel with Amazon Nova.
    BedrockNova,
    /// Bedrock's InvokeModel with Cohere.
    BedrockCohere,
}

impl Wire {
    /// Every form.
    pub const ALL: [Self; 13] = [
        Self::OpenAi,
        Self::OpenAiResponses,
        Self::Jina,
        Self::Voyage,
        Self::Cohere,
        Self::Anthropic,
        Self::Gemini,
        Self::GeminiBatch,
        Self::Vertex,
        Self::Bedrock,
        Self::BedrockTitan,
        Self::BedrockNova,
        Self::BedrockCohere,
    ];

    /// The dialect whose errors and chat bodies it shares.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::OpenAi | Self::Jina | Self::Voyage => Dialect::OpenAiChat,
            Self::OpenAiResponses => Dialect::OpenAiResponses,
            Self::Cohere => Dialect::Cohere,
            Self::Anthropic => Dialect::Anthropic,
            Self::Gemini | Self::GeminiBatch | Self::Vertex => Dialect::Gemini,
            Self::Bedrock | Self::BedrockTitan | Self::BedrockNova | Self::BedrockCohere => Dialect::Bedrock,
        }
    }
}

/// A request, ready for the provider.
#[derive(Debug)]
pub struct Translated {
    /// Its body.
    pub body: Vec<u8>,
    /// What it could not say.
    pub losses: Losses,
    /// To be kept for [`translate_answer`].
    pub asked: Asked,
}

/// What an answer's translation must know of its request.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The forms of vectors that the client wants; the first is the one where only one can be given.
    forms: Vec<embeddings::Form>,
    /// How many inputs there are, each of which must get a vector; 0: not known.
    inputs: usize,
    /// Documents to be repeated beside their scores.
    documents: Vec<Json<'static>>,
}

/// What an answer's translation must know besides.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'a> {
    /// The model as the client named it.
    pub model: &'a str,
    /// The request's id, for answers that have none.
    pub request_id: &'a str,
    /// Unix seconds, for answers that do not say when they were made.
    pub now: u64,
    /// The provider's header `x-amzn-bedrock-input-token-count`, the only place where Bedrock tells what Cohere's models consumed.
    pub input_tokens: Option<u64>,
}

/// An answer, ready for the client.
#[derive(Debug)]
pub struct Answered {
    /// Its body.
    pub body: Vec<u8>,
    /// What it could not say.
    pub losses: Losses,
    /// What was consumed, if the provider tells.
    pub usage: Option<Usage>,
}

/// Whether requests of `operation` in the client's form `from` can be asked in the provider's form `to`. One form on both sides
/// is translated like any pair; a gateway that passes bytes on does better there.
#[must_use]
pub const fn translates(operation: Operation, from: Wire, to: Wire) -> bool {
    use Wire::{Anthropic, Bedrock, BedrockCohere, Cohere, Gemini, Jina, OpenAi, OpenAiResponses, Vertex, Voyage};
    match operation {
        Operation::Embeddings => {
            !matches!(from, OpenAiResponses | Anthropic | Bedrock)
                && !matches!(to, OpenAiResponses | Anthropic | Bedrock)
        }
        Operation::Rerank => {
            matches!(from, Cohere | Jina | Voyage) && matches!(to, Cohere | Jina | Voyage | Bedrock | BedrockCohere)
        }
        Operation::CountTokens => {
            matches!(from, Anthropic | OpenAiResponses | Gemini | Vertex | Bedrock)
                && matches!(to, Anthropic | OpenAiResponses | Gemini | Vertex | Bedrock)
        }
        Operation::Images => matches!(from, OpenAi) && matches!(to, Vertex | Gemini),
        Operation::Chat
        | Operation::Completions
        | Operation::Speech
        | Operation::Transcription
        | Operation::Moderation
        | Operation::Models
        | Operation::Stored => false,
    }
}

/// Turns a client's request in the form `from` into one of the form `to`.
///
/// # Errors
/// What is wrong with the request, or that the provider cannot do it, or (`NotSupported`) that there is no such translation.
pub fn translate_request(
    operation: Operation,
    from: Wire,
    to: Wire,
    body: &[u8],
    call: &Call<'_>,
    target: &Target<'_>,
) -> Result<Translated, ApiError> {
    match operation {
        Operation::Embeddings => embeddings::translate_request(from, to, body, call, target),
        Operation::Rerank => rerank::translate_request(from, to, body, target),
        Operation::CountTokens => count_tokens::translate_request(from, to, body, call, target),
        Operation::Images => images::translate_request(from, to, body),
        _ => Err(no_translation(operation)),
    }
}

/// Turns a provider's whole answer (status 2xx) of the form `from` into one of the form `to` for the client.
///
/// # Errors
/// The error that it reports in spite of its status, or that it cannot be read.
pub fn translate_answer(
    operation: Operation,
    from: Wire,
    to: Wire,
    body: &[u8],
    asked: &Asked,
    about: &About<'_>,
) -> Result<Answered, ApiError> {
    match operation {
        Operation::Embeddings => embeddings::translate_answer(from, to, body, asked, about),
        Operation::Rerank => rerank::translate_answer(from, to, body, asked, about),
        Operation::CountTokens => count_tokens::translate_answer(from, to, body),
        Operation::Images => images::translate_answer(from, to, body, about),
        _ => Err(no_translation(operation)),
    }
}

fn no_translation(operation: Operation) -> ApiError {
    ApiError::new(ErrorKind::NotSupported, format!("{operation} cannot be translated between these two APIs"))
}

/// The caller's error of a field that the provider cannot do without, or cannot do.
fn refused(field: &str, why: impl Into<String>) -> ApiError {
    ApiError::new(ErrorKind::InvalidRequest, why).with_param(field)
}

/// That the provider's answer lacks what makes it one.
fn no_answer(what: &str) -> ApiError {
    ApiError::new(ErrorKind::UpstreamError, format!("the provider's answer has no {what}"))
}

#[cfg(test)]
mod tests;
