//! A request, as plugins see it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::HeaderMap;

use crate::providers::codec::{Call, Target, codec};
use crate::providers::common::{self, Losses, ProviderTag};
use crate::providers::error::{ApiError, ErrorKind};
use crate::providers::scan::has_tokens;
use crate::providers::{Dialect, Operation};
use crate::{Side, Text, edit_texts, texts};

/// A client's request in its own dialect.
///
/// A body is JSON, or empty: for plugins that do not [need](crate::Needs::body) it. Of a form (audio that is to be transcribed,
/// images that are to be edited) it is an object with the `prompt`s, an array, of which only these can be changed; empty if
/// there are none. Nothing is decoded before somebody asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The client's dialect.
    pub dialect: Dialect,
    /// What is asked.
    pub operation: Operation,
    /// The client's headers, without those that carry credentials. What is changed here is what routes, stickiness and the
    /// request to the provider see.
    pub headers: HeaderMap,
    /// The model and whether a stream is wanted, where the path says it (Gemini, Bedrock, Azure).
    pub path_model: Option<String>,
    /// See [`Self::path_model`].
    pub path_stream: bool,
    body: Bytes,
    changed: bool,
    tokens: Known,
}

/// What has been found out of a body, once for all copies of its request.
#[derive(Debug, Clone, Default)]
struct Known(Arc<OnceLock<bool>>);

impl PartialEq for Known {
    /// It follows from the body.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Known {}

impl Request {
    /// A request with the JSON `body`.
    #[must_use]
    pub fn new(dialect: Dialect, operation: Operation, headers: HeaderMap, body: Bytes) -> Self {
        let tokens = Known::default();
        Self { dialect, operation, headers, path_model: None, path_stream: false, body, changed: false, tokens }
    }

    /// The body as JSON text.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.body
    }

    /// Puts another body in its place.
    pub fn set_json(&mut self, body: impl Into<Bytes>) {
        self.body = body.into();
        self.changed = true;
        self.tokens = Known::default();
    }

    /// The same request as the next plugin gets it: nothing of it has changed yet. `body`: whether that is there.
    #[must_use]
    pub fn for_next(&self, body: bool) -> Self {
        let (json, tokens) = if body { (self.body.clone(), self.tokens.clone()) } else { Default::default() };
        Self { body: json, changed: false, tokens, ..self.clone() }
    }

    /// Whether the body was changed.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// The texts that a person or a program wrote for the model, and what the model said before.
    #[must_use]
    pub fn texts(&self) -> Vec<Text<'_>> {
        texts(&self.body, Side::Request, self.dialect, self.operation)
    }

    /// Whether it has tokens in the place of texts that are to be embedded or completed: what they say is not among its
    /// [texts](Self::texts).
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        *self.tokens.0.get_or_init(|| has_tokens(&self.body, self.dialect, self.operation))
    }

    /// Puts another text in the place of each for which `edit` gives one; every other byte of the body stays. Gives back how many.
    pub fn edit_texts(&mut self, edit: impl FnMut(&Text<'_>) -> Option<String>) -> usize {
        let (edited, count) = edit_texts(&self.body, Side::Request, self.dialect, self.operation, edit);
        if let Some(edited) = edited {
            self.set_json(edited);
        }
        count
    }

    /// A chat in the words of the common model; `None` for other operations.
    #[must_use]
    pub fn chat(&self) -> Option<Result<common::Request<'_>, ApiError>> {
        if self.operation != Operation::Chat || self.body.is_empty() {
            return None;
        }
        let call = Call { model: self.path_model.as_deref(), stream: self.path_stream };
        Some(codec(self.dialect).decode_request(&self.body, &call))
    }

    /// Puts `chat` in the place of the body, written in the client's dialect. Prefer [`edit_texts`](Self::edit_texts) where it is
    /// enough: it leaves everything else as the client wrote it. Gives back what the dialect cannot say, which then is lost; so
    /// is reasoning that another dialect's provider signed.
    ///
    /// # Errors
    /// The dialect cannot say it at all.
    pub fn set_chat(&mut self, chat: &common::Request<'_>) -> Result<Losses, ApiError> {
        if self.operation != Operation::Chat {
            return Err(ApiError::new(ErrorKind::Internal, "a plugin took another operation for a chat"));
        }
        let mut losses = Losses::default();
        let target = Target::new(&chat.model, ProviderTag::of(""));
        let body = codec(self.dialect).encode_request(chat, &target, &mut losses)?;
        self.set_json(body);
        Ok(losses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_body_goes_with_it() {
        let request = |body: &'static str| {
            Request::new(
                Dialect::OpenAiChat,
                Operation::Embeddings,
                HeaderMap::new(),
                Bytes::from_static(body.as_bytes()),
            )
        };
        let of_tokens = request(r#"{"input":[9906]}"#);
        assert!(of_tokens.has_tokens() && of_tokens.for_next(true).has_tokens());
        assert!(!of_tokens.for_next(false).has_tokens(), "it has no body");
        let mut next = of_tokens.for_next(true);
        next.set_json(r#"{"input":"Hello"}"#);
        assert!(!next.has_tokens() && !next.for_next(true).has_tokens() && of_tokens.has_tokens());
        assert_eq!(of_tokens, request(r#"{"input":[9906]}"#), "whoever has asked");
    }
}
