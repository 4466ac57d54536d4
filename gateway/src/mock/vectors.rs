//! Vectors for texts, in the shape of each dialect. The same text has the same vector.

use ai_gateway_providers::Dialect;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::encode::Meta;
use super::failure::Failure;
use super::script::words;

/// Answers a request of `dialect`; `verb` is Gemini's.
pub(super) fn embeddings(dialect: Dialect, meta: &Meta, verb: &str, request: &Value) -> Result<Value, Failure> {
    match (dialect, verb) {
        (Dialect::Gemini, "predict") => vertex(request),
        (Dialect::Gemini, "batchEmbedContents") => {
            let all = list(request, "requests")?.iter().map(gemini).collect::<Result<Vec<_>, _>>()?;
            Ok(json!({"embeddings": all}))
        }
        (Dialect::Gemini, _) => Ok(json!({"embedding": gemini(request)?})),
        (Dialect::Cohere, _) => cohere(meta, request),
        _ => openai(meta, request),
    }
}

fn list<'r>(request: &'r Value, name: &str) -> Result<&'r Vec<Value>, Failure> {
    let found = request.get(name).and_then(Value::as_array);
    found.ok_or_else(|| Failure::bad_request(format!("'{name}' must be an array")))
}

/// <https://platform.openai.com/docs/api-reference/embeddings>
fn openai(meta: &Meta, request: &Value) -> Result<Value, Failure> {
    let dimensions = dimensions(request, "dimensions");
    let base64 = request.get("encoding_format").and_then(Value::as_str) == Some("base64");
    let inputs: Vec<String> = match request.get("input") {
        Some(Value::String(text)) => vec![text.clone()],
        // One text as tokens, or several texts, each as a string or as tokens.
        Some(Value::Array(all)) if all.first().is_some_and(Value::is_number) => vec![json!(all).to_string()],
        Some(Value::Array(all)) => {
            all.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect()
        }
        _ => return Err(Failure::bad_request("'input' must be a string or an array")),
    };
    let tokens: u64 = inputs.iter().map(|text| words(text)).sum();
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = vector(text, dimensions);
            let embedding = if base64 { json!(base64_of(&vector)) } else { json!(vector) };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    Ok(json!({
        "object": "list", "data": data, "model": meta.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }))
}

/// A request of `embedContent`, or one of a batch: <https://ai.google.dev/api/embeddings>.
fn gemini(request: &Value) -> Result<Value, Failure> {
    let Some(parts) = request.pointer("/content/parts").and_then(Value::as_array) else {
        return Err(Failure::bad_request("'content' must have parts"));
    };
    let text: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
    Ok(json!({"values": vector(&text.concat(), dimensions(request, "outputDimensionality"))}))
}

/// <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api>
fn vertex(request: &Value) -> Result<Value, Failure> {
    let dimensions = request.get("parameters").map_or(8, |all| dimensions(all, "outputDimensionality"));
    let one = |instance: &Value| {
        let text = instance.get("content").and_then(Value::as_str).unwrap_or_default();
        json!({"embeddings": {
            "values": vector(text, dimensions), "statistics": {"token_count": words(text), "truncated": false},
        }})
    };
    Ok(json!({"predictions": list(request, "instances")?.iter().map(one).collect::<Vec<_>>()}))
}

/// <https://docs.cohere.com/reference/embed>
fn cohere(meta: &Meta, request: &Value) -> Result<Value, Failure> {
    let dimensions = dimensions(request, "output_dimension");
    let texts: Vec<String> = match request.get("inputs").and_then(Value::as_array) {
        Some(inputs) => {
            inputs.iter().map(|input| input["content"][0]["text"].as_str().unwrap_or_default().into()).collect()
        }
        None => list(request, "texts")?.iter().map(|text| text.as_str().unwrap_or_default().into()).collect(),
    };
    let asked = request.get("embedding_types").and_then(Value::as_array);
    let types = asked.map_or_else(|| vec!["float"], |all| all.iter().filter_map(Value::as_str).collect());
    let vectors = texts.iter().map(|text| vector(text, dimensions));
    let of_type = |kind: &str| -> Value {
        let write = |vector: Vec<f32>| match kind {
            "base64" => json!(base64_of(&vector)),
            "int8" => vector.iter().map(|x| (x * 127.0).round() as i64).collect(),
            "uint8" => vector.iter().map(|x| ((x + 1.0) * 127.0).round() as i64).collect(),
            _ => json!(vector),
        };
        vectors.clone().map(write).collect()
    };
    let embeddings: serde_json::Map<String, Value> =
        types.into_iter().map(|kind| (kind.to_owned(), of_type(kind))).collect();
    let tokens: u64 = texts.iter().map(|text| words(text)).sum();
    Ok(json!({
        "id": meta.id(""), "texts": texts, "embeddings": embeddings, "response_type": "embeddings_by_type",
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": tokens}},
    }))
}

fn dimensions(request: &Value, name: &str) -> u64 {
    request.get(name).and_then(Value::as_u64).unwrap_or(8).clamp(1, 16_384)
}

fn base64_of(vector: &[f32]) -> String {
    STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
}

/// Numbers from -1 to 1 that depend on nothing but the text.
fn vector(text: &str, dimensions: u64) -> Vec<f32> {
    // FNV-1a, then xorshift.
    let mut state = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (0..dimensions)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            f32::from(u16::try_from(state >> 48).unwrap_or(0)) / 32_767.5 - 1.0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_depend_on_the_text_alone() {
        let meta = Meta { number: 1, model: "m".into(), include_usage: false, encrypted: false };
        let answer = openai(&meta, &json!({"input": ["a b", "c", "a b"], "dimensions": 5})).unwrap();
        let of = |i: usize| answer["data"][i]["embedding"].clone();
        assert_eq!(of(0).as_array().unwrap().len(), 5);
        assert_eq!(of(0), of(2));
        assert_ne!(of(0), of(1));
        assert_eq!(answer["usage"]["prompt_tokens"], 5);
    }

    #[test]
    fn every_dialect_has_the_same_vectors() {
        let meta = Meta { number: 1, model: "m".into(), include_usage: false, encrypted: false };
        let of = |dialect, verb: &str, request: Value| embeddings(dialect, &meta, verb, &request).unwrap();
        let wanted = of(Dialect::OpenAiChat, "", json!({"input": "a b"}))["data"][0]["embedding"].clone();
        let content = json!({"content": {"parts": [{"text": "a b"}]}});
        let one = of(Dialect::Gemini, "embedContent", content.clone());
        assert_eq!(one["embedding"]["values"], wanted);
        let batch = of(Dialect::Gemini, "batchEmbedContents", json!({"requests": [content]}));
        assert_eq!(batch["embeddings"][0]["values"], wanted);
        let vertex = of(Dialect::Gemini, "predict", json!({"instances": [{"content": "a b"}]}));
        assert_eq!(vertex["predictions"][0]["embeddings"]["values"], wanted);
        let cohere = of(Dialect::Cohere, "", json!({"texts": ["a b"], "embedding_types": ["float", "int8"]}));
        assert_eq!(cohere["embeddings"]["float"][0], wanted);
        assert_eq!(cohere["embeddings"]["int8"][0].as_array().unwrap().len(), 8);
        assert_eq!(cohere["meta"]["billed_units"]["input_tokens"], 2);
    }
}
