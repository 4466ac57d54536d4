//! Wire formats and upstream accounts of generative-AI providers: bytes in, bytes out, no network.
//!
//! Where a provider speaks the client's [`Dialect`], a request is matched to its endpoint, scanned once, and sent on with
//! another model name; all other bytes stay:
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
//!
//! Where it speaks another one, the [`codec`] of the client's dialect reads the request into the [`common`] model, and that of the
//! provider's writes it; what cannot be said there is noted. The answer goes the other way:
//!
//! ```
//! use ai_gateway_providers::Dialect;
//! use ai_gateway_providers::codec::{Call, Client, Maker, Platform, Target, codec};
//! use ai_gateway_providers::common::{Losses, ProviderTag};
//!
//! let (client, provider) = (codec(Dialect::OpenAiChat), codec(Dialect::Anthropic));
//! let account = ProviderTag::of("anthropic");
//!
//! let body = br#"{"model":"assistant","n":2,"max_tokens":64,"stop":"END","messages":[{"role":"user","content":"Hi"}]}"#;
//! let asked = client.decode_request(body, &Call::default())?;
//! let mut losses = Losses::default();
//! let sent = provider.encode_request(&asked, &Target::new("claude-sonnet-4-5", account), &mut losses)?;
//! let sent: serde_json::Value = serde_json::from_slice(&sent)?;
//! assert_eq!((&sent["model"], &sent["stop_sequences"][0]), (&"claude-sonnet-4-5".into(), &"END".into()));
//! assert_eq!(losses.header_value(), "n");
//!
//! let body = br#"{"type":"message","id":"msg_1","role":"assistant","content":[{"type":"text","text":"Hello"}],
//!     "stop_reason":"max_tokens","usage":{"input_tokens":8,"output_tokens":64}}"#;
//! let maker = Maker { provider: account, platform: Platform::Native, model: "claude-sonnet-4-5", id_seed: "1" };
//! let answer = provider.decode_response(body, &maker)?;
//! let told = client.encode_response(&answer, &Client::default(), &mut losses);
//! let told: serde_json::Value = serde_json::from_slice(&told)?;
//! assert_eq!(told["choices"][0]["finish_reason"], "length");
//! assert_eq!(told["usage"]["total_tokens"], 72);
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
pub mod json;
pub mod model_name;
pub mod operations;
pub mod own;
pub mod preset;
pub mod price;
pub mod scan;
pub mod sse;
pub mod usage;

pub use answer::{AnswerForm, Observer, Seen};
pub use dialect::{Dialect, Operation, UnknownDialect};
pub use error::{ApiError, ErrorKind, Fault};
pub use own::{Own, OwnDialect};
pub use usage::Usage;

#[cfg(test)]
mod recorded;
