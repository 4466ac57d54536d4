//! What is read: <https://ai.google.dev/api/generate-content>, and Vertex's
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse>.
//!
//! It is the JSON of protocol buffers: fields may be spelt in camel or in snake case, numbers may be strings, and a list of
//! one may be the one alone.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::{Serialize, Serializer};

pub(super) use super::super::wire::OneOrMany;
use super::super::wire::wire;
use crate::common::{Extras, Json, Str};

wire! {
    /// The body of a request.
    pub(super) struct Body<'a> {
        "contents" => contents: OneOrMany<Content<'a>>,
        "systemInstruction" | "system_instruction" => system: Option<Content<'a>>,
        "tools" => tools: Option<Json<'a>>,
        "toolConfig" | "tool_config" => tool_config: Option<ToolConfig<'a>>,
        "generationConfig" | "generation_config" => generation: GenerationConfig<'a>,
        "cachedContent" | "cached_content" => cached_content: Option<Str<'a>>,
        "labels" => labels: Option<Json<'a>>,
        "serviceTier" | "service_tier" => service_tier: Option<Str<'a>>,
        "store" => store: Option<bool>,
    }

    /// A turn.
    pub(super) struct Content<'a> {
        "role" => role: Option<Str<'a>>,
        "parts" => parts: OneOrMany<Part<'a>>,
    }

    /// A piece of a turn. What it says besides these kinds is in `rest`, under the kind's name.
    pub(super) struct Part<'a> {
        "text" => text: Option<Str<'a>>,
        "thought" => thought: bool,
        "thoughtSignature" | "thought_signature" => signature: Option<Str<'a>>,
        "inlineData" | "inline_data" => inline_data: Option<Blob<'a>>,
        "fileData" | "file_data" => file_data: Option<FileData<'a>>,
        "functionCall" | "function_call" => function_call: Option<FunctionCall<'a>>,
        "functionResponse" | "function_response" => function_response: Option<FunctionResponse<'a>>,
        "mediaResolution" | "media_resolution" => media_resolution: Option<Json<'a>>,
    }

    /// Bytes.
    pub(super) struct Blob<'a> {
        "mimeType" | "mime_type" => mime: Option<Str<'a>>,
        "data" => data: Str<'a>,
        "displayName" | "display_name" => name: Option<Str<'a>>,
    }

    /// An address.
    pub(super) struct FileData<'a> {
        "mimeType" | "mime_type" => mime: Option<Str<'a>>,
        "fileUri" | "file_uri" => uri: Str<'a>,
        "displayName" | "display_name" => name: Option<Str<'a>>,
    }

    /// A call.
    pub(super) struct FunctionCall<'a> {
        "id" => id: Option<Str<'a>>,
        "name" => name: Str<'a>,
        "args" => args: Option<Json<'a>>,
    }

    /// Its result.
    pub(super) struct FunctionResponse<'a> {
        "id" => id: Option<Str<'a>>,
        "name" => name: Str<'a>,
        "response" => response: Option<Json<'a>>,
        "parts" => parts: OneOrMany<Part<'a>>,
    }

    /// A function that may be called.
    pub(super) struct FunctionDeclaration<'a> {
        "name" => name: Str<'a>,
        "description" => description: Option<Str<'a>>,
        "parameters" => parameters: Option<Json<'a>>,
        "parametersJsonSchema" | "parameters_json_schema" => json_schema: Option<Json<'a>>,
    }

    /// What holds for tools.
    pub(super) struct ToolConfig<'a> {
        "functionCallingConfig" | "function_calling_config" => calling: Option<CallingConfig<'a>>,
    }

    /// Which functions must be called.
    pub(super) struct CallingConfig<'a> {
        "mode" => mode: Option<Str<'a>>,
        "allowedFunctionNames" | "allowed_function_names" => allowed: Vec<Str<'a>>,
    }

    /// How to answer.
    pub(super) struct GenerationConfig<'a> {
        "temperature" => temperature: Option<Num>,
        "topP" | "top_p" => top_p: Option<Num>,
        "topK" | "top_k" => top_k: Option<Num>,
        "candidateCount" | "candidate_count" => candidates: Option<Num>,
        "maxOutputTokens" | "max_output_tokens" => max_tokens: Option<Num>,
        "stopSequences" | "stop_sequences" => stop: Vec<Str<'a>>,
        "seed" => seed: Option<Num>,
        "presencePenalty" | "presence_penalty" => presence_penalty: Option<Num>,
        "frequencyPenalty" | "frequency_penalty" => frequency_penalty: Option<Num>,
        "responseLogprobs" | "response_logprobs" => response_logprobs: Option<bool>,
        "logprobs" => logprobs: Option<Num>,
        "responseMimeType" | "response_mime_type" => mime: Option<Str<'a>>,
        "responseSchema" | "response_schema" => schema: Option<Json<'a>>,
        "responseJsonSchema" | "response_json_schema" | "_responseJsonSchema" => json_schema: Option<Json<'a>>,
        "responseModalities" | "response_modalities" => modalities: Vec<Str<'a>>,
        "speechConfig" | "speech_config" => speech: Option<Json<'a>>,
        "thinkingConfig" | "thinking_config" => thinking: Option<ThinkingConfig<'a>>,
    }

    /// How much to think.
    pub(super) struct ThinkingConfig<'a> {
        "includeThoughts" | "include_thoughts" => show: Option<bool>,
        "thinkingBudget" | "thinking_budget" => budget: Option<Num>,
        "thinkingLevel" | "thinking_level" => level: Option<Str<'a>>,
    }

    /// An answer, or a chunk of one.
    pub(super) struct Answer<'a> {
        "candidates" => candidates: Vec<Candidate<'a>>,
        "promptFeedback" => feedback: Option<Json<'a>>,
        "usageMetadata" => usage: Option<Json<'a>>,
        "modelVersion" => model: Option<Str<'a>>,
        "responseId" => id: Option<Str<'a>>,
        "createTime" => created: Option<Str<'a>>,
        "error" => error: Option<Json<'a>>,
    }

    /// One of the answers.
    pub(super) struct Candidate<'a> {
        "content" => content: Content<'a>,
        "index" => index: Option<u32>,
        "finishReason" => finish: Option<Str<'a>>,
        "logprobsResult" => logprobs: Option<Logprobs<'a>>,
    }

    /// Probabilities.
    pub(super) struct Logprobs<'a> {
        "chosenCandidates" => chosen: Vec<Token<'a>>,
        "topCandidates" => top: Vec<TopTokens<'a>>,
    }

    /// The alternatives at one place.
    pub(super) struct TopTokens<'a> {
        "candidates" => candidates: Vec<Token<'a>>,
    }

    /// A token.
    pub(super) struct Token<'a> {
        "token" => token: Str<'a>,
        "logProbability" => logprob: Num,
    }
}

/// A number, in quotes or not.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Num(pub(super) f64);

impl Num {
    /// As a count; `None` if it is none.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    pub(super) fn count(self) -> Option<u64> {
        ((0.0..9e15).contains(&self.0) && self.0.fract() == 0.0).then_some(self.0 as u64)
    }

    /// As a whole number; `None` if it is none.
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
    pub(super) fn whole(self) -> Option<i64> {
        ((-9e15..9e15).contains(&self.0) && self.0.fract() == 0.0).then_some(self.0 as i64)
    }
}

impl<'de> Deserialize<'de> for Num {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Num;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            #[expect(clippy::cast_precision_loss, reason = "these fields are 32 bits wide")]
            fn visit_u64<E: Error>(self, number: u64) -> Result<Num, E> {
                Ok(Num(number as f64))
            }

            #[expect(clippy::cast_precision_loss, reason = "these fields are 32 bits wide")]
            fn visit_i64<E: Error>(self, number: i64) -> Result<Num, E> {
                Ok(Num(number as f64))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Num, E> {
                Ok(Num(number))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Num, E> {
                // An impossible token's logarithm; JSON has no number for it.
                let impossible = (text == "-Infinity").then_some(f64::MIN);
                let number = impossible.or_else(|| text.parse().ok().filter(|number: &f64| number.is_finite()));
                number.map(Num).ok_or_else(|| E::custom("a text is no number"))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// An object field by field, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields<'a>(pub(super) Extras<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Object<'a> {
            type Value = Fields<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'a>, A::Error> {
                let mut fields = Vec::new();
                while let Some(key) = map.next_key()? {
                    fields.push((key, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, json)| (name, json)))
    }
}
