//! OpenAI's typed events: Responses (<https://platform.openai.com/docs/api-reference/responses-streaming>), and the
//! streams of images, speech and transcription, which follow the same pattern.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

use super::Notes;
use super::raw::{self, Raw};
use crate::codec::responses_stop;
use crate::common::Stop;
use crate::usage::report::{Report, SEARCH, is_search};
use crate::usage::tree::Tree;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    delta: Raw<'a>,
    /// `speech.audio.delta`
    #[serde(borrow)]
    audio: Raw<'a>,
    #[serde(borrow)]
    response: Raw<'a>,
    /// `response.output_item.done`
    #[serde(borrow)]
    item: Raw<'a>,
    #[serde(borrow)]
    usage: Raw<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    id: Raw<'a>,
    #[serde(borrow)]
    model: Raw<'a>,
    #[serde(borrow)]
    usage: Raw<'a>,
    #[serde(borrow)]
    tool_usage: Raw<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
    #[serde(borrow)]
    service_tier: Raw<'a>,
    #[serde(borrow)]
    background: Raw<'a>,
    #[serde(borrow)]
    status: Raw<'a>,
    #[serde(borrow)]
    incomplete_details: Raw<'a>,
}

#[derive(Deserialize)]
struct Incomplete<'a> {
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
}

static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"delta\""));
static SEARCH_CALL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(SEARCH));

/// Reads an event of a stream that has only typed ones.
pub(super) fn on_event(name: &[u8], data: &[u8], notes: &mut Notes) {
    if !on_event_if_typed(name, data, notes) {
        match raw::parse::<Event<'_>>(data) {
            // Some servers that speak Responses report errors as in chat.
            Some(Event { error: Some(error), .. }) => notes.error(raw::bytes(error)),
            Some(_) => {}
            None if data.trim_ascii() == b"[DONE]" => {}
            None => notes.unreadable(),
        }
    }
}

/// Reads an event if it has a type; else returns false.
pub(super) fn on_event_if_typed(name: &[u8], data: &[u8], notes: &mut Notes) -> bool {
    if !name.is_empty() && name != b"message" {
        on_type(name, data, notes);
        true
    } else if let Some(name) = raw::type_of(data) {
        on_type(name.as_bytes(), data, notes);
        true
    } else {
        false
    }
}

fn on_type(name: &[u8], data: &[u8], notes: &mut Notes) {
    if name.ends_with(b".delta") || name.ends_with(b".partial_image") {
        if notes.seen.first_output || !is_empty_delta(name, data) {
            notes.output();
            // Sound is no text.
            if !name.ends_with(b"audio.delta") {
                notes.hear(&DELTA, data);
            }
        }
        return;
    }
    match name {
        b"response.created" | b"response.queued" | b"response.in_progress" if notes.seen.model.is_none() => {
            on_response(data, notes);
        }
        b"response.completed" | b"response.incomplete" | b"response.cancelled" | b"response.failed" => {
            if let Some(response) = on_response(data, notes) {
                notes.seen.complete = true;
                notes.stop(&stop(&response));
            }
            notes.seen.unfinished = false;
            if name == b"response.failed" {
                notes.error(data);
            }
        }
        b"response.output_item.done" => {
            if !notes.seen.first_output {
                notes.output();
            }
            if SEARCH_CALL.find(data).is_some() && has_search(data) {
                notes.search();
            }
        }
        b"error" => notes.error(data),
        b"transcript.text.done" | b"speech.audio.done" | b"image_generation.completed" | b"image_edit.completed" => {
            let Some(event) = raw::parse::<Event<'_>>(data) else { return notes.unreadable() };
            notes.usage(event.usage.map(raw::bytes));
            if name.starts_with(b"image_") {
                notes.picture();
            }
            if !notes.seen.first_output {
                notes.output();
            }
            notes.seen.complete = true;
        }
        // Progress of parts whose deltas are counted.
        _ => {}
    }
}

/// Whether the item that the event carries is a web search.
fn has_search(data: &[u8]) -> bool {
    let item = raw::parse::<Event<'_>>(data).and_then(|event| Tree::parse(raw::bytes(event.item?)));
    item.is_some_and(|item| item["type"].as_str().is_some_and(|kind| is_search(kind, item["action"]["type"].as_str())))
}

fn is_empty_delta(name: &[u8], data: &[u8]) -> bool {
    name.ends_with(b".delta")
        && raw::parse::<Event<'_>>(data).is_some_and(|event| !event.delta.or(event.audio).is_some_and(raw::has_content))
}

/// Reads the response object that the event carries, if there is one.
fn on_response<'a>(data: &'a [u8], notes: &mut Notes) -> Option<Response<'a>> {
    let response =
        raw::parse::<Event<'_>>(data).and_then(|event| raw::parse::<Response<'_>>(raw::bytes(event.response?)));
    let Some(response) = response else {
        notes.unreadable();
        return None;
    };
    notes.id(response.id.map(raw::bytes));
    notes.model(response.model.map(raw::bytes));
    if let Some(tier) = response.service_tier.and_then(|tier| raw::parse(raw::bytes(tier))) {
        notes.tier(&tier);
    }
    notes.seen.unfinished = response.background.is_some_and(|background| raw::bytes(background) == b"true");
    notes.usage(response.usage.map(raw::bytes));
    if let Some(tools) = response.tool_usage.and_then(|tools| Tree::parse(raw::bytes(tools))) {
        notes.report(&Report::of_tools(&tools));
    }
    notes.error(response.error.map(raw::bytes));
    Some(response)
}

/// Why the answer ended, as far as it is no matter of its items.
fn stop<'a>(response: &Response<'a>) -> Stop<'a> {
    let status = response.status.and_then(|status| raw::parse(raw::bytes(status)));
    let incomplete = response.incomplete_details.and_then(|details| raw::parse::<Incomplete<'_>>(raw::bytes(details)));
    responses_stop(status, incomplete.and_then(|details| details.reason).map(Into::into), false, false)
}
