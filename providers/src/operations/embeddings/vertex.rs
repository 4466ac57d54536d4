//! Vertex AI's `:predict` with `text-embedding-*`, `text-multilingual-embedding-*` and `gemini-embedding-001`:
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api>. How many instances a call
//! may have depends on the model, and is left to Vertex to say.
//!
//! Not kept of an answer: `statistics.truncated`, `metadata.billableCharacterCount`.

use super::super::Wire;
use super::model::{Answer, Input, Request, Truncate};
use super::task::Task;
use super::vectors::{Form, Vector};
use crate::codec::wire::{read_answer as read_body, read_request as read_asked, wire};
use crate::common::{Losses, Str};
use crate::error::ApiError;
use crate::json;
use crate::operations::refused;
use crate::usage::Usage;

wire! {
    struct Body<'a> {
        "instances" => instances: Vec<Instance<'a>>,
        "parameters" => parameters: Parameters<'a>,
    }

    struct Instance<'a> {
        "content" => content: Option<Str<'a>>,
        "task_type" | "taskType" => task_type: Option<Str<'a>>,
        "title" => title: Option<Str<'a>>,
    }

    struct Parameters<'a> {
        "outputDimensionality" => dimensions: Option<u64>,
        "autoTruncate" => truncate: Option<bool>,
    }

    struct AnswerBody<'a> {
        "predictions" => predictions: Vec<Prediction<'a>>,
    }

    struct Prediction<'a> {
        "embeddings" => embeddings: Embeddings<'a>,
    }

    struct Embeddings<'a> {
        "values" => values: Option<Vector<'a>>,
        "statistics" => statistics: Statistics<'a>,
    }

    struct Statistics<'a> {
        "token_count" => token_count: Option<f64>,
    }
}

pub(super) fn read_request(body: &[u8]) -> Result<Request<'_>, ApiError> {
    let Body { instances, parameters, rest } = read_asked(body)?;
    let mut request = Request::new(Wire::Vertex);
    for Instance { content, task_type, title, rest } in instances {
        let content = content.filter(|_| rest.is_empty());
        let content = content.ok_or_else(|| refused("instances", "an instance is content, task_type and title"))?;
        let task = task_type.map(|word| Task::read(Wire::Vertex, word));
        request.inputs.push(Input { task, title, ..Input::text(content) });
    }
    if !parameters.rest.is_empty() {
        return Err(refused("parameters", "parameters has a field that is not known"));
    }
    request.dimensions = parameters.dimensions;
    request.truncate = parameters.truncate.map(Truncate::of);
    request.extras = rest;
    Ok(request)
}

pub(super) fn write_request(request: &Request<'_>, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    let extras = request.own_extras(Wire::Vertex, losses);
    let Request {
        wire: _,
        model: _,
        inputs,
        alone: _,
        dimensions,
        forms: _,
        truncate,
        max_tokens: _,
        normalize: _,
        user: _,
        extras: _,
    } = request;
    request.note_unsaid(losses);
    let texts = inputs.iter().map(Input::only_text).collect::<Result<Vec<_>, _>>()?;
    let truncate = truncate.map(|truncate| truncate.flag(losses));
    Ok(json::body(|o| {
        o.each("instances", inputs.iter().zip(&texts), |out, (input, text)| {
            json::object(out, |o| {
                o.field("content", text);
                o.optional("task_type", input.task.as_ref().and_then(|task| task.word(Wire::Vertex, losses)));
                o.optional("title", input.title.as_ref());
            });
        });
        if dimensions.is_some() || truncate.is_some() {
            o.object("parameters", |o| {
                o.optional("outputDimensionality", dimensions.as_ref());
                o.optional("autoTruncate", truncate.as_ref());
            });
        }
        o.extras(extras);
    }))
}

pub(super) fn read_answer(body: &[u8]) -> Result<Answer<'_>, ApiError> {
    let AnswerBody { predictions, rest: _ } = read_body(body)?;
    let mut tokens: Option<u64> = None;
    let mut vectors = Vec::with_capacity(predictions.len());
    for prediction in predictions {
        // Some models count in fractions: 4.0.
        let count = prediction.embeddings.statistics.token_count.map(|count| count.clamp(0.0, 1e15));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let count = count.map(|count| count as u64);
        tokens = tokens.max(count.map(|count| tokens.unwrap_or(0).saturating_add(count)));
        vectors.extend(prediction.embeddings.values);
    }
    let usage = tokens.map(|tokens| Usage { input: Some(tokens), ..Usage::default() });
    Ok(Answer { id: None, sets: vec![(Form::Float, vectors)], usage })
}

pub(super) fn write_answer(answer: &Answer<'_>, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    let vectors = answer.only(Form::Float, false, losses)?;
    // Counts stand at each vector here; what is known is their sum.
    let counts = (0..vectors.len()).map(|at| if at == 0 { answer.input_tokens() } else { 0 });
    Ok(json::body(|o| {
        o.each("predictions", vectors.iter().zip(counts), |out, (vector, count)| {
            json::object(out, |o| {
                o.object("embeddings", |o| {
                    o.field("values", vector);
                    o.object("statistics", |o| {
                        o.field("token_count", &count);
                        o.field("truncated", &false);
                    });
                });
            });
        });
    }))
}
