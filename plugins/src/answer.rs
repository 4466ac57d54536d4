//! An answer, as plugins see it.

use bytes::Bytes;
use http::HeaderMap;

use crate::providers::codec::{Client, Maker, codec};
use crate::providers::common::{Losses, Response};
use crate::providers::scan::restore_texts;
use crate::providers::{ApiError, Dialect, Operation};
use crate::{Side, Text, edit_texts, texts};

/// An answer on its way to the client, in the client's dialect.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The client's dialect.
    pub dialect: Dialect,
    /// What was asked.
    pub operation: Operation,
    /// Its status. Errors of the gateway's own do not come here; those that a provider's answer passes on do.
    pub status: u16,
    /// Its headers. Those of framing (`content-length`, `transfer-encoding`) cannot be changed.
    pub headers: HeaderMap,
    /// What it says.
    pub body: AnswerBody,
}

/// The body of an [`Answer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerBody {
    /// It comes as a stream, or is nothing that is read, or the plugin does not [need](crate::Needs::answer) it.
    Passing,
    /// A JSON document, in the client's dialect.
    Json(Bytes),
}

impl Answer {
    /// An answer of status 200 without headers.
    #[must_use]
    pub fn new(dialect: Dialect, operation: Operation, body: AnswerBody) -> Self {
        Self { dialect, operation, status: 200, headers: HeaderMap::new(), body }
    }

    /// Its JSON, if it came whole.
    #[must_use]
    pub fn json(&self) -> Option<&Bytes> {
        match &self.body {
            AnswerBody::Json(json) => Some(json),
            AnswerBody::Passing => None,
        }
    }

    /// Its texts.
    #[must_use]
    pub fn texts(&self) -> Vec<Text<'_>> {
        self.json().map(|json| texts(json, Side::Answer, self.dialect, self.operation)).unwrap_or_default()
    }

    /// Puts another text in the place of each for which `edit` gives one; every other byte of the body stays, but for the
    /// signature of reasoning that was changed. Gives back how many.
    pub fn edit_texts(&mut self, edit: impl FnMut(&Text<'_>) -> Option<String>) -> usize {
        let AnswerBody::Json(json) = &mut self.body else { return 0 };
        let (edited, count) = edit_texts(json, Side::Answer, self.dialect, self.operation, edit);
        if let Some(edited) = edited {
            *json = edited;
        }
        count
    }

    /// The same for texts that become again what the client said.
    pub(crate) fn restore_texts(&mut self, edit: impl FnMut(&Text<'_>) -> Option<String>) {
        let AnswerBody::Json(json) = &mut self.body else { return };
        if let (Some(restored), _) = restore_texts(json, self.dialect, self.operation, edit) {
            *json = restored;
        }
    }

    /// A chat answer in the words of the common model; `None` if it did not come whole, or is none.
    #[must_use]
    pub fn chat(&self) -> Option<Result<Response<'_>, ApiError>> {
        (self.operation == Operation::Chat).then(|| self.decoded()).flatten()
    }

    /// What the model says in an answer that holds it.
    pub(crate) fn decoded(&self) -> Option<Result<Response<'_>, ApiError>> {
        let json = self.json().filter(|_| (200..300).contains(&self.status))?;
        let maker = Maker::nobody("0");
        Some(codec(self.dialect).decode_response(json, &maker))
    }

    /// Puts `response` in the place of the body. Gives back what the client's dialect cannot say of it.
    pub fn set_chat(&mut self, response: &Response<'_>) -> Losses {
        let mut losses = Losses::default();
        let body = codec(self.dialect).encode_response(response, &Client::default(), &mut losses);
        self.body = AnswerBody::Json(body.into());
        losses
    }
}
