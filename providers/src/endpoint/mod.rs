//! Which operation a request path asks for, in which dialect.
//!
//! [`match_endpoint`] knows the paths of the public listener: the ones of each vendor's API, with and without `/v1`
//! or a slash at the end, the prefixes `/openai`, `/anthropic`, `/gemini`, `/bedrock`, `/cohere`, and Azure OpenAI's deployments form. The
//! tables are in `routes.rs`; the percent-decoding of model names in paths is in `percent.rs`. [`match_own`] asks own dialects
//! whether a path is theirs.
//!
//! ```
//! use ai_gateway_providers::{Dialect, Operation, endpoint::match_endpoint};
//! use http::{HeaderMap, Method};
//!
//! let endpoint = match_endpoint(&Method::POST, "/openai/v1/chat/completions", &HeaderMap::new())?;
//! assert_eq!((endpoint.dialect, endpoint.operation), (Dialect::OpenAiChat, Operation::Chat));
//! assert_eq!(endpoint.upstream_path("/compatible/v1"), "/compatible/v1/chat/completions");
//! # Ok::<(), ai_gateway_providers::endpoint::EndpointError>(())
//! ```

mod own;
mod percent;
mod routes;

use std::borrow::Cow;

pub use own::match_own;
pub use routes::match_endpoint;

use crate::{Dialect, Operation};

/// How the request body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// There is none.
    None,
    /// One JSON object.
    Json,
    /// `multipart/form-data`, RFC 7578.
    Multipart,
}

/// What a request path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What is asked.
    pub operation: Operation,
    /// The wire format of the request, of its answer and of its errors.
    pub dialect: Dialect,
    /// The path below the base URL of a provider of this dialect, with a leading slash. Base URLs of OpenAI-like
    /// providers end in `/v1` or the vendor's equivalent (`/chat/completions`), those of the others are a bare origin
    /// (`/v1/messages`). Percent-encoding stays as sent. Of paths that name the model (Gemini, Bedrock) it is what follows the
    /// name: `:generateContent`, `/converse`.
    pub suffix: Cow<'static, str>,
    /// How the body is written. Endpoints that take a form also take JSON when `content-type` says so.
    pub body: BodyKind,
    /// The model named in the path, percent-decoded: `/openai/deployments/{model}/…`, `/v1/models/{id}`.
    /// Never empty, without control characters.
    pub path_model: Option<String>,
    /// Whether the path asks for a stream (`:streamGenerateContent`, `/converse-stream`); elsewhere the body does.
    pub stream: bool,
    /// The stored answer that the path names (`/responses/{id}`), as sent.
    pub stored: Option<String>,
}

impl Endpoint {
    /// The path at an upstream whose base URL has the path `prefix` (`""`, `"/"`, `"/v1"`, `"/openai/v1/"`, …).
    #[must_use]
    pub fn upstream_path(&self, prefix: &str) -> String {
        let prefix = prefix.trim_end_matches('/');
        let mut path = String::with_capacity(prefix.len() + self.suffix.len());
        path.push_str(prefix);
        path.push_str(&self.suffix);
        path
    }
}

/// Why a path and method name no endpoint. Each carries the dialect in which to say so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No such path: 404.
    #[error("no such endpoint")]
    UnknownPath {
        /// The dialect guessed from the path and headers.
        dialect: Dialect,
    },
    /// No such path, but one without the version in front: 404.
    #[error("no such endpoint, but there is one without the first `/{version}`: leave it out of the client's base URL")]
    SurplusVersion {
        /// The dialect of that path.
        dialect: Dialect,
        /// The version.
        version: &'static str,
    },
    /// The path exists, but not with this method: 405.
    #[error("method not allowed here, use {allow}")]
    WrongMethod {
        /// The dialect of the path.
        dialect: Dialect,
        /// The value of the `allow` response header.
        allow: &'static str,
    },
    /// The client wants a WebSocket where there is only HTTP: 426, upon which Codex asks over HTTP at once. Of any other
    /// status it thinks that the WebSocket will work the next time.
    #[error("there is no WebSocket here, send a POST")]
    NoWebSocket {
        /// The dialect of the path.
        dialect: Dialect,
    },
    /// A real endpoint of its vendor that this gateway does not serve yet: 501.
    #[error("this endpoint is not supported yet{instead}")]
    NotSupportedYet {
        /// The dialect of the path.
        dialect: Dialect,
        /// What may be asked in its place, to follow "yet"; may be empty.
        instead: &'static str,
    },
    /// The model in the path is empty, overlong, not UTF-8 when percent-decoded, or has control characters: 400.
    #[error("the model name in the path is {reason}")]
    BadModel {
        /// The dialect of the path.
        dialect: Dialect,
        /// What is wrong, to follow "is".
        reason: &'static str,
    },
}

impl EndpointError {
    /// The dialect of the error body.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::UnknownPath { dialect }
            | Self::SurplusVersion { dialect, .. }
            | Self::WrongMethod { dialect, .. }
            | Self::NoWebSocket { dialect }
            | Self::NotSupportedYet { dialect, .. }
            | Self::BadModel { dialect, .. } => *dialect,
        }
    }
}

#[cfg(test)]
mod tests;
