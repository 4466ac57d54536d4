//! An answer for a client, whole, and what the stream shares with it.

use super::DIALECT;
use super::block_out::{Names, Writer};
use crate::codec::Client;
use crate::common::{Choice, Losses, MediaKind, Opaque, Response, Stop, StopReason, Str, TokenLogprob};
use crate::json::{self, Object};
use crate::usage::Usage;

pub(super) const NAMES: Names = Names {
    place: "answer.",
    media: MediaKind::lost_in_answer,
    reasoning: "answer.reasoning",
    signature: "answer.signature",
    cache: "answer.cache",
    misplaced: "answer.tool_result",
};

/// Writes opaque state for the client to keep.
pub(super) fn state<'o>(opaque: &'o Opaque<'_>) -> Option<Str<'o>> {
    Some(opaque.for_client(DIALECT))
}

pub(super) fn encode(response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8> {
    let Response { dialect, id, model: _, created: _, choices, usage, service_tier, extras } = response;
    let own = *dialect == DIALECT;
    let writer = Writer { own, is_answer: true, opaque: &state, names: &NAMES };
    losses.note_if(choices.len() > 1, "answer.choices");
    losses.note_if(service_tier.is_some(), "answer.service_tier");
    let empty = Choice::default();
    let Choice { blocks, stop, logprobs, extras: message_extras } = choices.first().unwrap_or(&empty);
    let blocks: Vec<_> = blocks.iter().collect();
    let mut out = Vec::with_capacity(1024);
    json::object(&mut out, |answer| {
        answer.field("id", id.as_deref().unwrap_or(&client.request_id));
        write_stop(own, stop, answer, losses);
        answer.object("message", |message| {
            message.field("role", "assistant");
            writer.assistant(&blocks, message_extras, message, losses);
        });
        if let Some(usage) = usage {
            write_usage(usage, answer.key("usage"));
        }
        if !logprobs.is_empty() {
            answer.each("logprobs", logprobs, |out, token| write_logprob(token, out, losses));
        }
        match own {
            true => answer.extras(extras),
            false => losses.note_extras("answer.", extras),
        }
    });
    out
}

/// Writes the finish reason. What cut an answer off without the model's doing is an error here: anything else would call a
/// part of an answer complete.
pub(super) fn write_stop(own: bool, stop: &Stop<'_>, object: &mut Object<'_>, losses: &mut Losses) {
    let Stop { reason, sequence, detail } = stop;
    let word = match (reason, detail) {
        // A reason that only its own provider knows: better an unknown word than a wrong one.
        (StopReason::Other, Some(detail)) => &**detail,
        (_, Some(detail)) if own => detail,
        (StopReason::End | StopReason::Refusal, _) => "COMPLETE",
        (StopReason::StopSequence, _) => "STOP_SEQUENCE",
        (StopReason::MaxTokens | StopReason::ContextWindow | StopReason::Pause, _) => "MAX_TOKENS",
        (StopReason::ToolCalls, _) => "TOOL_CALL",
        (StopReason::ContentFilter | StopReason::MalformedCall | StopReason::Other, _) => "ERROR",
    };
    losses.note_if(*reason == StopReason::Refusal, "answer.stop");
    losses.note_if(detail.as_ref().is_some_and(|detail| **detail != *word), "answer.stop");
    losses.note_if(sequence.is_some(), "answer.stop_sequence");
    object.field("finish_reason", word);
    if word == "ERROR" {
        let why = match (reason, detail) {
            (StopReason::ContentFilter, _) => "the provider's filter cut the answer off",
            (StopReason::MalformedCall, _) => "the model's tool call could not be read",
            (_, _) => "the answer is not complete",
        };
        object.field("error", why);
    }
}

/// Writes usage: <https://docs.cohere.com/v2/reference/chat#response.body.usage>. Nothing of what others count is free of charge
/// here, so both measures are the same.
pub(super) fn write_usage(usage: &Usage, out: &mut Vec<u8>) {
    let (input, output) = (usage.total_input(), usage.total_output());
    let tokens = |object: &mut Object<'_>| {
        object.optional("input_tokens", input.as_ref());
        object.optional("output_tokens", output.as_ref());
    };
    json::object(out, |object| {
        object.object("billed_units", |billed| {
            tokens(billed);
            billed.optional("search_units", usage.search_units.as_ref());
        });
        object.object("tokens", tokens);
        object.optional("cached_tokens", usage.cache_read.as_ref());
    });
}

pub(super) fn write_logprob(token: &TokenLogprob<'_>, out: &mut Vec<u8>, losses: &mut Losses) {
    let TokenLogprob { token, logprob, bytes: _, top } = token;
    losses.note_if(!top.is_empty(), "answer.logprobs");
    json::object(out, |object| {
        object.field("text", token);
        // The SDKs demand the field; the numbers are known to no other provider.
        object.field("token_ids", &[0_u64; 0]);
        object.field("logprobs", &[logprob]);
    });
}
