//! Why an answer ended: <https://ai.google.dev/api/generate-content#FinishReason>.

use crate::common::{Stop, StopReason, Str};

/// Reads a `finishReason`. Calls make a `STOP` a call for tools: Gemini has no word for that.
pub(super) fn read(word: &str, calls: bool) -> Stop<'static> {
    let reason = match word {
        "STOP" if calls => StopReason::ToolCalls,
        "STOP" => StopReason::End,
        "MAX_TOKENS" => StopReason::MaxTokens,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => StopReason::ContentFilter,
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" => StopReason::MalformedCall,
        "CONTINUATION" => StopReason::Pause,
        _ => StopReason::Other,
    };
    let detail = !matches!(word, "STOP" | "MAX_TOKENS");
    Stop { reason, sequence: None, detail: detail.then(|| word.to_owned().into()) }
}

/// A prompt that was refused (`promptFeedback.blockReason`).
pub(super) fn blocked(word: Str<'static>) -> Stop<'static> {
    Stop { reason: StopReason::ContentFilter, sequence: None, detail: Some(word) }
}

/// Whether a detail is Gemini's own word for its reason, and not another dialect's.
fn own_word<'s>(stop: &'s Stop<'_>) -> Option<&'s str> {
    stop.detail.as_deref().filter(|word| {
        let shaped = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        shaped && read(word, false).reason == stop.reason
    })
}

/// Writes a `finishReason`.
pub(super) fn write<'s>(stop: &'s Stop<'_>) -> &'s str {
    if let Some(word) = own_word(stop) {
        return word;
    }
    match stop.reason {
        StopReason::End | StopReason::StopSequence | StopReason::ToolCalls => "STOP",
        StopReason::MaxTokens | StopReason::ContextWindow => "MAX_TOKENS",
        StopReason::Refusal | StopReason::ContentFilter => "SAFETY",
        StopReason::MalformedCall => "MALFORMED_FUNCTION_CALL",
        StopReason::Pause | StopReason::Other => "OTHER",
    }
}
