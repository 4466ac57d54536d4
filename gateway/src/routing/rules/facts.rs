//! What rules see of a request.

use std::cell::OnceCell;

use ::cel::Value;
use ai_gateway_providers::scan::{BodyFacts, metadata_of};
use ai_gateway_providers::{Dialect, Operation};
use http::HeaderMap;

use super::cel;
use crate::snapshot::{Key, ModelName};

/// Headers in which clients name their session, the usual one first.
const SESSION: [&str; 3] = ["x-session-id", "session-id", "session_id"];
/// The most tags that are read of `x-litellm-tags`.
const MAX_TAGS: usize = 32;

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Without the query.
    pub path: &'a str,
    /// What is asked.
    pub operation: Operation,
    /// The client's dialect.
    pub dialect: Dialect,
    /// As sent.
    pub headers: &'a HeaderMap,
    /// Whose request it is.
    pub key: Option<&'a Key>,
    /// The model that the client named.
    pub model: Option<&'a ModelName<'a>>,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// The body, if it is JSON that was scanned; else empty.
    pub json: &'a [u8],
}

/// [`Asked`], and what is found out about it when a rule wants to know: each thing at most once.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The request.
    pub asked: Asked<'a>,
    body: OnceCell<BodyFacts>,
    cel: OnceCell<Value>,
}

impl<'a> Facts<'a> {
    /// Nothing is looked at yet.
    pub fn new(asked: Asked<'a>) -> Self {
        Self { asked, body: OnceCell::new(), cel: OnceCell::new() }
    }

    /// What the body says, and the headers that say the same.
    pub fn body(&self) -> &BodyFacts {
        self.body.get_or_init(|| {
            let mut facts = BodyFacts::in_dialect(self.asked.json, self.asked.dialect);
            if let Some(user) = &facts.user
                && !facts.metadata.iter().any(|(name, _)| name == "user")
            {
                facts.metadata.push(("user".to_owned(), user.clone()));
            }
            if let Some(object) = self.asked.headers.get("x-portkey-metadata") {
                let mut metadata = metadata_of(object.as_bytes());
                let user = metadata.iter().find(|(name, _)| name == "_user").map(|(_, user)| user.clone());
                facts.user = facts.user.or(user);
                facts.metadata.append(&mut metadata);
            }
            let tags = self.header("x-litellm-tags").unwrap_or_default();
            let tags = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).take(MAX_TAGS);
            facts.metadata.extend(tags.map(|tag| ("tags".to_owned(), tag.to_owned())));
            facts
        })
    }

    /// The client's name of its session.
    pub fn session(&self) -> Option<&'a str> {
        SESSION.into_iter().find_map(|name| self.header(name)).filter(|session| !session.is_empty())
    }

    /// The first value of a header, if it is text.
    fn header(&self, name: &str) -> Option<&'a str> {
        self.asked.headers.get(name)?.to_str().ok()
    }

    /// All of it as expressions see it.
    pub(super) fn as_cel(&self) -> &Value {
        self.cel.get_or_init(|| cel::request(self))
    }
}
