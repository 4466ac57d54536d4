//! How an answer ended, which every dialect tells by a word of its own.

use super::translated::note;
use super::{AnswerForm, Notes};
use crate::codec::{Maker, codec};
use crate::common::{Stop, StopReason, take_apart};
use crate::dialect::{Dialect, Operation};

/// How an answer to a chat is over, as far as it tells: the worst of its choices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// It does not tell, or not yet.
    #[default]
    Untold,
    /// As a [model ends it](StopReason::is_of_model), or the room that it has.
    Model,
    /// A pause, an accident, or a word that nobody knows.
    Otherwise,
    /// By a filter of the provider's: what was said before that stands.
    Filtered,
    /// By a filter whose doing is all that there is of the answer (the message of Bedrock's guardrails).
    Replaced,
}

impl End {
    fn of(stop: &Stop<'_>) -> Self {
        match (stop.reason, stop.detail.as_deref()) {
            (_, Some("guardrail_intervened")) => Self::Replaced,
            (StopReason::ContentFilter | StopReason::Refusal, _) => Self::Filtered,
            (reason, _) if reason.is_of_model() => Self::Model,
            _ => Self::Otherwise,
        }
    }

    /// Whether nothing but the model is known to have ended it: such an answer may be given again.
    #[must_use]
    pub fn is_of_model(self) -> bool {
        self <= Self::Model
    }
}

impl Notes {
    /// Takes in why a choice ended.
    pub(super) fn stop(&mut self, stop: &Stop<'_>) {
        self.ends(End::of(stop));
    }

    pub(super) fn ends(&mut self, end: End) {
        self.seen.end = self.seen.end.max(end);
    }
}

/// How `body`, a whole answer to a chat or stream of one, ended. One that says nothing but what a filter left of it is
/// [`End::Replaced`]. `None`: it is an error, or cannot be read.
#[must_use]
pub fn end_of(body: &[u8], dialect: Dialect, form: AnswerForm) -> Option<End> {
    let maker = Maker::nobody("");
    let mut notes = Notes::new(dialect, Operation::Chat);
    match form {
        AnswerForm::Json => {
            let response = codec(dialect).decode_response(body, &maker).ok()?;
            take_apart(&response, &mut |event| note(&event, &mut notes));
        }
        AnswerForm::Stream => {
            codec(dialect).stream_decoder(&maker).feed(body, true, &mut |event| note(&event, &mut notes));
        }
        AnswerForm::Opaque => return None,
    }
    let seen = &notes.seen;
    match seen.error.is_some() || seen.cut {
        true => None,
        false if seen.is_blocked() => Some(End::Replaced),
        false => Some(seen.end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_model(body: &[u8], dialect: Dialect, form: AnswerForm) -> bool {
        end_of(body, dialect, form).is_some_and(End::is_of_model)
    }

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
        let whole = |body: String, dialect| by_model(body.as_bytes(), dialect, AnswerForm::Json);
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
            assert_eq!(by_model(stream.as_bytes(), Dialect::OpenAiChat, AnswerForm::Stream), good, "{reason}");
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
                assert_eq!(by_model(stream.as_bytes(), Dialect::Gemini, AnswerForm::Stream), good, "{stream}");
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
