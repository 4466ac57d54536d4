//! Images from a text: OpenAI's `/v1/images/generations` (<https://platform.openai.com/docs/api-reference/images/create>) by
//! Vertex AI's Imagen (`:predict`, <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/imagen-api>) and by
//! Gemini's image models (`:generateContent`, <https://ai.google.dev/gemini-api/docs/image-generation>).
//!
//! Both give images in base64 only, and sizes as a shape: the nearest one is asked for.

use super::{About, Answered, Asked, Translated, Wire, no_answer, no_translation, refused};
use crate::codec::wire::{read_answer as read_body, read_request, wire};
use crate::common::{Json, Losses, Str};
use crate::dialect::{Dialect, Operation};
use crate::error::{ApiError, ErrorKind};
use crate::json;
use crate::usage::Usage;
use crate::usage::report::Report;

wire! {
    struct Body<'a> {
        "model" => model: Str<'a>,
        "prompt" => prompt: Option<Str<'a>>,
        "n" => n: Option<u64>,
        "size" => size: Option<Str<'a>>,
        "quality" => quality: Option<Str<'a>>,
        "response_format" => response_format: Option<Str<'a>>,
        "output_format" => output_format: Option<Str<'a>>,
        "output_compression" => output_compression: Option<u64>,
        "background" => background: Option<Str<'a>>,
        "moderation" => moderation: Option<Str<'a>>,
        "style" => style: Option<Str<'a>>,
        "user" => user: Option<Str<'a>>,
        "stream" => stream: Option<bool>,
        "partial_images" => partial_images: Option<u64>,
    }

    struct ImagenAnswer<'a> {
        "predictions" => predictions: Vec<Prediction<'a>>,
    }

    struct Prediction<'a> {
        "bytesBase64Encoded" => bytes: Option<Str<'a>>,
        "prompt" => prompt: Option<Str<'a>>,
    }

    struct GeminiAnswer<'a> {
        "candidates" => candidates: Vec<Candidate<'a>>,
        "usageMetadata" => usage: Option<Json<'a>>,
    }

    struct Candidate<'a> {
        "content" => content: Content<'a>,
    }

    struct Content<'a> {
        "parts" => parts: Vec<Part<'a>>,
    }

    struct Part<'a> {
        "inlineData" => data: Option<Blob<'a>>,
        "thought" => thought: bool,
    }

    struct Blob<'a> {
        "data" => data: Option<Str<'a>>,
    }
}

pub(super) fn translate_request(from: Wire, to: Wire, body: &[u8]) -> Result<Translated, ApiError> {
    if from != Wire::OpenAi {
        return Err(no_translation(Operation::Images));
    }
    let body: Body<'_> = read_request(body)?;
    let mut losses = Losses::default();
    let body = match to {
        Wire::Vertex => write_imagen(&body, &mut losses)?,
        Wire::Gemini => write_gemini(&body, &mut losses)?,
        _ => return Err(no_translation(Operation::Images)),
    };
    Ok(Translated { body, losses, asked: Asked::default() })
}

/// The prompt, and a note of what neither of Google's APIs can do. The model stands in the path.
fn prompt<'b>(body: &'b Body<'_>, losses: &mut Losses) -> Result<&'b str, ApiError> {
    let Body {
        model: _,
        prompt,
        n: _,
        size: _,
        quality,
        response_format,
        output_format: _,
        output_compression: _,
        background,
        moderation,
        style,
        user,
        stream,
        partial_images,
        rest,
    } = body;
    if *stream == Some(true) {
        return Err(refused("stream", "this model's images cannot be streamed"));
    }
    let said = |value: &Option<Str<'_>>| value.as_deref().is_some_and(|value| value != "auto");
    losses.note_if(said(quality), "quality");
    losses.note_if(response_format.as_deref() == Some("url"), "response_format");
    losses.note_if(said(background), "background");
    losses.note_if(said(moderation), "moderation");
    losses.note_if(style.is_some(), "style");
    losses.note_if(user.is_some(), "user");
    losses.note_if(partial_images.is_some_and(|count| count > 0), "partial_images");
    losses.note_extras("", rest);
    prompt.as_deref().filter(|prompt| !prompt.is_empty()).ok_or_else(|| refused("prompt", "the prompt is missing"))
}

/// A shape that can be asked for, and the size in pixels that comes of it.
type Shape = (&'static str, (u32, u32));

const IMAGEN: [Shape; 5] =
    [("1:1", (1024, 1024)), ("3:4", (896, 1280)), ("4:3", (1280, 896)), ("9:16", (768, 1408)), ("16:9", (1408, 768))];

const GEMINI: [Shape; 10] = [
    ("1:1", (1024, 1024)),
    ("2:3", (832, 1248)),
    ("3:2", (1248, 832)),
    ("3:4", (864, 1184)),
    ("4:3", (1184, 864)),
    ("4:5", (896, 1152)),
    ("5:4", (1152, 896)),
    ("9:16", (768, 1344)),
    ("16:9", (1344, 768)),
    ("21:9", (1536, 672)),
];

/// The shape nearest to a size; any other number of pixels is a loss.
fn shape(size: Option<&str>, shapes: &[Shape], losses: &mut Losses) -> Result<Option<&'static str>, ApiError> {
    let Some(size) = size.filter(|size| *size != "auto") else { return Ok(None) };
    let wanted = size.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let wanted: (u32, u32) = wanted
        .filter(|(width, height)| *width > 0 && *height > 0)
        .ok_or_else(|| refused("size", "a size is width x height in pixels, or auto"))?;
    let tilt = |(width, height): (u32, u32)| (f64::from(width) / f64::from(height)).ln();
    let distance = |shape: &&Shape| (tilt(shape.1) - tilt(wanted)).abs();
    let nearest = shapes.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
    losses.note_if(nearest.is_none_or(|(_, pixels)| *pixels != wanted), "size");
    Ok(nearest.map(|(name, _)| *name))
}

fn write_imagen(body: &Body<'_>, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    let prompt = prompt(body, losses)?;
    let shape = shape(body.size.as_deref(), &IMAGEN, losses)?;
    let mime = match body.output_format.as_deref() {
        Some("jpeg") => Some("image/jpeg"),
        Some("png") => Some("image/png"),
        None => None,
        Some(_) => {
            losses.note("output_format");
            None
        }
    };
    let compression = body.output_compression.filter(|_| mime == Some("image/jpeg"));
    losses.note_if(body.output_compression.is_some() && compression.is_none(), "output_compression");
    Ok(json::body(|o| {
        o.each("instances", [prompt], |out, prompt| json::object(out, |o| o.field("prompt", prompt)));
        o.object("parameters", |o| {
            // Imagen's own default is four.
            o.field("sampleCount", &body.n.unwrap_or(1));
            o.optional("aspectRatio", shape);
            if let Some(mime) = mime {
                o.object("outputOptions", |o| {
                    o.field("mimeType", mime);
                    o.optional("compressionQuality", compression.as_ref());
                });
            }
        });
    }))
}

fn write_gemini(body: &Body<'_>, losses: &mut Losses) -> Result<Vec<u8>, ApiError> {
    let prompt = prompt(body, losses)?;
    let shape = shape(body.size.as_deref(), &GEMINI, losses)?;
    losses.note_if(body.n.is_some_and(|n| n > 1), "n");
    losses.note_if(body.output_format.as_deref().is_some_and(|format| format != "png"), "output_format");
    losses.note_if(body.output_compression.is_some(), "output_compression");
    Ok(json::body(|o| {
        o.each("contents", [prompt], |out, prompt| {
            json::object(out, |o| {
                o.field("role", "user");
                o.each("parts", [prompt], |out, prompt| json::object(out, |o| o.field("text", prompt)));
            });
        });
        o.object("generationConfig", |o| {
            o.field("responseModalities", &["IMAGE"]);
            if let Some(shape) = shape {
                o.object("imageConfig", |o| o.field("aspectRatio", shape));
            }
        });
    }))
}

/// An image in base64, and the prompt as the provider rewrote it.
type Image<'a> = (Str<'a>, Option<Str<'a>>);

pub(super) fn translate_answer(from: Wire, to: Wire, body: &[u8], about: &About<'_>) -> Result<Answered, ApiError> {
    if to != Wire::OpenAi {
        return Err(no_translation(Operation::Images));
    }
    let (images, usage) = match from {
        Wire::Vertex => (read_imagen(body)?, None),
        Wire::Gemini => read_gemini(body)?,
        _ => return Err(no_translation(Operation::Images)),
    };
    if images.is_empty() {
        // Google leaves out what its filters took away, and says no more.
        return Err(ApiError::new(
            ErrorKind::ContentFilter,
            "the provider gave no image: its filters declined the prompt",
        ));
    }
    let body = write_answer(&images, usage.as_ref(), about);
    let usage = Usage { images: Some(images.len() as u64), ..usage.unwrap_or_default() };
    Ok(Answered { body, losses: Losses::default(), usage: Some(usage) })
}

fn read_imagen(body: &[u8]) -> Result<Vec<Image<'_>>, ApiError> {
    let ImagenAnswer { predictions, rest: _ } = read_body(body)?;
    Ok(predictions.into_iter().filter_map(|image| Some((image.bytes?, image.prompt))).collect())
}

fn read_gemini(body: &[u8]) -> Result<(Vec<Image<'_>>, Option<Usage>), ApiError> {
    let GeminiAnswer { candidates, usage, rest } = read_body(body)?;
    if candidates.is_empty() && usage.is_none() && rest.is_empty() {
        return Err(no_answer("candidates"));
    }
    // Thinking models draw drafts, too.
    let parts = candidates.into_iter().flat_map(|candidate| candidate.content.parts).filter(|part| !part.thought);
    let images = parts.filter_map(|part| Some((part.data?.data?, None))).collect();
    let report = usage.map(|usage| Report::read(Dialect::Gemini, Operation::Images, &usage.to_tree()));
    Ok((images, report.and_then(|report| report.usage())))
}

fn write_answer(images: &[Image<'_>], usage: Option<&Usage>, about: &About<'_>) -> Vec<u8> {
    json::body(|o| {
        o.field("created", &about.now);
        o.each("data", images, |out, (image, prompt)| {
            json::object(out, |o| {
                o.field("b64_json", image);
                o.optional("revised_prompt", prompt.as_ref());
            });
        });
        if let Some(usage) = usage {
            o.object("usage", |o| {
                let (input, output) = (usage.total_input().unwrap_or(0), usage.total_output().unwrap_or(0));
                let images = usage.image_input.unwrap_or(0);
                o.field("total_tokens", &input.saturating_add(output));
                o.field("input_tokens", &input);
                o.field("output_tokens", &output);
                o.object("input_tokens_details", |o| {
                    o.field("text_tokens", &input.saturating_sub(images));
                    o.field("image_tokens", &images);
                });
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked(to: Wire, body: &Value) -> (Value, String) {
        let translated = translate_request(Wire::OpenAi, to, body.to_string().as_bytes()).unwrap();
        (serde_json::from_slice(&translated.body).unwrap(), translated.losses.header_value())
    }

    fn answer(from: Wire, body: &Value) -> Result<(Value, Option<Usage>), ApiError> {
        let about = About { now: 7, ..About::default() };
        let answered = translate_answer(from, Wire::OpenAi, body.to_string().as_bytes(), &about)?;
        Ok((serde_json::from_slice(&answered.body).unwrap(), answered.usage))
    }

    #[test]
    fn a_full_request_for_both() {
        let full = json!({"model": "x", "prompt": "a cat", "n": 2, "size": "1536x1024", "quality": "low",
            "response_format": "url", "output_format": "jpeg", "output_compression": 80, "background": "transparent",
            "moderation": "low", "style": "vivid", "user": "u", "partial_images": 1, "new": 1});
        let lost = "quality,response_format,background,moderation,style,user,partial_images,new,size";
        assert_eq!(
            asked(Wire::Vertex, &full),
            (
                json!({"instances": [{"prompt": "a cat"}], "parameters": {"sampleCount": 2, "aspectRatio": "4:3",
                    "outputOptions": {"mimeType": "image/jpeg", "compressionQuality": 80}}}),
                lost.into()
            )
        );
        assert_eq!(
            asked(Wire::Gemini, &full),
            (
                json!({"contents": [{"role": "user", "parts": [{"text": "a cat"}]}],
                    "generationConfig": {"responseModalities": ["IMAGE"], "imageConfig": {"aspectRatio": "3:2"}}}),
                format!("{lost},n,output_format,output_compression")
            )
        );
        let plain = json!({"model": "x", "prompt": "a cat", "size": "1024x1024", "quality": "auto"});
        for wire in [Wire::Vertex, Wire::Gemini] {
            assert_eq!(asked(wire, &plain).1, "");
        }
    }

    #[test]
    fn bad_requests_are_refused() {
        for body in [
            json!({"model": "x"}),
            json!({"prompt": "a", "size": "big"}),
            json!({"prompt": "a", "size": "0x1"}),
            json!({"prompt": "a", "stream": true}),
            json!({"prompt": 1}),
        ] {
            let body = body.to_string();
            for to in [Wire::Vertex, Wire::Gemini] {
                let error = translate_request(Wire::OpenAi, to, body.as_bytes()).unwrap_err();
                assert_eq!(error.status, 400, "{body}");
            }
        }
    }

    #[test]
    fn answers_of_both() {
        let imagen = json!({"predictions": [{"bytesBase64Encoded": "QQ==", "mimeType": "image/png", "prompt": "A cat."},
            {"raiFilteredReason": "no"}]});
        assert_eq!(
            answer(Wire::Vertex, &imagen).unwrap(),
            (
                json!({"created": 7, "data": [{"b64_json": "QQ==", "revised_prompt": "A cat."}]}),
                Some(Usage { images: Some(1), ..Usage::default() })
            )
        );
        let gemini = json!({"candidates": [{"content": {"parts": [{"thought": true, "inlineData": {"data": "WA=="}},
            {"text": "Here:"}, {"inlineData": {"mimeType": "image/png", "data": "QQ=="}}]}}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1290, "totalTokenCount": 1293,
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]}});
        let (body, usage) = answer(Wire::Gemini, &gemini).unwrap();
        let usage = usage.unwrap();
        assert_eq!((usage.image_output, usage.images), (Some(1290), Some(1)));
        assert_eq!(body["data"], json!([{"b64_json": "QQ=="}]));
        assert_eq!(body["usage"]["total_tokens"], 1293);
        for (wire, body) in [
            (Wire::Vertex, json!({})),
            (Wire::Gemini, json!({"promptFeedback": {"blockReason": "SAFETY"}})),
            (Wire::Gemini, json!({"candidates": [{"finishReason": "IMAGE_SAFETY"}]})),
        ] {
            assert_eq!(answer(wire, &body).unwrap_err().kind, ErrorKind::ContentFilter, "{body}");
        }
        assert_eq!(answer(Wire::Gemini, &json!({})).unwrap_err().kind, ErrorKind::UpstreamError);
    }
}
