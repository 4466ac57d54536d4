//! From our views to the records of the world.

use http::HeaderMap;

use super::world::{
    Answer as AnswerSeen, Candidate, End as EndSeen, Exchange, Finish as FinishSeen, Hooks, Key, Needs as Asked,
    Part as PartSeen, PartKind as PartKindSeen, Piece, Plan as PlanSeen, Request as RequestSeen, Text as TextSeen,
    TextKind as TextKindSeen, Upstream as UpstreamSeen,
};
use crate::providers::Dialect;
use crate::providers::codec::{Client, Target, codec};
use crate::providers::common::{Losses, ProviderTag};
use crate::text::MOST_HELD;
use crate::{
    About, Answer, End, Failure, Finish, Needs, Part, PartKind, Plan, Request, Text, TextKind, Upstream, Window,
};

/// What a component asks for, as we say it; beside its own words, which say what it wants of bodies.
///
/// # Errors
/// More than there is.
pub(super) fn needs(asked: &Asked) -> Result<(Hooks, Needs), Failure> {
    let (hooks, has) = (asked.hooks, |any: Hooks| asked.hooks.intersects(any));
    let mut needs = Needs::new();
    needs.body = has(Hooks::REQUEST_TEXTS | Hooks::REQUEST_JSON | Hooks::REQUEST_CHAT);
    needs.request = needs.body || has(Hooks::REQUEST);
    needs.plan = has(Hooks::PLAN);
    needs.upstream = has(Hooks::UPSTREAM);
    needs.answer_body = has(Hooks::ANSWER_TEXTS | Hooks::ANSWER_JSON | Hooks::ANSWER_CHAT);
    needs.answer = needs.answer_body || has(Hooks::ANSWER);
    needs.bytes = has(Hooks::BYTES);
    needs.end = has(Hooks::END);
    let (hold, window) = (asked.hold as usize, asked.window as usize);
    if has(Hooks::TEXT | Hooks::RESTORE) {
        needs.text = Some(hold);
    }
    if has(Hooks::WINDOW) {
        needs.window = Some(window);
    }
    if hold > MOST_HELD || window > MOST_HELD || (has(Hooks::WINDOW) && window == 0) {
        return Err(
            format!("it asks for {hold} bytes to hold and windows of {window}: {MOST_HELD} are the most").into()
        );
    }
    Ok((hooks, needs))
}

pub(super) fn exchange(about: &About) -> Exchange {
    let text = |text: &std::sync::Arc<str>| text.to_string();
    Exchange {
        id: text(&about.id),
        key: about.key.as_ref().map(|key| Key {
            name: text(&key.name),
            team: key.team.as_ref().map(text),
            tags: key.tags.iter().map(text).collect(),
        }),
        operation: about.operation.to_string(),
        dialect: about.dialect.to_string(),
        model: about.model.as_ref().map(text),
        streams: about.stream,
        path: text(&about.path),
    }
}

/// # Errors
/// It asks for a chat that cannot be read.
pub(super) fn request(request: &Request, hooks: Hooks) -> Result<RequestSeen, Failure> {
    let body = || Some(String::from_utf8_lossy(request.json()).into_owned()).filter(|json| !json.is_empty());
    let chat = || {
        let written = request.chat()?.and_then(|chat| {
            let target = Target::new(&chat.model, ProviderTag::of(""));
            codec(Dialect::OpenAiChat).encode_request(&chat, &target, &mut Losses::default())
        });
        Some(written)
    };
    let chat = hooks.contains(Hooks::REQUEST_CHAT).then(chat).flatten().transpose();
    Ok(RequestSeen {
        headers: headers(&request.headers),
        texts: hooks.contains(Hooks::REQUEST_TEXTS).then(|| texts(request.texts())).unwrap_or_default(),
        json: hooks.contains(Hooks::REQUEST_JSON).then(body).flatten(),
        chat: chat.map_err(|_| UNREAD)?.map(utf8),
    })
}

/// The error itself may quote the body.
const UNREAD: &str = "it asks for the chat in the common form, and that cannot be told";

fn utf8(json: Vec<u8>) -> String {
    String::from_utf8_lossy(&json).into_owned()
}

pub(super) fn plan(plan: &Plan) -> PlanSeen {
    let candidates = plan.candidates.iter().map(|candidate| Candidate {
        provider: candidate.provider.to_string(),
        model: candidate.model.to_string(),
        priority: candidate.priority,
        weight: candidate.weight,
    });
    PlanSeen { model: plan.model.to_string(), candidates: candidates.collect() }
}

pub(super) fn upstream(upstream: &Upstream) -> UpstreamSeen {
    UpstreamSeen {
        provider: upstream.provider.to_string(),
        model: upstream.model.to_string(),
        attempt: number(upstream.attempt),
        headers: headers(&upstream.headers),
    }
}

/// # Errors
/// It asks for a chat that cannot be read.
pub(super) fn answer(answer: &Answer, hooks: Hooks) -> Result<AnswerSeen, Failure> {
    let chat = hooks.contains(Hooks::ANSWER_CHAT).then(|| answer.chat()).flatten().transpose();
    let chat = chat.map_err(|_| UNREAD)?.map(|chat| {
        let mut losses = Losses::default();
        utf8(codec(Dialect::OpenAiChat).encode_response(&chat, &Client::default(), &mut losses))
    });
    let json = || answer.json().map(|json| String::from_utf8_lossy(json).into_owned());
    Ok(AnswerSeen {
        status: answer.status,
        headers: headers(&answer.headers),
        texts: hooks.contains(Hooks::ANSWER_TEXTS).then(|| texts(answer.texts())).unwrap_or_default(),
        json: hooks.contains(Hooks::ANSWER_JSON).then(json).flatten(),
        chat,
    })
}

fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn texts(texts: Vec<Text<'_>>) -> Vec<TextSeen> {
    let kind = |kind| match kind {
        TextKind::System => TextKindSeen::System,
        TextKind::User => TextKindSeen::User,
        TextKind::Assistant => TextKindSeen::Assistant,
        TextKind::Reasoning => TextKindSeen::Reasoning,
        TextKind::Refusal => TextKindSeen::Refusal,
        TextKind::Arguments => TextKindSeen::Arguments,
        TextKind::ToolResult => TextKindSeen::ToolResult,
        TextKind::Input => TextKindSeen::Input,
        _ => TextKindSeen::Other,
    };
    let seen = |text: Text<'_>| TextSeen { kind: kind(text.kind), text: text.text.into_owned(), json: text.json };
    texts.into_iter().map(seen).collect()
}

fn part(part: Part) -> PartSeen {
    let kind = match part.kind {
        PartKind::Text => PartKindSeen::Text,
        PartKind::Refusal => PartKindSeen::Refusal,
        PartKind::Reasoning => PartKindSeen::Reasoning,
        PartKind::Arguments | PartKind::Input => PartKindSeen::Arguments,
        PartKind::Transcript => PartKindSeen::Transcript,
    };
    PartSeen { choice: part.choice, index: part.index, kind }
}

/// What is given to `window`.
pub(super) fn piece(of: Part, text: &str, last: bool) -> Piece {
    Piece { part: part(of), text: text.to_owned(), seen: 0, before: String::new(), last }
}

/// What is given to `text`.
pub(super) fn window(window: &Window<'_>) -> Piece {
    Piece {
        part: part(window.part()),
        text: window.text().to_owned(),
        seen: number(window.seen()),
        before: window.before().to_owned(),
        last: window.is_end(),
    }
}

pub(super) fn end(end: &End) -> EndSeen {
    let text = |text: &std::sync::Arc<str>| text.to_string();
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    EndSeen {
        status: end.status,
        finish: match end.finish {
            Finish::Complete => FinishSeen::Complete,
            Finish::Cut => FinishSeen::Cut,
            Finish::Error => FinishSeen::Error,
            Finish::ClientLeft => FinishSeen::ClientLeft,
        },
        error: end.error.map(ToOwned::to_owned),
        input_tokens: end.usage.as_ref().and_then(crate::providers::Usage::total_input),
        output_tokens: end.usage.as_ref().and_then(crate::providers::Usage::total_output),
        cost: end.cost.clone(),
        provider: end.provider.as_ref().map(text),
        model: end.model.as_ref().map(text),
        attempts: number(end.attempts),
        duration_ms: millis(end.duration),
        first_token_ms: end.first_token.map(millis),
    }
}

fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
