//! Answers of other operations than chat on their way from one wire form to another: they come whole.

use bytes::Bytes;

use super::Notes;
use super::translated::{MAX_WHOLE, fail};
use crate::common::Losses;
use crate::dialect::Operation;
use crate::error::{ApiError, ErrorKind};
use crate::operations::{About, Asked, Wire, translate_answer};

/// Between which wire forms an answer is converted, and what of the request that takes.
#[derive(Debug, Clone)]
pub struct Conversion {
    /// What was asked.
    pub operation: Operation,
    /// The provider's form.
    pub from: Wire,
    /// The client's form.
    pub to: Wire,
    /// What was kept of the request.
    pub asked: Asked,
    /// The model as the client named it.
    pub model: String,
    /// The request's id.
    pub request_id: String,
    /// Unix seconds.
    pub now: u64,
    /// The provider's header `x-amzn-bedrock-input-token-count`.
    pub input_tokens: Option<u64>,
}

/// The conversion of one answer under way.
#[derive(Debug)]
pub(super) struct Converted {
    conversion: Conversion,
    body: Vec<u8>,
    losses: Losses,
}

impl Converted {
    pub(super) fn new(conversion: Conversion) -> Self {
        Self { conversion, body: Vec::new(), losses: Losses::default() }
    }

    pub(super) fn losses(&self) -> &Losses {
        &self.losses
    }

    pub(super) fn feed(&mut self, chunk: &Bytes, end: bool, notes: &mut Notes) -> Bytes {
        if self.body.len().saturating_add(chunk.len()) > MAX_WHOLE {
            fail(notes, ApiError::new(ErrorKind::UpstreamError, "the provider's answer is too large to be translated"));
            return Bytes::new();
        }
        self.body.extend_from_slice(chunk);
        if !end {
            return Bytes::new();
        }
        let body = std::mem::take(&mut self.body);
        if body.trim_ascii().is_empty() {
            notes.seen.cut = true;
            return Bytes::new();
        }
        let Conversion { operation, from, to, asked, model, request_id, now, input_tokens } = &self.conversion;
        let about = About { model, request_id, now: *now, input_tokens: *input_tokens };
        match translate_answer(*operation, *from, *to, &body, asked, &about) {
            Ok(answered) => {
                notes.output();
                notes.seen.usage = answered.usage;
                notes.seen.complete = true;
                self.losses = answered.losses;
                answered.body.into()
            }
            Err(error) => {
                fail(notes, error);
                Bytes::new()
            }
        }
    }
}
