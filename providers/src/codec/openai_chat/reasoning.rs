//! Reasoning in messages: `reasoning_content` (DeepSeek, vLLM, xAI and most others), `reasoning` (Groq, OpenRouter, Cerebras), and
//! OpenRouter's `reasoning_details`, which alone can carry signatures
//! (<https://openrouter.ai/docs/use-cases/reasoning-tokens#preserving-reasoning-blocks>).
//!
//! The plain fields repeat the text of the details; it is read once.

use serde::Serialize;

use super::OWN;
use super::part_out::Fields;
use super::parts::Origin;
use super::wire::{Raw, keep, read, text_of};
use crate::codec::wire::wire;
use crate::common::{Block, Content, Foreign, Json, Reasoning, Str, paragraphs};

wire! {
    /// An entry of `reasoning_details`.
    pub(super) struct Detail<'a> {
        "type" => kind: Str<'a>,
        "text" => text: Option<Str<'a>>,
        "summary" => summary: Option<Str<'a>>,
        "data" => data: Option<Str<'a>>,
        "signature" => signature: Option<Str<'a>>,
        "id" => id: Option<Str<'a>>,
        "index" => index: Option<u64>,
        "format" => format: Option<Raw<'a>>,
    }
}

impl Detail<'_> {
    /// Whether it says anything: OpenRouter's streams begin with empty ones.
    pub(super) fn is_empty(&self) -> bool {
        [&self.text, &self.summary, &self.data, &self.signature].into_iter().flatten().all(|text| text.is_empty())
    }
}

/// The entries of `reasoning_details`, each with its raw form.
pub(super) fn details(raw: Option<Raw<'_>>) -> Vec<(Detail<'_>, Raw<'_>)> {
    let list = raw.and_then(read::<Vec<Raw<'_>>>).unwrap_or_default();
    list.into_iter().filter_map(|raw| Some((read::<Detail<'_>>(raw)?, raw))).collect()
}

/// The plain text of the reasoning.
pub(super) fn plain<'a>(content: Option<Raw<'a>>, reasoning: Option<Raw<'a>>) -> Option<Str<'a>> {
    text_of(content).or_else(|| text_of(reasoning))
}

/// The reasoning of a whole message.
pub(super) fn read_whole<'a>(
    plain: Option<Str<'a>>,
    list: Option<Raw<'a>>,
    origin: Origin,
    blocks: &mut Vec<Block<'a>>,
) {
    let from = blocks.len();
    let mut last: Option<Option<u64>> = None;
    for (detail, raw) in details(list) {
        if !matches!(&*detail.kind, "reasoning.text" | "reasoning.summary" | "reasoning.encrypted") {
            let foreign = Foreign { dialect: OWN, kind: detail.kind, raw: keep(raw) };
            blocks.push(Block::new(Content::Foreign(Box::new(foreign))));
            last = None;
        } else if !detail.is_empty() {
            let index = detail.index;
            let fits = last == Some(index) && blocks.last().is_some_and(|block| has_room(block, &detail));
            if !fits {
                blocks.push(Block::new(Content::Reasoning(Box::default())));
            }
            if let Some(block) = blocks.last_mut() {
                add(block, detail, origin);
            }
            last = Some(index);
        }
    }
    let Some(plain) = plain else { return };
    let mut own = blocks[from..].iter_mut().filter_map(|block| match &mut block.content {
        Content::Reasoning(reasoning) => Some(reasoning),
        _ => None,
    });
    match own.next() {
        None => {
            let reasoning = Reasoning { text: plain, ..Reasoning::default() };
            blocks.insert(from, Block::new(Content::Reasoning(Box::new(reasoning))));
        }
        Some(first) => {
            let told = |reasoning: &Reasoning<'_>| !reasoning.text.is_empty() || !reasoning.summary.is_empty();
            if !told(first) && !own.any(|reasoning| told(reasoning)) {
                first.text = plain;
            }
        }
    }
}

/// Whether an entry with the same index belongs to the same block.
fn has_room(block: &Block<'_>, detail: &Detail<'_>) -> bool {
    let Content::Reasoning(reasoning) = &block.content else { return false };
    let filled = |text: &Option<Str<'_>>| text.as_ref().is_some_and(|text| !text.is_empty());
    !(filled(&detail.data) && reasoning.encrypted.is_some()
        || filled(&detail.signature) && reasoning.signature.is_some()
        || filled(&detail.text) && !reasoning.text.is_empty())
}

fn add<'a>(block: &mut Block<'a>, detail: Detail<'a>, origin: Origin) {
    let Content::Reasoning(reasoning) = &mut block.content else { return };
    let some = |text: Option<Str<'a>>| text.filter(|text| !text.is_empty());
    if let Some(text) = some(detail.text) {
        reasoning.text = text;
    }
    reasoning.summary.extend(some(detail.summary));
    if let Some(signature) = some(detail.signature) {
        reasoning.signature = Some(origin.opaque(signature));
    }
    if let Some(data) = some(detail.data) {
        reasoning.encrypted = Some(origin.opaque(data));
    }
    block.id = block.id.take().or(detail.id);
    if block.extras.is_empty() {
        block.extras = detail.rest;
        block.extras.extend(detail.format.map(|format| ("=format".into(), keep(format))));
    }
}

/// An entry of `reasoning_details` that is written.
#[derive(Serialize, Default)]
pub(super) struct DetailOut<'r> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) summary: Option<Str<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Str<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<Str<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'r str>,
    pub(super) index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) format: Option<&'r Json<'r>>,
    #[serde(flatten)]
    pub(super) rest: Fields<'r>,
}

/// An entry in our words, or one that was never understood.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum AnyDetail<'r> {
    /// Ours.
    Known(DetailOut<'r>),
    /// Theirs.
    Raw(&'r Json<'r>),
}

/// What is written of a block of reasoning: signatures and encrypted forms are what the reader may see of them.
pub(super) fn write_details<'r>(
    reasoning: &'r Reasoning<'r>,
    signature: Option<Str<'r>>,
    encrypted: Option<Str<'r>>,
    id: Option<&'r str>,
    index: usize,
    rest: &'r [(Str<'r>, Json<'r>)],
    out: &mut Vec<AnyDetail<'r>>,
) {
    let mut push = |detail| out.push(AnyDetail::Known(detail));
    // OpenRouter names the item where its encrypted form is.
    let own_id = id.filter(|_| encrypted.is_none());
    let base = || DetailOut {
        id: own_id,
        index,
        format: super::spelt(rest, "format"),
        rest: Fields::outer(rest, ""),
        ..DetailOut::default()
    };
    if !reasoning.text.is_empty() || signature.is_some() {
        let text = Some(&*reasoning.text);
        push(DetailOut { kind: "reasoning.text", text, signature, ..base() });
    }
    if let Some(summary) = paragraphs(reasoning.summary.iter().map(Str::as_str)) {
        push(DetailOut { kind: "reasoning.summary", summary: Some(summary.into()), ..base() });
    }
    if encrypted.is_some() {
        push(DetailOut { kind: "reasoning.encrypted", data: encrypted, id, ..base() });
    }
}
