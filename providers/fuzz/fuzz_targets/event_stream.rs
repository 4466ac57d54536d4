//! Bedrock streams: whatever comes, in frames or not, there is one end or error, and it does not depend on the cut.
//!
//! The input is taken twice: as a body, and as events, one a line, whose first byte chooses the name.
#![no_main]

use ai_gateway_providers::Dialect;
use ai_gateway_providers::codec::{Client, Maker, Platform, codec};
use ai_gateway_providers::common::{Collector, Event, Losses, ProviderTag, take_apart};
use ai_gateway_providers::event_stream::{write_event, write_exception};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 6] =
    ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"];

/// The end of what the chunks say, put together.
fn read(chunks: &[&[u8]]) -> String {
    let maker =
        Maker { provider: ProviderTag::of("p"), platform: Platform::Native, model: "model", id_seed: "seed" };
    let codec = codec(Dialect::Bedrock);
    let mut decoder = codec.stream_decoder(&maker);
    let (mut collector, mut ends) = (Collector::new(Dialect::Bedrock), 0);
    for (at, chunk) in chunks.iter().enumerate() {
        decoder.feed(chunk, at + 1 == chunks.len(), &mut |event| {
            assert_eq!(ends, 0, "an event after the end");
            ends += usize::from(matches!(event, Event::End | Event::Error(_)));
            collector.feed(&event);
        });
    }
    assert_eq!(ends, 1);
    let response = collector.finish();
    if let Ok(response) = &response {
        let (mut losses, mut out) = (Losses::default(), Vec::new());
        let body = codec.encode_response(response, &Client::default(), &mut losses);
        assert!(codec.decode_response(&body, &maker).is_ok());
        let mut encoder = codec.stream_encoder(&Client::default());
        take_apart(response, &mut |event| encoder.encode(event, &mut losses, &mut out));
        let (mut decoder, mut whole) = (codec.stream_decoder(&maker), false);
        decoder.feed(&out, true, &mut |event| whole |= event == Event::End);
        assert!(whole, "what was written is not read");
    }
    format!("{response:?}")
}

fuzz_target!(|data: &[u8]| {
    let cut = usize::from(data.first().copied().unwrap_or(0));
    let mut framed = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        let Some((choice, payload)) = line.split_first() else { continue };
        match NAMES.get(usize::from(*choice % 8)) {
            Some(name) => write_event(&mut framed, name, |out| out.extend_from_slice(payload)),
            None => write_exception(&mut framed, "throttlingException", |out| out.extend_from_slice(payload)),
        }
    }
    for body in [data, &framed] {
        let (before, after) = body.split_at(cut.min(body.len()));
        assert_eq!(read(&[body]), read(&[before, after]));
    }
    let _ = codec(Dialect::Bedrock).decode_request(data, &ai_gateway_providers::codec::Call::default());
});
