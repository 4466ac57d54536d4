//! Errors as each dialect spells them.

use std::borrow::Cow;

use serde::Serialize;

use super::scrub::scrub;
use super::{ApiError, ErrorKind, THREAD_UNSUPPORTED};
use crate::codec::{Client, codec};
use crate::common::{Event, Losses};
use crate::dialect::Dialect;
use crate::event_stream::write_exception;

#[derive(Serialize)]
struct OpenAi<'a> {
    error: OpenAiError<'a>,
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    message: Cow<'a, str>,
    r#type: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

#[derive(Serialize)]
struct ResponsesError<'a> {
    r#type: &'static str,
    code: Option<&'a str>,
    message: Cow<'a, str>,
    param: Option<&'a str>,
    sequence_number: u64,
}

#[derive(Serialize)]
struct Anthropic<'a> {
    r#type: &'static str,
    error: AnthropicError<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    r#type: &'a str,
    message: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<AnthropicDetails<'a>>,
}

/// What its SDKs go by to send a conversation again that was refused because of its thread.
#[derive(Serialize)]
struct AnthropicDetails<'a> {
    error_code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unsupported: Option<[&'a str; 1]>,
}

#[derive(Serialize)]
struct Google<'a> {
    error: GoogleError<'a>,
}

#[derive(Serialize)]
struct GoogleError<'a> {
    code: u16,
    message: Cow<'a, str>,
    status: &'a str,
}

#[derive(Serialize)]
struct Message<'a> {
    message: Cow<'a, str>,
}

#[derive(Serialize)]
struct CohereEnd<'a> {
    r#type: &'static str,
    delta: CohereDelta<'a>,
}

#[derive(Serialize)]
struct CohereDelta<'a> {
    error: Cow<'a, str>,
    finish_reason: &'static str,
}

/// The body of an error answer in `dialect`; its status is [`ApiError::client_status`], its content type
/// `application/json`.
///
/// Bedrock's SDKs also want the header `x-amzn-errortype`, see [`bedrock_exception`].
#[must_use]
pub fn encode_error(dialect: Dialect, error: &ApiError, request_id: &str) -> Vec<u8> {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => json(&openai(error)),
        Dialect::Anthropic => json(&anthropic(error, request_id)),
        Dialect::Gemini => json(&google(error, dialect)),
        Dialect::Bedrock | Dialect::Cohere => json(&Message { message: message(error) }),
        Dialect::Own(own) => own.dialect().encode_error(&for_client(error), request_id),
    }
}

/// The event that ends a broken stream in `dialect`. No end marker follows it: `[DONE]` or `message_stop` would call
/// the answer complete.
///
/// `sequence_number` is that of the next event of a Responses stream ([`Seen::events`](crate::Seen::events)); the others
/// have none. What went to the client before must have ended with a whole event
/// ([`Observer::mid_event`](crate::Observer::mid_event)). Bedrock's stream is not made of server-sent events: its error is
/// a frame ([`crate::event_stream`]).
#[must_use]
pub fn encode_stream_error(dialect: Dialect, error: &ApiError, request_id: &str, sequence_number: u64) -> Vec<u8> {
    match dialect {
        Dialect::OpenAiChat => event(None, &openai(error)),
        // <https://platform.openai.com/docs/api-reference/responses-streaming/error>
        Dialect::OpenAiResponses => event(
            Some("error"),
            &ResponsesError {
                r#type: "error",
                code: code(error),
                message: message(error),
                param: error.param.as_deref(),
                sequence_number,
            },
        ),
        // <https://docs.anthropic.com/en/docs/build-with-claude/streaming#error-events>
        Dialect::Anthropic => event(Some("error"), &anthropic(error, request_id)),
        Dialect::Gemini => event(None, &google(error, dialect)),
        Dialect::Bedrock => {
            let mut out = Vec::with_capacity(256);
            write_exception(&mut out, bedrock_stream_exception(error.kind), |out| {
                out.append(&mut json(&Message { message: message(error) }));
            });
            out
        }
        // <https://docs.cohere.com/v2/docs/streaming>: an error is a finish reason.
        Dialect::Cohere => event(
            Some("message-end"),
            &CohereEnd { r#type: "message-end", delta: CohereDelta { error: message(error), finish_reason: "ERROR" } },
        ),
        Dialect::Own(_) => {
            let client = Client { request_id: request_id.to_owned(), ..Client::default() };
            let mut out = Vec::new();
            let error = Event::Error(error.clone());
            codec(dialect).stream_encoder(&client).encode(error, &mut Losses::default(), &mut out);
            out
        }
    }
}

/// The value of `x-amzn-errortype` that goes with a Bedrock error body: the exception that its SDKs raise.
#[must_use]
pub const fn bedrock_exception(kind: ErrorKind) -> &'static str {
    kind.bedrock()
}

/// The exception that ends a Bedrock stream, one of the five that its SDKs know there:
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ResponseStream.html>
fn bedrock_stream_exception(kind: ErrorKind) -> &'static str {
    match kind.bedrock() {
        "ThrottlingException" | "ServiceQuotaExceededException" => "throttlingException",
        "ServiceUnavailableException" => "serviceUnavailableException",
        "ModelStreamErrorException" | "ModelTimeoutException" => "modelStreamErrorException",
        "InternalServerException" => "internalServerException",
        _ => "validationException",
    }
}

fn openai(error: &ApiError) -> OpenAi<'_> {
    OpenAi {
        error: OpenAiError {
            message: message(error),
            r#type: error.kind.openai_type(),
            param: error.param.as_deref(),
            code: code(error),
        },
    }
}

/// A provider that refuses a key quotes part of it, and its account is none of the caller's business.
fn message(error: &ApiError) -> Cow<'_, str> {
    match error.kind {
        ErrorKind::UpstreamAuth => "the provider refused the gateway's credentials".into(),
        _ => scrub(&error.message),
    }
}

/// The error with nothing in it that its client may not know.
pub(crate) fn for_client(error: &ApiError) -> ApiError {
    ApiError {
        message: message(error).into_owned(),
        code: code(error).map(|code| code.to_owned().into()),
        provider_type: None,
        ..error.clone()
    }
}

/// What the provider said, or what the kind says.
fn code(error: &ApiError) -> Option<&str> {
    let said = if error.kind == ErrorKind::UpstreamAuth { None } else { error.code.as_deref() };
    said.or(error.kind.openai_code())
}

fn anthropic<'a>(error: &'a ApiError, request_id: &'a str) -> Anthropic<'a> {
    let details = code(error).filter(|code| code.starts_with("thread_")).map(|error_code| AnthropicDetails {
        error_code,
        unsupported: (error_code == THREAD_UNSUPPORTED).then(|| [error.param.as_deref().unwrap_or("thread")]),
    });
    Anthropic {
        r#type: "error",
        error: AnthropicError { r#type: error.kind.anthropic_type(), message: message(error), details },
        request_id,
    }
}

fn google(error: &ApiError, dialect: Dialect) -> Google<'_> {
    Google {
        error: GoogleError {
            code: error.client_status(dialect),
            message: message(error),
            status: error.kind.google_status(),
        },
    }
}

/// These types have string keys and plain values: writing them cannot fail.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn event(name: Option<&str>, data: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.append(&mut json(data));
    out.extend_from_slice(b"\n\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::decode_error;

    fn error() -> ApiError {
        ApiError::new(ErrorKind::ModelNotFound, "no \"model\"\n\u{1} like that").with_param("model")
    }

    fn body(dialect: Dialect) -> String {
        String::from_utf8(encode_error(dialect, &error(), "req-1")).unwrap()
    }

    #[test]
    fn spells_a_body_as_each_provider_does() {
        let text = r#""no \"model\"\n\u0001 like that""#;
        let openai = format!(
            r#"{{"error":{{"message":{text},"type":"invalid_request_error","param":"model","code":"model_not_found"}}}}"#
        );
        assert_eq!(body(Dialect::OpenAiChat), openai);
        assert_eq!(body(Dialect::OpenAiResponses), openai);
        assert_eq!(
            body(Dialect::Anthropic),
            format!(r#"{{"type":"error","error":{{"type":"not_found_error","message":{text}}},"request_id":"req-1"}}"#)
        );
        assert_eq!(
            body(Dialect::Gemini),
            format!(r#"{{"error":{{"code":404,"message":{text},"status":"NOT_FOUND"}}}}"#)
        );
        assert_eq!(body(Dialect::Bedrock), format!(r#"{{"message":{text}}}"#));
        assert_eq!(body(Dialect::Cohere), format!(r#"{{"message":{text}}}"#));
    }

    #[test]
    fn spells_a_stream_event_as_each_provider_does() {
        let event = |dialect| {
            String::from_utf8(encode_stream_error(dialect, &ApiError::new(ErrorKind::StreamCut, "cut"), "r", 7))
                .unwrap()
        };
        assert_eq!(
            event(Dialect::OpenAiChat),
            "data: {\"error\":{\"message\":\"cut\",\"type\":\"server_error\",\"param\":null,\"code\":\"stream_cut\"}}\n\n"
        );
        assert_eq!(
            event(Dialect::OpenAiResponses),
            "event: error\ndata: {\"type\":\"error\",\"code\":\"stream_cut\",\"message\":\"cut\",\"param\":null,\"sequence_number\":7}\n\n"
        );
        assert_eq!(
            event(Dialect::Anthropic),
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"cut\"},\"request_id\":\"r\"}\n\n"
        );
        assert_eq!(
            event(Dialect::Cohere),
            "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"error\":\"cut\",\"finish_reason\":\"ERROR\"}}\n\n"
        );
    }

    /// What the SDK's `tool_runner` needs to go on without a thread.
    #[test]
    fn a_refused_thread_is_told_in_anthropics_details() {
        let refused = ApiError::new(ErrorKind::InvalidRequest, "no").with_param("thread").with_code(THREAD_UNSUPPORTED);
        let body = encode_error(Dialect::Anthropic, &refused, "r");
        assert_eq!(
            String::from_utf8(body.clone()).unwrap(),
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"no","details":{"error_code":"thread_unsupported_request","unsupported":["thread"]}},"request_id":"r"}"#
        );
        let read = decode_error(Dialect::Anthropic, 400, &body);
        assert_eq!(encode_error(Dialect::Anthropic, &read, "r"), body);
        let lost = ApiError::new(ErrorKind::InvalidRequest, "no").with_code("thread_not_found");
        let body = String::from_utf8(encode_error(Dialect::Anthropic, &lost, "r")).unwrap();
        assert!(body.contains(r#""details":{"error_code":"thread_not_found"}}"#), "{body}");
    }

    #[test]
    fn spells_a_bedrock_stream_error_as_a_frame() {
        let mut splitter = crate::event_stream::FrameSplitter::default();
        let frame = encode_stream_error(Dialect::Bedrock, &ApiError::new(ErrorKind::StreamCut, "cut"), "r", 7);
        let mut seen = 0;
        splitter.feed(&frame, |frame| {
            let payload = br#"{"message":"cut"}"#;
            let wanted = crate::event_stream::Frame::Exception { name: "modelStreamErrorException", payload };
            assert_eq!(frame, Ok(wanted));
            seen += 1;
        });
        assert_eq!(seen, 1);
    }

    /// What we say of an error that is the provider's to blame is understood again one gateway further on.
    #[test]
    fn what_is_encoded_is_understood() {
        use ErrorKind::*;
        for dialect in [Dialect::OpenAiChat, Dialect::Anthropic, Dialect::Gemini] {
            for kind in [InvalidRequest, NotFound, TooLarge, RateLimited, UpstreamTimeout, UpstreamError, Overloaded] {
                let error = ApiError::new(kind, "why");
                let decoded =
                    decode_error(dialect, error.client_status(dialect), &encode_error(dialect, &error, "req-1"));
                assert_eq!((decoded.kind, decoded.message.as_str()), (kind, "why"), "{dialect}");
            }
        }
    }

    #[test]
    fn a_providers_401_is_not_the_callers() {
        let error = decode_error(
            Dialect::OpenAiChat,
            401,
            br#"{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}"#,
        );
        assert_eq!((error.kind, error.status), (ErrorKind::UpstreamAuth, 401));
        assert_eq!(error.client_status(Dialect::OpenAiChat), 502);
        let body = encode_error(Dialect::OpenAiChat, &error, "req-1");
        assert!(!String::from_utf8(body).unwrap().to_lowercase().contains("api"));
        assert_eq!(ApiError::new(ErrorKind::Overloaded, "").client_status(Dialect::Anthropic), 529);
        let teapot = decode_error(Dialect::OpenAiChat, 418, b"");
        assert_eq!(teapot.client_status(Dialect::OpenAiChat), 418);
    }
}
