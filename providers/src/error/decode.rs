//! What a provider's error means, whatever shape it has.

use std::borrow::Cow;

use serde_json::Value;

use super::{ApiError, ErrorKind};
use crate::dialect::Dialect;

/// The longest message that is kept, in bytes: providers answer with whole HTML pages.
const MAX_MESSAGE: usize = 4096;

/// Understands an error answer of a provider. Never fails: a body that is not JSON, or not an error, still gives the
/// kind that its status tells. `status` is the HTTP status; 200 for an error inside a stream.
#[must_use]
pub fn decode_error(dialect: Dialect, status: u16, body: &[u8]) -> ApiError {
    match dialect {
        Dialect::Own(own) => {
            let mut error = ApiError { status, ..own.dialect().decode_error(status, body) };
            truncate(&mut error.message);
            error
        }
        _ => decode_named(dialect.as_str(), status, body),
    }
}

/// The same without regard to the dialect, which is called `name`.
pub(crate) fn decode_named(name: &str, status: u16, body: &[u8]) -> ApiError {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => decode_parsed(name, status, &value),
        Err(_) => {
            let text = String::from_utf8_lossy(body.get(..MAX_MESSAGE).unwrap_or(body));
            let text = text.trim();
            // A proxy's page says nothing that the status does not, a torn document neither.
            let says_something = !text.is_empty() && !text.starts_with(['<', '{', '[']);
            let message = says_something.then(|| text.to_owned());
            Parts { message, ..Parts::default() }.into_error(name, status)
        }
    }
}

/// The same, of a value that is already parsed: the whole body, or only what stood under `error`.
pub(crate) fn decode_value(dialect: Dialect, status: u16, value: &Value) -> ApiError {
    decode_parsed(dialect.as_str(), status, value)
}

fn decode_parsed(name: &str, status: u16, value: &Value) -> ApiError {
    let mut parts = Parts::default();
    parts.read(value, 0);
    parts.into_error(name, status)
}

/// What the known shapes have in common.
#[derive(Default)]
struct Parts {
    message: Option<String>,
    r#type: Option<String>,
    code: Option<String>,
    /// Google's `status`, a word.
    status: Option<String>,
    param: Option<String>,
    /// A code that is an HTTP status: OpenRouter, Google and Groq's streams.
    http: Option<u16>,
    /// OpenRouter tells what a moderation has found.
    flagged: bool,
}

impl Parts {
    /// Goes from the outside in, so that the inner `error` object has the last word.
    fn read(&mut self, value: &Value, depth: u8) {
        match value {
            Value::String(text) => self.message = Some(text.clone()),
            // Google's streamed errors, and FastAPI's `detail`.
            Value::Array(list) if depth < 4 => {
                if let Some(first) = list.first() {
                    self.read(first, depth + 1);
                }
            }
            Value::Object(object) if depth < 4 => {
                for (name, value) in object {
                    self.field(name, value);
                }
                for name in ["detail", "errors", "message", "response", "error"] {
                    if let Some(inner) = object.get(name).filter(|inner| has_content(inner)) {
                        self.read(inner, depth + 1);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }

    fn field(&mut self, name: &str, value: &Value) {
        match (name, value) {
            ("msg" | "Message", Value::String(text)) => self.message = Some(text.clone()),
            ("type" | "__type", Value::String(text)) => self.r#type = Some(text.clone()),
            ("code", Value::String(text)) => {
                self.http = text.parse().ok().filter(is_error_status).or(self.http);
                self.code = Some(text.clone());
            }
            ("code" | "status_code", Value::Number(number)) => {
                let number = number.as_u64().and_then(|number| u16::try_from(number).ok());
                self.http = number.filter(is_error_status).or(self.http);
            }
            ("status", Value::String(text)) => self.status = Some(text.clone()),
            ("param", Value::String(text)) => self.param = Some(text.clone()),
            // Anthropic: <https://platform.claude.com/docs/en/api/errors>.
            ("details", Value::Object(details)) => {
                let code = details.get("error_code").and_then(Value::as_str);
                self.code = code.map(str::to_owned).or_else(|| self.code.take());
            }
            // <https://openrouter.ai/docs/api/reference/errors-and-debugging>
            ("metadata", Value::Object(metadata)) => self.flagged |= metadata.contains_key("flagged_input"),
            // Everything else is detail that no dialect shares.
            (_, _) => {}
        }
    }

    fn into_error(self, name: &str, status: u16) -> ApiError {
        let effective = if is_error_status(&status) { status } else { self.http.unwrap_or(status) };
        let kind = self.kind(effective);
        let mut message = self.message.unwrap_or_default();
        if message.trim().is_empty() {
            message = format!("the {name} provider answered with status {effective} and no message");
        }
        truncate(&mut message);
        ApiError {
            status,
            kind,
            message,
            code: self.code.or(self.status).map(Cow::Owned),
            param: self.param,
            provider_type: self.r#type,
        }
    }

    fn kind(&self, status: u16) -> ErrorKind {
        let words = [self.code.as_deref(), self.r#type.as_deref(), self.status.as_deref()];
        let words = || words.into_iter().flatten();
        if let Some(kind) =
            self.forbids_request().filter(|_| status == 403 || (status == 200 && self.http == Some(403)))
        {
            return kind;
        }
        // A code or type is more exact than the status, which may be 200, or 400 for everything.
        if let Some(kind) = words().find_map(exact) {
            return kind;
        }
        if words().any(|word| word == "string_above_max_length") && self.is_about_the_prompt() {
            return ErrorKind::ContextLength;
        }
        if matches!(status, 200 | 400 | 413)
            && let Some(kind) = self.message.as_deref().and_then(by_message)
        {
            return kind;
        }
        match status {
            400..=599 => by_status(status),
            _ => words().find_map(general).unwrap_or(ErrorKind::UpstreamError),
        }
    }
}

impl Parts {
    /// What a 403 is if it speaks of this one request. All others speak of the account.
    fn forbids_request(&self) -> Option<ErrorKind> {
        let message = self.message.as_deref().unwrap_or_default();
        if self.flagged || says(message, &["input was flagged", "violates usage guidelines", "failed check: safety"]) {
            Some(ErrorKind::ContentFilter)
        } else if says(
            message,
            // Google's, also of what has expired; the last one is of an address at Vertex.
            &["cachedcontent not found", "permission to access the file", "storage.objects.get"],
        ) {
            Some(ErrorKind::NotFound)
        } else if self.code.as_deref().is_some_and(|code| code.starts_with("user_profile_")) {
            // Anthropic: for whom the client asks.
            Some(ErrorKind::InvalidRequest)
        } else {
            None
        }
    }

    /// Whether the field that is wrong, by `param` or in quotes in the message, is what the model reads and no id or name.
    fn is_about_the_prompt(&self) -> bool {
        let quoted = || self.message.as_deref()?.split('\'').nth(1);
        let Some(path) = self.param.as_deref().or_else(quoted) else { return false };
        let field = path.rsplit('.').next().unwrap_or(path);
        let field = field.split('[').next().unwrap_or(field);
        matches!(field, "content" | "text" | "input" | "instructions" | "output" | "prompt")
    }
}

fn is_error_status(status: &u16) -> bool {
    (400..600).contains(status)
}

fn has_content(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

/// Words that mean one thing, whatever the status.
fn exact(word: &str) -> Option<ErrorKind> {
    Some(match word {
        "context_length_exceeded" | "model_max_prompt_tokens_exceeded" => ErrorKind::ContextLength,
        "content_filter" | "content_policy_violation" | "moderation_blocked" | "ResponsibleAIPolicyViolation" => {
            ErrorKind::ContentFilter
        }
        "insufficient_quota"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "billing_error"
        | "ServiceQuotaExceededException" => ErrorKind::QuotaExceeded,
        "invalid_api_key"
        | "authentication_error"
        | "permission_error"
        | "UNAUTHENTICATED"
        | "PERMISSION_DENIED"
        | "AccessDeniedException"
        | "UnrecognizedClientException"
        | "ExpiredTokenException" => ErrorKind::UpstreamAuth,
        "model_not_found" | "DeploymentNotFound" | "ModelNotFound" => ErrorKind::ModelNotFound,
        "rate_limit_exceeded" | "rate_limit_error" | "RESOURCE_EXHAUSTED" | "ThrottlingException" => {
            ErrorKind::RateLimited
        }
        "overloaded_error" | "overloaded" | "UNAVAILABLE" | "ServiceUnavailableException" => ErrorKind::Overloaded,
        "not_found_error" | "NOT_FOUND" | "ResourceNotFoundException" => ErrorKind::NotFound,
        "request_too_large" => ErrorKind::TooLarge,
        "timeout_error" | "DEADLINE_EXCEEDED" | "ModelTimeoutException" => ErrorKind::UpstreamTimeout,
        _ => return None,
    })
}

/// Words that say no more than a class of status would.
fn general(word: &str) -> Option<ErrorKind> {
    Some(match word {
        "invalid_request_error"
        | "invalid_prompt"
        | "INVALID_ARGUMENT"
        | "FAILED_PRECONDITION"
        | "ValidationException" => ErrorKind::InvalidRequest,
        "tokens" | "requests" => ErrorKind::RateLimited,
        _ => return None,
    })
}

/// Whether `message` has one of the phrases, which are in lower case.
fn says(message: &str, phrases: &[&str]) -> bool {
    let message = message.to_ascii_lowercase();
    phrases.iter().any(|phrase| message.contains(phrase))
}

/// What providers say only in prose. Each phrase is what one of them sends with a 400.
fn by_message(message: &str) -> Option<ErrorKind> {
    if says(
        message,
        &[
            "maximum context length",
            "context window",
            "context length",
            "prompt is too long",
            "input is too long",
            "exceeds the maximum number of tokens",
        ],
    ) {
        Some(ErrorKind::ContextLength)
    } else if says(message, &["credit balance is too low", "insufficient balance", "exceeded your current quota"]) {
        Some(ErrorKind::QuotaExceeded)
    } else if says(message, &["api key not valid", "api key expired", "invalid api key"]) {
        Some(ErrorKind::UpstreamAuth)
    } else {
        None
    }
}

fn by_status(status: u16) -> ErrorKind {
    match status {
        401 | 403 | 407 => ErrorKind::UpstreamAuth,
        402 => ErrorKind::QuotaExceeded,
        404 => ErrorKind::NotFound,
        408 | 504 | 522 | 524 => ErrorKind::UpstreamTimeout,
        409 => ErrorKind::Conflict,
        413 => ErrorKind::TooLarge,
        415 => ErrorKind::UnsupportedMedia,
        422 => ErrorKind::Unprocessable,
        429 => ErrorKind::RateLimited,
        // 498 is Groq's "flex capacity exceeded", 529 Anthropic's "overloaded".
        498 | 503 | 529 => ErrorKind::Overloaded,
        // Bedrock: the model itself failed.
        424 => ErrorKind::UpstreamError,
        400..=499 => ErrorKind::InvalidRequest,
        _ => ErrorKind::UpstreamError,
    }
}

fn truncate(message: &mut String) {
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(status: u16, body: &str) -> ApiError {
        decode_error(Dialect::OpenAiChat, status, body.as_bytes())
    }

    #[test]
    fn understands_every_known_shape() {
        use ErrorKind::*;
        for (status, body, kind, message) in [
            (
                400,
                r#"{"error":{"message":"m","type":"invalid_request_error","param":"p","code":null}}"#,
                InvalidRequest,
                "m",
            ),
            (
                400,
                r#"{"error":{"message":"m","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
                ContextLength,
                "m",
            ),
            (
                429,
                r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                QuotaExceeded,
                "m",
            ),
            (429, r#"{"error":{"message":"m","code":429,"metadata":{"raw":"x"}}}"#, RateLimited, "m"),
            (200, r#"{"error":{"message":"m","code":502}}"#, UpstreamError, "m"),
            (200, r#"{"error":{"message":"m","code":429}}"#, RateLimited, "m"),
            (
                200,
                r#"{"error":{"message":"m","type":"invalid_request_error","code":"tool_use_failed"}}"#,
                InvalidRequest,
                "m",
            ),
            (
                200,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                Overloaded,
                "Overloaded",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#,
                ContextLength,
                "prompt is too long: 9 > 8",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
                QuotaExceeded,
                "Your credit balance is too low",
            ),
            (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, Overloaded, "m"),
            (
                400,
                r#"{"object":"error","message":"m","type":"invalid_request_error","code":"3000"}"#,
                InvalidRequest,
                "m",
            ),
            (
                422,
                r#"{"detail":[{"loc":["body"],"msg":"field required","type":"missing"}]}"#,
                Unprocessable,
                "field required",
            ),
            (422, r#"{"object":"error","message":{"detail":[{"msg":"inner"}]}}"#, Unprocessable, "inner"),
            (503, r#"{"error":"Model is loading"}"#, Overloaded, "Model is loading"),
            (
                400,
                r#"[{"error":{"code":400,"message":"API key not valid. Please","status":"INVALID_ARGUMENT"}}]"#,
                UpstreamAuth,
                "API key not valid. Please",
            ),
            (429, r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}"#, RateLimited, "m"),
            (400, r#"{"message":"m"}"#, InvalidRequest, "m"),
            (402, r#"{"error":{"message":"Insufficient Balance"}}"#, QuotaExceeded, "Insufficient Balance"),
            (404, r#"{"error":{"code":"DeploymentNotFound","message":"m"}}"#, ModelNotFound, "m"),
            (
                200,
                r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"m"}}}"#,
                UpstreamError,
                "m",
            ),
            (200, r#"{"type":"error","code":"rate_limit_exceeded","message":"m","param":null}"#, RateLimited, "m"),
            (500, "oops", UpstreamError, "oops"),
        ] {
            let error = decode(status, body);
            assert_eq!((error.kind, error.message.as_str(), error.status), (kind, message, status), "{body}");
        }
    }

    /// It is OpenAI's code for any string: a name or an id that is too long is no reason to ask a model of a larger context.
    #[test]
    fn only_the_prompt_is_too_long_for_the_context() {
        for (param, message, kind) in [
            (Some("messages[1].content"), "m", ErrorKind::ContextLength),
            (Some("messages[1].content[0].text"), "m", ErrorKind::ContextLength),
            (Some("input"), "m", ErrorKind::ContextLength),
            (Some("input[2].output"), "m", ErrorKind::ContextLength),
            (None, "Invalid 'messages[1].content': string too long.", ErrorKind::ContextLength),
            (Some("messages[1].tool_calls[0].id"), "m", ErrorKind::InvalidRequest),
            (Some("user"), "m", ErrorKind::InvalidRequest),
            (None, "Invalid 'tools[0].function.name': string too long.", ErrorKind::InvalidRequest),
        ] {
            let body = serde_json::json!({"error": {"message": message, "type": "invalid_request_error",
                "param": param, "code": "string_above_max_length"}});
            assert_eq!(decode(400, &body.to_string()).kind, kind, "{param:?} {message}");
        }
    }

    #[test]
    fn a_403_of_one_request_is_told_from_one_of_the_account() {
        let google = |message: &str| serde_json::json!({"error": {"code": 403, "message": message, "status": "PERMISSION_DENIED"}});
        let anthropic = |code: Option<&str>| {
            let details = code.map(|code| serde_json::json!({ "error_code": code }));
            let error = serde_json::json!({"type": "permission_error", "message": "m", "details": details});
            serde_json::json!({"type": "error", "error": error})
        };
        let xai = |error: &str| {
            let code = "The caller does not have permission to execute the specified operation";
            serde_json::json!({"code": code, "error": error})
        };
        let openrouter =
            |metadata: Value| serde_json::json!({"error": {"code": 403, "message": "m", "metadata": metadata}});
        for (body, kind) in [
            (openrouter(serde_json::json!({"reasons": ["violence"], "flagged_input": "x"})), ErrorKind::ContentFilter),
            (openrouter(serde_json::json!({"provider_name": "x"})), ErrorKind::UpstreamAuth),
            (
                xai("Content violates usage guidelines. Team: t, Failed check: SAFETY_CHECK_TYPE_BIO"),
                ErrorKind::ContentFilter,
            ),
            (xai("Your team has no access to this model"), ErrorKind::UpstreamAuth),
            (google("CachedContent not found (or permission denied)"), ErrorKind::NotFound),
            (google("You do not have permission to access the File x or it may not exist."), ErrorKind::NotFound),
            (google("Permission denied on resource project x."), ErrorKind::UpstreamAuth),
            (anthropic(Some("user_profile_not_billable")), ErrorKind::InvalidRequest),
            (anthropic(None), ErrorKind::UpstreamAuth),
        ] {
            assert_eq!(decode(403, &body.to_string()).kind, kind, "{body}");
        }
        assert_eq!(decode(401, &google("CachedContent not found").to_string()).kind, ErrorKind::UpstreamAuth);
    }

    #[test]
    fn keeps_code_param_and_type() {
        let error = decode(404, r#"{"error":{"message":"m","type":"t","param":"model","code":"model_not_found"}}"#);
        assert_eq!(error.code.as_deref(), Some("model_not_found"));
        assert_eq!((error.param.as_deref(), error.provider_type.as_deref()), (Some("model"), Some("t")));
    }

    #[test]
    fn survives_what_is_not_an_error_body() {
        for body in ["", "<html>502</html>", "{}", "null", "[]", "7", "{\"error\":", "\u{0}", "[[[[[[[[1]]]]]]]]"] {
            assert!(!decode(502, body).message.is_empty(), "{body}");
            assert_eq!(decode(502, body).kind, ErrorKind::UpstreamError);
        }
        let long = decode(400, &format!(r#"{{"message":"{}"}}"#, "ü".repeat(9000)));
        assert!(long.message.len() <= MAX_MESSAGE);
        assert!(decode_error(Dialect::Anthropic, 500, &[0xff; 5000]).message.len() <= 3 * MAX_MESSAGE);
    }
}
