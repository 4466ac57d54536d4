//! Answers read. <https://platform.openai.com/docs/api-reference/responses/object>

use super::fields::prefixed;
use super::items_in::{self, Read};
use super::wire::{Item, Raw};
use super::{OWN, Side};
use crate::codec::Maker;
use crate::codec::wire::{read_answer, wire};
use crate::common::{Block, Choice, Content, Extras, Response, Stop, StopReason, Str, TokenLogprob};
use crate::dialect::Operation;
use crate::error::{ApiError, ErrorKind, decode_error};
use crate::usage::Usage;
use crate::usage::report::{Report, is_search};

wire! {
    /// An answer, as it comes whole and in the first and last events of a stream.
    pub(super) struct Body<'a> {
        "id" => id: Option<Str<'a>>,
        "model" => model: Option<Str<'a>>,
        "created_at" => created: Option<f64>,
        "status" => status: Option<Str<'a>>,
        "error" => error: Raw<'a>,
        "incomplete_details" => incomplete: Option<Incomplete<'a>>,
        "output" => output: Vec<Item<'a>>,
        "usage" => usage: Raw<'a>,
        "tool_usage" => tool_usage: Raw<'a>,
        "service_tier" => service_tier: Option<Str<'a>>,
    }

    /// Why an answer is not complete.
    pub(super) struct Incomplete<'a> {
        "reason" => reason: Option<Str<'a>>,
    }
}

/// Fields that repeat the request or keep the books.
const NOT_KEPT: [&str; 25] = [
    "object",
    "completed_at",
    "instructions",
    "tools",
    "tool_choice",
    "temperature",
    "top_p",
    "metadata",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "max_output_tokens",
    "max_tool_calls",
    "previous_response_id",
    "store",
    "truncation",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "background",
    "top_logprobs",
    "frequency_penalty",
    "presence_penalty",
    "billing",
];

pub(super) fn decode<'a>(body: &'a [u8], maker: &Maker<'_>) -> Result<Response<'a>, ApiError> {
    let mut answer: Body<'a> = read_answer(body)?;
    if answer.failed() || (answer.output.is_empty() && answer.error.is_some()) {
        return Err(decode_error(OWN, 200, body));
    }
    if answer.id.is_none() && answer.status.is_none() && answer.output.is_empty() {
        return Err(ApiError::new(ErrorKind::UpstreamError, "the provider's answer is no response of this API"));
    }
    let mut choice = Choice::default();
    let usage = answer.usage();
    for item in std::mem::take(&mut answer.output) {
        read_item(item, maker, &mut choice.blocks, &mut choice.logprobs)?;
    }
    choice.stop = answer.stop(&choice.blocks);
    let mut response = Response::new(OWN);
    response.created = answer.created();
    response.usage = usage;
    response.extras = answer.kept();
    response.id = answer.id;
    response.model = answer.model;
    response.service_tier = answer.service_tier;
    response.choices.push(choice);
    Ok(response)
}

impl<'a> Body<'a> {
    pub(super) fn failed(&self) -> bool {
        self.status.as_deref() == Some("failed")
    }

    /// Seconds; some vendors give fractions.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    pub(super) fn created(&self) -> Option<u64> {
        self.created.filter(|seconds| (0.0..9e15).contains(seconds)).map(|seconds| seconds as u64)
    }

    /// As long as the items are there: web searches are among them.
    pub(super) fn usage(&self) -> Option<Usage> {
        let usage = serde_json::from_str(self.usage?.get()).ok()?;
        let mut report = Report::read(OWN, Operation::Chat, &usage);
        if let Some(tools) = self.tool_usage.and_then(|tools| serde_json::from_str(tools.get()).ok()) {
            report.merge(&Report::of_tools(&tools));
        }
        for item in &self.output {
            let action = item.rest.iter().find(|(name, _)| *name == "action").map(|(_, action)| action.to_tree());
            if is_search(&item.kind, action.as_ref().and_then(|action| action["type"].as_str())) {
                report.search();
            }
        }
        report.usage()
    }

    /// Takes the fields that are the answer's own.
    pub(super) fn kept(&mut self) -> Extras<'a> {
        let mut rest = std::mem::take(&mut self.rest);
        rest.retain(|(name, value)| !value.is_null() && !NOT_KEPT.contains(&&**name));
        rest
    }

    pub(super) fn stop(&self, blocks: &[Block<'_>]) -> Stop<'a> {
        let any = |is: fn(&Content<'_>) -> bool| blocks.iter().any(|block| is(&block.content));
        self.stop_of(
            any(|content| matches!(content, Content::ToolCall(_))),
            any(|content| matches!(content, Content::Refusal(_))),
        )
    }

    pub(super) fn stop_of(&self, calls: bool, refuses: bool) -> Stop<'a> {
        let reason = self.incomplete.as_ref().and_then(|details| details.reason.clone());
        stop_of(self.status.clone(), reason, calls, refuses)
    }
}

/// Why an answer with that `status` ended; `reason` is that of its `incomplete_details`.
pub(crate) fn stop_of<'a>(status: Option<Str<'a>>, reason: Option<Str<'a>>, calls: bool, refuses: bool) -> Stop<'a> {
    let other = |word| Stop { reason: StopReason::Other, sequence: None, detail: Some(word) };
    match status.as_deref() {
        Some("incomplete") => match reason.as_deref() {
            Some("max_output_tokens" | "max_tokens" | "length") => Stop::new(StopReason::MaxTokens),
            Some("content_filter") => Stop::new(StopReason::ContentFilter),
            _ => other(reason.unwrap_or_else(|| "incomplete".into())),
        },
        None | Some("completed" | "complete") if calls => Stop::new(StopReason::ToolCalls),
        None | Some("completed" | "complete") if refuses => Stop::new(StopReason::Refusal),
        None | Some("completed" | "complete") => Stop::new(StopReason::End),
        Some(_) => other(status.unwrap_or_default()),
    }
}

/// Reads an item of an answer into blocks.
pub(super) fn read_item<'a>(
    item: Item<'a>,
    maker: &Maker<'_>,
    blocks: &mut Vec<Block<'a>>,
    logprobs: &mut Vec<TokenLogprob<'a>>,
) -> Result<(), ApiError> {
    match items_in::item(item, Side::Maker(maker.provider))? {
        Read::Message { role: _, id, parts, logprobs: more, extras } => {
            logprobs.extend(more);
            let mut extras = Some(item_extras(extras));
            blocks.extend(parts.into_iter().map(|mut part| {
                part.id.clone_from(&id);
                part.extras.extend(extras.take().into_iter().flatten());
                part
            }));
        }
        Read::Block { role: _, mut block } => {
            finish(&mut block, maker, blocks.len());
            blocks.push(block);
        }
    }
    Ok(())
}

/// A message's own fields, beside its first part.
pub(super) fn item_extras(mut extras: Extras<'_>) -> Extras<'_> {
    items_in::mark(&mut extras);
    prefixed("item.", without_status(extras)).collect()
}

/// An answer's items are complete if the answer is.
fn without_status(mut extras: Extras<'_>) -> Extras<'_> {
    extras.retain(|(name, value)| *name != "=status" && *name != "status" && !value.is_null());
    extras
}

/// Gives a block what every answer's block has.
pub(super) fn finish(block: &mut Block<'_>, maker: &Maker<'_>, number: usize) {
    block.extras = without_status(std::mem::take(&mut block.extras));
    if let Content::ToolCall(call) = &mut block.content
        && call.id.is_empty()
    {
        call.id = format!("call_{}_{number}", maker.id_seed).into();
    }
}
