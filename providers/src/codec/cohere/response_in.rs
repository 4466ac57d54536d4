//! A provider's answer that came whole, and what its stream shares with it.

use serde_json::Value;

use super::wire::{Answer, Logprob, Message, TextOrObject};
use super::{DIALECT, block_in};
use crate::codec::Maker;
use crate::codec::wire::read_answer;
use crate::common::{Choice, Opaque, ProviderTag, Response, Stop, StopReason, Str, TokenLogprob};
use crate::dialect::Operation;
use crate::error::{ApiError, ErrorKind, decode_value};
use crate::usage::Usage;
use crate::usage::report::Report;
use crate::usage::tree::Tree;

pub(super) fn decode<'a>(body: &'a [u8], maker: &Maker<'_>) -> Result<Response<'a>, ApiError> {
    let Answer { id, finish_reason, message, usage, logprobs, error, rest: extras } = read_answer(body)?;
    let message = match message {
        Some(TextOrObject::Object(message)) => message,
        Some(TextOrObject::Text(text)) => return Err(reported(&Value::from(&*text))),
        None if !error.is_null() => return Err(reported(&error)),
        None => return Err(ApiError::new(ErrorKind::UpstreamError, "the provider's answer has no message")),
    };
    let stop = stop(finish_reason.as_deref(), &error)?;
    let opaque = |text: Str<'_>| made_by(maker.provider, text);
    let (blocks, message_extras) =
        block_in::assistant(Message { role: Str::default(), ..message }, &opaque, &|number| {
            missing_id(maker.id_seed, number)
        });
    let choice =
        Choice { blocks, stop, logprobs: logprobs.iter().filter_map(logprob).collect(), extras: message_extras };
    Ok(Response {
        id,
        // The answer does not name it.
        model: Some(maker.model.to_owned().into()),
        choices: vec![choice],
        usage: read_usage(&usage),
        extras,
        ..Response::new(DIALECT)
    })
}

/// State in an answer: a ticket if another gateway stands behind this one.
pub(super) fn made_by(provider: ProviderTag, text: Str<'_>) -> Opaque<'static> {
    Opaque::made_by(DIALECT, Some(provider), text.into_owned())
}

pub(super) fn missing_id(seed: &str, number: usize) -> String {
    format!("call_{seed}_{number}")
}

pub(super) fn read_usage(usage: &Tree<'_>) -> Option<Usage> {
    Report::read(DIALECT, Operation::Chat, usage).usage()
}

/// Why the answer ended. Cohere says in the same place that it failed.
pub(super) fn stop(reason: Option<&str>, error: &Value) -> Result<Stop<'static>, ApiError> {
    let reason = match reason {
        // A server that gives no reason has ended all the same.
        None | Some("COMPLETE") if error.is_null() => StopReason::End,
        Some("STOP_SEQUENCE") => StopReason::StopSequence,
        Some("MAX_TOKENS") => StopReason::MaxTokens,
        Some("TOOL_CALL") => StopReason::ToolCalls,
        Some("TIMEOUT") => {
            let why = match error {
                Value::Null => "the provider ran out of time before its answer was complete".to_owned(),
                error => reported(error).message,
            };
            return Err(ApiError::new(ErrorKind::UpstreamTimeout, why));
        }
        None | Some("ERROR" | "COMPLETE") => return Err(reported(error)),
        Some(word) => {
            let reason = match word {
                "ERROR_LIMIT" => StopReason::ContextWindow,
                "ERROR_TOXIC" => StopReason::ContentFilter,
                _ => StopReason::Other,
            };
            return Ok(Stop { detail: Some(word.to_owned().into()), ..Stop::new(reason) });
        }
    };
    Ok(Stop::new(reason))
}

/// An error that was found inside a 200.
pub(super) fn reported(error: &Value) -> ApiError {
    match error {
        Value::Null => ApiError::new(ErrorKind::UpstreamError, "the provider failed before its answer was complete"),
        error => decode_value(DIALECT, 200, error),
    }
}

/// A piece of text may be several tokens: its probability is the product of theirs. Their numbers mean nothing outside.
pub(super) fn logprob<'a>(piece: &Logprob<'a>) -> Option<TokenLogprob<'a>> {
    let logprob = piece.logprobs.iter().copied().reduce(|sum, one| sum + one)?;
    Some(TokenLogprob { token: piece.text.clone(), logprob, ..TokenLogprob::default() })
}
