//! Answers read: <https://docs.anthropic.com/en/api/messages#response-id>.

use serde_json::value::RawValue;

use super::super::Maker;
use super::super::wire::read_answer;
use super::OWN;
use super::block_in::{Side, read_block};
use super::wire::Answer;
use crate::codec::fields::Fields;
use crate::common::{Block, Choice, Content, Extras, Json, Response, Stop, StopReason, Str};
use crate::dialect::Operation;
use crate::error::{ApiError, decode_error};
use crate::usage::report::{Report, anthropic_tier};
use crate::usage::tree::Tree;

pub(super) fn decode<'a>(body: &'a [u8], maker: &Maker<'_>) -> Result<Response<'a>, ApiError> {
    let Answer { kind, role: _, id, model, content, stop_reason, stop_sequence, usage, error, rest } =
        read_answer(body)?;
    let content = match content {
        Some(content) if error.is_none() && kind != *"error" => content,
        Some(_) | None => return Err(decode_error(OWN, 200, body)),
    };
    let side = Side::Provider(maker.provider);
    let mut blocks = content.into_iter().map(|raw| read_block(raw, side)).collect::<Result<Vec<_>, _>>()?;
    let usage = usage.map(read_usage);
    let mut response = Response::new(OWN);
    response.id = id;
    response.model = model;
    let (stop, rest) = (stop(stop_reason, stop_sequence), said(rest));
    if !blocks.iter().any(has_words) {
        blocks.extend(explanation(&stop, &rest).map(explained));
    }
    let extras = of_stop(&stop);
    response.choices.push(Choice { blocks, stop, extras, ..Choice::default() });
    response.usage = usage.as_ref().and_then(|usage| report(response.model.as_deref(), usage).usage());
    response.service_tier = usage.as_ref().and_then(|usage| service_tier(None, usage));
    response.extras = rest;
    Ok(response)
}

pub(super) fn read_usage(raw: &RawValue) -> Tree<'_> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

pub(super) fn report(model: Option<&str>, usage: &Tree<'_>) -> Report {
    Report::read_of(OWN, Operation::Chat, model, usage)
}

/// The tier that an answer was given at, in OpenAI's words; what `usage` says nothing of is as it was `known` before.
pub(super) fn service_tier(known: Option<&str>, usage: &Tree<'_>) -> Option<Str<'static>> {
    let word = anthropic_tier(known, usage)?;
    Some(match word.strip_prefix("standard") {
        Some(beside) => format!("default{beside}").into(),
        None => word.into(),
    })
}

/// Fields that say something: answers spell out what they do not have.
pub(super) fn said(mut extras: Extras<'_>) -> Extras<'_> {
    extras.retain(|(_, value)| !value.is_null());
    extras
}

/// The remark beside a stop whose detail is Anthropic's word: events do not tell their dialect.
pub(super) const OWN_STOP: &str = "=anthropic";

pub(super) fn of_stop(stop: &Stop<'_>) -> Extras<'static> {
    stop.detail.iter().map(|_| (OWN_STOP.into(), Json::default())).collect()
}

/// The remark beside a block that says what stands in `stop_details`, for clients that have no such field.
pub(super) const EXPLAINED: &str = "=stop_details";

/// Whether a block says anything to who asked: neither thoughts nor what only Anthropic knows do, such as a fallback's mark.
pub(super) fn has_words(block: &Block<'_>) -> bool {
    !matches!(block.content, Content::Reasoning(_) | Content::Foreign(_)) && !block.is_silent()
}

/// Why the model declined, which is to be shown where the answer has no words:
/// <https://docs.anthropic.com/en/api/handling-stop-reasons>.
pub(super) fn explanation(stop: &Stop<'_>, extras: &Extras<'_>) -> Option<String> {
    let details = Fields(extras).get("stop_details").filter(|_| stop.reason == StopReason::Refusal)?.to_value();
    details["explanation"].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Whether the block only repeats what stands in `stop_details`.
pub(crate) fn is_explanation(block: &Block<'_>) -> bool {
    Fields(&block.extras).get(EXPLAINED).is_some()
}

pub(super) fn explained(text: String) -> Block<'static> {
    let extras = vec![(EXPLAINED.into(), Json::default())];
    Block { extras, ..Block::new(Content::Refusal(text.into())) }
}

/// Why an answer ended: <https://docs.anthropic.com/en/api/handling-stop-reasons>.
pub(crate) fn stop<'a>(reason: Option<Str<'a>>, sequence: Option<Str<'a>>) -> Stop<'a> {
    let Some(word) = reason else { return Stop { sequence, ..Stop::default() } };
    let reason = match &*word {
        "end_turn" => StopReason::End,
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "tool_use" => StopReason::ToolCalls,
        "pause_turn" => StopReason::Pause,
        "refusal" => StopReason::Refusal,
        "model_context_window_exceeded" => StopReason::ContextWindow,
        _ => StopReason::Other,
    };
    Stop { reason, sequence, detail: (reason == StopReason::Other).then_some(word) }
}
