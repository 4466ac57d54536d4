//! What a component changed, done to our views. What does not fit is a failure, and then nothing of it counts.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::IgnoredAny;

use super::world::{Change, Replacement};
use crate::providers::Dialect;
use crate::providers::codec::{Call, Maker, codec};
use crate::{Answer, AnswerBody, Failure, Plan, Request, Upstream, Window};

const NOT_HERE: &str = "it changed what cannot be changed in this event";
const NO_BODY: &str = "it changed a body that is not there, or that it did not ask for";

/// JSON that is some.
///
/// # Errors
/// It is none.
pub(super) fn sound(json: String) -> Result<Bytes, Failure> {
    match serde_json::from_str::<IgnoredAny>(&json) {
        Ok(_) => Ok(json.into()),
        Err(_) => Err("it made a body that is no JSON".into()),
    }
}

pub(super) fn nothing(changes: &[Change]) -> Result<(), Failure> {
    if changes.is_empty() { Ok(()) } else { Err(NOT_HERE.into()) }
}

pub(super) fn to_request(changes: Vec<Change>, request: &mut Request) -> Result<(), Failure> {
    let mut texts = HashMap::new();
    for change in changes {
        match change {
            Change::Header(change) => header(&mut request.headers, change)?,
            _ if request.json().is_empty() => return Err(NO_BODY.into()),
            Change::Text((number, text)) => drop(texts.insert(number as usize, text)),
            Change::Json(json) => request.set_json(sound(json)?),
            Change::Chat(chat) => {
                let bad = |_| Failure::from("it made a chat that cannot be said");
                let chat = codec(Dialect::OpenAiChat).decode_request(chat.as_bytes(), &Call::default()).map_err(bad)?;
                request.set_chat(&chat).map_err(bad)?;
            }
            Change::Order(_) | Change::Replace(_) | Change::Release(_) => return Err(NOT_HERE.into()),
        }
    }
    if !texts.is_empty() {
        request.edit_texts(|text| texts.remove(&text.number));
    }
    used(&texts)
}

pub(super) fn to_plan(changes: Vec<Change>, plan: &mut Plan) -> Result<(), Failure> {
    for change in changes {
        let Change::Order(order) = change else { return Err(NOT_HERE.into()) };
        let mut left: Vec<_> = plan.candidates.drain(..).map(Some).collect();
        for number in order {
            let candidate = left.get_mut(number as usize).and_then(Option::take);
            plan.candidates.push(candidate.ok_or("it ordered a candidate that is not there, or twice")?);
        }
    }
    Ok(())
}

pub(super) fn to_upstream(changes: Vec<Change>, upstream: &mut Upstream) -> Result<(), Failure> {
    for change in changes {
        let Change::Header(change) = change else { return Err(NOT_HERE.into()) };
        header(&mut upstream.headers, change)?;
    }
    Ok(())
}

pub(super) fn to_answer(changes: Vec<Change>, answer: &mut Answer) -> Result<(), Failure> {
    let mut texts = HashMap::new();
    for change in changes {
        match change {
            Change::Header(change) => header(&mut answer.headers, change)?,
            _ if answer.body == AnswerBody::Passing => return Err(NO_BODY.into()),
            Change::Text((number, text)) => drop(texts.insert(number as usize, text)),
            Change::Json(json) => answer.body = AnswerBody::Json(sound(json)?),
            Change::Chat(chat) => {
                let maker = Maker::nobody("0");
                let chat = codec(Dialect::OpenAiChat).decode_response(chat.as_bytes(), &maker);
                answer.set_chat(&chat.map_err(|_| "it made a chat that cannot be said")?);
            }
            Change::Order(_) | Change::Replace(_) | Change::Release(_) => return Err(NOT_HERE.into()),
        }
    }
    if !texts.is_empty() {
        answer.edit_texts(|text| texts.remove(&text.number));
    }
    used(&texts)
}

pub(super) fn to_text(changes: Vec<Change>, text: &mut Window<'_>) -> Result<(), Failure> {
    for change in changes {
        match change {
            Change::Replace(Replacement { start, end, text: with }) => {
                let range = start as usize..end as usize;
                if text.text().get(range.clone()).is_none() {
                    return Err("it replaced a range that is not there, or cuts a character".into());
                }
                text.replace(range, with);
            }
            Change::Release(at) => text.release_to(at as usize),
            Change::Header(_) | Change::Text(_) | Change::Json(_) | Change::Chat(_) | Change::Order(_) => {
                return Err(NOT_HERE.into());
            }
        }
    }
    Ok(())
}

fn header(headers: &mut HeaderMap, (name, value): (String, Option<String>)) -> Result<(), Failure> {
    let bad = "it set a header that cannot be one";
    let name = HeaderName::try_from(name).map_err(|_| bad)?;
    match value {
        Some(value) => drop(headers.insert(name, HeaderValue::try_from(value).map_err(|_| bad)?)),
        None => drop(headers.remove(name)),
    }
    Ok(())
}

/// All texts were found.
fn used(texts: &HashMap<usize, String>) -> Result<(), Failure> {
    if texts.is_empty() { Ok(()) } else { Err("it changed a text that is not there".into()) }
}
