//! Gemini's `:embedContent` and `:batchEmbedContents` (<https://ai.google.dev/api/embeddings>); Vertex AI has the former, too,
//! with `autoTruncate` (<https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api>).
//!
//! Not kept of an answer: `truncated`, and which modality the tokens were of.

use super::super::{Wire, refused};
use super::model::{Answer, Input, Part, Request, Truncate};
use super::task::Task;
use super::vectors::{Form, Vector};
use crate::codec::Platform;
use crate::codec::wire::{read_answer as read_body, read_request as read_asked, wire};
use crate::common::{Json, Losses, Media, MediaKind, MediaSource, Str};
use crate::dialect::{Dialect, Operation};
use crate::error::ApiError;
use crate::json::{self, Object};
use crate::model_name::gemini_resource;
use crate::usage::report::Report;

wire! {
    struct Batch<'a> {
        "requests" => requests: Vec<Body<'a>>,
    }

    /// Google's servers take the names of the protocol buffers, too.
    struct Body<'a> {
        "model" => model: Str<'a>,
        "content" => content: Content<'a>,
        "taskType" | "task_type" => task_type: Option<Str<'a>>,
        "title" => title: Option<Str<'a>>,
        "outputDimensionality" | "output_dimensionality" => dimensions: Option<u64>,
        "autoTruncate" => truncate: Option<bool>,
    }

    struct Content<'a> {
        "role" => role: Option<Str<'a>>,
        "parts" => parts: Vec<ContentPart<'a>>,
    }

    struct ContentPart<'a> {
        "text" => text: Option<Str<'a>>,
        "inlineData" | "inline_data" => data: Option<Blob<'a>>,
        "fileData" | "file_data" => file: Option<Blob<'a>>,
    }

    struct Blob<'a> {
        "mimeType" | "mime_type" => mime: Option<Str<'a>>,
        "data" => data: Option<Str<'a>>,
        "fileUri" | "file_uri" => uri: Option<Str<'a>>,
    }

    struct AnswerBody<'a> {
        "embedding" => embedding: Option<Values<'a>>,
        "embeddings" => embeddings: Vec<Values<'a>>,
        "usageMetadata" => usage: Option<Json<'a>>,
    }

    struct Values<'a> {
        "values" => values: Option<Vector<'a>>,
    }
}

pub(super) fn read_request(body: &[u8]) -> Result<Request<'_>, ApiError> {
    let mut request = Request::new(Wire::Gemini);
    read_into(&mut request, read_asked(body)?)?;
    Ok(request)
}

pub(super) fn read_batch(body: &[u8]) -> Result<Request<'_>, ApiError> {
    let Batch { requests, rest } = read_asked(body)?;
    let mut request = Request::new(Wire::GeminiBatch);
    request.extras = rest;
    let mut first = None;
    for one in requests {
        let dimensions = one.dimensions;
        if *first.get_or_insert(dimensions) != dimensions {
            return Err(refused("outputDimensionality", "the requests of a batch must want vectors of one length"));
        }
        if !one.rest.is_empty() {
            return Err(refused("requests", "a request of the batch has a field that is not known"));
        }
        read_into(&mut request, one)?;
    }
    Ok(request)
}

/// Adds an input.
fn read_into<'a>(request: &mut Request<'a>, body: Body<'a>) -> Result<(), ApiError> {
    let Body { model, content, task_type, title, dimensions, truncate, rest } = body;
    let Content { role: _, parts, rest: mut unknown } = content;
    let mut input = Input { title, ..Input::default() };
    input.task = task_type.map(|word| Task::read(Wire::Gemini, word));
    for ContentPart { text, data, file, rest } in parts {
        unknown.extend(rest);
        input.parts.extend(text.map(Part::Text));
        for blob in [data, file].into_iter().flatten() {
            input.parts.push(Part::Media(Box::new(read_blob(blob)?)));
        }
    }
    if !unknown.is_empty() {
        return Err(refused("content", "the content has a part that is not known"));
    }
    request.inputs.push(input);
    if request.model.is_empty() {
        request.model = model.strip_prefix("models/").map_or_else(|| model.clone(), |name| name.to_owned().into());
    }
    request.dimensions = dimensions;
    request.truncate = truncate.map(Truncate::of).or(request.truncate);
    request.extras.extend(rest);
    Ok(())
}

fn read_blob(blob: Blob<'_>) -> Result<Media<'_>, ApiError> {
    let Blob { mime, data, uri, rest: _ } = blob;
    let source = match (data, uri) {
        (Some(data), _) => MediaSource::Data(data),
        (None, Some(uri)) => MediaSource::Url(uri),
        (None, None) => return Err(refused("content", "a part has neither data nor fileUri")),
    };
    let kind = mime.as_deref().map_or(MediaKind::Image, MediaKind::of_mime);
    Ok(Media { kind, source, mime, ..Media::default() })
}

pub(super) fn write_request(
    request: &Request<'_>,
    platform: Platform,
    losses: &mut Losses,
) -> Result<Vec<u8>, ApiError> {
    let input = request.single()?;
    let extras = request.own_extras(Wire::Gemini, losses);
    request.note_unsaid(losses);
    check(input)?;
    let vertex = platform == Platform::Vertex;
    losses.note_if(!vertex && matches!(request.truncate, Some(Truncate::Start | Truncate::End)), "truncate");
    let truncate = request.truncate.filter(|_| vertex).map(|truncate| truncate.flag(losses));
    Ok(json::body(|o| {
        write_input(o, input, request.dimensions, losses);
        o.optional("autoTruncate", truncate.as_ref());
        o.extras(extras);
    }))
}

pub(super) fn write_batch(request: &Request<'_>, model: &str, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    let extras = request.own_extras(Wire::GeminiBatch, losses);
    request.note_unsaid(losses);
    request.inputs.iter().try_for_each(check)?;
    losses.note_if(matches!(request.truncate, Some(Truncate::Start | Truncate::End)), "truncate");
    let name = gemini_resource(model);
    Ok(json::body(|o| {
        o.each("requests", &request.inputs, |out, input| {
            json::object(out, |o| {
                o.field("model", &name);
                write_input(o, input, request.dimensions, losses);
            });
        });
        o.extras(extras);
    }))
}

fn check(input: &Input<'_>) -> Result<(), ApiError> {
    for part in &input.parts {
        let carried = match part {
            Part::Media(media) => matches!(media.source, MediaSource::Data(_) | MediaSource::Url(_)),
            Part::Text(_) | Part::Tokens(_) => part.as_text()?.is_some(),
        };
        if !carried {
            return Err(refused("input", "this model takes media in base64 or at a URL"));
        }
    }
    Ok(())
}

fn write_input(o: &mut Object<'_>, input: &Input<'_>, dimensions: Option<u64>, losses: &mut Losses) {
    o.object("content", |o| {
        o.each("parts", &input.parts, |out, part| {
            json::object(out, |o| match part {
                Part::Media(media) => {
                    let (field, key, bytes) = match &media.source {
                        MediaSource::Url(uri) => ("fileData", "fileUri", &**uri),
                        MediaSource::Data(data) => ("inlineData", "data", &**data),
                        MediaSource::File(_) | MediaSource::Text(_) | MediaSource::Blocks(_) => return,
                    };
                    o.object(field, |o| {
                        o.field("mimeType", media.mime.as_deref().unwrap_or("image/png"));
                        o.field(key, bytes);
                    });
                }
                Part::Text(_) | Part::Tokens(_) => {
                    // Checked before.
                    if let Ok(Some(text)) = part.as_text() {
                        o.field("text", &text);
                    }
                }
            });
        });
    });
    o.optional("taskType", input.task.as_ref().and_then(|task| task.word(Wire::Gemini, losses)));
    o.optional("title", input.title.as_ref());
    o.optional("outputDimensionality", dimensions.as_ref());
}

pub(super) fn read_answer(body: &[u8]) -> Result<Answer<'_>, ApiError> {
    let AnswerBody { embedding, embeddings, usage, rest: _ } = read_body(body)?;
    let vectors = embedding.into_iter().chain(embeddings).filter_map(|values| values.values).collect();
    let report = usage.map(|usage| Report::read(Dialect::Gemini, Operation::Embeddings, &usage.to_tree()));
    Ok(Answer { id: None, sets: vec![(Form::Float, vectors)], usage: report.and_then(|report| report.usage()) })
}

pub(super) fn write_answer(answer: &Answer<'_>, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    let vectors = answer.only(Form::Float, false, losses)?;
    Ok(json::body(|o| {
        o.object("embedding", |o| o.optional("values", vectors.first()));
        write_usage(o, answer);
    }))
}

pub(super) fn write_batch_answer(answer: &Answer<'_>, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    let vectors = answer.only(Form::Float, false, losses)?;
    Ok(json::body(|o| {
        o.each("embeddings", &vectors, |out, vector| json::object(out, |o| o.field("values", vector)));
        write_usage(o, answer);
    }))
}

fn write_usage(o: &mut Object<'_>, answer: &Answer<'_>) {
    if answer.usage.is_some() {
        o.object("usageMetadata", |o| o.field("promptTokenCount", &answer.input_tokens()));
    }
}
