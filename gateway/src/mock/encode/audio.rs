//! Speech and transcripts: <https://platform.openai.com/docs/api-reference/audio>.

use ai_gateway_providers::Dialect;
use bytes::Bytes;
use serde_json::json;

use super::Encode;
use crate::mock::failure::Failure;
use crate::mock::script::{Finish, Piece, Script, Usage};

/// Speech: 1 KiB of sound for each chunk of the text.
pub(in crate::mock) struct Audio;

/// What mock speech is made of.
static SOUND: [u8; 1024] = [0x55; 1024];

impl Encode for Audio {
    fn preamble(&mut self, _script: &Script) -> Bytes {
        Bytes::new()
    }

    fn piece(&mut self, _piece: Piece<'_>) -> Bytes {
        Bytes::from_static(&SOUND)
    }

    fn closing(&mut self, _finish: Finish, _usage: Option<Usage>) -> Vec<Bytes> {
        Vec::new()
    }

    fn error(&mut self, failure: &Failure) -> Bytes {
        failure.body(Dialect::OpenAiChat).into()
    }
}

/// A streamed transcript.
#[derive(Default)]
pub(in crate::mock) struct Transcript {
    text: String,
}

impl Encode for Transcript {
    fn preamble(&mut self, _script: &Script) -> Bytes {
        Bytes::new()
    }

    fn piece(&mut self, piece: Piece<'_>) -> Bytes {
        let Piece::Text(text) = piece else {
            return Bytes::new();
        };
        self.text.push_str(text);
        format!("data: {}\n\n", json!({"type": "transcript.text.delta", "delta": text})).into()
    }

    fn closing(&mut self, _finish: Finish, usage: Option<Usage>) -> Vec<Bytes> {
        let usage = usage.map(transcript_usage);
        vec![format!("data: {}\n\n", json!({"type": "transcript.text.done", "text": self.text, "usage": usage})).into()]
    }

    fn error(&mut self, failure: &Failure) -> Bytes {
        format!("data: {}\n\n", failure.body(Dialect::OpenAiChat)).into()
    }
}

/// The usage of a transcript.
pub(in crate::mock) fn transcript_usage(usage: Usage) -> serde_json::Value {
    json!({
        "type": "tokens", "input_tokens": usage.input, "output_tokens": usage.output,
        "input_token_details": {"audio_tokens": usage.input, "text_tokens": 0},
        "total_tokens": usage.input + usage.output,
    })
}
