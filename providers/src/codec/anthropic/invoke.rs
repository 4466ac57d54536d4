//! Streams as Bedrock's InvokeModel carries them: each event of Anthropic's in a frame of its own, base64 within JSON:
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::super::sse::EventRules as _;
use super::super::{Sink, StreamDecoder};
use super::stream_in::{Rules, unreadable};
use crate::common::{Event, Str};
use crate::error::{ApiError, decode_error};
use crate::event_stream::{Frame, FrameError, FrameSplitter};

/// A chunk's payload; beside `bytes` stands padding.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: Str<'a>,
}

#[derive(Deserialize)]
struct Exception<'a> {
    #[serde(borrow, default)]
    message: Str<'a>,
}

pub(super) struct Decoder {
    splitter: FrameSplitter,
    rules: Rules,
    ended: bool,
}

impl Decoder {
    pub(super) fn new(rules: Rules) -> Self {
        Self { splitter: FrameSplitter::default(), rules, ended: false }
    }
}

impl StreamDecoder for Decoder {
    fn feed(&mut self, chunk: &[u8], end: bool, sink: Sink<'_>) {
        let Self { splitter, rules, ended } = self;
        let mut watch = |event: Event<'_>| {
            if !*ended {
                *ended = matches!(event, Event::End | Event::Error(_));
                sink(event);
            }
        };
        splitter.feed(chunk, |frame| on_frame(frame, rules, &mut watch));
        if end {
            rules.on_end(&mut watch);
        }
    }
}

fn on_frame(frame: Result<Frame<'_>, FrameError>, rules: &mut Rules, sink: Sink<'_>) {
    match frame {
        Ok(Frame::Event { name: _, payload }) => {
            let data = serde_json::from_slice::<Chunk<'_>>(payload).ok();
            match data.and_then(|chunk| STANDARD.decode(chunk.bytes.as_bytes()).ok()) {
                Some(data) => rules.on_event(b"", &data, sink),
                None => sink(Event::Error(unreadable())),
            }
        }
        Ok(Frame::Exception { name, payload }) => {
            let said = serde_json::from_slice::<Exception<'_>>(payload);
            sink(Event::Error(exception(name, said.as_ref().map_or("", |said| &said.message))));
        }
        Ok(Frame::Error { code, message }) => sink(Event::Error(exception(code, message))),
        Err(_) => sink(Event::Error(unreadable())),
    }
}

/// The stream's own spelling of a name begins in lower case.
fn exception(name: &str, message: &str) -> ApiError {
    let mut kind = name.to_owned();
    if let Some(first) = kind.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let body = serde_json::json!({"__type": kind, "message": message}).to_string();
    decode_error(crate::Dialect::Bedrock, 200, body.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{check_cuts, check_no_false_end, collected, events, maker};
    use super::super::super::{Maker, Platform, codec};
    use super::super::OWN;
    use super::*;
    use crate::common::StopReason;
    use crate::error::ErrorKind;
    use crate::event_stream::{write_event, write_exception};

    const EVENTS: [&str; 6] = [
        r#"{"type":"message_start","message":{"id":"msg_bdrk_1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":4}}"#,
        r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":4}}"#,
    ];

    fn body(events: &[&str]) -> Vec<u8> {
        let mut body = Vec::new();
        for event in events {
            write_event(&mut body, "chunk", |out| {
                out.extend(format!(r#"{{"bytes":"{}","p":"abcd"}}"#, STANDARD.encode(event)).into_bytes());
            });
        }
        body
    }

    fn decoder() -> Box<dyn StreamDecoder> {
        codec(OWN).stream_decoder(&Maker { platform: Platform::BedrockInvoke, ..maker() })
    }

    #[test]
    fn frames_carry_the_same_events() {
        let body = body(&EVENTS);
        let response = collected(OWN, &events(&mut *decoder(), &body)).unwrap();
        assert_eq!(response.choices[0].blocks, [crate::common::Block::text("Hi")]);
        assert_eq!(response.choices[0].stop.reason, StopReason::End);
        let usage = response.usage.unwrap();
        assert_eq!((usage.input, usage.output), (Some(9), Some(4)));
        check_cuts(decoder, OWN, &body);
        check_no_false_end(decoder, OWN, &body);
    }

    #[test]
    fn exceptions_end_the_stream() {
        let mut body = body(&EVENTS[..3]);
        write_exception(&mut body, "throttlingException", |out| out.extend(br#"{"message":"slow down"}"#));
        let error = collected(OWN, &events(&mut *decoder(), &body)).unwrap_err();
        assert_eq!((error.kind, &*error.message), (ErrorKind::RateLimited, "slow down"));
    }
}
