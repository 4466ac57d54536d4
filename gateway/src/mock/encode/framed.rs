//! Anthropic's events as Bedrock's InvokeModelWithResponseStream carries them, each in a frame of its own:
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html>.

use ai_gateway_providers::Dialect;
use ai_gateway_providers::error::encode_stream_error;
use ai_gateway_providers::event_stream::write_event;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::{Encode, Messages};
use crate::mock::failure::Failure;
use crate::mock::script::{Finish, Piece, Script, Usage};

/// The stream in frames.
pub(in crate::mock) struct Framed(pub(in crate::mock) Messages);

/// The data of each event in a frame.
fn frames(events: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(events.len() * 2);
    for data in events.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: ")) {
        write_event(&mut out, "chunk", |out| {
            out.extend_from_slice(format!("{{\"bytes\":\"{}\",\"p\":\"abc\"}}", STANDARD.encode(data)).as_bytes());
        });
    }
    out.into()
}

impl Encode for Framed {
    fn preamble(&mut self, script: &Script) -> Bytes {
        frames(&self.0.preamble(script))
    }

    fn piece(&mut self, piece: Piece<'_>) -> Bytes {
        frames(&self.0.piece(piece))
    }

    fn closing(&mut self, finish: Finish, usage: Option<Usage>) -> Vec<Bytes> {
        self.0.closing(finish, usage).iter().map(|events| frames(events)).collect()
    }

    fn error(&mut self, failure: &Failure) -> Bytes {
        encode_stream_error(Dialect::Bedrock, &failure.api(), "", 0).into()
    }
}
