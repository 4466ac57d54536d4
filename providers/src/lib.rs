//! Wire formats and upstream accounts of generative-AI providers: bytes in, bytes out, no network.
//!
//! A request is matched to its endpoint, scanned once, and sent on with another model name; all other bytes stay:
//!
//! ```
//! use ai_gateway_providers::endpoint::match_endpoint;
//! use ai_gateway_providers::scan::{Edits, scan_json};
//! use ai_gateway_providers::{Dialect, Operation};
//! use bytes::Bytes;
//! use http::{HeaderMap, Method};
//!
//! let endpoint = match_endpoint(&Method::POST, "/v1/messages", &HeaderMap::new())?;
//! assert_eq!((endpoint.dialect, endpoint.operation), (Dialect::Anthropic, Operation::Chat));
//!
//! let body = Bytes::from_static(br#"{ "model": "assistant", "max_tokens": 64, "messages": [], "new_field": 1e999 }"#);
//! let scan = scan_json(&body)?;
//! assert_eq!(scan.max_tokens, Some(64));
//!
//! let sent = scan.rewrite(&body, &Edits { model: Some("claude-sonnet-4-5"), ..Edits::default() });
//! assert_eq!(sent, r#"{ "model": "claude-sonnet-4-5", "max_tokens": 64, "messages": [], "new_field": 1e999 }"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod answer;
pub mod auth;
pub mod catalogue;
pub mod codec;
pub mod common;
mod dialect;
pub mod endpoint;
pub mod error;
pub mod event_stream;
pub mod model_name;
pub mod operations;
pub mod preset;
pub mod scan;
pub mod sse;
pub mod usage;

pub use answer::{AnswerForm, Observer, Seen};
pub use dialect::{Dialect, Operation, UnknownDialect};
pub use error::{ApiError, ErrorKind, Fault};
pub use usage::Usage;

#[cfg(test)]
mod recorded;
