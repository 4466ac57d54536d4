//! The table of error kinds.

use crate::dialect::Dialect;

/// Who is to blame: the closed set that metrics and logs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The request is wrong; sending it again changes nothing.
    Caller,
    /// A rule of this gateway's operator said no.
    Policy,
    /// The provider, or the way to it.
    Upstream,
    /// This process.
    Gateway,
}

impl Fault {
    /// The word in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Policy => "policy",
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
        }
    }
}

/// Whether another attempt may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// No.
    Never,
    /// At another target; the same one would say the same again.
    Elsewhere,
    /// Anywhere, also at the same target.
    Anywhere,
}

/// What one kind of error means everywhere.
struct Row {
    name: &'static str,
    status: u16,
    fault: Fault,
    retry: Retry,
    openai_type: &'static str,
    openai_code: Option<&'static str>,
    anthropic_type: &'static str,
    google_status: &'static str,
    bedrock: &'static str,
}

macro_rules! kinds {
    ($( $(#[doc = $doc:literal])+ $kind:ident $name:literal $status:literal $fault:ident $retry:ident
        $openai:literal $code:expr, $anthropic:literal $google:literal $bedrock:literal; )+) => {
        /// What went wrong. Names are those of the `error` label in metrics and logs.
        #[derive(Debug, Clone, Copy, bounded_static::ToStatic, PartialEq, Eq, Hash)]
        pub enum ErrorKind { $( $(#[doc = $doc])+ $kind, )+ }

        impl ErrorKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[ $( Self::$kind, )+ ];

            const fn row(self) -> Row {
                match self { $( Self::$kind => Row {
                    name: $name, status: $status, fault: Fault::$fault, retry: Retry::$retry, openai_type: $openai,
                    openai_code: $code, anthropic_type: $anthropic, google_status: $google, bedrock: $bedrock,
                }, )+ }
            }

            /// What it means, as documented.
            #[cfg(test)]
            const fn meaning(self) -> &'static str {
                match self { $( Self::$kind => concat!($($doc),+), )+ }
            }
        }
    };
}

// The status decides which exception the official SDKs raise: 400 BadRequestError, 401 AuthenticationError,
// 403 PermissionDeniedError, 404 NotFoundError, 409 ConflictError, 422 UnprocessableEntityError, 429 RateLimitError,
// 500 and above InternalServerError; 408, 409, 429 and 5xx are also what they retry by themselves.
kinds! {
    /// The request cannot be understood or is not allowed by its API.
    InvalidRequest "invalid_request" 400 Caller Never "invalid_request_error" None, "invalid_request_error" "INVALID_ARGUMENT" "ValidationException";
    /// No key, or one that does not exist.
    Unauthenticated "unauthenticated" 401 Caller Never "invalid_request_error" Some("invalid_api_key"), "authentication_error" "UNAUTHENTICATED" "UnrecognizedClientException";
    /// The path does not exist.
    NotFound "not_found" 404 Caller Never "invalid_request_error" Some("not_found"), "not_found_error" "NOT_FOUND" "ResourceNotFoundException";
    /// The model does not exist, or is hidden from this key.
    ModelNotFound "model_not_found" 404 Caller Never "invalid_request_error" Some("model_not_found"), "not_found_error" "NOT_FOUND" "ResourceNotFoundException";
    /// The path exists, for another method.
    MethodNotAllowed "method_not_allowed" 405 Caller Never "invalid_request_error" Some("method_not_allowed"), "invalid_request_error" "INVALID_ARGUMENT" "ValidationException";
    /// The path exists, but not as a WebSocket.
    NoWebSocket "no_web_socket" 426 Caller Never "invalid_request_error" Some("no_web_socket"), "invalid_request_error" "INVALID_ARGUMENT" "ValidationException";
    /// The request did not arrive in time.
    RequestTimeout "request_timeout" 408 Caller Never "invalid_request_error" Some("request_timeout"), "invalid_request_error" "DEADLINE_EXCEEDED" "ValidationException";
    /// The state of the thing named does not allow it.
    Conflict "conflict" 409 Caller Never "invalid_request_error" Some("conflict"), "invalid_request_error" "ABORTED" "ConflictException";
    /// The body is over the limit.
    TooLarge "too_large" 413 Caller Never "invalid_request_error" Some("request_too_large"), "request_too_large" "INVALID_ARGUMENT" "ValidationException";
    /// The body is in a form that is not read: a content type or encoding.
    UnsupportedMedia "unsupported_media" 415 Caller Never "invalid_request_error" Some("unsupported_media_type"), "invalid_request_error" "INVALID_ARGUMENT" "ValidationException";
    /// Well-formed, and still not processable.
    Unprocessable "unprocessable" 422 Caller Never "invalid_request_error" None, "invalid_request_error" "INVALID_ARGUMENT" "ValidationException";
    /// The prompt does not fit the model; another one may have more room.
    ContextLength "context_length" 400 Caller Elsewhere "invalid_request_error" Some("context_length_exceeded"), "invalid_request_error" "INVALID_ARGUMENT" "ValidationException";
    /// The provider refused the content.
    ContentFilter "content_filter" 400 Caller Never "invalid_request_error" Some("content_filter"), "invalid_request_error" "INVALID_ARGUMENT" "ValidationException";
    /// The client went away before the answer was complete. Nobody receives this; logs do.
    ClientClosed "client_closed" 499 Caller Never "invalid_request_error" Some("client_closed"), "invalid_request_error" "CANCELLED" "ValidationException";
    /// The key may not do this.
    Forbidden "forbidden" 403 Policy Never "invalid_request_error" Some("permission_denied"), "permission_error" "PERMISSION_DENIED" "AccessDeniedException";
    /// A rule of the operator's says no, with a status of its own.
    Rejected "rejected" 403 Policy Never "invalid_request_error" Some("request_rejected"), "permission_error" "PERMISSION_DENIED" "AccessDeniedException";
    /// The key's own rate limit.
    KeyRateLimited "key_rate_limited" 429 Policy Never "requests" Some("rate_limit_exceeded"), "rate_limit_error" "RESOURCE_EXHAUSTED" "ThrottlingException";
    /// The key's own budget is spent.
    BudgetExceeded "budget_exceeded" 429 Policy Never "insufficient_quota" Some("insufficient_quota"), "rate_limit_error" "RESOURCE_EXHAUSTED" "ServiceQuotaExceededException";
    /// The provider's rate limit.
    RateLimited "rate_limited" 429 Upstream Anywhere "requests" Some("rate_limit_exceeded"), "rate_limit_error" "RESOURCE_EXHAUSTED" "ThrottlingException";
    /// The account at the provider has no quota or credit left.
    QuotaExceeded "quota_exceeded" 429 Upstream Elsewhere "insufficient_quota" Some("insufficient_quota"), "rate_limit_error" "RESOURCE_EXHAUSTED" "ServiceQuotaExceededException";
    /// The provider refuses the gateway's credentials: not the caller's fault, hence no 401.
    UpstreamAuth "upstream_auth" 502 Upstream Elsewhere "server_error" Some("upstream_auth_failed"), "api_error" "UNAVAILABLE" "InternalServerException";
    /// The provider could not be reached.
    UpstreamUnreachable "upstream_unreachable" 502 Upstream Anywhere "server_error" Some("upstream_unreachable"), "api_error" "UNAVAILABLE" "ServiceUnavailableException";
    /// The provider failed, or sent what is not an answer.
    UpstreamError "upstream_error" 502 Upstream Anywhere "server_error" Some("upstream_error"), "api_error" "INTERNAL" "InternalServerException";
    /// The provider is out of capacity. Anthropic's own status for it is 529.
    Overloaded "overloaded" 503 Upstream Anywhere "server_error" Some("overloaded"), "overloaded_error" "UNAVAILABLE" "ServiceUnavailableException";
    /// Every target rests after failures or until its rate limit is over.
    AllResting "all_targets_resting" 503 Upstream Anywhere "server_error" Some("all_targets_resting"), "overloaded_error" "UNAVAILABLE" "ServiceUnavailableException";
    /// One of the clocks of the attempt ran out.
    UpstreamTimeout "upstream_timeout" 504 Upstream Anywhere "server_error" Some("upstream_timeout"), "timeout_error" "DEADLINE_EXCEEDED" "ModelTimeoutException";
    /// The answer ended before it was complete.
    StreamCut "stream_cut" 502 Upstream Anywhere "server_error" Some("stream_cut"), "api_error" "INTERNAL" "ModelStreamErrorException";
    /// This version does not do that.
    NotSupported "not_supported" 501 Gateway Never "invalid_request_error" Some("not_supported"), "api_error" "UNIMPLEMENTED" "InternalServerException";
    /// The gateway holds as much as it may, or is shutting down: come back.
    Busy "busy" 503 Gateway Never "server_error" Some("gateway_busy"), "overloaded_error" "UNAVAILABLE" "ServiceUnavailableException";
    /// A defect of the gateway.
    Internal "internal" 500 Gateway Never "server_error" Some("internal_error"), "api_error" "INTERNAL" "InternalServerException";
}

impl ErrorKind {
    /// The word in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// The HTTP status, for the dialects that have no other (see [`Self::status_for`]).
    #[must_use]
    pub const fn status(self) -> u16 {
        self.row().status
    }

    /// The HTTP status in `dialect`.
    #[must_use]
    pub const fn status_for(self, dialect: Dialect) -> u16 {
        match (self, dialect) {
            (Self::Overloaded, Dialect::Anthropic) => 529,
            _ => self.row().status,
        }
    }

    /// Who is to blame.
    #[must_use]
    pub const fn fault(self) -> Fault {
        self.row().fault
    }

    /// Where another attempt may succeed.
    #[must_use]
    pub const fn retry(self) -> Retry {
        self.row().retry
    }

    /// `error.type` in the OpenAI dialects: <https://platform.openai.com/docs/guides/error-codes>.
    #[must_use]
    pub const fn openai_type(self) -> &'static str {
        self.row().openai_type
    }

    /// `error.code` in the OpenAI dialects.
    #[must_use]
    pub const fn openai_code(self) -> Option<&'static str> {
        self.row().openai_code
    }

    /// `error.type` in the Anthropic dialect: <https://docs.anthropic.com/en/api/errors>.
    #[must_use]
    pub const fn anthropic_type(self) -> &'static str {
        self.row().anthropic_type
    }

    /// `error.status` in the Gemini dialect: <https://cloud.google.com/apis/design/errors>.
    #[must_use]
    pub const fn google_status(self) -> &'static str {
        self.row().google_status
    }

    /// The exception name in the Bedrock dialect.
    pub(super) const fn bedrock(self) -> &'static str {
        self.row().bedrock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faults.md");
    const BEGIN: &str = "<!-- written by providers/src/error/kind.rs: begin -->\n";
    const END: &str = "<!-- written by providers/src/error/kind.rs: end -->\n";

    fn table() -> String {
        let mut text = concat!(
            "\n| in the log | meaning | status | fault | OpenAI `type`, `code` | Anthropic `type` | Google `status` | Bedrock |\n",
            "|---|---|---|---|---|---|---|---|\n",
        )
        .to_owned();
        for &kind in ErrorKind::ALL {
            let status = match (kind.status(), kind.status_for(Dialect::Anthropic)) {
                (status, anthropic) if status == anthropic => status.to_string(),
                (status, anthropic) => format!("{status}, Anthropic {anthropic}"),
            };
            let code = kind.openai_code().map_or_else(|| "none".to_owned(), |code| format!("`{code}`"));
            text.push_str(&format!(
                "| `{}` | {} | {status} | {} | `{}`, {code} | `{}` | `{}` | `{}` |\n",
                kind.as_str(),
                kind.meaning().trim().trim_end_matches('.'),
                kind.fault().as_str(),
                kind.openai_type(),
                kind.anthropic_type(),
                kind.google_status(),
                kind.bedrock(),
            ));
        }
        text + "\n"
    }

    /// `UPDATE_DOCS=1` writes it instead.
    #[test]
    fn the_document_has_the_table() {
        let text = std::fs::read_to_string(FILE).unwrap();
        let (before, rest) = text.split_once(BEGIN).unwrap();
        let (_, behind) = rest.split_once(END).unwrap();
        let now = format!("{before}{BEGIN}{}{END}{behind}", table());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            return std::fs::write(FILE, now).unwrap();
        }
        assert!(text == now, "UPDATE_DOCS=1 cargo test -p ai-gateway-providers --lib error::kind");
    }

    #[test]
    fn blame_status_and_retry_agree() {
        let mut names = std::collections::HashSet::new();
        for &kind in ErrorKind::ALL {
            assert!(names.insert(kind.as_str()), "{} twice", kind.as_str());
            let status = kind.status();
            match kind.fault() {
                Fault::Caller | Fault::Policy => assert!((400..500).contains(&status), "{kind:?}"),
                Fault::Upstream => assert!(status == 429 || status >= 500, "{kind:?}"),
                Fault::Gateway => assert!(status >= 500, "{kind:?}"),
            }
            if kind.fault() == Fault::Upstream {
                assert_ne!(kind.retry(), Retry::Never, "{kind:?}: another provider may do better");
            }
        }
    }
}
