//! `POST /v1/embeddings`: OpenAI (<https://platform.openai.com/docs/api-reference/embeddings/create>), Azure, and those that
//! extend it: Voyage (<https://docs.voyageai.com/reference/embeddings-api>), Jina (<https://api.jina.ai/redoc>), NVIDIA.
//! A request to any of them may say what another one knows, so that a client can ask for a task through OpenAI's SDK.
//!
//! Not kept of an answer: `object`, `index`; vectors come in the order of the inputs.

use super::super::{About, Asked, Wire, refused};
use super::model::{Answer, Input, Part, Request, Truncate};
use super::task::Task;
use super::vectors::{Form, Vector};
use crate::codec::wire::{read_answer as read_body, read_request as read_asked, wire};
use crate::common::{Json, Losses, MediaSource, Str};
use crate::dialect::{Dialect, Operation};
use crate::error::ApiError;
use crate::json::{self, Object};
use crate::usage::report::Report;

wire! {
    struct Body<'a> {
        "model" => model: Str<'a>,
        "input" => input: Json<'a>,
        "encoding_format" => encoding_format: Option<Str<'a>>,
        "user" => user: Option<Str<'a>>,
        "dimensions" => dimensions: Option<u64>,
        "output_dimension" => output_dimension: Option<u64>,
        "output_dtype" => output_dtype: Option<Str<'a>>,
        "embedding_type" => embedding_type: Option<Str<'a>>,
        "input_type" => input_type: Option<Str<'a>>,
        "task" => task: Option<Str<'a>>,
        "truncation" => truncation: Option<bool>,
        "truncate" => truncate: Option<Json<'a>>,
        "normalized" => normalized: Option<bool>,
    }

    /// An input of Jina's multimodal models, and how some write a text with its title.
    struct Item<'a> {
        "text" => text: Option<Str<'a>>,
        "content" => content: Option<Str<'a>>,
        "image" => image: Option<Str<'a>>,
        "title" => title: Option<Str<'a>>,
    }

    struct AnswerBody<'a> {
        "id" => id: Option<Str<'a>>,
        "data" => data: Vec<Datum<'a>>,
        "usage" => usage: Option<Json<'a>>,
    }

    struct Datum<'a> {
        "index" => index: Option<u64>,
        "embedding" => embedding: Option<Vector<'a>>,
    }
}

pub(super) fn read_request(wire: Wire, body: &[u8]) -> Result<Request<'_>, ApiError> {
    let body: Body<'_> = read_asked(body)?;
    let mut request = Request::new(wire);
    read_inputs(&body.input, &mut request)?;
    let task = match (body.input_type, body.task) {
        (Some(word), _) => Some(Task::read(if wire == Wire::Jina { Wire::Voyage } else { wire }, word)),
        (None, Some(word)) => Some(Task::read(Wire::Jina, word)),
        (None, None) => None,
    };
    request.set_task(task.as_ref());
    for word in [body.output_dtype, body.embedding_type, body.encoding_format].into_iter().flatten() {
        let form =
            Form::parse(&word).ok_or_else(|| refused("encoding_format", "there is no such encoding of vectors"))?;
        if !request.forms.contains(&form) {
            request.forms.push(form);
        }
    }
    // "base64" alone names the spelling of floats; beside another form it names that form's.
    if request.forms.contains(&Form::Base64) && request.forms.len() > 1 {
        request.forms.retain(|form| *form != Form::Float);
    }
    request.truncate = match (body.truncation, &body.truncate) {
        (Some(truncate), _) => Some(Truncate::of(truncate)),
        (None, Some(json)) => match (json.read::<bool>(), json.read::<Str<'_>>()) {
            (Ok(truncate), _) => Some(Truncate::of(truncate)),
            (_, Ok(word)) => Some(Truncate::parse(&word).ok_or_else(|| refused("truncate", "NONE, START or END"))?),
            _ => return Err(refused("truncate", "truncate is a word, or true or false")),
        },
        (None, None) => None,
    };
    request.model = body.model;
    request.dimensions = body.dimensions.or(body.output_dimension);
    request.normalize = body.normalized;
    request.user = body.user;
    request.extras = body.rest;
    Ok(request)
}

/// A text, tokens, or a list of texts, token lists and objects.
fn read_inputs<'a>(input: &Json<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    let wrong = || refused("input", "input is a text, a list of tokens, or a list of these");
    let text = |json: &Json<'a>| Some(Input::text(json.read::<Str<'_>>().ok()?.into_owned()));
    let json = input.get();
    if json.starts_with('"') {
        request.alone = true;
        request.inputs.push(text(input).ok_or_else(wrong)?);
        return Ok(());
    }
    let inside = json.strip_prefix('[').ok_or_else(wrong)?.trim_ascii_start();
    if inside.starts_with(|first: char| first.is_ascii_digit()) {
        request.alone = true;
        request.inputs.push(Input::of(Part::Tokens(input.clone())));
        return Ok(());
    }
    let items: Vec<Json<'_>> = input.read().map_err(|_| wrong())?;
    for item in items {
        let input = match item.get().as_bytes().first() {
            Some(b'"') => text(&item.into_owned()),
            Some(b'[') => Some(Input::of(Part::Tokens(item.into_owned()))),
            Some(b'{') => read_item(&item).ok(),
            _ => None,
        };
        request.inputs.push(input.ok_or_else(wrong)?);
    }
    Ok(())
}

fn read_item(item: &Json<'_>) -> Result<Input<'static>, ApiError> {
    let Item { text, content, image, title, rest } = read_asked(item.get().as_bytes())?;
    if !rest.is_empty() {
        return Err(refused("input", "an input has a field that is not known"));
    }
    let mut parts: Vec<_> = [text, content].into_iter().flatten().map(|text| Part::Text(text.into_owned())).collect();
    parts.extend(image.map(|image| Part::image(image.into_owned())));
    Ok(Input { parts, task: None, title: title.map(Str::into_owned) })
}

pub(super) fn write_request(
    wire: Wire,
    request: &Request<'_>,
    model: &str,
    losses: &mut Losses,
) -> Result<Vec<u8>, ApiError> {
    let extras = request.own_extras(wire, losses);
    let Request {
        wire: from,
        model: _,
        inputs,
        alone,
        dimensions,
        forms,
        truncate,
        max_tokens,
        normalize,
        user,
        extras: _,
    } = request;
    losses.note_if(max_tokens.is_some(), "max_tokens");
    // To an imitator of OpenAI a client of OpenAI may say more than OpenAI knows.
    let own = *from == wire;
    let task = request.task(losses);
    losses.note_if(wire == Wire::OpenAi && !own && task.is_some(), "input_type");
    let task = task.filter(|_| wire != Wire::OpenAi || own);
    let numbers = forms.first().map(|form| form.numbers());
    let base64 = forms.contains(&Form::Base64);
    let inputs = inputs.iter().map(|input| write_input(input, wire, losses)).collect::<Result<Vec<_>, _>>()?;
    Ok(json::body(|o| {
        o.field("model", model);
        match &inputs[..] {
            [input] if *alone => o.field("input", input),
            inputs => o.field("input", inputs),
        }
        match wire {
            Wire::Voyage => {
                o.optional("input_type", task.and_then(|task| task.word(wire, losses)));
                o.optional("output_dimension", dimensions.as_ref());
                o.optional("output_dtype", numbers.filter(|form| *form != Form::Float).map(Form::as_str));
                o.optional("encoding_format", base64.then_some("base64"));
                o.optional("truncation", truncate.map(|truncate| truncate.flag(losses)).as_ref());
            }
            Wire::Jina => {
                o.optional("task", task.and_then(|task| task.word(wire, losses)));
                o.optional("dimensions", dimensions.as_ref());
                let form = if base64 { Some(Form::Base64) } else { numbers.filter(|form| *form != Form::Float) };
                losses.note_if(base64 && numbers != Some(Form::Float), "encoding_format");
                o.optional("embedding_type", form.map(Form::as_str));
                o.optional("normalized", normalize.as_ref());
                o.optional("truncate", truncate.map(|truncate| truncate.flag(losses)).as_ref());
            }
            _ => {
                o.optional("dimensions", dimensions.as_ref());
                // Without it OpenAI's own SDK would ask for base64, and the answer would be the other form.
                let spelling = if base64 { Some("base64") } else { numbers.map(|_| "float") };
                o.optional("encoding_format", spelling);
                losses.note_if(!own && numbers.is_some_and(|form| form != Form::Float), "embedding_types");
                o.optional("output_dtype", numbers.filter(|form| own && *form != Form::Float).map(Form::as_str));
                o.optional("input_type", task.and_then(|task| task.word(wire, losses)));
                match truncate {
                    Some(truncate) if own => o.field("truncate", truncate.as_str()),
                    // Too long is an error, there as here.
                    Some(Truncate::Never) | None => {}
                    Some(Truncate::Start | Truncate::End) => losses.note("truncate"),
                }
            }
        }
        if wire == Wire::OpenAi {
            o.optional("user", user.as_ref());
        }
        losses.note_if(wire != Wire::OpenAi && user.is_some(), "user");
        losses.note_if(wire != Wire::Jina && *normalize == Some(false), "normalize");
        let sorts = forms.iter().filter(|form| **form != Form::Base64).count();
        losses.note_if(!own && sorts > 1, "embedding_types");
        o.extras(extras);
    }))
}

fn write_input<'r>(input: &'r Input<'_>, wire: Wire, losses: &mut Losses) -> Result<Json<'r>, ApiError> {
    losses.note_if(input.title.is_some(), "title");
    match &input.parts[..] {
        [Part::Tokens(tokens)] if wire == Wire::OpenAi => Ok(tokens.borrowed()),
        [Part::Media(media)] if wire == Wire::Jina => {
            let image = match &media.source {
                MediaSource::Data(data) | MediaSource::Url(data) => Some(data),
                MediaSource::File(_) | MediaSource::Text(_) | MediaSource::Blocks(_) => None,
            };
            let image = image.ok_or_else(|| refused("input", "this model takes images at a URL or in base64"))?;
            Ok(Json::of(&std::collections::BTreeMap::from([("image", image)])))
        }
        _ => Ok(Json::of(&input.only_text()?)),
    }
}

pub(super) fn read_answer<'a>(body: &'a [u8], asked: &Asked) -> Result<Answer<'a>, ApiError> {
    let mut body: AnswerBody<'_> = read_body(body)?;
    // Answers are in order; an imitator's may not be.
    body.data.sort_by_key(|datum| datum.index);
    let form = asked.forms.first().map_or(Form::Float, |form| form.numbers());
    let usage = body.usage.map(|usage| Report::read(Dialect::OpenAiChat, Operation::Embeddings, &usage.to_tree()));
    Ok(Answer {
        id: body.id,
        sets: vec![(form, body.data.into_iter().filter_map(|datum| datum.embedding).collect())],
        usage: usage.and_then(|report| report.usage()),
    })
}

pub(super) fn write_answer(
    wire: Wire,
    answer: &Answer<'_>,
    asked: &Asked,
    about: &About<'_>,
    losses: &mut Losses,
) -> Result<Vec<u8>, ApiError> {
    let numbers = asked.forms.first().map_or(Form::Float, |form| form.numbers());
    let vectors = answer.only(numbers, asked.forms.contains(&Form::Base64), losses)?;
    let tokens = answer.input_tokens();
    Ok(json::body(|o| {
        o.field("object", "list");
        o.each("data", vectors.iter().enumerate(), |out, (index, vector)| {
            json::object(out, |o| {
                o.field("object", "embedding");
                o.field("index", &index);
                o.field("embedding", vector);
            });
        });
        o.field("model", about.model);
        o.object("usage", |o: &mut Object<'_>| {
            if wire != Wire::Voyage {
                o.field("prompt_tokens", &tokens);
            }
            o.field("total_tokens", &tokens);
        });
    }))
}
