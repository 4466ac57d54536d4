//! Whether an answer ended as a model ends it, so that it may be given again.

use serde_json::value::RawValue;

use super::AnswerForm;
use crate::codec::{Maker, Platform, codec};
use crate::common::{Event, ProviderTag};
use crate::dialect::Dialect;

/// Whether all that `body` says, an answer to a chat, ended [as a model ends it](crate::common::StopReason::is_of_model). `false` also of
/// what the codec of its dialect cannot read, and of what tells no end.
#[must_use]
pub fn ended_by_model(body: &[u8], dialect: Dialect, form: AnswerForm) -> bool {
    let maker = Maker { provider: ProviderTag::of(""), platform: Platform::Native, model: "", id_seed: "" };
    match form {
        AnswerForm::Json => codec(dialect).decode_response(body, &maker).is_ok_and(|response| {
            !response.choices.is_empty() && response.choices.iter().all(|choice| choice.stop.reason.is_of_model())
        }),
        AnswerForm::Stream => {
            let (mut ends, mut good) = (0, 0);
            let mut see = |event: Event<'_>| {
                if let Event::Stop { stop, .. } = event {
                    ends += 1;
                    good += u32::from(stop.reason.is_of_model());
                }
            };
            let mut decoder = codec(dialect).stream_decoder(&maker);
            // Gemini's stream in one array.
            match serde_json::from_slice::<Vec<&RawValue>>(body) {
                Ok(events) => {
                    for event in events {
                        let event = event.get().replace(['\n', '\r'], " ");
                        decoder.feed(format!("data: {event}\n\n").as_bytes(), false, &mut see);
                    }
                    decoder.feed(b"", true, &mut see);
                }
                Err(_) => decoder.feed(body, true, &mut see),
            }
            ends > 0 && ends == good
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
