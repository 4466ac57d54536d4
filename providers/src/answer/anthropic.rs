//! The events of Anthropic Messages: <https://docs.anthropic.com/en/docs/build-with-claude/streaming>.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

use super::Notes;
use super::raw::{self, Raw};
use crate::codec::anthropic_stop;
use crate::usage::tree::Tree;

#[derive(Deserialize)]
struct Event<'a> {
    /// `message_start`
    #[serde(borrow)]
    message: Raw<'a>,
    /// `content_block_start`
    #[serde(borrow)]
    content_block: Raw<'a>,
    #[serde(borrow)]
    delta: Raw<'a>,
    /// `message_delta`: cumulative.
    #[serde(borrow)]
    usage: Raw<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Raw<'a>,
    #[serde(borrow)]
    model: Raw<'a>,
    #[serde(borrow)]
    usage: Raw<'a>,
}

/// `message_delta`
#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    stop_reason: Option<Cow<'a, str>>,
}

static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"delta\""));
static BLOCK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"content_block\""));
static FALLBACK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"fallback\""));

pub(super) fn on_event(name: &[u8], data: &[u8], notes: &mut Notes) {
    if !name.is_empty() && name != b"message" {
        on_type(name, data, notes);
    } else if let Some(name) = raw::type_of(data) {
        on_type(name.as_bytes(), data, notes);
    } else {
        match raw::parse::<Event<'_>>(data) {
            Some(Event { error: Some(error), .. }) => notes.error(raw::bytes(error)),
            Some(_) => {}
            None => notes.unreadable(),
        }
    }
}

fn on_type(name: &[u8], data: &[u8], notes: &mut Notes) {
    match name {
        b"content_block_delta" => drop(notes.hear(&DELTA, data)),
        b"content_block_start" => match goes_on_in(data) {
            None => drop(notes.hear(&BLOCK, data)),
            by => return notes.stand_in(by),
        },
        _ => {}
    }
    match name {
        b"content_block_delta" if notes.seen.first_output || has_delta(data) => notes.output(),
        b"content_block_start" if !notes.seen.first_output && has_block(data) => notes.output(),
        b"message_start" => {
            let message =
                raw::parse::<Event<'_>>(data).and_then(|event| raw::parse::<Message<'_>>(raw::bytes(event.message?)));
            let Some(message) = message else { return notes.unreadable() };
            notes.id(message.id.map(raw::bytes));
            notes.model(message.model.map(raw::bytes));
            notes.usage(message.usage.map(raw::bytes));
        }
        b"message_delta" => {
            let Some(event) = raw::parse::<Event<'_>>(data) else { return notes.unreadable() };
            if let Some(usage) = event.usage {
                notes.usage(raw::bytes(usage));
                notes.seen.usage_is_final = true;
            }
            let delta = event.delta.and_then(|delta| raw::parse::<Delta<'_>>(raw::bytes(delta)));
            if let Some(reason) = delta.and_then(|delta| delta.stop_reason) {
                notes.stop(&anthropic_stop(Some(reason.into()), None));
            }
        }
        b"message_stop" => notes.seen.complete = true,
        b"error" => notes.error(data),
        // Pings, ends of blocks, and what may come.
        _ => {}
    }
}

fn goes_on_in(data: &[u8]) -> Option<String> {
    FALLBACK.find(data)?;
    goes_on(raw::bytes(raw::parse::<Event<'_>>(data)?.content_block?))
}

/// The model that goes on with the answer from a block on that says so:
/// <https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback>.
pub(super) fn goes_on(block: &[u8]) -> Option<String> {
    let block = Tree::parse(block)?;
    let to = block["to"]["model"].as_str().filter(|_| block["type"].as_str() == Some("fallback"));
    to.map(str::to_owned)
}

/// `type` is always there; the rest is the output.
fn has_delta(data: &[u8]) -> bool {
    raw::parse::<Event<'_>>(data).and_then(|event| event.delta).is_some_and(|delta| raw::has_field(delta, &["type"]))
}

/// A tool call or any other block but text and thinking says something by beginning; those two may begin empty.
fn has_block(data: &[u8]) -> bool {
    let block = raw::parse::<Event<'_>>(data).and_then(|event| event.content_block);
    block.is_some_and(|block| raw::has_field(block, &["type", "id"]))
}
