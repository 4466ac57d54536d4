//! How the client wants the answer to be: the numbers of its request, in any dialect. No text of it.

use serde::{Deserialize, Serialize};
use serde_json::Number;

/// The numbers of a request that its span tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Parameters {
    /// Most output tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<Number>,
    /// Randomness.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Number>,
    /// Nucleus sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<Number>,
    /// Sampling from the best so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<Number>,
    /// Against repeating words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<Number>,
    /// Against repeating topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<Number>,
    /// For repeatable answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<Number>,
    /// How many answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<Number>,
    /// Length of embeddings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<Number>,
}

/// What the dialects call them. Two names of one dialect have two fields.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    max_tokens: Option<Number>,
    max_completion_tokens: Option<Number>,
    #[serde(alias = "maxOutputTokens", alias = "maxTokens")]
    max_output_tokens: Option<Number>,
    temperature: Option<Number>,
    #[serde(alias = "topP", alias = "p")]
    top_p: Option<Number>,
    #[serde(alias = "topK", alias = "k")]
    top_k: Option<Number>,
    #[serde(alias = "frequencyPenalty")]
    frequency_penalty: Option<Number>,
    #[serde(alias = "presencePenalty")]
    presence_penalty: Option<Number>,
    seed: Option<Number>,
    #[serde(alias = "candidateCount")]
    n: Option<Number>,
    #[serde(alias = "output_dimension", alias = "outputDimensionality")]
    dimensions: Option<Number>,
    /// Gemini's and Bedrock's.
    #[serde(alias = "generationConfig", alias = "generation_config", alias = "inferenceConfig")]
    inner: Option<Box<Wire>>,
}

impl Parameters {
    /// Those of a JSON body; none of what is no JSON, or has something else than numbers there.
    pub fn of(body: &[u8]) -> Self {
        let mut wire: Wire = serde_json::from_slice(body).unwrap_or_default();
        if let Some(inner) = wire.inner.take() {
            wire = *inner;
        }
        let Wire {
            max_tokens,
            max_completion_tokens,
            max_output_tokens,
            temperature,
            top_p,
            top_k,
            frequency_penalty,
            presence_penalty,
            seed,
            n,
            dimensions,
            inner: _,
        } = wire;
        Self {
            max_tokens: max_completion_tokens.or(max_tokens).or(max_output_tokens),
            temperature,
            top_p,
            top_k,
            frequency_penalty,
            presence_penalty,
            seed,
            n,
            dimensions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Parameters;

    fn of(body: &str) -> String {
        serde_json::to_string(&Parameters::of(body.as_bytes())).unwrap()
    }

    #[test]
    fn every_dialect_has_its_names() {
        let chat =
            r#"{"max_tokens":5,"max_completion_tokens":9,"temperature":0.5,"seed":1,"messages":[{"seed":"x"}],"n":2}"#;
        assert_eq!(of(chat), r#"{"max_tokens":9,"temperature":0.5,"seed":1,"n":2}"#);
        assert_eq!(of(r#"{"max_tokens":5,"top_k":3,"top_p":0.1}"#), r#"{"max_tokens":5,"top_p":0.1,"top_k":3}"#);
        let gemini =
            r#"{"contents":[],"generationConfig":{"topP":0.1,"topK":2,"maxOutputTokens":7,"candidateCount":1}}"#;
        assert_eq!(of(gemini), r#"{"max_tokens":7,"top_p":0.1,"top_k":2,"n":1}"#);
        assert_eq!(of(r#"{"inferenceConfig":{"maxTokens":7,"topP":1}}"#), r#"{"max_tokens":7,"top_p":1}"#);
        assert_eq!(of(r#"{"p":0.2,"k":4,"temperature":null}"#), r#"{"top_p":0.2,"top_k":4}"#);
        for odd in ["", "[]", "{", r#"{"temperature":"hot, sk-secret"}"#, r#"{"max_tokens":1,"max_tokens":2}"#] {
            assert_eq!(of(odd), "{}", "{odd}");
        }
    }
}
