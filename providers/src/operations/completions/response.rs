//! A whole answer, and what the stream shares with it.

use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::codec::Client;
use crate::common::{Block, Choice, Content, Losses, Response, StopReason, TokenLogprob};
use crate::json;
use crate::usage::Usage;

#[derive(Serialize)]
pub(super) struct Completion<'a> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: &'a str,
    pub(super) choices: &'a [TextChoice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<WrittenUsage>>,
}

#[derive(Serialize)]
pub(super) struct TextChoice<'a> {
    pub(super) text: &'a str,
    pub(super) index: u32,
    pub(super) logprobs: Option<Logprobs<'a>>,
    pub(super) finish_reason: Option<&'static str>,
}

/// Probabilities in parallel lists.
#[derive(Serialize)]
pub(super) struct Logprobs<'a> {
    tokens: Vec<&'a str>,
    token_logprobs: Vec<f64>,
    top_logprobs: Vec<Top<'a>>,
    text_offset: Vec<u64>,
}

/// Alternatives by their token.
struct Top<'a>(&'a [TokenLogprob<'a>]);

impl Serialize for Top<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for TokenLogprob { token, logprob, bytes: _, top: _ } in self.0 {
            map.serialize_entry(token, logprob)?;
        }
        map.end()
    }
}

impl<'a> Logprobs<'a> {
    /// Those of `tokens`, whose first begins at character `offset` of the text; moves `offset` behind the last.
    pub(super) fn of(tokens: &'a [TokenLogprob<'a>], offset: &mut u64) -> Self {
        let text_offset = tokens.iter().map(|token| {
            let at = *offset;
            *offset += token.token.chars().count() as u64;
            at
        });
        Self {
            text_offset: text_offset.collect(),
            tokens: tokens.iter().map(|token| &*token.token).collect(),
            token_logprobs: tokens.iter().map(|token| token.logprob).collect(),
            top_logprobs: tokens.iter().map(|token| Top(&token.top)).collect(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct WrittenUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Details::is_empty")]
    prompt_tokens_details: Details,
    #[serde(skip_serializing_if = "Details::is_empty")]
    completion_tokens_details: Details,
}

#[derive(Serialize, Default, PartialEq, Eq)]
struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_tokens: Option<u64>,
}

impl Details {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl WrittenUsage {
    pub(super) fn of(usage: &Usage) -> Self {
        let (input, output) = (usage.total_input().unwrap_or(0), usage.total_output().unwrap_or(0));
        Self {
            prompt_tokens: input,
            completion_tokens: output,
            total_tokens: input.saturating_add(output),
            prompt_tokens_details: Details {
                cached_tokens: usage.cache_read,
                cache_write_tokens: usage.total_cache_write(),
                reasoning_tokens: None,
                audio_tokens: usage.audio_input,
                image_tokens: usage.image_input,
            },
            completion_tokens_details: Details {
                reasoning_tokens: usage.reasoning,
                audio_tokens: usage.audio_output,
                image_tokens: usage.image_output,
                ..Details::default()
            },
        }
    }
}

/// Writes an answer as a `text_completion`.
#[must_use]
pub fn encode_response(response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8> {
    let Response { dialect: _, id, model, created, choices, usage, service_tier, extras } = response;
    losses.note_if(service_tier.is_some(), "answer.service_tier");
    losses.note_extras("answer.", extras);
    let mut texts = Vec::with_capacity(choices.len());
    for Choice { blocks, stop: _, logprobs: _, extras } in choices {
        losses.note_extras("answer.", extras);
        let mut text = String::new();
        for block in blocks {
            text.push_str(said(block, losses));
        }
        texts.push(text);
    }
    let written = (0..).zip(choices).zip(&texts).map(|((index, choice), text)| TextChoice {
        text,
        index,
        logprobs: (!choice.logprobs.is_empty()).then(|| Logprobs::of(&choice.logprobs, &mut 0)),
        finish_reason: Some(finish_reason(choice.stop.reason)),
    });
    let mut out = Vec::with_capacity(512);
    json::write(
        &mut out,
        &Completion {
            id: &completion_id(id.as_deref(), client),
            object: "text_completion",
            created: created.unwrap_or(client.now),
            model: model.as_deref().unwrap_or(&client.model),
            choices: &written.collect::<Vec<_>>(),
            usage: usage.as_ref().map(|usage| Some(WrittenUsage::of(usage))),
        },
    );
    out
}

/// What a block adds to the completion's text.
pub(super) fn said<'b>(block: &'b Block<'_>, losses: &mut Losses) -> &'b str {
    let Block { content, cache: _, id: _, extras } = block;
    losses.note_extras("answer.", extras);
    match content {
        Content::Text(text) => {
            losses.note_if(!text.citations.is_empty(), "answer.citations");
            &text.text
        }
        Content::Refusal(text) => text,
        Content::Reasoning(_) => {
            losses.note("answer.reasoning");
            ""
        }
        Content::Media(media) => {
            losses.note("answer.media");
            media.transcript.as_deref().unwrap_or_default()
        }
        Content::ToolCall(_) | Content::ToolResult(_) => {
            losses.note("answer.tool_calls");
            ""
        }
        Content::Foreign(foreign) => {
            losses.note_foreign("answer.", &foreign.kind);
            ""
        }
    }
}

/// <https://platform.openai.com/docs/api-reference/completions/object#completions/object-choices>.
pub(super) const fn finish_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::MaxTokens | StopReason::ContextWindow | StopReason::Pause => "length",
        StopReason::ContentFilter => "content_filter",
        StopReason::End
        | StopReason::StopSequence
        | StopReason::ToolCalls
        | StopReason::Refusal
        | StopReason::MalformedCall
        | StopReason::Other => "stop",
    }
}

/// An id that looks like one of a completion.
pub(super) fn completion_id(id: Option<&str>, client: &Client) -> String {
    let id = id.unwrap_or(&client.request_id);
    let bare = id.strip_prefix("chatcmpl-").or_else(|| id.strip_prefix("cmpl-")).unwrap_or(id);
    format!("cmpl-{bare}")
}
