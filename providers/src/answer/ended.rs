//! Whether an answer ended as a model ends it, so that it may be given again.

use super::AnswerForm;
use crate::codec::{Maker, codec};
use crate::common::Event;
use crate::dialect::Dialect;

/// Whether all that `body` says, an answer to a chat, ended [as a model ends it](crate::common::StopReason::is_of_model), as far as it tells
/// how. `false` also of an error, and of a whole answer that the codec of its dialect cannot read.
#[must_use]
pub fn ended_by_model(body: &[u8], dialect: Dialect, form: AnswerForm) -> bool {
    let maker = Maker::nobody("");
    match form {
        AnswerForm::Json => codec(dialect)
            .decode_response(body, &maker)
            .is_ok_and(|response| response.choices.iter().all(|choice| choice.stop.reason.is_of_model())),
        AnswerForm::Stream => {
            let mut good = true;
            let mut decoder = codec(dialect).stream_decoder(&maker);
            decoder.feed(body, true, &mut |event| match event {
                Event::Stop { stop, .. } => good &= stop.reason.is_of_model(),
                Event::Error(_) => good = false,
                _ => {}
            });
            good
        }
        AnswerForm::Opaque => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_end_otherwise_than_models_end_them() {
        let chat = |reason: &str| {
            let choice =
                format!(r#""index":0,"message":{{"role":"assistant","content":"a"}},"finish_reason":"{reason}""#);
            format!(r#"{{"id":"1","model":"m","choices":[{{{choice}}}]}}"#)
        };
        let gemini = |reason: &str| {
            let candidate =
                format!(r#""content":{{"role":"model","parts":[{{"text":"a"}}]}},"finishReason":"{reason}""#);
            format!(r#"{{"candidates":[{{{candidate}}}]}}"#)
        };
        let anthropic = |reason: &str| {
            format!(
                r#"{{"type":"message","model":"m","content":[{{"type":"text","text":"a"}}],"stop_reason":"{reason}"}}"#
            )
        };
        let responses = |status: &str| {
            let part = r#"{"type":"output_text","text":"a","annotations":[]}"#;
            let item = format!(r#"{{"type":"message","role":"assistant","content":[{part}]}}"#);
            format!(r#"{{"id":"r","model":"m","output":[{item}],{status}}}"#)
        };
        let whole = |body: String, dialect| ended_by_model(body.as_bytes(), dialect, AnswerForm::Json);
        for (reason, good) in [
            ("stop", true),
            ("length", true),
            ("tool_calls", true),
            ("content_filter", false),
            ("error", false),
            ("insufficient_system_resource", false),
            ("network_error", false),
            ("sensitive", false),
        ] {
            assert_eq!(whole(chat(reason), Dialect::OpenAiChat), good, "{reason}");
            let chunk = chat(reason).replace("message", "delta");
            let stream = format!("data: {chunk}\n\ndata: [DONE]\n\n");
            assert_eq!(ended_by_model(stream.as_bytes(), Dialect::OpenAiChat, AnswerForm::Stream), good, "{reason}");
        }
        for (reason, good) in [
            ("STOP", true),
            ("MAX_TOKENS", true),
            ("SAFETY", false),
            ("MALFORMED_FUNCTION_CALL", false),
            ("MALFORMED_RESPONSE", false),
            ("OTHER", false),
        ] {
            assert_eq!(whole(gemini(reason), Dialect::Gemini), good, "{reason}");
            for stream in [format!("data: {}\n\n", gemini(reason)), format!("[{}\n]", gemini(reason))] {
                assert_eq!(ended_by_model(stream.as_bytes(), Dialect::Gemini, AnswerForm::Stream), good, "{stream}");
            }
        }
        let blocked = r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#;
        assert!(!whole(blocked.to_owned(), Dialect::Gemini));
        for (reason, good) in [("end_turn", true), ("tool_use", true), ("refusal", false), ("pause_turn", false)] {
            assert_eq!(whole(anthropic(reason), Dialect::Anthropic), good, "{reason}");
        }
        for (status, good) in [
            (r#""status":"completed""#, true),
            (r#""status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}"#, true),
            (r#""status":"incomplete","incomplete_details":{"reason":"content_filter"}"#, false),
            (r#""status":"cancelled""#, false),
            (r#""status":"queued""#, false),
        ] {
            assert_eq!(whole(responses(status), Dialect::OpenAiResponses), good, "{status}");
        }
        assert!(!whole("[]".to_owned(), Dialect::OpenAiChat));
    }
}
