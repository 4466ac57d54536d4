//! Usage and the reason of the end, as they are written.

use serde::Serialize;

use crate::common::{Losses, Stop, StopReason};
use crate::usage::Usage;

/// <https://docs.anthropic.com/en/api/messages#response-usage>. The SDKs want `output_tokens` as a number always, and
/// `input_tokens` in whole answers and in `message_start`.
#[derive(Serialize, Default)]
pub(super) struct UsageOut<'x> {
    #[serde(skip_serializing_if = "Option::is_none")]
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation: Option<CacheCreation>,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<Details>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_tool_use: Option<ServerToolUse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'x str>,
}

#[derive(Serialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

#[derive(Serialize)]
struct Details {
    thinking_tokens: u64,
}

#[derive(Serialize)]
struct ServerToolUse {
    web_search_requests: u64,
    web_fetch_requests: u64,
}

impl<'x> UsageOut<'x> {
    pub(super) fn of(usage: &Usage, tier: Option<&'x str>) -> Self {
        let Usage {
            input,
            cache_read,
            cache_write_5m,
            cache_write_1h,
            audio_input,
            image_input,
            output: _,
            reasoning,
            audio_output: _,
            image_output: _,
            audio_input_ms: _,
            search_units: _,
            web_searches,
            characters: _,
            images: _,
            other_models: _,
            charged: _,
        } = usage;
        let sum = |counts: [Option<u64>; 3]| counts.into_iter().flatten().reduce(u64::saturating_add);
        Self {
            input_tokens: sum([*input, *audio_input, *image_input]),
            cache_creation_input_tokens: usage.total_cache_write(),
            cache_read_input_tokens: *cache_read,
            cache_creation: cache_write_1h.map(|hour| CacheCreation {
                ephemeral_5m_input_tokens: cache_write_5m.unwrap_or(0),
                ephemeral_1h_input_tokens: hour,
            }),
            output_tokens: usage.total_output().unwrap_or(0),
            output_tokens_details: reasoning.map(|thinking_tokens| Details { thinking_tokens }),
            server_tool_use: web_searches
                .map(|count| ServerToolUse { web_search_requests: count, web_fetch_requests: 0 }),
            service_tier: tier,
        }
    }

    /// With `input_tokens` as a number in any case.
    pub(super) fn with_input(mut self) -> Self {
        self.input_tokens.get_or_insert(0);
        self
    }
}

/// An answer's tier in Anthropic's words.
pub(super) fn tier_out<'x>(tier: Option<&'x str>, losses: &mut Losses) -> Option<&'x str> {
    match tier? {
        "default" => Some("standard"),
        "fast" => Some("priority"),
        word @ ("standard" | "priority" | "batch") => Some(word),
        _ => {
            losses.note("answer.service_tier");
            None
        }
    }
}

/// The word of a reason. `own`: the detail is one of Anthropic's words.
pub(super) fn stop_out<'x>(stop: &'x Stop<'_>, own: bool, losses: &mut Losses) -> &'x str {
    match stop.reason {
        StopReason::End => "end_turn",
        StopReason::StopSequence => "stop_sequence",
        StopReason::MaxTokens => "max_tokens",
        StopReason::ContextWindow => "model_context_window_exceeded",
        StopReason::ToolCalls => "tool_use",
        StopReason::Refusal | StopReason::ContentFilter => "refusal",
        StopReason::Pause => "pause_turn",
        StopReason::MalformedCall | StopReason::Other => match stop.detail.as_deref() {
            Some(word) if own => word,
            Some(_) | None => {
                losses.note("answer.stop");
                // What ended for a reason without a word here must not look complete.
                "max_tokens"
            }
        },
    }
}
