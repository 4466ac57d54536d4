//! One file per dialect: how a [`Script`] looks as one JSON body and as a stream of events.
//!
//! An [`Encode`] is asked for the frames of a stream one after another; each frame is one write, whole events, and built
//! with little more than copying, because benches measure what stands in front of the mock and not the mock. OpenAI's and
//! Anthropic's are written here, independent of the gateway's codecs; [`Translated`] writes the others with those.

mod audio;
mod chat;
mod completions;
mod framed;
mod messages;
mod responses;
mod translated;

use std::fmt::Display;
use std::io::Write as _;

use bytes::Bytes;
use serde_json::Value;

pub(super) use audio::{Audio, Transcript, transcript_usage};
pub(super) use chat::Chat;
pub(super) use completions::Completions;
pub(super) use framed::Framed;
pub(super) use messages::Messages;
pub(super) use responses::Responses;
pub(super) use translated::Translated;

use super::failure::Failure;
use super::script::{Finish, Piece, Script, Usage};

/// Seconds since 1970 in every answer: fixed, so that equal requests get equal answers.
pub(super) const CREATED: u64 = 1_700_000_000;

/// The endless answer of a request that wants no stream gets one of these each time.
pub(super) const BLANK: Bytes = Bytes::from_static(b" ");

/// What an answer says about itself.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    /// The number of the request: ids are made of it.
    pub(super) number: u64,
    /// The model's name as asked for.
    pub(super) model: String,
    /// OpenAI's `stream_options.include_usage`.
    pub(super) include_usage: bool,
    /// Responses: reasoning comes with its encrypted form.
    pub(super) encrypted: bool,
}

impl Meta {
    pub(super) fn id(&self, prefix: &str) -> String {
        format!("{prefix}mock_{:06}", self.number)
    }

    fn call_id(&self, prefix: &str, i: usize) -> String {
        format!("{prefix}mock_{:06}_{i}", self.number)
    }
}

/// A dialect's stream.
pub(super) trait Encode: Send {
    /// What comes before any output. Empty: nothing does.
    fn preamble(&mut self, script: &Script) -> Bytes;
    /// One step of the answer. Empty: the dialect cannot say it.
    fn piece(&mut self, piece: Piece<'_>) -> Bytes;
    /// How the stream ends.
    fn closing(&mut self, finish: Finish, usage: Option<Usage>) -> Vec<Bytes>;
    /// An error inside the stream.
    fn error(&mut self, failure: &Failure) -> Bytes;
    /// An event that cannot be read.
    fn malformed(&mut self) -> Bytes {
        Bytes::from_static(b"data: {\"choices\": [{nonsense\n\n")
    }
    /// Whether the last of [`Self::closing`] does nothing but mark the end.
    fn has_end_marker(&self) -> bool {
        false
    }
}

/// Appends `text` as a JSON string.
fn push_json(out: &mut Vec<u8>, text: &str) {
    // Writing to a Vec cannot fail, nor can the encoding of a string.
    let _ = serde_json::to_writer(out, text);
}

/// `text` as a JSON string.
fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_json(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}

/// An event with a name, as Anthropic and Responses send them.
fn push_event(out: &mut Vec<u8>, name: &str, data: &impl Display) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "event: {name}\ndata: {data}\n\n");
}

/// `value` under `name` in `object`, if it is an object.
fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}
