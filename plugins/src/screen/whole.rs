//! The texts of an answer that came whole through the hooks.

use bytes::Bytes;

use super::{Hooked, chain};
use crate::fields::Object;
use crate::providers::common::{Block, Choice, Content, Response, Stop, StopReason};
use crate::providers::scan::{block_texts, edit_block};
use crate::providers::{Dialect, Operation};
use crate::text::Stage;
use crate::{Answer, AnswerBody, Part, PartKind, Rejection, Text, TextKind};

/// Runs `hooks` over the texts of `answer`, and changes those that they change. If one refuses, the refusal stands in the place of
/// what was said, and is given back, too.
pub fn screen_whole(answer: &mut Answer, hooks: &mut [Hooked]) -> Option<Rejection> {
    if hooks.is_empty() {
        return None;
    }
    let screened = screen_texts(&answer.texts(), hooks);
    let mut edited = match screened {
        Ok(edited) => edited.into_iter().peekable(),
        Err(rejection) => {
            refuse_whole(answer, &rejection);
            return Some(rejection);
        }
    };
    let restores = restore(hooks);
    if edited.peek().is_some() {
        let edit = |text: &Text<'_>| edited.next_if(|(number, _)| *number == text.number).map(|(_, new)| new);
        if restores {
            answer.restore_texts(edit);
        } else {
            answer.edit_texts(edit);
        }
    }
    None
}

/// Runs `hooks` over the texts of one block that came whole. Gives back what it has become, if any was changed.
///
/// # Errors
/// One refuses.
pub(super) fn screen_block(block: &str, dialect: Dialect, hooks: &mut [Hooked]) -> Result<Option<String>, Rejection> {
    let mut edited = screen_texts(&block_texts(block.as_bytes(), dialect), hooks)?.into_iter().peekable();
    if edited.peek().is_none() {
        return Ok(None);
    }
    let edit = |text: &Text<'_>| edited.next_if(|(number, _)| *number == text.number).map(|(_, new)| new);
    Ok(edit_block(block, dialect, restore(hooks), edit))
}

/// Whether `hooks` only bring back what the client said.
fn restore(hooks: &[Hooked]) -> bool {
    hooks.iter().all(|hook| hook.restores)
}

/// Runs `hooks` over `texts`: the numbers of those that are to be changed, in their order, and what they become. Those that go on with
/// each other are looked at as one.
fn screen_texts(texts: &[Text<'_>], hooks: &mut [Hooked]) -> Result<Vec<(usize, String)>, Rejection> {
    let mut edited = Vec::new();
    for message in texts.chunk_by(|_, next| next.goes_on) {
        let Some(part) = message.first().and_then(part_of) else { continue };
        let mut stages: Vec<Stage> = hooks.iter().map(|_| Stage::default()).collect();
        let mut screened = Vec::with_capacity(message.len());
        for (text, left) in message.iter().zip((0..message.len()).rev()) {
            let mut out = String::new();
            let refused = chain::run(hooks, &mut stages, part, &text.text, left == 0, &mut |text| out.push_str(text));
            if let Some(rejection) = refused {
                return Err(rejection);
            }
            screened.push((text.number, out));
        }
        if stages.iter().any(Stage::is_edited) {
            edited.append(&mut screened);
        }
    }
    Ok(edited)
}

/// Which part of an answer a text of it is; `None`: none that is looked at.
#[must_use]
pub fn part_of(text: &Text<'_>) -> Option<Part> {
    let kind = match text.kind {
        TextKind::Assistant | TextKind::Input => PartKind::Text,
        TextKind::Reasoning => PartKind::Reasoning,
        TextKind::Refusal => PartKind::Refusal,
        TextKind::Arguments if text.json => PartKind::Arguments,
        TextKind::Arguments => PartKind::Input,
        _ => return None,
    };
    Some(Part::new(0, u32::try_from(text.number).unwrap_or(u32::MAX), kind))
}

/// Puts the refusal in the place of what the answer says.
pub fn refuse_whole(answer: &mut Answer, rejection: &Rejection) {
    if !says(answer) {
        let error = serde_json::json!({ "error": { "message": rejection.message, "type": "content_filter" } });
        answer.body = AnswerBody::Json(Bytes::from(error.to_string()));
        return;
    }
    let mut response = match answer.decoded() {
        Some(Ok(response)) => bounded(response),
        _ => Response::new(answer.dialect),
    };
    if response.choices.is_empty() {
        response.choices.push(Choice::default());
    }
    for choice in &mut response.choices {
        *choice = Choice {
            blocks: vec![Block::new(Content::Refusal(rejection.message.clone().into()))],
            stop: Stop::new(StopReason::ContentFilter),
            ..Choice::default()
        };
    }
    answer.set_chat(&response);
}

/// Whether the answer is what a model said in a chat, now or when it was kept.
fn says(answer: &Answer) -> bool {
    match answer.operation {
        Operation::Chat => true,
        Operation::Stored => answer.json().is_some_and(|json| {
            Object::read(json).is_some_and(|body| body.get("object").is_some_and(|object| object == "\"response\""))
        }),
        _ => false,
    }
}

/// What of the answer a refusal keeps: whose it is, and what it cost.
fn bounded(response: Response<'_>) -> Response<'static> {
    Response {
        dialect: response.dialect,
        id: response.id.map(|id| id.into_owned()),
        model: response.model.map(|model| model.into_owned()),
        created: response.created,
        choices: response.choices.iter().map(|_| Choice::default()).collect(),
        usage: response.usage,
        service_tier: response.service_tier.map(|tier| tier.into_owned()),
        extras: Vec::new(),
    }
}
