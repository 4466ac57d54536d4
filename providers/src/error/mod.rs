//! Errors of an exchange: what they are ([`ErrorKind`], one table with status, fault and retryability), how each
//! dialect spells them ([`encode_error`], [`encode_stream_error`]), and how to understand what a provider sent
//! ([`decode_error`]).

mod decode;
mod delay;
mod encode;
mod kind;
mod scrub;

use std::borrow::Cow;

pub use decode::decode_error;
pub(crate) use decode::{decode_named, decode_value};
pub use delay::retry_delay;
pub(crate) use encode::for_client;
pub use encode::{bedrock_exception, encode_error, encode_stream_error};
pub use kind::{ErrorKind, Fault, Retry};
pub use scrub::{mask, mask_secret};

/// The code of a refusal after which Anthropic's SDKs send the whole conversation, without a `thread`.
pub const THREAD_UNSUPPORTED: &str = "thread_unsupported_request";

/// An error on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq, bounded_static::ToStatic, thiserror::Error)]
#[error("{}: {message}", kind.as_str())]
pub struct ApiError {
    /// The HTTP status: of a decoded error what the provider sent (200 if it was found inside a stream), of an own
    /// error that of its kind. What the client gets is [`ApiError::client_status`].
    pub status: u16,
    /// What went wrong.
    pub kind: ErrorKind,
    /// For a person. A provider's text is kept as it came, shortened. Of [`ErrorKind::UpstreamAuth`] it may quote a
    /// part of the provider's key: it is not sent to clients, and must not be logged.
    pub message: String,
    /// The machine-readable code in OpenAI's sense. `None` in an own error means the code of its kind.
    pub code: Option<Cow<'static, str>>,
    /// The request field that is to blame.
    pub param: Option<String>,
    /// The provider's own `type`, of a decoded error.
    pub provider_type: Option<String>,
}

impl ApiError {
    /// An error of the gateway's own, with the status and the code of its kind.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            status: kind.status(),
            kind,
            message: message.into(),
            code: kind.openai_code().map(Cow::Borrowed),
            param: None,
            provider_type: None,
        }
    }

    /// An answer that stopped before its end.
    #[must_use]
    pub fn cut_short() -> Self {
        Self::new(ErrorKind::StreamCut, "the provider's answer broke off before it was complete")
    }

    /// What a rule of the operator's answers instead of a provider; `status` is from 400 to 499.
    #[must_use]
    pub fn rejected(status: u16, message: impl Into<String>) -> Self {
        Self { status, ..Self::new(ErrorKind::Rejected, message) }
    }

    /// The same, naming the request field that is to blame.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The same with another code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The status that a client of `dialect` gets. It keeps a provider's status only where the caller is to blame or
    /// the kind says no more than the status; a provider's 401 becomes a 502, because it is not the caller's key that
    /// failed.
    #[must_use]
    pub fn client_status(&self, dialect: crate::dialect::Dialect) -> u16 {
        let of_kind = self.kind.status_for(dialect);
        let same_class = self.status / 100 == of_kind / 100 && self.status >= 400;
        match self.kind {
            ErrorKind::Rejected if same_class => self.status,
            ErrorKind::InvalidRequest if same_class && !matches!(self.status, 401 | 403 | 407) => self.status,
            _ => of_kind,
        }
    }
}
