//! Usage as OpenAI states it: <https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage>, with OpenRouter's
//! additions where OpenAI has no field.

use serde::Serialize;

use crate::usage::Usage;

#[derive(Serialize)]
pub(super) struct UsageOut {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "InputDetails::is_empty")]
    prompt_tokens_details: InputDetails,
    #[serde(skip_serializing_if = "OutputDetails::is_empty")]
    completion_tokens_details: OutputDetails,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_tool_use_details: Option<ServerTools>,
}

#[derive(Serialize, PartialEq, Default)]
struct InputDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_tokens: Option<u64>,
}

impl InputDetails {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Serialize, PartialEq, Default)]
struct OutputDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_tokens: Option<u64>,
}

impl OutputDetails {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Serialize)]
struct ServerTools {
    web_search_requests: u64,
}

impl UsageOut {
    /// Totals that include their details, as OpenAI counts. Audio by time and rerank's units do not occur in chat.
    pub(super) fn of(usage: &Usage) -> Self {
        let Usage {
            input: _,
            cache_read,
            cache_write_5m: _,
            cache_write_1h: _,
            audio_input,
            image_input,
            output: _,
            reasoning,
            audio_output,
            image_output,
            audio_input_ms: _,
            search_units: _,
            web_searches,
            characters: _,
            images: _,
            other_models: _,
            charged: _,
        } = *usage;
        let (prompt_tokens, completion_tokens) =
            (usage.total_input().unwrap_or_default(), usage.total_output().unwrap_or_default());
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            prompt_tokens_details: InputDetails {
                cached_tokens: cache_read,
                cache_write_tokens: usage.total_cache_write(),
                audio_tokens: audio_input,
                image_tokens: image_input,
            },
            completion_tokens_details: OutputDetails {
                reasoning_tokens: reasoning,
                audio_tokens: audio_output,
                image_tokens: image_output,
            },
            server_tool_use_details: web_searches.map(|web_search_requests| ServerTools { web_search_requests }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Dialect, Operation};
    use crate::usage::report::Report;
    use crate::usage::tree::Tree;

    #[test]
    fn what_is_written_reads_the_same() {
        let usage = Usage {
            input: Some(10),
            cache_read: Some(20),
            cache_write_5m: Some(5),
            audio_input: Some(3),
            image_input: Some(2),
            output: Some(7),
            reasoning: Some(9),
            audio_output: Some(1),
            image_output: Some(4),
            web_searches: Some(2),
            ..Usage::default()
        };
        let written = serde_json::to_value(UsageOut::of(&usage)).unwrap();
        assert_eq!((&written["prompt_tokens"], &written["total_tokens"]), (&40.into(), &61.into()));
        assert_eq!(Report::read(Dialect::OpenAiChat, Operation::Chat, &Tree::from(&written)).usage(), Some(usage));
    }
}
