//! Whole answers, read and written.

use serde::Serialize;

use super::wire;
use super::{OWN, media, parts, read, write};
use crate::codec::wire::read_answer;
use crate::codec::{Client, Maker};
use crate::common::{
    Block, Choice, Content, Extras, Foreign, Json, Losses, Opaque, Reasoning, Response, Stop, StopReason, Str,
};
use crate::dialect::Operation;
use crate::error::{ApiError, decode_error};
use crate::json;
use crate::usage::Usage;
use crate::usage::report::Report;

pub(super) fn decode<'a>(body: &'a [u8], maker: &Maker<'_>) -> Result<Response<'a>, ApiError> {
    let wire: wire::Response<'a> = read_answer(body)?;
    let wire::Response { output, stop, usage, metrics: _, tier, rest } = wire;
    // Unknown operations are told with a status of 200.
    let Some(output) = output else { return Err(decode_error(OWN, 200, body)) };
    let opaque = |data| Opaque::made_by(OWN, Some(maker.provider), data);
    let mut extras = rest;
    extras.extend(output.message.rest.into_iter().chain(output.rest));
    drop_own(&mut extras);
    let mut response = Response::new(OWN);
    response.model = Some(maker.model.to_owned().into());
    response.usage = usage.and_then(|usage| read_usage(&usage));
    response.service_tier = tier.kind;
    response.choices.push(Choice {
        blocks: read::models_blocks(output.message.content, &opaque),
        stop: read_stop(stop.as_deref().unwrap_or("end_turn"), &extras),
        ..Choice::default()
    });
    response.extras = extras;
    Ok(response)
}

/// What an answer says itself under these names is no extra, in whatever part of it a server puts it: written again, it would stand
/// there twice.
pub(super) fn drop_own(extras: &mut Extras<'_>) {
    const OWN_FIELDS: [&str; 5] = ["output", "stopReason", "usage", "metrics", "serviceTier"];
    extras.retain(|(name, _)| !OWN_FIELDS.contains(&&**name));
}

pub(super) fn read_usage(usage: &Json<'_>) -> Option<Usage> {
    Report::read(OWN, Operation::Chat, &usage.to_tree()).usage()
}

/// The sequence that was met is told to those who ask for it by `additionalModelResponseFieldPaths: ["/stop_sequence"]`.
pub(super) fn read_stop<'a>(word: &str, extras: &[(Str<'a>, Json<'a>)]) -> Stop<'static> {
    let reason = match word {
        "end_turn" => StopReason::End,
        "tool_use" => StopReason::ToolCalls,
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "guardrail_intervened" | "content_filtered" => StopReason::ContentFilter,
        "malformed_tool_use" => StopReason::MalformedCall,
        "model_context_window_exceeded" => StopReason::ContextWindow,
        _ => StopReason::Other,
    };
    let says_less = reason == StopReason::Other || word == "guardrail_intervened";
    let told = extras.iter().find(|(name, _)| *name == RESPONSE_FIELDS);
    let sequence =
        told.and_then(|(_, fields)| fields.to_value()["stop_sequence"].as_str().map(|it| it.to_owned().into()));
    Stop { reason, sequence, detail: says_less.then(|| word.to_owned().into()) }
}

pub(super) const RESPONSE_FIELDS: &str = "additionalModelResponseFields";

/// The word for a stop. What Converse has no word for must not look complete.
pub(super) fn stop_word<'r>(stop: &'r Stop<'_>, own: bool, losses: &mut Losses) -> &'r str {
    // The sequence is told in the extras, where it was asked for.
    let Stop { reason, sequence: _, detail } = stop;
    losses.note_if(!own && matches!(reason, StopReason::Pause | StopReason::Other), "answer.stop");
    match (reason, detail.as_deref()) {
        (StopReason::Other | StopReason::ContentFilter, Some(word)) if own => word,
        (StopReason::End | StopReason::Pause, _) => "end_turn",
        (StopReason::StopSequence, _) => "stop_sequence",
        (StopReason::MaxTokens | StopReason::Other, _) => "max_tokens",
        (StopReason::ContextWindow, _) => "model_context_window_exceeded",
        (StopReason::ToolCalls, _) => "tool_use",
        (StopReason::Refusal | StopReason::ContentFilter, _) => "content_filtered",
        (StopReason::MalformedCall, _) => "malformed_tool_use",
    }
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html>. The SDKs want the three totals.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenUsage {
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_read_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache_details: Vec<CacheDetail>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CacheDetail {
    ttl: &'static str,
    input_tokens: u64,
}

impl TokenUsage {
    pub(super) fn of(usage: Option<&Usage>) -> Self {
        let usage = usage.copied().unwrap_or_default();
        let cached = [usage.cache_read, usage.total_cache_write()].into_iter().flatten().fold(0, u64::saturating_add);
        let detail = |ttl, count: Option<u64>| count.map(|input_tokens| CacheDetail { ttl, input_tokens });
        // The split is only worth telling if there is something for an hour; longest first.
        let details = usage
            .cache_write_1h
            .is_some()
            .then(|| [detail("1h", usage.cache_write_1h), detail("5m", usage.cache_write_5m)]);
        Self {
            input_tokens: usage.total_input().unwrap_or(0).saturating_sub(cached),
            output_tokens: usage.total_output().unwrap_or(0),
            total_tokens: usage.total().unwrap_or(0),
            cache_read_input_tokens: usage.cache_read,
            cache_write_input_tokens: usage.total_cache_write(),
            cache_details: details.into_iter().flatten().flatten().collect(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Metrics {
    #[serde(rename = "latencyMs")]
    latency: u64,
}

/// The SDKs want it; nobody knows it.
pub(super) const NO_METRICS: Metrics = Metrics { latency: 0 };

#[derive(Serialize)]
pub(super) struct Tier<'r> {
    pub(super) r#type: &'r str,
}

#[derive(Serialize)]
struct Out<'r> {
    output: Output<'r>,
    #[serde(rename = "stopReason")]
    stop_reason: &'r str,
    usage: TokenUsage,
    metrics: Metrics,
    #[serde(rename = "serviceTier", skip_serializing_if = "Option::is_none")]
    service_tier: Option<Tier<'r>>,
    #[serde(flatten)]
    extras: write::Fields<'r, 'r>,
}

#[derive(Serialize)]
struct Output<'r> {
    message: write::Message<'r>,
}

/// What Converse does not tell of an answer: id, time and model.
pub(super) fn encode(response: &Response<'_>, _: &Client, losses: &mut Losses) -> Vec<u8> {
    let Response { dialect, id: _, model: _, created: _, choices, usage, service_tier, extras } = response;
    let own = *dialect == OWN;
    losses.note_if(choices.len() > 1, "answer.choices");
    let mut content = Vec::new();
    let mut stop_reason = "end_turn";
    if let Some(Choice { blocks, stop, logprobs, extras }) = choices.first() {
        losses.note_if(!logprobs.is_empty(), "answer.logprobs");
        losses.note_extras("answer.", extras);
        stop_reason = stop_word(stop, own, losses);
        losses.note_if(!own && stop.sequence.is_some(), "answer.stop_sequence");
        for block in blocks {
            write_block(block, own, &mut content, losses);
        }
    }
    let out = Out {
        output: Output { message: write::Message { role: "assistant", content, extras: write::Fields(&[]) } },
        stop_reason,
        usage: TokenUsage::of(usage.as_ref()),
        metrics: NO_METRICS,
        service_tier: service_tier.as_deref().map(|tier| Tier { r#type: tier_word(tier) }),
        extras: own_extras(extras, own, losses),
    };
    let mut body = Vec::with_capacity(512);
    json::write(&mut body, &out);
    body
}

/// `auto` is what one asks for, not what one gets.
pub(super) fn tier_word(tier: &str) -> &str {
    match tier {
        "auto" => "default",
        "fast" => "priority",
        other => other,
    }
}

fn own_extras<'r>(extras: &'r Extras<'r>, own: bool, losses: &mut Losses) -> write::Fields<'r, 'r> {
    if own {
        return write::Fields(extras);
    }
    losses.note_extras("answer.", extras);
    write::Fields(&[])
}

fn write_block<'r>(block: &'r Block<'r>, own: bool, out: &mut Vec<write::Part<'r>>, losses: &mut Losses) {
    // An answer has no cache marks, and ids of items are bookkeeping.
    let Block { content, cache: _, id: _, extras } = block;
    match content {
        _ if !own && block.is_silent() => losses.note_if(block.is_signed_text(), "answer.signature"),
        Content::Text(text) => {
            losses.note_if(text.signature.is_some(), "answer.signature");
            let flat = own_extras(extras, own, losses);
            out.push(parts::shown(extras).filter(|_| own).unwrap_or_else(|| parts::text(text, flat)));
        }
        Content::Refusal(text) => {
            own_extras(extras, own, losses);
            out.push(write::Part::Text(text.borrowed()));
        }
        Content::Reasoning(reasoning) => write_reasoning(reasoning, own_extras(extras, own, losses), out),
        // A call's signature is kept by the gateway under the call's id.
        Content::ToolCall(call) => out.push(parts::call(call, own, own_extras(extras, own, losses))),
        Content::Media(media) => {
            own_extras(extras, own, losses);
            losses.note_if(media.signature.is_some(), "answer.signature");
            match parts::medium(media, extras, own, &mut media::Names::default()) {
                Ok(part) => {
                    losses.note_if(media.transcript.is_some(), "answer.transcript");
                    out.push(part);
                }
                Err(parts::Unsayable) => {
                    losses.note(media.kind.lost_in_answer());
                    out.extend(media.transcript.as_ref().map(|text| write::Part::Text(text.borrowed())));
                }
            }
        }
        Content::ToolResult(_) => losses.note("answer.tool_result"),
        Content::Foreign(foreign) => {
            let Foreign { dialect, kind, raw } = &**foreign;
            if *dialect == OWN {
                out.push(write::Part::Raw(raw.borrowed()));
            } else {
                losses.note_foreign("answer.", kind);
            }
        }
    }
}

/// Shown and hidden reasoning are two blocks here.
fn write_reasoning<'r>(reasoning: &'r Reasoning<'r>, extras: write::Fields<'r, 'r>, out: &mut Vec<write::Part<'r>>) {
    let Reasoning { text: _, summary: _, signature, encrypted } = reasoning;
    let text = Str::from(reasoning.shown().unwrap_or_default());
    if !text.is_empty() || signature.is_some() || encrypted.is_none() {
        let signature = signature.as_ref().map(|signature| signature.for_client(OWN));
        out.push(write::Part::ReasoningContent(write::Reasoning::Text(write::ReasoningText {
            text,
            signature,
            extras,
        })));
    }
    if let Some(data) = encrypted {
        out.push(write::Part::ReasoningContent(write::Reasoning::Redacted(data.for_client(OWN))));
    }
}
