//! The operations that are no conversation: images, moderation, ranking, models, stored responses.

use ai_gateway_providers::Dialect;
use serde_json::{Value, json};

use super::behaviour::BEHAVIOURS;
use super::encode::{CREATED, Meta, Responses};
use super::failure::Failure;
use super::form::Form;
use super::script::words;

/// A red pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";

/// `POST /images/…`: <https://platform.openai.com/docs/api-reference/images>.
pub(super) fn images(request: &Value, form: Option<&Form>) -> Value {
    let field = |name: &str| {
        request
            .get(name)
            .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
            .or_else(|| form?.get(name).map(str::to_owned))
    };
    let n: usize = field("n").and_then(|n| n.parse().ok()).unwrap_or(1).clamp(1, 10);
    let by_url = field("response_format").as_deref() == Some("url");
    let prompt = field("prompt").unwrap_or_default();
    let data: Vec<Value> = (0..n)
        .map(
            |i| if by_url { json!({"url": format!("https://mock.invalid/{i}.png")}) } else { json!({"b64_json": PNG}) },
        )
        .collect();
    let tokens = words(&prompt);
    let made = 100 * n as u64;
    json!({"created": CREATED, "data": data, "usage": {
        "input_tokens": tokens, "output_tokens": made, "total_tokens": tokens + made,
        "input_tokens_details": {"text_tokens": tokens, "image_tokens": 0},
    }})
}

/// `POST /moderations`: <https://platform.openai.com/docs/api-reference/moderations>. Texts with the word `flag` are flagged.
pub(super) fn moderations(meta: &Meta, request: &Value) -> Value {
    let one = |text: &str| {
        let flagged = text.contains("flag");
        let score = if flagged { 0.9 } else { 0.01 };
        json!({
            "flagged": flagged,
            "categories": {"harassment": false, "hate": false, "sexual": false, "self-harm": false, "violence": flagged},
            "category_scores": {"harassment": 0.01, "hate": 0.01, "sexual": 0.01, "self-harm": 0.01, "violence": score},
            "category_applied_input_types": {"violence": ["text"]},
        })
    };
    let results: Vec<Value> = match request.get("input") {
        Some(Value::String(text)) => vec![one(text)],
        Some(Value::Array(all)) if all.iter().all(Value::is_string) => {
            all.iter().filter_map(Value::as_str).map(one).collect()
        }
        Some(parts) => vec![one(&parts.to_string())],
        None => vec![one("")],
    };
    json!({"id": meta.id("modr-"), "model": meta.model, "results": results})
}

/// `POST /rerank` as Cohere, Jina, Voyage and vLLM have it: documents by the number of words they share with the query.
pub(super) fn rerank(meta: &Meta, request: &Value) -> Result<Value, Failure> {
    let query = request.get("query").and_then(Value::as_str).unwrap_or_default();
    let Some(documents) = request.get("documents").and_then(Value::as_array) else {
        return Err(Failure::bad_request("'documents' must be an array"));
    };
    let with_documents = request.get("return_documents").and_then(Value::as_bool).unwrap_or(false);
    let text = |document: &Value| {
        document.as_str().or_else(|| document.get("text").and_then(Value::as_str)).unwrap_or_default().to_owned()
    };
    let asked: Vec<&str> = query.split_whitespace().collect();
    let mut results: Vec<(usize, f64)> = documents
        .iter()
        .enumerate()
        .map(|(i, document)| {
            let text = text(document);
            let shared =
                asked.iter().filter(|word| text.split_whitespace().any(|w| w.eq_ignore_ascii_case(word))).count();
            (i, shared as f64 / asked.len().max(1) as f64)
        })
        .collect();
    results.sort_by(|a, b| b.1.total_cmp(&a.1));
    let top = request.get("top_n").or_else(|| request.get("top_k")).and_then(Value::as_u64).unwrap_or(u64::MAX);
    results.truncate(usize::try_from(top).unwrap_or(usize::MAX));
    let results: Vec<Value> = results
        .into_iter()
        .map(|(index, relevance_score)| {
            if with_documents {
                json!({"index": index, "relevance_score": relevance_score, "document": {"text": text(&documents[index])}})
            } else {
                json!({"index": index, "relevance_score": relevance_score})
            }
        })
        .collect();
    let tokens = words(query) + documents.iter().map(|document| words(&text(document))).sum::<u64>();
    Ok(json!({
        "id": meta.id("rerank-"), "model": meta.model, "results": results,
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
        "usage": {"total_tokens": tokens},
    }))
}

/// The number of tokens that a request has: <https://docs.anthropic.com/en/api/messages-count-tokens>,
/// <https://ai.google.dev/api/tokens>, <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html>.
pub(super) fn tokens(dialect: Dialect, tokens: u64) -> Value {
    match dialect {
        Dialect::Gemini => json!({
            "totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}],
        }),
        Dialect::Bedrock => json!({"inputTokens": tokens}),
        _ => json!({"input_tokens": tokens}),
    }
}

/// `GET /models` and `GET /models/{id}`, in OpenAI's, Anthropic's or Gemini's shape.
pub(super) fn models(id: &str, dialect: Dialect) -> Value {
    let one = |id: &str| match dialect {
        Dialect::Anthropic => {
            json!({"type": "model", "id": id, "display_name": id, "created_at": "2023-11-14T22:13:20Z"})
        }
        Dialect::Gemini => json!({
            "name": format!("models/{id}"), "version": "001", "displayName": id, "inputTokenLimit": 128_000,
            "outputTokenLimit": 8192,
            "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens", "embedContent"],
        }),
        _ => json!({"id": id, "object": "model", "created": CREATED, "owned_by": "mock"}),
    };
    if !id.is_empty() {
        return one(id);
    }
    let all: Vec<Value> = BEHAVIOURS.iter().map(|(name, _)| one(name)).collect();
    match dialect {
        Dialect::Anthropic => {
            let ids = (BEHAVIOURS[0].0, BEHAVIOURS[BEHAVIOURS.len() - 1].0);
            json!({"data": all, "has_more": false, "first_id": ids.0, "last_id": ids.1})
        }
        Dialect::Gemini => json!({"models": all}),
        _ => json!({"object": "list", "data": all}),
    }
}

/// `GET`, `DELETE` and the actions of `/responses/{id}`; the mock stores nothing and knows every id.
pub(super) fn stored_response(meta: &Meta, method: &http::Method, rest: &str) -> Value {
    let (id, action) = rest.split_once('/').unwrap_or((rest, ""));
    match action {
        "input_items" => {
            let item = json!({"type": "message", "id": "msg_mock_input", "status": "completed", "role": "user",
                "content": [{"type": "input_text", "text": "stored"}]});
            json!({"object": "list", "data": [item], "first_id": "msg_mock_input", "last_id": "msg_mock_input", "has_more": false})
        }
        "cancel" => Responses::stored(meta, id, "cancelled"),
        _ if method == http::Method::DELETE => json!({"id": id, "object": "response", "deleted": true}),
        _ => Responses::stored(meta, id, "completed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta { number: 1, model: "m".into(), include_usage: false, encrypted: false }
    }

    #[test]
    fn ranking_puts_the_best_first() {
        let request = json!({"query": "red car", "documents": ["a dog", "the red car"], "top_n": 1});
        let answer = rerank(&meta(), &request).unwrap();
        assert_eq!(answer["results"], json!([{"index": 1, "relevance_score": 1.0}]));
    }
}
