//! The texts of an answer that came whole through the hooks.

use bytes::Bytes;

use super::{Hooked, chain};
use crate::fields::Object;
use crate::providers::Operation;
use crate::providers::common::{Block, Choice, Content, Response, Stop, StopReason};
use crate::text::Stage;
use crate::{Answer, AnswerBody, Part, PartKind, Rejection, Text, TextKind};

/// Runs `hooks` over the texts of `answer`, and changes those that they change. If one refuses, the refusal stands in the place of
/// what was said, and is given back, too.
pub fn screen_whole(answer: &mut Answer, hooks: &mut [Hooked]) -> Option<Rejection> {
    if hooks.is_empty() {
        return None;
    }
    let mut refused = None;
    let restores = hooks.iter().all(|hook| hook.restores);
    let screen = |text: &Text<'_>| {
        let part = part_of(text)?;
        if refused.is_some() {
            return None;
        }
        let mut stages: Vec<Stage> = hooks.iter().map(|_| Stage::default()).collect();
        let mut out = String::new();
        refused = chain::run(hooks, &mut stages, part, &text.text, true, &mut |text| out.push_str(text));
        stages.iter().any(Stage::is_edited).then_some(out)
    };
    if restores {
        answer.restore_texts(screen);
    } else {
        answer.edit_texts(screen);
    }
    if let Some(rejection) = &refused {
        refuse_whole(answer, rejection);
    }
    refused
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
