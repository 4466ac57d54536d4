//! An answer for a client.

use serde::Serialize;

use super::super::Client;
use super::extras::{Beside, find};
use super::grounding::{Chars, metadata};
use super::part_out::{Reader, Writer};
use super::write::Content;
use super::{stop, usage};
use crate::common::{Choice, Citation, Content as Said, Json, Losses, MediaSource, Response, Stop, Str, TokenLogprob};
use crate::dialect::Dialect;
use crate::json;

/// An answer, or a chunk of one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'o> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) candidates: Vec<Candidate<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage_metadata: Option<usage::Counts<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model_version: Option<&'o str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_id: Option<&'o str>,
    #[serde(flatten)]
    pub(super) beside: Beside<'o>,
}

/// One of the answers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'o> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Content<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) finish_reason: Option<&'o str>,
    pub(super) index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grounding_metadata: Option<Json<'static>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprobs_result: Option<Logprobs<'o>>,
    #[serde(flatten)]
    pub(super) beside: Beside<'o>,
}

/// Probabilities.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Logprobs<'o> {
    chosen_candidates: Vec<Token<'o>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top_candidates: Vec<TopTokens<'o>>,
}

#[derive(Serialize)]
struct TopTokens<'o> {
    candidates: Vec<Token<'o>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Token<'o> {
    token: &'o str,
    log_probability: f64,
}

/// Writes a whole answer.
pub(super) fn encode(response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8> {
    let Response { dialect, id, model, created: _, choices, usage, service_tier, extras } = response;
    let own = *dialect == Dialect::Gemini;
    if !own {
        losses.note_extras("answer.", extras);
    }
    let mut writer = Writer::new(Reader::Client, own, losses);
    let refused = own && find(extras, "promptFeedback").is_some();
    let said = choices.iter().any(|choice| !choice.blocks.is_empty());
    let candidates = if refused && !said {
        Vec::new()
    } else {
        (0u32..).zip(choices).map(|(index, choice)| candidate(index, choice, &mut writer)).collect()
    };
    let answer = Answer {
        candidates,
        usage_metadata: usage::write(usage.as_ref(), service_tier.as_deref()),
        model_version: Some(model.as_deref().unwrap_or(&client.model)),
        response_id: Some(id.as_deref().unwrap_or(&client.request_id)),
        beside: if own { Beside::of(extras, "") } else { Beside::default() },
    };
    let mut out = Vec::with_capacity(1024);
    json::write(&mut out, &answer);
    out
}

fn candidate<'o>(index: u32, choice: &'o Choice<'_>, writer: &mut Writer<'o, '_>) -> Candidate<'o> {
    let Choice { blocks, stop: ended, logprobs, extras } = choice;
    let mut parts = Vec::with_capacity(blocks.len());
    let mut text = Chars::default();
    let mut cited: Vec<(&Citation<'_>, (u64, u64))> = Vec::new();
    for block in blocks {
        let from = text.count();
        match &block.content {
            Said::Text(said) => {
                text.push(&said.text);
                cited.extend(said.citations.iter().map(|citation| (citation, (from, text.count()))));
            }
            Said::Refusal(said) => text.push(said),
            Said::Media(media) => match (&media.transcript, &media.source) {
                (_, MediaSource::Text(said)) | (Some(said), _) => text.push(said),
                (None, _) => {}
            },
            Said::Reasoning(_) | Said::ToolCall(_) | Said::ToolResult(_) | Said::Foreign(_) => {}
        }
        writer.block(block, &mut parts);
    }
    if !writer.own {
        writer.losses.note_extras("answer.", extras);
    }
    // What came as Google's metadata goes as that.
    let told = writer.own && find(extras, "groundingMetadata").or(find(extras, "citationMetadata")).is_some();
    Candidate {
        content: (!parts.is_empty()).then(|| content(parts)),
        finish_reason: Some(finish(ended, writer.losses)),
        index,
        grounding_metadata: if told { None } else { metadata(cited.into_iter(), &text) },
        logprobs_result: (!logprobs.is_empty()).then(|| write_logprobs(logprobs)),
        beside: if writer.own { Beside::of(extras, "") } else { Beside::default() },
    }
}

/// A turn of the model.
pub(super) fn content(parts: Vec<super::write::Piece<'_>>) -> Content<'_> {
    Content { parts, role: Some(Str::from("model")), beside: Beside::default() }
}

/// The finish reason; which sequence was met cannot be said.
pub(super) fn finish<'o>(ended: &'o Stop<'_>, losses: &mut Losses) -> &'o str {
    losses.note_if(ended.sequence.is_some(), "answer.stop_sequence");
    stop::write(ended)
}

/// Writes probabilities.
pub(super) fn write_logprobs<'o>(logprobs: &'o [TokenLogprob<'_>]) -> Logprobs<'o> {
    fn token<'o>(token: &'o TokenLogprob<'_>) -> Token<'o> {
        // Infinity cannot be told in JSON.
        Token { token: &token.token, log_probability: token.logprob.max(f64::MIN) }
    }
    let alternatives = logprobs.iter().any(|token| !token.top.is_empty());
    Logprobs {
        chosen_candidates: logprobs.iter().map(token).collect(),
        top_candidates: if alternatives {
            logprobs.iter().map(|place| TopTokens { candidates: place.top.iter().map(token).collect() }).collect()
        } else {
            Vec::new()
        },
    }
}
