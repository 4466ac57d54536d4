//! Answers written: <https://docs.anthropic.com/en/api/messages#response-id>.

use serde::Serialize;

use super::super::Client;
use super::OWN;
use super::block_out::{BlockOut, BodyOut, Known};
use super::response_in::EXPLAINED;
use super::usage::{UsageOut, stop_out, tier_out};
use crate::codec::fields::Fields;
use crate::common::{
    Block, Choice, Citation, Content, Json, Losses, Media, Opaque, Reasoning, Response, Stop, Str, Text, ToolCall,
    flat_name,
};
use crate::dialect::Dialect;
use crate::json;

/// An answer, and what `message_start` says of it.
#[derive(Serialize)]
pub(super) struct MessageOut<'x> {
    pub id: &'x str,
    pub r#type: &'static str,
    pub role: &'static str,
    pub model: &'x str,
    pub content: Vec<BlockOut<'x>>,
    pub stop_reason: Option<&'x str>,
    pub stop_sequence: Option<&'x str>,
    pub usage: UsageOut<'x>,
    #[serde(flatten)]
    pub extras: Fields<'x, 'x>,
}

pub(super) fn encode(response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8> {
    let Response { dialect, id, model, created: _, choices, usage, service_tier, extras } = response;
    let own = *dialect == OWN;
    losses.note_if(choices.len() > 1, "answer.choices");
    let nothing = Choice::default();
    let Choice { blocks, stop, logprobs, extras: choice_extras } = choices.first().unwrap_or(&nothing);
    losses.note_if(!logprobs.is_empty(), "answer.logprobs");
    if !own {
        losses.note_extras("answer.", extras);
    }
    losses.note_extras("answer.", choice_extras);
    let made_id = made_id(client);
    let tier = tier_out(service_tier.as_deref(), losses);
    let Stop { sequence, .. } = stop;
    let message = MessageOut {
        id: id.as_deref().unwrap_or(&made_id),
        r#type: "message",
        role: "assistant",
        model: model.as_deref().unwrap_or(&client.model),
        content: blocks.iter().filter_map(|block| answer_block(block, *dialect, losses)).collect(),
        stop_reason: Some(stop_out(stop, own, losses)),
        stop_sequence: sequence.as_deref(),
        usage: UsageOut::of(&usage.unwrap_or_default(), tier).with_input(),
        extras: if own { Fields(extras) } else { Fields::default() },
    };
    let mut out = Vec::with_capacity(1024);
    json::write(&mut out, &message);
    out
}

/// The id of an answer that came without one.
pub(super) fn made_id(client: &Client) -> String {
    format!("msg_{}", client.request_id)
}

fn answer_block<'x>(block: &'x Block<'_>, dialect: Dialect, losses: &mut Losses) -> Option<BlockOut<'x>> {
    let Block { content, cache: _, id: _, extras } = block;
    if Fields(extras).get(EXPLAINED).is_some() {
        return None;
    }
    if dialect != OWN && block.is_silent() {
        losses.note_if(block.is_signed_text(), "answer.signature");
        return None;
    }
    let body = match content {
        Content::Text(Text { text, citations, signature }) => BodyOut::Text {
            text,
            citations: citations.iter().filter_map(|citation| citation_out(citation, losses)).collect(),
            signature: signature.as_ref().and_then(ticket),
        },
        Content::Refusal(text) => BodyOut::Text { text, citations: Vec::new(), signature: None },
        Content::Reasoning(reasoning) => reasoning_out(reasoning, dialect),
        Content::ToolCall(call) => {
            let ToolCall { id, name, arguments: _, custom: _, namespace, signature } = &**call;
            BodyOut::ToolUse {
                id: (**id).into(),
                name: flat_name(namespace.as_deref(), name).into(),
                input: call.arguments_object(),
                signature: signature.as_ref().and_then(ticket),
            }
        }
        Content::Media(media) => {
            let text = spoken(media, losses)?;
            BodyOut::Text { text, citations: Vec::new(), signature: None }
        }
        Content::ToolResult(_) => {
            losses.note("answer.tool_result");
            return None;
        }
        Content::Foreign(foreign) if foreign.dialect == OWN => return Some(BlockOut::Raw(&foreign.raw)),
        Content::Foreign(foreign) => {
            losses.note_foreign("answer.", &foreign.kind);
            return None;
        }
    };
    let extras = if dialect == OWN {
        Fields(extras)
    } else {
        losses.note_extras("answer.", extras);
        Fields::default()
    };
    Some(BlockOut::Known(Known { body, cache_control: None, extras }))
}

/// State that Anthropic has no field for goes into one of ours, as a ticket; its own would be there already.
pub(super) fn ticket(state: &Opaque<'_>) -> Option<Box<str>> {
    (state.dialect != OWN).then(|| (*state.for_client(OWN)).into())
}

/// Anthropic's citations point into the prompt or hold an encrypted index: another dialect's cannot be said.
pub(super) fn citation_out<'x>(citation: &'x Citation<'_>, losses: &mut Losses) -> Option<&'x Json<'x>> {
    let Citation { url: _, title: _, quote: _, span: _, raw } = citation;
    let own = raw.as_ref().filter(|(dialect, _)| *dialect == OWN).map(|(_, raw)| raw);
    losses.note_if(own.is_none(), "answer.citations");
    own
}

/// What is spoken, of an answer in sound. Answers hold no media.
pub(super) fn spoken<'x>(media: &'x Media<'_>, losses: &mut Losses) -> Option<&'x str> {
    losses.note(media.kind.lost_in_answer());
    media.transcript.as_deref().filter(|text| !text.is_empty())
}

fn reasoning_out<'x>(reasoning: &Reasoning<'_>, dialect: Dialect) -> BodyOut<'x> {
    let Reasoning { text: _, summary: _, signature, encrypted } = reasoning;
    let thinking = reasoning.shown().unwrap_or_default();
    match encrypted {
        Some(data) if thinking.is_empty() && signature.is_none() => {
            BodyOut::RedactedThinking { data: (*data.for_client(OWN)).into() }
        }
        _ => {
            let unsigned = unsigned(dialect);
            let state = signature.as_ref().or(encrypted.as_ref()).unwrap_or(&unsigned);
            BodyOut::Thinking { thinking: thinking.into(), signature: (*state.for_client(OWN)).into() }
        }
    }
}

/// The state of reasoning that was never signed. Of another dialect it becomes a ticket without data: Anthropic would take
/// neither an empty signature nor that ticket, so the next turn must show that this is not Claude's.
pub(super) fn unsigned(dialect: Dialect) -> Opaque<'static> {
    Opaque::made_by(dialect, None, Str::default())
}
