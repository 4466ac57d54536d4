//! `POST /v2/embed` (<https://docs.cohere.com/reference/embed>), and the same without a model in Bedrock's InvokeModel
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html>, `model-parameters-embed-v4`).
//!
//! Not kept of an answer: `texts`, `images`, `response_type`, `meta.api_version`. Clients of v2 get none but the last two.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, de::MapAccess, de::SeqAccess, de::Visitor};

use super::super::{About, Asked, Wire, refused};
use super::model::{Answer, Input, Part, Request, Truncate};
use super::task::Task;
use super::vectors::{Form, Vector};
use crate::codec::wire::{read_answer as read_body, read_request as read_asked, wire};
use crate::common::{Json, Losses, MediaKind, MediaSource, Str};
use crate::dialect::{Dialect, Operation};
use crate::error::ApiError;
use crate::json;
use crate::usage::Usage;
use crate::usage::report::Report;

wire! {
    struct Body<'a> {
        "model" => model: Str<'a>,
        "texts" => texts: Vec<Str<'a>>,
        "images" => images: Vec<Str<'a>>,
        "inputs" => inputs: Vec<Item<'a>>,
        "input_type" => input_type: Option<Str<'a>>,
        "embedding_types" => embedding_types: Vec<Str<'a>>,
        "output_dimension" => output_dimension: Option<u64>,
        "max_tokens" => max_tokens: Option<u64>,
        "truncate" => truncate: Option<Str<'a>>,
    }

    struct Item<'a> {
        "content" => content: Vec<ItemPart<'a>>,
    }

    struct ItemPart<'a> {
        "type" => kind: Str<'a>,
        "text" => text: Option<Str<'a>>,
        "image_url" => image_url: Option<ImageUrl<'a>>,
    }

    struct ImageUrl<'a> {
        "url" => url: Str<'a>,
    }

    struct AnswerBody<'a> {
        "id" => id: Option<Str<'a>>,
        "embeddings" => embeddings: Embeddings<'a>,
        "meta" => meta: Option<Json<'a>>,
    }

    struct ByType<'a> {
        "float" => float: Option<Vec<Vector<'a>>>,
        "base64" => base64: Option<Vec<Vector<'a>>>,
        "int8" => int8: Option<Vec<Vector<'a>>>,
        "uint8" => uint8: Option<Vec<Vector<'a>>>,
        "binary" => binary: Option<Vec<Vector<'a>>>,
        "ubinary" => ubinary: Option<Vec<Vector<'a>>>,
    }
}

/// By type, or, where no types were asked for, a list of floats.
#[derive(Debug, Clone)]
enum Embeddings<'a> {
    Floats(Vec<Vector<'a>>),
    ByType(ByType<'a>),
}

impl Default for Embeddings<'_> {
    fn default() -> Self {
        Self::Floats(Vec::new())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Embeddings<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Embeddings<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("vectors, or lists of vectors by type")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Embeddings::Floats)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                ByType::deserialize(MapAccessDeserializer::new(map)).map(Embeddings::ByType)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

pub(super) fn read_request(wire: Wire, body: &[u8]) -> Result<Request<'_>, ApiError> {
    let body: Body<'_> = read_asked(body)?;
    let mut request = Request::new(wire);
    request.inputs.extend(body.texts.into_iter().map(Input::text));
    request.inputs.extend(body.images.into_iter().map(|url| Input::of(Part::image(url))));
    for item in body.inputs {
        request.inputs.push(read_item(item)?);
    }
    request.set_task(body.input_type.map(|word| Task::read(wire, word)).as_ref());
    for word in body.embedding_types {
        let known = Form::parse(&word).ok_or_else(|| refused("embedding_types", "there is no such embedding type"));
        request.forms.push(known?);
    }
    let truncate = |word: Str<'_>| Truncate::parse(&word).ok_or_else(|| refused("truncate", "NONE, START or END"));
    request.truncate = body.truncate.map(truncate).transpose()?;
    request.model = body.model;
    request.dimensions = body.output_dimension;
    request.max_tokens = body.max_tokens;
    request.extras = body.rest;
    Ok(request)
}

fn read_item(item: Item<'_>) -> Result<Input<'_>, ApiError> {
    let Item { content, rest } = item;
    let mut input = Input::default();
    for ItemPart { kind: _, text, image_url, rest } in content {
        if text.is_none() && image_url.is_none() || !rest.is_empty() {
            return Err(refused("inputs", "an input has a part that is neither text nor image_url"));
        }
        input.parts.extend(text.map(Part::Text));
        input.parts.extend(image_url.map(|image| Part::image(image.url)));
    }
    if !rest.is_empty() {
        return Err(refused("inputs", "an input has a field that is not known"));
    }
    Ok(input)
}

/// What an input is for this form.
enum Kind<'r> {
    Text(Str<'r>),
    Image(String),
}

fn kinds<'r>(input: &'r Input<'_>) -> Result<Vec<Kind<'r>>, ApiError> {
    let kind = |part: &'r Part<'_>| match (part.as_text()?, part) {
        (Some(text), _) => Ok(Kind::Text(text)),
        (None, Part::Media(media)) => match (&media.source, media.kind) {
            (MediaSource::Url(url), MediaKind::Image) => Ok(Kind::Image(url.to_string())),
            (MediaSource::Data(data), MediaKind::Image) => {
                let mime = media.mime.as_deref().unwrap_or("image/png");
                Ok(Kind::Image(format!("data:{mime};base64,{data}")))
            }
            _ => Err(refused("input", "this model embeds texts and images only")),
        },
        (None, Part::Text(_) | Part::Tokens(_)) => Err(refused("input", "there is nothing to embed")),
    };
    input.parts.iter().map(kind).collect()
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
        alone: _,
        dimensions,
        forms,
        truncate,
        max_tokens,
        normalize,
        user,
        extras: _,
    } = request;
    losses.note_if(user.is_some(), "user");
    losses.note_if(*normalize == Some(false), "normalize");
    losses.note_if(inputs.iter().any(|input| input.title.is_some()), "title");
    let task = request.task(losses).and_then(|task| task.word(wire, losses));
    let inputs = inputs.iter().map(kinds).collect::<Result<Vec<_>, _>>()?;
    let texts: Option<Vec<_>> =
        inputs.iter().map(|kinds| if let [Kind::Text(text)] = &kinds[..] { Some(text) } else { None }).collect();
    let images: Option<Vec<_>> =
        inputs.iter().map(|kinds| if let [Kind::Image(url)] = &kinds[..] { Some(url) } else { None }).collect();
    // Every model since v3 demands a purpose; vectors without one are made to be searched.
    let default = if images.is_some() { "image" } else { "search_document" };
    Ok(json::body(|o| {
        if wire == Wire::Cohere {
            o.field("model", model);
        }
        match (&texts, &images) {
            (Some(texts), _) => o.field("texts", texts),
            (None, Some(images)) => o.field("images", images),
            (None, None) => o.each("inputs", &inputs, |out, kinds| {
                json::object(out, |o| {
                    o.each("content", kinds, |out, kind| {
                        json::object(out, |o| match kind {
                            Kind::Text(text) => {
                                o.field("type", "text");
                                o.field("text", text);
                            }
                            Kind::Image(url) => {
                                o.field("type", "image_url");
                                o.object("image_url", |o| o.field("url", url));
                            }
                        });
                    });
                });
            }),
        }
        o.field("input_type", task.unwrap_or(default));
        let forms = types(*from, forms);
        // v2 demands the types; on Bedrock the first models know none but the default.
        if !forms.is_empty() || wire == Wire::Cohere {
            let words: Vec<_> = forms.iter().map(|form| form.as_str()).collect();
            o.field("embedding_types", if words.is_empty() { &["float"][..] } else { &words });
        }
        o.optional("output_dimension", dimensions.as_ref());
        o.optional("max_tokens", max_tokens.as_ref());
        o.optional("truncate", truncate.map(Truncate::as_str));
        o.extras(extras);
    }))
}

/// The types to ask for: of clients that speak of a spelling, the numbers; lists, which are then spelt as wanted.
fn types(from: Wire, forms: &[Form]) -> Vec<Form> {
    if matches!(from, Wire::Cohere | Wire::BedrockCohere) {
        return forms.to_vec();
    }
    let numbers: Vec<_> = forms.iter().map(|form| form.numbers()).take(1).filter(|form| *form != Form::Float).collect();
    numbers
}

pub(super) fn read_answer<'a>(body: &'a [u8], about: &About<'_>) -> Result<Answer<'a>, ApiError> {
    let AnswerBody { id, embeddings, meta, rest: _ } = read_body(body)?;
    let sets = match embeddings {
        Embeddings::Floats(vectors) => vec![(Form::Float, vectors)],
        Embeddings::ByType(ByType { float, base64, int8, uint8, binary, ubinary, rest: _ }) => {
            let sets = [
                (Form::Float, float.or(base64)),
                (Form::Int8, int8),
                (Form::Uint8, uint8),
                (Form::Binary, binary),
                (Form::Ubinary, ubinary),
            ];
            sets.into_iter().filter_map(|(form, vectors)| Some((form, vectors?))).collect()
        }
    };
    let report = meta.map(|meta| Report::read(Dialect::Cohere, Operation::Embeddings, &meta.to_tree()));
    let of_header = about.input_tokens.map(|tokens| Usage { input: Some(tokens), ..Usage::default() });
    Ok(Answer { id, sets, usage: report.and_then(|report| report.usage()).or(of_header) })
}

pub(super) fn write_answer(
    wire: Wire,
    answer: &Answer<'_>,
    asked: &Asked,
    about: &About<'_>,
) -> Result<Vec<u8>, ApiError> {
    let wanted = if asked.forms.is_empty() { &[Form::Float][..] } else { &asked.forms };
    let mut sets = Vec::new();
    for form in wanted {
        // What the provider does not have was noted when it was asked for.
        let Some((of, vectors)) = answer.sets.iter().find(|(of, _)| *of == form.numbers()) else { continue };
        let spelt = vectors.iter().map(|vector| vector.spelt(*of, *form == Form::Base64));
        sets.push((form.as_str(), spelt.collect::<Result<Vec<_>, _>>()?));
    }
    let usage = answer.usage.unwrap_or_default();
    Ok(json::body(|o| {
        o.field("id", answer.id.as_deref().unwrap_or(about.request_id));
        o.object("embeddings", |o| sets.iter().for_each(|(form, vectors)| o.field(form, vectors)));
        if wire == Wire::Cohere {
            o.object("meta", |o| {
                o.object("api_version", |o| o.field("version", "2"));
                o.object("billed_units", |o| {
                    let images = usage.image_input.unwrap_or(0);
                    o.field("input_tokens", &(answer.input_tokens() - images));
                    o.optional("image_tokens", usage.image_input.as_ref());
                });
            });
        }
        o.field("response_type", "embeddings_by_type");
    }))
}
