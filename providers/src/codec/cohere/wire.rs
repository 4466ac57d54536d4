//! What stands on Cohere's wire: <https://docs.cohere.com/v2/reference/chat>,
//! <https://docs.cohere.com/v2/reference/chat-stream>.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

pub(super) use super::super::wire::OneOrMany;
use super::super::wire::{TextOr, wire};
use crate::common::{Json, Str};
use crate::usage::tree::Tree;

wire! {
    /// A request.
    pub(super) struct ChatRequest<'a> {
        "model" => model: Str<'a>,
        "stream" => stream: bool,
        "messages" => messages: Vec<Message<'a>>,
        "tools" => tools: Vec<Tool<'a>>,
        "strict_tools" => strict_tools: Option<bool>,
        "tool_choice" => tool_choice: Option<Json<'a>>,
        "documents" => documents: Vec<TextOrObject<'a, Document<'a>>>,
        "response_format" => response_format: Option<ResponseFormat<'a>>,
        "thinking" => thinking: Option<Thinking<'a>>,
        "max_tokens" => max_tokens: Option<u64>,
        "stop_sequences" => stop_sequences: Vec<Str<'a>>,
        "temperature" => temperature: Option<f64>,
        "seed" => seed: Option<Json<'a>>,
        "frequency_penalty" => frequency_penalty: Option<f64>,
        "presence_penalty" => presence_penalty: Option<f64>,
        "k" => k: Option<u64>,
        "p" => p: Option<f64>,
        "logprobs" => logprobs: Option<bool>,
    }

    /// A message of any role, in requests and answers.
    pub(super) struct Message<'a> {
        "role" => role: Str<'a>,
        "content" => content: TextOr<'a, Part<'a>>,
        "tool_plan" => tool_plan: Option<Str<'a>>,
        "tool_calls" => tool_calls: Vec<ToolCall<'a>>,
        "tool_call_id" => tool_call_id: Str<'a>,
        "citations" => citations: Vec<Json<'a>>,
    }

    /// A part of a message's content. `signature` and `encrypted` are not Cohere's: they carry the state of other providers'
    /// models for clients that send back what they got.
    pub(super) struct Part<'a> {
        "type" => kind: Str<'a>,
        "text" => text: Option<Str<'a>>,
        "thinking" => thinking: Option<Str<'a>>,
        "image_url" => image: Option<ImageUrl<'a>>,
        "document" => document: Option<Document<'a>>,
        "signature" => signature: Option<Str<'a>>,
        "encrypted" => encrypted: Option<Str<'a>>,
    }

    pub(super) struct ImageUrl<'a> {
        "url" => url: Str<'a>,
        "detail" => detail: Option<Str<'a>>,
    }

    pub(super) struct Document<'a> {
        "id" => id: Option<Str<'a>>,
        "data" => data: Json<'a>,
    }

    pub(super) struct ToolCall<'a> {
        "id" => id: Str<'a>,
        "type" => kind: Str<'a>,
        "function" => function: CalledFunction<'a>,
        "signature" => signature: Option<Str<'a>>,
    }

    pub(super) struct CalledFunction<'a> {
        "name" => name: Str<'a>,
        "arguments" => arguments: Str<'a>,
    }

    pub(super) struct Tool<'a> {
        "type" => kind: Str<'a>,
        "function" => function: Option<Function<'a>>,
    }

    pub(super) struct Function<'a> {
        "name" => name: Str<'a>,
        "description" => description: Option<Str<'a>>,
        "parameters" => parameters: Option<Json<'a>>,
    }

    pub(super) struct ResponseFormat<'a> {
        "type" => kind: Str<'a>,
        "json_schema" => json_schema: Option<Json<'a>>,
    }

    pub(super) struct Thinking<'a> {
        "type" => kind: Option<Str<'a>>,
        "token_budget" => token_budget: Option<u64>,
    }

    /// An answer. An error inside a 200 has a text in place of the message.
    pub(super) struct Answer<'a> {
        "id" => id: Option<Str<'a>>,
        "finish_reason" => finish_reason: Option<Str<'a>>,
        "message" => message: Option<TextOrObject<'a, Message<'a>>>,
        "usage" => usage: Tree<'a>,
        "logprobs" => logprobs: Vec<Logprob<'a>>,
        "error" => error: Value,
    }

    /// The probabilities of a piece of text: mostly one token.
    pub(super) struct Logprob<'a> {
        "text" => text: Str<'a>,
        "logprobs" => logprobs: Vec<f64>,
    }

    /// An event of a stream.
    pub(super) struct StreamEvent<'a> {
        "type" => kind: Str<'a>,
        "id" => id: Option<Str<'a>>,
        "index" => index: Option<u64>,
        "delta" => delta: StreamDelta<'a>,
        "logprobs" => logprobs: OneOrMany<Logprob<'a>>,
        "message" => message: Value,
        "error" => error: Value,
    }

    pub(super) struct StreamDelta<'a> {
        "message" => message: StreamMessage<'a>,
        "finish_reason" => finish_reason: Option<Str<'a>>,
        "usage" => usage: Tree<'a>,
        "error" => error: Value,
    }

    pub(super) struct StreamMessage<'a> {
        "content" => content: OneOrMany<Part<'a>>,
        "tool_plan" => tool_plan: Option<Str<'a>>,
        "tool_calls" => tool_calls: OneOrMany<ToolCall<'a>>,
        "citations" => citations: Option<Json<'a>>,
    }

    pub(super) struct Citation<'a> {
        "start" => start: Option<u64>,
        "end" => end: Option<u64>,
        "content_index" => content_index: Option<u64>,
        "type" => kind: Option<Str<'a>>,
        "sources" => sources: Vec<Source<'a>>,
    }

    pub(super) struct Source<'a> {
        "id" => id: Option<Str<'a>>,
        "document" => document: Map<String, Value>,
        "tool_output" => tool_output: Map<String, Value>,
    }
}

/// A string, or an object.
#[derive(Debug, Clone)]
pub(super) enum TextOrObject<'a, T> {
    Text(Str<'a>),
    Object(T),
}

impl<T: Default> Default for TextOrObject<'_, T> {
    fn default() -> Self {
        Self::Object(T::default())
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for TextOrObject<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<'a, T>(PhantomData<(&'a (), T)>);
        impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for Either<'a, T> {
            type Value = TextOrObject<'a, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(TextOrObject::Text(text.into()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOrObject::Text(text.to_owned().into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(TextOrObject::Object)
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}
