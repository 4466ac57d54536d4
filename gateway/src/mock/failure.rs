//! The errors that the mock answers with, in the shape of each dialect.

use std::time::Duration;

use ai_gateway_providers::error::{bedrock_exception, encode_error};
use ai_gateway_providers::{ApiError, Dialect, ErrorKind};
use serde_json::json;

use super::behaviour::Fault;

/// An error to answer with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: u16,
    openai: &'static str,
    anthropic: &'static str,
    pub(super) code: Option<&'static str>,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    /// The error that providers send with `status`.
    pub(super) fn of_status(status: u16) -> Self {
        let (openai, anthropic, code, message) = match status {
            401 => {
                ("invalid_request_error", "authentication_error", Some("invalid_api_key"), "Incorrect API key provided")
            }
            402 => ("insufficient_quota", "billing_error", Some("insufficient_quota"), "Payment is required"),
            403 => {
                ("permission_error", "permission_error", Some("permission_denied"), "This key may not use this model")
            }
            404 => ("invalid_request_error", "not_found_error", Some("model_not_found"), "The model does not exist"),
            413 => {
                ("invalid_request_error", "request_too_large", Some("request_too_large"), "The request is too large")
            }
            429 => ("requests", "rate_limit_error", Some("rate_limit_exceeded"), "Rate limit reached for requests"),
            400..500 => ("invalid_request_error", "invalid_request_error", None, "The request is invalid"),
            503 => ("server_error", "overloaded_error", None, "The server is overloaded, please try again later"),
            504 => ("server_error", "timeout_error", None, "The model did not answer in time"),
            529 => ("overloaded_error", "overloaded_error", None, "Overloaded"),
            _ => ("server_error", "api_error", None, "The server had an error while processing the request"),
        };
        Failure { status, openai, anthropic, code, message: message.into(), retry_after: None }
    }

    /// A request that the mock cannot read.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Failure::of_status(400).saying(message)
    }

    /// The same error with another text.
    pub(super) fn saying(self, message: impl Into<String>) -> Self {
        Failure { message: message.into(), ..self }
    }

    /// The error of a fault that is one before anything is streamed.
    pub(super) fn of_fault(fault: Fault) -> Option<Self> {
        Some(match fault {
            Fault::Status(status, retry_after) => Failure { retry_after, ..Failure::of_status(status) },
            Fault::ContextLength => Failure {
                code: Some("context_length_exceeded"),
                message: "prompt is too long: this model's maximum context length is 128000 tokens".into(),
                ..Failure::of_status(400)
            },
            Fault::ContentFilter => Failure {
                code: Some("content_filter"),
                message: "The prompt was refused by the content policy".into(),
                ..Failure::of_status(400)
            },
            Fault::InsufficientQuota => Failure {
                openai: "insufficient_quota",
                code: Some("insufficient_quota"),
                message: "You exceeded your current quota, please check your plan and billing details".into(),
                ..Failure::of_status(429)
            },
            _ => return None,
        })
    }

    /// The error inside a 200.
    pub(super) fn in_stream() -> Self {
        Failure { code: Some("server_error"), ..Failure::of_status(503) }
    }

    /// The body of an error answer. OpenAI's (<https://platform.openai.com/docs/guides/error-codes/api-errors>) and
    /// Anthropic's (<https://docs.anthropic.com/en/api/errors>) are the mock's own, the others the codecs'.
    pub(super) fn body(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::OpenAiChat | Dialect::OpenAiResponses => json!({"error": {
                "message": self.message, "type": self.openai, "param": null, "code": self.code,
            }})
            .to_string(),
            Dialect::Anthropic => json!({
                "type": "error",
                "error": {"type": self.anthropic, "message": self.message},
                "request_id": "req_mock",
            })
            .to_string(),
            Dialect::Gemini | Dialect::Bedrock | Dialect::Cohere | Dialect::Own(_) => {
                String::from_utf8_lossy(&encode_error(dialect, &self.api(), "req_mock")).into_owned()
            }
        }
    }

    /// A header that goes with the body: Bedrock's SDKs read the exception there.
    pub(super) fn header(&self, dialect: Dialect) -> Option<(&'static str, &'static str)> {
        (dialect == Dialect::Bedrock).then(|| ("x-amzn-errortype", bedrock_exception(self.kind())))
    }

    /// The same for the codecs.
    pub(super) fn api(&self) -> ApiError {
        ApiError { status: self.status, ..ApiError::new(self.kind(), &*self.message) }
    }

    fn kind(&self) -> ErrorKind {
        match (self.status, self.code) {
            (401, _) => ErrorKind::Unauthenticated,
            (402, _) | (_, Some("insufficient_quota")) => ErrorKind::QuotaExceeded,
            (403, _) => ErrorKind::Forbidden,
            (404, _) => ErrorKind::ModelNotFound,
            (413, _) => ErrorKind::TooLarge,
            (429, _) => ErrorKind::RateLimited,
            (_, Some("context_length_exceeded")) => ErrorKind::ContextLength,
            (_, Some("content_filter")) => ErrorKind::ContentFilter,
            (..500, _) => ErrorKind::InvalidRequest,
            (503 | 529, _) => ErrorKind::Overloaded,
            (504, _) => ErrorKind::UpstreamTimeout,
            (500.., _) => ErrorKind::Internal,
        }
    }
}
