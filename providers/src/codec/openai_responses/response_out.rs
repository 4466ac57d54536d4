//! Answers written.

use std::borrow::Cow;
use std::ops::Deref;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::json;

use super::fields::{Writer, has};
use super::items_out::{Body, Item, Kept, Part, Parts};
use super::{OWN, echo, reasoning};
use crate::codec::{Client, OutputItem};
use crate::common::{
    Block, Content, Extras, Losses, Media, MediaKind, MediaSource, Response, Stop, StopReason, Str, Text, TokenLogprob,
};
use crate::json;
use crate::usage::Usage;

/// Begins what follows the prefix of an id that this gateway made up.
pub(super) const MADE: &str = "gw_";

pub(super) fn encode(response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8> {
    let Response { dialect, id, model, created, choices, usage, service_tier, extras } = response;
    losses.note_if(choices.len() > 1, "answer.choices");
    let meta = Meta::of(client).started(id.as_deref(), model.as_deref(), *created, client);
    let choice = choices.first();
    let stop = choice.map_or(Stop::default(), |choice| choice.stop.clone());
    let blocks = choice.map_or(&[][..], |choice| &choice.blocks);
    let mut shown: Vec<Shown<'_>> = blocks.iter().filter_map(|block| shown(block, losses)).collect();
    shown.retain(|one| {
        let hidden = may_stay_hidden(&one.block) && one.block.is_silent();
        losses.note_if(hidden && has_citations(&one.block), "answer.citations");
        !hidden
    });
    share_logprobs(&mut shown, choice.map_or(&[], |choice| &choice.logprobs), losses);
    losses.note_if(stop.sequence.is_some(), "answer.stop_sequence");
    let (status, reason) = status(&stop, refuses(&shown));
    let mut own = Extras::new();
    for extras in [Some(extras), choice.map(|choice| &choice.extras)].into_iter().flatten() {
        if *dialect == OWN {
            own.extend(extras.iter().cloned());
        } else {
            losses.note_extras("answer.", extras);
        }
    }
    let object = Object {
        meta: &meta,
        status,
        reason,
        error: None,
        output: items(&shown, &meta, status),
        usage: usage.as_ref(),
        service_tier: service_tier.as_deref(),
        extras: &own,
    };
    let mut out = Vec::with_capacity(4096);
    json::write(&mut out, &object);
    out
}

/// What is the same in all forms of an answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Meta {
    id: String,
    /// What the ids of its items are made of: those that providers give their answers are not always unique.
    seed: String,
    model: String,
    created: u64,
    echo: Extras<'static>,
}

impl Meta {
    pub(super) fn of(client: &Client) -> Self {
        let echo = client.echo.as_ref().map_or(echo::DEFAULT, |echo| echo.get());
        Self { echo: fields(echo), seed: client.request_id.clone(), ..Self::default() }
    }

    /// An id is kept if it is one of this dialect, where DeepSeek gives UUIDs.
    pub(super) fn started(
        mut self,
        id: Option<&str>,
        model: Option<&str>,
        created: Option<u64>,
        client: &Client,
    ) -> Self {
        let uuid = |id: &str| id.len() == 36 && id.bytes().filter(|byte| *byte == b'-').count() == 4;
        self.id = match id {
            Some(id) if id.starts_with("resp_") || uuid(id) => id.to_owned(),
            Some(id) => format!("resp_{id}"),
            None => format!("resp_{}", client.request_id),
        };
        model.unwrap_or(&client.model).clone_into(&mut self.model);
        self.created = created.unwrap_or(client.now);
        self
    }

    /// The id of the item at `index`, if it has none: short enough to be sent back, which OpenAI limits to 64 characters.
    fn item_id(&self, prefix: &str, index: usize) -> String {
        format!("{prefix}{MADE}{}_{index}", &self.seed[..self.seed.floor_char_boundary(40)])
    }
}

/// The items of a whole answer.
pub(super) fn items_of(answer: &[u8]) -> Vec<OutputItem> {
    #[derive(serde::Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        output: Vec<&'a serde_json::value::RawValue>,
    }
    let Answer { output } = serde_json::from_slice(answer).unwrap_or(Answer { output: Vec::new() });
    let item = |raw: &serde_json::value::RawValue| {
        let mut fields = fields(raw.get());
        let at = fields.iter().position(|(name, _)| *name == *"id")?;
        let id = fields.remove(at).1.read::<String>().ok()?;
        Some(OutputItem { id, json: serde_json::to_string(&crate::codec::fields::Fields(&fields)).ok()? })
    };
    output.into_iter().filter_map(item).collect()
}

/// The fields of an object.
fn fields(object: &str) -> Extras<'static> {
    #[derive(Default)]
    struct Fields(Extras<'static>);
    impl<'de> serde::Deserialize<'de> for Fields {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Object;
            impl<'de> serde::de::Visitor<'de> for Object {
                type Value = Fields;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                    let mut fields = Fields::default();
                    while let Some((name, value)) = map.next_entry::<Str<'de>, crate::common::Json<'de>>()? {
                        fields.0.push((name.into_owned(), value.into_owned()));
                    }
                    Ok(fields)
                }
            }
            deserializer.deserialize_map(Object)
        }
    }
    serde_json::from_str::<Fields>(object).unwrap_or_default().0
}

/// A block that a client of this dialect can be shown, and the probabilities of its tokens.
#[derive(Debug)]
pub(super) struct Shown<'b> {
    pub(super) block: Held<'b>,
    pub(super) logprobs: Vec<TokenLogprob<'b>>,
}

/// A block of a whole answer, or one that a stream has put together. (A `Cow` would be invariant.)
#[derive(Debug)]
pub(super) enum Held<'b> {
    Lent(&'b Block<'b>),
    Own(Box<Block<'b>>),
}

impl<'b> Deref for Held<'b> {
    type Target = Block<'b>;

    fn deref(&self) -> &Block<'b> {
        match self {
            Self::Lent(block) => block,
            Self::Own(block) => block,
        }
    }
}

/// Says what of a block can be shown, and notes the rest. Sound is shown as what is spoken.
pub(super) fn shown<'b>(block: &'b Block<'b>, losses: &mut Losses) -> Option<Shown<'b>> {
    let Block { content, cache: _, id, extras } = block;
    if id.is_none() {
        losses.note_extras("answer.", extras);
    }
    let block = match content {
        Content::Text(Text { text: _, citations, signature }) => {
            losses.note_if(!citations.iter().all(super::sources::can_say), "answer.citations");
            losses.note_if(signature.is_some(), "answer.signature");
            Held::Lent(block)
        }
        Content::Media(media) => {
            let Media { kind, source, transcript, .. } = &**media;
            match (kind, source) {
                (MediaKind::Image, MediaSource::Data(_)) => Held::Lent(block),
                (MediaKind::Audio, _) => {
                    losses.note("answer.audio");
                    Held::Own(Box::new(Block::text(transcript.as_ref().map_or(Str::default(), Str::borrowed))))
                }
                (MediaKind::Image | MediaKind::Video | MediaKind::Document, _) => {
                    losses.note(kind.lost_in_answer());
                    return None;
                }
            }
        }
        Content::Foreign(foreign) if foreign.dialect != OWN => {
            losses.note_foreign("answer.", &foreign.kind);
            return None;
        }
        Content::ToolResult(_) => {
            losses.note("answer.tool_result");
            return None;
        }
        Content::Refusal(_) | Content::Reasoning(_) | Content::ToolCall(_) | Content::Foreign(_) => Held::Lent(block),
    };
    Some(Shown { block, logprobs: Vec::new() })
}

/// Whether it is shown only if it has words: a message of none means nothing, and some models refuse one that a client sends back. Those
/// of this dialect have ids.
pub(super) fn may_stay_hidden(block: &Block<'_>) -> bool {
    block.id.is_none() && matches!(block.content, Content::Text(_) | Content::Refusal(_))
}

pub(super) fn has_citations(block: &Block<'_>) -> bool {
    matches!(&block.content, Content::Text(text) if !text.citations.is_empty())
}

/// Gives each text the probabilities of its own tokens.
fn share_logprobs<'b>(shown: &mut [Shown<'b>], mut logprobs: &'b [TokenLogprob<'b>], losses: &mut Losses) {
    let texts = shown.iter().filter(|one| matches!(one.block.content, Content::Text(_))).count();
    losses.note_if(texts == 0 && !logprobs.is_empty(), "answer.logprobs");
    let mut left = texts;
    for Shown { block, logprobs: own } in shown {
        let Content::Text(text) = &block.content else { continue };
        left -= 1;
        let mut length = 0;
        let count = logprobs
            .iter()
            .take_while(|token| {
                let fits = left == 0 || length < text.text.len();
                length += token.token.len();
                fits
            })
            .count();
        let (mine, rest) = logprobs.split_at(count);
        *own = mine.to_vec();
        logprobs = rest;
    }
}

/// Whether a block is a part of a message.
pub(super) fn is_part(block: &Block<'_>) -> bool {
    match &block.content {
        Content::Text(_) | Content::Refusal(_) => true,
        Content::Foreign(_) => has(&block.extras, "=part"),
        Content::Media(_) | Content::Reasoning(_) | Content::ToolCall(_) | Content::ToolResult(_) => false,
    }
}

/// Whether two blocks that follow each other are parts of one message.
pub(super) fn one_message(a: &Block<'_>, b: &Block<'_>) -> bool {
    is_part(a) && is_part(b) && a.id == b.id
}

pub(super) fn items<'b>(shown: &'b [Shown<'b>], meta: &Meta, status: &'b str) -> Vec<Item<'b>> {
    let mut items: Vec<_> = shown
        .chunk_by(|a, b| one_message(&a.block, &b.block))
        .enumerate()
        .map(|(index, blocks)| item(blocks, meta, index, "completed"))
        .collect();
    if let Some(last) = items.last_mut().filter(|_| status == "incomplete") {
        last.status = last.status.map(|_| status);
    }
    items
}

/// The item that blocks make: the parts of a message, or one block of another kind.
pub(super) fn item<'b>(blocks: &'b [Shown<'b>], meta: &Meta, index: usize, status: &'b str) -> Item<'b> {
    let Some(Shown { block: first, .. }) = blocks.first() else {
        let body = Body::Message { role: "assistant", content: Parts::List(Vec::new()), beside: &[] };
        return Item { id: None, status: Some(status), body, extras: &[] };
    };
    let own: Kept<'b> = if first.id.is_some() { &first.extras } else { &[] };
    let message = || {
        let content = Parts::List(blocks.iter().map(part).collect());
        ("msg_", Body::Message { role: "assistant", content, beside: own }, &[][..])
    };
    let (prefix, body, extras): (_, _, Kept<'b>) = match &first.content {
        Content::Text(_) | Content::Refusal(_) => message(),
        Content::Foreign(_) if is_part(first) => message(),
        Content::Reasoning(reasoning) => {
            let mut summary: Vec<&str> = reasoning.summary.iter().map(Str::as_str).collect();
            let mut text = (!reasoning.text.is_empty()).then_some(&*reasoning.text);
            if reasoning::text_as_summary(first) {
                summary.extend(text.take());
            }
            ("rs_", Body::Reasoning { summary, text, encrypted: reasoning::for_client(first, reasoning) }, own)
        }
        Content::ToolCall(call) => {
            let arguments = if call.arguments.is_empty() && !call.custom { "{}" } else { &call.arguments };
            let prefix = if call.custom { "ctc_" } else { "fc_" };
            (prefix, Body::Call { call, id: Cow::Borrowed(&call.id), arguments }, own)
        }
        Content::Media(media) => {
            let data = match &media.source {
                MediaSource::Data(data) => data,
                _ => "",
            };
            ("ig_", Body::Image { data }, own)
        }
        Content::Foreign(foreign) => ("", Body::Foreign(&foreign.raw), own),
        // `shown` lets none pass.
        Content::ToolResult(_) => message(),
    };
    let id = match &first.id {
        Some(id) => Cow::Borrowed(&**id),
        None => Cow::Owned(meta.item_id(prefix, index)),
    };
    // Reasoning has a status with some vendors only, and no SDK asks for it.
    let status = (!matches!(body, Body::Reasoning { .. })).then_some(status);
    Item { id: Some(id), status, body, extras }
}

/// A block as a part of a message.
pub(super) fn part<'b>(shown: &'b Shown<'b>) -> Part<'b> {
    let Shown { block, logprobs } = shown;
    let extras: Kept<'b> = if block.id.is_some() { &block.extras } else { &[] };
    match &block.content {
        Content::Text(Text { text, citations, signature: _ }) => {
            Part::OutputText { text, citations, logprobs: Some(logprobs), extras }
        }
        Content::Refusal(text) => Part::Refusal { text, extras },
        Content::Foreign(foreign) => Part::Foreign(&foreign.raw),
        Content::Media(_) | Content::Reasoning(_) | Content::ToolCall(_) | Content::ToolResult(_) => {
            Part::OutputText { text: "", citations: &[], logprobs: None, extras: &[] }
        }
    }
}

/// Whether a part says that the model declined.
pub(super) fn refuses(shown: &[Shown<'_>]) -> bool {
    shown.iter().any(|shown| matches!(shown.block.content, Content::Refusal(_)))
}

/// The status of an answer, and why it is not complete. `refuses`: it has a part that says so.
pub(super) fn status<'s>(stop: &'s Stop<'_>, refuses: bool) -> (&'s str, Option<&'s str>) {
    let Stop { reason, sequence: _, detail } = stop;
    match (reason, detail.as_deref()) {
        (StopReason::MaxTokens | StopReason::ContextWindow, _) => ("incomplete", Some("max_output_tokens")),
        // A refusal of this dialect is told by its part; of others nothing but this says that the model declined.
        (StopReason::Refusal, _) if !refuses => ("incomplete", Some("content_filter")),
        (StopReason::ContentFilter, _) => ("incomplete", Some("content_filter")),
        (StopReason::MalformedCall, _) => ("incomplete", Some("malformed_call")),
        (StopReason::Other, Some(status @ ("cancelled" | "queued" | "in_progress"))) => (status, None),
        (StopReason::Other, Some("incomplete")) => ("incomplete", None),
        (StopReason::Other, Some(reason)) => ("incomplete", Some(reason)),
        (StopReason::Other, None)
        | (StopReason::End | StopReason::StopSequence | StopReason::ToolCalls, _)
        | (StopReason::Refusal | StopReason::Pause, _) => ("completed", None),
    }
}

/// An answer as an object.
pub(super) struct Object<'b> {
    pub(super) meta: &'b Meta,
    pub(super) status: &'b str,
    pub(super) reason: Option<&'b str>,
    pub(super) error: Option<(&'b str, &'b str)>,
    pub(super) output: Vec<Item<'b>>,
    pub(super) usage: Option<&'b Usage>,
    pub(super) service_tier: Option<&'b str>,
    pub(super) extras: Kept<'b>,
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { meta, status, reason, error, output, usage, service_tier, extras } = self;
        let mut object = Writer(serializer.serialize_map(None)?);
        object.put("id", &meta.id)?;
        object.put("object", "response")?;
        object.put("created_at", &meta.created)?;
        object.put("status", status)?;
        object.put("error", &error.map(|(code, message)| json!({"code": code, "message": message})))?;
        object.put("incomplete_details", &reason.map(|reason| json!({"reason": reason})))?;
        object.put("model", &meta.model)?;
        object.put("output", output)?;
        object.extras(&meta.echo)?;
        object.put("usage", &usage.map(Counts))?;
        object.opt("service_tier", *service_tier)?;
        object.extras(extras)?;
        object.0.end()
    }
}

/// <https://platform.openai.com/docs/api-reference/responses/object#responses/object-usage>. The details are numbers even where
/// nothing was reported: the SDKs want them.
struct Counts<'u>(&'u Usage);

impl Serialize for Counts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let usage = self.0;
        let (input, output) = (usage.total_input().unwrap_or(0), usage.total_output().unwrap_or(0));
        let mut read = json!({
            "cached_tokens": usage.cache_read.unwrap_or(0),
            "cache_write_tokens": usage.total_cache_write().unwrap_or(0),
        });
        let mut written = json!({"reasoning_tokens": usage.reasoning.unwrap_or(0)});
        for (name, count) in [("audio_tokens", usage.audio_input), ("image_tokens", usage.image_input)] {
            if let Some(count) = count {
                read[name] = count.into();
            }
        }
        for (name, count) in [("audio_tokens", usage.audio_output), ("image_tokens", usage.image_output)] {
            if let Some(count) = count {
                written[name] = count.into();
            }
        }
        let mut object = Writer(serializer.serialize_map(None)?);
        object.put("input_tokens", &input)?;
        object.put("input_tokens_details", &read)?;
        object.put("output_tokens", &output)?;
        object.put("output_tokens_details", &written)?;
        object.put("total_tokens", &input.saturating_add(output))?;
        object.opt("num_search_queries", usage.web_searches)?;
        object.0.end()
    }
}
