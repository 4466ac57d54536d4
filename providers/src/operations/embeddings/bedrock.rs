//! Amazon's models in Bedrock's InvokeModel, one input per call: Titan
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html>, `-mm` for images) and Nova
//! (<https://docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html>). Neither has a form for several.

use super::super::{About, Wire, refused};
use super::model::{Answer, Input, Part, Request, Truncate};
use super::task::Task;
use super::vectors::{Form, Vector};
use crate::codec::wire::{read_answer as read_body, read_request as read_asked, wire};
use crate::common::{Losses, Media, MediaKind, MediaSource, Str, plain_mime};
use crate::error::ApiError;
use crate::json::{self, Object};
use crate::usage::Usage;

wire! {
    struct Titan<'a> {
        "inputText" => text: Option<Str<'a>>,
        "inputImage" => image: Option<Str<'a>>,
        "dimensions" => dimensions: Option<u64>,
        "normalize" => normalize: Option<bool>,
        "embeddingTypes" => types: Vec<Str<'a>>,
        "embeddingConfig" => config: Option<TitanConfig<'a>>,
    }

    struct TitanConfig<'a> {
        "outputEmbeddingLength" => dimensions: Option<u64>,
    }

    struct TitanAnswer<'a> {
        "embedding" => embedding: Option<Vector<'a>>,
        "embeddingsByType" => by_type: Option<TitanByType<'a>>,
        "inputTextTokenCount" => tokens: Option<u64>,
    }

    struct TitanByType<'a> {
        "float" => float: Option<Vector<'a>>,
        "binary" => binary: Option<Vector<'a>>,
    }

    struct Nova<'a> {
        "taskType" => task_type: Option<Str<'a>>,
        "singleEmbeddingParams" => params: NovaParams<'a>,
    }

    struct NovaParams<'a> {
        "embeddingPurpose" => purpose: Option<Str<'a>>,
        "embeddingDimension" => dimensions: Option<u64>,
        "text" => text: Option<NovaText<'a>>,
        "image" => image: Option<NovaMedia<'a>>,
    }

    struct NovaText<'a> {
        "value" => value: Option<Str<'a>>,
        "truncationMode" => truncation: Option<Str<'a>>,
    }

    struct NovaMedia<'a> {
        "format" => format: Option<Str<'a>>,
        "source" => source: NovaSource<'a>,
    }

    struct NovaSource<'a> {
        "bytes" => bytes: Option<Str<'a>>,
        "s3Location" => s3: Option<S3Location<'a>>,
    }

    struct S3Location<'a> {
        "uri" => uri: Str<'a>,
    }

    struct NovaAnswer<'a> {
        "embeddings" => embeddings: Vec<NovaVector<'a>>,
    }

    struct NovaVector<'a> {
        "embedding" => embedding: Option<Vector<'a>>,
    }
}

const SINGLE: &str = "SINGLE_EMBEDDING";

pub(super) fn read_titan(body: &[u8]) -> Result<Request<'_>, ApiError> {
    let Titan { text, image, dimensions, normalize, types, config, rest } = read_asked(body)?;
    let mut request = Request::new(Wire::BedrockTitan);
    let mut input = Input::default();
    input.parts.extend(text.map(Part::Text));
    input.parts.extend(image.map(|data| picture(MediaSource::Data(data), None)));
    request.inputs.push(input);
    for word in types {
        request.forms.push(Form::parse(&word).ok_or_else(|| refused("embeddingTypes", "float or binary"))?);
    }
    request.dimensions = dimensions.or(config.and_then(|config| config.dimensions));
    request.normalize = normalize;
    request.extras = rest;
    Ok(request)
}

fn picture<'a>(source: MediaSource<'a>, mime: Option<Str<'a>>) -> Part<'a> {
    Part::Media(Box::new(Media { kind: MediaKind::Image, source, mime, ..Media::default() }))
}

pub(super) fn write_titan(request: &Request<'_>, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    let input = request.single()?;
    let extras = request.own_extras(Wire::BedrockTitan, losses);
    let Request {
        wire: _,
        model: _,
        inputs: _,
        alone: _,
        dimensions,
        forms,
        truncate,
        max_tokens,
        normalize,
        user,
        extras: _,
    } = request;
    let Input { parts, task, title } = input;
    losses.note_if(task.is_some(), "input_type");
    losses.note_if(title.is_some(), "title");
    losses.note_if(matches!(truncate, Some(Truncate::Start | Truncate::End)), "truncate");
    losses.note_if(max_tokens.is_some(), "max_tokens");
    losses.note_if(user.is_some(), "user");
    let (mut text, mut image) = (Str::default(), None);
    for part in parts {
        match (part.as_text()?, part) {
            (Some(more), _) if text.is_empty() => text = more,
            (None, Part::Media(media)) if image.is_none() => match (&media.source, media.kind) {
                (MediaSource::Data(data), MediaKind::Image) => image = Some(data),
                _ => return Err(refused("input", "this model takes images in base64 only")),
            },
            _ => return Err(refused("input", "this model takes one text, one image, or one of each")),
        }
    }
    let numbers: Vec<_> = forms.iter().map(|form| form.numbers()).collect();
    let unknown = |form: &Form| !matches!(form, Form::Float | Form::Binary);
    losses.note_if(numbers.iter().any(unknown), "embedding_types");
    let types: Vec<_> = numbers.iter().filter(|form| !unknown(form)).map(|form| form.as_str()).collect();
    Ok(json::body(|o| {
        if !text.is_empty() || image.is_none() {
            o.field("inputText", &text);
        }
        if let Some(image) = image {
            o.field("inputImage", image);
            if let Some(dimensions) = dimensions {
                o.object("embeddingConfig", |o| o.field("outputEmbeddingLength", dimensions));
            }
        } else {
            o.optional("dimensions", dimensions.as_ref());
            o.optional("normalize", normalize.as_ref());
            // The first Titan knows floats only, and no field that asks for them.
            if types.contains(&"binary") || (request.wire == Wire::BedrockTitan && !types.is_empty()) {
                o.field("embeddingTypes", &types);
            }
        }
        o.extras(extras);
    }))
}

pub(super) fn read_titan_answer(body: &[u8]) -> Result<Answer<'_>, ApiError> {
    let TitanAnswer { embedding, by_type, tokens, rest: _ } = read_body(body)?;
    let TitanByType { float, binary, rest: _ } = by_type.unwrap_or_default();
    let sets = [(Form::Float, float.or(embedding)), (Form::Binary, binary)];
    let sets = sets.into_iter().filter_map(|(form, vector)| Some((form, vec![vector?]))).collect();
    let usage = tokens.map(|tokens| Usage { input: Some(tokens), ..Usage::default() });
    Ok(Answer { id: None, sets, usage })
}

pub(super) fn write_titan_answer(answer: &Answer<'_>, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    let vectors = answer.only(Form::Float, false, losses)?;
    Ok(json::body(|o| {
        o.optional("embedding", vectors.first());
        o.object("embeddingsByType", |o| {
            for (form, vectors) in &answer.sets {
                // Lists: Titan and Nova know no base64.
                let list = vectors.first().and_then(|vector| vector.spelt(*form, false).ok());
                o.optional(form.as_str(), list.as_ref());
            }
        });
        o.field("inputTextTokenCount", &answer.input_tokens());
    }))
}

pub(super) fn read_nova(body: &[u8]) -> Result<Request<'_>, ApiError> {
    let Nova { task_type, params, rest } = read_asked(body)?;
    let NovaParams { purpose, dimensions, text, image, rest: unknown } = params;
    if task_type.is_some_and(|task| task != SINGLE) || !unknown.is_empty() {
        return Err(refused("taskType", "only single embeddings of texts and images can be translated"));
    }
    let mut request = Request::new(Wire::BedrockNova);
    let mut input = Input::default();
    if let Some(NovaText { value, truncation, rest: _ }) = text {
        let value = value.ok_or_else(|| refused("text.value", "the text is missing"))?;
        input.parts.push(Part::Text(value));
        let truncate =
            |word: Str<'_>| Truncate::parse(&word).ok_or_else(|| refused("truncationMode", "NONE, START or END"));
        request.truncate = truncation.map(truncate).transpose()?;
    }
    if let Some(NovaMedia { format, source, rest: _ }) = image {
        let source = match (source.bytes, source.s3) {
            (Some(bytes), _) => MediaSource::Data(bytes),
            (None, Some(s3)) => MediaSource::Url(s3.uri),
            (None, None) => return Err(refused("image.source", "the image is missing")),
        };
        input.parts.push(picture(source, format.map(|format| format!("image/{format}").into())));
    }
    input.task = purpose.map(|word| Task::read(Wire::BedrockNova, word));
    request.inputs.push(input);
    request.dimensions = dimensions;
    request.extras = rest;
    Ok(request)
}

pub(super) fn write_nova(request: &Request<'_>, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    let input = request.single()?;
    let extras = request.own_extras(Wire::BedrockNova, losses);
    let Request {
        wire: _,
        model: _,
        inputs: _,
        alone: _,
        dimensions,
        forms: _,
        truncate,
        max_tokens: _,
        normalize: _,
        user: _,
        extras: _,
    } = request;
    let Input { parts, task, title } = input;
    losses.note_if(title.is_some(), "title");
    request.note_unsaid(losses);
    let [part] = &parts[..] else { return Err(refused("input", "this model takes one text or one image")) };
    let text = part.as_text()?;
    let media = match part {
        Part::Media(media) if media.kind == MediaKind::Image => Some(media),
        Part::Media(_) => return Err(refused("input", "only texts and images can be embedded")),
        Part::Text(_) | Part::Tokens(_) => None,
    };
    let source = match media.map(|media| &media.source) {
        Some(MediaSource::Data(data)) => Some(("bytes", data)),
        Some(MediaSource::Url(uri)) if uri.starts_with("s3://") => Some(("s3Location", uri)),
        Some(_) => return Err(refused("input", "this model takes images in base64 or in S3")),
        None => None,
    };
    losses.note_if(media.is_some() && truncate.is_some(), "truncate");
    let purpose = task.as_ref().and_then(|task| task.word(Wire::BedrockNova, losses)).unwrap_or("GENERIC_INDEX");
    Ok(json::body(|o| {
        o.field("taskType", SINGLE);
        o.object("singleEmbeddingParams", |o: &mut Object<'_>| {
            o.field("embeddingPurpose", purpose);
            o.optional("embeddingDimension", dimensions.as_ref());
            if let Some(text) = &text {
                o.object("text", |o| {
                    // The field is required. OpenAI, too, refuses what is too long.
                    o.field("truncationMode", truncate.unwrap_or(Truncate::Never).as_str());
                    o.field("value", text);
                });
            }
            if let (Some(media), Some((key, bytes))) = (media, source) {
                o.object("image", |o| {
                    let mime = plain_mime(media.mime.as_deref().unwrap_or("image/png"));
                    o.field("format", mime.strip_prefix("image/").unwrap_or(&mime));
                    o.object("source", |o| match key {
                        "bytes" => o.field(key, bytes),
                        _ => o.object(key, |o| o.field("uri", bytes)),
                    });
                });
            }
        });
        o.extras(extras);
    }))
}

pub(super) fn read_nova_answer<'a>(body: &'a [u8], about: &About<'_>) -> Result<Answer<'a>, ApiError> {
    let NovaAnswer { embeddings, rest: _ } = read_body(body)?;
    let vectors = embeddings.into_iter().filter_map(|one| one.embedding).collect();
    let usage = about.input_tokens.map(|tokens| Usage { input: Some(tokens), ..Usage::default() });
    Ok(Answer { id: None, sets: vec![(Form::Float, vectors)], usage })
}

pub(super) fn write_nova_answer(answer: &Answer<'_>, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    let vectors = answer.only(Form::Float, false, losses)?;
    Ok(json::body(|o| {
        o.each("embeddings", &vectors, |out, vector| {
            json::object(out, |o| {
                o.field("embeddingType", "TEXT");
                o.field("embedding", vector);
            });
        });
    }))
}
