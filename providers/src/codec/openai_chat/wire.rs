//! What is read. Parts that may have any shape stay raw until their kind is known, and what only decorates an answer
//! (annotations, log probabilities) is raw so that a vendor's odd spelling of it cannot spoil the answer.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::codec::wire::{TextOr, wire};
use crate::common::{CacheMark, Json, Str};

/// A piece of the body whose shape is not known yet.
pub(super) type Raw<'a> = &'a RawValue;

wire! {
    /// A message of a request or an answer, or a delta: <https://platform.openai.com/docs/api-reference/chat/object>.
    pub(super) struct Message<'a> {
        "role" => role: Str<'a>,
        "content" => content: TextOr<'a, Raw<'a>>,
        "refusal" => refusal: Option<Str<'a>>,
        "name" => name: Option<Str<'a>>,
        "tool_calls" => tool_calls: Vec<Raw<'a>>,
        "tool_call_id" => tool_call_id: Option<Str<'a>>,
        "function_call" => function_call: Option<Function<'a>>,
        "audio" => audio: Option<Raw<'a>>,
        "annotations" => annotations: Option<Raw<'a>>,
        "reasoning_content" => reasoning_content: Option<Raw<'a>>,
        "reasoning" => reasoning: Option<Raw<'a>>,
        "reasoning_details" => reasoning_details: Option<Raw<'a>>,
        "images" => images: Option<Raw<'a>>,
        "extra_content" => extra_content: Option<Raw<'a>>,
        "thought_signature" => thought_signature: Option<Raw<'a>>,
        "cache_control" => cache_control: Option<CacheControl<'a>>,
    }

    /// A call, or a piece of one.
    pub(super) struct ToolCall<'a> {
        "id" => id: Option<Str<'a>>,
        "index" => index: Option<u32>,
        "type" => kind: Option<Str<'a>>,
        "function" => function: Option<Function<'a>>,
        "custom" => custom: Option<Custom<'a>>,
        "extra_content" => extra_content: Option<Raw<'a>>,
    }

    /// The function that is called.
    pub(super) struct Function<'a> {
        "name" => name: Option<Str<'a>>,
        "arguments" => arguments: Option<Raw<'a>>,
    }

    /// The custom tool that is called.
    pub(super) struct Custom<'a> {
        "name" => name: Option<Str<'a>>,
        "input" => input: Option<Str<'a>>,
    }

    /// Anthropic's mark, which OpenRouter, LiteLLM and others take on parts, messages and tools.
    pub(super) struct CacheControl<'a> {
        "type" => kind: Option<Str<'a>>,
        "ttl" => ttl: Option<Str<'a>>,
    }

    /// An answer or a chunk of one.
    pub(super) struct Answer<'a> {
        "id" => id: Option<Str<'a>>,
        "model" => model: Option<Str<'a>>,
        "created" => created: Option<Raw<'a>>,
        "choices" => choices: Option<Vec<Choice<'a>>>,
        "usage" => usage: Option<Raw<'a>>,
        "service_tier" => service_tier: Option<Str<'a>>,
        "error" => error: Option<Raw<'a>>,
        "object" => object: Option<Raw<'a>>,
        "system_fingerprint" => system_fingerprint: Option<Raw<'a>>,
        "obfuscation" => obfuscation: Option<Raw<'a>>,
        "x_groq" => x_groq: Option<Raw<'a>>,
        "time_info" => time_info: Option<Raw<'a>>,
        "usage_breakdown" => usage_breakdown: Option<Raw<'a>>,
        "request_id" => request_id: Option<Raw<'a>>,
    }

    /// One of the answers.
    pub(super) struct Choice<'a> {
        "index" => index: Option<u32>,
        "message" => message: Option<Box<Message<'a>>>,
        "delta" => delta: Option<Box<Message<'a>>>,
        "finish_reason" => finish_reason: Option<Str<'a>>,
        "stop_reason" => stop_reason: Option<Raw<'a>>,
        "logprobs" => logprobs: Option<Raw<'a>>,
        "error" => error: Option<Raw<'a>>,
    }

    /// What Gemini's endpoint adds to messages and calls: <https://ai.google.dev/gemini-api/docs/openai>.
    pub(super) struct ExtraContent<'a> {
        "google" => google: Option<Google<'a>>,
    }

    /// Google's share of it.
    pub(super) struct Google<'a> {
        "thought_signature" => thought_signature: Option<Str<'a>>,
        "thought" => thought: Option<bool>,
    }

    /// A source of the text.
    pub(super) struct Annotation<'a> {
        "type" => kind: Option<Str<'a>>,
        "url_citation" => url_citation: Option<UrlCitation<'a>>,
    }

    /// Where the source is and what it supports.
    pub(super) struct UrlCitation<'a> {
        "url" => url: Option<Str<'a>>,
        "title" => title: Option<Str<'a>>,
        "content" => content: Option<Str<'a>>,
        "start_index" => start_index: Option<u64>,
        "end_index" => end_index: Option<u64>,
    }

    /// Sound that the model made, or a reference to it.
    pub(super) struct Audio<'a> {
        "id" => id: Option<Str<'a>>,
        "data" => data: Option<Str<'a>>,
        "transcript" => transcript: Option<Str<'a>>,
    }

    /// Probabilities of tokens.
    pub(super) struct Logprobs<'a> {
        "content" => content: Vec<Token<'a>>,
        "refusal" => refusal: Vec<Token<'a>>,
    }

    /// One token.
    pub(super) struct Token<'a> {
        "token" => token: Str<'a>,
        "logprob" => logprob: f64,
        "bytes" => bytes: Option<Vec<u8>>,
        "top_logprobs" => top_logprobs: Vec<Token<'a>>,
    }
}

impl<'a> From<CacheControl<'a>> for CacheMark<'a> {
    fn from(control: CacheControl<'a>) -> Self {
        Self { ttl: control.ttl }
    }
}

/// Reads a raw piece; `None` if it is something else.
pub(super) fn read<'a, T: Deserialize<'a>>(raw: Raw<'a>) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// A raw piece to be kept as it is.
pub(super) fn keep(raw: Raw<'_>) -> Json<'_> {
    Json::parse(raw.get()).unwrap_or_default()
}

/// A string; anything else as its JSON text. `null` and `""` are nothing.
pub(super) fn text_of(raw: Option<Raw<'_>>) -> Option<Str<'_>> {
    let raw = raw?;
    let text = if raw.get().starts_with('"') { read::<Str<'_>>(raw)? } else { raw.get().into() };
    (!text.is_empty() && &*text != "null").then_some(text)
}

/// Arguments, which some vendors send as an object in place of its text.
pub(super) fn arguments(raw: Option<Raw<'_>>) -> Str<'_> {
    text_of(raw).unwrap_or_default()
}

/// Whether the list has something in it.
pub(super) fn is_filled(raw: Option<Raw<'_>>) -> bool {
    raw.is_some_and(|raw| !matches!(raw.get(), "[]" | "{}" | "null" | "\"\""))
}

/// The thought signature that Gemini's endpoint put beside a message or a call.
pub(super) fn thought_signature<'a>(
    extra_content: Option<Raw<'a>>,
    thought_signature: Option<Raw<'a>>,
) -> Option<Str<'a>> {
    extra_content
        .and_then(read::<ExtraContent<'a>>)
        .and_then(|extra| extra.google?.thought_signature)
        .or_else(|| text_of(thought_signature))
        .filter(|signature| !signature.is_empty())
}
