//! What a hook may decide.

use std::fmt;

use bytes::Bytes;

use crate::providers::common::Response;

/// What a hook decides. What it changed in its view stays changed if it passes.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Go on.
    Pass,
    /// This is the answer: nobody else is asked.
    Answer(Box<Reply>),
    /// The client gets an error in its own dialect; the fault is the operator's policy.
    Reject(Rejection),
}

impl Verdict {
    /// Rejects with a status from 400 to 499 and what to tell the client.
    pub fn reject(status: u16, message: impl Into<String>) -> Self {
        Self::Reject(Rejection { status, message: message.into() })
    }

    /// Answers with `text`, as a model would.
    pub fn say(text: impl Into<String>) -> Self {
        Self::Answer(Box::new(Reply::say(text)))
    }
}

/// Why a request or an answer does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// From 400 to 499; others become 403.
    pub status: u16,
    /// What the client is told. Do not quote what was found in it: errors are logged.
    pub message: String,
}

/// An answer that needs no provider.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// An answer to a chat, in the client's dialect and streamed if the client wants that. For other operations it is an error.
    Chat(Box<Response<'static>>),
    /// JSON as it stands, with a status from 200 to 599. In the place of an answer that comes whole the status stays.
    Json {
        /// The status.
        status: u16,
        /// The body.
        body: Bytes,
    },
}

impl Reply {
    /// A chat answer that says `text`.
    pub fn say(text: impl Into<String>) -> Self {
        use crate::providers::Dialect;
        use crate::providers::common::{Block, Choice};
        let mut response = Response::new(Dialect::OpenAiChat);
        response.choices.push(Choice { blocks: vec![Block::text(text.into())], ..Choice::default() });
        Self::Chat(Box::new(response))
    }
}

/// A hook could not do its work. `on_error` decides what becomes of the request.
///
/// The text goes to the log: no secret, and nothing of a prompt or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self(text)
    }
}
